//! Any interleaving of callers, landings, purges and time, against a model that is small enough to be believed.
//!
//! The real lookups and the model take the same steps on one thread and a paused clock. Whatever the lookups then hold
//! and tell must be what the model says. Waiters are tasks, so that one that is never woken is one that never ends.

mod word;

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;
use proptest::sample::Index;
use tokio::task::{JoinHandle, yield_now};
use tokio::time::error::Elapsed;

use super::*;
use word::{Word, word};

#[derive(Debug, Clone)]
enum Step {
    /// A caller boards.
    Ask {
        key: usize,
        refresh: bool,
        patience: u64,
    },
    /// Monime answers one of the calls that wait.
    Land(Index, Word),
    /// Every task runs until it waits.
    Run,
    /// Seconds pass.
    Pass(u64),
    Purge(Purge),
    /// A caller leaves.
    Leave(Index),
}

#[derive(Debug)]
struct Flight {
    key: usize,
    /// The step in which it was put on the board.
    boarded: usize,
    /// Whether Monime has been asked, and when.
    asked_at: Option<Instant>,
    landed: bool,
    end: Option<End>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
    Told { body: String, word: Word, stored: bool, kept: bool },
    Refused,
    Failed,
    Lost,
}

/// What memory holds for a key: the landing of one flight, which may be past its time.
#[derive(Debug)]
struct Entry {
    flight: usize,
    word: Word,
    age: Age,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Age {
    Fresh,
    Stale,
    Gone,
}

struct Waiter {
    task: JoinHandle<Result<Result<Told, Arc<Error>>, Elapsed>>,
    on: On,
    deadline: Instant,
}

#[derive(Debug, Clone, Copy)]
enum On {
    Memory(usize),
    Flight { flight: usize, leads: bool },
}

/// The lookups and the model of them.
struct World {
    real: Memory,
    lifetimes: Lifetimes,
    keys: Vec<Key>,
    step: usize,
    flights: Vec<Flight>,
    current: BTreeMap<usize, usize>,
    entries: BTreeMap<usize, Entry>,
    /// The step of each key's last purge.
    purged: BTreeMap<usize, usize>,
    landing: VecDeque<(usize, Word)>,
    waiters: Vec<Waiter>,
    regressions: u64,
}

// === impl World ===

impl World {
    fn new(lifetimes: Lifetimes) -> Self {
        let keys = [("spc-a", "s-1", "v1"), ("spc-a", "s-1", "v2"), ("spc-a", "s-2", "v1"), ("spc-b", "s-1", "v1")];
        Self {
            real: Memory::lasting(Monime::silent(), lifetimes),
            lifetimes,
            keys: keys.map(|(space, id, version)| key_in(space, id, version)).to_vec(),
            step: 0,
            flights: Vec::new(),
            current: BTreeMap::new(),
            entries: BTreeMap::new(),
            purged: BTreeMap::new(),
            landing: VecDeque::new(),
            waiters: Vec::new(),
            regressions: 0,
        }
    }

    async fn take(&mut self, step: Step) {
        self.step += 1;
        match step {
            Step::Ask { key, refresh, patience } => self.ask(key, refresh, patience),
            Step::Land(which, word) => {
                let waiting: Vec<usize> = self.waiting_calls().collect();
                if !waiting.is_empty() {
                    self.land(*which.get(&waiting), word);
                }
            }
            Step::Run => self.run().await,
            Step::Pass(seconds) => {
                self.run().await;
                advance(Duration::from_secs(seconds)).await;
                self.run().await;
            }
            Step::Purge(purge) => self.purge(&purge),
            Step::Leave(which) => {
                if !self.waiters.is_empty() {
                    self.waiters.swap_remove(which.index(self.waiters.len())).task.abort();
                }
            }
        }
        assert_eq!(self.real.flights().0, self.current.len(), "at most one current flight for a key");
    }

    fn waiting_calls(&self) -> impl Iterator<Item = usize> {
        let waits = |flight: &Flight| flight.asked_at.is_some() && !flight.landed;
        self.flights.iter().enumerate().filter(move |(_, flight)| waits(flight)).map(|(nth, _)| nth)
    }

