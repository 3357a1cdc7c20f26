//! What a service-account token must be to prove anyone, with keys and signatures made here.

use std::sync::{Arc, LazyLock};

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256,
    RSA_PKCS1_SHA384, RSA_PSS_SHA256, RsaEncoding, RsaKeyPair, RsaPublicKeyComponents,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::FutureExt;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use jsonwebtoken::get_current_timestamp;
use serde_json::{Value, json};

use super::*;
use crate::caller::{Callers, MAX_CREDENTIAL, Named, Policy};
use crate::monime::SpaceId;

const ISSUER: &str = "https://kubernetes.default.svc";
const AUDIENCE: &str = "monigate";

/// Making an RSA key takes long.
static RSA: LazyLock<RsaKeyPair> = LazyLock::new(|| RsaKeyPair::generate(KeySize::Rsa2048).unwrap());
static OTHER_RSA: LazyLock<RsaKeyPair> = LazyLock::new(|| RsaKeyPair::generate(KeySize::Rsa2048).unwrap());
static P256: LazyLock<EcdsaKeyPair> =
    LazyLock::new(|| EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap());
static P384: LazyLock<EcdsaKeyPair> =
    LazyLock::new(|| EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap());

fn encoded(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn rsa_jwk(key: &RsaKeyPair, kid: &str) -> Value {
    let RsaPublicKeyComponents { n, e } = RsaPublicKeyComponents::<Vec<u8>>::from(key.public_key());
    json!({"use": "sig", "kty": "RSA", "kid": kid, "alg": "RS256", "n": encoded(n), "e": encoded(e)})
}

fn ec_jwk(key: &EcdsaKeyPair, kid: &str, curve: &str, alg: &str) -> Value {
    let (x, y) = key.public_key().as_ref()[1..].split_at((key.public_key().as_ref().len() - 1) / 2);
    json!({"use": "sig", "kty": "EC", "kid": kid, "alg": alg, "crv": curve, "x": encoded(x), "y": encoded(y)})
}

fn set(keys: &[Value]) -> Vec<u8> {
    json!({ "keys": keys }).to_string().into_bytes()
}

fn every_key() -> Vec<u8> {
    set(&[rsa_jwk(&RSA, "rsa"), ec_jwk(&P256, "p256", "P-256", "ES256"), ec_jwk(&P384, "p384", "P-384", "ES384")])
}

fn issuer(jwks: &[u8]) -> Arc<Issuer> {
    let issuer = Issuer::new(ISSUER, AUDIENCE);
    issuer.take_on(jwks).unwrap();
    Arc::new(issuer)
}

fn callers(issuer: &Arc<Issuer>) -> Callers {
    let named = |name: &str, accounts: &[&str]| Named {
        name: name.into(),
        keys: vec![],
        san: vec!["front.internal".to_owned()],
        service_accounts: accounts.iter().map(ToString::to_string).collect(),
        policy: Policy { spaces: vec![SpaceId::parse("spc-1").unwrap()], operations: vec![], rate: None },
    };
    let odd = named("odd", &["", "/", "shop", "shop/", "/front", "shop/front/x", "a:b/c", "a/b:c"]);
    Callers::new(vec![odd, named("shop", &["shop/front", "shop/back"])], Some(Arc::clone(issuer)))
}

fn who(issuer: &Arc<Issuer>, token: &str) -> Result<String, Unproved> {
    let field = HeaderValue::from_str(&format!("Bearer {token}")).unwrap();
    let headers = HeaderMap::from_iter([(AUTHORIZATION, field)]);
    callers(issuer).identify(&headers, &["front.internal"]).map(|caller| caller.name().to_string())
}

fn claims() -> Value {
    let now = get_current_timestamp();
    json!({"iss": ISSUER, "aud": [AUDIENCE, "other"], "sub": "system:serviceaccount:shop:front",
        "iat": now, "nbf": now, "exp": now + 600, "jti": "1", "kubernetes.io": {"namespace": "shop"}})
}

/// The claims with one of them changed; null takes it away.
fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    if value.is_null() {
        claims.as_object_mut().unwrap().remove(name);
    } else {
        claims[name] = value;
    }
    claims
}

