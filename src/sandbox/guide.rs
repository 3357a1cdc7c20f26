//! What `GET /_sandbox` tells: every control route with a body that it takes, and every fault with its meaning.
//!
//! Owns the words for people who have only curl, one thing to a line, so that a line can be copied. Refuses to fall
//! behind: the tests send every body that is shown here, and miss every fault that is not.

use std::time::Duration;

use http::StatusCode;
use serde_json::json;

use super::fault::Fault;
use super::limiter::Scope;

/// Each route, a body that it takes, and what it does.
fn routes() -> [(&'static str, Option<&'static str>, &'static str); 16] {
    [
        ("GET /_sandbox", None, "lists every route and fault"),
        (
            "POST /_sandbox/sessions",
            Some(r#"{"space": "spc-demo", "settle_after": "5s", "outcome": "completed"}"#),
            "makes a pending session and answers its id; every field, and the body, may be left out",
        ),
        (
            "POST /_sandbox/sessions/{id}/settle",
            Some(r#"{"outcome": "completed"}"#),
            "settles it: completed, cancelled or expired, in every space that has this id",
        ),
        ("POST /_sandbox/sessions/{id}/start", None, "lets the payer begin: it cannot be deleted while pending"),
        (
            "PUT /_sandbox/sessions/{id}",
            Some(r#"{"space": "spc-demo", "status": "processing"}"#),
            "makes or replaces it, with any status; a pending one settles like any other",
        ),
        ("DELETE /_sandbox/sessions", None, "forgets every session and idempotency key"),
        (
            "POST /_sandbox/faults",
            Some(r#"{"fault": {"status": 503}, "times": 2, "operation": "GetCheckoutSession", "id": "scs-1"}"#),
            "spoils the next answers; without the rest, one lookup of any session",
        ),
        ("GET /_sandbox/faults", None, "shows the faults that wait"),
        ("DELETE /_sandbox/faults", None, "forgets the faults that wait"),
        (
            "PUT /_sandbox/schedule",
            Some(r#"{"faults": "rough", "seed": 42}"#),
            "gives each lookup its fault by seed, the same again for the same seed: calm has none, rough spoils three in \
             ten, down fails all; without a seed it takes one and answers it",
        ),
        ("GET /_sandbox/schedule", None, "shows the schedule and how many turns lookups took"),
        (
            "PUT /_sandbox/tokens",
            Some(r#"{"accept": ["mon_sandbox_one", "mon_sandbox_two"]}"#),
            "accepts these bearer tokens and no others; each has limits of its own",
        ),
        (
            "GET /_sandbox/asked",
            None,
            "shows the last 100,000 requests one by one: when each came, its session, the number of its token, what it met",
        ),
        ("GET /_sandbox/seen", None, "shows what arrived so far"),
        ("DELETE /_sandbox/seen", None, "begins counting anew"),
        ("POST /_sandbox/clock", Some(r#"{"advance": "1h"}"#), "skips time for sessions and idempotency keys"),
    ]
}

/// One of each fault, in the order of [`Fault`].
fn faults() -> [Fault; 15] {
    [
        Fault::Latency(Duration::from_secs(2)),
        Fault::Withheld(Duration::from_secs(2)),
        Fault::Status(StatusCode::SERVICE_UNAVAILABLE),
        Fault::Throttled { scope: Scope::Token, retry_after: 7 },
        Fault::Malformed,
        Fault::Truncated,
        Fault::Reset,
        Fault::Drip { bytes: 16, every: Duration::from_millis(100) },
        Fault::Huge(16 << 20),
        Fault::SessionStatus("processing".to_owned()),
        Fault::ReflectToken,
        Fault::Gzip,
        Fault::Html(StatusCode::BAD_GATEWAY),
        Fault::NestedResult,
        Fault::WrongId,
    ]
}

fn meaning(fault: &Fault) -> &'static str {
    match fault {
        Fault::Latency(_) => "the right answer, this late; carried out after the wait, unless its caller has left",
        Fault::Withheld(_) => "the right answer, this late; carried out before the wait, whoever leaves",
        Fault::Status(_) => "this status, 200 to 599: an error in the envelope, a 3xx with a Location, a 2xx as ever",
        Fault::Throttled { .. } => {
            "a 429 that names a limit (endpoint-limit, token-limit, space-limit) and when to return"
        }
        Fault::Malformed => "a complete answer whose JSON ends in the middle",
        Fault::Truncated => "half of the promised body, then the connection closes",
        Fault::Reset => "the connection closes before a byte of an answer",
        Fault::Drip { .. } => "the right answer, so many bytes at a time with this pause between",
        Fault::Huge(_) => "the right answer behind so many bytes of white space, at most 1 GiB",
        Fault::SessionStatus(_) => "the right answer with this session status, any text",
        Fault::ReflectToken => "the right answer with the bearer token in it",
        Fault::Gzip => "the right answer, gzip-coded whether or not that was accepted",
        Fault::Html(_) => "a web page with this status, as an edge in front of Monime answers",
        Fault::NestedResult => "the right answer with the session in a result inside the result",
        Fault::WrongId => "the right answer about another session",
    }
}

/// Its JSON, in the order of its fields.
fn spoken(fault: &Fault) -> String {
    // Without maps that have other keys than texts, it cannot fail.
    serde_json::to_string(fault).unwrap_or_default()
}

/// The whole, as JSON with one route or fault to a line.
pub(super) fn text() -> String {
    let routes = routes().map(|(route, body, does)| match body {
        Some(body) => format!(r#"{{"route": {}, "body": {body}, "does": {}}}"#, json!(route), json!(does)),
        None => format!(r#"{{"route": {}, "does": {}}}"#, json!(route), json!(does)),
    });
    let faults =
        faults().map(|fault| format!(r#"{{"fault": {}, "means": {}}}"#, spoken(&fault), json!(meaning(&fault))));
    let [routes, faults] = [routes.join(",\n    "), faults.join(",\n    ")];
    format!("{{\n  \"routes\": [\n    {routes}\n  ],\n  \"faults\": [\n    {faults}\n  ]\n}}\n")
}