    fn ask(&mut self, key: usize, refresh: bool, patience: u64) {
        let kept = self.entries.get(&key).filter(|entry| entry.age == Age::Fresh && !refresh).map(|entry| entry.flight);
        let on = match (self.current.get(&key), kept) {
            (Some(flight), _) => On::Flight { flight: *flight, leads: false },
            (None, Some(flight)) => On::Memory(flight),
            (None, None) => {
                let flight = self.flights.len();
                self.flights.push(Flight { key, boarded: self.step, asked_at: None, landed: false, end: None });
                self.current.insert(key, flight);
                On::Flight { flight, leads: true }
            }
        };
        // Half a second keeps deadlines apart from landings, which come at whole ones.
        let patience = Duration::from_millis(patience * 1000 + 500);
        let asking = timeout(patience, self.real.lookups.ask(self.keys[key].clone(), Line::default(), refresh));
        self.waiters.push(Waiter { task: tokio::spawn(asking), on, deadline: Instant::now() + patience });
    }

    fn land(&mut self, flight: usize, word: Word) {
        self.flights[flight].landed = true;
        let key = &self.keys[self.flights[flight].key];
        self.real.monime.land(flight, word.said(key, flight));
        self.landing.push_back((flight, word));
    }

    fn purge(&mut self, purge: &Purge) {
        let matches = |key: &Key| match purge {
            Purge::Session(space, id) => key.space == *space && key.id == *id,
            Purge::Space(space) => key.space == *space,
            Purge::All => true,
        };
        let mut removed = 0;
        for number in (0..self.keys.len()).filter(|number| matches(&self.keys[*number])) {
            self.current.remove(&number);
            self.purged.insert(number, self.step);
            removed += u64::from(self.entries.remove(&number).is_some());
        }
        assert_eq!(self.real.lookups.memory().purge(purge), removed, "a purge says how much it removed");
    }

    /// Lets every task run until it waits, then compares.
    async fn run(&mut self) {
        for _ in 0..16 {
            yield_now().await;
        }
        let now = Instant::now();
        for (nth, flight) in self.flights.iter_mut().enumerate().filter(|(_, flight)| flight.asked_at.is_none()) {
            flight.asked_at = Some(now);
            assert_eq!(self.real.monime.key(nth), self.keys[flight.key], "flights ask in the order they were boarded");
        }
        assert_eq!(self.real.monime.calls(), self.flights.len(), "a flight is one call");
        while let Some((flight, word)) = self.landing.pop_front() {
            self.flights[flight].end = Some(self.settle(flight, word));
        }
        self.compare_memory();
        assert_eq!(self.real.metrics.status_regressions.get(), self.regressions);
        self.compare_waiters().await;
    }

    fn settle(&mut self, flight: usize, word: Word) -> End {
        let key = self.flights[flight].key;
        let is_current = self.current.get(&key) == Some(&flight);
        if is_current {
            self.current.remove(&key);
        }
        let told = |stored| End::Told { body: word.body(&self.keys[key], flight), word, stored, kept: false };
        let kept = self.entries.get(&key).filter(|entry| entry.age != Age::Gone);
        let stands_in = |kept: &Entry| {
            let body = kept.word.body(&self.keys[key], kept.flight);
            End::Told { body, word: kept.word, stored: false, kept: true }
        };
        match word {
            Word::Panic => return End::Lost,
            Word::TimedOut => return kept.map_or(End::Failed, stands_in),
            Word::Failed => return kept.map_or(End::Refused, stands_in),
            Word::Mismatch => return End::Refused,
            Word::Forbidden => return told(false),
            _ if !is_current => return told(false),
            Word::Completed | Word::Cancelled | Word::Expired | Word::Pending | Word::Unknown | Word::Absent => {}
        }
        if matches!(word, Word::Pending | Word::Unknown | Word::Absent)
            && let Some(kept) = kept.filter(|kept| kept.word == Word::Completed)
        {
            let told = stands_in(kept);
            self.regressions += 1;
            return told;
        }
        let stored = !word.ttl(&self.lifetimes.ttl).is_zero()
            && self.must_stand_in(flight, word).unwrap_or_else(|| self.stands_in(key).is_some());
        let told = told(stored);
        self.entries.remove(&key);
        if stored {
            self.entries.insert(key, Entry { flight, word, age: Age::Fresh });
        }
        told
    }

