//! What an answer says about itself: bytes, `Cache-Status`, `Via`, request ids, Monime's own headers, when to poll.

use tokio::time::advance;

use super::*;

#[tokio::test(start_paused = true)]
async fn a_hit_and_a_miss_are_the_same_bytes() {
    let bodies = [
        "\t{ \"result\" : {\"status\":\"compl\\u0065ted\",\"id\":\"scs-1\", \"amount\": 1.50e+1 }\r\n,\"success\":true} \n".to_owned(),
        format!(r#"{{"success":true,"result":{{"id":"scs-1","status":"completed","é":"{}"}}}}"#, "ü€😀\\/".repeat(10_000)),
    ];
    for body in bodies {
        let gateway = Gateway::saying({
            let body = body.clone();
            move |_| Said::status(200, body.clone())
        });
        let (miss, hit) = (gateway.get(&[]).await, gateway.get(&[]).await);
        assert_eq!((&miss.body, &hit.body), (&Bytes::from(body.clone()), &Bytes::from(body)));
        assert_eq!(
            (miss.header("etag"), miss.header("content-type")),
            (hit.header("etag"), hit.header("content-type"))
        );
        assert_eq!(gateway.monime.calls(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_hit_and_a_miss_have_the_same_fields_but_for_age() {
    let gateway = Gateway::saying(|key| Said::session(key, "completed").with("monime-request-id", "req-1"));
    let names = |answer: &Answer| {
        let mut names: Vec<String> = answer.headers.keys().map(ToString::to_string).collect();
        names.sort();
        names
    };
    let (miss, hit) = (names(&gateway.get(&[]).await), names(&gateway.get(&[]).await));
    let expected = [
        "cache-control",
        "cache-status",
        "content-length",
        "content-type",
        "etag",
        "monime-request-id",
        "via",
        "x-request-id",
    ];
    assert_eq!(miss, expected);
    assert_eq!(hit, [&["age"], &expected[..]].concat());
}

#[tokio::test(start_paused = true)]
async fn who_joins_a_flight_is_told_so() {
    for (said, leads, joins) in [
        (
            Said::session(&scripted::key("scs-1"), "completed"),
            "monigate; fwd=miss; stored",
            "monigate; fwd=miss; collapsed",
        ),
        (
            Said::session(&scripted::key("scs-1"), "pending"),
            "monigate; fwd=miss; detail=pending",
            "monigate; fwd=miss; collapsed; detail=pending",
        ),
        (Said::error(404), "monigate; fwd=miss; detail=absent", "monigate; fwd=miss; collapsed; detail=absent"),
        (
            Said::status(200, "{}"),
            "monigate; fwd=miss; detail=unknown",
            "monigate; fwd=miss; collapsed; detail=unknown",
        ),
        (Said::error(403), "monigate; fwd=miss", "monigate; fwd=miss; collapsed"),
    ] {
        let gateway = Gateway::of(Monime::silent());
        let leader = gateway.under_way(&[], 1).await;
        let joiner = tokio::spawn(gateway.get(&[]));
        tokio::task::yield_now().await;
        gateway.monime.land(0, said);
        let (leader, joiner) = (leader.await.unwrap(), joiner.await.unwrap());
        assert_eq!((leader.cache_status(), joiner.cache_status()), (leads, joins));
        assert_eq!((&leader.body, leader.status), (&joiner.body, joiner.status), "{leads}");
        assert_eq!(gateway.counted("GetCheckoutSession", joiner.status, "joined"), 1, "{leads}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_final_answer_that_is_not_kept_does_not_claim_to_be() {
    let none = Ttl { completed: Duration::ZERO, ..ttl() };
    let gateway = Gateway::on(Monime::saying(|key| Said::session(key, "completed")), none, |_| {});
    assert_eq!(gateway.get(&[]).await.cache_status(), "monigate; fwd=miss");
}

#[tokio::test(start_paused = true)]
async fn via_names_the_protocol_that_monimes_answer_came_by() {
    for (protocol, via) in [
        (http::Version::HTTP_2, "2 monigate"),
        (http::Version::HTTP_11, "1.1 monigate"),
        (http::Version::HTTP_10, "1.0 monigate"),
    ] {
        let gateway = Gateway::saying(move |key| {
            let Said::Reply(reply) = Said::session(key, "completed") else { unreachable!("a session is a reply") };
            Said::Reply(Reply { protocol, ..reply })
        });
        for answer in [gateway.get(&[]).await, gateway.get(&[]).await] {
            assert_eq!(answer.header("via"), Some(via));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn monimes_own_headers_are_passed_on_as_they_were_stored() {
    let gateway = Gateway::saying(|key| {
        let said = Said::session(key, "completed").with("content-type", "application/json; charset=utf-8");
        said.with("monime-request-id", "req-1").with("monime-request-duration", "12ms")
    });
    let etag = gateway.get(&[]).await.header("etag").unwrap().to_owned();
    gateway.monime.says(|_| Said::Panic);
    for headers in [&[][..], &[("if-none-match", etag.as_str())]] {
        let hit = gateway.get(headers).await;
        assert_eq!(hit.header("monime-request-id"), Some("req-1"));
        assert_eq!(hit.header("monime-request-duration"), Some("12ms"));
    }
    assert_eq!(gateway.get(&[]).await.header("content-type"), Some("application/json; charset=utf-8"));
}

#[tokio::test(start_paused = true)]
async fn a_request_id_is_the_callers_if_it_can_stand_in_a_log_and_else_a_new_one() {
    let gateway = Gateway::settled("completed");
    let longest = "x".repeat(64);
    for good in ["a", "7f3a-B_c.d", longest.as_str()] {
        assert_eq!(gateway.get(&[("x-request-id", good)]).await.header("x-request-id"), Some(good));
    }
    let too_long = "x".repeat(65);
    for bad in ["", " ", "a b", "a/b", "a\tb", "é", "{\"a\":1}", too_long.as_str()] {
        let answer = gateway.get(&[("x-request-id", bad)]).await;
        let minted = answer.header("x-request-id").unwrap();
        assert!(minted.len() == 16 && minted.bytes().all(|byte| byte.is_ascii_hexdigit()), "{bad:?}: {minted}");
    }
}

#[tokio::test(start_paused = true)]
async fn every_answer_has_a_request_id_of_its_own() {
    let gateway = Gateway::settled("completed");
    let mut ids = std::collections::HashSet::new();
    for target in [SESSION, SESSION, "/v1/nothing", "/v1/banks", SESSION] {
        ids.insert(gateway.ask("GET", target, &[]).await.header("x-request-id").unwrap().to_owned());
    }
    assert_eq!(ids.len(), 5, "what is kept holds no caller's id");
}

#[tokio::test(start_paused = true)]
async fn pollers_are_slowed_down_as_their_sessions_grow_in_number() {
    let gateway = Gateway::settled("pending");
    let poll = async |number: u32| {
        let answer = gateway.ask("GET", &format!("/v1/checkout-sessions/scs-{number}"), &[]).await;
        assert_eq!(answer.header("retry-after"), None);
        answer.header("monigate-poll-after").unwrap().parse::<u32>().unwrap()
    };
    assert_eq!(poll(0).await, 3);
    for number in 0..100 {
        poll(number).await;
    }
    assert_eq!(poll(0).await, 5, "a hundred sessions at twenty a second");
    advance(Duration::from_secs(60)).await;
    assert_eq!(poll(0).await, 5, "whoever waits as long as a caller may be told to is still counted");
    advance(Duration::from_secs(91)).await;
    assert_eq!(poll(0).await, 3, "and they are forgotten");
}
