//! A kept answer in the place of a failure is told as what it is.

use super::*;
use crate::lookup::StaleIfError;

const HOUR: Duration = Duration::from_secs(3600);

/// A gateway that has kept a completed session which is not fresh any more.
async fn past_its_time() -> (Gateway, Answer) {
    let day = 24 * HOUR;
    let stale_if_error = StaleIfError { completed: day, cancelled: Duration::ZERO, expired: Duration::ZERO };
    let lifetimes = Lifetimes { ttl: ttl(), stale_if_error };
    let gateway = Gateway::lasting(Monime::saying(|key| Said::session(key, "completed")), lifetimes, |_| {});
    let first = gateway.get(&[]).await;
    tokio::time::advance(30 * HOUR).await;
    (gateway, first)
}

fn is_stale(answer: &Answer, first: &Answer) {
    assert_eq!((answer.status, &answer.body), (200, &first.body));
    assert_eq!(answer.header("etag"), first.header("etag"));
    let ttl = answer.cache_status().strip_prefix("monigate; hit; ttl=-");
    let late: u64 = ttl.and_then(|rest| rest.strip_suffix("; detail=stale")).unwrap().parse().unwrap();
    assert!((12_960..=30_240).contains(&late), "{late} seconds past its time");
}

#[tokio::test(start_paused = true)]
async fn a_stale_answer_says_its_age_and_how_long_it_has_not_been_fresh() {
    let (gateway, first) = past_its_time().await;
    gateway.monime.says(|_| Said::error(503));
    let stale = gateway.get(&[]).await;
    is_stale(&stale, &first);
    assert_eq!(stale.header("age"), Some("108000"));
    assert_eq!(stale.header("retry-after"), None, "SDKs would sleep on it");
    assert_eq!((gateway.counted("GetCheckoutSession", 200, "stale"), gateway.monime.calls()), (1, 2));
    assert_eq!(gateway.get(&[("if-none-match", first.header("etag").unwrap())]).await.status, 304);
}

#[tokio::test(start_paused = true)]
async fn who_runs_out_of_patience_is_told_the_kept_answer_too() {
    let (gateway, first) = past_its_time().await;
    gateway.monime.falls_silent();
    let started = Instant::now();
    is_stale(&gateway.get(&[("monigate-timeout", "1")]).await, &first);
    assert_eq!(started.elapsed().as_secs(), 1);
}

#[tokio::test(start_paused = true)]
async fn only_if_cached_is_not_answered_by_what_is_stale() {
    let (gateway, _) = past_its_time().await;
    assert_eq!(gateway.get(&[("cache-control", "only-if-cached")]).await.reason(), "gateway_not_cached");
}
