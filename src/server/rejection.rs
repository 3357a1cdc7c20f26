//! Why a server turns a request away by itself, before its service sees it.
//!
//! Reasons, with the status that HTTP has for each. The form of the answer is that of whoever serves, so that all errors of
//! one listener look alike.

use std::sync::Arc;

use bytes::Bytes;
use http::{Response, StatusCode};

/// Why a request was turned away. Over HTTP/1 the connection is closed after the answer: what follows a message that
/// cannot be trusted cannot be trusted either (RFC 9112, 11.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The request line is none of HTTP/1.1's, or its target is no path.
    #[error("the request line is not `METHOD /path HTTP/1.1`")]
    RequestLine,
    /// The protocol is HTTP, but no version that is spoken here.
    #[error("this version of HTTP is not spoken here")]
    Version,
    /// A line that does not end in CRLF, or a CR, LF or NUL where none may be.
    #[error("a line of the head does not end in CRLF, or holds a CR, LF or NUL")]
    LineEnd,
    /// A field line that is none: no colon, no name, a space where none may be, a folded line.
    #[error("a header field is not `name: value` on one line")]
    FieldLine,
    /// No `Host`, more than one, or one that is none.
    #[error("Host must be there once, as a host with or without a port")]
    Host,
    /// A `Content-Length` or `Transfer-Encoding` that could be read in two ways, or both.
    #[error(
        "the length of the body could be read in two ways: send one Content-Length of digits, or `Transfer-Encoding: chunked`"
    )]
    Length,
    /// A chunk that is none.
    #[error("the body is not chunked as Transfer-Encoding says")]
    Chunk,
    /// `CONNECT` or `TRACE`.
    #[error("CONNECT and TRACE are not served here")]
    Method,
    /// `Upgrade`.
    #[error("no other protocol is spoken here: ask without Upgrade")]
    Upgrade,
    /// `Expect`.
    #[error("Expect is not understood here: send the body at once")]
    Expectation,
    /// A target that is longer than it may be.
    #[error("the request target is too long")]
    TargetTooLong,
    /// A head that is larger than it may be, or has more fields.
    #[error("the request head has too many bytes or fields")]
    HeadTooLarge,
    /// A head that did not come to its end in time.
    #[error("the request head did not come to its end in time")]
    HeadTimedOut,
    /// Plain HTTP on a connection that was to begin with a TLS handshake.
    #[error("this address speaks TLS: ask with https")]
    PlainHttp,
    /// The service panicked over it.
    #[error("the request met a fault of this program")]
    Panicked,
}

/// How a listener says so. It is sent with `Connection: close` over HTTP/1.
pub type Reject = Arc<dyn Fn(Rejection) -> Response<Bytes> + Send + Sync>;

impl Rejection {
    /// The status that says it (RFC 9110, 15; RFC 6585).
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::RequestLine | Self::LineEnd | Self::FieldLine | Self::Host | Self::Length | Self::Chunk => {
                StatusCode::BAD_REQUEST
            }
            Self::Upgrade | Self::PlainHttp => StatusCode::BAD_REQUEST,
            Self::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::Method => StatusCode::NOT_IMPLEMENTED,
            Self::Expectation => StatusCode::EXPECTATION_FAILED,
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::HeadTimedOut => StatusCode::REQUEST_TIMEOUT,
            Self::Panicked => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}
