//! The breaker's promises: moment by moment by hand, and any history against a model that remembers all of it.

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn permit(breaker: &mut Breaker, now: Instant) -> Permit {
    breaker.start(now).expect("the breaker lets one through").0
}

/// Sends one attempt that comes out at once.
fn attempt(breaker: &mut Breaker, verdict: Verdict, now: Instant) -> Option<Change> {
    let permit = permit(breaker, now);
    breaker.end(permit, verdict, now)
}

fn fail(breaker: &mut Breaker, times: u64, now: Instant) {
    for _ in 0..times {
        attempt(breaker, Verdict::Failure, now);
    }
}

/// A breaker that has just opened.
fn opened(now: Instant) -> Breaker {
    let mut breaker = Breaker::new(now);
    fail(&mut breaker, MIN_ATTEMPTS, now);
    assert_eq!(breaker.state(), State::Open);
    breaker
}

#[test]
fn it_opens_when_four_of_five_failed_and_not_one_sooner() {
    for successes in 0..=6_u64 {
        let now = Instant::now();
        let mut breaker = Breaker::new(now);
        for _ in 0..successes {
            assert_eq!(attempt(&mut breaker, Verdict::Success, now), None);
        }
        let mut failures = 1;
        while attempt(&mut breaker, Verdict::Failure, now).is_none() {
            failures += 1;
        }
        let least = (MIN_ATTEMPTS - successes).max(4 * successes);
        assert_eq!((failures, breaker.state()), (least, State::Open), "after {successes} successes");
    }
}

#[test]
fn a_success_never_opens_it() {
    let now = Instant::now();
    let mut breaker = Breaker::new(now);
    fail(&mut breaker, MIN_ATTEMPTS - 1, now);
    assert_eq!(attempt(&mut breaker, Verdict::Success, now), None, "the twentieth attempt, nineteen of which failed");
    assert!(attempt(&mut breaker, Verdict::Failure, now).is_some());
}

#[test]
fn what_says_nothing_about_monime_never_opens_it() {
    let now = Instant::now();
    let mut breaker = Breaker::new(now);
    for _ in 0..1000 {
        assert_eq!(attempt(&mut breaker, Verdict::Neutral, now), None);
    }
    for _ in 1..MIN_ATTEMPTS {
        assert_eq!(attempt(&mut breaker, Verdict::Failure, now), None, "neutral ones are no attempts");
    }
}

#[test]
fn failures_are_forgotten_after_ten_seconds() {
    let start = Instant::now();
    for (wait, opens) in [(9 * SECOND, true), (10 * SECOND, false), (3600 * SECOND, false)] {
        let mut breaker = Breaker::new(start);
        fail(&mut breaker, MIN_ATTEMPTS - 1, start);
        assert_eq!(attempt(&mut breaker, Verdict::Failure, start + wait).is_some(), opens, "after {wait:?}");
    }
}

#[test]
fn an_open_breaker_says_how_long_until_its_one_probe() {
    let now = Instant::now();
    let mut breaker = opened(now);
    assert_eq!(breaker.check(now), Err(OPEN));
    assert_eq!(breaker.start(now + SECOND).unwrap_err(), SECOND);
    assert_eq!(breaker.check(now + OPEN), Ok(()));
    assert_eq!(breaker.state(), State::Open, "asking changes nothing");
    let (_probe, change) = breaker.start(now + OPEN).unwrap();
    assert_eq!(change, Some(Change { from: State::Open, to: State::HalfOpen }));
    assert_eq!(breaker.check(now + OPEN), Err(PROBING));
    assert_eq!(breaker.start(now + 3600 * SECOND).unwrap_err(), PROBING, "however long the probe takes");
}

