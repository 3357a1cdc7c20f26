//! Writes: sent once and to their end, whoever leaves, and each with one line of the audit.

use std::time::Duration;

use monigate::monime::{SessionId, SpaceId};
use monigate::sandbox::{self, Fault, Limits, Operation, Sandbox};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::support::client::{Answer, Wire};
use super::support::gateway::{PATIENCE, SPACE, eventually, play, play_with};
use super::support::upstream::{Step, Upstream, answer, error};
use super::{KEY, ORDER, SESSIONS, Shop, failed, key, request};

const HOUR: Duration = Duration::from_secs(3600);

/// Every session in the space, as Monime lists them.
async fn sessions(shop: &Shop) -> Vec<Value> {
    let list = shop.ask("GET", &format!("{SESSIONS}?limit=50"), "", "").await;
    assert_eq!(list.status, 200, "{list:?}");
    list.json()["result"].as_array().unwrap().clone()
}

fn id(created: &Answer) -> String {
    created.json()["result"]["id"].as_str().unwrap().to_owned()
}

async fn heard(sandbox: &Sandbox, count: u64) {
    eventually("Monime hears it", async || (sandbox.seen().requests >= count).then_some(())).await;
}

/// Holds the only turn that there is for creates in the next second, so that the next one waits for its own.
const ONE_TURN: &str = "budget.endpoint=1";

fn is_audited(line: &Value, outcome: &str, status: Option<u16>) {
    let told = [&line["caller"], &line["operation"], &line["space"], &line["outcome"]];
    assert_eq!(told, ["shop", "CreateCheckoutSession", SPACE, outcome]);
    assert_eq!(line["status"].as_u64(), status.map(u64::from));
    assert!(line["request_id"].as_str().is_some_and(|id| !id.is_empty()), "{line}");
    let mut fields: Vec<&str> = line.as_object().unwrap().keys().map(String::as_str).collect();
    let of_monime = ["status", "monime_request_id"];
    assert!(status.is_some() || of_monime.iter().all(|field| !fields.contains(field)), "{line}");
    fields.retain(|field| !["timestamp", "level", "target", "message"].contains(field) && !of_monime.contains(field));
    assert_eq!(fields, ["caller", "operation", "outcome", "request_id", "space"], "and nothing else");
}

#[tokio::test]
async fn a_write_that_is_done_is_told_audited_and_counted_under_its_request_id() {
    let (_sandbox, base_url, _served) = play(None).await;
    let shop = Shop::before(&base_url, &[]).await;
    let created = shop.ask("POST", SESSIONS, &format!("X-Request-Id: mine-1\r\n{}", key(KEY)), ORDER).await;
    assert_eq!(created.status, 200, "{created:?}");
    assert_eq!(created.json()["result"]["name"], "canary-body-9163");
    assert_eq!(shop.ask("POST", SESSIONS, &key("other"), "{}").await.status, 400, "Monime's word");
    assert_eq!(shop.metric("monigate_writes_total{operation=\"CreateCheckoutSession\",outcome=\"done\"}").await, 1);
    assert_eq!(shop.metric("monigate_writes_total{operation=\"CreateCheckoutSession\",outcome=\"rejected\"}").await, 1);
    let audit = shop.end().await;
    assert_eq!(audit.len(), 2, "{audit:?}");
    is_audited(&audit[0], "done", Some(200));
    is_audited(&audit[1], "rejected", Some(400));
    assert_eq!(audit[0]["request_id"], "mine-1");
    assert_eq!(audit[0]["monime_request_id"], created.header("monime-request-id").unwrap(), "by which Monime finds it");
}

