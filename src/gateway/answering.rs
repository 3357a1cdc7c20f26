//! From a kept or a fresh answer to the response that one caller gets.
//!
//! Owns what depends on the caller and the moment: `Age`, `Cache-Status`, `Monigate-Poll-After`, 304. Everything else
//! was written when the answer was judged, and is only copied.

use bytes::{Bytes, BytesMut};
use http::header::{AGE, CONTENT_LENGTH, CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use tokio::time::Instant;

use super::arrival::RequestId;
use super::body::Body;
use super::conditional;
use super::served::Served;
use crate::lookup::{Answer, CACHE_STATUS, PollAfter, Told, X_REQUEST_ID};
use crate::monime::Verdict;
use crate::monime::operation::GET_CHECKOUT_SESSION;
use crate::server::TAIL;
use crate::telemetry::Outcome;

/// Seconds after which a pending session should be asked for again. Not `Retry-After`: SDKs sleep on that one.
const POLL_AFTER: HeaderName = HeaderName::from_static("monigate-poll-after");

/// How `Cache-Status` (RFC 9211) begins of an answer from memory; how long it lasts follows.
const FROM_MEMORY: &[u8] = b"monigate; hit; ttl=";

/// A fresh answer from memory.
pub(super) fn hit(answer: &Answer, request: &HeaderMap, now: Instant) -> Served {
    let mut response = response(answer, request);
    say_from_memory(response.headers_mut(), answer, now, b"");
    served(response, Outcome::Hit)
}

/// A fresh answer as a whole response, with the name of its request.
pub(super) fn whole_hit(answer: &Answer, request_id: &RequestId, now: Instant) -> Response<Bytes> {
    let mut headers = answer.headers();
    say_from_memory(&mut headers, answer, now, b"");
    headers.insert(X_REQUEST_ID, request_id.header());
    let mut response = Response::new(answer.body().clone());
    *response.status_mut() = answer.status();
    *response.headers_mut() = headers;
    response
}

/// The head of a fresh answer as HTTP/1.1 sends it, but for its end; with room for a body.
pub(super) fn write_hit(answer: &Answer, request_id: &[u8], now: Instant, out: &mut Vec<u8>) {
    let mut digits = (itoa::Buffer::new(), itoa::Buffer::new());
    let (age, ttl) = (digits.0.format(answer.age(now)).as_bytes(), digits.1.format(answer.ttl(now)).as_bytes());
    let head = [
        answer.head(),
        b"age: ",
        age,
        b"\r\ncache-status: ",
        FROM_MEMORY,
        ttl,
        b"\r\nx-request-id: ",
        request_id,
        b"\r\n",
    ];
    out.reserve_exact(head.iter().map(|part| part.len()).sum::<usize>() + TAIL + answer.body().len());
    head.iter().for_each(|part| out.extend_from_slice(part));
}

/// What a flight brought.
pub(super) fn told(told: &Told, request: &HeaderMap, poll_after: impl FnOnce() -> PollAfter) -> Served {
    let now = Instant::now();
    if told.outcome == Outcome::Hit {
        return hit(&told.answer, request, now);
    }
    let mut response = response(&told.answer, request);
    let headers = response.headers_mut();
    if told.outcome == Outcome::Stale {
        say_from_memory(headers, &told.answer, now, b"; detail=stale");
    } else {
        headers.insert(CACHE_STATUS, HeaderValue::from_static(forwarded(told)));
    }
    if told.answer.verdict() == Verdict::Pending {
        headers.insert(POLL_AFTER, HeaderValue::from(poll_after().0));
    }
    served(response, told.outcome)
}

fn response(answer: &Answer, request: &HeaderMap) -> Response<Body> {
    let mut headers = answer.headers();
    let (status, body) = if conditional::holds(request, &headers) {
        headers.remove(CONTENT_LENGTH);
        headers.remove(CONTENT_TYPE);
        (StatusCode::NOT_MODIFIED, Bytes::new())
    } else {
        (answer.status(), answer.body().clone())
    };
    let mut response = Response::new(Body::whole(body));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

fn served(response: Response<Body>, outcome: Outcome) -> Served {
    Served { response, outcome, operation: GET_CHECKOUT_SESSION, failure: None }
}

/// `Cache-Status` of an answer that came from Monime for this request, or for one that it joined.
fn forwarded(told: &Told) -> &'static str {
    let joined = told.outcome == Outcome::Joined;
    match (joined, told.answer.verdict()) {
        (false, Verdict::Final(_) | Verdict::Absent) if told.stored => "monigate; fwd=miss; stored",
        (false, Verdict::Pending) => "monigate; fwd=miss; detail=pending",
        (false, Verdict::Absent) => "monigate; fwd=miss; detail=absent",
        (false, Verdict::Unknown) => "monigate; fwd=miss; detail=unknown",
        (false, Verdict::Final(_) | Verdict::Word) => "monigate; fwd=miss",
        (true, Verdict::Pending) => "monigate; fwd=miss; collapsed; detail=pending",
        (true, Verdict::Absent) => "monigate; fwd=miss; collapsed; detail=absent",
        (true, Verdict::Unknown) => "monigate; fwd=miss; collapsed; detail=unknown",
        (true, Verdict::Final(_) | Verdict::Word) => "monigate; fwd=miss; collapsed",
    }
}

/// A number as a value. `HeaderValue::from` would allocate twice: it takes more room than it needs.
fn number(number: u64) -> HeaderValue {
    HeaderValue::from_str(itoa::Buffer::new().format(number)).unwrap_or(HeaderValue::from_static("0"))
}

/// How old an answer from memory is, how long it lasts, and what else there is to say of it.
fn say_from_memory(headers: &mut HeaderMap, answer: &Answer, now: Instant, detail: &[u8]) {
    headers.insert(AGE, number(answer.age(now)));
    headers.insert(CACHE_STATUS, from_memory(answer.ttl(now), detail));
}

/// `Cache-Status` of an answer from memory.
fn from_memory(ttl: i64, detail: &[u8]) -> HeaderValue {
    let mut number = itoa::Buffer::new();
    let words = [FROM_MEMORY, number.format(ttl).as_bytes(), detail];
    let mut text = BytesMut::with_capacity(words.iter().map(|word| word.len()).sum());
    words.iter().for_each(|word| text.extend_from_slice(word));
    HeaderValue::from_maybe_shared(text.freeze()).unwrap_or(HeaderValue::from_static("monigate"))
}
