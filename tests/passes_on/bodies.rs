//! Bodies of requests: how long, how slow, how coded they may be, over HTTP/1.1 and HTTP/2.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use monigate::server::Address;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::support::client::Answer;
use super::support::gateway::{PATIENCE, eventually};
use super::support::upstream::{Step, Upstream, answer};
use super::{KEY, ORDER, SESSIONS, Shop, failed, key};

/// The longest body that is passed on.
const MOST: usize = 256 * 1024;

/// Asks as the first caller over an HTTP/2 connection of its own.
pub(super) async fn ask_h2(shop: &Shop, method: &str, target: &str, fields: &[(&str, &str)], body: &str) -> Answer {
    let Address::Tcp(address) = &shop.gateway.address else { panic!("a TCP address") };
    let io = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    let key = shop.shop.trim().split_once(": ").unwrap().1;
    let request = Request::builder().method(method).uri(format!("http://gateway{target}")).header("authorization", key);
    let request = fields.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let asked = async {
        let response =
            sender.send_request(request.body(Full::new(Bytes::from(body.to_owned()))).unwrap()).await.unwrap();
        let (head, body) = response.into_parts();
        let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers = head.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
        Answer { status: head.status.as_u16(), headers, body: body.collect().await.unwrap().to_bytes().to_vec() }
    };
    timeout(PATIENCE, asked).await.expect("an answer over HTTP/2")
}

async fn well() -> Upstream {
    Upstream::playing(vec![Step::Send(answer("200 OK", "", "{}"))]).await
}

fn chunked(body: &str, last: &str) -> String {
    let chunks = body.as_bytes().chunks(10_000).map(|chunk| String::from_utf8_lossy(chunk).into_owned());
    chunks.map(|chunk| format!("{:x}\r\n{chunk}\r\n", chunk.len())).collect::<String>() + last
}

fn sent(heard: &str) -> &str {
    heard.split_once("\r\n\r\n").unwrap().1
}

#[tokio::test]
async fn a_body_up_to_the_bound_travels_and_one_byte_more_does_not() {
    let upstream = well().await;
    let shop = Shop::before(&upstream.base_url, &[]).await;
    let (most, more) = ("b".repeat(MOST), "b".repeat(MOST + 1));
    let fields = format!("Transfer-Encoding: chunked\r\n{}", key(KEY));
    let head = shop.request("POST", SESSIONS, &fields, "");
    assert_eq!(shop.ask("POST", SESSIONS, &key(KEY), &most).await.status, 200);
    assert_eq!(shop.send(&format!("{head}{}", chunked(&most, "0\r\n\r\n"))).await.status, 200);
    assert_eq!(ask_h2(&shop, "POST", SESSIONS, &[("idempotency-key", KEY)], &most).await.status, 200);
    let heard = upstream.heard();
    assert!(
        heard.len() == 3
            && heard.iter().all(|heard| sent(heard) == most && heard.contains("content-length: 262144\r\n"))
    );

    let too_large = failed(413, "gateway_body_too_large");
    assert_eq!(ask_h2(&shop, "POST", SESSIONS, &[("idempotency-key", KEY)], &more).await.failure(), too_large);
    // What follows must not be taken for a request: the connection ends.
    let declared = shop.request("POST", SESSIONS, &format!("Content-Length: {}\r\n{}", MOST + 1, key(KEY)), "");
    for text in [declared, format!("{head}{}", chunked(&more, ""))] {
        let mut wire = shop.sent(&text).await;
        let answer = wire.answer().await.unwrap();
        assert_eq!((answer.failure(), answer.header("connection")), (too_large.clone(), Some("close")));
        assert_eq!(wire.rest().await, b"");
    }
    assert_eq!(upstream.heard().len(), 3);
    let audit = shop.end().await;
    assert_eq!(audit.len(), 6, "one line each: {audit:?}");
    for line in &audit[3..] {
        let told = [&line["outcome"], &line["caller"], &line["operation"], &line["space"], &line["reason"]];
        assert_eq!(told, ["refused", "shop", "CreateCheckoutSession", "spc-shop", "gateway_body_too_large"]);
    }
}