#[test]
fn a_probe_that_succeeds_closes_it_with_a_clean_slate() {
    let now = Instant::now();
    let mut breaker = opened(now);
    let change = attempt(&mut breaker, Verdict::Success, now + OPEN);
    assert_eq!(change, Some(Change { from: State::HalfOpen, to: State::Closed }));
    for _ in 1..MIN_ATTEMPTS {
        assert_eq!(attempt(&mut breaker, Verdict::Failure, now + OPEN), None);
    }
    assert!(attempt(&mut breaker, Verdict::Failure, now + OPEN).is_some());
}

#[test]
fn a_probe_that_fails_opens_it_for_as_long_again() {
    let now = Instant::now();
    let mut breaker = opened(now);
    let late = now + 3 * OPEN;
    assert_eq!(attempt(&mut breaker, Verdict::Failure, late), Some(Change { from: State::HalfOpen, to: State::Open }));
    assert_eq!((breaker.check(late), breaker.check(late + OPEN)), (Err(OPEN), Ok(())));
}

#[test]
fn a_probe_that_says_nothing_makes_room_for_another() {
    let now = Instant::now();
    let mut breaker = opened(now);
    for _ in 0..3 {
        assert_eq!(attempt(&mut breaker, Verdict::Neutral, now + OPEN), None);
        assert_eq!((breaker.state(), breaker.check(now + OPEN)), (State::HalfOpen, Ok(())));
    }
    let _probe = permit(&mut breaker, now + OPEN);
    assert_eq!(breaker.check(now + OPEN), Err(PROBING));
}

#[test]
fn what_was_sent_before_it_opened_decides_nothing_afterwards() {
    for verdict in [Verdict::Success, Verdict::Failure, Verdict::Neutral] {
        let now = Instant::now();
        let mut breaker = Breaker::new(now);
        let mut late: Vec<_> = (0..4 * MIN_ATTEMPTS).map(|_| permit(&mut breaker, now)).collect();
        fail(&mut breaker, MIN_ATTEMPTS, now);
        let mut answer_late = |breaker: &mut Breaker, state| {
            for permit in late.drain(..late.len() / 2) {
                assert_eq!(breaker.end(permit, verdict, now + OPEN), None, "{verdict:?}");
            }
            assert_eq!(breaker.state(), state, "{verdict:?}");
        };
        answer_late(&mut breaker, State::Open);
        let probe = permit(&mut breaker, now + OPEN);
        answer_late(&mut breaker, State::HalfOpen);
        assert_eq!(breaker.check(now + OPEN), Err(PROBING), "{verdict:?} is not the probe's");
        assert!(breaker.end(probe, Verdict::Success, now + OPEN).is_some());
        answer_late(&mut breaker, State::Closed);
    }
}

#[test]
fn its_memory_is_ten_counters_however_much_is_asked() {
    let start = Instant::now();
    let mut breaker = Breaker::new(start);
    for tenth in 0..10_000 {
        let verdict = if tenth % 2 == 0 { Verdict::Success } else { Verdict::Failure };
        attempt(&mut breaker, verdict, start + tenth * SECOND / 10);
        let Phase::Closed(Window(seconds)) = &breaker.phase else { panic!("half of them failed") };
        assert!(seconds.len() as u64 <= SECONDS);
    }
}

#[test]
fn each_state_has_its_word_and_its_number() {
    let states = [State::Closed, State::HalfOpen, State::Open];
    assert_eq!(states.map(State::as_str), ["closed", "half-open", "open"]);
    assert_eq!(states.map(State::number), [0, 1, 2]);
}

/// What happens next.
#[derive(Debug, Clone)]
enum Event {
    Wait(Duration),
    Start,
    /// One of those under way comes out.
    End(prop::sample::Index, Verdict),
}

fn event() -> impl Strategy<Value = Event> {
    let verdict = prop_oneof![
        // About as many as it takes.
        2 => Just(Verdict::Success),
        9 => Just(Verdict::Failure),
        1 => Just(Verdict::Neutral),
    ];
    prop_oneof![
        2 => (0_u64..1500).prop_map(|millis| Event::Wait(Duration::from_millis(millis))),
        8 => Just(Event::Start),
        8 => (any::<prop::sample::Index>(), verdict).prop_map(|(which, verdict)| Event::End(which, verdict)),
    ]
}

