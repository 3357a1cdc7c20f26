//! The window budgets: when a call's turn comes, so that Monime's limits hold in every second, whoever counts it.
//!
//! Three nested places per call, each with a window, and a turn in all three or in none. Callers have lines, which are
//! served in turn, each first come, first served, with moments that are known at once: whoever joins is told when its turn
//! comes, or that this is too late. Whoever is before it in that order is never delayed by it; whoever is held up by its
//! own space or token holds up nobody else.
//!
//! Pure: `now` is passed in. Refuses to sleep, to wake anyone, to count and to log: that is its layer's.

mod lateness;
mod order;
mod place;
mod plan;
mod share;
mod window;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::monime::Rates;
use crate::upstream::Line;
pub(in crate::upstream) use place::{Places, Scope};

use lateness::Lateness;
use order::Order;
use place::{Place, Windows};
use window::{Kind, Window};

/// A place nobody used for so long is forgotten: longer than any width with a limit worth having.
const IDLE: Duration = Duration::from_secs(120);
/// As many places are kept without looking whether they are idle.
const FEW: usize = 64;

/// A place in line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::upstream) struct Ticket(u64);

/// A turn that was taken, and whose window decided when it came.
type Sent = Option<(Ticket, Scope)>;

/// The turn would come too late.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::upstream) struct TooLate {
    /// When it would have come.
    pub(in crate::upstream) at: Instant,
    /// Whose window decided that.
    pub(in crate::upstream) scope: Scope,
}

/// What a 429 changed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::upstream) struct Throttled {
    /// What is paused.
    pub(in crate::upstream) scope: Scope,
    /// The share it was cut to; none if an earlier 429 had cut it for this call too.
    pub(in crate::upstream) cut_to: Option<f64>,
}

/// The windows of all places, and the line of those who wait for a turn.
#[derive(Debug)]
pub(in crate::upstream) struct Budget {
    /// The configured share of every limit, above 0 and at most 1.
    share: f64,
    windows: Windows,
    lateness: Lateness,
    /// Calls that were sent and are not answered yet.
    under_way: BTreeMap<Ticket, UnderWay>,
    waiting: BTreeMap<Ticket, Waiter>,
    order: Order,
    next: u64,
    /// How often everyone in line had to look again.
    changes: u64,
    /// When some share next grows.
    grows_at: Option<Instant>,
    /// Beyond so many windows the idle ones are looked for.
    sweep_at: usize,
}

#[derive(Debug)]
struct UnderWay {
    places: Arc<[Place; 3]>,
    sent_at: Instant,
    /// From when it counts: it may not have come yet.
    counts_from: Instant,
}

#[derive(Debug)]
struct Waiter {
    /// Narrowest first.
    places: Arc<[Place; 3]>,
    at: Instant,
    /// Whose window decided when its turn comes, when it joined.
    scope: Scope,
}

// === impl UnderWay ===

impl UnderWay {
    fn count_from(&mut self, from: Instant, windows: &mut Windows) {
        if from > self.counts_from {
            windows.delay(&self.places, self.counts_from, from);
            self.counts_from = from;
        }
    }
}

// === impl Budget ===

impl Budget {
    /// With nobody in line, for this share of every limit, above 0 and at most 1.
    pub(in crate::upstream) fn new(share: f64) -> Self {
        Self {
            share,
            windows: Windows::default(),
            lateness: Lateness::default(),
            under_way: BTreeMap::new(),
            waiting: BTreeMap::new(),
            order: Order::default(),
            next: 0,
            changes: 0,
            grows_at: None,
            sweep_at: FEW,
        }
    }

    /// Takes on another configured share. What 429s left of the old one is left of the new one.
    pub(in crate::upstream) fn set_share(&mut self, share: f64, now: Instant) {
        self.share = share;
        for window in self.windows.0.values_mut() {
            window.adjust(None, share, now);
        }
        self.plan(now);
        self.changes += 1;
    }