    /// Whether what this flight brought must count as fresh now; none in the time that jitter may decide.
    fn must_be_fresh(&self, flight: usize, word: Word) -> Option<bool> {
        self.must_be_within(flight, word, Duration::ZERO)
    }

    /// The same for standing in.
    fn must_stand_in(&self, flight: usize, word: Word) -> Option<bool> {
        self.must_be_within(flight, word, word.stale_if_error(&self.lifetimes.stale_if_error))
    }

    fn must_be_within(&self, flight: usize, word: Word, longer: Duration) -> Option<bool> {
        let (age, ttl) = (self.flights[flight].asked_at.unwrap().elapsed(), word.ttl(&self.lifetimes.ttl));
        if age < ttl.mul_f64(0.9) + longer {
            Some(true)
        } else if age >= ttl.mul_f64(1.1) + longer {
            Some(false)
        } else {
            None
        }
    }

    /// What stands in for a failure.
    fn stands_in(&self, key: usize) -> Option<String> {
        let told = self.real.lookups.stand_in(self.keys[key].as_ref())?;
        Some(String::from_utf8(told.answer.body().to_vec()).unwrap())
    }

    fn recalled(&self, key: usize) -> Option<String> {
        let answer = self.real.lookups.recall(self.keys[key].as_ref(), Instant::now())?;
        Some(String::from_utf8(answer.body().to_vec()).unwrap())
    }

    fn compare_memory(&mut self) {
        for key in 0..self.keys.len() {
            let (recalled, stands_in) = (self.recalled(key), self.stands_in(key));
            let Some(entry) = self.entries.get(&key) else {
                assert_eq!((recalled, stands_in), (None, None), "nothing is kept that the model did not keep");
                continue;
            };
            let lives = entry.age != Age::Gone;
            let fresh = self.must_be_fresh(entry.flight, entry.word).unwrap_or(recalled.is_some());
            let fresh = fresh && entry.age == Age::Fresh;
            assert_eq!(recalled.is_some(), fresh, "what is kept is told for as long as it is fresh: {entry:?}");
            let within = lives && self.must_stand_in(entry.flight, entry.word).unwrap_or(stands_in.is_some());
            assert_eq!(stands_in.is_some(), within, "and stands in for as long as it may: {entry:?}");
            assert!(within || !fresh, "what is fresh is not gone: {entry:?}");
            if let Some(body) = stands_in {
                assert_eq!(body, entry.word.body(&self.keys[key], entry.flight));
                assert!(recalled.is_none_or(|recalled| recalled == body), "it is one and the same answer");
                assert!(
                    !entry.word.ttl(&self.lifetimes.ttl).is_zero(),
                    "only what was judged storable is kept: {entry:?}"
                );
                let purged = self.purged.get(&key).copied().unwrap_or_default();
                assert!(self.flights[entry.flight].boarded > purged, "nothing older than a purge is told after it");
            }
            let age = match (fresh, within) {
                (true, _) => Age::Fresh,
                (false, true) => Age::Stale,
                (false, false) => Age::Gone,
            };
            self.entries.entry(key).and_modify(|entry| entry.age = age);
        }
    }

