//! From every way to fail to a response: the only file that picks a status for a failure.
//!
//! Every match is exhaustive, so that a new failure does not compile until it has its row. Says what happened and what
//! to do, in Monime's envelope; refuses to show causes, which go to the log, or anything that Monime or an edge wrote.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::Map;
use http::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER,
};
use http::{HeaderMap, Response, StatusCode};
use http_body_util::Full;
use tower::Service;

use super::route::{self, Refused};
use super::served::{Failed, Served};
use crate::lookup::{self, CACHE_STATUS, Diagnostics};
use crate::monime::operation::{CHECKOUT_SESSION, GET_CHECKOUT_SESSION, methods};
use crate::monime::{Envelope, Flaw};
use crate::telemetry::Outcome;
use crate::upstream::{self, Failure};

/// Everything that can keep a request from an answer.
#[derive(Debug)]
pub(super) enum Error {
    /// The request is at fault.
    Refused(Refused),
    /// Too many requests wait on Monime.
    Overloaded,
    /// The caller's own deadline passed.
    OutOfPatience,
    /// The lookup failed.
    Lookup(Arc<lookup::Error>),
}

/// Turns every error of the inner service into an answer.
#[derive(Debug, Clone)]
pub(super) struct Rescue<S> {
    inner: S,
}

/// A row of the table: what a caller is told.
struct Row(StatusCode, &'static str, &'static str);

impl<S> Rescue<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { inner }
    }
}

impl<S, R> Service<R> for Rescue<S>
where
    S: Service<R, Response = Served, Error = Error>,
{
    type Response = Served;
    type Error = Infallible;
    type Future = Map<S::Future, fn(Result<Served, Error>) -> Result<Served, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // The services below are always ready: what waits, waits inside its call.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: R) -> Self::Future {
        self.inner.call(request).map(|result| Ok(result.unwrap_or_else(rescued)))
    }
}

/// The answer that tells of a failure.
fn rescued(error: Error) -> Served {
    match error {
        Error::Refused(refused) => refuse(refused),
        Error::Overloaded => overloaded(None),
        Error::OutOfPatience => fail(UPSTREAM_TIMEOUT, None),
        Error::Lookup(error) => lookup_failed(&error),
    }
}

fn overloaded(cause: Option<Arc<lookup::Error>>) -> Served {
    let mut served = fail(OVERLOADED, cause);
    retry_after(&mut served, 1);
    served
}

const OVERLOADED: Row = Row(
    StatusCode::SERVICE_UNAVAILABLE,
    "gateway_overloaded",
    "Too many requests are waiting on Monime. Try again in a moment.",
);
const INTERNAL: Row = Row(
    StatusCode::INTERNAL_SERVER_ERROR,
    "gateway_internal",
    "The gateway lost this lookup. This is a bug of the gateway's; try again.",
);
const UPSTREAM_TIMEOUT: Row =
    Row(StatusCode::GATEWAY_TIMEOUT, "gateway_upstream_timeout", "Monime did not answer in time. Try again.");

fn lookup_failed(error: &Arc<lookup::Error>) -> Served {
    let cause = Some(Arc::clone(error));
    match &**error {
        lookup::Error::Unusable(flaw, diagnostics) => {
            let mut served = fail(unusable(*flaw), cause);
            pass_on(&mut served, *flaw, diagnostics);
            served
        }
        lookup::Error::Failed(failure) => {
            let mut served = fail(upstream_failed(failure), cause);
            if let Failure::Exhausted { wait } | Failure::Open { wait } = failure {
                retry_after(&mut served, seconds_up(*wait));
            }
            served
        }
        lookup::Error::Overloaded => overloaded(cause),
        lookup::Error::Lost => fail(INTERNAL, cause),
    }
}