    /// Takes a turn for a call that is sent now, if nobody is in line and there is room at once: what to join and to take
    /// comes to then. Says whose window decided, as `take` does. None changes nothing.
    pub(in crate::upstream) fn take_at_once(&mut self, places: &Places, rates: Rates, now: Instant) -> Sent {
        // What is held back might leave no room: that is for those who stand in line to find out.
        if !self.waiting.is_empty() || self.holds(now) {
            return None;
        }
        self.grow(now);
        let places = Arc::new(places.each());
        self.open(&places, rates, now);
        let (at, scope) = self.windows.earliest(&places, now);
        if at > now {
            return None;
        }
        self.windows.mark(&places, now, Kind::Sent);
        let ticket = Ticket(self.next);
        self.next += 1;
        self.under_way.insert(ticket, UnderWay { places, sent_at: now, counts_from: now });
        Some((ticket, scope))
    }

    /// Stands in the one of these lines in which it is served first, and is given a turn, which comes when
    /// [`Budget::take`] says. Those behind it may have to wait for a turn longer.
    ///
    /// # Errors
    ///
    /// The turn would come after `latest`; then nothing is changed.
    pub(in crate::upstream) fn join(
        &mut self,
        places: &Places,
        lines: &[Line],
        rates: Rates,
        now: Instant,
        latest: Instant,
    ) -> Result<Ticket, TooLate> {
        self.grow(now);
        let line = self.order.best(&places.token, lines).cloned().unwrap_or_default();
        let token = Arc::clone(&places.token);
        let places = Arc::new(places.each());
        self.open(&places, rates, now);
        let (at, scope) = self.earliest(&places, &self.order.behind(&token, &line), now);
        if at > latest {
            return Err(TooLate { at, scope });
        }
        self.windows.mark(&places, at, Kind::Booked);
        let ticket = Ticket(self.next);
        self.next += 1;
        self.waiting.insert(ticket, Waiter { places, at, scope });
        let moved = self.order.join(ticket, &token, &line);
        self.replan(&moved, now);
        Ok(ticket)
    }

    /// Stands in the one of these lines in which it is served first, if that is sooner than where it stands: somebody of
    /// that line waits for it as well.
    pub(in crate::upstream) fn advance(&mut self, ticket: Ticket, lines: &[Line], now: Instant) {
        self.grow(now);
        let moved = self.order.advance(ticket, lines);
        self.replan(&moved, now);
    }

    /// Gives a place in line back, and everyone who can moves up. Nothing happens if its turn was taken or given back.
    pub(in crate::upstream) fn leave(&mut self, ticket: Ticket, now: Instant) {
        if let Some(waiter) = self.waiting.remove(&ticket) {
            self.windows.unbook(&waiter.places, waiter.at);
            self.grow(now);
            let moved = self.order.leave(ticket);
            if moved.is_empty() { self.move_up(now) } else { self.replan(&moved, now) }
        }
    }

    /// Takes its turn: the call is sent now, and counts from now. Says whose window had decided when that would be; none
    /// for a ticket that is no more in line, which has nothing to take.
    ///
    /// # Errors
    ///
    /// The turn has not come, or there is no room for it any more because others took theirs late: the moment to ask
    /// again.
    pub(in crate::upstream) fn take(&mut self, ticket: Ticket, now: Instant) -> Result<Option<Scope>, Instant> {
        self.grow(now);
        self.hold(now);
        if !self.fits(ticket, now) {
            self.plan(now);
        }
        let waiter = match self.waiting.get(&ticket) {
            Some(waiter) if waiter.at > now => return Err(waiter.at),
            Some(_) | None => self.waiting.remove(&ticket),
        };
        Ok(waiter.map(|waiter| {
            self.windows.unbook(&waiter.places, waiter.at);
            self.windows.mark(&waiter.places, now, Kind::Sent);
            let moved = self.order.take(ticket);
            self.replan(&moved, now);
            let call = UnderWay { places: waiter.places, sent_at: now, counts_from: now };
            self.under_way.insert(ticket, call);
            waiter.scope
        }))
    }

    /// A call that was sent is answered, or given up, only now. Unless it never `came` to Monime, it may have come later than
    /// its turn assumed, and counts from then. Whose turn that makes too early is told when it comes.
    pub(in crate::upstream) fn answered(&mut self, ticket: Ticket, came: bool, now: Instant) {
        let Some(mut call) = self.under_way.remove(&ticket).filter(|_| came) else { return };
        let delay = self.lateness.of(now.saturating_duration_since(call.sent_at), now);
        call.count_from(call.sent_at + delay, &mut self.windows);
    }

