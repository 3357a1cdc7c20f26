//! What is no lookup is refused before Monime hears of it: unknown paths and methods, operations that are not switched
//! on, queries, bodies, and heads beyond every measure.

use super::*;
use crate::monime::operation::{self, CHECKOUT_SESSION, GET_CHECKOUT_SESSION, OPERATIONS};
use crate::server::HeadLimits;

/// A path that fits an operation's template.
fn path(template: &str) -> String {
    template.replace("{}", "abc-1")
}

/// Refuses every row with this status and reason, counts it so, and never asks Monime.
async fn refuses(rows: &[(&str, &str)], status: u16, reason: &str, counted: &str) {
    let gateway = Gateway::settled("completed");
    for (method, target) in rows {
        let answer = gateway.ask(method, target, &[]).await;
        if *method != "HEAD" {
            assert_eq!(answer.reason(), reason, "{method} {target}");
        }
        assert_eq!(answer.status, status, "{method} {target}");
    }
    assert_eq!(gateway.monime.calls(), 0);
    assert_eq!(gateway.counted(counted, status, "refused"), rows.len() as u64);
}

#[tokio::test(start_paused = true)]
async fn a_path_that_nothing_has_is_not_found() {
    let long = format!("/v1/checkout-sessions/{}", "x".repeat(129));
    let rows = [
        ("GET", "/"),
        ("GET", "/v1"),
        ("GET", "/v1/"),
        ("GET", "/v2/checkout-sessions/scs-1"),
        ("GET", "/v1/checkout-session/scs-1"),
        ("GET", "/V1/checkout-sessions/scs-1"),
        ("GET", "/v1/checkout-sessions/"),
        ("GET", "/v1/checkout-sessions//"),
        ("GET", "/v1/checkout-sessions/scs-1/"),
        ("GET", "/v1/checkout-sessions/scs-1/items"),
        ("GET", "/v1/checkout-sessions/.."),
        ("GET", "/v1/checkout-sessions/scs.1"),
        ("GET", "/v1/checkout-sessions/scs%2F1"),
        ("GET", "/v1/checkout-sessions/scs%20"),
        ("GET", "/v1/checkout-sessions/scs-1;a=b"),
        ("GET", "/v1/../v1/checkout-sessions/scs-1"),
        ("HEAD", "/v1/nothing"),
        ("POST", "/v1/nothing"),
        ("DELETE", "/v1/checkout-sessions/a%2Fb"),
        ("OPTIONS", "*"),
        ("GET", long.as_str()),
    ];
    refuses(&rows, 404, "gateway_route_unknown", "none").await;
}

