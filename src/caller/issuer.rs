//! Kubernetes service-account tokens: who issues them, and whose a token is.
//!
//! Owns what makes a token good: the algorithm of its key, the signature, issuer, audience, time and subject. Refuses
//! to fetch the issuer's keys: they are brought, and [`Issuer::unknown_key`] tells when newer ones are missed. The
//! time is the system's, as everywhere in tokens.

mod jwks;

use std::fmt;

use arc_swap::ArcSwap;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Validation, decode, decode_header};
use serde::Deserialize;
use tokio::sync::Notify;

use super::Unproved;
use jwks::{Key, KeySet};

pub use jwks::{InvalidJwks, MAX_JWKS, MAX_JWKS_KEYS};

/// How far clocks may be apart, in seconds. Tokens live for minutes at least.
const CLOCK_SKEW: u64 = 30;
/// What the subject of every service account begins with.
const SUBJECT_PREFIX: &str = "system:serviceaccount:";

/// The issuer of service-account tokens, with its keys as they were last brought.
pub struct Issuer {
    issuer: Box<str>,
    audience: Box<str>,
    /// Empty until the first set was taken on.
    keys: ArcSwap<KeySet>,
    unknown_key: Notify,
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
}

// === impl Issuer ===

impl Issuer {
    /// An issuer without keys: nothing is proved until [`take_on`](Self::take_on) brought some. `issuer` and
    /// `audience` are compared byte for byte with the claims `iss` and `aud` (one of a list is enough).
    #[must_use]
    pub fn new(issuer: impl Into<Box<str>>, audience: impl Into<Box<str>>) -> Self {
        let (issuer, audience) = (issuer.into(), audience.into());
        Self { issuer, audience, keys: ArcSwap::default(), unknown_key: Notify::new() }
    }

    /// Puts a JSON Web Key Set (RFC 7517) in the place of the one before, as a whole. Keys that sign nothing for us
    /// are left out. Returns how many are in use.
    ///
    /// # Errors
    /// [`InvalidJwks`]; then the set before stays in use.
    pub fn take_on(&self, jwks: &[u8]) -> Result<usize, InvalidJwks> {
        let keys = KeySet::read(jwks, |algorithm| self.validation(algorithm))?;
        let count = keys.len();
        self.keys.store(keys.into());
        Ok(count)
    }

    /// Whether there are keys, so that tokens can be told good from bad.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.keys.load().len() > 0
    }

    /// Resolves when a token named a key that is not in the set: newer keys may be missed. Whoever follows the hint has
    /// to limit how often, for anyone can make up the name of a key. Hints that nobody waits for become one.
    ///
    /// Cancel-safe: a hint that was not taken stays for who asks next.
    pub async fn unknown_key(&self) {
        self.unknown_key.notified().await;
    }

    /// The subject of a good token.
    ///
    /// # Errors
    /// [`Unproved`] when it is not good, or not for us, or not now.
    pub(super) fn subject(&self, token: &[u8]) -> Result<String, Unproved> {
        let keys = self.keys.load();
        if keys.len() == 0 {
            return Err(Unproved::NotReady);
        }
        let header = decode_header(token).map_err(|error| why(error.kind()))?;
        // RFC 7515 section 4.1.11: what is marked as critical must be understood, and we understand nothing of it.
        if header.crit.is_some() {
            return Err(Unproved::NoToken);
        }
        let Some(Key { key, validation }) = keys.find(header.kid.as_deref()) else {
            // Newer keys do not help a token that names none.
            if header.kid.is_some() {
                self.unknown_key.notify_one();
            }
            return Err(Unproved::UnknownKey);
        };
        let token = decode::<Claims>(token, key, validation).map_err(|error| why(error.kind()))?;
        Ok(token.claims.sub)
    }

    /// What a token must hold that is signed with this algorithm, and with no other.
    fn validation(&self, algorithm: jsonwebtoken::Algorithm) -> Validation {
        let mut validation = Validation::new(algorithm);
        validation.leeway = CLOCK_SKEW;
        validation.validate_nbf = true;
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.set_issuer(&[&self.issuer]);
        validation.set_audience(&[&self.audience]);
        validation
    }
}

/// Whether it may be a token: three parts with dots between them.
pub(super) fn is_token_shaped(credential: &[u8]) -> bool {
    let mut parts = credential.split(|byte| *byte == b'.');
    parts.by_ref().take(3).filter(|part| !part.is_empty()).count() == 3 && parts.next().is_none()
}

/// The subject of a service account's tokens, from `namespace/name`. None if it is not of that form.
pub(super) fn subject_of(account: &str) -> Option<String> {
    let (namespace, name) = account.split_once('/')?;
    // A colon or a second slash could make one account pass for another.
    let is_part = |part: &str| !part.is_empty() && !part.contains(['/', ':']);
    (is_part(namespace) && is_part(name)).then(|| format!("{SUBJECT_PREFIX}{namespace}:{name}"))
}

fn why(kind: &ErrorKind) -> Unproved {
    if matches!(kind, ErrorKind::ExpiredSignature) {
        Unproved::Expired
    } else if matches!(kind, ErrorKind::ImmatureSignature) {
        Unproved::NotYet
    } else if matches!(kind, ErrorKind::InvalidIssuer) {
        Unproved::Issuer
    } else if matches!(kind, ErrorKind::InvalidAudience) {
        Unproved::Audience
    } else if matches!(kind, ErrorKind::InvalidSignature | ErrorKind::InvalidAlgorithm) {
        Unproved::Forged
    } else {
        Unproved::NoToken
    }
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuer")
            .field("issuer", &self.issuer)
            .field("audience", &self.audience)
            .field("keys", &self.keys.load().len())
            .finish()
    }
}

#[cfg(test)]
mod tests;
