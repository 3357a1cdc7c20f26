//! The token that opens Monime: one type with one exit, and the words that may be said about it. The credentials of an
//! egress proxy are another type, so that neither can ever be sent in the other's place.
//!
//! Refuses to be copied, shown, serialized or borrowed: [`Secret::bearer`] is the only way out, as a header value that
//! is marked sensitive. Whatever held the token on its way in is wiped. No error here carries any part of it. Which
//! space's token it is, and what becomes of it when its file changes, is the [`Keyring`]'s.

mod file;
mod keyring;
mod proxy;
mod reflection;

use std::borrow::Cow;
use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use http::HeaderValue;
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::monime::TokenKind;

pub use file::{FileError, Unusable, read as read_file};
pub use keyring::{Health, Keyring, Source};
pub use proxy::{InvalidCredentials, ProxyCredentials};
pub use reflection::REACH;
use reflection::Spellings;

/// The longest token that is accepted. Monime's are well below 100 characters; a header field of this size still
/// passes every server.
pub const MAX_TOKEN: usize = 4096;
/// What stands where a secret would.
pub const REDACTED: &str = "[redacted]";
/// How the keys begin with which callers open a gateway.
pub const GATEWAY_KEY_PREFIX: &str = "mgk_";
/// How secrets begin: Monime's tokens, live and test alike, and gateway keys.
const PREFIXES: [&[u8]; 2] = [b"mon_", GATEWAY_KEY_PREFIX.as_bytes()];

/// A token. It is wiped from memory when dropped.
pub struct Secret {
    token: SecretString,
    spellings: Spellings,
}

/// Why a text is no token. Never carries the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSecret {
    /// Nothing, or only a line break.
    #[error("the token is empty")]
    Empty,
    /// More than one line.
    #[error("the token has more than one line")]
    Lines,
    /// It begins with the scheme that we put before it.
    #[error("the token begins with `Bearer `")]
    Scheme,
    /// A quotation mark at either end: a shell or a template left it there.
    #[error("the token stands in quotation marks")]
    Quoted,
    /// A space, a control character or something beyond ASCII.
    #[error("the token holds a character that is not visible ASCII")]
    Character,
    /// Longer than [`MAX_TOKEN`].
    #[error("the token is longer than {MAX_TOKEN} bytes")]
    Long,
}

// === impl Secret ===

impl Secret {
    /// Takes a token from `text`, which is wiped. One line break at the end is not part of it.
    ///
    /// # Errors
    /// [`InvalidSecret`] when it could not travel as a bearer token.
    pub fn parse(text: impl Into<Zeroizing<Vec<u8>>>) -> Result<Self, InvalidSecret> {
        let text = text.into();
        let token = text.strip_suffix(b"\n").unwrap_or(&text);
        let token = token.strip_suffix(b"\r").unwrap_or(token);
        if token.is_empty() {
            return Err(InvalidSecret::Empty);
        }
        if token.len() > MAX_TOKEN {
            return Err(InvalidSecret::Long);
        }
        if token.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
            return Err(InvalidSecret::Lines);
        }
        if token.get(..7).is_some_and(|start| start.eq_ignore_ascii_case(b"bearer ")) {
            return Err(InvalidSecret::Scheme);
        }
        if [token.first(), token.last()].iter().any(|end| matches!(end, Some(b'"' | b'\''))) {
            return Err(InvalidSecret::Quoted);
        }
        match std::str::from_utf8(token) {
            Ok(token) if token.bytes().all(|byte| byte.is_ascii_graphic()) => {
                Ok(Self { token: SecretString::from(token), spellings: Spellings::of(token.as_bytes()) })
            }
            _ => Err(InvalidSecret::Character),
        }
    }

    /// The value of the `Authorization` header, marked sensitive: this is the only exit.
    #[must_use]
    pub fn bearer(&self) -> HeaderValue {
        let mut text = Zeroizing::new(Vec::with_capacity("Bearer ".len() + self.token.expose_secret().len()));
        text.extend_from_slice(b"Bearer ");
        text.extend_from_slice(self.token.expose_secret().as_bytes());
        // `parse` let only visible ASCII in. If that ever failed, no credential would travel: Monime answers 401.
        let mut value = HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static("Bearer"));
        value.set_sensitive(true);
        value
    }

    /// What the token is for.
    #[must_use]
    pub fn kind(&self) -> TokenKind {
        TokenKind::of(self.token.expose_secret())
    }

    /// Whether both are the same token, found out in a time that tells nothing of where they differ.
    fn is_same_as(&self, other: &Self) -> bool {
        verify_slices_are_equal(self.token.expose_secret().as_bytes(), other.token.expose_secret().as_bytes()).is_ok()
    }

    /// Whether `bytes` holds 12 consecutive bytes of the token (all of one that has 8 to 11; a shorter one is
    /// not looked for, since it would stand in almost any text), as they are or as Base64 of any
    /// text around them.
    #[must_use]
    pub fn is_reflected_in(&self, bytes: &[u8]) -> bool {
        self.spellings.are_in(bytes)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({REDACTED})")
    }
}

// === impl InvalidSecret ===

impl InvalidSecret {
    /// What to do about it.
    #[must_use]
    pub fn fix(self) -> &'static str {
        match self {
            Self::Empty => "put the token there, as Monime shows it once when it is made",
            Self::Lines => "keep one token and nothing else; one line break at the end is fine",
            Self::Scheme => "keep the token alone: the scheme is added here",
            Self::Quoted => "take the quotation marks away",
            Self::Character => "copy the token again, without spaces, quotes or a byte order mark",
            Self::Long => "check that this is the token, and not a certificate or a whole file of settings",
        }
    }
}

/// Whether a text holds what looks like one of Monime's tokens or like a gateway key. How it begins is enough: half a
/// key is still half a secret.
#[must_use]
pub fn looks_secret(text: &str) -> bool {
    let bytes = text.as_bytes();
    // Within a word such as `common_` it is none, unless what follows is nothing that anybody would call a thing.
    let starts_a_word = |at: usize| {
        let before = at.checked_sub(1).and_then(|before| bytes.get(before));
        !before.is_some_and(u8::is_ascii_alphanumeric)
    };
    PREFIXES.iter().any(|prefix| {
        let mut windows = bytes.windows(prefix.len()).enumerate();
        windows.any(|(at, window)| {
            let begins = window.eq_ignore_ascii_case(prefix);
            begins && (starts_a_word(at) || is_random(bytes.get(at + prefix.len()..).unwrap_or_default()))
        })
    })
}

/// Whether it begins with twelve letters and digits, with both among them.
fn is_random(bytes: &[u8]) -> bool {
    let run = bytes.get(..12).unwrap_or_default();
    let has_digit = run.iter().any(u8::is_ascii_digit);
    has_digit && run.iter().any(u8::is_ascii_alphabetic) && run.iter().all(u8::is_ascii_alphanumeric)
}

/// The same text with every word that looks like a token or a key replaced: for words that others chose, on their way to an
/// operator's screen. A net under code that should not have let one through, not a licence to print secrets.
#[must_use]
pub fn redact(text: &str) -> Cow<'_, str> {
    if !looks_secret(text) {
        return Cow::Borrowed(text);
    }
    let pieces = text.split_inclusive(char::is_whitespace).map(|piece| {
        let word = piece.trim_end();
        let space = piece.get(word.len()..).unwrap_or_default();
        if looks_secret(word) { format!("{REDACTED}{space}") } else { piece.to_owned() }
    });
    Cow::Owned(pieces.collect())
}

#[cfg(test)]
mod tests;
