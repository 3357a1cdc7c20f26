//! Two budgets go through the same: one takes turns at once where it can, the other has everyone stand in line.

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

const TOKENS: [&str; 2] = ["one", "two"];

#[derive(Debug, Clone)]
enum Step {
    /// Who gets no turn now stays in line, or leaves.
    Ask {
        token: usize,
        space: usize,
        stays: bool,
    },
    /// Whoever is in line and due goes.
    Due,
    Answer(Index, bool),
    Pass(u64),
    Throttle {
        token: usize,
        space: usize,
        pause: u64,
    },
}

/// The same call at both.
type Twin = (Ticket, Ticket);

struct Twins {
    direct: Budget,
    lined: Budget,
    now: Instant,
    waiting: Vec<Twin>,
    sent: Vec<Twin>,
}

impl Twins {
    fn ask(&mut self, places: &Places, stays: bool) -> Result<(), TestCaseError> {
        let (rates, now) = (rates(3, 4, 3), self.now);
        let lined = self.lined.join(places, &[], rates, now, now + FAR).unwrap();
        if let Some((ticket, scope)) = self.direct.take_at_once(places, rates, now) {
            prop_assert_eq!(self.lined.take(lined, now), Ok(Some(scope)));
            self.sent.push((ticket, lined));
            return Ok(());
        }
        let direct = self.direct.join(places, &[], rates, now, now + FAR).unwrap();
        prop_assert_eq!(self.direct.moment(direct), self.lined.moment(lined));
        if stays {
            self.waiting.push((direct, lined));
        } else {
            self.direct.leave(direct, now);
            self.lined.leave(lined, now);
        }
        Ok(())
    }

    fn due(&mut self) -> Result<(), TestCaseError> {
        for (direct, lined) in std::mem::take(&mut self.waiting) {
            let taken = self.direct.take(direct, self.now);
            prop_assert_eq!(taken, self.lined.take(lined, self.now));
            if taken.is_ok() { self.sent.push((direct, lined)) } else { self.waiting.push((direct, lined)) }
        }
        Ok(())
    }

    fn step(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match *step {
            Step::Ask { token, space, stays } => self.ask(&places(TOKENS[token], space), stays)?,
            Step::Due => self.due()?,
            Step::Answer(which, came) if !self.sent.is_empty() => {
                let (direct, lined) = self.sent.remove(which.index(self.sent.len()));
                self.direct.answered(direct, came, self.now);
                self.lined.answered(lined, came, self.now);
            }
            Step::Answer(..) => {}
            Step::Pass(time) => self.now += millis(time),
            Step::Throttle { token, space, pause } => {
                let places = places(TOKENS[token], space);
                let throttle = |budget: &mut Budget| budget.throttled(&places, None, self.now, millis(pause), self.now);
                prop_assert_eq!(throttle(&mut self.direct), throttle(&mut self.lined));
            }
        }
        for (direct, lined) in &self.waiting {
            prop_assert_eq!(self.direct.moment(*direct), self.lined.moment(*lined));
        }
        for scope in Scope::ALL {
            prop_assert_eq!(self.direct.share(scope, self.now), self.lined.share(scope, self.now));
        }
        Ok(())
    }
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..2_usize, 0..3_usize, any::<bool>()).prop_map(|(token, space, stays)| Step::Ask { token, space, stays }),
        3 => Just(Step::Due),
        6 => (any::<Index>(), any::<bool>()).prop_map(|(which, came)| Step::Answer(which, came)),
        6 => prop_oneof![0..40_u64, 0..1500_u64].prop_map(Step::Pass),
        1 => (0..2_usize, 0..3_usize, 0..3000_u64).prop_map(|(token, space, pause)| Step::Throttle { token, space, pause }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_turn_that_is_taken_at_once_is_the_one_that_standing_in_line_would_give(
        steps in proptest::collection::vec(step(), 1..80),
    ) {
        let now = Instant::now();
        let (direct, lined) = (Budget::new(1.0), Budget::new(1.0));
        let mut twins = Twins { direct, lined, now, waiting: Vec::new(), sent: Vec::new() };
        for step in steps {
            twins.step(&step)?;
        }
    }
}
