//! From a request's head to what it asks for, or to the reason why it is refused.
//!
//! Reads method, path, space, version and patience; directives, conditions and what a forwarded request carries have files
//! of their own. Borrows from the request, so that a hit copies nothing. Refuses everything that is not exactly what
//! somebody may ask for on the agreed terms: what is not named is denied, before anything is looked up.

use std::sync::Arc;
use std::time::Duration;

use http::header::{HeaderName, TRANSFER_ENCODING};
use http::{HeaderMap, Method, Request, Version as HttpVersion};
use http_body::Body;

use super::Terms;
use super::arrival::Arrival;
use super::directives::Directives;
use super::errand::{self, Errand};
use crate::caller::{Caller, Unproved};
use crate::monime::operation::{self, GET_CHECKOUT_SESSION, Operation};
use crate::monime::{KeyRef, SPACE_HEADER, SessionIdRef, SpaceId, VERSION_HEADER, Version};
use crate::server::HeadLimits;

pub(super) const SPACE: HeaderName = HeaderName::from_static(SPACE_HEADER);
pub(super) const VERSION: HeaderName = HeaderName::from_static(VERSION_HEADER);
/// How many seconds a caller is ready to wait.
pub(super) const TIMEOUT: HeaderName = HeaderName::from_static("monigate-timeout");
/// What a request is counted under that is for no operation that is known.
pub(super) const NO_OPERATION: &str = "none";

/// What a request asks for.
#[derive(Debug)]
pub(super) enum Asked<'a> {
    /// What became of a session.
    Lookup(Lookup<'a>),
    /// Another operation of Monime's, to be passed on.
    Errand(Errand<'a>),
}

/// A lookup that may be answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lookup<'a> {
    pub(super) key: KeyRef<'a>,
    pub(super) caller: Option<&'a Arc<Caller>>,
    pub(super) only_if_cached: bool,
    pub(super) refresh: bool,
    pub(super) patience: Duration,
}

/// A request that is refused: why, and what for.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) why: Refused,
    pub(super) operation: &'static str,
    /// The space that it named, if it is one of the gateway's.
    pub(super) space: Option<SpaceId>,
}

/// Why a request is refused. The words are `rescue`'s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    TargetTooLong,
    HeadTooLarge,
    /// The header is missing that keeps web pages out.
    HeaderRequired,
    Unproved(Unproved),
    /// The caller asks more often than it may; after this long it may again.
    RateLimited(Duration),
    /// A path that no operation has.
    RouteUnknown,
    /// A path that would be known without its second slash: the client's base URL ends in one.
    DoubledSlash,
    /// A known path, given as its template, and a method that it does not have.
    MethodUnknown(&'static str),
    /// A known operation that this caller may not use.
    OperationForbidden,
    QueryNotAllowed,
    BodyNotAllowed,
    BodyTooLarge,
    BodyBroken,
    BodyTimedOut,
    BodyCoded,
    ContentTypeInvalid,
    IdempotencyKeyRequired,
    IdempotencyKeyInvalid,
    SpaceRequired,
    SpaceInvalid,
    SpaceForbidden,
    VersionNotAllowed,
    TimeoutInvalid,
    NotCached,
}

/// What a request may ask for: a caller's policy, or the open door's.
pub(super) struct Rights<'a> {
    caller: Option<&'a Arc<Caller>>,
    /// The space of a request that names none.
    default_space: Option<&'a SpaceId>,
    spaces: &'a [SpaceId],
}

// === impl Refusal ===

impl Refused {
    /// The refusal of a request for this operation.
    pub(super) fn of(self, operation: &'static str) -> Refusal {
        Refusal { why: self, operation, space: None }
    }
}

impl From<Refused> for Refusal {
    fn from(why: Refused) -> Self {
        why.of(NO_OPERATION)
    }
}

// === impl Rights ===

impl<'a> Rights<'a> {
    pub(super) fn of(caller: Option<&'a Arc<Caller>>, terms: &'a Terms) -> Self {
        match caller {
            Some(caller) => {
                let spaces = caller.policy().spaces.as_slice();
                // Who has only one need not say which.
                let default_space = if let [only] = spaces { Some(only) } else { None };
                Self { caller: Some(caller), default_space, spaces }
            }
            None => Self { caller, default_space: terms.default_space.as_ref(), spaces: &terms.spaces },
        }
    }

