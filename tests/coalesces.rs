//! A crowd that asks for one session at once costs Monime one call, whoever of it leaves before the answer.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what a test cannot prepare is its failure"
)]

mod support;

use futures_util::future::join_all;
use monigate::sandbox::Fault;
use support::client::{Wire, ask_h2, get, h2c, path};
use support::gateway::{Gateway, eventually, metric};
use support::process;
use support::upstream::{Step, Upstream, answer, session};
use tokio::task::JoinSet;

const CROWD: usize = 500;
const LEAVE: usize = 10;
const LEFT: &str = r#"monigate_requests_total{code="499",operation="GetCheckoutSession",outcome="refused"}"#;

/// A Monime that holds its answer back until the gate opens.
async fn held() -> Upstream {
    Upstream::playing(vec![Step::Gate, Step::Send(answer("200 OK", "", &session("scs-1", "completed")))]).await
}

fn served(metrics: &str, outcome: &str) -> u64 {
    metric(
        metrics,
        &format!(r#"monigate_requests_total{{code="200",operation="GetCheckoutSession",outcome="{outcome}"}}"#),
    )
}

/// The ones that stayed were each served, by the one call that was made.
fn everyone_was_served(metrics: &str, upstream: &Upstream) {
    let stayed = u64::try_from(CROWD - LEAVE).unwrap();
    let [miss, joined, hit] = ["miss", "joined", "hit"].map(|outcome| served(metrics, outcome));
    assert_eq!(miss + joined + hit, stayed, "{miss} {joined} {hit}");
    assert!(joined > 0 && miss <= 1, "{miss} {joined} {hit}");
    assert_eq!(metric(metrics, LEFT), u64::try_from(LEAVE).unwrap());
    assert_eq!(upstream.heard().len(), 1);
}

#[tokio::test]
async fn five_hundred_connections_cost_one_call_though_the_first_ten_leave() {
    let upstream = held().await;
    let gateway = process::Gateway::run(&upstream.base_url, &[]).await;
    let mut crowd = Vec::new();
    for _ in 0..CROWD {
        let mut wire = Wire::connect(&gateway.address).await;
        wire.send(get(&path("scs-1"), "")).await;
        crowd.push(wire);
    }
    upstream.hears(1).await;
    crowd.drain(..LEAVE).for_each(drop);
    let gone = u64::try_from(LEAVE).unwrap();
    eventually("those who left are noticed", async || {
        (metric(&gateway.operator("/metrics").await.text(), LEFT) == gone).then_some(())
    })
    .await;
    upstream.open_the_gate();
    let body = session("scs-1", "completed");
    for wire in &mut crowd {
        let answer = wire.answer().await.unwrap();
        assert_eq!((answer.status, answer.text()), (200, body.clone()));
    }
    everyone_was_served(&gateway.operator("/metrics").await.text(), &upstream);
}

#[tokio::test]
async fn five_hundred_streams_cost_one_call_though_the_first_ten_leave() {
    let upstream = held().await;
    let gateway = process::Gateway::run(&upstream.base_url, &[]).await;
    // Each connection carries fewer streams than a server commonly allows.
    let connections = join_all((0..5).map(|_| h2c(&gateway.address))).await;
    let ask = |number: usize| {
        let sender = connections[number % connections.len()].clone();
        async move { ask_h2(&sender, "GET", "/v1/checkout-sessions/scs-1", &[]).await }
    };
    let mut first = JoinSet::new();
    (0..LEAVE).for_each(|number| drop(first.spawn(ask(number))));
    upstream.hears(1).await;
    // A connection's streams are heard in their order: once the last one is answered, all before it wait.
    let last = connections.iter().map(|sender| ask_h2(sender, "GET", "/nowhere", &[]));
    assert!(join_all(last).await.iter().all(|answer| answer.status == 404));
    let mut crowd = JoinSet::new();
    (LEAVE..CROWD).for_each(|number| drop(crowd.spawn(ask(number))));
    first.shutdown().await;
    let gone = u64::try_from(LEAVE).unwrap();
    eventually("those who left are noticed", async || {
        (metric(&gateway.operator("/metrics").await.text(), LEFT) == gone).then_some(())
    })
    .await;
    upstream.open_the_gate();
    let answers = crowd.join_all().await;
    let body = session("scs-1", "completed");
    assert!(answers.iter().all(|answer| (answer.status, answer.text()) == (200, body.clone())));
    everyone_was_served(&gateway.operator("/metrics").await.text(), &upstream);
}

#[tokio::test]
async fn when_everyone_leaves_the_answer_is_kept_for_the_next() {
    let upstream = held().await;
    let gateway = Gateway::before(&upstream.base_url, &[]).await;
    let mut wire = Wire::connect(&gateway.address).await;
    wire.send(get(&path("scs-1"), "")).await;
    upstream.hears(1).await;
    drop(wire);
    eventually("the caller's leaving is noticed", async || (gateway.metric(LEFT).await == 1).then_some(())).await;
    upstream.open_the_gate();
    eventually("the answer is kept", async || (gateway.metric("monigate_cache_entries").await == 1).then_some(()))
        .await;
    assert!(gateway.look_up("scs-1").await.cache_status().starts_with("monigate; hit; "));
    assert_eq!(upstream.heard().len(), 1);
}

#[tokio::test]
async fn a_failure_is_told_to_everyone_who_waited_and_the_next_one_asks_anew() {
    let upstream = Upstream::playing(vec![Step::Gate, Step::Close]).await;
    let gateway = Gateway::before(&upstream.base_url, &[]).await;
    let crowd = join_all((0..20).map(|_| gateway.look_up("scs-1")));
    let (answers, ()) = tokio::join!(crowd, async {
        upstream.hears(1).await;
        upstream.open_the_gate();
    });
    assert!(answers.iter().all(|answer| answer.failure() == (502, "gateway_upstream_unreachable".to_owned())));
    let heard = upstream.heard().len();
    gateway.look_up("scs-1").await;
    assert!(upstream.heard().len() > heard);
}

#[tokio::test]
async fn a_pending_answer_is_shared_with_those_who_waited_for_it_only() {
    let gateway = Gateway::start().await;
    let id = gateway.session("pending");
    gateway.sandbox.play(Fault::Latency(std::time::Duration::from_millis(500)), 1);
    let answers = join_all((0..20).map(|_| gateway.look_up(&id))).await;
    let collapsed = "monigate; fwd=miss; collapsed; detail=pending";
    let joined = answers.iter().filter(|answer| answer.cache_status() == collapsed).count();
    assert!(joined > 0 && answers.iter().all(|answer| answer.session() == "pending"));
    let before = gateway.calls();
    gateway.look_up(&id).await;
    assert_eq!(gateway.calls(), before + 1);
}

#[tokio::test]
async fn different_sessions_do_not_wait_for_each_other() {
    let upstream = Upstream::start(|_, request| {
        let id = if request.contains("scs-slow") { "scs-slow" } else { "scs-fast" };
        let gate = (id == "scs-slow").then_some(Step::Gate);
        gate.into_iter().chain([Step::Send(answer("200 OK", "", &session(id, "completed")))]).collect()
    })
    .await;
    let gateway = Gateway::before(&upstream.base_url, &[]).await;
    let slow = gateway.look_up("scs-slow");
    let (slow, ()) = tokio::join!(slow, async {
        upstream.hears(1).await;
        for _ in 0..2 {
            assert_eq!(gateway.look_up("scs-fast").await.session(), "completed");
        }
        upstream.open_the_gate();
    });
    assert_eq!((slow.session().as_str(), upstream.heard().len()), ("completed", 2));
}
