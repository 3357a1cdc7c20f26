//! One connection over HTTP/2: its streams are taken in, and what can be answered at once is, in the connection's own task.
//!
//! Everything else is a task of its own, so that a panic within costs one stream. Owns whether a silent peer lives; refuses
//! to keep any other time, which is `watchdog`'s.

use std::future::{Future, poll_fn};
use std::ops::ControlFlow;
use std::pin::pin;
use std::task::{Context, Poll};

use futures_util::FutureExt;
use h2::server::{Connection, SendResponse};
use h2::{Ping, PingPong, Reason, RecvStream};
use http::Request;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep_until, timeout};
use tower::BoxError;

use super::stream::{self, Piece};
use super::{PING_DEADLINE, PING_EVERY, builder};
use crate::server::HttpService;
use crate::server::activity::Activity;
use crate::server::call::{Answer, Calls, Opened};
use crate::server::limits::HeadLimits;

/// Why a connection is over that did not come to its end.
#[derive(Debug, thiserror::Error)]
pub(in crate::server) enum Broken {
    #[error(transparent)]
    Library(#[from] h2::Error),
    #[error("the peer did not say that it lives")]
    Silent,
}

/// A request, and where its answer goes.
type Stream = (Request<RecvStream>, SendResponse<Piece>);

/// How a connection ended.
type Ended = Result<(), h2::Error>;

/// How often streams are taken in before what was answered is sent.
const MOST_TURNS: usize = 4;

/// Serves `io` until its peer has gone; once it is to leave, until what is under way is answered.
pub(in crate::server) fn serve<I, S>(
    io: I,
    calls: Calls<S>,
    head: HeadLimits,
) -> impl Future<Output = Result<(), Broken>> + use<I, S>
where
    I: AsyncRead + AsyncWrite + Unpin,
    S: HttpService,
{
    // Apart from what follows it, which would have no use for its room.
    let handshake = Box::pin(builder(head).handshake(io));
    async move {
        let mut http = handshake.await?;
        let mut is_leaving = false;
        let mut falls_silent = pin!(falls_silent(http.ping_pong(), &calls.activity));
        poll_fn(|cx| {
            if !is_leaving && calls.activity.is_leaving() {
                is_leaving = true;
                http.graceful_shutdown();
            }
            if let ControlFlow::Break(ended) = round(&mut http, &calls, cx) {
                return Poll::Ready(ended.map_err(Into::into));
            }
            falls_silent.as_mut().poll(cx).map(|()| {
                http.abrupt_shutdown(Reason::NO_ERROR);
                // For a peer that hears it nevertheless.
                let _ = http.poll_closed(cx);
                Err(Broken::Silent)
            })
        })
        .await
    }
}

/// Takes in every stream that has come, and sends the answers of several together: the library would send each of them by
/// itself. It wakes this task for what is left to be sent. Breaks at the connection's end.
fn round<I, S>(http: &mut Connection<I, Piece>, calls: &Calls<S>, cx: &mut Context<'_>) -> ControlFlow<Ended>
where
    I: AsyncRead + AsyncWrite + Unpin,
    S: HttpService,
{
    if take_in(http, calls, cx)? < 2 {
        return ControlFlow::Continue(());
    }
    for _ in 0..MOST_TURNS {
        calls.activity.hold(true);
        let more = take_in(http, calls, cx);
        calls.activity.hold(false);
        if more? == 0 {
            break;
        }
    }
    take_in(http, calls, cx).map_continue(|_| ())
}

/// Takes in every stream that has come, no more than may be under way, answers them, and returns how many. To look for
/// streams is also what writes the answers of the turn before.
fn take_in<I, S>(http: &mut Connection<I, Piece>, calls: &Calls<S>, cx: &mut Context<'_>) -> ControlFlow<Ended, usize>
where
    I: AsyncRead + AsyncWrite + Unpin,
    S: HttpService,
{
    let mut streams = Vec::new();
    while let Poll::Ready(accepted) = http.poll_accept(cx) {
        match accepted {
            Some(Ok(stream)) => streams.push(stream),
            Some(Err(error)) => return ControlFlow::Break(Err(error)),
            None => return ControlFlow::Break(Ok(())),
        }
    }
    let (came, now) = (streams.len(), Instant::now());
    streams.into_iter().for_each(|stream| answer(calls, stream, now));
    ControlFlow::Continue(came)
}

/// Answers at once, or has it done.
fn answer<S: HttpService>(calls: &Calls<S>, (request, mut respond): Stream, now: Instant) {
    let (head, body) = request.into_parts();
    match calls.open(head, body, now) {
        Opened::Answered(response, under_way) => match stream::send_whole(response, under_way, now, &mut respond) {
            Ok(None) => {}
            Ok(Some((body, under_way, stream))) => {
                let body = Answer::<S::Body>::whole(body, under_way);
                tokio::spawn(stream::pump(body, stream).map(note));
            }
            Err(error) => {
                respond.send_reset(Reason::INTERNAL_ERROR);
                tracing::debug!(%error, "a stream broke off before its answer");
            }
        },
        Opened::Called(call) => {
            tokio::spawn(stream::send(Box::pin(call), respond).map(note));
        }
    }
}

fn note(ended: Result<(), BoxError>) {
    if let Err(error) = ended {
        tracing::debug!(error, "a stream broke off");
    }
}

/// Resolves when a peer that says nothing does not even answer a ping.
async fn falls_silent(pings: Option<PingPong>, activity: &Activity) {
    let Some(mut pings) = pings else { return std::future::pending().await };
    let began = Instant::now();
    loop {
        let next = activity.heard_at().unwrap_or(began) + PING_EVERY;
        if Instant::now() < next {
            sleep_until(next).await;
            continue;
        }
        match timeout(PING_DEADLINE, pings.ping(Ping::opaque())).await {
            Ok(Ok(_)) => {}
            // It is over, as the library will say by itself.
            Ok(Err(_)) => return std::future::pending().await,
            Err(_) => return,
        }
    }
}
