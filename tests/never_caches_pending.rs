//! What may still change, and what cannot be read, is never kept: the next caller asks Monime anew.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what a test cannot prepare is its failure"
)]

mod support;

use std::time::Duration;

use futures_util::future::join_all;
use http::StatusCode;
use monigate::monime::Final;
use monigate::sandbox::{Fault, Scope};
use support::client::{Answer, Wire};
use support::gateway::Gateway;
use support::upstream::{Step, Upstream, answer, error, session};
use tokio::net::TcpListener;

const MISS: &str = "monigate; fwd=miss; stored";
/// Deadlines for those who must run into them; the others keep their seconds, for a machine that is busy.
const SHORT: [&str; 2] = ["monime.timeouts.connect=700ms", "monime.timeouts.attempt=700ms"];

fn status(code: u16) -> Fault {
    Fault::Status(StatusCode::from_u16(code).unwrap())
}

fn says_nothing_of_upstream(answer: &Answer) {
    let said = format!("{answer:?}").to_lowercase();
    for word in ["127.0.0.1", "<html", "sandbox.invalid", "location"] {
        assert!(!said.contains(word), "{word}: {said}");
    }
}

/// Asks twice while Monime plays `fault`, then once without, for a session that is paid all along.
async fn spoiled(fault: Fault) -> Answer {
    let slow = matches!(fault, Fault::Drip { .. } | Fault::Latency(_));
    let gateway = Gateway::with(if slow { &SHORT } else { &[] }).await;
    let id = gateway.completed();
    gateway.sandbox.play(fault.clone(), 100);
    let first = gateway.look_up(&id).await;
    let calls = gateway.calls();
    let second = gateway.look_up(&id).await;
    assert!(calls >= 1 && gateway.calls() > calls, "{fault:?} was kept");
    assert_eq!((first.status, &first.body.len()), (second.status, &second.body.len()), "{fault:?}");
    gateway.sandbox.clear_faults();
    let good = gateway.look_up(&id).await;
    assert_eq!((good.session().as_str(), good.cache_status()), ("completed", MISS), "after {fault:?}");
    assert!(gateway.look_up(&id).await.cache_status().starts_with("monigate; hit; "), "after {fault:?}");
    first
}

async fn fails(fault: Fault, code: u16, reason: &str) -> Answer {
    let answer = spoiled(fault.clone()).await;
    assert_eq!(answer.failure(), (code, reason.to_owned()), "{fault:?}");
    assert_eq!(answer.cache_status(), format!("monigate; detail={reason}"), "{fault:?}");
    assert_eq!(answer.header("cache-control"), Some("no-store"), "{fault:?}");
    says_nothing_of_upstream(&answer);
    answer
}

#[tokio::test]
async fn a_pending_session_is_asked_for_every_time_until_it_completes() {
    let gateway = Gateway::start().await;
    let id = gateway.session("pending");
    for asked in 1..=3 {
        let answer = gateway.look_up(&id).await;
        assert_eq!((answer.session().as_str(), gateway.calls()), ("pending", asked));
        assert_eq!(answer.cache_status(), "monigate; fwd=miss; detail=pending");
        assert_eq!(answer.header("monigate-poll-after"), Some("3"));
        assert_eq!(answer.header("retry-after"), None, "SDKs sleep on that one");
    }
    assert_eq!(gateway.metric("monigate_cache_entries").await, 0);
    gateway.sandbox.settle(&id, Final::Completed);
    let answer = gateway.look_up(&id).await;
    assert_eq!((answer.session().as_str(), answer.cache_status()), ("completed", MISS));
    assert_eq!(answer.header("monigate-poll-after"), None);
    gateway.look_up(&id).await;
    assert_eq!(gateway.calls(), 4);
}

