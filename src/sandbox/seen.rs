//! What reached the sandbox: how much, how fast, and what the last request looked like.
//!
//! Owns counting requests to Monime's routes, refused ones included. Refuses to show a credential: tests and people
//! read what this returns, and somebody may one day point an application with a real token here.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use http::header::{AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::Serialize;
use tokio::time::Instant;

use super::api::Operation;
use super::asked::{Asked, Recent, Ticket};
use super::limiter::Window;
use super::tokens::Tokens;

/// Long enough to look back over a demo or a load test, short enough to stay small.
const HISTORY: Duration = Duration::from_secs(15 * 60);
/// Longer values are cut when shown: enough for any header that a gateway sets.
const SHOWN: usize = 256;
/// What stands in the place of a value that may be a secret.
const WITHHELD: &str = "(withheld)";
/// Under which name requests are counted that fit no operation the sandbox plays.
const OTHER: &str = "other";

/// What reached the sandbox since it started, or since it was last told to forget.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Seen {
    /// Every request to Monime's routes, whatever was answered.
    pub requests: u64,
    /// How many of them were answered 429.
    pub throttled: u64,
    /// The most requests within any sliding second.
    pub busiest: u32,
    /// The same three, by `operationId`; `other` for what is none.
    pub operations: BTreeMap<&'static str, Traffic>,
    /// How often each fault was met, by the name that JSON has for it.
    pub faults: BTreeMap<&'static str, u64>,
    /// Requests per second that had any, over the last 15 minutes, oldest first.
    pub seconds: Vec<Second>,
    /// The last request to Monime's routes.
    pub last: Option<Heard>,
}

/// How much of one operation was asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Traffic {
    /// Every request, whatever was answered.
    pub requests: u64,
    /// How many of them were answered 429.
    pub throttled: u64,
    /// The most requests within any sliding second.
    pub busiest: u32,
}

/// One second of the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Second {
    /// Whole seconds since counting began.
    pub at: u64,
    /// How many requests arrived in it.
    pub requests: u32,
}

/// A request as it arrived, without its secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Heard {
    /// Its method.
    pub method: String,
    /// Its path and query.
    pub target: String,
    /// Every header field in its order; what may be a credential reads `(withheld)`, long values are cut.
    pub headers: Vec<(String, String)>,
}

/// Counts what arrives.
#[derive(Debug)]
pub(super) struct Tally {
    began: Instant,
    all: Counter,
    operations: BTreeMap<&'static str, Counter>,
    faults: BTreeMap<&'static str, u64>,
    seconds: VecDeque<Second>,
    recent: Recent,
    last: Option<(String, String, HeaderMap)>,
}

#[derive(Debug, Default)]
struct Counter {
    traffic: Traffic,
    recent: Window,
}

// === impl Heard ===

impl Heard {
    /// The value of a header that stands exactly once.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(header, _)| header.eq_ignore_ascii_case(name));
        match (found.next(), found.next()) {
            (Some((_, value)), None) => Some(value),
            _ => None,
        }
    }
}

// === impl Tally ===

impl Tally {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            began: now,
            all: Counter::default(),
            operations: BTreeMap::new(),
            faults: BTreeMap::new(),
            seconds: VecDeque::new(),
            recent: Recent::default(),
            last: None,
        }
    }

    /// Begins anew. What is still to be told to a request from before does not count.
    pub(super) fn forget(&mut self, now: Instant) {
        let mut recent = std::mem::take(&mut self.recent);
        recent.clear();
        *self = Self { recent, ..Self::new(now) };
    }

    pub(super) fn since_it_began(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.began)
    }

    pub(super) fn heard(&mut self, asked: Asked, parts: Parts, now: Instant) -> Ticket {
        self.all.heard(now);
        self.operations.entry(name(asked.operation)).or_default().heard(now);
        if let Some(fault) = &asked.fault {
            *self.faults.entry(fault.name()).or_default() += 1;
        }
        let at = asked.at.as_secs();
        match self.seconds.back_mut() {
            Some(second) if second.at == at => second.requests += 1,
            _ => self.seconds.push_back(Second { at, requests: 1 }),
        }
        while self.seconds.front().is_some_and(|second| second.at + HISTORY.as_secs() <= at) {
            self.seconds.pop_front();
        }
        // Kept as it came and made presentable only when somebody looks: a load test should not pay for it.
        self.last = Some((parts.method.to_string(), parts.uri.to_string(), parts.headers));
        self.recent.push(asked)
    }

    /// Notes what a request was told, unless it was forgotten meanwhile.
    pub(super) fn told(&mut self, ticket: Ticket, status: StatusCode) {
        let Some(asked) = self.recent.of(ticket) else { return };
        asked.status = Some(status);
        if status == StatusCode::TOO_MANY_REQUESTS {
            self.all.traffic.throttled += 1;
            self.operations.entry(name(asked.operation)).or_default().traffic.throttled += 1;
        }
    }

    pub(super) fn asked(&self) -> Vec<Asked> {
        self.recent.all().cloned().collect()
    }

    pub(super) fn seen(&self, tokens: &Tokens) -> Seen {
        let Traffic { requests, throttled, busiest } = self.all.traffic;
        Seen {
            requests,
            throttled,
            busiest,
            operations: self.operations.iter().map(|(name, counter)| (*name, counter.traffic)).collect(),
            faults: self.faults.clone(),
            seconds: self.seconds.iter().copied().collect(),
            last: self.last.as_ref().map(|(method, target, headers)| Heard {
                method: method.clone(),
                target: if tokens.may_stand_in(target) { WITHHELD.to_owned() } else { cut(target) },
                headers: headers.iter().map(|(name, value)| (name.to_string(), shown(name, value, tokens))).collect(),
            }),
        }
    }
}

