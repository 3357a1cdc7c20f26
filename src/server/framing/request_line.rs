//! The request line (RFC 9112, 3): a method, a path and a version, one space apart.
//!
//! Targets that are no path belong to proxies, `CONNECT` and `OPTIONS *`; none of them is served here.

use memchr::{memchr, memchr2};

use super::classes::{TARGET, TOKEN, all_are, is};
use super::head::split_once;
use crate::server::rejection::Rejection;

/// The longest method; the longest that is registered has 17 bytes.
const LONGEST_METHOD: usize = 32;

/// The versions of HTTP that are spoken here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    Http10,
    Http11,
}

/// Judges a request line by what came of it: whatever may come yet, it is no better. What comes in a byte at a time is
/// judged that often, so this looks at few bytes, and for the end of the target quickly.
pub(super) fn begin(line: &[u8], longest_target: usize) -> Result<(), Rejection> {
    // A CR at the end may or may not be of the line's end; another one is of the line.
    let line = line.strip_suffix(b"\r\n").or(line.strip_suffix(b"\r")).unwrap_or(line);
    let (method, rest) = split_once(line, b' ').unwrap_or((line, &[]));
    match method.iter().take(LONGEST_METHOD + 1).find(|byte| !is(TOKEN, **byte)) {
        Some(b'\r' | b'\n' | 0) => return Err(Rejection::LineEnd),
        Some(_) => return Err(Rejection::RequestLine),
        None if method.len() > LONGEST_METHOD => return Err(Rejection::RequestLine),
        None => {}
    }
    if memchr(b' ', rest).unwrap_or(rest.len()) > longest_target {
        return Err(Rejection::TargetTooLong);
    }
    Ok(())
}

/// Judges a whole request line, its end included.
pub(super) fn end(line: &[u8], longest_target: usize) -> Result<Version, Rejection> {
    begin(line, longest_target)?;
    let line = line.strip_suffix(b"\r\n").ok_or(Rejection::LineEnd)?;
    if memchr2(b'\r', 0, line).is_some() {
        return Err(Rejection::LineEnd);
    }
    let (method, rest) = split_once(line, b' ').ok_or(Rejection::RequestLine)?;
    let (target, version) = split_once(rest, b' ').ok_or(Rejection::RequestLine)?;
    // The version first: what the rest means is for the version to say. A fourth word is none of it.
    let version = version_of(version)?;
    match method {
        b"" => Err(Rejection::RequestLine),
        b"CONNECT" | b"TRACE" => Err(Rejection::Method),
        _ if target.starts_with(b"/") && all_are(TARGET, target) => Ok(version),
        _ => Err(Rejection::RequestLine),
    }
}

fn version_of(word: &[u8]) -> Result<Version, Rejection> {
    match word.strip_prefix(b"HTTP/") {
        Some(b"1.1") => Ok(Version::Http11),
        Some(b"1.0") => Ok(Version::Http10),
        Some([major, b'.', minor]) if major.is_ascii_digit() && minor.is_ascii_digit() => Err(Rejection::Version),
        _ => Err(Rejection::RequestLine),
    }
}
