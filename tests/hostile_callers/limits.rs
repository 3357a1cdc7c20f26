//! How long a connection may take over what. Each test makes one time short and all others far longer than a test waits,
//! so that only the one that is meant can have ended it.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use monigate::server::{HttpService, Limits, Times, Upload, WithoutFastPath};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::time::{Instant, interval, timeout};
use tower::service_fn;

use crate::frames::{END_STREAM, GOAWAY, HEADERS, PING, PREFACE, Peer, SETTINGS, block, frame, lookup};
use crate::ground::{ALL, HTTP1, HTTP2, Io, Server, Way, converse, hello};
use crate::support::client::{Wire, get};
use crate::support::gateway::PATIENCE;

/// The one that is short.
const SHORT: Duration = Duration::from_millis(500);

/// Limits of which one time is short.
pub(crate) fn short(which: fn(&mut Times) -> &mut Duration) -> Limits {
    let long = 10 * PATIENCE;
    let last_words = Duration::from_millis(500);
    let mut times = Times { handshake: long, head: long, idle: long, send: long, age: long, last_words };
    *which(&mut times) = SHORT;
    Limits { times, ..Limits::default() }
}

/// Says this, then nothing, until the other side ends the connection; what that said. It must have waited.
async fn cut_off(io: Io, bytes: &[u8], began: Instant) -> Vec<u8> {
    let said = converse(io, bytes).await;
    let waited = began.elapsed();
    assert!(waited > SHORT * 8 / 10, "it ended after {waited:?}: {}", said.text.escape_ascii());
    assert!(said.orderly, "it was reset");
    said.text
}

#[tokio::test]
async fn a_handshake_that_stalls_is_cut_off() {
    // The first bytes of a ClientHello.
    for bytes in [&b""[..], b"\x16\x03\x01", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"] {
        let server = Server::start(Way::Http1OverTls, hello().0, short(|times| &mut times.handshake)).await;
        let began = Instant::now();
        cut_off(Box::new(server.place.tcp().await), bytes, began).await;
    }
}

#[tokio::test]
async fn who_says_nothing_is_cut_off_without_an_answer() {
    for way in ALL {
        let server = Server::start(way, hello().0, short(|times| &mut times.head)).await;
        let began = Instant::now();
        let said = cut_off(server.place.connect().await, b"", began).await;
        assert!(!said.windows(5).any(|window| window == b"HTTP/"), "{way:?}: {}", said.escape_ascii());
        assert!(said.is_empty() || way.http2(), "{way:?}: {}", said.escape_ascii());
    }
}

#[tokio::test]
async fn a_preface_without_its_end_or_without_a_request_is_cut_off() {
    let settings = frame(SETTINGS, 0, 0, &[]);
    let begun = [PREFACE, &settings, &frame(HEADERS, END_STREAM, 1, &block(&lookup("/")))].concat();
    for way in HTTP2 {
        for bytes in [&PREFACE[..3], &PREFACE[..20], PREFACE, &[PREFACE, &settings].concat(), &begun] {
            let server = Server::start(way, hello().0, short(|times| &mut times.head)).await;
            let began = Instant::now();
            cut_off(server.place.connect().await, bytes, began).await;
        }
    }
}

#[tokio::test]
async fn a_head_that_stalls_is_told_so_and_cut_off() {
    for way in HTTP1 {
        let server = Server::start(way, hello().0, short(|times| &mut times.head)).await;
        for bytes in ["G", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nHost: gateway\r\nX-A: b"] {
            for before in [0, 1] {
                let mut wire = server.place.wire().await;
                for _ in 0..before {
                    wire.send(get("/", "")).await;
                    assert_eq!(wire.answer().await.unwrap().status, 200);
                }
                let began = Instant::now();
                wire.send(bytes).await;
                let answer = wire.answer().await.expect("it is told");
                assert_eq!((answer.status, answer.header("connection")), (408, Some("close")), "{way:?} {bytes}");
                assert!(began.elapsed() > SHORT * 8 / 10);
                assert_eq!(wire.rest().await, b"");
            }
        }
    }
}

#[tokio::test]
async fn who_asked_once_is_cut_off_when_idle() {
    for way in ALL {
        let server = Server::start(way, hello().0, short(|times| &mut times.idle)).await;
        let mut io = server.place.connect().await;
        let mut bytes = get("/", "").into_bytes();
        if way.http2() {
            bytes = [PREFACE, &frame(SETTINGS, 0, 0, &[]), &crate::frames::request(1, "/")].concat();
        }
        io.write_all(&bytes).await.unwrap();
        let began = Instant::now();
        let said = cut_off(io, b"", began).await;
        assert!(said.windows(6).any(|window| window == b"hello\n"), "{way:?}: {}", said.escape_ascii());
    }
}

#[tokio::test]
async fn pings_do_not_keep_a_connection_from_being_idle() {
    for way in HTTP2 {
        let server = Server::start(way, hello().0, short(|times| &mut times.idle)).await;
        let mut peer = server.place.peer().await;
        peer.ask(1, "/").await;
        assert_eq!(peer.outcome(1).await.status(), Some(200));
        let (mut reader, mut writer) = tokio::io::split(peer.io);
        let mut beat = interval(SHORT / 10);
        let pinging = async {
            while writer.write_all(&frame(PING, 0, 0, &[0; 8])).await.is_ok() {
                let _ = writer.flush().await;
                beat.tick().await;
            }
        };
        let mut text = Vec::new();
        let ended = async { while reader.read_buf(&mut text).await.is_ok_and(|read| read > 0) {} };
        let either = async {
            tokio::select! { () = ended => {} () = pinging => {} }
        };
        timeout(PATIENCE, either).await.expect("it ends");
    }
}

