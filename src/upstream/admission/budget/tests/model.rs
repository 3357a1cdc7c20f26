//! Any sequence of steps, against a model that keeps all of history in plain lists and tries every moment there is.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::Index;

use super::super::share::{Pace, Share};
use super::*;

const TOKENS: [&str; 2] = ["one", "two"];
const SHARES: [f64; 4] = [1.0, 0.7, 0.5, 0.2];
const LIMITS: [u32; 3] = [3, 4, 3];
const TICK: Duration = Duration::from_nanos(1);

#[derive(Debug, Clone)]
enum Step {
    Join {
        token: usize,
        space: usize,
        patience: u64,
    },
    Leave(Index),
    /// Somebody asks for a turn, come or not.
    Take(Index),
    /// Time passes until this long after the next turn, and those that have come are taken, backwards or not.
    Due {
        late: u64,
        backwards: bool,
    },
    Pass(u64),
    Throttle {
        token: usize,
        space: usize,
        scope: Option<Scope>,
        age: u64,
        pause: u64,
    },
    Share(usize),
}

/// One of the windows: a scope and whose it is.
type Spot = (Scope, usize);

#[derive(Debug, Clone)]
struct Waiting {
    ticket: Ticket,
    spots: [Spot; 3],
    at: Instant,
}

struct World {
    real: Budget,
    now: Instant,
    share: f64,
    sent: Vec<(Instant, [Spot; 3])>,
    /// In order of arrival.
    line: Vec<Waiting>,
    shares: BTreeMap<Spot, Share>,
    paused: BTreeMap<Spot, Instant>,
}

fn spots(token: usize, space: usize) -> [Spot; 3] {
    [(Scope::Endpoint, token), (Scope::Token, token), (Scope::Space, space)]
}

// === impl World ===

