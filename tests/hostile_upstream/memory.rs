//! What an enemy makes the gateway's process hold, measured on the real one from outside.

use std::sync::Arc;

use futures_util::future::join_all;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::bodies::{coded, gzip};
use super::frames::{END_HEADERS, Frames, HEADERS, fields, frame};
use super::support::callers::{SHOP, bearer, process};
use super::support::client::{Wire, get, path};
use super::support::process::Gateway;
use super::support::upstream::{Step, Upstream, answer, error, session};
use super::{FAST, SHORT, callers};

const MIB: u64 = 1 << 20;
/// How many distinct sessions are asked for; a million by hand:
/// `MONIGATE_IDS=1000000 cargo test --profile release-dev --test hostile_upstream distinct -- --nocapture`.
const IDS: Option<&str> = option_env!("MONIGATE_IDS");

/// The real program with the one caller.
async fn gateway(base_url: &str, settings: &[&str]) -> (Gateway, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let more = [&FAST, settings].concat();
    let gateway = process(&folder, &callers(), base_url, &more).await;
    (gateway, folder)
}

/// A connection on which this was asked; nobody reads the answer yet.
async fn asked(gateway: &Gateway, request: &str) -> Wire {
    let mut wire = Wire::connect(&gateway.address).await;
    wire.send(request).await;
    wire
}

/// Twenty of each way to ask, at once.
fn crowd() -> Vec<String> {
    let fields = format!("Connection: close\r\n{}", bearer(SHOP));
    let write =
        format!("POST /v1/payouts HTTP/1.1\r\nHost: g\r\n{fields}Idempotency-Key: k\r\nContent-Length: 2\r\n\r\n{{}}");
    let lookups = (0..20).map(|number| get(&path(format!("scs-{number}")), &fields));
    let reads = (0..20).map(|_| get("/v1/banks", &fields));
    lookups.chain(reads).chain((0..20).map(|_| write.clone())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_answers_of_fifty_megabytes_at_once_grow_memory_by_less_than_64_mib() {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
    let chunk = [b"10000\r\n", &[b' '; 0x10000][..], b"\r\n"].concat();
    let send = |fields: &str| Step::Send(format!("{head}{fields}\r\n").into_bytes());
    // Fifty megabytes and on for as long as anybody reads; a hundred members of ten megabytes each in one of gzip.
    let bomb = coded("Content-Encoding: gzip\r\n", &gzip(&vec![b' '; 10_000_000]).repeat(100));
    for (what, steps) in [
        ("announced", vec![send("Content-Length: 50000000\r\n"), Step::Flood(chunk.clone())]),
        ("in chunks", vec![send("Transfer-Encoding: chunked\r\n"), Step::Flood(chunk.clone())]),
        ("to the end", vec![send(""), Step::Flood(chunk)]),
        ("a bomb", vec![Step::Send(bomb)]),
    ] {
        let upstream = Upstream::playing(steps).await;
        let (gateway, _folder) = gateway(&upstream.base_url, &["monime.timeouts.write=10s"]).await;
        let before = gateway.process.memory("VmHWM");
        let crowd = crowd();
        // Everything was sent before anything is read: whoever does not read costs no more.
        let wires = join_all(crowd.iter().map(|request| asked(&gateway, request))).await;
        upstream.hears(60).await;
        join_all(wires.into_iter().map(Wire::rest)).await;
        let grown = gateway.process.memory("VmHWM") - before;
        println!("{what}: grew by {} KiB from {} KiB", grown / 1024, before / 1024);
        assert!(grown < 64 * MIB, "{what}: {grown}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interim_answers_without_end_over_http_2_take_no_memory() {
    let flood = |stream| {
        let interim = fields(&[(":status", "103"), ("link", &"x".repeat(1000))]);
        vec![Step::Flood(frame(HEADERS, END_HEADERS, stream, &interim))]
    };
    let frames = Frames::start(flood).await;
    let folder = tempfile::tempdir().unwrap();
    let ca = frames.ca_file(&folder);
    let (gateway, _folder) = gateway(frames.base_url(), &[&SHORT[..], &[&ca]].concat()).await;
    let before = gateway.process.memory("VmHWM");
    let crowd = crowd();
    let wires = join_all(crowd.iter().map(|request| asked(&gateway, request))).await;
    join_all(wires.into_iter().map(Wire::rest)).await;
    let grown = gateway.process.memory("VmHWM") - before;
    println!("grew by {} KiB from {} KiB", grown / 1024, before / 1024);
    assert!(grown < 64 * MIB, "{grown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_answers_do_not_keep_the_large_buffers_that_they_came_in() {
    const COUNT: u64 = 2000;
    const NOISE: usize = 50_000;
    let upstream = Upstream::start(|_, request| {
        let id = request.split([' ', '/']).nth(4).unwrap();
        // The fields that are kept stand on both sides of what is not.
        let noise = format!("Monime-Request-Id: r\r\nX-Noise: {}\r\nMonime-Request-Duration: 1\r\n", "x".repeat(NOISE));
        vec![Step::Send(answer("200 OK", &noise, &session(id, "completed")))]
    })
    .await;
    let (gateway, _folder) = gateway(&upstream.base_url, &["cache.max_size=64MiB"]).await;
    let mut wire = Wire::connect(&gateway.address).await;
    wire.look_up("scs-warm", &bearer(SHOP)).await;
    let before = gateway.process.memory("VmRSS");
    for number in 0..COUNT {
        let told = wire.look_up(format!("scs-{number}"), &bearer(SHOP)).await;
        assert_eq!((told.status, told.cache_status()), (200, "monigate; fwd=miss; stored"));
    }
    let grown = gateway.process.memory("VmRSS").saturating_sub(before);
    println!("{COUNT} answers behind {} KiB: grew by {} KiB", COUNT * NOISE as u64 / 1024, grown / 1024);
    assert!(grown < 24 * MIB, "{grown}");
}

/// A Monime that is fast: what it says of a session is in the session's number.
async fn fast() -> (String, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}", listener.local_addr().unwrap());
    let mut served = JoinSet::new();
    served.spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut bytes = Vec::new();
                while socket.read_buf(&mut bytes).await.is_ok_and(|read| read > 0) {
                    while let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                        let request = String::from_utf8(bytes.drain(..end + 4).collect()).unwrap();
                        let id = request.split([' ', '/']).nth(4).unwrap();
                        let said = match id.as_bytes().last().unwrap() {
                            b'0' => answer("404 Not Found", "", &error(404)),
                            b'1'..=b'3' => answer("200 OK", "", &session(id, "pending")),
                            _ => answer("200 OK", "", &session(id, "completed")),
                        };
                        socket.write_all(&said).await.unwrap();
                    }
                }
            });
        }
    });
    (base_url, served)
}

