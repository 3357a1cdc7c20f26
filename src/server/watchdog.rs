//! How long a connection may take over what: one timer for all its time limits.
//!
//! The timer is armed once and looked at when it fires, not set anew for each request: what is asked often costs nothing
//! here. Decides when a connection is told to leave and when it is over; refuses to end it, which is `connection`'s.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use super::activity::{Activity, Snapshot};
use super::limits::Times;
use super::rejection::Rejection;

/// What a connection that is told to leave may still take for what is under way, if nothing else ends it: more than any
/// answer takes.
const GRACE: Duration = Duration::from_secs(120);
/// How long a connection may be idle where there is no room for others.
const IDLE_IN_A_CROWD: Duration = Duration::from_secs(1);
/// How many callers may leave before their answers, as long as those are not most: HTTP/2 makes asking and leaving cheap.
const ABANDONED: usize = 100;

/// What a server wants of its connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct ServerState {
    /// They are to end.
    pub(super) draining: bool,
    /// There are as many as there may be.
    pub(super) crowded: bool,
}

/// What a connection is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// Finish what is under way, and take on nothing new after the next.
    Leave,
    /// End, now.
    Close(CloseReason),
}

/// Why a connection is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum CloseReason {
    #[error("nothing was asked in time")]
    Silent,
    #[error("a request head took too long")]
    HeadTimedOut,
    #[error("it was idle")]
    Idle,
    #[error("nothing of an answer was taken for too long")]
    Stalled,
    #[error("it has had its time")]
    Aged,
    #[error("most requests were given up before their answers")]
    Abandoned,
    #[error("the library gave it up")]
    GivenUp,
}

/// The time limits of one connection.
#[derive(Debug)]
pub(super) struct Watchdog {
    times: Times,
    activity: Arc<Activity>,
    pub(super) state: ServerState,
    /// What was seen last, and in what state.
    seen: (Snapshot, ServerState),
    /// Whether it was told to leave just now, so that the timer may be set too late.
    look: bool,
    /// Since when the first head is waited for.
    ready_since: Instant,
    /// Since when nothing was under way, as of `seen`.
    idle_since: Instant,
    /// Since when a head has been coming.
    head_since: Option<Instant>,
    /// Since when nothing is taken.
    stalled_since: Option<Instant>,
    /// When it is told to leave, unless something else makes it.
    retires_at: Instant,
    /// Since when it has been told to leave.
    leaving_since: Option<Instant>,
}

// === impl Watchdog ===

impl Watchdog {
    /// Watches a connection that is ready for its first request at this moment.
    pub(super) fn new(times: Times, activity: &Arc<Activity>, state: ServerState) -> Self {
        let now = Instant::now();
        let age = times.age.mul_f64(0.9 + 0.2 * fastrand::f64());
        Self {
            times,
            activity: Arc::clone(activity),
            state,
            seen: (Snapshot::default(), ServerState::default()),
            look: false,
            ready_since: now,
            idle_since: now,
            head_since: None,
            stalled_since: None,
            retires_at: now + age,
            leaving_since: None,
        }
    }

    /// The moment to look at it first.
    pub(super) fn first_look(&self) -> Instant {
        self.ready_since + self.times.head
    }

    /// Resolves when there is something to do. `timer` is this watch's alone.
    pub(super) fn poll(&mut self, timer: &mut Pin<&mut Sleep>, cx: &mut Context<'_>) -> Poll<Event> {
        let mut look = self.notices() | std::mem::take(&mut self.look);
        loop {
            if look {
                let now = Instant::now();
                match self.judge(now) {
                    Err(event) => return Poll::Ready(event),
                    // One that fires too soon is set anew then; but for the first look, which would wake every one of a crowd
                    // that came together once for nothing.
                    Ok(next) if next < timer.deadline() || timer.deadline() <= now.max(self.first_look()) => {
                        timer.as_mut().reset(next);
                    }
                    Ok(_) => {}
                }
            }
            ready!(timer.as_mut().poll(cx));
            look = true;
        }
    }

    /// Whether anything has changed since it was looked at last.
    fn notices(&mut self) -> bool {
        let now = (self.activity.snapshot(), self.state);
        if now == self.seen {
            return false;
        }
        let (before, after) = (std::mem::replace(&mut self.seen, now).0, now.0);
        let moment = Instant::now();
        if after.busy || after.ended != before.ended {
            self.idle_since = moment;
        }
        // While an answer is under way, the next request has all the time in the world.
        let within_head = after.within_head && !after.busy;
        self.head_since = within_head.then(|| self.head_since.unwrap_or(moment));
        let progress = after.taken != before.taken;
        self.stalled_since = after.stalled.then(|| self.stalled_since.filter(|_| !progress).unwrap_or(moment));
        true
    }

    /// What to do at this moment, or when to look again.
    fn judge(&mut self, now: Instant) -> Result<Instant, Event> {
        let (seen, state) = self.seen;
        if seen.abandoned > ABANDONED && seen.abandoned > seen.ended / 2 {
            return Err(Event::Close(CloseReason::Abandoned));
        }
        if self.leaving_since.is_none() && (state.draining || seen.shut_out || now >= self.retires_at) {
            self.leaving_since = Some(now);
            self.activity.leave();
            self.look = true;
            return Err(Event::Leave);
        }
        let (over, at) = self.ends(seen, state);
        if at <= now { Err(Event::Close(over)) } else { Ok(at.min(self.turns())) }
    }

    /// When it will be told to leave, or have had its grace.
    fn turns(&self) -> Instant {
        self.leaving_since.map_or(self.retires_at, |since| since + GRACE)
    }

    /// What ends it first if nothing more happens, and when.
    fn ends(&self, seen: Snapshot, state: ServerState) -> (CloseReason, Instant) {
        let times = self.times;
        let aged = (CloseReason::Aged, self.leaving_since.map_or(self.retires_at + GRACE, |since| since + GRACE));
        let stalled = self.stalled_since.map(|since| (CloseReason::Stalled, since + times.send));
        let quiet = (!seen.busy).then(|| {
            let (over, at) = if seen.within_head {
                // Of a first one, the time it took to begin counts as well.
                let since = self.head_since.filter(|_| seen.ended > 0).unwrap_or(self.ready_since);
                (CloseReason::HeadTimedOut, since + times.head)
            } else if seen.ended == 0 {
                (CloseReason::Silent, self.ready_since + times.head)
            } else {
                (
                    CloseReason::Idle,
                    self.idle_since + if state.crowded { times.idle.min(IDLE_IN_A_CROWD) } else { times.idle },
                )
            };
            // A request may be on its way, and would be lost.
            let leaves = self.leaving_since.map(|since| since.max(self.idle_since) + times.last_words);
            (over, leaves.map_or(at, |leaves| leaves.min(at)))
        });
        [Some(aged), stalled, quiet].into_iter().flatten().min_by_key(|(_, at)| *at).unwrap_or(aged)
    }
}

impl CloseReason {
    /// What a peer is told of it that is still there to hear it.
    pub(super) fn rejection(self) -> Option<Rejection> {
        match self {
            Self::HeadTimedOut => Some(Rejection::HeadTimedOut),
            Self::Silent | Self::Idle | Self::Stalled | Self::Aged | Self::Abandoned | Self::GivenUp => None,
        }
    }
}
