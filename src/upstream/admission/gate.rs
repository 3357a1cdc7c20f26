//! The gate to Monime: one lock around the budget and the breaker, and everyone who waits at it.
//!
//! Outlives a change of settings, as what was sent counts whoever sent it. Owns waking, counting and logging. Refuses to
//! hold its lock across an await, and to lose a turn: dropping a place gives it back, dropping a turn tells the breaker.

mod turn;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::breaker::{Breaker, Change, Permit, State};
use super::budget::{Budget, Places, Scope, Ticket, TooLate};
use crate::monime::{Rates, TokenKind};
use crate::telemetry::Metrics;
use crate::upstream::{Failure, Interest, Line};
pub(super) use turn::Turn;

/// The pause after a 429 that does not say how long: Monime counts by the second.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest pause that is believed.
const MAX_PAUSE: Duration = Duration::from_secs(60);

/// How much later than promised a turn may come. Who has waited for it would rather have a shorter time for the answer.
const SLIP: Duration = Duration::from_secs(1);

/// Limits that the operator set, in calls a second; where none is set, the token's kind decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quota {
    /// For one token at one operation.
    pub endpoint: Option<u32>,
    /// For one token.
    pub token: Option<u32>,
    /// For one space.
    pub space: Option<u32>,
}

/// Who may ask Monime, and when. Clones are the same gate.
#[derive(Debug, Clone)]
pub struct Gate(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: Mutex<Machines>,
    /// Some turn moved up, or the breaker changed.
    moved: Notify,
    metrics: Arc<Metrics>,
}

#[derive(Debug)]
struct Machines {
    budget: Budget,
    breaker: Breaker,
    /// The shares as they were last told, in the order of `Scope::ALL`.
    told: [f64; 3],
    /// Whether what was last told may change by itself: a share regrows, or a pause ends.
    unsettled: bool,
}

/// A place in line; dropped, it is given back.
struct Queued<'a> {
    gate: &'a Gate,
    /// None once its turn was taken: there is nothing to give back then.
    ticket: Option<Ticket>,
    since: Instant,
    /// Whether how it comes out tells of Monime's health.
    teaches: bool,
}

/// A turn that was taken at this moment.
type Sent = (Ticket, Option<Permit>, Instant);

/// Whether a turn has come.
enum Look {
    /// It has.
    Sent(Sent),
    /// It comes at this moment, as things stand.
    NotBefore(Instant),
}

// === impl Quota ===

impl Quota {
    /// The most that can be set: no token of Monime's is granted it, and a budget can still keep count of it.
    pub const MAX: u32 = 10_000;

    /// The limits for a token of this kind.
    #[must_use]
    pub fn rates(&self, kind: TokenKind) -> Rates {
        let Rates { endpoint, token, space } = Rates::of(kind);
        Rates {
            endpoint: self.endpoint.unwrap_or(endpoint),
            token: self.token.unwrap_or(token),
            space: self.space.unwrap_or(space),
        }
    }
}

// === impl Gate ===

impl Gate {
    /// A gate at which nobody waits, for this share of every limit, above 0 and at most 1.
    #[must_use]
    pub fn new(share: f64, metrics: Arc<Metrics>) -> Self {
        let (budget, breaker) = (Budget::new(share), Breaker::new(Instant::now()));
        let state = Mutex::new(Machines { budget, breaker, told: [share; 3], unsettled: false });
        let gate = Self(Arc::new(Inner { state, moved: Notify::new(), metrics }));
        gate.report();
        gate
    }

    /// From now on this share of every limit. Whoever waits is given a new turn.
    pub fn set_share(&self, share: f64) {
        self.with(|machines, now| {
            machines.budget.set_share(share, now);
            // Whoever set it knows, so it is not logged.
            machines.told = Scope::ALL.map(|scope| machines.budget.share(scope, now));
            // The gauges do not know it yet.
            machines.unsettled = true;
        });
    }

    /// Brings the metrics up to date: shares regrow while nobody asks.
    pub fn report(&self) {
        self.with(|machines, now| self.measure(machines, now));
    }

