//! Several gateways on one token that never talk, against a Monime that counts every sliding second, in virtual time.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use super::*;

/// How long is simulated, and how much of it they have to settle.
const RUN: Duration = Duration::from_secs(300);
const SETTLED: Duration = Duration::from_secs(30);
/// What Monime asks for with every 429.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Callers of each gateway, each with a call in line or under way: there is always somebody waiting.
const CALLERS: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// The gateway looks whose turn it is.
    Wake,
    /// A call, sent then, reaches Monime, and its answer is back after so long.
    Arrive { sent_at: Instant, back: Duration },
    /// The answer is back.
    Answer { sent_at: Instant, refused: bool },
}

struct Gateway {
    budget: Budget,
    line: Vec<Ticket>,
    /// When it wakes; an earlier plan to wake is void.
    wakes_at: Option<Instant>,
}

struct World {
    limit: u32,
    random: fastrand::Rng,
    start: Instant,
    gateways: Vec<Gateway>,
    events: BinaryHeap<Reverse<(Instant, u64, usize, Event)>>,
    next: u64,
    second: VecDeque<Instant>,
    /// When Monime was asked, by whom, and whether it refused.
    calls: Vec<(Instant, usize, bool)>,
}

/// What became of the calls after settling.
#[derive(Debug)]
struct Outcome {
    /// 429s among all calls.
    refused: f64,
    /// Answers, as a part of what Monime allows.
    used: f64,
    /// The fewest answers any gateway got in any minute, as a part of its fair share.
    worst: f64,
}

impl World {
    fn new(gateways: usize, limit: u32, seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let start = Instant::now();
        let mut world = Self {
            limit,
            start,
            gateways: (0..gateways)
                .map(|_| Gateway { budget: Budget::new(1.0), line: Vec::new(), wakes_at: None })
                .collect(),
            events: BinaryHeap::new(),
            next: 0,
            second: VecDeque::new(),
            calls: Vec::new(),
            random: random.fork(),
        };
        for gateway in 0..gateways {
            let at = start + Duration::from_micros(random.u64(0..2_000_000));
            for _ in 0..CALLERS {
                world.join(gateway, at);
            }
            world.sleep(gateway, at);
        }
        world
    }

    fn run(mut self) -> Vec<(Instant, usize, bool)> {
        while let Some(Reverse((now, _, gateway, event))) = self.events.pop() {
            if now > self.start + RUN {
                break;
            }
            match event {
                Event::Wake if self.gateways[gateway].wakes_at == Some(now) => self.wake(gateway, now),
                Event::Wake => {}
                Event::Arrive { sent_at, back } => {
                    let refused = !self.admit(now);
                    self.calls.push((now, gateway, refused));
                    self.schedule(now + back, gateway, Event::Answer { sent_at, refused });
                }
                Event::Answer { sent_at, refused } => {
                    if refused {
                        let places = places("token", 0);
                        self.gateways[gateway].budget.throttled(
                            &places,
                            Some(Scope::Endpoint),
                            sent_at,
                            RETRY_AFTER,
                            now,
                        );
                    }
                    self.join(gateway, now);
                    self.sleep(gateway, now);
                }
            }
        }
        self.calls
    }

    fn schedule(&mut self, at: Instant, gateway: usize, event: Event) {
        self.next += 1;
        self.events.push(Reverse((at, self.next, gateway, event)));
    }

    fn join(&mut self, gateway: usize, now: Instant) {
        let rates = Rates { endpoint: self.limit, token: 4 * self.limit, space: 25 * self.limit };
        let gateway = &mut self.gateways[gateway];
        let ticket = gateway.budget.join(&places("token", 0), &[], rates, now, now + 10 * RUN).unwrap();
        gateway.line.push(ticket);
    }

