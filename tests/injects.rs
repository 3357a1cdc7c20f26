//! What reaches Monime is ours to the last field: the token, the space, the version, and nothing of the caller's.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what a test cannot prepare is its failure"
)]

mod support;

use std::sync::Arc;

use monigate::monime::SpaceId;
use monigate::sandbox::{DEFAULT_TOKEN, Fault, tls::make_ca};
use rustls::ServerConfig;
use support::client::{Wire, ask, ask_h2, get, h2c, path};
use support::gateway::{Gateway, OTHER_SPACE, SPACE};
use support::upstream::{Step, Upstream, answer, session};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// What applications, proxies and attackers put on a lookup.
const NOISE: [(&str, &str); 20] = [
    ("authorization", "Bearer theirs-0123456789"),
    ("cookie", "session=theirs"),
    ("proxy-authorization", "Basic theirs"),
    ("x-forwarded-for", "10.9.8.7"),
    ("x-forwarded-host", "evil.example"),
    ("x-forwarded-proto", "https"),
    ("forwarded", "for=10.9.8.7;host=evil.example"),
    ("x-real-ip", "10.9.8.7"),
    ("via", "1.1 theirs"),
    ("idempotency-key", "theirs-1"),
    ("content-type", "application/json"),
    ("x-request-id", "theirs-1"),
    ("accept-encoding", "gzip, br"),
    ("accept", "text/html"),
    ("user-agent", "theirs/1.0"),
    ("if-none-match", "\"theirs\""),
    ("cache-control", "no-cache"),
    ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ("x-api-key", "theirs"),
    ("x-http-method-override", "DELETE"),
];

async fn completed() -> Upstream {
    Upstream::playing(vec![Step::Send(answer("200 OK", "", &session("scs-1", "completed")))]).await
}

/// The lines of the only request so far, in alphabetical order but for the first.
fn only_request(upstream: &Upstream) -> Vec<String> {
    let heard = upstream.heard();
    assert_eq!(heard.len(), 1);
    let mut lines: Vec<_> = heard[0].trim_end().split("\r\n").map(str::to_owned).collect();
    lines[1..].iter_mut().for_each(|line| {
        let (name, value) = line.split_once(": ").unwrap();
        *line = format!("{}: {value}", name.to_ascii_lowercase());
    });
    lines[1..].sort();
    lines
}

/// The whole request, as it should be.
fn expected(upstream: &Upstream, space: &str, version: &str) -> Vec<String> {
    vec![
        "GET /v1/checkout-sessions/scs-1 HTTP/1.1".to_owned(),
        "accept-encoding: identity".to_owned(),
        "accept: application/json".to_owned(),
        format!("authorization: Bearer {DEFAULT_TOKEN}"),
        format!("host: {}", upstream.base_url.trim_start_matches("http://")),
        format!("monime-space-id: {space}"),
        format!("monime-version: {version}"),
        format!("user-agent: monigate/{}", env!("CARGO_PKG_VERSION")),
    ]
}

#[tokio::test]
async fn a_bare_lookup_leaves_with_everything_that_monime_wants() {
    let upstream = completed().await;
    let gateway = Gateway::before(&upstream.base_url, &[]).await;
    assert_eq!(gateway.look_up("scs-1").await.status, 200);
    assert_eq!(only_request(&upstream), expected(&upstream, SPACE, "caph.2025-08-23"));
}

