//! What an operator sees and does: every request counted once, one line in the log, health, and the purge.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what a test cannot prepare is its failure"
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use monigate::monime::SpaceId;
use serde_json::Value;
use support::client::{Answer, Wire, ask, ask_h2, get, h2c, path};
use support::gateway::{Gateway, OTHER_SPACE, eventually, metric};
use support::process;
use support::upstream::{Step, Upstream, answer, error, session};
use tokio::net::TcpListener;

/// How often each way to be served comes in [`one_of_each`].
const SERVED: [(&str, u64); 15] = [
    ("code=200,operation=GetCheckoutSession,outcome=miss", 4),
    ("code=200,operation=GetCheckoutSession,outcome=hit", 3),
    ("code=304,operation=GetCheckoutSession,outcome=hit", 1),
    ("code=200,operation=GetCheckoutSession,outcome=pending", 2),
    ("code=404,operation=GetCheckoutSession,outcome=miss", 1),
    ("code=403,operation=GetCheckoutSession,outcome=miss", 1),
    ("code=502,operation=GetCheckoutSession,outcome=error", 3),
    ("code=200,operation=GetCheckoutSession,outcome=stale", 1),
    ("code=504,operation=GetCheckoutSession,outcome=refused", 1),
    ("code=400,operation=GetCheckoutSession,outcome=refused", 1),
    ("code=403,operation=GetPayment,outcome=refused", 1),
    ("code=404,operation=none,outcome=refused", 2),
    ("code=405,operation=none,outcome=refused", 1),
    ("code=200,operation=GetCheckoutSession,outcome=joined", 1),
    ("code=499,operation=GetCheckoutSession,outcome=refused", 1),
];

/// A Monime whose answers depend on the id alone; `scs-turns` is completed first and pending from then on.
async fn monime() -> Upstream {
    let turns = std::sync::atomic::AtomicUsize::new(0);
    Upstream::start(move |_, request| {
        let id = request.split(['/', ' ']).nth(4).unwrap().to_owned();
        let said = match id.as_str() {
            "scs-open" => answer("200 OK", "", &session(&id, "pending")),
            "scs-odd" => answer("200 OK", "", &session(&id, "processing")),
            "scs-absent" => answer("404 Not Found", "", &error(404)),
            "scs-forbidden" => answer("403 Forbidden", "", &error(403)),
            "scs-broken" => answer("500 Internal Server Error", "", &error(500)),
            "scs-locked" => answer("401 Unauthorized", "", &error(401)),
            "scs-page" => answer("200 OK", "", "<html>"),
            "scs-turns" if turns.fetch_add(1, std::sync::atomic::Ordering::Relaxed) > 0 => {
                answer("200 OK", "", &session(&id, "pending"))
            }
            _ => answer("200 OK", "", &session(&id, "completed")),
        };
        let gate = id.starts_with("scs-held").then_some(Step::Gate);
        gate.into_iter().chain([Step::Send(said)]).collect()
    })
    .await
}

/// Every series of these families, as `family{labels}` without quotes.
fn series(text: &str, family: &str) -> BTreeMap<String, u64> {
    let lines = text.lines().filter_map(|line| line.strip_prefix(family)?.strip_prefix('{')?.split_once("} "));
    lines
        .map(|(labels, value)| (labels.replace('"', ""), value.parse().unwrap()))
        .filter(|(_, value)| *value > 0)
        .collect()
}

/// One of each way to be served, and how often it should be counted.
async fn one_of_each(address: &monigate::server::Address, upstream: &Upstream) -> BTreeMap<String, u64> {
    let asked = async |target: &str, fields: &str| ask(address, &get(target, fields)).await;
    for _ in 0..3 {
        asked("/v1/checkout-sessions/scs-paid", "X-Request-Id: paid\r\n").await;
    }
    asked("/v1/checkout-sessions/scs-paid", "If-None-Match: *\r\n").await;
    for id in ["open", "open", "odd", "absent", "forbidden", "broken", "locked", "page", "turns"] {
        asked(&path(format!("scs-{id}")), &format!("X-Request-Id: {id}\r\n")).await;
    }
    asked("/v1/checkout-sessions/scs-turns", "Cache-Control: no-cache\r\n").await;
    asked("/v1/checkout-sessions/scs-new", "Cache-Control: only-if-cached\r\n").await;
    asked("/v1/checkout-sessions/scs-paid?x", "").await;
    asked("/v1/payments/pay-1", "").await;
    asked("/nowhere", "").await;
    let h2 = h2c(address).await;
    ask_h2(&h2, "PUT", "/v1/checkout-sessions/scs-paid", &[]).await;
    ask_h2(&h2, "HEAD", "/v1/checkout-sessions/scs-paid", &[]).await;
    let heard = upstream.heard().len();
    let held = path("scs-held");
    let first = ask_h2(&h2, "GET", &held, &[]);
    let (_, second) = tokio::join!(first, async {
        upstream.hears(heard + 1).await;
        let mut leaves = Wire::connect(address).await;
        leaves.send(get(&path("scs-held-too"), "")).await;
        upstream.hears(heard + 2).await;
        drop(leaves);
        let joins = ask_h2(&h2, "GET", &held, &[]);
        let (joined, ()) = tokio::join!(joins, async {
            // Streams are heard in their order: once this is answered, the one before it waits.
            ask_h2(&h2, "GET", "/nowhere", &[]).await;
            upstream.open_the_gate();
        });
        joined
    });
    assert!(second.cache_status().contains("collapsed"), "{second:?}");
    SERVED.map(|(labels, count)| (labels.to_owned(), count)).into()
}