    /// Whether this operation may be used. Who has no name may look sessions up and nothing else.
    pub(super) fn cover(&self, operation: &'static str) -> bool {
        self.caller.map_or(operation == GET_CHECKOUT_SESSION, |caller| caller.may(operation))
    }

    /// The space that is meant by this name, or by none.
    pub(super) fn space(&self, named: Option<&str>) -> Result<&'a SpaceId, Refused> {
        let Some(named) = named else { return self.default_space.ok_or(Refused::SpaceRequired) };
        // A space that is allowed is well-formed, so only the others need a closer look.
        let allowed = self.spaces.iter().find(|space| space.as_str() == named);
        allowed.ok_or_else(|| match SpaceId::parse(named) {
            Ok(_) => Refused::SpaceForbidden,
            Err(_) => Refused::SpaceInvalid,
        })
    }
}

/// Reads a request.
pub(super) fn read<'a, B: Body>(arrival: &'a Arrival<B>, terms: &'a Terms) -> Result<Asked<'a>, Refusal> {
    let request = &arrival.request;
    within_limits(request, terms.head)?;
    let caller = arrival.caller.as_ref().map_err(|why| *why)?.as_ref();
    if let Some(caller) = caller {
        caller.admit(arrival.came_at).map_err(Refused::RateLimited)?;
    }
    let rights = Rights::of(caller, terms);
    match route(request)? {
        Route::Lookup(id) => {
            let lookup = lookup(request, id, &rights, terms);
            lookup.map(Asked::Lookup).map_err(|why| refusal(why, GET_CHECKOUT_SESSION, request, terms))
        }
        Route::Operation(operation) => {
            let errand = errand(request, operation, &rights, terms);
            errand.map(Asked::Errand).map_err(|why| refusal(why, operation.id, request, terms))
        }
    }
}

fn lookup<'a, B: Body>(
    request: &'a Request<B>,
    id: SessionIdRef<'a>,
    rights: &Rights<'a>,
    terms: &'a Terms,
) -> Result<Lookup<'a>, Refused> {
    let headers = request.headers();
    if !rights.cover(GET_CHECKOUT_SESSION) {
        return Err(Refused::OperationForbidden);
    }
    if request.uri().query().is_some() {
        return Err(Refused::QueryNotAllowed);
    }
    no_body(request)?;
    let directives = Directives::of(headers);
    Ok(Lookup {
        key: KeyRef { space: space(headers, rights)?, id, version: version_of(headers, terms)? },
        caller: rights.caller,
        only_if_cached: directives.only_if_cached,
        refresh: directives.no_cache && terms.callers_may_refresh,
        patience: patience(headers, terms.patience)?.unwrap_or(terms.patience),
    })
}

fn errand<'a, B: Body>(
    request: &'a Request<B>,
    operation: &'static Operation,
    rights: &Rights<'a>,
    terms: &'a Terms,
) -> Result<Errand<'a>, Refused> {
    let headers = request.headers();
    let caller = rights.caller.filter(|_| rights.cover(operation.id)).ok_or(Refused::OperationForbidden)?;
    if !operation.query && request.uri().query().is_some() {
        return Err(Refused::QueryNotAllowed);
    }
    if !operation.has_body() {
        no_body(request)?;
    }
    let carried = errand::carried(operation, headers)?;
    let (space, version) = (space(headers, rights)?, version_of(headers, terms)?);
    // What a write takes is bounded where it is sent.
    let most = if operation.writes() { Duration::MAX } else { terms.patience };
    let (patience, sees_ends) = (patience(headers, most)?, request.version() >= HttpVersion::HTTP_11);
    Ok(Errand { operation, caller, space, version, carried, patience, sees_ends })
}

fn no_body<B: Body>(request: &Request<B>) -> Result<(), Refused> {
    if !request.body().is_end_stream() || request.headers().contains_key(TRANSFER_ENCODING) {
        return Err(Refused::BodyNotAllowed);
    }
    Ok(())
}

