//! The proxy that a company may put between us and Monime: where it is, and as whom it is asked.
//!
//! Refuses every proxy that is not spoken to in plain HTTP, and to show the credentials that came with a URL. Opening
//! the tunnel is `tunnel`'s.

use std::fmt;
use std::sync::Arc;

use http::Uri;
use http::uri::{Authority, Scheme};
use hyper_util::client::proxy::matcher::Matcher;

use super::origin::{Origin, has_broken_port, is_host};
use crate::secret::{InvalidCredentials, ProxyCredentials};

/// An egress proxy. It is shown without its credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    authority: Authority,
    credentials: Option<Credentials>,
}

/// Who we are to a proxy, and where that was read, for who has to mend it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Credentials {
    pair: Arc<ProxyCredentials>,
    place: &'static str,
}

/// A text that names no [`Proxy`]. Never carries the text: a URL may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidProxy {
    /// No host, or no port where one should be.
    #[error("a proxy is `http://host:port`")]
    Url,
    /// The connection to the proxy would be something else than plain HTTP.
    #[error("a proxy is asked by plain http; https, SOCKS and others are not spoken")]
    Scheme,
    /// Something follows the host and the port.
    #[error("a proxy's URL ends after the port; in a password `/`, `?` and `#` are percent-encoded")]
    Path,
    /// A user name or a password stands where others can read it.
    #[error("a user name or a password stands in it, where others can read it")]
    UserInfo,
    /// They stand where they may, but cannot be sent.
    #[error("its user name and password cannot be used: {0}")]
    Credentials(#[from] InvalidCredentials),
}

// === impl Proxy ===

impl Proxy {
    /// Reads `http://host:port`; a port that is left away is 80.
    ///
    /// # Errors
    /// [`InvalidProxy`]; also for a URL with a user name or a password.
    pub fn parse(text: &str) -> Result<Self, InvalidProxy> {
        match parts(text)? {
            (_, Some(_)) => Err(InvalidProxy::UserInfo),
            // A lone word may be anything, a misplaced token too.
            (_, None) if !text.contains("://") => Err(InvalidProxy::Url),
            (authority, None) => Ok(Self { authority, credentials: None }),
        }
    }

    /// Reads what the environment variable `name` holds, which is written more freely everywhere: `http://` may be left
    /// away, and a percent-encoded user name and password may stand there.
    ///
    /// # Errors
    /// [`InvalidProxy`].
    pub fn from_variable(name: &'static str, text: &str) -> Result<Self, InvalidProxy> {
        let (authority, user_info) = parts(text)?;
        let proxy = Self { authority, credentials: None };
        match user_info {
            Some(text) => Ok(proxy.with_credentials(ProxyCredentials::parse_user_info(text)?, name)),
            None => Ok(proxy),
        }
    }

    /// The same proxy, asked as somebody. `place` says where the credentials were read.
    #[must_use]
    pub fn with_credentials(self, credentials: ProxyCredentials, place: &'static str) -> Self {
        Self { credentials: Some(Credentials { pair: Arc::new(credentials), place }), ..self }
    }

    /// Where its credentials were read, if it has any.
    #[must_use]
    pub fn credentials_place(&self) -> Option<&'static str> {
        self.credentials.as_ref().map(|credentials| credentials.place)
    }

    pub(super) fn credentials(&self) -> Option<&ProxyCredentials> {
        self.credentials.as_ref().map(|credentials| &*credentials.pair)
    }

    pub(super) fn uri(&self) -> Result<Uri, http::Error> {
        Uri::builder().scheme(Scheme::HTTP).authority(self.authority.clone()).path_and_query("/").build()
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.authority)
    }
}

/// Whether `NO_PROXY` takes `origin` out: by its name or a domain above it, its address or a network around it, or `*`.
#[must_use]
pub fn is_exempt(origin: &Origin, no_proxy: &str) -> bool {
    // To the matcher an asterisk stands for all names, but for no address.
    if no_proxy.split(',').any(|entry| entry.trim() == "*") {
        return true;
    }
    let matcher = Matcher::builder().all("http://proxy.invalid").no(no_proxy).build();
    let uri = Uri::builder().scheme(origin.scheme.clone()).authority(origin.authority.clone()).path_and_query("/");
    uri.build().is_ok_and(|uri| matcher.intercept(&uri).is_none())
}