fn token(header: &Value, claims: &Value, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let message = format!("{}.{}", encoded(header.to_string()), encoded(claims.to_string()));
    let signature = sign(message.as_bytes());
    format!("{message}.{}", encoded(signature))
}

fn by_rsa(key: &RsaKeyPair, how: &'static dyn RsaEncoding, message: &[u8]) -> Vec<u8> {
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(how, &SystemRandom::new(), message, &mut signature).unwrap();
    signature
}

fn rs256(claims: &Value) -> String {
    token(&json!({"alg": "RS256", "kid": "rsa"}), claims, |message| by_rsa(&RSA, &RSA_PKCS1_SHA256, message))
}

fn by_ec(key: &EcdsaKeyPair, alg: &str, kid: &str, claims: &Value) -> String {
    let sign = |message: &[u8]| key.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec();
    token(&json!({"alg": alg, "kid": kid}), claims, sign)
}

#[test]
fn a_good_token_is_its_accounts_callers_by_each_algorithm_of_kubernetes() {
    let issuer = issuer(&every_key());
    let back = with("sub", json!("system:serviceaccount:shop:back"));
    for good in [
        rs256(&claims()),
        rs256(&back),
        rs256(&with("aud", json!(AUDIENCE))),
        rs256(&with("nbf", Value::Null)),
        by_ec(&P256, "ES256", "p256", &claims()),
        by_ec(&P384, "ES384", "p384", &claims()),
    ] {
        assert_eq!(who(&issuer, &good).unwrap(), "shop");
    }
}

#[test]
fn a_token_that_is_not_for_here_and_now_says_why() {
    let issuer = issuer(&every_key());
    let now = get_current_timestamp();
    for (name, value, why) in [
        ("exp", json!(now - 60), Err(Unproved::Expired)),
        ("exp", json!(now - 15), Ok("shop".to_owned())),
        ("nbf", json!(now + 90), Err(Unproved::NotYet)),
        ("nbf", json!(now + 15), Ok("shop".to_owned())),
        ("iss", json!("https://kubernetes.default.svc/"), Err(Unproved::Issuer)),
        ("iss", json!("https://elsewhere"), Err(Unproved::Issuer)),
        ("aud", json!("other"), Err(Unproved::Audience)),
        ("aud", json!(["a", "monigate2"]), Err(Unproved::Audience)),
        ("aud", json!([]), Err(Unproved::Audience)),
        ("exp", Value::Null, Err(Unproved::NoToken)),
        ("exp", json!("tomorrow"), Err(Unproved::NoToken)),
        ("nbf", json!("today"), Err(Unproved::NoToken)),
        ("iss", Value::Null, Err(Unproved::NoToken)),
        ("aud", Value::Null, Err(Unproved::NoToken)),
        ("sub", Value::Null, Err(Unproved::NoToken)),
        ("sub", json!(7), Err(Unproved::NoToken)),
        ("sub", json!("system:serviceaccount:shop:other"), Err(Unproved::Unknown)),
        ("sub", json!("system:serviceaccount:shop:front:x"), Err(Unproved::Unknown)),
        ("sub", json!("shop/front"), Err(Unproved::Unknown)),
        ("sub", json!("system:serviceaccount:a:b:c"), Err(Unproved::Unknown)),
        ("sub", json!("system:serviceaccount::"), Err(Unproved::Unknown)),
    ] {
        assert_eq!(who(&issuer, &rs256(&with(name, value.clone()))), why, "{name} = {value}");
    }
}

