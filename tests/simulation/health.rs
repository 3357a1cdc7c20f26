//! When Monime must be left alone: what the breaker promises, from what the wire can see.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::world::{Call, Outcome};

/// So many failures, and so much of all attempts, open the breaker.
const FAILURES: usize = 20;
const PERCENT: usize = 80;
/// Attempts count for this long at least, and for this long at most.
const COUNTED: (Duration, Duration) = (Duration::from_secs(9), Duration::from_secs(11));
/// How long it then stays open.
const OPEN: Duration = Duration::from_secs(2);

#[derive(Default)]
pub(crate) struct Health {
    /// How many probes there were: what was sent before the last one no longer counts.
    period: u64,
    recent: VecDeque<(Instant, Outcome)>,
    probe: Option<usize>,
    rests_until: Option<Instant>,
    /// What the breaker must be at the next call, where that is known.
    next: Option<&'static str>,
}

impl Health {
    /// A call leaves while the breaker says this of itself. Whether it is a probe, and of which period it is.
    pub(crate) fn sends(&mut self, call: usize, word: &str, now: Instant, wrong: &mut Vec<String>) -> (bool, u64) {
        if let Some(probe) = self.probe {
            wrong.push(format!("call {call} leaves while probe {probe} is under way"));
        }
        if self.rests_until.is_some_and(|until| now < until) {
            wrong.push(format!("call {call} leaves while Monime is left alone"));
        }
        if word == "open" || self.next.is_some_and(|next| next != word) {
            wrong.push(format!("call {call} leaves while the breaker is {word}, not {:?}", self.next));
        }
        self.next = None;
        let probes = word == "half-open";
        if probes {
            self.period += 1;
            self.probe = Some(call);
            self.recent.clear();
        }
        (probes, self.period)
    }

    /// A call came out so; the breaker, which says this of itself, learns it next.
    pub(crate) fn ends(&mut self, number: usize, call: &Call, word: &str, now: Instant) {
        let Some((_, outcome)) = call.ended else { return };
        if self.probe == Some(number) {
            self.probe = None;
            self.next = Some(if outcome == Outcome::Well { "closed" } else { "half-open" });
            self.rests_until = (outcome == Outcome::Failed).then_some(now + OPEN);
            return;
        }
        if call.probe || call.period != self.period || word != "closed" {
            return;
        }
        self.recent.push_back((now, outcome));
        while self.recent.front().is_some_and(|(at, _)| *at + COUNTED.1 < now) {
            self.recent.pop_front();
        }
        let failures = self.recent.iter().filter(|(at, outcome)| *outcome == Outcome::Failed && *at + COUNTED.0 > now);
        let failures = failures.count();
        let well = self.recent.iter().filter(|(_, outcome)| *outcome == Outcome::Well).count();
        if outcome == Outcome::Failed && failures >= FAILURES && failures * 100 >= PERCENT * (failures + well) {
            self.next = Some("half-open");
            self.rests_until = Some(now + OPEN);
        }
    }
}
