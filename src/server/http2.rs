//! HTTP/2 as it is spoken here: how the library is set, and what of a request's head it leaves to be looked at.
//!
//! The library refuses what is malformed by RFC 9113, and bounds streams, windows, resets and `CONTINUATION`s. Refuses,
//! beyond that, what over HTTP/1 is refused by `framing`, so that a request means the same over both.

mod connection;
mod inflow;
mod stream;

use std::time::Duration;

use h2::server::Builder;
use http::header::{CONTENT_LENGTH, EXPECT, HOST};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderValue, Method};

use super::limits::HeadLimits;
use super::rejection::Rejection;

pub(super) use connection::serve;
pub(super) use inflow::Inflow;

/// How many requests of one connection may be under way.
const STREAMS: u32 = 100;
/// The largest header list that is announced and taken, in bytes, whatever is configured for HTTP/1.
const HEADER_LIST: usize = 16 * 1024;
/// How much a peer may send ahead on a stream, and on the connection.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// How much of an answer waits in the library for a peer that does not take it.
const SEND_BUFFER: usize = 64 * 1024;
/// How many streams a peer may reset before anyone has looked at them.
const PENDING_RESETS: usize = 20;
/// How many streams a peer may have us reset by breaking the protocol on them.
const OWN_RESETS: usize = 20;
/// How often a silent peer is asked whether it lives, and how long it may take to say so.
const PING_EVERY: Duration = Duration::from_secs(15);
const PING_DEADLINE: Duration = Duration::from_secs(10);

fn builder(head: HeadLimits) -> Builder {
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(u32::try_from(head.size.min(HEADER_LIST)).unwrap_or(u32::MAX))
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(PENDING_RESETS)
        .max_local_error_reset_streams(Some(OWN_RESETS));
    builder
}

/// Whether a head has one meaning.
pub(super) fn check(head: &Parts) -> Result<(), Rejection> {
    if matches!(head.method, Method::CONNECT | Method::TRACE) {
        return Err(Rejection::Method);
    }
    if !head.uri.path().starts_with('/') {
        return Err(Rejection::RequestLine);
    }
    if head.headers.contains_key(EXPECT) {
        return Err(Rejection::Expectation);
    }
    if head.headers.get_all(CONTENT_LENGTH).iter().nth(1).is_some() {
        return Err(Rejection::Length);
    }
    check_host(head)
}

/// One host, however often it is said (RFC 9113, 8.3.1).
fn check_host(head: &Parts) -> Result<(), Rejection> {
    let mut fields = head.headers.get_all(HOST).iter();
    let field = match (fields.next(), fields.next()) {
        (_, Some(_)) => return Err(Rejection::Host),
        (None, None) => None,
        (Some(value), None) => Some(authority(value).ok_or(Rejection::Host)?),
    };
    match (head.uri.authority(), &field) {
        (None, None) => Err(Rejection::Host),
        (Some(authority), Some(field)) if authority != field => Err(Rejection::Host),
        (Some(authority), _) if !is_plain(authority) => Err(Rejection::Host),
        (Some(_), _) | (None, Some(_)) => Ok(()),
    }
}

fn authority(value: &HeaderValue) -> Option<Authority> {
    value.to_str().ok()?.parse().ok().filter(is_plain)
}

/// Whether it is a host with or without a port: the library takes any text behind the colon, and somebody's name before.
fn is_plain(authority: &Authority) -> bool {
    let port = authority.as_str().strip_prefix(authority.host());
    let is_number = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    port.is_some_and(|port| port.is_empty() || port.strip_prefix(':').is_some_and(is_number))
}
