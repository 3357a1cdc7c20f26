//! A layer that bounds how many requests wait on Monime at once.
//!
//! Who finds no place is refused at once: queueing for a place to queue would only hide the overload.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use tower::Service;

use super::rescue::Error;

/// Lets so many calls through at a time; the others fail with [`Error::Overloaded`].
#[derive(Debug, Clone)]
pub(super) struct Admit<S> {
    inner: S,
    places: Places,
}

/// How many requests may wait, and how many do. Clones count together, also where they allow different numbers: who
/// came by older settings takes a place too.
#[derive(Debug, Clone)]
pub struct Places {
    most: usize,
    taken: Arc<AtomicUsize>,
}

/// One place; dropped, it is given back.
struct Place(Arc<AtomicUsize>);

impl Places {
    /// So many places, none of them taken.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { most, taken: Arc::default() }
    }

    /// The same places, now so many. Who has one keeps it.
    #[must_use]
    pub fn at_most(&self, most: usize) -> Self {
        Self { most, taken: Arc::clone(&self.taken) }
    }

    fn take(&self) -> Option<Place> {
        let one_more = |taken| (taken < self.most).then_some(taken + 1);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        Some(Place(Arc::clone(&self.taken)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<S> Admit<S> {
    pub(super) fn new(inner: S, places: Places) -> Self {
        Self { inner, places }
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
        let Some(place) = self.places.take() else {
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
        let admit = Admit::new(endless, Places::new(2));
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

    #[tokio::test]
    async fn places_that_were_taken_by_other_settings_are_taken() {
        let endless = service_fn(|()| std::future::pending::<Result<(), Error>>());
        let places = Places::new(2);
        let [old, fewer, more] = [2, 1, 3].map(|most| Admit::new(endless, places.at_most(most)));
        let is_full =
            |admit: &Admit<_>| matches!(admit.clone().oneshot(()).now_or_never(), Some(Err(Error::Overloaded)));
        let mut waiting: Vec<_> = (0..2).map(|_| Box::pin(old.clone().oneshot(()))).collect();
        assert!(waiting.iter_mut().all(|call| call.as_mut().now_or_never().is_none()));
        assert_eq!([&old, &fewer, &more].map(is_full), [true, true, false]);
        waiting.pop();
        assert_eq!([&old, &fewer, &more].map(is_full), [false, true, false]);
        waiting.pop();
        assert!(!is_full(&fewer));
    }
}