#[tokio::test]
async fn of_a_write_whose_caller_leaves_before_its_turn_nothing_is_sent() {
    let (sandbox, base_url, _served) = play(None).await;
    let shop = Shop::before(&base_url, &[ONE_TURN, "monime.timeouts.total=60s"]).await;
    assert_eq!(shop.create().await.status, 200);
    // A line of seconds: each of these would wait for its own.
    let waiting =
        [shop.sent(&shop.creation()).await, shop.sent(&shop.creation()).await, shop.sent(&shop.creation()).await];
    eventually("they wait", async || (waits(&shop).await == 3).then_some(())).await;
    drop(waiting);
    eventually("all are audited", async || (shop.audit().len() == 4).then_some(())).await;
    let audit = shop.end().await;
    let sent = audit.iter().filter(|line| line["outcome"] != "not_sent").count();
    // The first of them may have had its turn before it was seen that its caller left.
    assert!(audit.len() == 4 && sent <= 2, "{audit:?}");
    assert_eq!(sandbox.seen().requests, u64::try_from(sent).unwrap());
    is_audited(audit.last().unwrap(), "not_sent", None);
}

async fn waits(shop: &Shop) -> u64 {
    shop.metric("monigate_budget_waiting").await
}

#[tokio::test]
async fn a_write_whose_caller_leaves_after_it_was_sent_is_finished_once() {
    for fault in [Fault::Latency(Duration::from_millis(300)), Fault::Withheld(Duration::from_millis(300))] {
        let (sandbox, base_url, _served) = play(None).await;
        let shop = Shop::before(&base_url, &[]).await;
        sandbox.play_on(Operation::Create, fault, 1);
        let wire = shop.sent(&shop.creation()).await;
        heard(&sandbox, 1).await;
        drop(wire);
        is_audited(&shop.audited("done").await, "done", Some(200));
        assert_eq!(shop.metric("monigate_writes_total{operation=\"CreateCheckoutSession\",outcome=\"done\"}").await, 1);
        let sessions = sessions(&shop).await;
        assert_eq!(sessions.len(), 1, "{sessions:?}");
        let again = shop.create().await;
        assert_eq!(
            (id(&again).as_str(), again.header("monime-cache")),
            (sessions[0]["id"].as_str().unwrap(), Some("irc"))
        );
        assert_eq!(shop.end().await.len(), 2);
    }
}

#[tokio::test]
async fn a_write_that_takes_too_long_may_be_repeated_with_its_key_and_is_done_once() {
    let (sandbox, base_url, _served) = play(None).await;
    let shop = Shop::before(&base_url, &["monime.timeouts.write=2s", "monime.timeouts.attempt=2s"]).await;
    sandbox.play_on(Operation::Create, Fault::Withheld(HOUR), 1);
    let begun = Instant::now();
    assert_eq!(shop.create().await.failure(), failed(504, "gateway_outcome_unknown"));
    assert!(begun.elapsed() >= Duration::from_secs(2));
    let again = shop.create().await;
    assert_eq!((again.status, again.header("monime-cache")), (200, Some("irc")));
    let sessions = sessions(&shop).await;
    assert_eq!((sessions.len(), sessions[0]["id"].as_str().unwrap()), (1, id(&again).as_str()));
    let audit = shop.end().await;
    assert_eq!(audit.len(), 2);
    is_audited(&audit[0], "unknown", None);
    is_audited(&audit[1], "done", Some(200));
}

#[tokio::test]
async fn a_write_goes_on_though_its_caller_waits_no_longer() {
    let (sandbox, base_url, _served) = play(None).await;
    let shop = Shop::before(&base_url, &[]).await;
    sandbox.play_on(Operation::Create, Fault::Latency(Duration::from_secs(1)), 1);
    let fields = format!("Monigate-Timeout: 0.2\r\n{}", key(KEY));
    let late = shop.ask("POST", SESSIONS, &fields, ORDER).await;
    assert_eq!(late.failure(), failed(504, "gateway_outcome_unknown"));
    is_audited(&shop.audited("done").await, "done", Some(200));
    assert_eq!(sessions(&shop).await.len(), 1);
    assert_eq!(shop.end().await.len(), 1);
}

#[tokio::test]
async fn who_waits_longer_than_a_lookup_may_take_is_let() {
    let (sandbox, base_url, _served) = play(None).await;
    let shop = Shop::before(
        &base_url,
        &["monime.timeouts.connect=300ms", "monime.timeouts.attempt=300ms", "monime.timeouts.total=400ms"],
    )
    .await;
    sandbox.play_on(Operation::Create, Fault::Latency(Duration::from_secs(1)), 2);
    assert_eq!(shop.create().await.status, 200);
    assert_eq!(shop.ask("POST", SESSIONS, &format!("Monigate-Timeout: 20\r\n{}", key("b")), ORDER).await.status, 200);
}

