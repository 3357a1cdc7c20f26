//! The last requests one by one: when each came, about which session, by which token, and what it was told.
//!
//! Owns a bounded memory of them, for whoever measures gaps and crowded seconds. Refuses to do that arithmetic, and to
//! know a token by anything but its number.

use std::collections::VecDeque;
use std::time::Duration;

use http::StatusCode;
use serde::{Serialize, Serializer};

use super::api::Operation;
use super::fault::{Fault, spoken};
use crate::monime::SessionId;

/// More than an hour at a live token's rate, and some ten megabytes.
const CAPACITY: usize = 100_000;

/// One request to Monime's routes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Asked {
    /// When it came, since counting began.
    #[serde(rename = "at_us", serialize_with = "micros")]
    pub at: Duration,
    /// What was asked; none for what the sandbox does not play.
    pub operation: Option<Operation>,
    /// About which session; none if about none, or if a token may stand in its id.
    #[serde(serialize_with = "spoken::session")]
    pub session: Option<SessionId>,
    /// The number of its token: 0 for the first that the sandbox accepted, and so on; none if its token was not
    /// accepted.
    pub token: Option<usize>,
    /// The status it was told; none if not a byte was: not yet, its caller left before, or [`Fault::Reset`].
    #[serde(serialize_with = "status")]
    pub status: Option<StatusCode>,
    /// The fault that it met.
    pub fault: Option<Fault>,
    /// Which turn of the [`Schedule`](super::Schedule) decided that; none if none did: it was refused, is no lookup, or a
    /// fault was planned for it.
    pub turn: Option<u64>,
}

/// The last requests, in the order in which they were let in or refused.
#[derive(Debug, Default)]
pub(super) struct Recent {
    kept: VecDeque<Asked>,
    /// The ticket of the oldest that is kept.
    oldest: u64,
}

/// Which request an answer belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket(u64);

impl Recent {
    pub(super) fn push(&mut self, asked: Asked) -> Ticket {
        if self.kept.len() >= CAPACITY {
            self.kept.pop_front();
            self.oldest += 1;
        }
        self.kept.push_back(asked);
        Ticket(self.next().0 - 1)
    }

    /// What the next request gets.
    pub(super) fn next(&self) -> Ticket {
        Ticket(self.oldest + u64::try_from(self.kept.len()).unwrap_or(u64::MAX))
    }

    /// The request of this ticket, unless it is too long ago.
    pub(super) fn of(&mut self, ticket: Ticket) -> Option<&mut Asked> {
        let index = ticket.0.checked_sub(self.oldest)?;
        self.kept.get_mut(usize::try_from(index).ok()?)
    }

    /// Forgets them, and gives none of their tickets again.
    pub(super) fn clear(&mut self) {
        self.oldest = self.next().0;
        self.kept.clear();
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Asked> {
        self.kept.iter()
    }
}

fn micros<S: Serializer>(at: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u64(u64::try_from(at.as_micros()).unwrap_or(u64::MAX))
}

fn status<S: Serializer>(status: &Option<StatusCode>, to: S) -> Result<S::Ok, S::Error> {
    status.map(|status| status.as_u16()).serialize(to)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(seconds: u64) -> Asked {
        let at = Duration::from_secs(seconds);
        Asked { at, operation: None, session: None, token: None, status: None, fault: None, turn: None }
    }

    #[test]
    fn the_last_100_000_are_kept_and_each_ticket_finds_its_own() {
        let mut recent = Recent::default();
        let tickets: Vec<_> = (0..100_003).map(|second| recent.push(asked(second))).collect();
        assert_eq!(recent.all().count(), 100_000);
        assert_eq!(recent.of(tickets[2]), None, "too long ago");
        for second in [3, 4, 100_002] {
            let ticket = tickets[usize::try_from(second).unwrap()];
            assert_eq!(recent.of(ticket), Some(&mut asked(second)));
        }
        recent.clear();
        let next = recent.push(asked(7));
        assert!(tickets.iter().all(|ticket| *ticket < next && recent.of(*ticket).is_none()));
        assert_eq!(recent.of(next), Some(&mut asked(7)));
    }
}
