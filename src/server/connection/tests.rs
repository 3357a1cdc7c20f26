//! One connection on an in-memory wire and a paused clock: how long it may take over what, and how it ends.

mod at_once;
mod over_http2;

use std::convert::Infallible;
use std::future::ready;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper_util::rt::TokioExecutor;
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::watch::Sender;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tower::service_fn;

use super::*;
use crate::server::crowd::Peers;
use crate::server::limits::Times;
use crate::server::tls::{ClientAuth, Files};
use crate::server::{Rules, Upload, WithoutFastPath};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
/// What is between two moments on a paused clock that moves by milliseconds.
const TICK: Duration = Duration::from_millis(2);

fn times() -> Times {
    Times::default()
}

/// The far end of a connection, the connection's task and what tells it how the server feels.
struct Wire {
    far: DuplexStream,
    task: JoinHandle<()>,
    state: Sender<ServerState>,
}

/// A connection whose service answers after `takes`.
fn wire(takes: Duration) -> Wire {
    let (far, near) = duplex(64 * 1024);
    let service = service_fn(move |_: Request<Upload>| async move {
        sleep(takes).await;
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"answer"))))
    });
    let (state, connection) = connection(service, None);
    Wire { far, task: tokio::spawn(connection.run(near, seat())), state }
}

fn connection<S, B>(service: S, tls: Option<Tls>) -> (Sender<ServerState>, Connection<WithoutFastPath>)
where
    S: tower::Service<Request<Upload>, Response = Response<B>, Error = Infallible, Future: Send + 'static>
        + Clone
        + Send
        + Sync
        + 'static,
    B: hyper::body::Body<Data = Bytes, Error: Into<tower::BoxError>> + Send + 'static,
{
    let rules = Rules::default();
    let state = Sender::new(ServerState::default());
    let limits = *rules.limits.borrow();
    let service = WithoutFastPath::new(service);
    let connection = Connection { service, reject: rules.reject, limits, state: state.subscribe(), tls };
    (state, connection)
}

fn seat() -> Seat {
    Peers::default().seat(None, None).unwrap()
}

impl Wire {
    async fn ask(&mut self) {
        self.far.write_all(REQUEST).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"answer") {
            assert_ne!(self.far.read_buf(&mut answer).await.unwrap(), 0, "closed without an answer");
        }
    }

    fn drain(&self) {
        self.state.send_modify(|state| state.draining = true);
    }

    /// What it still says, and how long it takes until it is closed.
    async fn ends(mut self) -> (String, Duration) {
        let (started, mut said) = (Instant::now(), Vec::new());
        self.far.read_to_end(&mut said).await.unwrap();
        let took = started.elapsed();
        drop(self.far);
        self.task.await.unwrap();
        (String::from_utf8(said).unwrap(), took)
    }

    /// How long it takes until it is closed, in silence.
    async fn closes_after(self) -> Duration {
        let (said, took) = self.ends().await;
        assert_eq!(said, "");
        took
    }
}

fn is_about(took: Duration, wanted: Duration) -> bool {
    (wanted..=wanted + TICK).contains(&took)
}

#[tokio::test(start_paused = true)]
async fn who_asks_nothing_is_left_alone_for_the_time_of_a_head_and_then_closed_in_silence() {
    assert!(is_about(wire(Duration::ZERO).closes_after().await, times().head));
    let mut wire = wire(Duration::ZERO);
    wire.far.write_all(b"PRI * HTTP/2.0\r\n").await.unwrap();
    assert!(is_about(wire.closes_after().await, times().head));
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_has_asked_costs_nothing_until_its_idle_time_is_over() {
    let (far, near) = duplex(64 * 1024);
    let answer = || Response::new(Full::new(Bytes::from_static(b"answer")));
    let (state, connection) = connection(service_fn(move |_: Request<Upload>| ready(Ok(answer()))), None);
    let polled = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&polled);
    let task = tokio::spawn(async move {
        let mut run = pin!(connection.run(near, seat()));
        poll_fn(|cx| {
            counted.fetch_add(1, Relaxed);
            run.as_mut().poll(cx)
        })
        .await;
    });
    let mut wire = Wire { far, task, state };
    wire.ask().await;
    sleep(TICK).await;
    let polls = polled.load(Relaxed);
    sleep(times().idle - 2 * TICK).await;
    assert_eq!(polled.load(Relaxed), polls, "it was woken for nothing");
    assert!(wire.closes_after().await <= 2 * TICK);
}