// === impl Counter ===

impl Counter {
    fn heard(&mut self, now: Instant) {
        self.recent.take(now);
        self.traffic.requests += 1;
        self.traffic.busiest = self.traffic.busiest.max(self.recent.count(now));
    }
}

fn shown(name: &HeaderName, value: &HeaderValue, tokens: &Tokens) -> String {
    let text = String::from_utf8_lossy(value.as_bytes());
    if [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION].contains(name) || tokens.may_stand_in(&text) {
        WITHHELD.to_owned()
    } else {
        cut(&text)
    }
}

fn name(operation: Option<Operation>) -> &'static str {
    operation.map_or(OTHER, Operation::as_str)
}

fn cut(text: &str) -> String {
    text.chars().take(SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use super::super::fault::Fault;
    use super::*;

    fn parts(headers: &[(&str, &str)]) -> Parts {
        let mut request = http::Request::get("/v1/checkout-sessions/scs-1");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn hear(tally: &mut Tally, headers: &[(&str, &str)], now: Instant) -> Ticket {
        let (at, operation, fault) = (tally.since_it_began(now), Some(Operation::Get), Some(Fault::Reset));
        let asked = Asked { at, operation, session: None, token: None, status: None, fault, turn: None };
        tally.heard(asked, parts(headers), now)
    }

    #[test]
    fn the_busiest_second_is_any_second_not_a_clocks() {
        let start = Instant::now();
        let mut tally = Tally::new(start);
        for millis in [0, 600, 900, 1100, 1200, 1599, 1600, 5000] {
            hear(&mut tally, &[], start + Duration::from_millis(millis));
        }
        let seen = tally.seen(&Tokens::default());
        assert_eq!((seen.requests, seen.busiest), (8, 5), "0.6 s to 1.599 s");
        let seconds: Vec<(u64, u32)> = seen.seconds.iter().map(|second| (second.at, second.requests)).collect();
        assert_eq!(seconds, [(0, 3), (1, 4), (5, 1)]);
        assert_eq!(seen.operations["GetCheckoutSession"], Traffic { requests: 8, throttled: 0, busiest: 5 });
    }

    #[test]
    fn the_history_ends_after_15_minutes() {
        let start = Instant::now();
        let mut tally = Tally::new(start);
        for second in 0..2000 {
            hear(&mut tally, &[], start + Duration::from_secs(second));
        }
        assert_eq!(tally.seen(&Tokens::default()).seconds.len(), 900);
        assert_eq!(tally.seen(&Tokens::default()).seconds[0].at, 1100);
    }

    #[test]
    fn what_is_told_after_it_was_forgotten_does_not_count() {
        let start = Instant::now();
        let mut tally = Tally::new(start);
        let before = hear(&mut tally, &[], start);
        tally.forget(start + Duration::from_secs(5));
        let after = hear(&mut tally, &[], start + Duration::from_secs(7));
        tally.told(before, StatusCode::TOO_MANY_REQUESTS);
        tally.told(after, StatusCode::OK);
        let seen = tally.seen(&Tokens::default());
        assert_eq!((seen.requests, seen.throttled, seen.faults["reset"]), (1, 0, 1));
        let asked = tally.asked();
        assert_eq!((asked[0].at, asked[0].status), (Duration::from_secs(2), Some(StatusCode::OK)));
        tally.told(after, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(tally.seen(&Tokens::default()).throttled, 1);
    }

    #[test]
    fn what_may_be_a_secret_is_never_shown() {
        let mut tally = Tally::new(Instant::now());
        let headers = [
            ("authorization", "Bearer canary"),
            ("cookie", "canary"),
            ("x-token", "a canary b"),
            ("x-misplaced", "mon_live_real"),
            ("monime-space-id", "spc-1"),
        ];
        hear(&mut tally, &headers, Instant::now());
        let mut tokens = Tokens::default();
        tokens.accept(vec!["canary".to_owned()]);
        let last = tally.seen(&tokens).last.unwrap();
        assert_eq!(last.header("monime-space-id"), Some("spc-1"));
        for name in ["authorization", "cookie", "x-token", "x-misplaced"] {
            assert_eq!(last.header(name), Some(WITHHELD), "{name}");
        }
    }
}
