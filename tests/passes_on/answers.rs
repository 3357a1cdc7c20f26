//! Answers that are not Monime's own, or not for callers: what is told instead, to who read and to who wrote.

use std::io::Write;

use monigate::sandbox::DEFAULT_TOKEN;

use super::support::client::Answer;
use super::support::leaks::leak;
use super::support::mirrors::{self, mirror};
use super::support::upstream::{Step, Upstream, answer, error};
use super::{SESSIONS, Shop, failed, key};

const PAGE: &str = "<html><body>canary-page</body></html>";

fn page(status: &str) -> Vec<u8> {
    let length = PAGE.len();
    format!("HTTP/1.1 {status}\r\nContent-Type: text/html\r\nContent-Length: {length}\r\n\r\n{PAGE}").into_bytes()
}

fn gzip(text: &str) -> Vec<u8> {
    let mut coder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    coder.write_all(text.as_bytes()).unwrap();
    let coded = coder.finish().unwrap();
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length:";
    [format!("{head} {}\r\n\r\n", coded.len()).into_bytes(), coded].concat()
}

/// What Monime, or what stands in its place, sends; what a read is told; what a write is told, and the audit.
type Case = (Vec<u8>, (u16, &'static str), (u16, &'static str, &'static str));

fn cases() -> Vec<Case> {
    const LOST: (u16, &str, &str) = (502, "gateway_outcome_unknown", "unknown");
    let unreadable = (502, "gateway_upstream_unreadable");
    let unexpected = (502, "gateway_upstream_unexpected");
    let late = (504, "gateway_outcome_unknown", "unknown");
    let credentials = (502, "gateway_upstream_credentials");
    let moved = "Location: https://canary-page.invalid/\r\n";
    let reflecting = format!("Monime-Request-Id: {DEFAULT_TOKEN}\r\n");
    vec![
        (answer("401 Unauthorized", "", &error(401)), credentials, (502, credentials.1, "rejected")),
        (page("401 Unauthorized"), credentials, (502, credentials.1, "rejected")),
        (answer("302 Found", moved, "{}"), unexpected, LOST),
        (answer("304 Not Modified", moved, ""), unexpected, LOST),
        (b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n".to_vec(), unexpected, LOST),
        (page("200 OK"), unreadable, LOST),
        (page("403 Forbidden"), unreadable, LOST),
        (page("404 Not Found"), unreadable, LOST),
        (
            page("429 Too Many Requests"),
            (429, "gateway_upstream_throttled"),
            (429, "gateway_upstream_throttled", "rejected"),
        ),
        (page("500 Oops"), (502, "gateway_upstream_error"), LOST),
        (page("503 Oops"), (503, "gateway_upstream_unavailable"), LOST),
        (page("504 Oops"), (504, "gateway_upstream_timeout"), late),
        (gzip("{}"), unreadable, LOST),
        (answer("200 OK", &reflecting, "{}"), unreadable, LOST),
        (b"canary-page\r\n\r\n".to_vec(), unreadable, LOST),
    ]
}

fn is_the_gateways_word(answer: &Answer) {
    let shown = format!("{answer:?}");
    assert!(!shown.contains("canary-page") && !shown.contains(DEFAULT_TOKEN), "{shown}");
    assert!(answer.header("location").is_none() && answer.header("www-authenticate").is_none(), "{shown}");
}

#[tokio::test]
async fn what_is_not_monimes_own_is_told_in_the_gateways_words_and_of_a_write_nothing_is_claimed() {
    for (bytes, read, (status, reason, outcome)) in cases() {
        let shown = String::from_utf8_lossy(&bytes).into_owned();
        let upstream = Upstream::playing(vec![Step::Send(bytes)]).await;
        let shop = Shop::before(&upstream.base_url, &[]).await;
        let answer = shop.ask("GET", "/v1/banks", "", "").await;
        is_the_gateways_word(&answer);
        assert_eq!(answer.failure(), failed(read.0, read.1), "{shown}");
        for (method, target) in [("POST", SESSIONS), ("PATCH", "/v1/payouts/1"), ("DELETE", "/v1/payouts/1")] {
            let answer = shop.ask(method, target, &key("k"), if method == "DELETE" { "" } else { "{}" }).await;
            is_the_gateways_word(&answer);
            assert_eq!(answer.failure(), failed(status, reason), "{method}: {shown}");
        }
        assert_eq!(upstream.heard().len(), 4, "{shown}");
        let audit = shop.end().await;
        assert!(audit.len() == 3 && audit.iter().all(|line| line["outcome"] == outcome), "{shown}: {audit:?}");
    }
}

#[tokio::test]
async fn monimes_own_errors_pass_as_they_are() {
    for (status, outcome) in
        [(400, "rejected"), (404, "rejected"), (409, "rejected"), (429, "rejected"), (500, "unknown")]
    {
        let upstream = Upstream::playing(vec![Step::Send(answer(&format!("{status} X"), "", &error(status)))]).await;
        let shop = Shop::before(&upstream.base_url, &[]).await;
        for answer in [shop.ask("GET", "/v1/banks", "", "").await, shop.create().await] {
            assert_eq!((answer.status, answer.text()), (status, error(status)));
        }
        let audit = shop.end().await;
        assert_eq!((audit.len(), &audit[0]["outcome"], &audit[0]["status"]), (1, &outcome.into(), &status.into()));
    }
}

#[tokio::test]
async fn the_token_does_not_come_back_wherever_it_is_put() {
    let upstream = Upstream::start(|_, request| mirror(request)).await;
    let shop = Shop::before(&upstream.base_url, &["monime.timeouts.attempt=2s"]).await;
    for number in 0..mirrors::COUNT {
        for (method, body) in [("GET", ""), ("PATCH", "{}"), ("DELETE", "")] {
            let target = format!("/v1/payouts/scs-{number}");
            let wire = shop.sent(&shop.request(method, &target, "Connection: close\r\n", body)).await;
            let rest = wire.rest().await;
            let shown = String::from_utf8_lossy(&rest);
            assert_eq!(leak(DEFAULT_TOKEN, &rest), None, "mirror {number}: {method}: {shown}");
            // What is cut off at its first bytes may have no head yet, but to a write there is always an answer.
            assert!(
                shown.starts_with("HTTP/1.1 ") || rest.is_empty() && method == "GET",
                "{number}: {method}: {shown}"
            );
        }
    }
    shop.end().await;
}

#[tokio::test]
async fn a_token_cut_up_over_many_chunks_breaks_the_answer_and_leaves_no_piece() {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunks: String = DEFAULT_TOKEN.chars().map(|one| format!("1\r\n{one}\r\n")).collect();
    let upstream = Upstream::saying(format!("{head}{chunks}3\r\nend\r\n0\r\n\r\n")).await;
    let shop = Shop::before(&upstream.base_url, &[]).await;
    let wire = shop.sent(&shop.request("GET", "/v1/banks", "Connection: close\r\n", "")).await;
    let shown = String::from_utf8_lossy(&wire.rest().await).into_owned();
    let (_, body) = shown.split_once("\r\n\r\n").unwrap_or_default();
    assert_eq!(body, "", "not a byte, nor the end of a chunked body");
    assert_eq!(shop.create().await.failure(), failed(502, "gateway_outcome_unknown"));
    shop.end().await;
}

#[tokio::test]
async fn an_answer_over_its_bound_is_refused_or_cut_off() {
    let filler = "f".repeat(64 * 1024);
    let chunk = format!("{:x}\r\n{filler}\r\n", filler.len());
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
    // Nine mebibytes, as a promise and as they come.
    let promised = format!("{head}Content-Length: {}\r\n\r\n", 9 << 20);
    let steps = vec![Step::Send(format!("{head}Transfer-Encoding: chunked\r\n\r\n").into()), Step::Flood(chunk.into())];
    let upstream = Upstream::start(move |number, _| match number {
        0 | 1 => vec![Step::Send(promised.clone().into_bytes()), Step::Gate],
        _ => steps.clone(),
    })
    .await;
    let shop = Shop::before(&upstream.base_url, &[]).await;
    assert_eq!(shop.ask("GET", "/v1/banks", "", "").await.failure(), failed(502, "gateway_upstream_unreadable"));
    assert_eq!(shop.create().await.failure(), failed(502, "gateway_outcome_unknown"));
    let got = shop.sent(&shop.request("GET", "/v1/banks", "", "")).await.rest().await;
    assert!(got.len() > 7 << 20 && got.len() < 9 << 20 && !got.ends_with(b"0\r\n\r\n"), "{}", got.len());
    assert_eq!(shop.create().await.failure(), failed(502, "gateway_outcome_unknown"));
}
