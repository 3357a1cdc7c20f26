//! What being told from others promises: by which proofs, in which order, in how many steps, and what is shown of it.

use std::cell::Cell;

use http::header::{AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION};
use http::{HeaderMap, HeaderValue};

use super::keys::{Keys, Plainly, Steps};
use super::*;

const KEY: &str = "mgk_5tOreFr0nt5tOreFr0nt5tOreFr0nt5tOreFr0nt5tO";
const NOBODY: &[&str] = &[];

fn named(name: &str) -> Named {
    let policy = Policy { spaces: vec![SpaceId::parse("spc-1").unwrap()], operations: vec![], rate: None };
    Named { name: name.into(), keys: vec![], san: vec![], service_accounts: vec![], policy }
}

fn keyed(name: &str, key: &str) -> Named {
    Named { keys: vec![Digest::of(key.as_bytes())], ..named(name) }
}

fn known_by(name: &str, san: &[&str]) -> Named {
    Named { san: san.iter().map(ToString::to_string).collect(), ..named(name) }
}

fn rated(name: &str, per_second: u32, burst: u32) -> Named {
    let mut caller = named(name);
    caller.policy.rate = Some(Rate { per_second, burst });
    caller
}

fn bearer(key: &str) -> HeaderMap {
    [(AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {key}")).unwrap())].into_iter().collect()
}

fn who(callers: &Callers, headers: &HeaderMap, certificate: &[&str]) -> Result<String, Unproved> {
    callers.identify(headers, certificate).map(|caller| caller.name().to_string())
}

/// The steps as they are, counted.
#[derive(Default)]
struct Counted {
    hashes: Cell<usize>,
    look_ups: Cell<usize>,
    compares: Cell<usize>,
}

impl Steps for Counted {
    fn digest(&self, presented: &[u8]) -> Digest {
        self.hashes.update(|count| count + 1);
        Plainly.digest(presented)
    }

    fn look_up<'a>(&self, keys: &'a Keys, digest: &Digest) -> Option<(&'a Digest, usize)> {
        self.look_ups.update(|count| count + 1);
        Plainly.look_up(keys, digest)
    }

    fn is_same(&self, one: &Digest, other: &Digest) -> bool {
        self.compares.update(|count| count + 1);
        Plainly.is_same(one, other)
    }
}

/// What finding the owner of a key takes, after making sure who that is.
fn steps(callers: &Callers, key: &str, owner: Result<&str, Unproved>) -> [usize; 3] {
    let steps = Counted::default();
    let found = callers.identify_by(&steps, &bearer(key), NOBODY);
    assert_eq!(found.map(|caller| &**caller.name()), owner, "{key}");
    [steps.hashes.get(), steps.look_ups.get(), steps.compares.get()]
}

fn crowd(size: usize) -> Callers {
    let others = (1..size).map(|number| keyed(&format!("other-{number}"), &format!("mgk_{number}")));
    Callers::new(std::iter::once(keyed("shop", KEY)).chain(others).collect(), None)
}

#[test]
fn every_key_takes_one_hash_one_look_up_and_one_compare_however_near_and_however_many_callers() {
    let near = KEY.replacen('5', "4", 1);
    let flipped: u32 = KEY.bytes().zip(near.bytes()).map(|(one, other)| (one ^ other).count_ones()).sum();
    assert_eq!(flipped, 1);
    let long = "a".repeat(MAX_CREDENTIAL);
    let unknown = Err(Unproved::Unknown);
    for size in [1, 100, 10_000] {
        let callers = crowd(size);
        assert_eq!(steps(&callers, KEY, Ok("shop")), [1, 1, 1], "{size}");
        if size > 1 {
            let last = format!("other-{}", size - 1);
            assert_eq!(steps(&callers, &last.replace("other-", "mgk_"), Ok(&last)), [1, 1, 1], "{size}");
        }
        for wrong in [&*near, "mgk_unknown", "x", "x==", "a.b.c", &long] {
            assert_eq!(steps(&callers, wrong, unknown), [1, 1, 1], "{size}: {wrong}");
        }
    }
    assert_eq!(steps(&Callers::new(vec![], None), KEY, unknown), [1, 1, 1], "with nobody to find");
}

/// Finds the same caller for everyone.
struct Erring(Digest);

impl Steps for Erring {
    fn digest(&self, presented: &[u8]) -> Digest {
        Plainly.digest(presented)
    }

    fn look_up<'a>(&self, keys: &'a Keys, _: &Digest) -> Option<(&'a Digest, usize)> {
        Plainly.look_up(keys, &self.0)
    }

    fn is_same(&self, one: &Digest, other: &Digest) -> bool {
        Plainly.is_same(one, other)
    }
}