fn upstream_failed(failure: &Failure) -> Row {
    match failure {
        Failure::Unreachable(..) => {
            Row(StatusCode::BAD_GATEWAY, "gateway_upstream_unreachable", "Monime could not be reached. Try again.")
        }
        Failure::TimedOut(_) => UPSTREAM_TIMEOUT,
        Failure::Internal(_) => INTERNAL,
        Failure::NoToken => Row(
            StatusCode::BAD_GATEWAY,
            "gateway_upstream_credentials",
            "The gateway has no credential for this space, so Monime was not asked. Only the gateway's operator can mend this.",
        ),
        Failure::Unreadable(_) => UNREADABLE,
        Failure::Exhausted { .. } => Row(
            StatusCode::TOO_MANY_REQUESTS,
            "gateway_budget_exhausted",
            "The gateway asks Monime as often as it may, and this lookup found no turn. Wait as Retry-After says.",
        ),
        Failure::Open { .. } => Row(
            StatusCode::SERVICE_UNAVAILABLE,
            "gateway_upstream_open",
            "Monime failed so often that the gateway leaves it alone for a moment. Wait as Retry-After says.",
        ),
    }
}

const UNREADABLE: Row = Row(
    StatusCode::BAD_GATEWAY,
    "gateway_upstream_unreadable",
    "Monime's answer could not be read as one of Monime's, so it is not passed on.",
);

fn unusable(flaw: Flaw) -> Row {
    match flaw {
        Flaw::Mismatch => Row(
            StatusCode::BAD_GATEWAY,
            "gateway_upstream_mismatch",
            "Monime's answer is about another session than the one asked for, so it is not passed on.",
        ),
        Flaw::Unreadable => UNREADABLE,
        Flaw::Credentials => Row(
            StatusCode::BAD_GATEWAY,
            "gateway_upstream_credentials",
            "Monime does not accept the gateway's own credential. Only the gateway's operator can mend this.",
        ),
        Flaw::Throttled => Row(
            StatusCode::TOO_MANY_REQUESTS,
            "gateway_upstream_throttled",
            "Monime's rate limit for the gateway's token is used up. Wait as Retry-After says.",
        ),
        Flaw::Unexpected => Row(
            StatusCode::BAD_GATEWAY,
            "gateway_upstream_unexpected",
            "Monime answered with a status that a lookup never has, so it is not passed on.",
        ),
        Flaw::Failed => Row(StatusCode::BAD_GATEWAY, "gateway_upstream_error", "Monime failed to answer. Try again."),
        Flaw::Unavailable => Row(
            StatusCode::SERVICE_UNAVAILABLE,
            "gateway_upstream_unavailable",
            "Monime is not available at the moment. Wait as Retry-After says.",
        ),
        Flaw::TimedOut => UPSTREAM_TIMEOUT,
    }
}

#[rustfmt::skip]
fn refusal_row(refused: Refused) -> Row {
    match refused {
        Refused::TargetTooLong => Row(StatusCode::URI_TOO_LONG, "gateway_target_too_long",
            "The request target is longer than 8 KiB. A lookup is GET /v1/checkout-sessions/{id}."),
        Refused::HeadTooLarge => Row(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "gateway_head_too_large",
            "The request head has more than 100 fields or 64 KiB. Send fewer or shorter header fields."),
        Refused::RouteUnknown => Row(StatusCode::NOT_FOUND, "gateway_route_unknown",
            "The gateway knows no such path. A lookup is GET /v1/checkout-sessions/{id}: the id is 1 to 128 of A-Z a-z 0-9 _ -, and no slash follows."),
        Refused::DoubledSlash => Row(StatusCode::NOT_FOUND, "gateway_route_unknown",
            "The path begins with two slashes. Drop the trailing slash of the client's base URL."),
        Refused::MethodUnknown(_) => Row(StatusCode::METHOD_NOT_ALLOWED, "gateway_method_not_allowed",
            "This path cannot be asked with this method. The Allow header says with which."),
        Refused::OperationForbidden(_) => Row(StatusCode::FORBIDDEN, "gateway_operation_forbidden",
            "This operation of Monime's is not switched on in this gateway. Only GetCheckoutSession is."),
        Refused::QueryNotAllowed => Row(StatusCode::BAD_REQUEST, "gateway_query_not_allowed",
            "A lookup has no query string. Ask without it."),
        Refused::BodyNotAllowed => Row(StatusCode::BAD_REQUEST, "gateway_body_not_allowed",
            "A lookup has no body. Send neither a body nor Transfer-Encoding."),
        Refused::SpaceRequired => Row(StatusCode::BAD_REQUEST, "gateway_space_required",
            "The gateway has no default space. Say which with one Monime-Space-Id header."),
        Refused::SpaceInvalid => Row(StatusCode::BAD_REQUEST, "gateway_space_invalid",
            "Monime-Space-Id must be there at most once and be a space id: spc-, then 1 to 60 visible ASCII characters without a comma."),
        Refused::SpaceForbidden => Row(StatusCode::FORBIDDEN, "gateway_space_forbidden",
            "This gateway does not serve that space."),
        Refused::VersionNotAllowed => Row(StatusCode::BAD_REQUEST, "gateway_version_not_allowed",
            "Monime-Version must be there at most once and be one that this gateway is configured for."),
        Refused::TimeoutInvalid => Row(StatusCode::BAD_REQUEST, "gateway_timeout_invalid",
            "Monigate-Timeout must be there at most once and be seconds above zero, such as 2 or 0.5."),
        Refused::NotCached => Row(StatusCode::GATEWAY_TIMEOUT, "gateway_not_cached",
            "There is no fresh answer in memory, and only-if-cached forbids asking Monime."),
    }
}

