//! The body of a request.
//!
//! What its reader leaves is kept until the answer has gone out. Refuses to read ahead: who sends is held back by the
//! protocol until somebody reads.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::http2::Inflow;

/// The body of a request, as a service gets it.
#[derive(Debug)]
pub struct Upload {
    /// There until it is dropped.
    body: Option<Source>,
    rest: Rest,
}

/// Why a body did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// Over HTTP/1.
    #[error(transparent)]
    Http1(#[from] hyper::Error),
    /// Over HTTP/2.
    #[error("a stream broke off within a request's body")]
    Http2(#[from] h2::Error),
}

/// Where it comes from.
#[derive(Debug)]
pub(super) enum Source {
    Http1(Incoming),
    Http2(Inflow),
}

/// What is left of a body whose reader is gone; none where there never was one. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Rest(Option<Arc<Mutex<Option<Source>>>>);

// === impl Upload ===

impl Upload {
    pub(super) fn of(body: Source) -> (Self, Rest) {
        // Most requests have no body, and nothing has to be kept of them.
        let rest = if body.is_end_stream() { Rest(None) } else { Rest(Some(Arc::default())) };
        (Self { body: Some(body), rest: rest.clone() }, rest)
    }
}

impl Rest {
    pub(super) fn is_of_a_body(&self) -> bool {
        self.0.is_some()
    }

    /// Whether its reader is gone and has left something.
    pub(super) fn is_unread(&self) -> bool {
        let unread = |rest: &Mutex<Option<Source>>| {
            let rest = rest.lock().unwrap_or_else(PoisonError::into_inner);
            rest.as_ref().is_some_and(|body| !body.is_end_stream())
        };
        self.0.as_deref().is_some_and(unread)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Some(rest) = &self.rest.0 {
            *rest.lock().unwrap_or_else(PoisonError::into_inner) = self.body.take();
        }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = match body {
            Source::Http1(body) => ready!(Pin::new(body).poll_frame(cx)).map(|frame| frame.map_err(Into::into)),
            Source::Http2(body) => ready!(Pin::new(body).poll_frame(cx)).map(|frame| frame.map_err(Into::into)),
        };
        if frame.is_none() {
            // Of a chunked body the library does not say afterwards that it was read to its end.
            self.body = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Source::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            Some(Source::Http1(body)) => body.size_hint(),
            Some(Source::Http2(body)) => body.size_hint(),
            None => SizeHint::new(),
        }
    }
}

// === impl Source ===

impl Source {
    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1(body) => body.is_end_stream(),
            Self::Http2(body) => body.is_end_stream(),
        }
    }
}
