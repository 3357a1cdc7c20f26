//! From every way to fail to a response: the only file that picks a status for a failure.
//!
//! Every match is exhaustive, so that a new failure does not compile until it has its row. Says what happened and what
//! to do, in Monime's envelope; refuses to show causes, which go to the log, or anything that Monime or an edge wrote.

mod refusals;
mod rejections;

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::Map;
use http::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER,
    WWW_AUTHENTICATE,
};
use http::{HeaderMap, Response, StatusCode};
use tower::Service;

use super::body::Body;
use super::route::{Refusal, Refused};
use super::served::{Failed, Served};
use crate::caller::Unproved;
use crate::lookup::{self, CACHE_STATUS, Diagnostics};
use crate::monime::operation::{CHECKOUT_SESSION, GET_CHECKOUT_SESSION, methods};
use crate::monime::{Envelope, Flaw, SpaceId};
use crate::telemetry::Outcome;
use crate::upstream::{self, Failure};
pub(super) use rejections::turned_away;

/// Everything that can keep a request from an answer.
#[derive(Debug)]
pub(super) enum Kind {
    /// The request is at fault.
    Refused(Refused),
    /// Too many requests wait on Monime.
    Overloaded,
    /// The caller's own deadline passed.
    OutOfPatience,
    /// Monime's answer, or what there is in its place, is nothing for callers.
    Unanswered(Arc<lookup::Error>),
    /// A write was sent, or may have been, and nobody knows how it came out.
    OutcomeUnknown(Option<Arc<lookup::Error>>),
    /// What was to answer it panicked, which is a bug.
    Panicked,
}

/// What kept a request from an answer, and what it was about.
#[derive(Debug)]
pub(super) struct Error {
    pub(super) kind: Kind,
    pub(super) operation: &'static str,
    /// The space that it named, if it is one of the gateway's; for the audit.
    pub(super) space: Option<SpaceId>,
}

impl Kind {
    /// The error of a request for this operation.
    pub(super) fn of(self, operation: &'static str) -> Error {
        Error { kind: self, operation, space: None }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        let Refusal { why, operation, space } = refusal;
        Self { kind: Kind::Refused(why), operation, space }
    }
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
    let Error { kind, operation, space } = error;
    let mut served = match kind {
        Kind::Refused(refused) => refuse(refused),
        Kind::Overloaded => overloaded(None),
        Kind::OutOfPatience => fail(UPSTREAM_TIMEOUT, None),
        Kind::Unanswered(error) => unanswered(&error),
        Kind::OutcomeUnknown(cause) => fail(outcome_unknown(cause.as_deref()), cause),
        Kind::Panicked => fail(INTERNAL, None),
    };
    served.operation = operation;
    if let Some(failure) = &mut served.failure {
        failure.space = space;
    }
    served
}

fn overloaded(cause: Option<Arc<lookup::Error>>) -> Served {
    let mut served = fail(OVERLOADED, cause);
    retry_after(&mut served, 1);
    served
}

/// Late, or lost: in neither case may anybody send it again under another key.
fn outcome_unknown(cause: Option<&lookup::Error>) -> Row {
    let late = match cause {
        None | Some(lookup::Error::Failed(Failure::TimedOut(_)) | lookup::Error::Unusable(Flaw::TimedOut, _)) => true,
        Some(lookup::Error::Failed(_) | lookup::Error::Unusable(..)) => false,
        Some(lookup::Error::Overloaded | lookup::Error::Lost) => false,
    };
    let status = if late { StatusCode::GATEWAY_TIMEOUT } else { StatusCode::BAD_GATEWAY };
    Row(
        status,
        "gateway_outcome_unknown",
        "Nobody knows whether Monime carried this out. Look it up, or repeat it with the same Idempotency-Key and no other.",
    )
}

const OVERLOADED: Row = Row(
    StatusCode::SERVICE_UNAVAILABLE,
    "gateway_overloaded",
    "Too many requests are waiting on Monime. Try again in a moment.",
);
const INTERNAL: Row = Row(
    StatusCode::INTERNAL_SERVER_ERROR,
    "gateway_internal",
    "The gateway lost this request. This is a bug of the gateway's; look at what became of it before trying again.",
);
const UPSTREAM_TIMEOUT: Row =
    Row(StatusCode::GATEWAY_TIMEOUT, "gateway_upstream_timeout", "Monime did not answer in time. Try again.");

fn unanswered(error: &Arc<lookup::Error>) -> Served {
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
            "The gateway asks Monime as often as it may, and this request found no turn. Wait as Retry-After says.",
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
            "Monime answered with a status that it never has here, so it is not passed on.",
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

fn refuse(refused: Refused) -> Served {
    let mut served = answer(refusals::row(refused), Outcome::Refused, None);
    let status = served.response.status();
    let headers = served.response.headers_mut();
    if let Refused::MethodUnknown(template) = refused {
        headers.insert(ALLOW, allow(template));
    }
    if leaves_a_body(refused) {
        // What follows on the connection is a body that nobody will read; it must not be taken for a request.
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if status == StatusCode::UNAUTHORIZED {
        // RFC 9110, 11.6.1, and RFC 6750, 3.
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"monigate\""));
    }
    if let Refused::RateLimited(wait) = refused {
        retry_after(&mut served, seconds_up(wait));
    }
    if refused == Refused::Unproved(Unproved::NotReady) {
        retry_after(&mut served, 1);
    }
    served
}

fn leaves_a_body(refused: Refused) -> bool {
    matches!(refused, Refused::BodyNotAllowed | Refused::BodyTooLarge | Refused::BodyBroken | Refused::BodyTimedOut)
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
    answer(row, Outcome::Error, cause)
}

fn answer(row: Row, outcome: Outcome, cause: Option<Arc<lookup::Error>>) -> Served {
    let Row(status, reason, message) = row;
    say(status, reason, message, outcome, cause)
}

fn say(
    status: StatusCode,
    reason: &'static str,
    message: &str,
    outcome: Outcome,
    cause: Option<Arc<lookup::Error>>,
) -> Served {
    let body = Envelope::new(status, reason, message).to_bytes();
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let cache_status = HeaderValue::from_str(&format!("monigate; detail={reason}"));
    headers.insert(CACHE_STATUS, cache_status.unwrap_or(HeaderValue::from_static("monigate")));
    let mut response = Response::new(Body::whole(body));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    let failure = Some(Failed { reason, cause, space: None });
    Served { response, outcome, operation: GET_CHECKOUT_SESSION, failure }
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
