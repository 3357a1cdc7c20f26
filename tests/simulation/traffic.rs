//! How fast Monime is asked: its limits, and ours within them, in every window there is.

use std::time::Duration;

use monigate::monime::Rates;
use tokio::time::Instant;

/// How far apart two calls leave that must not meet in one second at Monime.
const SECOND: Duration = Duration::from_millis(1050);
/// The pause after a 429 that does not say how long, and the longest that is believed.
const PAUSE: u64 = 1;
const MAX_PAUSE: u64 = 60;
/// How long a halved share stays at most a half.
const HALVED: Duration = Duration::from_secs(10);

/// The places of one limit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    Endpoint,
    Token,
    Space(usize),
}

/// What leaves for Monime and what arrives, by scope.
pub(crate) struct Traffic {
    lanes: Vec<Lane>,
}

struct Lane {
    scope: Scope,
    limit: u32,
    share: f64,
    sent: Vec<Instant>,
    arrived: Vec<Instant>,
    paused_until: Option<Instant>,
    halved_at: Option<Instant>,
}

impl Scope {
    /// The one that a 429 names, to a call for this space.
    pub(crate) fn named(name: Option<&str>, space: usize) -> Self {
        match name {
            Some("token-limit") => Self::Token,
            Some("space-limit") => Self::Space(space),
            _ => Self::Endpoint,
        }
    }

    fn holds(self, of: usize) -> bool {
        !matches!(self, Self::Space(space) if space != of)
    }
}

impl Traffic {
    pub(crate) fn new(rates: Rates, share: f64) -> Self {
        let Rates { endpoint, token, space } = rates;
        let scopes =
            [(Scope::Endpoint, endpoint), (Scope::Token, token), (Scope::Space(0), space), (Scope::Space(1), space)];
        let lane = |(scope, limit)| Lane {
            scope,
            limit,
            share,
            sent: Vec::new(),
            arrived: Vec::new(),
            paused_until: None,
            halved_at: None,
        };
        Self { lanes: scopes.map(lane).into() }
    }

    pub(crate) fn sends(&mut self, space: usize, now: Instant, wrong: &mut Vec<String>) {
        for lane in self.lanes.iter_mut().filter(|lane| lane.scope.holds(space)) {
            lane.sent.push(now);
            wrong.extend(lane.sends_too_fast(now).map(|what| format!("{:?}: {what}", lane.scope)));
        }
    }

    pub(crate) fn arrives(&mut self, space: usize, now: Instant, wrong: &mut Vec<String>) {
        for lane in self.lanes.iter_mut().filter(|lane| lane.scope.holds(space)) {
            lane.arrived.push(now);
            let before = lane.arrived.iter().nth_back(lane.limit as usize);
            if before.is_some_and(|before| now - *before < Duration::from_secs(1)) {
                wrong.push(format!("{:?}: more than {} arrive in one second", lane.scope, lane.limit));
            }
        }
    }

    pub(crate) fn throttled(&mut self, scope: Scope, sent_at: Instant, wait: Option<u64>, now: Instant) {
        let until = now + Duration::from_secs(wait.unwrap_or(PAUSE).min(MAX_PAUSE));
        for lane in self.lanes.iter_mut().filter(|lane| lane.scope == scope) {
            lane.paused_until = lane.paused_until.max(Some(until));
            if lane.halved_at.is_none_or(|halved| sent_at > halved) {
                lane.halved_at = Some(now);
            }
        }
    }
}

impl Lane {
    fn sends_too_fast(&self, now: Instant) -> Option<String> {
        if self.paused_until.is_some_and(|until| now < until) {
            return Some("a call leaves during a pause".to_owned());
        }
        let (most, width) = pace(f64::from(self.limit) * self.share);
        // Rounded to nanoseconds on both sides.
        let width = width.saturating_sub(Duration::from_micros(1));
        if self.sent.iter().nth_back(most).is_some_and(|before| now - *before < width) {
            return Some(format!("more than {most} leave in {width:?}"));
        }
        let halved = self.halved_at.filter(|halved| now < *halved + HALVED)?;
        // Evenly spread, so a started call more or less.
        let most = (f64::from(self.limit) * self.share / 2.0).ceil().max(1.0) as usize;
        let recent = |at: &&Instant| **at > halved && **at + SECOND > now;
        let few = self.sent.iter().rev().take_while(recent).count();
        (few > most).then(|| format!("{few} leave in {SECOND:?}, though a 429 left {most}"))
    }
}

/// At most so many calls in any window of this width.
fn pace(calls: f64) -> (usize, Duration) {
    let most = calls.floor().max(1.0);
    (most as usize, SECOND.mul_f64((most / calls).max(1.0)))
}