/// The refusal of a request for a known operation, with the space that it named if it is one of ours: what else somebody
/// writes there has no business in a log.
fn refusal<B>(why: Refused, operation: &'static str, request: &Request<B>, terms: &Terms) -> Refusal {
    let named = only(request.headers(), &SPACE).ok().flatten();
    let space = named.and_then(|named| terms.spaces.iter().find(|space| space.as_str() == named));
    Refusal { why, operation, space: space.cloned() }
}

/// Whether the head is no larger than it may be, as names and values: how it was written is for whoever read it.
fn within_limits<B>(request: &Request<B>, most: HeadLimits) -> Result<(), Refused> {
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    if target > most.target {
        return Err(Refused::TargetTooLong);
    }
    let headers = request.headers();
    let head: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if headers.len() > most.fields || head > most.size {
        return Err(Refused::HeadTooLarge);
    }
    Ok(())
}

/// What a path and a method lead to.
enum Route<'a> {
    Lookup(SessionIdRef<'a>),
    Operation(&'static Operation),
}

fn route<B>(request: &Request<B>) -> Result<Route<'_>, Refused> {
    let (method, path) = (request.method(), request.uri().path());
    match operation::checkout_session_id(path) {
        Some(id) if matches!(*method, Method::GET | Method::HEAD) => Ok(Route::Lookup(id)),
        _ => other_route(method, path),
    }
}

/// The operation that a request is for, as it is counted if its caller leaves before it is answered.
pub(super) fn operation_of<B>(request: &Request<B>) -> &'static str {
    match route(request) {
        Ok(Route::Lookup(_)) => GET_CHECKOUT_SESSION,
        Ok(Route::Operation(operation)) => operation.id,
        Err(_) => NO_OPERATION,
    }
}

/// What is no lookup: off the path that hits take.
fn other_route(method: &Method, path: &str) -> Result<Route<'static>, Refused> {
    let wanted = if *method == Method::HEAD { "GET" } else { method.as_str() };
    let mut known = operation::at(path).peekable();
    let template = known.peek().map(|operation| operation.path);
    if let Some(operation) = known.find(|operation| operation.method == wanted) {
        return Ok(Route::Operation(operation));
    }
    Err(match template {
        Some(template) => Refused::MethodUnknown(template),
        None if path.starts_with("//v1/") => Refused::DoubledSlash,
        None => Refused::RouteUnknown,
    })
}

fn space<'a>(headers: &HeaderMap, rights: &Rights<'a>) -> Result<&'a SpaceId, Refused> {
    rights.space(only(headers, &SPACE).map_err(|_| Refused::SpaceInvalid)?)
}

fn version_of<'a>(headers: &HeaderMap, terms: &'a Terms) -> Result<&'a Version, Refused> {
    version(only(headers, &VERSION).map_err(|_| Refused::VersionNotAllowed)?, terms)
}

/// The version that is meant by this name, or by none.
pub(super) fn version<'a>(named: Option<&str>, terms: &'a Terms) -> Result<&'a Version, Refused> {
    let Some(named) = named else { return Ok(&terms.version) };
    // An open value would let a caller mint keys.
    terms.versions.iter().find(|version| version.as_str() == named).ok_or(Refused::VersionNotAllowed)
}

/// How long the caller is ready to wait, if it says so; at most so long.
fn patience(headers: &HeaderMap, most: Duration) -> Result<Option<Duration>, Refused> {
    let Some(text) = only(headers, &TIMEOUT).map_err(|_| Refused::TimeoutInvalid)? else { return Ok(None) };
    // Digits and one point: `f64` would also read a sign, an exponent, `inf` and `nan`.
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let seconds: f64 = text.parse().ok().filter(|_| plain && text.len() <= 12).ok_or(Refused::TimeoutInvalid)?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(patience) if !patience.is_zero() => Ok(Some(patience.min(most))),
        Ok(_) | Err(_) => Err(Refused::TimeoutInvalid),
    }
}

/// More than one value, or one that is no text.
pub(super) struct Unclear;

/// The text of a header that stands there at most once.
pub(super) fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Unclear> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Unclear);
    }
    value.to_str().map(Some).map_err(|_| Unclear)
}
