//! A write: sent once, to its end, whoever leaves.
//!
//! Its body is here to the last byte before a turn is waited for: what is sent can be finished without its caller. While it
//! waits for its turn it is given up if its caller leaves; from its first byte on it is a task of its own, which ends in one
//! line of the audit and, where it deleted a session, or may have, in a purge. Refuses to send anything twice: who does not
//! know how a write came out is told so, and repeats it with the same `Idempotency-Key`.

use std::pin::pin;
use std::sync::Arc;

use http::StatusCode;
use http_body::Body as HttpBody;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;
use tower::{BoxError, ServiceExt};

use super::answer::{self, Whole};
use super::{Errands, Order, carried, failed, passed, unusable};
use crate::gateway::admit::Place;
use crate::gateway::body::Body;
use crate::gateway::rescue::Kind;
use crate::gateway::served::Served;
use crate::lookup::{self, Purge};
use crate::monime::operation::{self, DELETE_CHECKOUT_SESSION, Operation};
use crate::monime::{Flaw, REQUEST_ID_HEADER, SpaceId};
use crate::telemetry::audit::{self, Asked, Fate, Write};
use crate::upstream::{Failure, Forward};

/// The writes under way. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct Writes {
    count: watch::Sender<usize>,
    cut_off: watch::Sender<bool>,
}

/// One write under way, until it is dropped.
struct UnderWay(Writes);

/// Where its caller waits.
type Tell = oneshot::Sender<Result<Served, Kind>>;
/// What Monime said, to the last byte; or why there is nothing.
type Answered = Result<Whole, Failure>;

// === impl Writes ===

impl Writes {
    /// Resolves when no write is under way, at once if none is. Cancel-safe.
    pub async fn ended(&self) {
        // The sender is right here, so the channel cannot be closed.
        let _ = self.count.subscribe().wait_for(|count| *count == 0).await;
    }

    /// Waits no longer for those whose callers have left, now and later. Resolves when each has its line of the audit, and
    /// those are gone whose callers are here: their connections must end beside it. Cancel-safe.
    pub async fn cut_off(&self) {
        self.cut_off.send_replace(true);
        self.ended().await;
    }

    /// Resolves when they are.
    async fn are_cut_off(&self) {
        // As above.
        let _ = self.cut_off.subscribe().wait_for(|cut_off| *cut_off).await;
    }

    fn begin(&self) -> UnderWay {
        self.count.send_modify(|count| *count += 1);
        UnderWay(self.clone())
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.count.send_modify(|count| *count = count.saturating_sub(1));
    }
}

// === impl Errands ===

impl Errands {
    /// Sends a write, and waits for its end as long as its caller does.
    pub(super) async fn write<B>(self, order: Order, body: B) -> Result<Served, Kind>
    where
        B: HttpBody<Data: Send, Error: Into<BoxError>> + Send,
    {
        let Order { mut forward, line, caller, patience, id, .. } = order;
        let asked = Asked {
            caller: Some(caller.name().as_ref()),
            operation: forward.operation.id,
            space: Some(forward.space.as_str()),
            request_id: id.as_str(),
        };
        // Above the audit, so that whoever waits for the end of it waits for its line.
        let under_way = self.writes.begin();
        let audit = Write::new(asked, Arc::clone(caller.name()), Arc::clone(&self.metrics));
        let place = self.places.take(&line).ok_or(Kind::Overloaded)?;
        if forward.operation.has_body() {
            match carried::whole(body, self.body).await {
                Ok(body) => forward.body = body,
                Err(refused) => {
                    audit.refused();
                    return Err(Kind::Refused(refused));
                }
            }
        }
        let (tell, told) = oneshot::channel();
        tokio::spawn(self.carry_out(forward, (place, under_way), tell, audit));
        let told = match patience {
            None => told.await.ok(),
            // Whether it was sent by now only the task knows; the caller is told what is true in either case.
            Some(patience) => timeout(patience, told).await.ok().and_then(Result::ok),
        };
        told.unwrap_or(Err(Kind::OutcomeUnknown(None)))
    }

    /// A write's whole life, from waiting for its turn. Should it panic, its line of the audit is written first, then its
    /// caller is told, and then what it held is given back: arguments are dropped from the last to the first.
    async fn carry_out(self, forward: Forward, held: (Place, UnderWay), mut tell: Tell, mut audit: Write) {
        let (operation, space) = (forward.operation, forward.space.clone());
        let (target, stage) = (forward.target.clone(), forward.waiting.stage.clone());
        // Should this task ever end before it knows better.
        audit.may_be_sent();
        let answered = {
            let sent = self.forwards.clone().oneshot(forward);
            let mut answer = pin!(async { answer::whole(sent.await?).await });
            tokio::select! {
                biased;
                // Nobody waits for it, and nothing of it was sent.
                () = async { tell.closed().await; stage.queued().await } => return audit.ended(Fate::NotSent, None),
                answer = &mut answer => answer,
                () = self.writes.are_cut_off() => {
                    return audit.ended(if stage.is_queued() { Fate::NotSent } else { Fate::Unknown }, None);
                }
            }
        };
        let (fate, status) = (fate(&answered), answered.as_ref().ok().map(|(head, _)| head.status));
        if operation.id == DELETE_CHECKOUT_SESSION && may_be_gone(fate, status) {
            self.purge(space, target.path());
        }
        let said = answered.as_ref().ok().map(|(head, _)| audit::Answer {
            status: head.status,
            request_id: head.headers.get(REQUEST_ID_HEADER).and_then(|id| id.to_str().ok()).map(Box::from),
        });
        audit.ended(fate, said);
        // Its caller may have left; then the audit is all that is told.
        let _ = tell.send(told(operation, answered));
        drop(held);
    }

    fn purge(&self, space: SpaceId, path: &str) {
        if let Some(id) = operation::checkout_session_id(path) {
            self.memory.purge(&Purge::Session(space, id.to_owned()));
        }
    }
}

fn fate(answered: &Answered) -> Fate {
    match answered {
        Err(failure) if failure.was_not_sent() => Fate::NotSent,
        Err(_) => Fate::Unknown,
        Ok((head, body)) => match answer::flaw(head, body) {
            None if head.status.is_success() => Fate::Done,
            None if head.status.is_server_error() => Fate::Unknown,
            // Refused before anything was done.
            None | Some(Flaw::Credentials | Flaw::Throttled) => Fate::Rejected,
            Some(_) => Fate::Unknown,
        },
    }
}

/// Whether a session that was to be deleted may be there no more.
fn may_be_gone(fate: Fate, status: Option<StatusCode>) -> bool {
    match fate {
        Fate::Done | Fate::Unknown => true,
        Fate::Rejected => status == Some(StatusCode::NOT_FOUND),
        Fate::NotSent => false,
    }
}

/// What the caller is told.
fn told(operation: &'static Operation, answered: Answered) -> Result<Served, Kind> {
    let (head, body) = match answered {
        Ok(answer) => answer,
        Err(failure) if failure.was_not_sent() => return Err(failed(failure)),
        Err(failure) => return Err(Kind::OutcomeUnknown(Some(Arc::new(lookup::Error::Failed(failure))))),
    };
    match answer::flaw(&head, &body) {
        None => Ok(passed(operation, head, Body::whole(body))),
        Some(flaw @ (Flaw::Credentials | Flaw::Throttled)) => Err(Kind::Unanswered(unusable(flaw, head))),
        Some(flaw) => Err(Kind::OutcomeUnknown(Some(unusable(flaw, head)))),
    }
}
