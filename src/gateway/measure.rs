//! A layer around everything: one request, one id, one caller, one metric, one line in the log, one in the audit if it
//! is refused.
//!
//! Also what holds for every answer, whoever made it: `X-Request-Id`, and no body for `HEAD`. Counts on drop, so that
//! a caller that left before its answer is counted too. Never logs a header, a body or a path.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::header::CONNECTION;
use http::{Method, Request, Response, StatusCode, Version};
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tower::Service;

use super::Terms;
use super::arrival::{Arrival, RequestId};
use super::body::Body;
use super::route;
use super::served::{Failed, Served};
use crate::caller::Caller;
use crate::lookup::X_REQUEST_ID;
use crate::monime::SpaceId;
use crate::telemetry::audit::{self, Asked};
use crate::telemetry::{Metrics, Outcome, causes};

/// What nginx writes for a caller that left before its answer.
const CALLER_LEFT: u16 = 499;

/// Measures the inner service.
#[derive(Debug, Clone)]
pub(super) struct Measure<S> {
    inner: S,
    terms: Arc<Terms>,
    metrics: Arc<Metrics>,
}

pin_project! {
    /// The answer of one request.
    pub(super) struct Measured<F> {
        #[pin]
        inner: F,
        request: Measurement,
    }
}

/// One request, from its head to its answer's head, or to the caller's leaving.
pub(super) struct Measurement {
    metrics: Arc<Metrics>,
    started: Instant,
    id: RequestId,
    /// What it is for, as far as its head says.
    operation: &'static str,
    /// Whether callers have names here.
    named: bool,
    caller: Option<Arc<Caller>>,
    head_only: bool,
    http1: bool,
    counted: bool,
}

/// What is counted of one request: how it came out, and whose it was.
#[derive(Debug, Clone, Copy)]
pub(super) struct Count<'a> {
    pub(super) operation: &'static str,
    pub(super) status: StatusCode,
    pub(super) outcome: Outcome,
    pub(super) failure: Option<&'a Failed>,
    /// Whether callers have names here.
    pub(super) named: bool,
    pub(super) caller: Option<&'a str>,
    pub(super) request_id: &'a RequestId,
    pub(super) took: Duration,
}

// === impl Measure ===

impl<S> Measure<S> {
    pub(super) fn new(inner: S, terms: Arc<Terms>, metrics: Arc<Metrics>) -> Self {
        Self { inner, terms, metrics }
    }
}

impl<S, B> Service<Request<B>> for Measure<S>
where
    S: Service<Arrival<B>, Response = Served, Error = Infallible>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Measured<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (started, id) = (Instant::now(), RequestId::of_headers(request.headers()));
        let (caller, operation) = (self.terms.door.who(&request), route::operation_of(&request));
        let measurement = Measurement {
            metrics: Arc::clone(&self.metrics),
            started,
            id,
            operation,
            named: self.terms.door.callers.is_some(),
            caller: caller.as_ref().ok().cloned().flatten(),
            head_only: request.method() == Method::HEAD,
            http1: request.version() < Version::HTTP_2,
            counted: false,
        };
        let arrival = Arrival { request, caller, id, came_at: started, operation };
        Measured { inner: self.inner.call(arrival), request: measurement }
    }
}

// === impl Measured ===

impl<F> Future for Measured<F>
where
    F: Future<Output = Result<Served, Infallible>>,
{
    type Output = Result<Response<Body>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Ok(served) = ready!(this.inner.poll(cx));
        Poll::Ready(Ok(this.request.answered(served)))
    }
}

// === impl Measurement ===

impl Measurement {
    /// Of a request that nobody is believed to have sent, and that was for nothing.
    pub(super) fn of_nobody(metrics: Arc<Metrics>, named: bool) -> Self {
        Self {
            metrics,
            started: Instant::now(),
            id: RequestId::of(None),
            operation: route::NO_OPERATION,
            named,
            caller: None,
            head_only: false,
            http1: true,
            counted: false,
        }
    }

    pub(super) fn answered(&mut self, served: Served) -> Response<Body> {
        let Served { mut response, outcome, operation, failure } = served;
        self.count(operation, response.status(), outcome, failure.as_ref());
        response.headers_mut().insert(X_REQUEST_ID, self.id.header());
        if !self.http1 {
            // HTTP/2 has no such header; its streams end without it.
            response.headers_mut().remove(CONNECTION);
        }
        if self.head_only {
            *response.body_mut() = Body::default();
        }
        response
    }

    fn count(&mut self, operation: &'static str, status: StatusCode, outcome: Outcome, failure: Option<&Failed>) {
        self.counted = true;
        let (caller, took) = (self.caller.as_ref().map(|caller| caller.name().as_ref()), self.started.elapsed());
        let (named, request_id) = (self.named, &self.id);
        Count { operation, status, outcome, failure, named, caller, request_id, took }.add_to(&self.metrics);
    }
}

impl Drop for Measurement {
    fn drop(&mut self) {
        if !self.counted {
            let status = StatusCode::from_u16(CALLER_LEFT).unwrap_or(StatusCode::BAD_REQUEST);
            self.count(self.operation, status, Outcome::Refused, None);
        }
    }
}

// === impl Count ===

impl Count<'_> {
    /// Counts it, and writes its lines.
    pub(super) fn add_to(&self, metrics: &Metrics) {
        let Self { operation, status, outcome, failure, named, caller, request_id, took } = *self;
        metrics.request(operation, status, outcome, took);
        if named {
            metrics.caller_request(caller, outcome);
        }
        if outcome == Outcome::Refused
            && let Some(Failed { reason, space, .. }) = failure
        {
            let space = space.as_ref().map(SpaceId::as_str);
            audit::refused(Asked { caller, operation, space, request_id: request_id.as_str() }, status, reason);
        }
        let status = status.as_u16();
        let duration_seconds = took.as_secs_f64();
        let (word, reason) = (outcome.as_str(), failure.map(|failure| failure.reason));
        if outcome == Outcome::Error {
            let cause = failure.and_then(|failure| failure.cause.as_deref()).map(|cause| causes(cause));
            tracing::warn!(
                outcome = word,
                caller,
                operation,
                status,
                duration_seconds,
                request_id = request_id.as_str(),
                reason,
                cause,
                "failed"
            );
        } else {
            tracing::debug!(
                outcome = word,
                caller,
                operation,
                status,
                duration_seconds,
                request_id = request_id.as_str(),
                reason,
                "answered"
            );
        }
    }
}
