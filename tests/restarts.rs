//! One process after another on the same port, under load: what was accepted is answered, and nobody who only stands
//! around holds the next one up.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what a test cannot prepare is its failure"
)]

mod support;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::Request;
use http_body_util::{BodyExt, Empty};
use monigate::monime::Final;
use monigate::sandbox::{self, DEFAULT_TOKEN, Fault, Limits};
use monigate::server::Address;
use support::certificates::Ca;
use support::client::{H2, Wire, ask_h2, get, h2_over, h2c, path};
use support::gateway::{PATIENCE, SPACE, eventually, play_with};
use support::process::Gateway;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

const RESTARTS: usize = 20;
/// How long Monime takes over what is not in memory: some requests are always under way.
const MONIME_TAKES: Duration = Duration::from_millis(120);
/// Answers between two restarts: everybody is at work again.
const AT_WORK: usize = 150;
/// How long a process that is not busy may take to end.
const IDLE_EXIT: Duration = Duration::from_secs(3);
/// How long one that is busy may take: the longest answer, and what a loaded machine adds.
const BUSY_EXIT: Duration = Duration::from_secs(8);
/// Between two requests of one client, and two attempts at a port where nobody listens.
const PACE: Duration = Duration::from_millis(4);

/// Clients that never stop asking, and what became of their requests.
struct Load {
    address: SocketAddr,
    over: AtomicBool,
    draining: AtomicBool,
    numbers: AtomicUsize,
    answered: AtomicUsize,
    answered_while_draining: AtomicUsize,
    lost: Mutex<Vec<String>>,
}

/// One HTTP/1.1 connection that can be looked at without reading from it.
struct Kept {
    wire: Wire,
    socket: std::net::TcpStream,
}

// === impl Load ===

