//! The turn of one attempt that is under way, and what its end tells the machines at the gate.
//!
//! Refuses to be forgotten: a turn that is dropped ends too.

use http::{HeaderMap, HeaderName, StatusCode};
use tokio::time::Instant;

use super::{Gate, MAX_PAUSE, PAUSE};
use crate::monime::RATE_LIMIT_HEADER;
use crate::upstream::Failure;
use crate::upstream::admission::breaker::{Permit, Verdict};
use crate::upstream::admission::budget::{Places, Scope, Ticket};
use crate::upstream::asking::Answers;
use crate::upstream::retry_after::retry_after;

/// Which limit was reached, as Monime says it.
const RATE_LIMIT: HeaderName = HeaderName::from_static(RATE_LIMIT_HEADER);

/// The turn of one attempt, which is under way. Dropped without an end, the attempt counts as failed.
pub(in crate::upstream::admission) struct Turn {
    gate: Gate,
    places: Places,
    ticket: Ticket,
    sent_at: Instant,
    /// None for an attempt that tells nothing of Monime's health.
    permit: Option<Permit>,
    ended: bool,
}

// === impl Turn ===

impl Turn {
    /// The turn that was taken at `sent_at`.
    pub(super) fn new(gate: Gate, places: Places, ticket: Ticket, sent_at: Instant, permit: Option<Permit>) -> Self {
        Self { gate, places, ticket, sent_at, permit, ended: false }
    }

    /// The attempt is over: the breaker learns how it came out, the budget whether it was one too many.
    pub(in crate::upstream::admission) fn ended(mut self, result: &Result<impl Answers, Failure>) {
        self.learn(verdict(result), came(result));
        if let Ok(answer) = result
            && answer.status() == StatusCode::TOO_MANY_REQUESTS
        {
            self.throttled(answer.headers());
        }
    }

    fn learn(&mut self, verdict: Verdict, came: bool) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let permit = self.permit.take();
        self.gate.with(|machines, now| {
            machines.budget.answered(self.ticket, came, now);
            let change = permit.and_then(|permit| machines.breaker.end(permit, verdict, now));
            self.gate.tell(change);
            // Where nothing was cut or paused, an answer changes nothing of what was told.
            if machines.unsettled {
                self.gate.measure(machines, now);
            }
        });
    }

    fn throttled(&self, headers: &HeaderMap) {
        let scope = headers.get(RATE_LIMIT).and_then(|value| value.to_str().ok()).and_then(Scope::named);
        let pause = retry_after(headers).unwrap_or(PAUSE).min(MAX_PAUSE);
        let throttled = self.gate.with(|machines, now| {
            let throttled = machines.budget.throttled(&self.places, scope, self.sent_at, pause, now);
            self.gate.measure(machines, now);
            throttled
        });
        let scope = throttled.scope.as_str();
        self.gate.0.metrics.throttled(scope);
        tracing::warn!(scope, pause_s = pause.as_secs_f64(), space = %self.places.space, "Monime answered 429: pausing");
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.learn(Verdict::Failure, true);
    }
}

/// Whether the request may have come to Monime, so that it counts there.
fn came(result: &Result<impl Answers, Failure>) -> bool {
    !result.as_ref().is_err_and(Failure::was_not_sent)
}

/// What an attempt says about Monime's health: that it failed, if it did not answer or answered 5xx.
fn verdict(result: &Result<impl Answers, Failure>) -> Verdict {
    match result {
        Ok(answer) if answer.status().is_server_error() => Verdict::Failure,
        Ok(answer) if answer.status() == StatusCode::TOO_MANY_REQUESTS => Verdict::Neutral,
        Ok(_) | Err(Failure::Unreadable(_)) => Verdict::Success,
        Err(Failure::Unreachable(..) | Failure::TimedOut(_)) => Verdict::Failure,
        Err(Failure::Internal(_) | Failure::NoToken | Failure::Exhausted { .. } | Failure::Open { .. }) => {
            Verdict::Neutral
        }
    }
}