    /// What has been under way for longer than usual may not have come yet, so it counts as if it came only now.
    fn hold(&mut self, now: Instant) {
        let Some(from) = now.checked_sub(self.lateness.usual()) else { return };
        for call in self.under_way.values_mut() {
            call.count_from(from, &mut self.windows);
        }
    }

    /// Whether `hold` would make anything count later.
    fn holds(&self, now: Instant) -> bool {
        let from = now.checked_sub(self.lateness.usual());
        from.is_some_and(|from| self.under_way.values().any(|call| call.counts_from < from))
    }

    /// Monime answered 429 to a call that was sent at `sent_at`: pauses the scope it names, the endpoint if it names
    /// none, until `retry_after` from now, and cuts our share of it, once for all calls sent before the cut.
    pub(in crate::upstream) fn throttled(
        &mut self,
        places: &Places,
        scope: Option<Scope>,
        sent_at: Instant,
        retry_after: Duration,
        now: Instant,
    ) -> Throttled {
        self.grow(now);
        let scope = scope.unwrap_or(Scope::Endpoint);
        let share = self.share;
        // A window that was forgotten while its call was under way is given its limit by the next who joins.
        let window = self.windows.0.entry(places.place(scope)).or_insert_with(|| Window::new(1, share));
        let cut = window.pause(share, sent_at, now + retry_after, now);
        let cut_to = cut.then(|| share * window.share().part());
        self.grows_at = self.grows_at.into_iter().chain(window.share().grows_at()).min();
        self.plan(now);
        self.changes += 1;
        Throttled { scope, cut_to }
    }

    /// Counts how often turns moved up, or back by a pause or another share: while it stays the same, nobody who sleeps until
    /// its moment sleeps too long, or waits for a turn that will be too late.
    pub(in crate::upstream) fn changes(&self) -> u64 {
        self.changes
    }

    /// How many are in line.
    pub(in crate::upstream) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The smallest share in force in this scope.
    pub(in crate::upstream) fn share(&mut self, scope: Scope, now: Instant) -> f64 {
        self.grow(now);
        let windows = self.windows.of(scope);
        self.share * windows.map(|window| window.share().part()).fold(1.0, f64::min)
    }

    /// Whether every share is whole, so that none will grow.
    pub(in crate::upstream) fn is_full(&self) -> bool {
        self.grows_at.is_none()
    }

    /// Whether some place of this scope is paused.
    pub(in crate::upstream) fn paused(&self, scope: Scope, now: Instant) -> bool {
        self.windows.of(scope).any(|window| window.is_paused(now))
    }

    /// Lets the shares grow whose time has come.
    fn grow(&mut self, now: Instant) {
        if self.grows_at.is_none_or(|due| now < due) {
            return;
        }
        let mut changed = false;
        for window in self.windows.0.values_mut() {
            changed |= window.adjust(None, self.share, now);
        }
        self.grows_at = self.windows.0.values().filter_map(|window| window.share().grows_at()).min();
        if changed {
            self.move_up(now);
        }
    }

    /// Makes sure that these places have windows with these limits.
    fn open(&mut self, places: &[Place; 3], rates: Rates, now: Instant) {
        if self.windows.0.len() > self.sweep_at {
            let since = now.checked_sub(IDLE);
            self.windows.0.retain(|_, window| !since.is_some_and(|since| window.is_idle(since)));
            self.sweep_at = FEW.max(2 * self.windows.0.len());
        }
        let mut changed = false;
        for (place, limit) in places.iter().zip([rates.endpoint, rates.token, rates.space]) {
            if let Some(window) = self.windows.0.get_mut(place) {
                window.prune(now);
                changed |= window.limit() != limit && window.adjust(Some(limit), self.share, now);
            } else {
                self.windows.0.insert(place.clone(), Window::new(limit, self.share));
            }
        }
        if changed {
            self.plan(now);
        }
    }
}

#[cfg(test)]
mod tests;
