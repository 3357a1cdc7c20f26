//! Who asks, and what they may ask for.
//!
//! Owns proving who a caller is, its policy and its rate. Refuses to keep what a caller proved itself with, to let an
//! unproved one pass, and to know HTTP beyond one header field.
//!
//! A request proves itself in one of three ways: by a gateway key, by a Kubernetes service-account token, both in
//! `Authorization`, or by the names in its client certificate. `Authorization` alone decides where it stands: a wrong
//! key is never rescued by a certificate. Cookies, the query and `Proxy-Authorization` never count.

mod callers;
mod credential;
mod digest;
mod issuer;
mod key;
mod keys;
mod meter;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::Extensions;
use tokio::time::Instant;

use crate::monime::SpaceId;
use crate::server::ClientCertificate;
use meter::Meter;

pub use callers::Callers;
pub use credential::{MAX_CREDENTIAL, is_misplaced};
pub use digest::{Digest, InvalidDigest};
pub use issuer::{InvalidJwks, Issuer, MAX_JWKS, MAX_JWKS_KEYS};
pub use key::{GatewayKey, InvalidGatewayKey, NoRandomness, new_key};

/// A caller as the configuration names it: how it proves itself, and what it may ask for.
#[derive(Debug, Clone)]
pub struct Named {
    /// Its name, for logs, metrics and its line at the gate: 1 to 64 of `A-Z a-z 0-9 . _ -`.
    pub name: Arc<str>,
    /// The digests of its gateway keys; several while one is being replaced.
    pub keys: Vec<Digest>,
    /// Names in a client's certificate, each a URI such as a SPIFFE id or a DNS name.
    pub san: Vec<String>,
    /// Kubernetes service accounts, as `namespace/name`.
    pub service_accounts: Vec<String>,
    /// What it may ask for.
    pub policy: Policy,
}

/// What a caller may ask for. What is not named here is denied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The spaces it may name, at least one. With exactly one it need not name it.
    pub spaces: Vec<SpaceId>,
    /// The `operationId`s it may use, as `monime::operation` has them.
    pub operations: Vec<&'static str>,
    /// How often it may ask; without one, as often as it likes.
    pub rate: Option<Rate>,
}

/// How often a caller may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Requests a second, at least one.
    pub per_second: u32,
    /// Requests at once after a pause, at least one.
    pub burst: u32,
}

/// A caller that can be told from all others, with what it may ask for and what is left of its rate.
pub struct Caller {
    name: Arc<str>,
    policy: Policy,
    meter: Option<Meter>,
}

/// Why a request proves no caller. Never carries what was presented.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unproved {
    /// No `Authorization`, and no name in a client certificate.
    Missing,
    /// More than one `Authorization` field: whichever one was taken, another server could take the other.
    Repeated,
    /// `Authorization` has another scheme than `Bearer`.
    Scheme,
    /// What follows `Bearer` is not one space and a token as RFC 6750 section 2.1 spells it; nothing is not one.
    Malformed,
    /// It is longer than [`MAX_CREDENTIAL`].
    TooLong,
    /// The key, the certificate's names or the service account belong to no caller.
    Unknown,
    /// The names in the certificate belong to different callers.
    Ambiguous,
    /// It may be a service-account token, but the issuer's keys have not been taken on yet: not the caller's fault.
    NotReady,
    /// It looks like a service-account token but is not one: not JSON, a claim that is needed is missing, a header
    /// that must be understood is not.
    NoToken,
    /// The token is signed with a key that the issuer does not list, or not by now.
    UnknownKey,
    /// The token's algorithm is not the one of its key, or its signature is not good.
    Forged,
    /// The token is of another issuer.
    Issuer,
    /// The token is for another audience.
    Audience,
    /// The token is past its time.
    Expired,
    /// The token's time has not come.
    NotYet,
}

/// The names in the client certificate of the connection that a request with these extensions came by, as
/// [`Callers::identify`] takes them; no names if there was none.
#[must_use]
pub fn certificate_names(extensions: &Extensions) -> &[String] {
    extensions.get().map(ClientCertificate::names).unwrap_or_default()
}

// === impl Caller ===

impl Caller {
    fn new(name: Arc<str>, policy: Policy, now: Instant) -> Self {
        let meter = policy.rate.map(|rate| Meter::new(rate, now));
        Self { name, policy, meter }
    }

    /// The same caller, whose rate goes on from where `before` has it.
    fn going_on(&self, before: &Self, now: Instant) -> Self {
        let meter = self.policy.rate.map(|rate| match &before.meter {
            Some(meter) => meter.going_on(rate, now),
            None => Meter::new(rate, now),
        });
        Self { name: Arc::clone(&self.name), policy: self.policy.clone(), meter }
    }

    /// Its name in the configuration.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// What it may ask for.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Whether it may use the operation with this `operationId`.
    #[must_use]
    pub fn may(&self, operation: &str) -> bool {
        self.policy.operations.contains(&operation)
    }

    /// Counts one request against its rate.
    ///
    /// # Errors
    /// How long it has to wait until a request would be let through, if nobody else asks in its name. Such a request
    /// is not counted: to ask too early costs nothing.
    pub fn admit(&self, now: Instant) -> Result<(), Duration> {
        self.meter.as_ref().map_or(Ok(()), |meter| meter.admit(now))
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller").field("name", &self.name).field("policy", &self.policy).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
