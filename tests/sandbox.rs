//! The sandbox as a client sees it: over real sockets, byte by byte; only HTTP/2 is left to a library.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "clippy allows them in tests, but does not see that these helpers are part of one"
)]

// In a folder, where cargo does not take it for tests of its own.
#[path = "sandbox/client.rs"]
mod client;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use monigate::monime::{Final, SessionId, SpaceId};
use monigate::sandbox::{DEFAULT_TOKEN, Fault, Limits, Operation, Place, Sandbox, Schedule, Scope, Settings};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use client::{PATIENCE, Running, SESSIONS, exchange, request};

fn space() -> SpaceId {
    SpaceId::parse("spc-shop").unwrap()
}

fn order() -> String {
    json!({"name": "Order 7", "successUrl": "https://shop.example/ok",
        "lineItems": [{"type": "custom", "name": "Tea", "price": {"currency": "SLE", "value": 500}, "quantity": 2}]})
    .to_string()
}

/// Waits until so many requests have arrived.
async fn reached(sandbox: &Sandbox, count: u64) {
    let arrive = async {
        while sandbox.seen().requests < count {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, arrive).await.unwrap();
}

#[tokio::test]
async fn a_session_is_created_read_listed_and_deleted() {
    let running = Running::without_limits().await;
    let created = running.ask("POST", SESSIONS, "Idempotency-Key: k1\r\n", &order()).await;
    assert_eq!((created.status(), created.header("content-type")), (200, Some("application/json")));
    let id = SessionId::parse(created.json()["result"]["id"].as_str().unwrap()).unwrap();
    assert!(id.as_str().starts_with("scs-") && id.as_str().len() == 31, "{id}");
    let read = running.lookup(&id).await;
    assert_eq!((read.status(), &read.json()["result"]), (200, &created.json()["result"]));
    let list = running.ask("GET", &format!("{SESSIONS}?limit=1&status=pending"), "", "").await;
    assert_eq!(list.json()["result"][0]["id"], id.as_str());
    assert_eq!(list.json()["pagination"], json!({"count": 1, "next": null}));

    let path = format!("{SESSIONS}/{id}");
    let deleted = running.ask("DELETE", &path, "", "").await;
    assert_eq!(deleted.json(), json!({"success": true, "messages": []}));
    assert_eq!((running.lookup(&id).await.status(), running.ask("DELETE", &path, "", "").await.status()), (404, 404));
    running.stop().await;
}

#[tokio::test]
async fn every_answer_says_who_answered_and_what_monime_would_say() {
    let running = Running::without_limits().await;
    let id = running.sandbox.create(&space());
    for answer in [running.lookup(&id).await, running.ask("GET", "/v1/nothing", "", "").await] {
        assert_eq!(answer.header("server"), Some("monigate-sandbox"));
        assert_eq!(answer.header("monime-sandbox"), Some("this is not Monime"));
        for name in ["id", "checksum", "timestamp", "duration"] {
            assert!(answer.header(&format!("monime-request-{name}")).is_some_and(|value| !value.is_empty()), "{name}");
        }
        assert!(answer.header("monime-cache").is_none());
    }
    let last = running.sandbox.seen().last.unwrap();
    assert_eq!((last.method.as_str(), last.target.as_str()), ("GET", "/v1/nothing"));
    assert_eq!((last.header("monime-space-id"), last.header("authorization")), (Some("spc-shop"), Some("(withheld)")));
    running.stop().await;
}

#[tokio::test]
async fn what_is_refused_is_refused_in_the_envelope() {
    let limits = Limits { endpoint: 2, ..Limits::TEST };
    let running = Running::start(Settings { limits, ..Settings::default() }, None).await;
    let create = |fields: &'static str, body: String| {
        let running = &running;
        async move { running.ask("POST", SESSIONS, fields, &body).await }
    };
    let unauthorized = "GET /v1/checkout-sessions HTTP/1.1\r\nHost: s\r\nConnection: close\r\n\r\n";
    let answer = exchange(TcpStream::connect(running.address).await.unwrap(), unauthorized).await;
    assert_eq!((answer.status(), answer.reason().as_str()), (401, "unauthorized"));
    let answer = running.ask("GET", SESSIONS, "Monime-Version: caph.1999-01-01\r\n", "").await;
    assert_eq!((answer.status(), &answer.json()["error"]["details"][0]["field"]), (400, &json!("Monime-Version")));
    assert_eq!(running.lookup(&SessionId::parse("scs-none").unwrap()).await.reason(), "not_found");

    assert_eq!(create("Idempotency-Key: k1\r\n", order()).await.status(), 200);
    let other = order().replace("Order 7", "Order 8");
    let answer = create("Idempotency-Key: k1\r\n", other).await;
    assert_eq!((answer.status(), answer.reason().as_str()), (409, "idempotency_key_in_use"));
    // On a machine that stalls, the second may pass before the third request: ask until one is refused.
    let mut answer = create("Idempotency-Key: k1\r\n", order()).await;
    for _ in 0..100 {
        if answer.status() == 429 {
            break;
        }
        answer = create("Idempotency-Key: k1\r\n", order()).await;
    }
    assert_eq!((answer.status(), answer.reason().as_str()), (429, "too_many_requests"));
    assert_eq!((answer.header("retry-after"), answer.header("monime-rate-limit")), (Some("1"), Some("endpoint-limit")));

    let paid = running.sandbox.create(&space());
    running.sandbox.settle(&paid, Final::Completed);
    let answer = running.ask("DELETE", &format!("{SESSIONS}/{paid}"), "", "").await;
    assert_eq!((answer.status(), answer.reason().as_str()), (409, "session_not_deletable"));
    running.stop().await;
}

