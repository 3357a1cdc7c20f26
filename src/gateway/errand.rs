//! What a caller has passed on to Monime: reads as a stream, writes to their end.
//!
//! Owns what of a caller's request travels with it, and when an answer is Monime's own. Refuses to read more of a body than
//! its bound, and to pass on what is not Monime's. What it is allowed at all, `route` has decided.

mod carried;
mod write;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, VIA};
use http::response::Parts;
use http::uri::PathAndQuery;
use http::{Response, Uri};
use http_body::Body as HttpBody;
use tokio::time::{Instant, timeout};
use tower::{BoxError, ServiceExt};

use super::admit::Places;
use super::arrival::RequestId;
use super::body::Body;
use super::rescue::{Error, Kind};
use super::served::Served;
use crate::caller::Caller;
use crate::lookup::{self, CACHE_STATUS, Diagnostics, Memory, via};
use crate::monime::operation::Operation;
use crate::monime::{Flaw, SpaceId, Version};
use crate::telemetry::{Metrics, Outcome};
use crate::upstream::{Failure, Forward, Forwards, Interest, Line, Stage};
pub(super) use carried::{Carried, carried};
pub use write::Writes;

/// An operation that may be passed on.
#[derive(Debug)]
pub(super) struct Errand<'a> {
    pub(super) operation: &'static Operation,
    pub(super) caller: &'a Arc<Caller>,
    pub(super) space: &'a SpaceId,
    pub(super) version: &'a Version,
    pub(super) carried: Carried,
    /// How long the caller waits, if it says so.
    pub(super) patience: Option<Duration>,
}

/// Who runs errands. Clones are the same.
#[derive(Debug, Clone)]
pub(super) struct Errands {
    forwards: Forwards,
    memory: Memory,
    places: Places,
    writes: Writes,
    /// How long a caller of a read waits that does not say how long, and the longest that a read may take in all.
    patience: Duration,
    metrics: Arc<Metrics>,
}

/// An errand that has left its caller's request behind.
#[derive(Debug)]
pub(super) struct Order {
    forward: Forward,
    line: Line,
    caller: Arc<Caller>,
    patience: Option<Duration>,
    id: RequestId,
}

// === impl Errand ===

impl Errand<'_> {
    /// What of it outlives the request, whose target this is.
    pub(super) fn order(self, target: &Uri, id: RequestId) -> Order {
        let Self { operation, caller, space, version, carried, patience } = self;
        let (target, line) = (target.path_and_query().cloned(), Line::of(caller.name()));
        let forward = Forward {
            operation,
            target: target.unwrap_or(PathAndQuery::from_static("/")),
            space: space.clone(),
            version: version.clone(),
            content_type: carried.content_type,
            idempotency_key: carried.idempotency_key,
            body: Bytes::new(),
            interest: Interest::of(line.clone()),
            stage: Stage::default(),
            began: Instant::now(),
        };
        Order { forward, line, caller: Arc::clone(caller), patience, id }
    }
}

// === impl Errands ===

impl Errands {
    pub(super) fn new(
        forwards: Forwards,
        memory: Memory,
        places: Places,
        (writes, patience): (Writes, Duration),
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { forwards, memory, places, writes, patience, metrics }
    }

    /// Runs an errand. A read is given up with the returned future; of a write, see [`Writes`].
    pub(super) async fn run<B>(self, order: Order, body: B) -> Result<Served, Error>
    where
        B: HttpBody<Data: Send, Error: Into<BoxError>> + Send,
    {
        let (operation, space) = (order.forward.operation, order.forward.space.clone());
        let served = match operation.writes() {
            true => self.write(order, body).await,
            false => self.read(order).await,
        };
        served.map_err(|kind| Error { kind, operation: operation.id, space: Some(space) })
    }

    async fn read(self, order: Order) -> Result<Served, Kind> {
        let Order { forward, line, patience, .. } = order;
        let (operation, deadline) = (forward.operation, forward.began + self.patience);
        let place = self.places.take(&line).ok_or(Kind::Overloaded)?;
        let answered = timeout(patience.unwrap_or(self.patience), self.forwards.oneshot(forward)).await;
        let (head, body) = answered.map_err(|_| Kind::OutOfPatience)?.map_err(failed)?.into_parts();
        match flaw(&head, is_json(&head)) {
            None => Ok(passed(operation, head, Body::passing(body, place, deadline))),
            Some(flaw) => Err(Kind::Lookup(unusable(flaw, head))),
        }
    }
}

/// Why an answer is not Monime's own, or not for callers, if so. `credible` says whether its body may be Monime's.
fn flaw(head: &Parts, credible: bool) -> Option<Flaw> {
    let status = head.status;
    match status.as_u16() {
        401 => Some(Flaw::Credentials),
        // An answer without content has nothing to be judged by.
        204 => None,
        200..=299 | 400..=599 if credible => None,
        200..=299 => Some(Flaw::Unreadable),
        429 => Some(Flaw::Throttled),
        400..=499 => Some(Flaw::Unreadable),
        503 => Some(Flaw::Unavailable),
        504 => Some(Flaw::TimedOut),
        500..=599 => Some(Flaw::Failed),
        _ => Some(Flaw::Unexpected),
    }
}

/// Whether it says that it is JSON: what an edge says in Monime's place is not.
fn is_json(head: &Parts) -> bool {
    let content_type = head.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let media_type = content_type.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    media_type.eq_ignore_ascii_case(b"application/json")
}

fn failed(failure: Failure) -> Kind {
    Kind::Lookup(Arc::new(lookup::Error::Failed(failure)))
}

fn unusable(flaw: Flaw, head: Parts) -> Arc<lookup::Error> {
    Arc::new(lookup::Error::Unusable(flaw, Diagnostics::of(head.headers)))
}

/// Monime's answer, with what the gateway says of itself.
fn passed(operation: &'static Operation, head: Parts, body: Body) -> Served {
    let mut response = Response::new(body);
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(CACHE_STATUS, HeaderValue::from_static("monigate; fwd=bypass"));
    headers.insert(VIA, HeaderValue::from_static(via(head.version)));
    Served { response, outcome: Outcome::Bypass, operation: operation.id, failure: None }
}
