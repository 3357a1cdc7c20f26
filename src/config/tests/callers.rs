//! Who may ask: what a caller must say, and what nobody else may say then.

use std::fmt::Write;

use super::*;
use crate::caller::{Policy, Rate};

const ONE: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
const TWO: &str = "0000000000000000000000000000000000000000000000000000000000000002";
/// What a caller needs beside a name and a proof.
const MAY: &str = "spaces = [\"spc-a\"]\noperations = [\"GetCheckoutSession\"]\n";
const KEY: &str = "mgk_canary5f2c9a7be1d84c03";

fn caller(name: &str, rest: &str) -> String {
    format!("[[callers]]\nname = \"{name}\"\n{MAY}{rest}\n")
}

fn with_key(name: &str, digest: &str) -> String {
    caller(name, &format!("keys_sha256 = [\"{digest}\"]"))
}

#[test]
fn a_caller_is_what_its_table_says() {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let path = |name, text: &str| file(folder.path(), name, text, 0o600);
    let (cert, key) = (path("cert", &made.cert.pem()), path("key", &made.signing_key.serialize_pem()));
    let toml = format!(
        "[listen.tls]\ncert_file = \"{cert}\"\nkey_file = \"{key}\"\nclient_ca_file = \"{cert}\"\n\
         [jwt]\nissuer = \"i\"\naudience = \"a\"\njwks_file = \"{}\"\n\
         [[monime.spaces]]\nid = \"spc-b\"\n\
         [[callers]]\nname = \"Shop-1.x_y\"\nkeys_sha256 = [\"{ONE}\", \"{TWO}\"]\nsan = [\"spiffe://c/Shop\", \"shop.local\"]\n\
         service_accounts = [\"shop/store.front-2\"]\nspaces = [\"spc-b\", \"spc-a\"]\n\
         operations = [\"GetCheckoutSession\", \"ListBanks\"]\nrate = 50\n{}",
        path("jwks", JWKS),
        caller("b", "san = [\"spiffe://c/shop\"]\nrate = 7\nburst = 100000")
    );
    let config = load(&toml).unwrap();
    let [shop, b] = &*config.callers else { panic!("{:?}", config.callers) };
    assert_eq!((&*shop.name, &*shop.keys), ("Shop-1.x_y", &[ONE, TWO].map(|text| text.parse().unwrap())[..]));
    assert_eq!(
        (&*shop.san, &*shop.service_accounts),
        (&["spiffe://c/Shop", "shop.local"].map(String::from)[..], &["shop/store.front-2".to_owned()][..])
    );
    let space = |id| SpaceId::parse(id).unwrap();
    let policy = Policy {
        spaces: vec![space("spc-b"), space("spc-a")],
        operations: vec!["GetCheckoutSession", "ListBanks"],
        rate: Some(Rate { per_second: 50, burst: 50 }),
    };
    assert_eq!(shop.policy, policy, "the burst is the rate unless it is said");
    assert_eq!(b.policy.rate, Some(Rate { per_second: 7, burst: 100_000 }));
    assert_eq!(load(&with_key("a", ONE)).unwrap().callers[0].policy.rate, None);
}

#[test]
fn every_rule_of_a_caller_names_its_key() {
    let key = format!("keys_sha256 = [\"{ONE}\"]");
    let table = |rest: &str| format!("[[callers]]\nname = \"a\"\n{key}\n{rest}");
    for (toml, at) in [
        (format!("[[callers]]\n{key}\n{MAY}"), "name"),
        (with_key("", ONE), "name"),
        (with_key("a b", ONE), "name"),
        (with_key("\u{e9}", ONE), "name"),
        (with_key(&"a".repeat(65), ONE), "name"),
        (with_key(KEY, ONE), "name"),
        (with_key("mon_live_canary", ONE), "name"),
        (with_key("a", &ONE[1..]), "keys_sha256[0]"),
        (with_key("a", KEY), "keys_sha256[0]"),
        (caller("a", "san = [\"x.local\"]"), "san"),
        (caller("a", "service_accounts = [\"shop/front\"]"), "service_accounts"),
        (table("operations = [\"GetCheckoutSession\"]"), "spaces"),
        (table("spaces = []\noperations = [\"GetCheckoutSession\"]"), "spaces"),
        (table("spaces = [\"spc-b\"]\noperations = [\"GetCheckoutSession\"]"), "spaces[0]"),
        (table("spaces = [\"nope\"]\noperations = [\"GetCheckoutSession\"]"), "spaces[0]"),
        (table("spaces = [\"spc-a\", \"spc-a\"]\noperations = [\"GetCheckoutSession\"]"), "spaces[1]"),
        (table("spaces = [\"spc-a\"]"), "operations"),
        (table("spaces = [\"spc-a\"]\noperations = []"), "operations"),
        (table("spaces = [\"spc-a\"]\noperations = [\"ListBanks\", \"ListBanks\"]"), "operations[1]"),
        (table("spaces = [\"spc-a\"]\noperations = \"ListBanks\""), "operations"),
        (table(&format!("{MAY}rate = 0")), "rate"),
        (table(&format!("{MAY}rate = 100001")), "rate"),
        (table(&format!("{MAY}rate = \"5\"\nburst = 6")), "rate"),
        (table(&format!("{MAY}rate = 5\nburst = 0")), "burst"),
        (table(&format!("{MAY}rate = 5\nburst = 100001")), "burst"),
        (table(&format!("{MAY}burst = 5")), "burst"),
        (table(&format!("{MAY}nmae = 5")), "nmae"),
    ] {
        let (keys, said) = wrong(&toml);
        assert_eq!(keys, [format!("callers[0].{at}")], "{toml}\n{said}");
        assert!(!said.contains("canary"), "{said}");
    }
    let (keys, said) = wrong(&caller("a", ""));
    assert!(keys == ["callers[0].keys_sha256"] && said.contains("caller a: has no way to prove itself"), "{said}");
    load(&with_key(&"a".repeat(64), ONE)).unwrap();
    load(&with_key("a", &ONE.to_uppercase())).unwrap();
}

