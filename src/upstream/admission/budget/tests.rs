//! The promises of the budget: one by one, against a model that counts everything, by its own words while calls take their
//! time, and with five gateways on one token.

mod at_once;
mod gateways;
mod lines;
mod model;
mod promises;

use super::*;
use crate::monime::SpaceId;
use crate::upstream::Line;

const SPACES: [&str; 3] = ["spc-a", "spc-b", "spc-c"];
const FAR: Duration = Duration::from_secs(86_400);
const WIDTH: Duration = Duration::from_millis(1050);

fn places(token: &str, space: usize) -> Places {
    Places { token: token.into(), operation: "get", space: SpaceId::parse(SPACES[space]).unwrap() }
}

/// The line of a caller, by its number.
fn caller(number: usize) -> Line {
    Line::of(&format!("caller-{number}").into())
}

impl Budget {
    /// Takes a turn, for a call that is answered at once.
    fn send(&mut self, ticket: Ticket, now: Instant) -> Result<(), Instant> {
        self.take(ticket, now)?;
        self.answered(ticket, true, now);
        Ok(())
    }

    /// When a turn comes; none if it was taken or given back.
    fn moment(&self, ticket: Ticket) -> Option<Instant> {
        self.waiting.get(&ticket).map(|waiter| waiter.at)
    }
}

