//! Bodies where none belong, requests in a row, and old versions: every answer is to one request, in its order, whole.

use crate::defects;
use crate::frames::{DATA, END_STREAM, HEADERS, NO_ERROR, Outcome, RST_STREAM, frame, headers, lookup, number};
use crate::ground::{Ground, HTTP1, HTTP2, converse};
use crate::support::callers::{Guarded, SHOP, SHOPS, bearer, caller, keys};
use crate::support::client::{Wire, get, path};

const MIB: usize = 1 << 20;
/// May make sessions, too.
const MAKES: &[&str] = &["GetCheckoutSession", "CreateCheckoutSession"];
const SESSIONS: &str = "/v1/checkout-sessions";

/// A shop that may make sessions.
async fn shop() -> Guarded {
    Guarded::by(&caller("shop", &keys(&[SHOP]), &[SHOPS], MAKES)).await
}

/// A write with these further lines, without its body.
fn write(lines: &str) -> String {
    let proof = bearer(SHOP);
    format!(
        "POST {SESSIONS} HTTP/1.1\r\nHost: gateway\r\n{proof}Idempotency-Key: one\r\nContent-Type: \
         application/json\r\n{lines}\r\n"
    )
}

#[tokio::test]
async fn a_lookup_with_a_body_is_refused_whatever_comes_of_it_and_its_connection_closed() {
    for way in HTTP1 {
        let ground = Ground::on(way).await;
        let kept = ground.kept().await;
        let calls = ground.gateway.calls();
        let hidden = get(&kept, "");
        let mut chunked = Vec::new();
        for _ in 0..10 {
            chunked.extend(format!("{MIB:x}\r\n").bytes().chain(vec![b'x'; MIB]).chain(*b"\r\n"));
        }
        let bodies = [
            ("Content-Length: 10485760\r\n".to_owned(), vec![b'x'; 10 * MIB]),
            ("Content-Length: 10485760\r\n".to_owned(), hidden.repeat(3).into_bytes()),
            (format!("Content-Length: {}\r\n", hidden.len()), hidden.clone().into_bytes()),
            ("Content-Length: 1\r\n".to_owned(), b"x".to_vec()),
            ("Transfer-Encoding: chunked\r\n".to_owned(), chunked),
            ("Transfer-Encoding: chunked\r\n".to_owned(), b"0\r\n\r\n".to_vec()),
            ("Transfer-Encoding: chunked\r\n".to_owned(), b"nonsense".to_vec()),
        ];
        for (lines, body) in bodies {
            for path in [kept.clone(), ground.fresh()] {
                let bytes = [get(&path, &lines).as_bytes(), &body, hidden.as_bytes()].concat();
                let said = ground.place.converse(bytes).await;
                let answers = said.answers().await;
                let (sent, told) = (body.len(), format!("{way:?} {lines}{answers:?}"));
                assert!(said.orderly && answers.len() == 1, "{sent} bytes: {told}");
                assert_eq!(answers[0].failure(), (400, "gateway_body_not_allowed".to_owned()), "{told}");
                assert_eq!(answers[0].header("connection"), Some("close"), "{told}");
            }
        }
        assert_eq!(ground.gateway.calls(), calls, "nothing is sent to Monime");
    }
}

#[tokio::test]
async fn a_body_of_no_bytes_is_none() {
    for way in HTTP1 {
        let ground = Ground::on(way).await;
        let kept = ground.kept().await;
        let mut wire = ground.place.wire().await;
        for lines in ["Content-Length: 0\r\n", "Content-Length: 00\r\n", ""] {
            wire.send(get(&kept, lines)).await;
            let answer = wire.answer().await.unwrap();
            assert_eq!((answer.status, answer.header("connection")), (200, None), "{way:?} {lines}");
        }
    }
}

#[tokio::test]
async fn fifty_requests_in_a_row_are_answered_in_their_order() {
    for way in HTTP1 {
        let ground = Ground::on(way).await;
        let (mut text, mut expected) = (String::new(), Vec::new());
        for number in 0..50 {
            let (target, status) = match number % 4 {
                0 => (ground.kept().await, 200),
                1 => (path(ground.gateway.session("pending")), 200),
                2 => (ground.fresh(), 404),
                _ => ("/nowhere".to_owned(), 404),
            };
            text.push_str(&get(&target, &format!("X-Request-Id: asked.{number}\r\n")));
            expected.push((status, Some(format!("asked.{number}"))));
        }
        let mut wire = ground.place.wire().await;
        wire.send(text).await;
        let mut told = Vec::new();
        for _ in 0..50 {
            let answer = wire.answer().await.unwrap();
            told.push((answer.status, answer.header("x-request-id").map(str::to_owned)));
        }
        assert_eq!(told, expected, "{way:?}");
    }
}

