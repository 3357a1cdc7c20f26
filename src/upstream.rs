//! Asking Monime: one fixed origin, one request built from a typed key, one complete reply or one failure.

mod roots;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use http::Uri;
use http::uri::{Authority, Scheme};

pub use roots::{InvalidRoots, roots};

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

/// The longest that one lookup may take, in three nested bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For a new connection: name, TCP and TLS.
    pub connect: Duration,
    /// For one request, from asking for a connection to the last byte of the body.
    pub attempt: Duration,
    /// For everything that one flight does.
    pub total: Duration,
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
        if authority.host().is_empty() || (scheme != Scheme::HTTP && scheme != Scheme::HTTPS) {
            return Err(InvalidOrigin::Url);
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

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.to_canonical().is_loopback())
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.authority)
    }
}
