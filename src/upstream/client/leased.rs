//! An answer's body, and the connection to Monime that it comes by.
//!
//! Gives the connection back at the body's end, and to nobody before. Refuses to judge an answer: whoever does may say that
//! it was somebody else's.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tower::BoxError;

use super::pool::{Exclusive, Pool};
use crate::upstream::framing::Complete;

/// The body of an answer, with the connection that it comes by: at its end that is idle again, and closed if it is dropped
/// before.
#[derive(Debug)]
pub struct Leased {
    body: Complete<Incoming>,
    // None over HTTP/2, and at the end.
    lease: Option<(Arc<Pool>, Exclusive)>,
}

/// The connection that an answer came by; none if another answer cannot have been taken for it.
#[derive(Debug, Clone, Default)]
pub struct CameBy(Option<Arc<AtomicBool>>);

// === impl CameBy ===

impl CameBy {
    /// A new connection that answers one request after the other.
    pub(super) fn in_turn() -> Self {
        Self(Some(Arc::default()))
    }

    /// The answer is not to what was asked: nothing is asked over its connection any more.
    pub fn distrust(&self) {
        if let Some(distrusted) = &self.0 {
            distrusted.store(true, Relaxed);
        }
    }

    pub(super) fn is_distrusted(&self) -> bool {
        self.0.as_ref().is_some_and(|distrusted| distrusted.load(Relaxed))
    }
}

// === impl Leased ===

impl Leased {
    /// The body of what came by this connection.
    pub(super) fn new(body: Complete<Incoming>, pool: Arc<Pool>, connection: Exclusive) -> Self {
        let mut leased = Self { body, lease: Some((pool, connection)) };
        if leased.body.is_end_stream() {
            leased.end();
        }
        leased
    }

    /// The body of what came by a connection that all use.
    pub(super) fn shared(body: Complete<Incoming>) -> Self {
        Self { body, lease: None }
    }

    fn end(&mut self) {
        if let Some((pool, connection)) = self.lease.take() {
            pool.give_back(connection);
        }
    }
}

impl Body for Leased {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            Some(Ok(_)) if !self.body.is_end_stream() => {}
            Some(Ok(_)) | None => self.end(),
            Some(Err(_)) => self.lease = None,
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
