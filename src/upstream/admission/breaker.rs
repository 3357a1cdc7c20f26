//! A circuit breaker: after many failures Monime is left alone for a moment, then asked by one probe.
//!
//! Owns counting how attempts came out. Refuses to decide what a failure is: whoever ends a permit says so. Its memory
//! is ten counters, however much is asked.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// How many of the last seconds count, the current one included: an attempt counts for nine to ten of them.
const SECONDS: u64 = 10;
/// Fewer attempts than this prove nothing.
const MIN_ATTEMPTS: u64 = 20;
/// So many of a hundred attempts must have failed.
const PERCENT: u64 = 80;
/// How long Monime is left alone.
const OPEN: Duration = Duration::from_secs(2);
/// What is said while a probe is under way: nobody knows when it will be back, but soon.
const PROBING: Duration = Duration::from_secs(1);

/// Closed, open or half-open, and why.
#[derive(Debug)]
pub(super) struct Breaker {
    phase: Phase,
    /// Which phase this is; a permit of another one no longer counts.
    generation: u64,
    /// From where seconds are counted.
    epoch: Instant,
}

#[derive(Debug)]
enum Phase {
    Closed(Window),
    Open { until: Instant },
    HalfOpen { probing: bool },
}

/// The state, as operators see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Everyone may ask.
    Closed,
    /// One probe may ask.
    HalfOpen,
    /// Nobody may ask.
    Open,
}

/// A transition, for a log line and a gauge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) from: State,
    pub(super) to: State,
}

/// The right to send one attempt. Whoever holds it must [`Breaker::end`] it, or a half-open breaker waits for ever.
#[derive(Debug)]
#[must_use = "a probe that is never ended keeps everyone else from asking"]
pub(super) struct Permit {
    generation: u64,
}

/// How an attempt came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Monime is well.
    Success,
    /// Monime is not well, or whoever asked gave up waiting for it.
    Failure,
    /// It says nothing about Monime's health: a 429, or an attempt that was never sent.
    Neutral,
}

/// How the attempts of the last seconds came out; only seconds with attempts, oldest first.
#[derive(Debug, Default)]
struct Window(VecDeque<Second>);

#[derive(Debug)]
struct Second {
    number: u64,
    attempts: u64,
    failures: u64,
}

// === impl Breaker ===

impl Breaker {
    /// Closed, and with no past.
    pub(super) fn new(now: Instant) -> Self {
        Self { phase: Phase::Closed(Window::default()), generation: 0, epoch: now }
    }

    /// The state; an open breaker is open until somebody takes the probe's permit.
    pub(super) fn state(&self) -> State {
        match self.phase {
            Phase::Closed(_) => State::Closed,
            Phase::Open { .. } => State::Open,
            Phase::HalfOpen { .. } => State::HalfOpen,
        }
    }

    /// Whether it makes sense to wait for a turn at all.
    ///
    /// # Errors
    /// About how long until the next probe.
    pub(super) fn check(&self, now: Instant) -> Result<(), Duration> {
        match self.phase {
            Phase::Closed(_) | Phase::HalfOpen { probing: false } => Ok(()),
            Phase::HalfOpen { probing: true } => Err(PROBING),
            Phase::Open { until } if now >= until => Ok(()),
            Phase::Open { until } => Err(until.saturating_duration_since(now)),
        }
    }

    /// Whether it makes sense for one to wait that takes no permit: it teaches nothing, and is no probe.
    ///
    /// # Errors
    /// How long Monime is left alone.
    pub(super) fn heed(&self, now: Instant) -> Result<(), Duration> {
        match self.phase {
            Phase::Open { until } if now < until => Err(until.saturating_duration_since(now)),
            Phase::Open { .. } | Phase::HalfOpen { .. } | Phase::Closed(_) => Ok(()),
        }
    }

    /// Permits one attempt, which is to be sent at once; the first one after the open time is the probe.
    ///
    /// # Errors
    /// As [`Self::check`].
    pub(super) fn start(&mut self, now: Instant) -> Result<(Permit, Option<Change>), Duration> {
        self.check(now)?;
        let change = match &mut self.phase {
            Phase::Closed(_) => None,
            Phase::HalfOpen { probing } => {
                *probing = true;
                None
            }
            Phase::Open { .. } => Some(self.enter(Phase::HalfOpen { probing: true })),
        };
        Ok((Permit { generation: self.generation }, change))
    }

    /// Takes a permit back and learns from it. What an earlier phase sent no longer says anything about this one.
    pub(super) fn end(&mut self, permit: Permit, verdict: Verdict, now: Instant) -> Option<Change> {
        if permit.generation != self.generation {
            return None;
        }
        let second = now.saturating_duration_since(self.epoch).as_secs();
        match (&mut self.phase, verdict) {
            (Phase::Closed(window), Verdict::Success | Verdict::Failure) => {
                let failed = verdict == Verdict::Failure;
                window.count(second, failed);
                // A success may be the twentieth attempt, but it is no reason.
                (failed && window.is_bad()).then(|| self.enter(Phase::Open { until: now + OPEN }))
            }
            (Phase::HalfOpen { .. }, Verdict::Success) => Some(self.enter(Phase::Closed(Window::default()))),
            (Phase::HalfOpen { .. }, Verdict::Failure) => Some(self.enter(Phase::Open { until: now + OPEN })),
            (Phase::HalfOpen { probing }, Verdict::Neutral) => {
                *probing = false;
                None
            }
            (Phase::Closed(_), Verdict::Neutral) | (Phase::Open { .. }, _) => None,
        }
    }

    fn enter(&mut self, phase: Phase) -> Change {
        let from = self.state();
        self.phase = phase;
        self.generation += 1;
        Change { from, to: self.state() }
    }
}

// === impl State ===

impl State {
    /// The word for the log.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half-open",
            Self::Open => "open",
        }
    }

    /// The number for the gauge: the higher, the worse.
    pub(super) fn number(self) -> i64 {
        match self {
            Self::Closed => 0,
            Self::HalfOpen => 1,
            Self::Open => 2,
        }
    }
}

// === impl Window ===

impl Window {
    /// Counts one attempt that came out in this second, and forgets what is too old.
    fn count(&mut self, number: u64, failed: bool) {
        while self.0.front().is_some_and(|oldest| oldest.number + SECONDS <= number) {
            self.0.pop_front();
        }
        let failures = u64::from(failed);
        match self.0.back_mut() {
            // Not only the same one: who read the clock first need not be here first.
            Some(last) if last.number >= number => {
                last.attempts += 1;
                last.failures += failures;
            }
            Some(_) | None => self.0.push_back(Second { number, attempts: 1, failures }),
        }
    }

    fn is_bad(&self) -> bool {
        let attempts: u64 = self.0.iter().map(|second| second.attempts).sum();
        let failures: u64 = self.0.iter().map(|second| second.failures).sum();
        attempts >= MIN_ATTEMPTS && failures * 100 >= attempts * PERCENT
    }
}

#[cfg(test)]
mod tests;
