//! A session that has settled is asked for once: from then on the same bytes come from memory.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what a test cannot prepare is its failure"
)]

mod support;

use monigate::monime::{KNOWN_VERSIONS, SpaceId};
use monigate::sandbox::Fault;
use support::client::{Answer, Wire, ask_h2, h2c, path};
use support::gateway::{Gateway, OTHER_SPACE, SPACE, space};
use support::upstream::{Step, Upstream, answer, session};

const MISS: &str = "monigate; fwd=miss; stored";

/// The seconds that a hit will stay fresh.
fn ttl(answer: &Answer) -> u64 {
    let seconds = answer.cache_status().strip_prefix("monigate; hit; ttl=");
    seconds.unwrap_or_else(|| panic!("not a hit: {answer:?}")).parse().unwrap()
}

/// Everything but what may differ between two answers of the same content.
fn lasting(answer: &Answer) -> Vec<&(String, String)> {
    let passing = ["age", "cache-status", "x-request-id", "date"];
    answer.headers.iter().filter(|(name, _)| !passing.contains(&name.as_str())).collect()
}

#[tokio::test]
async fn a_completed_session_is_a_miss_and_then_hits_with_the_same_bytes() {
    let gateway = Gateway::start().await;
    let id = gateway.completed();
    let miss = gateway.look_up(&id).await;
    assert_eq!((miss.status, miss.session().as_str(), miss.cache_status()), (200, "completed", MISS));
    assert_eq!(miss.header("age"), None);
    assert_eq!(miss.header("content-type"), Some("application/json"));
    assert_eq!(miss.header("cache-control"), Some("private, no-cache"));
    assert_eq!(miss.header("via"), Some("1.1 monigate"));
    assert!(miss.header("monime-request-id").is_some_and(|id| id.starts_with("req-")));
    assert!(miss.header("server").is_none() && miss.header("monime-sandbox").is_none(), "{miss:?}");
    for _ in 0..5 {
        let hit = gateway.look_up(&id).await;
        assert_eq!((hit.status, &hit.body, lasting(&hit)), (200, &miss.body, lasting(&miss)));
        assert!((77_000..=95_100).contains(&ttl(&hit)), "24 hours, give or take a tenth: {}", ttl(&hit));
        assert!(hit.header("age").unwrap().parse::<u64>().unwrap() < 20);
    }
    assert_eq!(gateway.calls(), 1);
}

#[tokio::test]
async fn cancelled_and_expired_are_kept_for_their_minute() {
    let gateway = Gateway::start().await;
    for status in ["cancelled", "expired"] {
        let id = gateway.session(status);
        assert_eq!(gateway.look_up(&id).await.cache_status(), MISS, "{status}");
        let hit = gateway.look_up(&id).await;
        assert_eq!(hit.session(), status);
        assert!((33..=66).contains(&ttl(&hit)), "{status}: {}", ttl(&hit));
    }
    assert_eq!(gateway.calls(), 2);
}

#[tokio::test]
async fn what_is_kept_for_no_time_is_not_kept_and_an_absence_can_be() {
    let gateway = Gateway::with(&["cache.ttl.expired=0s", "cache.ttl.absent=1m"]).await;
    let expired = gateway.session("expired");
    for _ in 0..2 {
        assert_eq!(gateway.look_up(&expired).await.cache_status(), "monigate; fwd=miss");
    }
    assert_eq!(gateway.look_up("scs-nobodys").await.cache_status(), MISS);
    let hit = gateway.look_up("scs-nobodys").await;
    assert_eq!(hit.failure(), (404, "not_found".to_owned()));
    assert!(ttl(&hit) <= 66 && hit.header("etag").is_none(), "{hit:?}");
    assert_eq!(gateway.calls(), 3);
}

#[tokio::test]
async fn the_kept_answer_ends_with_its_time() {
    let gateway = Gateway::with(&["cache.ttl.completed=200ms"]).await;
    let id = gateway.completed();
    let miss = gateway.look_up(&id).await;
    let again = support::gateway::eventually("its time is over", async || {
        let answer = gateway.look_up(&id).await;
        (gateway.calls() == 2).then_some(answer)
    })
    .await;
    assert_eq!((again.cache_status(), &again.body), (MISS, &miss.body));
}