fn rates(endpoint: u32, token: u32, space: u32) -> Rates {
    Rates { endpoint, token, space }
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A budget, and somebody who joins it without ever losing patience.
struct Crowd {
    budget: Budget,
    rates: Rates,
    now: Instant,
}

impl Crowd {
    fn new(rates: Rates) -> Self {
        Self { budget: Budget::new(1.0), rates, now: Instant::now() }
    }

    fn join(&mut self, space: usize) -> Ticket {
        self.budget.join(&places("token", space), &[], self.rates, self.now, self.now + FAR).unwrap()
    }

    /// How long from now until its turn.
    fn wait(&self, ticket: Ticket) -> Duration {
        self.budget.moment(ticket).unwrap().saturating_duration_since(self.now)
    }

    fn send(&mut self, space: usize) {
        let ticket = self.join(space);
        assert!(self.budget.send(ticket, self.now).is_ok());
    }

    /// A call that is not answered yet.
    fn sent(&mut self) -> Ticket {
        let ticket = self.join(0);
        assert!(self.budget.take(ticket, self.now).is_ok());
        ticket
    }

    fn throttle(&mut self, scope: Option<Scope>, sent_at: Instant) -> Throttled {
        self.budget.throttled(&places("token", 0), scope, sent_at, millis(2000), self.now)
    }
}

#[test]
fn a_turn_comes_when_the_oldest_call_has_left_the_window() {
    let mut line = Crowd::new(rates(2, 9, 9));
    line.send(0);
    line.now += millis(100);
    line.send(0);
    let (third, fourth) = (line.join(0), line.join(0));
    assert_eq!((line.wait(third), line.wait(fourth)), (WIDTH - millis(100), WIDTH));
    assert_eq!(line.budget.send(third, line.now), Err(line.now + WIDTH - millis(100)));
}

#[test]
fn who_would_come_too_late_is_told_the_moment_and_the_scope_and_changes_nothing() {
    for (limits, scope) in [((1, 9, 9), Scope::Endpoint), ((9, 1, 9), Scope::Token), ((9, 9, 1), Scope::Space)] {
        let mut line = Crowd::new(rates(limits.0, limits.1, limits.2));
        line.send(0);
        let latest = line.now + WIDTH - millis(1);
        let refused = line.budget.join(&places("token", 0), &[], line.rates, line.now, latest);
        assert_eq!(refused, Err(TooLate { at: line.now + WIDTH, scope }));
        assert_eq!(line.budget.waiting(), 0);
        let next = line.join(0);
        assert_eq!(line.wait(next), WIDTH, "the refused one took no place");
    }
    assert_eq!(Scope::ALL.map(Scope::as_str), ["endpoint", "token", "space"]);
}

#[test]
fn a_full_space_holds_up_no_other_space() {
    let mut line = Crowd::new(rates(3, 9, 1));
    line.send(0);
    let held = line.join(0);
    let other = line.join(1);
    assert_eq!((line.wait(held), line.wait(other)), (WIDTH, Duration::ZERO));
}

#[test]
fn who_leaves_lets_those_behind_move_up_and_the_version_tells() {
    let mut line = Crowd::new(rates(1, 9, 9));
    line.send(0);
    let waiting: Vec<Ticket> = (0..3).map(|_| line.join(0)).collect();
    let before = line.budget.changes();
    line.budget.leave(waiting[2], line.now);
    assert_eq!(line.budget.changes(), before, "nobody was behind");
    line.budget.leave(waiting[0], line.now);
    assert_eq!(line.wait(waiting[1]), WIDTH);
    assert_ne!(line.budget.changes(), before);
    line.budget.leave(waiting[0], line.now);
    assert_eq!((line.budget.waiting(), line.budget.moment(waiting[0])), (1, None));
}

#[test]
fn of_several_that_are_due_the_first_goes_first_whoever_asks_first() {
    let mut line = Crowd::new(rates(1, 9, 9));
    let (first, second) = (line.join(0), line.join(0));
    line.now += 3 * WIDTH;
    assert_eq!(line.budget.send(second, line.now), Err(line.now + WIDTH));
    assert!(line.budget.send(first, line.now).is_ok());
    assert!(line.budget.send(second, line.now + WIDTH).is_ok());
}

#[test]
fn a_429_pauses_its_scope_and_then_calls_go_one_by_one() {
    let mut line = Crowd::new(rates(20, 80, 500));
    line.send(0);
    let waiting: Vec<Ticket> = (0..3).map(|_| line.join(1)).collect();
    let told = line.throttle(None, line.now);
    assert_eq!(told, Throttled { scope: Scope::Endpoint, cut_to: Some(0.5) });
    assert!(line.budget.paused(Scope::Endpoint, line.now) && !line.budget.paused(Scope::Token, line.now));
    let gap = Duration::from_secs_f64(1.05 / 10.0);
    for (ticket, nth) in waiting.into_iter().zip(0..) {
        assert_eq!(line.wait(ticket), millis(2000) + gap * nth);
    }
    let pause_end = line.now + millis(2000);
    assert!(!line.budget.paused(Scope::Endpoint, pause_end), "a pause ends when it says");
}

#[test]
fn a_paused_space_holds_up_no_other_space() {
    let mut line = Crowd::new(rates(20, 80, 500));
    line.send(0);
    line.throttle(Some(Scope::Space), line.now);
    let (held, other) = (line.join(0), line.join(1));
    assert_eq!((line.wait(held), line.wait(other)), (millis(2000), Duration::ZERO));
}

#[test]
fn calls_that_were_sent_before_the_cut_do_not_cut_again() {
    let mut line = Crowd::new(rates(20, 80, 500));
    let sent_at = line.now;
    line.send(0);
    line.now += millis(50);
    assert_eq!(line.throttle(None, sent_at).cut_to, Some(0.5));
    line.now += millis(50);
    assert_eq!(line.throttle(None, sent_at).cut_to, None);
    let next = line.join(0);
    assert_eq!(line.wait(next), millis(2000), "the later end of the pause counts");
    let earlier = line.budget.throttled(&places("token", 0), None, sent_at, millis(1), line.now);
    assert_eq!((earlier.cut_to, line.wait(next)), (None, millis(2000)));
    line.now += millis(2000);
    assert_eq!(line.throttle(None, line.now).cut_to, Some(0.25));
}

#[test]
fn a_share_regrows_gently_then_by_five_percent_and_is_full_again() {
    let mut line = Crowd::new(rates(20, 80, 500));
    line.send(0);
    line.throttle(None, line.now);
    let mut after = |seconds| line.budget.share(Scope::Endpoint, line.now + Duration::from_secs(seconds));
    assert_eq!(after(9), 0.5);
    assert!((after(10) - 0.5016).abs() < 1e-9, "one gentle step");
    let gentle = after(90);
    assert!(gentle > 0.51 && gentle < 0.52, "{gentle}");
    assert!((after(100) - gentle - 0.05).abs() < 1e-9, "one step of 5 %");
    assert_eq!(after(190), 1.0);
    assert_eq!(line.budget.share(Scope::Token, line.now), 1.0);
}

#[test]
fn what_regrew_lets_those_who_wait_move_up() {
    let mut line = Crowd::new(rates(1, 9, 9));
    line.send(0);
    line.throttle(None, line.now);
    let waiting: Vec<Ticket> = (0..20).map(|_| line.join(0)).collect();
    let (before, version) = (line.wait(waiting[19]), line.budget.changes());
    line.budget.share(Scope::Endpoint, line.now + Duration::from_secs(10));
    assert!(line.wait(waiting[19]) < before);
    assert_ne!(line.budget.changes(), version);
}

#[test]
fn a_share_is_never_cut_to_nothing() {
    let mut line = Crowd::new(rates(20, 80, 500));
    for _ in 0..200 {
        line.throttle(None, line.now);
        line.now += millis(1);
    }
    assert_eq!(line.budget.share(Scope::Endpoint, line.now), 1.0 / 64.0);
}

#[test]
fn a_smaller_share_counts_against_what_was_sent_before() {
    let mut line = Crowd::new(rates(4, 9, 90));
    for _ in 0..4 {
        line.send(0);
        line.now += millis(10);
    }
    line.budget.set_share(0.125, line.now);
    let next = line.join(0);
    assert_eq!(line.wait(next), 2 * WIDTH - millis(10), "half a call a second, from the last one on");
}

#[test]
fn a_limit_may_change_while_others_wait() {
    let mut line = Crowd::new(rates(1, 9, 9));
    line.send(0);
    let waiting = [line.join(0), line.join(0)];
    line.rates.endpoint = 3;
    line.join(0);
    assert_eq!(waiting.map(|ticket| line.wait(ticket)), [Duration::ZERO; 2]);
}

#[test]
fn places_that_nobody_uses_are_forgotten() {
    let mut line = Crowd::new(rates(20, 80, 1));
    let mut most = 0;
    for index in 0..2000 {
        let space = SpaceId::parse(&format!("spc-{index}")).unwrap();
        let places = Places { token: "token".into(), operation: "get", space };
        let ticket = line.budget.join(&places, &[], line.rates, line.now, line.now).unwrap();
        assert!(line.budget.send(ticket, line.now).is_ok());
        line.now += millis(2000);
        most = most.max(line.budget.windows.0.len());
    }
    assert!(most < 200, "{most}");
}

#[test]
fn somebody_who_overslept_is_not_forgotten() {
    let mut line = Crowd::new(rates(1, 9, 9));
    let overslept = line.join(0);
    line.now += 2 * IDLE;
    for index in 0..100 {
        let places = places(&format!("token-{index}"), 1);
        line.budget.join(&places, &[], rates(9, 9, 900), line.now, line.now).unwrap();
    }
    assert!(line.budget.send(overslept, line.now).is_ok());
    let next = line.join(0);
    assert_eq!(line.wait(next), WIDTH);
}

#[test]
fn a_long_line_is_served_in_order() {
    let mut line = Crowd::new(rates(20, 80, 500));
    let tickets: Vec<Ticket> = (0..1000).map(|index| line.join(index % 3)).collect();
    for (index, ticket) in tickets.iter().enumerate() {
        assert_eq!(line.wait(*ticket), WIDTH * u32::try_from(index / 20).unwrap());
    }
    let late = line.budget.join(&places("token", 0), &[], line.rates, line.now, line.now + WIDTH);
    assert_eq!(late, Err(TooLate { at: line.now + 50 * WIDTH, scope: Scope::Endpoint }));
    for ticket in tickets.into_iter().take(100) {
        line.now += line.wait(ticket) + millis(1);
        assert!(line.budget.send(ticket, line.now).is_ok());
    }
}

#[test]
fn keys_that_are_polled_in_turn_get_the_same_number_of_calls() {
    let mut line = Crowd::new(rates(20, 80, 500));
    let (start, mut polls) = (line.now, [0_u32; 100]);
    let mut waiting: Vec<(usize, Ticket)> = (0..100).map(|key| (key, line.join(key % 3))).collect();
    while line.now < start + Duration::from_secs(120) {
        let (key, ticket) = waiting.remove(0);
        line.now += line.wait(ticket);
        assert!(line.budget.send(ticket, line.now).is_ok());
        polls[key] += 1;
        waiting.push((key, line.join(key % 3)));
    }
    let (fewest, most) = (polls.iter().min().unwrap(), polls.iter().max().unwrap());
    assert!(most - fewest <= 1, "{fewest} to {most}");
    assert!(f64::from(polls.iter().sum::<u32>()) > 0.94 * 20.0 * 120.0);
}

#[test]
fn a_call_whose_answer_was_late_counts_from_when_it_may_have_come() {
    let mut line = Crowd::new(rates(2, 99, 99));
    let sent_at = line.now;
    let sent = [line.sent(), line.sent()];
    let waiting = line.join(0);
    // A hiccup: both may have come 250 ms after they were sent, beyond what the width has to spare.
    for ticket in sent {
        line.budget.answered(ticket, true, sent_at + millis(300));
    }
    let promised = sent_at + WIDTH;
    assert_eq!(line.budget.take(waiting, promised), Err(promised + millis(250)));
    assert!(line.budget.take(waiting, promised + millis(250)).is_ok());
}

#[test]
fn what_is_not_answered_counts_for_as_long_as_it_may_still_come() {
    let mut line = Crowd::new(rates(2, 99, 99));
    let sent_at = line.now;
    let sent = [line.sent(), line.sent()];
    let waiting = line.join(0);
    for seconds in 2..5 {
        let now = sent_at + millis(1000 * seconds);
        assert_eq!(line.budget.take(waiting, now), Err(now + WIDTH - millis(50)), "Monime may get all of them at once");
    }
    // One never came; the other came at last.
    line.budget.answered(sent[0], false, sent_at + millis(5000));
    line.budget.answered(sent[1], true, sent_at + millis(5000));
    assert!(line.budget.take(waiting, sent_at + millis(5100)).is_ok());
}
