//! The configuration: from what the operator wrote to what the program needs, with every problem said at once.
//!
//! Refuses to start on a guess: an unknown key, a wrong shape, a broken rule, a secret that cannot be read or stands
//! where others see it are all errors. Owns config-rs and the names of the keys; nothing below `lib` knows either.
//!
//! `sources` are inspected by `shape` against `schema` (made from `raw`) and merged; `rules` make a [`Config`] of the
//! result, out of single `values`; `problems` collects what each of them finds.

mod descriptors;
mod effective;
mod fixed;
mod problems;
mod raw;
mod rules;
mod schema;
mod shape;
mod sources;
mod values;

use std::path::PathBuf;
use std::time::Duration;

use http::HeaderName;
use serde::Deserialize;

pub use effective::Effective;
pub use fixed::Fixed;
pub use problems::{Problem, Problems};
pub use sources::{Flag, Sources, TOKEN_VARIABLE};

use crate::caller::{Digest, Named};
use crate::gateway::BodyLimits;
use crate::lookup::Lifetimes;
use crate::monime::{SpaceId, Version};
use crate::secret::Keyring;
use crate::server::tls::Files;
use crate::server::{self, Address};
use crate::telemetry::log::Format;
use crate::upstream::{Quota, Timeouts, Wire};
use raw::Raw;
use rules::{JWKS_URL_KEY, Proofs, Rules};
use schema::Node;

/// Everything the program needs, all of it valid.
#[derive(Debug)]
pub struct Config {
    /// Where services ask.
    pub listen: Listen,
    /// Where operators and probes ask.
    pub admin: Admin,
    /// Who may ask, and for what. None: everyone who reaches the listener, which is then for this machine only.
    pub callers: Vec<Named>,
    /// Whose service-account tokens are believed, if any.
    pub jwt: Option<Jwt>,
    /// Which Monime is asked, and as whom.
    pub monime: Monime,
    /// What is kept, and for how long.
    pub cache: Cache,
    /// How often Monime is asked.
    pub budget: Budget,
    /// How much is borne.
    pub limits: Limits,
    /// How it ends.
    pub shutdown: Shutdown,
    /// What is logged.
    pub log: Log,
    /// The same as written, redacted, with who set each key.
    pub effective: Effective,
    /// The warning that there are too few descriptors for what was asked for, if there are.
    lowered: Option<String>,
}

/// Where services ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// The address. Other machines reach it only where callers are named.
    pub address: Address,
    /// The permissions of its file, if it is a Unix socket; the owner may always read and write.
    pub socket_mode: u32,
    /// What its TLS is made of; without it, it speaks plain HTTP.
    pub tls: Option<Files>,
    /// The header that every request must carry: one that no web page can send to another origin unasked.
    pub require_header: Option<HeaderName>,
}

/// Where operators and probes ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// The address.
    pub address: Address,
    /// The digests of the keys by which operators on other machines prove themselves, each once.
    pub keys: Vec<Digest>,
}

/// Whose service-account tokens are believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Jwt {
    /// The one issuer: a token's `iss`.
    pub issuer: String,
    /// For whom a token must be: one of its `aud`.
    pub audience: String,
    /// Where the issuer's public keys are.
    pub keys: Jwks,
    /// Whether the file with the bearer token for them may be readable by everyone on the machine.
    pub allow_world_readable: bool,
}

/// Where an issuer's public keys are (a JWK Set, RFC 7517).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Jwks {
    /// In a file, which was readable and at most 1 MiB.
    File(PathBuf),
    /// On a server.
    Url {
        /// Which one, and how it is reached: without a proxy.
        wire: Wire,
        /// The path there, and the query if there is one.
        path: String,
        /// The file with the bearer token that it wants, to be read at each use.
        token_file: Option<PathBuf>,
    },
}

/// Which Monime is asked, and as whom.
#[derive(Debug)]
pub struct Monime {
    /// Where it is, and how it is reached.
    pub wire: Wire,
    /// Who chose its proxy, or that there is none: a file, a flag, a variable, or a reason, in words for an operator.
    pub proxy_source: String,
    /// The release that is asked for when a caller names none; one of `versions`.
    pub version: Version,
    /// Every release that a caller may name.
    pub versions: Vec<Version>,
    /// The space of a caller that names none.
    pub default_space: Option<SpaceId>,
    /// Every space that a caller may name, at least one, each once: the default first, if there is one.
    pub spaces: Vec<SpaceId>,
    /// How long one lookup may take, and a write.
    pub timeouts: Timeouts,
    /// A token for each of `spaces`.
    pub keyring: Keyring,
}

/// What is kept, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cache {
    /// The most memory that kept answers may take, in bytes.
    pub max_size: u64,
    /// How long each kind of answer is fresh, and how long it may stand in after that.
    pub lifetimes: Lifetimes,
    /// Whether a caller's `no-cache` asks Monime again.
    pub callers_may_refresh: bool,
}

