//! Sockets in, answered connections out: accept, bound everything a peer may take, drain.
//!
//! Generic over a tower service that is always ready and never fails; knows nothing of Monime, of lookups or of what
//! a status means. Refuses to end on a single bad connection or a full descriptor table: it backs off and goes on.

mod activity;
mod call;
mod connection;
mod crowd;
mod date;
mod fast_path;
mod framing;
mod http1;
mod http2;
mod limits;
mod linger;
mod listener;
mod rejection;
mod replaceable;
mod replay;
mod rules;
pub mod tls;
mod upload;
mod watchdog;
mod wire;

use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Body;
use tokio::sync::watch::Sender;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tower::Service;

pub use fast_path::{FastPath, PlainHead, TAIL, WithoutFastPath};
pub use framing::{Broken, Framing};
pub use limits::{HeadLimits, Limits, Times};
pub use listener::{Address, InvalidAddress, Listener};
pub use rejection::{Reject, Rejection};
pub use replaceable::Replaceable;
pub use rules::Rules;
pub use tls::{ClientCertificate, Tls};
pub use upload::{Upload, UploadError};

use connection::Connection;
use crowd::{LogThrottle, Peers};
use listener::{Accepted, is_passing};
use watchdog::ServerState;

/// How long accepting pauses after an error that more accepting would only repeat, such as a full descriptor table: from
/// the first to the second, twice as long each time.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// What a server serves: always ready, never failing, cheap to clone; at once where it can be.
pub trait HttpService:
    Service<Request<Upload>, Response = Response<Self::Body>, Error = Infallible, Future: Send + 'static>
    + FastPath
    + Clone
    + Send
    + Sync
    + 'static
{
    /// The body of its answers.
    type Body: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static;
}

impl<S, B> HttpService for S
where
    S: Service<Request<Upload>, Response = Response<B>, Error = Infallible, Future: Send + 'static>
        + FastPath
        + Clone
        + Send
        + Sync
        + 'static,
    B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    type Body = B;
}

/// Serves `listener` by these `rules` until `stop` resolves, then drains.
///
/// Draining accepts what the kernel had already queued, closes the listener, lets every request in progress finish, hears
/// the last words of idle connections and closes them. Returns when the last connection ended. It has no deadline of its
/// own: wrap it in one; dropping the future aborts what is left.
pub async fn serve<S: HttpService>(mut listener: Listener, service: S, rules: Rules, stop: impl Future<Output = ()>) {
    let mut server = Server::new(&listener, service, rules);
    let mut stop = pin!(stop);
    loop {
        server.tell();
        let has_room = server.has_room();
        let paused_until = server.paused_until;
        tokio::select! {
            biased;
            () = &mut stop => break,
            // Finished connections are reaped here, so that the set does not grow with every connection ever served.
            Some(_) = server.connections.join_next() => {}
            Ok(()) = server.rules.limits.changed() => {}
            () = sleep_until(paused_until.unwrap_or_else(Instant::now)), if paused_until.is_some() => {
                server.paused_until = None;
            }
            accepted = listener.accept(), if has_room && paused_until.is_none() => match accepted {
                Ok(stream) => server.welcome(stream),
                Err(error) => server.back_off(&error),
            },
        }
    }
    for stream in listener.close() {
        server.welcome(stream);
    }
    server.state.send_modify(|state| state.draining = true);
    while server.connections.join_next().await.is_some() {
        server.tell();
    }
}

/// The connections of a server, and what they share.
struct Server<S> {
    rules: Rules,
    /// What each new connection is made from.
    connection: Connection<S>,
    state: Sender<ServerState>,
    connections: JoinSet<()>,
    peers: Peers,
    /// When accepting goes on.
    paused_until: Option<Instant>,
    /// How long the next pause takes.
    backoff: Duration,
    no_room: LogThrottle,
    no_seat: LogThrottle,
    cannot_accept: LogThrottle,
}

impl<S: HttpService> Server<S> {
    fn new(listener: &Listener, service: S, rules: Rules) -> Self {
        let state = Sender::new(ServerState::default());
        let connection = Connection {
            service,
            reject: Arc::clone(&rules.reject),
            limits: *rules.limits.borrow(),
            state: state.subscribe(),
            tls: listener.tls(),
        };
        Self {
            rules,
            connection,
            state,
            connections: JoinSet::new(),
            peers: Peers::default(),
            paused_until: None,
            backoff: BACKOFF.0,
            no_room: LogThrottle::default(),
            no_seat: LogThrottle::default(),
            cannot_accept: LogThrottle::default(),
        }
    }

    /// Says how many connections there are.
    fn tell(&self) {
        if let Some(metrics) = &self.rules.metrics {
            metrics.connections.set(i64::try_from(self.connections.len()).unwrap_or(i64::MAX));
        }
    }

    /// Whether one more connection may come. If not, the idle ones are asked to go.
    fn has_room(&mut self) -> bool {
        let most = self.rules.limits.borrow().connections;
        let has_room = self.connections.len() < most;
        self.state.send_if_modified(|state| std::mem::replace(&mut state.crowded, !has_room) == has_room);
        if !has_room && let Some(times) = self.no_room.is_due() {
            tracing::warn!(limit = most, times, "there are as many connections as may be; others wait until one ends");
        }
        has_room
    }

    fn welcome(&mut self, Accepted { stream, peer }: Accepted) {
        self.backoff = BACKOFF.0;
        let limits = *self.rules.limits.borrow();
        let Some(seat) = self.peers.seat(peer, limits.connections_per_peer) else {
            if let Some(times) = self.no_seat.is_due() {
                let peer = peer.map(tracing::field::display);
                tracing::warn!(peer, times, "a peer has as many connections as it may; more of it are closed");
            }
            return;
        };
        let connection = Connection { limits, ..self.connection.clone() };
        self.connections.spawn(connection.run(stream, seat));
    }

    /// A connection that died in the queue says nothing about the next one; anything else would repeat at once.
    fn back_off(&mut self, error: &io::Error) {
        if is_passing(error) {
            return;
        }
        if let Some(times) = self.cannot_accept.is_due() {
            tracing::warn!(%error, times, "accepting a connection failed; trying again shortly");
        }
        self.paused_until = Some(Instant::now() + self.backoff);
        self.backoff = (self.backoff * 2).min(BACKOFF.1);
    }
}
