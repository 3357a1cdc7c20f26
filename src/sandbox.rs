//! A stand-in Monime: its checkout sessions, its limits and its faults, on a clock of its own.
//!
//! Owns playing Monime for people, whose test mode refuses checkout sessions, and for our own demo, tests and benches.
//! Refuses to pass for Monime: every answer carries `Monime-Sandbox`. Knows `monime` and `server`, nothing else of
//! ours.
//!
//! **As Monime does**, it wants `Authorization: Bearer`, `Monime-Space-Id`, a known `Monime-Version` or none, and on
//! a create `Idempotency-Key`; it answers `POST` and `GET /v1/checkout-sessions` (`limit`, `after`, `status`) and
//! `GET` and `DELETE /v1/checkout-sessions/{id}`; it refuses what comes faster than [`Limits`] in any sliding second.
//! A session settles after `settle_after` with `outcome`, unless its metadata says otherwise with
//! `"sandbox.settle_after": "3s"` and `"sandbox.outcome": "cancelled"`; it expires after an hour (`lifetime`); or it is settled:
//!
//! | control route | body | does |
//! | --- | --- | --- |
//! | `GET /_sandbox` | | lists these routes and every fault, with examples to copy |
//! | `POST /_sandbox/sessions` | `{"space": "spc-1", "settle_after": "5s"}`, any part of it, or nothing | makes a pending session, in `spc-demo` unless told, and answers its `id` and where to `lookup` it |
//! | `POST /_sandbox/sessions/{id}/settle` | `{"outcome": "completed"}` | settles it, in every space that has this id |
//! | `POST /_sandbox/sessions/{id}/start` | | lets the payer begin: it cannot be deleted while pending |
//! | `PUT /_sandbox/sessions/{id}` | `{"space": "spc-1", "status": "processing"}` | makes or replaces it, any status; `pending` settles like a created one |
//! | `DELETE /_sandbox/sessions` | | forgets every session and idempotency key |
//! | `POST /_sandbox/faults` | `{"fault": {"status": 503}, "times": 2}` | spoils the next answers: see [`Fault`] |
//! | `GET`, `DELETE /_sandbox/faults` | | shows or forgets the faults that wait |
//! | `PUT /_sandbox/schedule` | `{"faults": "rough", "seed": 42}` | lets faults come by a [`Schedule`], from its first turn; without `seed` it takes one and answers it |
//! | `GET /_sandbox/schedule` | | shows it, and how many turns were taken |
//! | `PUT /_sandbox/tokens` | `{"accept": ["mon_one", "mon_two"]}` | accepts these tokens and no others |
//! | `GET`, `DELETE /_sandbox/seen` | | shows or forgets what arrived: see [`Seen`] |
//! | `GET /_sandbox/asked` | | shows the last 100,000 requests one by one: see [`Asked`] |
//! | `POST /_sandbox/clock` | `{"advance": "1h"}` | skips time for sessions and idempotency keys, not for limits |
//!
//! In a program of one's own, [`Sandbox::new`], [`Sandbox::open`] at a [`Place`] and [`Open::run`] are all it takes.
//!
//! A fault is for lookups unless `"operation": "CreateCheckoutSession"` says otherwise, and for any session unless
//! `"id"` does. It waits for a request that would otherwise have been answered: one refused for its token, its
//! headers or its rate uses none up. A lookup that none waits for takes the next turn of the [`Schedule`]; so does an
//! outage come and go, with `"faults": "down"` and `"calm"`.

mod answer;
mod api;
mod asked;
mod body;
mod clock;
mod control;
mod draft;
mod fault;
mod guide;
mod ledger;
mod limiter;
mod mint;
mod place;
mod replays;
mod schedule;
mod seen;
mod session;
mod settings;
pub mod tls;
mod tokens;

use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{Request, Response};
use tokio::time::Instant;
use tower::{Service, service_fn};

pub use api::Operation;
pub use asked::Asked;
pub use body::{Body, Broken};
pub use fault::Fault;
pub use limiter::{Limits, Scope};
pub use place::{CannotListen, Open, Place};
pub use schedule::{Profile, Schedule};
pub use seen::{Heard, Second, Seen, Traffic};
pub use session::{OUTCOMES, outcome};
pub use settings::{DEFAULT_TOKEN, Settings};

