//! What became of this session? From memory when it can no longer change, else from Monime, once for everyone who asks.
//!
//! Two structures, one rule each: the store holds answers that were judged storable, and a reader trusts nothing but
//! their moments; the flights map holds at most one current flight for a key, and only a current flight may write the
//! store. Refuses to know HTTP callers, credentials or the wire.

mod answer;
mod flight;
mod head;
mod landing;
mod lifetimes;
mod memory;
mod pending;
mod store;

#[cfg(test)]
pub(crate) mod tests;

use std::future::{Future, ready};
use std::sync::Arc;

use futures_util::future::Either;
use tokio::time::Instant;
use tower::Service;

pub use answer::{Answer, Diagnostics};
pub(crate) use answer::{CACHE_STATUS, X_REQUEST_ID, via};
pub use lifetimes::{Lifetimes, StaleIfError, Ttl};
pub use memory::{Limits, Memory, Purge};
pub use pending::PollAfter;

use crate::monime::{Flaw, Key, KeyRef};
use crate::telemetry::Outcome;
use crate::upstream::{Failure, Fetch, Line, Reply};
use flight::Boarded;
use landing::{Seat, fly, wait};

/// Looks sessions up; clones share the memory. `F` is whoever can ask Monime.
#[derive(Debug)]
pub struct Lookups<F> {
    shared: Arc<Shared<F>>,
}

#[derive(Debug)]
struct Shared<F> {
    fetch: F,
    lifetimes: Lifetimes,
    memory: Memory,
}

/// What one caller is told.
#[derive(Debug, Clone)]
pub struct Told {
    /// Monime's answer.
    pub answer: Arc<Answer>,
    /// How this caller came by it.
    pub outcome: Outcome,
    /// Whether the answer is now in the store.
    pub stored: bool,
}

/// Why a lookup has no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Monime answered, but not what may be passed on.
    #[error("Monime's answer cannot be passed on: {}", .0.as_str())]
    Unusable(Flaw, Diagnostics),
    /// Monime did not answer.
    #[error(transparent)]
    Failed(#[from] Failure),
    /// As many flights are under way as may be.
    #[error("too many lookups are waiting for Monime")]
    Overloaded,
    /// The flight ended without a landing, which is a bug.
    #[error("the lookup was lost")]
    Lost,
}

// === impl Lookups ===

impl<F> Clone for Lookups<F> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<F> Lookups<F>
where
    F: Service<Fetch, Response = Reply, Error = Failure> + Clone + Send + Sync + 'static,
    F::Future: Send,
{
    /// Lookups in `memory`, and by `fetch` for what is not there.
    #[must_use]
    pub fn new(fetch: F, memory: Memory, lifetimes: Lifetimes) -> Self {
        Self { shared: Arc::new(Shared { fetch, lifetimes, memory }) }
    }

    /// What these lookups remember.
    #[must_use]
    pub fn memory(&self) -> &Memory {
        &self.shared.memory
    }

    /// The kept answer, if it is fresh at this moment. Allocates nothing and waits for nobody.
    #[must_use]
    pub fn recall(&self, key: KeyRef<'_>, now: Instant) -> Option<Arc<Answer>> {
        self.shared.memory.recall(key, now)
    }

    /// The kept answer, fresh or stale: for a caller who would otherwise be told that Monime failed.
    #[must_use]
    pub fn stand_in(&self, key: KeyRef<'_>) -> Option<Told> {
        let answer = self.shared.memory.inner().store.kept(key, Instant::now())?;
        Some(Told { answer, outcome: Outcome::Stale, stored: false })
    }

    /// Joins the current flight for `key`, or starts one; either stands in this `line` from now on. With `refresh`, a fresh
    /// answer in memory does not do.
    ///
    /// Boarding happens in this call, waiting in the returned future. Cancel-safe: dropping it leaves the flight to
    /// those who still wait, and to the store.
    ///
    /// # Panics
    /// Outside a tokio runtime: a flight is a task of its own.
    pub fn ask(
        &self,
        key: Key,
        line: Line,
        refresh: bool,
    ) -> impl Future<Output = Result<Told, Arc<Error>>> + Send + use<F> {
        let memory::Inner { store, flights, .. } = self.shared.memory.inner();
        let boarded = flights.board(key, line, |key| match refresh {
            true => None,
            false => store.fresh(key.as_ref(), Instant::now()),
        });
        match boarded {
            Boarded::Landed(answer) => Either::Left(ready(Ok(Told { answer, outcome: Outcome::Hit, stored: true }))),
            Boarded::Full => Either::Left(ready(Err(Arc::new(Error::Overloaded)))),
            Boarded::Joined(waiting) => Either::Right(wait(waiting, Seat::Joined)),
            Boarded::Leads(waiting, ticket) => {
                tokio::spawn(fly(Arc::clone(&self.shared), ticket));
                Either::Right(wait(waiting, Seat::Leads))
            }
        }
    }
}
