//! The open connections to Monime: which of them takes the next request, and when one is used no more.
//!
//! Over HTTP/1.1 a connection has one request at a time and is idle in between, over HTTP/2 it has all of them. Whoever has
//! to open one takes one that becomes free meanwhile. Refuses to send anything twice: each attempt is to be counted, and to
//! have its turn. Refuses just so to use a connection again that owes an answer, or whose answer was somebody else's: a
//! request that is dropped before its head has come takes its connection with it.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::Full;
use hyper::client::conn::{http1, http2};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::connect::{Connect, Sender};
use super::leased::{CameBy, Leased};
use crate::upstream::failure::{Failure, Unreachable, Unreadable};
use crate::upstream::framing::framed;

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
    /// Told when a connection may be taken that could not be before.
    freed: Notify,
}

#[derive(Debug, Default)]
pub(super) struct Open {
    /// The one that was used last comes last, and is used first.
    pub(super) idle: Vec<Idle>,
    shared: Option<Shared>,
    /// How many have been shared, which tells them apart.
    number: u64,
    /// Whether somebody closes what nobody uses.
    pub(super) has_sweeper: bool,
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
    came_by: CameBy,
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

/// A shared connection that owes the head of an answer. Dropped as such, with whoever waited for it, it is used no more: it
/// would otherwise take everyone after them, for as long as something comes over it.
struct Suspect<'a> {
    pool: &'a Pool,
    number: Option<u64>,
}

// === impl Pool ===

impl Pool {
    pub(super) fn new(connect: Connect, host: HeaderValue, max_age: Duration) -> Self {
        Self { connect, host, max_age, open: Mutex::default(), freed: Notify::new() }
    }

    /// Sends `request`. Cancel-safe: see above for what is dropped with it.
    pub(super) async fn send(self: Arc<Self>, request: Request<Full<Bytes>>) -> Result<Response<Leased>, Failure> {
        let connection = match self.take(Instant::now()) {
            Some(connection) => connection,
            None => self.connection().await?,
        };
        match connection {
            Connection::Exclusive(mut connection) => {
                let answer = connection.sender.send_request(self.in_origin_form(request));
                let mut answer = framed(answer.await.map_err(unanswered)?)?;
                if connection.came_by.is_distrusted() {
                    return Err(Unreadable::Framing.into());
                }
                answer.extensions_mut().insert(connection.came_by.clone());
                Ok(answer.map(|body| Leased::new(body, self, connection)))
            }
            Connection::Shared(mut connection) => {
                let suspect = Suspect { pool: &self, number: Some(connection.number) };
                let answer = framed(connection.sender.send_request(request).await.map_err(unanswered)?)?;
                suspect.clear();
                Ok(answer.map(Leased::shared))
            }
        }
    }

    /// A new connection, or one that can be taken before it is there.
    async fn connection(self: &Arc<Self>) -> Result<Connection, Failure> {
        let mut dialled = Box::pin(Arc::clone(self).dial());
        let mut has_begun = false;
        loop {
            let mut freed = pin!(self.freed.notified());
            freed.as_mut().enable();
            match self.take(Instant::now()) {
                Some(Connection::Exclusive(connection)) => {
                    if has_begun {
                        // As many were wanted at once, and will be again.
                        tokio::spawn(Arc::clone(self).keep(dialled));
                    }
                    return Ok(Connection::Exclusive(connection));
                }
                Some(Connection::Shared(connection)) => return Ok(Connection::Shared(connection)),
                None => {}
            }
            has_begun = true;
            tokio::select! {
                biased;
                connection = &mut dialled => return connection,
                () = freed => {}
            }
        }
    }