#[test]
fn a_changed_token_is_forged_whichever_part_was_changed() {
    let issuer = issuer(&every_key());
    let good = rs256(&with("sub", json!("system:serviceaccount:shop:none")));
    let parts: Vec<_> = good.split('.').collect();
    let better = encoded(claims().to_string());
    let header = encoded(json!({"alg": "RS256", "kid": "rsa", "typ": "JWT"}).to_string());
    let short = encoded(&URL_SAFE_NO_PAD.decode(parts[2]).unwrap()[1..]);
    for forged in [
        format!("{}.{better}.{}", parts[0], parts[2]),
        format!("{header}.{}.{}", parts[1], parts[2]),
        format!("{}.{}.{short}", parts[0], parts[1]),
        format!("{}.{better}.AAAA", parts[0]),
    ] {
        assert_eq!(who(&issuer, &forged), Err(Unproved::Forged), "{forged}");
    }
    let other = token(&json!({"alg": "RS256", "kid": "rsa"}), &claims(), |message| {
        by_rsa(&OTHER_RSA, &RSA_PKCS1_SHA256, message)
    });
    assert_eq!(who(&issuer, &other), Err(Unproved::Forged), "signed with a key that is not in the set");
}

#[test]
fn no_token_chooses_its_algorithm() {
    let issuer = issuer(&every_key());
    let jwk = rsa_jwk(&RSA, "rsa");
    let modulus = URL_SAFE_NO_PAD.decode(jwk["n"].as_str().unwrap()).unwrap();
    let public: aws_lc_rs::encoding::PublicKeyX509Der<'_> = RSA.public_key().as_der().unwrap();
    for secret in [public.as_ref(), &modulus, jwk.to_string().as_bytes(), b""] {
        for (alg, how) in [("HS256", hmac::HMAC_SHA256), ("HS384", hmac::HMAC_SHA384), ("HS512", hmac::HMAC_SHA512)] {
            let sign = |message: &[u8]| hmac::sign(&hmac::Key::new(how, secret), message).as_ref().to_vec();
            let confused = token(&json!({"alg": alg, "kid": "rsa"}), &claims(), sign);
            assert_eq!(who(&issuer, &confused), Err(Unproved::Forged), "{alg}");
        }
    }
    for alg in ["none", "None", "NONE", "", "RS257"] {
        let unsigned = token(&json!({"alg": alg, "kid": "rsa"}), &claims(), |_| b"x".to_vec());
        assert_eq!(who(&issuer, &unsigned), Err(Unproved::NoToken), "{alg}");
        let bare = unsigned.rsplit_once('.').unwrap().0.to_owned() + ".";
        assert_eq!(who(&issuer, &bare), Err(Unproved::Unknown), "without a signature it is not even like a token");
    }
    let rs384 = |message: &[u8]| by_rsa(&RSA, &RSA_PKCS1_SHA384, message);
    let ps256 = |message: &[u8]| by_rsa(&RSA, &RSA_PSS_SHA256, message);
    let wrong = [
        token(&json!({"alg": "RS384", "kid": "rsa"}), &claims(), rs384),
        token(&json!({"alg": "PS256", "kid": "rsa"}), &claims(), ps256),
        token(&json!({"alg": "RS256", "kid": "rsa"}), &claims(), ps256),
        by_ec(&P256, "ES256", "rsa", &claims()),
        by_ec(&P256, "RS256", "rsa", &claims()),
        by_ec(&P256, "ES256", "p384", &claims()),
        by_ec(&P384, "ES384", "p256", &claims()),
    ];
    for token in wrong {
        assert_eq!(who(&issuer, &token), Err(Unproved::Forged), "{token}");
    }
}

#[test]
fn a_header_that_must_be_understood_is_not_passed_over() {
    let issuer = issuer(&every_key());
    let sign = |message: &[u8]| by_rsa(&RSA, &RSA_PKCS1_SHA256, message);
    let critical = json!({"alg": "RS256", "kid": "rsa", "crit": ["b64"], "b64": false});
    assert_eq!(who(&issuer, &token(&critical, &claims(), sign)), Err(Unproved::NoToken));
    let own_key = json!({"alg": "RS256", "kid": "x", "jwk": rsa_jwk(&RSA, "x"), "jku": "https://elsewhere"});
    assert_eq!(who(&issuer, &token(&own_key, &claims(), sign)), Err(Unproved::UnknownKey));
}

