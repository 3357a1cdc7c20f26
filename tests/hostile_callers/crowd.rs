//! More connections than there is room for: in all, of one peer, and than there are descriptors. Nobody who is served is
//! cut off for it, nothing spins, and all is well as soon as there is room again.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use monigate::server::{Address, HttpService, Limits, Times, Upload, WithoutFastPath};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tower::service_fn;

use crate::frames::{NO_ERROR, request};
use crate::ground::{ALL, Server, Way, converse};
use crate::running::{Running, alive};
use crate::support::client::{Wire, ask, get};
use crate::support::gateway::{PATIENCE, eventually};

/// A service that holds `/hold` until its gate opens, and counts what it was asked.
struct Held {
    calls: Arc<AtomicUsize>,
    gate: watch::Sender<bool>,
}

fn held() -> (impl HttpService, Held) {
    let (calls, gate) = (Arc::new(AtomicUsize::new(0)), watch::Sender::new(false));
    let (count, opened) = (Arc::clone(&calls), gate.subscribe());
    let service = service_fn(move |request: Request<Upload>| {
        count.fetch_add(1, Ordering::Relaxed);
        let mut opened = opened.clone();
        async move {
            if request.uri().path() == "/hold" {
                let _ = opened.wait_for(|open| *open).await;
            }
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"hello\n"))))
        }
    });
    (WithoutFastPath::new(service), Held { calls, gate })
}

impl Held {
    async fn hears(&self, count: usize) {
        let heard = async || (self.calls.load(Ordering::Relaxed) >= count).then_some(());
        eventually("they are heard", heard).await;
    }
}

/// Limits that only the number of connections can meet.
fn room(connections: usize, connections_per_peer: Option<usize>) -> Limits {
    let long = 10 * PATIENCE;
    let last_words = Duration::from_millis(100);
    let times = Times { handshake: long, head: long, idle: long, send: long, age: long, last_words };
    Limits { connections, connections_per_peer, times, ..Limits::default() }
}

#[tokio::test]
async fn who_finds_no_room_waits_and_is_served_when_one_goes() {
    for way in [Way::Http1, Way::Http1OverTls] {
        let (service, held) = held();
        let server = Server::start(way, service, room(3, None)).await;
        let mut busy = Vec::new();
        for _ in 0..3 {
            let mut wire = server.place.wire().await;
            wire.send(get("/hold", "")).await;
            busy.push(wire);
        }
        held.hears(3).await;
        // Shaking hands is being served.
        let next = async {
            let mut next = server.place.wire().await;
            next.send(get("/", "")).await;
            next.answer().await.expect("an answer")
        };
        let mut next = std::pin::pin!(next);
        assert!(timeout(Duration::from_millis(500), next.as_mut()).await.is_err(), "{way:?}: there is no room");
        assert_eq!(held.calls.load(Ordering::Relaxed), 3);
        drop(busy.pop());
        assert_eq!(next.await.status, 200, "{way:?}");
        held.gate.send_replace(true);
        for mut wire in busy {
            assert_eq!(wire.answer().await.expect("nobody who is served is cut off").status, 200, "{way:?}");
        }
    }
}

#[tokio::test]
async fn who_is_idle_makes_room_and_who_is_served_does_not() {
    for way in ALL {
        let (service, held) = held();
        let server = Server::start(way, service, room(2, None)).await;
        let hold = if way.http2() {
            let mut peer = server.place.peer().await;
            peer.ask(1, "/hold").await;
            Err(peer)
        } else {
            let mut wire = server.place.wire().await;
            wire.send(get("/hold", "")).await;
            Ok(wire)
        };
        held.hears(1).await;
        for round in 0..3 {
            // The one of the round before is idle.
            let idle = if way.http2() {
                let mut peer = server.place.peer().await;
                peer.ask(1, "/").await;
                assert_eq!(peer.outcome(1).await.status(), Some(200), "{way:?} {round}");
                Err(peer)
            } else {
                let mut wire = server.place.wire().await;
                wire.send(get("/", "")).await;
                assert_eq!(wire.answer().await.unwrap().status, 200, "{way:?} {round}");
                Ok(wire)
            };
            let mut next = server.place.connect().await;
            let asked = if way.http2() {
                [crate::frames::PREFACE, &crate::frames::frame(4, 0, 0, &[]), &request(1, "/")].concat()
            } else {
                get("/", "Connection: close\r\n").into_bytes()
            };
            tokio::io::AsyncWriteExt::write_all(&mut next, &asked).await.unwrap();
            match idle {
                Ok(wire) => assert_eq!(wire.rest().await, b"", "{way:?}"),
                Err(mut peer) => assert_eq!(peer.end().await.unwrap_or_default(), NO_ERROR, "{way:?}"),
            }
            held.hears(2 * round + 3).await;
        }
        held.gate.send_replace(true);
        match hold {
            Ok(mut wire) => assert_eq!(wire.answer().await.unwrap().status, 200, "{way:?}"),
            Err(mut peer) => assert_eq!(peer.outcome(1).await.status(), Some(200), "{way:?}"),
        }
    }
}

