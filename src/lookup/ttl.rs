//! How long answers are fresh, by what they mean.

use std::time::Duration;

use crate::monime::{Final, Verdict};

/// How far a time-to-live is spread, as a part of it, so that what came together does not go together.
const JITTER: f64 = 0.1;

/// How long each kind of answer counts as fresh, at most a year each. Zero means that it is not kept.
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

// === impl Ttl ===

impl Ttl {
    /// How long an answer that was judged so is fresh, spread by [`JITTER`]; zero for what is never kept.
    pub(super) fn of(&self, verdict: Verdict) -> Duration {
        let ttl = match verdict {
            Verdict::Final(Final::Completed) => self.completed,
            Verdict::Final(Final::Cancelled) => self.cancelled,
            Verdict::Final(Final::Expired) => self.expired,
            Verdict::Absent => self.absent,
            Verdict::Pending | Verdict::Unknown | Verdict::Word => Duration::ZERO,
        };
        ttl.mul_f64(1.0 - JITTER + 2.0 * JITTER * fastrand::f64())
    }

    /// The longest of them, spread included.
    pub(super) fn longest(&self) -> Duration {
        self.completed.max(self.cancelled).max(self.expired).max(self.absent).mul_f64(1.0 + JITTER)
    }
}