#[tokio::test]
async fn faults_of_the_wire_are_what_a_client_sees() {
    let running = Running::without_limits().await;
    let id = running.sandbox.create(&space());
    let right = running.lookup(&id).await;
    assert!(right.closed.is_ok() && right.promised() == right.body.len());

    let reset = running.spoiled(&id, Fault::Reset).await;
    assert_eq!((reset.head.as_str(), reset.body.len()), ("", 0), "not a byte of an answer");

    let truncated = running.spoiled(&id, Fault::Truncated).await;
    assert_eq!((truncated.status(), truncated.promised()), (200, right.body.len()));
    assert_eq!(truncated.body, right.body[..right.body.len() / 2]);

    let malformed = running.spoiled(&id, Fault::Malformed).await;
    assert_eq!((malformed.promised(), malformed.body.len()), (right.body.len() / 2, right.body.len() / 2));
    assert!(serde_json::from_slice::<Value>(&malformed.body).is_err());

    let huge = running.spoiled(&id, Fault::Huge(3_000_001)).await;
    assert_eq!((huge.header("transfer-encoding"), huge.header("content-length")), (Some("chunked"), None));
    assert!(huge.body.len() > 3_000_001 + right.body.len() && huge.closed.is_ok());

    let pause = Duration::from_millis(1);
    let begun = tokio::time::Instant::now();
    let dripped = running.spoiled(&id, Fault::Drip { bytes: 100, every: pause }).await;
    assert_eq!((dripped.promised(), &dripped.body), (right.body.len(), &right.body));
    assert!(begun.elapsed() >= pause * u32::try_from(right.body.len() / 100).unwrap());

    let late = Duration::from_millis(20);
    let begun = tokio::time::Instant::now();
    assert_eq!(running.spoiled(&id, Fault::Latency(late)).await.body, right.body);
    assert!(begun.elapsed() >= late);
    running.stop().await;
}

