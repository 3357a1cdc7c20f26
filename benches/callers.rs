//! What it takes to tell callers apart: `cargo bench --bench callers`.
//!
//! By gateway key, right and wrong, among 1, 100 and 10,000 callers: the three figures of each are to be alike. By
//! certificate and by service-account token besides. Wall-clock figures: quote them with the machine.

#![expect(clippy::unwrap_used, reason = "what a bench cannot prepare is its failure")]

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair, RsaPublicKeyComponents};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use criterion::{Criterion, criterion_group, criterion_main};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use monigate::caller::{Callers, Digest, Issuer, Named, Policy, Rate, new_key};
use monigate::monime::SpaceId;
use serde_json::json;
use tokio::time::Instant;

const NO_NAMES: &[&str] = &[];

/// So many callers with a key each, and the key of one in the middle.
fn crowd(size: usize, issuer: Option<Arc<Issuer>>) -> (Callers, HeaderMap) {
    let policy = Policy {
        spaces: vec![SpaceId::parse("spc-1").unwrap()],
        operations: vec!["GetCheckoutSession"],
        rate: Some(Rate { per_second: u32::MAX, burst: u32::MAX }),
    };
    let keys: Vec<_> = (0..size).map(|_| new_key().unwrap()).collect();
    let named = |(number, (_, digest)): (usize, &(_, Digest))| Named {
        name: format!("caller-{number}").into(),
        keys: vec![*digest],
        san: vec![format!("caller-{number}.internal")],
        service_accounts: vec![format!("shop/caller-{number}")],
        policy: policy.clone(),
    };
    let callers = Callers::new(keys.iter().enumerate().map(named).collect(), issuer);
    (callers, bearer(keys.get(size / 2).unwrap().0.expose()))
}

fn bearer(credential: &str) -> HeaderMap {
    HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {credential}")).unwrap())])
}

/// An issuer and a token of `caller-0`, as Kubernetes signs them by default.
fn token() -> (Arc<Issuer>, HeaderMap) {
    let encoded = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let key = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let RsaPublicKeyComponents { n, e } =
        RsaPublicKeyComponents::<Vec<u8>>::from(aws_lc_rs::signature::KeyPair::public_key(&key));
    let jwk = json!({"kty": "RSA", "kid": "1", "alg": "RS256", "n": encoded(&n), "e": encoded(&e)});
    let issuer = Issuer::new("issuer", "monigate");
    issuer.take_on(json!({ "keys": [jwk] }).to_string().as_bytes()).unwrap();
    let claims = json!({"iss": "issuer", "aud": ["monigate"], "exp": 1_u64 << 40,
        "sub": "system:serviceaccount:shop:caller-0"});
    let message =
        [json!({"alg": "RS256", "kid": "1"}), claims].map(|part| encoded(part.to_string().as_bytes())).join(".");
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message.as_bytes(), &mut signature).unwrap();
    (Arc::new(issuer), bearer(&format!("{message}.{}", encoded(&signature))))
}

fn callers(criterion: &mut Criterion) {
    for size in [1, 100, 10_000] {
        let (callers, right) = crowd(size, None);
        let wrong = bearer(new_key().unwrap().0.expose());
        criterion.bench_function(&format!("right key of {size}"), |bencher| {
            bencher.iter(|| callers.identify(&right, NO_NAMES).is_ok());
        });
        criterion.bench_function(&format!("wrong key of {size}"), |bencher| {
            bencher.iter(|| callers.identify(&wrong, NO_NAMES).is_ok());
        });
    }
    let (issuer, right) = token();
    let (callers, _) = crowd(10_000, Some(issuer));
    assert_eq!(&**callers.identify(&right, NO_NAMES).unwrap().name(), "caller-0");
    criterion.bench_function("certificate", |bencher| {
        bencher.iter(|| callers.identify(&HeaderMap::new(), &["Caller-17.internal"]).is_ok());
    });
    criterion.bench_function("service-account token", |bencher| {
        bencher.iter(|| callers.identify(&right, NO_NAMES).is_ok());
    });
    let (now, caller) = (Instant::now(), callers.get("caller-1").unwrap());
    criterion.bench_function("rate", |bencher| bencher.iter(|| caller.admit(now).is_ok()));
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(2));
    targets = callers
}
criterion_main!(benches);