/// How many series there are.
async fn series(gateway: &Gateway) -> usize {
    gateway.operator("/metrics").await.text().lines().filter(|line| !line.starts_with('#')).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn distinct_ids_leave_memory_on_a_plateau_and_add_no_series() {
    const MAX_SIZE: u64 = 8 * MIB;
    const CALLERS: u64 = 16;
    let count = IDS.map_or(20_000, |count| count.parse().unwrap());
    let (base_url, _served) = fast().await;
    let (gateway, _folder) = gateway(&base_url, &["cache.max_size=8MiB"]).await;
    let gateway = Arc::new(gateway);
    let mut next = 0;
    let mut figures = Vec::new();
    for part in 0..=8 {
        // The first hundred make every series that there is; then the rest, in eight parts.
        let end = if part == 0 { 160 } else { count * part / 8 };
        join_all((0..CALLERS).map(|caller| {
            let gateway = Arc::clone(&gateway);
            async move {
                let mut wire = Wire::connect(&gateway.address).await;
                for number in (next..end).filter(|number| number % CALLERS == caller) {
                    let told = wire.look_up(format!("scs-{number:024}"), &bearer(SHOP)).await;
                    assert!([200, 404].contains(&told.status), "{told:?}");
                }
            }
        }))
        .await;
        next = end;
        figures.push((end, gateway.process.memory("VmRSS") / 1024, series(&gateway).await));
    }
    println!("ids, resident KiB, series: {figures:?}; at most {} KiB", gateway.process.memory("VmHWM") / 1024);
    let (three_quarters, end) = (figures[6], figures[8]);
    assert!(end.1 * 1024 < MAX_SIZE + 64 * MIB, "{figures:?}");
    assert!(end.1 < three_quarters.1 + 8 * 1024, "it still grows: {figures:?}");
    assert_eq!(figures[1].2, end.2, "{figures:?}");
}