#[test]
fn what_only_looks_like_a_token_is_none() {
    let issuer = issuer(&every_key());
    for (text, why) in [
        ("a.b.c", Unproved::NoToken),
        ("eyJhbGciOiJSUzI1NiJ9.e30.AAAA", Unproved::UnknownKey),
        ("a.b", Unproved::Unknown),
        ("a..c", Unproved::Unknown),
        ("a.b.c.d", Unproved::Unknown),
        ("...", Unproved::Unknown),
        ("abc", Unproved::Unknown),
    ] {
        assert_eq!(who(&issuer, text), Err(why), "{text}");
    }
    let padded = rs256(&claims()) + "==";
    assert_eq!(who(&issuer, &padded), Err(Unproved::NoToken), "{padded}");
    let long = rs256(&with("padding", json!("x".repeat(MAX_CREDENTIAL))));
    assert_eq!(who(&issuer, &long), Err(Unproved::TooLong));
    let (name, room) = ("padding", MAX_CREDENTIAL * 3 / 4 - 1000);
    assert_eq!(who(&issuer, &rs256(&with(name, json!("x".repeat(room))))).unwrap(), "shop");
}

#[test]
fn without_keys_nobody_is_proved_and_without_an_issuer_no_token_is_looked_at() {
    let issuer = Arc::new(Issuer::new(ISSUER, AUDIENCE));
    assert!(!issuer.is_ready());
    assert_eq!(who(&issuer, &rs256(&claims())), Err(Unproved::NotReady));
    assert_eq!(issuer.take_on(&every_key()), Ok(3));
    assert!(issuer.is_ready());
    assert_eq!(who(&issuer, &rs256(&claims())).unwrap(), "shop");
    let headers = HeaderMap::from_iter([(
        AUTHORIZATION,
        HeaderValue::from_str(&format!("Bearer {}", rs256(&claims()))).unwrap(),
    )]);
    let none: &[&str] = &[];
    assert_eq!(Callers::new(vec![], None).identify(&headers, none).unwrap_err(), Unproved::Unknown);
}

#[test]
fn a_new_key_set_replaces_the_old_one_as_a_whole_and_a_bad_one_replaces_nothing() {
    let issuer = issuer(&set(&[rsa_jwk(&RSA, "rsa")]));
    let new = by_ec(&P256, "ES256", "p256", &claims());
    assert_eq!(who(&issuer, &new), Err(Unproved::UnknownKey));
    let many: Vec<_> = (0..=MAX_JWKS_KEYS).map(|number| rsa_jwk(&RSA, &number.to_string())).collect();
    let large = vec![b' '; MAX_JWKS + 1];
    for (bad, why) in [
        (&b""[..], InvalidJwks::NotJwks),
        (b"[]", InvalidJwks::NotJwks),
        (b"{}", InvalidJwks::NotJwks),
        (b"{\"keys\": {}}", InvalidJwks::NotJwks),
        (b"{\"keys\": []}", InvalidJwks::NoUsableKey),
        (b"{\"keys\": [1, {}, null]}", InvalidJwks::NoUsableKey),
        (&set(&many), InvalidJwks::TooManyKeys),
        (&large, InvalidJwks::TooLarge),
    ] {
        assert_eq!(issuer.take_on(bad), Err(why), "{}", String::from_utf8_lossy(&bad[..bad.len().min(80)]));
        assert_eq!(who(&issuer, &rs256(&claims())).unwrap(), "shop");
    }
    assert_eq!(issuer.take_on(&set(&many[..MAX_JWKS_KEYS])), Ok(MAX_JWKS_KEYS));
    assert_eq!(issuer.take_on(&set(&[ec_jwk(&P256, "p256", "P-256", "ES256")])), Ok(1));
    assert_eq!(who(&issuer, &rs256(&claims())), Err(Unproved::UnknownKey), "the old key is refused");
    assert_eq!(who(&issuer, &new).unwrap(), "shop");
}

