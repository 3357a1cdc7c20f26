//! How durations, statuses and ids are written in the JSON of a fault, and ids elsewhere.
//!
//! Refuses a duration without a unit and a status that HTTP could not end an answer with.

use serde::Serializer;

use crate::monime::SessionId;

pub(super) mod duration {
    //! `2s`, `100ms`: a number never says of what.

    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(in super::super) fn serialize<S: Serializer>(span: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&humantime::format_duration(*span))
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(from)?;
        humantime::parse_duration(&text).map_err(|_| D::Error::custom("a duration is written such as `2s` or `100ms`"))
    }
}

pub(super) mod status {
    //! 200 to 599.

    use http::StatusCode;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(in super::super) fn serialize<S: Serializer>(status: &StatusCode, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u16(status.as_u16())
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<StatusCode, D::Error> {
        let number = u16::deserialize(from)?;
        let status = StatusCode::from_u16(number).ok().filter(|_| (200..600).contains(&number));
        status.ok_or_else(|| D::Error::custom("a status is a number from 200 to 599"))
    }
}

pub(in super::super) fn session<S: Serializer>(id: &Option<SessionId>, to: S) -> Result<S::Ok, S::Error> {
    match id {
        Some(id) => to.serialize_some(id.as_str()),
        None => to.serialize_none(),
    }
}
