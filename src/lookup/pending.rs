//! How many sessions are being polled, and so how often each may be.
//!
//! Monime's rate is shared by all pending sessions: with twenty lookups a second and a hundred sessions, asking for
//! one more often than every five seconds only makes another wait.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::monime::Key;

/// How long a pending session counts after it was last seen pending: longer than the longest wait, or those who are told
/// to wait that long would be forgotten in the meantime, and everyone told to ask too often.
const COUNTED_FOR: Duration = Duration::from_secs(90);
/// The least and the most that a caller is told to wait, in seconds.
const SECONDS: (u32, u32) = (3, 60);

/// How many seconds a caller should let pass before it asks for a pending session again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PollAfter(pub u32);

/// The keys that were seen pending of late.
#[derive(Debug)]
pub(super) struct PendingKeys {
    rate: AtomicU32,
    hasher: foldhash::fast::RandomState,
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    /// Hashes of keys, and when each was last seen: two keys that collide are counted as one, which harms nobody.
    keys: HashMap<u64, Instant>,
    pruned: Instant,
}

impl PendingKeys {
    pub(super) fn new(rate: u32) -> Self {
        let seen = Seen { keys: HashMap::new(), pruned: Instant::now() };
        Self {
            rate: AtomicU32::new(rate.max(1)),
            hasher: foldhash::fast::RandomState::default(),
            seen: Mutex::new(seen),
        }
    }

    /// From now on so many lookups a second.
    pub(super) fn pace(&self, rate: u32) {
        self.rate.store(rate.max(1), Ordering::Relaxed);
    }

    /// Counts a key that Monime just called pending.
    pub(super) fn saw(&self, key: &Key, now: Instant) {
        let mut seen = self.seen(now);
        let hash = self.hasher.hash_one(key);
        // Beyond this number the answer is the longest wait whatever is added, so nothing needs to be.
        let full = seen.keys.len() >= usize::try_from(self.rate().saturating_mul(SECONDS.1)).unwrap_or(usize::MAX);
        if !full || seen.keys.contains_key(&hash) {
            seen.keys.insert(hash, now);
        }
    }

    /// The wait that lets every pending session be asked for in turn.
    pub(super) fn poll_after(&self, now: Instant) -> PollAfter {
        let turns = self.seen(now).count().div_ceil(self.rate());
        PollAfter(turns.clamp(SECONDS.0, SECONDS.1))
    }

    /// Whether this session was read, and was pending, less than a round of all pending ones ago.
    pub(super) fn is_early(&self, key: &Key, now: Instant) -> bool {
        let seen = self.seen(now);
        let round = Duration::from_secs(u64::from(seen.count())) / self.rate();
        let last = seen.keys.get(&self.hasher.hash_one(key));
        last.is_some_and(|last| now.saturating_duration_since(*last) < round)
    }

    fn seen(&self, now: Instant) -> MutexGuard<'_, Seen> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.prune(now);
        seen
    }

    fn rate(&self) -> u32 {
        self.rate.load(Ordering::Relaxed)
    }
}

impl Seen {
    /// At most once a second: looking at every key for every answer would cost more than it tells.
    fn prune(&mut self, now: Instant) {
        if now.duration_since(self.pruned) >= Duration::from_secs(1) {
            self.pruned = now;
            self.keys.retain(|_, seen| now.duration_since(*seen) < COUNTED_FOR);
        }
    }

    fn count(&self) -> u32 {
        u32::try_from(self.keys.len()).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monime::{SessionId, SpaceId, Version};

    fn key(number: u32) -> Key {
        Key {
            space: SpaceId::parse("spc-1").unwrap(),
            id: SessionId::parse(&format!("scs-{number}")).unwrap(),
            version: Version::parse("v1").unwrap(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_wait_grows_with_the_sessions_and_shrinks_when_they_are_forgotten() {
        let pending = PendingKeys::new(20);
        assert_eq!(pending.poll_after(Instant::now()), PollAfter(3));
        for number in 0..100 {
            pending.saw(&key(number), Instant::now());
            pending.saw(&key(number), Instant::now());
        }
        assert_eq!(pending.poll_after(Instant::now()), PollAfter(5));
        pending.saw(&key(100), Instant::now());
        assert_eq!(pending.poll_after(Instant::now()), PollAfter(6), "a started turn is a turn");
        tokio::time::advance(Duration::from_secs(89)).await;
        pending.saw(&key(7), Instant::now());
        assert_eq!(pending.poll_after(Instant::now()), PollAfter(6));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(pending.poll_after(Instant::now()), PollAfter(3));
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_is_early_until_all_that_are_pending_have_had_a_turn() {
        let pending = PendingKeys::new(20);
        let start = Instant::now();
        assert!(!pending.is_early(&key(0), start), "it was never read");
        for number in 0..100 {
            pending.saw(&key(number), start);
        }
        assert!(pending.is_early(&key(7), start + Duration::from_millis(4999)));
        assert!(!pending.is_early(&key(7), start + Duration::from_secs(5)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_sessions_costs_bounded_memory_and_the_longest_wait() {
        let pending = PendingKeys::new(5);
        for number in 0..100_000 {
            pending.saw(&key(number), Instant::now());
        }
        assert_eq!(pending.poll_after(Instant::now()), PollAfter(60));
        assert_eq!(pending.seen.lock().unwrap().keys.len(), 300);
    }
}
