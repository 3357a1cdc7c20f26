//! Who we are to an egress proxy: a user name and a password, with one exit.
//!
//! Refuses to be shown, copied or sent as anything but `Proxy-Authorization`. No error here carries any part of it.

use std::fmt;

use base64::prelude::{BASE64_STANDARD, Engine};
use http::HeaderValue;
use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use super::{MAX_TOKEN, REDACTED};

/// A user name and a password. They are wiped from memory when dropped.
pub struct ProxyCredentials(SecretString);

/// Why a text is no credentials. Never carries the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCredentials {
    /// Nothing stands between the user name and the password, or nothing stands there at all.
    #[error("there is no colon between a user name and a password")]
    Colon,
    /// A control character, a second line among them, or no UTF-8.
    #[error("they hold a line break or another character that is no text")]
    Character,
    /// Longer than a header field can carry.
    #[error("they are longer than {MAX_TOKEN} bytes")]
    Long,
}

// === impl ProxyCredentials ===

impl ProxyCredentials {
    /// Takes `user:password` from `text`, which is wiped. One line break at the end is not part of it.
    ///
    /// # Errors
    /// [`InvalidCredentials`] when they could not travel as `Basic` (RFC 7617).
    pub fn parse(text: impl Into<Zeroizing<Vec<u8>>>) -> Result<Self, InvalidCredentials> {
        let text = text.into();
        let pair = text.strip_suffix(b"\n").unwrap_or(&text);
        let pair = pair.strip_suffix(b"\r").unwrap_or(pair);
        if pair.len() > MAX_TOKEN {
            return Err(InvalidCredentials::Long);
        }
        match std::str::from_utf8(pair) {
            Ok(pair) if pair.contains(char::is_control) => Err(InvalidCredentials::Character),
            Ok(pair) if !pair.contains(':') => Err(InvalidCredentials::Colon),
            Ok(pair) => Ok(Self(SecretString::from(pair))),
            Err(_) => Err(InvalidCredentials::Character),
        }
    }

    /// Takes them from where a URL holds them: percent-encoded, and perhaps without a password.
    ///
    /// # Errors
    /// [`InvalidCredentials`], as [`parse`](Self::parse).
    pub fn parse_user_info(text: &str) -> Result<Self, InvalidCredentials> {
        // Decoding only shortens it.
        let mut pair = Zeroizing::new(Vec::with_capacity(text.len() + 1));
        pair.extend(percent_decode_str(text));
        if !text.contains(':') {
            pair.push(b':');
        }
        Self::parse(pair)
    }

    /// The value of the `Proxy-Authorization` header, marked sensitive: this is the only exit.
    #[must_use]
    pub fn basic(&self) -> HeaderValue {
        let pair = self.0.expose_secret();
        // With all its room from the start: a text that grows leaves unwiped copies behind.
        let mut text = Zeroizing::new(String::with_capacity("Basic ".len() + pair.len().div_ceil(3) * 4));
        text.push_str("Basic ");
        BASE64_STANDARD.encode_string(pair, &mut text);
        // Base64 is visible ASCII. If that ever failed, no credential would travel: the proxy answers 407.
        let mut value = HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("Basic"));
        value.set_sensitive(true);
        value
    }
}

impl PartialEq for ProxyCredentials {
    fn eq(&self, other: &Self) -> bool {
        // Both are ours: nobody who could measure how long this takes can choose either.
        self.0.expose_secret() == other.0.expose_secret()
    }
}

impl Eq for ProxyCredentials {}

impl fmt::Debug for ProxyCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProxyCredentials({REDACTED})")
    }
}

// === impl InvalidCredentials ===

impl InvalidCredentials {
    /// What to do about it.
    #[must_use]
    pub fn fix(self) -> &'static str {
        match self {
            Self::Colon => "write user:password on one line, as they are, not percent-encoded",
            Self::Character => "keep user:password on one line and nothing else; one line break at the end is fine",
            Self::Long => "check that these are a user name and a password, and not a certificate",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_leave_as_basic_and_in_no_other_way() {
        for (text, sent) in [
            (&b"Aladdin:open sesame"[..], "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
            (b"Aladdin:open sesame\r\n", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
            ("test:123\u{a3}".as_bytes(), "Basic dGVzdDoxMjPCow=="),
            (b"a:b:c", "Basic YTpiOmM="),
            (b"user:", "Basic dXNlcjo="),
        ] {
            let credentials = ProxyCredentials::parse(text.to_vec()).unwrap();
            assert_eq!(credentials.basic(), sent);
            assert!(credentials.basic().is_sensitive());
            assert_eq!(format!("{credentials:?}"), "ProxyCredentials([redacted])");
        }
    }

    #[test]
    fn what_could_not_travel_is_no_credentials() {
        let long = [b"user:".to_vec(), vec![b'x'; MAX_TOKEN]].concat();
        for (text, error) in [
            (&b""[..], InvalidCredentials::Colon),
            (b"\n", InvalidCredentials::Colon),
            (b"user", InvalidCredentials::Colon),
            (b"user:one\nuser:two", InvalidCredentials::Character),
            (b"user:\0", InvalidCredentials::Character),
            (b"user:\xff", InvalidCredentials::Character),
            (&long, InvalidCredentials::Long),
        ] {
            assert_eq!(ProxyCredentials::parse(text.to_vec()).unwrap_err(), error);
        }
    }
}
