//! Where a request stands: waiting for its turn, or sent.
//!
//! Told by whoever sends it, read by whoever asked: what still waits for nobody can be given up at no cost to Monime,
//! what was sent cannot be taken back.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::Instant;

/// The stage of one request. Clones speak of the same one.
#[derive(Debug, Clone)]
pub struct Stage(Arc<watch::Sender<Option<Instant>>>);

impl Default for Stage {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }
}

impl Stage {
    /// Resolves when the fetch waits for a turn; at once if it does. Cancel-safe.
    pub async fn queued(&self) {
        // The sender is right here, so the channel cannot be closed.
        let _ = self.0.subscribe().wait_for(Option::is_none).await;
    }

    /// Whether the fetch waits for a turn at this moment.
    #[must_use]
    pub fn is_queued(&self) -> bool {
        self.0.borrow().is_none()
    }

    /// When its last request was sent; now, if none was.
    #[must_use]
    pub fn sent_at(&self) -> Instant {
        self.0.borrow().unwrap_or_else(Instant::now)
    }

    /// A request goes out.
    pub(crate) fn sends(&self) {
        self.0.send_replace(Some(Instant::now()));
    }

    /// Another turn is waited for.
    pub(super) fn waits(&self) {
        self.0.send_replace(None);
    }
}
