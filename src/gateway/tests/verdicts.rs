//! The table of verdicts, row by row: what each answer of Monime's, and each way to get none, is to a caller.

use super::*;
use crate::monime::Key;
use crate::upstream::{Bound, Unreachable, Unreadable};

/// An answer that is passed on: what Monime says, the status, how it is described, whether memory holds it, the
/// verdict it counts as, and the outcome that its caller counts as.
type Passed = (fn(&Key) -> Said, u16, &'static str, bool, &'static str, &'static str);

#[rustfmt::skip]
const PASSED: &[Passed] = &[
    (|key| Said::session(key, "completed"), 200, "monigate; fwd=miss; stored", true, "final", "miss"),
    (|key| Said::session(key, "cancelled"), 200, "monigate; fwd=miss; stored", true, "final", "miss"),
    (|key| Said::session(key, "expired"), 200, "monigate; fwd=miss; stored", true, "final", "miss"),
    (|key| Said::session(key, "pending"), 200, "monigate; fwd=miss; detail=pending", false, "pending", "pending"),
    (|key| Said::session(key, "processing"), 200, "monigate; fwd=miss; detail=unknown", false, "unknown", "miss"),
    (|key| Said::session(key, "Completed"), 200, "monigate; fwd=miss; detail=unknown", false, "unknown", "miss"),
    (|_| Said::status(200, r#"{"success":true,"result":{"id":"scs-1"}}"#), 200, "monigate; fwd=miss; detail=unknown", false, "unknown", "miss"),
    (|_| Said::status(200, r#"{"success":true,"result":{"status":"completed"}}"#), 200, "monigate; fwd=miss; detail=unknown", false, "unknown", "miss"),
    (|_| Said::status(200, r#"{"success":false,"result":{"id":"scs-1","status":"completed"}}"#), 200, "monigate; fwd=miss; detail=unknown", false, "unknown", "miss"),
    (|_| Said::status(200, r#"{"success":true,"result":{"id":"scs-1","status":"completed"},"result":{}}"#), 200, "monigate; fwd=miss; detail=unknown", false, "unknown", "miss"),
    (|_| Said::status(200, r#"{"success":true,"result":{"id":"scs-1","status":"completed","status":"completed"}}"#), 200, "monigate; fwd=miss; detail=unknown", false, "unknown", "miss"),
    (|_| Said::status(200, "[]"), 200, "monigate; fwd=miss; detail=unknown", false, "unknown", "miss"),
    (|_| Said::status(200, r#"{"success":true,"result":{"id":"scs-1","metadata":{"status":"completed"},"status":"pending"}}"#), 200, "monigate; fwd=miss; detail=pending", false, "pending", "pending"),
    (|_| Said::status(200, r#"{"success":true,"result":{"id":"scs-1","st\u0061tus":"compl\u0065ted"}}"#), 200, "monigate; fwd=miss; stored", true, "final", "miss"),
    (|_| Said::error(404), 404, "monigate; fwd=miss; detail=absent", false, "absent", "miss"),
    (|_| Said::error(400), 400, "monigate; fwd=miss", false, "word", "miss"),
    (|_| Said::error(403), 403, "monigate; fwd=miss", false, "word", "miss"),
    (|_| Said::error(409), 409, "monigate; fwd=miss", false, "word", "miss"),
    (|_| Said::error(422), 422, "monigate; fwd=miss", false, "word", "miss"),
];

/// An answer that is not passed on: what Monime says, the status and the reason of ours, and the verdict, if it was
/// an answer at all.
type Refused = (fn(&Key) -> Said, u16, &'static str, Option<&'static str>);

#[rustfmt::skip]
const REFUSED: &[Refused] = &[
    (|_| Said::status(200, scripted::body(&scripted::key("scs-2"), "completed")), 502, "gateway_upstream_mismatch", Some("mismatch")),
    (|_| Said::status(200, r#"{"success":true,"result":{"id":7,"status":"completed"}}"#), 502, "gateway_upstream_mismatch", Some("mismatch")),
    (|_| Said::status(200, "<html>secret of the edge</html>"), 502, "gateway_upstream_unreadable", Some("unreadable")),
    (|_| Said::status(200, ""), 502, "gateway_upstream_unreadable", Some("unreadable")),
    (|key| Said::status(200, scripted::body(key, "completed") + "}"), 502, "gateway_upstream_unreadable", Some("unreadable")),
    (|_| Said::status(404, "<html>secret of the edge</html>"), 502, "gateway_upstream_unreadable", Some("unreadable")),
    (|_| Said::status(403, r#"{"message":"secret of the edge"}"#), 502, "gateway_upstream_unreadable", Some("unreadable")),
    (|_| Said::error(401), 502, "gateway_upstream_credentials", Some("credentials")),
    (|_| Said::error(429), 429, "gateway_upstream_throttled", Some("throttled")),
    (|_| Said::status(429, "<html>"), 429, "gateway_upstream_throttled", Some("throttled")),
    (|_| Said::status(101, ""), 502, "gateway_upstream_unexpected", Some("unexpected")),
    (|key| Said::status(201, scripted::body(key, "completed")), 502, "gateway_upstream_unexpected", Some("unexpected")),
    (|key| Said::status(206, scripted::body(key, "completed")), 502, "gateway_upstream_unexpected", Some("unexpected")),
    (|_| Said::status(204, ""), 502, "gateway_upstream_unexpected", Some("unexpected")),
    (|_| Said::status(302, ""), 502, "gateway_upstream_unexpected", Some("unexpected")),
    (|_| Said::status(304, ""), 502, "gateway_upstream_unexpected", Some("unexpected")),
    (|_| Said::error(500), 502, "gateway_upstream_error", Some("failure")),
    (|_| Said::error(502), 502, "gateway_upstream_error", Some("failure")),
    (|_| Said::error(599), 502, "gateway_upstream_error", Some("failure")),
    (|_| Said::error(503), 503, "gateway_upstream_unavailable", Some("failure")),
    (|_| Said::error(504), 504, "gateway_upstream_timeout", Some("failure")),
    (|_| Said::Failure(Failure::TimedOut(Bound::Connect)), 504, "gateway_upstream_timeout", None),
    (|_| Said::Failure(Failure::TimedOut(Bound::Attempt)), 504, "gateway_upstream_timeout", None),
    (|_| Said::Failure(Failure::TimedOut(Bound::Total)), 504, "gateway_upstream_timeout", None),
    (|_| Said::Failure(Failure::Exhausted { wait: Duration::from_secs(3) }), 429, "gateway_budget_exhausted", None),
    (|_| Said::Failure(Failure::Open { wait: Duration::from_secs(2) }), 503, "gateway_upstream_open", None),
    (|_| Said::Failure(Failure::Unreachable(Unreachable::NotConnected, "secret of the address".into())), 502, "gateway_upstream_unreachable", None),
    (|_| Said::Failure(Unreadable::TooLarge.into()), 502, "gateway_upstream_unreadable", None),
    (|_| Said::Failure(Unreadable::BrokenOff.into()), 502, "gateway_upstream_unreadable", None),
    (|_| Said::Failure(Unreadable::Coding.into()), 502, "gateway_upstream_unreadable", None),
    (|_| Said::Failure(Unreadable::Undecodable.into()), 502, "gateway_upstream_unreadable", None),
    (|_| Said::Failure(Unreadable::Reflects.into()), 502, "gateway_upstream_unreadable", None),
    (|_| Said::Panic, 500, "gateway_internal", None),
];

#[tokio::test(start_paused = true)]
async fn what_may_be_passed_on_is_passed_on_byte_for_byte_and_kept_only_if_it_is_final() {
    for (said, status, cache_status, stored, verdict, outcome) in PASSED {
        let Said::Reply(monimes) = said(&scripted::key("scs-1")) else { panic!("a row without a reply") };
        let gateway = Gateway::saying(said);
        let answer = gateway.get(&[]).await;
        let row = String::from_utf8_lossy(&monimes.body);
        assert_eq!((answer.status, &answer.body), (*status, &monimes.body), "{row}");
        assert_eq!(answer.cache_status(), *cache_status, "{row}");
        assert_eq!(answer.header("content-length"), Some(monimes.body.len().to_string().as_str()), "{row}");
        assert_eq!(answer.header("etag").is_some(), *status == 200, "{row}");
        let cache_control = if *status == 200 { "private, no-cache" } else { "no-store" };
        assert_eq!(answer.header("cache-control"), Some(cache_control), "{row}");
        assert_eq!(answer.header("monigate-poll-after").is_some(), *verdict == "pending", "{row}");
        assert_eq!(answer.header("age"), None, "{row}");
        assert_eq!(gateway.counted("GetCheckoutSession", *status, outcome), 1, "{row}");
        assert_eq!(metric(&gateway.metrics, "monigate_upstream_answers_total", &[verdict]), 1, "{row}");
        let again = gateway.get(&[]).await;
        assert_eq!((again.status, &again.body), (*status, &monimes.body), "{row}");
        assert_eq!(gateway.monime.calls(), if *stored { 1 } else { 2 }, "{row}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_may_not_be_passed_on_is_an_error_in_monimes_shape_that_says_nothing_of_monimes() {
    for (said, status, reason, verdict) in REFUSED {
        let row = format!("{:?}", said(&scripted::key("scs-1")));
        let gateway = Gateway::saying(said);
        let answer = gateway.get(&[]).await;
        assert_eq!((answer.status, answer.reason().as_str()), (*status, *reason), "{row}");
        let text = String::from_utf8_lossy(&answer.body);
        assert!(!text.contains("secret") && !text.contains("Monime's words"), "{row}: {text}");
        assert_eq!(answer.header("retry-after").is_some(), matches!(answer.status, 429 | 503), "{row}");
        assert_eq!(gateway.counted("GetCheckoutSession", *status, "error"), 1, "{row}");
        let judged = metric(&gateway.metrics, "monigate_upstream_answers_total", &[verdict.unwrap_or("none")]);
        assert_eq!(judged, u64::from(verdict.is_some()), "{row}");
        gateway.monime.says(|key| Said::session(key, "completed"));
        assert_eq!(gateway.get(&[]).await.cache_status(), "monigate; fwd=miss; stored", "{row}: nothing was kept");
    }
}

#[tokio::test(start_paused = true)]
async fn everyone_on_a_flight_that_fails_gets_the_same_error() {
    let gateway = Gateway::of(Monime::silent());
    let leads = gateway.under_way(&[], 1).await;
    let joins: Vec<_> = (0..20).map(|_| tokio::spawn(gateway.get(&[]))).collect();
    tokio::task::yield_now().await;
    gateway.monime.land(0, Said::error(500));
    let first = leads.await.unwrap();
    for joined in joins {
        let joined = joined.await.unwrap();
        assert_eq!((joined.status, joined.body), (first.status, first.body.clone()));
    }
    assert_eq!(gateway.monime.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_absent_is_kept_only_where_the_operator_says_so() {
    let absent = Ttl { absent: Duration::from_secs(5), ..ttl() };
    let gateway = Gateway::on(Monime::saying(|_| Said::error(404)), absent, |_| {});
    let (miss, hit) = (gateway.get(&[]).await, gateway.get(&[]).await);
    assert_eq!(miss.cache_status(), "monigate; fwd=miss; stored");
    assert_eq!(hit.cache_status().split(';').nth(1), Some(" hit"));
    assert_eq!((hit.status, &hit.body, hit.header("etag")), (404, &miss.body, None));
    assert_eq!((gateway.monime.calls(), gateway.counted("GetCheckoutSession", 404, "hit")), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn who_must_wait_for_monime_is_told_for_how_long_and_by_whom() {
    for status in [429, 503] {
        for (monimes, ours) in [
            (Some("7"), "7"),
            (Some("60"), "60"),
            (Some("86400"), "60"),
            (Some("0"), "1"),
            (Some("Thu, 01 Jan 1970 00:00:00 GMT"), "1"),
            (Some("Fri, 31 Dec 9999 23:59:59 GMT"), "60"),
            (Some("soon"), "5"),
            (None, "5"),
        ] {
            let gateway = Gateway::saying(move |_| {
                let said = Said::error(status).with("monime-rate-limit", "20;w=1").with("monime-request-id", "req-1");
                monimes.map_or(Said::error(status), |seconds| said.with("retry-after", seconds))
            });
            let answer = gateway.get(&[]).await;
            assert_eq!(answer.header("retry-after"), Some(ours), "{status} {monimes:?}");
            assert_eq!(answer.header("monime-rate-limit").is_some(), monimes.is_some(), "{status} {monimes:?}");
            assert_eq!(answer.header("monime-request-id").is_some(), monimes.is_some(), "{status} {monimes:?}");
            answer.reason();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_must_wait_for_the_gateway_is_told_for_how_long_in_whole_seconds() {
    for (wait, told) in [
        (Duration::ZERO, "1"),
        (Duration::from_nanos(1), "1"),
        (Duration::from_secs(1), "1"),
        (Duration::from_millis(1_001), "2"),
        (Duration::from_millis(2_500), "3"),
        (Duration::from_secs(60), "60"),
        (Duration::from_secs(61), "60"),
        (Duration::MAX, "60"),
    ] {
        let exhausted = Gateway::saying(move |_| Said::Failure(Failure::Exhausted { wait })).get(&[]).await;
        let open = Gateway::saying(move |_| Said::Failure(Failure::Open { wait })).get(&[]).await;
        assert_eq!((exhausted.status, exhausted.header("retry-after")), (429, Some(told)), "{wait:?}");
        assert_eq!((open.status, open.header("retry-after")), (503, Some(told)), "{wait:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_is_made_to_sleep_by_an_answer_that_is_no_refusal() {
    let says: [fn(&Key) -> Said; 3] =
        [|key| Said::session(key, "pending"), |key| Said::session(key, "completed"), |_| Said::error(404)];
    for said in says {
        let gateway =
            Gateway::saying(move |key| said(key).with("retry-after", "5").with("monime-rate-limit", "20;w=1"));
        for answer in [gateway.get(&[]).await, gateway.get(&[]).await] {
            assert_eq!((answer.header("retry-after"), answer.header("monime-rate-limit")), (None, None));
        }
    }
    let gateway = Gateway::saying(|_| Said::error(500).with("retry-after", "5"));
    assert_eq!(gateway.get(&[]).await.header("retry-after"), None);
}
