//! Several callers, each with a line of its own: what they get of the turns, and what one costs the others.

use super::*;

/// A budget, and callers of whom each has a line.
struct Desk {
    budget: Budget,
    rates: Rates,
    now: Instant,
    waiting: Vec<(usize, usize, Ticket)>,
}

impl Desk {
    fn new(rates: Rates) -> Self {
        Self { budget: Budget::new(1.0), rates, now: Instant::now(), waiting: Vec::new() }
    }

    fn join(&mut self, line: usize) -> Ticket {
        self.join_for(line, 0)
    }

    fn join_for(&mut self, line: usize, space: usize) -> Ticket {
        let ticket = self.try_join(line, space, FAR).unwrap();
        self.waiting.push((line, space, ticket));
        ticket
    }

    fn try_join(&mut self, line: usize, space: usize, patience: Duration) -> Result<Ticket, TooLate> {
        self.budget.join(&places("token", space), &[caller(line)], self.rates, self.now, self.now + patience)
    }

    fn leave(&mut self, ticket: Ticket) {
        self.budget.leave(ticket, self.now);
        self.waiting.retain(|(_, _, other)| *other != ticket);
    }

    fn moment(&self, ticket: Ticket) -> Option<Instant> {
        self.budget.moment(ticket)
    }

    fn wait(&self, ticket: Ticket) -> Duration {
        self.moment(ticket).unwrap().saturating_duration_since(self.now)
    }

    /// The next turn is taken, when it comes: whose it was.
    fn next(&mut self) -> (usize, Ticket) {
        let place = |ticket: &Ticket| self.budget.order.iter().position(|other| other == *ticket);
        let at = |(_, _, ticket): &&(usize, usize, Ticket)| (self.moment(*ticket), place(ticket));
        let (line, _, ticket) = *self.waiting.iter().min_by_key(at).unwrap();
        self.now = self.now.max(self.moment(ticket).unwrap());
        assert!(self.budget.send(ticket, self.now).is_ok());
        self.waiting.retain(|(_, _, other)| *other != ticket);
        (line, ticket)
    }
}

/// That no stretch of the turns holds more of one line than of another, beyond so many.
fn are_shared_evenly(turns: &[usize], lines: usize, slack: usize) {
    for line in 0..lines {
        for other in (0..lines).filter(|other| *other != line) {
            // The largest sum of any stretch in which this line counts up and the other down.
            let (mut ahead, mut most) = (0_i64, 0_i64);
            for turn in turns {
                ahead = (ahead + i64::from(*turn == line) - i64::from(*turn == other)).max(0);
                most = most.max(ahead);
            }
            assert!(most <= slack as i64, "line {line} is {most} turns ahead of {other}: {turns:?}");
        }
    }
}

#[test]
fn lines_that_always_have_somebody_waiting_get_the_same_number_of_turns_over_any_stretch() {
    for (lines, depths) in [(2, [1, 50, 0, 0]), (3, [1, 7, 30, 0]), (4, [2, 2, 2, 60]), (4, [1, 1, 1, 1])] {
        let mut desk = Desk::new(rates(5, 20, 500));
        // The longest line is there first.
        for line in (0..lines).rev() {
            (0..depths[line]).for_each(|_| _ = desk.join(line));
        }
        let turns: Vec<_> = (0..300)
            .map(|_| {
                let (line, _) = desk.next();
                // Only then does it have one more, so a line of one is empty for a moment.
                desk.join(line);
                line
            })
            .collect();
        are_shared_evenly(&turns, lines, 2);
        for line in 0..lines {
            let count = turns.iter().filter(|turn| **turn == line).count();
            assert!(count.abs_diff(300 / lines) <= 1, "{lines} lines, {depths:?}: {count} of 300 turns");
        }
    }
}

#[test]
fn a_flood_of_one_line_delays_anothers_only_request_by_no_more_than_one_turn() {
    for others in 1..4 {
        let mut desk = Desk::new(rates(5, 20, 500));
        for line in 1..=others {
            (0..200).for_each(|_| _ = desk.join(line));
        }
        (0..17).for_each(|_| _ = desk.next());
        let single = desk.join(0);
        let turns = (0..).find(|_| desk.next().1 == single).unwrap();
        assert!(turns <= others, "{turns} went before it, of {others} lines");
    }
}

