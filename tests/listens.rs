//! Where and how the gateway is spoken to: protocols, sockets, limits of a head, and the commands that ask it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what a test cannot prepare is its failure"
)]

mod support;

use std::os::unix::net::UnixListener;

use monigate::sandbox::DEFAULT_TOKEN;
use monigate::server::Address;
use support::client::{Wire, ask, ask_h2, get, h2c, path};
use support::gateway::{Gateway, SPACE, eventually, play};
use support::process::{self, Process, Ran};
use tokio::net::TcpListener;

const ENVIRONMENT: [(&str, &str); 2] =
    [("MONIGATE__MONIME__TOKEN", DEFAULT_TOKEN), ("MONIGATE__MONIME__DEFAULT_SPACE", SPACE)];

async fn monigate(arguments: &[&str]) -> Ran {
    Process::start(arguments, &ENVIRONMENT).ran().await
}

#[tokio::test]
async fn both_protocols_say_the_same() {
    let gateway = Gateway::start().await;
    let id = gateway.completed();
    let over_h1 = gateway.look_up(&id).await;
    let h2 = h2c(&gateway.address).await;
    let over_h2 = ask_h2(&h2, "GET", &path(&id), &[("x-request-id", "mine.1")]).await;
    assert_eq!((over_h2.status, &over_h2.body), (200, &over_h1.body));
    assert_eq!(over_h2.header("etag"), over_h1.header("etag"));
    assert_eq!(over_h2.header("x-request-id"), Some("mine.1"));
    assert_eq!(over_h2.header("connection"), None);
    assert_eq!(ask_h2(&h2, "DELETE", &path(&id), &[]).await.status, 403);
    assert_eq!(ask_h2(&h2, "PUT", &path(&id), &[]).await.header("allow"), Some("GET, HEAD"));
}

#[tokio::test]
async fn a_unix_socket_serves_callers_and_operators_and_a_stale_one_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let [data, admin] = ["gateway.sock", "admin.sock"].map(|name| folder.path().join(name));
    // What a killed process leaves behind.
    drop(UnixListener::bind(&data).unwrap());
    let (_sandbox, base_url, _served) = play(None).await;
    let base_url = format!("monime.base_url={base_url}");
    let [data_key, admin_key] = [&data, &admin].map(|path| format!("unix:{}", path.display()));
    let arguments = ["run", "--listen", &data_key, "--admin", &admin_key, "--set", &base_url];
    let mut first = Process::start(&arguments, &ENVIRONMENT);
    first.says("serving").await;
    let [listen, operators] = [&data_key, &admin_key].map(|key| key.parse::<Address>().unwrap());
    assert_eq!(ask(&listen, &get("/v1/checkout-sessions/scs-1", "")).await.failure().0, 404);
    assert_eq!(ask(&operators, &get("/readyz", "")).await.text(), "ready\n");
    assert_eq!(monigate(&["healthcheck", "--ready", "--admin", &admin_key]).await.code, Some(0));

    let second = monigate(&arguments).await;
    assert_eq!(second.code, Some(1), "{second:?}");
    assert!(second.err.contains("listen.address") && second.err.contains("gateway.sock"), "{second:?}");
    assert_eq!(ask(&operators, &get("/livez", "")).await.status, 200, "the first is left alone");
    first.signal("TERM");
    assert_eq!(first.ended().await, Some(0));
    assert!(!data.exists() && !admin.exists());
}

#[tokio::test]
async fn an_address_in_use_is_named_with_its_key() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (listen, admin, key) in
        [(address.as_str(), "127.0.0.1:0", "listen.address"), ("127.0.0.1:0", &address, "admin.address")]
    {
        let ran = monigate(&["run", "--listen", listen, "--admin", admin]).await;
        assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{ran:?}");
        assert!(ran.err.contains(&format!("monigate: {key}: cannot listen on {address}")), "{ran:?}");
    }
}

