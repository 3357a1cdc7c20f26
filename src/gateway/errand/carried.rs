//! What of a caller's request travels to Monime besides its path: two headers, and a body that was read whole.
//!
//! Refuses what would be lost or misread on the way: a key that is there twice, a body in a coding, a body without end.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, HeaderName};
use http_body::Body;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::time::timeout;
use tower::BoxError;

use crate::gateway::route::Refused;
use crate::monime::operation::{IDEMPOTENCY_KEY_HEADER, MAX_IDEMPOTENCY_KEY, Operation};

/// The longest `Content-Type` that travels; any of JSON's is far shorter.
const MAX_CONTENT_TYPE: usize = 128;
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static(IDEMPOTENCY_KEY_HEADER);

/// What the body of a write may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyLimits {
    /// Bytes, at most.
    pub size: usize,
    /// How long it may take in all, from its head on.
    pub time: Duration,
}

impl Default for BodyLimits {
    /// Monime's largest, a session with all its line items, is far below it.
    fn default() -> Self {
        Self { size: 256 * 1024, time: Duration::from_secs(10) }
    }
}

/// The headers that travel.
#[derive(Debug, Default)]
pub(in crate::gateway) struct Carried {
    pub(super) content_type: Option<HeaderValue>,
    pub(super) idempotency_key: Option<HeaderValue>,
}

/// What travels of these headers with this operation.
pub(in crate::gateway) fn carried(operation: &Operation, headers: &HeaderMap) -> Result<Carried, Refused> {
    let mut carried = Carried::default();
    if operation.has_body() {
        let coded = |coding: &HeaderValue| !coding.as_bytes().eq_ignore_ascii_case(b"identity");
        if headers.get_all(CONTENT_ENCODING).iter().any(coded) {
            return Err(Refused::BodyCoded);
        }
        carried.content_type = only(headers, &CONTENT_TYPE).map_err(|_| Refused::ContentTypeInvalid)?;
        let plain = |byte: &u8| byte.is_ascii_graphic() || *byte == b' ';
        let is_plain = |value: &HeaderValue| value.len() <= MAX_CONTENT_TYPE && value.as_bytes().iter().all(plain);
        if !carried.content_type.as_ref().is_none_or(is_plain) {
            return Err(Refused::ContentTypeInvalid);
        }
    }
    // Where an operation has no such key, one is sent by habit and means nothing.
    if operation.is_keyed() {
        let key = only(headers, &IDEMPOTENCY_KEY).map_err(|_| Refused::IdempotencyKeyInvalid)?;
        let key = key.ok_or(Refused::IdempotencyKeyRequired)?;
        let plain = |byte: &u8| byte.is_ascii_graphic() && *byte != b',';
        if !(1..=MAX_IDEMPOTENCY_KEY).contains(&key.len()) || !key.as_bytes().iter().all(plain) {
            return Err(Refused::IdempotencyKeyInvalid);
        }
        carried.idempotency_key = Some(key);
    }
    Ok(carried)
}

/// More than one value.
struct Repeated;

/// The value of a header that stands there at most once, copied out of the read buffer.
fn only(headers: &HeaderMap, name: &HeaderName) -> Result<Option<HeaderValue>, Repeated> {
    let mut values = headers.get_all(name).iter();
    let value = values.next();
    if values.next().is_some() {
        return Err(Repeated);
    }
    // A clone would keep all of the buffer for as long as a write takes.
    Ok(value.and_then(|value| HeaderValue::from_bytes(value.as_bytes()).ok()))
}

/// The whole of a body, within the bound and in time.
pub(super) async fn whole<B>(body: B, limits: BodyLimits) -> Result<Bytes, Refused>
where
    B: Body<Error: Into<BoxError>>,
{
    if body.size_hint().lower() > limits.size as u64 {
        return Err(Refused::BodyTooLarge);
    }
    match timeout(limits.time, Limited::new(body, limits.size).collect()).await {
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Refused::BodyTooLarge),
        Ok(Err(_)) => Err(Refused::BodyBroken),
        Err(_) => Err(Refused::BodyTimedOut),
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::io;

    use futures_util::{Stream, StreamExt, stream};
    use http_body::Frame;
    use http_body_util::{Full, StreamBody};
    use tokio::time::{Instant, sleep};

    use super::*;

    /// A body of these pieces, each a second after the one before.
    fn slow(pieces: usize) -> StreamBody<impl Stream<Item = Result<Frame<Bytes>, Infallible>>> {
        let piece = |_| async {
            sleep(Duration::from_secs(1)).await;
            Ok(Frame::data(Bytes::from_static(b"x")))
        };
        StreamBody::new(stream::iter(0..pieces).then(piece))
    }

    #[test]
    fn a_content_type_that_could_be_read_in_two_ways_or_fills_a_head_does_not_travel() {
        let create = crate::monime::operation::named("CreatePayout").unwrap();
        let carries = |content_type: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(IDEMPOTENCY_KEY, HeaderValue::from_static("k"));
            headers.insert(CONTENT_TYPE, HeaderValue::from_bytes(content_type).unwrap());
            carried(create, &headers).map(|carried| carried.content_type.unwrap().len())
        };
        assert_eq!(carries(b"application/json; charset=utf-8"), Ok(31));
        assert_eq!(carries(&[b'x'; MAX_CONTENT_TYPE]), Ok(MAX_CONTENT_TYPE));
        for odd in [&b"application/json\t"[..], b"a\xff", &[b'x'; MAX_CONTENT_TYPE + 1]] {
            assert_eq!(carries(odd), Err(Refused::ContentTypeInvalid));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_has_its_seconds_in_all_however_often_a_byte_of_it_comes() {
        let limits = BodyLimits { time: Duration::from_secs(7), ..BodyLimits::default() };
        for (limits, seconds) in [(BodyLimits::default(), 10), (limits, 7)] {
            assert_eq!(whole(Box::pin(slow(seconds - 1)), limits).await.unwrap().len(), seconds - 1);
            let begun = Instant::now();
            assert_eq!(whole(Box::pin(slow(99)), limits).await, Err(Refused::BodyTimedOut));
            assert_eq!(begun.elapsed(), Duration::from_secs(seconds as u64));
        }
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_or_is_too_long_is_none() {
        let broken = |_| Err(io::Error::other("gone"));
        let pieces = stream::iter([Ok(Frame::data(Bytes::from_static(b"{")))]).chain(stream::iter([()]).map(broken));
        assert_eq!(whole(StreamBody::new(pieces), BodyLimits::default()).await, Err(Refused::BodyBroken));
        let full = |length| Full::new(Bytes::from(vec![b'x'; length]));
        let small = BodyLimits { size: 1000, ..BodyLimits::default() };
        for (limits, size) in [(BodyLimits::default(), 256 * 1024), (small, 1000)] {
            assert_eq!(whole(full(size), limits).await.unwrap().len(), size);
            assert_eq!(whole(full(size + 1), limits).await, Err(Refused::BodyTooLarge));
            // Not known to be too long before it is read.
            let piece = Bytes::from(vec![b'x'; 300]);
            let longer = stream::repeat(piece).map(|data| Ok::<_, Infallible>(Frame::data(data))).take(size / 300 + 1);
            assert_eq!(whole(StreamBody::new(longer), limits).await, Err(Refused::BodyTooLarge));
        }
    }
}
