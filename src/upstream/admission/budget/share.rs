//! How much of a limit is ours: less whenever Monime says that it was too much, regrown while it does not.
//!
//! Owns the arithmetic alone, which lets gateways on one token settle without talking. Refuses to run a timer: what has
//! regrown is computed when somebody looks.

use std::time::Duration;

use tokio::time::Instant;

/// A second at Monime and what a call may lose on its way: two calls that leave so far apart never meet in one second.
const SECOND: f64 = 1.05;
/// The longest width, however small the share: an hour. Keeps every moment within what a clock can tell.
const LONGEST: f64 = 3600.0;
/// The most calls that one window remembers. A limit beyond it is kept as if it were this one.
const MOST: f64 = 10_000.0;
/// What is left of a share however often it is cut: enough to notice that it may grow again.
const LEAST: f64 = 1.0 / 64.0;
/// The part of itself that a share loses: as much as it is, within these. So a large one is halved and a small one,
/// whose calls are refused for what others send, is not driven out.
const CUT: (f64, f64) = (0.1, 0.5);
/// Time between two steps of growth.
const STEP: Duration = Duration::from_secs(10);
/// Growth in one step, in parts of the configured share.
const GROWTH: f64 = 0.05;
/// So long after a cut the limit is probably shared, and growth is gentle.
const GENTLE: Duration = Duration::from_secs(90);
/// Gentle growth is this over the square of the share: 1 % at a fifth, never more than [`GROWTH`]. The smaller grow
/// faster than the larger, which makes them equal.
const GENTLENESS: f64 = 0.0004;

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
    cut_at: Option<Instant>,
    /// When it next grows; none while it is full.
    grows_at: Option<Instant>,
}

// === impl Pace ===

impl Pace {
    /// The pace that keeps `limit × share` calls a second.
    pub(super) fn of(limit: u32, share: f64) -> Self {
        let calls = (f64::from(limit.max(1)) * share).min(MOST);
        let most = calls.floor().max(1.0);
        let width = (SECOND * (most / calls).max(1.0)).min(LONGEST);
        Self { most: most as usize, width: Duration::from_secs_f64(width) }
    }
}

// === impl Share ===

impl Share {
    pub(super) fn full() -> Self {
        Self { part: 1.0, cut_at: None, grows_at: None }
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

    /// How far apart two calls are at least: nothing at a full share; else its calls are spread evenly, since a gateway
    /// that sends its second's worth at once locks out the others.
    pub(super) fn gap(&self, limit: u32, configured: f64) -> Duration {
        if self.is_full() {
            return Duration::ZERO;
        }
        let calls = f64::from(limit.max(1)) * configured * self.part;
        Duration::from_secs_f64((SECOND / calls).min(LONGEST))
    }

    /// Cuts it, unless the call that was refused had been sent before the last cut could help. Whether it did.
    pub(super) fn cut(&mut self, sent_at: Instant, now: Instant) -> bool {
        if self.cut_at.is_some_and(|cut| sent_at <= cut) {
            return false;
        }
        let (least, most) = CUT;
        self.part = (self.part * (1.0 - self.part.clamp(least, most))).max(LEAST);
        self.cut_at = Some(now);
        self.grows_at = Some(now + STEP);
        true
    }

    /// Takes the steps of growth that are due.
    pub(super) fn grow(&mut self, now: Instant) {
        while let Some(due) = self.grows_at.filter(|due| *due <= now) {
            let gentle = self.cut_at.is_some_and(|cut| due <= cut + GENTLE);
            let step = if gentle { (GENTLENESS / self.part.powi(2)).min(GROWTH) } else { GROWTH };
            self.part = (self.part + step).min(1.0);
            self.grows_at = (self.part < 1.0).then(|| due + STEP);
        }
    }
}