#[tokio::test]
async fn nothing_of_the_callers_leaves_over_http_1() {
    let upstream = completed().await;
    let gateway = Gateway::before(&upstream.base_url, &[]).await;
    let twice = NOISE.iter().chain(&NOISE).map(|(name, value)| format!("{name}: {value}\r\n"));
    let fields: String =
        twice.chain(["Connection: close, x-api-key\r\nMonime-Version: caph.2025-06-20\r\n".into()]).collect();
    let answer = gateway.look_up_with("scs-1", &format!("{fields}Monime-Space-Id: {OTHER_SPACE}\r\n")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(only_request(&upstream), expected(&upstream, OTHER_SPACE, "caph.2025-06-20"));
}

#[tokio::test]
async fn nothing_of_the_callers_leaves_over_http_2_nor_for_a_head() {
    let upstream = completed().await;
    let gateway = Gateway::before(&upstream.base_url, &[]).await;
    let h2 = h2c(&gateway.address).await;
    let twice: Vec<_> = NOISE.iter().chain(&NOISE).copied().collect();
    assert_eq!(ask_h2(&h2, "HEAD", &path("scs-1"), &twice).await.status, 200);
    assert_eq!(only_request(&upstream), expected(&upstream, SPACE, "caph.2025-08-23"));
}

#[tokio::test]
async fn no_target_leads_anywhere_but_to_the_one_origin() {
    let upstream = completed().await;
    let gateway = Gateway::before(&upstream.base_url, &[]).await;
    let target = "http://user:pass@evil.example:1/v1/checkout-sessions/scs-1";
    let answer = ask(&gateway.address, &format!("GET {target} HTTP/1.1\r\nHost: evil.example:1\r\n\r\n")).await;
    assert_eq!(answer.failure(), (400, "gateway_request_malformed".to_owned()));
    assert!(upstream.heard().is_empty());
}

#[tokio::test]
async fn what_is_not_exactly_a_lookup_never_leaves() {
    let gateway = Gateway::start().await;
    let long = "x".repeat(129);
    for (target, fields, code, reason) in [
        ("/v1/checkout-sessions/scs%2D1", "", 404, "gateway_route_unknown"),
        ("/v1/checkout-sessions/../payments", "", 404, "gateway_route_unknown"),
        ("/v1/checkout-sessions/scs-1/", "", 404, "gateway_route_unknown"),
        ("/v1/checkout-sessions/scs-1/..", "", 404, "gateway_route_unknown"),
        ("/v1/checkout-sessions/..", "", 404, "gateway_route_unknown"),
        ("/v1/checkout-sessions/scs.1", "", 404, "gateway_route_unknown"),
        (&format!("/v1/checkout-sessions/{long}"), "", 404, "gateway_route_unknown"),
        ("//v1/checkout-sessions/scs-1", "", 404, "gateway_route_unknown"),
        ("/v2/checkout-sessions/scs-1", "", 404, "gateway_route_unknown"),
        ("/_sandbox/seen", "", 404, "gateway_route_unknown"),
        ("/", "", 404, "gateway_route_unknown"),
        ("*", "", 400, "gateway_request_malformed"),
        ("/v1/checkout-sessions", "", 403, "gateway_operation_forbidden"),
        ("/v1/payments/pay-1", "", 403, "gateway_operation_forbidden"),
        ("/v1/checkout-sessions/scs-1?x=1", "", 400, "gateway_query_not_allowed"),
        ("/v1/checkout-sessions/scs-1?", "", 400, "gateway_query_not_allowed"),
        ("/v1/checkout-sessions/scs-1", "Monime-Space-Id: spc-nobodys\r\n", 403, "gateway_space_forbidden"),
        ("/v1/checkout-sessions/scs-1", "Monime-Space-Id: shop\r\n", 400, "gateway_space_invalid"),
        ("/v1/checkout-sessions/scs-1", "Monime-Space-Id:\r\n", 400, "gateway_space_invalid"),
        ("/v1/checkout-sessions/scs-1", "Monime-Space-Id: spc-shop, spc-other\r\n", 400, "gateway_space_invalid"),
        (
            "/v1/checkout-sessions/scs-1",
            "Monime-Space-Id: spc-shop\r\nMonime-Space-Id: spc-shop\r\n",
            400,
            "gateway_space_invalid",
        ),
        ("/v1/checkout-sessions/scs-1", "Monime-Version: caph.1999-01-01\r\n", 400, "gateway_version_not_allowed"),
        (
            "/v1/checkout-sessions/scs-1",
            "Monime-Version: caph.2025-08-23\r\nmonime-version: caph.2025-06-20\r\n",
            400,
            "gateway_version_not_allowed",
        ),
        ("/v1/checkout-sessions/scs-1", "Monigate-Timeout: -1\r\n", 400, "gateway_timeout_invalid"),
    ] {
        let answer = ask(&gateway.address, &get(target, fields)).await;
        assert_eq!(answer.failure(), (code, reason.to_owned()), "{target} {fields}");
        assert_eq!(answer.cache_status(), format!("monigate; detail={reason}"));
    }
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"] {
        let mut wire = Wire::connect(&gateway.address).await;
        wire.send(format!("{method} /v1/checkout-sessions/scs-1 HTTP/1.1\r\nHost: g\r\n\r\n")).await;
        let answer = wire.answer().await.unwrap();
        assert!([403, 405].contains(&answer.status), "{method}: {answer:?}");
    }
    assert_eq!(gateway.calls(), 0);
}

