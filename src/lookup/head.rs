//! The head of an answer as HTTP/1.1 sends it (RFC 9112, 4 and 5), to be kept as bytes: a header map takes several times
//! as much memory.
//!
//! Refuses the end of a head, which belongs to whoever adds the last field. Reads nothing but what it wrote itself.

use std::slice;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, VIA};
use http::{HeaderMap, StatusCode};
use memchr::memchr;

use crate::monime::DIAGNOSTIC_HEADERS;

/// How many fields there are at most without a map having to grow: those of an answer of Monime's, the three that depend
/// on a caller, and the date.
pub(super) const FIELDS: usize = 13;

/// The names that a kept answer has, as a rule. Made once: to make one means to look for it among all that there are.
static NAMES: [HeaderName; 9] = [
    CONTENT_TYPE,
    CONTENT_LENGTH,
    CACHE_CONTROL,
    VIA,
    ETAG,
    HeaderName::from_static(DIAGNOSTIC_HEADERS[0]),
    HeaderName::from_static(DIAGNOSTIC_HEADERS[1]),
    HeaderName::from_static(DIAGNOSTIC_HEADERS[2]),
    HeaderName::from_static(DIAGNOSTIC_HEADERS[3]),
];

/// Writes the status line and these fields, into no more memory than that takes: it is kept.
pub(super) fn write(status: StatusCode, fields: &[(&HeaderName, &[u8])]) -> Bytes {
    let reason = status.canonical_reason().unwrap_or_default().as_bytes();
    let line = [b"HTTP/1.1 ", status.as_str().as_bytes(), b" ", reason, b"\r\n"];
    let lines = fields.iter().flat_map(|(name, value)| [name.as_str().as_bytes(), b": ", value, b"\r\n"]);
    let all = line.into_iter().chain(lines);
    let mut text = Vec::with_capacity(all.clone().map(<[u8]>::len).sum());
    all.for_each(|part| text.extend_from_slice(part));
    text.into()
}

/// The fields of a head that was written here; their values share its memory.
pub(super) fn read(text: &Bytes) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(FIELDS);
    let mut begin = after(text, 0, b'\n');
    // As a rule they stand in the order of the names that are known.
    let mut likely = NAMES.iter();
    while begin < text.len() {
        let end = after(text, begin, b'\n');
        if let Some((name, value)) = text.get(begin..end).and_then(|line| name(line, &mut likely))
            && let Some(value) = range(text, begin + value, end.saturating_sub(2))
        {
            headers.append(name, value);
        }
        begin = end;
    }
    headers
}

/// The name in this line, and where its value begins.
fn name(line: &[u8], likely: &mut slice::Iter<'static, HeaderName>) -> Option<(HeaderName, usize)> {
    let is_it = |name: &&HeaderName| {
        line.strip_prefix(name.as_str().as_bytes()).is_some_and(|rest| rest.first() == Some(&b':'))
    };
    let known = likely.next().filter(is_it).or_else(|| {
        *likely = NAMES.iter();
        likely.find(is_it)
    });
    if let Some(name) = known {
        return Some((name.clone(), name.as_str().len() + b": ".len()));
    }
    let end = memchr(b':', line)?;
    Some((HeaderName::from_bytes(line.get(..end)?).ok()?, end + b": ".len()))
}

/// Where it goes on behind the next such byte; the end, if there is none.
fn after(text: &[u8], from: usize, byte: u8) -> usize {
    text.get(from..).and_then(|rest| memchr(byte, rest)).map_or(text.len(), |at| from + at + 1)
}

fn range(text: &Bytes, begin: usize, end: usize) -> Option<HeaderValue> {
    // It would panic where there are no such bytes.
    text.get(begin..end)?;
    HeaderValue::from_maybe_shared(text.slice(begin..end)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_again_in_the_same_order_and_byte_for_byte() {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ETAG, HeaderValue::from_static("\"a: b\""));
        headers.append("monime-request-id", HeaderValue::from_static(""));
        headers.append("monime-request-id", HeaderValue::from_bytes(b"caf\xe9").unwrap());
        headers.insert(VIA, HeaderValue::from_static("1.1 monigate"));
        let fields: Vec<_> = headers.iter().map(|(name, value)| (name, value.as_bytes())).collect();
        let text = write(StatusCode::NOT_FOUND, &fields);
        assert!(text.starts_with(b"HTTP/1.1 404 Not Found\r\ncontent-type: application/json\r\netag: \"a: b\"\r\n"));
        assert!(text.ends_with(b"\r\nvia: 1.1 monigate\r\n"));
        let read = read(&text);
        assert_eq!(read, headers);
        assert!(read.iter().eq(headers.iter()));
    }

    #[test]
    fn a_head_without_fields_has_none() {
        let text = write(StatusCode::OK, &[]);
        assert_eq!(text, &b"HTTP/1.1 200 OK\r\n"[..]);
        assert!(read(&text).is_empty());
    }
}