use crate::monime::{Final, SessionId, SpaceId};
use clock::Clock;
use draft::Draft;
use fault::{Faults, Planned};
use ledger::Ledger;
use limiter::Limiter;
use mint::Mint;
use replays::Replays;
use seen::Tally;
use session::{PENDING, Session};
use tokens::Tokens;

/// Where the control routes begin: Monime has no path like it.
const PREFIX: &str = "/_sandbox";

/// A handle on one sandbox: clones steer the same one.
#[derive(Clone)]
pub struct Sandbox {
    shared: Arc<Shared>,
}

struct Shared {
    settings: Settings,
    /// What everyone is shown who asks for an id that nobody created.
    invented: Option<Session>,
    plain: Arc<Draft>,
    /// Held for a few microseconds and never across an await.
    state: Mutex<State>,
}

struct State {
    clock: Clock,
    mint: Mint,
    ledger: Ledger,
    replays: Replays,
    tokens: Tokens,
    limiter: Limiter,
    faults: Faults,
    tally: Tally,
}

// === impl Sandbox ===

impl Sandbox {
    /// A sandbox without sessions. Needs tokio's clock, and no runtime.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let (clock, plain) = (Clock::start(), Arc::new(Draft::plain()));
        let settled =
            |status: Final| Session::closed(Arc::clone(&plain), clock.now(), settings.lifetime, status.as_str());
        let invented = settings.invent.map(settled);
        let mut tokens = Tokens::default();
        tokens.accept(vec![settings.token.clone()]);
        let state = State {
            clock,
            mint: Mint::default(),
            ledger: Ledger::default(),
            replays: Replays::default(),
            tokens,
            limiter: Limiter::new(settings.limits),
            faults: Faults::new(settings.schedule),
            tally: Tally::new(Instant::now()),
        };
        Self { shared: Arc::new(Shared { settings, invented, plain, state: Mutex::new(state) }) }
    }

    /// What [`crate::server::serve`] serves: Monime's routes and the control routes. Always ready.
    #[must_use]
    pub fn service<B>(
        &self,
    ) -> impl Service<Request<B>, Response = Response<Body>, Error = Infallible, Future: Send + 'static>
    + Clone
    + Send
    + Sync
    + 'static
    + use<B>
    where
        B: http_body::Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
    {
        let sandbox = self.clone();
        service_fn(move |request: Request<B>| sandbox.clone().answer(request))
    }

    /// Makes a session with nothing special about it. It settles as the settings say.
    #[must_use]
    pub fn create(&self, space: &SpaceId) -> SessionId {
        self.create_settling(space, self.settles(None, None))
    }

    /// Makes a session that settles after this long like this, or waits for [`Sandbox::settle`].
    #[must_use]
    pub fn create_settling(&self, space: &SpaceId, settles: Option<(Duration, Final)>) -> SessionId {
        let mut state = self.state();
        let now = state.clock.now();
        let unix = state.clock.unix(now);
        let id = state.mint.session(unix);
        let session = Session::open(Arc::clone(&self.shared.plain), now, self.shared.settings.lifetime, settles);
        state.ledger.put(space, id.clone(), session);
        id
    }

    /// Makes or replaces a session that shows `status`, which may be any text; `pending` makes one that is open, and
    /// settles as the settings say.
    pub fn put(&self, space: &SpaceId, id: &SessionId, status: &str) {
        let mut state = self.state();
        let (plain, lifetime) = (Arc::clone(&self.shared.plain), self.shared.settings.lifetime);
        let session = match status {
            PENDING => Session::open(plain, state.clock.now(), lifetime, self.settles(None, None)),
            _ => Session::closed(plain, state.clock.now(), lifetime, status),
        };
        state.ledger.put(space, id.clone(), session);
    }

    /// What a lookup would show now, if there is such a session.
    #[must_use]
    pub fn status(&self, space: &SpaceId, id: &SessionId) -> Option<String> {
        let state = self.state();
        state.ledger.get(space, id).map(|session| session.status(state.clock.now()).to_owned())
    }

    /// Settles a session now, in every space that has this id, even one that settled otherwise before. False if none
    /// has it.
    pub fn settle(&self, id: &SessionId, outcome: Final) -> bool {
        self.state().ledger.settle(id, outcome) > 0
    }

    /// Lets the payer begin, so that a pending session cannot be deleted any more. False if no space has this id.
    pub fn start(&self, id: &SessionId) -> bool {
        self.state().ledger.start(id) > 0
    }

    /// Forgets every session and every idempotency key.
    pub fn clear(&self) {
        let mut state = self.state();
        state.ledger = Ledger::default();
        state.replays = Replays::default();
    }

    /// Plays `fault` on the next so many lookups, whatever their id.
    pub fn play(&self, fault: Fault, times: u32) {
        self.play_on(Operation::Get, fault, times);
    }

    /// Plays `fault` on the next so many lookups of this id.
    pub fn play_for(&self, id: &SessionId, fault: Fault, times: u32) {
        self.plan(Planned { fault, times, operation: Operation::Get, id: Some(id.clone()) });
    }

    /// Plays `fault` on the next so many requests of this kind. A write is carried out all the same.
    pub fn play_on(&self, operation: Operation, fault: Fault, times: u32) {
        self.plan(Planned { fault, times, operation, id: None });
    }

    /// Forgets the faults that were not played yet.
    pub fn clear_faults(&self) {
        self.state().faults.clear();
    }

    /// Goes by this schedule from its first turn on: the next lookup that no fault was planned for takes it.
    pub fn follow(&self, schedule: Schedule) {
        self.state().faults.follow(schedule);
    }

    /// The schedule it goes by.
    #[must_use]
    pub fn schedule(&self) -> Schedule {
        self.state().faults.schedule().0
    }

    /// Accepts these bearer tokens and no others from now on. What is under way is answered as it was going to be. Each
    /// has limits of its own, which it finds again when it comes back.
    pub fn accept_tokens<T: Into<String>>(&self, tokens: impl IntoIterator<Item = T>) {
        // Before the lock: an iterator of somebody else's may call back.
        let tokens = tokens.into_iter().map(Into::into).collect();
        self.state().tokens.accept(tokens);
    }

    /// What arrived so far.
    #[must_use]
    pub fn seen(&self) -> Seen {
        let state = self.state();
        state.tally.seen(&state.tokens)
    }

    /// The last 100,000 requests, in the order in which they came.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        let mut asked = self.state().tally.asked();
        // Two that came together may have passed the lock the other way round.
        asked.sort_by_key(|asked| asked.at);
        asked
    }

    /// Begins counting anew.
    pub fn forget_seen(&self) {
        self.state().tally.forget(Instant::now());
    }

    /// Skips time for sessions and idempotency keys; limits and counts stay with the real clock. False if it is too
    /// far for the clock to count.
    pub fn advance(&self, span: Duration) -> bool {
        self.state().clock.advance(span)
    }

    async fn answer<B>(self, request: Request<B>) -> Result<Response<Body>, Infallible>
    where
        B: http_body::Body<Error: Into<Box<dyn Error + Send + Sync>>>,
    {
        let rest = request.uri().path().strip_prefix(PREFIX);
        if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
            Ok(control::answer(&self, request).await)
        } else {
            Ok(api::answer(&self, request).await)
        }
    }

    /// When a session settles and how: as its maker says, else as the settings do.
    fn settles(&self, after: Option<Duration>, outcome: Option<Final>) -> Option<(Duration, Final)> {
        let settings = &self.shared.settings;
        let outcome = outcome.unwrap_or(settings.outcome);
        after.or(settings.settle_after).map(|after| (after, outcome))
    }

    fn plan(&self, planned: Planned) {
        if self.state().faults.plan(planned).is_err() {
            tracing::warn!("too many faults wait already; this one is not played");
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing is left half-done that a reader could not live with; a test should see the first panic only.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sandbox").field("settings", &self.shared.settings).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
