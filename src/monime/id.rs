//! The names that Monime's API is addressed by: spaces, sessions, releases, and the typed key made of the three.
//!
//! Refuses to build a name that could not travel unchanged in a path segment or a header field, so that nobody below
//! has to escape, and refuses to join them into one string: two different triples can never become the same key.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use equivalent::Equivalent;

/// The longest session id that is accepted. Monime documents none; its ids are 31 characters.
pub const MAX_SESSION_ID: usize = 128;
/// The longest space id, from Monime's OpenAPI file.
pub const MAX_SPACE_ID: usize = 64;
/// The longest release name; Monime's are 15 characters.
const MAX_VERSION: usize = 64;

/// Why a text is not a name of Monime's. Never carries the text: it may be a misplaced secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidId {
    /// Not `spc-` followed by 1 to 60 visible ASCII characters without a comma.
    #[error("a space id is `spc-` followed by 1 to 60 visible ASCII characters, without a comma")]
    Space,
    /// Not `[A-Za-z0-9_-]{1,128}`.
    #[error("a session id is 1 to 128 of the characters A-Z a-z 0-9 _ -")]
    Session,
    /// Not `[A-Za-z0-9._-]{1,64}`.
    #[error("a version is 1 to 64 of the characters A-Z a-z 0-9 . _ -")]
    Version,
}

/// A Monime space, as sent in `Monime-Space-Id`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpaceId(Arc<str>);

/// A Monime API release, as sent in `Monime-Version`; it selects the shape of the body. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version(Arc<str>);

/// The id of a checkout session, owned. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(Arc<str>);

/// The id of a checkout session, still in the caller's request.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionIdRef<'a>(&'a str);

/// What an answer is kept under: the same id in two spaces, or in two releases, is two answers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// Whose session it is.
    pub space: SpaceId,
    /// Which session.
    pub id: SessionId,
    /// In which shape.
    pub version: Version,
}

/// A [`Key`] that borrows, so that reading the store allocates nothing.
#[derive(Clone, Copy, Debug)]
pub struct KeyRef<'a> {
    /// Whose session it is.
    pub space: &'a SpaceId,
    /// Which session.
    pub id: SessionIdRef<'a>,
    /// In which shape.
    pub version: &'a Version,
}

// === impl SpaceId ===

impl SpaceId {
    /// Reads a space id.
    ///
    /// # Errors
    /// [`InvalidId::Space`] when it is not one. The comma is refused because a proxy may join repeated fields with it.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        let rest = text.strip_prefix("spc-").ok_or(InvalidId::Space)?;
        let fits = !rest.is_empty() && text.len() <= MAX_SPACE_ID;
        if fits && rest.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',') {
            Ok(Self(text.into()))
        } else {
            Err(InvalidId::Space)
        }
    }

    /// The id as Monime writes it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

// === impl Version ===

impl Version {
    /// Reads a release name such as `caph.2025-08-23`.
    ///
    /// # Errors
    /// [`InvalidId::Version`] when it is not one.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if (1..=MAX_VERSION).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidId::Version)
        }
    }

    /// The release as Monime writes it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

// === impl SessionId ===

impl SessionId {
    /// Reads a session id.
    ///
    /// # Errors
    /// [`InvalidId::Session`] when it is not one.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        SessionIdRef::parse(text).map(SessionIdRef::to_owned)
    }

    /// The id as Monime writes it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same id, borrowed.
    #[must_use]
    pub fn as_ref(&self) -> SessionIdRef<'_> {
        SessionIdRef(&self.0)
    }
}

// === impl SessionIdRef ===

impl<'a> SessionIdRef<'a> {
    /// Reads a session id without copying it.
    ///
    /// # Errors
    /// [`InvalidId::Session`] when it is not one. The format is undocumented, so only what could change the meaning
    /// of a path is refused: everything but `[A-Za-z0-9_-]`, percent-encoding included.
    pub fn parse(text: &'a str) -> Result<Self, InvalidId> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        // All are looked at before any is judged: without a way out the compiler looks at many at once.
        if (1..=MAX_SESSION_ID).contains(&text.len()) && text.bytes().fold(true, |all, byte| all & allowed(byte)) {
            Ok(Self(text))
        } else {
            Err(InvalidId::Session)
        }
    }

    /// The id as Monime writes it.
    #[must_use]
    pub fn as_str(self) -> &'a str {
        self.0
    }

    /// A copy that outlives the request.
    #[must_use]
    pub fn to_owned(self) -> SessionId {
        SessionId(self.0.into())
    }
}

// === impl Key ===

impl Key {
    /// The same key, borrowed.
    #[must_use]
    pub fn as_ref(&self) -> KeyRef<'_> {
        KeyRef { space: &self.space, id: self.id.as_ref(), version: &self.version }
    }
}

// === impl KeyRef ===

impl KeyRef<'_> {
    /// A copy that outlives the request.
    #[must_use]
    pub fn to_owned(self) -> Key {
        Key { space: self.space.clone(), id: self.id.to_owned(), version: self.version.clone() }
    }
}

impl Hash for KeyRef<'_> {
    // The same fields in the same order as the derived hash of `Key`: `Equivalent` demands equal hashes.
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.space.hash(state);
        self.id.hash(state);
        self.version.hash(state);
    }
}

impl Equivalent<Key> for KeyRef<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.id.as_str() == key.id.as_str() && *self.space == key.space && *self.version == key.version
    }
}

macro_rules! shown_as_text {
    ($($name:ty),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(self.as_str(), f)
            }
        }
    )*};
}
shown_as_text!(SpaceId, Version, SessionId, SessionIdRef<'_>);

#[cfg(test)]
mod tests {
    use std::hash::BuildHasher;

    use super::*;

    #[test]
    fn a_session_id_is_what_fits_one_path_segment_unescaped() {
        for good in ["a", "scs-k6AbCdEfGhIjKlMnOpQrStUvWxY", "A_b-9", &"x".repeat(128)] {
            assert_eq!(SessionId::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", &"x".repeat(129), "a/b", "a%2Fb", "..", "a b", "a?b", "é", "a\0", "a.b", "a\n"] {
            assert_eq!(SessionId::parse(bad), Err(InvalidId::Session), "{bad:?}");
        }
    }

    #[test]
    fn a_space_id_is_what_fits_one_header_field() {
        for good in ["spc-1", "spc-k6TestSpace", &format!("spc-{}", "x".repeat(60))] {
            assert_eq!(SpaceId::parse(good).unwrap().as_str(), good);
        }
        for bad in
            ["", "spc-", "SPC-1", "xspc-1", "spc-a b", "spc-a,spc-b", "spc-é", &format!("spc-{}", "x".repeat(61))]
        {
            assert_eq!(SpaceId::parse(bad), Err(InvalidId::Space), "{bad:?}");
        }
    }

    #[test]
    fn a_borrowed_key_finds_the_owned_one_and_no_other() {
        let key = |space: &str, id: &str, version: &str| Key {
            space: SpaceId::parse(space).unwrap(),
            id: SessionId::parse(id).unwrap(),
            version: Version::parse(version).unwrap(),
        };
        let hasher = foldhash::fast::RandomState::default();
        let owned = key("spc-a", "scs-1", "v1");
        assert_eq!(hasher.hash_one(&owned), hasher.hash_one(owned.as_ref()));
        assert!(owned.as_ref().equivalent(&owned));
        for other in [key("spc-b", "scs-1", "v1"), key("spc-a", "scs-2", "v1"), key("spc-a", "scs-1", "v2")] {
            assert!(!owned.as_ref().equivalent(&other));
        }
    }
}
