//! HTTP/1.1 as it is spoken here: how the library is set, and an answer that is written without it.

use std::io::Write as _;

use bytes::Bytes;
use http::Response;
use http::header::CONTENT_LENGTH;
use hyper::server::conn::http1::Builder;

use super::limits::HeadLimits;

/// Room for a head and for what follows it closely; the library wants 8 KiB at least.
const ROOM: usize = 16 * 1024;

pub(super) fn builder(head: HeadLimits) -> Builder {
    let mut builder = Builder::new();
    // `watchdog` keeps the time, without a timer for each request, and `framing` bounds a head before the library has it.
    builder.header_read_timeout(None).max_buf_size(head.size.saturating_add(ROOM));
    builder
}

/// An answer after which the connection is closed, as it is sent.
pub(super) fn last_answer(response: &Response<Bytes>) -> Vec<u8> {
    let (status, body) = (response.status(), response.body());
    let reason = status.canonical_reason().unwrap_or_default();
    let mut bytes = Vec::with_capacity(512 + body.len());
    // Writing to memory cannot fail.
    let _ = write!(bytes, "HTTP/1.1 {} {reason}\r\n", status.as_str());
    for (name, value) in response.headers().iter().filter(|(name, _)| *name != CONTENT_LENGTH) {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    let _ = write!(bytes, "content-length: {}\r\nconnection: close\r\n\r\n", body.len());
    bytes.extend_from_slice(body);
    bytes
}
