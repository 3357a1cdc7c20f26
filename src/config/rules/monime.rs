//! The rules for whom we ask: origin, CA, releases, spaces, time-outs. The way there is `proxy`'s, as whom is `tokens`'.
//!
//! Refuses to repeat an id or a URL that is wrong: these are the places where a token is pasted by mistake.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use super::Rules;
use crate::config::Monime;
use crate::config::problems::shown;
use crate::config::raw::{self, Raw};
use crate::config::sources::Sources;
use crate::config::values::Bounds;
use crate::monime::{SpaceId, Version};
use crate::upstream::{Origin, Timeouts, Wire};

/// Longer than five minutes nobody waits for an answer.
const TIMEOUT: Bounds = Bounds::new(Duration::from_millis(1), Duration::from_secs(5 * 60));

// === impl Rules ===

impl Rules<'_> {
    pub(in crate::config) fn monime(&mut self, all: &Raw, sources: &Sources, token: Option<&str>) -> Option<Monime> {
        let raw = &all.monime;
        let origin = raw.base_url.parse::<Origin>();
        if let Err(error) = &origin {
            // Never the text: a URL may hold a password.
            self.broken("monime.base_url", error.to_string(), "write it like https://api.monime.io");
        }
        let egress = self.egress(raw, &all.security, sources, origin.as_ref().ok());
        let ca_pem = raw.ca_file.as_ref().map(|path| self.ca("monime.ca_file", Path::new(path)));
        let (version, versions) = self.versions(raw);
        let (default_space, spaces) = self.spaces(raw);
        let timeouts = self.timeouts(&raw.timeouts);
        let keyring = self.keyring(all, token, &spaces);
        // No CA asked for is fine, one that cannot be used is not.
        let ca_pem = match ca_pem {
            Some(pem) => Some(pem?),
            None => None,
        };
        let (timeouts, egress) = (timeouts?, egress?);
        Some(Monime {
            wire: Wire { origin: origin.ok()?, ca_pem, connect: timeouts.connect, proxy: egress.proxy },
            proxy_source: egress.source,
            version: version?,
            versions,
            default_space,
            spaces,
            timeouts,
            keyring: keyring?,
        })
    }

    fn versions(&mut self, raw: &raw::Monime) -> (Option<Version>, Vec<Version>) {
        let fix = "write it as Monime does, such as caph.2025-08-23";
        let version = Version::parse(&raw.version);
        if let Err(error) = &version {
            self.broken("monime.version", error.to_string(), fix);
        }
        let mut versions = Vec::new();
        for (index, text) in raw.versions.iter().enumerate() {
            let key = format!("monime.versions[{index}]");
            match Version::parse(text) {
                Ok(version) if versions.contains(&version) => self.broken(&key, "stands there twice", "remove one"),
                Ok(version) => versions.push(version),
                Err(error) => self.broken(&key, error.to_string(), fix),
            }
        }
        if let Ok(version) = &version
            && !versions.contains(version)
        {
            let rule = format!("does not hold monime.version, {}", shown(version.as_str()));
            self.broken("monime.versions", rule, "add it: a caller may name the release that is the default");
        }
        (version.ok(), versions)
    }

    /// The default space, and every space that is allowed, each once.
    fn spaces(&mut self, raw: &raw::Monime) -> (Option<SpaceId>, Vec<SpaceId>) {
        let fix = "copy the id from Monime's dashboard; it begins with spc-";
        let mut read = |key: &str, text: &str| {
            let space = SpaceId::parse(text);
            space.map_err(|error| self.broken(key, error.to_string(), fix)).ok()
        };
        let default = raw.default_space.as_ref().and_then(|text| read("monime.default_space", text));
        let (mut listed, mut seen) = (Vec::new(), HashSet::new());
        for (index, space) in raw.spaces.iter().enumerate() {
            let key = format!("monime.spaces[{index}].id");
            let Some(text) = &space.id else {
                self.broken(&format!("monime.spaces[{index}]"), "has no id", "add id = \"spc-…\"");
                continue;
            };
            match SpaceId::parse(text) {
                Ok(_) if !seen.insert(text) => self.broken(&key, "stands there twice", "remove one"),
                Ok(space) => listed.push(space),
                Err(error) => self.broken(&key, error.to_string(), fix),
            }
        }
        if raw.default_space.is_none() && raw.spaces.is_empty() && !self.problems.concern("monime.spaces") {
            self.broken("monime.default_space", "no space is allowed, so every lookup would be refused", fix);
        }
        let others = listed.into_iter().filter(|space| Some(space) != default.as_ref());
        let all = default.iter().cloned().chain(others).collect();
        (default, all)
    }

    fn timeouts(&mut self, raw: &raw::Timeouts) -> Option<Timeouts> {
        let connect = self.duration("monime.timeouts.connect", &raw.connect, TIMEOUT);
        let attempt = self.duration("monime.timeouts.attempt", &raw.attempt, TIMEOUT);
        let total = self.duration("monime.timeouts.total", &raw.total, TIMEOUT);
        self.nested("monime.timeouts.connect", connect, "monime.timeouts.attempt", attempt);
        let write = self.duration("monime.timeouts.write", &raw.write, TIMEOUT);
        self.nested("monime.timeouts.attempt", attempt, "monime.timeouts.total", total);
        self.nested("monime.timeouts.attempt", attempt, "monime.timeouts.write", write);
        Some(Timeouts { connect: connect?, attempt: attempt?, total: total?, write: write? })
    }

    /// The first must fit into the second.
    fn nested(&mut self, inner: &str, one: Option<Duration>, outer: &str, other: Option<Duration>) {
        let (Some(one), Some(other)) = (one, other) else { return };
        if one > other && !self.problems.touch(outer) && !self.problems.touch(inner) {
            let [one, other] = [one, other].map(humantime::format_duration);
            self.broken(
                inner,
                format!("{one} is longer than {outer}, {other}"),
                format!("shorten it or raise {outer}"),
            );
        }
    }
}
