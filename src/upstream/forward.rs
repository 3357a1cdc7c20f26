//! A layer that passes a request on to Monime and its answer back, uncached and unjudged.
//!
//! The request is built from typed parts, so that of a caller's request only what an operation has can be in it. Status,
//! body and Monime's own headers come back as they are, the body as a stream within a bound and a deadline. Refuses to pass
//! on the gateway's own credential, and what it could not search for it: a body in a coding that was not asked for.

mod passing;

use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT,
};
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Request, Response};
use http_body::Body;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use tokio::time::{Instant, timeout_at};
use tower::util::BoxCloneSyncService;
use tower::{BoxError, Service};

use super::asking::Waiting;
use super::credentials::SentWith;
use super::failure::{Bound, Failure, Unreadable};
use super::framing::hop_by_hop;
use super::origin::{Origin, Timeouts};
use super::read::NAME;
use crate::monime::operation::{IDEMPOTENCY_KEY_HEADER, Operation};
use crate::monime::{SPACE_HEADER, SpaceId, VERSION_HEADER, Version};
use passing::Passing;

/// The longest body of an answer that is passed on. A page of the longest list is far below it.
const MAX_BODY: u64 = 8 * 1024 * 1024;
/// How Monime's own headers begin.
const MONIMES: &str = "monime-";

/// A request that is passed on.
#[derive(Debug, Clone)]
pub struct Forward {
    /// Which operation it is.
    pub operation: &'static Operation,
    /// Its path, and its query where the operation has one.
    pub target: PathAndQuery,
    /// The space it is for.
    pub space: SpaceId,
    /// The release whose shapes are wanted.
    pub version: Version,
    /// `Content-Type` of its body.
    pub content_type: Option<HeaderValue>,
    /// Under which key it may be sent again.
    pub idempotency_key: Option<HeaderValue>,
    /// Its body, whole.
    pub body: Bytes,
    /// Its wait for its turn.
    pub waiting: Waiting,
}

/// What came back: Monime's status, its own headers with `Content-Type` and `Retry-After`, and its body.
pub type Forwarded = Response<UnsyncBoxBody<Bytes, Failure>>;

/// Whoever can answer a [`Forward`]: always ready. Dropping the future, or the body, aborts the request.
pub type Forwards = BoxCloneSyncService<Forward, Forwarded, Failure>;

/// Passes on.
#[derive(Debug, Clone)]
pub(super) struct Pass<S> {
    inner: S,
    origin: Origin,
    timeouts: Timeouts,
}

impl<S> Pass<S> {
    pub(super) fn new(inner: S, origin: Origin, timeouts: Timeouts) -> Self {
        Self { inner, origin, timeouts }
    }

    /// Until when a request that is sent now must be answered to the last byte.
    fn deadline(&self, operation: &Operation) -> (Instant, Bound) {
        let (limit, bound) = match operation.writes() {
            true => (self.timeouts.write, Bound::Write),
            false => (self.timeouts.attempt, Bound::Attempt),
        };
        (Instant::now() + limit, bound)
    }
}

impl<S, B> Service<Forward> for Pass<S>
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>, Error = Failure>,
    S::Future: Send + 'static,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + Unpin + 'static,
{
    type Response = Forwarded;
    type Error = Failure;
    type Future = BoxFuture<'static, Result<Forwarded, Failure>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, forward: Forward) -> Self::Future {
        let (deadline, bound) = self.deadline(forward.operation);
        let response = request(&self.origin, forward).map(|request| self.inner.call(request));
        Box::pin(async move {
            let response = timeout_at(deadline, response?).await.map_err(|_| Failure::TimedOut(bound))??;
            forwarded(response, deadline, bound)
        })
    }
}

fn request(origin: &Origin, forward: Forward) -> Result<Request<Full<Bytes>>, Failure> {
    let Forward { operation, target, space, version, content_type, idempotency_key, body, .. } = forward;
    // All of them are made of what a request holds; an error here would be a bug of ours.
    let unusable = |error: http::Error| Failure::Internal(Box::new(error));
    let uri = origin.url(target).map_err(unusable)?;
    let method = Method::from_bytes(operation.method.as_bytes()).map_err(|error| unusable(error.into()))?;
    let mut request = Request::builder()
        .method(method)
        .uri(uri)
        .header(SPACE_HEADER, space.as_str())
        .header(VERSION_HEADER, version.as_str())
        .header(ACCEPT, "application/json")
        // What comes back is searched for the token, so it is asked for uncoded.
        .header(ACCEPT_ENCODING, "identity")
        .header(USER_AGENT, NAME)
        // For the layer that knows whose token is which.
        .extension(space);
    if let Some(content_type) = content_type {
        request = request.header(CONTENT_TYPE, content_type);
    }
    if let Some(key) = idempotency_key {
        request = request.header(IDEMPOTENCY_KEY_HEADER, key);
    }
    request.body(Full::new(body)).map_err(unusable)
}

fn forwarded<B>(mut response: Response<B>, deadline: Instant, bound: Bound) -> Result<Forwarded, Failure>
where
    B: Body<Data: Send, Error: Into<BoxError>> + Send + Unpin + 'static,
{
    let Some(SentWith(token)) = response.extensions_mut().remove() else {
        return Err(Failure::Internal("an answer to a request without a token".into()));
    };
    let (mut head, body) = response.into_parts();
    let coded = |coding: &HeaderValue| !coding.as_bytes().eq_ignore_ascii_case(b"identity");
    if head.headers.get_all(CONTENT_ENCODING).iter().any(coded) {
        return Err(Unreadable::Coding.into());
    }
    if body.size_hint().lower() > MAX_BODY {
        return Err(Unreadable::TooLarge.into());
    }
    head.headers = kept(&head.headers);
    if head.headers.values().any(|value| token.is_reflected_in(value.as_bytes())) {
        return Err(Unreadable::Reflects.into());
    }
    Ok(Response::from_parts(head, Passing::new(body, token, MAX_BODY, (deadline, bound)).boxed_unsync()))
}

/// What of Monime's headers is passed on: those that speak of the body or of waiting, and its own.
fn kept(headers: &HeaderMap) -> HeaderMap {
    let passes =
        |name: &HeaderName| *name == CONTENT_TYPE || *name == RETRY_AFTER || name.as_str().starts_with(MONIMES);
    let connections = hop_by_hop(headers);
    let kept = headers.iter().filter(|(name, _)| passes(name) && !connections.contains(name));
    kept.map(|(name, value)| (name.clone(), value.clone())).collect()
}

#[cfg(test)]
mod tests;