#[tokio::test]
async fn a_connection_that_breaks_leaves_the_outcome_open_and_none_at_all_does_not() {
    for steps in [
        vec![Step::Close],
        vec![Step::Reset],
        vec![Step::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{".to_vec()), Step::Close],
    ] {
        let upstream = Upstream::playing(steps).await;
        let shop = Shop::before(&upstream.base_url, &[]).await;
        assert_eq!(shop.create().await.failure(), failed(502, "gateway_outcome_unknown"));
        assert_eq!(upstream.heard().len(), 1);
        assert_eq!(shop.end().await[0]["outcome"], "unknown");
    }
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}", nobody.local_addr().unwrap());
    drop(nobody);
    let shop = Shop::before(&base_url, &[]).await;
    assert_eq!(shop.create().await.failure(), failed(502, "gateway_upstream_unreachable"));
    let audit = shop.end().await;
    assert_eq!(audit.len(), 1);
    is_audited(&audit[0], "not_sent", None);
}

#[tokio::test]
async fn without_a_turn_nothing_is_sent_and_so_it_is_while_monime_is_left_alone() {
    let (sandbox, base_url, _served) = play(None).await;
    let shop = Shop::before(&base_url, &[ONE_TURN, "monime.timeouts.total=5s", "monime.timeouts.attempt=5s"]).await;
    assert_eq!(shop.create().await.status, 200);
    let refused = shop.create().await;
    assert_eq!(refused.failure(), failed(429, "gateway_budget_exhausted"));
    assert!(refused.header("retry-after").is_some());
    assert_eq!(sandbox.seen().requests, 1);
    let audit = shop.end().await;
    assert_eq!(audit.len(), 2);
    is_audited(&audit[1], "not_sent", None);

    let upstream = Upstream::playing(vec![Step::Send(answer("503 X", "", &error(503)))]).await;
    let shop = Shop::before(&upstream.base_url, &[]).await;
    let cold = std::cell::Cell::new(0);
    eventually("the breaker opens for lookups that fail", async || {
        cold.set(cold.get() + 1);
        let answer = shop.ask("GET", &format!("{SESSIONS}/cold-{}", cold.get()), "", "").await;
        (answer.failure().1 == "gateway_upstream_open").then_some(())
    })
    .await;
    let sent = upstream.heard().len();
    let open = shop.create().await;
    assert_eq!(open.failure(), failed(503, "gateway_upstream_open"));
    assert!(open.header("retry-after").is_some());
    let audit = shop.end().await;
    assert_eq!((audit.len(), upstream.heard().len()), (1, sent));
    is_audited(audit.last().unwrap(), "not_sent", None);
}

#[tokio::test]
async fn the_process_ends_only_after_a_write_that_nobody_waits_for() {
    let upstream = Upstream::playing(vec![Step::Gate, Step::Send(answer("200 OK", "", "{}"))]).await;
    let mut shop = Shop::before(&upstream.base_url, &["shutdown.timeout=50m"]).await;
    let wire = shop.sent(&shop.creation()).await;
    upstream.hears(1).await;
    drop(wire);
    shop.gateway.process.signal("TERM");
    shop.gateway.process.says("stopping").await;
    // Nobody is connected; longer than the last words of those who might be.
    let ended = tokio::time::timeout(Duration::from_secs(2), shop.gateway.process.ended()).await;
    assert!(ended.is_err(), "it did not wait");
    upstream.open_the_gate();
    let audit = shop.over().await;
    assert_eq!(audit.len(), 1);
    is_audited(&audit[0], "done", Some(200));
}

#[tokio::test]
async fn a_write_that_is_cut_off_at_the_end_has_its_line_all_the_same() {
    // At the limit, or by a second signal; whether or not its caller is still here.
    for (limit, signals, leaves) in [("300ms", 1, true), ("300ms", 1, false), ("50m", 2, true), ("50m", 2, false)] {
        let upstream = Upstream::playing(vec![Step::Gate]).await;
        let mut shop = Shop::before(&upstream.base_url, &[&format!("shutdown.timeout={limit}")]).await;
        let unfinished = shop.request("POST", SESSIONS, &format!("Content-Length: 99\r\n{}", key(KEY)), "");
        let unfinished = shop.sent(&unfinished).await;
        // Sent after it, so that its head has been read when this one has come through.
        let wire = shop.sent(&shop.creation()).await;
        upstream.hears(1).await;
        let stays = if leaves { None } else { Some(wire) };
        for _ in 0..signals {
            shop.gateway.process.signal("TERM");
            shop.gateway.process.says("stopping").await;
        }
        let audit = shop.over().await;
        let mut outcomes: Vec<_> = audit.iter().map(|line| line["outcome"].as_str().unwrap()).collect();
        outcomes.sort_unstable();
        assert_eq!(outcomes, ["not_sent", "unknown"], "{limit}, {signals}, {leaves}: {audit:?}");
        drop((stays, unfinished));
    }
}

#[tokio::test]
async fn creates_lists_and_lookups_have_turns_of_their_own_and_share_the_tokens() {
    let settings = sandbox::Settings { limits: Limits::TEST, ..sandbox::Settings::default() };
    let (sandbox, base_url, _served) = play_with(settings, None).await;
    let limits = Limits::TEST;
    let rates = [("endpoint", limits.endpoint), ("token", limits.token), ("space", limits.space)];
    let rates = rates.map(|(name, rate)| format!("budget.{name}={rate}"));
    let shop = Shop::before(&base_url, &[&rates[0], &rates[1], &rates[2]]).await;
    let space = SpaceId::parse(SPACE).unwrap();
    let ids: Vec<SessionId> = (0..30).map(|_| sandbox.create(&space)).collect();
    let begun = Instant::now();
    let mut texts = Vec::new();
    for (number, id) in ids.iter().enumerate() {
        texts.push(shop.request("POST", SESSIONS, &key(&format!("k-{number}")), ORDER));
        texts.push(shop.request("GET", &format!("{SESSIONS}?limit=1"), "", ""));
        texts.push(shop.request("GET", &format!("{SESSIONS}/{id}"), "", ""));
        texts.push(shop.request("DELETE", &format!("{SESSIONS}/{id}"), "", ""));
    }
    let answers = futures_util::future::join_all(texts.iter().map(|text| shop.send(text))).await;
    let took = begun.elapsed();
    let seen = sandbox.seen();
    assert_eq!(seen.throttled, 0, "{seen:?}");
    for answer in &answers {
        let ours = answer.status == 429 && answer.failure().1 == "gateway_budget_exhausted";
        assert!(ours || matches!(answer.status, 200 | 404), "{answer:?}");
    }
    assert_eq!(seen.operations.len(), 4, "{seen:?}");
    for (operation, traffic) in &seen.operations {
        assert!(traffic.busiest <= limits.endpoint, "{operation}: {seen:?}");
        // One line for all of them would let a quarter of it through.
        assert!(traffic.busiest > limits.endpoint / 2, "{operation}: {seen:?}");
    }
    assert!(seen.busiest <= limits.token && seen.busiest > limits.endpoint, "{seen:?}");
    assert!(took < PATIENCE);
}

#[tokio::test]
async fn writes_on_one_connection_go_to_the_space_they_name_and_no_other() {
    let (_sandbox, base_url, _served) = play(None).await;
    let shop = Shop::before(&base_url, &[]).await;
    let mut wire = Wire::connect(&shop.gateway.address).await;
    for number in 0..3 {
        let fields = format!("{}Monime-Space-Id: spc-other\r\n{}", shop.office, key(&number.to_string()));
        wire.send(request("POST", SESSIONS, &fields, ORDER)).await;
        assert_eq!(wire.answer().await.unwrap().status, 200);
    }
    assert!(sessions(&shop).await.is_empty());
    let audit = shop.end().await;
    assert!(audit.len() == 3 && audit.iter().all(|line| line["caller"] == "office" && line["space"] == "spc-other"));
}
