//! Every session, by space and id, and the pages of a list.
//!
//! Owns that spaces do not see each other. Refuses to forget on its own: when it is full, creating fails aloud until
//! somebody clears it.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use tokio::time::Instant;

use super::session::Session;
use crate::monime::{Final, SessionId, SpaceId};

/// Sessions that are created over HTTP at most; a seed by code may go beyond.
const CAPACITY: usize = 100_000;

/// The sessions of all spaces.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    spaces: HashMap<SpaceId, BTreeMap<SessionId, Session>>,
    count: usize,
}

/// What part of a space's sessions a list shows.
#[derive(Debug)]
pub(super) struct Page<'a> {
    pub(super) limit: usize,
    pub(super) status: Option<&'a str>,
    /// Only sessions before this id, which is the last one of the page before.
    pub(super) after: Option<SessionId>,
}

/// How a deletion went.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Deletion {
    Done,
    /// The payer began, or it settled otherwise than cancelled.
    TooLate,
    Absent,
}

impl Ledger {
    pub(super) fn is_full(&self) -> bool {
        self.count >= CAPACITY
    }

    pub(super) fn put(&mut self, space: &SpaceId, id: SessionId, session: Session) {
        let sessions = self.spaces.entry(space.clone()).or_default();
        if sessions.insert(id, session).is_none() {
            self.count += 1;
        }
    }

    pub(super) fn get(&self, space: &SpaceId, id: &SessionId) -> Option<&Session> {
        self.spaces.get(space)?.get(id)
    }

    /// Settles a session in every space that has this id; how many had it.
    pub(super) fn settle(&mut self, id: &SessionId, outcome: Final) -> usize {
        self.everywhere(id).map(|session| session.settle(outcome)).count()
    }

    /// Lets the payer begin, in every space that has this id; how many had it.
    pub(super) fn start(&mut self, id: &SessionId) -> usize {
        self.everywhere(id).map(Session::start).count()
    }

    pub(super) fn delete(&mut self, space: &SpaceId, id: &SessionId, now: Instant) -> Deletion {
        let Some(sessions) = self.spaces.get_mut(space) else { return Deletion::Absent };
        match sessions.get(id) {
            None => Deletion::Absent,
            Some(session) if !session.is_deletable(now) => Deletion::TooLate,
            Some(_) => {
                sessions.remove(id);
                self.count -= 1;
                Deletion::Done
            }
        }
    }

    /// Up to `page.limit` sessions, newest first, and whether more follow.
    pub(super) fn list(
        &self,
        space: &SpaceId,
        page: &Page<'_>,
        now: Instant,
    ) -> (Vec<(&SessionId, &Session)>, Option<&SessionId>) {
        let before = page.after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let sessions = self.spaces.get(space).into_iter();
        // Ids are made in the order of time, so the greatest id is the newest session.
        let mut matching = sessions
            .flat_map(|sessions| sessions.range::<SessionId, _>((Bound::Unbounded, before)).rev())
            .filter(|(_, session)| page.status.is_none_or(|wanted| session.status(now) == wanted));
        let shown: Vec<_> = matching.by_ref().take(page.limit).collect();
        let more = matching.next().is_some();
        let next = shown.last().map(|(id, _)| *id).filter(|_| more);
        (shown, next)
    }

    fn everywhere<'a>(&'a mut self, id: &'a SessionId) -> impl Iterator<Item = &'a mut Session> {
        self.spaces.values_mut().filter_map(move |sessions| sessions.get_mut(id))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::draft::Draft;
    use super::super::session::LIFETIME;
    use super::*;

    #[test]
    fn pages_show_every_session_once_newest_first() {
        let (mut ledger, now) = (Ledger::default(), Instant::now());
        let space = SpaceId::parse("spc-a").unwrap();
        let draft = Arc::new(Draft::plain());
        for index in 0..7 {
            let status = if index % 2 == 0 { "pending" } else { "completed" };
            let session = match status {
                "pending" => Session::open(Arc::clone(&draft), now, LIFETIME, None),
                _ => Session::closed(Arc::clone(&draft), now, LIFETIME, status),
            };
            ledger.put(&space, SessionId::parse(&format!("scs-{index}")).unwrap(), session);
        }
        let walk = |status, limit| {
            let (mut seen, mut after) = (Vec::new(), None);
            loop {
                let (shown, next) = ledger.list(&space, &Page { limit, status, after }, now);
                assert!(shown.len() <= limit);
                seen.extend(shown.iter().map(|(id, _)| id.as_str()[4..].parse::<u32>().unwrap()));
                after = next.cloned();
                if after.is_none() {
                    return seen;
                }
            }
        };
        for limit in 1..9 {
            assert_eq!(walk(None, limit), [6, 5, 4, 3, 2, 1, 0], "{limit}");
            assert_eq!(walk(Some("pending"), limit), [6, 4, 2, 0], "{limit}");
            assert_eq!(walk(Some("expired"), limit), [0; 0], "{limit}");
        }
    }

    #[test]
    fn a_deleted_session_is_absent_and_other_spaces_keep_theirs() {
        let (mut ledger, now) = (Ledger::default(), Instant::now());
        let [one, other] = ["spc-a", "spc-b"].map(|space| SpaceId::parse(space).unwrap());
        let id = SessionId::parse("scs-1").unwrap();
        for space in [&one, &other] {
            ledger.put(space, id.clone(), Session::open(Arc::new(Draft::plain()), now, LIFETIME, None));
        }
        assert_eq!(ledger.delete(&one, &id, now), Deletion::Done);
        assert_eq!(ledger.delete(&one, &id, now), Deletion::Absent);
        assert_eq!((ledger.settle(&id, Final::Completed), ledger.count), (1, 1));
        assert_eq!(ledger.delete(&other, &id, now), Deletion::TooLate);
    }
}
