//! The wire: one pooled HTTP client, HTTP/1.1 or HTTP/2 by ALPN, to one fixed origin.
//!
//! Owns connecting and its deadline. Refuses redirects (it follows none), proxies that it was not given, certificates
//! that do not chain to the roots it was given, and any TLS provider but aws-lc-rs.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::uri::Scheme;
use http::{Request, Response, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::{CaptureConnection, Connected, capture_connection};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use tokio::time::{Instant, timeout};
use tower::{BoxError, Service};

use super::failure::{Bound, Failure, Unreachable, Unreadable, causes};
use super::framing::{Complete, framed};
use super::origin::Origin;
use super::proxy::Proxy;
use super::roots::{InvalidRoots, roots};
use super::tunnel::{Dial, NoTunnel};

/// How long an unused connection is kept: below the 60 s after which common servers close theirs.
const POOL_IDLE: Duration = Duration::from_secs(50);
/// A cap on idle connections, far above what the rate limit lets one token use.
const POOL_MAX_IDLE: usize = 64;
/// For how long requests go over the same connections. A name that has moved is noticed only by who looks it up again, and
/// a busy connection would keep to its old address for ever.
const POOL_AGE: Duration = Duration::from_secs(5 * 60);
/// Bytes of one response head that are buffered, and read at once; hyper's own default is six times that.
const MAX_BUFFER: usize = 64 * 1024;

/// Bytes of one answer, and of all on one connection, that HTTP/2 lets Monime send before they are read (RFC 9113, 5.2).
/// Callers read at their leisure what is passed on: so many answers wait before one that is read at once has to wait too.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 256 * STREAM_WINDOW;

/// How often an HTTP/2 connection with requests on it is asked whether it lives, and how long it may take to say so.
const PING_EVERY: Duration = Duration::from_secs(10);
const PING_DEADLINE: Duration = Duration::from_secs(5);

type Pool = legacy::Client<Connect, Full<Bytes>>;

/// The pooled client. Clones share the pool.
#[derive(Debug, Clone)]
pub struct Client {
    pools: Arc<Pools>,
    wire: Arc<Wire>,
}

/// The pool of the moment, and how the next one is made.
#[derive(Debug)]
struct Pools {
    builder: legacy::Builder,
    connect: Connect,
    max_age: Duration,
    current: Mutex<(Arc<Pool>, Instant)>,
}

/// The connection of a request that has no answer yet. Dropped as such, with whoever waited for it, it is used no more:
/// over HTTP/2 it would otherwise take everyone after them, for as long as something comes over it.
struct Suspect(Option<CaptureConnection>);

/// How connections are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wire {
    /// Where to.
    pub origin: Origin,
    /// The private CA in front of it, as PEM; without one, Mozilla's roots are trusted.
    pub ca_pem: Option<Vec<u8>>,
    /// How long it may take: name, TCP, a proxy and TLS.
    pub connect: Duration,
    /// Through whom; an origin that is plain http is asked straight all the same.
    pub proxy: Option<Proxy>,
}