impl Load {
    fn on(address: SocketAddr) -> Arc<Self> {
        Arc::new(Self {
            address,
            over: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            numbers: AtomicUsize::new(0),
            answered: AtomicUsize::new(0),
            answered_while_draining: AtomicUsize::new(0),
            lost: Mutex::new(Vec::new()),
        })
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// The next session to ask for: every other one is in memory, unless the process is new.
    fn id(&self) -> String {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        if number.is_multiple_of(2) { format!("scs-known{}", number % 8) } else { format!("scs-new{number}") }
    }

    /// A connection, as soon as somebody listens; none once it is over.
    async fn connect(&self) -> Option<TcpStream> {
        while !self.is_over() {
            // Between two processes nobody has accepted anything.
            match timeout(PATIENCE, TcpStream::connect(self.address)).await.expect("an answer to a SYN") {
                Ok(socket) => return Some(socket),
                Err(_) => sleep(PACE).await,
            }
        }
        None
    }

    /// Counts an answer, or what there is in its place.
    fn took(&self, who: &str, id: &str, answer: Result<(u16, Vec<u8>), String>) {
        match answer {
            Ok((200, body)) if String::from_utf8_lossy(&body).contains(&format!("\"{id}\"")) => {
                self.answered.fetch_add(1, Ordering::Relaxed);
                if self.draining.load(Ordering::Relaxed) {
                    self.answered_while_draining.fetch_add(1, Ordering::Relaxed);
                }
            }
            Ok((status, body)) => self.lose(who, id, &format!("{status} {}", String::from_utf8_lossy(&body))),
            Err(error) => self.lose(who, id, &error),
        }
    }

    fn lose(&self, who: &str, id: &str, what: &str) {
        let draining = self.draining.load(Ordering::Relaxed);
        self.lost.lock().unwrap().push(format!("{who} {id} (draining: {draining}): {what}"));
    }

    /// One request after another on a connection, until the gateway closes it between two.
    async fn keep_alive(self: Arc<Self>) {
        while let Some(socket) = self.connect().await {
            let mut kept = Kept::over(socket);
            while !self.is_over() && kept.is_open() && self.ask("kept alive", &mut kept, "").await {
                sleep(PACE).await;
            }
        }
    }

    /// A connection for each request.
    async fn connect_anew(self: Arc<Self>) {
        while let Some(socket) = self.connect().await {
            self.ask("new connection", &mut Kept::over(socket), "Connection: close\r\n").await;
            sleep(PACE).await;
        }
    }

    /// Asks once; false if the connection is of no more use.
    async fn ask(&self, who: &str, kept: &mut Kept, fields: &str) -> bool {
        let id = self.id();
        if kept.wire.try_send(get(&path(&id), fields)).await.is_err() {
            // Not a byte of it was sent.
            return false;
        }
        let answer = kept.wire.answer().await;
        let stays = answer.as_ref().is_some_and(|answer| answer.header("connection") != Some("close"));
        self.took(who, &id, answer.map(|answer| (answer.status, answer.body)).ok_or("no answer".to_owned()));
        stays
    }

    /// Several streams at once on a connection, until the gateway says that it goes away.
    async fn multiplex(self: Arc<Self>, streams: usize) {
        while let Some(socket) = self.connect().await {
            let h2 = h2_over(socket).await;
            join_all((0..streams).map(|_| self.stream(h2.clone()))).await;
        }
    }

    async fn stream(&self, mut h2: H2) {
        while !self.is_over() && h2.ready().await.is_ok() {
            let id = self.id();
            let request = Request::get(format!("http://gateway{}", path(&id))).body(Empty::<Bytes>::new()).unwrap();
            let answered = async {
                let (head, body) = match h2.try_send_request(request).await {
                    Ok(response) => response.into_parts(),
                    Err(mut error) => {
                        // What comes back was not sent.
                        let unsent = error.take_message().is_some();
                        return (!unsent).then(|| Err(format!("{:?}", error.error())));
                    }
                };
                let body = body.collect().await.map_err(|error| format!("{error:?}"));
                Some(body.map(|body| (head.status.as_u16(), body.to_bytes().to_vec())))
            };
            match timeout(PATIENCE, answered).await.expect("an end of the stream") {
                Some(answer) => self.took("HTTP/2", &id, answer),
                None => return,
            }
            sleep(PACE).await;
        }
    }

    /// Callers who never finish asking.
    async fn stand_around(self: Arc<Self>) {
        while let Some(silent) = self.connect().await {
            let (Some(half), Some(preface)) = (self.connect().await, self.connect().await) else { return };
            let (mut half, mut preface) = (Wire::over(half), Wire::over(preface));
            let _ = half.try_send("GET /v1/checkout-sess").await;
            let _ = preface.try_send("PRI * HTTP/2.0\r\n").await;
            let _ = tokio::join!(Wire::over(silent).rest(), half.rest(), preface.rest());
        }
    }

    async fn answers(&self, more: usize) {
        let so_far = self.answered.load(Ordering::Relaxed);
        eventually("the clients are at work", async || {
            (self.answered.load(Ordering::Relaxed) >= so_far + more).then_some(())
        })
        .await;
    }
}

// === impl Kept ===

impl Kept {
    fn over(socket: TcpStream) -> Self {
        let socket = socket.into_std().unwrap();
        let wire = Wire::over(TcpStream::from_std(socket.try_clone().unwrap()).unwrap());
        Self { wire, socket }
    }