impl World {
    fn new(share: f64) -> Self {
        let mut world = Self {
            real: Budget::new(share),
            now: Instant::now(),
            share,
            sent: Vec::new(),
            line: Vec::new(),
            shares: BTreeMap::new(),
            paused: BTreeMap::new(),
        };
        for (token, space) in [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)] {
            world.shares.extend(spots(token, space).map(|spot| (spot, Share::full())));
            let ticket = world.real.join(&places(TOKENS[token], space), rates(3, 4, 3), world.now, world.now).unwrap();
            world.real.leave(ticket, world.now);
        }
        world
    }

    fn rules(&self, spot: Spot) -> [(usize, Duration); 2] {
        let limit = LIMITS[spot.0 as usize];
        let pace = Pace::of(limit, self.share);
        [(pace.most, pace.width), (1, self.shares[&spot].gap(limit, self.share))]
    }

    /// Every moment of a window, sent or booked.
    fn marks(&self, spot: Spot) -> Vec<Instant> {
        let sent = self.sent.iter().filter(|(_, spots)| spots.contains(&spot)).map(|(at, _)| *at);
        sent.chain(self.line.iter().filter(|other| other.spots.contains(&spot)).map(|other| other.at)).collect()
    }

    /// Whether one more call may be there: counts every interval that holds it and begins with a call.
    fn room(&self, spot: Spot, marks: &[Instant], at: Instant) -> bool {
        let free = |(most, width): (usize, Duration)| {
            let begins = marks.iter().copied().filter(|begin| *begin <= at && at < *begin + width).chain([at]);
            begins
                .into_iter()
                .all(|begin| marks.iter().filter(|mark| **mark >= begin && **mark < begin + width).count() < most)
        };
        self.paused.get(&spot).is_none_or(|until| at >= *until) && self.rules(spot).into_iter().all(free)
    }

    /// The earliest moment with room everywhere: now, or when something ends.
    fn earliest(&self, spots: &[Spot; 3], from: Instant) -> Instant {
        let marks = spots.map(|spot| self.marks(spot));
        let mut ends = vec![from];
        for (spot, marks) in spots.iter().zip(&marks) {
            ends.extend(self.paused.get(spot));
            ends.extend(self.rules(*spot).iter().flat_map(|(_, width)| marks.iter().map(|mark| *mark + *width)));
        }
        ends.retain(|end| *end >= from);
        ends.sort();
        let room = |at: &&Instant| spots.iter().zip(&marks).all(|(spot, marks)| self.room(*spot, marks, **at));
        *ends.iter().find(room).expect("after everything there is room")
    }

    /// Nobody before one with the same places who came before.
    fn floor(&self, line: &[Waiting], spots: &[Spot; 3]) -> Instant {
        line.iter().filter(|other| other.spots == *spots).map(|other| other.at).fold(self.now, Instant::max)
    }

    fn plan(&mut self) {
        for waiting in std::mem::take(&mut self.line) {
            let at = self.earliest(&waiting.spots, self.now);
            self.line.push(Waiting { at, ..waiting });
        }
    }

    fn move_up(&mut self) {
        loop {
            let mut moved = false;
            for index in 0..self.line.len() {
                let waiting = self.line.remove(index);
                let floor = self.floor(&self.line[..index], &waiting.spots);
                let at = self.earliest(&waiting.spots, floor).min(waiting.at);
                moved |= at < waiting.at;
                self.line.insert(index, Waiting { at, ..waiting });
            }
            if !moved {
                return;
            }
        }
    }

    fn grow(&mut self) {
        let parts = |world: &Self| world.shares.values().map(Share::part).collect::<Vec<_>>();
        let before = parts(self);
        for share in self.shares.values_mut() {
            share.grow(self.now);
        }
        if parts(self) != before {
            self.move_up();
        }
    }

    fn step(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match step {
            Step::Join { token, space, patience } => self.join(*token, *space, self.now + millis(*patience))?,
            Step::Leave(which) if !self.line.is_empty() => {
                let gone = self.line.remove(which.index(self.line.len()));
                self.grow();
                self.move_up();
                self.real.leave(gone.ticket, self.now);
            }
            Step::Take(which) if !self.line.is_empty() => {
                self.take(self.line[which.index(self.line.len())].ticket)?;
            }
            Step::Leave(_) | Step::Take(_) => {}
            Step::Due { late, backwards } => self.due(*late, *backwards)?,
            Step::Pass(time) => self.now += millis(*time),
            Step::Throttle { token, space, scope, age, pause } => {
                self.throttle(&spots(*token, *space), *scope, *age, *pause);
                let sent_at = self.now - millis(*age);
                self.real.throttled(&places(TOKENS[*token], *space), *scope, sent_at, millis(*pause), self.now);
            }
            Step::Share(which) => {
                self.share = SHARES[*which];
                self.shares.values_mut().for_each(|share| share.grow(self.now));
                self.plan();
                self.real.set_share(self.share, self.now);
            }
        }
        Ok(())
    }

    fn join(&mut self, token: usize, space: usize, latest: Instant) -> Result<(), TestCaseError> {
        let spots = spots(token, space);
        self.grow();
        let at = self.earliest(&spots, self.now);
        match self.real.join(&places(TOKENS[token], space), rates(3, 4, 3), self.now, latest) {
            Ok(ticket) => {
                prop_assert!(at <= latest);
                // First come, first served among those with the same places.
                prop_assert!(self.floor(&self.line, &spots) <= at, "overtook");
                self.line.push(Waiting { ticket, spots, at });
            }
            Err(late) => {
                prop_assert!(at > latest);
                prop_assert_eq!(late.at, at);
                let spot = *spots.iter().find(|spot| spot.0 == late.scope).unwrap();
                prop_assert!(!self.room(spot, &self.marks(spot), at - TICK), "{:?} had room", late.scope);
            }
        }
        Ok(())
    }

    fn due(&mut self, late: u64, backwards: bool) -> Result<(), TestCaseError> {
        if let Some(next) = self.line.iter().map(|waiting| waiting.at).min() {
            self.now = next.max(self.now) + millis(late);
        }
        let mut due: Vec<Ticket> = self.line.iter().filter(|one| one.at <= self.now).map(|one| one.ticket).collect();
        if backwards {
            due.reverse();
        }
        due.into_iter().try_for_each(|ticket| self.take(ticket))
    }

    fn take(&mut self, ticket: Ticket) -> Result<(), TestCaseError> {
        self.grow();
        let index = self.line.iter().position(|waiting| waiting.ticket == ticket).unwrap();
        if self.line[index].at <= self.now {
            let waiting = self.line.remove(index);
            let first = self.line[..index].iter().all(|before| before.at >= self.now);
            let fits = first && self.earliest(&waiting.spots, self.now) == self.now;
            self.line.insert(index, waiting);
            if !fits {
                self.plan();
            }
        }
        let at = self.line[index].at;
        let taken = self.real.send(ticket, self.now);
        prop_assert_eq!(taken, if at <= self.now { Ok(()) } else { Err(at) });
        if taken.is_ok() {
            let waiting = self.line.remove(index);
            for spot in waiting.spots {
                let sent: Vec<Instant> =
                    self.sent.iter().filter(|(_, at)| at.contains(&spot)).map(|(at, _)| *at).collect();
                prop_assert!(self.room(spot, &sent, self.now), "one too many in {spot:?}");
            }
            let overtaken = |other: &Waiting| other.spots == waiting.spots && other.at < self.now;
            prop_assert!(!self.line[..index].iter().any(overtaken), "overtook one who was due");
            self.sent.push((self.now, waiting.spots));
        }
        Ok(())
    }

    fn throttle(&mut self, spots: &[Spot; 3], scope: Option<Scope>, age: u64, pause: u64) {
        self.grow();
        let spot = spots[scope.unwrap_or(Scope::Endpoint) as usize];
        let until = self.now + millis(pause);
        self.paused.entry(spot).and_modify(|end| *end = until.max(*end)).or_insert(until);
        self.shares.get_mut(&spot).unwrap().cut(self.now - millis(age), self.now);
        self.plan();
    }

    /// The real one promises what the model does, and nobody's turn got later without a reason.
    fn compare(&self, before: &[Waiting], advances: u64, excused: bool) -> Result<(), TestCaseError> {
        prop_assert_eq!(self.real.waiting(), self.line.len());
        let mut advanced = false;
        for waiting in &self.line {
            prop_assert_eq!(self.real.moment(waiting.ticket), Some(waiting.at));
            let Some(then) = before.iter().find(|before| before.ticket == waiting.ticket) else { continue };
            prop_assert!(excused || waiting.at <= then.at, "a promise was broken");
            advanced |= waiting.at < then.at;
        }
        prop_assert!(!advanced || self.real.changes() > advances, "a turn moved up and nobody is told");
        Ok(())
    }

    /// Whoever is in line gets its turn.
    fn drain(&mut self) -> Result<(), TestCaseError> {
        for _ in 0..3 * self.line.len() {
            self.due(1, false)?;
        }
        prop_assert!(self.line.is_empty(), "{} starve", self.line.len());
        Ok(())
    }
}

