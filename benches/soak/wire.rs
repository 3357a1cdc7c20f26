//! HTTP as the soak's callers speak it, with every byte of every answer looked at. Owns reading; refuses to judge what an
//! answer means.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Nothing may take longer: the gateway's own patience is half of it.
const PATIENCE: Duration = Duration::from_secs(20);

/// An answer, whole.
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// As text, names in lower case over either protocol.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

/// One HTTP/1.1 connection.
pub(crate) struct Wire {
    pub(crate) stream: TcpStream,
    buffer: Vec<u8>,
}

pub(crate) type H2 = http2::SendRequest<Empty<Bytes>>;

// === impl Answer ===

impl Answer {
    pub(crate) fn field(&self, name: &str) -> &str {
        let fields = self.head.lines().filter_map(|line| line.split_once(": "));
        fields.into_iter().find(|(found, _)| *found == name).map_or("", |(_, value)| value)
    }
}

// === impl Wire ===

impl Wire {
    pub(crate) async fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::new() })
    }

    /// Sends a request and reads its answer.
    pub(crate) async fn ask(&mut self, text: &str) -> io::Result<Answer> {
        self.stream.write_all(text.as_bytes()).await?;
        self.answer().await
    }

    /// The next answer. An end before its last byte is an error.
    pub(crate) async fn answer(&mut self) -> io::Result<Answer> {
        tokio::time::timeout(PATIENCE, self.read()).await.map_err(|_| io::Error::other("no answer in time"))?
    }

    async fn read(&mut self) -> io::Result<Answer> {
        self.buffer.clear();
        loop {
            if let Some((end, length)) = lengths(&self.buffer)
                && self.buffer.len() >= end + length
            {
                let body = self.buffer.split_off(end);
                let head = String::from_utf8_lossy(&self.buffer).into_owned();
                let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
                return Ok(Answer { status, head, body });
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// Where the head of the answer in `buffer` ends and how long its body is, once that is known.
fn lengths(buffer: &[u8]) -> Option<(usize, usize)> {
    let end = memchr::memmem::find(buffer, b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(buffer.get(..end)?).ok()?;
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    Some((end, length.and_then(|length| length.parse().ok()).unwrap_or(0)))
}

/// The text of a `GET`. `fields` are whole lines.
pub(crate) fn get(target: &str, fields: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nhost: gateway\r\n{fields}\r\n")
}

/// Sends one request with this JSON on a connection of its own.
pub(crate) async fn send(address: SocketAddr, method: &str, target: &str, json: &str) -> io::Result<Answer> {
    let length = json.len();
    let text = format!(
        "{method} {target} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n{json}"
    );
    Wire::connect(address).await?.ask(&text).await
}

/// Connects and speaks HTTP/2 at once.
pub(crate) async fn h2c(address: SocketAddr) -> io::Result<H2> {
    let io = TokioIo::new(TcpStream::connect(address).await?);
    let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.map_err(io::Error::other)?;
    tokio::spawn(connection);
    Ok(sender)
}

/// Asks over HTTP/2.
pub(crate) async fn ask_h2(sender: &mut H2, target: &str) -> io::Result<Answer> {
    let request = Request::get(format!("http://gateway{target}")).body(Empty::new()).map_err(io::Error::other)?;
    let asked = async {
        let (head, body) = sender.send_request(request).await.map_err(io::Error::other)?.into_parts();
        let text = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
            format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes()))
        };
        let fields: String = head.headers.iter().map(text).collect();
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes().to_vec();
        Ok(Answer { status: head.status.as_u16(), head: fields, body })
    };
    tokio::time::timeout(PATIENCE, asked).await.map_err(|_| io::Error::other("no answer in time"))?
}
