//! Everything that happened in one schedule, and what must be true of it.
//!
//! Sees three places: what leaves for Monime, what flies, what callers are told. Knows of the gateway only what its
//! documents promise. Writes down what is wrong and goes on: a panic in a task of the gateway's would be caught there.

mod said;
mod told;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use http::{HeaderMap, HeaderValue, Request, Response};
use monigate::lookup::Purge;
use monigate::monime::Key;
use monigate::upstream::{Failure, Gate, Reply};
use tokio::time::Instant;

pub(crate) use said::Meaning;
pub(crate) use told::{Question, Word};

use super::health::Health;
use super::plan::{Plan, SPACES, Status};
use super::traffic::{Scope, Traffic};
use super::weather::{Fate, What};
use said::{Said, answer_to};

/// The token, which nobody but Monime may see.
pub(crate) const TOKEN: &str = "mon_simulation_4Gk8vQz1Lx7Tn2Rw";
/// How a timer may be late: it counts whole milliseconds.
pub(crate) const TICK: Duration = Duration::from_millis(2);
/// How far a time-to-live is spread.
const JITTER: f64 = 0.1;
/// A flight asks at most so often.
const ATTEMPTS: usize = 3;

tokio::task_local! {
    /// Which flight it is that asks.
    pub(crate) static FLIGHT: usize;
}

/// Clones are the same world.
#[derive(Clone)]
pub(crate) struct World(Arc<Mutex<State>>);

pub(crate) struct State {
    pub(crate) plan: Plan,
    pub(crate) start: Instant,
    rng: Rng,
    gate: Gate,
    pub(crate) calls: Vec<Call>,
    pub(crate) flights: Vec<Flight>,
    flying: BTreeSet<usize>,
    traffic: Traffic,
    health: Health,
    memory: HashMap<Key, Kept>,
    /// The last landing of each key, and whether it permits that a kept answer stands in.
    landings: HashMap<Key, (Instant, bool)>,
    purges: Vec<(Instant, Purge)>,
    /// When a retry was decided on.
    retries: Vec<Instant>,
    pub(crate) wrong: Vec<String>,
    pub(crate) seen: BTreeMap<&'static str, u64>,
    /// The tag of each session's last answer.
    pub(crate) tags: HashMap<Key, HeaderValue>,
    story: u64,
}

/// One request to Monime; its place in the list is how Monime names it.
pub(crate) struct Call {
    pub(crate) flight: usize,
    pub(crate) key: Key,
    pub(crate) sent_at: Instant,
    pub(crate) probe: bool,
    pub(crate) period: u64,
    pub(crate) ended: Option<(Instant, Outcome)>,
    /// Whether it may be asked again; known once something came of it.
    worth_a_retry: bool,
    said: Option<Said>,
}

/// How a call came out, as the breaker should see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Outcome {
    Well,
    Failed,
    Neutral,
}

pub(crate) struct Flight {
    key: Key,
    pub(crate) began: Instant,
    ended: bool,
    /// A purge took it off the board, so it may not store; or came in the same moment, and nobody can say.
    grounded: bool,
    unclear: bool,
    calls: Vec<usize>,
}

/// What must be in memory.
#[derive(Debug, Clone, Copy)]
struct Kept {
    call: usize,
    status: Status,
    asked_at: Instant,
    landed_at: Instant,
}

// === impl World ===

impl World {
    pub(crate) fn new(plan: Plan, gate: Gate) -> Self {
        let rng = Rng::with_seed(plan.seed ^ 0x9e37_79b9_7f4a_7c15);
        let traffic = Traffic::new(plan.rates, plan.share);
        Self(Arc::new(Mutex::new(State {
            plan,
            start: Instant::now(),
            rng,
            gate,
            calls: Vec::new(),
            flights: Vec::new(),
            flying: BTreeSet::new(),
            traffic,
            health: Health::default(),
            memory: HashMap::new(),
            landings: HashMap::new(),
            purges: Vec::new(),
            retries: Vec::new(),
            wrong: Vec::new(),
            seen: BTreeMap::new(),
            tags: HashMap::new(),
            story: 0,
        })))
    }

    pub(crate) fn look(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nobody panics while looking")
    }
}

// === impl State: what leaves for Monime ===

