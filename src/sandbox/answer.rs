//! An answer in Monime's envelope, with Monime's diagnostic headers and the sandbox's own.
//!
//! Owns that every answer says it is not Monime's. Refuses to decide anything: which answer it is, others know.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER, SERVER};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use serde::Serialize;
use serde_json::{Value, json};

use super::body::Body;
use super::draft::Invalid;
use super::limiter::Scope;
use crate::monime::{Envelope, RATE_LIMIT_HEADER};

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const SANDBOX: HeaderName = HeaderName::from_static("monime-sandbox");
const NOT_MONIME: HeaderValue = HeaderValue::from_static("this is not Monime");
const NAME: HeaderValue = HeaderValue::from_static("monigate-sandbox");
const CACHE: HeaderName = HeaderName::from_static("monime-cache");
const RATE_LIMIT: HeaderName = HeaderName::from_static(RATE_LIMIT_HEADER);
const REQUEST_ID: HeaderName = HeaderName::from_static("monime-request-id");
const REQUEST_CHECKSUM: HeaderName = HeaderName::from_static("monime-request-checksum");
const REQUEST_TIMESTAMP: HeaderName = HeaderName::from_static("monime-request-timestamp");
const REQUEST_DURATION: HeaderName = HeaderName::from_static("monime-request-duration");

/// What Monime would answer, before a fault is played on it.
pub(super) type Answer = Response<Bytes>;

/// An answer that ends the work on a request early; boxed, as it is rare and large.
pub(super) type Refused = Box<Answer>;

/// Monime's success envelope.
#[derive(Serialize)]
pub(super) struct Success<T> {
    success: bool,
    messages: [(); 0],
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<T>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pagination: Option<Pagination>,
}

/// Where a list goes on.
#[derive(Serialize)]
pub(super) struct Pagination {
    /// How many this page holds.
    pub(super) count: usize,
    /// What `after` must be to see the next page.
    pub(super) next: Option<String>,
}

/// What Monime says about the request that it answers.
pub(super) struct Diagnostics {
    pub(super) id: String,
    pub(super) timestamp: String,
    pub(super) checksum: String,
    pub(super) duration: Duration,
}

impl<T> Success<T> {
    pub(super) fn of(result: Option<T>) -> Self {
        Self { success: true, messages: [], result, pagination: None }
    }

    pub(super) fn page(result: T, pagination: Pagination) -> Self {
        Self { success: true, messages: [], result: Some(result), pagination: Some(pagination) }
    }
}

/// A 200 with `value` as JSON.
pub(super) fn ok(value: &impl Serialize) -> Answer {
    match serde_json::to_vec(value) {
        Ok(body) => with_body(StatusCode::OK, body.into()),
        Err(_) => error(StatusCode::INTERNAL_SERVER_ERROR, "sandbox_bug", "The answer could not be written as JSON."),
    }
}

/// A 200 with JSON that was laid out for people.
pub(super) fn text(text: String) -> Answer {
    with_body(StatusCode::OK, text.into())
}

/// The answer that was given to this key before.
pub(super) fn replayed(body: Bytes) -> Answer {
    let mut answer = with_body(StatusCode::OK, body);
    answer.headers_mut().insert(CACHE, HeaderValue::from_static("irc"));
    answer
}

/// An error in Monime's envelope.
pub(super) fn error(status: StatusCode, reason: &str, message: &str) -> Answer {
    with_body(status, Envelope::new(status, reason, message).to_bytes())
}

/// A 400 that names the field.
pub(super) fn invalid(Invalid { field, rule }: &Invalid) -> Answer {
    let message = if field.is_empty() { format!("{rule}.") } else { format!("`{field}` {rule}.") };
    let details: [Value; 1] = [json!({"field": field, "rule": rule})];
    let status = StatusCode::BAD_REQUEST;
    with_body(status, Envelope::new(status, "invalid_request", &message).with_details(&details).to_bytes())
}

/// No room for another session.
pub(super) fn full() -> Answer {
    let message = "The sandbox is full: DELETE /_sandbox/sessions, or start it again.";
    error(StatusCode::INSUFFICIENT_STORAGE, "sandbox_full", message)
}

/// A 429 that says which limit it was and when to come back.
pub(super) fn throttled(scope: Scope, retry_after: u64) -> Answer {
    let message = format!("Too many requests: the {} was reached.", scope.as_str());
    let mut answer = error(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", &message);
    answer.headers_mut().insert(RETRY_AFTER, retry_after.into());
    answer.headers_mut().insert(RATE_LIMIT, HeaderValue::from_static(scope.as_str()));
    answer
}

/// The SHA-256 of a request's body in hexadecimal: what Monime's checksum covers is not documented.
pub(super) fn checksum(body: &[u8]) -> String {
    hex::encode(digest(&SHA256, body))
}

/// Says on `response` who answered, and what Monime would say about the request.
pub(super) fn sign(response: &mut Response<Body>, diagnostics: Option<&Diagnostics>) {
    let headers = response.headers_mut();
    headers.insert(SERVER, NAME);
    headers.insert(SANDBOX, NOT_MONIME);
    let Some(diagnostics) = diagnostics else { return };
    let duration = format!("{}ms", diagnostics.duration.as_millis());
    for (name, text) in [
        (REQUEST_ID, &diagnostics.id),
        (REQUEST_TIMESTAMP, &diagnostics.timestamp),
        (REQUEST_CHECKSUM, &diagnostics.checksum),
        (REQUEST_DURATION, &duration),
    ] {
        if let Ok(value) = HeaderValue::from_str(text) {
            headers.insert(name, value);
        }
    }
}

fn with_body(status: StatusCode, body: Bytes) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, JSON);
    answer
}
