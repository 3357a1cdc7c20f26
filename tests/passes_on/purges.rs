//! What is kept of a session that was deleted, or may have been.

use super::support::client::Answer;
use super::support::upstream::{Step, Upstream, answer, error, session};
use super::{SESSIONS, Shop, request};

/// Another session, another space, another version.
const SHOP: &str = "Monime-Space-Id: spc-shop\r\n";
const OTHER: &str = "Monime-Space-Id: spc-other\r\n";
const OLD: &str = "Monime-Space-Id: spc-shop\r\nMonime-Version: caph.2025-06-20\r\n";
/// Every one that is kept, and whether it is of the session that is deleted.
const KEPT: [(&str, &str, bool); 4] =
    [("scs-1", SHOP, true), ("scs-1", OLD, true), ("scs-1", OTHER, false), ("scs-2", SHOP, false)];

/// Every session is completed, and a delete meets these steps.
async fn monime(deleted: Vec<Step>) -> Upstream {
    Upstream::start(move |_, request| match request.split([' ', '/']).nth(4) {
        Some(id) if request.starts_with("GET") => {
            vec![Step::Send(answer("200 OK", "", &session(id, "completed")))]
        }
        _ => deleted.clone(),
    })
    .await
}

async fn office(shop: &Shop, method: &str, target: &str, fields: &str) -> Answer {
    shop.send(&request(method, target, &format!("{}{fields}", shop.office), "")).await
}

/// Looks all of them up, and says of each whether Monime was asked.
async fn asked(shop: &Shop, upstream: &Upstream) -> [bool; 4] {
    let mut asked = [false; 4];
    for (asked, (id, fields, _)) in asked.iter_mut().zip(KEPT) {
        let before = upstream.heard().len();
        assert_eq!(office(shop, "GET", &format!("{SESSIONS}/{id}"), fields).await.session(), "completed");
        *asked = upstream.heard().len() > before;
    }
    asked
}

#[tokio::test]
async fn a_session_that_may_be_gone_is_asked_for_anew_in_every_version_and_no_other_is() {
    let html = b"HTTP/1.1 404 X\r\nContent-Type: text/html\r\nContent-Length: 1\r\n\r\nx".to_vec();
    let cases = [
        (vec![Step::Send(answer("200 OK", "", r#"{"success":true,"messages":[]}"#))], 200, "done", true),
        (vec![Step::Send(b"HTTP/1.1 204 X\r\n\r\n".to_vec())], 204, "done", true),
        (vec![Step::Send(answer("404 X", "", &error(404)))], 404, "rejected", true),
        (vec![Step::Send(html)], 502, "unknown", true),
        (vec![Step::Send(answer("500 X", "", &error(500)))], 500, "unknown", true),
        (vec![Step::Close], 502, "unknown", true),
        (vec![Step::Send(answer("409 X", "", &error(409)))], 409, "rejected", false),
        (vec![Step::Send(answer("429 X", "", &error(429)))], 429, "rejected", false),
        (vec![Step::Send(answer("401 X", "", &error(401)))], 502, "rejected", false),
    ];
    for (steps, status, outcome, purges) in cases {
        let upstream = monime(steps).await;
        let shop = Shop::before(&upstream.base_url, &[]).await;
        assert_eq!(asked(&shop, &upstream).await, [true; 4]);
        assert_eq!(asked(&shop, &upstream).await, [false; 4], "they are kept");
        assert_eq!(office(&shop, "DELETE", &format!("{SESSIONS}/scs-1"), SHOP).await.status, status);
        assert_eq!(asked(&shop, &upstream).await, KEPT.map(|(.., its)| its && purges), "{status}, {outcome}");
        let audit = shop.end().await;
        assert_eq!((audit.len(), &audit[0]["outcome"]), (1, &outcome.into()));
    }
}

#[tokio::test]
async fn deleting_something_else_by_the_same_id_leaves_it_as_it_is() {
    let upstream = monime(vec![Step::Send(answer("200 OK", "", "{}"))]).await;
    let shop = Shop::before(&upstream.base_url, &[]).await;
    asked(&shop, &upstream).await;
    for target in ["/v1/payouts/scs-1", "/v1/webhooks/scs-1", "/v1/payment-codes/scs-1"] {
        assert_eq!(office(&shop, "DELETE", target, SHOP).await.status, 200);
    }
    assert_eq!(asked(&shop, &upstream).await, [false; 4]);
}

#[tokio::test]
async fn what_was_asked_before_a_delete_came_back_is_told_and_not_kept() {
    let upstream = Upstream::start(|number, _| match number {
        0 => vec![Step::Gate, Step::Send(answer("200 OK", "", &session("scs-1", "completed")))],
        1 => vec![Step::Send(answer("200 OK", "", "{}"))],
        _ => vec![Step::Send(answer("404 X", "", &error(404)))],
    })
    .await;
    let shop = Shop::before(&upstream.base_url, &[]).await;
    let target = format!("{SESSIONS}/scs-1");
    let mut wire = shop.sent(&shop.request("GET", &target, "", "")).await;
    upstream.hears(1).await;
    assert_eq!(shop.ask("DELETE", &target, "", "").await.status, 200);
    upstream.open_the_gate();
    assert_eq!(wire.answer().await.unwrap().session(), "completed");
    assert_eq!(shop.ask("GET", &target, "", "").await.status, 404, "asked anew");
}

#[tokio::test]
async fn a_delete_whose_caller_has_left_purges_too() {
    let upstream = monime(vec![Step::Gate, Step::Send(answer("200 OK", "", "{}"))]).await;
    let shop = Shop::before(&upstream.base_url, &[]).await;
    asked(&shop, &upstream).await;
    let calls = upstream.heard().len();
    let text = request("DELETE", &format!("{SESSIONS}/scs-1"), &format!("{}{SHOP}", shop.office), "");
    let wire = shop.sent(&text).await;
    upstream.hears(calls + 1).await;
    drop(wire);
    upstream.open_the_gate();
    shop.audited("done").await;
    assert_eq!(asked(&shop, &upstream).await, KEPT.map(|(.., its)| its));
}