#[test]
fn who_comes_again_and_again_does_not_hold_up_a_long_line() {
    let mut desk = Desk::new(rates(5, 20, 500));
    let long: Vec<_> = (0..20).map(|_| desk.join(0)).collect();
    let mut turns = 0;
    while desk.moment(long[19]).is_some() {
        if !desk.waiting.iter().any(|(line, ..)| *line == 1) {
            desk.join(1);
        }
        desk.next();
        turns += 1;
    }
    assert!((39..=41).contains(&turns), "{turns} turns for twenty");
}

#[test]
fn a_line_that_was_empty_for_long_has_saved_nothing_up() {
    let mut desk = Desk::new(rates(5, 20, 500));
    (0..60).for_each(|_| _ = desk.join(0));
    (0..30).for_each(|_| _ = desk.next());
    (0..30).for_each(|_| _ = desk.join(1));
    let turns: Vec<_> = (0..40).map(|_| desk.next().0).collect();
    are_shared_evenly(&turns, 2, 2);
}

#[test]
fn places_that_were_given_back_are_held_against_nobody() {
    let mut desk = Desk::new(rates(5, 20, 500));
    let gone: Vec<_> = (0..100).map(|_| desk.join(0)).collect();
    let last = desk.join(0);
    (0..100).for_each(|_| _ = desk.join(1));
    gone.into_iter().for_each(|ticket| desk.leave(ticket));
    assert_eq!(desk.wait(last), Duration::ZERO, "it is the first of its line now");
    let next = desk.join(0);
    assert_eq!(desk.wait(next), Duration::ZERO);
    let turns: Vec<_> = (0..4).map(|_| desk.next().0).collect();
    assert_eq!(turns, [0, 1, 1, 0], "within a round it is first come, first served");
}

#[test]
fn who_is_refused_for_the_length_of_its_own_line_changes_nothing_and_a_newcomer_is_not_refused() {
    let mut desk = Desk::new(rates(5, 20, 500));
    let tickets: Vec<_> = [0, 1].into_iter().flat_map(|line| [line; 15]).map(|line| desk.join(line)).collect();
    let before: Vec<_> = tickets.iter().map(|ticket| desk.moment(*ticket)).collect();
    let patience = 2 * WIDTH;
    assert_eq!(desk.try_join(0, 0, patience).unwrap_err().at, desk.now + 6 * WIDTH);
    // Not even the first turn is in time: it stands before most of the others, and none of them is moved.
    let late = desk.budget.join(&places("token", 0), &[caller(2)], desk.rates, desk.now, desk.now - millis(1));
    assert_eq!(late.unwrap_err().at, desk.now);
    assert_eq!(before, tickets.iter().map(|ticket| desk.moment(*ticket)).collect::<Vec<_>>());
    let newcomer = desk.try_join(2, 0, patience).unwrap();
    assert_eq!(desk.wait(newcomer), Duration::ZERO);
}

/// One waits two widths for its space, which another token fills. Behind it stand some of its token who ask for another
/// space and have all the turns in between; then the other token leaves, and the one cannot move up. Also gives it, and
/// the first of those. So many calls a second fill an endpoint or a space.
fn held_up_until_the_room_was_taken(limit: u32) -> (Desk, Ticket, Ticket) {
    let mut desk = Desk::new(rates(limit, 99, limit));
    let mut elsewhere = Vec::new();
    for _ in 0..2 * limit {
        let far = desk.now + FAR;
        elsewhere.push(desk.budget.join(&places("other", 0), &[], desk.rates, desk.now, far).unwrap());
    }
    (0..limit).for_each(|_| _ = desk.join_for(0, 2));
    let held = desk.join_for(2, 0);
    let between: Vec<_> = (0..limit).map(|_| desk.join_for(0, 1)).collect();
    elsewhere.drain(limit as usize..).for_each(|ticket| desk.budget.leave(ticket, desk.now));
    assert_eq!((desk.wait(held), desk.wait(between[0])), (2 * WIDTH, WIDTH));
    (desk, held, between[0])
}

