//! The sandbox through its service, on a paused clock.

use bytes::Bytes;
use http::StatusCode;
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tokio::time::{advance, timeout};
use tower::ServiceExt;

use super::*;

// What somebody meets who has only curl.
mod by_hand;
// Faults by seed, tokens that change, and what was asked.
mod weather;

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

struct Reply {
    status: StatusCode,
    headers: http::HeaderMap,
    body: Bytes,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn reason(&self) -> String {
        assert!(crate::monime::envelope::is_error(&self.body), "{:?}", self.body);
        self.json()["error"]["reason"].as_str().unwrap().to_owned()
    }
}

fn space() -> SpaceId {
    SpaceId::parse("spc-shop").unwrap()
}

fn without_limits() -> Sandbox {
    Sandbox::new(Settings { limits: Limits::NONE, ..Settings::default() })
}

fn body(metadata: Value) -> Value {
    json!({"name": "Order 7", "metadata": metadata, "reference": "r-7",
        "lineItems": [{"type": "custom", "name": "Tea", "price": {"currency": "SLE", "value": 500}, "quantity": 2}]})
}

async fn send(sandbox: &Sandbox, request: http::request::Builder, body: impl ToString) -> Reply {
    let request = request.body(Full::new(Bytes::from(body.to_string()))).unwrap();
    let response = sandbox.service().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    Reply { status: parts.status, headers: parts.headers, body: body.collect().await.unwrap().to_bytes() }
}

fn ask(method: &str, path: &str) -> http::request::Builder {
    Request::builder()
        .method(method)
        .uri(path)
        .header("authorization", format!("Bearer {DEFAULT_TOKEN}"))
        .header("monime-space-id", "spc-shop")
}

async fn get(sandbox: &Sandbox, path: &str) -> Reply {
    send(sandbox, ask("GET", path), "").await
}

async fn lookup(sandbox: &Sandbox, id: &SessionId) -> Reply {
    get(sandbox, &format!("/v1/checkout-sessions/{id}")).await
}

async fn create(sandbox: &Sandbox, key: &str, body: &Value) -> Reply {
    send(sandbox, ask("POST", "/v1/checkout-sessions").header("idempotency-key", key), body).await
}

async fn control(sandbox: &Sandbox, method: &str, path: &str, body: Value) -> Reply {
    send(sandbox, Request::builder().method(method).uri(format!("/_sandbox/{path}")), body).await
}

