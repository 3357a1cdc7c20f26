//! One borrowed look at a JSON object's members, in the order they came and without losing repeated ones.
//!
//! Owns the strictness that deciding about money needs: a name that stands twice is not a value, whatever either
//! place says, and an escaped name is the same name. Refuses to build a tree: values stay raw until asked for, and objects
//! are opened under the one name that was given.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// The members of one JSON object; values borrow from the body.
pub(super) struct Object<'a>(Vec<(Text<'a>, Value<'a>)>);

/// A text, unescaped: a member's name above all. A copy only where it has escapes.
struct Text<'a>(Cow<'a, str>);

/// A member's value.
pub(super) enum Value<'a> {
    /// Not yet read.
    Raw(&'a RawValue),
    /// An object that was opened.
    Object(Object<'a>),
    /// Where an object would have been opened, something else.
    Other,
}

/// Whether a `Content-Type` of these bytes says JSON.
#[must_use]
pub fn is_json(content_type: &[u8]) -> bool {
    let media_type = content_type.split(|byte| *byte == b';').next().unwrap_or_default();
    media_type.trim_ascii().eq_ignore_ascii_case(b"application/json")
}

// === impl Object ===

impl<'a> Object<'a> {
    /// Reads a whole document that must be one object. Anything else, trailing bytes too, is an error. Objects that stand
    /// under the name `opened` are read in the same pass, those within them are not.
    pub(super) fn parse(body: &'a [u8], opened: &str) -> serde_json::Result<Self> {
        // Once for all of it; read from a slice, each value would be looked at by itself.
        let text = std::str::from_utf8(body).map_err(Error::custom)?;
        let mut reader = serde_json::Deserializer::from_str(text);
        let object = reader.deserialize_map(Members { opened: Some(opened) })?;
        reader.end()?;
        Ok(object)
    }

    /// Every value that stands under `name`.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &Value<'a>> + Clone {
        self.0.iter().filter(move |(Text(key), _)| key == name).map(|(_, value)| value)
    }

    /// The value under `name` when it stands there exactly once.
    pub(super) fn only(&self, name: &str) -> Option<&Value<'a>> {
        let mut values = self.all(name);
        let value = values.next()?;
        values.next().is_none().then_some(value)
    }
}

// === impl Value ===

impl<'a> Value<'a> {
    /// The object that was opened here.
    pub(super) fn as_object(&self) -> Option<&Object<'a>> {
        match self {
            Self::Object(object) => Some(object),
            Self::Raw(_) | Self::Other => None,
        }
    }

    pub(super) fn as_text(&self) -> Option<Cow<'a, str>> {
        self.read().map(|Text(text)| text)
    }

    pub(super) fn as_bool(&self) -> Option<bool> {
        self.read()
    }

    fn read<T: Deserialize<'a>>(&self) -> Option<T> {
        match self {
            Self::Raw(raw) => serde_json::from_str(raw.get()).ok(),
            Self::Object(_) | Self::Other => None,
        }
    }
}

// === reading ===

/// Reads an object's members.
struct Members<'n> {
    opened: Option<&'n str>,
}

/// Reads the value under the name where objects are opened.
struct Opened;

impl<'de> Visitor<'de> for Members<'_> {
    type Value = Object<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
        let mut members = Vec::with_capacity(16);
        while let Some(Text(name)) = map.next_key()? {
            let is_opened = self.opened == Some(&*name);
            let value = if is_opened { map.next_value_seed(Opened)? } else { Value::Raw(map.next_value()?) };
            members.push((Text(name), value));
        }
        Ok(Object(members))
    }
}

impl<'de> DeserializeSeed<'de> for Opened {
    type Value = Value<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Opened {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Value<'de>, A::Error> {
        Members { opened: None }.visit_map(map).map(Value::Object)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value<'de>, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Value::Other)
    }

    fn visit_unit<E: Error>(self) -> Result<Value<'de>, E> {
        Ok(Value::Other)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Value<'de>, E> {
        Ok(Value::Other)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Value<'de>, E> {
        Ok(Value::Other)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Value<'de>, E> {
        Ok(Value::Other)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Value<'de>, E> {
        Ok(Value::Other)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Value<'de>, E> {
        Ok(Value::Other)
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
