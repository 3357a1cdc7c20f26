//! The layer that answers from memory, and the service below it that waits for Monime.
//!
//! What is no lookup is passed on. A hit is one plain function: it reads the request where it lies, reads the store once,
//! reads the kept head into a header map, copies a pointer to the body, and is done within the call. Only what is not in memory is copied and
//! passed down.

use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::{BoxFuture, Either};
use http_body::Body;
use tokio::time::timeout;
use tower::{BoxError, Service};

use super::Terms;
use super::admit::HasLine;
use super::answering;
use super::arrival::Arrival;
use super::errand::Errands;
use super::rescue::{Error, Kind};
use super::route::{self, Asked, Lookup, Refused};
use super::served::Served;
use crate::lookup::{Lookups, Told};
use crate::monime::Key;
use crate::monime::operation::GET_CHECKOUT_SESSION;
use crate::upstream::{Failure, Fetch, Line, Reply};

/// A lookup that memory could not answer.
#[derive(Debug)]
pub(super) struct Wanted {
    key: Key,
    /// Whose line it waits in.
    line: Line,
    refresh: bool,
    patience: Duration,
}

/// Answers from memory; passes down what is not there.
#[derive(Debug)]
pub(super) struct Recall<F, S> {
    desk: Arc<Desk<F>>,
    inner: S,
}

/// What every request is read against.
#[derive(Debug)]
struct Desk<F> {
    lookups: Lookups<F>,
    errands: Errands,
    terms: Arc<Terms>,
}

/// Waits for Monime, together with everyone else who wants the same.
#[derive(Debug)]
pub(super) struct Ask<F> {
    lookups: Lookups<F>,
}

type Later<T> = BoxFuture<'static, Result<T, Error>>;

// === impl Wanted ===

impl From<Lookup<'_>> for Wanted {
    fn from(lookup: Lookup<'_>) -> Self {
        let Lookup { key, caller, refresh, patience, .. } = lookup;
        let line = caller.map_or_else(Line::default, |caller| Line::of(caller.name()));
        Self { key: key.to_owned(), line, refresh, patience }
    }
}

impl HasLine for Wanted {
    fn line(&self) -> &Line {
        &self.line
    }
}

// === impl Recall ===

impl<F, S> Recall<F, S> {
    pub(super) fn new(inner: S, lookups: Lookups<F>, errands: Errands, terms: Arc<Terms>) -> Self {
        Self { desk: Arc::new(Desk { lookups, errands, terms }), inner }
    }
}

impl<F, S: Clone> Clone for Recall<F, S> {
    fn clone(&self) -> Self {
        Self { desk: Arc::clone(&self.desk), inner: self.inner.clone() }
    }
}

impl<F, S, B> Service<Arrival<B>> for Recall<F, S>
where
    F: Service<Fetch, Response = Reply, Error = Failure> + Clone + Send + Sync + 'static,
    F::Future: Send,
    S: Service<Wanted, Response = Told, Error = Error>,
    S::Future: Send + 'static,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Served;
    type Error = Error;
    type Future = Either<Ready<Result<Served, Error>>, Later<Served>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, arrival: Arrival<B>) -> Self::Future {
        let lookup = match route::read(&arrival, &self.desk.terms) {
            Ok(Asked::Lookup(lookup)) => lookup,
            Ok(Asked::Errand(errand)) => {
                let order = errand.order(arrival.request.uri(), arrival.id);
                let run = self.desk.errands.clone().run(order, arrival.request.into_body());
                return Either::Right(Box::pin(run));
            }
            Err(refusal) => return Either::Left(ready(Err(refusal.into()))),
        };
        if !lookup.refresh
            && let Some(answer) = self.desk.lookups.recall(lookup.key, arrival.came_at)
        {
            return Either::Left(ready(Ok(answering::hit(&answer, arrival.request.headers(), arrival.came_at))));
        }
        if lookup.only_if_cached {
            return Either::Left(ready(Err(Refused::NotCached.of(GET_CHECKOUT_SESSION).into())));
        }
        let told = self.inner.call(Wanted::from(lookup));
        let desk = Arc::clone(&self.desk);
        let (head, _) = arrival.request.into_parts();
        Either::Right(Box::pin(async move {
            let told = told.await?;
            Ok(answering::told(&told, &head.headers, || desk.lookups.memory().poll_after()))
        }))
    }
}

// === impl Ask ===

impl<F> Ask<F> {
    pub(super) fn new(lookups: Lookups<F>) -> Self {
        Self { lookups }
    }
}

impl<F> Clone for Ask<F> {
    fn clone(&self) -> Self {
        Self { lookups: self.lookups.clone() }
    }
}

impl<F> Service<Wanted> for Ask<F>
where
    F: Service<Fetch, Response = Reply, Error = Failure> + Clone + Send + Sync + 'static,
    F::Future: Send,
{
    type Response = Told;
    type Error = Error;
    type Future = Later<Told>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, wanted: Wanted) -> Self::Future {
        let Wanted { key, line, refresh, patience } = wanted;
        let lookups = self.lookups.clone();
        let told = timeout(patience, lookups.ask(key.clone(), line, refresh));
        Box::pin(async move {
            match told.await {
                Ok(told) => told.map_err(|error| Kind::Unanswered(error).of(GET_CHECKOUT_SESSION)),
                // For this caller it is the same as Monime's lateness, so a kept answer stands in here, too.
                Err(_) => lookups.stand_in(key.as_ref()).ok_or_else(|| Kind::OutOfPatience.of(GET_CHECKOUT_SESSION)),
            }
        })
    }
}