#[test]
fn a_key_that_is_not_for_this_is_left_out() {
    let weak = json!({"kty": "RSA", "kid": "weak", "n": encoded([0xff; 255]), "e": "AQAB"});
    let padded =
        json!({"kty": "RSA", "kid": "padded", "n": encoded([&[0; 128][..], &[0xff; 128]].concat()), "e": "AQAB"});
    let with = |name: &str, value: Value| {
        let mut key = rsa_jwk(&RSA, "rsa");
        key[name] = value;
        key
    };
    let mut point = ec_jwk(&P256, "p256", "P-256", "ES256");
    point["x"] = json!("AAAA");
    for bad in [
        weak,
        padded,
        with("use", json!("enc")),
        with("key_ops", json!(["sign"])),
        with("alg", json!("RS512")),
        with("alg", json!("PS256")),
        with("alg", json!("HS256")),
        with("alg", json!("ES256")),
        with("n", json!("*")),
        with("kty", json!("XYZ")),
        point,
        ec_jwk(&P256, "p256", "P-256", "ES384"),
        ec_jwk(&P256, "p256", "P-384", "ES384"),
        ec_jwk(&P256, "p256", "P-521", "ES512"),
        json!({"kty": "oct", "kid": "oct", "k": encoded([7; 32]), "alg": "HS256"}),
        json!({"kty": "OKP", "kid": "okp", "crv": "Ed25519", "x": encoded([7; 32]), "alg": "EdDSA"}),
    ] {
        let alone = Issuer::new(ISSUER, AUDIENCE);
        assert_eq!(alone.take_on(&set(std::slice::from_ref(&bad))), Err(InvalidJwks::NoUsableKey), "{bad}");
        let good = ec_jwk(&P384, "p384", "P-384", "ES384");
        assert_eq!(alone.take_on(&set(&[bad.clone(), good])), Ok(1), "{bad} keeps nobody from the others");
    }
    for good in [with("use", Value::Null), with("alg", Value::Null), with("key_ops", json!(["verify"]))] {
        let issuer = issuer(&set(std::slice::from_ref(&good)));
        assert_eq!(who(&issuer, &rs256(&claims())).unwrap(), "shop", "{good}");
    }
}

#[test]
fn a_token_without_a_key_id_is_of_the_only_key_or_of_none() {
    let nameless = token(&json!({"alg": "RS256"}), &claims(), |message| by_rsa(&RSA, &RSA_PKCS1_SHA256, message));
    let only = issuer(&set(&[rsa_jwk(&RSA, "rsa"), rsa_jwk(&RSA, "rsa")]));
    assert_eq!(who(&only, &nameless).unwrap(), "shop", "the same key listed twice is one key");
    let several = issuer(&every_key());
    assert_eq!(who(&several, &nameless), Err(Unproved::UnknownKey));
    assert!(several.unknown_key().now_or_never().is_none(), "newer keys would not help");
}

#[test]
fn an_unknown_key_asks_for_newer_ones_once_until_somebody_listens() {
    let issuer = issuer(&set(&[ec_jwk(&P256, "p256", "P-256", "ES256")]));
    assert!(issuer.unknown_key().now_or_never().is_none());
    for _ in 0..3 {
        assert_eq!(who(&issuer, &rs256(&claims())), Err(Unproved::UnknownKey));
    }
    drop(issuer.unknown_key());
    assert!(issuer.unknown_key().now_or_never().is_some(), "it waits for who listens later");
    assert!(issuer.unknown_key().now_or_never().is_none(), "many hints are one");
}

#[test]
fn an_issuer_is_printed_without_its_keys() {
    let printed = format!("{:?}", issuer(&every_key()));
    assert_eq!(printed, format!("Issuer {{ issuer: {ISSUER:?}, audience: {AUDIENCE:?}, keys: 3 }}"));
}
