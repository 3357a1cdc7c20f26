//! From what the operator wrote to what the program needs, by the rules that every value must keep.
//!
//! Refuses to stop at the first broken rule, and to judge anew what already has the wrong shape.

mod callers;
mod digests;
mod jwt;
mod limits;
mod listen;
mod monime;
mod proxy;
mod tls;
mod tokens;

use std::path::Path;
use std::time::Duration;

pub(super) use digests::Proofs;
pub(super) use jwt::URL as JWKS_URL_KEY;
pub(super) use proxy::{PROXY_KEY, STRAIGHT};

use super::effective::{Effective, NOT_SET};
use super::problems::{Problems, shown};
use super::raw;
use super::values::{self, Bounds};
use super::{Budget, Cache, Log, Shutdown};
use crate::lookup::{Lifetimes, StaleIfError, Ttl};
use crate::telemetry::log::Format;
use crate::upstream::Quota;

const MINUTE: Duration = Duration::from_secs(60);
/// What a final answer could still become is looked at again at least once a month.
const TTL: Bounds = Bounds::new(Duration::ZERO, MINUTE.saturating_mul(60 * 24 * 30));
/// An orchestrator that waits longer than this for an end is not known.
const DELAY: Bounds = Bounds::new(Duration::ZERO, MINUTE.saturating_mul(60));
/// The same, but no time at all would cut every connection.
const DRAIN: Bounds = Bounds::new(Duration::from_millis(1), MINUTE.saturating_mul(60));
/// Below this a single answer at its bound would not fit.
const MIN_CACHE: u64 = 1 << 20;

/// A CA or a set of public keys larger than this is none.
const MAX_FILE: u64 = 1 << 20;
/// With a smaller part of a limit than this nobody is served.
const MIN_SHARE: f64 = 0.001;

/// Judges values, and says of each broken rule who broke it.
pub(super) struct Rules<'a> {
    pub(super) effective: &'a Effective,
    pub(super) problems: &'a mut Problems,
}

// === impl Rules ===

