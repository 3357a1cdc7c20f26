//! One borrowed look at a JSON object's members, in the order they came and without losing repeated ones.
//!
//! Owns the strictness that deciding about money needs: a name that stands twice is not a value, whatever either
//! place says, and an escaped name is the same name. Refuses to build a tree: values stay raw until asked for.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The members of one JSON object; values borrow from the body.
pub(super) struct Object<'a>(Vec<(Text<'a>, &'a RawValue)>);

/// A text, unescaped: a member's name above all. A copy only where it has escapes.
struct Text<'a>(Cow<'a, str>);

/// A member's value, not yet read.
#[derive(Clone, Copy)]
pub(super) struct Raw<'a>(&'a RawValue);

/// Whether a `Content-Type` of these bytes says JSON.
#[must_use]
pub fn is_json(content_type: &[u8]) -> bool {
    let media_type = content_type.split(|byte| *byte == b';').next().unwrap_or_default();
    media_type.trim_ascii().eq_ignore_ascii_case(b"application/json")
}

impl<'a> Object<'a> {
    /// Reads a whole document that must be one object. Anything else, trailing bytes too, is an error.
    pub(super) fn parse(body: &'a [u8]) -> serde_json::Result<Self> {
        // Once for all of it; read from a slice, each value would be looked at by itself.
        serde_json::from_str(std::str::from_utf8(body).map_err(Error::custom)?)
    }

    /// Every value that stands under `name`.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = Raw<'a>> {
        self.0.iter().filter(move |(Text(key), _)| key == name).map(|(_, value)| Raw(value))
    }

    /// The value under `name` when it stands there exactly once.
    pub(super) fn only(&self, name: &str) -> Option<Raw<'a>> {
        let mut values = self.all(name);
        let value = values.next()?;
        values.next().is_none().then_some(value)
    }
}

impl<'a> Raw<'a> {
    pub(super) fn as_object(self) -> Option<Object<'a>> {
        serde_json::from_str(self.0.get()).ok()
    }

    pub(super) fn as_text(self) -> Option<Cow<'a, str>> {
        serde_json::from_str(self.0.get()).ok().map(|Text(text)| text)
    }

    pub(super) fn as_bool(self) -> Option<bool> {
        serde_json::from_str(self.0.get()).ok()
    }

    pub(super) fn is_object(self) -> bool {
        self.0.get().starts_with('{')
    }
}

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Object<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::with_capacity(16);
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Object(members))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reading;
        impl<'de> Visitor<'de> for Reading {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }
            fn visit_borrowed_str<E: Error>(self, name: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(name)))
            }
            fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(name.to_owned())))
            }
        }
        deserializer.deserialize_str(Reading)
    }
}
