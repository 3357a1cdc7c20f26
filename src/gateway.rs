//! The HTTP face: a request of a caller in, an answer in Monime's shapes out, whatever happens.
//!
//! Owns the stack that a request passes, in one expression, and what requests and answers look like. Refuses to know
//! sockets, the wire to Monime, or what an answer means.

mod admit;
mod answering;
mod arrival;
mod body;
mod conditional;
mod contain;
mod directives;
mod errand;
mod fast_path;
mod measure;
mod recall;
mod rejected;
mod rescue;
mod route;
mod served;

#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response};
use http_body::Body as HttpBody;
use tokio::time::Instant;
use tower::{BoxError, Service, ServiceBuilder};

use crate::lookup::Lookups;
use crate::monime::{SpaceId, Version};
use crate::server::{FastPath, HeadLimits, PlainHead};
use crate::telemetry::Metrics;
use crate::upstream::{Failure, Fetch, Forwards, Reply};
use admit::Admit;
pub use admit::Places;
pub use arrival::Door;
pub use body::Body;
use contain::Contain;
use errand::Errands;
pub use errand::{BodyLimits, Writes};
use fast_path::Hits;
use measure::Measure;
use recall::{Ask, Recall};
pub use rejected::reject;
use rescue::Rescue;

/// Who may ask, what for, and how long they may wait.
#[derive(Debug, Clone)]
pub struct Terms {
    /// Who is let in.
    pub door: Door,
    /// The space of a request that names none, where callers have no names.
    pub default_space: Option<SpaceId>,
    /// Every space that may be named, where callers have no names.
    pub spaces: Vec<SpaceId>,
    /// The version of a request that names none.
    pub version: Version,
    /// Every version that may be named.
    pub versions: Vec<Version>,
    /// How large the head of a request may be.
    pub head: HeadLimits,
    /// What the body of a write may be.
    pub body: BodyLimits,
    /// Whether a caller's `no-cache` is honoured.
    pub callers_may_refresh: bool,
    /// How long a caller waits that does not say how long, and the most that it can say.
    pub patience: Duration,
    /// How many requests may wait on Monime at once.
    pub places: Places,
    /// The writes that are under way, also after their callers have left.
    pub writes: Writes,
}

/// What requests are answered by: hits at once where that can be, everything by a stack.
#[derive(Debug, Clone)]
struct Gateway<S> {
    hits: Arc<Hits>,
    stack: S,
}

// === impl Gateway ===

impl<S> FastPath for Gateway<S> {
    fn answer(&self, head: PlainHead<'_>, came_at: Instant, out: &mut Vec<u8>) -> Option<Bytes> {
        self.hits.answer(head, came_at, out)
    }

    fn respond(&self, head: &Parts, came_at: Instant) -> Option<Response<Bytes>> {
        self.hits.respond(head, came_at)
    }
}

impl<S: Service<R>, R> Service<R> for Gateway<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.stack.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> S::Future {
        self.stack.call(request)
    }
}

/// Everything between a caller's request and a lookup, or what is passed on by `forwards`, outermost first. Always ready;
/// never fails.
pub fn gateway<F, B>(
    lookups: Lookups<F>,
    forwards: Forwards,
    terms: Terms,
    metrics: Arc<Metrics>,
) -> impl Service<Request<B>, Response = Response<Body>, Error = Infallible, Future: Send>
+ FastPath
+ Clone
+ Send
+ Sync
+ 'static
where
    F: Service<Fetch, Response = Reply, Error = Failure> + Clone + Send + Sync + 'static,
    F::Future: Send,
    B: HttpBody<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    let terms = Arc::new(terms);
    let errands = Errands::new(forwards, lookups.memory().clone(), &terms, Arc::clone(&metrics));
    let hits = Arc::new(Hits::new(lookups.memory().clone(), Arc::clone(&terms), Arc::clone(&metrics)));
    let stack = ServiceBuilder::new()
        // Outermost: every request is counted once, also one that is refused, that fails, or whose caller leaves.
        .layer_fn(|inner| Measure::new(inner, Arc::clone(&terms), Arc::clone(&metrics)))
        // Above all that can refuse or fail: from here on there is always an answer.
        .layer_fn(Rescue::new)
        // A panic is a failure of its request, told and counted as such, and of no other on its connection.
        .layer_fn(Contain::new)
        // Reads the request. A hit ends here, in this very call: no queue, no lock, no allocation for a future.
        .layer_fn(|inner| Recall::new(inner, lookups.clone(), errands.clone(), Arc::clone(&terms)))
        // Below the hits, so that a crowd that waits on Monime never costs a caller an answer that is already here.
        .layer_fn(|inner| Admit::new(inner, terms.places.clone()))
        .service(Ask::new(lookups.clone()));
    Gateway { hits, stack }
}