#[tokio::test]
async fn a_health_check_says_by_its_exit_code_how_it_is() {
    let (_sandbox, base_url, _served) = play(None).await;
    let gateway = process::Gateway::run(&base_url, &["shutdown.delay=50m"]).await;
    let admin = gateway.admin.to_string();
    let check = async |more: &'static [&'static str]| {
        monigate(&[&["healthcheck", "--admin", admin.as_str()][..], more].concat()).await
    };
    let (live, ready) = (check(&[]).await, check(&["--ready"]).await);
    assert_eq!((live.code, ready.code), (Some(0), Some(0)), "{live:?} {ready:?}");
    assert!(ready.out.contains("/readyz") && ready.out.contains("200 ready"), "{ready:?}");
    gateway.process.signal("TERM");
    eventually("readiness fails", async || (gateway.operator("/readyz").await.status == 503).then_some(())).await;
    let (live, ready) = (check(&[]).await, check(&["--ready"]).await);
    assert_eq!((live.code, ready.code), (Some(0), Some(1)), "{live:?} {ready:?}");
    drop(gateway);
    let down = check(&[]).await;
    assert_eq!((down.code, down.out.as_str()), (Some(1), ""), "{down:?}");
    assert!(down.err.contains(&admin), "{down:?}");
    let nonsense = monigate(&["healthcheck", "--admin", "nowhere"]).await;
    assert_eq!(nonsense.code, Some(78), "{nonsense:?}");
}

#[tokio::test]
async fn get_looks_one_session_up_as_a_caller_would() {
    let (sandbox, base_url, _served) = play(None).await;
    let base_url = format!("monime.base_url={base_url}");
    let id = sandbox.create(&support::gateway::space());
    let get = async |id: &str| monigate(&["get", id, "--set", &base_url]).await;
    let found = get(id.as_str()).await;
    assert_eq!(found.code, Some(0), "{found:?}");
    let json: serde_json::Value = serde_json::from_str(&found.out).unwrap();
    assert_eq!(
        (json["result"]["id"].as_str(), json["result"]["status"].as_str()),
        (Some(id.as_str()), Some("pending"))
    );
    assert!(
        found.err.starts_with("HTTP 200 OK\n") && found.err.contains("cache-status: monigate; fwd=miss"),
        "{found:?}"
    );
    let ran = get("scs-none").await;
    assert!(ran.code == Some(1) && ran.out.contains("not_found"), "{ran:?}");
    for wrong in ["a/b", "a?b", "a#b", "two words"] {
        let ran = get(wrong).await;
        assert!(ran.code == Some(1) && ran.out.is_empty() && ran.err.contains("a session id is 1 to 128"), "{ran:?}");
    }
    assert_eq!(sandbox.seen().requests, 2);
}

#[tokio::test]
async fn the_sandbox_says_that_it_is_not_monime_and_serves() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_str().unwrap();
    let mut sandbox = Process::start(&["sandbox", "--listen", "127.0.0.1:0", "--tls", dir], &[]);
    let greeting =
        eventually("it greets", async || Some(sandbox.out()).filter(|out| out.ends_with("spc-demo\n"))).await;
    assert!(greeting.starts_with("THIS IS NOT MONIME"), "{greeting}");
    let url = greeting.split_whitespace().find(|word| word.starts_with("https://")).unwrap();
    let [base_url, ca] = [format!("monime.base_url={url}"), format!("monime.ca_file={dir}/ca.pem")];
    let ran = monigate(&["get", "scs-none", "--set", &base_url, "--set", &ca]).await;
    assert!(ran.code == Some(1) && ran.out.contains("not_found"), "{ran:?}");
    sandbox.signal("TERM");
    assert_eq!(sandbox.ended().await, Some(0));
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_their_order() {
    let gateway = Gateway::start().await;
    let (one, other) = (gateway.completed(), gateway.session("pending"));
    let mut wire = Wire::connect(&gateway.address).await;
    let targets = [path(&one), "/nowhere".to_owned(), path(&other), path(&one)];
    wire.send(targets.map(|target| get(&target, "")).concat()).await;
    let mut said = Vec::new();
    for _ in 0..4 {
        let answer = wire.answer().await.unwrap();
        let id = answer.json()["result"]["id"].as_str().map(str::to_owned);
        said.push((answer.status, id));
    }
    let [one, other] = [one, other].map(|id| Some(id.to_string()));
    assert_eq!(said, [(200, one.clone()), (404, None), (200, other), (200, one)]);
}