#[tokio::test(start_paused = true)]
async fn a_doubled_slash_is_explained() {
    let gateway = Gateway::settled("completed");
    for target in ["//v1/checkout-sessions/scs-1", "//v1/banks"] {
        let answer = gateway.ask("GET", target, &[]).await;
        assert_eq!((answer.status, answer.reason().as_str()), (404, "gateway_route_unknown"));
        assert!(String::from_utf8_lossy(&answer.body).contains("trailing slash of the client's base URL"), "{target}");
    }
    assert_eq!(gateway.monime.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn every_session_id_that_fits_a_path_segment_is_looked_up() {
    let gateway = Gateway::settled("completed");
    let longest = "x".repeat(128);
    for (calls, id) in ["a", "_", "-", "scs-k6AbCdEfGhIjKlMnOpQrStUvWxY", longest.as_str()].into_iter().enumerate() {
        let answer = gateway.ask("GET", &format!("/v1/checkout-sessions/{id}"), &[]).await;
        assert_eq!(answer.status, 200, "{id}");
        assert_eq!(gateway.monime.key(calls).id.as_str(), id);
    }
}

#[tokio::test(start_paused = true)]
async fn a_target_in_absolute_form_is_the_same_lookup() {
    let gateway = Gateway::settled("completed");
    assert_eq!(gateway.get(&[]).await.status, 200);
    let absolute = gateway.ask("GET", &format!("http://gateway.internal{SESSION}"), &[]).await;
    assert_eq!((absolute.status, gateway.monime.calls()), (200, 1));
}

#[tokio::test(start_paused = true)]
async fn a_known_path_says_which_methods_it_has() {
    let gateway = Gateway::settled("completed");
    for method in ["PUT", "OPTIONS", "TRACE", "PATCH", "POST", "get", "PURGE"] {
        let answer = gateway.ask(method, SESSION, &[]).await;
        assert_eq!((answer.status, answer.reason().as_str()), (405, "gateway_method_not_allowed"), "{method}");
        assert_eq!(answer.header("allow"), Some("GET, HEAD"), "{method}");
    }
    assert_eq!(gateway.counted("none", 405, "refused"), 7);
    for operation in OPERATIONS.iter().filter(|operation| operation.path != CHECKOUT_SESSION) {
        let answer = gateway.ask("PUT", &path(operation.path), &[]).await;
        assert_eq!((answer.status, answer.reason().as_str()), (405, "gateway_method_not_allowed"), "{operation:?}");
        let allowed: Vec<&str> = answer.header("allow").unwrap().split(", ").collect();
        assert_eq!(allowed, operation::methods(operation.path).collect::<Vec<_>>(), "{operation:?}");
    }
    assert_eq!(gateway.monime.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn every_other_operation_of_monimes_is_forbidden_and_counted_by_its_name() {
    let gateway = Gateway::settled("completed");
    for operation in OPERATIONS.iter().filter(|operation| operation.id != GET_CHECKOUT_SESSION) {
        for target in [path(operation.path), path(operation.path) + "?limit=1"] {
            let mut request = request(operation.method, &target, &[("monime-space-id", "not a space")]);
            *request.body_mut() = Full::from("{}");
            let answer = gateway.send(request).await;
            assert_eq!(
                (answer.status, answer.reason().as_str()),
                (403, "gateway_operation_forbidden"),
                "{operation:?}"
            );
            assert_eq!(answer.header("allow"), None);
        }
        assert_eq!(gateway.counted(operation.id, 403, "refused"), 2);
        if operation.method == "GET" {
            assert_eq!(gateway.ask("HEAD", &path(operation.path), &[]).await.status, 403, "{operation:?}");
        }
    }
    assert_eq!(gateway.monime.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_lookup_with_a_query_is_refused_even_if_the_query_is_empty() {
    let targets = ["?", "?a", "?a=b", "?include=items", "??"].map(|query| format!("{SESSION}{query}"));
    let rows: Vec<(&str, &str)> = targets.iter().map(|target| ("GET", target.as_str())).collect();
    refuses(&rows, 400, "gateway_query_not_allowed", GET_CHECKOUT_SESSION).await;
}

#[tokio::test(start_paused = true)]
async fn a_lookup_with_a_body_is_refused_and_its_connection_closed() {
    let gateway = Gateway::settled("completed");
    let with_body = || {
        let mut request = request("GET", SESSION, &[]);
        *request.body_mut() = Full::from("x");
        request
    };
    let framed = || request("GET", SESSION, &[("transfer-encoding", "chunked")]);
    for request in [with_body(), framed()] {
        let answer = gateway.send(request).await;
        assert_eq!((answer.status, answer.reason().as_str()), (400, "gateway_body_not_allowed"));
        assert_eq!(answer.header("connection"), Some("close"));
    }
    let mut over_http2 = with_body();
    *over_http2.version_mut() = http::Version::HTTP_2;
    let answer = gateway.send(over_http2).await;
    assert_eq!((answer.status, answer.header("connection")), (400, None), "HTTP/2 knows no such field");
    assert_eq!(gateway.monime.calls(), 0);
    assert_eq!(gateway.ask("GET", SESSION, &[("content-length", "0")]).await.status, 200, "that is no body");
}

#[tokio::test(start_paused = true)]
async fn a_target_is_read_up_to_8_kib() {
    let gateway = Gateway::settled("completed");
    let target = |length: usize| format!("/{}", "x".repeat(length - 1));
    assert_eq!(gateway.ask("GET", &target(8192), &[]).await.reason(), "gateway_route_unknown");
    let answer = gateway.ask("GET", &target(8193), &[]).await;
    assert_eq!((answer.status, answer.reason().as_str()), (414, "gateway_target_too_long"));
    let answer = gateway.ask("GET", &format!("{SESSION}?{}", "x".repeat(8192)), &[]).await;
    assert_eq!(answer.status, 414, "the query counts");
}

#[tokio::test(start_paused = true)]
async fn a_head_is_read_up_to_100_fields_and_64_kib() {
    let gateway = Gateway::settled("completed");
    let names: Vec<String> = (0..101).map(|number| format!("x-{number}")).collect();
    let fields: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "")).collect();
    assert_eq!(gateway.get(&fields[..100]).await.status, 200);
    let answer = gateway.get(&fields).await;
    assert_eq!((answer.status, answer.reason().as_str()), (431, "gateway_head_too_large"));
    let filler = "x".repeat(64 * 1024);
    assert_eq!(gateway.get(&[("x", &filler[1..])]).await.status, 200);
    let answer = gateway.get(&[("x", &filler)]).await;
    assert_eq!((answer.status, answer.reason().as_str()), (431, "gateway_head_too_large"));
}

#[tokio::test(start_paused = true)]
async fn how_much_of_a_head_is_read_is_for_the_operator_to_say() {
    let monime = Monime::saying(|key| Said::session(key, "completed"));
    let gateway = Gateway::on(monime, ttl(), |terms| terms.head = HeadLimits { size: 300, fields: 3, target: 30 });
    let fields = [("a", ""), ("b", ""), ("c", ""), ("d", "")];
    assert_eq!(gateway.get(&fields[..3]).await.status, 200);
    let filler = "x".repeat(300);
    assert_eq!(gateway.get(&[("a", &filler[1..])]).await.status, 200);
    let too_large = (431, "gateway_head_too_large".to_owned());
    for fields in [&fields[..], &[("a", filler.as_str())]] {
        let answer = gateway.get(fields).await;
        assert_eq!((answer.status, answer.reason()), too_large);
        assert!(!String::from_utf8_lossy(&answer.body).contains("64"), "no number that may not be true");
    }
    assert_eq!(SESSION.len(), 27);
    assert_eq!(gateway.ask("GET", &format!("{SESSION}xxx"), &[]).await.status, 200);
    let answer = gateway.ask("GET", &format!("{SESSION}xxxx"), &[]).await;
    assert_eq!((answer.status, answer.reason().as_str()), (414, "gateway_target_too_long"));
    assert!(!String::from_utf8_lossy(&answer.body).contains("KiB"));
}
