//! A sandbox on a free port, and a client that shows every byte of what it answers.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use monigate::monime::{SessionId, envelope};
use monigate::sandbox::{DEFAULT_TOKEN, Fault, Limits, Place, Sandbox, Settings};
use monigate::server::Address;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Nothing here takes a tenth of it; whatever does has hung.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
pub(super) const SESSIONS: &str = "/v1/checkout-sessions";

pub(super) struct Running {
    pub(super) sandbox: Sandbox,
    pub(super) address: SocketAddr,
    pub(super) base_url: String,
    stop: oneshot::Sender<()>,
    served: JoinHandle<()>,
}

/// What came before the connection closed.
#[derive(Debug)]
pub(super) struct Raw {
    pub(super) head: String,
    pub(super) body: Vec<u8>,
    /// Whether it closed as TCP or TLS should.
    pub(super) closed: io::Result<()>,
}

impl Running {
    pub(super) async fn start(settings: Settings, tls: Option<&Path>) -> Self {
        let sandbox = Sandbox::new(settings);
        let address = "127.0.0.1:0".parse().unwrap();
        let place = Place { address, tls: tls.map(Into::into), beyond_loopback: false };
        let open = sandbox.open(&place).await.unwrap();
        let Address::Tcp(address) = *open.address() else { panic!("a TCP address") };
        let base_url = open.base_url();
        let (stop, stopped) = oneshot::channel();
        let served = tokio::spawn(open.run(async { drop(stopped.await) }));
        Self { sandbox, address, base_url, stop, served }
    }

    pub(super) async fn without_limits() -> Self {
        Self::start(Settings { limits: Limits::NONE, ..Settings::default() }, None).await
    }

    pub(super) async fn stop(self) {
        self.stop.send(()).unwrap();
        timeout(PATIENCE, self.served).await.unwrap().unwrap();
    }

    pub(super) async fn ask(&self, method: &str, path: &str, fields: &str, body: &str) -> Raw {
        let socket = TcpStream::connect(self.address).await.unwrap();
        exchange(socket, &request(method, path, fields, body)).await
    }

    pub(super) async fn lookup(&self, id: &SessionId) -> Raw {
        self.ask("GET", &format!("{SESSIONS}/{id}"), "", "").await
    }

    pub(super) async fn spoiled(&self, id: &SessionId, fault: Fault) -> Raw {
        self.sandbox.play(fault, 1);
        self.lookup(id).await
    }
}

impl Raw {
    pub(super) fn status(&self) -> u16 {
        self.head.split(' ').nth(1).map_or(0, |status| status.parse().unwrap())
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(super) fn reason(&self) -> String {
        assert!(envelope::is_error(&self.body), "{self:?}");
        self.json().pointer("/error/reason").and_then(Value::as_str).unwrap().to_owned()
    }

    pub(super) fn promised(&self) -> usize {
        self.header("content-length").unwrap().parse().unwrap()
    }
}

pub(super) fn request(method: &str, path: &str, fields: &str, body: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: sandbox\r\nConnection: close\r\nAuthorization: Bearer {DEFAULT_TOKEN}\r\n\
         Monime-Space-Id: spc-shop\r\nContent-Length: {}\r\n{fields}\r\n{body}",
        body.len()
    )
}

/// Sends a request and reads until the other side is done, however it ends.
pub(super) async fn exchange(mut socket: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> Raw {
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    let closed = timeout(PATIENCE, socket.read_to_end(&mut bytes)).await.expect("the connection ends").map(drop);
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").map_or(bytes.len(), |at| at + 4);
    let body = bytes.split_off(end);
    Raw { head: String::from_utf8(bytes).unwrap(), body, closed }
}
