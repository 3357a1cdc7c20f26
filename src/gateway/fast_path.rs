//! Hits that are answered without the stack, as `server`'s fast path: from a request's bytes over HTTP/1.1, from its head
//! over HTTP/2.
//!
//! Owns what such a request must look like: one key that is known, or an open door, and a lookup of a kept answer on plain
//! terms. Decides nothing by itself: who it is, what it may see and what it is told is found by the functions that the
//! stack uses, the rate last, since only that counts. Whatever they refuse, whatever is not in memory and whatever changes
//! an answer (conditions, directives, a patience) is left to the stack, to be refused, brought or told there. So a request
//! may be looked at twice, but it is counted once.

use std::str;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CACHE_CONTROL, HeaderName, IF_NONE_MATCH, PRAGMA};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use tokio::time::Instant;

use super::Terms;
use super::answering;
use super::arrival::RequestId;
use super::measure::Count;
use super::route::{Rights, SPACE, TIMEOUT, VERSION, version};
use crate::caller::Caller;
use crate::lookup::{Answer, Memory, X_REQUEST_ID};
use crate::monime::KeyRef;
use crate::monime::operation::{GET_CHECKOUT_SESSION, checkout_session_id};
use crate::server::{HeadLimits, PlainHead};
use crate::telemetry::{Metrics, Outcome};

/// The longest body that is copied behind its head. A longer one is handed out in pieces, as its caller takes them.
const LONGEST: usize = 64 * 1024;

/// Fields that change what is answered.
static CHANGE_ANSWERS: [HeaderName; 4] = [IF_NONE_MATCH, CACHE_CONTROL, PRAGMA, TIMEOUT];

/// Answers from memory.
#[derive(Debug)]
pub(super) struct Hits {
    memory: Memory,
    terms: Arc<Terms>,
    metrics: Arc<Metrics>,
}

/// A kept answer, and for whom it is.
struct Hit<'a> {
    answer: Arc<Answer>,
    request_id: RequestId,
    caller: Option<&'a Arc<Caller>>,
}

/// The fields that a hit is read by, each there once at most.
#[derive(Debug, Default)]
struct Fields<'a> {
    authorization: Option<&'a [u8]>,
    space: Option<&'a [u8]>,
    version: Option<&'a [u8]>,
    request_id: Option<&'a [u8]>,
    has_required: bool,
    /// How many there are, and the bytes of all names and values.
    count: usize,
    size: usize,
}

// === impl Hits ===

impl Hits {
    pub(super) fn new(memory: Memory, terms: Arc<Terms>, metrics: Arc<Metrics>) -> Self {
        Self { memory, terms, metrics }
    }

    /// See [`crate::server::FastPath::answer`].
    pub(super) fn answer(&self, head: PlainHead<'_>, came_at: Instant, out: &mut Vec<u8>) -> Option<Bytes> {
        let fields = Fields::of(head.fields(), self.terms.door.require_header.as_ref())?;
        let Hit { answer, request_id, caller } = self.find(head.target(), &fields, came_at, LONGEST)?;
        answering::write_hit(&answer, request_id.as_bytes(), came_at, out);
        self.count(caller, &request_id, answer.status(), came_at);
        Some(answer.body().clone())
    }

    /// See [`crate::server::FastPath::respond`].
    pub(super) fn respond(&self, head: &Parts, came_at: Instant) -> Option<Response<Bytes>> {
        let target = head.uri.path_and_query().filter(|_| head.method == Method::GET)?.as_str();
        let fields = head.headers.iter().map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()));
        let fields = Fields::of(fields, self.terms.door.require_header.as_ref())?;
        let Hit { answer, request_id, caller } = self.find(target, &fields, came_at, usize::MAX)?;
        let response = answering::whole_hit(&answer, &request_id, came_at);
        self.count(caller, &request_id, answer.status(), came_at);
        Some(response)
    }

    /// The kept answer, if whoever asks may be told it and it is not longer than this.
    fn find(&self, target: &str, fields: &Fields<'_>, came_at: Instant, longest: usize) -> Option<Hit<'_>> {
        let terms = &*self.terms;
        // The connection may have begun under other limits.
        let HeadLimits { size, fields: count, target: length } = terms.head;
        if target.len() > length || fields.count > count || fields.size > size {
            return None;
        }
        let id = checkout_session_id(target)?;
        let caller = self.caller(fields)?;
        let rights = Rights::of(caller, terms);
        if !rights.cover(GET_CHECKOUT_SESSION) {
            return None;
        }
        let named = |field: Option<_>| field.map(str::from_utf8).transpose().ok();
        let (space, version) = (rights.space(named(fields.space)?), version(named(fields.version)?, terms));
        let key = KeyRef { space: space.ok()?, id, version: version.ok()? };
        let answer = self.memory.recall(key, came_at).filter(|answer| answer.body().len() <= longest)?;
        // Last, for this is what counts: from here on it is answered.
        caller.map_or(Ok(()), |caller| caller.admit(came_at)).ok()?;
        Some(Hit { answer, request_id: RequestId::of(fields.request_id), caller })
    }

    /// Who sent it; nobody in particular where nobody need say so. None if it is for others to find out.
    fn caller(&self, fields: &Fields<'_>) -> Option<Option<&Arc<Caller>>> {
        let door = &self.terms.door;
        if door.require_header.is_some() && !fields.has_required {
            return None;
        }
        match &door.callers {
            None => Some(None),
            Some(callers) => callers.by_key(fields.authorization?).map(Some),
        }
    }

    fn count(&self, caller: Option<&Arc<Caller>>, request_id: &RequestId, status: StatusCode, came_at: Instant) {
        let count = Count {
            operation: GET_CHECKOUT_SESSION,
            status,
            outcome: Outcome::Hit,
            failure: None,
            named: self.terms.door.callers.is_some(),
            caller: caller.map(|caller| caller.name().as_ref()),
            request_id,
            took: came_at.elapsed(),
        };
        count.add_to(&self.metrics);
    }
}

// === impl Fields ===

impl<'a> Fields<'a> {
    /// Gathers them in one pass. None if one is there twice, or another that changes what is answered.
    fn of(head: impl Iterator<Item = (&'a [u8], &'a [u8])>, required: Option<&HeaderName>) -> Option<Self> {
        let mut fields = Self::default();
        for (name, value) in head {
            fields.count += 1;
            fields.size += name.len() + value.len();
            let is = |known: &HeaderName| name.eq_ignore_ascii_case(known.as_str().as_bytes());
            fields.has_required |= required.is_some_and(is);
            let place = if is(&AUTHORIZATION) {
                &mut fields.authorization
            } else if is(&SPACE) {
                &mut fields.space
            } else if is(&VERSION) {
                &mut fields.version
            } else if is(&X_REQUEST_ID) {
                &mut fields.request_id
            } else if CHANGE_ANSWERS.iter().any(is) {
                return None;
            } else {
                continue;
            };
            if place.replace(value).is_some() {
                return None;
            }
        }
        Some(fields)
    }
}
