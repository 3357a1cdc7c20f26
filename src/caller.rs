//! Who asks, and what they may ask for.
//!
//! Owns proving who a caller is, its policy and its rate. Refuses to keep what a caller proved itself with, to let an
//! unproved one pass, and to know HTTP beyond one header field.

mod digest;

use std::sync::Arc;

use crate::monime::SpaceId;

pub use digest::{Digest, InvalidDigest};

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
