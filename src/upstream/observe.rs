//! A layer that counts what was sent to Monime and how long it took.
//!
//! Of an answer whose body streams, that is to the end of its head.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use tokio::time::Instant;
use tower::Service;

use super::Failure;
use super::asking::{Answers, Asks};
use crate::telemetry::Metrics;

/// Counts every attempt once, with its status or the word for its failure.
#[derive(Debug, Clone)]
pub(super) struct Observe<S> {
    inner: S,
    metrics: Arc<Metrics>,
}

/// One attempt; it counts on drop, so that an abandoned one counts too.
struct Attempt {
    metrics: Arc<Metrics>,
    operation: &'static str,
    started: Instant,
    reply: Option<Result<http::StatusCode, &'static str>>,
}

impl<S> Observe<S> {
    pub(super) fn new(inner: S, metrics: Arc<Metrics>) -> Self {
        Self { inner, metrics }
    }
}

impl<S, R> Service<R> for Observe<S>
where
    S: Service<R, Error = Failure>,
    S::Response: Answers + Send,
    S::Future: Send + 'static,
    R: Asks,
{
    type Response = S::Response;
    type Error = Failure;
    type Future = BoxFuture<'static, Result<S::Response, Failure>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let (metrics, operation) = (Arc::clone(&self.metrics), request.operation());
        let mut attempt = Attempt { metrics, operation, started: Instant::now(), reply: None };
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            attempt.ended(&answer);
            answer
        })
    }
}

impl Attempt {
    fn ended(&mut self, answer: &Result<impl Answers, Failure>) {
        self.reply = Some(answer.as_ref().map(Answers::status).map_err(Failure::as_str));
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let code = match &self.reply {
            Some(Ok(status)) => status.as_str(),
            Some(Err(failure)) => failure,
            None => "abandoned",
        };
        self.metrics.upstream_request(self.operation, code, self.started.elapsed());
    }
}