    /// Whether Monime is asked at all, in a word.
    #[must_use]
    pub fn breaker(&self) -> &'static str {
        self.lock().breaker.state().as_str()
    }

    /// Waits for a turn, which comes at `latest` or before, in the best of the lines of those who are interested.
    /// Of Monime's health only those attempts tell that are said to teach it. Cancel-safe: dropping it gives the place back.
    pub(super) async fn turn(
        &self,
        places: Places,
        interest: &Interest,
        rates: Rates,
        latest: Instant,
        teaches: bool,
    ) -> Result<Turn, Failure> {
        if let Some((ticket, permit, sent_at)) = self.take_at_once(&places, rates, teaches)? {
            return Ok(Turn::new(self.clone(), places, ticket, sent_at, permit));
        }
        let mut lines = interest.follow();
        let mut queued = self.join(&places, &lines.now(), rates, latest, teaches)?;
        loop {
            // Asked for before looking, so that what moves in between is not missed.
            let moved = self.0.moved.notified();
            match self.take(&mut queued, latest)? {
                Look::Sent((ticket, permit, sent_at)) => {
                    return Ok(Turn::new(self.clone(), places, ticket, sent_at, permit));
                }
                // Whose turn moves back is not woken for it: it wakes at the old moment, and learns the new one.
                Look::NotBefore(moment) => tokio::select! {
                    () = sleep_until(moment) => {}
                    () = moved => {}
                    lines = lines.more() => self.advance(&queued, &lines),
                },
            }
        }
    }

    /// Takes a turn without a line, where nobody waits and there is room: nearly always. None if there is none at once.
    fn take_at_once(&self, places: &Places, rates: Rates, teaches: bool) -> Result<Option<Sent>, Failure> {
        self.with(|machines, now| {
            machines.ask_the_breaker(teaches, now)?;
            let Some((ticket, scope)) = machines.budget.take_at_once(places, rates, now) else { return Ok(None) };
            self.0.metrics.budget_waited(scope.as_str(), Duration::ZERO);
            Ok(Some((ticket, self.permit(machines, teaches, now)?, now)))
        })
    }

    fn join(
        &self,
        places: &Places,
        lines: &[Line],
        rates: Rates,
        latest: Instant,
        teaches: bool,
    ) -> Result<Queued<'_>, Failure> {
        self.with(|machines, now| {
            machines.ask_the_breaker(teaches, now)?;
            // A turn that is there at once is never too late: whoever asks first would else be refused where no time is
            // left for waiting.
            match machines.budget.join(places, lines, rates, now, latest.max(now)) {
                Ok(ticket) => Ok(Queued { gate: self, ticket: Some(ticket), since: now, teaches }),
                Err(late) => Err(self.exhausted(late, now)),
            }
        })
    }

    /// More wait for it, so its turn may come sooner.
    fn advance(&self, queued: &Queued<'_>, lines: &[Line]) {
        if let Some(ticket) = queued.ticket {
            self.with(|machines, now| machines.budget.advance(ticket, lines, now));
        }
    }

    /// Takes the turn if it has come.
    fn take(&self, queued: &mut Queued<'_>, latest: Instant) -> Result<Look, Failure> {
        let Some(ticket) = queued.ticket else { return Err(lost()) };
        self.with(|machines, now| {
            // Before the turn is taken, so that none is lost on a breaker that has opened meanwhile.
            machines.ask_the_breaker(queued.teaches, now)?;
            match machines.budget.take(ticket, now) {
                Ok(scope) => {
                    queued.ticket = None;
                    let scope = scope.ok_or_else(lost)?;
                    let waited = now.saturating_duration_since(queued.since);
                    self.0.metrics.budget_waited(scope.as_str(), waited);
                    let permit = self.permit(machines, queued.teaches, now)?;
                    Ok(Look::Sent((ticket, permit, now)))
                }
                // A pause moves what was promised, and so do late answers, by less.
                Err(moment) if moment > latest + SLIP => {
                    Err(self.exhausted(TooLate { at: moment, scope: Scope::Endpoint }, now))
                }
                Err(moment) => Ok(Look::NotBefore(moment)),
            }
        })
    }

    /// The breaker's permit for an attempt that is sent now; none for one that teaches it nothing.
    fn permit(&self, machines: &mut Machines, teaches: bool, now: Instant) -> Result<Option<Permit>, Failure> {
        if !teaches {
            return Ok(None);
        }
        let (permit, change) = machines.breaker.start(now).map_err(|wait| Failure::Open { wait })?;
        self.tell(change);
        Ok(Some(permit))
    }

    fn exhausted(&self, late: TooLate, now: Instant) -> Failure {
        self.0.metrics.budget_refused(late.scope.as_str());
        Failure::Exhausted { wait: late.at.saturating_duration_since(now) }
    }

    /// Does `work` under the lock, then wakes whoever must look again.
    fn with<T>(&self, work: impl FnOnce(&mut Machines, Instant) -> T) -> T {
        let mut machines = self.lock();
        // Read under the lock, so that the machines see a clock that never goes back.
        let now = Instant::now();
        let before = (machines.budget.changes(), machines.breaker.state());
        let done = work(&mut machines, now);
        if (machines.budget.changes(), machines.breaker.state()) != before {
            self.0.moved.notify_waiters();
        }
        self.0.metrics.budget_waiting.set(i64::try_from(machines.budget.waiting()).unwrap_or(i64::MAX));
        done
    }

    fn lock(&self) -> MutexGuard<'_, Machines> {
        // The machines do not panic; a turn taken twice would be better than none ever again.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings the gauges of shares and pauses up to date, and logs a share that changed. Looks at every window, so it is
    /// not for those who only stand in line.
    fn measure(&self, machines: &mut Machines, now: Instant) {
        let metrics = &self.0.metrics;
        machines.unsettled = false;
        for (scope, told) in Scope::ALL.into_iter().zip(&mut machines.told) {
            let label = scope.as_str();
            let (share, paused) = (machines.budget.share(scope, now), machines.budget.paused(scope, now));
            metrics.budget_state(label, share, paused);
            machines.unsettled |= paused || !machines.budget.is_full();
            if share < *told {
                tracing::warn!(scope = label, share, "Monime limits us: asking at a smaller share of its limit");
            } else if share > *told {
                tracing::info!(scope = label, share, "asking at a larger share of Monime's limit again");
            }
            *told = share;
        }
    }

    fn tell(&self, change: Option<Change>) {
        let Some(Change { from, to }) = change else { return };
        self.0.metrics.breaker_state.set(to.number());
        match to {
            State::Open => tracing::error!(from = from.as_str(), "Monime fails: not asking it for a moment"),
            State::HalfOpen => tracing::info!("asking Monime once, to see whether it is back"),
            State::Closed => tracing::info!("Monime is back: asking it as usual"),
        }
    }
}

// === impl Machines ===

impl Machines {
    fn ask_the_breaker(&self, teaches: bool, now: Instant) -> Result<(), Failure> {
        let permitted = if teaches { self.breaker.check(now) } else { self.breaker.heed(now) };
        permitted.map_err(|wait| Failure::Open { wait })
    }
}

// === impl Queued ===

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.gate.with(|machines, now| machines.budget.leave(ticket, now));
        }
    }
}

/// A turn that nobody was in line for; a bug, and nothing is sent without a turn.
fn lost() -> Failure {
    Failure::Internal("a turn was lost".into())
}
