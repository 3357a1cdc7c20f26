//! Every operation: who may, what of a request travels, what of an answer comes back, and how often.

use monigate::monime::operation::{OPERATIONS, Operation};
use monigate::sandbox::DEFAULT_TOKEN;

use super::support::upstream::{Step, Upstream, answer, error};
use super::{SESSIONS, Shop, failed, key, request};

/// What no caller may have passed on.
const NOISE: &str = "Cookie: a=canary\r\nX-Canary: 1\r\nForwarded: for=1.2.3.4\r\nAccept: text/html\r\nAccept-Encoding: br\r\n\
     Cache-Control: no-cache\r\nIf-None-Match: \"a\"\r\nRange: bytes=0-1\r\nUser-Agent: canary\r\nOrigin: https://canary.invalid\r\n\
     Monime-Canary: 1\r\nX-Request-Id: canary-id\r\nMonigate-Timeout: 9\r\nPrefer: canary\r\nTE: trailers\r\n";
/// What Monime says besides its body.
const SAID: &str = "Monime-Cache: irc\r\nMonime-Request-Id: req-1\r\nMonime-Canary: new\r\nRetry-After: 7\r\nSet-Cookie: canary\r\n\
     Server: canary\r\nETag: \"canary\"\r\nX-Canary: canary\r\nCache-Control: max-age=60\r\nAge: 5\r\nVia: 1.0 canary\r\n\
     WWW-Authenticate: canary\r\nAccess-Control-Allow-Origin: *\r\nX-Request-Id: canary\r\nLocation: /canary\r\n";
/// Bytes that would not survive being read as JSON and written again.
const BODY: &str = "{ \"b\" : 1.0, \"a\":\t\"\u{e9}\\u00e9\", \"a\": null }\n";

fn target(operation: &Operation) -> String {
    operation.path.replace("{}", "id_A-1")
}

fn passed_on() -> impl Iterator<Item = &'static Operation> {
    OPERATIONS.iter().filter(|operation| operation.id != "GetCheckoutSession")
}

async fn echo() -> Upstream {
    Upstream::playing(vec![Step::Send(answer("202 Accepted", SAID, BODY))]).await
}

/// The lines of a request but its first, sorted, and its body.
fn fields(heard: &str) -> (Vec<&str>, &str) {
    let (head, body) = heard.split_once("\r\n\r\n").unwrap();
    let mut fields: Vec<&str> = head.split("\r\n").skip(1).collect();
    fields.sort_unstable();
    (fields, body)
}

#[tokio::test]
async fn who_may_not_is_told_so_whatever_it_sends_and_monime_hears_nothing() {
    let upstream = echo().await;
    let shop = Shop::before(&upstream.base_url, &[]).await;
    for operation in passed_on() {
        // Wrong in every other way too: what it may not, it need not learn to ask rightly.
        let fields = format!("{}Monime-Space-Id: canary\r\n", shop.till);
        let answer = shop.send(&request(operation.method, &format!("{}?a=b", target(operation)), &fields, "{}")).await;
        assert_eq!(answer.failure(), failed(403, "gateway_operation_forbidden"), "{}", operation.id);
    }
    assert!(upstream.heard().is_empty());
    let audit = shop.end().await;
    assert_eq!(audit.len(), passed_on().count());
    for (line, operation) in audit.iter().zip(passed_on()) {
        let told = [&line["outcome"], &line["caller"], &line["operation"], &line["reason"]];
        assert_eq!(told, ["refused", "till", operation.id, "gateway_operation_forbidden"]);
    }
}

#[tokio::test]
async fn of_a_request_travels_what_its_operation_has_and_nothing_else() {
    let upstream = echo().await;
    let shop = Shop::before(&upstream.base_url, &[]).await;
    let host = format!("host: {}", upstream.base_url.trim_start_matches("http://"));
    let (bearer, agent) =
        (format!("authorization: Bearer {DEFAULT_TOKEN}"), concat!("user-agent: monigate/", env!("CARGO_PKG_VERSION")));
    for (number, operation) in passed_on().enumerate() {
        let query = if operation.query { "?limit=2&after=%20%2F..&q=a?b" } else { "" };
        let body = if operation.has_body() { BODY } else { "" };
        let typed = "Content-Type: application/merge-patch+json; charset=x\r\n";
        let target = format!("{}{query}", target(operation));
        // A key is sent with all of them, and a type: where an operation has none, they stay here.
        let answer = shop.ask(operation.method, &target, &format!("{NOISE}{typed}{}", key("k-1")), body).await;
        assert_eq!(answer.status, 202, "{}: {answer:?}", operation.id);

        let heard = upstream.heard();
        assert_eq!(heard.len(), number + 1, "{}", operation.id);
        let heard = &heard[number];
        assert_eq!(heard.lines().next(), Some(format!("{} {target} HTTP/1.1", operation.method).as_str()));
        let (fields, sent) = fields(heard);
        let length = format!("content-length: {}", body.len());
        let mut wanted = vec!["accept-encoding: identity", "accept: application/json", &bearer, agent, &host];
        wanted.extend(["monime-space-id: spc-shop", "monime-version: caph.2025-08-23"]);
        if operation.has_body() {
            wanted.extend(["content-type: application/merge-patch+json; charset=x", &length]);
        }
        if operation.method == "POST" {
            wanted.push("idempotency-key: k-1");
        }
        wanted.sort_unstable();
        assert_eq!((fields, sent), (wanted, body), "{}", operation.id);
    }
}

