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
    /// What is told if nothing better is known when it is dropped.
    fate: Fate,
    status: Option<StatusCode>,
}

/// Writes the line of a request that was refused with this reason.
pub fn refused(asked: Asked<'_>, status: StatusCode, reason: &str) {
    line(asked, "refused", Some(status), Some(reason));
}

fn line(asked: Asked<'_>, outcome: &'static str, status: Option<StatusCode>, reason: Option<&str>) {
    let Asked { caller, operation, space, request_id } = asked;
    let status = status.as_ref().map(StatusCode::as_u16);
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
        Self { caller, operation, space, request_id: request_id.into(), metrics, fate: Fate::NotSent, status: None }
    }

    /// From here on some of it may have been sent.
    pub fn may_be_sent(&mut self) {
        self.fate = Fate::Unknown;
    }

    /// Tells what became of it, with Monime's status if there was one.
    pub fn ended(mut self, fate: Fate, status: Option<StatusCode>) {
        (self.fate, self.status) = (fate, status);
    }
}

impl Drop for Write {
    fn drop(&mut self) {
        let outcome = self.fate.as_str();
        let Self { operation, caller, space, request_id, .. } = self;
        let asked = Asked { caller: Some(caller), operation, space: Some(space), request_id };
        line(asked, outcome, self.status, None);
        self.metrics.write(operation, outcome);
    }
}
