//! A service that can be replaced while it serves.
//!
//! Each request goes, from its head to its answer, to the one that was current when it came. Refuses to wait: neither a
//! request nor a replacement ever waits for the other, and connections do not notice.

use std::sync::Arc;
use std::task::{Context, Poll};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::Response;
use http::request::Parts;
use tokio::time::Instant;
use tower::Service;

use super::fast_path::{FastPath, PlainHead};

/// Whatever service is current. Clones share it.
#[derive(Debug)]
pub struct Replaceable<S>(Arc<ArcSwap<S>>);

impl<S> Replaceable<S> {
    /// Serves with `service` until it is replaced.
    pub fn new(service: S) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(service)))
    }

    /// Serves every request from now on with `service`.
    pub fn replace(&self, service: S) {
        self.0.store(Arc::new(service));
    }
}

impl<S> Clone for Replaceable<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S, R> Service<R> for Replaceable<S>
where
    S: Service<R> + Clone,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        // What is served here is always ready: what waits, waits inside its call.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: R) -> Self::Future {
        let mut current = S::clone(&self.0.load());
        current.call(request)
    }
}

impl<S: FastPath> FastPath for Replaceable<S> {
    fn answer(&self, head: PlainHead<'_>, came_at: Instant, out: &mut Vec<u8>) -> Option<Bytes> {
        self.0.load().answer(head, came_at, out)
    }

    fn respond(&self, head: &Parts, came_at: Instant) -> Option<Response<Bytes>> {
        self.0.load().respond(head, came_at)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tokio::sync::oneshot;
    use tower::service_fn;

    use super::*;

    #[tokio::test]
    async fn a_request_is_served_to_its_end_by_the_service_that_was_current_when_it_came() {
        let named = |name: &'static str| {
            service_fn(move |gate: oneshot::Receiver<()>| async move {
                gate.await.unwrap();
                Ok::<_, Infallible>(name)
            })
        };
        let service = Replaceable::new(named("old"));
        let [(open_old, old), (open_new, new)] = [oneshot::channel(), oneshot::channel()];
        let mut connection = service.clone();
        let asked_before = connection.call(old);
        service.replace(named("new"));
        let asked_after = connection.call(new);
        open_new.send(()).unwrap();
        assert_eq!(asked_after.await, Ok("new"), "the same connection");
        open_old.send(()).unwrap();
        assert_eq!(asked_before.await, Ok("old"));
    }
}
