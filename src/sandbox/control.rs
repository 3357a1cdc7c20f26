//! The control routes under `/_sandbox`, for whoever holds no handle: other processes, other languages, people.
//!
//! Owns their JSON; what they do is the handle's. Refuses fields and routes it does not know, with a sentence. Asks
//! for no token: whoever reaches the sandbox may steer it.

use std::collections::BTreeMap;
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
use super::schedule::{Profile, Schedule};
use super::session::outcome;
use super::{PREFIX, Sandbox, guide};
use crate::monime::{Final, SessionId, SpaceId, operation};

/// Where a session goes whose maker names no space: the one that the start-up lines tell gateways of.
const SPACE: &str = "spc-demo";

/// Every field is the sandbox's own business unless it is given.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Make {
    space: Option<String>,
    outcome: Option<String>,
    settle_after: Option<Span>,
}

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
    advance: Span,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Follow {
    faults: Profile,
    seed: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Accept {
    accept: Vec<String>,
}

/// `2s`, `1h`.
#[derive(Deserialize)]
struct Span(#[serde(deserialize_with = "span")] Duration);

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
        ("GET", [] | [""]) => Ok(answer::text(guide::text())),
        ("POST", ["sessions"]) => make(sandbox, body),
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
        ("PUT", ["schedule"]) => follow(sandbox, body),
        ("GET", ["schedule"]) => Ok(scheduled(sandbox)),
        ("PUT", ["tokens"]) => accept(sandbox, body),
        ("GET", ["asked"]) => Ok(answer::ok(&BTreeMap::from([("asked", sandbox.asked())]))),
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

fn make(sandbox: &Sandbox, body: &Bytes) -> Result<Answer, Refused> {
    let Make { space, outcome, settle_after } =
        if body.trim_ascii().is_empty() { Make::default() } else { parse(body)? };
    let space = known_space(space.as_deref().unwrap_or(SPACE))?;
    let outcome = outcome.as_deref().map(known_outcome).transpose()?;
    let settles = sandbox.settles(settle_after.map(|Span(after)| after), outcome);
    if outcome.is_some() && settles.is_none() {
        return Err(wrong("`outcome` says how the session settles; `settle_after`, such as `5s`, must say when."));
    }
    has_room(sandbox)?;
    let id = sandbox.create_settling(&space, settles);
    let lookup = operation::checkout_session(id.as_ref());
    let status = sandbox.status(&space, &id);
    let made = json!({ "id": id.as_str(), "space": space.as_str(), "status": status, "lookup": lookup });
    Ok(answer::text(format!("{made:#}\n")))
}

fn settle(sandbox: &Sandbox, id: &str, body: &Bytes) -> Result<Answer, Refused> {
    let Settle { outcome } = parse(body)?;
    known(sandbox.settle(&session(id)?, known_outcome(&outcome)?))
}

fn put(sandbox: &Sandbox, id: &str, body: &Bytes) -> Result<Answer, Refused> {
    let Put { space, status } = parse(body)?;
    let space = known_space(&space)?;
    has_room(sandbox)?;
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

fn follow(sandbox: &Sandbox, body: &Bytes) -> Result<Answer, Refused> {
    let Follow { faults, seed } = parse(body)?;
    sandbox.follow(Schedule::of(faults, seed));
    Ok(scheduled(sandbox))
}

fn scheduled(sandbox: &Sandbox) -> Answer {
    let (Schedule { profile, seed }, turns) = sandbox.state().faults.schedule();
    answer::ok(&json!({ "faults": profile, "seed": seed, "turns": turns }))
}

fn accept(sandbox: &Sandbox, body: &Bytes) -> Result<Answer, Refused> {
    // What serde says of a wrong body may quote it, and these are secrets.
    let rule = "The body must be `{\"accept\": [\"…\"]}`, each token of visible ASCII characters.";
    let Ok(Accept { accept }) = serde_json::from_slice(body) else { return Err(wrong(rule)) };
    if accept.iter().any(|token| token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic())) {
        return Err(wrong(rule));
    }
    sandbox.accept_tokens(accept);
    done()
}

fn advance(sandbox: &Sandbox, body: &Bytes) -> Result<Answer, Refused> {
    let Advance { advance: Span(advance) } = parse(body)?;
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

fn known_space(text: &str) -> Result<SpaceId, Refused> {
    SpaceId::parse(text).map_err(|error| wrong(&format!("`space`: {error}.")))
}

fn known_outcome(text: &str) -> Result<Final, Refused> {
    outcome(text).ok_or_else(|| wrong("`outcome` must be `completed`, `cancelled` or `expired`."))
}

fn has_room(sandbox: &Sandbox) -> Result<(), Refused> {
    if sandbox.state().ledger.is_full() { Err(answer::full().into()) } else { Ok(()) }
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
