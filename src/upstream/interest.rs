//! On whose behalf a fetch is made: everyone in whose line it may stand.
//!
//! Told by whoever boards, read by the gate: a fetch that somebody else began must not keep who joins it waiting for
//! longer than one of its own. Refuses to forget anyone: who leaves costs the fetch nothing that it has.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::Line;

/// The lines of all who wait for one fetch, each once. Clones speak of the same fetch.
#[derive(Debug, Clone)]
pub struct Interest(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// First come first; it only grows.
    lines: Mutex<Vec<Line>>,
    grown: Notify,
}

/// The lines, and those that are added.
pub(super) struct Lines<'a> {
    interest: &'a Interest,
    /// How many were there when they were last read.
    read: usize,
}

impl Default for Interest {
    fn default() -> Self {
        Self::of(Line::default())
    }
}

impl Interest {
    /// Of one who waits in this line.
    #[must_use]
    pub fn of(line: Line) -> Self {
        Self(Arc::new(Inner { lines: Mutex::new(vec![line]), grown: Notify::new() }))
    }

    /// Somebody in this line waits for it as well.
    pub fn add(&self, line: Line) {
        let mut lines = self.all();
        if !lines.contains(&line) {
            lines.push(line);
            self.0.grown.notify_waiters();
        }
    }

    /// All of them, first come first.
    #[must_use]
    pub fn lines(&self) -> Vec<Line> {
        self.all().clone()
    }

    pub(super) fn follow(&self) -> Lines<'_> {
        Lines { interest: self, read: 0 }
    }

    fn all(&self) -> MutexGuard<'_, Vec<Line>> {
        // A line is there or not: whoever panicked has left the others whole.
        self.0.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lines<'_> {
    /// All of them.
    pub(super) fn now(&mut self) -> Vec<Line> {
        let lines = self.interest.lines();
        self.read = lines.len();
        lines
    }

    /// All of them, once there are more than when they were last read. Cancel-safe.
    pub(super) async fn more(&mut self) -> Vec<Line> {
        loop {
            // Asked for before looking, so that who comes in between is not missed.
            let grown = self.interest.0.grown.notified();
            if self.interest.all().len() > self.read {
                return self.now();
            }
            grown.await;
        }
    }
}