#[test]
fn a_key_in_the_place_of_its_digest_is_never_repeated_and_said_to_be_one() {
    for key in [KEY, &KEY.to_uppercase()] {
        let (_, said) = wrong(&with_key("a", key));
        assert!(said.contains("this is the key itself") && said.contains("replace the key"), "{said}");
    }
    // One of another make, under a wrong key, and as a digest for operators.
    for toml in [
        with_key("a", "canary-of-another-make"),
        caller("a", &format!("{KEY} = 1")),
        format!("[admin]\nkeys_sha256 = [\"{}\"]", KEY.to_uppercase()),
    ] {
        assert!(!wrong(&toml).1.to_lowercase().contains("canary"), "{}", wrong(&toml).1);
    }
}

#[test]
fn the_digest_of_nothing_is_no_key() {
    for text in ["", "\n"] {
        let (keys, said) = wrong(&with_key("a", &Digest::of(text.as_bytes()).to_string()));
        assert!(keys == ["callers[0].keys_sha256[0]"] && said.contains("of an empty text"), "{said}");
    }
}

#[test]
fn what_two_have_proves_neither_and_each_is_told_of_the_other() {
    let admin = format!("[admin]\nkeys_sha256 = [\"{ONE}\"]\n");
    let upper = ONE.to_uppercase();
    let own = "[jwt]\nissuer = \"i\"\naudience = \"a\"\njwks_file = \"/dev/null\"\n";
    for (toml, at, first) in [
        (with_key("a", ONE) + &with_key("b", &upper), "callers[1].keys_sha256[0]", "callers[0].keys_sha256[0]"),
        (
            caller("a", &format!("keys_sha256 = [\"{ONE}\", \"{upper}\"]")),
            "callers[0].keys_sha256[1]",
            "callers[0].keys_sha256[0]",
        ),
        (format!("{admin}{}", with_key("a", ONE)), "callers[0].keys_sha256[0]", "admin.keys_sha256[0]"),
        (with_key("a", ONE) + &with_key("a", TWO), "callers[1].name", "callers[0].name"),
        (
            own.to_owned()
                + &caller("a", "service_accounts = [\"s/a\"]")
                + &caller("b", "service_accounts = [\"s/b\", \"s/a\"]"),
            "callers[1].service_accounts[1]",
            "callers[0].service_accounts[0]",
        ),
        (
            caller("a", "san = [\"Shop.local\"]") + &caller("b", "san = [\"shop.local\"]"),
            "callers[1].san[0]",
            "callers[0].san[0]",
        ),
    ] {
        let problems = load(&toml).unwrap_err();
        let mut at_it = problems.iter().filter(|problem| problem.key == at);
        assert!(at_it.any(|problem| problem.rule.contains(first)), "{problems}");
    }
}

#[test]
fn a_name_in_a_certificate_is_one_uri_or_one_dns_name() {
    for (text, is_one) in [
        ("spiffe://cluster/ns/shop/sa/front", true),
        ("urn:shop:front", true),
        ("Shop-1.local", true),
        (&*format!("u:{}", "x".repeat(2046)), true),
        (&*format!("u:{}", "x".repeat(2047)), false),
        ("", false),
        ("*.shop.local", false),
        ("spiffe://cluster/*", false),
        ("a.local,b.local", false),
        ("a b", false),
        ("shop/front", false),
    ] {
        let keys = wrong(&caller("a", &format!("san = [\"{text}\"]"))).0;
        // There is no CA, which is another matter.
        let all: &[&str] = if is_one { &["callers[0].san"] } else { &["callers[0].san", "callers[0].san[0]"] };
        assert_eq!(keys, all, "{text}");
    }
}

