//! One answer of Monime's, judged once and ready to be told any number of times.
//!
//! Immutable. Holds the head that every caller gets, as HTTP/1.1 sends it, the body byte for byte, and the moments that
//! decide how long it may be told. Refuses to say anything about a caller: what depends on one is written behind the head,
//! or into a copy.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, RETRY_AFTER, VIA};
use http::{HeaderMap, StatusCode, Version};
use tokio::time::Instant;

use super::head;
use super::lifetimes::Lifetimes;
use crate::monime::verdict::judge;
use crate::monime::{self, Flaw, Key, RATE_LIMIT_HEADER, SessionIdRef, Verdict};
use crate::upstream::Reply;

/// RFC 9211.
pub(crate) const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
/// The caller's name for its request, or one of ours.
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const RATE_LIMIT: HeaderName = HeaderName::from_static(RATE_LIMIT_HEADER);

/// What an entry takes besides what is counted: moka's own structures, reference counts, and what the allocator rounds
/// up. Measured as the growth of resident memory over 60,000 entries with bodies of 300, 1,300 and 5,000 bytes: 470, 690
/// and 460 bytes; it is a matter of how allocations happen to lie, and has been a hundred more. The most is counted, so that
/// the bound holds whatever is kept.
const BOOKKEEPING: usize = 800;

/// An answer as it is told to callers.
#[derive(Debug)]
pub struct Answer {
    status: StatusCode,
    verdict: Verdict,
    /// The head without its end, as HTTP/1.1 sends it.
    head: Bytes,
    body: Bytes,
    asked_at: Instant,
    fresh_until: Instant,
    /// Never before `fresh_until`.
    stale_until: Instant,
}

/// What of an unusable answer still concerns callers: how Monime names requests, and how it limits them.
#[derive(Debug, Clone, Default)]
pub struct Diagnostics(HeaderMap);

// === impl Answer ===

impl Answer {
    /// Judges `reply`, which answers a lookup of `id` that was sent at `asked_at`.
    ///
    /// # Errors
    /// Why nobody may see it, and what they may see instead.
    pub fn judge(
        id: SessionIdRef<'_>,
        reply: Reply,
        asked_at: Instant,
        lifetimes: &Lifetimes,
    ) -> Result<Self, (Flaw, Diagnostics)> {
        let Reply { status, protocol, headers, body, came_by } = reply;
        match judge(id, status, &body) {
            Ok(verdict) => {
                let (ttl, stale) = lifetimes.of(verdict);
                let fresh_until = asked_at + ttl;
                let stale_until = fresh_until + stale;
                let head = head(status, protocol, &headers, &body);
                Ok(Self { status, verdict, head, body, asked_at, fresh_until, stale_until })
            }
            Err(flaw) => {
                if flaw == Flaw::Mismatch {
                    came_by.distrust();
                }
                Err((flaw, Diagnostics::of(headers)))
            }
        }
    }

    /// The status for callers, Monime's own.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// What it means.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// The head for callers as HTTP/1.1 sends it: the status line, and every field that does not depend on the caller or
    /// the moment, each with the end of its line. The end of the head is left to whoever adds those that do.
    #[must_use]
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// The same fields, with room for `Age`, `Cache-Status` and `X-Request-Id`. Their values share the answer's memory.
    #[must_use]
    pub fn headers(&self) -> HeaderMap {
        head::read(&self.head)
    }

    /// The body, byte for byte as Monime sent it, decoded.
    #[must_use]
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// Seconds since Monime was asked.
    #[must_use]
    pub fn age(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.asked_at).as_secs()
    }

    /// Whole seconds for which it stays fresh; below zero, how long it has not been.
    #[must_use]
    pub fn ttl(&self, now: Instant) -> i64 {
        let seconds = |span: std::time::Duration| i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
        match self.fresh_until.checked_duration_since(now) {
            Some(left) => seconds(left),
            None => -seconds(now.saturating_duration_since(self.fresh_until)),
        }
    }

    /// Whether it may be told without asking Monime.
    #[must_use]
    pub fn is_fresh(&self, now: Instant) -> bool {
        now < self.fresh_until
    }

    /// Whether it may not be told any more, not even in the place of a failure.
    #[must_use]
    pub fn is_gone(&self, now: Instant) -> bool {
        now >= self.stale_until
    }

    /// What keeping it under `key` costs, in bytes.
    pub(super) fn weight(&self, key: &Key) -> usize {
        size_of::<Self>() + size_of::<Key>() + key.id.as_str().len() + self.head.len() + self.body.len() + BOOKKEEPING
    }
}

// === impl Diagnostics ===

impl Diagnostics {
    /// What of these headers may be passed on.
    pub(crate) fn of(mut headers: HeaderMap) -> Self {
        headers.remove(CONTENT_TYPE);
        Self(headers)
    }

    /// Monime's diagnostic headers; with `Retry-After` and `Monime-Rate-Limit` where Monime sent them.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.0
    }
}

/// The head of an answer to a lookup, as it is kept.
fn head(status: StatusCode, protocol: Version, kept: &HeaderMap, body: &Bytes) -> Bytes {
    let ok = status == StatusCode::OK;
    // The body was read as JSON, and is called nothing else.
    let content_type = kept.get(CONTENT_TYPE).map(HeaderValue::as_bytes).filter(|value| monime::is_json(value));
    let mut length = itoa::Buffer::new();
    let etag = ok.then(|| etag(body));
    let ours = [
        (&CONTENT_TYPE, content_type.or(Some(b"application/json"))),
        (&CONTENT_LENGTH, Some(length.format(body.len()).as_bytes())),
        (&CACHE_CONTROL, Some(if ok { b"private, no-cache" } else { b"no-store" })),
        (&VIA, Some(via(protocol).as_bytes())),
        (&ETAG, etag.as_deref().map(str::as_bytes)),
    ];
    let ours = ours.into_iter().filter_map(|(name, value)| Some((name, value?)));
    // The last two belong to a 429 or a 503, which is never told as an answer: SDKs sleep on `Retry-After` wherever they see
    // it.
    let is_told = |name: &HeaderName| ![CONTENT_TYPE, RETRY_AFTER, RATE_LIMIT].contains(name);
    let theirs = kept.iter().filter(|(name, _)| is_told(name)).map(|(name, value)| (name, value.as_bytes()));
    let mut fields = Vec::with_capacity(head::FIELDS);
    fields.extend(ours.chain(theirs));
    head::write(status, &fields)
}

/// `Via` (RFC 9110, 7.6.3) of an answer that came by this protocol.
pub(crate) fn via(protocol: Version) -> &'static str {
    match protocol {
        Version::HTTP_2 => "2 monigate",
        Version::HTTP_10 => "1.0 monigate",
        _ => "1.1 monigate",
    }
}

/// The first 128 bits of the body's SHA-256: the same bytes have the same tag in every gateway and after a restart.
fn etag(body: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, body);
    let bits = digest.as_ref().first_chunk::<16>().map(hex::encode).unwrap_or_default();
    ["\"", &bits, "\""].concat()
}