#[tokio::test(start_paused = true)]
async fn a_session_settles_as_its_metadata_says() {
    let sandbox = Sandbox::new(Settings { settle_after: Some(MINUTE), ..Settings::default() });
    let own = create(&sandbox, "1", &body(json!({"sandbox.outcome": "cancelled", "sandbox.settle_after": "3s"}))).await;
    let default = create(&sandbox, "2", &body(json!({}))).await;
    let [own, default] = [own, default].map(|reply| {
        assert_eq!(reply.json()["result"]["status"], "pending");
        SessionId::parse(reply.json()["result"]["id"].as_str().unwrap()).unwrap()
    });
    for (wait, expected) in
        [(2, ["pending", "pending"]), (1, ["cancelled", "pending"]), (57, ["cancelled", "completed"])]
    {
        advance(Duration::from_secs(wait)).await;
        let seen = [lookup(&sandbox, &own).await, lookup(&sandbox, &default).await];
        assert_eq!(seen.map(|reply| reply.json()["result"]["status"].clone()), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_expires_by_its_clock_or_is_settled_by_control() {
    let sandbox = without_limits();
    let [late, paid] = [sandbox.create(&space()), sandbox.create(&space())];
    assert!(sandbox.settle(&paid, Final::Completed));
    advance(60 * MINUTE - Duration::from_millis(1)).await;
    assert_eq!(sandbox.status(&space(), &late).as_deref(), Some("pending"));
    let moved = control(&sandbox, "POST", "clock", json!({"advance": "1ms"})).await;
    assert_eq!(moved.status, 200);
    assert_eq!(sandbox.status(&space(), &late).as_deref(), Some("expired"));
    assert_eq!(sandbox.status(&space(), &paid).as_deref(), Some("completed"));
    // A confirmation may come late.
    let path = format!("sessions/{late}/settle");
    assert_eq!(control(&sandbox, "POST", &path, json!({"outcome": "completed"})).await.status, 200);
    assert_eq!(lookup(&sandbox, &late).await.json()["result"]["status"], "completed");
}

#[tokio::test(start_paused = true)]
async fn another_lifetime_is_kept_to() {
    let sandbox = Sandbox::new(Settings { lifetime: MINUTE, ..Settings::default() });
    let id = sandbox.create(&space());
    let session = lookup(&sandbox, &id).await.json()["result"].clone();
    let time = |name: &str| humantime::parse_rfc3339(session[name].as_str().unwrap()).unwrap();
    assert_eq!(time("expireTime").duration_since(time("createTime")).unwrap(), MINUTE);
    advance(MINUTE).await;
    assert_eq!(lookup(&sandbox, &id).await.json()["result"]["status"], "expired");
}

#[tokio::test(start_paused = true)]
async fn a_session_has_the_whole_shape_and_expires_an_hour_after_it_was_made() {
    let sandbox = without_limits();
    let created = create(&sandbox, "1", &body(json!({"cart": "9"}))).await;
    let session = created.json()["result"].clone();
    let mut names: Vec<&str> = session.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    let expected = "brandingOptions cancelUrl createTime description expireTime financialAccountId id lineItems \
                    metadata name orderNumber ownershipGraph redirectUrl reference status successUrl";
    assert_eq!(names.join(" "), expected);
    assert_eq!(session["metadata"], json!({"cart": "9"}));
    assert_eq!(session["lineItems"]["data"][0]["price"], json!({"currency": "SLE", "value": 500}));
    let time = |name: &str| humantime::parse_rfc3339(session[name].as_str().unwrap()).unwrap();
    assert_eq!(time("expireTime").duration_since(time("createTime")).unwrap(), 60 * MINUTE);
    let id = SessionId::parse(session["id"].as_str().unwrap()).unwrap();
    assert_eq!(lookup(&sandbox, &id).await.body, created.body, "a read shows what the create answered");
}

#[tokio::test(start_paused = true)]
async fn a_create_is_replayed_for_24_hours_and_then_done_again() {
    let sandbox = without_limits();
    let first = create(&sandbox, "key", &body(json!({}))).await;
    assert_eq!(first.header("monime-cache"), "");
    sandbox.advance(DAY - Duration::from_millis(1));
    let again = create(&sandbox, "key", &body(json!({}))).await;
    assert_eq!((again.body, again.headers["monime-cache"].to_str().unwrap()), (first.body.clone(), "irc"));
    assert_ne!(again.headers["monime-request-id"], first.headers["monime-request-id"]);
    let other = create(&sandbox, "key", &body(json!({"other": "body"}))).await;
    assert_eq!((other.status.as_u16(), other.reason().as_str()), (409, "idempotency_key_in_use"));
    sandbox.advance(Duration::from_millis(1));
    assert_ne!(create(&sandbox, "key", &body(json!({}))).await.body, first.body);
    assert_eq!(get(&sandbox, "/v1/checkout-sessions").await.json()["pagination"]["count"], 2);

    let unnamed = send(&sandbox, ask("POST", "/v1/checkout-sessions"), body(json!({}))).await;
    assert_eq!(
        (unnamed.status.as_u16(), &unnamed.json()["error"]["details"][0]["field"]),
        (400, &json!("Idempotency-Key"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_list_walks_all_pages_and_filters() {
    let sandbox = without_limits();
    let ids: Vec<SessionId> = (0..23).map(|_| sandbox.create(&space())).collect();
    sandbox.settle(&ids[4], Final::Completed);
    let (mut seen, mut path) = (Vec::new(), "/v1/checkout-sessions?limit=5".to_owned());
    loop {
        let page = get(&sandbox, &path).await.json();
        let shown = page["result"].as_array().unwrap();
        assert_eq!(page["pagination"]["count"], shown.len());
        seen.extend(shown.iter().map(|session| session["id"].as_str().unwrap().to_owned()));
        let Some(next) = page["pagination"]["next"].as_str() else { break };
        path = format!("/v1/checkout-sessions?limit=5&after={next}");
    }
    assert_eq!(seen, ids.iter().rev().map(ToString::to_string).collect::<Vec<_>>());
    let settled = get(&sandbox, "/v1/checkout-sessions?status=completed").await.json();
    assert_eq!((&settled["result"][0]["id"], &settled["pagination"]["count"]), (&json!(ids[4].as_str()), &json!(1)));
    for wrong in ["limit=0", "limit=51", "limit=x", "status=paid", "after=a%20b"] {
        assert_eq!(get(&sandbox, &format!("/v1/checkout-sessions?{wrong}")).await.status, 400, "{wrong}");
    }
}

#[tokio::test(start_paused = true)]
async fn live_limits_refuse_the_21st_lookup_of_any_second() {
    let sandbox = Sandbox::new(Settings::default());
    let id = sandbox.create(&space());
    advance(Duration::from_millis(600)).await;
    for _ in 0..20 {
        assert_eq!(lookup(&sandbox, &id).await.status, 200);
    }
    advance(Duration::from_millis(999)).await;
    let refused = lookup(&sandbox, &id).await;
    assert_eq!((refused.status.as_u16(), refused.reason().as_str()), (429, "too_many_requests"));
    assert_eq!((refused.header("retry-after"), refused.header("monime-rate-limit")), ("1", "endpoint-limit"));
    assert_eq!(get(&sandbox, "/v1/checkout-sessions").await.status, 200, "another endpoint has its own");
    advance(Duration::from_millis(1)).await;
    assert_eq!(lookup(&sandbox, &id).await.status, 200);
    let seen = sandbox.seen();
    assert_eq!((seen.requests, seen.throttled, seen.busiest), (23, 1, 22));
    assert_eq!(seen.operations["GetCheckoutSession"], Traffic { requests: 22, throttled: 1, busiest: 21 });
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_with_a_request_is_said_in_the_envelope() {
    let sandbox = without_limits();
    let id = sandbox.create(&space());
    let path = format!("/v1/checkout-sessions/{id}");
    let bare = || Request::builder().uri(&path);
    let bearer = format!("Bearer {DEFAULT_TOKEN}");
    let other_space = bare().header("authorization", &bearer).header("monime-space-id", "spc-other");
    for (expected, request) in [
        (401, bare().header("monime-space-id", "spc-shop")),
        (401, bare().header("monime-space-id", "spc-shop").header("authorization", "Bearer wrong")),
        (401, bare().header("monime-space-id", "spc-shop").header("authorization", DEFAULT_TOKEN)),
        (401, ask("GET", &path).header("authorization", &bearer)),
        (400, bare().header("authorization", &bearer)),
        (400, bare().header("authorization", &bearer).header("monime-space-id", "shop")),
        (400, ask("GET", &path).header("monime-space-id", "spc-shop")),
        (400, ask("GET", &path).header("monime-version", "caph.1999-01-01")),
        (200, ask("GET", &path).header("monime-version", "caph.2025-06-20")),
        (404, other_space),
        (404, ask("GET", "/v1/checkout-sessions/")),
        (404, ask("GET", "//v1/checkout-sessions")),
        (404, ask("GET", "/v1/payments")),
        (405, ask("PATCH", &path)),
        (405, ask("PUT", "/v1/checkout-sessions")),
    ] {
        let shown = format!("{request:?}");
        let reply = send(&sandbox, request, "").await;
        assert_eq!(reply.status.as_u16(), expected, "{shown}");
        assert_eq!(reply.header("monime-sandbox"), "this is not Monime");
        assert_eq!(reply.header("content-type"), "application/json");
        assert_eq!(reply.headers.contains_key("allow"), expected == 405);
        if expected != 200 {
            reply.reason();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn invented_sessions_are_the_same_bytes_every_time() {
    let invent = Some(Final::Completed);
    let sandbox = Sandbox::new(Settings { invent, limits: Limits::NONE, ..Settings::default() });
    let [one, other] = ["scs-1", "scs-2"].map(|id| SessionId::parse(id).unwrap());
    let first = lookup(&sandbox, &one).await;
    advance(DAY).await;
    assert_eq!(lookup(&sandbox, &one).await.body, first.body);
    assert_eq!(lookup(&sandbox, &other).await.json()["result"]["id"], "scs-2");
    sandbox.put(&space(), &other, "processing");
    assert_eq!(lookup(&sandbox, &other).await.json()["result"]["status"], "processing");
}

#[tokio::test(start_paused = true)]
async fn only_the_session_a_fault_is_meant_for_is_late_and_it_is_read_after_the_wait() {
    let sandbox = without_limits();
    let [late, other] = [Some((MINUTE, Final::Completed)), None].map(|when| sandbox.create_settling(&space(), when));
    sandbox.play_for(&late, Fault::Latency(MINUTE), 1);
    let brief = Duration::from_millis(1);
    assert_eq!(timeout(brief, lookup(&sandbox, &other)).await.unwrap().status, 200);
    let reply = lookup(&sandbox, &late).await;
    assert_eq!(reply.json()["result"]["status"], "completed");
    assert_eq!(reply.header("monime-request-duration"), "60000ms");
    assert_eq!(timeout(brief, lookup(&sandbox, &late)).await.unwrap().status, 200, "used up");
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_answer_fails_was_carried_out() {
    let sandbox = without_limits();
    sandbox.play_on(Operation::Create, Fault::Status(StatusCode::GATEWAY_TIMEOUT), 1);
    assert_eq!(create(&sandbox, "key", &body(json!({}))).await.status, 504);
    let again = create(&sandbox, "key", &body(json!({}))).await;
    assert_eq!((again.status.as_u16(), again.header("monime-cache")), (200, "irc"));
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_caller_leaves_is_done_once_if_its_answer_is_withheld_and_not_if_it_is_late_itself() {
    for (name, done) in [("withheld", true), ("latency", false)] {
        let sandbox = without_limits();
        let fault = json!({"fault": {name: "1h"}, "operation": "CreateCheckoutSession"});
        assert_eq!(control(&sandbox, "POST", "faults", fault).await.status, 200);
        let brief = Duration::from_millis(1);
        assert!(timeout(brief, create(&sandbox, "key", &body(json!({})))).await.is_err(), "its caller leaves");
        assert_eq!(sandbox.asked()[0].status, None, "it was told nothing");
        let list = get(&sandbox, "/v1/checkout-sessions").await.json();
        assert_eq!(list["pagination"]["count"], u8::from(done), "{name}");
        let again = create(&sandbox, "key", &body(json!({}))).await;
        assert_eq!((again.status.as_u16(), again.header("monime-cache") == "irc"), (200, done), "{name}");
        assert_eq!(get(&sandbox, "/v1/checkout-sessions").await.json()["pagination"]["count"], 1, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_withheld_answer_shows_what_was_before_the_wait() {
    let sandbox = without_limits();
    let id = sandbox.create_settling(&space(), Some((MINUTE, Final::Completed)));
    let begun = Instant::now();
    sandbox.play(Fault::Withheld(MINUTE), 1);
    let reply = lookup(&sandbox, &id).await;
    assert_eq!((&reply.json()["result"]["status"], begun.elapsed()), (&json!("pending"), MINUTE));
    assert_eq!(lookup(&sandbox, &id).await.json()["result"]["status"], "completed");
}

#[tokio::test(start_paused = true)]
async fn everything_can_be_steered_over_http() {
    let sandbox = without_limits();
    let put = json!({"space": "spc-shop", "status": "processing"});
    assert_eq!(control(&sandbox, "PUT", "sessions/scs-1", put).await.status, 200);
    let id = SessionId::parse("scs-1").unwrap();
    assert_eq!(lookup(&sandbox, &id).await.json()["result"]["status"], "processing");
    let fault = json!({"fault": {"throttled": {"scope": "space-limit", "retry_after": 9}}, "times": 2, "id": "scs-1"});
    assert_eq!(control(&sandbox, "POST", "faults", fault).await.status, 200);
    let spoiled = lookup(&sandbox, &id).await;
    assert_eq!((spoiled.header("retry-after"), spoiled.header("monime-rate-limit")), ("9", "space-limit"));
    let waiting = control(&sandbox, "GET", "faults", json!(null)).await.json();
    assert_eq!((&waiting["faults"][0]["times"], &waiting["faults"][0]["id"]), (&json!(1), &json!("scs-1")));
    control(&sandbox, "DELETE", "faults", json!(null)).await;
    assert_eq!(lookup(&sandbox, &id).await.status, 200);
    let seen = control(&sandbox, "GET", "seen", json!(null)).await.json();
    assert_eq!((&seen["requests"], &seen["throttled"]), (&json!(3), &json!(1)), "control calls do not count");
    control(&sandbox, "DELETE", "seen", json!(null)).await;
    assert_eq!(sandbox.seen(), Seen::default());
    control(&sandbox, "DELETE", "sessions", json!(null)).await;
    assert_eq!(lookup(&sandbox, &id).await.status, 404);
    for (method, path, body, expected) in [
        ("POST", "sessions/scs-1/settle", json!({"outcome": "completed"}), 404),
        ("POST", "sessions/scs-1/settle", json!({"outcome": "paid"}), 400),
        ("POST", "faults", json!({"fault": "explode"}), 400),
        ("POST", "faults", json!({"fault": "reset", "time": 2}), 400),
        ("POST", "clock", json!({"advance": "400d"}), 400),
        ("GET", "nothing", json!(null), 404),
    ] {
        let reply = control(&sandbox, method, path, body).await;
        assert_eq!((reply.status.as_u16(), reply.reason().starts_with("sandbox_")), (expected, true), "{path}");
    }
}

#[test]
fn no_debug_output_shows_the_token() {
    let settings = Settings { token: "mon_canary".to_owned(), ..Settings::default() };
    let sandbox = Sandbox::new(settings.clone());
    assert!(!format!("{settings:?} {sandbox:?}").contains("canary"));
}