impl State {
    /// A request leaves. What it meets is decided here.
    pub(crate) fn send<B>(&mut self, request: &Request<B>) -> (usize, Fate) {
        let now = Instant::now();
        let flight = FLIGHT.get();
        let call = self.calls.len();
        let key = self.flights[flight].key.clone();
        self.tell(now, "sent", &key);
        self.check_request(request, &key);
        self.check_retry(flight);
        let space = SPACES.iter().position(|space| *space == key.space.as_str()).expect("one of ours");
        self.traffic.sends(space, now, &mut self.wrong);
        let (probe, period) = self.health.sends(call, self.gate.breaker(), now, &mut self.wrong);
        self.count(if probe { "probes" } else { "calls" });
        self.flights[flight].calls.push(call);
        self.calls.push(Call {
            flight,
            key,
            sent_at: now,
            probe,
            period,
            ended: None,
            worth_a_retry: false,
            said: None,
        });
        let weather = self.plan.weather(now - self.start);
        (call, Fate::of(weather, self.plan.seed, call as u64, &mut self.rng))
    }

    fn check_request<B>(&mut self, request: &Request<B>, key: &Key) {
        let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let right = request.uri().path() == format!("/v1/checkout-sessions/{}", key.id.as_str())
            && header("monime-space-id") == key.space.as_str()
            && header("monime-version") == key.version.as_str()
            && header("authorization") == format!("Bearer {TOKEN}")
            && !request.headers().contains_key("x-caller");
        self.check(right, || format!("the request for {key:?} is {} {:?}", request.uri(), request.headers()));
    }

    fn check_retry(&mut self, flight: usize) {
        let Flight { ended, calls, .. } = &self.flights[flight];
        let (ended, tried, last) = (*ended, calls.len(), calls.last().copied());
        self.check(!ended, || format!("flight {flight} asks after its end"));
        self.check(tried < ATTEMPTS, || format!("flight {flight} asks for the {tried}th time again"));
        let Some(last) = last else { return };
        self.count("retries");
        let (retry, before) = (self.calls[last].worth_a_retry, self.calls[last].ended);
        self.check(retry, || format!("flight {flight} asks again, though call {last} was not worth it"));
        match before {
            Some((at, _)) => self.retries.push(at),
            None => self.wrong(format!("flight {flight} asks again while call {last} is under way")),
        }
    }

    /// A request is at Monime.
    pub(crate) fn arrives(&mut self, call: usize) {
        let space = SPACES.iter().position(|space| *space == self.calls[call].key.space.as_str()).unwrap_or(0);
        self.traffic.arrives(space, Instant::now(), &mut self.wrong);
    }

    /// What Monime says to it, in one piece.
    pub(crate) fn answer(&mut self, call: usize, what: &What) -> Response<Bytes> {
        let now = Instant::now();
        let key = self.calls[call].key.clone();
        let index: usize = key.id.as_str()[4..].parse().expect("one of ours");
        let status = self.plan.lives[index].at(now - self.start);
        let said = answer_to(call, key.id.as_str(), status, what);
        let mut response = Response::new(said.body.clone());
        *response.status_mut() = said.status.try_into().expect("a status");
        let headers = response.headers_mut();
        headers.insert("monime-request-id", call.into());
        if let What::Throttled(Some(scope), _) = what {
            headers.insert("monime-rate-limit", scope.parse().expect("a scope"));
        }
        if let What::Throttled(_, Some(wait)) | What::Status(_, Some(wait)) = what {
            headers.insert("retry-after", (*wait).into());
        }
        let asks_later = matches!(what, What::Status(503, Some(wait)) if *wait > 2);
        self.calls[call].worth_a_retry = matches!(said.status, 429 | 502 | 503 | 504) && !asks_later;
        self.calls[call].said = Some(said);
        response
    }

    /// It failed in a way that may be tried again.
    pub(crate) fn fails_in_passing(&mut self, call: usize) {
        self.calls[call].worth_a_retry = true;
    }

    /// Nothing more comes of a call.
    pub(crate) fn ends(&mut self, call: usize, outcome: Outcome, headers: Option<&HeaderMap>) {
        let now = Instant::now();
        let key = self.calls[call].key.clone();
        self.tell(now, "ended", &(&key, outcome));
        let took = now - self.calls[call].sent_at;
        let most = self.plan.timeouts.attempt + TICK;
        self.check(took <= most, || format!("call {call} takes {took:?}"));
        self.calls[call].ended = Some((now, outcome));
        self.health.ends(call, &self.calls[call], self.gate.breaker(), now);
        if let (Outcome::Neutral, Some(headers)) = (outcome, headers) {
            self.count("throttled");
            let space = SPACES.iter().position(|space| *space == key.space.as_str()).unwrap_or(0);
            let scope = headers.get("monime-rate-limit").and_then(|name| name.to_str().ok());
            let wait = headers.get("retry-after").and_then(|wait| wait.to_str().ok()?.parse().ok());
            self.traffic.throttled(Scope::named(scope, space), self.calls[call].sent_at, wait, now);
        }
    }
}