/// How often Monime is asked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Budget {
    /// The limits that the operator set.
    pub quota: Quota,
    /// Our part of every limit, above 0 and at most 1.
    pub share: f64,
}

/// How much is borne.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most requests that may wait on Monime at a time, at least one.
    pub max_in_flight: usize,
    /// What the listener for services bears.
    pub server: server::Limits,
    /// What the body of a write may be.
    pub body: BodyLimits,
}

/// How it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shutdown {
    /// How long it still accepts after readiness failed.
    pub delay: Duration,
    /// How long connections may take to finish after that; more than zero.
    pub timeout: Duration,
}

/// What is logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// How a line is written.
    pub format: Format,
    /// A level, or a list of directives; `tracing_subscriber::filter::Targets` reads it.
    pub level: String,
}

// === impl Config ===

impl Config {
    /// Reads the sources, the secret and the CA. This is what starting does, so what passes here can start, as far as
    /// files can tell.
    ///
    /// # Errors
    /// Every [`Problem`] there is.
    pub fn load(sources: &Sources) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        let merged = Self::merge(sources, &mut problems);
        let config = merged.and_then(|(raw, effective)| Self::judge(&raw, effective, sources, &mut problems));
        match config {
            Some(config) if problems.is_empty() => Ok(config),
            Some(_) | None => Err(problems.sorted()),
        }
    }

    /// Where operators ask, without looking at any file but the configuration's: a health check must not fail
    /// because a secret that is long loaded cannot be read just now.
    ///
    /// # Errors
    /// Every [`Problem`] of the sources, and that of this one value.
    pub fn admin_address(sources: &Sources) -> Result<Address, Problems> {
        let mut problems = Problems::default();
        let merged = Self::merge(sources, &mut problems);
        let address = merged.and_then(|(raw, effective)| {
            let mut rules = Rules { effective: &effective, problems: &mut problems };
            rules.address("admin.address", &raw.admin.address)
        });
        address.filter(|_| problems.is_empty()).ok_or_else(|| problems.sorted())
    }

    /// What is in order and still worth a second look, each in one sentence for an operator.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let in_the_clear = |key: &str, address: &Address, what: &str| {
            format!("{key} {address} is without TLS: {what} travel in the clear unless something in front does TLS")
        };
        let (listen, admin) = (&self.listen, &self.admin);
        let mut warnings = Vec::new();
        if !listen.address.is_local() && listen.tls.is_none() {
            warnings.push(in_the_clear("listen.address", &listen.address, "gateway keys"));
        }
        if !admin.address.is_local() && !admin.keys.is_empty() {
            warnings.push(in_the_clear("admin.address", &admin.address, "operators' keys"));
        }
        warnings.extend(self.lowered.clone());
        warnings
    }

    fn merge(sources: &Sources, problems: &mut Problems) -> Option<(Raw, Effective)> {
        let schema = schema::schema();
        let merged = sources.merge(Node(&schema), problems).and_then(|settings| {
            let effective = Effective::of(&settings);
            Ok((Raw::deserialize(settings)?, effective))
        });
        // What passed the inspection merges and deserializes. Should it ever not, its words quote values.
        let complain = |_| problems.add("configuration", "all sources", "cannot be merged", "start with fewer sources");
        merged.map_err(complain).ok()
    }

    fn judge(raw: &Raw, mut effective: Effective, sources: &Sources, problems: &mut Problems) -> Option<Self> {
        let mut rules = Rules { effective: &effective, problems };
        let mut proofs = Proofs::default();
        let listen = rules.listen(raw);
        let admin = rules.admin(raw, &mut proofs);
        let token = sources.token();
        let monime = rules.monime(raw, sources, token);
        // After the spaces: a caller is not blamed for one that is wrong there.
        let callers = rules.callers(raw, &mut proofs);
        let jwt = rules.jwt(raw);
        let cache = rules.cache(&raw.cache);
        let budget = rules.budget(&raw.budget);
        let limits = rules.limits(&raw.limits);
        let shutdown = rules.shutdown(&raw.shutdown);
        let log = rules.log(&raw.log);
        effective.note_token(raw.monime.token_file.as_deref(), token.is_some());
        let monime = monime?;
        effective.note_proxy(monime.wire.proxy.as_ref(), &monime.proxy_source);
        effective.hide_query(JWKS_URL_KEY);
        Some(Self {
            listen: listen?,
            admin: admin?,
            callers,
            jwt: jwt?,
            monime,
            cache: cache?,
            budget: budget?,
            limits: limits?,
            shutdown: shutdown?,
            log: log?,
            effective,
            lowered: None,
        })
    }
}

/// The JSON Schema (2020-12) of a configuration file.
#[must_use]
pub fn schema() -> Vec<u8> {
    // A tree of text and numbers always serializes.
    let mut text = serde_json::to_vec_pretty(&schema::schema()).unwrap_or_default();
    text.push(b'\n');
    text
}

#[cfg(test)]
mod tests;
