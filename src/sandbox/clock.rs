//! The sandbox's time: tokio's clock, which tests can pause, plus what a control call has skipped.
//!
//! Owns how a moment is shown. Refuses to ask the wall clock more than once, so that shown times and the time-outs
//! behind them can never drift apart.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// The furthest that one call may skip: a year, far inside the number range.
pub(super) const MAX_ADVANCE: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// What time it is for sessions and idempotency keys.
#[derive(Debug)]
pub(super) struct Clock {
    began: Instant,
    shown_at_begin: SystemTime,
    skipped: Duration,
}

impl Clock {
    pub(super) fn start() -> Self {
        Self { began: Instant::now(), shown_at_begin: SystemTime::now(), skipped: Duration::ZERO }
    }

    pub(super) fn now(&self) -> Instant {
        let now = Instant::now();
        now.checked_add(self.skipped).unwrap_or(now)
    }

    /// Skips `span`. False, and nothing skipped, when the clock cannot count that far.
    pub(super) fn advance(&mut self, span: Duration) -> bool {
        let skipped = self.skipped.checked_add(span).filter(|skipped| Instant::now().checked_add(*skipped).is_some());
        if let Some(skipped) = skipped {
            self.skipped = skipped;
        }
        skipped.is_some()
    }

    /// The wall-clock time of `moment`.
    pub(super) fn wall(&self, moment: Instant) -> SystemTime {
        let since = moment.saturating_duration_since(self.began);
        self.shown_at_begin.checked_add(since).unwrap_or(self.shown_at_begin)
    }

    /// Whole seconds since 1970 at `moment`.
    pub(super) fn unix(&self, moment: Instant) -> u64 {
        self.wall(moment).duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
    }

    /// `moment` as Monime writes times: RFC 3339, UTC, milliseconds.
    pub(super) fn shown(&self, moment: Instant) -> String {
        humantime::format_rfc3339_millis(self.wall(moment)).to_string()
    }
}
