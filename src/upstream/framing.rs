//! Where an answer ends, and what of it belongs to its connection alone.
//!
//! Owns the doubts that the HTTP library leaves: an answer whose length is said twice, in a coding of the transfer that
//! nobody undoes, or where there is no body, and one that was ended before its end. Refuses to guess at any of them.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Buf;
use http::header::{CONNECTION, CONTENT_LENGTH, HeaderName, HeaderValue, TRANSFER_ENCODING};
use http::{HeaderMap, Response, StatusCode, Version};
use http_body::{Body, Frame, SizeHint};
use tower::BoxError;

use super::failure::Unreadable;

/// A body that fails where it ends before its end.
#[derive(Debug)]
pub(super) struct Complete<B> {
    inner: B,
    /// Whether its end is a sign of its own, as in HTTP/2.
    marked: bool,
    /// How many bytes of what was announced have not come.
    left: Option<u64>,
}

/// The same answer, if it can be said where it ends.
///
/// # Errors
/// [`Unreadable::Framing`]: what comes next on its connection cannot be told from it, so that one is to be given up.
pub(super) fn framed<B: Body>(response: Response<B>) -> Result<Response<Complete<B>>, Unreadable> {
    let headers = response.headers();
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let chunked = match (codings.next(), codings.next()) {
        (None, _) => false,
        // Within any other, a body would pass that nobody can search.
        (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => true,
        (Some(_), _) => return Err(Unreadable::Framing),
    };
    let measured = headers.get_all(CONTENT_LENGTH).iter().any(|length| length.as_bytes() != b"0");
    // RFC 9112, 6.3: an attempt at smuggling, or at splitting.
    let twice = chunked && headers.contains_key(CONTENT_LENGTH);
    // RFC 9110, 8.6 and RFC 9112, 6.1; whoever sends a body all the same sends it as the next answer.
    let void = response.status() == StatusCode::NO_CONTENT && (chunked || measured);
    if twice || void {
        return Err(Unreadable::Framing);
    }
    let marked = response.version() == Version::HTTP_2;
    Ok(response.map(|inner| Complete { marked, left: inner.size_hint().exact(), inner }))
}

/// The fields that concern the connection alone, by what `Connection` names (RFC 9110, 7.6.1).
pub(super) fn hop_by_hop(headers: &HeaderMap) -> Vec<HeaderName> {
    let named = headers.get_all(CONNECTION).iter().flat_map(|value| HeaderValue::as_bytes(value).split(|b| *b == b','));
    named.filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok()).collect()
}

impl<B> Body for Complete<B>
where
    B: Body<Error: Into<BoxError>> + Unpin,
{
    type Data = B::Data;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, BoxError>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        let Some(frame) = frame else {
            // A stream that was reset without an error ends like one that is complete.
            let broken = self.marked && !self.inner.is_end_stream() && self.left != Some(0);
            return Poll::Ready(broken.then(|| Err(Unreadable::BrokenOff.into())));
        };
        if let (Some(left), Ok(Some(data))) = (&mut self.left, frame.as_ref().map(Frame::data_ref)) {
            *left = left.saturating_sub(data.remaining() as u64);
        }
        Poll::Ready(Some(frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
