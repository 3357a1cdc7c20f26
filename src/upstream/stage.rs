//! Where a request stands: waiting for its turn, or sent.
//!
//! Told by whoever sends it, read by whoever asked: what still waits for nobody can be given up at no cost to Monime,
//! what was sent cannot be taken back.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;

/// The stage of one request. Clones speak of the same one.
#[derive(Debug, Clone, Default)]
pub struct Stage(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// When its last request was sent; none while a turn is waited for.
    sent_at: Mutex<Option<Instant>>,
    /// A turn is waited for again.
    waits: Notify,
}

impl Stage {
    /// Resolves when the fetch waits for a turn; at once if it does. Cancel-safe.
    pub async fn queued(&self) {
        loop {
            // Asked for before looking, so that what comes in between is not missed.
            let waits = self.0.waits.notified();
            if self.is_queued() {
                return;
            }
            waits.await;
        }
    }

    /// Whether the fetch waits for a turn at this moment.
    #[must_use]
    pub fn is_queued(&self) -> bool {
        self.sent().is_none()
    }

    /// When its last request was sent; now, if none was.
    #[must_use]
    pub fn sent_at(&self) -> Instant {
        self.sent().unwrap_or_else(Instant::now)
    }

    /// A request goes out.
    pub(crate) fn sends(&self) {
        *self.sent() = Some(Instant::now());
    }

    /// Another turn is waited for.
    pub(super) fn waits(&self) {
        if self.sent().take().is_some() {
            self.0.waits.notify_waiters();
        }
    }

    fn sent(&self) -> MutexGuard<'_, Option<Instant>> {
        // One value: whoever panicked has left it whole.
        self.0.sent_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
