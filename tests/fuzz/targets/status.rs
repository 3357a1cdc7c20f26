//! A session is called completed, or anything else, only if a strict and separate reading of the whole body says so: that
//! its `success` is true, and that its `result` has the id that was asked for and that status. Whatever is not JSON is not
//! Monime's.
//!
//! The first line of the input is the status code, the rest is the body.

#![no_main]

use std::cell::Cell;
use std::fmt;

use http::StatusCode;
use libfuzzer_sys::{Corpus, fuzz_target};
use monigate::monime::verdict::{Verdict, judge};
use monigate::monime::{Final, Flaw, SessionIdRef};
use serde::de::{Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Value, from_slice};

const ASKED: &str = "scs-1";

fuzz_target!(|data: &[u8]| -> Corpus {
    let Some(end) = data.iter().position(|byte| *byte == b'\n') else { return Corpus::Reject };
    let status = std::str::from_utf8(&data[..end]).ok().and_then(|text| text.parse().ok());
    let Some(Ok(status)) = status.map(StatusCode::from_u16) else { return Corpus::Reject };
    let body = &data[end + 1..];
    let asked = SessionIdRef::parse(ASKED).expect("an id");
    let judged = judge(asked, status, body);
    match from_slice(body) {
        Ok(value) => {
            if let Ok(Verdict::Final(settled)) = judged {
                assert_eq!(status, StatusCode::OK);
                assert_eq!(session(&value), Some(settled.as_str()), "{}", String::from_utf8_lossy(body));
                assert!(is_said_once(body), "{}", String::from_utf8_lossy(body));
            }
            if !repeats_a_name(body) {
                assert_eq!(judged, expected(status, &value), "{status} {}", String::from_utf8_lossy(body));
            }
        }
        // A whole reading refuses more than a reading of names does: numbers out of range, broken surrogates, great depth.
        Err(error) if is_about_a_value(&error) => {}
        Err(_) => assert_eq!(judged, judge(asked, status, b"<html>"), "{status} {}", String::from_utf8_lossy(body)),
    }
    Corpus::Keep
});

/// The status of the session that was asked for, if that is what the body is.
fn session(value: &Value) -> Option<&str> {
    let result = value.as_object()?.get("result")?.as_object()?;
    let is_it = value["success"] == true && result.get("id")? == ASKED && !result.contains_key("result");
    result.get("status")?.as_str().filter(|_| is_it)
}

/// Whether everything that is judged by stands there once.
fn is_said_once(body: &[u8]) -> bool {
    let once = |object: &Members, wanted| object.0.iter().filter(|(name, _)| name == wanted).count() == 1;
    let Ok(answer) = from_slice::<Members>(body) else { return false };
    let result = answer.0.iter().find(|(name, _)| name == "result");
    let result = result.and_then(|(_, text)| from_slice::<Members>(text.get().as_bytes()).ok());
    let session = result.is_some_and(|result| once(&result, "id") && once(&result, "status"));
    session && once(&answer, "success") && once(&answer, "result")
}

/// What a body without repeated names means.
fn expected(status: StatusCode, value: &Value) -> Result<Verdict, Flaw> {
    let is_error = value.is_object() && value["success"] == false && value["error"].is_object();
    match status.as_u16() {
        200 => match (value["result"].is_object(), value["result"].get("id")) {
            (true, Some(id)) if id != ASKED => Err(Flaw::Mismatch),
            _ => Ok(match session(value) {
                Some("completed") => Verdict::Final(Final::Completed),
                Some("cancelled") => Verdict::Final(Final::Cancelled),
                Some("expired") => Verdict::Final(Final::Expired),
                Some("pending") => Verdict::Pending,
                Some(_) | None => Verdict::Unknown,
            }),
        },
        401 => Err(Flaw::Credentials),
        429 => Err(Flaw::Throttled),
        404 if is_error => Ok(Verdict::Absent),
        400..=499 if is_error => Ok(Verdict::Word),
        400..=499 => Err(Flaw::Unreadable),
        503 => Err(Flaw::Unavailable),
        504 => Err(Flaw::TimedOut),
        500..=599 => Err(Flaw::Failed),
        _ => Err(Flaw::Unexpected),
    }
}

fn is_about_a_value(error: &serde_json::Error) -> bool {
    let said = error.to_string();
    ["number out of range", "surrogate", "hex escape", "recursion limit"].iter().any(|words| said.contains(words))
}

/// Whether a name stands twice in one object, wherever that is.
fn repeats_a_name(body: &[u8]) -> bool {
    let repeats = Cell::new(false);
    let read = Names(&repeats).deserialize(&mut serde_json::Deserializer::from_slice(body));
    read.is_err() || repeats.get()
}

/// Reads everything for its names.
#[derive(Clone, Copy)]
struct Names<'a>(&'a Cell<bool>);

impl<'de> DeserializeSeed<'de> for Names<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Names<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut names = std::collections::HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            if !names.insert(name) {
                self.0.set(true);
            }
            map.next_value_seed(self)?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(self)?.is_some() {}
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// An object's members in their order, each as often as it is there.
struct Members(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Gather)
    }
}

struct Gather;

impl<'de> Visitor<'de> for Gather {
    type Value = Members;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Members(members))
    }
}
