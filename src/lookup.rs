//! What became of this session? From memory when it can no longer change, else from Monime, once for everyone who asks.
//!
//! Two structures, one rule each: the store holds answers that were judged storable, and a reader trusts nothing but
//! their moments; the flights map holds at most one current flight for a key, and only a current flight may write the
//! store. Refuses to know HTTP callers, credentials or the wire.

mod answer;
mod flight;
mod landing;
mod pending;
mod store;
mod ttl;

#[cfg(test)]
pub(crate) mod tests;

use std::convert::Infallible;
use std::future::{Future, ready};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::Either;
use tokio::time::Instant;
use tower::Service;

pub use answer::{Answer, Diagnostics};
pub(crate) use answer::{CACHE_STATUS, X_REQUEST_ID};
pub use pending::PollAfter;
pub use ttl::Ttl;

use crate::monime::{Flaw, Key, KeyRef, SessionId, SpaceId};
use crate::telemetry::{Metrics, Outcome};
use crate::upstream::{Failure, Fetch, Reply};
use flight::{Boarded, Flights};
use landing::{Landing, Seat, fly, wait};
use pending::PendingKeys;
use store::Store;

/// What lookups may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of memory for kept answers.
    pub max_size: u64,
    /// Flights at a time.
    pub max_flights: usize,
    /// Lookups a second that Monime grants; it only paces what callers are told about polling.
    pub rate: u32,
}

/// Looks sessions up; clones share the memory. `F` is whoever can ask Monime.
#[derive(Debug)]
pub struct Lookups<F> {
    shared: Arc<Shared<F>>,
}

#[derive(Debug)]
struct Shared<F> {
    fetch: F,
    store: Store,
    ttl: Ttl,
    flights: Flights<Landing>,
    pending: PendingKeys,
    /// How the last flight came out, and when.
    last_landing: Mutex<Option<(&'static str, Instant)>>,
    metrics: Arc<Metrics>,
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

/// What a purge takes out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purge {
    /// One session, in all its versions.
    Session(SpaceId, SessionId),
    /// A whole space.
    Space(SpaceId),
    /// Everything.
    All,
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
    /// An empty memory in front of `fetch`.
    #[must_use]
    pub fn new(fetch: F, limits: Limits, ttl: Ttl, metrics: Arc<Metrics>) -> Self {
        let store = Store::new(limits.max_size, &ttl, Arc::clone(&metrics));
        let (flights, pending) = (Flights::new(limits.max_flights), PendingKeys::new(limits.rate));
        let shared = Shared { fetch, store, ttl, flights, pending, last_landing: Mutex::default(), metrics };
        Self { shared: Arc::new(shared) }
    }

    /// The kept answer, if it is fresh. Allocates nothing and waits for nobody.
    #[must_use]
    pub fn recall(&self, key: KeyRef<'_>) -> Option<Arc<Answer>> {
        self.shared.store.fresh(key, Instant::now())
    }

    /// Joins the current flight for `key`, or starts one. With `refresh`, a fresh answer in memory does not do.
    ///
    /// Boarding happens in this call, waiting in the returned future. Cancel-safe: dropping it leaves the flight to
    /// those who still wait, and to the store.
    ///
    /// # Panics
    /// Outside a tokio runtime: a flight is a task of its own.
    pub fn ask(&self, key: Key, refresh: bool) -> impl Future<Output = Result<Told, Arc<Error>>> + Send + use<F> {
        let store = &self.shared.store;
        let boarded = self.shared.flights.board(key, |key| match refresh {
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

    /// Takes answers out of memory, and keeps flights that are under way from storing theirs. Returns how many
    /// answers were removed.
    pub fn purge(&self, purge: &Purge) -> u64 {
        let matches = |key: &Key| match purge {
            Purge::Session(space, id) => key.space == *space && key.id == *id,
            Purge::Space(space) => key.space == *space,
            Purge::All => true,
        };
        self.shared.flights.ground(matches);
        self.shared.store.remove_all(matches)
    }

    /// When callers of a pending session should ask again.
    #[must_use]
    pub fn poll_after(&self) -> PollAfter {
        self.shared.pending.poll_after(Instant::now())
    }

    /// How the last flight came out, as its verdict's or its failure's word, and how long ago.
    #[must_use]
    pub fn last_landing(&self) -> Option<(&'static str, Duration)> {
        let last = *self.shared.last_landing.lock().unwrap_or_else(PoisonError::into_inner);
        last.map(|(word, at)| (word, at.elapsed()))
    }

    /// Lets the store drop what it must and reports sizes. To be called every second or so: the store does not sweep
    /// by itself.
    pub fn sweep(&self) {
        self.shared.store.sweep();
        let metrics = &self.shared.metrics;
        metrics.cache_entries.set(i64::try_from(self.shared.store.entries()).unwrap_or(i64::MAX));
        metrics.cache_weight.set(i64::try_from(self.shared.store.weight()).unwrap_or(i64::MAX));
        metrics.flights.set(i64::try_from(self.shared.flights.count().1).unwrap_or(i64::MAX));
    }
}

/// Sweeps `lookups` for as long as the returned future is polled.
pub async fn sweep_every<F>(lookups: Lookups<F>, period: Duration) -> Infallible
where
    F: Service<Fetch, Response = Reply, Error = Failure> + Clone + Send + Sync + 'static,
    F::Future: Send,
{
    let mut ticks = tokio::time::interval(period);
    loop {
        ticks.tick().await;
        lookups.sweep();
    }
}
