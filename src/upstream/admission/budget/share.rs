//! How much of a limit is ours: halved when Monime says it was too much, regrown while it does not.
//!
//! Owns the arithmetic alone. Refuses to run a timer: what has regrown is computed when somebody looks.

use std::time::Duration;

use tokio::time::Instant;

/// A second at Monime and what a call may lose on its way: two calls that leave so far apart never meet in one second.
const SECOND: f64 = 1.05;
/// The longest width, however small the share: an hour. Keeps every moment within what a clock can tell.
const LONGEST: f64 = 3600.0;
/// The most calls that one window remembers. A limit beyond it is kept as if it were this one.
const MOST: f64 = 10_000.0;
/// What is left of a share however often it is halved: enough to notice that it may grow again.
const LEAST: f64 = 1.0 / 64.0;
/// Time between two steps of growth.
const STEP: Duration = Duration::from_secs(10);
/// Growth in one step, in parts of the configured share.
const GROWTH: f64 = 0.05;

/// At most `most` calls in any half-open interval of this width.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Pace {
    pub(super) most: usize,
    pub(super) width: Duration,
}

/// The part of the configured share that is in force.
#[derive(Debug)]
pub(super) struct Share {
    part: f64,
    /// The part at which Monime last said that it was too much.
    ceiling: f64,
    halved_at: Option<Instant>,
    /// When it next grows; none when there is nothing to regrow.
    grows_at: Option<Instant>,
}

// === impl Pace ===

impl Pace {
    /// The pace that keeps `limit × share` calls a second.
    pub(super) fn of(limit: u32, share: f64) -> Self {
        let calls = (f64::from(limit.max(1)) * share).min(MOST);
        let most = calls.floor().max(1.0);
        let width = (SECOND * (most / calls).max(1.0)).min(LONGEST);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and MOST")]
        Self { most: most as usize, width: Duration::from_secs_f64(width) }
    }
}

// === impl Share ===

impl Share {
    pub(super) fn full() -> Self {
        Self { part: 1.0, ceiling: 1.0, halved_at: None, grows_at: None }
    }

    pub(super) fn part(&self) -> f64 {
        self.part
    }

    pub(super) fn is_full(&self) -> bool {
        self.grows_at.is_none()
    }

    pub(super) fn grows_at(&self) -> Option<Instant> {
        self.grows_at
    }

    /// Halves it, unless the call that was refused had been sent before the last halving could help.
    pub(super) fn halve(&mut self, sent_at: Instant, now: Instant) -> bool {
        if self.halved_at.is_some_and(|halved| sent_at <= halved) {
            return false;
        }
        self.ceiling = self.part;
        self.part = (self.part / 2.0).max(LEAST);
        self.halved_at = Some(now);
        self.grows_at = Some(now + STEP);
        true
    }

    /// Takes the steps of growth that are due.
    pub(super) fn grow(&mut self, now: Instant) {
        while let Some(due) = self.grows_at.filter(|due| *due <= now) {
            self.part = (self.part + GROWTH).min(1.0);
            self.grows_at = (self.part < 1.0).then(|| due + STEP);
        }
    }
}