fn step() -> impl Strategy<Value = Step> {
    let scope = prop_oneof![
        2 => Just(None),
        1 => Just(Some(Scope::Endpoint)),
        1 => Just(Some(Scope::Token)),
        2 => Just(Some(Scope::Space))
    ];
    prop_oneof![
        12 => (0..2_usize, 0..3_usize, prop_oneof![Just(100_000), 0..4000_u64])
            .prop_map(|(token, space, patience)| Step::Join { token, space, patience }),
        3 => any::<Index>().prop_map(Step::Leave),
        2 => any::<Index>().prop_map(Step::Take),
        6 => (prop_oneof![Just(0), 0..300_u64], any::<bool>()).prop_map(|(late, backwards)| Step::Due { late, backwards }),
        3 => prop_oneof![0..700_u64, 0..15_000_u64].prop_map(Step::Pass),
        1 => (0..2_usize, 0..3_usize, scope, 0..3000_u64, 0..3000_u64).prop_map(|(token, space, scope, age, pause)| {
            Step::Throttle { token, space, scope, age, pause }
        }),
        1 => (0..SHARES.len()).prop_map(Step::Share),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_promises_and_keeps_what_counting_everything_does(
        share in 0..SHARES.len(),
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        let mut world = World::new(SHARES[share]);
        for step in steps {
            let (before, advances) = (world.line.clone(), world.real.changes());
            world.step(&step)?;
            // Turns that are taken late move those behind them; a pause and another share move everyone.
            let excused = match step {
                Step::Throttle { .. } | Step::Share(_) => true,
                Step::Due { .. } | Step::Take(_) => before.iter().any(|waiting| waiting.at < world.now),
                Step::Join { .. } | Step::Leave(_) | Step::Pass(_) => false,
            };
            world.compare(&before, advances, excused)?;
        }
        world.drain()?;
    }
}