#[tokio::test]
async fn faults_of_the_answer_are_what_a_client_sees() {
    let running = Running::without_limits().await;
    let id = running.sandbox.create(&space());
    let failed = running.spoiled(&id, Fault::Status(StatusCode::SERVICE_UNAVAILABLE)).await;
    assert_eq!((failed.status(), failed.reason().as_str()), (503, "sandbox_fault"));
    let moved = running.spoiled(&id, Fault::Status(StatusCode::FOUND)).await;
    assert_eq!((moved.status(), moved.header("location").is_some()), (302, true));
    let empty = running.spoiled(&id, Fault::Status(StatusCode::NO_CONTENT)).await;
    assert_eq!((empty.status(), empty.body.len()), (204, 0));
    let throttled = running.spoiled(&id, Fault::Throttled { scope: Scope::Token, retry_after: 3 }).await;
    assert_eq!((throttled.status(), throttled.header("monime-rate-limit")), (429, Some("token-limit")));
    let page = running.spoiled(&id, Fault::Html(StatusCode::BAD_GATEWAY)).await;
    assert_eq!((page.status(), page.header("content-type")), (502, Some("text/html; charset=utf-8")));

    let odd = running.spoiled(&id, Fault::SessionStatus("processing".to_owned())).await;
    assert_eq!(
        (&odd.json()["result"]["status"], &odd.json()["result"]["id"]),
        (&json!("processing"), &json!(id.as_str()))
    );
    let nested = running.spoiled(&id, Fault::NestedResult).await;
    assert_eq!(nested.json()["result"]["result"]["id"], id.as_str());
    let wrong = running.spoiled(&id, Fault::WrongId).await;
    assert_ne!(wrong.json()["result"]["id"], id.as_str());
    let reflected = running.spoiled(&id, Fault::ReflectToken).await;
    assert!(String::from_utf8(reflected.body).unwrap().contains(DEFAULT_TOKEN));
    let coded = running.spoiled(&id, Fault::Gzip).await;
    assert_eq!(coded.header("content-encoding"), Some("gzip"));
    let mut decoded = String::new();
    io::Read::read_to_string(&mut flate2::read::GzDecoder::new(coded.body.as_slice()), &mut decoded).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&decoded).unwrap()["result"]["id"], id.as_str());

    running.sandbox.play_on(Operation::List, Fault::Reset, 1);
    assert_eq!(running.lookup(&id).await.status(), 200, "not meant for lookups");
    assert_eq!(running.ask("GET", SESSIONS, "", "").await.head, "");
    assert_eq!(running.ask("GET", SESSIONS, "", "").await.status(), 200, "and used up");
    running.stop().await;
}

#[tokio::test]
async fn over_http2_a_broken_answer_breaks_its_stream_and_not_the_connection() {
    let running = Running::without_limits().await;
    let id = running.sandbox.create(&space());
    let socket = TokioIo::new(TcpStream::connect(running.address).await.unwrap());
    let (mut client, connection) = http2::handshake(TokioExecutor::new(), socket).await.unwrap();
    let connection = tokio::spawn(connection);
    for (fault, whole) in [(Some(Fault::Reset), false), (Some(Fault::Truncated), false), (None, true)] {
        if let Some(fault) = fault {
            running.sandbox.play(fault, 1);
        }
        let request = Request::get(format!("http://sandbox{SESSIONS}/{id}"))
            .header("authorization", format!("Bearer {DEFAULT_TOKEN}"))
            .header("monime-space-id", "spc-shop");
        let answer = client.send_request(request.body(Empty::<Bytes>::new()).unwrap());
        let came = match timeout(PATIENCE, answer).await.unwrap() {
            Ok(answer) => timeout(PATIENCE, answer.into_body().collect()).await.unwrap().is_ok(),
            Err(_) => false,
        };
        assert_eq!(came, whole);
    }
    drop(client);
    connection.await.unwrap().unwrap();
    running.stop().await;
}

#[tokio::test]
async fn under_load_a_token_works_until_it_is_withdrawn_and_the_other_from_when_it_is_accepted() {
    let running = Arc::new(Running::without_limits().await);
    let id = running.sandbox.create(&space());
    let path = format!("{SESSIONS}/{id}");
    running.sandbox.accept_tokens([DEFAULT_TOKEN, "mon_other"]);
    let mut old = JoinSet::new();
    for _ in 0..4 {
        let (running, path) = (Arc::clone(&running), path.clone());
        old.spawn(async move {
            let mut statuses = Vec::new();
            while statuses.last() != Some(&401) {
                statuses.push(running.ask("GET", &path, "", "").await.status());
            }
            statuses
        });
    }
    reached(&running.sandbox, 20).await;
    let lookup = request("GET", &path, "", "").replace(DEFAULT_TOKEN, "mon_other");
    let other = || async { exchange(TcpStream::connect(running.address).await.unwrap(), &lookup).await.status() };
    assert_eq!(other().await, 200, "both");
    running.sandbox.accept_tokens(["mon_other"]);
    assert_eq!(other().await, 200, "the other alone");
    for statuses in timeout(PATIENCE, old.join_all()).await.unwrap() {
        let (last, before) = statuses.split_last().unwrap();
        assert!(*last == 401 && before.iter().all(|status| *status == 200), "{statuses:?}");
    }
    for asked in running.sandbox.asked() {
        assert_eq!(asked.token.is_some(), asked.status == Some(StatusCode::OK), "{asked:?}");
    }
    Arc::into_inner(running).unwrap().stop().await;
}