#[tokio::test]
async fn monimes_status_body_and_own_headers_come_back_and_nothing_else_of_it() {
    let upstream = echo().await;
    let shop = Shop::before(&upstream.base_url, &[]).await;
    for operation in passed_on() {
        let body = if operation.has_body() { BODY } else { "" };
        let fields = format!("{NOISE}{}", key("k-1"));
        let answer = shop.ask(operation.method, &target(operation), &fields, body).await;
        assert_eq!((answer.status, answer.text().as_str()), (202, BODY), "{}", operation.id);
        let mut headers = answer.headers.clone();
        headers.retain(|(name, _)| name != "date");
        headers.sort_unstable();
        let length = BODY.len().to_string();
        let mut wanted = [
            ("cache-control", "no-store"),
            ("cache-status", "monigate; fwd=bypass"),
            ("content-length", &length),
            ("content-type", "application/json"),
            ("monime-cache", "irc"),
            ("monime-canary", "new"),
            ("monime-request-id", "req-1"),
            ("retry-after", "7"),
            ("via", "1.1 monigate"),
            ("x-request-id", "canary-id"),
        ];
        wanted.sort_unstable();
        let wanted: Vec<_> = wanted.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        assert_eq!(headers, wanted, "{}", operation.id);
    }
}

#[tokio::test]
async fn what_an_operation_does_not_have_is_refused_before_monime_is_asked() {
    let upstream = echo().await;
    let shop = Shop::before(&upstream.base_url, &[]).await;
    let long = "k".repeat(65);
    for operation in passed_on() {
        let (method, target) = (operation.method, target(operation));
        let ask = async |target: &str, fields: &str, body: &str| shop.ask(method, target, fields, body).await.failure();
        let body = if operation.has_body() { "{}" } else { "" };
        if !operation.query {
            let refused = failed(400, "gateway_query_not_allowed");
            assert_eq!(ask(&format!("{target}?a=b"), &key("k"), body).await, refused, "{}", operation.id);
            assert_eq!(ask(&format!("{target}?"), &key("k"), body).await, refused, "{}", operation.id);
        }
        if !operation.has_body() {
            let refused = failed(400, "gateway_body_not_allowed");
            assert_eq!(ask(&target, "", "{}").await, refused, "{}", operation.id);
            assert_eq!(ask(&target, "Transfer-Encoding: chunked\r\n", "").await, refused, "{}", operation.id);
        }
        if method == "POST" {
            let required = failed(400, "gateway_idempotency_key_required");
            assert_eq!(ask(&target, "", body).await, required, "{}", operation.id);
            for wrong in [key(""), key(&long), key("a,b"), key("a b"), key("\u{e9}"), key("a") + &key("a")] {
                let invalid = failed(400, "gateway_idempotency_key_invalid");
                assert_eq!(ask(&target, &wrong, body).await, invalid, "{}: {wrong}", operation.id);
            }
        }
    }
    assert!(upstream.heard().is_empty());
    assert_eq!(shop.ask("POST", SESSIONS, &key(&long[1..]), "{}").await.status, 202, "64 are not too long");
}

#[tokio::test]
async fn a_space_and_a_version_are_the_callers_choice_among_those_that_it_may() {
    let upstream = echo().await;
    let shop = Shop::before(&upstream.base_url, &[]).await;
    let office =
        async |fields: &str| shop.send(&request("GET", "/v1/banks", &format!("{}{fields}", shop.office), "")).await;
    let fields = "Monime-Space-Id: spc-other\r\nMonime-Version: caph.2025-06-20\r\n";
    assert_eq!(office(fields).await.status, 202);
    let heard = upstream.heard().remove(0);
    assert!(heard.contains("\r\nmonime-space-id: spc-other\r\nmonime-version: caph.2025-06-20\r\n"), "{heard}");
    assert_eq!(office("").await.failure(), failed(400, "gateway_space_required"));
    assert_eq!(shop.ask("GET", "/v1/banks", fields, "").await.failure(), failed(403, "gateway_space_forbidden"));
    let wrong = "Monime-Space-Id: spc-shop\r\nMonime-Version: caph.1999-01-01\r\n";
    assert_eq!(office(wrong).await.failure(), failed(400, "gateway_version_not_allowed"));
    assert_eq!(upstream.heard().len(), 1);
}