/// Host and port, and what stands before an `@`.
fn parts(text: &str) -> Result<(Authority, Option<&str>), InvalidProxy> {
    let (scheme, rest) = text.trim().split_once("://").unwrap_or(("http", text.trim()));
    if !scheme.eq_ignore_ascii_case("http") {
        return Err(InvalidProxy::Scheme);
    }
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    if !matches!(path, "" | "/") {
        return Err(InvalidProxy::Path);
    }
    let (user_info, host) = match authority.rsplit_once('@') {
        Some((user_info, host)) => (Some(user_info), host),
        None => (None, authority),
    };
    let host: Authority = host.parse().map_err(|_| InvalidProxy::Url)?;
    if !is_host(host.host()) || has_broken_port(&host) {
        return Err(InvalidProxy::Url);
    }
    Ok((host, user_info))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_a_host_and_a_port_and_is_shown_without_credentials() {
        for (text, shown, sent) in [
            ("http://proxy.corp:3128", "http://proxy.corp:3128", None),
            ("http://proxy.corp:3128/", "http://proxy.corp:3128", None),
            ("HTTP://proxy.corp", "http://proxy.corp", None),
            (" proxy.corp:3128 ", "http://proxy.corp:3128", None),
            ("http://[::1]:3128", "http://[::1]:3128", None),
            ("http://me:open%20sesame@10.0.0.1:3128", "http://10.0.0.1:3128", Some("Basic bWU6b3BlbiBzZXNhbWU=")),
            ("me:p%40%2f@proxy.corp:3128", "http://proxy.corp:3128", Some("Basic bWU6cEAv")),
            ("http://me:p@q@proxy.corp:3128", "http://proxy.corp:3128", Some("Basic bWU6cEBx")),
            ("http://me@proxy.corp:3128", "http://proxy.corp:3128", Some("Basic bWU6")),
        ] {
            let proxy = Proxy::from_variable("HTTPS_PROXY", text).unwrap();
            assert_eq!(proxy.to_string(), shown, "{text}");
            let credentials = proxy.credentials().map(ProxyCredentials::basic);
            assert_eq!(credentials.as_ref().map(|value| value.to_str().unwrap()), sent, "{text}");
            assert_eq!(proxy.credentials_place(), sent.map(|_| "HTTPS_PROXY"), "{text}");
            for secret in ["sesame", "open", "p@", "%40"] {
                assert!(!format!("{proxy:?}").contains(secret), "{proxy:?}");
            }
            match (Proxy::parse(text), sent) {
                (Ok(proxy), None) => assert_eq!(proxy.to_string(), shown),
                (Err(InvalidProxy::UserInfo), Some(_)) => {}
                (Err(InvalidProxy::Url), None) => assert!(!text.contains("://"), "{text}"),
                (other, _) => panic!("{text}: {other:?}"),
            }
        }
    }

    #[test]
    fn what_is_no_plain_proxy_is_refused_by_its_reason() {
        let bad = InvalidProxy::Credentials(InvalidCredentials::Character);
        for (text, error) in [
            ("", InvalidProxy::Url),
            ("http://", InvalidProxy::Url),
            ("http://:3128", InvalidProxy::Url),
            ("http://proxy.corp:", InvalidProxy::Url),
            ("http://proxy.corp:0", InvalidProxy::Url),
            ("http://proxy.corp:99999", InvalidProxy::Url),
            ("http://proxy corp:3128", InvalidProxy::Url),
            ("https://proxy.corp:3128", InvalidProxy::Scheme),
            ("socks5h://proxy.corp:1080", InvalidProxy::Scheme),
            ("http://proxy.corp:3128/x", InvalidProxy::Path),
            ("http://me:p/q@proxy.corp:3128", InvalidProxy::Path),
            ("http://me:p#q@proxy.corp:3128", InvalidProxy::Path),
            ("http://me:p%0aq@proxy.corp:3128", bad),
        ] {
            assert_eq!(Proxy::from_variable("HTTPS_PROXY", text).unwrap_err(), error, "{text}");
        }
    }

    #[test]
    fn no_proxy_names_hosts_domains_addresses_and_networks() {
        let is_exempt = |origin: &str, list: &str| is_exempt(&origin.parse().unwrap(), list);
        for list in ["api.monime.io", "monime.io", ".monime.io", "other, MONIME.IO ", "x,*", "io"] {
            assert!(is_exempt("https://api.monime.io", list), "{list}");
        }
        for list in ["", "nime.io", "x.api.monime.io", "10.0.0.0/8", "*.example", "api.monime.io.example"] {
            assert!(!is_exempt("https://api.monime.io", list), "{list}");
        }
        for (origin, list) in [
            ("https://10.1.2.3:8443", "10.0.0.0/8"),
            ("https://10.1.2.3", "10.1.2.3"),
            ("https://10.1.2.3", "*"),
            ("https://[fd00::1]:8443", "fd00::/8"),
        ] {
            assert!(is_exempt(origin, list), "{origin} {list}");
        }
        assert!(!is_exempt("https://10.1.2.3", "192.168.0.0/16,10.1.2.4"));
    }
}