/// Connects from this address of the loopback.
async fn from(ip: &str, address: &Address) -> TcpStream {
    let Address::Tcp(address) = address else { panic!("a TCP address") };
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{ip}:0").parse().unwrap()).unwrap();
    socket.connect(*address).await.unwrap()
}

#[tokio::test]
async fn one_peer_gets_no_more_than_its_connections_and_others_theirs() {
    let (service, held) = held();
    let server = Server::start(Way::Http1, service, room(100, Some(2))).await;
    let address = server.place.address.clone();
    let mut busy = Vec::new();
    for _ in 0..2 {
        let mut wire = Wire::over(from("127.0.0.1", &address).await);
        wire.send(get("/hold", "")).await;
        busy.push(wire);
    }
    held.hears(2).await;
    for _ in 0..5 {
        let said = converse(Box::new(from("127.0.0.1", &address).await), b"").await;
        assert_eq!(said.text, b"", "it is closed at once");
    }
    let mut other = Wire::over(from("127.0.0.2", &address).await);
    other.send(get("/", "")).await;
    assert_eq!(other.answer().await.expect("another peer is served").status, 200);
    drop(busy.pop());
    eventually("there is room again", async || {
        let mut wire = Wire::over(from("127.0.0.1", &address).await);
        wire.send(get("/", "")).await;
        wire.answer().await
    })
    .await;
    held.gate.send_replace(true);
    assert_eq!(busy.pop().unwrap().answer().await.unwrap().status, 200);
    server.stop().await;
}

/// Watches for a second, in which little may happen: neither may it spin, nor fill the log.
async fn stays_calm(running: &Running) {
    let (busy, lines) = (running.busy(), running.gateway.process.err().lines().count());
    sleep(Duration::from_secs(1)).await;
    let (busy, lines) = (running.busy() - busy, running.gateway.process.err().lines().count() - lines);
    assert!(busy < 25, "it was busy for {busy} hundredths of a second");
    assert!(lines < 5, "{lines} lines in a second: {}", running.gateway.process.err());
}

#[tokio::test]
async fn without_descriptors_it_waits_and_comes_back() {
    for way in [Way::Http1, Way::Http2OverTls] {
        let mut running = Running::start(way, &[], 4096).await;
        running.look_up().await;
        let mut operator = running.operator().await;
        assert_eq!(alive(&mut operator).await.unwrap().status, 200);
        let free = running.descriptors() + 10;
        running.gateway.process.limit_descriptors(free);
        let mut crowd = Vec::new();
        for _ in 0..100 {
            crowd.push(running.place.tcp().await);
        }
        eventually("there are none left", async || (running.descriptors() >= free).then_some(())).await;
        stays_calm(&running).await;
        assert!(running.gateway.process.is_running());
        assert_eq!(alive(&mut operator).await.expect("who is there is served").status, 200);
        running.gateway.process.limit_descriptors(4096);
        assert_eq!(ask(running.admin(), &get("/livez", "")).await.status, 200, "operators are let in again");
        timeout(PATIENCE, running.look_up()).await.expect("and so are callers");
        drop(crowd);
        eventually("the crowd's descriptors are free", async || (running.descriptors() < free).then_some(())).await;
        let log = running.gateway.process.err();
        assert!(log.lines().filter(|line| line.contains("accept")).count() < 20, "{log}");
    }
}

#[tokio::test]
async fn a_crowd_at_a_gateway_with_few_descriptors_leaves_room_for_operators_and_for_monime() {
    for way in [Way::Http1, Way::Http2OverTls] {
        let mut running = Running::start(way, &[], 100).await;
        let warned = running.gateway.process.says("files that this process may have open").await;
        assert_eq!(warned["level"], "WARN", "{warned}");
        let mut crowd = Vec::new();
        for _ in 0..200 {
            crowd.push(running.place.tcp().await);
        }
        eventually("they are let in", async || (running.descriptors() > 30).then_some(())).await;
        stays_calm(&running).await;
        for _ in 0..3 {
            assert_eq!(ask(running.admin(), &get("/livez", "")).await.status, 200);
        }
        assert!(running.descriptors() < 100);
        drop(crowd);
        timeout(PATIENCE, running.look_up()).await.expect("callers are let in again");
        assert!(running.gateway.process.is_running());
    }
}
