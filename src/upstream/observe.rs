//! A layer that counts what was sent to Monime and how long it took.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use tokio::time::Instant;
use tower::Service;

use super::{Failure, Fetch, Reply};
use crate::monime::operation::GET_CHECKOUT_SESSION;
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
    started: Instant,
    reply: Option<Result<http::StatusCode, &'static str>>,
}

impl<S> Observe<S> {
    pub(super) fn new(inner: S, metrics: Arc<Metrics>) -> Self {
        Self { inner, metrics }
    }
}

impl<S> Service<Fetch> for Observe<S>
where
    S: Service<Fetch, Response = Reply, Error = Failure>,
    S::Future: Send + 'static,
{
    type Response = Reply;
    type Error = Failure;
    type Future = BoxFuture<'static, Result<Reply, Failure>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, fetch: Fetch) -> Self::Future {
        let mut attempt = Attempt { metrics: Arc::clone(&self.metrics), started: Instant::now(), reply: None };
        let reply = self.inner.call(fetch);
        Box::pin(async move {
            let reply = reply.await;
            attempt.ended(&reply);
            reply
        })
    }
}

impl Attempt {
    fn ended(&mut self, reply: &Result<Reply, Failure>) {
        self.reply = Some(reply.as_ref().map(|reply| reply.status).map_err(Failure::as_str));
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let code = match &self.reply {
            Some(Ok(status)) => status.as_str(),
            Some(Err(failure)) => failure,
            None => "abandoned",
        };
        self.metrics.upstream_request(GET_CHECKOUT_SESSION, code, self.started.elapsed());
    }
}
