//! Reads on their way: piece by piece, each with its place until its last byte, and never seeming whole when they are not.

use monigate::server::Address;
use tokio::net::TcpSocket;

use super::support::client::{Wire, get};
use super::support::gateway::eventually;
use super::support::upstream::{Step, Upstream};
use super::{Shop, failed};

/// What one waits for all the bytes of: more than is held back, and ends in something to look for.
const FIRST: &str = "first-piece";
/// One place, and a deadline that passes soon.
const SHORT: [&str; 3] = ["limits.max_in_flight=1", "monime.timeouts.connect=300ms", "monime.timeouts.attempt=300ms"];
const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

/// A long answer's beginning: the piece, and then as many bytes as are held back.
fn begun() -> Vec<u8> {
    format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n{}", chunk(&format!("{FIRST}{}", "-".repeat(71)))).into_bytes()
}

fn ending() -> Vec<u8> {
    format!("{}0\r\n\r\n", chunk("last-piece")).into_bytes()
}

/// A connection whose kernel keeps little of what is not read.
async fn slow_reader(shop: &Shop) -> Wire {
    let Address::Tcp(address) = shop.gateway.address.clone() else { panic!("a TCP address") };
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    Wire::over(socket.connect(address).await.unwrap())
}

async fn is_free(shop: &Shop) {
    eventually("the place is free", async || {
        (shop.ask("GET", "/v1/countries", "", "").await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_answer_arrives_before_it_ends_and_holds_its_place_until_it_does() {
    let upstream = Upstream::start(|_, request| match request.starts_with("GET /v1/banks") {
        true => vec![Step::Send(begun()), Step::Gate, Step::Send(ending())],
        false => vec![Step::Send([begun(), ending()].concat())],
    })
    .await;
    let shop = Shop::before(&upstream.base_url, &["limits.max_in_flight=1"]).await;
    let mut wire = shop.sent(&shop.request("GET", "/v1/banks", "", "")).await;
    wire.until(FIRST).await;
    assert_eq!(shop.ask("GET", "/v1/countries", "", "").await.failure(), failed(503, "gateway_overloaded"));
    assert_eq!(shop.create().await.failure(), failed(503, "gateway_overloaded"));
    upstream.open_the_gate();
    wire.until("last-piece\r\n0\r\n\r\n").await;
    is_free(&shop).await;
    let audit = shop.end().await;
    assert_eq!((audit.len(), &audit[0]["outcome"]), (1, &"not_sent".into()));
}

#[tokio::test]
async fn who_leaves_in_the_middle_gives_its_place_back() {
    let upstream = Upstream::start(|_, request| match request.starts_with("GET /v1/banks") {
        true => vec![Step::Send(begun()), Step::Gate],
        false => vec![Step::Send([begun(), ending()].concat())],
    })
    .await;
    let shop = Shop::before(
        &upstream.base_url,
        &["limits.max_in_flight=1", "monime.timeouts.attempt=50s", "monime.timeouts.total=60s"],
    )
    .await;
    let mut wire = shop.sent(&shop.request("GET", "/v1/banks", "", "")).await;
    wire.until(FIRST).await;
    drop(wire);
    is_free(&shop).await;
}

#[tokio::test]
async fn an_answer_that_stalls_is_cut_off_at_its_deadline() {
    let upstream = Upstream::start(|_, request| match request.starts_with("GET /v1/banks") {
        true => vec![Step::Send(begun()), Step::Gate],
        false => vec![Step::Send([begun(), ending()].concat())],
    })
    .await;
    let shop = Shop::before(&upstream.base_url, &SHORT).await;
    let mut wire = shop.sent(&shop.request("GET", "/v1/banks", "", "")).await;
    wire.until(FIRST).await;
    let rest = wire.rest().await;
    assert!(!rest.ends_with(b"0\r\n\r\n"), "it does not look whole");
    is_free(&shop).await;
}

#[tokio::test]
async fn who_does_not_read_on_loses_its_place_at_the_deadline() {
    let filler = chunk(&"f".repeat(64 * 1024));
    let upstream = Upstream::start(move |_, request| match request.starts_with("GET /v1/banks") {
        // Less than may pass, more than the sockets on the way hold.
        true => vec![Step::Send(begun()), Step::Send(filler.repeat(120).into_bytes()), Step::Send(ending())],
        false => vec![Step::Send([begun(), ending()].concat())],
    })
    .await;
    // Long enough for everything to fill up first.
    let times = ["limits.max_in_flight=1", "monime.timeouts.attempt=2s", "monime.timeouts.total=2s"];
    let shop = Shop::before(&upstream.base_url, &times).await;
    let mut wire = slow_reader(&shop).await;
    wire.send(shop.request("GET", "/v1/banks", "", "")).await;
    upstream.hears(1).await;
    is_free(&shop).await;
    let rest = wire.rest().await;
    assert!(!rest.ends_with(b"0\r\n\r\n") && rest.len() < 7 << 20, "it does not look whole: {}", rest.len());
}

#[tokio::test]
async fn an_answer_that_monime_breaks_off_breaks_off() {
    for steps in [
        vec![Step::Send(begun()), Step::Close],
        vec![Step::Send(begun()), Step::Reset],
        vec![Step::Send(format!("{HEAD}Content-Length: 999\r\n\r\n{}", "-".repeat(500)).into()), Step::Close],
    ] {
        let upstream = Upstream::playing(steps).await;
        let shop = Shop::before(&upstream.base_url, &[]).await;
        let rest = String::from_utf8(shop.sent(&shop.request("GET", "/v1/banks", "", "")).await.rest().await).unwrap();
        match rest.split_once("\r\n\r\n").unwrap() {
            (head, _) if head.contains("chunked") => assert!(!rest.ends_with("0\r\n\r\n"), "{rest}"),
            (head, body) => assert!(head.contains("content-length: 999") && body.len() < 999, "{rest}"),
        }
        assert_eq!(upstream.heard().len(), 1);
    }
}

/// HTTP/1.0 ends a body without a length with its connection, whether it is whole or not.
#[tokio::test]
async fn an_answer_that_breaks_off_is_a_failure_for_who_could_not_see_it_break() {
    for (end, is_whole) in [(Step::Send(ending()), true), (Step::Close, false), (Step::Reset, false)] {
        let upstream = Upstream::playing(vec![Step::Send(begun()), end]).await;
        let shop = Shop::before(&upstream.base_url, &[]).await;
        let old = shop.request("GET", "/v1/banks", "", "").replace("HTTP/1.1", "HTTP/1.0");
        let answer = shop.send(&old).await;
        if is_whole {
            let text = answer.text();
            assert!(answer.status == 200 && text.starts_with(FIRST) && text.ends_with("last-piece"), "{answer:?}");
            assert_eq!(answer.header("content-length"), Some(&*text.len().to_string()));
        } else {
            assert!(answer.status == 502 && answer.failure().1.starts_with("gateway_upstream_"), "{answer:?}");
        }
    }
}

#[tokio::test]
async fn whole_answers_arrive_before_one_that_breaks_off_whatever_was_asked_behind_it() {
    // More than its own buffer holds of what it does not read, and less than the gateway's.
    let filler = chunk(&"f".repeat(10 * 1024));
    let upstream = Upstream::start(move |_, request| match request.starts_with("GET /v1/banks") {
        true => vec![Step::Send(begun()), Step::Close],
        false => vec![Step::Send([begun(), filler.clone().into_bytes(), ending()].concat())],
    })
    .await;
    let shop = Shop::before(&upstream.base_url, &[]).await;
    let [whole, broken] = ["/v1/countries", "/v1/banks"].map(|path| shop.request("GET", path, "", ""));
    let mut wire = slow_reader(&shop).await;
    wire.send([whole.repeat(20), broken, whole.repeat(200)].concat()).await;
    upstream.is_left_by(1).await;
    // So that it is over long before anyone reads.
    for _ in 0..50 {
        shop.gateway.operator("/metrics").await;
    }
    let rest = String::from_utf8(wire.rest().await).unwrap();
    assert_eq!(rest.matches("last-piece\r\n0\r\n\r\n").count(), 20, "{} bytes", rest.len());
    assert!(rest.matches("HTTP/1.1 200").count() == 21 && !rest.ends_with("0\r\n\r\n"));
}

#[tokio::test]
async fn who_waits_no_longer_than_it_said_is_told_so() {
    let upstream = Upstream::playing(vec![Step::Gate]).await;
    let shop = Shop::before(&upstream.base_url, &[]).await;
    let text = get("/v1/banks", &format!("{}Monigate-Timeout: 0.1\r\n", shop.shop));
    assert_eq!(shop.send(&text).await.failure(), failed(504, "gateway_upstream_timeout"));
}