#[tokio::test]
async fn a_space_must_be_named_where_there_is_no_default() {
    // The environment cannot be unset by a flag, so this one is made of spaces alone.
    let upstream = completed().await;
    let base_url = format!("monime.base_url={}", upstream.base_url);
    let settings = ["--set", &base_url, "--set", "monime.spaces=spc-shop"];
    let arguments = [&["get", "scs-1"][..], &settings].concat();
    let environment = [("MONIGATE__MONIME__TOKEN", DEFAULT_TOKEN)];
    let ran = support::process::Process::start(&arguments, &environment).ran().await;
    assert!(ran.code == Some(1) && ran.out.contains("gateway_space_required"), "{ran:?}");
    let named = [&arguments[..], &["--space", "spc-shop"]].concat();
    let ran = support::process::Process::start(&named, &environment).ran().await;
    assert_eq!((ran.code, ran.out.trim_end()), (Some(0), session("scs-1", "completed").as_str()), "{ran:?}");
    assert_eq!(only_request(&upstream), expected(&upstream, SPACE, "caph.2025-08-23"));
}

#[tokio::test]
async fn behind_a_private_authority_it_speaks_http_2_with_the_same_fields() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::over_tls(folder.path(), &folder.path().join("ca.pem")).await;
    let id = gateway.completed();
    let noise: String = NOISE.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let answer = gateway.look_up_with(&id, &noise).await;
    assert_eq!((answer.status, answer.header("via")), (200, Some("2 monigate")), "{answer:?}");
    let last = gateway.sandbox.seen().last.unwrap();
    assert_eq!((last.method.as_str(), last.target.ends_with(&path(&id))), ("GET", true), "{last:?}");
    let mut names: Vec<_> = last.headers.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    let ours = ["accept", "accept-encoding", "authorization", "monime-space-id", "monime-version", "user-agent"];
    assert_eq!(names, ours);
    assert_eq!((last.header("accept-encoding"), last.header("monime-space-id")), (Some("identity"), Some(SPACE)));
    gateway.sandbox.put(&SpaceId::parse(SPACE).unwrap(), &id, "pending");
    for fault in [Fault::Reset, Fault::Truncated] {
        let id = gateway.completed();
        gateway.sandbox.play(fault.clone(), 100);
        assert_eq!(gateway.look_up(&id).await.failure().0, 502, "{fault:?}");
        gateway.sandbox.clear_faults();
        assert_eq!(gateway.look_up(&id).await.status, 200, "after {fault:?}");
    }
}

#[tokio::test]
async fn a_server_that_knows_only_http_1_is_spoken_to_so() {
    let folder = tempfile::tempdir().unwrap();
    let mut tls = ServerConfig::clone(&make_ca(folder.path()).unwrap().config());
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let served = async {
        let (socket, _) = listener.accept().await.unwrap();
        let mut socket = TlsAcceptor::from(Arc::new(tls)).accept(socket).await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(socket.read_u8().await.unwrap());
        }
        let said = answer("200 OK", "", &session("scs-1", "completed"));
        tokio::io::AsyncWriteExt::write_all(&mut socket, &said).await.unwrap();
        String::from_utf8(request).unwrap()
    };
    let ca = format!("monime.ca_file={}", folder.path().join("ca.pem").display());
    let gateway = Gateway::before(&base_url, &[&ca]).await;
    let (told, request) = tokio::join!(gateway.look_up("scs-1"), served);
    assert_eq!((told.status, told.header("via")), (200, Some("1.1 monigate")));
    assert_eq!(request.to_lowercase().matches("authorization: bearer ").count(), 1, "{request}");
}

#[tokio::test]
async fn who_cannot_prove_to_be_monime_never_hears_the_token() {
    let (theirs, ours) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    make_ca(ours.path()).unwrap();
    let gateway = Gateway::over_tls(theirs.path(), &ours.path().join("ca.pem")).await;
    let id = gateway.completed();
    assert_eq!(gateway.look_up(&id).await.failure(), (502, "gateway_upstream_unreachable".to_owned()));
    assert_eq!(gateway.calls(), 0);

    // Nor does one that speaks no TLS at all.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gateway = Gateway::before(&format!("https://{}", listener.local_addr().unwrap()), &[]).await;
    let heard = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut heard = vec![0; 4096];
        let read = socket.read(&mut heard).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut socket, b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        let _ = socket.read_to_end(&mut heard).await;
        assert!(read > 0);
        heard
    };
    let (told, heard) = tokio::join!(gateway.look_up("scs-1"), heard);
    assert_eq!(told.failure(), (502, "gateway_upstream_unreachable".to_owned()));
    assert!(!heard.windows(12).any(|window| DEFAULT_TOKEN.as_bytes().windows(12).any(|piece| piece == window)));
}
