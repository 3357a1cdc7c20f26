//! A layer that ends waiting: whatever is below has so long and no longer.
//!
//! Dropping what is below is how it is stopped, so everything below must be cancel-safe.

use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::timeout;
use tower::Service;

use super::failure::{Bound, Failure};

/// Fails with [`Failure::TimedOut`] when the inner service takes longer than its limit.
#[derive(Debug, Clone)]
pub(super) struct Deadline<S> {
    inner: S,
    limit: Duration,
    bound: Bound,
}

impl<S> Deadline<S> {
    pub(super) fn attempt(inner: S, limit: Duration) -> Self {
        Self { inner, limit, bound: Bound::Attempt }
    }

    pub(super) fn total(inner: S, limit: Duration) -> Self {
        Self { inner, limit, bound: Bound::Total }
    }
}

impl<S, R> Service<R> for Deadline<S>
where
    S: Service<R, Error = Failure>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = Failure;
    type Future = BoxFuture<'static, Result<S::Response, Failure>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let Self { limit, bound, .. } = *self;
        let answer = timeout(limit, self.inner.call(request));
        Box::pin(async move { answer.await.unwrap_or(Err(Failure::TimedOut(bound))) })
    }
}

#[cfg(test)]
mod tests {
    use tower::{ServiceExt, service_fn};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_takes_too_long_is_dropped_at_the_limit_and_not_before() {
        let slow = service_fn(|seconds: u64| async move {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            Ok::<_, Failure>(seconds)
        });
        let bounded = Deadline::attempt(slow, Duration::from_millis(5_500));
        assert_eq!(bounded.clone().oneshot(5).await.unwrap(), 5);
        let started = tokio::time::Instant::now();
        let failure = bounded.oneshot(6).await.unwrap_err();
        assert!(matches!(failure, Failure::TimedOut(Bound::Attempt)), "{failure:?}");
        assert_eq!(started.elapsed(), Duration::from_millis(5_500));
    }
}