#[tokio::test]
async fn of_a_body_that_breaks_off_nothing_is_sent() {
    let upstream = well().await;
    let shop = Shop::before(&upstream.base_url, &[]).await;
    let length = format!("Content-Length: 99\r\n{}", key(KEY));
    drop(shop.sent(&format!("{}{{\"a\"", shop.request("POST", SESSIONS, &length, ""))).await);
    let chunks = format!("Transfer-Encoding: chunked\r\n{}", key(KEY));
    drop(shop.sent(&format!("{}5\r\n{{\"a\"", shop.request("POST", SESSIONS, &chunks, ""))).await);
    let framing = shop.sent(&format!("{}canary\r\n", shop.request("PATCH", "/v1/payouts/1", &chunks, ""))).await;
    framing.rest().await;
    eventually("all are audited", async || (shop.audit().len() >= 3).then_some(())).await;
    assert!(upstream.heard().is_empty());
    let audit = shop.end().await;
    assert!(
        audit.len() == 3 && audit.iter().all(|line| line["outcome"] == "not_sent" || line["outcome"] == "refused"),
        "{audit:?}"
    );
}

#[tokio::test]
async fn a_body_in_a_coding_is_refused_and_identity_is_none() {
    let upstream = well().await;
    let shop = Shop::before(&upstream.base_url, &[]).await;
    for operation in [("POST", SESSIONS), ("PATCH", "/v1/payouts/1")] {
        for coding in ["gzip", "br", "identity, gzip", ""] {
            let fields = format!("Content-Encoding: {coding}\r\n{}", key(KEY));
            let refused = failed(415, "gateway_content_encoding_not_allowed");
            assert_eq!(shop.ask(operation.0, operation.1, &fields, ORDER).await.failure(), refused, "{coding}");
        }
        let fields = format!("Content-Encoding: Identity\r\n{}", key(KEY));
        assert_eq!(shop.ask(operation.0, operation.1, &fields, ORDER).await.status, 200);
    }
    let heard = upstream.heard();
    assert!(heard.len() == 2 && heard.iter().all(|heard| sent(heard) == ORDER && !heard.contains("content-encoding")));
}

#[tokio::test]
async fn who_waits_to_be_told_to_go_on_is_told_to_send_its_body_at_once() {
    let upstream = well().await;
    let shop = Shop::before(&upstream.base_url, &[]).await;
    let fields = format!("Expect: 100-continue\r\nContent-Length: {}\r\n{}", ORDER.len(), key(KEY));
    let mut wire = shop.sent(&shop.request("POST", SESSIONS, &fields, "")).await;
    let told = wire.answer().await.unwrap();
    assert_eq!((told.status, told.header("connection")), (417, Some("close")));
    assert!(upstream.heard().is_empty());
}

#[tokio::test]
async fn how_long_a_body_is_and_takes_is_for_the_operator_to_say() {
    let upstream = well().await;
    let shop = Shop::before(&upstream.base_url, &["limits.body_size=1KiB", "limits.timeouts.body=200ms"]).await;
    let (most, more) = ("b".repeat(1024), "b".repeat(1025));
    assert_eq!(shop.ask("POST", SESSIONS, &key(KEY), &most).await.status, 200);
    let head = shop.request("POST", SESSIONS, &format!("Transfer-Encoding: chunked\r\n{}", key(KEY)), "");
    let refused = shop.send(&format!("{head}{}", chunked(&more, "0\r\n\r\n"))).await;
    assert!(!refused.text().contains("256"), "no number that is not true: {}", refused.text());
    assert_eq!(refused.failure(), failed(413, "gateway_body_too_large"));
    let unfinished = shop.request("POST", SESSIONS, &format!("Content-Length: 2\r\n{}", key(KEY)), "");
    let begun = Instant::now();
    let late = shop.send(&format!("{unfinished}b")).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "not by the default: {:?}", begun.elapsed());
    assert!(!late.text().contains("10"), "{}", late.text());
    assert_eq!(late.failure(), failed(408, "gateway_body_timeout"));
    assert_eq!(upstream.heard().len(), 1);
}