#[test]
fn a_service_account_is_a_namespace_and_a_name() {
    let jwt = "[jwt]\nissuer = \"i\"\naudience = \"a\"\njwks_file = \"/nowhere\"\n";
    let (long, too_long) = ("n".repeat(63), "n".repeat(64));
    for (text, is_one) in [
        ("shop/front", true),
        ("s/a.b-c.9", true),
        (&*format!("{long}/{}", "a".repeat(253)), true),
        (&*format!("{too_long}/a"), false),
        (&*format!("s/{}", "a".repeat(254)), false),
        ("", false),
        ("shop", false),
        ("shop/", false),
        ("/front", false),
        ("shop/front/x", false),
        ("Shop/front", false),
        ("-s/a", false),
        ("s/a..b", false),
        ("a.b/c", false),
        ("system:serviceaccount:shop:front", false),
    ] {
        let (keys, said) = wrong(&format!("{jwt}{}", caller("a", &format!("service_accounts = [\"{text}\"]"))));
        let complains = keys.contains(&"callers[0].service_accounts[0]".to_owned());
        assert_eq!(complains, !is_one, "{text}: {said}");
    }
}

#[test]
fn a_misspelt_operation_meets_the_one_that_was_meant() {
    for (text, meant) in [
        ("getcheckoutsession", Some("GetCheckoutSession")),
        ("LISTBANKS", Some("ListBanks")),
        ("GetCheckoutSesion", Some("GetCheckoutSession")),
        ("CreatePayot", Some("CreatePayout")),
        ("everything", None),
    ] {
        let (keys, said) = wrong(&format!(
            "[[callers]]\nname = \"a\"\nkeys_sha256 = [\"{ONE}\"]\nspaces = [\"spc-a\"]\noperations = [\"{text}\"]"
        ));
        assert_eq!(keys, ["callers[0].operations[0]"]);
        let fix = meant.map_or("write an operationId".to_owned(), |meant| format!("fix: did you mean {meant}?\n"));
        assert!(said.contains(&fix), "{text}: {said}");
    }
}

#[test]
fn what_is_wrong_above_is_not_held_against_a_caller() {
    for toml in [
        format!("[[monime.spaces]]\nid = 5\n{}", with_key("a", ONE).replace("spc-a", "spc-b")),
        format!("[listen]\ntls = 5\n{}", caller("a", "san = [\"x.local\"]")),
        format!("jwt = 5\n{}", caller("a", "service_accounts = [\"s/a\"]")),
        "callers = [5]".to_owned(),
        caller("a", "san = 5"),
        caller("a", "keys_sha256 = 5"),
        caller("a", "service_accounts = 5"),
        "[callers]\nname = \"a\"".to_owned(),
    ] {
        let (keys, said) = wrong(&toml);
        assert_eq!(keys.len(), 1, "{said}");
    }
    assert!(wrong("[callers]\nname = \"a\"").1.contains("[[callers]]"), "{}", wrong("[callers]").1);
}

#[test]
fn callers_are_written_in_a_file_and_nowhere_else() {
    for (variable, key) in
        [("MONIGATE__CALLERS__0__NAME", "callers.0.name"), ("MONIGATE__CALLERS__NAME", "callers.name")]
    {
        let problems = Config::load(&environment(&[(variable, "a")])).unwrap_err();
        assert!(
            problems.to_string().contains(key) && problems.to_string().contains("[[callers]], in a file"),
            "{problems}"
        );
    }
    assert!(set("callers[0].name", "a").unwrap_err().to_string().contains("[[callers]], in a file"));
    for text in ["a,b", ""] {
        let variable = Config::load(&environment(&[("MONIGATE__CALLERS", text)]));
        for problems in [set("callers", text).unwrap_err(), variable.unwrap_err()] {
            let problem = problems.iter().next().unwrap();
            assert_eq!((problem.key.as_str(), problems.iter().count()), ("callers", 1), "{problems}");
            assert!(problem.fix.contains("[[callers]], in a file") && problem.fix.contains("--config"), "{problem}");
        }
    }
}

#[test]
fn twenty_thousand_callers_are_read_at_once_and_so_are_as_many_mistakes() {
    let (mut toml, mut bad) = (String::new(), String::new());
    for number in 0..20_000 {
        let digests = [0, 1].map(|which| Digest::of(format!("{number} {which}").as_bytes()));
        write!(
            toml,
            "[[monime.spaces]]\nid = \"spc-{number}\"\n[[callers]]\nname = \"c{number}\"\n\
             keys_sha256 = [\"{}\", \"{}\"]\nspaces = [\"spc-{number}\"]\noperations = [\"GetCheckoutSession\"]\n",
            digests[0], digests[1]
        )
        .unwrap();
        bad += "[[callers]]\nname = \"c\"\n";
    }
    let began = busy();
    let callers = load(&toml).unwrap().callers;
    assert_eq!((callers.len(), &*callers[9999].name), (20_000, "c9999"));
    assert_eq!(
        load(&bad).unwrap_err().iter().count(),
        4 * 20_000 - 1,
        "a proof, a space, an operation; a name of its own"
    );
    // A debug build takes three seconds. With a single list that is searched instead of hashed it takes half a minute,
    // which half as many callers would not show.
    let took = busy() - began;
    assert!(took < Duration::from_secs(12), "{took:?}");
}

/// How long this thread has been at work, others left out: a machine that is busy with other tests proves nothing.
fn busy() -> Duration {
    let spent = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(spent.split(' ').next().and_then(|spent| spent.parse().ok()).unwrap_or_default())
}
