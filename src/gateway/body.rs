//! The body of an answer: whole, or on its way from Monime.
//!
//! A whole one is a pointer to bytes that are shared. One on its way keeps the place of its request until its last byte,
//! and says in the log when it is cut off, which its caller sees as a connection that breaks. Refuses to wait for a caller
//! that does not read on: nobody asks for its next piece then, so the time is kept beside it.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::Full;
use http_body_util::combinators::UnsyncBoxBody;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::admit::Place;
use crate::upstream::{Bound, Failure};

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
    /// None when its time was up. Shared with the task that looks at the time.
    under_way: Arc<Mutex<Option<UnderWay>>>,
    limit: JoinHandle<()>,
}

#[derive(Debug)]
struct UnderWay {
    body: UnsyncBoxBody<Bytes, Failure>,
    /// Held for its drop.
    _place: Place,
}

impl Body {
    /// A body that is here.
    pub(super) fn whole(bytes: Bytes) -> Self {
        Self(Kind::Whole(Full::new(bytes)))
    }

    /// A body that comes from Monime; its request has this place until then, and at most until the `deadline`.
    pub(super) fn passing(body: UnsyncBoxBody<Bytes, Failure>, place: Place, deadline: Instant) -> Self {
        Self(Kind::Passing(Box::new(Passing::new(UnderWay { body, _place: place }, deadline))))
    }
}

impl Passing {
    fn new(under_way: UnderWay, deadline: Instant) -> Self {
        let under_way = Arc::new(Mutex::new(Some(under_way)));
        let theirs = Arc::clone(&under_way);
        let limit = tokio::spawn(async move {
            sleep_until(deadline).await;
            drop(lock(&theirs).take());
        });
        Self { under_way, limit }
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        match lock(&self.under_way).as_mut() {
            Some(under_way) => Pin::new(&mut under_way.body).poll_frame(cx),
            None => Poll::Ready(Some(Err(Failure::TimedOut(Bound::Total)))),
        }
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        self.limit.abort();
        // Now, not when that task is gone.
        drop(lock(&self.under_way).take());
    }
}

/// A body that panicked is not asked again: hyper drops it.
fn lock(under_way: &Mutex<Option<UnderWay>>) -> MutexGuard<'_, Option<UnderWay>> {
    under_way.lock().unwrap_or_else(PoisonError::into_inner)
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
                let frame = ready!(passing.poll(cx));
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
            Kind::Passing(passing) => {
                lock(&passing.under_way).as_ref().is_some_and(|under_way| under_way.body.is_end_stream())
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Whole(body) => body.size_hint(),
            Kind::Passing(passing) => {
                lock(&passing.under_way).as_ref().map_or_else(SizeHint::new, |under_way| under_way.body.size_hint())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::{StreamExt, stream};
    use http_body_util::{BodyExt, StreamBody};

    use super::super::admit::Places;
    use super::*;
    use crate::upstream::Line;

    #[tokio::test(start_paused = true)]
    async fn a_body_that_nobody_reads_holds_its_place_until_the_deadline_and_then_breaks_off() {
        let places = Places::new(1);
        let place = places.take(&Line::default()).unwrap();
        let endless = stream::repeat(()).map(|()| Ok(Frame::data(Bytes::from_static(b"x"))));
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut body = Body::passing(StreamBody::new(endless).boxed_unsync(), place, deadline);
        assert!(body.frame().await.unwrap().is_ok());
        tokio::time::sleep(Duration::from_millis(9_990)).await;
        assert!(places.take(&Line::default()).is_none() && body.frame().await.unwrap().is_ok());
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(places.take(&Line::default()).is_some());
        let failure = body.frame().await.unwrap().unwrap_err();
        assert!(matches!(failure, Failure::TimedOut(_)) && !body.is_end_stream(), "{failure:?}");
    }

    #[tokio::test]
    async fn a_body_gives_its_place_back_as_it_is_dropped() {
        let places = Places::new(1);
        let place = places.take(&Line::default()).unwrap();
        let never = StreamBody::new(stream::pending::<Result<Frame<Bytes>, Failure>>()).boxed_unsync();
        drop(Body::passing(never, place, Instant::now() + Duration::from_secs(3600)));
        assert!(places.take(&Line::default()).is_some());
    }
}
