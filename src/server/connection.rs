//! One connection from handshake to close: TLS, HTTP/1.1 or HTTP/2 by preface, its deadlines, its part of the drain.
//!
//! Refuses to wait without end for a first request: hyper's own time-outs begin only once it knows the protocol, so a
//! peer that says nothing would outlive them all. hyper's limits are set above those of the service, so that in the
//! common range it is the service that refuses, in words of its own.

use std::convert::Infallible;
use std::error::Error;
use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_rustls::TlsAcceptor;
use tower::Service;

/// Field lines that HTTP/1 parsing accepts: above the 100 that the service allows, so that its 431 is the one seen.
const HTTP1_MAX_FIELDS: usize = 128;
/// Bytes of a head that HTTP/1 buffers: above the 64 KiB that the service allows, with room for a pipelined next one.
const HTTP1_MAX_BUFFER: usize = 128 * 1024;
/// Bytes of a decoded header list in HTTP/2: above the service's 64 KiB, which do not count 32 bytes a field.
const HTTP2_MAX_HEADER_LIST: u32 = 80 * 1024;

/// How often a silent HTTP/2 peer is asked whether it lives, and how long it may take to say so.
const PING_EVERY: Duration = Duration::from_secs(15);
const PING_DEADLINE: Duration = Duration::from_secs(10);

/// How long a connection may take over what.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// From accepting to the first whole request head, TLS handshake and protocol detection included.
    pub first_request: Duration,
    /// From the end of one answer to the whole head of the next request: idle time and reading together, because
    /// hyper's timer does not tell them apart. HTTP/1 only: HTTP/2 peers are pinged instead.
    pub next_request: Duration,
    /// While draining: what a connection that has not asked anything yet still gets to do so.
    pub last_words: Duration,
}

/// What every connection of one server shares.
#[derive(Clone)]
pub(super) struct Connection<S> {
    pub(super) service: S,
    pub(super) times: Times,
    pub(super) draining: watch::Receiver<bool>,
    pub(super) tls: Option<Arc<ServerConfig>>,
}

/// The service of one connection; its first call disarms the first-request deadline.
struct Announced<S> {
    service: S,
    asked: Arc<Notify>,
}

// === impl Times ===

impl Default for Times {
    fn default() -> Self {
        Self {
            first_request: Duration::from_secs(10),
            // Longer than the pools of common clients keep idle connections, so that they close first.
            next_request: Duration::from_secs(60),
            last_words: Duration::from_millis(500),
        }
    }
}

// === impl Connection ===

impl<S, B> Connection<S>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    pub(super) async fn run<I>(mut self, io: I)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let deadline = Instant::now() + self.times.first_request;
        let Some(tls) = self.tls.take() else { return self.speak_http(io, deadline).await };
        let out_of_time = out_of_time(self.draining.clone(), deadline, self.times.last_words);
        tokio::select! {
            shaken = TlsAcceptor::from(tls).accept(io) => match shaken {
                Ok(io) => self.speak_http(io, deadline).await,
                Err(error) => tracing::debug!(%error, "a TLS handshake failed"),
            },
            () = out_of_time => tracing::debug!("a TLS handshake took too long"),
        }
    }

    async fn speak_http<I>(mut self, io: I, deadline: Instant)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let asked = Arc::new(Notify::new());
        let service = Announced { service: self.service, asked: Arc::clone(&asked) };
        let builder = protocol(self.times);
        let mut http = pin!(builder.serve_connection(TokioIo::new(io), service));
        let mut out_of_time = pin!(out_of_time(self.draining.clone(), deadline, self.times.last_words));
        let (mut silent, mut draining) = (true, false);
        loop {
            tokio::select! {
                biased;
                ended = http.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, "a connection ended early");
                    }
                    return;
                }
                () = asked.notified(), if silent => silent = false,
                () = out_of_time.as_mut(), if silent => {
                    tracing::debug!("a connection asked nothing in time");
                    return;
                }
                _ = self.draining.wait_for(|draining| *draining), if !draining => draining = true,
            }
            // A silent connection is not told to end: its first request may be on the way, and would be lost.
            if draining && !silent {
                http.as_mut().graceful_shutdown();
            }
        }
    }
}

/// Ends when a connection that has asked nothing yet has had its time: at `deadline`, or `last_words` after draining
/// began.
async fn out_of_time(mut draining: watch::Receiver<bool>, deadline: Instant, last_words: Duration) {
    let drained = async {
        // Without a sender the server is gone, and its connections with it.
        if draining.wait_for(|draining| *draining).await.is_err() {
            pending::<()>().await;
        }
        sleep(last_words).await;
    };
    tokio::select! {
        () = sleep_until(deadline) => {}
        () = drained => {}
    }
}

fn protocol(times: Times) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(times.next_request)
        .max_headers(HTTP1_MAX_FIELDS)
        .max_buf_size(HTTP1_MAX_BUFFER);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(HTTP2_MAX_HEADER_LIST)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_DEADLINE);
    builder
}

// === impl Announced ===

impl<S, B> hyper::service::Service<Request<Incoming>> for Announced<S>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone,
{
    type Response = S::Response;
    type Error = Infallible;
    type Future = S::Future;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        self.asked.notify_one();
        // Services here are always ready: what waits, waits inside `call`, where a deadline bounds it.
        self.service.clone().call(request)
    }
}