// === impl State: what flies ===

impl State {
    pub(crate) fn takes_off(&mut self, key: &Key) -> usize {
        let now = Instant::now();
        self.tell(now, "takes off", key);
        let same = |flight: &&usize| self.flights[**flight].key == *key && !self.flights[**flight].is_off();
        let (many, double) = (self.flying.len(), self.flying.iter().any(|flight| same(&flight)));
        let unclear = self.purges.iter().any(|(at, purge)| *at == now && matches(purge, key));
        self.check(many < self.plan.max_in_flight, || format!("{many} flights are under way, and one more begins"));
        self.check(!double || unclear, || format!("a second flight for {key:?}"));
        self.count("flights");
        let key = key.clone();
        self.flights.push(Flight { key, began: now, ended: false, grounded: false, unclear, calls: Vec::new() });
        self.flying.insert(self.flights.len() - 1);
        self.flights.len() - 1
    }

    /// A flight has its answer, which settles what is in memory from now on.
    pub(crate) fn lands(&mut self, flight: usize, result: &Result<Reply, Failure>) {
        let now = Instant::now();
        let key = self.flights[flight].key.clone();
        let call = result.as_ref().ok().and_then(|reply| number(&reply.headers));
        let said = call.and_then(|call| self.calls[call].said.clone());
        if let Some(call) = call {
            self.check(self.calls[call].flight == flight, || format!("flight {flight} lands with call {call}"));
        }
        let kept = self.kept(&key, now).filter(|kept| kept.status == Status::Completed);
        let may_be_kept = kept.is_some() || self.may_be_kept(&key, now);
        let permits = match (result, &said) {
            (Err(failure), _) => {
                matches!(
                    failure,
                    Failure::Unreachable(..) | Failure::TimedOut(_) | Failure::Open { .. } | Failure::Exhausted { .. }
                )
            }
            (Ok(reply), _) if reply.status.is_server_error() => true,
            (Ok(_), Some(Said { meaning: Meaning::Session(status), .. })) => !status.is_final() && may_be_kept,
            (Ok(_), _) => false,
        };
        let landing = self.landings.entry(key.clone()).or_insert((now, permits));
        *landing = (now, permits || (landing.0 == now && landing.1));
        if let (Some(call), Some(Said { meaning: Meaning::Session(status), .. })) = (call, said) {
            // While its end is in doubt, what is said of it changes nothing that is known.
            if kept.is_some() || status.is_final() || !may_be_kept {
                self.settles(flight, call, status, kept.is_some());
            }
        }
    }

    fn settles(&mut self, flight: usize, call: usize, status: Status, completed: bool) {
        let now = Instant::now();
        let Flight { key, grounded, unclear, .. } = &self.flights[flight];
        let key = key.clone();
        if *unclear {
            self.memory.remove(&key);
        } else if *grounded {
            self.count("landings after a purge");
        } else if status.is_final() {
            let asked_at = self.calls[call].sent_at;
            self.memory.insert(key, Kept { call, status, asked_at, landed_at: now });
        } else if completed {
            self.count("regressions");
        } else {
            self.memory.remove(&key);
        }
    }

    /// A flight is over, with an answer or without.
    pub(crate) fn is_over(&mut self, flight: usize, landed: bool) {
        let took = self.flights[flight].began.elapsed();
        let most = self.plan.timeouts.total + TICK;
        self.check(took <= most, || format!("flight {flight} takes {took:?}"));
        let calls = self.flights[flight].calls.len();
        self.check(
            landed || calls == 0 || self.flights[flight].calls.iter().all(|call| self.calls[*call].ended.is_some()),
            || format!("flight {flight} is given up after it was sent"),
        );
        if !landed {
            self.count("flights given up");
        }
        self.flights[flight].ended = true;
        self.flying.remove(&flight);
    }