#[tokio::test(start_paused = true)]
async fn a_head_that_never_ends_is_told_so_and_closed() {
    for asked_before in [false, true] {
        let mut wire = wire(Duration::ZERO);
        if asked_before {
            wire.ask().await;
            sleep(times().idle / 2).await;
        }
        for byte in b"GET / H" {
            wire.far.write_all(&[*byte]).await.unwrap();
            sleep(Duration::from_secs(1)).await;
        }
        let (said, took) = wire.ends().await;
        assert!(said.starts_with("HTTP/1.1 408 "), "{said}");
        assert!(is_about(took, times().head - Duration::from_secs(7)), "asked before: {asked_before}, {took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_next_head_has_all_the_time_while_an_answer_is_under_way() {
    let mut wire = wire(4 * times().head);
    wire.far.write_all(REQUEST).await.unwrap();
    wire.far.write_all(b"GET /next").await.unwrap();
    sleep(4 * times().head - Duration::from_secs(1)).await;
    wire.far.write_all(b" HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let (said, _) = wire.ends().await;
    assert_eq!(said.matches("HTTP/1.1 200 OK").count(), 2, "{said}");
}

#[tokio::test(start_paused = true)]
async fn who_has_asked_is_closed_when_idle_for_long_and_not_before() {
    let mut wire = wire(Duration::ZERO);
    for _ in 0..5 {
        wire.ask().await;
        sleep(times().idle - Duration::from_secs(1)).await;
    }
    wire.ask().await;
    assert!(is_about(wire.closes_after().await, times().idle));
}

#[tokio::test(start_paused = true)]
async fn where_there_is_a_crowd_the_idle_make_room() {
    let mut wire = wire(Duration::ZERO);
    wire.ask().await;
    wire.state.send_modify(|state| state.crowded = true);
    assert!(is_about(wire.closes_after().await, Duration::from_secs(1)));
}

#[tokio::test(start_paused = true)]
async fn a_long_answer_is_waited_for() {
    let mut wire = wire(5 * times().idle);
    wire.ask().await;
}

#[tokio::test(start_paused = true)]
async fn an_old_connection_gets_a_last_answer_or_none_if_it_is_idle() {
    let mut idle = wire(Duration::ZERO);
    let started = Instant::now();
    while started.elapsed() < times().age.mul_f64(0.89) {
        idle.ask().await;
        sleep(times().idle / 2).await;
    }
    let (mut said, mut asked) = (String::new(), 0);
    while !said.contains("connection: close") {
        asked += 1;
        assert!(asked < 3_000, "it never leaves");
        idle.far.write_all(REQUEST).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"answer") {
            assert_ne!(idle.far.read_buf(&mut answer).await.unwrap(), 0, "closed without a last answer");
        }
        said = String::from_utf8(answer).unwrap();
        // Shorter than its last words.
        sleep(Duration::from_millis(400)).await;
    }
    assert!(started.elapsed() <= times().age.mul_f64(1.11));
    assert_eq!(idle.ends().await.0, "");
}

#[tokio::test(start_paused = true)]
async fn who_takes_nothing_of_its_answers_is_closed() {
    let (far, near) = duplex(16);
    let service = service_fn(|_: Request<Upload>| {
        ready(Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(&[b'x'; 1024])))))
    });
    let (_mood, connection) = connection(service, None);
    let (mut reads, mut asks) = tokio::io::split(far);
    let task = tokio::spawn(connection.run(near, seat()));
    asks.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    asks.write_all(b"Host: a\r\n\r\n").await.unwrap();
    let mut some = [0; 8];
    for _ in 0..3 {
        sleep(times().send - Duration::from_secs(1)).await;
        reads.read_exact(&mut some).await.unwrap();
    }
    let started = Instant::now();
    task.await.unwrap();
    assert!(is_about(started.elapsed(), times().send), "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_idle_http_2_connection_is_closed_too() {
    let Wire { far, task, state: _mood } = wire(Duration::ZERO);
    let handshake = hyper::client::conn::http2::Builder::new(TokioExecutor::new()).handshake(TokioIo::new(far));
    let (mut sender, connection) = handshake.await.unwrap();
    let client = tokio::spawn(connection);
    let request = Request::builder().uri("http://a/").body(Empty::<Bytes>::new()).unwrap();
    assert_eq!(sender.send_request(request).await.unwrap().status(), http::StatusCode::OK);
    let started = Instant::now();
    task.await.unwrap();
    assert!(is_about(started.elapsed(), times().idle), "{:?}", started.elapsed());
    // The client sees it end; how, does not matter.
    let _ = client.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_drain_hears_the_last_words_of_the_idle_and_of_the_silent() {
    let mut idle = wire(Duration::ZERO);
    idle.ask().await;
    idle.drain();
    assert!(is_about(idle.closes_after().await, times().last_words));

    let silent = wire(Duration::ZERO);
    silent.drain();
    assert!(is_about(silent.closes_after().await, times().last_words));

    for asked_before in [false, true] {
        let mut late = wire(Duration::from_secs(3));
        if asked_before {
            late.ask().await;
        }
        late.drain();
        sleep(times().last_words / 2).await;
        late.far.write_all(REQUEST).await.unwrap();
        let (said, took) = late.ends().await;
        assert!(said.contains("connection: close") && said.ends_with("answer"), "{asked_before}: {said}");
        assert!(is_about(took, Duration::from_secs(3)), "its one request was answered, after {took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_an_answer_and_ends_nothing_else() {
    let (far, near) = duplex(64 * 1024);
    let service = service_fn(|request: Request<Upload>| {
        assert_ne!(request.uri().path(), "/at-once");
        async move {
            sleep(Duration::from_millis(1)).await;
            assert_ne!(request.uri().path(), "/later");
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"answer"))))
        }
    });
    let (state, connection) = connection(service, None);
    let mut wire = Wire { far, task: tokio::spawn(connection.run(near, seat())), state };
    for path in ["/at-once", "/later"] {
        wire.far.write_all(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"program\n") {
            assert_ne!(wire.far.read_buf(&mut answer).await.unwrap(), 0, "closed without an answer");
        }
        assert!(answer.starts_with(b"HTTP/1.1 500 "));
    }
    wire.ask().await;
}

