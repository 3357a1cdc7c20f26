//! On whose behalf a fetch is made: everyone in whose line it may stand.
//!
//! Told by whoever boards, read by the gate: a fetch that somebody else began must not keep who joins it waiting for
//! longer than one of its own. Refuses to forget anyone: who leaves costs the fetch nothing that it has.

use std::sync::Arc;

use tokio::sync::watch;

use super::Line;

/// The lines of all who wait for one fetch, each once. Clones speak of the same fetch.
#[derive(Debug, Clone)]
pub struct Interest(Arc<watch::Sender<Vec<Line>>>);

/// The lines, and those that are added.
pub(super) struct Lines(watch::Receiver<Vec<Line>>);

impl Default for Interest {
    fn default() -> Self {
        Self::of(Line::default())
    }
}

impl Interest {
    /// Of one who waits in this line.
    #[must_use]
    pub fn of(line: Line) -> Self {
        Self(Arc::new(watch::Sender::new(vec![line])))
    }

    /// Somebody in this line waits for it as well.
    pub fn add(&self, line: Line) {
        self.0.send_if_modified(|lines| {
            let is_new = !lines.contains(&line);
            if is_new {
                lines.push(line);
            }
            is_new
        });
    }

    /// All of them, first come first.
    #[must_use]
    pub fn lines(&self) -> Vec<Line> {
        self.0.borrow().clone()
    }

    pub(super) fn follow(&self) -> Lines {
        Lines(self.0.subscribe())
    }
}

impl Lines {
    /// All of them.
    pub(super) fn now(&mut self) -> Vec<Line> {
        self.0.borrow_and_update().clone()
    }

    /// All of them, once there are more than when they were last read. Cancel-safe.
    pub(super) async fn more(&mut self) -> Vec<Line> {
        if self.0.changed().await.is_err() {
            // Everyone has forgotten the fetch, so nobody will be added.
            std::future::pending::<()>().await;
        }
        self.now()
    }
}
