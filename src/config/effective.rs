//! The configuration in effect: every key with its value and who set it.
//!
//! Refuses to show a secret: the token is a word in brackets, and a value that looks like one too.

use std::collections::BTreeMap;
use std::fmt::Write;

use ::config::{Config, Value, ValueKind};
use serde_json::{Value as Json, json};

use super::rules::{PROXY_KEY, STRAIGHT};
use super::sources::{DEFAULT, TOKEN_KEY, TOKEN_VARIABLE};
use crate::secret::{REDACTED, looks_secret, redact};
use crate::upstream::Proxy;

/// Who set a key that nobody set and that has no default.
pub(super) const NOT_SET: &str = "not set";

/// Every key that has a value.
#[derive(Debug, Clone)]
pub struct Effective(BTreeMap<String, Entry>);

/// One key's value, redacted, and where it came from.
#[derive(Debug, Clone)]
struct Entry {
    value: Json,
    source: String,
}

// === impl Effective ===

impl Effective {
    pub(super) fn of(settings: &Config) -> Self {
        let mut entries = BTreeMap::new();
        collect(&settings.cache, "", &mut entries);
        Self(entries)
    }

    /// Notes the token for spaces without their own, if there is one: from this file, or else from the environment.
    pub(super) fn note_token(&mut self, file: Option<&str>, in_environment: bool) {
        let variable = || in_environment.then(|| format!("environment variable {TOKEN_VARIABLE}"));
        let Some(source) = file.map(|path| format!("file {path}")).or_else(variable) else { return };
        self.0.insert(TOKEN_KEY.to_owned(), Entry { value: REDACTED.into(), source: redact(&source).into_owned() });
    }

    /// Notes the way that is in use, which other variables than ours may have decided.
    pub(super) fn note_proxy(&mut self, proxy: Option<&Proxy>, source: &str) {
        let value = proxy.map_or(STRAIGHT.to_owned(), ToString::to_string);
        self.0.insert(PROXY_KEY.to_owned(), Entry { value: redact(&value).into(), source: source.to_owned() });
    }

    /// Notes that a number is lower than the one that was asked for, and why.
    pub(super) fn note_lowered(&mut self, key: &str, to: usize, why: &str) {
        if let Some(entry) = self.0.get_mut(key) {
            entry.source = format!("{}, lowered from {} {why}", entry.source, entry.value);
            entry.value = json!(to);
        }
    }

    /// Keeps the query of a URL to itself, if there is one: it may hold a key.
    pub(super) fn hide_query(&mut self, key: &str) {
        if let Some(entry) = self.0.get_mut(key)
            && let Some((url, _)) = entry.value.as_str().and_then(|url| url.split_once('?'))
        {
            entry.value = format!("{url}?{REDACTED}").into();
        }
    }

    /// Who set a key; of a place in a list, who set the list.
    pub(super) fn source(&self, path: &str) -> &str {
        let key = path.split('[').next().unwrap_or(path);
        self.0.get(key).map_or(NOT_SET, |entry| &entry.source)
    }

    /// As one JSON object: key → `{value, source}`.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let entries = self.0.iter();
        let all: serde_json::Map<String, Json> =
            entries.map(|(key, entry)| (key.clone(), json!({"value": entry.value, "source": entry.source}))).collect();
        // Text, numbers and lists of them always serialize.
        let mut text = serde_json::to_vec_pretty(&all).unwrap_or_default();
        text.push(b'\n');
        text
    }

    /// As TOML, one key a line, each with its source as a comment.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let lines: Vec<_> =
            self.0.iter().map(|(key, entry)| (format!("{key} = {}", toml(&entry.value)), &entry.source)).collect();
        let width = lines.iter().map(|(line, _)| line.chars().count()).filter(|width| *width <= 60).max().unwrap_or(0);
        let mut text = String::new();
        for (line, source) in lines {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{line:width$}  # from {source}");
        }
        text
    }
}

fn collect(value: &Value, path: &str, entries: &mut BTreeMap<String, Entry>) {
    if let ValueKind::Table(table) = &value.kind {
        for (name, below) in table {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            collect(below, &path, entries);
        }
    } else {
        let source = redact(value.origin().unwrap_or(DEFAULT)).into_owned();
        entries.insert(path.to_owned(), Entry { value: json_of(&value.kind), source });
    }
}

fn json_of(kind: &ValueKind) -> Json {
    match kind {
        ValueKind::Nil => Json::Null,
        ValueKind::Boolean(value) => json!(value),
        ValueKind::I64(value) => json!(value),
        ValueKind::U64(value) => json!(value),
        ValueKind::Float(value) => json!(value),
        ValueKind::String(text) if looks_secret(text) => json!(REDACTED),
        ValueKind::String(text) => json!(text),
        ValueKind::I128(value) => json!(value.to_string()),
        ValueKind::U128(value) => json!(value.to_string()),
        ValueKind::Table(table) => table.iter().map(|(name, value)| (name.clone(), json_of(&value.kind))).collect(),
        ValueKind::Array(list) => list.iter().map(|value| json_of(&value.kind)).collect(),
    }
}

/// A value in TOML. Its basic strings have the escapes of JSON.
fn toml(value: &Json) -> String {
    match value {
        Json::Object(table) => {
            let pairs: Vec<_> = table.iter().map(|(name, value)| format!("{name} = {}", toml(value))).collect();
            format!("{{ {} }}", pairs.join(", "))
        }
        Json::Array(list) => format!("[{}]", list.iter().map(toml).collect::<Vec<_>>().join(", ")),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => value.to_string(),
    }
}
