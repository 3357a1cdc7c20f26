//! Who goes before whom: at a token the lines of callers are served in turn, each in its own order.
//!
//! Start-time fair queueing, with calls that are all of one size. Turns at a token are counted in rounds, and a line has
//! one in each. Who joins stands in the round after the last of its own line, but in none that is over: so a long line
//! waits for itself and not for others, and one that was empty for long has saved nothing up. Within a round it is first
//! come, first served. Refuses to know windows and moments: it says who is before whom, not when.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::Ticket;
use crate::upstream::Line;

/// Everyone who waits, in order.
#[derive(Debug, Default)]
pub(super) struct Order {
    /// Tokens stand among themselves in order of arrival: who is served in turn changes places only at its own token.
    tickets: Vec<Ticket>,
    /// At which token each stands.
    at: BTreeMap<Ticket, Arc<str>>,
    /// Those at which somebody waits. With the last one gone all is forgotten: where nobody waits, nothing is unfair.
    tokens: HashMap<Arc<str>, Turns>,
}

/// The lines at one token.
#[derive(Debug, Default)]
struct Turns {
    /// The latest round of which a turn was taken.
    round: u64,
    rows: HashMap<Line, Row>,
}

/// One line at one token.
#[derive(Debug, Default)]
struct Row {
    /// The round after the last one that it has had.
    next: u64,
    /// Who waits, first come first, and in which round each came.
    waiting: Vec<(Ticket, u64)>,
}

// === impl Order ===

impl Order {
    /// Everyone, who goes first first.
    pub(super) fn iter(&self) -> impl Iterator<Item = Ticket> {
        self.tickets.iter().copied()
    }

    /// Those who go before this one.
    pub(super) fn before(&self, ticket: Ticket) -> impl Iterator<Item = Ticket> {
        self.iter().take_while(move |other| *other != ticket)
    }

    /// In which of these lines one more would be served first at this token; none of none.
    pub(super) fn best<'a>(&self, token: &str, lines: &'a [Line]) -> Option<&'a Line> {
        lines.iter().min_by_key(|line| self.round(token, line))
    }

    /// Those at this token who would be behind one more in this line.
    pub(super) fn behind(&self, token: &str, line: &Line) -> BTreeSet<Ticket> {
        let round = self.round(token, line);
        let everyone = self.tokens.get(token).into_iter().flat_map(Turns::rounds);
        everyone.filter(|(its, _)| *its > round).map(|(_, ticket)| ticket).collect()
    }

    /// Stands in line. Like all that follow: says who goes at another time for it, from the first one on.
    pub(super) fn join(&mut self, ticket: Ticket, token: &Arc<str>, line: &Line) -> BTreeSet<Ticket> {
        let is_last = self.behind(token, line).is_empty();
        let turns = self.tokens.entry(Arc::clone(token)).or_default();
        turns.rows.entry(line.clone()).or_default().waiting.push((ticket, turns.round));
        self.at.insert(ticket, Arc::clone(token));
        self.tickets.push(ticket);
        if is_last { BTreeSet::new() } else { self.sort(token) }
    }

    /// Leaves; those behind it in its line move up, as if it had never come.
    pub(super) fn leave(&mut self, ticket: Ticket) -> BTreeSet<Ticket> {
        self.remove(ticket, |_| {})
    }

    /// Takes its turn. Whoever of a line goes, the line has had the first of its rounds: one who is held up where others
    /// of its line are not lets the line neither have more turns than others, nor its rounds run ahead of theirs.
    pub(super) fn take(&mut self, ticket: Ticket) -> BTreeSet<Ticket> {
        self.remove(ticket, |turns| turns.round = turns.round.max(turns.had(ticket)))
    }

    /// Goes over to the one of these lines in which it is served first, if that is sooner than where it stands.
    pub(super) fn advance(&mut self, ticket: Ticket, lines: &[Line]) -> BTreeSet<Ticket> {
        let Some(token) = self.at.get(&ticket).map(Arc::clone) else { return BTreeSet::new() };
        let Some(line) = self.best(&token, lines) else { return BTreeSet::new() };
        let sooner = self.round(&token, line);
        let Some(turns) = self.tokens.get_mut(&token) else { return BTreeSet::new() };
        if turns.rounds().any(|(round, other)| other == ticket && round <= sooner) {
            return BTreeSet::new();
        }
        turns.forget(ticket);
        turns.rows.entry(line.clone()).or_default().waiting.push((ticket, turns.round));
        self.sort(&token)
    }

    /// The round that one more in this line would stand in.
    fn round(&self, token: &str, line: &Line) -> u64 {
        let Some(turns) = self.tokens.get(token) else { return 0 };
        turns.rows.get(line).map_or(0, Row::after).max(turns.round)
    }

    fn remove(&mut self, ticket: Ticket, first: impl FnOnce(&mut Turns)) -> BTreeSet<Ticket> {
        let Some(token) = self.at.remove(&ticket) else { return BTreeSet::new() };
        self.tickets.retain(|other| *other != ticket);
        let Some(turns) = self.tokens.get_mut(&token) else { return BTreeSet::new() };
        first(turns);
        turns.forget(ticket);
        if turns.rows.values().all(|row| row.waiting.is_empty()) {
            self.tokens.remove(&token);
        }
        self.sort(&token)
    }

    /// Has those of this token stand by round and then by arrival, in the places that are theirs together.
    fn sort(&mut self, token: &str) -> BTreeSet<Ticket> {
        let mut sorted: Vec<_> = self.tokens.get(token).into_iter().flat_map(Turns::rounds).collect();
        sorted.sort_unstable();
        let mut moved = BTreeSet::new();
        let ours = |ticket: &Ticket| self.at.get(ticket).is_some_and(|its| **its == *token);
        let places = self.tickets.iter_mut().filter(|ticket| ours(ticket));
        for (place, (_, ticket)) in places.zip(sorted) {
            if *place != ticket || !moved.is_empty() {
                moved.insert(ticket);
                *place = ticket;
            }
        }
        moved
    }
}

// === impl Turns ===

impl Turns {
    /// Everyone who waits at this token, and the round of each; in no order.
    fn rounds(&self) -> impl Iterator<Item = (u64, Ticket)> {
        self.rows.values().flat_map(Row::rounds)
    }

    /// The line of this one has had the first of its rounds; which that was.
    fn had(&mut self, ticket: Ticket) -> u64 {
        let row = self.rows.values_mut().find(|row| row.holds(ticket));
        row.map_or(0, |row| {
            let first = row.rounds().next().map_or(row.next, |(first, _)| first);
            row.next = first + 1;
            first
        })
    }

    fn forget(&mut self, ticket: Ticket) {
        for row in self.rows.values_mut() {
            row.waiting.retain(|(other, _)| *other != ticket);
        }
        // A line that would join now as if it had never been here need not be remembered.
        let round = self.round;
        self.rows.retain(|_, row| !row.waiting.is_empty() || row.next > round);
    }
}

// === impl Row ===

impl Row {
    /// One round for each who waits: not one that the line has had, nor one that was over when this one came.
    fn rounds(&self) -> impl Iterator<Item = (u64, Ticket)> {
        self.waiting.iter().scan(self.next, |next, (ticket, came)| {
            let round = (*came).max(*next);
            *next = round + 1;
            Some((round, *ticket))
        })
    }

    /// The round after its last one.
    fn after(&self) -> u64 {
        self.rounds().last().map_or(self.next, |(last, _)| last + 1)
    }

    fn holds(&self, ticket: Ticket) -> bool {
        self.waiting.iter().any(|(other, _)| *other == ticket)
    }
}
