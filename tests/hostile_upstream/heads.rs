//! Heads that are too long, are no HTTP, or hold what belongs to Monime's own connection and not to its answer.

use super::support::upstream::{Step, answer, session};
use super::{ALL, Ask, ID, Stage, is_refused};

/// An answer with these lines above what it needs.
fn with(fields: &str) -> Vec<u8> {
    answer("200 OK", fields, &session(ID, "completed"))
}

#[tokio::test]
async fn a_head_over_its_bound_is_refused() {
    let many: String = (0..101).map(|number| format!("X-{number}: y\r\n")).collect();
    is_refused("too many fields", with(&many)).await;
    is_refused("one giant field", with(&format!("Monime-Request-Id: {}\r\n", "x".repeat(140_000)))).await;
    let long: String = (0..95).map(|number| format!("X-{number}: {}\r\n", "y".repeat(1500))).collect();
    is_refused("long fields", with(&long)).await;
    is_refused("a long reason", answer(&format!("200 {}", "x".repeat(140_000)), "", &session(ID, "completed"))).await;
}

#[tokio::test]
async fn what_does_not_begin_like_an_answer_is_none() {
    let body = session(ID, "completed");
    for (what, bytes) in [
        ("no status line", format!("Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len())),
        ("HTTP/0.9", format!("{body}\r\n\r\n")),
        ("HTTP/2 in the clear", format!("HTTP/2.0 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())),
        ("HTTP/3", format!("HTTP/3 200\r\nContent-Length: {}\r\n\r\n{body}", body.len())),
        ("a status of two digits", format!("HTTP/1.1 20 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())),
        ("a status of four digits", format!("HTTP/1.1 2000 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())),
        ("a status that is none", format!("HTTP/1.1 abc OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())),
        ("a request", "GET / HTTP/1.1\r\nHost: gateway\r\n\r\n".to_owned()),
    ] {
        is_refused(what, bytes).await;
    }
}

#[tokio::test]
async fn an_answer_in_http_1_0_is_taken_and_its_connection_is_not_kept() {
    let body = session(ID, "completed");
    let fields = format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
    for ask in ALL {
        let steps = vec![Step::Send(format!("HTTP/1.0 200 OK\r\n{fields}\r\n{body}").into_bytes())];
        let stage = Stage::with(steps, &[]).await;
        let told = stage.shop.ask(ask).await;
        assert!(told.status == 200 && told.whole && told.has("via: 1.0 monigate"), "{ask:?}: {told:?}");
        stage.upstream.is_left_by(1).await;
    }
}

#[tokio::test]
async fn an_upgrade_that_nobody_asked_for_is_refused_and_its_connection_ended() {
    for fields in ["Connection: upgrade\r\nUpgrade: websocket\r\n", "Upgrade: h2c\r\nConnection: Upgrade\r\n", ""] {
        is_refused("101", format!("HTTP/1.1 101 Switching Protocols\r\n{fields}\r\n")).await;
    }
}

#[tokio::test]
async fn no_redirect_is_followed_and_none_is_told() {
    for status in ["300 X", "301 X", "302 X", "303 X", "307 X", "308 X", "201 Created"] {
        let body = session(ID, "completed");
        let moved = "Location: https://elsewhere.invalid/v1/banks\r\nRefresh: 0; url=https://elsewhere.invalid/\r\n\
                     Content-Location: https://elsewhere.invalid/\r\nLink: <https://elsewhere.invalid/>\r\n";
        for ask in ALL {
            let stage = Stage::with(vec![Step::Send(answer(status, moved, &body))], &[]).await;
            let told = stage.shop.ask(ask).await;
            assert!(!format!("{}{}", told.head, told.body).contains("elsewhere"), "{status}: {ask:?}: {told:?}");
            // A write that made something is answered so.
            let made = status.starts_with("201") && ask != Ask::Lookup;
            assert!(told.is_refusal() != made, "{status}: {ask:?}: {told:?}");
            assert_eq!(stage.upstream.heard().len(), 1, "{status}: {ask:?}");
        }
    }
}

#[tokio::test]
async fn statuses_without_a_body_that_have_one_are_never_an_answer_to_a_lookup() {
    let body = session(ID, "completed");
    for status in ["204 No Content", "205 Reset Content", "304 Not Modified"] {
        let stage = Stage::with(vec![Step::Send(answer(status, "", &body))], &[]).await;
        let told = stage.shop.ask(Ask::Lookup).await;
        assert!(told.status == 502 && told.is_refusal(), "{status}: {told:?}");
        stage.hostile.store(false, std::sync::atomic::Ordering::SeqCst);
        assert!(stage.shop.ask(Ask::Lookup).await.has("cache-status: monigate; fwd=miss"), "{status}");
    }
}

#[tokio::test]
async fn what_belongs_to_monimes_connection_or_to_its_edge_stays_there() {
    let edge = "Set-Cookie: canary=1\r\nServer: canary\r\nAlt-Svc: h3=\":443\"; canary\r\nX-Powered-By: canary\r\n\
                Proxy-Authenticate: Basic realm=canary\r\nWWW-Authenticate: Basic realm=canary\r\nWarning: canary\r\n\
                Keep-Alive: timeout=canary\r\nUpgrade: canary\r\nTrailer: canary\r\nTE: canary\r\nVia: 1.1 canary\r\n\
                Access-Control-Allow-Origin: canary\r\nStrict-Transport-Security: canary\r\nAge: 99\r\n\
                Cache-Control: public, canary\r\nETag: \"canary\"\r\nExpires: canary\r\nX-Request-Id: canary\r\n\
                Cache-Status: canary\r\nClear-Site-Data: \"canary\"\r\n";
    for ask in ALL {
        let stage = Stage::with(vec![Step::Send(with(edge))], &[]).await;
        for _ in 0..2 {
            let told = stage.shop.ask(ask).await;
            assert!(told.status == 200 && told.whole, "{ask:?}: {told:?}");
            assert!(!told.head.contains("canary") && !told.has("age: 99"), "{ask:?}: {told:?}");
        }
    }
}

#[tokio::test]
async fn what_monime_names_in_connection_goes_no_further() {
    let named = "Monime-Request-Id: canary\r\nMonime-Request-Duration: canary\r\nMonime-Request-Timestamp: kept\r\n\
                 Connection: keep-alive, Monime-Request-ID\r\nConnection: ,, monime-request-duration ,x\r\n";
    for ask in ALL {
        let stage = Stage::with(vec![Step::Send(with(named))], &[]).await;
        for _ in 0..2 {
            let told = stage.shop.ask(ask).await;
            assert!(told.status == 200 && told.has("monime-request-timestamp: kept"), "{ask:?}: {told:?}");
            assert!(!told.head.contains("canary"), "{ask:?}: {told:?}");
        }
    }
}

#[tokio::test]
async fn an_answer_is_told_as_json_or_not_at_all_whatever_monime_calls_it() {
    let body = session(ID, "completed");
    for content_type in [
        "Content-Type: text/html",
        "Content-Type: text/html; application/json",
        "Content-Type: application/jsonp",
        "Content-Type:",
        "X: y",
        "Content-Type: application/json\r\nContent-Type: text/html",
    ] {
        let head = format!("HTTP/1.1 200 OK\r\n{content_type}\r\nContent-Length: {}\r\n\r\n", body.len());
        for ask in ALL {
            let stage = Stage::with(vec![Step::Send(format!("{head}{body}").into_bytes())], &[]).await;
            for _ in 0..2 {
                let told = stage.shop.ask(ask).await;
                assert!(told.has("content-type: application/json\r\n"), "{content_type}: {ask:?}: {told:?}");
                assert!(ask == Ask::Lookup || told.is_refusal(), "{content_type}: {ask:?}: {told:?}");
            }
        }
    }
}
