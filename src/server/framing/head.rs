//! One head, line by line: which fields there may be, and what they say of the body that follows.
//!
//! Knows only the fields that say where a request ends, whom it is for and which protocol comes next; every other is a
//! name and a value.

use std::net::Ipv6Addr;
use std::str;

use memchr::{memchr, memchr2};

use super::classes::{HOST, TOKEN, all_are};
use super::request_line::{self, Version};
use crate::server::limits::HeadLimits;
use crate::server::rejection::Rejection;

/// The most digits of a `Content-Length`: no number of so many overflows.
const MOST_DIGITS: usize = 19;

/// A head as far as it came.
#[derive(Debug, Default)]
pub(super) struct Head {
    /// Bytes so far, those of a line that has not ended included.
    pub(super) size: usize,
    /// None before the end of the request line.
    version: Option<Version>,
    /// Field lines that have ended.
    fields: usize,
    has_host: bool,
    body: Option<Body>,
    /// Whether it says that its connection is to be anything but kept.
    speaks_of_connection: bool,
}

/// What follows a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    /// So many bytes.
    Sized(u64),
    Chunked,
}

// === impl Head ===

impl Head {
    /// Judges a line by what came of it.
    pub(super) fn begin_line(&self, line: &[u8], limits: HeadLimits) -> Result<(), Rejection> {
        match self.version {
            None => request_line::begin(line, limits.target),
            // Bounded by the size of the head, and not worth judging twice.
            Some(_) => Ok(()),
        }
    }

    /// Judges a whole line, its end included. Returns what follows the head, if this line ends it.
    pub(super) fn end_line(&mut self, line: &[u8], limits: HeadLimits) -> Result<Option<Body>, Rejection> {
        let Some(version) = self.version else {
            self.version = Some(request_line::end(line, limits.target)?);
            return Ok(None);
        };
        let line = line.strip_suffix(b"\r\n").ok_or(Rejection::LineEnd)?;
        if line.is_empty() {
            return self.end(version).map(Some);
        }
        self.fields += 1;
        if self.fields > limits.fields {
            return Err(Rejection::HeadTooLarge);
        }
        let (name, value) = field(line)?;
        self.take_in(name, value, version)?;
        Ok(None)
    }

    /// Whether it says nothing of a body, nor that its connection is to be anything but kept.
    pub(super) fn is_plain(&self) -> bool {
        self.body.is_none() && !self.speaks_of_connection
    }

    /// Judges a field by what it means, if it means something here.
    fn take_in(&mut self, name: &[u8], value: &[u8], version: Version) -> Result<(), Rejection> {
        if name.eq_ignore_ascii_case(b"host") {
            let is_first = !self.has_host;
            self.has_host = true;
            return if is_first && is_authority(value) { Ok(()) } else { Err(Rejection::Host) };
        }
        if name.eq_ignore_ascii_case(b"content-length") {
            return self.say_body(Body::Sized(number(value).ok_or(Rejection::Length)?));
        }
        if name.eq_ignore_ascii_case(b"transfer-encoding") {
            // HTTP/1.0 has no transfer codings: whoever sends one does not know whom it speaks to (RFC 9112, 6.1).
            let is_chunked = value.eq_ignore_ascii_case(b"chunked") && version == Version::Http11;
            return if is_chunked { self.say_body(Body::Chunked) } else { Err(Rejection::Length) };
        }
        if name.eq_ignore_ascii_case(b"connection") {
            self.speaks_of_connection |= !value.eq_ignore_ascii_case(b"keep-alive");
            return Ok(());
        }
        if name.eq_ignore_ascii_case(b"upgrade") || name.eq_ignore_ascii_case(b"http2-settings") {
            return Err(Rejection::Upgrade);
        }
        if name.eq_ignore_ascii_case(b"expect") {
            return Err(Rejection::Expectation);
        }
        Ok(())
    }

    /// Takes down what follows the head, which may be said once and in one way.
    fn say_body(&mut self, body: Body) -> Result<(), Rejection> {
        match self.body.replace(body) {
            None => Ok(()),
            Some(_) => Err(Rejection::Length),
        }
    }

    fn end(&self, version: Version) -> Result<Body, Rejection> {
        if version == Version::Http11 && !self.has_host {
            return Err(Rejection::Host);
        }
        Ok(self.body.unwrap_or(Body::Sized(0)))
    }
}

/// The name and the value of a field line (RFC 9112, 5), without the space around the value. A line that goes on with
/// the one before begins with a space, which is no name.
fn field(line: &[u8]) -> Result<(&[u8], &[u8]), Rejection> {
    // All are looked at before any is judged: without a way out the compiler looks at many at once.
    if line.iter().fold(0, |any, byte| any | is_control(*byte)) != 0 {
        let breaks_line = memchr2(b'\r', 0, line).is_some();
        return Err(if breaks_line { Rejection::LineEnd } else { Rejection::FieldLine });
    }
    match split_once(line, b':') {
        // No other space than SP and HTAB is left in a field line.
        Some((name, value)) if !name.is_empty() && all_are(TOKEN, name) => Ok((name, value.trim_ascii())),
        _ => Err(Rejection::FieldLine),
    }
}

/// What comes before the first of these bytes, and what after it.
pub(in crate::server) fn split_once(text: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let (before, rest) = text.split_at_checked(memchr(at, text)?)?;
    Some((before, rest.get(1..)?))
}

/// The number that a `Content-Length` is.
fn number(value: &[u8]) -> Option<u64> {
    // Rust would take a sign.
    let is_number = (1..=MOST_DIGITS).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
    if is_number { str::from_utf8(value).ok()?.parse().ok() } else { None }
}

/// Whether a value is a host, with or without a port (RFC 9110, 7.2; RFC 3986, 3.2.2).
fn is_authority(value: &[u8]) -> bool {
    let Some(ipv6) = value.strip_prefix(b"[") else {
        let (host, port) = value.split_at_checked(memchr(b':', value).unwrap_or(value.len())).unwrap_or_default();
        return is_name(host) && is_port(port);
    };
    split_once(ipv6, b']').is_some_and(|(address, port)| {
        str::from_utf8(address).is_ok_and(|address| address.parse::<Ipv6Addr>().is_ok()) && is_port(port)
    })
}

/// Whether it is the name of a host or an IPv4 address: what a registered name may be.
fn is_name(host: &[u8]) -> bool {
    let mut parts = host.split(|byte| *byte == b'%');
    let is_plain = parts.next().is_some_and(|part| all_are(HOST, part));
    let is_escaped = |part: &[u8]| match part {
        [high, low, rest @ ..] => high.is_ascii_hexdigit() && low.is_ascii_hexdigit() && all_are(HOST, rest),
        _ => false,
    };
    !host.is_empty() && is_plain && parts.all(is_escaped)
}

/// Whether it is nothing, or a colon and a port.
fn is_port(rest: &[u8]) -> bool {
    match rest {
        [] => true,
        [b':', digits @ ..] => number(digits).is_some_and(|port| port <= u64::from(u16::MAX)),
        _ => false,
    }
}

/// One for a byte that may not be of a field line: a control character but the tab. What is no ASCII has no meaning in a
/// value and is carried as it is (RFC 9110, 5.5); what has a meaning here has no such byte.
fn is_control(byte: u8) -> u8 {
    (u8::from(byte < b' ') & u8::from(byte != b'\t')) | u8::from(byte == 0x7f)
}
