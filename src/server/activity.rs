//! What goes on on a connection, as far as its service and its wire can see.
//!
//! Only facts, counted without a lock that anybody else holds and read by the connection's own task; what follows from
//! them, `watchdog` decides.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio::time::Instant;

use super::rejection::Rejection;

/// What goes on on a connection.
#[derive(Debug, Default)]
pub(super) struct Activity {
    /// Calls under way: from a request's head to the last byte of its answer.
    calls: AtomicUsize,
    /// Calls that ended, with an answer or because their caller left.
    ended: AtomicUsize,
    /// Those of them whose caller left before the head of its answer.
    abandoned: AtomicUsize,
    /// Answers that have begun and not ended.
    answering: AtomicUsize,
    /// How often bytes of ours were taken.
    taken: AtomicUsize,
    /// Whether bytes of ours are waiting to be taken by the socket.
    stalled: AtomicBool,
    /// Whether a request's head has begun that has not ended.
    within_head: AtomicBool,
    /// Whether an answer may not be on the wire yet.
    unflushed: AtomicBool,
    /// Whether what is sent is held back for more that comes at once.
    holding: AtomicBool,
    /// Whether the next answer is to be the last.
    leaving: AtomicBool,
    /// When bytes of the peer's came last, over HTTP/2.
    heard_at: Mutex<Option<Instant>>,
    /// Whether the peer has said that nothing more comes.
    peer_is_done: AtomicBool,
    /// Whether requests of this client are not let through any more.
    shut_out: AtomicBool,
    /// Why what comes now is not read any more; still to be told.
    rejection: OnceLock<Rejection>,
    /// Whether somebody wanted to read on there, and may be told why not.
    rejection_met: AtomicBool,
}

/// What goes on at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Snapshot {
    /// Whether an answer is under way, or not all on the wire.
    pub(super) busy: bool,
    pub(super) ended: usize,
    pub(super) abandoned: usize,
    pub(super) taken: usize,
    /// Whether anything of ours waits to be taken.
    pub(super) stalled: bool,
    pub(super) within_head: bool,
    pub(super) shut_out: bool,
}

/// Counts a call until it is dropped.
#[derive(Debug)]
pub(super) struct CallGuard {
    activity: Arc<Activity>,
    answered: bool,
}

// === impl Activity ===

impl Activity {
    pub(super) fn snapshot(&self) -> Snapshot {
        Snapshot {
            busy: !self.is_all_told(),
            ended: self.ended.load(Relaxed),
            abandoned: self.abandoned.load(Relaxed),
            taken: self.taken.load(Relaxed),
            stalled: self.stalled.load(Relaxed) || self.answering.load(Relaxed) > 0,
            within_head: self.within_head.load(Relaxed),
            shut_out: self.shut_out.load(Relaxed),
        }
    }

    /// A request has come, or what there is of its head.
    pub(super) fn head(&self, is_within: bool) {
        // Most reads bring a whole one, and then nothing changes.
        if self.within_head.load(Relaxed) != is_within {
            self.within_head.store(is_within, Relaxed);
        }
    }

    pub(super) fn reject(&self, rejection: Rejection) {
        // The first one is what the peer did wrong; what follows from it does not matter.
        let _ = self.rejection.set(rejection);
    }

    pub(super) fn rejection(&self) -> Option<Rejection> {
        self.rejection.get().copied()
    }

    /// Who reads has come to what is rejected.
    pub(super) fn meets_rejection(&self) {
        self.rejection_met.store(true, Relaxed);
    }

    /// Whether what is rejected would have been read: nobody reads behind a last answer.
    pub(super) fn has_met_rejection(&self) -> bool {
        self.rejection_met.load(Relaxed)
    }

    /// Whether the body that came last broke off within.
    pub(super) fn has_broken_body(&self) -> bool {
        self.rejection() == Some(Rejection::Chunk)
    }

    pub(super) fn stalls(&self) {
        self.stalled.store(true, Relaxed);
    }

    /// The socket took bytes of an answer.
    pub(super) fn takes(&self) {
        self.taken.fetch_add(1, Relaxed);
        self.writes();
    }

    /// The socket takes what it is given.
    pub(super) fn writes(&self) {
        self.stalled.store(false, Relaxed);
    }

    /// All that was to be sent is on the wire.
    pub(super) fn flushed(&self) {
        self.stalled.store(false, Relaxed);
        if self.calls.load(Relaxed) == 0 {
            self.unflushed.store(false, Relaxed);
        }
    }

    /// How many requests were answered, or given up by their callers.
    pub(super) fn ended(&self) -> usize {
        self.ended.load(Relaxed)
    }

    /// A request was answered at once, and its answer is to be sent.
    pub(super) fn answers_at_once(&self) {
        self.ended.fetch_add(1, Relaxed);
        self.unflushed.store(true, Relaxed);
    }

    /// Whether every answer so far is on the wire.
    pub(super) fn is_all_told(&self) -> bool {
        self.calls.load(Relaxed) == 0 && !self.unflushed.load(Relaxed)
    }

    /// Bytes of ours are held back from now on, or no longer.
    pub(super) fn hold(&self, is_holding: bool) {
        self.holding.store(is_holding, Relaxed);
    }

    pub(super) fn is_holding(&self) -> bool {
        self.holding.load(Relaxed)
    }

    pub(super) fn leave(&self) {
        self.leaving.store(true, Relaxed);
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.load(Relaxed)
    }

    pub(super) fn shut_out(&self) {
        self.shut_out.store(true, Relaxed);
    }

    pub(super) fn hears(&self) {
        *self.heard_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    pub(super) fn heard_at(&self) -> Option<Instant> {
        *self.heard_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn peer_is_done(&self) {
        self.peer_is_done.store(true, Relaxed);
    }

    pub(super) fn is_peer_done(&self) -> bool {
        self.peer_is_done.load(Relaxed)
    }
}

// === impl CallGuard ===

impl CallGuard {
    pub(super) fn new(activity: &Arc<Activity>) -> Self {
        activity.calls.fetch_add(1, Relaxed);
        activity.unflushed.store(true, Relaxed);
        Self { activity: Arc::clone(activity), answered: false }
    }

    /// Its answer begins.
    pub(super) fn answered(&mut self) {
        self.answered = true;
        self.activity.answering.fetch_add(1, Relaxed);
    }

    /// A piece of its answer is taken.
    pub(super) fn taken(&self) {
        self.activity.taken.fetch_add(1, Relaxed);
    }

    /// Nothing is answered behind it.
    pub(super) fn leaves(&self) {
        self.activity.leave();
    }

    pub(super) fn is_last(&self) -> bool {
        self.activity.is_leaving()
    }

    pub(super) fn has_broken_body(&self) -> bool {
        self.activity.has_broken_body()
    }
}

impl Drop for CallGuard {
    fn drop(&mut self) {
        if self.answered {
            self.activity.answering.fetch_sub(1, Relaxed);
        } else {
            self.activity.abandoned.fetch_add(1, Relaxed);
        }
        self.activity.ended.fetch_add(1, Relaxed);
        self.activity.calls.fetch_sub(1, Relaxed);
    }
}