/// The rule once more, with everything remembered.
#[derive(Default)]
struct Model {
    /// The second and the luck of every attempt since the last change.
    attempts: Vec<(u64, bool)>,
    open_until: Option<Duration>,
    /// The number of the probe that is under way.
    probe: Option<usize>,
    half_open: bool,
    /// Permits with a number below this one are of the past.
    valid_from: usize,
}

impl Model {
    fn state(&self) -> State {
        match (self.open_until, self.half_open) {
            (Some(_), _) => State::Open,
            (None, true) => State::HalfOpen,
            (None, false) => State::Closed,
        }
    }

    /// Whether permit `number` is given.
    fn start(&mut self, number: usize, now: Duration) -> bool {
        if self.probe.is_some() || self.open_until.is_some_and(|until| now < until) {
            return false;
        }
        if self.open_until.take().is_some() {
            self.half_open = true;
            self.valid_from = number;
        }
        self.probe = self.half_open.then_some(number);
        true
    }

    fn end(&mut self, number: usize, issued: usize, verdict: Verdict, now: Duration) {
        if number < self.valid_from {
            return;
        }
        let opens = if self.half_open {
            assert_eq!(self.probe.take(), Some(number), "one probe at a time");
            self.half_open = verdict == Verdict::Neutral;
            verdict == Verdict::Failure
        } else {
            if verdict != Verdict::Neutral {
                self.attempts.push((now.as_secs(), verdict == Verdict::Failure));
            }
            let recent = self.attempts.iter().filter(|(second, _)| second + 10 > now.as_secs());
            let (failed, all) = recent.fold((0, 0), |(failed, all), past| (failed + u32::from(past.1), all + 1));
            verdict == Verdict::Failure && all >= 20 && f64::from(failed) / f64::from(all) >= 0.8
        };
        if opens {
            self.open_until = Some(now + Duration::from_secs(2));
        }
        if self.state() != State::Closed {
            self.attempts.clear();
        }
        if opens {
            self.valid_from = issued;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_does_what_the_naive_model_does(events in proptest::collection::vec(event(), 0..400)) {
        let epoch = Instant::now();
        let (mut breaker, mut model) = (Breaker::new(epoch), Model::default());
        let (mut now, mut issued) = (Duration::ZERO, 0);
        let mut under_way: Vec<(usize, Permit)> = Vec::new();
        for event in events {
            match event {
                Event::Wait(time) => now += time,
                Event::Start => {
                    let check = breaker.check(epoch + now);
                    let started = breaker.start(epoch + now);
                    prop_assert_eq!(check.err(), started.as_ref().err().copied());
                    prop_assert_eq!(started.is_ok(), model.start(issued, now));
                    if let Ok((permit, change)) = started {
                        prop_assert_eq!(change.is_some_and(|change| change.to != State::HalfOpen), false);
                        under_way.push((issued, permit));
                        issued += 1;
                    }
                }
                Event::End(which, verdict) if !under_way.is_empty() => {
                    let (number, permit) = under_way.swap_remove(which.index(under_way.len()));
                    let from = breaker.state();
                    let change = breaker.end(permit, verdict, epoch + now);
                    model.end(number, issued, verdict, now);
                    let to = breaker.state();
                    prop_assert_eq!(change, (from != to).then_some(Change { from, to }));
                }
                Event::End(..) => {}
            }
            prop_assert_eq!(breaker.state(), model.state());
        }
        // Whatever happened: once everyone is back and the open time is over, somebody may ask again.
        for (_, permit) in under_way {
            let _ = breaker.end(permit, Verdict::Failure, epoch + now);
        }
        prop_assert_eq!(breaker.check(epoch + now + OPEN), Ok(()));
    }
}