#[tokio::test]
async fn every_request_is_counted_once_by_how_it_was_served() {
    let upstream = monime().await;
    let gateway = Gateway::before(&upstream.base_url, &["cache.callers_may_refresh=true"]).await;
    let expected = one_of_each(&gateway.address, &upstream).await;
    let text = eventually("all of them are counted", async || {
        let text = gateway.operator("/metrics").await.text();
        let found: u64 = series(&text, "monigate_requests_total").values().sum();
        (found >= expected.values().sum()).then_some(text)
    })
    .await;
    assert_eq!(series(&text, "monigate_requests_total"), expected);
    let timed: u64 = series(&text, "monigate_request_duration_seconds_count").values().sum();
    assert_eq!(timed, expected.values().sum::<u64>());
    let answers = [("final", 4), ("pending", 3), ("unknown", 1), ("absent", 1), ("word", 1), ("failure", 1)];
    let answers = answers.into_iter().chain([("credentials", 1), ("unreadable", 1)]);
    let answers: BTreeMap<_, _> = answers.map(|(verdict, count)| (format!("verdict={verdict}"), count)).collect();
    assert_eq!(series(&text, "monigate_upstream_answers_total"), answers);
    let get = |code: &str| format!("code={code},operation=GetCheckoutSession");
    let codes = [("200", 9), ("401", 1), ("403", 1), ("404", 1), ("500", 1)];
    let codes: BTreeMap<_, _> = codes.into_iter().map(|(code, count)| (get(code), count)).collect();
    assert_eq!(series(&text, "monigate_upstream_requests_total"), codes);
    assert_eq!(upstream.heard().len(), 13);
    assert_eq!(metric(&text, "monigate_cache_entries"), 4);
    assert_eq!(metric(&text, "monigate_status_regressions_total"), 1);
}

#[tokio::test]
async fn the_metrics_are_in_the_text_format_and_name_no_session() {
    let upstream = monime().await;
    let gateway = Gateway::before(&upstream.base_url, &["cache.callers_may_refresh=true"]).await;
    one_of_each(&gateway.address, &upstream).await;
    let answer = gateway.operator("/metrics").await;
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let text = answer.text();
    assert!(text.ends_with('\n') && !text.contains("scs-") && !text.contains("spc-"), "{text}");
    let (mut types, mut seen, mut last) = (BTreeMap::new(), BTreeSet::new(), (String::new(), 0.0));
    for line in text.lines() {
        if let Some(declared) = line.strip_prefix("# TYPE ") {
            let (name, kind) = declared.split_once(' ').unwrap();
            assert!(types.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} twice");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
        } else if !line.starts_with("# HELP ") {
            let (sample, value) = line.rsplit_once(' ').unwrap();
            let value: f64 = value.parse().unwrap();
            assert!(seen.insert(sample.to_owned()), "{sample} twice");
            let name = sample.split('{').next().unwrap();
            let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
            let kind = types.get(family).or_else(|| types.get(name));
            assert!(kind.is_some(), "{line} has no type");
            if let Some((labels, _)) = sample.split_once("le=") {
                assert!(last.0 != labels || last.1 <= value, "{line}: buckets add up");
                last = (labels.to_owned(), value);
            }
        }
    }
    assert!(types.len() > 12, "{types:?}");
}

