//! What a caller may ask of memory, and how long memory answers: refreshing, only-if-cached, and every time-to-live.

use tokio::time::advance;

use super::*;

/// A gateway whose callers may refresh, in front of a Monime that says this status.
fn refreshable(status: &'static str) -> Gateway {
    let monime = Monime::saying(move |key| Said::session(key, status));
    Gateway::on(monime, ttl(), |terms| terms.callers_may_refresh = true)
}

/// A gateway in front of a Monime that says this status, after `seconds` since it was asked for the first time.
async fn after(status: &'static str, seconds: u64) -> Gateway {
    let gateway = Gateway::settled(status);
    gateway.get(&[]).await;
    advance(Duration::from_secs(seconds)).await;
    gateway
}

#[tokio::test(start_paused = true)]
async fn each_status_is_kept_for_its_time_give_or_take_a_tenth() {
    for (status, seconds) in [("completed", 24 * 3600), ("cancelled", 60), ("expired", 60)] {
        for _ in 0..50 {
            let gateway = after(status, seconds * 9 / 10 - 1).await;
            assert!(gateway.get(&[]).await.cache_status().starts_with("monigate; hit"), "{status} is kept so long");
            let gateway = after(status, seconds * 11 / 10).await;
            assert_eq!(
                gateway.get(&[]).await.cache_status(),
                "monigate; fwd=miss; stored",
                "{status} is not kept longer"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_stored_together_does_not_expire_together() {
    let gateway = Gateway::settled("completed");
    fastrand::seed(7);
    let mut left = Vec::new();
    for number in 0..200 {
        let target = format!("/v1/checkout-sessions/scs-{number}");
        gateway.ask("GET", &target, &[]).await;
        let hit = gateway.ask("GET", &target, &[]).await;
        left.push(hit.cache_status().strip_prefix("monigate; hit; ttl=").unwrap().parse::<u64>().unwrap());
    }
    let day = 24 * 3600;
    assert!(left.iter().all(|left| (day * 9 / 10 - 1..=day * 11 / 10).contains(left)), "{left:?}");
    assert!(left.iter().any(|left| *left < day * 95 / 100) && left.iter().any(|left| *left > day * 105 / 100));
}

#[tokio::test(start_paused = true)]
async fn a_hit_tells_its_age_and_what_is_left_and_the_two_move_against_each_other() {
    let gateway = after("completed", 0).await;
    let read = async || {
        let hit = gateway.get(&[]).await;
        let left: u64 = hit.cache_status().strip_prefix("monigate; hit; ttl=").unwrap().parse().unwrap();
        (hit.header("age").unwrap().parse::<u64>().unwrap(), left)
    };
    let (age, left) = read().await;
    assert_eq!(age, 0);
    advance(Duration::from_secs(100)).await;
    assert_eq!(read().await, (100, left - 100));
}

#[tokio::test(start_paused = true)]
async fn a_hit_does_not_renew_what_is_kept() {
    let gateway = after("cancelled", 0).await;
    for _ in 0..5 {
        advance(Duration::from_secs(10)).await;
        assert!(gateway.get(&[]).await.cache_status().starts_with("monigate; hit"));
    }
    advance(Duration::from_secs(16)).await;
    assert_eq!(gateway.get(&[]).await.cache_status(), "monigate; fwd=miss; stored");
}

#[tokio::test(start_paused = true)]
async fn a_callers_wish_for_something_fresher_is_not_heard_by_default() {
    let gateway = after("completed", 0).await;
    for wish in [("cache-control", "no-cache"), ("cache-control", "max-age=0, no-store"), ("pragma", "no-cache")] {
        assert!(gateway.get(&[wish]).await.cache_status().starts_with("monigate; hit"), "{wish:?}");
    }
    assert_eq!(gateway.monime.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_callers_wish_for_something_fresher_is_heard_where_the_operator_allows_it() {
    let gateway = refreshable("completed");
    let wishes =
        [("cache-control", "no-cache"), ("cache-control", "No-Store, Max-Age=0"), ("pragma", "no-cache"), ("x", "y")];
    for wish in wishes {
        gateway.get(&[wish]).await;
    }
    assert_eq!(gateway.monime.calls(), 3, "the last one wished for nothing");
    assert!(gateway.get(&[("cache-control", "no-store")]).await.cache_status().starts_with("monigate; hit"));
}

#[tokio::test(start_paused = true)]
async fn a_refresh_joins_what_is_under_way_and_hits_go_on_meanwhile() {
    let gateway = refreshable("completed");
    gateway.get(&[]).await;
    gateway.monime.falls_silent();
    let refresh = [("cache-control", "no-cache")];
    let leads = gateway.under_way(&refresh, 2).await;
    let joins = tokio::spawn(gateway.get(&refresh));
    tokio::task::yield_now().await;
    assert!(gateway.get(&[]).await.cache_status().starts_with("monigate; hit"));
    gateway.monime.land(1, Said::session(&scripted::key("scs-1"), "cancelled"));
    assert_eq!(leads.await.unwrap().cache_status(), "monigate; fwd=miss; stored");
    assert_eq!(joins.await.unwrap().cache_status(), "monigate; fwd=miss; collapsed");
    let body = gateway.get(&[]).await.body;
    assert!(String::from_utf8_lossy(&body).contains("cancelled"), "a later final word replaces an earlier one");
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_finds_less_than_a_kept_completed_answer_is_told_the_kept_one_as_stale() {
    let gateway = refreshable("completed");
    let first = gateway.get(&[]).await;
    gateway.monime.says(|key| Said::session(key, "pending"));
    advance(Duration::from_secs(30)).await;
    let stale = gateway.get(&[("cache-control", "no-cache")]).await;
    assert_eq!((stale.status, &stale.body, stale.header("age")), (200, &first.body, Some("30")));
    let cache_status = stale.cache_status();
    assert!(
        cache_status.starts_with("monigate; hit; ttl=") && cache_status.ends_with("; detail=stale"),
        "{cache_status}"
    );
    assert_eq!(stale.header("monigate-poll-after"), None, "there is nothing to poll for");
    assert_eq!(gateway.counted("GetCheckoutSession", 200, "stale"), 1);
    assert_eq!(metric(&gateway.metrics, "monigate_status_regressions_total", &[]), 1);
    assert!(gateway.get(&[]).await.cache_status().starts_with("monigate; hit"));
}

#[tokio::test(start_paused = true)]
async fn only_if_cached_is_answered_from_memory_or_not_at_all() {
    let only = [("cache-control", "only-if-cached")];
    let gateway = Gateway::of(Monime::silent());
    let answer = gateway.get(&only).await;
    assert_eq!((answer.status, answer.reason().as_str()), (504, "gateway_not_cached"));
    assert_eq!(gateway.monime.calls(), 0);
    let leads = gateway.under_way(&[], 1).await;
    assert_eq!(gateway.get(&only).await.status, 504, "it does not wait for what is under way either");
    gateway.monime.land(0, Said::session(&scripted::key("scs-1"), "completed"));
    leads.await.unwrap();
    let hit = gateway.get(&only).await;
    assert!(hit.status == 200 && hit.cache_status().starts_with("monigate; hit"));
    assert_eq!(gateway.counted("GetCheckoutSession", 504, "refused"), 2);
}

#[tokio::test(start_paused = true)]
async fn only_if_cached_and_a_wish_for_something_fresher_cannot_both_be_met() {
    let gateway = refreshable("completed");
    gateway.get(&[]).await;
    let answer = gateway.get(&[("cache-control", "no-cache, only-if-cached")]).await;
    assert_eq!((answer.status, answer.reason().as_str()), (504, "gateway_not_cached"));
    assert_eq!(gateway.monime.calls(), 1);
}
