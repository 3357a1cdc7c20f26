//! The audit: one line for each request that was refused and for each write, at a target of its own.
//!
//! Owns who, what, for which space, under which request id, and what became of it. Refuses bodies, keys and ids of what
//! was written. A write that is dropped, whatever ends it, still has its line.

use std::sync::Arc;

use http::StatusCode;

use super::metrics::Metrics;

/// The target of every line: `monigate::audit=info` lets them through whatever else is logged.
const TARGET: &str = "monigate::audit";

/// A request, as the audit names it.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The caller's configured name; none where callers have no names, or it could not prove its own.
    pub caller: Option<&'a str>,
    /// Monime's `operationId`, or `none`.
    pub operation: &'static str,
    /// The space, where it is known.
    pub space: Option<&'a str>,
    /// The request's id.
    pub request_id: &'a str,
}

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Monime carried it out, and said so.
    Done,
    /// Monime refused it.
    Rejected,
    /// It was sent, and there is no word of Monime's, or one of a failure: it may have been carried out.
    Unknown,
    /// Nothing of it was sent.
    NotSent,
}

/// One write under way: tells its fate once, at the latest when it is dropped.
#[derive(Debug)]
pub struct Write {
    caller: Arc<str>,
    operation: &'static str,
    space: Box<str>,
    request_id: Box<str>,
    metrics: Arc<Metrics>,
    /// What is told if nothing better is known when it is dropped; nothing, where another line tells it.
    fate: Option<Fate>,
    answer: Option<Answer>,
}

/// What Monime said to a write, as far as the audit names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its status; its caller may have been told another one.
    pub status: StatusCode,
    /// Monime's own id of the request, by which Monime finds what it did.
    pub request_id: Option<Box<str>>,
}

/// Writes the line of a request that was refused with this reason.
pub fn refused(asked: Asked<'_>, status: StatusCode, reason: &str) {
    let (outcome, status) = ("refused", status.as_u16());
    let Asked { caller, operation, space, request_id } = asked;
    tracing::info!(target: TARGET, caller, operation, space, outcome, status, reason, request_id, "audit");
}

// === impl Fate ===

impl Fate {
    /// The word for the audit and for the `outcome` label of `monigate_writes_total`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Rejected => "rejected",
            Self::Unknown => "unknown",
            Self::NotSent => "not_sent",
        }
    }
}

// === impl Write ===

impl Write {
    /// A write of this caller's of which nothing has been sent yet.
    #[must_use]
    pub fn new(asked: Asked<'_>, caller: Arc<str>, metrics: Arc<Metrics>) -> Self {
        let Asked { operation, space, request_id, .. } = asked;
        let space = space.unwrap_or_default().into();
        Self {
            caller,
            operation,
            space,
            request_id: request_id.into(),
            metrics,
            fate: Some(Fate::NotSent),
            answer: None,
        }
    }

    /// From here on some of it may have been sent.
    pub fn may_be_sent(&mut self) {
        self.fate = Some(Fate::Unknown);
    }

    /// Tells what became of it, with what Monime said if it said anything.
    pub fn ended(mut self, fate: Fate, answer: Option<Answer>) {
        (self.fate, self.answer) = (Some(fate), answer);
    }

    /// Leaves it to the line of its refusal.
    pub fn refused(mut self) {
        self.fate = None;
    }
}

impl Drop for Write {
    fn drop(&mut self) {
        let Some(outcome) = self.fate.map(Fate::as_str) else { return };
        let Self { operation, caller, space, request_id, .. } = self;
        let status = self.answer.as_ref().map(|answer| answer.status.as_u16());
        let monime_request_id = self.answer.as_ref().and_then(|answer| answer.request_id.as_deref());
        tracing::info!(
            target: TARGET,
            caller = &**caller,
            operation,
            space = &**space,
            outcome,
            status,
            request_id = &**request_id,
            monime_request_id,
            "audit"
        );
        self.metrics.write(operation, outcome);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_is_told_once_by_what_is_known_when_it_ends() {
        let metrics = Arc::new(Metrics::new().unwrap());
        let asked = Asked { caller: Some("shop"), operation: "CreatePayout", space: Some("spc-1"), request_id: "r" };
        let write = || Write::new(asked, "shop".into(), Arc::clone(&metrics));
        let told = || {
            let families = metrics.registry().gather();
            let writes = families.iter().filter(|family| family.name() == "monigate_writes_total");
            let told = |one: &prometheus::proto::Metric| {
                let outcome = one.get_label().iter().find(|label| label.name() == "outcome").unwrap().value();
                format!("{outcome} {}", one.get_counter().get_value())
            };
            writes.flat_map(|family| family.get_metric()).map(told).collect::<Vec<_>>()
        };
        write().refused();
        assert!(told().is_empty(), "its refusal has a line of its own");
        drop(write());
        assert_eq!(told(), ["not_sent 1"]);
        let mut sent = write();
        sent.may_be_sent();
        drop(sent);
        for fate in [Fate::Done, Fate::Rejected, Fate::Unknown, Fate::NotSent] {
            let mut sent = write();
            sent.may_be_sent();
            sent.ended(fate, None);
        }
        assert_eq!(told(), ["done 1", "not_sent 2", "rejected 1", "unknown 2"]);
    }
}
