//! The keys of an issuer, read from a JSON Web Key Set (RFC 7517).
//!
//! Owns which keys may prove anything: RSA of 2048 bits and more for RS256, P-256 for ES256, P-384 for ES384. That is
//! what Kubernetes signs with, but for ES512, which the library does not know. Refuses to let a token choose among
//! algorithms: each key has one.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind, Validation};
use serde::Deserialize;
use serde_json::value::RawValue;

/// The largest key set that is read, in bytes. Kubernetes' own have a few hundred for each key.
pub const MAX_JWKS: usize = 1 << 20;
/// The most keys that a set may list. Kubernetes has two while it rotates.
pub const MAX_JWKS_KEYS: usize = 100;
/// RSA below this is refused (NIST SP 800-131A); above the second it would only cost time.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// Why a text is no key set to rely on. Never carries the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidJwks {
    /// More than [`MAX_JWKS`].
    #[error("the key set is larger than {MAX_JWKS} bytes: is this the issuer's jwks_uri?")]
    TooLarge,
    /// Not a JSON object with a list `keys`.
    #[error("this is no JSON Web Key Set, which is an object with a list `keys`: is this the issuer's jwks_uri?")]
    NotJwks,
    /// More than [`MAX_JWKS_KEYS`].
    #[error("the key set lists more than {MAX_JWKS_KEYS} keys")]
    TooManyKeys,
    /// None of its keys may sign a token: with it everyone would be refused.
    #[error(
        "the key set has no key that can be used: RSA of at least 2048 bits (RS256), P-256 (ES256) or P-384 (ES384), to sign with"
    )]
    NoUsableKey,
}

/// A key with what a token must hold that is signed with it.
pub(super) struct Key {
    pub(super) key: DecodingKey,
    pub(super) validation: Validation,
}

/// The keys in use, by their ids.
#[derive(Default)]
pub(super) struct KeySet {
    keys: Vec<Key>,
    by_id: HashMap<String, usize, RandomState>,
}

#[derive(Deserialize)]
struct Listed<'a> {
    /// Each is looked at by itself, so that a key of a kind that nobody heard of keeps nobody from the others.
    #[serde(borrow)]
    keys: Vec<&'a RawValue>,
}

// === impl KeySet ===

impl KeySet {
    /// Reads a set; `validation` says what goes with an algorithm.
    pub(super) fn read(jwks: &[u8], validation: impl Fn(Algorithm) -> Validation) -> Result<Self, InvalidJwks> {
        if jwks.len() > MAX_JWKS {
            return Err(InvalidJwks::TooLarge);
        }
        let listed: Listed<'_> = serde_json::from_slice(jwks).map_err(|_| InvalidJwks::NotJwks)?;
        if listed.keys.len() > MAX_JWKS_KEYS {
            return Err(InvalidJwks::TooManyKeys);
        }
        let mut set = Self::default();
        for jwk in listed.keys {
            let Ok(jwk) = serde_json::from_str::<Jwk>(jwk.get()) else { continue };
            let Some((algorithm, key)) = usable(&jwk) else { continue };
            // The same key listed twice has the same id in Kubernetes; the first is as good as the second.
            if let Some(id) = jwk.common.key_id
                && *set.by_id.entry(id).or_insert(set.keys.len()) != set.keys.len()
            {
                continue;
            }
            set.keys.push(Key { key, validation: validation(algorithm) });
        }
        if set.keys.is_empty() { Err(InvalidJwks::NoUsableKey) } else { Ok(set) }
    }

    /// The key with this id; without one, the only key.
    pub(super) fn find(&self, id: Option<&str>) -> Option<&Key> {
        match (id, self.keys.as_slice()) {
            (Some(id), keys) => self.by_id.get(id).and_then(|place| keys.get(*place)),
            (None, [only]) => Some(only),
            (None, _) => None,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }
}

/// A key that may sign tokens, with the one algorithm it is for.
fn usable(jwk: &Jwk) -> Option<(Algorithm, DecodingKey)> {
    let common = &jwk.common;
    let signs = common.public_key_use.as_ref().is_none_or(|purpose| *purpose == PublicKeyUse::Signature);
    let verifies = common.key_operations.as_ref().is_none_or(|may| may.contains(&KeyOperations::Verify));
    let key = DecodingKey::from_jwk(jwk).ok().filter(|_| signs && verifies)?;
    let algorithm = algorithm(&jwk.algorithm, key.kind())?;
    common.key_algorithm.is_none_or(|named| named == algorithm.into()).then_some((algorithm, key))
}

/// The one algorithm that goes with a key of this type and size.
fn algorithm(parameters: &AlgorithmParameters, key: &DecodingKeyKind) -> Option<Algorithm> {
    // With the byte before the coordinates.
    let (curve, point) = match (parameters, key) {
        (AlgorithmParameters::RSA(_), DecodingKeyKind::RsaModulusExponent { n, .. }) => {
            return RSA_BITS.contains(&bits(n)).then_some(Algorithm::RS256);
        }
        (AlgorithmParameters::EllipticCurve(curve), DecodingKeyKind::SecretOrDer(point)) => (&curve.curve, point),
        _ => return None,
    };
    if *curve == EllipticCurve::P256 && point.len() == 65 {
        Some(Algorithm::ES256)
    } else if *curve == EllipticCurve::P384 && point.len() == 97 {
        Some(Algorithm::ES384)
    } else {
        None
    }
}

/// How many bits a number has, its highest byte first.
fn bits(number: &[u8]) -> usize {
    let leading = number.iter().take_while(|byte| **byte == 0).count();
    let rest = number.get(leading..).unwrap_or_default();
    let high = rest.first().map_or(0, |byte| byte.leading_zeros());
    (rest.len() * 8).saturating_sub(usize::try_from(high).unwrap_or_default())
}
