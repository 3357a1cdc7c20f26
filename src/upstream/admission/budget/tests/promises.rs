//! What a newcomer is told, held against the turn that it is given then, and how much is sent, while calls take their
//! time to be answered: by the budget's own words, since a model of how it plans could share a mistake with it.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::share::Pace;
use super::*;

const TOKENS: [&str; 2] = ["one", "two"];
const SHARES: [f64; 4] = [1.0, 0.7, 0.5, 0.2];
const RATES: Rates = Rates { endpoint: 3, token: 4, space: 3 };

/// Whoever is concerned is named by a number that goes round among those there are.
#[derive(Debug, Clone)]
enum Step {
    Join {
        token: usize,
        space: usize,
        line: usize,
    },
    Leave(usize),
    /// Somebody asks for a turn, come or not.
    Take(usize),
    /// Those whose turn comes next take it when it comes.
    Due,
    /// A call that was sent is answered.
    Answer(usize),
    /// One is answered with 429.
    Throttle {
        token: usize,
        space: usize,
        pause: u64,
    },
    Pass(u64),
}

struct World {
    budget: Budget,
    share: f64,
    now: Instant,
    waiting: Vec<(Ticket, Places)>,
    under_way: Vec<Ticket>,
    sent: BTreeMap<String, Vec<Instant>>,
}

// === impl World ===

impl World {
    fn new(share: f64) -> Self {
        Self {
            budget: Budget::new(share),
            share,
            now: Instant::now(),
            waiting: Vec::new(),
            under_way: Vec::new(),
            sent: BTreeMap::new(),
        }
    }

    fn step(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match step {
            Step::Join { token, space, line } => self.join(places(TOKENS[*token], *space), *line)?,
            Step::Leave(which) if !self.waiting.is_empty() => {
                let (ticket, _) = self.waiting.remove(which % self.waiting.len());
                self.budget.leave(ticket, self.now);
            }
            Step::Take(which) if !self.waiting.is_empty() => {
                let (ticket, places) = self.waiting[which % self.waiting.len()].clone();
                self.take(ticket, &places)?;
            }
            Step::Due => {
                let moments = self.waiting.iter().filter_map(|(ticket, _)| self.budget.moment(*ticket));
                self.now = moments.min().map_or(self.now, |next| next.max(self.now));
                for (ticket, places) in self.waiting.clone() {
                    self.take(ticket, &places)?;
                }
            }
            Step::Answer(which) if !self.under_way.is_empty() => {
                let ticket = self.under_way.swap_remove(which % self.under_way.len());
                self.budget.answered(ticket, true, self.now);
            }
            Step::Leave(_) | Step::Take(_) | Step::Answer(_) => {}
            Step::Throttle { token, space, pause } => {
                let places = places(TOKENS[*token], *space);
                self.budget.throttled(&places, None, self.now, millis(*pause), self.now);
            }
            Step::Pass(time) => self.now += millis(*time),
        }
        Ok(())
    }

    /// Asks for a turn that cannot be, and then for the one that it was told.
    fn join(&mut self, places: Places, line: usize) -> Result<(), TestCaseError> {
        let (now, line) = (self.now, [caller(line)]);
        let mut join = |latest| self.budget.join(&places, &line, RATES, now, latest).map_err(|late| late.at);
        let told = join(now - millis(1)).unwrap_err();
        prop_assert_eq!(join(told - Duration::from_nanos(1)), Err(told), "whoever is refused changes nothing");
        let ticket = join(told).unwrap();
        prop_assert!(self.budget.moment(ticket).is_some_and(|at| at <= told), "sooner was promised");
        self.waiting.push((ticket, places));
        Ok(())
    }

    fn take(&mut self, ticket: Ticket, places: &Places) -> Result<(), TestCaseError> {
        if self.budget.take(ticket, self.now).is_err() {
            return Ok(());
        }
        self.waiting.retain(|(other, _)| *other != ticket);
        self.under_way.push(ticket);
        for (scope, limit) in Scope::ALL.into_iter().zip([RATES.endpoint, RATES.token, RATES.space]) {
            let Pace { most, width } = Pace::of(limit, self.share);
            let sent = self.sent.entry(format!("{:?}", places.place(scope))).or_default();
            sent.push(self.now);
            let recent = sent.iter().filter(|at| **at + width > self.now).count();
            prop_assert!(recent <= most, "{recent} of {most} in one width of {scope:?}");
        }
        Ok(())
    }
}

fn step() -> impl Strategy<Value = Step> {
    let (token, space) = (0..TOKENS.len(), 0..SPACES.len());
    let which = 0..100_usize;
    prop_oneof![
        8 => (token.clone(), space.clone(), 0..4_usize)
            .prop_map(|(token, space, line)| Step::Join { token, space, line }),
        2 => which.clone().prop_map(Step::Leave),
        2 => which.clone().prop_map(Step::Take),
        4 => Just(Step::Due),
        3 => which.prop_map(Step::Answer),
        1 => (token, space, 0..3000_u64).prop_map(|(token, space, pause)| Step::Throttle { token, space, pause }),
        2 => (0..2000_u64).prop_map(Step::Pass),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whoever_joins_is_given_the_turn_that_it_was_told_and_no_more_is_sent_than_the_limits_allow(
        share in 0..SHARES.len(),
        steps in proptest::collection::vec(step(), 1..100),
    ) {
        let mut world = World::new(SHARES[share]);
        for step in steps {
            world.step(&step)?;
        }
    }
}