/// Why there can be no client.
#[derive(Debug, thiserror::Error)]
pub enum NoClient {
    /// Nobody to trust.
    #[error("monime.ca_file: {0}")]
    Roots(#[from] InvalidRoots),
    /// rustls refuses what it was built with, which is a bug.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// Connects within the deadline, a proxy and TLS included.
#[derive(Debug, Clone)]
struct Connect {
    inner: HttpsConnector<Dial>,
    limit: Duration,
}

/// Marks a connect time-out in the client's chain of causes.
#[derive(Debug, thiserror::Error)]
#[error("connecting took too long")]
struct ConnectTimedOut;

// === impl Client ===

impl Client {
    /// A client that connects so, and no other way.
    ///
    /// # Errors
    /// [`NoClient`] when the CA holds anything but usable certificates.
    pub fn new(wire: &Wire) -> Result<Self, NoClient> {
        Self::renewed_every(POOL_AGE, wire)
    }

    /// The same, whose connections are used for so long.
    fn renewed_every(max_age: Duration, wire: &Wire) -> Result<Self, NoClient> {
        let Wire { origin, ca_pem, connect, proxy } = wire;
        let dial = Dial::new(proxy.clone(), *connect);
        let https = HttpsConnectorBuilder::new().with_tls_config(tls_config(ca_pem.as_deref())?);
        // The configuration lets plain http through for loopback only; here the scheme is taken at its word.
        let connector = if origin.scheme == Scheme::HTTP {
            https.https_or_http().enable_all_versions().wrap_connector(dial)
        } else {
            https.https_only().enable_all_versions().wrap_connector(dial)
        };
        let mut builder = legacy::Client::builder(TokioExecutor::new());
        builder
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE)
            .pool_max_idle_per_host(POOL_MAX_IDLE)
            .http1_max_buf_size(MAX_BUFFER)
            // It would send some requests twice behind our back; each attempt is to be counted, and to have its turn.
            .retry_canceled_requests(false)
            .http2_initial_stream_window_size(STREAM_WINDOW)
            .http2_initial_connection_window_size(CONNECTION_WINDOW)
            // A connection that died in silence would otherwise take every lookup with it until TCP gives up.
            .http2_keep_alive_interval(PING_EVERY)
            .http2_keep_alive_timeout(PING_DEADLINE);
        let connect = Connect { inner: connector, limit: *connect };
        Ok(Self { pools: Arc::new(Pools::new(builder, connect, max_age)), wire: Arc::new(wire.clone()) })
    }

    /// How it connects.
    #[must_use]
    pub fn wire(&self) -> &Wire {
        &self.wire
    }
}

impl Service<Request<Full<Bytes>>> for Client {
    type Response = Response<Complete<Incoming>>;
    type Error = Failure;
    type Future = BoxFuture<'static, Result<Self::Response, Failure>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Full<Bytes>>) -> Self::Future {
        let suspect = Suspect(Some(capture_connection(&mut request)));
        let response = self.pools.current().request(request);
        Box::pin(async move {
            let answer = framed(response.await.map_err(failure)?)?;
            suspect.clear();
            Ok(answer)
        })
    }
}

// === impl Suspect ===

impl Suspect {
    /// It answered.
    fn clear(mut self) {
        self.0 = None;
    }
}

impl Drop for Suspect {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            connection.connection_metadata().as_ref().map(Connected::poison);
        }
    }
}

// === impl Pools ===

impl Pools {
    fn new(builder: legacy::Builder, connect: Connect, max_age: Duration) -> Self {
        let current = Mutex::new((Arc::new(builder.build(connect.clone())), Instant::now()));
        Self { builder, connect, max_age, current }
    }

    /// The pool for a request that is sent now. What is under way in an older one is finished there, and its connections
    /// are closed with it.
    fn current(&self) -> Arc<Pool> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.1.elapsed() >= self.max_age {
            *current = (Arc::new(self.builder.build(self.connect.clone())), Instant::now());
        }
        Arc::clone(&current.0)
    }
}

fn failure(error: legacy::Error) -> Failure {
    if causes(&error).any(|cause| cause.is::<ConnectTimedOut>()) {
        return Failure::TimedOut(Bound::Connect);
    }
    // What is behind a tunnel that was not opened is the proxy's broken answer, not Monime's.
    let tunnelled = !causes(&error).any(|cause| cause.is::<NoTunnel>());
    if tunnelled && causes(&error).any(|cause| cause.downcast_ref().is_some_and(hyper::Error::is_parse)) {
        return Failure::Unreadable(Unreadable::Framing);
    }
    let of_tls = causes(&error).any(|cause| cause.is::<rustls::Error>());
    let came = if error.is_connect() && of_tls {
        Unreachable::Refused
    } else if error.is_connect() {
        Unreachable::NotConnected
    } else {
        // Also where TLS breaks later: whoever is on the way can break it, once the request has come.
        // Whether the connection was new or kept alive makes no difference: nothing has been answered over it.
        Unreachable::Unanswered
    };
    Failure::Unreachable(came, Box::new(error))
}

fn tls_config(ca_pem: Option<&[u8]>) -> Result<ClientConfig, NoClient> {
    let roots = match ca_pem {
        Some(pem) => roots(pem)?,
        None => RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
    };
    Ok(ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

// === impl Connect ===

impl Service<Uri> for Connect {
    type Response = <HttpsConnector<Dial> as Service<Uri>>::Response;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connected = timeout(self.limit, self.inner.call(uri));
        Box::pin(async move { connected.await.map_err(|_| ConnectTimedOut)? })
    }
}

#[cfg(test)]
mod tests;