#[tokio::test]
async fn the_log_has_one_line_for_each_request_and_a_warning_for_each_failure() {
    let upstream = monime().await;
    let mut gateway =
        process::Gateway::run(&upstream.base_url, &["cache.callers_may_refresh=true", "log.level=monigate=debug"])
            .await;
    let expected = one_of_each(&gateway.address, &upstream).await;
    let total = usize::try_from(expected.values().sum::<u64>()).unwrap();
    let access = |line: &&Value| line["message"] == "answered" || line["message"] == "failed";
    let log = eventually("every line is written", async || {
        let log = gateway.process.log();
        (log.iter().filter(access).count() >= total).then_some(log)
    })
    .await;
    let mut found = BTreeMap::new();
    for line in log.iter().filter(access) {
        let word = |field: &str| line[field].as_str().unwrap_or_else(|| panic!("no {field}: {line}")).to_owned();
        let labels = format!("code={},operation={},outcome={}", line["status"], word("operation"), word("outcome"));
        *found.entry(labels).or_insert(0_u64) += 1;
        assert!(line["duration_seconds"].as_f64().unwrap() >= 0.0 && !word("request_id").is_empty(), "{line}");
        let failed = word("outcome") == "error";
        assert_eq!((line["level"] == "WARN", line["message"] == "failed"), (failed, failed), "{line}");
        assert_eq!(
            line["reason"].is_string(),
            failed || word("outcome") == "refused" && line["status"] != 499,
            "{line}"
        );
    }
    assert_eq!(found, expected);
    for (id, count) in [("paid", 3), ("open", 2), ("broken", 1), ("locked", 1), ("page", 1)] {
        assert_eq!(log.iter().filter(|line| line["request_id"] == id).count(), count, "{id}");
    }
    // One for each of the three failures, and one each for what an operator must know: the 403 and the step back.
    assert_eq!(log.iter().filter(|line| line["level"] == "WARN").count(), 5);
    assert!(!gateway.process.err().contains("scs-"), "no session is named");
    gateway.process.signal("TERM");
    gateway.process.ended().await;
}

async fn purge(gateway: &Gateway, body: &str) -> Answer {
    purge_as(gateway, "POST", "Content-Type: application/json\r\n", body).await
}

async fn purge_as(gateway: &Gateway, method: &str, fields: &str, body: &str) -> Answer {
    let length = body.len();
    let request = format!("{method} /purge HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n{fields}\r\n{body}");
    ask(&gateway.admin, &request).await
}