#[tokio::test]
async fn an_old_client_is_answered_once_and_its_connection_closed() {
    for way in HTTP1 {
        let ground = Ground::on(way).await;
        let kept = ground.kept().await;
        for lines in ["Host: gateway\r\n", "Host: gateway\r\nConnection: keep-alive\r\n"] {
            let old = format!("GET {kept} HTTP/1.0\r\n{lines}\r\n");
            let said = ground.place.converse(old.repeat(2)).await;
            let answers = said.answers().await;
            assert!(said.orderly && answers.len() == 1, "{way:?} {answers:?}");
            assert_eq!(answers[0].status, 200);
            assert_ne!(answers[0].header("connection"), Some("keep-alive"));
        }
    }
}

#[tokio::test]
async fn a_chunk_that_is_none_is_refused_and_its_write_never_sent() {
    let shop = shop().await;
    let mut wrong = Vec::new();
    for chunks in defects::chunks() {
        let head = write("Transfer-Encoding: chunked\r\n");
        let hidden = get(&path("scs-1"), &bearer(SHOP));
        let said = converse(Box::new(tcp(&shop).await), &[head.as_bytes(), chunks, hidden.as_bytes()].concat()).await;
        let told = said.answers().await;
        let reason =
            told.first().map(|answer| answer.json()["error"]["reason"].as_str().unwrap_or_default().to_owned());
        let refused = said.orderly
            && told.len() == 1
            && told[0].header("connection") == Some("close")
            && (told[0].status, reason.as_deref()) == (400, Some("gateway_body_broken"));
        if !refused {
            wrong.push(format!("{}: {told:?}", chunks.escape_ascii()));
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(shop.calls(), 0, "nothing is sent to Monime");
    let good = write("Transfer-Encoding: chunked\r\n") + "1\r\n{\r\n01\r\n}\r\n0\r\n\r\n";
    let mut wire = Wire::over(tcp(&shop).await);
    wire.send(good).await;
    assert_eq!(wire.answer().await.unwrap().status, 200, "whole chunks are no defect");
    assert!(shop.monime.heard()[0].ends_with("\r\n\r\n{}"));
}

#[tokio::test]
async fn an_upload_that_is_too_large_is_told_so_while_it_still_comes() {
    let shop = shop().await;
    let declared = write("Content-Length: 10485760\r\n");
    let said = converse(Box::new(tcp(&shop).await), &[declared.as_bytes(), &vec![b'x'; 10 * MIB]].concat()).await;
    let answers = said.answers().await;
    assert!(said.orderly && answers.len() == 1, "{answers:?}");
    assert_eq!(answers[0].failure(), (413, "gateway_body_too_large".to_owned()));
    assert_eq!(answers[0].header("connection"), Some("close"));
    assert_eq!(shop.calls(), 0);
}

async fn tcp(shop: &Guarded) -> tokio::net::TcpStream {
    tokio::net::TcpStream::connect(shop.gateway.address.to_string()).await.unwrap()
}

#[tokio::test]
async fn a_refusal_over_http2_arrives_before_the_stream_is_reset() {
    for way in HTTP2 {
        let ground = Ground::on(way).await;
        let kept = ground.kept().await;
        let calls = ground.gateway.calls();
        for path in [kept.clone(), ground.fresh()] {
            let mut peer = ground.place.peer().await;
            let length = [lookup(&path), vec![("content-length", "10485760")]].concat();
            peer.send(&headers(1, &length, 0)).await;
            for _ in 0..3 {
                peer.send(&frame(DATA, 0, 1, &[b'x'; 16_000])).await;
            }
            let refused = Outcome::Answer { status: 400, reason: "gateway_body_not_allowed".to_owned() };
            assert_eq!(peer.outcome(1).await, refused, "{way:?}");
            // The connection serves others, and what is left of the upload changes nothing.
            peer.send(&frame(DATA, 0, 1, &[b'x'; 10_000])).await;
            peer.ask(3, &kept).await;
            assert_eq!(peer.outcome(3).await.status(), Some(200), "{way:?}");
            let kinds: Vec<_> = peer.of(1).iter().map(|frame| (frame.kind, frame.flags & END_STREAM)).collect();
            assert_eq!(kinds.first().map(|(kind, _)| *kind), Some(HEADERS), "{kinds:?}");
            for reset in peer.of(1).iter().filter(|frame| frame.kind == RST_STREAM) {
                assert_eq!(number(&reset.payload), NO_ERROR, "{way:?}");
            }
        }
        assert_eq!(ground.gateway.calls(), calls);
    }
}
