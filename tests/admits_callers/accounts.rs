//! Service-account tokens, signed here, from the file of the issuer's keys to whose answer it is.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::callers::{BANK, BANKS, Guarded, LOOKUPS, SHOPS, bearer, caller, every_space, keys, mark, process};
use crate::support::certificates::put;
use crate::support::client::{Wire, ask, ask_h2, get, h2c, path};
use crate::support::gateway::eventually;
use crate::support::leaks::Said;

const ISSUER: &str = "https://kubernetes.default.svc";

/// Somebody who signs.
struct Signer(EcdsaKeyPair);

impl Signer {
    fn new() -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    /// Its public key, under the name that every token gives.
    fn jwks(&self) -> String {
        let (x, y) = self.0.public_key().as_ref()[1..].split_at(32);
        let [x, y] = [x, y].map(|half| URL_SAFE_NO_PAD.encode(half));
        let key = json!({"use": "sig", "kty": "EC", "kid": "one", "alg": "ES256", "crv": "P-256", "x": x, "y": y});
        json!({"keys": [key]}).to_string()
    }

    fn signs(&self, claims: &Value) -> String {
        let header = json!({"alg": "ES256", "kid": "one"});
        let [header, claims] = [&header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
        let message = format!("{header}.{claims}");
        let signature = self.0.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// A good token of this service account.
    fn token(&self, account: &str) -> String {
        self.signs(&claims(account))
    }
}

fn claims(account: &str) -> Value {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let subject = format!("system:serviceaccount:{}", account.replace('/', ":"));
    json!({"iss": ISSUER, "aud": ["monigate"], "sub": subject, "iat": now, "nbf": now, "exp": now + 600})
}

/// The same with one of them changed.
fn with(name: &str, value: Value) -> Value {
    let mut claims = claims("shop/front");
    claims[name] = value;
    claims
}

fn text(folder: &TempDir, signer: &Signer) -> String {
    let file = folder.path().join("jwks.json");
    put(&file, &signer.jwks(), 0o644);
    format!("[jwt]\nissuer = \"{ISSUER}\"\naudience = \"monigate\"\njwks_file = {file:?}\n")
        + &caller("shop", "service_accounts = [\"shop/front\", \"shop/back\"]\n", &[SHOPS], LOOKUPS)
        + &caller("bank", &keys(&[BANK]), &[BANKS], LOOKUPS)
}

#[tokio::test]
async fn a_token_proves_the_caller_whose_account_it_names_and_nothing_else_does() {
    let (signer, folder) = (Signer::new(), tempfile::tempdir().unwrap());
    let text = text(&folder, &signer);
    let guarded = Guarded::with(folder, &text, &[]).await;
    let good = signer.token("shop/front");
    eventually("the keys are read", async || {
        (guarded.look_up("scs-1", &bearer(&good)).await.status == 200).then_some(())
    })
    .await;
    let h2 = h2c(&guarded.gateway.address).await;
    let over_h2 =
        async |token: &str| ask_h2(&h2, "GET", &path("scs-1"), &[("authorization", &format!("Bearer {token}"))]).await;
    for good in [&good, &signer.token("shop/back")] {
        for answer in [guarded.look_up("scs-1", &bearer(good)).await, over_h2(good).await] {
            assert!(answer.status == 200 && answer.text().contains(&mark(SHOPS)), "{answer:?}");
        }
    }
    let answer = guarded.look_up("scs-1", &bearer(BANK)).await;
    assert!(answer.text().contains(&mark(BANKS)), "keys go on: {answer:?}");
    let calls = guarded.calls();
    let (unsigned, _) = good.rsplit_once('.').unwrap();
    let none = URL_SAFE_NO_PAD.encode(json!({"alg": "none"}).to_string());
    let claims_alone = good.split('.').nth(1).unwrap();
    for (what, token) in [
        ("another account", signer.token("shop/another")),
        ("an account of another namespace", signer.token("bank/front")),
        ("another signer under the same name", Signer::new().token("shop/front")),
        ("another issuer", signer.signs(&with("iss", json!("https://elsewhere")))),
        ("another audience", signer.signs(&with("aud", json!(["vault"])))),
        ("a past one", signer.signs(&with("exp", json!(1_000_000_000)))),
        ("a future one", signer.signs(&with("nbf", json!(9_000_000_000_u64)))),
        ("no signature", format!("{unsigned}.")),
        ("no algorithm", format!("{none}.{claims_alone}.")),
        ("a cut one", good[..good.len() - 4].to_owned()),
    ] {
        for answer in [guarded.look_up("scs-1", &bearer(&token)).await, over_h2(&token).await] {
            let (status, reason) = answer.failure();
            assert!(status == 401 && reason.starts_with("gateway_credentials_"), "{what}: {answer:?}");
            assert_eq!(answer.header("www-authenticate"), Some("Bearer realm=\"monigate\""), "{what}");
        }
    }
    for fields in [
        format!("Cookie: token={good}\r\n"),
        format!("Proxy-Authorization: Bearer {good}\r\n"),
        bearer(&good) + &bearer(BANK),
        bearer(BANK) + &bearer(&good),
    ] {
        assert_eq!(guarded.look_up("scs-1", &fields).await.status, 401);
    }
    assert_eq!(guarded.calls(), calls);
}

#[tokio::test]
async fn no_token_gets_out_by_any_way() {
    let (signer, folder) = (Signer::new(), tempfile::tempdir().unwrap());
    let text = text(&folder, &signer);
    let monime = every_space().await;
    let mut gateway = process(&folder, &text, &monime.base_url, &["log.level=trace"]).await;
    let mut said = Said::default();
    let good = signer.token("shop/front");
    eventually("the keys are read", async || {
        (ask(&gateway.address, &get(&path("scs-1"), &bearer(&good))).await.status == 200).then_some(())
    })
    .await;
    let tokens = [
        good,
        signer.token("shop/another"),
        Signer::new().token("shop/front"),
        signer.signs(&with("exp", json!(1_000_000_000))),
    ];
    for (nth, token) in tokens.iter().enumerate() {
        for fields in
            [bearer(token), bearer(token) + &bearer(token), format!("Authorization: {token}\r\nCookie: {token}\r\n")]
        {
            let mut wire = Wire::connect(&gateway.address).await;
            wire.send(get(&path(format!("scs-t{nth}")), &format!("{fields}Connection: close\r\n"))).await;
            said.heard("an answer", wire.rest().await);
        }
    }
    for target in ["/metrics", "/config", "/readyz?verbose"] {
        said.heard(target, format!("{:?}", gateway.operator(target).await));
    }
    gateway.process.signal("HUP");
    gateway.process.says("configuration reloaded").await;
    gateway.process.signal("TERM");
    assert_eq!(gateway.process.ended().await, Some(0));
    let ran = gateway.process.ran().await;
    assert!(ran.err.contains("\"TRACE\""));
    said.heard("standard error", ran.err);
    assert_eq!(monime.heard().len(), 2);
    said.heard("what Monime heard", monime.heard().concat());
    for token in &tokens {
        // The header is no secret, and the same for all.
        token.split('.').skip(1).for_each(|part| said.keeps(part));
    }
}
