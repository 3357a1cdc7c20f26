//! Gateway keys: making one, and taking one whose digest is asked for.
//!
//! Refuses to copy, show or keep one beyond the moment that it is handed over in: a gateway knows digests only.

use std::fmt;

use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use super::Digest;
use super::credential::{MAX_CREDENTIAL, is_token68};
use crate::secret::{GATEWAY_KEY_PREFIX, REDACTED};

/// As many random bytes as nobody guesses, however often they try.
const RANDOM: usize = 32;
/// A made key: the prefix and the bytes in base64url without padding.
const LENGTH: usize = GATEWAY_KEY_PREFIX.len() + (RANDOM * 4).div_ceil(3);

/// A key that opens a gateway. It is wiped from memory when dropped.
pub struct GatewayKey(Zeroizing<String>);

/// Why a text is no gateway key. Never carries the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidGatewayKey {
    /// Nothing, or only a line break.
    #[error("the key is empty: give the key itself, on standard input")]
    Empty,
    /// It begins with the scheme that callers put before it.
    #[error("the key begins with `Bearer `: give the key alone, callers add the scheme")]
    Scheme,
    /// More than `Bearer` can carry.
    #[error(
        "the key cannot be sent: only letters, digits and `-._~+/` may stand in it, and `=` at its end; a second line is part of it"
    )]
    Character,
    /// Longer than [`MAX_CREDENTIAL`].
    #[error("the key is longer than {MAX_CREDENTIAL} bytes, which no gateway looks at")]
    Long,
}

/// The operating system has no random bytes to give.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gives no random bytes")]
pub struct NoRandomness;

/// Makes a key: `mgk_` and 32 random bytes in base64url. The key is for whoever will ask, the digest for the
/// configuration.
///
/// # Errors
/// [`NoRandomness`].
pub fn new_key() -> Result<(GatewayKey, Digest), NoRandomness> {
    let mut random = Zeroizing::new([0; RANDOM]);
    rand::fill(&mut *random).map_err(|_| NoRandomness)?;
    // As long as it gets from the start: a text that grows leaves unwiped copies behind.
    let mut text = Zeroizing::new(String::with_capacity(LENGTH));
    text.push_str(GATEWAY_KEY_PREFIX);
    URL_SAFE_NO_PAD.encode_string(random.as_slice(), &mut text);
    let key = GatewayKey(text);
    let digest = key.digest();
    Ok((key, digest))
}

// === impl GatewayKey ===

impl GatewayKey {
    /// Takes a key from `text`, which is wiped. One line break at the end is not part of it.
    ///
    /// # Errors
    /// [`InvalidGatewayKey`] when no caller could send it.
    pub fn parse(text: impl Into<Zeroizing<Vec<u8>>>) -> Result<Self, InvalidGatewayKey> {
        let text = text.into();
        let key = text.strip_suffix(b"\n").unwrap_or(&text);
        let key = key.strip_suffix(b"\r").unwrap_or(key);
        if key.is_empty() {
            return Err(InvalidGatewayKey::Empty);
        }
        if key.len() > MAX_CREDENTIAL {
            return Err(InvalidGatewayKey::Long);
        }
        if key.get(..7).is_some_and(|start| start.eq_ignore_ascii_case(b"bearer ")) {
            return Err(InvalidGatewayKey::Scheme);
        }
        match std::str::from_utf8(key) {
            Ok(text) if is_token68(key) => Ok(Self(Zeroizing::new(text.to_owned()))),
            _ => Err(InvalidGatewayKey::Character),
        }
    }

    /// What a configuration holds in its place.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(self.0.as_bytes())
    }

    /// The key itself, to be told once to whoever asked for it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for GatewayKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GatewayKey({REDACTED})")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::secret::{looks_secret, redact};

    #[test]
    fn a_made_key_can_be_sent_is_known_as_secret_and_is_never_made_twice() {
        let mut seen = HashSet::new();
        for _ in 0..100 {
            let (key, digest) = new_key().unwrap();
            let text = key.expose();
            assert_eq!((text.len(), key.0.capacity()), (47, LENGTH), "it never grew");
            assert!(text.starts_with("mgk_") && is_token68(text.as_bytes()), "{text}");
            assert_eq!(digest, Digest::of(text.as_bytes()));
            assert_eq!(GatewayKey::parse(text.as_bytes().to_vec()).unwrap().digest(), digest);
            assert!(looks_secret(text));
            assert_eq!(redact(&format!("a {text} b")), "a [redacted] b");
            assert_eq!(format!("{key:?}"), "GatewayKey([redacted])");
            assert!(seen.insert(text.to_owned()));
        }
    }

    #[test]
    fn one_line_break_at_the_end_is_no_part_of_a_key() {
        for text in ["abc", "abc\n", "abc\r\n"] {
            assert_eq!(GatewayKey::parse(text.as_bytes().to_vec()).unwrap().digest(), Digest::of(b"abc"), "{text:?}");
        }
    }

    #[test]
    fn what_no_caller_could_send_is_refused_without_a_word_of_it() {
        for (text, why) in [
            ("", InvalidGatewayKey::Empty),
            ("\n", InvalidGatewayKey::Empty),
            ("Bearer canary", InvalidGatewayKey::Scheme),
            ("canary\n\n", InvalidGatewayKey::Character),
            ("canary\ncanary", InvalidGatewayKey::Character),
            (" canary", InvalidGatewayKey::Character),
            ("\"canary\"", InvalidGatewayKey::Character),
            ("canary=canary", InvalidGatewayKey::Character),
            ("canary\u{e9}", InvalidGatewayKey::Character),
            (&"canary".repeat(2000), InvalidGatewayKey::Long),
        ] {
            let error = GatewayKey::parse(text.as_bytes().to_vec()).unwrap_err();
            assert_eq!(error, why, "{text}");
            assert!(!format!("{error} {error:?}").contains("canary"));
        }
    }
}
