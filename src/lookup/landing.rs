//! A flight's whole life: ask, judge, and write what Monime's newest word does to the store.
//!
//! Owns the rule that a final answer never goes back: while a `completed` answer is kept, nothing but a later final word
//! of Monime replaces it; and that a kept answer stands in for a failure that leaves the session open. Refuses to store
//! for a flight that is not current any more.

use std::pin::pin;
use std::sync::Arc;

use http::StatusCode;
use tokio::time::Instant;
use tower::{Service, ServiceExt};

use super::answer::Answer;
use super::flight::{Ticket, Waiting};
use super::memory::Inner;
use super::{Error, Shared, Told};
use crate::monime::{Final, Flaw, Key, Verdict};
use crate::telemetry::Outcome;
use crate::upstream::{Failure, Fetch, Reply};

/// What a flight brought, for everyone who waited on it.
pub(super) type Landing = Result<Landed, Arc<Error>>;

/// A landing that can be told to callers.
#[derive(Debug, Clone)]
pub(super) struct Landed {
    answer: Arc<Answer>,
    how: How,
}

#[derive(Debug, Clone, Copy)]
enum How {
    /// It is in the store now.
    Stored,
    /// It is only for those who waited.
    Passed,
    /// It is the kept answer: Monime's new word must not replace it, or there is no new word.
    Kept,
}

/// How a caller came to be on a flight.
#[derive(Debug, Clone, Copy)]
pub(super) enum Seat {
    /// It asked first.
    Leads,
    /// Another had asked already.
    Joined,
}

/// Waits for a landing.
pub(super) async fn wait(waiting: Waiting<Landing>, seat: Seat) -> Result<Told, Arc<Error>> {
    // A channel that closed without a landing means that the flight's task died; everyone is told, nobody hangs.
    let landed = waiting.landing().await.ok_or_else(|| Arc::new(Error::Lost))??;
    let outcome = match (landed.how, seat, landed.answer.verdict()) {
        (How::Kept, _, _) => Outcome::Stale,
        (How::Stored | How::Passed, Seat::Joined, _) => Outcome::Joined,
        (How::Stored | How::Passed, Seat::Leads, Verdict::Pending) => Outcome::Pending,
        (How::Stored | How::Passed, Seat::Leads, _) => Outcome::Miss,
    };
    Ok(Told { answer: landed.answer, outcome, stored: matches!(landed.how, How::Stored) })
}

/// A flight's whole life. The ticket removes the flight on drop, so that a panic here wakes everyone too.
pub(super) async fn fly<F>(shared: Arc<Shared<F>>, ticket: Ticket<Landing>)
where
    F: Service<Fetch, Response = Reply, Error = Failure> + Clone,
{
    let key = ticket.key().clone();
    let memory = shared.memory.inner();
    let early = memory.pending.is_early(&key, Instant::now());
    let lookup = Fetch::on_behalf_of(key.clone(), ticket.interest().clone()).early(early);
    let Some((reply, asked_at)) = ask(&shared.fetch, lookup, &ticket).await else { return };
    let answered = reply.map_err(Error::Failed).and_then(|reply| judged(&shared, &key, reply, asked_at));
    match &answered {
        Ok(answer) if answer.verdict() == Verdict::Pending => memory.pending.saw(&key, Instant::now()),
        Ok(_) | Err(_) => {}
    }
    match &answered {
        // Monime was not asked.
        Err(Error::Failed(Failure::Exhausted { .. } | Failure::Open { .. })) => {}
        Ok(answer) => memory.remember(answer.verdict().as_str()),
        Err(error) => memory.remember(error.as_str()),
    }
    ticket.land(|current| match answered {
        Ok(answer) if current => Ok(settle(memory, key, answer)),
        // A purge grounded this flight: it answers those who waited, but what it knows is older than the purge.
        Ok(answer) => Ok(Landed { answer: Arc::new(answer), how: How::Passed }),
        Err(error) => stand_in(memory, &key, &error).ok_or_else(|| Arc::new(error)),
    });
}