    async fn dial(self: Arc<Self>) -> Result<Connection, Failure> {
        let sender = self.connect.connect().await?;
        let born = Instant::now();
        let sender = match sender {
            Sender::Http1(sender) => {
                let came_by = CameBy::in_turn();
                return Ok(Connection::Exclusive(Exclusive { sender, born, came_by }));
            }
            Sender::Http2(sender) => sender,
        };
        let mut open = self.open();
        // Of several that were opened at once, the first is used.
        let first = open.shared.take().filter(|shared| self.is_usable(shared, born));
        let shared = first.unwrap_or_else(|| {
            open.number += 1;
            Shared { sender, born, used: born, number: open.number }
        });
        open.shared = Some(shared.clone());
        self.have_swept(&mut open);
        drop(open);
        self.freed.notify_waiters();
        Ok(Connection::Shared(shared))
    }

    /// Keeps a connection that nobody waits for any more.
    async fn keep(self: Arc<Self>, dialled: impl Future<Output = Result<Connection, Failure>>) {
        if let Ok(Connection::Exclusive(connection)) = dialled.await {
            self.give_back(connection);
        }
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
        open.idle.pop().map(|idle| Connection::Exclusive(idle.connection))
    }

    /// Takes back a connection whose answer has ended, as soon as it has seen that itself.
    pub(super) fn give_back(self: &Arc<Self>, mut connection: Exclusive) {
        if connection.sender.is_ready() {
            return self.put(connection);
        }
        let pool = Arc::clone(self);
        tokio::spawn(async move {
            if connection.sender.ready().await.is_ok() {
                pool.put(connection);
            }
        });
    }

    fn put(self: &Arc<Self>, connection: Exclusive) {
        let idle = Idle { connection, since: Instant::now() };
        let mut open = self.open();
        if open.idle.len() < MOST_IDLE && !self.is_over(&idle, idle.since) {
            open.idle.push(idle);
            self.have_swept(&mut open);
            drop(open);
            self.freed.notify_one();
        }
    }

    /// Has what nobody uses closed in time.
    fn have_swept(self: &Arc<Self>, open: &mut Open) {
        if !std::mem::replace(&mut open.has_sweeper, true) {
            tokio::spawn(sweep(Arc::downgrade(self)));
        }
    }

    /// Closes what is not used any more, and says when to look again, unless there is nothing left.
    pub(super) fn swept(&self, now: Instant) -> Option<Instant> {
        let mut open = self.open();
        open.idle.retain(|idle| !self.is_over(idle, now));
        open.shared = open.shared.take().filter(|shared| self.is_usable(shared, now));
        let idle = open.idle.iter().map(|idle| (idle.connection.born, idle.since));
        let shared = open.shared.iter().map(|shared| (shared.born, shared.used));
        let next = idle.chain(shared).map(|(born, used)| self.ends(born, used)).min();
        open.has_sweeper = next.is_some();
        next
    }

    fn is_usable(&self, shared: &Shared, now: Instant) -> bool {
        now < self.ends(shared.born, shared.used) && !shared.sender.is_closed()
    }

    fn is_over(&self, idle: &Idle, now: Instant) -> bool {
        let Exclusive { sender, born, came_by } = &idle.connection;
        now >= self.ends(*born, idle.since) || sender.is_closed() || came_by.is_distrusted()
    }

    /// When a connection is too old, or has been unused for too long.
    fn ends(&self, born: Instant, used: Instant) -> Instant {
        (born + self.max_age).min(used + MAX_IDLE)
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

/// What became of a request that was given to a connection. Also where TLS breaks: whoever is on the way can break it, once
/// the request has come. Whether the connection was new or kept alive makes no difference: nothing has been answered over it.
fn unanswered(error: hyper::Error) -> Failure {
    if error.is_parse() {
        return Failure::Unreadable(Unreadable::Framing);
    }
    Failure::Unreachable(Unreachable::Unanswered, error.into())
}

/// Closes what is not used any more, as long as there is something and somebody has the pool.
async fn sweep(pool: Weak<Pool>) {
    while let Some(next) = pool.upgrade().and_then(|pool| pool.swept(Instant::now())) {
        sleep_until(next).await;
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