#[tokio::test]
async fn a_gzip_answer_that_nobody_asked_for_is_decoded_and_kept_decoded() {
    let gateway = Gateway::start().await;
    let (plain, coded) = (gateway.completed(), gateway.completed());
    gateway.sandbox.play_for(&coded, Fault::Gzip, 1);
    let plain = gateway.look_up(&plain).await.text();
    let miss = gateway.look_up(&coded).await;
    assert_eq!((miss.status, miss.cache_status(), miss.header("content-encoding")), (200, MISS, None));
    let blank = |text: String| text.replace(|letter: char| letter.is_ascii_alphanumeric(), "x");
    assert_eq!(blank(miss.text()), blank(plain), "decoded, and nothing else");
    let hit = gateway.look_up_with(&coded, "Accept-Encoding: gzip\r\n").await;
    assert_eq!((&hit.body, hit.header("content-encoding")), (&miss.body, None));
    assert_eq!(gateway.calls(), 2);
}

#[tokio::test]
async fn bytes_survive_that_no_json_library_would_write() {
    let body = "\r\n {\"success\" : true,\"messages\":[],\t\"result\":{\"x\":1.0e+2,\"a\":\"\\u00e9\u{e9}\",\"status\":\"completed\",\"id\":\"scs-1\"} }\n\n";
    let upstream = Upstream::playing(vec![Step::Send(answer("200 OK", "", body))]).await;
    let gateway = Gateway::before(&upstream.base_url, &[]).await;
    for _ in 0..2 {
        assert_eq!(gateway.look_up("scs-1").await.body, body.as_bytes());
    }
    assert_eq!(upstream.heard().len(), 1);
}

#[tokio::test]
async fn the_same_id_in_two_spaces_is_two_sessions() {
    let gateway = Gateway::start().await;
    let id = gateway.completed();
    gateway.sandbox.put(&SpaceId::parse(OTHER_SPACE).unwrap(), &id, "cancelled");
    for round in 0..2 {
        for (named, status) in [(SPACE, "completed"), (OTHER_SPACE, "cancelled")] {
            let answer = gateway.look_up_with(&id, &format!("Monime-Space-Id: {named}\r\n")).await;
            assert_eq!((answer.session().as_str(), answer.cache_status() == MISS), (status, round == 0), "{named}");
        }
    }
    assert_eq!(gateway.look_up(&id).await.session(), "completed", "the default space is {SPACE}");
    assert_eq!(gateway.calls(), 2);
}

#[tokio::test]
async fn the_same_id_in_two_versions_is_two_answers() {
    let upstream = Upstream::start(|_, request| {
        let version = KNOWN_VERSIONS.iter().find(|version| request.contains(**version)).unwrap();
        let body = session("scs-1", "completed").replace("messages", version);
        vec![Step::Send(answer("200 OK", "", &body))]
    })
    .await;
    let gateway = Gateway::before(&upstream.base_url, &[]).await;
    for _ in 0..2 {
        for version in KNOWN_VERSIONS {
            let answer = gateway.look_up_with("scs-1", &format!("Monime-Version: {version}\r\n")).await;
            assert!(answer.text().contains(version), "{version}: {answer:?}");
        }
        assert!(gateway.look_up("scs-1").await.text().contains(KNOWN_VERSIONS[0]), "the default");
    }
    assert_eq!(upstream.heard().len(), 2);
}

