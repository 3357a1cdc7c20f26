//! Monime's face: create, read, list and delete checkout sessions.
//!
//! Owns the order in which a request is checked, and the life of one answer: right first, then spoiled by a fault if
//! one waits, then signed. Refuses every other operation of Monime's with a 404 that says so.

mod admit;

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use super::answer::{self, Answer, Diagnostics, Pagination, Refused, Success};
use super::asked::{Asked, Ticket};
use super::body::Body;
use super::draft::{Draft, Invalid};
use super::fault::Fault;
use super::ledger::Deletion;
use super::replays::InUse;
use super::session::Session;
use super::{Sandbox, State};
use admit::Call;

/// Bytes of a request body; a create of Monime's is a few hundred.
const MAX_BODY: usize = 64 * 1024;

/// What can be asked of checkout sessions, by Monime's `operationId`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Operation {
    /// `POST /v1/checkout-sessions`
    #[serde(rename = "CreateCheckoutSession")]
    Create,
    /// `GET /v1/checkout-sessions`
    #[serde(rename = "ListCheckoutSessions")]
    List,
    /// `GET /v1/checkout-sessions/{id}`
    #[serde(rename = "GetCheckoutSession")]
    Get,
    /// `DELETE /v1/checkout-sessions/{id}`
    #[serde(rename = "DeleteCheckoutSession")]
    Delete,
}

impl Operation {
    /// Monime's `operationId`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "CreateCheckoutSession",
            Self::List => "ListCheckoutSessions",
            Self::Get => "GetCheckoutSession",
            Self::Delete => "DeleteCheckoutSession",
        }
    }
}

/// A request that was let in or refused, and is on record.
struct Heard {
    call: Result<Call, Refused>,
    fault: Option<Fault>,
    /// The number of its token, if that is accepted.
    token: Option<usize>,
    ticket: Ticket,
}

/// Answers one request to Monime's routes.
pub(super) async fn answer<B>(sandbox: &Sandbox, request: Request<B>) -> Response<Body>
where
    B: http_body::Body<Error: Into<Box<dyn Error + Send + Sync>>>,
{
    let arrived = Instant::now();
    let (parts, body) = request.into_parts();
    let body = read(body).await;
    let heard = hear(&mut sandbox.state(), parts, arrived);
    let (fault, ticket) = (heard.fault.clone(), heard.ticket);
    pause(fault.as_ref().map(Fault::delay)).await;
    let response = carry_out(sandbox, heard, body, arrived);
    pause(fault.as_ref().map(Fault::delay_of_answer)).await;
    if fault != Some(Fault::Reset) {
        sandbox.state().tally.told(ticket, response.status());
    }
    response
}

fn hear(state: &mut State, parts: Parts, arrived: Instant) -> Heard {
    let route = admit::route(&parts);
    let token = admit::token(&parts.headers, &state.tokens);
    let (operation, id) = match &route {
        Ok(route) => (Some(route.operation), route.id.clone()),
        Err(_) => (None, None),
    };
    let call = route.and_then(|route| admit::call(state, &parts, route, token));
    let met = call.as_ref().map(|call| state.faults.meet(call.operation, call.id.as_ref())).unwrap_or_default();
    let session = id.filter(|id| !state.tokens.may_stand_in(id.as_str()));
    let (at, fault, turn) = (state.tally.since_it_began(arrived), met.fault.clone(), met.turn);
    let asked = Asked { at, operation, session, token, status: None, fault, turn };
    let ticket = state.tally.heard(asked, parts, arrived);
    Heard { call, fault: met.fault, token, ticket }
}

/// Does what was asked, and spoils the answer.
fn carry_out(sandbox: &Sandbox, heard: Heard, body: Result<Bytes, Refused>, arrived: Instant) -> Response<Body> {
    let mut state = sandbox.state();
    let diagnostics = diagnose(&mut state, body.as_deref().unwrap_or_default(), arrived);
    let right = match (heard.call, body) {
        (Ok(call), Ok(body)) => perform(sandbox, &mut state, &call, &body),
        (Err(refused), _) | (Ok(_), Err(refused)) => *refused,
    };
    let mut response = match &heard.fault {
        Some(fault) => fault.play(right, heard.token.and_then(|number| state.tokens.text(number)).unwrap_or_default()),
        None => right.map(Body::whole),
    };
    answer::sign(&mut response, Some(&diagnostics));
    response
}