#[tokio::test(start_paused = true)]
async fn who_asks_first_while_it_drains_gets_a_last_answer_too() {
    let mut wire = wire(Duration::ZERO);
    sleep(TICK).await;
    wire.drain();
    sleep(times().last_words / 2).await;
    wire.far.write_all(REQUEST).await.unwrap();
    let (said, took) = wire.ends().await;
    assert!(said.contains("connection: close") && said.ends_with("answer"), "{said}");
    assert!(took < times().last_words, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_said_behind_an_answer_that_says_it_is_the_last() {
    let closing: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let old: &[u8] = b"GET / HTTP/1.0\r\nHost: a\r\n\r\n";
    for (last, drains) in [(closing, false), (old, false), (REQUEST, true)] {
        for takes in [Duration::ZERO, Duration::from_secs(1)] {
            let mut wire = wire(takes);
            if drains {
                wire.drain();
                sleep(TICK).await;
            }
            wire.far.write_all(&[last, b"\r\n"].concat()).await.unwrap();
            let (said, _) = wire.ends().await;
            assert!(said.contains("connection: close") && said.ends_with("answer"), "{said}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_is_told_after_every_answer_before_it_and_nothing_behind_it_is_read() {
    let mut wire = wire(Duration::from_secs(1));
    let bad = b"GET / HTTP/1.1\r\nHost: a\n\r\n";
    wire.far.write_all(&[REQUEST, REQUEST, bad, REQUEST].concat()).await.unwrap();
    let (said, _) = wire.ends().await;
    let heads: Vec<_> = said.split("HTTP/1.1 ").map(|answer| answer.get(..3).unwrap_or_default()).collect();
    assert_eq!(heads, ["", "200", "200", "400"], "{said}");
    assert!(said.contains("connection: close"));
}

/// TLS with a certificate of its own, and a client that trusts it.
fn tls() -> (Tls, TlsConnector) {
    let folder = tempfile::tempdir().unwrap();
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let [certificate, key] = ["server.pem", "server.key"].map(|name| folder.path().join(name));
    std::fs::write(&certificate, pair.cert.pem()).unwrap();
    std::fs::write(&key, pair.signing_key.serialize_pem()).unwrap();
    let files =
        Files { certificate, key, client_ca: None, client_auth: ClientAuth::Optional, allow_world_readable: true };
    let mut roots = RootCertStore::empty();
    roots.add(pair.cert.der().clone()).unwrap();
    let client = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let client = client.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
    (Tls::new(files).unwrap(), Arc::new(client.with_no_client_auth()).into())
}

#[tokio::test]
async fn an_answer_that_breaks_off_does_not_end_in_good_order_whatever_comes_behind_its_request() {
    let (tls, client) = tls();
    for version in ["1.0", "1.1"] {
        for behind in ["", "\r\n", "GET / HTTP/1.1\r\nHost: a\n\r\n"] {
            let (far, near) = duplex(64 * 1024);
            let service = service_fn(|_: Request<Upload>| {
                let pieces = [Ok(Frame::data(Bytes::from_static(b"piece"))), Err("broken")];
                ready(Ok::<_, Infallible>(Response::new(StreamBody::new(stream::iter(pieces)))))
            });
            let (_mood, connection) = connection(service, Some(tls.clone()));
            let task = tokio::spawn(connection.run(near, seat()));
            let mut far = client.connect("localhost".try_into().unwrap(), far).await.unwrap();
            far.write_all(format!("GET / HTTP/{version}\r\nHost: a\r\n\r\n{behind}").as_bytes()).await.unwrap();
            let mut said = Vec::new();
            let end = far.read_to_end(&mut said).await.map_err(|error| error.kind());
            assert_eq!(end, Err(io::ErrorKind::UnexpectedEof), "HTTP/{version}, {behind:?}: no close_notify");
            assert!(String::from_utf8(said).unwrap().matches("HTTP/1").count() <= 1, "nothing is said behind it");
            drop(far);
            task.await.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_never_ends_is_given_up() {
    let (tls, _) = tls();
    for (drains, after) in [(false, times().handshake), (true, times().last_words)] {
        for begun in [&b""[..], &[22], &[22, 3, 1]] {
            let (mut far, near) = duplex(1024);
            let service =
                service_fn(|_: Request<Upload>| ready(Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))));
            let (state, connection) = connection(service, Some(tls.clone()));
            state.send_modify(|state| state.draining = drains);
            far.write_all(begun).await.unwrap();
            let started = Instant::now();
            connection.run(near, seat()).await;
            assert!(is_about(started.elapsed(), after), "{drains}, {begun:?}: {:?}", started.elapsed());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_a_body_that_nobody_reads_says_that_it_is_the_last() {
    let mut wire = wire(Duration::ZERO);
    wire.far.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n").await.unwrap();
    let (said, _) = wire.ends().await;
    assert!(said.contains("connection: close") && said.ends_with("answer"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn who_takes_a_long_answer_slowly_over_http_2_gets_all_of_it() {
    const SIZE: usize = 1 << 20;
    let (far, near) = duplex(16 * 1024);
    let service = service_fn(|_: Request<Upload>| {
        ready(Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(&[b'x'; SIZE])))))
    });
    let (_mood, connection) = connection(service, None);
    let task = tokio::spawn(connection.run(near, seat()));
    let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    builder.initial_stream_window_size(32 * 1024).initial_connection_window_size(64 * 1024);
    let (mut sender, client) = builder.handshake(TokioIo::new(far)).await.unwrap();
    let client = tokio::spawn(client);
    let request = Request::builder().uri("http://a/").body(Empty::<Bytes>::new()).unwrap();
    let mut body = sender.send_request(request).await.unwrap().into_body();
    let (started, mut taken) = (Instant::now(), 0);
    while let Some(frame) = body.frame().await {
        taken += frame.unwrap().into_data().unwrap().len();
        sleep(times().send / 20).await;
    }
    assert!(taken == SIZE && started.elapsed() > times().send * 2, "{taken} bytes in {:?}", started.elapsed());
    drop(sender);
    task.await.unwrap();
    let _ = client.await.unwrap();
}

/// A request over HTTP/2 from who lets so much of each answer come: the preface, settings and a window for the
/// connection, then `GET /` in HPACK's static table, with an authority.
fn asked_over_http_2(window: u32) -> Vec<u8> {
    let settings = [&b"\0\0\x06\x04\0\0\0\0\0\0\x04"[..], &window.to_be_bytes()].concat();
    let wider = b"\0\0\x04\x08\0\0\0\0\0\x7f\xff\0\0";
    let request = b"\0\0\x06\x01\x05\0\0\0\x01\x82\x86\x84\x41\x01a";
    [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &settings, wider, request].concat()
}

#[tokio::test(start_paused = true)]
async fn of_an_answer_that_is_not_taken_no_more_is_made_than_a_buffer_holds() {
    const ROOM: usize = 1024;
    let (mut far, near) = duplex(ROOM);
    let made = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&made);
    let service = service_fn(move |_: Request<Upload>| {
        let count = Arc::clone(&count);
        let endless = stream::repeat_with(move || {
            count.fetch_add(ROOM, Relaxed);
            Ok::<_, Infallible>(Frame::data(Bytes::from_static(&[b'x'; ROOM])))
        });
        ready(Ok::<_, Infallible>(Response::new(StreamBody::new(endless))))
    });
    let (_mood, connection) = connection(service, None);
    let task = tokio::spawn(connection.run(near, seat()));
    far.write_all(&asked_over_http_2(i32::MAX as u32)).await.unwrap();
    sleep(times().send / 2).await;
    let made = made.load(Relaxed);
    // What the library has, what it writes, and what is in the wire.
    assert!((ROOM..=128 * 1024).contains(&made), "{made} bytes");
    task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_does_not_say_that_it_lives_is_not_waited_for() {
    let Wire { mut far, task, state: _mood } = wire(Duration::from_secs(600));
    far.write_all(&asked_over_http_2(0)).await.unwrap();
    let (started, mut said) = (Instant::now(), Vec::new());
    far.read_to_end(&mut said).await.unwrap();
    let took = started.elapsed();
    // A ping, its time to be answered, and a second in which to hear why.
    assert!((25..=27).contains(&took.as_secs()), "{took:?}");
    drop(far);
    task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn pings_do_not_pass_for_taking_an_answer() {
    let (far, near) = duplex(64 * 1024);
    let service = service_fn(|_: Request<Upload>| {
        ready(Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(&[b'x'; 1024])))))
    });
    let (_mood, connection) = connection(service, None);
    let task = tokio::spawn(connection.run(near, seat()));
    let (mut reads, mut says) = tokio::io::split(far);
    says.write_all(&asked_over_http_2(0)).await.unwrap();
    let started = Instant::now();
    // And the answer to the library's own, which always says the same.
    let pong = b"\0\0\x08\x06\x01\0\0\0\0\x3b\x7c\xdb\x7a\x0b\x87\x16\xb4";
    let ping = [&b"\0\0\x08\x06\0\0\0\0\x0012345678"[..], pong].concat();
    let pings = async {
        while says.write_all(&ping).await.is_ok() {
            sleep(Duration::from_secs(5)).await;
        }
    };
    let hears = async { tokio::io::copy(&mut reads, &mut tokio::io::sink()).await };
    let _ = tokio::join!(pings, hears);
    task.await.unwrap();
    let took = started.elapsed();
    assert!((times().send..times().send + Duration::from_secs(6)).contains(&took), "{took:?}");
}
