//! A layer around everything: one request, one id, one metric, one line in the log.
//!
//! Also what holds for every answer, whoever made it: `X-Request-Id`, and no body for `HEAD`. Counts on drop, so that
//! a caller that left before its answer is counted too. Never logs a header, a body or a path.

use std::convert::Infallible;
use std::future::Future;
use std::io::Write as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::CONNECTION;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body_util::Full;
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tower::Service;

use super::served::{Failed, Served};
use crate::lookup::X_REQUEST_ID;
use crate::monime::operation::GET_CHECKOUT_SESSION;
use crate::telemetry::{Metrics, Outcome};

/// What nginx writes for a caller that left before its answer.
const CALLER_LEFT: u16 = 499;

/// Measures the inner service.
#[derive(Debug, Clone)]
pub(super) struct Measure<S> {
    inner: S,
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
struct Measurement {
    metrics: Arc<Metrics>,
    started: Instant,
    id: HeaderValue,
    head_only: bool,
    http1: bool,
    counted: bool,
}

// === impl Measure ===

impl<S> Measure<S> {
    pub(super) fn new(inner: S, metrics: Arc<Metrics>) -> Self {
        Self { inner, metrics }
    }
}

impl<S, B> Service<Request<B>> for Measure<S>
where
    S: Service<Request<B>, Response = Served, Error = Infallible>,
{
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Measured<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let measurement = Measurement {
            metrics: Arc::clone(&self.metrics),
            started: Instant::now(),
            id: request_id(request.headers()),
            head_only: request.method() == Method::HEAD,
            http1: request.version() < Version::HTTP_2,
            counted: false,
        };
        Measured { inner: self.inner.call(request), request: measurement }
    }
}

// === impl Measured ===

impl<F> Future for Measured<F>
where
    F: Future<Output = Result<Served, Infallible>>,
{
    type Output = Result<Response<Full<Bytes>>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Ok(served) = ready!(this.inner.poll(cx));
        Poll::Ready(Ok(this.request.answered(served)))
    }
}

// === impl Measurement ===

impl Measurement {
    fn answered(&mut self, served: Served) -> Response<Full<Bytes>> {
        let Served { mut response, outcome, operation, failure } = served;
        self.count(operation, response.status(), outcome, failure.as_ref());
        // Moved, not cloned: the first clone of a value that owns its bytes allocates.
        let id = std::mem::replace(&mut self.id, HeaderValue::from_static("-"));
        response.headers_mut().insert(X_REQUEST_ID, id);
        if !self.http1 {
            // HTTP/2 has no such header; its streams end without it.
            response.headers_mut().remove(CONNECTION);
        }
        if self.head_only {
            *response.body_mut() = Full::default();
        }
        response
    }

    fn count(&mut self, operation: &'static str, status: StatusCode, outcome: Outcome, failure: Option<&Failed>) {
        self.counted = true;
        let took = self.started.elapsed();
        self.metrics.request(operation, status, outcome, took);
        let (status, request_id) = (status.as_u16(), self.id.to_str().unwrap_or_default());
        let duration_seconds = took.as_secs_f64();
        let (word, reason) = (outcome.as_str(), failure.map(|failure| failure.reason));
        if outcome == Outcome::Error {
            let cause = failure.and_then(|failure| failure.cause.as_deref()).map(|cause| causes(cause));
            tracing::warn!(outcome = word, operation, status, duration_seconds, request_id, reason, cause, "failed");
        } else {
            tracing::debug!(outcome = word, operation, status, duration_seconds, request_id, reason, "answered");
        }
    }
}

impl Drop for Measurement {
    fn drop(&mut self) {
        if !self.counted {
            let status = StatusCode::from_u16(CALLER_LEFT).unwrap_or(StatusCode::BAD_REQUEST);
            self.count(GET_CHECKOUT_SESSION, status, Outcome::Refused, None);
        }
    }
}

/// An error and what is behind it, in one line.
fn causes(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(": ");
        line.push_str(&error.to_string());
        cause = error.source();
    }
    line
}

/// The caller's id for its request if it is one that may stand in a log, else a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let usable = |id: &&HeaderValue| (1..=64).contains(&id.len()) && id.as_bytes().iter().all(allowed);
    if let Some(id) = headers.get(X_REQUEST_ID).filter(usable) {
        return id.clone();
    }
    let mut id = [0_u8; 16];
    // Exactly 16 digits fit exactly 16 bytes.
    let _ = write!(id.as_mut_slice(), "{:016x}", fastrand::u64(..));
    HeaderValue::from_bytes(&id).unwrap_or(HeaderValue::from_static("-"))
}
