//! The answers that are kept: a map bounded by what its entries cost in memory.
//!
//! A reader judges an entry by its own moments, on tokio's clock: fresh, stale or gone. moka's eviction is how memory is
//! bounded, nothing more; its time-to-live is not used, since it cannot change when settings do.

use std::sync::Arc;

use moka::notification::RemovalCause;
use moka::ops::compute::Op;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use tokio::time::Instant;

use super::answer::Answer;
use crate::monime::{Key, KeyRef};
use crate::telemetry::Metrics;

/// The kept answers.
#[derive(Debug)]
pub(super) struct Store {
    entries: Cache<Key, Arc<Answer>, foldhash::fast::RandomState>,
    metrics: Arc<Metrics>,
}

// === impl Store ===

impl Store {
    pub(super) fn new(max_size: u64, metrics: Arc<Metrics>) -> Self {
        let evictions = metrics.cache_evictions.clone();
        let entries = Cache::builder()
            .name("answers")
            .max_capacity(max_size)
            // Not moka's default: that one keeps newcomers out by how often they were asked for before, and a session
            // that has just been paid for is asked for next.
            .eviction_policy(EvictionPolicy::lru())
            .weigher(|key, answer: &Arc<Answer>| u32::try_from(answer.weight(key)).unwrap_or(u32::MAX))
            .eviction_listener(move |_, _, cause| match cause {
                RemovalCause::Expired | RemovalCause::Size => evictions.inc(),
                RemovalCause::Explicit | RemovalCause::Replaced => {}
            })
            .build_with_hasher(foldhash::fast::RandomState::default());
        Self { entries, metrics }
    }

    /// The answer under `key`, if it is fresh at `now`.
    pub(super) fn fresh(&self, key: KeyRef<'_>, now: Instant) -> Option<Arc<Answer>> {
        self.entries.get(&key).filter(|answer| answer.is_fresh(now))
    }

    /// The answer under `key`, if it may still be told at `now`: fresh, or in the place of a failure.
    pub(super) fn kept(&self, key: KeyRef<'_>, now: Instant) -> Option<Arc<Answer>> {
        self.entries.get(&key).filter(|answer| !answer.is_gone(now))
    }

    /// Puts `answer` in the place of what is kept, or nothing if it is not to be kept. Says whether it is.
    pub(super) fn keep(&self, key: Key, answer: &Arc<Answer>, now: Instant) -> bool {
        // One that was under way for longer than it is fresh may still stand in for a failure.
        let lasts = !answer.is_gone(now);
        if lasts {
            self.entries.insert(key, Arc::clone(answer));
        } else {
            self.entries.invalidate(&key);
        }
        lasts
    }

    /// Removes what matches; returns how many answers that were.
    pub(super) fn remove_all(&self, matches: impl Fn(&Key) -> bool) -> u64 {
        // Weakly consistent, which is enough: whatever was there before the call is seen, and no flight from before
        // the call can store any more.
        let keys = self.entries.iter().map(|(key, _)| key).filter(|key| matches(key));
        keys.filter(|key| self.entries.remove(key.as_ref()).is_some()).fold(0, |removed, _| removed + 1)
    }

    /// Removes what is gone at `now`.
    pub(super) fn collect(&self, now: Instant) {
        for (key, _) in self.entries.iter().filter(|(_, answer)| answer.is_gone(now)) {
            // Judged again under the entry's lock: a newer answer may have come in the meantime.
            self.entries.entry(Key::clone(&key)).and_compute_with(|entry| match entry {
                Some(entry) if entry.value().is_gone(now) => {
                    self.metrics.cache_evictions.inc();
                    Op::Remove
                }
                Some(_) | None => Op::Nop,
            });
        }
    }

    /// Lets moka apply what it has put off: evictions above all.
    pub(super) fn sweep(&self) {
        self.entries.run_pending_tasks();
    }

    pub(super) fn entries(&self) -> u64 {
        self.entries.entry_count()
    }

    pub(super) fn weight(&self) -> u64 {
        self.entries.weighted_size()
    }
}
