//! `ETag`, 304 and `HEAD`: less is sent, and nothing else changes.

use super::*;

/// A gateway that says this, and the tag of what it says; a final answer is in memory now.
async fn tagged(status: &'static str) -> (Gateway, String) {
    let gateway = Gateway::settled(status);
    let etag = gateway.get(&[]).await.header("etag").unwrap().to_owned();
    (gateway, etag)
}

#[tokio::test(start_paused = true)]
async fn a_tag_is_the_beginning_of_the_bodys_digest() {
    let gateway = Gateway::saying(|_| Said::status(200, r#"{"success":true}"#));
    let etag = gateway.get(&[]).await.header("etag").unwrap().to_owned();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, br#"{"success":true}"#);
    let hex: String = digest.as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(etag, format!("\"{hex}\""));
}

#[tokio::test(start_paused = true)]
async fn the_same_bytes_have_the_same_tag_in_every_gateway_and_others_another() {
    let ((_, one), (_, same), (_, other)) = (tagged("pending").await, tagged("pending").await, tagged("expired").await);
    assert_eq!(one, same);
    assert_ne!(one, other);
}

#[tokio::test(start_paused = true)]
async fn who_holds_the_bytes_gets_a_304_on_a_hit_a_miss_and_while_pending() {
    for (status, cache_status, outcome) in [
        ("completed", "monigate; hit", "hit"),
        ("pending", "monigate; fwd=miss; detail=pending", "pending"),
        ("processing", "monigate; fwd=miss; detail=unknown", "miss"),
    ] {
        let (gateway, etag) = tagged(status).await;
        for held in [etag.clone(), format!("W/{etag}"), "*".to_owned(), format!("\"other\", {etag}")] {
            let answer = gateway.get(&[("if-none-match", &held)]).await;
            assert_eq!((answer.status, answer.body.len()), (304, 0), "{status} {held}");
            assert_eq!(answer.header("etag"), Some(etag.as_str()), "{status} {held}");
            assert_eq!(answer.header("cache-control"), Some("private, no-cache"), "{status} {held}");
            assert!(answer.cache_status().starts_with(cache_status), "{status} {held}");
            assert_eq!(answer.header("age").is_some(), outcome == "hit", "{status} {held}");
            assert_eq!(answer.header("monigate-poll-after").is_some(), outcome == "pending", "{status} {held}");
            assert_eq!((answer.header("content-length"), answer.header("content-type")), (None, None));
        }
        assert_eq!(gateway.counted("GetCheckoutSession", 304, outcome), 4, "a 304 counts as what produced it");
        let other = gateway.get(&[("if-none-match", "\"other\"")]).await;
        assert_eq!((other.status, other.body.is_empty()), (200, false), "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_first_answer_can_be_a_304_and_is_kept_all_the_same() {
    let (_, etag) = tagged("completed").await;
    let gateway = Gateway::settled("completed");
    let miss = gateway.get(&[("if-none-match", &etag)]).await;
    assert_eq!((miss.status, miss.cache_status()), (304, "monigate; fwd=miss; stored"));
    let hit = gateway.get(&[]).await;
    assert_eq!((hit.status, hit.body.is_empty(), gateway.monime.calls()), (200, false, 1));
}

#[tokio::test(start_paused = true)]
async fn an_error_is_never_a_304() {
    for said in [|| Said::error(404), || Said::error(403), || Said::error(500)] {
        let gateway = Gateway::saying(move |_| said());
        let answer = gateway.get(&[("if-none-match", "*")]).await;
        assert!(answer.status >= 400 && !answer.body.is_empty(), "{}", answer.status);
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_is_what_the_get_would_have_been_without_its_body() {
    let says: [fn(&crate::monime::Key) -> Said; 7] = [
        |key| Said::session(key, "completed"),
        |key| Said::session(key, "pending"),
        |key| Said::session(key, "processing"),
        |_| Said::error(404),
        |_| Said::error(429),
        |_| Said::error(500),
        |_| Said::timed_out(),
    ];
    let targets = [SESSION, "/v1/nothing", "//v1/banks", "/v1/banks", "/v1/checkout-sessions/scs-1?"];
    let headers: [&[(&str, &str)]; 3] = [&[], &[("monime-space-id", "")], &[("cache-control", "only-if-cached")]];
    for said in says {
        for target in targets {
            for headers in headers {
                let headers = [headers, &[("x-request-id", "one")]].concat();
                let answer = async |method| {
                    // The time-to-live of what is kept must come out the same for both.
                    fastrand::seed(1);
                    let gateway = Gateway::saying(said);
                    [gateway.ask(method, target, &headers).await, gateway.ask(method, target, &headers).await]
                };
                for (get, head) in answer("GET").await.into_iter().zip(answer("HEAD").await) {
                    assert_eq!((head.status, &head.headers), (get.status, &get.headers), "{target} {headers:?}");
                    assert_eq!(head.header("content-length"), Some(get.body.len().to_string().as_str()), "{target}");
                    assert!(head.body.is_empty(), "{target} {headers:?}");
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_brings_into_memory_what_a_get_finds_there() {
    let gateway = Gateway::settled("completed");
    assert!(gateway.ask("HEAD", SESSION, &[]).await.body.is_empty());
    let get = gateway.get(&[]).await;
    assert!(get.cache_status().starts_with("monigate; hit") && !get.body.is_empty());
    assert_eq!(gateway.monime.calls(), 1);
}
