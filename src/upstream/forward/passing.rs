//! An answer's body on its way to a caller.
//!
//! Holds back as many bytes as a piece of the token can be spelled with, so that none has left before it is found: then,
//! as at the bound, at the deadline and when Monime breaks off, the body ends in an error, and the caller sees it cut.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};
use tower::BoxError;

use crate::secret::{REACH, Secret};
use crate::upstream::failure::{Bound, Failure, Unreadable};
use crate::upstream::read::broken;

/// A body that is searched, bounded and timed while it passes.
pub(super) struct Passing<B> {
    inner: B,
    token: Arc<Secret>,
    /// What was searched and has not left yet.
    held: BytesMut,
    /// How many bytes may still come.
    left: u64,
    deadline: Pin<Box<Sleep>>,
    bound: Bound,
    ended: bool,
}

impl<B> Passing<B> {
    /// Passes at most `most` bytes of `inner`, until the deadline of this name, as long as `token` is not among them.
    pub(super) fn new(inner: B, token: Arc<Secret>, most: u64, (deadline, bound): (Instant, Bound)) -> Self {
        let deadline = Box::pin(sleep_until(deadline));
        Self { inner, token, held: BytesMut::new(), left: most, deadline, bound, ended: false }
    }

    /// Takes in what came, and gives out what may leave.
    fn take(&mut self, mut data: impl Buf) -> Result<Option<Bytes>, Failure> {
        let length = data.remaining();
        self.left = self.left.checked_sub(length as u64).ok_or(Unreadable::TooLarge)?;
        self.held.reserve(length);
        while data.has_remaining() {
            let chunk = data.chunk();
            let taken = chunk.len();
            self.held.put_slice(chunk);
            data.advance(taken);
        }
        if self.token.is_reflected_in(&self.held) {
            return Err(Unreadable::Reflects.into());
        }
        let free = self.held.len().saturating_sub(REACH - 1);
        Ok((free > 0).then(|| self.held.split_to(free).freeze()))
    }

    fn end(&mut self, last: Option<Result<Bytes, Failure>>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        self.ended = true;
        Poll::Ready(last.map(|last| last.map(Frame::data)))
    }
}

impl<B> Body for Passing<B>
where
    B: Body<Error: Into<BoxError>> + Unpin,
{
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        if this.deadline.as_mut().poll(cx).is_ready() {
            return this.end(Some(Err(Failure::TimedOut(this.bound))));
        }
        loop {
            let Some(frame) = ready!(Pin::new(&mut this.inner).poll_frame(cx)) else {
                let rest = this.held.split().freeze();
                return this.end((!rest.is_empty()).then_some(Ok(rest)));
            };
            let data = match frame.map_err(broken) {
                Ok(frame) => frame.into_data(),
                Err(failure) => return this.end(Some(Err(failure))),
            };
            // Trailers are nobody's here.
            let Ok(data) = data else { continue };
            match this.take(data) {
                Ok(Some(bytes)) => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
                Ok(None) => {}
                Err(failure) => return this.end(Some(Err(failure))),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended || (self.held.is_empty() && self.inner.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let held = self.held.len() as u64;
        let inner = self.inner.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower().saturating_add(held));
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper.saturating_add(held));
        }
        hint
    }
}
