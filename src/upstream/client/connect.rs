//! A new connection: name, TCP, a proxy, TLS, and what is spoken over it, HTTP/1.1 or HTTP/2 by ALPN.
//!
//! Owns the deadline for all of it, and how the HTTP library is set. Refuses certificates that do not chain to the roots it
//! was given, and any TLS provider but aws-lc-rs.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::{PathAndQuery, Scheme};
use http_body_util::Full;
use hyper::client::conn::{http1, http2};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::Connection as _;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use tokio::time::timeout;
use tower::{BoxError, Service};

use super::{NoClient, Wire};
use crate::upstream::failure::{Bound, Failure, Unreachable, causes};
use crate::upstream::origin::Origin;
use crate::upstream::roots::roots;
use crate::upstream::tunnel::Dial;

/// Bytes of one response head that are buffered, and read at once; hyper's own default is six times that.
const MAX_BUFFER: usize = 64 * 1024;

/// Bytes of one answer, and of all on one connection, that HTTP/2 lets Monime send before they are read (RFC 9113, 5.2).
/// Callers read at their leisure what is passed on: so many answers wait before one that is read at once has to wait too.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 256 * STREAM_WINDOW;

/// How often an HTTP/2 connection with requests on it is asked whether it lives, and how long it may take to say so.
/// One that died in silence would otherwise take every lookup with it until TCP gives up.
const PING_EVERY: Duration = Duration::from_secs(10);
const PING_DEADLINE: Duration = Duration::from_secs(5);

/// How connections are made.
#[derive(Debug)]
pub(super) struct Connect {
    connector: HttpsConnector<Dial>,
    origin: Origin,
    limit: Duration,
}

/// What a request is given to.
pub(super) enum Sender {
    /// One request at a time.
    Http1(http1::SendRequest<Full<Bytes>>),
    /// All of them.
    Http2(http2::SendRequest<Full<Bytes>>),
}

// === impl Connect ===

impl Connect {
    pub(super) fn new(wire: &Wire) -> Result<Self, NoClient> {
        let Wire { origin, ca_pem, connect, proxy } = wire;
        let dial = Dial::new(proxy.clone(), *connect);
        let https = HttpsConnectorBuilder::new().with_tls_config(tls_config(ca_pem.as_deref())?);
        // The configuration lets plain http through for loopback only; here the scheme is taken at its word.
        let connector = if origin.scheme == Scheme::HTTP {
            https.https_or_http().enable_all_versions().wrap_connector(dial)
        } else {
            https.https_only().enable_all_versions().wrap_connector(dial)
        };
        Ok(Self { connector, origin: origin.clone(), limit: *connect })
    }

    /// Connects. Cancel-safe: dropping it closes what was opened.
    pub(super) async fn connect(&self) -> Result<Sender, Failure> {
        let url = self.origin.url(PathAndQuery::from_static("/")).map_err(|error| Failure::Internal(error.into()))?;
        let connected = timeout(self.limit, async {
            let io = self.connector.clone().call(url).await?;
            if io.connected().is_negotiated_h2() {
                let (sender, connection) = http2().handshake(io).await?;
                tokio::spawn(until_it_ends(connection));
                return Ok(Sender::Http2(sender));
            }
            let (sender, connection) = http1().handshake(io).await?;
            tokio::spawn(until_it_ends(connection));
            Ok(Sender::Http1(sender))
        });
        connected.await.map_err(|_| Failure::TimedOut(Bound::Connect))?.map_err(unconnected)
    }
}

fn http1() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.max_buf_size(MAX_BUFFER);
    builder
}

fn http2() -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_DEADLINE);
    builder
}

/// Moves the bytes of a connection. Whoever has a request on it learns of its end by that.
async fn until_it_ends(connection: impl Future<Output = hyper::Result<()>>) {
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a connection to Monime ended");
    }
}

fn unconnected(error: BoxError) -> Failure {
    let of_tls = causes(error.as_ref()).any(|cause| cause.is::<rustls::Error>());
    let came = if of_tls { Unreachable::Refused } else { Unreachable::NotConnected };
    Failure::Unreachable(came, error)
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