#[tokio::test]
async fn a_purge_takes_out_what_it_names_and_nothing_else() {
    let gateway = Gateway::start().await;
    let id = gateway.completed();
    gateway.sandbox.put(&SpaceId::parse(OTHER_SPACE).unwrap(), &id, "completed");
    let other = gateway.completed();
    let fields = ["", "Monime-Version: caph.2025-06-20\r\n", "Monime-Space-Id: spc-other\r\n"];
    let fill = async || {
        gateway.look_up(&other).await;
        for fields in fields {
            assert_eq!(gateway.look_up_with(&id, fields).await.status, 200);
        }
        gateway.calls()
    };
    let before = fill().await;
    for (body, purged) in [
        (format!(r#"{{"space":"spc-shop","id":"{id}"}}"#), 2),
        (r#"{"space":"spc-shop"}"#.to_owned(), 3),
        (r#"{"space":"spc-nobodys"}"#.to_owned(), 0),
        (r#"{"space":"spc-shop","id":"scs-nobodys"}"#.to_owned(), 0),
        (r#"{"all":true}"#.to_owned(), 4),
    ] {
        let calls = fill().await;
        let answer = purge(&gateway, &body).await;
        assert_eq!((answer.status, answer.text()), (200, format!(r#"{{"purged":{purged}}}"#)), "{body}");
        assert_eq!(fill().await - calls, purged, "{body}");
    }
    assert_eq!(before, 4);
    assert_eq!(
        purge_as(&gateway, "POST", "Content-Type: Application/JSON; charset=utf-8\r\n", r#"{"all":true}"#).await.status,
        200
    );
}

#[tokio::test]
async fn a_purge_that_is_not_understood_to_the_last_field_purges_nothing() {
    let gateway = Gateway::start().await;
    let id = gateway.completed();
    gateway.look_up(&id).await;
    let padded = format!(r#"{{"all":true{}}}"#, " ".repeat(5_000));
    for body in [
        "",
        "{}",
        "[]",
        "null",
        "{",
        r#"{"all":false}"#,
        r#"{"all":1}"#,
        r#"{"all":true,"space":"spc-shop"}"#,
        r#"{"id":"scs-1"}"#,
        r#"{"space":"shop"}"#,
        r#"{"space":"spc-shop","id":""}"#,
        r#"{"space":"spc-shop","ids":[]}"#,
        r#"{"all":true} x"#,
        r#"{"all":true,"all":true}"#,
        &padded,
    ] {
        let answer = purge(&gateway, body).await;
        assert_eq!(answer.failure(), (400, "admin_purge_invalid".to_owned()), "{body}");
    }
    let all = r#"{"all":true}"#;
    for fields in ["", "Content-Type: text/plain\r\n", "Content-Type: application/jsonp\r\n"] {
        assert_eq!(purge_as(&gateway, "POST", fields, all).await.status, 400, "{fields}");
    }
    for method in ["GET", "PUT", "DELETE", "OPTIONS"] {
        let answer = purge_as(&gateway, method, "Content-Type: application/json\r\n", all).await;
        assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")), "{method}");
    }
    assert!(gateway.look_up(&id).await.cache_status().contains("; hit; "));
    assert_eq!(gateway.calls(), 1);
}

#[tokio::test]
async fn what_was_under_way_during_a_purge_is_told_and_not_kept() {
    let upstream = monime().await;
    let gateway = Gateway::before(&upstream.base_url, &[]).await;
    let id = "scs-held";
    for (calls, body) in
        [(1, r#"{"space":"spc-shop","id":"scs-held"}"#), (2, r#"{"space":"spc-shop"}"#), (3, r#"{"all":true}"#)]
    {
        let mut wire = Wire::connect(&gateway.address).await;
        wire.send(get(&path(id), "")).await;
        upstream.hears(calls).await;
        assert_eq!(purge(&gateway, body).await.text(), r#"{"purged":0}"#);
        // Whoever asks after the purge must not join what began before it.
        drop(wire);
    }
    let mut last = Wire::connect(&gateway.address).await;
    last.send(get(&path(id), "")).await;
    upstream.hears(4).await;
    purge(&gateway, r#"{"all":true}"#).await;
    upstream.open_the_gate();
    assert_eq!(last.answer().await.unwrap().session(), "completed");
    assert_eq!(gateway.metric("monigate_cache_entries").await, 0);
    let answer = gateway.look_up(id).await;
    assert_eq!((answer.cache_status(), upstream.heard().len()), ("monigate; fwd=miss; stored", 5));
}

#[tokio::test]
async fn it_lives_and_is_ready_though_monime_is_down() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let gateway = Gateway::before(&nobody, &[]).await;
    let verbose = gateway.operator("/readyz?verbose").await.text();
    assert!(
        verbose.contains("gateway: ready\n") && verbose.contains("monime: not asked yet; breaker closed\n"),
        "{verbose}"
    );
    assert_eq!(gateway.look_up("scs-1").await.status, 502);
    let (live, ready) = (gateway.operator("/livez").await, gateway.operator("/readyz").await);
    assert_eq!(
        (live.status, live.text().as_str(), ready.status, ready.text().as_str()),
        (200, "alive\n", 200, "ready\n")
    );
    let verbose = gateway.operator("/readyz?verbose").await;
    assert!(verbose.status == 200 && verbose.text().contains("monime: last answer unreachable, "), "{verbose:?}");
    let config = gateway.operator("/config").await.json();
    assert_eq!(config["monime.token"]["value"], "[redacted]");
    assert_eq!(gateway.operator("/nowhere").await.failure(), (404, "admin_route_unknown".to_owned()));
}

#[tokio::test]
async fn other_machines_see_health_and_metrics_and_nothing_else() {
    let gateway = Gateway::with(&["admin.address=0.0.0.0:0"]).await;
    for (target, status) in
        [("/livez", 200), ("/readyz?verbose", 200), ("/metrics", 200), ("/config", 403), ("/purge", 403)]
    {
        assert_eq!(gateway.operator(target).await.status, status, "{target}");
    }
    let answer = purge(&gateway, r#"{"all":true}"#).await;
    assert_eq!(answer.failure(), (403, "admin_loopback_only".to_owned()));
}

#[tokio::test]
async fn operators_see_how_many_connections_and_tasks_there_are() {
    let upstream = Upstream::playing(vec![Step::Send(answer("200 OK", "", &session("scs-1", "completed")))]).await;
    let gateway = process::Gateway::run(&upstream.base_url, &[]).await;
    let tasks = async || metric(&gateway.operator("/metrics").await.text(), "monigate_tasks");
    let connections = async || metric(&gateway.operator("/metrics").await.text(), "monigate_connections");
    let before = tasks().await;
    let mut callers = Vec::new();
    for _ in 0..10 {
        let mut wire = Wire::connect(&gateway.address).await;
        assert_eq!(wire.look_up("scs-1", "").await.status, 200);
        callers.push(wire);
    }
    assert!(tasks().await >= before + 10, "a connection is a task");
    assert_eq!(connections().await, 10);
    drop(callers);
    eventually("they are gone", async || (connections().await == 0).then_some(())).await;
    eventually("they end", async || (tasks().await <= before + 2).then_some(())).await;
}
