//! The control routes under `/_sandbox`, for whoever holds no handle: other processes, other languages, people.
//!
//! Owns their JSON; what they do is the handle's. Refuses fields and routes it does not know, with a sentence. Asks
//! for no token: whoever reaches the sandbox may steer it.

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::json;

use super::answer::{self, Answer, Refused};
use super::api::{Operation, read};
use super::body::Body;
use super::clock::MAX_ADVANCE;
use super::fault::{Fault, Planned};
use super::session::outcome;
use super::{PREFIX, Sandbox};
use crate::monime::{SessionId, SpaceId};

const ROUTES: [&str; 11] = [
    "POST /_sandbox/sessions/{id}/settle {\"outcome\": \"completed|cancelled|expired\"}",
    "POST /_sandbox/sessions/{id}/start",
    "PUT /_sandbox/sessions/{id} {\"space\": \"spc-…\", \"status\": \"any text\"}",
    "DELETE /_sandbox/sessions",
    "POST /_sandbox/faults {\"fault\": …, \"times\": 1, \"operation\": \"GetCheckoutSession\", \"id\": \"scs-…\"}",
    "GET /_sandbox/faults",
    "DELETE /_sandbox/faults",
    "GET /_sandbox/seen",
    "DELETE /_sandbox/seen",
    "POST /_sandbox/clock {\"advance\": \"1h\"}",
    "GET /_sandbox",
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settle {
    outcome: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Put {
    space: String,
    status: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Play {
    fault: Fault,
    #[serde(default = "once")]
    times: u32,
    #[serde(default = "lookups")]
    operation: Operation,
    id: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Advance {
    #[serde(deserialize_with = "span")]
    advance: Duration,
}

/// Answers one request to the control routes.
pub(super) async fn answer<B>(sandbox: &Sandbox, request: Request<B>) -> Response<Body>
where
    B: http_body::Body<Error: Into<Box<dyn Error + Send + Sync>>>,
{
    let (parts, body) = request.into_parts();
    let answer = match read(body).await {
        Ok(body) => route(sandbox, &parts.method, parts.uri.path(), &body).unwrap_or_else(|wrong| *wrong),
        Err(wrong) => *wrong,
    };
    let mut response = answer.map(Body::whole);
    answer::sign(&mut response, None);
    response
}

fn route(sandbox: &Sandbox, method: &Method, path: &str, body: &Bytes) -> Result<Answer, Refused> {
    let segments: Vec<&str> = path.strip_prefix(PREFIX).unwrap_or(path).split('/').skip(1).collect();
    match (method.as_str(), segments.as_slice()) {
        ("GET", [] | [""]) => Ok(answer::ok(&json!({ "routes": ROUTES }))),
        ("POST", ["sessions", id, "settle"]) => settle(sandbox, id, body),
        ("POST", ["sessions", id, "start"]) => known(sandbox.start(&session(id)?)),
        ("PUT", ["sessions", id]) => put(sandbox, id, body),
        ("DELETE", ["sessions"]) => {
            sandbox.clear();
            done()
        }
        ("POST", ["faults"]) => play(sandbox, body),
        ("GET", ["faults"]) => {
            Ok(answer::ok(&json!({ "faults": sandbox.state().faults.waiting().collect::<Vec<_>>() })))
        }
        ("DELETE", ["faults"]) => {
            sandbox.clear_faults();
            done()
        }
        ("GET", ["seen"]) => Ok(answer::ok(&sandbox.seen())),
        ("DELETE", ["seen"]) => {
            sandbox.forget_seen();
            done()
        }
        ("POST", ["clock"]) => advance(sandbox, body),
        _ => {
            let message = format!("There is no such control route. GET {PREFIX} lists them.");
            Err(answer::error(StatusCode::NOT_FOUND, "sandbox_route_unknown", &message).into())
        }
    }
}

fn settle(sandbox: &Sandbox, id: &str, body: &Bytes) -> Result<Answer, Refused> {
    let Settle { outcome: text } = parse(body)?;
    let settled = outcome(&text).ok_or_else(|| wrong("`outcome` must be `completed`, `cancelled` or `expired`."))?;
    known(sandbox.settle(&session(id)?, settled))
}

fn put(sandbox: &Sandbox, id: &str, body: &Bytes) -> Result<Answer, Refused> {
    let Put { space, status } = parse(body)?;
    let space = SpaceId::parse(&space).map_err(|error| wrong(&format!("`space`: {error}.")))?;
    if sandbox.state().ledger.is_full() {
        return Err(answer::full().into());
    }
    sandbox.put(&space, &session(id)?, &status);
    done()
}

fn play(sandbox: &Sandbox, body: &Bytes) -> Result<Answer, Refused> {
    let Play { fault, times, operation, id } = parse(body)?;
    let id = id.as_deref().map(session).transpose()?;
    let planned = Planned { fault, times, operation, id };
    match sandbox.state().faults.plan(planned) {
        Ok(()) => done(),
        Err(_) => Err(wrong("Too many faults wait already: DELETE /_sandbox/faults.")),
    }
}

fn advance(sandbox: &Sandbox, body: &Bytes) -> Result<Answer, Refused> {
    let Advance { advance } = parse(body)?;
    if advance > MAX_ADVANCE || !sandbox.advance(advance) {
        return Err(wrong("`advance` must be at most a year."));
    }
    let state = sandbox.state();
    Ok(answer::ok(&json!({ "now": state.clock.shown(state.clock.now()) })))
}

fn parse<T: DeserializeOwned>(body: &Bytes) -> Result<T, Refused> {
    serde_json::from_slice(body).map_err(|error| wrong(&format!("The body is not what this route takes: {error}.")))
}

fn session(text: &str) -> Result<SessionId, Refused> {
    SessionId::parse(text).map_err(|error| wrong(&format!("`id`: {error}.")))
}

fn known(known: bool) -> Result<Answer, Refused> {
    if known {
        done()
    } else {
        Err(answer::error(StatusCode::NOT_FOUND, "sandbox_session_unknown", "No space has a session with this id.")
            .into())
    }
}

fn done() -> Result<Answer, Refused> {
    Ok(answer::ok(&json!({ "done": true })))
}

fn wrong(message: &str) -> Refused {
    answer::error(StatusCode::BAD_REQUEST, "sandbox_invalid", message).into()
}

fn once() -> u32 {
    1
}

fn lookups() -> Operation {
    Operation::Get
}

fn span<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(from)?;
    humantime::parse_duration(&text).map_err(serde::de::Error::custom)
}
