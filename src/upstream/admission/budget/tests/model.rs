//! Any sequence of steps of one to four lines, against a model that keeps all of history in plain lists, tries every
//! moment there is, and counts every line's rounds from the start each time.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::share::{Pace, Share};
use super::*;

const TOKENS: [&str; 2] = ["one", "two"];
const SHARES: [f64; 4] = [1.0, 0.7, 0.5, 0.2];
const LIMITS: [u32; 3] = [3, 4, 3];
const TICK: Duration = Duration::from_nanos(1);

/// Whoever is concerned is named by a number that goes round among those in line, so that a case can be written down.
#[derive(Debug, Clone)]
enum Step {
    Join {
        token: usize,
        space: usize,
        line: usize,
        patience: u64,
    },
    /// Somebody of this line waits for the same.
    Advance(usize, usize),
    Leave(usize),
    /// Somebody asks for a turn, come or not.
    Take(usize),
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
    line: usize,
    /// The round at its token when it came into its line, and how many had come into any before.
    came: u64,
    count: usize,
}

struct World {
    real: Budget,
    now: Instant,
    share: f64,
    sent: Vec<(Instant, [Spot; 3])>,
    /// Of how many lines anybody is.
    lines: usize,
    /// In order.
    line: Vec<Waiting>,
    count: usize,
    /// The rounds of each token, and what each line at it has had: forgotten where nobody waits.
    rounds: BTreeMap<Spot, u64>,
    had: BTreeMap<(Spot, usize), u64>,
    shares: BTreeMap<Spot, Share>,
    paused: BTreeMap<Spot, Instant>,
}

fn spots(token: usize, space: usize) -> [Spot; 3] {
    [(Scope::Endpoint, token), (Scope::Token, token), (Scope::Space, space)]
}

// === impl World ===