#[tokio::test]
async fn a_lookup_goes_its_own_way_beside_them() {
    let said = super::support::upstream::session("scs-1", "completed");
    let upstream = Upstream::playing(vec![Step::Send(answer("200 OK", "", &said))]).await;
    let shop = Shop::before(&upstream.base_url, &[]).await;
    for _ in 0..2 {
        assert_eq!(shop.ask("GET", &format!("{SESSIONS}/scs-1"), "", "").await.session(), "completed");
    }
    assert_eq!(upstream.heard().len(), 1, "it is kept");
    for _ in 0..2 {
        assert_eq!(shop.ask("GET", SESSIONS, "", "").await.cache_status(), "monigate; fwd=bypass");
    }
    assert_eq!(upstream.heard().len(), 3, "and they are not");
}

#[tokio::test]
async fn a_head_is_asked_as_a_get_and_answered_without_its_body() {
    let upstream = echo().await;
    let shop = Shop::before(&upstream.base_url, &["limits.max_in_flight=1"]).await;
    for number in 0..3 {
        let mut wire = shop.sent(&shop.request("HEAD", "/v1/banks?a=b", "Connection: close\r\n", "")).await;
        let answer = wire.head().await;
        assert_eq!((answer.status, answer.header("monime-cache")), (202, Some("irc")));
        // What a GET would say, or nothing of it (RFC 9110, 8.6).
        let length = BODY.len().to_string();
        assert!(answer.header("content-length").is_none_or(|said| said == length), "{answer:?}");
        assert_eq!(wire.rest().await, b"", "no body follows");
        assert!(upstream.heard()[number].starts_with("GET /v1/banks?a=b HTTP/1.1\r\n"));
    }
    let answer = super::bodies::ask_h2(&shop, "HEAD", "/v1/banks", &[], "").await;
    assert_eq!((answer.status, answer.body.len()), (202, 0));
}

#[tokio::test]
async fn identical_reads_are_as_many_calls_one_after_another_and_at_once() {
    let held = vec![Step::Gate, Step::Send(answer("200 OK", "", BODY))];
    let upstream = Upstream::playing(held).await;
    let shop = Shop::before(&upstream.base_url, &[]).await;
    let (one, two, ()) =
        tokio::join!(shop.ask("GET", "/v1/banks", "", ""), shop.ask("GET", "/v1/banks", "", ""), async {
            upstream.hears(2).await;
            upstream.open_the_gate();
        });
    assert_eq!((one.status, two.status), (200, 200));
    for calls in 3..5 {
        assert_eq!(shop.ask("GET", "/v1/banks", "", "").await.cache_status(), "monigate; fwd=bypass");
        assert_eq!(upstream.heard().len(), calls);
    }
}

#[tokio::test]
async fn nothing_that_is_passed_on_is_sent_twice() {
    let broken = [
        (vec![Step::Send(answer("503 Service Unavailable", "Retry-After: 1\r\n", &error(503)))], 503, 503),
        (vec![Step::Close], 502, 502),
        (vec![Step::Reset], 502, 502),
        (vec![Step::Send(b"HTTP/1.1 200 OK\r\nContent-Len".to_vec()), Step::Close], 502, 502),
    ];
    for (steps, read, write) in broken {
        // The first is well, so that the second goes out over a connection that was kept.
        let upstream = Upstream::start(move |number, _| match number {
            0 => vec![Step::Send(answer("200 OK", "", BODY))],
            _ => steps.clone(),
        })
        .await;
        let shop = Shop::before(&upstream.base_url, &[]).await;
        assert_eq!(shop.ask("GET", "/v1/banks", "", "").await.status, 200);
        assert_eq!(shop.ask("GET", "/v1/banks", "", "").await.status, read);
        assert_eq!(upstream.heard().len(), 2);
        assert_eq!(shop.create().await.status, write);
        assert_eq!(shop.ask("DELETE", "/v1/payouts/1", "", "").await.status, write);
        assert_eq!(upstream.heard().len(), 4);
        let audit = shop.end().await;
        assert_eq!(audit.iter().map(|line| &line["outcome"]).collect::<Vec<_>>(), ["unknown", "unknown"]);
    }
}
