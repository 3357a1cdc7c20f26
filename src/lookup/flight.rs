//! The flights map: at most one current flight for a key, however many callers wait for it.
//!
//! One short mutex, never held across an await. A flight has an identity, so that one taken out by a purge can never
//! be mistaken for its successor. Refuses to leave anyone waiting: a ticket that is dropped without landing takes its
//! flight out of the map and closes the channel that everyone waits on. Refuses just so to let a flight wait for nobody:
//! one that everyone has left can be given up, and nobody boards it between the look and the leaving.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::monime::Key;
use crate::upstream::{Interest, Line};

/// The current flights; `L` is what landing publishes.
#[derive(Debug)]
pub(super) struct Flights<L> {
    board: Arc<Mutex<Board<L>>>,
}

#[derive(Debug)]
struct Board<L> {
    current: HashMap<Key, Flight<L>, foldhash::fast::RandomState>,
    /// The identity of the next flight.
    next: u64,
    /// How many are under way, those that a purge grounded included.
    flying: usize,
    /// How many may be.
    most: usize,
}

#[derive(Debug)]
struct Flight<L> {
    number: u64,
    interest: Interest,
    landing: Arc<watch::Sender<Option<L>>>,
}

/// How a caller got on.
pub(super) enum Boarded<L, A> {
    /// Not needed: the answer had landed in the meantime.
    Landed(A),
    /// On a flight that another caller started.
    Joined(Waiting<L>),
    /// Not: as many flights are under way as may be.
    Full,
    /// On a new flight, which the caller must set going.
    Leads(Waiting<L>, Ticket<L>),
}

/// A seat: wakes when the flight lands or dies.
pub(super) struct Waiting<L>(watch::Receiver<Option<L>>);

/// The right to land one flight, and the duty to: dropping it ends the flight for everyone on it.
pub(super) struct Ticket<L> {
    board: Arc<Mutex<Board<L>>>,
    key: Key,
    number: u64,
    interest: Interest,
    landing: Arc<watch::Sender<Option<L>>>,
}

// === impl Flights ===

impl<L> Flights<L> {
    /// An empty board for at most so many flights at a time.
    pub(super) fn new(most: usize) -> Self {
        Self { board: Arc::new(Mutex::new(Board { current: HashMap::default(), next: 0, flying: 0, most })) }
    }

    /// Joins the current flight for `key`; else takes what `reread` finds, since a flight may just have landed; else
    /// puts a new flight on the board. Whoever boards, the flight stands in its line, too.
    pub(super) fn board<A>(&self, key: Key, line: Line, reread: impl FnOnce(&Key) -> Option<A>) -> Boarded<L, A> {
        let mut board = lock(&self.board);
        if let Some(flight) = board.current.get(&key) {
            flight.interest.add(line);
            return Boarded::Joined(Waiting(flight.landing.subscribe()));
        }
        if let Some(answer) = reread(&key) {
            return Boarded::Landed(answer);
        }
        // A flight outlives the caller that started it, so bounding callers does not bound flights.
        if board.flying >= board.most {
            return Boarded::Full;
        }
        board.flying += 1;
        let (landing, waiting) = watch::channel(None);
        let landing = Arc::new(landing);
        let number = board.next;
        board.next += 1;
        let interest = Interest::of(line);
        let flight = Flight { number, interest: interest.clone(), landing: Arc::clone(&landing) };
        board.current.insert(key.clone(), flight);
        Boarded::Leads(Waiting(waiting), Ticket { board: Arc::clone(&self.board), key, number, interest, landing })
    }

    /// From now on at most so many; those that are under way stay.
    pub(super) fn limit(&self, most: usize) {
        lock(&self.board).most = most;
    }

    /// Takes matching flights off the board: they still answer whoever waits on them, but are current no more.
    pub(super) fn ground(&self, matches: impl Fn(&Key) -> bool) {
        lock(&self.board).current.retain(|key, _| !matches(key));
    }

    /// How many flights are current, and how many are under way: those that a purge grounded still are.
    pub(super) fn count(&self) -> (usize, usize) {
        let board = lock(&self.board);
        (board.current.len(), board.flying)
    }
}

// === impl Waiting ===

impl<L: Clone> Waiting<L> {
    /// What the flight landed with; none if it ended without landing. Cancel-safe.
    pub(super) async fn landing(mut self) -> Option<L> {
        let landed = self.0.wait_for(Option::is_some).await.ok()?;
        landed.clone()
    }
}

// === impl Ticket ===

impl<L> Ticket<L> {
    pub(super) fn key(&self) -> &Key {
        &self.key
    }

    /// On whose behalf it flies.
    pub(super) fn interest(&self) -> &Interest {
        &self.interest
    }

    /// Resolves when nobody waits for this flight at that moment. Cancel-safe.
    pub(super) async fn deserted(&self) {
        self.landing.closed().await;
    }

    /// Takes the flight off the board if nobody waits for it; says whether that is so. Nobody can board it then, and the
    /// ticket is to be dropped.
    pub(super) fn give_up(&self) -> bool {
        let mut board = lock(&self.board);
        let deserted = self.landing.receiver_count() == 0;
        if deserted {
            board.take_off(&self.key, self.number);
        }
        deserted
    }

