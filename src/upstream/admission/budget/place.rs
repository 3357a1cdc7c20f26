//! Where a call counts: its three places, the windows that they have, and what is free in all of them at once.
//!
//! Owns which window is whose. Refuses to know who waits, and what a moment in a window means.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use tokio::time::Instant;

use super::window::{Kind, Window};
use crate::monime::SpaceId;

/// What a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::upstream) enum Scope {
    /// The calls of one token to one operation.
    Endpoint,
    /// The calls of one token.
    Token,
    /// The calls for one space.
    Space,
}

/// Where a call counts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::upstream) struct Places {
    /// The name of where the token comes from; never the token.
    pub(in crate::upstream) token: Arc<str>,
    /// Which operation.
    pub(in crate::upstream) operation: &'static str,
    /// Which space.
    pub(in crate::upstream) space: SpaceId,
}

/// One of the places where a call counts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Place {
    Endpoint(Arc<str>, &'static str),
    Token(Arc<str>),
    Space(SpaceId),
}

#[derive(Debug, Default)]
pub(super) struct Windows(pub(super) HashMap<Place, Window, RandomState>);

/// The moments of the last of each kind in line. Those with the same places have their turns in their order, so a
/// search need not begin before; without it a line would be searched anew for everyone in it.
#[derive(Debug, Default)]
pub(super) struct Floors(HashMap<Arc<[Place; 3]>, Instant, RandomState>);

// === impl Scope ===

impl Scope {
    /// Every scope, narrowest first.
    pub(in crate::upstream) const ALL: [Self; 3] = [Self::Endpoint, Self::Token, Self::Space];

    /// The scope that `Monime-Rate-Limit` names.
    pub(in crate::upstream) fn named(limit: &str) -> Option<Self> {
        match limit {
            "endpoint-limit" => Some(Self::Endpoint),
            "token-limit" => Some(Self::Token),
            "space-limit" => Some(Self::Space),
            _ => None,
        }
    }

    /// As in logs and metrics.
    pub(in crate::upstream) fn as_str(self) -> &'static str {
        match self {
            Self::Endpoint => "endpoint",
            Self::Token => "token",
            Self::Space => "space",
        }
    }
}

// === impl Places ===

impl Places {
    pub(super) fn each(&self) -> [Place; 3] {
        Scope::ALL.map(|scope| self.place(scope))
    }

    pub(super) fn place(&self, scope: Scope) -> Place {
        match scope {
            Scope::Endpoint => Place::Endpoint(Arc::clone(&self.token), self.operation),
            Scope::Token => Place::Token(Arc::clone(&self.token)),
            Scope::Space => Place::Space(self.space.clone()),
        }
    }
}

// === impl Windows ===

impl Windows {
    /// The earliest moment from `from` on with room in all three windows, and whose window it was that decided.
    pub(super) fn earliest(&self, places: &[Place; 3], from: Instant) -> (Instant, Scope) {
        let windows = places.each_ref().map(|place| self.0.get(place));
        let (mut at, mut scope) = (from, Scope::Endpoint);
        loop {
            let before = at;
            for (window, its) in windows.iter().zip(Scope::ALL) {
                let earliest = window.map_or(at, |window| window.earliest(at));
                if earliest > at {
                    (at, scope) = (earliest, its);
                }
            }
            if at == before {
                return (at, scope);
            }
        }
    }

    pub(super) fn mark(&mut self, places: &[Place; 3], at: Instant, kind: Kind) {
        for window in self.0.get_disjoint_mut(places.each_ref()).into_iter().flatten() {
            window.mark(at, kind);
        }
    }

    pub(super) fn delay(&mut self, places: &[Place; 3], sent_at: Instant, at: Instant) {
        for window in self.0.get_disjoint_mut(places.each_ref()).into_iter().flatten() {
            window.delay(sent_at, at);
        }
    }

    pub(super) fn unbook(&mut self, places: &[Place; 3], at: Instant) {
        for window in self.0.get_disjoint_mut(places.each_ref()).into_iter().flatten() {
            window.unbook(at);
        }
    }

    pub(super) fn of(&self, scope: Scope) -> impl Iterator<Item = &Window> {
        self.0.iter().filter(move |(place, _)| place.scope() == scope).map(|(_, window)| window)
    }
}

// === impl Place ===

impl Place {
    fn scope(&self) -> Scope {
        match self {
            Self::Endpoint(..) => Scope::Endpoint,
            Self::Token(_) => Scope::Token,
            Self::Space(_) => Scope::Space,
        }
    }
}

// === impl Floors ===

impl Floors {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn of(&self, places: &Arc<[Place; 3]>, now: Instant) -> Instant {
        // The last one may be late itself.
        self.0.get(places).map_or(now, |last| now.max(*last))
    }

    pub(super) fn raise(&mut self, places: &Arc<[Place; 3]>, at: Instant) {
        self.0.entry(Arc::clone(places)).and_modify(|last| *last = at.max(*last)).or_insert(at);
    }
}