#[tokio::test]
async fn who_holds_the_bytes_is_told_so_without_them() {
    let gateway = Gateway::start().await;
    let (paid, open) = (gateway.completed(), gateway.session("pending"));
    let etag = gateway.look_up(&paid).await.header("etag").unwrap().to_owned();
    assert_eq!((etag.len(), etag.starts_with('"')), (34, true), "{etag}");
    let mut wire = Wire::connect(&gateway.address).await;
    for held in [etag.as_str(), "*", &format!("W/{etag}"), &format!("\"other\", {etag}")] {
        let answer = wire.look_up(&paid, &format!("If-None-Match: {held}\r\n")).await;
        assert_eq!((answer.status, answer.header("etag"), answer.body.len()), (304, Some(etag.as_str()), 0), "{held}");
        assert_eq!((answer.header("content-type"), answer.header("content-length")), (None, None), "{held}");
        assert!(ttl(&answer) > 0);
    }
    assert_eq!(wire.look_up(&paid, "If-None-Match: \"other\"\r\n").await.status, 200);
    let etag = wire.look_up(&open, "").await.header("etag").unwrap().to_owned();
    let answer = wire.look_up(&open, &format!("If-None-Match: {etag}\r\n")).await;
    assert_eq!((answer.status, answer.cache_status()), (304, "monigate; fwd=miss; detail=pending"));
    assert_eq!(gateway.calls(), 3, "what is pending is asked anew all the same");
    let answer = wire.look_up("scs-nobodys", "If-None-Match: *\r\n").await;
    assert_eq!(answer.status, 404, "nobody holds what is not there");
}

#[tokio::test]
async fn a_head_is_the_get_without_its_body_over_both_protocols() {
    let gateway = Gateway::start().await;
    let id = gateway.completed();
    let mut wire = Wire::connect(&gateway.address).await;
    wire.send(format!("HEAD {} HTTP/1.1\r\nHost: gateway\r\n\r\n", path(&id))).await;
    let head = wire.head().await;
    assert_eq!((head.status, head.cache_status()), (200, MISS));
    assert_eq!(gateway.sandbox.seen().last.unwrap().method, "GET", "Monime is asked for all of it");
    let get = wire.look_up(&id, "").await;
    assert_eq!(lasting(&head), lasting(&get), "and the next answer on the connection is where it belongs");
    assert_eq!(head.header("content-length"), Some(get.body.len().to_string().as_str()));

    let h2 = h2c(&gateway.address).await;
    let head = ask_h2(&h2, "HEAD", &path(&id), &[]).await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), get.header("content-length"));
    assert_eq!(ask_h2(&h2, "GET", &path(&id), &[]).await.body, get.body);
    wire.send(format!("HEAD {} HTTP/1.1\r\nHost: gateway\r\n\r\n", path("scs-nobodys"))).await;
    assert_eq!(wire.head().await.status, 404);
    assert_eq!(gateway.calls(), 2);
}

#[tokio::test]
async fn a_callers_cache_control_asks_anew_only_where_that_is_allowed() {
    let gateway = Gateway::start().await;
    let id = gateway.completed();
    let absent = gateway.look_up_with(&id, "Cache-Control: only-if-cached\r\n").await;
    assert_eq!(absent.failure(), (504, "gateway_not_cached".to_owned()));
    assert_eq!(gateway.calls(), 0);
    gateway.look_up(&id).await;
    for fields in ["Cache-Control: no-cache\r\n", "Pragma: no-cache\r\n", "Cache-Control: only-if-cached\r\n"] {
        assert!(ttl(&gateway.look_up_with(&id, fields).await) > 0, "{fields}");
    }
    assert_eq!(gateway.calls(), 1);

    let gateway = Gateway::with(&["cache.callers_may_refresh=true"]).await;
    let id = gateway.completed();
    for _ in 0..2 {
        assert_eq!(gateway.look_up_with(&id, "Cache-Control: no-cache\r\n").await.cache_status(), MISS);
    }
    assert!(ttl(&gateway.look_up(&id).await) > 0);
    assert_eq!(gateway.calls(), 2);
}

#[tokio::test]
async fn a_completed_answer_that_is_kept_never_goes_back() {
    let gateway = Gateway::with(&["cache.callers_may_refresh=true"]).await;
    let id = gateway.completed();
    let kept = gateway.look_up(&id).await;
    for status in ["pending", "processing"] {
        gateway.sandbox.put(&space(), &id, status);
        let answer = gateway.look_up_with(&id, "Cache-Control: no-cache\r\n").await;
        assert_eq!(answer.body, kept.body, "{status}");
        assert!(answer.cache_status().ends_with("; detail=stale"), "{answer:?}");
    }
    assert_eq!(gateway.metric("monigate_status_regressions_total").await, 2);
    assert_eq!(gateway.look_up(&id).await.body, kept.body);
}
