//! Clients that hide nothing: HTTP/1.1 byte by byte over TCP or a Unix socket, HTTP/2 by prior knowledge.

use std::fmt;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use monigate::server::Address;
use rustls::ClientConfig;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::gateway::PATIENCE;

/// An answer, whole.
#[derive(Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// One HTTP/1.1 connection.
pub(crate) struct Wire {
    io: Box<dyn Io>,
    /// What was read and belongs to no answer yet.
    ahead: Vec<u8>,
}

/// One HTTP/2 connection; clones share it.
pub(crate) type H2 = http2::SendRequest<Empty<Bytes>>;

trait Io: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// A request's text without a body. `fields` are whole lines.
pub(crate) fn get(target: &str, fields: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: gateway\r\n{fields}\r\n")
}

/// The path of a session.
pub(crate) fn path(id: impl fmt::Display) -> String {
    format!("/v1/checkout-sessions/{id}")
}

/// Sends one request on a connection of its own.
pub(crate) async fn ask(address: &Address, request: &str) -> Answer {
    let mut wire = Wire::connect(address).await;
    wire.send(request).await;
    wire.answer().await.expect("an answer")
}

/// Connects and speaks HTTP/2 at once.
pub(crate) async fn h2c(address: &Address) -> H2 {
    let Address::Tcp(address) = address else { panic!("a TCP address") };
    h2_over(TcpStream::connect(address).await.unwrap()).await
}

/// Speaks HTTP/2 over a connection that is there already.
pub(crate) async fn h2_over(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> H2 {
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(io)).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// Connects to `127.0.0.1` by that name and shakes hands.
///
/// # Errors
/// Why the handshake failed. With TLS 1.3 a server's refusal shows only on the first reading.
pub(crate) async fn shake(address: &Address, config: ClientConfig) -> io::Result<TlsStream<TcpStream>> {
    let Address::Tcp(address) = address else { panic!("a TCP address") };
    let socket = TcpStream::connect(address).await.unwrap();
    let shaken = TlsConnector::from(Arc::new(config)).connect(address.ip().into(), socket);
    timeout(PATIENCE, shaken).await.expect("a handshake ends")
}

/// Asks over HTTP/2.
pub(crate) async fn ask_h2(sender: &H2, method: &str, path: &str, fields: &[(&str, &str)]) -> Answer {
    let uri = format!("http://gateway{path}");
    let request = Request::builder().method(method).uri(uri);
    let request = fields.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let mut sender = sender.clone();
    let asked = async {
        sender.ready().await.unwrap();
        let response = sender.send_request(request.body(Empty::new()).unwrap()).await.unwrap();
        let (head, body) = response.into_parts();
        let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers = head.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
        Answer { status: head.status.as_u16(), headers, body: body.collect().await.unwrap().to_bytes().to_vec() }
    };
    timeout(PATIENCE, asked).await.expect("an answer over HTTP/2")
}

// === impl Wire ===

impl Wire {
    pub(crate) async fn connect(address: &Address) -> Self {
        let io: Box<dyn Io> = match address {
            Address::Tcp(address) => Box::new(TcpStream::connect(address).await.unwrap()),
            Address::Unix(path) => Box::new(UnixStream::connect(path).await.unwrap()),
        };
        Self { io, ahead: Vec::new() }
    }

    /// Over a connection that is there already.
    pub(crate) fn over(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        Self { io: Box::new(io), ahead: Vec::new() }
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.io.write_all(bytes.as_ref()).await.unwrap();
    }

    /// The same on a connection that may be gone.
    ///
    /// # Errors
    /// Why nothing could be sent.
    pub(crate) async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.io.write_all(bytes.as_ref()).await
    }

    /// The next answer; none when the connection ended before one began.
    pub(crate) async fn answer(&mut self) -> Option<Answer> {
        timeout(PATIENCE, self.read(false)).await.expect("an answer in time")
    }

    /// The next answer, to a `HEAD`.
    pub(crate) async fn head(&mut self) -> Answer {
        timeout(PATIENCE, self.read(true)).await.expect("an answer in time").expect("an answer")
    }

    /// Sends a lookup with these header lines and reads its answer.
    pub(crate) async fn look_up(&mut self, id: impl fmt::Display, fields: &str) -> Answer {
        self.send(get(&path(id), fields)).await;
        self.answer().await.expect("an answer")
    }

    /// Everything that came until these bytes were there, and they.
    pub(crate) async fn until(&mut self, bytes: &str) -> String {
        let found = async {
            loop {
                let text = String::from_utf8_lossy(&self.ahead).into_owned();
                if let Some(at) = text.find(bytes) {
                    self.ahead.drain(..at + bytes.len());
                    return text[..at + bytes.len()].to_owned();
                }
                assert!(self.more().await, "the connection ended before {bytes:?}: {text}");
            }
        };
        timeout(PATIENCE, found).await.unwrap_or_else(|_| panic!("never: {bytes:?}"))
    }

    /// Everything until the other side closes.
    pub(crate) async fn rest(mut self) -> Vec<u8> {
        // A reset ends a connection too.
        let _ = timeout(PATIENCE, self.io.read_to_end(&mut self.ahead)).await.expect("the connection ends");
        self.ahead
    }

    async fn read(&mut self, head_only: bool) -> Option<Answer> {
        let end = loop {
            if let Some(at) = self.ahead.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            if !self.more().await {
                assert!(self.ahead.is_empty(), "an answer broke off: {}", String::from_utf8_lossy(&self.ahead));
                return None;
            }
        };
        let head: Vec<u8> = self.ahead.drain(..end).collect();
        let mut answer = Answer::of_head(&String::from_utf8(head).unwrap());
        let without_body = head_only || answer.status == 304 || answer.status < 200;
        let length = answer.header("content-length").map_or(0, |length| length.parse().unwrap());
        let length = if without_body { 0 } else { length };
        while self.ahead.len() < length {
            assert!(self.more().await, "a body broke off");
        }
        answer.body = self.ahead.drain(..length).collect();
        Some(answer)
    }

    async fn more(&mut self) -> bool {
        self.io.read_buf(&mut self.ahead).await.is_ok_and(|read| read > 0)
    }
}

// === impl Answer ===

impl Answer {
    fn of_head(head: &str) -> Self {
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let fields = lines.filter_map(|line| line.split_once(": "));
        let headers = fields.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
        Self { status, headers, body: Vec::new() }
    }

    /// A header's value; panics if it is there more than once.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(header, _)| header == name).map(|(_, value)| value.as_str());
        let value = found.next();
        assert_eq!(found.next(), None, "{name} is there twice");
        value
    }

    pub(crate) fn cache_status(&self) -> &str {
        self.header("cache-status").unwrap_or_default()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Status and `error.reason` of an answer in Monime's envelope.
    pub(crate) fn failure(&self) -> (u16, String) {
        let json = self.json();
        assert_eq!(json["success"], false, "{self:?}");
        assert_eq!(json["error"]["code"], self.status, "{self:?}");
        assert!(json["error"]["details"].is_array() && json["messages"].is_array(), "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/json"), "{self:?}");
        (self.status, json["error"]["reason"].as_str().unwrap().to_owned())
    }

    /// The session's status in an answer of Monime's.
    pub(crate) fn session(&self) -> String {
        self.json()["result"]["status"].as_str().unwrap_or_default().to_owned()
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?} {}", self.status, self.headers, self.text())
    }
}
