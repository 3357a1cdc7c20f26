//! Service-account tokens for tests: keys of an issuer, what they sign, and the sets that they are published in.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::get_current_timestamp;
use serde_json::{Value, json};

pub(crate) const ISSUER: &str = "https://kubernetes.default.svc";
pub(crate) const AUDIENCE: &str = "monigate";
/// A service account, as the configuration names it.
pub(crate) const ACCOUNT: &str = "shop/storefront";

/// A key of the issuer's.
pub(crate) struct Signer {
    key: EcdsaKeyPair,
    id: String,
}

impl Signer {
    pub(crate) fn new(id: &str) -> Self {
        Self { key: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(), id: id.to_owned() }
    }

    /// What [`ACCOUNT`] proves itself with for the next hour.
    pub(crate) fn token(&self) -> String {
        let now = get_current_timestamp();
        let claims = json!({"iss": ISSUER, "aud": [AUDIENCE], "sub": "system:serviceaccount:shop:storefront",
            "iat": now, "nbf": now, "exp": now + 3600});
        let header = json!({"alg": "ES256", "kid": self.id});
        let message = format!("{}.{}", encoded(header.to_string()), encoded(claims.to_string()));
        let signature = self.key.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
        format!("{message}.{}", encoded(signature))
    }

    fn jwk(&self) -> Value {
        let (x, y) = self.key.public_key().as_ref()[1..].split_at(32);
        json!({"use": "sig", "kty": "EC", "kid": self.id, "alg": "ES256", "crv": "P-256", "x": encoded(x), "y": encoded(y)})
    }
}

/// A set of these keys, as it is published.
pub(crate) fn jwks(keys: &[&Signer]) -> String {
    json!({ "keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>() }).to_string()
}

fn encoded(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
