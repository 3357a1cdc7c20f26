//! The wire and the Monime at its other end, in this process: what the pooled client would be, to those above it.

use std::collections::VecDeque;
use std::future::pending;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame};
use http_body_util::Full;
use monigate::upstream::{Bound, Failure, Fetch, Reply, Unreachable, Unreadable};
use tokio::time::{Sleep, sleep};
use tower::{Service, ServiceExt};

use super::weather::{Fate, What};
use super::world::{FLIGHT, Outcome, World};

/// The wire. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Wire(pub(crate) World);

impl Service<Request<Full<Bytes>>> for Wire {
    type Response = Response<Trickle>;
    type Error = Failure;
    type Future = BoxFuture<'static, Result<Self::Response, Failure>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Full<Bytes>>) -> Self::Future {
        let (call, fate) = self.0.look().send(&request);
        let way = UnderWay { world: self.0.clone(), call, outcome: Outcome::Failed, headers: None };
        Box::pin(way.goes(fate))
    }
}

/// A call that is under way; it ends when this is dropped. Unless it is known better by then, it has failed.
struct UnderWay {
    world: World,
    call: usize,
    outcome: Outcome,
    headers: Option<HeaderMap>,
}

impl UnderWay {
    async fn goes(mut self, fate: Fate) -> Result<Response<Trickle>, Failure> {
        let Fate { transit, wait, what } = fate;
        rest(transit).await;
        let unreachable = |kind| Failure::Unreachable(kind, "the simulation broke it".into());
        let in_passing = |failure| {
            self.world.look().fails_in_passing(self.call);
            Err(failure)
        };
        match &what {
            What::NotConnected => return in_passing(unreachable(Unreachable::NotConnected)),
            What::Refused => return Err(unreachable(Unreachable::Refused)),
            What::ConnectTimedOut => {
                rest(wait).await;
                return in_passing(Failure::TimedOut(Bound::Connect));
            }
            _ => {}
        }
        self.world.look().arrives(self.call);
        rest(wait).await;
        match &what {
            What::Never => pending().await,
            What::Unanswered => return in_passing(unreachable(Unreachable::Unanswered)),
            _ => {}
        }
        let (head, body) = self.world.look().answer(self.call, &what).into_parts();
        self.outcome = match head.status.as_u16() {
            429 => Outcome::Neutral,
            500.. => Outcome::Failed,
            // Its body counts, too.
            200 | 403 | 404 => Outcome::Failed,
            _ => Outcome::Well,
        };
        self.headers = Some(head.headers.clone());
        let matters = matches!(head.status.as_u16(), 200 | 403 | 404);
        Ok(Response::from_parts(head, Trickle { steps: steps(body, &what), waiting: None, matters, way: self }))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.world.look().ends(self.call, self.outcome, self.headers.as_ref());
    }
}

/// A body that comes in pieces, or does not.
pub(crate) struct Trickle {
    steps: VecDeque<Step>,
    waiting: Option<Pin<Box<Sleep>>>,
    matters: bool,
    way: UnderWay,
}

enum Step {
    Send(Bytes),
    Wait(Duration),
    Break,
    Reset,
    Stop,
}

fn steps(body: Bytes, what: &What) -> VecDeque<Step> {
    let half = Step::Send(body.slice(..body.len() / 2));
    match what {
        What::BreaksOff => [half, Step::Break].into(),
        What::ResetMidway => [half, Step::Reset].into(),
        What::StopsMidway => [half, Step::Stop].into(),
        What::Drip(bytes, every) => {
            let piece = |at: usize| Step::Send(body.slice(at..(at + bytes).min(body.len())));
            (0..body.len()).step_by(*bytes).flat_map(|at| [Step::Wait(*every), piece(at)]).collect()
        }
        _ => [Step::Send(body)].into(),
    }
}

impl Trickle {
    fn comes_out(&mut self, outcome: Outcome) {
        if self.matters {
            self.way.outcome = outcome;
        }
    }
}

impl Body for Trickle {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        loop {
            if let Some(waiting) = &mut self.waiting {
                ready!(waiting.as_mut().poll(cx));
                self.waiting = None;
            }
            match self.steps.pop_front() {
                None => {
                    self.comes_out(Outcome::Well);
                    return Poll::Ready(None);
                }
                Some(Step::Send(bytes)) => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
                Some(Step::Wait(span)) => self.waiting = Some(Box::pin(sleep(span))),
                Some(Step::Break) => {
                    self.comes_out(Outcome::Well);
                    return Poll::Ready(Some(Err(Unreadable::BrokenOff.into())));
                }
                Some(Step::Reset) => {
                    let reset = io::Error::from(io::ErrorKind::ConnectionReset);
                    return Poll::Ready(Some(Err(reset.into())));
                }
                Some(Step::Stop) => {
                    self.steps.push_front(Step::Stop);
                    return Poll::Pending;
                }
            }
        }
    }
}

/// A timer has whole milliseconds: even a wait of none would cost one.
async fn rest(span: Duration) {
    if !span.is_zero() {
        sleep(span).await;
    }
}

/// Stands between the lookups and everything that goes to Monime, and writes down what flies.
#[derive(Clone)]
pub(crate) struct Tower<S> {
    pub(crate) inner: S,
    pub(crate) world: World,
}

impl<S> Service<Fetch> for Tower<S>
where
    S: Service<Fetch, Response = Reply, Error = Failure> + Clone + Send + Sync + 'static,
    S::Future: Send,
{
    type Response = Reply;
    type Error = Failure;
    type Future = BoxFuture<'static, Result<Reply, Failure>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, fetch: Fetch) -> Self::Future {
        let flight = self.world.look().takes_off(&fetch.key);
        let mut flown = Flown { world: self.world.clone(), flight, landed: false };
        let inner = self.inner.clone();
        Box::pin(async move {
            let result = FLIGHT.scope(flight, inner.oneshot(fetch)).await;
            flown.landed = true;
            flown.world.look().lands(flight, &result);
            result
        })
    }
}

/// A flight; it is over when this is dropped.
struct Flown {
    world: World,
    flight: usize,
    landed: bool,
}

impl Drop for Flown {
    fn drop(&mut self) {
        self.world.look().is_over(self.flight, self.landed);
    }
}