#[test]
fn it_is_the_compare_that_decides_and_not_the_look_up() {
    let (callers, steps) = (crowd(3), Erring(Digest::of(KEY.as_bytes())));
    let found = |key| callers.identify_by(&steps, &bearer(key), NOBODY).map(|caller| &**caller.name());
    assert_eq!(found(KEY), Ok("shop"));
    for wrong in ["mgk_1", "x"] {
        assert_eq!(found(wrong), Err(Unproved::Unknown), "{wrong}");
    }
}

#[test]
fn what_is_no_key_at_all_is_not_even_hashed() {
    let callers = crowd(3);
    let counted = Counted::default();
    let basic = [(AUTHORIZATION, HeaderValue::from_static("Basic abc"))].into_iter().collect();
    let found = callers.identify_by(&counted, &basic, NOBODY).map(|_| ());
    assert_eq!((found, counted.hashes.get()), (Err(Unproved::Scheme), 0));
    let too_long = bearer(&"a".repeat(MAX_CREDENTIAL + 1));
    assert_eq!(who(&callers, &too_long, NOBODY), Err(Unproved::TooLong));
}

#[test]
fn each_of_several_keys_opens_and_one_that_is_gone_does_not() {
    let rotating = || Named { keys: ["old", "new"].map(|key| Digest::of(key.as_bytes())).to_vec(), ..named("shop") };
    let before = Callers::new(vec![rotating(), keyed("bank", "bank")], None);
    for (key, name) in [("old", "shop"), ("new", "shop"), ("bank", "bank")] {
        assert_eq!(who(&before, &bearer(key), NOBODY).unwrap(), name);
    }
    let after = Callers::new(vec![keyed("shop", "new")], None).adopt(&before);
    assert_eq!(who(&after, &bearer("old"), NOBODY), Err(Unproved::Unknown), "a revoked key fails at once");
    assert_eq!(who(&after, &bearer("bank"), NOBODY), Err(Unproved::Unknown), "and so does a caller that is gone");
    assert_eq!(who(&after, &bearer("new"), NOBODY).unwrap(), "shop");
}

#[test]
fn a_certificate_proves_by_its_names_a_uri_to_the_byte_and_a_dns_name_in_any_case() {
    let spiffe = "spiffe://cluster/ns/shop/sa/storefront";
    let callers = Callers::new(
        vec![known_by("shop", &[spiffe, "Shop.Internal"]), known_by("bank", &["bank.internal", "*.bank.internal"])],
        None,
    );
    let none = HeaderMap::new();
    let dns = format!("{}.internal", "a".repeat(300));
    for (names, found) in [
        (&[spiffe][..], Ok("shop")),
        (&["shop.internal"], Ok("shop")),
        (&["SHOP.internal"], Ok("shop")),
        (&["unknown.internal", spiffe, "shop.internal", spiffe], Ok("shop")),
        (&["*.bank.internal"], Ok("bank")),
        (&["a.bank.internal"], Err(Unproved::Unknown)),
        (&["spiffe://cluster/ns/shop/sa/Storefront"], Err(Unproved::Unknown)),
        (&["spiffe://cluster/ns/shop/sa/storefront/"], Err(Unproved::Unknown)),
        (&["spiffe://cluster/ns/shop/sa/store"], Err(Unproved::Unknown)),
        (&["shop.internal."], Err(Unproved::Unknown)),
        (&["", &dns], Err(Unproved::Unknown)),
        (&[], Err(Unproved::Missing)),
        (&[spiffe, "bank.internal"], Err(Unproved::Ambiguous)),
        (&["bank.internal", "x", "shop.internal"], Err(Unproved::Ambiguous)),
    ] {
        assert_eq!(who(&callers, &none, names), found.map(str::to_owned), "{names:?}");
    }
}

#[test]
fn a_wrong_key_is_never_rescued_by_a_certificate_nor_a_right_one_spoilt() {
    let callers = Callers::new(vec![keyed("shop", KEY), known_by("bank", &["bank.internal"])], None);
    let certificate = &["bank.internal"];
    assert_eq!(who(&callers, &bearer(KEY), certificate).unwrap(), "shop");
    assert_eq!(who(&callers, &bearer("wrong"), certificate), Err(Unproved::Unknown));
    for field in ["", "Basic abc", "Bearer", "Bearer "] {
        let headers = [(AUTHORIZATION, HeaderValue::from_static(field))].into_iter().collect();
        assert!(who(&callers, &headers, certificate).is_err(), "{field:?}");
    }
    let mut twice = bearer(KEY);
    twice.append(AUTHORIZATION, twice[AUTHORIZATION].clone());
    assert_eq!(who(&callers, &twice, certificate), Err(Unproved::Repeated));
}

