//! A kept answer stands in when Monime fails: for the failures that leave it open what became of the session, for as long as
//! its status allows, and never longer for having been told.

use super::*;
use crate::lookup::StaleIfError;
use crate::upstream::{Failure, Unreachable, Unreadable};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Fresh for an hour, more or less, then stale for a day or for as long as is given.
fn lifetimes(cancelled: Duration) -> Lifetimes {
    let hour = Duration::from_secs(3600);
    let ttl = Ttl { completed: hour, cancelled: hour, expired: hour, absent: hour };
    Lifetimes { ttl, stale_if_error: StaleIfError { completed: DAY, cancelled, expired: Duration::ZERO } }
}

/// A memory in which `status` was kept and is no longer fresh.
async fn past_its_time(status: &'static str, cancelled: Duration) -> (Memory, Key) {
    let memory = Memory::lasting(Monime::silent(), lifetimes(cancelled));
    let key = key("scs-1");
    memory.keep(&key, status).await;
    advance(Duration::from_secs(3600 * 11 / 10 + 1)).await;
    assert_eq!(memory.kept(&key), None, "it is not fresh any more");
    (memory, key)
}

#[tokio::test(start_paused = true)]
async fn a_completed_answer_stands_in_for_every_failure_that_leaves_the_session_open() {
    let (memory, key) = past_its_time("completed", Duration::ZERO).await;
    let unreachable = || Said::Failure(Failure::Unreachable(Unreachable::NotConnected, "refused".into()));
    for said in [
        || Said::error(500),
        || Said::error(502),
        || Said::error(503),
        || Said::error(504),
        Said::timed_out,
        unreachable,
    ] {
        memory.monime.says(move |_| said());
        let told = memory.ask(&key).await.unwrap();
        assert_eq!((told.outcome, told.stored), (Outcome::Stale, false));
        assert_eq!(told.answer.verdict(), Verdict::Final(Final::Completed));
    }
    assert_eq!(memory.regressions(), 0, "Monime did not say anything else");
}

#[tokio::test(start_paused = true)]
async fn what_says_something_about_us_or_about_the_answer_is_told_as_it_is() {
    let (memory, key) = past_its_time("completed", Duration::ZERO).await;
    let unreadable = || Said::Failure(Failure::Unreadable(Unreadable::TooLarge));
    for said in [
        || Said::error(401),
        || Said::error(429),
        || Said::error(302),
        || Said::status(200, "<html>"),
        unreadable,
        || Said::Panic,
    ] {
        memory.monime.says(move |_| said());
        assert!(memory.ask(&key).await.is_err());
    }
    memory.monime.says(|_| Said::error(403));
    assert_eq!(memory.ask(&key).await.unwrap().answer.verdict(), Verdict::Word);
}

#[tokio::test(start_paused = true)]
async fn standing_in_does_not_make_an_answer_last_longer() {
    let (memory, key) = past_its_time("completed", Duration::ZERO).await;
    memory.monime.says(|_| Said::error(500));
    let mut passed = Duration::from_secs(3600 * 11 / 10 + 1);
    while passed < DAY + Duration::from_secs(3600 * 9 / 10) {
        assert_eq!(memory.ask(&key).await.unwrap().outcome, Outcome::Stale, "after {passed:?}");
        advance(Duration::from_secs(3600)).await;
        passed += Duration::from_secs(3600);
    }
    advance(Duration::from_secs(1800)).await;
    assert!(memory.ask(&key).await.is_err(), "it is gone when its time is over, however often it was told");
    assert_eq!(memory.lookups.stand_in(key.as_ref()).map(|told| told.outcome), None);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_came_too_late_to_be_fresh_stands_in_all_the_same() {
    let memory = Memory::lasting(Monime::silent(), lifetimes(Duration::ZERO));
    let key = key("scs-1");
    let asking = memory.ask(&key);
    memory.monime.asked(1).await;
    advance(Duration::from_secs(3600 * 11 / 10 + 1)).await;
    memory.monime.land(0, Said::session(&key, "completed"));
    let told = asking.await.unwrap();
    assert_eq!((told.outcome, told.stored, memory.kept(&key)), (Outcome::Miss, true, None));
    memory.monime.says(|_| Said::error(500));
    assert_eq!(memory.ask(&key).await.unwrap().outcome, Outcome::Stale);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_kept_stands_in_for_nothing() {
    let Lifetimes { ttl, stale_if_error } = lifetimes(DAY);
    let ttl = Ttl { completed: Duration::ZERO, cancelled: Duration::ZERO, ..ttl };
    let memory = Memory::lasting(Monime::silent(), Lifetimes { ttl, stale_if_error });
    for status in ["completed", "cancelled"] {
        memory.monime.says(move |key| Said::session(key, status));
        assert!(!memory.ask(&key("scs-1")).await.unwrap().stored, "{status}");
        memory.monime.says(|_| Said::error(500));
        assert!(memory.ask(&key("scs-1")).await.is_err(), "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn only_statuses_that_may_stand_in_do() {
    for (status, cancelled, stands_in) in [
        ("completed", Duration::ZERO, true),
        ("cancelled", Duration::ZERO, false),
        ("cancelled", DAY, true),
        ("expired", DAY, false),
    ] {
        let (memory, key) = past_its_time(status, cancelled).await;
        memory.monime.says(|_| Said::error(500));
        assert_eq!(memory.ask(&key).await.is_ok(), stands_in, "{status}, {cancelled:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_404_never_stands_in() {
    let memory = Memory::lasting(Monime::saying(|_| Said::error(404)), lifetimes(DAY));
    assert!(memory.ask(&key("scs-1")).await.unwrap().stored);
    advance(Duration::from_secs(3600 * 11 / 10 + 1)).await;
    memory.monime.says(|_| Said::error(500));
    assert!(memory.ask(&key("scs-1")).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_stale_completed_answer_still_outlives_every_lesser_word_and_yields_to_a_newer_final_one() {
    let (memory, key) = past_its_time("completed", Duration::ZERO).await;
    for said in [|key: &Key| Said::session(key, "pending"), |_: &Key| Said::error(404)] {
        let told = memory.refreshed(&key, said).await;
        assert_eq!(told, (Outcome::Stale, Verdict::Final(Final::Completed), None));
    }
    assert_eq!(memory.regressions(), 2);
    memory.keep(&key, "completed").await;
    assert_eq!(memory.ask(&key).await.unwrap().outcome, Outcome::Hit, "what Monime says anew is fresh anew");
}

#[tokio::test(start_paused = true)]
async fn a_purge_takes_what_is_stale_as_well() {
    let (memory, key) = past_its_time("completed", Duration::ZERO).await;
    assert_eq!(memory.lookups.memory().purge(&Purge::All), 1);
    memory.monime.says(|_| Said::error(500));
    assert!(memory.ask(&key).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn what_nobody_may_be_told_any_more_is_collected_and_nothing_else() {
    let (memory, _) = past_its_time("expired", Duration::ZERO).await;
    memory.monime.says(|key| Said::session(key, "completed"));
    memory.ask(&key("scs-2")).await.unwrap();
    advance(Duration::from_secs(7200)).await;
    memory.ask(&key("scs-3")).await.unwrap();
    let shared = memory.lookups.memory();
    shared.collect();
    shared.sweep();
    assert_eq!(metric(&memory.metrics, "monigate_cache_entries", &[]), 2, "a stale and a fresh one stay");
    assert_eq!(metric(&memory.metrics, "monigate_cache_evictions_total", &[]), 1);
}
