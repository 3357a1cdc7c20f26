//! One connection from handshake to close: TLS, HTTP/1.1 or HTTP/2 by preface, its deadlines, its part of the drain.
//!
//! Refuses to wait without end for a first request: hyper's own time-outs begin only once it knows the protocol, so a
//! peer that says nothing would outlive them all. hyper's limits are set above those of the service, so that in the
//! common range it is the service that refuses, in words of its own.

use std::convert::Infallible;
use std::error::Error;
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
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tower::Service;

/// Field lines that HTTP/1 parsing accepts: above the 100 that the service allows, so that its 431 is the one seen.
const HTTP1_MAX_FIELDS: usize = 128;
/// Bytes of a head that HTTP/1 buffers: above the 64 KiB that the service allows, with room for a pipelined next one.
const HTTP1_MAX_BUFFER: usize = 128 * 1024;
/// Bytes of a decoded header list in HTTP/2: above the service's 64 KiB, which do not count 32 bytes a field.
const HTTP2_MAX_HEADER_LIST: u32 = 80 * 1024;

/// How long a connection may take over what.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// From accepting to the first whole request head, TLS handshake and protocol detection included.
    pub first_request: Duration,
    /// From the end of one answer to the whole head of the next request: idle time and reading together, because
    /// hyper's timer does not tell them apart.
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
struct Served<S> {
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
        let Some(tls) = self.tls.take() else { return self.speak_http(io).await };
        match timeout(self.times.first_request, TlsAcceptor::from(tls).accept(io)).await {
            Ok(Ok(io)) => self.speak_http(io).await,
            Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
            Err(_) => tracing::debug!("a TLS handshake took too long"),
        }
    }

    async fn speak_http<I>(mut self, io: I)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let asked = Arc::new(Notify::new());
        let service = Served { service: self.service, asked: Arc::clone(&asked) };
        let builder = protocol(self.times);
        let mut http = pin!(builder.serve_connection(TokioIo::new(io), service));
        let mut first_request = pin!(sleep(self.times.first_request));
        let mut waiting = true;
        let mut draining = false;
        loop {
            tokio::select! {
                biased;
                ended = http.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, "a connection ended early");
                    }
                    return;
                }
                () = asked.notified(), if waiting => {
                    waiting = false;
                    if draining {
                        http.as_mut().graceful_shutdown();
                    }
                }
                () = first_request.as_mut(), if waiting => {
                    tracing::debug!("a connection asked nothing in time");
                    return;
                }
                _ = self.draining.wait_for(|draining| *draining), if !draining => {
                    draining = true;
                    if waiting {
                        // Its request may be on the way already; closing now could lose it.
                        let last_words = tokio::time::Instant::now() + self.times.last_words;
                        if last_words < first_request.deadline() {
                            first_request.as_mut().reset(last_words);
                        }
                    } else {
                        http.as_mut().graceful_shutdown();
                    }
                }
            }
        }
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
    builder.http2().timer(TokioTimer::new()).max_header_list_size(HTTP2_MAX_HEADER_LIST);
    builder
}

// === impl Served ===

impl<S, B> hyper::service::Service<Request<Incoming>> for Served<S>
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
