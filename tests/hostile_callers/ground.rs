//! Where callers meet the gateway: four ways to speak, a whole gateway or a bare server behind each, and a
//! conversation that holds nothing back.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io::Cursor;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response};
use http_body_util::Full;
use monigate::config::Config;
use monigate::server::tls::{ClientAuth, Files};
use monigate::server::{Address, FastPath, HttpService, Limits, Listener, PlainHead, Rules, Tls, Upload, serve};
use rustls::version::TLS13;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tower::Service;

use crate::frames::Peer;
use crate::support::certificates::{Ca, put};
use crate::support::client::{Answer, Wire, shake};
use crate::support::gateway::{Gateway, PATIENCE, load_files, play};

/// How callers speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Http1,
    Http1OverTls,
    Http2,
    Http2OverTls,
}

pub(crate) const HTTP1: [Way; 2] = [Way::Http1, Way::Http1OverTls];
pub(crate) const HTTP2: [Way; 2] = [Way::Http2, Way::Http2OverTls];
pub(crate) const ALL: [Way; 4] = [Way::Http1, Way::Http1OverTls, Way::Http2, Way::Http2OverTls];

/// Any connection.
pub(crate) type Io = Box<dyn Stream>;

pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// A place to connect to.
pub(crate) struct Place {
    pub(crate) address: Address,
    way: Way,
    ca: Ca,
    folder: TempDir,
}

/// A whole gateway in this process, before the sandbox.
pub(crate) struct Ground {
    pub(crate) gateway: Gateway,
    pub(crate) place: Place,
    next: AtomicUsize,
}

/// A server with a service of one's own.
pub(crate) struct Server {
    pub(crate) place: Place,
    stop: Option<oneshot::Sender<()>>,
    task: JoinSet<()>,
}

/// All that the other side said until it ended the connection.
pub(crate) struct Said {
    pub(crate) text: Vec<u8>,
    /// It did not break off.
    pub(crate) orderly: bool,
}

// === impl Way ===

impl Way {
    pub(crate) fn tls(self) -> bool {
        matches!(self, Self::Http1OverTls | Self::Http2OverTls)
    }

    pub(crate) fn http2(self) -> bool {
        matches!(self, Self::Http2 | Self::Http2OverTls)
    }
}

// === impl Place ===

