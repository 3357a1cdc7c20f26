//! The wire: one pooled HTTP client, HTTP/1.1 or HTTP/2 by ALPN, to one fixed origin.
//!
//! Refuses redirects (it follows none), proxies that it was not given, and to ask any other origin.

mod connect;
mod leased;
mod pool;

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::uri::Scheme;
use http::{HeaderValue, Request, Response};
use http_body_util::Full;
use tower::Service;

use super::failure::Failure;
use super::origin::Origin;
use super::proxy::Proxy;
use super::roots::InvalidRoots;
use connect::Connect;
pub use leased::{CameBy, Leased};
use pool::Pool;

/// For how long requests go over the same connection. A name that has moved is noticed only by who looks it up again, and
/// a busy connection would keep to its old address for ever.
const MAX_AGE: Duration = Duration::from_secs(5 * 60);

/// The pooled client. Clones share the pool.
#[derive(Debug, Clone)]
pub struct Client {
    pool: Arc<Pool>,
    wire: Arc<Wire>,
}

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

// === impl Client ===

impl Client {
    /// A client that connects so, and no other way.
    ///
    /// # Errors
    /// [`NoClient`] when the CA holds anything but usable certificates.
    pub fn new(wire: &Wire) -> Result<Self, NoClient> {
        Self::renewed_every(MAX_AGE, wire)
    }

    /// The same, whose connections are used for so long.
    fn renewed_every(max_age: Duration, wire: &Wire) -> Result<Self, NoClient> {
        let pool = Pool::new(Connect::new(wire)?, host(&wire.origin), max_age);
        Ok(Self { pool: Arc::new(pool), wire: Arc::new(wire.clone()) })
    }

    /// How it connects.
    #[must_use]
    pub fn wire(&self) -> &Wire {
        &self.wire
    }
}

impl Service<Request<Full<Bytes>>> for Client {
    type Response = Response<Leased>;
    type Error = Failure;
    type Future = BoxFuture<'static, Result<Self::Response, Failure>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Full<Bytes>>) -> Self::Future {
        Box::pin(Arc::clone(&self.pool).send(request))
    }
}

/// What a server is called in `Host` (RFC 9110, 7.2): without a port that its scheme implies.
fn host(origin: &Origin) -> HeaderValue {
    let implied = if origin.scheme == Scheme::HTTPS { 443 } else { 80 };
    let host = origin.authority.port_u16().filter(|port| *port == implied).map(|_| origin.authority.host());
    // An authority is visible ASCII; without a host Monime would answer 400.
    HeaderValue::from_str(host.unwrap_or(origin.authority.as_str())).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests;
