//! What must be right before a request is carried out: route, token, space, version, rate.
//!
//! Owns that a header which stands twice is refused: which of the two counts would be anybody's guess. Refuses to
//! count a request against a limit before it has proved its token.

use http::header::{ALLOW, AUTHORIZATION};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use tokio::time::Instant;

use super::super::State;
use super::super::answer::{self, Refused};
use super::super::draft::Invalid;
use super::super::ledger::Page;
use super::super::tokens::Tokens;
use super::Operation;
use crate::monime::{KNOWN_VERSIONS, SPACE_HEADER, SessionId, SpaceId, VERSION_HEADER, operation};

const SESSIONS: &str = "/v1/checkout-sessions";
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Monime documents it.
const MAX_IDEMPOTENCY_KEY: usize = 64;
/// What a page of a list holds when nobody says.
const DEFAULT_LIMIT: usize = 10;
/// What a page of a list holds at most.
const MAX_LIMIT: usize = 50;

/// What a request asks for.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) operation: Operation,
    pub(super) id: Option<SessionId>,
}

/// A request that may be carried out.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) operation: Operation,
    pub(super) id: Option<SessionId>,
    pub(super) space: SpaceId,
    pub(super) query: Option<String>,
    pub(super) idempotency_key: Option<String>,
}

/// Checks a request that has a route, and takes its place in the limits' windows. `token` is what [`token`] found.
pub(super) fn call(state: &mut State, parts: &Parts, route: Route, token: Option<usize>) -> Result<Call, Refused> {
    let Route { operation, id } = route;
    let headers = &parts.headers;
    let Some(token) = token else {
        let message = "`Authorization` must be `Bearer` and the sandbox's token, once.";
        return Err(answer::error(StatusCode::UNAUTHORIZED, "unauthorized", message).into());
    };
    let space = space(headers).map_err(|invalid| answer::invalid(&invalid))?;
    version(headers).map_err(|invalid| answer::invalid(&invalid))?;
    state.limiter.admit(token, operation, &space, Instant::now()).map_err(|scope| answer::throttled(scope, 1))?;
    let key = only(headers, &IDEMPOTENCY_KEY).filter(|key| (1..=MAX_IDEMPOTENCY_KEY).contains(&key.len()));
    let (query, idempotency_key) = (parts.uri.query().map(str::to_owned), key.map(str::to_owned));
    Ok(Call { operation, id, space, query, idempotency_key })
}

/// The number of the token that a request proves to have, if that is accepted.
pub(super) fn token(headers: &HeaderMap, accepted: &Tokens) -> Option<usize> {
    let (scheme, presented) = only(headers, &AUTHORIZATION)?.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") { accepted.number(presented) } else { None }
}

/// Finds what a request asks for by its method and path.
pub(super) fn route(parts: &Parts) -> Result<Route, Refused> {
    let path = parts.uri.path();
    let not_found = |message| Err(answer::error(StatusCode::NOT_FOUND, "not_found", message).into());
    let Some(rest) = path.strip_prefix(SESSIONS) else {
        return match operation::at(path).next() {
            Some(_) => not_found("The sandbox plays checkout sessions only, not this operation of Monime's."),
            None => not_found("There is no such route."),
        };
    };
    let id = match rest.strip_prefix('/') {
        None if rest.is_empty() => None,
        None => return not_found("There is no such route."),
        Some(id) => match SessionId::parse(id) {
            Ok(id) => Some(id),
            Err(_) => return not_found("There is no such checkout session in this space."),
        },
    };
    let operation = match (&parts.method, &id) {
        (&Method::POST, None) => Operation::Create,
        (&Method::GET, None) => Operation::List,
        (&Method::GET, Some(_)) => Operation::Get,
        (&Method::DELETE, Some(_)) => Operation::Delete,
        _ => return Err(wrong_method(if id.is_some() { "GET, DELETE" } else { "GET, POST" })),
    };
    Ok(Route { operation, id })
}

/// Reads what a list is asked to show.
pub(super) fn page(query: &str) -> Result<Page<'_>, Invalid> {
    let wrong = |field: &str, rule| Invalid { field: field.to_owned(), rule };
    let limit = match parameter(query, "limit").map(str::parse) {
        None => DEFAULT_LIMIT,
        Some(Ok(limit)) if (1..=MAX_LIMIT).contains(&limit) => limit,
        Some(_) => return Err(wrong("limit", "must be a whole number from 1 to 50")),
    };
    let status = parameter(query, "status");
    if status.is_some_and(|status| !["pending", "completed", "cancelled", "expired"].contains(&status)) {
        return Err(wrong("status", "must be `pending`, `completed`, `cancelled` or `expired`"));
    }
    let after = parameter(query, "after").map(SessionId::parse).transpose();
    let after = after.map_err(|_| wrong("after", "must be the `next` of a page before"))?;
    Ok(Page { limit, status, after })
}

fn wrong_method(allowed: &'static str) -> Refused {
    let status = StatusCode::METHOD_NOT_ALLOWED;
    let mut refused = answer::error(status, "method_not_allowed", "This route has no such method.");
    refused.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    refused.into()
}

fn space(headers: &HeaderMap) -> Result<SpaceId, Invalid> {
    let text = only(headers, &HeaderName::from_static(SPACE_HEADER)).unwrap_or_default();
    let rule = "is required, once: `spc-` and at most 60 further characters";
    SpaceId::parse(text).map_err(|_| Invalid { field: "Monime-Space-Id".to_owned(), rule })
}

fn version(headers: &HeaderMap) -> Result<(), Invalid> {
    let name = HeaderName::from_static(VERSION_HEADER);
    let known = only(headers, &name).is_some_and(|version| KNOWN_VERSIONS.contains(&version));
    if known || !headers.contains_key(&name) {
        return Ok(());
    }
    let rule = "must be `caph.2025-08-23` or `caph.2025-06-20`, once, or not be sent";
    Err(Invalid { field: "Monime-Version".to_owned(), rule })
}

/// The text of a header that stands exactly once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}

/// The first value of a query parameter. Ids, words and numbers need no decoding.
fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name).map(|(_, value)| value)
}
