//! A request as it comes in: what it is called, and who sent it.
//!
//! Refuses to decide what an unproved caller is told: it travels on as such, so that what is told is measured too.

use std::sync::Arc;

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue, Request};
use tokio::time::Instant;

use super::route::Refused;
use crate::caller::{Caller, Callers, certificate_names, is_misplaced};
use crate::lookup::X_REQUEST_ID;

/// A request and what is known of it.
#[derive(Debug)]
pub(super) struct Arrival<B> {
    pub(super) request: Request<B>,
    pub(super) caller: Who,
    pub(super) id: RequestId,
    /// When its head was here.
    pub(super) came_at: Instant,
    /// What it is for, as far as its head says.
    pub(super) operation: &'static str,
}

/// Who sent a request: a proved caller, or anyone where nobody need prove anything, or why it is not let in.
pub(super) type Who = Result<Option<Arc<Caller>>, Refused>;

/// Who is let in.
#[derive(Debug, Clone, Default)]
pub struct Door {
    /// The callers that must prove who they are; without any, everyone is let in.
    pub callers: Option<Arc<Callers>>,
    /// A header that every request must have: one that a web page cannot set across origins.
    pub require_header: Option<HeaderName>,
}

/// What a request is called, in logs and in its answer: at most 64 characters.
#[derive(Debug, Clone, Copy)]
pub(super) struct RequestId {
    text: [u8; RequestId::MAX],
    length: usize,
}

// === impl Door ===

impl Door {
    /// Who sent `request`.
    pub(super) fn who<B>(&self, request: &Request<B>) -> Who {
        let (headers, names) = (request.headers(), certificate_names(request.extensions()));
        if self.require_header.as_ref().is_some_and(|name| !headers.contains_key(name)) {
            return Err(Refused::HeaderRequired);
        }
        let Some(callers) = &self.callers else { return Ok(None) };
        callers.identify(headers, names).map(|caller| Some(Arc::clone(caller))).map_err(Refused::Unproved)
    }
}

// === impl RequestId ===

impl RequestId {
    const MAX: usize = 64;

    /// What the caller calls it if that may stand in a log, else a new one. A key that was put there may not.
    pub(super) fn of(named: Option<&[u8]>) -> Self {
        let mut id = Self { text: [0; Self::MAX], length: 0 };
        let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let is_key = |id: &[u8]| std::str::from_utf8(id).is_ok_and(is_misplaced);
        let usable = |id: &&[u8]| (1..=Self::MAX).contains(&id.len()) && id.iter().all(allowed) && !is_key(id);
        let mut drawn = [0; 16];
        // Two digits a byte: they fit.
        let _ = hex::encode_to_slice(fastrand::u64(..).to_be_bytes(), &mut drawn);
        let text = named.filter(usable).unwrap_or(&drawn);
        for (to, from) in id.text.iter_mut().zip(text) {
            *to = *from;
        }
        id.length = text.len();
        id
    }

    /// Of a request with these headers.
    pub(super) fn of_headers(headers: &HeaderMap) -> Self {
        Self::of(headers.get(X_REQUEST_ID).map(HeaderValue::as_bytes))
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.text.get(..self.length).unwrap_or_default()
    }

    pub(super) fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// As a field's value, another each time: over HTTP/2 it is not to be remembered, where it would drive out what is said
    /// again, and be compared with all that were remembered before. HPACK calls that never indexed (RFC 7541, 7.1.3), and the
    /// library does it to what is marked as sensitive.
    pub(super) fn header(&self) -> HeaderValue {
        let mut value = HeaderValue::from_bytes(self.as_bytes()).unwrap_or(HeaderValue::from_static("-"));
        value.set_sensitive(true);
        value
    }
}
