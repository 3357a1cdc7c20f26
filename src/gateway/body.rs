//! The body of an answer: whole, or on its way from Monime.
//!
//! A whole one is a pointer to bytes that are shared. One on its way keeps the place of its request until its last byte,
//! and says in the log when it is cut off, which its caller sees as a connection that breaks.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::Full;
use http_body_util::combinators::UnsyncBoxBody;

use super::admit::Place;
use crate::upstream::Failure;

/// The body of an answer.
#[derive(Debug)]
pub struct Body(Kind);

#[derive(Debug)]
enum Kind {
    Whole(Full<Bytes>),
    Passing(Box<Passing>),
}

#[derive(Debug)]
struct Passing {
    body: UnsyncBoxBody<Bytes, Failure>,
    /// Held for its drop.
    _place: Place,
}

impl Body {
    /// A body that is here.
    pub(super) fn whole(bytes: Bytes) -> Self {
        Self(Kind::Whole(Full::new(bytes)))
    }

    /// A body that comes from Monime; its request has this place until then.
    pub(super) fn passing(body: UnsyncBoxBody<Bytes, Failure>, place: Place) -> Self {
        Self(Kind::Passing(Box::new(Passing { body, _place: place })))
    }
}

impl Default for Body {
    /// An empty one.
    fn default() -> Self {
        Self::whole(Bytes::new())
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        match &mut self.0 {
            Kind::Whole(body) => Pin::new(body).poll_frame(cx).map_err(|never| match never {}),
            Kind::Passing(passing) => {
                let frame = ready!(Pin::new(&mut passing.body).poll_frame(cx));
                if let Some(Err(failure)) = &frame {
                    tracing::warn!(%failure, "an answer was cut off on its way from Monime");
                }
                Poll::Ready(frame)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Whole(body) => body.is_end_stream(),
            Kind::Passing(passing) => passing.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Whole(body) => body.size_hint(),
            Kind::Passing(passing) => passing.body.size_hint(),
        }
    }
}
