//! A layer that makes a panic below it a failure like any other: one request's, and nobody else's.
//!
//! Without it the panic of one stream would end its whole connection, and of what was asked nothing would be counted.
//! Refuses to look at what a panic says, which could quote what was being handled; its place is in the log by then.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tower::Service;

use super::arrival::Arrival;
use super::rescue::{Error, Kind};
use super::served::Served;

/// Fails with [`Kind::Panicked`] where the inner service panics.
#[derive(Debug, Clone)]
pub(super) struct Contain<S> {
    inner: S,
}

pin_project! {
    /// The answer of one request, or the end of it.
    pub(super) struct Contained<F> {
        // None once it has panicked: what is left of it is never polled again.
        #[pin]
        inner: Option<F>,
        operation: &'static str,
    }
}

impl<S> Contain<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { inner }
    }
}

impl<S, B> Service<Arrival<B>> for Contain<S>
where
    S: Service<Arrival<B>, Response = Served, Error = Error>,
{
    type Response = Served;
    type Error = Error;
    type Future = Contained<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, arrival: Arrival<B>) -> Self::Future {
        let operation = arrival.operation;
        // Sound to go on with: each request has a clone of the stack, and what clones share is consistent under its locks.
        let inner = catch_unwind(AssertUnwindSafe(|| self.inner.call(arrival))).ok();
        Contained { inner, operation }
    }
}

impl<F> Future for Contained<F>
where
    F: Future<Output = Result<Served, Error>>,
{
    type Output = Result<Served, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Some(inner) = this.inner.as_mut().as_pin_mut()
            && let Ok(polled) = catch_unwind(AssertUnwindSafe(|| inner.poll(cx)))
        {
            return polled;
        }
        // What it held is given back before it is answered.
        this.inner.set(None);
        let operation = *this.operation;
        tracing::error!(operation, "a request panicked, and is answered with 500; this is a bug");
        Poll::Ready(Err(Kind::Panicked.of(operation)))
    }
}

#[cfg(test)]
mod tests {
    use std::future::{Ready, poll_fn, ready};
    use std::mem::take;
    use std::panic::resume_unwind;
    use std::pin::pin;
    use std::sync::Arc;

    use futures_util::FutureExt;
    use http::Request;
    use tower::{ServiceExt, service_fn};

    use super::*;
    use crate::gateway::arrival::RequestId;
    use crate::gateway::route::Refused;

    fn arrival() -> Arrival<()> {
        let request = Request::new(());
        let id = RequestId::of_headers(request.headers());
        Arrival { request, caller: Ok(None), id, came_at: tokio::time::Instant::now(), operation: "GetPayout" }
    }

    /// Unwinds as a panic does, without the words of one.
    fn dies() -> Result<Served, Error> {
        resume_unwind(Box::new("a secret"))
    }

    fn has_panicked(answer: Result<Served, Error>) -> bool {
        answer.is_err_and(|error| matches!(error.kind, Kind::Panicked) && error.operation == "GetPayout")
    }

    #[test]
    fn a_panic_in_the_call_itself_is_a_failure_of_the_request() {
        let dying = service_fn(|_: Arrival<()>| -> Ready<_> { ready(dies()) });
        assert!(has_panicked(Contain::new(dying).oneshot(arrival()).now_or_never().unwrap()));
    }

    #[test]
    fn a_panic_before_or_after_the_first_await_is_one_too_and_what_it_held_is_given_back() {
        for mut waits in [false, true] {
            let held = Arc::new(());
            let mut theirs = Some(Arc::clone(&held));
            let dying = service_fn(move |_: Arrival<()>| {
                let held = theirs.take();
                poll_fn(move |_| if take(&mut waits) && held.is_some() { Poll::Pending } else { Poll::Ready(dies()) })
            });
            let mut asking = pin!(Contain::new(dying).call(arrival()));
            if waits {
                assert!(asking.as_mut().now_or_never().is_none());
            }
            assert_eq!(Arc::strong_count(&held), 2);
            assert!(has_panicked(asking.as_mut().now_or_never().unwrap()));
            assert_eq!(Arc::strong_count(&held), 1, "though its future is still there");
        }
    }

    #[test]
    fn what_does_not_panic_is_as_it_was() {
        let refusing = service_fn(|_: Arrival<()>| ready(Err(Refused::NotCached.of("GetPayout").into())));
        let error = Contain::new(refusing).oneshot(arrival()).now_or_never().unwrap().unwrap_err();
        assert!(matches!(error.kind, Kind::Refused(Refused::NotCached)));
    }
}
