//! The body of an answer: bytes, or a short script of bytes, waits and breaking off.
//!
//! Owns the faults that only a wire can show. Refuses to touch a socket: a body that fails makes hyper drop the
//! connection without ending the message, and that is all a client can tell apart.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::time::{Sleep, sleep};

/// The body of a sandbox's answer.
#[derive(Debug)]
pub struct Body {
    steps: VecDeque<Step>,
    waiting: Option<Pin<Box<Sleep>>>,
}

/// What a body does next.
#[derive(Debug)]
pub(super) enum Step {
    Send(Bytes),
    Wait(Duration),
    /// Lets what was sent so far reach the socket. hyper polls a body until it has nothing more to give and only then
    /// writes, so breaking off at once would take the bytes before it along.
    Flush,
    /// Fails, which closes the connection (HTTP/2: resets the stream). As the first step, not even the head is sent.
    Break,
}

/// A fault that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the sandbox breaks off here, as it was told to")]
pub struct Broken;

impl Body {
    pub(super) fn whole(bytes: Bytes) -> Self {
        Self::script([Step::Send(bytes)])
    }

    pub(super) fn script(steps: impl IntoIterator<Item = Step>) -> Self {
        Self { steps: steps.into_iter().collect(), waiting: None }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        loop {
            if let Some(waiting) = &mut self.waiting {
                ready!(waiting.as_mut().poll(cx));
                self.waiting = None;
            }
            match self.steps.pop_front() {
                None => return Poll::Ready(None),
                Some(Step::Send(bytes)) => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
                Some(Step::Break) => return Poll::Ready(Some(Err(Broken))),
                Some(Step::Wait(span)) => self.waiting = Some(Box::pin(sleep(span))),
                Some(Step::Flush) => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.steps.is_empty() && self.waiting.is_none()
    }

    // Exact only for a plain body: a script may promise one length and send another.
    fn size_hint(&self) -> SizeHint {
        match self.steps.front() {
            None => SizeHint::with_exact(0),
            Some(Step::Send(bytes)) if self.steps.len() == 1 => {
                SizeHint::with_exact(u64::try_from(bytes.len()).unwrap_or(u64::MAX))
            }
            Some(_) => SizeHint::default(),
        }
    }
}
