//! Turns given anew: when the order changes, somebody leaves, or what was planned did not come about.
//!
//! Owns how the plan follows the order: nobody's turn makes way for one of somebody behind. Refuses to know why a plan
//! is made, and who is told.

use std::collections::BTreeSet;

use tokio::time::Instant;

use super::place::{Floors, Place, Scope};
use super::window::Kind;
use super::{Budget, Ticket};

impl Budget {
    /// The earliest turn for one more who has everyone before it but those `behind`, and whose window decided that. It is
    /// promised: [`Budget::replan`] gives it then no later one.
    pub(super) fn earliest(
        &mut self,
        places: &[Place; 3],
        behind: &BTreeSet<Ticket>,
        now: Instant,
    ) -> (Instant, Scope) {
        self.unbook(behind);
        let (mut at, mut scope) = self.windows.earliest(places, now);
        // Those with the same places have their turns in their order. One before this one may have been held up until only
        // those behind had room sooner: that they make way does not let this one overtake it. Searched from now on first,
        // since whose window holds up both of them shows before the other's turn.
        let before = self
            .waiting
            .iter()
            .filter(|(ticket, waiter)| waiter.at > at && waiter.places[..] == places[..] && !behind.contains(ticket));
        if let Some((_, last)) = before.max_by_key(|(_, waiter)| waiter.at) {
            let (after, its) = self.windows.earliest(places, last.at);
            (at, scope) = (after, if after > last.at { its } else { last.scope });
        }
        for waiter in behind.iter().filter_map(|ticket| self.waiting.get(ticket)) {
            self.windows.mark(&waiter.places, waiter.at, Kind::Booked);
        }
        (at, scope)
    }

    /// Whether this turn has come and can be taken as planned: the ones before it are not late themselves, and it is
    /// not so late that it would be in the way of others.
    pub(super) fn fits(&mut self, ticket: Ticket, now: Instant) -> bool {
        let Some(waiter) = self.waiting.get(&ticket) else { return true };
        if waiter.at > now {
            return true;
        }
        let mut before = self.order.before(ticket).filter_map(|before| self.waiting.get(&before));
        if before.any(|before| before.at < now) {
            return false;
        }
        self.windows.unbook(&waiter.places, waiter.at);
        let (at, _) = self.windows.earliest(&waiter.places, now);
        self.windows.mark(&waiter.places, waiter.at, Kind::Booked);
        at == now
    }

    /// Gives everyone a new turn, in order.
    pub(super) fn plan(&mut self, now: Instant) {
        for window in self.windows.0.values_mut() {
            window.unbook_all();
            window.prune(now);
        }
        self.book(|_| true, now);
    }

    /// Gives those who go at another time than before a new turn, in order and behind those that go before them; who can
    /// profit from that moves up.
    pub(super) fn replan(&mut self, moved: &BTreeSet<Ticket>, now: Instant) {
        if moved.is_empty() {
            return;
        }
        self.unbook(moved);
        self.book(|ticket| moved.contains(&ticket), now);
        self.move_up(now);
    }

    /// Books the earliest turns for these, who have none, in order.
    fn book(&mut self, whose: impl Fn(Ticket) -> bool, now: Instant) {
        let mut floors = Floors::default();
        let mut moved_up = false;
        for ticket in self.order.iter() {
            let Some(waiter) = self.waiting.get_mut(&ticket) else { continue };
            if whose(ticket) {
                let (at, _) = self.windows.earliest(&waiter.places, floors.of(&waiter.places, now));
                self.windows.mark(&waiter.places, at, Kind::Booked);
                moved_up |= at < waiter.at;
                waiter.at = at;
            }
            floors.raise(&waiter.places, waiter.at);
        }
        self.changes += u64::from(moved_up);
    }

    fn unbook(&mut self, tickets: &BTreeSet<Ticket>) {
        for waiter in tickets.iter().filter_map(|ticket| self.waiting.get(ticket)) {
            self.windows.unbook(&waiter.places, waiter.at);
        }
    }

    /// Lets everyone who can have an earlier turn have it, in order, until nobody can. Unlike a new plan it makes
    /// nobody's turn later: one who moves up takes only what is nobody's.
    pub(super) fn move_up(&mut self, now: Instant) {
        loop {
            let mut floors = Floors::default();
            let mut moved_up = false;
            for ticket in self.order.iter() {
                let Some(waiter) = self.waiting.get_mut(&ticket).filter(|waiter| waiter.at > now) else { continue };
                self.windows.unbook(&waiter.places, waiter.at);
                let (at, _) = self.windows.earliest(&waiter.places, floors.of(&waiter.places, now));
                // Late answers may have left less room than was planned with; who has none now keeps its turn, and is told
                // when it comes. Behind all that is booked it would take everyone after it along.
                let at = at.min(waiter.at);
                self.windows.mark(&waiter.places, at, Kind::Booked);
                floors.raise(&waiter.places, at);
                moved_up |= at < waiter.at;
                waiter.at = at;
            }
            self.changes += u64::from(moved_up);
            // Where all have the same places, everyone has moved up before anyone looks again.
            if !moved_up || floors.len() < 2 {
                return;
            }
        }
    }
}
