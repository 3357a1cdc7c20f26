//! The one place that requests go to, and how long they may take.
//!
//! Refuses every URL that could send the token elsewhere or in the clear: user info, paths, plain http to another
//! machine. No part of a caller's request ever reaches this file.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use http::Uri;
use http::uri::{Authority, PathAndQuery, Scheme};

/// The one place that requests go to: scheme, host and port, nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    pub(crate) scheme: Scheme,
    pub(crate) authority: Authority,
}

/// A text that is no [`Origin`]. Never carries the text: a URL may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidOrigin {
    /// Not an absolute `http` or `https` URL.
    #[error("a base URL is `https://host` or `https://host:port`")]
    Url,
    /// Something follows the host that is not a port.
    #[error("a port is a number from 1 to 65535")]
    Port,
    /// A user name or a password stands before the host.
    #[error("a base URL carries no user name and no password")]
    UserInfo,
    /// A path, a query or a fragment follows the host.
    #[error("a base URL ends after the host: the paths are Monime's own")]
    Path,
    /// Plain http to another machine, where the token could be read on the way.
    #[error("plain http is only for 127.0.0.0/8, [::1] and localhost: the token would travel readable")]
    Plain,
}

/// The longest that one lookup may take, in three nested bounds, and a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For a new connection: name, TCP and TLS.
    pub connect: Duration,
    /// For one request, from asking for a connection to the last byte of the body.
    pub attempt: Duration,
    /// For everything that one flight does.
    pub total: Duration,
    /// For a write, once it was sent: its caller may have gone, and it still runs to its end.
    pub write: Duration,
}

impl FromStr for Origin {
    type Err = InvalidOrigin;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let uri: Uri = text.parse().map_err(|_| InvalidOrigin::Url)?;
        let parts = uri.into_parts();
        let (Some(scheme), Some(authority)) = (parts.scheme, parts.authority) else { return Err(InvalidOrigin::Url) };
        if authority.as_str().contains('@') {
            return Err(InvalidOrigin::UserInfo);
        }
        if !is_host(authority.host()) || (scheme != Scheme::HTTP && scheme != Scheme::HTTPS) {
            return Err(InvalidOrigin::Url);
        }
        if has_broken_port(&authority) {
            return Err(InvalidOrigin::Port);
        }
        // `http` drops a fragment without a word, so it is looked for in the text.
        if parts.path_and_query.is_some_and(|path| path != "/") || text.contains('#') {
            return Err(InvalidOrigin::Path);
        }
        if scheme == Scheme::HTTP && !is_loopback(authority.host()) {
            return Err(InvalidOrigin::Plain);
        }
        Ok(Self { scheme, authority })
    }
}

/// Whether something follows the host that is no port. `http` reads that as no port, and a connection would go to the
/// default one.
pub(super) fn has_broken_port(authority: &Authority) -> bool {
    authority.as_str().len() > authority.host().len() && authority.port_u16().is_none_or(|port| port == 0)
}

/// An address, or a name of letters, digits, hyphens, underscores and dots.
pub(super) fn is_host(host: &str) -> bool {
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    match address {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
            !host.is_empty() && host.bytes().all(allowed)
        }
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.to_canonical().is_loopback())
}

impl Origin {
    /// The URL of this path there.
    ///
    /// # Errors
    /// None that is known: both were taken out of URLs.
    pub fn url(&self, path: impl Into<PathAndQuery>) -> Result<Uri, http::Error> {
        let (scheme, authority) = (self.scheme.clone(), self.authority.clone());
        Uri::builder().scheme(scheme).authority(authority).path_and_query(path.into()).build()
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_a_scheme_a_host_and_perhaps_a_port() {
        for text in ["https://api.monime.io", "https://api.monime.io:8443", "http://127.0.0.1:8081", "http://[::1]:1"] {
            assert_eq!(text.parse::<Origin>().unwrap().to_string(), text);
        }
        for (text, error) in [
            ("", InvalidOrigin::Url),
            ("api.monime.io", InvalidOrigin::Url),
            ("ftp://api.monime.io", InvalidOrigin::Url),
            ("https://*", InvalidOrigin::Url),
            ("http://[127.0.0.1]", InvalidOrigin::Url),
            ("https://api.monime.io:", InvalidOrigin::Port),
            ("https://api.monime.io:0", InvalidOrigin::Port),
            ("https://api.monime.io:4430000", InvalidOrigin::Port),
            ("http://127.0.0.1:-1", InvalidOrigin::Port),
            ("https://me:secret@api.monime.io", InvalidOrigin::UserInfo),
            ("https://api.monime.io/v1", InvalidOrigin::Path),
            ("https://api.monime.io?x", InvalidOrigin::Path),
            ("http://api.monime.io", InvalidOrigin::Plain),
            ("http://10.0.0.1", InvalidOrigin::Plain),
        ] {
            assert_eq!(text.parse::<Origin>(), Err(error), "{text}");
        }
    }
}