#[tokio::test]
async fn who_says_nothing_stops_nobody_else() {
    let gateway = Gateway::start().await;
    let id = gateway.completed();
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(Wire::connect(&gateway.address).await);
        let mut slow = Wire::connect(&gateway.address).await;
        slow.send("GET /v1/checkout-sessions/scs-").await;
        silent.push(slow);
    }
    for _ in 0..3 {
        assert_eq!(gateway.look_up(&id).await.status, 200);
    }
    assert_eq!(gateway.operator("/livez").await.status, 200);
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused_in_monimes_envelope() {
    let gateway = Gateway::start().await;
    let id = gateway.completed();
    let [many, large] = ["X-A: b\r\n".repeat(100), format!("X-A: {}\r\n", "b".repeat(7_000)).repeat(10)];
    let long = format!("{}?{}", path(&id), "x".repeat(9 * 1024));
    for (request, code, reason) in [
        (get(&long, ""), 414, "gateway_target_too_long"),
        (get(&path(&id), &many), 431, "gateway_head_too_large"),
        (get(&path(&id), &large), 431, "gateway_head_too_large"),
    ] {
        let mut wire = Wire::connect(&gateway.address).await;
        wire.send(request).await;
        let answer = wire.answer().await.unwrap();
        assert_eq!((answer.failure(), answer.header("connection")), ((code, reason.to_owned()), Some("close")));
    }
    assert_eq!(gateway.look_up_with(&id, &"X-A: b\r\n".repeat(99)).await.status, 200, "100 with Host");
    let h2 = h2c(&gateway.address).await;
    let fields = [("x-a", "b"); 101];
    assert_eq!(ask_h2(&h2, "GET", &path(&id), &fields).await.failure(), (431, "gateway_head_too_large".to_owned()));
}

#[tokio::test]
async fn a_body_is_refused_and_never_taken_for_a_request() {
    let gateway = Gateway::start().await;
    let (id, hidden) = (gateway.completed(), gateway.completed());
    let smuggled = get(&path(&hidden), "");
    let length = format!("Content-Length: {}\r\n", smuggled.len());
    let chunked = "Transfer-Encoding: chunked\r\n";
    let chunks = format!("{:x}\r\n{smuggled}\r\n0\r\n\r\n", smuggled.len());
    for (fields, body) in [(length.as_str(), &smuggled), (chunked, &chunks), (chunked, &format!("0\r\n\r\n{smuggled}"))]
    {
        let mut wire = Wire::connect(&gateway.address).await;
        wire.send(get(&path(&id), fields) + body).await;
        let answer = wire.answer().await.unwrap();
        assert_eq!(answer.failure(), (400, "gateway_body_not_allowed".to_owned()), "{fields}");
        assert_eq!(answer.header("connection"), Some("close"));
        assert_eq!(wire.rest().await, b"", "{fields}");
    }
    let both = format!("{length}{chunked}");
    let mut wire = Wire::connect(&gateway.address).await;
    wire.send(get(&path(&id), &both) + &format!("0\r\n\r\n{smuggled}")).await;
    assert_eq!(wire.answer().await.unwrap().status, 400);
    assert_eq!(wire.rest().await, b"");
    assert_eq!(gateway.look_up_with(&id, "Content-Length: 0\r\nContent-Type: application/json\r\n").await.status, 200);
    assert_eq!(gateway.calls(), 1, "only the last one was a lookup");
}

#[tokio::test]
async fn bytes_that_are_no_request_end_their_connection_and_nothing_else() {
    let gateway = Gateway::start().await;
    let id = gateway.completed();
    let bare = format!("GET {} HTTP/1.1\r\n", path(&id));
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"[..],
        b"\0\0\0\0\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /v1/checkout-sessions/scs-1 HTTP/9.9\r\n\r\n",
        b"GET /v1/checkout-sessions/scs-\xff HTTP/1.1\r\nHost: g\r\n\r\n",
        b"GET /v1/checkout-sessions/scs 1 HTTP/1.1\r\nHost: g\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\nnonsense after a broken preface",
        format!("{bare}Host : g\r\n\r\n").as_bytes(),
        format!("{bare}Host: g\r\nX: a\0b\r\n\r\n").as_bytes(),
        format!("{bare}Host: g\r\nContent-Length: -1\r\n\r\n").as_bytes(),
        format!("{bare}Host: g\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}", get(&path(&id), "")).as_bytes(),
        format!("{bare}Host: g\r\nTransfer-Encoding: chunked, gzip\r\n\r\n{}", get(&path(&id), "")).as_bytes(),
    ] {
        let mut wire = Wire::connect(&gateway.address).await;
        wire.send(bytes).await;
        let said = String::from_utf8_lossy(&wire.rest().await).into_owned();
        let refused = said.starts_with("HTTP/1.1 400 ") || said.starts_with("HTTP/1.1 505 ");
        assert!(refused && !said.contains("200 OK"), "{:?}: {said}", String::from_utf8_lossy(bytes));
    }
    assert_eq!(gateway.calls(), 0);
    assert_eq!(gateway.look_up(&id).await.status, 200);
}
