//! From what the operator wrote to what the program needs, by the rules that every value must keep.
//!
//! Refuses to stop at the first broken rule, and to judge anew what already has the wrong shape.

mod monime;
mod proxy;
mod tokens;

use std::time::Duration;

pub(super) use proxy::{PROXY_KEY, STRAIGHT};

use super::effective::{Effective, NOT_SET};
use super::problems::{Problems, shown};
use super::raw::{self, Raw};
use super::values::{self, Bounds};
use super::{Budget, Cache, Log, Shutdown};
use crate::lookup::{Lifetimes, StaleIfError, Ttl};
use crate::server::Address;
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

    pub(super) fn addresses(&mut self, raw: &Raw) -> (Option<Address>, Option<Address>) {
        let listen = self.address("listen.address", &raw.listen.address);
        let admin = self.address("admin.address", &raw.admin.address);
        if listen.as_ref().is_some_and(|address| !address.is_local()) {
            self.broken(
                "listen.address",
                format!(
                    "{} can be reached from other machines, and without named callers everyone who reaches it is \
                     served with the token",
                    shown(&raw.listen.address)
                ),
                "bind a loopback address such as 127.0.0.1:8080, or a socket such as unix:/run/monigate/gateway.sock",
            );
        }
        if let (Some(listen), Some(admin)) = (&listen, &admin)
            && collide(listen, admin)
        {
            let rule = format!("{admin} is taken by listen.address");
            self.broken("admin.address", rule, "choose another port or another path");
        }
        (listen, admin)
    }

    pub(super) fn address(&mut self, key: &str, text: &str) -> Option<Address> {
        let address = text.parse().ok();
        if address.is_none() {
            let fix = "write IP:PORT such as 127.0.0.1:8080 or [::1]:8080, or unix:/absolute/path";
            self.broken(key, format!("{} is no address", shown(text)), fix);
        }
        address
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

    pub(super) fn max_in_flight(&mut self, raw: &raw::Limits) -> Option<usize> {
        let fits = (1..=65_536).contains(&raw.max_in_flight);
        if !fits {
            let rule = format!("{} is out of range", raw.max_in_flight);
            self.broken("limits.max_in_flight", rule, "choose a number from 1 to 65536");
        }
        usize::try_from(raw.max_in_flight).ok().filter(|_| fits)
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

/// Whether the two cannot both be bound. Port 0 is another one each time; all addresses include every single one.
fn collide(one: &Address, other: &Address) -> bool {
    match (one, other) {
        (Address::Tcp(one), Address::Tcp(other)) => {
            let overlap = one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
            one.port() != 0 && one.port() == other.port() && overlap
        }
        (Address::Unix(one), Address::Unix(other)) => one == other,
        (Address::Tcp(_), Address::Unix(_)) | (Address::Unix(_), Address::Tcp(_)) => false,
    }
}