impl Rules<'_> {
    pub(super) fn broken(&mut self, key: &str, rule: impl Into<String>, fix: impl Into<String>) {
        let source = self.effective.source(key);
        // It may well be set in the file that could not be read: that one is to be mended first.
        let unknown = source == NOT_SET && self.problems.lost_a_file();
        if !unknown && !self.problems.concern(key) {
            self.problems.add(key, source, rule, fix);
        }
    }

    /// What such a file holds: what is read here is small, and a pipe would never end.
    fn file(&mut self, key: &str, path: &Path, fix: &str) -> Option<Vec<u8>> {
        let read = match std::fs::metadata(path) {
            Ok(file) if !file.is_file() => Err("it is not a regular file".to_owned()),
            Ok(file) if file.len() > MAX_FILE => Err(format!("it is larger than {MAX_FILE} bytes")),
            Ok(_) => std::fs::read(path).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        let complain = |error| self.broken(key, format!("{} cannot be read: {error}", path.display()), fix);
        read.map_err(complain).ok()
    }

    /// The certificates of a CA in front of whom we ask.
    fn ca(&mut self, key: &str, path: &Path) -> Option<Vec<u8>> {
        let fix = "give a PEM file with the certificates of the CA, or leave the key away to trust the public ones";
        let pem = self.file(key, path, fix)?;
        let trusted = crate::upstream::roots(&pem).map(|_| ());
        let complain = |error| self.broken(key, format!("{} cannot be trusted: {error}", path.display()), fix);
        trusted.map_err(complain).ok().map(|()| pem)
    }

    pub(super) fn duration(&mut self, key: &str, text: &str, bounds: Bounds) -> Option<Duration> {
        let duration = values::duration(text, bounds);
        let complain = |rule| {
            self.broken(key, format!("{} {rule}", shown(text)), "write a number with ms, s, m, h or d, such as 2s")
        };
        duration.map_err(complain).ok()
    }

    pub(super) fn cache(&mut self, raw: &raw::Cache) -> Option<Cache> {
        let raw::Size(text) = &raw.max_size;
        let max_size = values::size(text);
        let rule = match max_size {
            None => Some("is not a size"),
            Some(bytes) if bytes < MIN_CACHE => Some("is less than 1MiB"),
            Some(_) => None,
        };
        if let Some(rule) = rule {
            let fix = "write a size such as 64MiB, at least 1MiB";
            self.broken("cache.max_size", format!("{} {rule}", shown(text)), fix);
        }
        let completed = self.duration("cache.ttl.completed", &raw.ttl.completed, TTL);
        let cancelled = self.duration("cache.ttl.cancelled", &raw.ttl.cancelled, TTL);
        let expired = self.duration("cache.ttl.expired", &raw.ttl.expired, TTL);
        let absent = self.duration("cache.ttl.absent", &raw.ttl.absent, TTL);
        let stale_if_error = self.stale_if_error(&raw.stale_if_error);
        let ttl = Ttl { completed: completed?, cancelled: cancelled?, expired: expired?, absent: absent? };
        let lifetimes = Lifetimes { ttl, stale_if_error: stale_if_error? };
        Some(Cache { max_size: max_size?, lifetimes, callers_may_refresh: raw.callers_may_refresh })
    }

    fn stale_if_error(&mut self, raw: &raw::StaleIfError) -> Option<StaleIfError> {
        let completed = self.duration("cache.stale_if_error.completed", &raw.completed, TTL);
        let cancelled = self.duration("cache.stale_if_error.cancelled", &raw.cancelled, TTL);
        let expired = self.duration("cache.stale_if_error.expired", &raw.expired, TTL);
        Some(StaleIfError { completed: completed?, cancelled: cancelled?, expired: expired? })
    }

    pub(super) fn budget(&mut self, raw: &raw::Budget) -> Option<Budget> {
        let mut rate = |key: &str, rate: Option<i64>| {
            let Some(rate) = rate else { return Some(None) };
            let granted = u32::try_from(rate).ok().filter(|rate| (1..=Quota::MAX).contains(rate));
            if granted.is_none() {
                let fix = format!("choose a number from 1 to {}, or leave it away for what Monime grants", Quota::MAX);
                self.broken(key, format!("{rate} is out of range"), fix);
            }
            granted.map(Some)
        };
        let endpoint = rate("budget.endpoint", raw.endpoint);
        let token = rate("budget.token", raw.token);
        let space = rate("budget.space", raw.space);
        let is_share = (MIN_SHARE..=1.0).contains(&raw.share);
        if !is_share {
            let rule = format!("{} is not from {MIN_SHARE} to 1", raw.share);
            self.broken("budget.share", rule, "write 1.0, or one divided by how many gateways share the token");
        }
        let quota = Quota { endpoint: endpoint?, token: token?, space: space? };
        is_share.then_some(Budget { quota, share: raw.share })
    }

    pub(super) fn shutdown(&mut self, raw: &raw::Shutdown) -> Option<Shutdown> {
        let delay = self.duration("shutdown.delay", &raw.delay, DELAY);
        let timeout = self.duration("shutdown.timeout", &raw.timeout, DRAIN);
        Some(Shutdown { delay: delay?, timeout: timeout? })
    }

    pub(super) fn log(&mut self, raw: &raw::Log) -> Option<Log> {
        let format = match raw.format.as_str() {
            "json" => Some(Format::Json),
            "text" => Some(Format::Text),
            _ => None,
        };
        if format.is_none() {
            let rule = format!("{} is no format of a log", shown(&raw.format));
            self.broken("log.format", rule, "choose json or text");
        }
        let level = values::is_log_level(&raw.level).then(|| raw.level.clone());
        if level.is_none() {
            let fix = "choose error, warn, info, debug, trace or off, or a list such as info,monigate::upstream=debug";
            self.broken("log.level", format!("{} is no level", shown(&raw.level)), fix);
        }
        Some(Log { format: format?, level: level? })
    }
}
