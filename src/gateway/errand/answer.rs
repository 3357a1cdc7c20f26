//! When an answer to what was passed on is Monime's own word, for its caller to read.
//!
//! Refuses what an edge says in Monime's place, and what Monime says to the gateway and not to its caller.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::response::Parts;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use crate::monime::{self, Flaw, envelope};
use crate::upstream::{Failure, Forwarded, Unreadable};

/// The longest answer that is read whole: to a write, one that tells of an error, and one whose caller could not tell
/// whether it is whole.
const MAX_WHOLE: usize = 1024 * 1024;

/// An answer to its last byte.
pub(super) type Whole = (Parts, Bytes);

/// Reads an answer to its end. Has no deadline but its body's own.
pub(super) async fn whole(answer: Forwarded) -> Result<Whole, Failure> {
    let (head, body) = answer.into_parts();
    match Limited::new(body, MAX_WHOLE).collect().await {
        Ok(whole) => Ok((head, whole.to_bytes())),
        Err(error) if error.is::<LengthLimitError>() => Err(Unreadable::TooLarge.into()),
        Err(error) => Err(error.downcast::<Failure>().map_or_else(Failure::Internal, |failure| *failure)),
    }
}

/// Why an answer is not Monime's own, or not for callers, if so.
pub(super) fn flaw(head: &Parts, body: &[u8]) -> Option<Flaw> {
    judged(head, if head.status.is_success() { is_json(head) } else { envelope::is_error(body) })
}

/// The same of a success whose body is on its way.
pub(super) fn flaw_of_head(head: &Parts) -> Option<Flaw> {
    judged(head, is_json(head))
}

/// `credible` says whether its body may be Monime's.
fn judged(head: &Parts, credible: bool) -> Option<Flaw> {
    let status = head.status;
    match status.as_u16() {
        401 => Some(Flaw::Credentials),
        // An answer without content has nothing to be judged by.
        204 => None,
        200..=299 | 400..=599 if credible => None,
        200..=299 => Some(Flaw::Unreadable),
        429 => Some(Flaw::Throttled),
        400..=499 => Some(Flaw::Unreadable),
        503 => Some(Flaw::Unavailable),
        504 => Some(Flaw::TimedOut),
        500..=599 => Some(Flaw::Failed),
        _ => Some(Flaw::Unexpected),
    }
}

/// Whether it says that it is JSON, and nothing else: what an edge says in Monime's place is not.
fn is_json(head: &Parts) -> bool {
    let mut types = head.headers.get_all(CONTENT_TYPE).iter();
    types.next().is_some_and(|content_type| monime::is_json(content_type.as_bytes())) && types.next().is_none()
}