impl Place {
    /// Nobody is there yet.
    pub(crate) fn new(way: Way) -> Self {
        let address = "127.0.0.1:0".parse().unwrap();
        Self { address, way, ca: Ca::new("the servers' CA"), folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn way(&self) -> Way {
        self.way
    }

    /// Connects, and shakes hands where that is the way.
    pub(crate) async fn connect(&self) -> Io {
        if !self.way.tls() {
            return Box::new(self.tcp().await);
        }
        let protocol = if self.way.http2() { "h2" } else { "http/1.1" };
        let config = self.ca.trusted_by(None, &[protocol], &[&TLS13]);
        Box::new(shake(&self.address, config).await.unwrap())
    }

    /// Connects and says nothing.
    pub(crate) async fn tcp(&self) -> TcpStream {
        let Address::Tcp(address) = self.address else { panic!("a TCP address") };
        let socket = TcpStream::connect(address).await.unwrap();
        socket.set_nodelay(true).unwrap();
        socket
    }

    pub(crate) async fn wire(&self) -> Wire {
        Wire::over(self.connect().await)
    }

    /// Speaks HTTP/2.
    pub(crate) async fn peer(&self) -> Peer {
        Peer::greet(self.connect().await).await
    }

    /// Says all of this and hears what comes of it.
    pub(crate) async fn converse(&self, bytes: impl Into<Vec<u8>>) -> Said {
        converse(self.connect().await, &bytes.into()).await
    }

    /// Writes a configuration's file with its TLS table; an empty one where it speaks without.
    pub(crate) fn write(&self) -> PathBuf {
        let (certificate, key) = self.ca.server().write(self.folder.path(), "server");
        let table = format!("[listen.tls]\ncert_file = {certificate:?}\nkey_file = {key:?}\n");
        let file = self.folder.path().join("monigate.toml");
        put(&file, if self.way.tls() { &table } else { "" }, 0o600);
        file
    }

    /// At an address that is known by now.
    pub(crate) fn at(way: Way, address: &Address, before: Self) -> Self {
        Self { way, address: address.clone(), ..before }
    }
}

// === impl Ground ===

impl Ground {
    pub(crate) async fn on(way: Way) -> Self {
        Self::with(way, &[]).await
    }

    /// With further settings, each as `key=value`.
    pub(crate) async fn with(way: Way, settings: &[&str]) -> Self {
        let (sandbox, base_url, served) = play(None).await;
        let (place, config) = configured(way, &base_url, settings);
        Self::at(place, Gateway::open(sandbox, served, config).await)
    }

    /// Asks whoever is at `base_url`; the sandbox hears nothing.
    pub(crate) async fn before(way: Way, base_url: &str) -> Self {
        let (place, config) = configured(way, base_url, &[]);
        Self::at(place, Gateway::of(config).await)
    }

    fn at(place: Place, gateway: Gateway) -> Self {
        let place = Place { address: gateway.address.clone(), ..place };
        Self { gateway, place, next: AtomicUsize::new(0) }
    }

    /// The path of a session that nobody asked for yet, and that Monime does not have.
    pub(crate) fn fresh(&self) -> String {
        format!("/v1/checkout-sessions/scs-fresh-{}", self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// The path of a session that is in memory.
    pub(crate) async fn kept(&self) -> String {
        let path = crate::support::client::path(self.gateway.completed());
        let mut answer = Vec::new();
        if self.place.way.http2() {
            let mut peer = self.place.peer().await;
            peer.ask(1, &path).await;
            answer.push(peer.outcome(1).await.status());
        } else {
            let mut wire = self.place.wire().await;
            wire.send(crate::support::client::get(&path, "")).await;
            answer.push(wire.answer().await.map(|answer| answer.status));
        }
        assert_eq!(answer, [Some(200)]);
        path
    }
}

fn configured(way: Way, base_url: &str, settings: &[&str]) -> (Place, Config) {
    let place = Place::new(way);
    let file = place.write();
    let budget = ["endpoint", "token", "space"].map(|scope| format!("budget.{scope}=10000"));
    let settings: Vec<_> = budget.iter().map(String::as_str).chain(settings.iter().copied()).collect();
    let config = load_files(vec![file], base_url, &settings).unwrap();
    (place, config)
}

// === impl Server ===

impl Server {
    /// Serves by these limits.
    pub(crate) async fn start(way: Way, service: impl HttpService, limits: Limits) -> Self {
        let mut place = Place::new(way);
        let mut listener = Listener::bind(&place.address, None).await.unwrap();
        place.address = listener.address().clone();
        if way.tls() {
            let (certificate, key) = place.ca.server().write(place.folder.path(), "server");
            let files = Files {
                certificate,
                key,
                client_ca: None,
                client_auth: ClientAuth::Optional,
                allow_world_readable: false,
            };
            listener = listener.with_tls(Tls::new(files).unwrap());
        }
        let (stop, stopped) = oneshot::channel::<()>();
        let mut task = JoinSet::new();
        task.spawn(serve(listener, service, Rules::plain(limits), async { drop(stopped.await) }));
        Self { place, stop: Some(stop), task }
    }

    /// Lets it drain and waits until it has.
    pub(crate) async fn stop(mut self) {
        drop(self.stop.take());
        timeout(PATIENCE, self.task.join_next()).await.expect("it ends").unwrap().unwrap();
    }
}

/// Says hello to everyone, at once where it is offered a plain head, and how often it did.
pub(crate) fn hello() -> (impl HttpService, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    (Hello(Arc::clone(&calls)), calls)
}

#[derive(Clone)]
struct Hello(Arc<AtomicUsize>);

const HELLO: Bytes = Bytes::from_static(b"hello\n");

impl FastPath for Hello {
    fn answer(&self, _: PlainHead<'_>, _: Instant, out: &mut Vec<u8>) -> Option<Bytes> {
        self.0.fetch_add(1, Ordering::Relaxed);
        out.extend_from_slice(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n");
        Some(HELLO)
    }

    fn respond(&self, _: &Parts, _: Instant) -> Option<Response<Bytes>> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Some(Response::new(HELLO))
    }
}

impl Service<Request<Upload>> for Hello {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Upload>) -> Self::Future {
        self.0.fetch_add(1, Ordering::Relaxed);
        ready(Ok(Response::new(Full::new(HELLO))))
    }
}

// === impl Said ===

impl Said {
    /// The answers, each whole.
    pub(crate) async fn answers(&self) -> Vec<Answer> {
        let mut wire = Wire::over(Cursor::new(self.text.clone()));
        let mut answers = Vec::new();
        while let Some(answer) = wire.answer().await {
            answers.push(answer);
        }
        answers
    }
}

/// Says as much of this as the other side takes, and reads what it says meanwhile, until it ends the connection.
pub(crate) async fn converse(io: Io, bytes: &[u8]) -> Said {
    let (mut reader, mut writer) = tokio::io::split(io);
    let mut text = Vec::new();
    let saying = async {
        for piece in bytes.chunks(16 * 1024) {
            if writer.write_all(piece).await.is_err() {
                return;
            }
        }
        let _ = writer.flush().await;
    };
    let hearing = async {
        match reader.read_to_end(&mut text).await {
            Ok(_) => true,
            // Without the farewell of TLS, but not reset either.
            Err(error) => error.kind() == std::io::ErrorKind::UnexpectedEof,
        }
    };
    let both = async { tokio::join!(saying, hearing).1 };
    let orderly = timeout(PATIENCE, both).await.expect("the connection ends");
    Said { text, orderly }
}
