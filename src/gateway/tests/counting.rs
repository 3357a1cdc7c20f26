//! Every request is counted, once, as what it was to its caller: also one that nobody waited for any more.

use futures_util::FutureExt;

use super::*;

#[tokio::test(start_paused = true)]
async fn each_outcome_is_counted_exactly_once() {
    let gateway = Gateway::on(Monime::silent(), ttl(), |terms| terms.callers_may_refresh = true);
    let counted = |code, outcome| gateway.counted("GetCheckoutSession", code, outcome);
    let leads = gateway.under_way(&[], 1).await;
    let joins = tokio::spawn(gateway.get(&[]));
    tokio::task::yield_now().await;
    assert_eq!(gateway.counted_in_all(), 0, "an answer counts when it is given");
    gateway.monime.land(0, Said::session(&scripted::key("scs-1"), "pending"));
    let _ = (leads.await.unwrap(), joins.await.unwrap());
    assert_eq!((counted(200, "pending"), counted(200, "joined")), (1, 1));
    gateway.monime.says(|key| Said::session(key, "completed"));
    gateway.get(&[]).await;
    assert_eq!(counted(200, "miss"), 1);
    gateway.get(&[]).await;
    assert_eq!(counted(200, "hit"), 1);
    gateway.monime.says(|key| Said::session(key, "pending"));
    gateway.get(&[("cache-control", "no-cache")]).await;
    assert_eq!(counted(200, "stale"), 1);
    gateway.monime.says(|_| Said::error(500));
    gateway.get(&[("cache-control", "no-cache")]).await;
    assert_eq!(counted(502, "error"), 1);
    gateway.get(&[("monime-version", "none")]).await;
    assert_eq!(counted(400, "refused"), 1);
    assert_eq!(gateway.counted_in_all(), 7);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_before_its_answer_is_counted_once() {
    let gateway = Gateway::of(Monime::silent());
    let mut asking = Box::pin(gateway.get(&[]));
    assert!(asking.as_mut().now_or_never().is_none());
    assert_eq!(gateway.counted_in_all(), 0);
    drop(asking);
    assert_eq!((gateway.counted("GetCheckoutSession", 499, "refused"), gateway.counted_in_all()), (1, 1));
    gateway.monime.asked(1).await;
    gateway.monime.land(0, Said::session(&scripted::key("scs-1"), "completed"));
    let next = gateway.get(&[]).await;
    assert_eq!((next.status, gateway.counted_in_all()), (200, 2), "its flight is not counted again");
}

#[tokio::test(start_paused = true)]
async fn the_time_that_a_request_took_is_measured_from_its_head_to_its_answer() {
    let gateway = Gateway::of(Monime::silent());
    let asking = gateway.under_way(&[], 1).await;
    tokio::time::advance(Duration::from_secs(3)).await;
    gateway.monime.land(0, Said::session(&scripted::key("scs-1"), "completed"));
    asking.await.unwrap();
    let families = gateway.metrics.registry().gather();
    let durations = families.iter().find(|family| family.name() == "monigate_request_duration_seconds").unwrap();
    let measured: Vec<(u64, f64)> = durations
        .get_metric()
        .iter()
        .map(|one| (one.get_histogram().get_sample_count(), one.get_histogram().get_sample_sum()))
        .filter(|(count, _)| *count > 0)
        .collect();
    assert_eq!(measured.len(), 1);
    assert!(measured[0].0 == 1 && (3.0..3.01).contains(&measured[0].1), "{measured:?}");
}

#[tokio::test(start_paused = true)]
async fn no_label_is_made_of_what_a_caller_sends() {
    let gateway = Gateway::settled("completed");
    for target in ["/canary-path", SESSION, "/v1/checkout-sessions/canary-id", "/v1/banks/canary-bank"] {
        gateway.ask("GET", target, &[("x-request-id", "canary-request"), ("monime-version", "canary")]).await;
        gateway.ask("CANARY", target, &[]).await;
    }
    let families = format!("{:?}", gateway.metrics.registry().gather());
    assert!(!families.to_lowercase().contains("canary"), "{families}");
}