/// Asks Monime, and says when; none if everyone left before it was its turn, which is then given back.
async fn ask<F>(fetch: &F, lookup: Fetch, ticket: &Ticket<Landing>) -> Option<(Result<Reply, Failure>, Instant)>
where
    F: Service<Fetch, Response = Reply, Error = Failure> + Clone,
{
    let stage = lookup.waiting.stage.clone();
    let mut reply = pin!(fetch.clone().oneshot(lookup));
    loop {
        tokio::select! {
            biased;
            () = async { ticket.deserted().await; stage.queued().await } => if ticket.give_up() { return None },
            reply = &mut reply => return Some((reply, stage.sent_at())),
        }
    }
}

/// What may be passed on of a reply, or why nothing may.
fn judged<F>(shared: &Shared<F>, key: &Key, reply: Reply, asked_at: Instant) -> Result<Answer, Error> {
    let status = reply.status;
    let judged = Answer::judge(key.id.as_ref(), reply, asked_at, &shared.lifetimes);
    let (space, id, metrics) = (&key.space, &key.id, &shared.memory.inner().metrics);
    match &judged {
        Ok(answer) => metrics.upstream_answer(answer.verdict().as_str()),
        Err((flaw, _)) => metrics.upstream_answer(flaw.as_str()),
    }
    // Once a flight, whoever waits on it: these want a person, not a retry.
    match &judged {
        Ok(answer) if answer.verdict() == Verdict::Word && status == StatusCode::FORBIDDEN => {
            tracing::warn!(%space, "Monime forbids the lookup: the token's scope, or Monime's test mode");
        }
        Err((Flaw::Mismatch, _)) => tracing::error!(%space, %id, "Monime answered about another session"),
        Err((Flaw::Credentials, _)) => tracing::error!(%space, "Monime does not accept the token"),
        Ok(_) | Err(_) => {}
    }
    judged.map_err(|(flaw, diagnostics)| Error::Unusable(flaw, diagnostics))
}

impl Error {
    /// Whether it leaves open what became of the session, so that an older answer is better than none.
    fn permits_stale(&self) -> bool {
        match self {
            Self::Unusable(flaw, _) => flaw.permits_stale(),
            Self::Failed(failure) => failure.permits_stale(),
            Self::Overloaded | Self::Lost => false,
        }
    }

    fn as_str(&self) -> &'static str {
        match self {
            Self::Unusable(flaw, _) => flaw.as_str(),
            Self::Failed(failure) => failure.as_str(),
            Self::Overloaded => "overloaded",
            Self::Lost => "lost",
        }
    }
}

/// The kept answer, fresh or stale, in the place of a failure that leaves open what became of the session. It is told as
/// it is and stored no longer: only Monime can renew it.
fn stand_in(memory: &Inner, key: &Key, error: &Error) -> Option<Landed> {
    let kept = memory.store.kept(key.as_ref(), Instant::now()).filter(|_| error.permits_stale())?;
    tracing::warn!(failure = error.as_str(), space = %key.space, "Monime failed; a kept answer stands in");
    Some(Landed { answer: kept, how: How::Kept })
}

/// What a landing does to the store; called inside the flights' lock, by the current flight only.
fn settle(memory: &Inner, key: Key, answer: Answer) -> Landed {
    let now = Instant::now();
    let completed = |kept: &Arc<Answer>| kept.verdict() == Verdict::Final(Final::Completed);
    match (answer.verdict(), memory.store.kept(key.as_ref(), now).filter(completed)) {
        // It is about the request, not about the session.
        (Verdict::Word, _) => return Landed { answer: Arc::new(answer), how: How::Passed },
        (verdict @ (Verdict::Pending | Verdict::Unknown | Verdict::Absent), Some(kept)) => {
            memory.metrics.status_regressions.inc();
            let verdict = verdict.as_str();
            tracing::warn!(verdict, "Monime's answer went back behind a completed one, which is kept");
            return Landed { answer: kept, how: How::Kept };
        }
        (Verdict::Final(Final::Cancelled | Final::Expired), Some(_)) => {
            tracing::warn!("Monime revised a completed session, and is believed: both words are final");
        }
        (Verdict::Final(_) | Verdict::Pending | Verdict::Unknown | Verdict::Absent, _) => {}
    }
    // Kept or not, Monime's newest word ends what was kept: telling the old one again would show callers both by turns.
    let answer = Arc::new(answer);
    let stored = memory.store.keep(key, &answer, now);
    Landed { answer, how: if stored { How::Stored } else { How::Passed } }
}
