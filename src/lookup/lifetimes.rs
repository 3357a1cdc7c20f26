//! How long answers are fresh, and how long after that they may stand in for a Monime that fails, by what they mean.

use std::time::Duration;

use crate::monime::{Final, Verdict};

/// How far a time-to-live is spread, as a part of it, so that what came together does not go together.
const JITTER: f64 = 0.1;

/// The two spans of an answer's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetimes {
    /// How long it is told without asking Monime.
    pub ttl: Ttl,
    /// How much longer it is told when Monime fails.
    pub stale_if_error: StaleIfError,
}

/// How long each kind of answer counts as fresh. Zero means that it is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ttl {
    /// For `completed`.
    pub completed: Duration,
    /// For `cancelled`.
    pub cancelled: Duration,
    /// For `expired`.
    pub expired: Duration,
    /// For a 404.
    pub absent: Duration,
}

/// How long each kind of answer may stand in after it was fresh, as RFC 5861 means it. Zero means not at all. A 404
/// never does: the session may have been made since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StaleIfError {
    /// For `completed`.
    pub completed: Duration,
    /// For `cancelled`, which may yet become `completed`.
    pub cancelled: Duration,
    /// For `expired`, which may yet become `completed`.
    pub expired: Duration,
}

// === impl Lifetimes ===

impl Lifetimes {
    /// For an answer that was judged so. What is not kept stands in for nothing.
    pub(super) fn of(&self, verdict: Verdict) -> (Duration, Duration) {
        match self.ttl.of(verdict) {
            Duration::ZERO => (Duration::ZERO, Duration::ZERO),
            ttl => (ttl, self.stale_if_error.of(verdict)),
        }
    }
}

// === impl Ttl ===

impl Ttl {
    /// How long an answer that was judged so is fresh, spread by [`JITTER`]; zero for what is never kept.
    fn of(&self, verdict: Verdict) -> Duration {
        let ttl = match verdict {
            Verdict::Final(Final::Completed) => self.completed,
            Verdict::Final(Final::Cancelled) => self.cancelled,
            Verdict::Final(Final::Expired) => self.expired,
            Verdict::Absent => self.absent,
            Verdict::Pending | Verdict::Unknown | Verdict::Word => Duration::ZERO,
        };
        ttl.mul_f64(1.0 - JITTER + 2.0 * JITTER * fastrand::f64())
    }
}

// === impl StaleIfError ===

impl StaleIfError {
    /// How long an answer that was judged so may stand in; exact, because it is a promise and not a habit.
    fn of(&self, verdict: Verdict) -> Duration {
        match verdict {
            Verdict::Final(Final::Completed) => self.completed,
            Verdict::Final(Final::Cancelled) => self.cancelled,
            Verdict::Final(Final::Expired) => self.expired,
            Verdict::Absent | Verdict::Pending | Verdict::Unknown | Verdict::Word => Duration::ZERO,
        }
    }
}