#[test]
fn a_key_anywhere_but_in_authorization_proves_nothing() {
    let callers = crowd(1);
    let mut headers = HeaderMap::new();
    let key = HeaderValue::from_str(&format!("Bearer {KEY}")).unwrap();
    for name in [COOKIE, PROXY_AUTHORIZATION] {
        headers.insert(name, key.clone());
    }
    headers.insert("x-authorization", key);
    assert_eq!(who(&callers, &headers, NOBODY), Err(Unproved::Missing));
}

#[test]
fn of_what_stands_twice_the_first_has_it() {
    let both = |name| Named { keys: vec![Digest::of(KEY.as_bytes())], ..known_by(name, &["a.internal"]) };
    let callers = Callers::new(vec![both("one"), both("two"), keyed("one", "other")], None);
    assert_eq!(who(&callers, &bearer(KEY), NOBODY).unwrap(), "one");
    assert_eq!(who(&callers, &HeaderMap::new(), &["a.internal"]).unwrap(), "one");
    assert_eq!(who(&callers, &bearer("other"), NOBODY), Err(Unproved::Unknown));
    assert_eq!(callers.iter().map(|caller| &**caller.name()).collect::<Vec<_>>(), ["one", "two"]);
    assert_eq!((callers.len(), callers.is_empty(), Callers::new(vec![], None).is_empty()), (2, false, true));
}

#[test]
fn a_caller_may_what_its_policy_names_and_nothing_else() {
    let mut shop = keyed("shop", KEY);
    shop.policy.operations = vec!["GetCheckoutSession", "ListBanks"];
    let callers = Callers::new(vec![shop.clone(), named("bank")], None);
    let caller = callers.get("shop").unwrap();
    assert_eq!(caller.policy(), &shop.policy);
    assert!(caller.may("GetCheckoutSession") && caller.may("ListBanks"));
    for other in ["", "GetBank", "getcheckoutsession", "GetCheckoutSession "] {
        assert!(!caller.may(other), "{other}");
    }
    assert!(!callers.get("bank").unwrap().may("GetCheckoutSession"));
    assert!(callers.get("nobody").is_none());
}

#[tokio::test(start_paused = true)]
async fn what_is_used_of_a_rate_survives_a_reload_with_the_name_and_with_nothing_else() {
    let now = Instant::now();
    let asked = |callers: &Callers, name: &str| {
        let caller = callers.get(name).unwrap();
        (0..100).filter(|_| caller.admit(now).is_ok()).count()
    };
    let old = Callers::new(vec![rated("shop", 1, 5), rated("bank", 1, 5), named("free")], None);
    assert_eq!((asked(&old, "shop"), asked(&old, "shop"), asked(&old, "free")), (5, 0, 100));
    assert_eq!(old.get("shop").unwrap().admit(now), Err(Duration::from_secs(1)));

    let same = Callers::new(vec![rated("other", 1, 5), rated("shop", 1, 5), rated("bank", 1, 5)], None).adopt(&old);
    assert_eq!((asked(&same, "shop"), asked(&same, "other")), (0, 5));
    assert_eq!((asked(&old, "bank"), asked(&same, "bank")), (5, 0), "both count as one");

    let more = Callers::new(vec![rated("shop", 1, 8), rated("free", 1, 3), named("bank")], None).adopt(&same);
    assert_eq!((asked(&more, "shop"), asked(&more, "free"), asked(&more, "bank")), (3, 3, 100));
}

#[test]
fn what_is_printed_of_callers_are_numbers_and_names() {
    let issuer = Arc::new(Issuer::new("https://issuer", "monigate"));
    let mut all: Vec<_> = (0..10_000).map(|number| keyed(&format!("c-{number}"), &format!("{number}"))).collect();
    all.push(Named { service_accounts: vec!["shop/front".into()], ..known_by("san", &["a.internal"]) });
    let callers = Callers::new(all, Some(issuer));
    let printed = format!("{callers:?}");
    assert!(printed.contains("callers: 10001") && printed.contains("keys: 10000"), "{printed}");
    assert!(printed.contains("https://issuer") && printed.len() < 300, "{printed}");
    let one = format!("{:?}", callers.get("c-7").unwrap());
    assert!(one.contains("\"c-7\"") && !one.contains(&Digest::of(b"7").to_string()), "{one}");
}