#[tokio::test]
async fn who_asks_again_and_again_is_not_idle() {
    let server = Server::start(Way::Http1, hello().0, short(|times| &mut times.idle)).await;
    let mut wire = server.place.wire().await;
    let (began, mut beat) = (Instant::now(), interval(SHORT / 4));
    while began.elapsed() < 3 * SHORT {
        beat.tick().await;
        wire.send(get("/", "")).await;
        assert_eq!(wire.answer().await.expect("it is still served").status, 200);
    }
}

/// A body without an end, which tells when it is let go.
struct Endless(Arc<Notify>);

impl Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b'x'; 8192])))))
    }
}

impl Drop for Endless {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

fn endless(gone: &Arc<Notify>) -> impl HttpService + use<> {
    let gone = Arc::clone(gone);
    WithoutFastPath::new(service_fn(move |_: Request<Upload>| {
        std::future::ready(Ok::<_, Infallible>(Response::new(Endless(Arc::clone(&gone)))))
    }))
}

#[tokio::test]
async fn who_takes_nothing_of_its_answer_is_cut_off() {
    for way in ALL {
        let gone = Arc::new(Notify::new());
        let server = Server::start(way, endless(&gone), short(|times| &mut times.send)).await;
        let mut io = server.place.connect().await;
        let mut bytes = get("/", "").into_bytes();
        if way.http2() {
            // The second without any window: nothing of its body may ever be sent.
            let requests = [crate::frames::request(1, "/"), crate::frames::request(3, "/")].concat();
            bytes = [PREFACE, &frame(SETTINGS, 0, 0, &[]), &requests].concat();
        }
        io.write_all(&bytes).await.unwrap();
        io.flush().await.unwrap();
        timeout(PATIENCE, gone.notified()).await.unwrap_or_else(|_| panic!("{way:?}: it is held for ever"));
    }
}

#[tokio::test]
async fn who_leaves_no_window_for_its_answer_is_cut_off() {
    for way in HTTP2 {
        let gone = Arc::new(Notify::new());
        let server = Server::start(way, endless(&gone), short(|times| &mut times.send)).await;
        let mut peer = Peer::greet_with(server.place.connect().await, &[0, 4, 0, 0, 0, 0]).await;
        peer.ask(1, "/").await;
        timeout(PATIENCE, gone.notified()).await.unwrap_or_else(|_| panic!("{way:?}: it is held for ever"));
    }
}

#[tokio::test]
async fn who_takes_its_answer_slowly_is_not_cut_off() {
    let server = Server::start(Way::Http1, endless(&Arc::default()), short(|times| &mut times.send)).await;
    let mut io = server.place.connect().await;
    io.write_all(get("/", "").as_bytes()).await.unwrap();
    let (began, mut beat, mut bytes) = (Instant::now(), interval(SHORT / 4), vec![0; 4 << 20]);
    while began.elapsed() < 3 * SHORT {
        beat.tick().await;
        timeout(PATIENCE, io.read_exact(&mut bytes)).await.unwrap().expect("it still comes");
    }
}

#[tokio::test]
async fn who_asks_on_and_on_and_reads_nothing_is_cut_off() {
    for way in HTTP1 {
        let server = Server::start(way, hello().0, short(|times| &mut times.send)).await;
        let mut io = server.place.connect().await;
        let requests = get("/", "").repeat(1000).into_bytes();
        let asking = async { while io.write_all(&requests).await.is_ok() {} };
        timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("{way:?}: it is held for ever"));
    }
}

#[tokio::test]
async fn an_old_connection_is_told_to_go_with_an_answer() {
    for way in HTTP1 {
        let server = Server::start(way, hello().0, short(|times| &mut times.age)).await;
        let mut wire = server.place.wire().await;
        let (began, mut beat) = (Instant::now(), interval(SHORT / 20));
        loop {
            beat.tick().await;
            assert!(began.elapsed() < PATIENCE, "{way:?}: it grows older and older");
            wire.send(get("/", "")).await;
            // Closed between two requests is as good.
            let Some(answer) = wire.answer().await else { break };
            assert_eq!(answer.status, 200);
            if answer.header("connection") == Some("close") {
                assert_eq!(wire.rest().await, b"");
                break;
            }
        }
        assert!(began.elapsed() > SHORT * 8 / 10, "{way:?}: {:?}", began.elapsed());
    }
}

#[tokio::test]
async fn an_old_connection_that_is_idle_ends() {
    for way in ALL {
        let server = Server::start(way, hello().0, short(|times| &mut times.age)).await;
        let began = Instant::now();
        if way.http2() {
            let mut peer = server.place.peer().await;
            peer.ask(1, "/").await;
            peer.until(|frame| frame.kind == GOAWAY).await;
            assert_eq!(peer.end().await, Some(0), "{way:?}");
        } else {
            let mut wire: Wire = server.place.wire().await;
            wire.send(get("/", "")).await;
            assert_eq!(wire.answer().await.unwrap().status, 200);
            assert_eq!(wire.rest().await, b"");
        }
        assert!(began.elapsed() > SHORT * 8 / 10, "{way:?}: {:?}", began.elapsed());
    }
}