impl World {
    fn new(share: f64, lines: usize) -> Self {
        let mut world = Self {
            real: Budget::new(share),
            now: Instant::now(),
            share,
            sent: Vec::new(),
            lines,
            line: Vec::new(),
            count: 0,
            rounds: BTreeMap::new(),
            had: BTreeMap::new(),
            shares: BTreeMap::new(),
            paused: BTreeMap::new(),
        };
        for (token, space) in [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)] {
            world.shares.extend(spots(token, space).map(|spot| (spot, Share::full())));
            let places = places(TOKENS[token], space);
            let ticket = world.real.join(&places, &[], rates(3, 4, 3), world.now, world.now).unwrap();
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

    /// In which round each of this token stands: one after the other in its line, none that was over when it came.
    fn standing(&self, token: Spot) -> Vec<(u64, Ticket)> {
        let mut ranks = Vec::new();
        for line in 0..self.lines {
            let mut next = self.had.get(&(token, line)).map_or(0, |had| had + 1);
            let mut own: Vec<_> = self.line.iter().filter(|one| one.spots[1] == token && one.line == line).collect();
            own.sort_by_key(|one| one.count);
            for one in own {
                ranks.push((next.max(one.came), one.ticket));
                next = next.max(one.came) + 1;
            }
        }
        ranks.sort();
        ranks
    }

    /// The round that one more of this line would stand in.
    fn next_round(&self, token: Spot, line: usize) -> u64 {
        let own = |ticket: &Ticket| self.line.iter().any(|one| one.ticket == *ticket && one.line == line);
        let last = self.standing(token).into_iter().filter(|(_, ticket)| own(ticket)).map(|(round, _)| round).max();
        let had = self.had.get(&(token, line)).copied();
        last.max(had).map_or(0, |last| last + 1).max(self.rounds.get(&token).copied().unwrap_or(0))
    }

    fn tickets(&self, token: Spot) -> Vec<Ticket> {
        self.line.iter().filter(|one| one.spots[1] == token).map(|one| one.ticket).collect()
    }

    /// Those of this token change places among themselves until they stand by round; who goes at another time for it is
    /// given a new turn, behind those that stay.
    fn sort(&mut self, token: Spot) -> bool {
        let before = self.tickets(token);
        let after: Vec<_> = self.standing(token).into_iter().map(|(_, ticket)| ticket).collect();
        let from = before.iter().zip(&after).take_while(|(before, after)| before == after).count();
        let places: Vec<_> = (0..self.line.len()).filter(|place| self.line[*place].spots[1] == token).collect();
        let by_ticket: BTreeMap<_, _> = self.line.iter().map(|one| (one.ticket, one.clone())).collect();
        for (place, ticket) in places.into_iter().zip(&after) {
            self.line[place] = by_ticket[ticket].clone();
        }
        self.book(&after[from..]);
        if from < after.len() {
            self.move_up();
        }
        from < after.len()
    }

    /// Gives these new turns in order, as if they had none.
    fn book(&mut self, tickets: &[Ticket]) {
        let mut unbooked: Vec<_> = self.line.iter().filter(|one| tickets.contains(&one.ticket)).cloned().collect();
        let order: Vec<_> = self.line.iter().map(|one| one.ticket).collect();
        self.line.retain(|one| !tickets.contains(&one.ticket));
        for mut one in unbooked.drain(..) {
            let place = order.iter().position(|ticket| *ticket == one.ticket).unwrap();
            let index = self.line.iter().filter(|other| order[..place].contains(&other.ticket)).count();
            let floor = self.floor(&self.line[..index], &one.spots);
            one.at = self.earliest(&one.spots, floor);
            self.line.insert(index, one);
        }
    }

    fn forget(&mut self) {
        let waits = |token: &Spot| self.line.iter().any(|one| one.spots[1] == *token);
        self.rounds.retain(|token, _| waits(token));
        self.had.retain(|(token, _), _| waits(token));
    }

    fn step(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match step {
            Step::Join { token, space, line, patience } => {
                self.join(*token, *space, line % self.lines, self.now + millis(*patience))?;
            }
            Step::Advance(which, line) if !self.line.is_empty() => {
                self.advance(which % self.line.len(), line % self.lines)?;
            }
            Step::Leave(which) if !self.line.is_empty() => {
                let gone = self.line.remove(which % self.line.len());
                self.forget();
                self.grow();
                if !self.sort(gone.spots[1]) {
                    self.move_up();
                }
                self.real.leave(gone.ticket, self.now);
            }
            Step::Take(which) if !self.line.is_empty() => {
                self.take(self.line[which % self.line.len()].ticket)?;
            }
            Step::Leave(_) | Step::Take(_) | Step::Advance(..) => {}
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

    fn join(&mut self, token: usize, space: usize, line: usize, latest: Instant) -> Result<(), TestCaseError> {
        let spots = spots(token, space);
        self.grow();
        let round = self.next_round(spots[1], line);
        let ranks = self.standing(spots[1]);
        let behind: Vec<_> = ranks.iter().filter(|(its, _)| *its > round).map(|(_, ticket)| *ticket).collect();
        let everyone = self.line.clone();
        self.line.retain(|one| !behind.contains(&one.ticket));
        let floor = self.floor(&self.line, &spots);
        let at = self.earliest(&spots, floor);
        // Room before the floor is only for those behind. Who goes with the last one before it is held up by what holds
        // that one up.
        let follows = at == floor && self.earliest(&spots, self.now) < floor;
        let decides = |world: &Self, scope| {
            if follows {
                let mut last = world.line.iter().filter(|one| one.spots == spots && one.at == floor);
                return last.any(|one| world.real.waiting[&one.ticket].scope == scope);
            }
            let spot = *spots.iter().find(|spot| spot.0 == scope).unwrap();
            !world.room(spot, &world.marks(spot), at - TICK)
        };
        let caller = [caller(line)];
        match self.real.join(&places(TOKENS[token], space), &caller, rates(3, 4, 3), self.now, latest) {
            Ok(ticket) => {
                prop_assert!(at <= latest);
                // In order among those with the same places.
                prop_assert!(self.line.iter().all(|other| other.spots != spots || other.at <= at), "overtook");
                self.line = everyone;
                let came = self.rounds.get(&spots[1]).copied().unwrap_or(0);
                self.line.push(Waiting { ticket, spots, at, line, came, count: self.count });
                self.count += 1;
                self.sort(spots[1]);
                prop_assert!(self.line.iter().all(|one| one.ticket != ticket || one.at <= at), "sooner was promised");
            }
            Err(late) => {
                prop_assert!(at > latest);
                prop_assert_eq!(late.at, at);
                prop_assert!(decides(self, late.scope), "{:?} did not decide", late.scope);
                self.line = everyone;
            }
        }
        Ok(())
    }

    fn advance(&mut self, index: usize, line: usize) -> Result<(), TestCaseError> {
        let Waiting { ticket, spots, at: promised, .. } = self.line[index];
        let late = self.line.iter().any(|one| one.at < self.now);
        self.grow();
        let (round, _) = self.standing(spots[1]).into_iter().find(|(_, other)| *other == ticket).unwrap();
        if self.next_round(spots[1], line) < round {
            let (came, count) = (self.rounds.get(&spots[1]).copied().unwrap_or(0), self.count);
            let one = self.line.iter_mut().find(|one| one.ticket == ticket).unwrap();
            (one.line, one.came, one.count) = (line, came, count);
            self.count += 1;
            self.sort(spots[1]);
        }
        self.real.advance(ticket, &[caller(line)], self.now);
        let moved = self.line.iter().find(|one| one.ticket == ticket).unwrap();
        prop_assert!(late || moved.at <= promised, "it has to wait longer for being joined");
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
            let token = self.line[index].spots[1];
            let caller = self.line[index].line;
            let first = self
                .standing(token)
                .into_iter()
                .find(|(_, ticket)| self.line.iter().any(|one| one.ticket == *ticket && one.line == caller));
            let (first, _) = first.unwrap();
            let waiting = self.line.remove(index);
            for spot in waiting.spots {
                let sent: Vec<Instant> =
                    self.sent.iter().filter(|(_, at)| at.contains(&spot)).map(|(at, _)| *at).collect();
                prop_assert!(self.room(spot, &sent, self.now), "one too many in {spot:?}");
            }
            let overtaken = |other: &Waiting| other.spots == waiting.spots && other.at < self.now;
            prop_assert!(!self.line[..index].iter().any(overtaken), "overtook one who was due");
            self.sent.push((self.now, waiting.spots));
            self.had.insert((token, caller), first);
            self.rounds.entry(token).and_modify(|round| *round = first.max(*round)).or_insert(first);
            self.forget();
            self.sort(token);
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
        let order: Vec<_> = self.real.order.iter().collect();
        prop_assert_eq!(&order, &self.line.iter().map(|one| one.ticket).collect::<Vec<_>>());
        if self.lines == 1 {
            prop_assert!(order.is_sorted(), "one line is first come, first served");
        }
        let mut advanced = false;
        for waiting in &self.line {
            prop_assert_eq!(self.real.moment(waiting.ticket), Some(waiting.at));
            let Some(then) = before.iter().position(|before| before.ticket == waiting.ticket) else { continue };
            let stays = |one: &&Waiting| self.line.iter().any(|other| other.ticket == one.ticket);
            let was = |one: &Waiting| one.spots[1] == waiting.spots[1];
            let old = before.iter().filter(|one| was(one)).filter(stays).map(|one| one.ticket);
            let same: Vec<_> = old.zip(self.tickets(waiting.spots[1])).take_while(|(old, new)| old == new).collect();
            // Those behind a change of places are planned anew, those before it are not.
            let passed = !same.iter().any(|(ticket, _)| *ticket == waiting.ticket);
            prop_assert!(excused || passed || waiting.at <= before[then].at, "a promise was broken");
            advanced |= waiting.at < before[then].at;
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
        let (order, nobody) = (format!("{:?}", self.real.order), format!("{:?}", Order::default()));
        prop_assert_eq!(order, nobody, "something is remembered of those who are gone");
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
        12 => (0..2_usize, 0..3_usize, 0..4_usize, prop_oneof![Just(100_000), 0..4000_u64])
            .prop_map(|(token, space, line, patience)| Step::Join { token, space, line, patience }),
        2 => (0..100_usize, 0..4_usize).prop_map(|(which, line)| Step::Advance(which, line)),
        3 => (0..100_usize).prop_map(Step::Leave),
        2 => (0..100_usize).prop_map(Step::Take),
        6 => (prop_oneof![Just(0), 0..300_u64], any::<bool>()).prop_map(|(late, backwards)| Step::Due { late, backwards }),
        3 => prop_oneof![0..700_u64, 0..15_000_u64].prop_map(Step::Pass),
        1 => (0..2_usize, 0..3_usize, scope, 0..3000_u64, 0..3000_u64).prop_map(|(token, space, scope, age, pause)| {
            Step::Throttle { token, space, scope, age, pause }
        }),
        1 => (0..SHARES.len()).prop_map(Step::Share),
    ]
}

/// Takes these steps, and counts everything after each.
fn run(share: f64, lines: usize, steps: &[Step]) -> Result<(), TestCaseError> {
    let mut world = World::new(share, lines);
    for step in steps {
        let (before, advances) = (world.line.clone(), world.real.changes());
        world.step(step)?;
        // Turns that are taken late move those behind them, also when places are changed meanwhile; a pause and another
        // share move everyone.
        let late = before.iter().any(|waiting| waiting.at < world.now);
        let excused = match step {
            Step::Throttle { .. } | Step::Share(_) => true,
            Step::Due { .. } | Step::Take(_) => late,
            Step::Join { .. } | Step::Advance(..) | Step::Leave(_) => late && world.lines > 1,
            Step::Pass(_) => false,
        };
        world.compare(&before, advances, excused)?;
    }
    world.drain()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_promises_and_keeps_what_counting_everything_does(
        share in 0..SHARES.len(),
        lines in 1..=4_usize,
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        run(SHARES[share], lines, &steps)?;
    }
}

/// The case in which it was found that a newcomer was promised room that one before it could not take: the room had been
/// freed for the newcomer alone, and the turn that it was then given was behind the other's.
#[test]
fn a_newcomer_is_promised_no_turn_before_that_of_one_with_the_same_places_who_stands_before_it() {
    let join = |token, space, line| Step::Join { token, space, line, patience: 100_000 };
    let due = |late| Step::Due { late, backwards: false };
    let steps = [
        join(0, 2, 1),
        join(0, 0, 0),
        join(0, 0, 1),
        join(1, 0, 0),
        join(0, 1, 0),
        join(1, 1, 0),
        join(0, 0, 0),
        due(0),
        join(0, 0, 0),
        Step::Leave(4),
        due(0),
        join(0, 0, 0),
        due(0),
        Step::Leave(1),
        join(0, 1, 0),
        join(1, 1, 0),
        join(0, 0, 0),
        Step::Leave(1),
        due(1),
        join(0, 0, 2),
        join(0, 0, 0),
        join(0, 1, 1),
    ];
    run(SHARES[2], 3, &steps).unwrap();
}
