//! A layer that bounds how many requests wait on Monime at once.
//!
//! Who finds no place is refused at once: queueing for a place to queue would only hide the overload.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;
use tower::Service;

use super::rescue::Error;

/// Lets so many calls through at a time; the others fail with [`Error::Overloaded`].
#[derive(Debug, Clone)]
pub(super) struct Admit<S> {
    inner: S,
    places: Arc<Semaphore>,
}

impl<S> Admit<S> {
    pub(super) fn new(inner: S, places: usize) -> Self {
        Self { inner, places: Arc::new(Semaphore::new(places)) }
    }
}

impl<S, R> Service<R> for Admit<S>
where
    S: Service<R, Error = Error>,
    S::Future: Send + 'static,
    S::Response: Send + 'static,
{
    type Response = S::Response;
    type Error = Error;
    type Future = BoxFuture<'static, Result<S::Response, Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            return Box::pin(std::future::ready(Err(Error::Overloaded)));
        };
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            drop(place);
            answer
        })
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tower::{ServiceExt, service_fn};

    use super::*;

    #[tokio::test]
    async fn who_finds_no_place_is_refused_and_who_leaves_makes_room() {
        let endless = service_fn(|()| std::future::pending::<Result<(), Error>>());
        let admit = Admit::new(endless, 2);
        let mut waiting = Vec::new();
        for _ in 0..2 {
            let mut call = Box::pin(admit.clone().oneshot(()));
            assert!(call.as_mut().now_or_never().is_none());
            waiting.push(call);
        }
        assert!(matches!(admit.clone().oneshot(()).await, Err(Error::Overloaded)));
        waiting.pop();
        assert!(admit.oneshot(()).now_or_never().is_none());
    }
}
