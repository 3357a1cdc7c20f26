//! What outlives a change of settings: the kept answers, the flights under way, and what is known of pending sessions.
//!
//! Clones share it. Refuses to ask anyone: that is the lookups' part, and theirs is replaced when settings change.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::answer::Answer;
use super::flight::Flights;
use super::landing::Landing;
use super::pending::{PendingKeys, PollAfter};
use super::store::Store;
use crate::monime::{Key, KeyRef, SessionId, SpaceId};
use crate::telemetry::Metrics;

/// How often memory is swept: often enough that what was evicted does not stay, seldom enough to cost nothing.
const SWEEP: Duration = Duration::from_secs(1);
/// How often it is searched for answers that nobody may be told any more. They would make room when room is needed;
/// this is for the sake of what they say about people.
const COLLECT: Duration = Duration::from_secs(60);

/// What memory may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes for kept answers; fixed for the life of the memory.
    pub max_size: u64,
    /// Flights at a time.
    pub max_flights: usize,
    /// Lookups a second that Monime grants; it only paces what callers are told about polling.
    pub rate: u32,
}

/// The shared state of lookups.
#[derive(Debug, Clone)]
pub struct Memory(Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) store: Store,
    pub(super) flights: Flights<Landing>,
    pub(super) pending: PendingKeys,
    /// How the last flight came out, and when.
    last_landing: Mutex<Option<(&'static str, Instant)>>,
    pub(super) metrics: Arc<Metrics>,
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

// === impl Memory ===

impl Memory {
    /// An empty memory.
    #[must_use]
    pub fn new(limits: Limits, metrics: Arc<Metrics>) -> Self {
        let store = Store::new(limits.max_size, Arc::clone(&metrics));
        let (flights, pending) = (Flights::new(limits.max_flights), PendingKeys::new(limits.rate));
        Self(Arc::new(Inner { store, flights, pending, last_landing: Mutex::default(), metrics }))
    }

    /// The kept answer, if it is fresh at this moment. Allocates nothing and waits for nobody.
    #[must_use]
    pub fn recall(&self, key: KeyRef<'_>, now: Instant) -> Option<Arc<Answer>> {
        self.0.store.fresh(key, now)
    }

    /// From now on at most so many flights. What is under way stays under way.
    pub fn limit(&self, max_flights: usize) {
        self.0.flights.limit(max_flights);
    }

    /// From now on so many lookups a second, for what callers are told about polling.
    pub fn pace(&self, rate: u32) {
        self.0.pending.pace(rate);
    }

    /// Takes answers out, and keeps flights that are under way from storing theirs. Returns how many answers were
    /// removed.
    pub fn purge(&self, purge: &Purge) -> u64 {
        let matches = |key: &Key| match purge {
            Purge::Session(space, id) => key.space == *space && key.id == *id,
            Purge::Space(space) => key.space == *space,
            Purge::All => true,
        };
        self.0.flights.ground(matches);
        self.0.store.remove_all(matches)
    }

    /// When callers of a pending session should ask again.
    #[must_use]
    pub fn poll_after(&self) -> PollAfter {
        self.0.pending.poll_after(Instant::now())
    }

    /// How the last flight came out, as its verdict's or its failure's word, and how long ago.
    #[must_use]
    pub fn last_landing(&self) -> Option<(&'static str, Duration)> {
        let last = *self.0.last_landing.lock().unwrap_or_else(PoisonError::into_inner);
        last.map(|(word, at)| (word, at.elapsed()))
    }

    /// Lets the store drop what it must and reports sizes.
    pub fn sweep(&self) {
        let Inner { store, flights, metrics, .. } = &*self.0;
        store.sweep();
        metrics.cache_entries.set(i64::try_from(store.entries()).unwrap_or(i64::MAX));
        metrics.cache_weight.set(i64::try_from(store.weight()).unwrap_or(i64::MAX));
        metrics.flights.set(i64::try_from(flights.count().1).unwrap_or(i64::MAX));
    }

    /// Takes out what nobody may be told any more. Looks at every entry, so it is not for a runtime's own threads.
    pub fn collect(&self) {
        self.0.store.collect(Instant::now());
    }

    /// Sweeps and collects for as long as the returned future is polled: the store does neither by itself.
    pub async fn tend(self) -> Infallible {
        let mut ticks = tokio::time::interval(SWEEP);
        let mut collected = Instant::now();
        loop {
            ticks.tick().await;
            if collected.elapsed() >= COLLECT {
                let memory = self.clone();
                // It cannot panic, and a runtime that shuts down needs no collection.
                let _ = tokio::task::spawn_blocking(move || memory.collect()).await;
                collected = Instant::now();
            }
            self.sweep();
        }
    }

    pub(super) fn inner(&self) -> &Inner {
        &self.0
    }
}

// === impl Inner ===

impl Inner {
    /// Remembers, for operators, how the last flight came out.
    pub(super) fn remember(&self, word: &'static str) {
        *self.last_landing.lock().unwrap_or_else(PoisonError::into_inner) = Some((word, Instant::now()));
    }
}