    pub(crate) fn purges(&mut self, purge: &Purge) {
        let now = Instant::now();
        self.tell(now, "purge", &0);
        self.count("purges");
        self.memory.retain(|key, _| !matches(purge, key));
        for flight in &self.flying {
            self.flights[*flight].grounded |= matches(purge, &self.flights[*flight].key);
        }
        self.purges.push((now, purge.clone()));
    }

    /// What is in memory beyond doubt, fresh or stale.
    fn kept(&self, key: &Key, now: Instant) -> Option<Kept> {
        let kept = *self.memory.get(key)?;
        let (fresh, stale) = self.lifetime(kept.status);
        (now < kept.asked_at + fresh.mul_f64(1.0 - JITTER) + stale).then_some(kept)
    }

    /// Whether a completed answer may be in memory: the jitter of its lifetime decides.
    fn may_be_kept(&self, key: &Key, now: Instant) -> bool {
        let (fresh, stale) = self.lifetime(Status::Completed);
        let completed = self.memory.get(key).filter(|kept| kept.status == Status::Completed);
        completed.is_some_and(|kept| now < kept.asked_at + fresh.mul_f64(1.0 + JITTER) + stale)
    }

    fn lifetime(&self, status: Status) -> (Duration, Duration) {
        let (ttl, stale) = (self.plan.lifetimes.ttl, self.plan.lifetimes.stale_if_error);
        match status {
            Status::Completed => (ttl.completed, stale.completed),
            Status::Cancelled => (ttl.cancelled, stale.cancelled),
            Status::Expired => (ttl.expired, stale.expired),
            Status::Pending | Status::Processing | Status::Absent => (Duration::ZERO, Duration::ZERO),
        }
    }
}

// === impl State: what is wrong ===

impl State {
    /// What can only be told at the end: that all retries together stayed within their bounds.
    ///
    /// The retry budget counts in slots that are turned when somebody asks, by one slot or two for each second or
    /// less than two, so that it remembers for five seconds at least and eleven at most.
    pub(crate) fn check_retries(&mut self) {
        self.retries.sort_unstable();
        let retries = self.retries.clone();
        let taken_off: Vec<_> = self.flights.iter().map(|flight| flight.began).collect();
        let within = |moments: &[Instant], at: Instant, seconds: u64| {
            let after = |moment: &Instant| *moment + Duration::from_secs(seconds) <= at;
            moments.partition_point(|moment| *moment <= at) - moments.partition_point(after)
        };
        for at in &retries {
            let lookups = within(&taken_off, *at, 12);
            let (few, many) = (within(&retries, *at, 4), within(&retries, *at, 10));
            let right = few <= 10 + lookups / 10 && many <= 20 + lookups / 5;
            self.check(right, || format!("{few} retries in 4 s, {many} in 10 s, and {lookups} lookups in 12 s"));
        }
    }

    pub(crate) fn flying(&self) -> usize {
        self.flying.len()
    }

    pub(crate) fn count(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    pub(crate) fn check(&mut self, right: bool, wrong: impl FnOnce() -> String) {
        if !right {
            self.wrong(wrong());
        }
    }

    pub(crate) fn wrong(&mut self, what: String) {
        let at = self.start.elapsed();
        self.wrong.push(format!("at {at:?}: {what}"));
    }

    /// The order in which many are woken at once is nobody's promise, so it makes no other story.
    fn tell(&mut self, now: Instant, what: &str, more: &impl Hash) {
        let mut hasher = DefaultHasher::new();
        ((now - self.start).as_nanos(), what, more).hash(&mut hasher);
        self.story = self.story.wrapping_add(hasher.finish());
    }

    /// A number that another run of the same seed must come to, too.
    pub(crate) fn story(&self) -> u64 {
        self.story
    }
}

/// Which call Monime answered so.
fn number(headers: &HeaderMap) -> Option<usize> {
    headers.get("monime-request-id")?.to_str().ok()?.parse().ok()
}

fn matches(purge: &Purge, key: &Key) -> bool {
    match purge {
        Purge::Session(space, id) => key.space == *space && key.id == *id,
        Purge::Space(space) => key.space == *space,
        Purge::All => true,
    }
}

impl Flight {
    /// Whether it may have been taken off the board.
    fn is_off(&self) -> bool {
        self.grounded || self.unclear
    }
}

impl Status {
    pub(crate) fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Cancelled | Self::Expired)
    }
}