    async fn compare_waiters(&mut self) {
        let (done, waiting) = std::mem::take(&mut self.waiters).into_iter().partition(|one| one.task.is_finished());
        self.waiters = waiting;
        for waiter in &self.waiters {
            let On::Flight { flight, .. } = waiter.on else { panic!("memory answers at once") };
            assert_eq!(self.flights[flight].end, None, "everyone on a flight is woken when it ends");
            assert!(Instant::now() < waiter.deadline, "nobody waits beyond a deadline");
        }
        let done: Vec<Waiter> = done;
        for Waiter { task, on, deadline } in done {
            let got = task.await.unwrap();
            match (on, got) {
                (On::Memory(flight), got) => {
                    let told = got.unwrap().unwrap();
                    let nth = format!(r#""nth":{flight}"#);
                    assert_eq!((told.outcome, told.stored), (Outcome::Hit, true));
                    assert!(std::str::from_utf8(told.answer.body()).unwrap().contains(&nth));
                }
                (On::Flight { flight, .. }, Err(_)) => {
                    assert_eq!(self.flights[flight].end, None, "who was told in time does not time out");
                    assert!(Instant::now() >= deadline);
                }
                (On::Flight { flight, leads }, Ok(got)) => {
                    let end = self.flights[flight].end.clone().expect("nobody is told before the landing");
                    compare(&end, leads, got);
                }
            }
        }
    }

    /// Lands whatever is still under way; then nobody may be left waiting.
    async fn finish(mut self) {
        self.run().await;
        let waiting: Vec<usize> = self.waiting_calls().collect();
        for (flight, word) in waiting.into_iter().zip([Word::Panic, Word::Pending, Word::Failed].into_iter().cycle()) {
            self.land(flight, word);
        }
        self.run().await;
        assert!(self.waiters.is_empty(), "nobody is left waiting");
        assert_eq!(self.real.flights(), (0, 0));
    }
}

/// Compares what someone on a flight was told with how it ended.
fn compare(end: &End, leads: bool, got: Result<Told, Arc<Error>>) {
    match (end, got) {
        (End::Told { body, word, stored, kept }, Ok(told)) => {
            let outcome = match (kept, leads, word) {
                (true, _, _) => Outcome::Stale,
                (false, false, _) => Outcome::Joined,
                (false, true, Word::Pending) => Outcome::Pending,
                (false, true, _) => Outcome::Miss,
            };
            assert_eq!((told.outcome, told.stored), (outcome, *stored));
            assert_eq!(told.answer.body(), body.as_bytes());
        }
        (End::Refused, Err(error)) => assert!(matches!(*error, Error::Unusable(..))),
        (End::Failed, Err(error)) => assert!(matches!(*error, Error::Failed(_))),
        (End::Lost, Err(error)) => assert!(matches!(*error, Error::Lost)),
        (end, got) => panic!("{end:?} was told as {got:?}"),
    }
}

// === what may happen ===

fn step() -> impl Strategy<Value = Step> {
    let of = |id: &str| Purge::Session(key_in("spc-a", id, "v1").space, key_in("spc-a", id, "v1").id);
    let space = key_in("spc-a", "s-1", "v1").space;
    prop_oneof![
        8 => (0..4_usize, prop::bool::weighted(0.4), 0..40_u64)
            .prop_map(|(key, refresh, patience)| Step::Ask { key, refresh, patience }),
        7 => (any::<Index>(), word()).prop_map(|(which, word)| Step::Land(which, word)),
        6 => Just(Step::Run),
        3 => (1..30_u64).prop_map(Step::Pass),
        1 => prop_oneof![Just(of("s-1")), Just(of("s-2")), Just(Purge::Space(space)), Just(Purge::All)]
            .prop_map(Step::Purge),
        1 => any::<Index>().prop_map(Step::Leave),
    ]
}

fn times() -> impl Strategy<Value = Lifetimes> {
    let ttl = |seconds: [u64; 4]| {
        let [completed, cancelled, expired, absent] = seconds.map(Duration::from_secs);
        Just(Ttl { completed, cancelled, expired, absent })
    };
    let stale = |seconds: [u64; 3]| {
        let [completed, cancelled, expired] = seconds.map(Duration::from_secs);
        Just(StaleIfError { completed, cancelled, expired })
    };
    let ttls = prop_oneof![4 => ttl([100, 30, 20, 0]), 2 => ttl([60, 0, 0, 10]), 1 => ttl([0, 20, 0, 5]), 1 => ttl([0, 0, 0, 0])];
    let stales = prop_oneof![2 => stale([60, 0, 0]), 1 => stale([0, 0, 0]), 1 => stale([20, 40, 10])];
    (ttls, stales).prop_map(|(ttl, stale_if_error)| Lifetimes { ttl, stale_if_error })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_in_whatever_order_the_invariants_hold(
        lifetimes in times(),
        steps in prop::collection::vec(step(), 0..120),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let mut world = World::new(lifetimes);
            for step in steps {
                world.take(step).await;
            }
            world.finish().await;
        });
    }
}