#[tokio::test]
async fn a_200_that_does_not_say_what_became_of_the_session_is_passed_on_and_not_kept() {
    for fault in
        [Fault::SessionStatus("processing".to_owned()), Fault::SessionStatus(String::new()), Fault::NestedResult]
    {
        let answer = spoiled(fault.clone()).await;
        assert_eq!((answer.status, answer.cache_status()), (200, "monigate; fwd=miss; detail=unknown"), "{fault:?}");
    }
    let answer = spoiled(Fault::SessionStatus("pending".to_owned())).await;
    assert_eq!(answer.session(), "pending");
}

#[tokio::test]
async fn an_answer_about_another_session_is_nobodys() {
    let answer = fails(Fault::WrongId, 502, "gateway_upstream_mismatch").await;
    assert!(!answer.text().contains("somebodyElse"));
}

#[tokio::test]
async fn what_cannot_be_read_is_refused() {
    let page = |code| Fault::Html(StatusCode::from_u16(code).unwrap());
    let huge = Fault::Huge(1024 * 1024);
    for fault in [Fault::Malformed, Fault::Truncated, page(200), page(403), page(404), huge, Fault::ReflectToken] {
        fails(fault, 502, "gateway_upstream_unreadable").await;
    }
}

#[tokio::test]
async fn monimes_own_refusals_are_passed_on_and_not_kept() {
    for (code, detail) in [(400, ""), (403, ""), (404, "; detail=absent"), (409, "")] {
        let answer = spoiled(status(code)).await;
        assert_eq!(answer.failure(), (code, "sandbox_fault".to_owned()));
        assert_eq!(answer.cache_status(), format!("monigate; fwd=miss{detail}"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
}

#[tokio::test]
async fn monimes_failures_become_the_gateways_words() {
    for (code, ours, reason) in [
        (401, 502, "gateway_upstream_credentials"),
        (500, 502, "gateway_upstream_error"),
        (502, 502, "gateway_upstream_error"),
        (599, 502, "gateway_upstream_error"),
        (503, 503, "gateway_upstream_unavailable"),
        (504, 504, "gateway_upstream_timeout"),
        (201, 502, "gateway_upstream_unexpected"),
        (204, 502, "gateway_upstream_unexpected"),
        (301, 502, "gateway_upstream_unexpected"),
        (302, 502, "gateway_upstream_unexpected"),
        (304, 502, "gateway_upstream_unexpected"),
        (308, 502, "gateway_upstream_unexpected"),
    ] {
        let answer = fails(status(code), ours, reason).await;
        assert_eq!(answer.header("retry-after").is_some(), ours == 503, "{code}");
        assert_eq!(answer.header("www-authenticate"), None);
    }
}

#[tokio::test]
async fn a_429_keeps_what_monime_says_about_its_limits() {
    let space = [(Scope::Endpoint, "endpoint-limit", 7, "7"), (Scope::Space, "space-limit", 7, "7")];
    // SDKs sleep without a cap of their own.
    let day = [(Scope::Token, "token-limit", 86_400, "60")];
    for (scope, named, said, told) in space.into_iter().chain(day) {
        let gateway = Gateway::start().await;
        let id = gateway.completed();
        gateway.sandbox.play(Fault::Throttled { scope, retry_after: said }, 100);
        let first = gateway.look_up(&id).await;
        assert_eq!(first.failure(), (429, "gateway_upstream_throttled".to_owned()));
        assert_eq!((first.header("retry-after"), first.header("monime-rate-limit")), (Some(told), Some(named)));
        assert!(first.header("monime-request-id").is_some());
        gateway.sandbox.clear_faults();
        let second = gateway.look_up(&id).await;
        assert_eq!(second.failure(), (429, "gateway_budget_exhausted".to_owned()), "Monime is left alone for so long");
        let wait: u64 = second.header("retry-after").unwrap().parse().unwrap();
        assert!(wait >= told.parse().unwrap(), "{wait}");
        assert_eq!(gateway.calls(), 1);
    }
}

#[tokio::test]
async fn what_breaks_or_takes_too_long_is_said_and_not_kept() {
    fails(Fault::Reset, 502, "gateway_upstream_unreachable").await;
    let drip = Fault::Drip { bytes: 1, every: Duration::from_millis(100) };
    let slow = [drip, Fault::Latency(Duration::from_secs(60))];
    join_all(slow.map(|slow| fails(slow, 504, "gateway_upstream_timeout"))).await;
}

/// What a gateway says when Monime's connection carries these steps, twice.
async fn raw(steps: Vec<Step>) -> Answer {
    raw_with(steps, &[]).await
}

async fn raw_with(steps: Vec<Step>, settings: &[&str]) -> Answer {
    let upstream = Upstream::playing(steps).await;
    let gateway = Gateway::before(&upstream.base_url, settings).await;
    let first = gateway.look_up("scs-1").await;
    let heard = upstream.heard().len();
    gateway.look_up("scs-1").await;
    assert!(upstream.heard().len() > heard, "it was kept: {first:?}");
    first
}

fn bytes(text: impl Into<Vec<u8>>) -> Vec<Step> {
    vec![Step::Send(text.into()), Step::Close]
}

#[tokio::test]
async fn broken_framing_never_becomes_an_answer() {
    let whole = session("scs-1", "completed");
    let head = |fields: &str| format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{fields}\r\n\r\n");
    let (long, short) = (whole.len() + 1, whole.len() - 1);
    for (what, steps) in [
        ("a length beyond the end", bytes(head(&format!("Content-Length: {long}")) + &whole)),
        ("a length before the end", bytes(head(&format!("Content-Length: {short}")) + &whole)),
        ("two lengths", bytes(head(&format!("Content-Length: {long}\r\nContent-Length: {short}")) + &whole)),
        ("a length that is none", bytes(head("Content-Length: many") + &whole)),
        ("a length beyond all bounds", bytes(head("Content-Length: 99999999999") + &whole)),
        (
            "chunks without an end",
            bytes(head("Transfer-Encoding: chunked") + &format!("{:x}\r\n{whole}\r\n", whole.len())),
        ),
        ("chunks without a size", bytes(head("Transfer-Encoding: chunked") + &whole)),
        (
            "an unknown coding",
            bytes(head(&format!("Content-Encoding: br\r\nContent-Length: {}", whole.len())) + &whole),
        ),
        (
            "gzip that is none",
            bytes(head(&format!("Content-Encoding: gzip\r\nContent-Length: {}", whole.len())) + &whole),
        ),
        ("another protocol", bytes("SSH-2.0-OpenSSH_9.6\r\n")),
        ("nothing", vec![Step::Close]),
        ("a reset", vec![Step::Reset]),
        (
            "a reset in the body",
            vec![Step::Send((head(&format!("Content-Length: {}", whole.len())) + "{").into()), Step::Reset],
        ),
        ("an upgrade", bytes("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n")),
    ] {
        let answer = raw(steps).await;
        let (code, reason) = answer.failure();
        assert_eq!((code, &reason[..17]), (502, "gateway_upstream_"), "{what}: {reason}");
        says_nothing_of_upstream(&answer);
    }
}

#[tokio::test]
async fn an_answer_without_end_is_cut_off() {
    let ok = Step::Send(b"HTTP/1.1 200 OK\r\n".to_vec());
    let cases = [
        ("header fields", 502, vec![ok, Step::Flood(b"X-More: and more\r\n".to_vec())]),
        ("one header field", 502, vec![Step::Send(b"HTTP/1.1 200 OK\r\nX: ".to_vec()), Step::Flood(vec![b'x'; 1000])]),
        ("interim answers", 504, vec![Step::Flood(b"HTTP/1.1 100 Continue\r\n\r\n".to_vec())]),
        ("a body", 502, vec![Step::Send(b"HTTP/1.1 200 OK\r\n\r\n".to_vec()), Step::Flood(vec![b' '; 1000])]),
        ("silence", 504, vec![Step::Gate]),
        ("silence in the head", 504, vec![Step::Send(b"HTTP/1.1 200".to_vec()), Step::Gate]),
        (
            "silence in the body",
            504,
            vec![Step::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{".to_vec()), Step::Gate],
        ),
    ];
    join_all(cases.into_iter().map(|(what, code, steps)| async move {
        assert_eq!(raw_with(steps, &SHORT).await.failure().0, code, "{what}");
    }))
    .await;
}

#[tokio::test]
async fn interim_answers_before_the_answer_are_not_it() {
    let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n";
    let whole = [interim.as_bytes(), &answer("200 OK", "", &session("scs-1", "pending"))].concat();
    let told = raw(vec![Step::Send(whole)]).await;
    assert_eq!((told.status, told.session().as_str(), told.header("link")), (200, "pending", None));
}

#[tokio::test]
async fn what_follows_an_answer_is_never_taken_for_the_next_one() {
    let forged = answer("200 OK", "", &session("scs-1", "completed"));
    let upstream = Upstream::start(move |number, _| {
        let mut said = answer("200 OK", "", &session("scs-1", "pending"));
        if number == 0 {
            said.extend_from_slice(&forged);
        }
        vec![Step::Send(said)]
    })
    .await;
    let gateway = Gateway::before(&upstream.base_url, &[]).await;
    let mut wire = Wire::connect(&gateway.address).await;
    for _ in 0..4 {
        assert_eq!(wire.look_up("scs-1", "").await.session(), "pending");
    }
}

#[tokio::test]
async fn decoys_do_not_make_a_session_final() {
    for body in [
        r#"{"success":true,"messages":[],"result":{"id":"scs-1","status":"pending","metadata":{"status":"completed"}}}"#,
        r#"{"success":true,"messages":["\"status\":\"completed\""],"result":{"id":"scs-1","status":"pending"}}"#,
        r#"{"success":true,"result":{"id":"scs-1","status":"completed","status":"pending"}}"#,
        r#"{"success":false,"messages":[],"result":{"id":"scs-1","status":"completed"}}"#,
        r#"{"success":true,"status":"completed","result":{"id":"scs-1"}}"#,
    ] {
        let told = raw(vec![Step::Send(answer("200 OK", "", body))]).await;
        assert_eq!((told.status, told.text().as_str()), (200, body));
    }
    let told = raw(vec![Step::Send(answer("404 Not Found", "", &error(404)))]).await;
    assert_eq!(told.failure(), (404, "said_by_monime".to_owned()));
}

#[tokio::test]
async fn who_cannot_be_reached_is_said_to_be_out_of_reach() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = listener.local_addr().unwrap();
    drop(listener);
    let gateway = Gateway::before(&format!("http://{nobody}"), &SHORT).await;
    let answer = gateway.look_up("scs-1").await;
    assert_eq!(answer.failure(), (502, "gateway_upstream_unreachable".to_owned()));
    says_nothing_of_upstream(&answer);

    // A peer that takes the connection and never says its part of the TLS handshake.
    let silent = Upstream::playing(vec![Step::Gate]).await;
    let gateway = Gateway::before(&silent.base_url.replace("http:", "https:"), &SHORT).await;
    let answer = gateway.look_up("scs-1").await;
    assert_eq!(answer.failure(), (504, "gateway_upstream_timeout".to_owned()));
}

#[tokio::test]
async fn a_caller_that_says_how_long_it_waits_waits_no_longer() {
    let upstream =
        Upstream::playing(vec![Step::Gate, Step::Send(answer("200 OK", "", &session("scs-1", "completed")))]);
    let upstream = upstream.await;
    let gateway = Gateway::before(&upstream.base_url, &[]).await;
    let answer = gateway.look_up_with("scs-1", "Monigate-Timeout: 0.2\r\n").await;
    assert_eq!(answer.failure(), (504, "gateway_upstream_timeout".to_owned()));
    let patient = gateway.look_up("scs-1");
    let (patient, ()) = tokio::join!(patient, async { upstream.open_the_gate() });
    assert_eq!(patient.session(), "completed");
    assert_eq!(upstream.heard().len(), 1, "the flight went on without the caller who left");
}
