//! HTTP as the bench itself speaks it, to check answers and to time single ones. Owns asking over HTTP/1.1, HTTP/2 and TLS
//! alike; refuses to judge an answer, and to make load.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Nothing may take longer.
const PATIENCE: Duration = Duration::from_secs(20);
/// The space that everyone asks in; where there are more, the first one.
pub(crate) const SPACE: &str = "spc-bench";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    H1,
    H2,
}

/// Where to ask, how, and with which key.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) protocol: Protocol,
    pub(crate) tls: Option<Arc<ClientConfig>>,
    pub(crate) key: String,
}

/// An answer, whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) fields: HeaderMap,
    pub(crate) body: Bytes,
}

/// One connection.
pub(crate) struct Connection {
    sender: Sender,
    target: Target,
}

enum Sender {
    H1(http1::SendRequest<Empty<Bytes>>),
    H2(http2::SendRequest<Empty<Bytes>>),
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// So many spaces. What comes after the first's name is a hyphen and a number.
pub(crate) fn space_names(all: usize) -> impl Iterator<Item = String> {
    std::iter::once(SPACE.to_owned()).chain((1..all).map(|number| format!("{SPACE}-{number}")))
}

/// The path of a session.
pub(crate) fn path(id: &str) -> String {
    format!("/v1/checkout-sessions/{id}")
}

/// Trusts one authority.
pub(crate) fn trust(ca: &Path) -> io::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    let ca = CertificateDer::from_pem_file(ca).map_err(io::Error::other)?;
    roots.add(ca).map_err(io::Error::other)?;
    Ok(Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()))
}

// === impl Target ===

impl Target {
    pub(crate) fn plain(address: SocketAddr, key: &str) -> Self {
        Self { address, protocol: Protocol::H1, tls: None, key: key.to_owned() }
    }

    pub(crate) fn base(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// One request on a connection of its own.
    pub(crate) async fn ask(&self, path: &str) -> io::Result<Answer> {
        Connection::to(self).await?.ask(path).await
    }

    async fn connect(&self) -> io::Result<Box<dyn Stream>> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let Some(tls) = &self.tls else { return Ok(Box::new(stream)) };
        let name = ServerName::from(self.address.ip());
        Ok(Box::new(TlsConnector::from(Arc::clone(tls)).connect(name, stream).await?))
    }
}

// === impl Answer ===

impl Answer {
    pub(crate) fn field(&self, name: &str) -> &str {
        self.fields.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// About what its head takes over HTTP/1.1.
    pub(crate) fn head_size(&self) -> usize {
        let field = |(name, value): (&http::HeaderName, &http::HeaderValue)| name.as_str().len() + value.len() + 4;
        "HTTP/1.1 200 OK\r\n\r\n".len() + self.fields.iter().map(field).sum::<usize>()
    }
}

// === impl Connection ===

impl Connection {
    pub(crate) async fn to(target: &Target) -> io::Result<Self> {
        let io = TokioIo::new(target.connect().await?);
        let sender = match target.protocol {
            Protocol::H1 => {
                let (sender, connection) = http1::handshake(io).await.map_err(io::Error::other)?;
                tokio::spawn(connection);
                Sender::H1(sender)
            }
            Protocol::H2 => {
                let (sender, connection) =
                    http2::handshake(TokioExecutor::new(), io).await.map_err(io::Error::other)?;
                tokio::spawn(connection);
                Sender::H2(sender)
            }
        };
        Ok(Self { sender, target: target.clone() })
    }

    /// Asks, and reads the whole answer.
    pub(crate) async fn ask(&mut self, path: &str) -> io::Result<Answer> {
        let asked = self.exchange(path);
        tokio::time::timeout(PATIENCE, asked).await.map_err(|_| io::Error::other("no answer in time"))?
    }

    async fn exchange(&mut self, path: &str) -> io::Result<Answer> {
        let mut request = Request::get(path).header("monime-space-id", SPACE);
        if !self.target.key.is_empty() {
            request = request.header(AUTHORIZATION, format!("Bearer {}", self.target.key));
        }
        let sent = match &mut self.sender {
            Sender::H1(sender) => {
                let request = request.header(http::header::HOST, self.target.address.to_string());
                let request = request.body(Empty::new()).map_err(io::Error::other)?;
                sender.ready().await.map_err(io::Error::other)?;
                sender.send_request(request).await
            }
            Sender::H2(sender) => {
                let request = request.uri(format!("{}{path}", self.target.base()));
                sender.send_request(request.body(Empty::new()).map_err(io::Error::other)?).await
            }
        };
        let (head, body) = sent.map_err(io::Error::other)?.into_parts();
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        Ok(Answer { status: head.status, fields: head.headers, body })
    }
}
