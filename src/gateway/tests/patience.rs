//! How long a caller waits: as long as it says, at most as long as the operator allows, and on nobody else's account.

use super::*;

/// How long a caller with these headers waits for a Monime that never answers, and what it is told then.
async fn waited(headers: &[(&str, &str)]) -> (Duration, Answer) {
    let gateway = Gateway::of(Monime::silent());
    let started = Instant::now();
    let answer = gateway.get(headers).await;
    (started.elapsed(), answer)
}

#[tokio::test(start_paused = true)]
async fn a_caller_gets_its_504_at_the_moment_it_named_or_at_the_operators() {
    for (said, millis) in [
        (None, 10_000),
        (Some("1"), 1000),
        (Some("2"), 2000),
        (Some("0.5"), 500),
        (Some(".25"), 250),
        (Some("3."), 3000),
        (Some("007"), 7000),
        (Some("9.999"), 9999),
        (Some("10"), 10_000),
        (Some("10.001"), 10_000),
        (Some("999999999999"), 10_000),
    ] {
        let headers: Vec<(&str, &str)> = said.iter().map(|seconds| ("monigate-timeout", *seconds)).collect();
        let (waited, answer) = waited(&headers).await;
        assert_eq!((answer.status, answer.reason().as_str()), (504, "gateway_upstream_timeout"), "{said:?}");
        // tokio's timer counts whole milliseconds and rounds up.
        let exactly = Duration::from_millis(millis)..=Duration::from_millis(millis + 1);
        assert!(exactly.contains(&waited), "{said:?}: waited {waited:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_patience_that_is_no_plain_number_above_zero_is_refused() {
    let gateway = Gateway::settled("completed");
    gateway.get(&[]).await;
    let unclear = [
        "",
        "0",
        "0.0",
        "00",
        ".",
        "-1",
        "-0",
        "+1",
        "1e3",
        "1E3",
        "inf",
        "infinity",
        "nan",
        "NaN",
        "0x10",
        "1,5",
        "1 ",
        "1.2.3",
        "2s",
        "1_000",
        "é",
        "0.0000000001",
        "1000000000000",
    ];
    for seconds in unclear {
        let answer = gateway.get(&[("monigate-timeout", seconds)]).await;
        assert_eq!((answer.status, answer.reason().as_str()), (400, "gateway_timeout_invalid"), "{seconds:?}");
    }
    let twice = gateway.get(&[("monigate-timeout", "1"), ("monigate-timeout", "1")]).await;
    assert_eq!((twice.status, twice.reason().as_str()), (400, "gateway_timeout_invalid"));
    assert_eq!(gateway.counted("GetCheckoutSession", 400, "refused"), unclear.len() as u64 + 1);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_runs_out_of_patience_leaves_the_flight_to_the_others() {
    let gateway = Gateway::of(Monime::silent());
    let started = Instant::now();
    let impatient = gateway.under_way(&[("monigate-timeout", "2")], 1).await;
    let patient = tokio::spawn(gateway.get(&[]));
    let left = impatient.await.unwrap();
    assert_eq!((left.status, left.reason().as_str()), (504, "gateway_upstream_timeout"));
    assert_eq!(started.elapsed().as_secs(), 2);
    gateway.monime.land(0, Said::session(&scripted::key("scs-1"), "completed"));
    assert_eq!(patient.await.unwrap().cache_status(), "monigate; fwd=miss; collapsed");
    assert!(gateway.get(&[]).await.cache_status().starts_with("monigate; hit"), "and it has been kept");
    assert_eq!(gateway.monime.calls(), 1);
    assert_eq!(gateway.counted("GetCheckoutSession", 504, "error"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_flight_that_everyone_left_still_lands_for_memory() {
    let gateway = Gateway::of(Monime::silent());
    assert_eq!(gateway.get(&[("monigate-timeout", "1")]).await.status, 504);
    let late = tokio::spawn(gateway.get(&[]));
    tokio::task::yield_now().await;
    gateway.monime.land(0, Said::session(&scripted::key("scs-1"), "completed"));
    assert_eq!(late.await.unwrap().status, 200);
    assert_eq!(gateway.monime.calls(), 1, "who comes later joins what is still under way");
}

#[tokio::test(start_paused = true)]
async fn a_landing_at_the_last_moment_is_in_time() {
    let gateway = Gateway::of(Monime::silent());
    let asking = gateway.under_way(&[("monigate-timeout", "2")], 1).await;
    tokio::time::advance(Duration::from_millis(1999)).await;
    gateway.monime.land(0, Said::session(&scripted::key("scs-1"), "completed"));
    assert_eq!(asking.await.unwrap().status, 200);
}