#[test]
fn what_a_newcomer_is_told_counts_those_before_it_who_could_not_move_up() {
    // The newcomer stands before those in between, but after the one that is held up, with whom it shares all places. It
    // goes when that one does where there is room for both, else a width later.
    for (limit, wait, scope) in [(1, 3 * WIDTH, Scope::Endpoint), (2, 2 * WIDTH, Scope::Space)] {
        let (mut desk, held, between) = held_up_until_the_room_was_taken(limit);
        let refused = desk.try_join(1, 0, wait - millis(1));
        assert_eq!(refused, Err(TooLate { at: desk.now + wait, scope }), "{limit} a second");
        let newcomer = desk.try_join(1, 0, wait).unwrap();
        assert_eq!(desk.wait(newcomer), wait, "what it was told is kept");
        assert_eq!((desk.wait(held), desk.wait(between)), (2 * WIDTH, WIDTH), "and it delays nobody");
    }
}

#[test]
fn a_line_that_is_held_up_in_one_space_delays_nobody_in_another_and_no_newcomer() {
    let mut desk = Desk::new(rates(5, 20, 500));
    desk.budget.throttled(&places("token", 1), Some(Scope::Space), desk.now, millis(2000), desk.now);
    let held: Vec<_> = (0..50).map(|_| desk.join_for(0, 1)).collect();
    let own = desk.join_for(0, 0);
    let other = desk.join_for(1, 0);
    assert_eq!((desk.wait(own), desk.wait(other)), (Duration::ZERO, Duration::ZERO));
    // A turn of the same line that was not held up is one turn, not fifty: who comes then is not behind all of them.
    let turns = [desk.next().1, desk.next().1];
    assert!(turns.contains(&own) && turns.contains(&other));
    let newcomer = desk.join_for(2, 1);
    let before = held.iter().filter(|held| desk.moment(**held) < desk.moment(newcomer)).count();
    assert!(before <= 1, "{before} go before it");
}

#[test]
fn lines_at_other_tokens_are_other_lines() {
    let mut desk = Desk::new(rates(5, 20, 500));
    (0..50).for_each(|_| _ = desk.join(0));
    let elsewhere = desk.budget.join(&places("other", 1), &[caller(0)], desk.rates, desk.now, desk.now);
    assert!(elsewhere.is_ok(), "nobody waits there");
}

#[test]
fn one_that_somebody_else_waits_for_stands_where_it_would_have_in_that_line() {
    let mut desk = Desk::new(rates(5, 20, 500));
    let flood: Vec<_> = (0..100).map(|_| desk.join(0)).collect();
    let changes = desk.budget.changes();
    desk.budget.advance(flood[99], &[caller(0), caller(1)], desk.now);
    assert_eq!(desk.wait(flood[99]), Duration::ZERO);
    assert_ne!(desk.budget.changes(), changes, "it has to be told");
    assert_eq!(desk.wait(flood[4]), WIDTH, "who was before it goes one turn later");
    // The next one is the second in that line; one that is to come sooner stays where it is.
    desk.budget.advance(flood[98], &[caller(1)], desk.now);
    let turns: Vec<_> = (0..4).map(|_| desk.next().1).collect();
    assert_eq!(turns, [flood[0], flood[99], flood[1], flood[98]]);
    let (soon, before) = (flood[2], desk.moment(flood[2]));
    desk.budget.advance(soon, &[caller(1)], desk.now);
    assert_eq!(desk.moment(soon), before);
    assert_eq!(desk.next().1, soon);
    desk.budget.advance(soon, &[caller(2)], desk.now);
}

#[test]
fn what_more_than_one_line_waits_for_joins_the_best_of_them() {
    let mut desk = Desk::new(rates(5, 20, 500));
    (0..50).for_each(|_| _ = desk.join(0));
    let lines = [caller(0), caller(1)];
    let ticket = desk.budget.join(&places("token", 0), &lines, desk.rates, desk.now, desk.now);
    assert!(ticket.is_ok());
}

#[test]
fn nothing_is_remembered_where_nobody_waits() {
    let mut desk = Desk::new(rates(5, 20, 500));
    let tickets: Vec<_> = (0..30).map(|index| desk.join(index % 4)).collect();
    (0..20).for_each(|_| _ = desk.next());
    tickets.into_iter().for_each(|ticket| desk.leave(ticket));
    assert_eq!(format!("{:?}", desk.budget.order), format!("{:?}", Order::default()));
}
