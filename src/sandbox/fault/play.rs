//! What a fault makes of the right answer.
//!
//! Owns every wrong answer the sandbox can give. Refuses to know sessions: it works on the answer's JSON, so that a
//! fault meets whatever would have been said, an error too.

use std::io::Write;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use http::{HeaderValue, Response, StatusCode};
use serde_json::{Value, json};

use super::super::answer::{Answer, error, throttled};
use super::super::body::{Body, Step};
use super::Fault;

/// White space is sent in pieces of this size.
const PIECE: usize = 64 * 1024;
/// The most white space that is sent.
const MAX_PADDING: u64 = 1 << 30;
/// A session that nobody has.
const WRONG_ID: &str = "scs-somebodyElsesSession0000000";
/// What an edge says when what is behind it does not answer.
const PAGE: &[u8] = b"<!DOCTYPE html><html><head><title>Error</title></head><body><h1>Error</h1></body></html>\n";

impl Fault {
    /// How long the request waits before it is carried out.
    pub(in super::super) fn delay(&self) -> Duration {
        if let Self::Latency(span) = self { *span } else { Duration::ZERO }
    }

    /// How long its answer waits after that.
    pub(in super::super) fn delay_of_answer(&self) -> Duration {
        if let Self::Withheld(span) = self { *span } else { Duration::ZERO }
    }

    /// What becomes of `answer`. `token` is the one that came with the request.
    pub(in super::super) fn play(&self, answer: Answer, token: &str) -> Response<Body> {
        match self {
            Self::Latency(_) | Self::Withheld(_) => answer.map(Body::whole),
            Self::Status(status) => with_status(answer, *status).map(Body::whole),
            Self::Throttled { scope, retry_after } => throttled(*scope, *retry_after).map(Body::whole),
            Self::Malformed => answer.map(|body| Body::whole(half(&body))),
            Self::Truncated => truncated(answer),
            Self::Reset => answer.map(|_| Body::script([Step::Break])),
            Self::Drip { bytes, every } => drip(answer, (*bytes).max(1), *every),
            Self::Huge(padding) => huge(answer, (*padding).min(MAX_PADDING)),
            Self::SessionStatus(status) => edited(answer, |whole| set(whole, "/result/status", json!(status))),
            Self::ReflectToken => edited(answer, |whole| set(whole, "/messages", json!([format!("Bearer {token}")]))),
            Self::Gzip => gzip(answer).map(Body::whole),
            Self::Html(status) => html(*status).map(Body::whole),
            Self::NestedResult => edited(answer, |whole| {
                let result = whole.pointer("/result").cloned().unwrap_or_default();
                set(whole, "/result", json!({ "result": result }));
            }),
            Self::WrongId => edited(answer, |whole| set(whole, "/result/id", json!(WRONG_ID))),
        }
    }
}

fn with_status(mut answer: Answer, status: StatusCode) -> Answer {
    if status.is_client_error() || status.is_server_error() {
        return error(status, "sandbox_fault", "The sandbox was told to answer this.");
    }
    *answer.status_mut() = status;
    if status.is_redirection() {
        answer.headers_mut().insert(LOCATION, HeaderValue::from_static("https://elsewhere.sandbox.invalid/"));
    }
    // These end after the head, whatever it says.
    if [StatusCode::NO_CONTENT, StatusCode::RESET_CONTENT, StatusCode::NOT_MODIFIED].contains(&status) {
        *answer.body_mut() = Bytes::new();
    }
    answer
}

fn truncated(mut answer: Answer) -> Response<Body> {
    promise(&mut answer);
    answer.map(|body| Body::script([Step::Send(half(&body)), Step::Flush, Step::Break]))
}

fn drip(mut answer: Answer, bytes: usize, every: Duration) -> Response<Body> {
    promise(&mut answer);
    answer.map(|mut body| {
        let mut steps = Vec::new();
        while !body.is_empty() {
            steps.push(Step::Send(body.split_to(bytes.min(body.len()))));
            steps.push(Step::Wait(every));
        }
        // The pause belongs between two pieces, not behind the last.
        steps.pop();
        Body::script(steps)
    })
}

fn huge(answer: Answer, padding: u64) -> Response<Body> {
    let piece = Bytes::from(vec![b' '; PIECE]);
    let padding = usize::try_from(padding).unwrap_or(usize::MAX);
    answer.map(|body| {
        let pieces = std::iter::repeat_n(piece.clone(), padding / PIECE);
        let rest = [piece.slice(..padding % PIECE), body];
        Body::script(pieces.chain(rest).map(Step::Send))
    })
}

fn edited(answer: Answer, edit: impl FnOnce(&mut Value)) -> Response<Body> {
    answer.map(|body| {
        let mut whole = serde_json::from_slice(&body).unwrap_or_default();
        edit(&mut whole);
        Body::whole(whole.to_string().into())
    })
}

fn set(whole: &mut Value, pointer: &str, to: Value) {
    if let Some(place) = whole.pointer_mut(pointer) {
        *place = to;
    }
}

fn gzip(mut answer: Answer) -> Answer {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    // Writing to memory does not fail; if it ever did, the right answer would go out uncoded.
    if let Ok(coded) = encoder.write_all(answer.body()).and_then(|()| encoder.finish()) {
        *answer.body_mut() = coded.into();
        answer.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    answer
}

fn html(status: StatusCode) -> Answer {
    let mut answer = Response::new(Bytes::from_static(PAGE));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    answer
}

/// States the length that the whole body would have; a scripted body has none of its own.
fn promise(answer: &mut Answer) {
    let length = HeaderValue::from(answer.body().len());
    answer.headers_mut().insert(CONTENT_LENGTH, length);
}

fn half(body: &Bytes) -> Bytes {
    body.slice(..body.len() / 2)
}