#[tokio::test]
async fn the_same_seed_spoils_the_same_lookups_for_the_same_client() {
    let running = Running::without_limits().await;
    let id = running.sandbox.create(&space());
    let down = running.ask("PUT", "/_sandbox/schedule", "", r#"{"faults": "down", "seed": 7}"#).await;
    assert_eq!((down.status(), &down.json()["seed"]), (200, &json!(7)));
    for turn in 0..20 {
        let answer = running.lookup(&id).await;
        match running.sandbox.schedule().at(turn) {
            Some(Fault::Reset) => assert_eq!(answer.head, ""),
            Some(Fault::Status(status) | Fault::Html(status)) => assert_eq!(answer.status(), status.as_u16()),
            other => panic!("no outage: {other:?}"),
        }
    }
    running.sandbox.follow(Schedule::CALM);
    assert_eq!(running.lookup(&id).await.status(), 200, "up again");
    running.stop().await;
}

#[tokio::test]
async fn a_hung_answer_does_not_outlive_a_client_that_leaves() {
    let running = Running::without_limits().await;
    let id = running.sandbox.create(&space());
    running.sandbox.play(Fault::Latency(Duration::from_secs(3600)), 1);
    let mut socket = TcpStream::connect(running.address).await.unwrap();
    let text = request("GET", &format!("{SESSIONS}/{id}"), "", "");
    socket.write_all(text.as_bytes()).await.unwrap();
    reached(&running.sandbox, 1).await;
    drop(socket);
    running.stop().await;
}

#[tokio::test]
async fn who_trusts_the_throw_away_authority_is_served_https_by_every_local_name() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(Settings::default(), Some(folder.path())).await;
    assert_eq!(running.base_url, format!("https://{}", running.address));
    let id = running.sandbox.create(&space());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(folder.path().join("ca.pem")).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let connector = TlsConnector::from(Arc::new(config.with_root_certificates(roots).with_no_client_auth()));
    let connect = |name: &'static str| {
        let (connector, address) = (&connector, running.address);
        async move {
            let socket = TcpStream::connect(address).await.unwrap();
            connector.connect(ServerName::try_from(name).unwrap(), socket).await
        }
    };
    let lookup = request("GET", &format!("{SESSIONS}/{id}"), "", "");
    for name in ["localhost", "127.0.0.1", "::1"] {
        let answer = exchange(connect(name).await.unwrap(), &lookup).await;
        assert_eq!(answer.json()["result"]["id"], id.as_str(), "{name}");
    }
    assert!(connect("api.monime.io").await.is_err(), "it cannot pass for Monime");

    running.sandbox.play(Fault::Truncated, 1);
    let truncated = exchange(connect("localhost").await.unwrap(), &lookup).await;
    assert_eq!(truncated.promised() / 2, truncated.body.len());
    assert_eq!(truncated.closed.unwrap_err().kind(), io::ErrorKind::UnexpectedEof, "no close_notify");
    running.sandbox.play(Fault::Reset, 1);
    assert_eq!(exchange(connect("localhost").await.unwrap(), &lookup).await.head, "");
    running.stop().await;
}

#[tokio::test]
async fn it_listens_beyond_loopback_only_when_told_to_and_greets_without_a_secret() {
    let sandbox = Sandbox::new(Settings { token: "mon_canary_0123456789abcdefghij".to_owned(), ..Settings::default() });
    let mut place = Place { address: "0.0.0.0:0".parse().unwrap(), tls: None, beyond_loopback: false };
    assert!(sandbox.open(&place).await.unwrap_err().to_string().contains("not a loopback address"));
    place.beyond_loopback = true;
    let greeting = sandbox.open(&place).await.unwrap().greeting();
    assert!(greeting.starts_with("THIS IS NOT MONIME") && !greeting.contains("canary"), "{greeting}");
}