async fn pause(span: Option<Duration>) {
    // A timer has whole milliseconds: even a wait of none would cost one.
    if let Some(span) = span.filter(|span| *span > Duration::ZERO) {
        sleep(span).await;
    }
}

/// Reads a whole request body within the bound.
pub(super) async fn read<B>(body: B) -> Result<Bytes, Refused>
where
    B: http_body::Body<Error: Into<Box<dyn Error + Send + Sync>>>,
{
    let error = match Limited::new(body, MAX_BODY).collect().await {
        Ok(whole) => return Ok(whole.to_bytes()),
        Err(error) => error,
    };
    let refused = if error.is::<LengthLimitError>() {
        answer::error(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large", "The body is over 64 KiB.")
    } else {
        answer::error(StatusCode::BAD_REQUEST, "invalid_request", "The body did not arrive whole.")
    };
    Err(refused.into())
}

fn diagnose(state: &mut State, body: &[u8], arrived: Instant) -> Diagnostics {
    let now = state.clock.now();
    Diagnostics {
        id: state.mint.text("req-", state.clock.unix(now)),
        timestamp: state.clock.shown(now),
        checksum: answer::checksum(body),
        duration: arrived.elapsed(),
    }
}

fn perform(sandbox: &Sandbox, state: &mut State, call: &Call, body: &Bytes) -> Answer {
    match (call.operation, &call.id) {
        (Operation::Create, _) => create(sandbox, state, call, body),
        (Operation::List, _) => list(state, call),
        (Operation::Get, Some(id)) => {
            let now = state.clock.now();
            match state.ledger.get(&call.space, id).or(sandbox.shared.invented.as_ref()) {
                Some(session) => answer::ok(&Success::of(Some(session.view(id, &call.space, &state.clock, now)))),
                None => absent(),
            }
        }
        (Operation::Delete, Some(id)) => match state.ledger.delete(&call.space, id, state.clock.now()) {
            Deletion::Done => answer::ok(&Success::<()>::of(None)),
            Deletion::TooLate => answer::error(
                StatusCode::CONFLICT,
                "session_not_deletable",
                "The payer has begun, or the session has settled otherwise than cancelled.",
            ),
            Deletion::Absent => absent(),
        },
        (Operation::Get | Operation::Delete, None) => absent(),
    }
}

fn create(sandbox: &Sandbox, state: &mut State, call: &Call, body: &Bytes) -> Answer {
    let now = state.clock.now();
    let Some(key) = &call.idempotency_key else {
        let rule = "is required, once, with 1 to 64 characters";
        return answer::invalid(&Invalid { field: "Idempotency-Key".to_owned(), rule });
    };
    let name = (call.space.clone(), key.clone());
    match state.replays.find(&name, body, now) {
        Ok(None) => {}
        Ok(Some(answered)) => return answer::replayed(answered),
        Err(InUse) => {
            let message = "This Idempotency-Key was used with another body within 24 hours.";
            return answer::error(StatusCode::CONFLICT, "idempotency_key_in_use", message);
        }
    }
    let mut draft = match Draft::parse(body) {
        Ok(draft) => draft,
        Err(invalid) => return answer::invalid(&invalid),
    };
    if state.ledger.is_full() {
        return answer::full();
    }
    let unix = state.clock.unix(now);
    for item in &mut draft.line_items {
        item.id = state.mint.text("lit-", unix);
    }
    let settings = &sandbox.shared.settings;
    let settles = sandbox.settles(draft.settle_after, draft.outcome);
    let session = Session::open(Arc::new(draft), now, settings.lifetime, settles);
    let id = state.mint.session(unix);
    let answer = answer::ok(&Success::of(Some(session.view(&id, &call.space, &state.clock, now))));
    state.ledger.put(&call.space, id, session);
    state.replays.keep(name, body, answer.body().clone(), now);
    answer
}

fn list(state: &State, call: &Call) -> Answer {
    let now = state.clock.now();
    let page = match admit::page(call.query.as_deref().unwrap_or_default()) {
        Ok(page) => page,
        Err(invalid) => return answer::invalid(&invalid),
    };
    let (shown, next) = state.ledger.list(&call.space, &page, now);
    let result: Vec<_> = shown.iter().map(|(id, session)| session.view(id, &call.space, &state.clock, now)).collect();
    let pagination = Pagination { count: result.len(), next: next.map(ToString::to_string) };
    answer::ok(&Success::page(result, pagination))
}

fn absent() -> Answer {
    answer::error(StatusCode::NOT_FOUND, "not_found", "There is no such checkout session in this space.")
}
