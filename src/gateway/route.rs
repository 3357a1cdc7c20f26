//! From a request's head to a typed lookup, or to the reason why it is none.
//!
//! Reads method, path, space, version and patience; directives and conditions have files of their own. Borrows from the
//! request, so that a hit copies nothing. Refuses everything that is not exactly a lookup on the agreed terms.

use std::time::Duration;

use http::header::{HeaderName, TRANSFER_ENCODING};
use http::{HeaderMap, Method, Request};
use http_body::Body;

use super::Terms;
use super::directives::Directives;
use crate::monime::operation::{self, CHECKOUT_SESSION, GET_CHECKOUT_SESSION, Operation};
use crate::monime::{KeyRef, SPACE_HEADER, SessionIdRef, SpaceId, VERSION_HEADER, Version};

/// The longest request target that is read; hyper's own limit is above it.
const MAX_TARGET: usize = 8 * 1024;
/// The largest request head that is read, as names and values; hyper's own limit is above it.
const MAX_HEAD: usize = 64 * 1024;
/// The most header fields that are read; hyper's own limit is above it.
const MAX_FIELDS: usize = 100;
/// How many seconds a caller is ready to wait.
const TIMEOUT: HeaderName = HeaderName::from_static("monigate-timeout");

/// A lookup that may be answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) key: KeyRef<'a>,
    pub(super) only_if_cached: bool,
    pub(super) refresh: bool,
    pub(super) patience: Duration,
}

/// Why a request is refused. The words are `rescue`'s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    TargetTooLong,
    HeadTooLarge,
    /// A path that no operation has.
    RouteUnknown,
    /// A path that would be known without its second slash: the client's base URL ends in one.
    DoubledSlash,
    /// A known path, given as its template, and a method that it does not have.
    MethodUnknown(&'static str),
    /// A known operation that is not switched on.
    OperationForbidden(&'static str),
    QueryNotAllowed,
    BodyNotAllowed,
    SpaceRequired,
    SpaceInvalid,
    SpaceForbidden,
    VersionNotAllowed,
    TimeoutInvalid,
    NotCached,
}

/// Reads a request.
pub(super) fn read<'a, B: Body>(request: &'a Request<B>, terms: &'a Terms) -> Result<Asked<'a>, Refused> {
    let headers = request.headers();
    within_limits(request)?;
    let id = route(request)?;
    if request.uri().query().is_some() {
        return Err(Refused::QueryNotAllowed);
    }
    if !request.body().is_end_stream() || headers.contains_key(TRANSFER_ENCODING) {
        return Err(Refused::BodyNotAllowed);
    }
    let directives = Directives::of(headers);
    Ok(Asked {
        key: KeyRef { space: space(headers, terms)?, id, version: version(headers, terms)? },
        only_if_cached: directives.only_if_cached,
        refresh: directives.no_cache && terms.callers_may_refresh,
        patience: patience(headers, terms)?,
    })
}

fn within_limits<B>(request: &Request<B>) -> Result<(), Refused> {
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    if target > MAX_TARGET {
        return Err(Refused::TargetTooLong);
    }
    let headers = request.headers();
    let head: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if headers.len() > MAX_FIELDS || head > MAX_HEAD {
        return Err(Refused::HeadTooLarge);
    }
    Ok(())
}

/// The session that a request is about, if it is a lookup.
fn route<B>(request: &Request<B>) -> Result<SessionIdRef<'_>, Refused> {
    let path = request.uri().path();
    match operation::checkout_session_id(path) {
        Some(id) if matches!(*request.method(), Method::GET | Method::HEAD) => Ok(id),
        _ => Err(refusal(request.method(), path)),
    }
}

/// Why a request is no lookup: off the path that hits take.
fn refusal(method: &Method, path: &str) -> Refused {
    let wanted = if *method == Method::HEAD { "GET" } else { method.as_str() };
    let known: Vec<&Operation> = operation::at(path).filter(|operation| addressable(operation, path)).collect();
    if let Some(operation) = known.iter().find(|operation| operation.method == wanted) {
        return Refused::OperationForbidden(operation.id);
    }
    if let Some(operation) = known.first() {
        return Refused::MethodUnknown(operation.path);
    }
    if path.starts_with("//v1/") { Refused::DoubledSlash } else { Refused::RouteUnknown }
}

/// A checkout session is addressed by an id that can be one; of other ids monigate knows nothing.
fn addressable(operation: &Operation, path: &str) -> bool {
    operation.path != CHECKOUT_SESSION || operation::checkout_session_id(path).is_some()
}

fn space<'a>(headers: &HeaderMap, terms: &'a Terms) -> Result<&'a SpaceId, Refused> {
    let Some(named) = only(headers, SPACE_HEADER).map_err(|_| Refused::SpaceInvalid)? else {
        return terms.default_space.as_ref().ok_or(Refused::SpaceRequired);
    };
    // A space that is allowed is well-formed, so only the others need a closer look.
    let allowed = terms.spaces.iter().find(|space| space.as_str() == named);
    allowed.ok_or_else(|| match SpaceId::parse(named) {
        Ok(_) => Refused::SpaceForbidden,
        Err(_) => Refused::SpaceInvalid,
    })
}

fn version<'a>(headers: &HeaderMap, terms: &'a Terms) -> Result<&'a Version, Refused> {
    let Some(named) = only(headers, VERSION_HEADER).map_err(|_| Refused::VersionNotAllowed)? else {
        return Ok(&terms.version);
    };
    // An open value would let a caller mint keys.
    terms.versions.iter().find(|version| version.as_str() == named).ok_or(Refused::VersionNotAllowed)
}

fn patience(headers: &HeaderMap, terms: &Terms) -> Result<Duration, Refused> {
    let Some(text) = only(headers, TIMEOUT.as_str()).map_err(|_| Refused::TimeoutInvalid)? else {
        return Ok(terms.patience);
    };
    // Digits and one point: `f64` would also read a sign, an exponent, `inf` and `nan`.
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let seconds: f64 = text.parse().ok().filter(|_| plain && text.len() <= 12).ok_or(Refused::TimeoutInvalid)?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(patience) if !patience.is_zero() => Ok(patience.min(terms.patience)),
        Ok(_) | Err(_) => Err(Refused::TimeoutInvalid),
    }
}

/// More than one value, or one that is no text.
struct Unclear;

fn only<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Unclear> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Unclear);
    }
    value.to_str().map(Some).map_err(|_| Unclear)
}

/// The operation that a refusal is counted under.
pub(super) fn operation(refused: Refused) -> &'static str {
    match refused {
        Refused::OperationForbidden(id) => id,
        Refused::TargetTooLong
        | Refused::HeadTooLarge
        | Refused::RouteUnknown
        | Refused::DoubledSlash
        | Refused::MethodUnknown(_) => "none",
        Refused::QueryNotAllowed
        | Refused::BodyNotAllowed
        | Refused::SpaceRequired
        | Refused::SpaceInvalid
        | Refused::SpaceForbidden
        | Refused::VersionNotAllowed
        | Refused::TimeoutInvalid
        | Refused::NotCached => GET_CHECKOUT_SESSION,
    }
}