fn refuse(refused: Refused) -> Served {
    let operation = route::operation(refused);
    let mut served = answer(refusal_row(refused), Outcome::Refused, operation, None);
    let headers = served.response.headers_mut();
    if let Refused::MethodUnknown(template) = refused {
        headers.insert(ALLOW, allow(template));
    }
    if refused == Refused::BodyNotAllowed {
        // What follows on the connection is a body that nobody will read; it must not be taken for a request.
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    served
}

/// A lookup's path is asked as a lookup; of the others it is said what Monime has there.
fn allow(template: &str) -> HeaderValue {
    if template == CHECKOUT_SESSION {
        return HeaderValue::from_static("GET, HEAD");
    }
    let methods: Vec<&str> = methods(template).collect();
    HeaderValue::from_str(&methods.join(", ")).unwrap_or(HeaderValue::from_static("GET"))
}

fn fail(row: Row, cause: Option<Arc<lookup::Error>>) -> Served {
    answer(row, Outcome::Error, GET_CHECKOUT_SESSION, cause)
}

fn answer(row: Row, outcome: Outcome, operation: &'static str, cause: Option<Arc<lookup::Error>>) -> Served {
    let Row(status, reason, message) = row;
    let body = Envelope::new(status, reason, message).to_bytes();
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let cache_status = HeaderValue::from_str(&format!("monigate; detail={reason}"));
    headers.insert(CACHE_STATUS, cache_status.unwrap_or(HeaderValue::from_static("monigate")));
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Served { response, outcome, operation, failure: Some(Failed { reason, cause }) }
}

fn retry_after(served: &mut Served, seconds: u64) {
    served.response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
}

/// Whole seconds that are not shorter than `wait`, and at least one: 0 would ask for a busy loop. And at most a minute:
/// SDKs sleep exactly that long, without a cap of their own.
fn seconds_up(wait: Duration) -> u64 {
    wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).clamp(1, 60)
}

/// Passes on how Monime names and limits requests, so that its support can find them and SDKs wait as they should.
fn pass_on(served: &mut Served, flaw: Flaw, diagnostics: &Diagnostics) {
    let headers = served.response.headers_mut();
    for (name, value) in diagnostics.headers() {
        headers.insert(HeaderName::clone(name), value.clone());
    }
    headers.remove(RETRY_AFTER);
    match flaw {
        Flaw::Throttled | Flaw::Unavailable => retry_after(served, wait_of(diagnostics)),
        Flaw::Mismatch | Flaw::Unreadable | Flaw::Credentials | Flaw::Unexpected | Flaw::Failed | Flaw::TimedOut => {}
    }
}

/// Seconds of Monime's `Retry-After`.
fn wait_of(diagnostics: &Diagnostics) -> u64 {
    // Longer than the least where nothing is said: everyone who waits hears the same.
    upstream::retry_after(diagnostics.headers()).map_or(5, seconds_up)
}
