//! One connection on an in-memory wire and a paused clock: how long it may be silent, and how it ends.

use std::future::ready;

use bytes::Bytes;
use http::Response;
use http_body_util::{Empty, Full};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::watch::Sender;
use tokio::task::JoinHandle;
use tower::service_fn;

use super::*;
use crate::server::tls::{ClientAuth, Files};

const TIMES: Times = Times {
    handshake: Duration::from_secs(5),
    head: Duration::from_secs(10),
    idle: Duration::from_secs(60),
    send: Duration::from_secs(30),
    age: Duration::from_secs(3600),
    last_words: Duration::from_millis(500),
};
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// The far end of a connection, the connection's task and what tells it to drain.
struct Wire {
    far: DuplexStream,
    task: JoinHandle<()>,
    drain: Sender<bool>,
}

/// A connection whose service answers after `takes`.
fn wire(takes: Duration) -> Wire {
    let (far, near) = duplex(64 * 1024);
    let (drain, draining) = watch::channel(false);
    let service = service_fn(move |_: Request<Incoming>| async move {
        sleep(takes).await;
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"answer"))))
    });
    let connection = Connection { service, times: TIMES, draining, tls: None };
    Wire { far, task: tokio::spawn(connection.run(near)), drain }
}

impl Wire {
    async fn ask(&mut self) {
        self.far.write_all(REQUEST).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"answer") {
            assert_ne!(self.far.read_buf(&mut answer).await.unwrap(), 0, "closed without an answer");
        }
    }

    /// How long it takes until the connection is closed.
    async fn closes_after(self) -> Duration {
        let started = Instant::now();
        self.task.await.unwrap();
        started.elapsed()
    }
}

#[tokio::test(start_paused = true)]
async fn who_asks_nothing_is_left_alone_for_the_time_of_a_first_request() {
    assert_eq!(wire(Duration::ZERO).closes_after().await, TIMES.head);
    for begun in [&b"G"[..], b"PRI * HTTP/2.0\r\n", b"GET / HTTP/1.1\r\nHost:"] {
        let mut wire = wire(Duration::ZERO);
        wire.far.write_all(begun).await.unwrap();
        assert_eq!(wire.closes_after().await, TIMES.head, "{begun:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_has_asked_is_closed_when_idle_for_long_and_not_before() {
    let mut wire = wire(Duration::ZERO);
    for _ in 0..5 {
        wire.ask().await;
        sleep(TIMES.idle - Duration::from_secs(1)).await;
    }
    wire.ask().await;
    let idle = wire.closes_after().await;
    assert!((TIMES.idle..=2 * TIMES.idle).contains(&idle), "{idle:?}");
}

#[tokio::test(start_paused = true)]
async fn a_head_that_never_ends_is_idle_too() {
    let mut wire = wire(Duration::ZERO);
    wire.ask().await;
    wire.far.write_all(b"GET / HTTP/1.1\r\nX: ").await.unwrap();
    let idle = wire.closes_after().await;
    assert!((TIMES.idle..=2 * TIMES.idle).contains(&idle), "{idle:?}");
}

#[tokio::test(start_paused = true)]
async fn a_long_answer_is_waited_for() {
    let mut wire = wire(5 * TIMES.idle);
    wire.ask().await;
}

#[tokio::test(start_paused = true)]
async fn an_idle_http_2_connection_is_closed_too() {
    let Wire { far, task, drain: _drain } = wire(Duration::ZERO);
    let handshake = hyper::client::conn::http2::Builder::new(TokioExecutor::new()).handshake(TokioIo::new(far));
    let (mut sender, connection) = handshake.await.unwrap();
    let client = tokio::spawn(connection);
    let request = Request::builder().uri("http://a/").body(Empty::<Bytes>::new()).unwrap();
    assert_eq!(sender.send_request(request).await.unwrap().status(), http::StatusCode::OK);
    let started = Instant::now();
    task.await.unwrap();
    assert!((TIMES.idle..=2 * TIMES.idle).contains(&started.elapsed()), "{:?}", started.elapsed());
    // The client sees it end; how, does not matter.
    let _ = client.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_drain_closes_the_idle_at_once_and_hears_the_last_words_of_the_silent() {
    let mut idle = wire(Duration::ZERO);
    idle.ask().await;
    idle.drain.send_replace(true);
    assert_eq!(idle.closes_after().await, Duration::ZERO);

    let silent = wire(Duration::ZERO);
    silent.drain.send_replace(true);
    assert_eq!(silent.closes_after().await, TIMES.last_words);

    let mut late = wire(Duration::from_secs(3));
    late.drain.send_replace(true);
    sleep(TIMES.last_words / 2).await;
    late.ask().await;
    assert_eq!(late.closes_after().await, Duration::ZERO, "its one request was answered");
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_never_ends_takes_no_more_than_the_time_of_a_first_request() {
    let folder = tempfile::tempdir().unwrap();
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let [certificate, key] = ["server.pem", "server.key"].map(|name| folder.path().join(name));
    std::fs::write(&certificate, pair.cert.pem()).unwrap();
    std::fs::write(&key, pair.signing_key.serialize_pem()).unwrap();
    let files =
        Files { certificate, key, client_ca: None, client_auth: ClientAuth::Optional, allow_world_readable: true };
    let tls = Tls::new(files).unwrap();
    for (drains, after) in [(false, TIMES.head), (true, TIMES.last_words)] {
        let (_far, near) = duplex(1024);
        let (drain, draining) = watch::channel(drains);
        let service =
            service_fn(|_: Request<Incoming>| ready(Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))));
        let connection = Connection { service, times: TIMES, draining, tls: Some(tls.clone()) };
        let started = Instant::now();
        connection.run(near).await;
        assert_eq!(started.elapsed(), after);
        drop(drain);
    }
}
