//! The open connections to Monime: which of them takes the next request, and when one is used no more.
//!
//! Over HTTP/1.1 a connection has one request at a time and is idle in between, over HTTP/2 it has all of them. Refuses to
//! send anything twice: each attempt is to be counted, and to have its turn. Refuses just so to use a connection again that
//! owes an answer: a request that is dropped before its head has come takes its connection with it.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderValue, Request, Response, Uri};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use tokio::time::Instant;
use tower::BoxError;

use super::connect::{Connect, Sender, unanswered};
use crate::upstream::failure::Failure;
use crate::upstream::framing::{Complete, framed};

/// How long an unused connection is kept: below the 60 s after which common servers close theirs.
const MAX_IDLE: Duration = Duration::from_secs(50);
/// A cap on idle connections, far above what the rate limit lets one token use.
const MOST_IDLE: usize = 64;

/// The connections to one origin.
#[derive(Debug)]
pub(super) struct Pool {
    connect: Connect,
    /// What requests over HTTP/1.1 say in `Host`.
    host: HeaderValue,
    /// For how long connections are used.
    max_age: Duration,
    pub(super) open: Mutex<Open>,
}

#[derive(Debug, Default)]
pub(super) struct Open {
    /// The one that was used last comes last, and is used first.
    pub(super) idle: Vec<Idle>,
    shared: Option<Shared>,
    /// How many have been shared, which tells them apart.
    number: u64,
}

/// A connection that has no request on it.
#[derive(Debug)]
pub(super) struct Idle {
    pub(super) connection: Exclusive,
    since: Instant,
}

/// A connection over HTTP/1.1, of whoever has it.
#[derive(Debug)]
pub(super) struct Exclusive {
    sender: http1::SendRequest<Full<Bytes>>,
    pub(super) born: Instant,
}

/// A connection over HTTP/2.
#[derive(Debug, Clone)]
struct Shared {
    sender: http2::SendRequest<Full<Bytes>>,
    born: Instant,
    used: Instant,
    number: u64,
}

enum Connection {
    Exclusive(Exclusive),
    Shared(Shared),
}

/// The body of an answer, with the connection that it comes by: at its end that is idle again, and closed if it is dropped
/// before.
#[derive(Debug)]
pub struct Leased {
    body: Complete<Incoming>,
    // None over HTTP/2, and at the end.
    lease: Option<(Arc<Pool>, Exclusive)>,
}

/// A shared connection that owes the head of an answer. Dropped as such, with whoever waited for it, it is used no more: it
/// would otherwise take everyone after them, for as long as something comes over it.
struct Suspect<'a> {
    pool: &'a Pool,
    number: Option<u64>,
}

// === impl Pool ===

impl Pool {
    pub(super) fn new(connect: Connect, host: HeaderValue, max_age: Duration) -> Self {
        Self { connect, host, max_age, open: Mutex::default() }
    }

    /// Sends `request` over a connection that is open, or over a new one. Cancel-safe: see above for what is dropped with it.
    pub(super) async fn send(self: Arc<Self>, request: Request<Full<Bytes>>) -> Result<Response<Leased>, Failure> {
        let connection = match self.take(Instant::now()) {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        match connection {
            Connection::Exclusive(mut connection) => {
                let answer = connection.sender.send_request(self.in_origin_form(request));
                let answer = framed(answer.await.map_err(unanswered)?)?;
                Ok(answer.map(|body| Leased::new(body, self, connection)))
            }
            Connection::Shared(mut connection) => {
                let suspect = Suspect { pool: &self, number: Some(connection.number) };
                let answer = framed(connection.sender.send_request(request).await.map_err(unanswered)?)?;
                suspect.clear();
                Ok(answer.map(|body| Leased { body, lease: None }))
            }
        }
    }

    async fn connect(&self) -> Result<Connection, Failure> {
        let sender = self.connect.connect().await?;
        let born = Instant::now();
        Ok(match sender {
            Sender::Http1(sender) => Connection::Exclusive(Exclusive { sender, born }),
            Sender::Http2(sender) => {
                let mut open = self.open();
                open.number += 1;
                let shared = Shared { sender, born, used: born, number: open.number };
                // Of several that were opened at once, the others are closed when what is on them has ended.
                open.shared = Some(shared.clone());
                Connection::Shared(shared)
            }
        })
    }

    /// A connection that can take a request now.
    fn take(&self, now: Instant) -> Option<Connection> {
        let mut open = self.open();
        if let Some(shared) = open.shared.as_mut().filter(|shared| self.is_usable(shared, now)) {
            shared.used = now;
            return Some(Connection::Shared(shared.clone()));
        }
        open.shared = None;
        open.idle.retain(|idle| !self.is_over(idle, now));
        // One whose last answer has just been read may need a moment to see that it ended.
        let ready = open.idle.iter().rposition(|idle| idle.connection.sender.is_ready())?;
        Some(Connection::Exclusive(open.idle.remove(ready).connection))
    }

    /// Takes back a connection whose answer has ended.
    fn give_back(&self, connection: Exclusive) {
        let idle = Idle { connection, since: Instant::now() };
        let mut open = self.open();
        if open.idle.len() < MOST_IDLE && !self.is_over(&idle, idle.since) {
            open.idle.push(idle);
        }
    }

    fn is_usable(&self, shared: &Shared, now: Instant) -> bool {
        let is_fresh = now < shared.born + self.max_age && now < shared.used + MAX_IDLE;
        is_fresh && !shared.sender.is_closed()
    }

    fn is_over(&self, idle: &Idle, now: Instant) -> bool {
        let is_old = now >= idle.connection.born + self.max_age || now >= idle.since + MAX_IDLE;
        is_old || idle.connection.sender.is_closed()
    }

    /// As a server is asked (RFC 9112, 3.2.1).
    fn in_origin_form(&self, mut request: Request<Full<Bytes>>) -> Request<Full<Bytes>> {
        let target = request.uri_mut();
        if let Some(path) = target.path_and_query().cloned() {
            *target = Uri::from(path);
        }
        request.headers_mut().insert(HOST, self.host.clone());
        request
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Leased ===

impl Leased {
    fn new(body: Complete<Incoming>, pool: Arc<Pool>, connection: Exclusive) -> Self {
        let mut leased = Self { body, lease: Some((pool, connection)) };
        if leased.body.is_end_stream() {
            leased.end();
        }
        leased
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

// === impl Suspect ===

impl Suspect<'_> {
    /// It answered.
    fn clear(mut self) {
        self.number = None;
    }
}

impl Drop for Suspect<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            let mut open = self.pool.open();
            open.shared = open.shared.take().filter(|shared| shared.number != number);
        }
    }
}