    /// Every turn that has come is taken.
    fn wake(&mut self, gateway: usize, now: Instant) {
        let Gateway { budget, line, .. } = &mut self.gateways[gateway];
        let due = |budget: &Budget, ticket: Ticket| budget.moment(ticket).is_some_and(|at| at <= now);
        let mut sent = 0;
        line.retain(|ticket| {
            let taken = due(budget, *ticket) && budget.send(*ticket, now).is_ok();
            sent += usize::from(taken);
            !taken
        });
        for _ in 0..sent {
            // There and back within 1 to 80 ms.
            let way = Duration::from_micros(self.random.u64(500..40_000));
            let back = Duration::from_micros(self.random.u64(500..40_000));
            self.schedule(now + way, gateway, Event::Arrive { sent_at: now, back });
        }
        self.sleep(gateway, now);
    }

    /// Until the first turn comes, and as much longer as timers are late.
    fn sleep(&mut self, gateway: usize, now: Instant) {
        let Gateway { budget, line, .. } = &self.gateways[gateway];
        if let Some(first) = line.iter().filter_map(|ticket| budget.moment(*ticket)).min() {
            let late = Duration::from_micros(self.random.u64(1..2_000));
            let at = first.max(now) + late;
            self.gateways[gateway].wakes_at = Some(at);
            self.schedule(at, gateway, Event::Wake);
        }
    }

    /// Monime's side: any second, and what is refused does not count.
    fn admit(&mut self, now: Instant) -> bool {
        while self.second.front().is_some_and(|first| now - *first >= Duration::from_secs(1)) {
            self.second.pop_front();
        }
        let room = self.second.len() < self.limit as usize;
        if room {
            self.second.push_back(now);
        }
        room
    }
}

fn simulate(gateways: usize, limit: u32, seed: u64) -> Outcome {
    let world = World::new(gateways, limit, seed);
    let start = world.start + SETTLED;
    let calls = world.run();
    let settled: Vec<_> = calls.into_iter().filter(|(at, ..)| *at >= start).collect();
    let answered = settled.iter().filter(|(_, _, refused)| !refused).count() as f64;
    let minute = Duration::from_secs(60);
    let seconds = (RUN - SETTLED).as_secs();
    let fair = f64::from(limit) * 60.0 / gateways as f64;
    let worst = (0..gateways).flat_map(|gateway| (0..=seconds - 60).step_by(5).map(move |from| (gateway, from)));
    let worst = worst.map(|(gateway, from)| {
        let from = start + Duration::from_secs(from);
        let own =
            |call: &&(Instant, usize, bool)| call.1 == gateway && !call.2 && call.0 >= from && call.0 < from + minute;
        settled.iter().filter(own).count() as f64 / fair
    });
    Outcome {
        refused: 1.0 - answered / settled.len() as f64,
        used: answered / (f64::from(limit) * seconds as f64),
        worst: worst.fold(f64::INFINITY, f64::min),
    }
}

/// Start offsets and latencies as these seeds draw them.
const SEEDS: u64 = 4;

#[test]
fn five_gateways_on_one_token_settle_without_talking() {
    for seed in 0..SEEDS {
        let outcome = simulate(5, 20, seed);
        assert!(outcome.refused < 0.013, "seed {seed}: {outcome:?}");
        assert!(outcome.used > 0.8, "seed {seed}: {outcome:?}");
        assert!(outcome.worst > 0.5, "seed {seed}: {outcome:?}");
    }
}

#[test]
fn five_gateways_on_a_test_token_settle_too() {
    for seed in 0..SEEDS {
        let outcome = simulate(5, 5, seed);
        assert!(outcome.refused < 0.04, "seed {seed}: {outcome:?}");
        assert!(outcome.used > 0.65, "seed {seed}: {outcome:?}");
        assert!(outcome.worst > 0.5, "seed {seed}: {outcome:?}");
    }
}

#[test]
fn a_gateway_of_its_own_uses_nine_tenths_and_is_never_refused() {
    for limit in [5, 20] {
        let outcome = simulate(1, limit, 0);
        assert!(outcome.refused == 0.0 && outcome.used > 0.9, "{limit} a second: {outcome:?}");
    }
}
