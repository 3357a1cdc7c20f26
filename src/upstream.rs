//! Asking Monime: a typed key in, one complete reply or one failure out; or a request that is passed on, and its answer.
//!
//! Owns everything that touches the wire: the pooled client, the credential, the deadlines, the bound on bodies.
//! Refuses to know what an answer means: that is `monime::verdict`'s, and what to do about it is `lookup`'s.

mod admission;
mod asking;
mod client;
mod credentials;
mod deadline;
mod failure;
mod forward;
mod framing;
mod interest;
mod line;
mod observe;
mod origin;
pub mod plain;
mod proxy;
mod read;
mod retry;
mod retry_after;
mod roots;
mod stage;
mod tunnel;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, Version};
use http_body::Body;
use http_body_util::Full;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, Service, ServiceBuilder};

pub use admission::{Gate, Quota};
pub use asking::Waiting;
pub use client::{CameBy, Client, Leased, NoClient, Wire};
pub use failure::{Bound, Failure, Unreachable, Unreadable};
pub use forward::{Forward, Forwarded, Forwards};
pub use interest::Interest;
pub use line::Line;
pub use origin::{InvalidOrigin, Origin, Timeouts};
pub use proxy::{InvalidProxy, Proxy, is_exempt};
pub use retry::RetryBudget;
pub use retry_after::retry_after;
pub use roots::{InvalidRoots, roots};
pub use stage::Stage;

use crate::monime::Key;
use crate::secret::Keyring;
use crate::telemetry::Metrics;
use admission::Admission;
use credentials::Credentials;
use deadline::Deadline;
use forward::Pass;
use observe::Observe;
use read::Read;
use retry::Retry;

/// A lookup that has to go to Monime.
#[derive(Debug, Clone)]
pub struct Fetch {
    /// What is asked for.
    pub key: Key,
    /// Its wait for its turn.
    pub waiting: Waiting,
    /// Whether the session was read so lately that others, which were not, may have most of the line.
    early: bool,
}

/// A complete answer of Monime's, decoded, with the headers that may be passed on and no others.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The protocol it came by, for `Via`.
    pub protocol: Version,
    /// `Content-Type`, `Retry-After` and Monime's diagnostic headers; copies, which pin no read buffer.
    pub headers: HeaderMap,
    /// The body, byte for byte; empty for statuses whose body nobody may see.
    pub body: Bytes,
    /// For whoever finds that it answers something else.
    pub came_by: CameBy,
}

// === impl Fetch ===

impl Fetch {
    /// A lookup of `key` that begins now, for nobody in particular.
    #[must_use]
    pub fn new(key: Key) -> Self {
        Self::on_behalf_of(key, Interest::default())
    }

    /// A lookup of `key` that begins now, in the lines of those who wait for it.
    #[must_use]
    pub fn on_behalf_of(key: Key, interest: Interest) -> Self {
        Self { key, waiting: Waiting::on_behalf_of(interest), early: false }
    }

    /// The same; if it is `early`, for a session that was read less than a round of all polled ones ago, only the head of
    /// the line is open to it.
    #[must_use]
    pub fn early(self, early: bool) -> Self {
        Self { early, ..self }
    }
}

/// Whoever can answer a [`Fetch`]: always ready, cancel-safe (dropping the future aborts the request).
pub type Upstream = BoxCloneSyncService<Fetch, Reply, Failure>;

/// What every stack to Monime shares, also the ones before and after a change of settings: what was sent counts, whoever
/// sent it.
#[derive(Debug, Clone)]
pub struct Shared {
    /// Who may ask, and when.
    pub gate: Gate,
    /// How often more than once.
    pub retries: RetryBudget,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

/// How Monime is asked.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where it is.
    pub origin: Origin,
    /// How long everything may take.
    pub timeouts: Timeouts,
    /// How often it may be asked.
    pub quota: Quota,
}

/// Everything between a lookup and the `wire`, outermost first.
#[must_use]
pub fn upstream<W, B>(wire: W, keyring: &Arc<Keyring>, settings: &Settings, shared: &Shared) -> Upstream
where
    W: Service<Request<Full<Bytes>>, Response = Response<B>, Error = Failure> + Clone + Send + Sync + 'static,
    W::Future: Send,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + Unpin + 'static,
{
    let Settings { origin, timeouts, quota } = settings;
    let Shared { gate, retries, metrics } = shared;
    let stack = ServiceBuilder::new()
        // Whatever happens below, whoever waits knows when it ends.
        .layer_fn(|inner| Deadline::total(inner, timeouts.total))
        // Within the total deadline, and above everything that an attempt must pass each time.
        .layer_fn(|inner| Retry::new(inner, Arc::clone(keyring), retries.clone(), Arc::clone(metrics)))
        // Waiting for a turn is no part of an attempt: it is neither timed nor counted as one.
        .layer_fn(|inner| Admission::new(inner, gate.clone(), Arc::clone(keyring), *quota, settings.patience()))
        // Below the total deadline, so that each request to Monime is counted, also one that ran out of time.
        .layer_fn(|inner| Observe::new(inner, Arc::clone(metrics)))
        // Bounds the body too: a reply counts when its last byte is there.
        .layer_fn(|inner| Deadline::attempt(inner, timeouts.attempt))
        // Above the credential, which it must be able to recognise in what comes back.
        .layer_fn(|inner| Read::new(inner, origin.clone()))
        // Last before the wire: nothing above ever holds a request with the token in it, and the token is the one of
        // the moment, however long there was to wait above.
        .layer_fn(|inner| Credentials::new(inner, Arc::clone(keyring)))
        .service(wire);
    BoxCloneSyncService::new(stack)
}

/// Everything between a request that is passed on and the `wire`, outermost first: what a lookup passes, but for what
/// makes it a lookup. It is never sent twice, and read by who gets its answer.
#[must_use]
pub fn forwards<W, B>(wire: W, keyring: &Arc<Keyring>, settings: &Settings, shared: &Shared) -> Forwards
where
    W: Service<Request<Full<Bytes>>, Response = Response<B>, Error = Failure> + Clone + Send + Sync + 'static,
    W::Future: Send,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + Unpin + 'static,
{
    let Settings { origin, timeouts, quota } = settings;
    let Shared { gate, metrics, .. } = shared;
    let stack = ServiceBuilder::new()
        .layer_fn(|inner| Admission::new(inner, gate.clone(), Arc::clone(keyring), *quota, settings.patience()))
        .layer_fn(|inner| Observe::new(inner, Arc::clone(metrics)))
        // Above the credential, which it must be able to recognise in what comes back.
        .layer_fn(|inner| Pass::new(inner, origin.clone(), *timeouts))
        .layer_fn(|inner| Credentials::new(inner, Arc::clone(keyring)))
        .service(wire);
    BoxCloneSyncService::new(stack)
}

// === impl Settings ===

impl Settings {
    /// How long after it began a request's turn may come: one that comes later leaves no time for an answer.
    fn patience(&self) -> Duration {
        self.timeouts.total.saturating_sub(self.timeouts.attempt)
    }
}