    /// Lands: under the lock, `settle` is told whether this flight is still the current one and writes the store, and
    /// the flight leaves the board; then everyone is told.
    pub(super) fn land(self, settle: impl FnOnce(bool) -> L) {
        let landing = {
            let mut board = lock(&self.board);
            let landing = settle(board.is_current(&self.key, self.number));
            board.take_off(&self.key, self.number);
            landing
        };
        self.landing.send_replace(Some(landing));
    }
}

impl<L> Drop for Ticket<L> {
    fn drop(&mut self) {
        let mut board = lock(&self.board);
        board.flying = board.flying.saturating_sub(1);
        board.take_off(&self.key, self.number);
    }
}

// === impl Board ===

impl<L> Board<L> {
    fn is_current(&self, key: &Key, number: u64) -> bool {
        self.current.get(key).is_some_and(|flight| flight.number == number)
    }

    /// Takes a flight off, and leaves a successor alone.
    fn take_off(&mut self, key: &Key, number: u64) {
        if self.is_current(key, number) {
            self.current.remove(key);
        }
    }
}

/// A panic under the lock leaves a consistent board: every change to it is a single insert or remove.
fn lock<L>(board: &Mutex<Board<L>>) -> MutexGuard<'_, Board<L>> {
    board.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monime::{SessionId, SpaceId, Version};

    fn key() -> Key {
        Key {
            space: SpaceId::parse("spc-1").unwrap(),
            id: SessionId::parse("scs-1").unwrap(),
            version: Version::parse("v1").unwrap(),
        }
    }

    fn lead(flights: &Flights<u8>) -> (Waiting<u8>, Ticket<u8>) {
        match flights.board(key(), Line::default(), |_| None::<()>) {
            Boarded::Leads(waiting, ticket) => (waiting, ticket),
            Boarded::Joined(_) | Boarded::Landed(()) | Boarded::Full => panic!("a flight was there already"),
        }
    }

    #[tokio::test]
    async fn everyone_on_a_flight_gets_its_landing() {
        let flights = Flights::new(8);
        let (first, ticket) = lead(&flights);
        let Boarded::Joined(second) = flights.board(key(), Line::default(), |_| None::<()>) else {
            panic!("not joined")
        };
        ticket.land(|current| {
            assert!(current);
            7
        });
        assert_eq!((first.landing().await, second.landing().await), (Some(7), Some(7)));
        assert_eq!(flights.count(), (0, 0));
    }

    #[tokio::test]
    async fn a_flight_stands_in_the_line_of_everyone_who_boards_it() {
        let flights = Flights::new(8);
        let (_first, ticket) = lead(&flights);
        let line = Line::of(&"second".into());
        let board = |line: &Line| matches!(flights.board(key(), line.clone(), |_| None::<()>), Boarded::Joined(_));
        assert!([&line, &Line::default(), &line].into_iter().all(board));
        assert_eq!(ticket.interest().lines(), [Line::default(), line]);
    }

    #[tokio::test]
    async fn a_dropped_ticket_wakes_everyone_and_clears_the_board() {
        let flights = Flights::new(8);
        let (waiting, ticket) = lead(&flights);
        drop(ticket);
        assert_eq!(waiting.landing().await, None);
        lead(&flights);
    }

    #[tokio::test]
    async fn a_grounded_flight_lands_for_its_passengers_and_leaves_its_successor_alone() {
        let flights = Flights::new(8);
        let (old_waiting, old) = lead(&flights);
        flights.ground(|_| true);
        let (new_waiting, new) = lead(&flights);
        old.land(u8::from);
        assert_eq!(old_waiting.landing().await, Some(0), "it is current no more");
        assert!(lock(&flights.board).current.contains_key(&key()), "its successor still flies");
        new.land(u8::from);
        assert_eq!(new_waiting.landing().await, Some(1));
    }

    #[tokio::test]
    async fn a_flight_can_be_given_up_only_while_nobody_waits_for_it() {
        let flights = Flights::new(8);
        let (first, ticket) = lead(&flights);
        assert!(!ticket.give_up(), "someone waits");
        drop(first);
        ticket.deserted().await;
        let Boarded::Joined(second) = flights.board(key(), Line::default(), |_| None::<()>) else {
            panic!("not joined")
        };
        assert!(!ticket.give_up(), "someone came back");
        drop(second);
        assert!(ticket.give_up());
        lead(&flights);
        assert!(ticket.give_up(), "and its successor is left alone");
        assert_eq!(flights.count(), (0, 1), "a ticket that was led and dropped is gone, the given up one not yet");
    }

    #[test]
    fn what_landed_while_waiting_for_the_lock_is_taken() {
        let flights = Flights::<u8>::new(8);
        assert!(matches!(flights.board(key(), Line::default(), |_| Some("landed")), Boarded::Landed("landed")));
        assert_eq!(flights.count(), (0, 0));
    }

    #[tokio::test]
    async fn flights_are_bounded_also_those_that_were_grounded_and_room_comes_back() {
        let flights = Flights::<u8>::new(1);
        let (_waiting, ticket) = lead(&flights);
        assert!(
            matches!(flights.board(key(), Line::default(), |_| None::<()>), Boarded::Joined(_)),
            "joining needs no room"
        );
        flights.ground(|_| true);
        assert!(matches!(flights.board(key(), Line::default(), |_| None::<()>), Boarded::Full));
        drop(ticket);
        lead(&flights);
    }
}