    /// Whether the other side has said nothing, and so has not closed either.
    fn is_open(&self) -> bool {
        self.socket.peek(&mut [0]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    }
}

/// A port that no outgoing connection is given meanwhile.
fn fixed_port() -> SocketAddr {
    let mut candidates = (0..100).map(|_| SocketAddr::from(([127, 0, 0, 1], fastrand::u16(20_000..30_000))));
    candidates.find(|address| std::net::TcpListener::bind(address).is_ok()).expect("a free port")
}

async fn start(address: SocketAddr, base_url: &str, settings: &[&str]) -> Gateway {
    let (address, base_url) = (address.to_string(), format!("monime.base_url={base_url}"));
    let mut arguments = vec!["run", "--listen", &address, "--admin", "127.0.0.1:0", "--set", &base_url];
    settings.iter().for_each(|setting| arguments.extend(["--set", *setting]));
    let environment = [("MONIGATE__MONIME__TOKEN", DEFAULT_TOKEN), ("MONIGATE__MONIME__DEFAULT_SPACE", SPACE)];
    Gateway::start(&arguments, &environment).await
}

/// A Monime that knows every session, and takes its time.
async fn slow_monime() -> (String, JoinSet<()>) {
    let settings =
        sandbox::Settings { limits: Limits::NONE, invent: Some(Final::Completed), ..sandbox::Settings::default() };
    let (sandbox, base_url, served) = play_with(settings, None).await;
    sandbox.play(Fault::Latency(MONIME_TAKES), u32::MAX);
    (base_url, served)
}

#[tokio::test]
async fn twenty_restarts_under_load_lose_no_request_that_was_accepted() {
    let (base_url, _monime) = slow_monime().await;
    let load = Load::on(fixed_port());
    let mut clients = JoinSet::new();
    for _ in 0..6 {
        clients.spawn(Arc::clone(&load).keep_alive());
    }
    for _ in 0..3 {
        clients.spawn(Arc::clone(&load).connect_anew());
    }
    for _ in 0..2 {
        clients.spawn(Arc::clone(&load).multiplex(4));
    }
    clients.spawn(Arc::clone(&load).stand_around());
    for _ in 0..RESTARTS {
        let settings = ["budget.endpoint=10000", "budget.token=10000", "budget.space=10000"];
        let mut gateway = start(load.address, &base_url, &settings).await;
        load.answers(AT_WORK).await;
        load.draining.store(true, Ordering::Relaxed);
        let told = Instant::now();
        gateway.process.signal("TERM");
        assert_eq!(gateway.process.ended().await, Some(0));
        assert!(told.elapsed() < BUSY_EXIT, "{:?}", told.elapsed());
        load.draining.store(false, Ordering::Relaxed);
        assert!(gateway.process.err().contains("every accepted request was answered"), "{}", gateway.process.err());
    }
    load.over.store(true, Ordering::Relaxed);
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    let (lost, drained) = (load.lost.lock().unwrap(), load.answered_while_draining.load(Ordering::Relaxed));
    let answered = load.answered.load(Ordering::Relaxed);
    assert!(lost.is_empty(), "{} lost, {answered} answered:\n{}", lost.len(), lost.join("\n"));
    assert!(answered >= RESTARTS * AT_WORK && drained >= RESTARTS, "{answered} answered, {drained} of them at the end");
}

#[tokio::test]
async fn an_idle_gateway_is_gone_within_three_seconds_whoever_stands_around() {
    let (base_url, _monime) = slow_monime().await;
    let (ca, folder) = (Ca::new("the servers' CA"), tempfile::tempdir().unwrap());
    let (certificate, key) = ca.server().write(folder.path(), "server");
    let certificate = format!("listen.tls.cert_file={}", certificate.display());
    let key = format!("listen.tls.key_file={}", key.display());
    for tls in [&[][..], &[certificate.as_str(), key.as_str()]] {
        let mut gateway =
            start("127.0.0.1:0".parse().unwrap(), &base_url, &[tls, &["shutdown.timeout=50m"]].concat()).await;
        // A hello of 512 bytes is announced, and four of them come; to the plain listener it is half a head.
        let mut crowd = Vec::new();
        for said in [
            &b""[..],
            b"GET /v1/checkout-sess",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
        ] {
            let mut wire = Wire::connect(&gateway.address).await;
            wire.send(said).await;
            crowd.push(wire);
        }
        let _known = if tls.is_empty() { Some(idle_but_known(&gateway.address).await) } else { None };
        let told = Instant::now();
        gateway.process.signal("TERM");
        assert_eq!(gateway.process.ended().await, Some(0));
        assert!(told.elapsed() < IDLE_EXIT, "{:?}", told.elapsed());
    }
}

/// Connections that were of use once: kept alive, and HTTP/2.
async fn idle_but_known(address: &Address) -> (Wire, H2) {
    let mut kept_alive = Wire::connect(address).await;
    assert_eq!(kept_alive.look_up("scs-1", "").await.status, 200);
    let h2 = h2c(address).await;
    assert_eq!(ask_h2(&h2, "GET", &path("scs-1"), &[]).await.status, 200);
    (kept_alive, h2)
}
