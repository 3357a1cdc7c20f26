//! What callers are told: one of Monime's own answers, word for word, or one of the gateway's own errors, and never what
//! they must not be told.

use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http::header::HeaderValue;
use monigate::lookup::Purge;
use monigate::monime::Key;
use tokio::time::Instant;

use super::said::Meaning;
use super::{JITTER, State, TICK, TOKEN, matches, number};
use crate::plan::Status;

/// What a caller asks.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub(crate) key: Key,
    pub(crate) refresh: bool,
    pub(crate) only_if_cached: bool,
    /// How long it waits.
    pub(crate) limit: Duration,
    pub(crate) etag: Option<HeaderValue>,
    pub(crate) asked_at: Instant,
    /// The call whose answer is in memory, fresh beyond doubt.
    pub(crate) expects: Option<usize>,
}

/// What a caller was told, in short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Word {
    Monimes(&'static str, Meaning),
    Failure(&'static str),
    Nobodys,
}

/// The failures in whose place a kept answer is told.
const PERMITTING: [&str; 6] = [
    "gateway_budget_exhausted",
    "gateway_upstream_error",
    "gateway_upstream_unavailable",
    "gateway_upstream_open",
    "gateway_upstream_timeout",
    "gateway_upstream_unreachable",
];

/// The gateway's own failures that a well-formed lookup may meet. A bug of ours is none of them.
const OTHERS: [&str; 7] = [
    "gateway_not_cached",
    "gateway_upstream_throttled",
    "gateway_upstream_unreadable",
    "gateway_upstream_mismatch",
    "gateway_upstream_unexpected",
    "gateway_upstream_credentials",
    "gateway_overloaded",
];

// === impl State ===

impl State {
    /// The call whose answer must be a hit now, whoever asks.
    pub(crate) fn expects(&self, key: &Key, refresh: bool) -> Option<usize> {
        let now = Instant::now();
        let kept = self.memory.get(key)?;
        let fresh = now < kept.asked_at + self.lifetime(kept.status).0.mul_f64(1.0 - JITTER);
        (fresh && !(refresh && self.plan.callers_may_refresh)).then_some(kept.call)
    }

    /// A caller is told something.
    pub(crate) fn told(&mut self, question: &Question, response: &Response<Bytes>) -> Word {
        let now = Instant::now();
        let (took, key) = (now - question.asked_at, &question.key);
        self.tell(now, "told", &(key, response.status().as_u16(), response.body()));
        self.check(took <= question.limit + TICK, || format!("{key:?} takes {took:?} of {:?}", question.limit));
        self.check(!std::str::from_utf8(response.body()).unwrap_or_default().contains(TOKEN), || "the token".into());
        let at_once = question.expects.is_some() || question.only_if_cached;
        self.check(took.is_zero() || !at_once, || format!("{key:?} waits {took:?} for what is in memory"));
        if let Some(tag) = response.headers().get("etag") {
            self.tags.insert(key.clone(), tag.clone());
        }
        let word = text(response, "cache-status").to_owned();
        match reason(response) {
            Some(reason) => self.told_failure(question, response, reason),
            None => self.told_word(question, response, &word),
        }
    }

    fn told_failure(&mut self, question: &Question, response: &Response<Bytes>, reason: &'static str) -> Word {
        let now = Instant::now();
        let key = &question.key;
        self.count(reason);
        let uncached = reason == "gateway_not_cached";
        self.check(!uncached || question.only_if_cached, || format!("{key:?} is not cached, and may be asked for"));
        self.check(question.expects.is_none(), || format!("{key:?} is in memory and is told {reason}"));
        let waits = ["gateway_upstream_open", "gateway_budget_exhausted", "gateway_upstream_throttled"];
        let wait: u64 = text(response, "retry-after").parse().unwrap_or_default();
        self.check(wait > 0 || !waits.contains(&reason), || format!("{reason} without Retry-After"));
        let permits = PERMITTING.contains(&reason);
        let kept = self.kept(key, now).filter(|kept| kept.landed_at < now && permits);
        self.check(kept.is_none(), || format!("{key:?} is told {reason}, though {kept:?} may stand in"));
        Word::Failure(reason)
    }

    fn told_word(&mut self, question: &Question, response: &Response<Bytes>, how: &str) -> Word {
        let key = &question.key;
        let Some(call) = number(response.headers()).filter(|call| *call < self.calls.len()) else {
            self.wrong(format!("{key:?} is told what is nobody's: {response:?}"));
            return Word::Nobodys;
        };
        let Some(said) = self.calls[call].said.clone() else {
            self.wrong(format!("{key:?} is told call {call}, which was not answered"));
            return Word::Nobodys;
        };
        self.check(self.calls[call].key == *key, || format!("{key:?} is told call {call}, about another session"));
        let not_modified = response.status() == 304;
        if not_modified {
            self.count("not modified");
            let same = question.etag.as_ref() == response.headers().get("etag") && said.status == 200;
            self.check(same, || format!("{key:?} is told 304 to another tag"));
        } else {
            let same = response.status() == said.status && *response.body() == said.body;
            self.check(same, || format!("{key:?} is told {response:?} and not what Monime said: {:?}", said.body));
        }
        let usable = said.meaning != Meaning::Unusable;
        self.check(usable, || format!("{key:?} is told what nobody may be told: {:?}", said.body));
        let told = match how.strip_prefix("monigate; hit; ") {
            Some(rest) => self.told_from_memory(question, call, said.meaning, text(response, "age"), rest),
            None => self.told_news(question, call, said.meaning, how),
        };
        self.count(told);
        Word::Monimes(told, said.meaning)
    }

    fn told_from_memory(
        &mut self,
        q: &Question,
        call: usize,
        meaning: Meaning,
        says: &str,
        rest: &str,
    ) -> &'static str {
        let now = Instant::now();
        let (key, stale) = (&q.key, rest.ends_with("detail=stale"));
        let age = now - self.calls[call].sent_at;
        self.check(says == age.as_secs().to_string(), || format!("{key:?} is {age:?} old and says {says}"));
        let Meaning::Session(status) = meaning else {
            self.wrong(format!("{key:?}: {meaning:?} from memory"));
            return "nothing";
        };
        let (fresh, more) = self.lifetime(status);
        let most = fresh.mul_f64(1.0 + JITTER) + if stale { more } else { Duration::ZERO };
        self.check(status.is_final() && age <= most, || {
            format!("{key:?} {status:?} is told at {age:?}, stale: {stale}")
        });
        let began = self.flights[self.calls[call].flight].began;
        let purged = |(at, purge): &(Instant, Purge)| matches(purge, key) && began < *at && *at < q.asked_at;
        let purged = self.purges.iter().any(purged);
        self.check(!purged, || format!("{key:?} was asked before a purge and is told after it"));
        if !stale {
            let refreshes = q.refresh && self.plan.callers_may_refresh;
            self.check(!refreshes, || format!("{key:?} is a hit for one who wanted news"));
            let other = q.expects.is_some_and(|expected| expected != call);
            self.check(!other, || format!("{key:?}: call {call} is told and {:?} is kept", q.expects));
            return "hits";
        }
        self.check(q.expects.is_none(), || format!("{key:?} is fresh and told as stale"));
        let late = now - q.asked_at >= q.limit;
        let permitted = self.landings.get(key) == Some(&(now, true));
        self.check(late || permitted, || format!("{key:?} is stale for what permits it not"));
        if late && !permitted { "stale after patience" } else { "stale" }
    }

    fn told_news(&mut self, question: &Question, call: usize, meaning: Meaning, how: &str) -> &'static str {
        let now = Instant::now();
        let key = &question.key;
        let landed = self.calls[call].ended.is_some_and(|(at, _)| at == now);
        self.check(landed, || format!("{key:?}: call {call} is told as news, long after it"));
        self.check(how.starts_with("monigate; fwd=miss"), || format!("{key:?}: Cache-Status is {how}"));
        self.check(question.expects.is_none(), || format!("{key:?} is fresh in memory, and Monime is asked"));
        let flight = &self.flights[self.calls[call].flight];
        let kept = self.kept(key, now).filter(|kept| kept.status == Status::Completed && kept.landed_at < now);
        let less = matches!(meaning, Meaning::Session(status) if !status.is_final()) && !flight.is_off();
        self.check(!less || kept.is_none(), || format!("{key:?} was completed and is told {meaning:?}"));
        match meaning {
            Meaning::Session(Status::Pending) => "pending",
            Meaning::Session(Status::Absent) => "absent",
            _ if how.contains("collapsed") => "joined",
            _ => "misses",
        }
    }
}

/// Which of the gateway's own failures it is, if it is one.
fn reason(response: &Response<Bytes>) -> Option<&'static str> {
    let body = std::str::from_utf8(response.body()).unwrap_or_default();
    let is = |reason: &&&str| response.status().as_u16() >= 400 && body.contains(&format!("\"reason\":\"{reason}\""));
    PERMITTING.iter().chain(&OTHERS).find(is).copied()
}

fn text<'a>(response: &'a Response<Bytes>, header: &str) -> &'a str {
    response.headers().get(header).and_then(|value| value.to_str().ok()).unwrap_or_default()
}
