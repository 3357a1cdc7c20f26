//! What a caller has passed on to Monime: reads as a stream, writes to their end.
//!
//! Owns what of a caller's request travels with it, and when an answer is Monime's own. Refuses to read more of a body than
//! its bound, and to pass on what is not Monime's. What it is allowed at all, `route` has decided.

mod answer;
mod carried;
mod write;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, HeaderValue, VIA};
use http::response::Parts;
use http::uri::PathAndQuery;
use http::{Response, Uri};
use http_body::Body as HttpBody;
use tokio::time::timeout;
use tower::{BoxError, ServiceExt};

use super::Terms;
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
use crate::upstream::{Failure, Forward, Forwards, Interest, Line, Waiting};
use answer::Whole;
pub use carried::BodyLimits;
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
    /// Whether the caller can tell the end of a body without a length from one that broke off: HTTP/1.0 cannot.
    pub(super) sees_ends: bool,
}

/// Who runs errands. Clones are the same.
#[derive(Debug, Clone)]
pub(super) struct Errands {
    forwards: Forwards,
    memory: Memory,
    places: Places,
    writes: Writes,
    body: BodyLimits,
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
    sees_ends: bool,
    id: RequestId,
}

// === impl Errand ===

impl Errand<'_> {
    /// What of it outlives the request, whose target this is.
    pub(super) fn order(self, target: &Uri, id: RequestId) -> Order {
        let Self { operation, caller, space, version, carried, patience, sees_ends } = self;
        let (target, line) = (target.path_and_query().cloned(), Line::of(caller.name()));
        let forward = Forward {
            operation,
            target: target.unwrap_or(PathAndQuery::from_static("/")),
            space: space.clone(),
            version: version.clone(),
            content_type: carried.content_type,
            idempotency_key: carried.idempotency_key,
            body: Bytes::new(),
            waiting: Waiting::on_behalf_of(Interest::of(line.clone())),
        };
        Order { forward, line, caller: Arc::clone(caller), patience, sees_ends, id }
    }
}

// === impl Errands ===

impl Errands {
    pub(super) fn new(forwards: Forwards, memory: Memory, terms: &Terms, metrics: Arc<Metrics>) -> Self {
        let (places, writes) = (terms.places.clone(), terms.writes.clone());
        Self { forwards, memory, places, writes, body: terms.body, patience: terms.patience, metrics }
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
        let Order { forward, line, patience, sees_ends, .. } = order;
        let (operation, deadline) = (forward.operation, forward.waiting.began + self.patience);
        let place = self.places.take(&line).ok_or(Kind::Overloaded)?;
        let answered = timeout(patience.unwrap_or(self.patience), self.forwards.oneshot(forward)).await;
        let answer = answered.map_err(|_| Kind::OutOfPatience)?.map_err(failed)?;
        let shows_its_end = sees_ends || answer.body().size_hint().exact().is_some();
        if !answer.status().is_success() || !shows_its_end {
            // An error is short, and only its last byte shows whether it is Monime's own word.
            return own(operation, answer::whole(answer).await.map_err(failed)?).map_err(Kind::Unanswered);
        }
        let (head, body) = answer.into_parts();
        match answer::flaw_of_head(&head) {
            None => Ok(passed(operation, head, Body::passing(body, place, deadline))),
            Some(flaw) => Err(Kind::Unanswered(unusable(flaw, head))),
        }
    }
}

fn failed(failure: Failure) -> Kind {
    Kind::Unanswered(Arc::new(lookup::Error::Failed(failure)))
}

fn unusable(flaw: Flaw, head: Parts) -> Arc<lookup::Error> {
    Arc::new(lookup::Error::Unusable(flaw, Diagnostics::of(head.headers)))
}

/// A whole answer, if it is Monime's own.
fn own(operation: &'static Operation, (head, body): Whole) -> Result<Served, Arc<lookup::Error>> {
    match answer::flaw(&head, &body) {
        None => Ok(passed(operation, head, Body::whole(body))),
        Some(flaw) => Err(unusable(flaw, head)),
    }
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
