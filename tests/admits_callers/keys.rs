//! Gateway keys: which ones are good, what the others are told, and how a reload adds and revokes them.

use std::time::Duration;

use tokio::time::Instant;

use crate::support::callers::{BANK, BANKS, DESK, Guarded, LOOKUPS, SHOP, SHOPS, bearer, caller, keys, mark, town};
use crate::support::callers::{every_space, of_space, process, write};
use crate::support::client::{Answer, Wire, ask_h2, get, h2c, path};
use crate::support::gateway::{eventually, metric};
use crate::support::leaks::base64;

/// A key that was good before.
const OLD: &str = "mgk_0ldKy5Rt8Wq2Zx7Cv4Bn1Mj6Hg3Fd9Sa0Pl5Ok8Iu2";

/// An answer as it can be told from another one: all of it but the id and the date.
fn told(answer: &Answer) -> String {
    let fields = answer.headers.iter().filter(|(name, _)| !matches!(name.as_str(), "x-request-id" | "date"));
    let fields: String = fields.map(|(name, value)| format!("{name}: {value}\n")).collect();
    format!("{}\n{fields}\n{}", answer.status, answer.text())
}

/// One key changed by `change` at this place.
fn near(key: &str, at: usize) -> String {
    let mut bytes = key.as_bytes().to_vec();
    bytes[at] = if bytes[at] == b'x' { b'y' } else { b'x' };
    String::from_utf8(bytes).unwrap()
}

/// Asks with these values of `Authorization` for both sessions over both protocols; the one answer that all of them got.
async fn refusal(guarded: &Guarded, ids: [&str; 2], values: &[&str]) -> String {
    let h2 = h2c(&guarded.gateway.address).await;
    let calls = guarded.calls();
    let lines: String = values.iter().map(|value| format!("Authorization: {value}\r\n")).collect();
    let fields: Vec<_> = values.iter().map(|value| ("authorization", *value)).collect();
    let mut answers = Vec::new();
    for id in ids {
        for space in ["", SHOPS, BANKS] {
            let line = if space.is_empty() { String::new() } else { of_space(space) };
            answers.push(guarded.look_up(id, &format!("{line}{lines}")).await);
        }
        answers.push(ask_h2(&h2, "GET", &path(id), &fields).await);
    }
    assert_eq!(guarded.calls(), calls, "Monime hears nothing of it");
    let (status, reason) = answers[0].failure();
    assert_eq!(status, 401, "{values:?}");
    assert!(matches!(reason.as_str(), "gateway_credentials_required" | "gateway_credentials_invalid"), "{reason}");
    for answer in &answers {
        assert_eq!(told(answer), told(&answers[0]), "the same whatever was asked for");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer realm=\"monigate\""));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert!(answer.header("x-request-id").is_some());
    }
    told(&answers[0])
}

#[tokio::test]
async fn a_wrong_key_gets_one_answer_whatever_it_asks_for_and_however_near_it_is() {
    let guarded = Guarded::by(&(town() + &caller("old", &keys(&[OLD]), &[SHOPS], LOOKUPS))).await;
    guarded.reload(&town()).await;
    assert!(guarded.look_up("scs-warm", &bearer(SHOP)).await.cache_status().contains("stored"));
    let ids = ["scs-warm", "scs-unknown"];
    let wrong = refusal(&guarded, ids, &["Bearer nobodys"]).await;
    let (first, middle, last) = (near(SHOP, 0), near(SHOP, 20), near(SHOP, SHOP.len() - 1));
    let (longer, prefix, shouted) = (format!("{SHOP}A"), SHOP[..SHOP.len() - 1].to_owned(), SHOP.to_uppercase());
    let (padded, longest) = (format!("{SHOP}="), "a".repeat(8 * 1024));
    for key in [OLD, &first, &middle, &last, &longer, &prefix, &shouted, &padded, &longest] {
        assert_eq!(refusal(&guarded, ids, &[&format!("Bearer {key}")]).await, wrong, "{key}");
    }
    // How near a key is does not show either where it is refused for its form.
    let basic = |key: &str| format!("Basic {}", base64(format!("shop:{key}").as_bytes()));
    for form in [
        &|key: &str| vec![basic(key)],
        &|key: &str| vec![format!("Bearer {key}"), format!("Bearer {key}")],
        &|key: &str| vec![format!("Bearer  {key}")],
        &|key: &str| vec![format!("Bearer\t{key}")],
        &|key: &str| vec![format!("Bearer {key}, Bearer {key}")],
        &|key: &str| vec![format!("Bearer {key} {key}")],
        &|key: &str| vec![format!("Bearer \"{key}\"")],
        &|key: &str| vec![format!("Bearer {}", key.repeat(200))],
        &|key: &str| vec![key.to_owned()],
        &|key: &str| vec![format!("BearerX {key}")],
    ] as [&dyn Fn(&str) -> Vec<String>; 10]
    {
        let mut answers = Vec::new();
        for key in [SHOP, &last, OLD] {
            let values = form(key);
            answers.push(refusal(&guarded, ids, &values.iter().map(String::as_str).collect::<Vec<_>>()).await);
        }
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:#?}");
    }
    for nothing in [&[][..], &[""], &["Bearer"], &["Bearer "], &["Basic"], &["Bearer", "Bearer"]] {
        refusal(&guarded, ids, nothing).await;
    }
    let served = guarded.look_up("scs-warm", &bearer(SHOP)).await;
    assert!(served.cache_status().starts_with("monigate; hit"), "and its owner is served: {served:?}");
}

#[tokio::test]
async fn a_credential_longer_than_8_kib_is_refused_as_any_other() {
    let guarded = Guarded::by(&town()).await;
    assert_eq!(guarded.look_up("scs-warm", &bearer(SHOP)).await.status, 200);
    let long = format!("Bearer {}", "a".repeat(8 * 1024 + 1));
    let answer = refusal(&guarded, ["scs-warm", "scs-unknown"], &[&long]).await;
    assert!(answer.contains("longer than any key"), "{answer}");
}

#[tokio::test]
async fn the_scheme_is_read_in_any_letter_case() {
    let guarded = Guarded::by(&town()).await;
    let h2 = h2c(&guarded.gateway.address).await;
    for scheme in ["Bearer", "bearer", "BEARER", "bEaReR"] {
        let value = format!("{scheme} {SHOP}");
        for answer in [
            guarded.look_up("scs-1", &format!("authorization: {value}\r\n")).await,
            guarded.look_up("scs-1", &format!("AUTHORIZATION:  {value}  \r\n")).await,
            ask_h2(&h2, "GET", &path("scs-1"), &[("authorization", &value)]).await,
        ] {
            assert!(answer.status == 200 && answer.text().contains(&mark(SHOPS)), "{scheme}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn a_revoked_key_fails_at_once_and_an_added_one_works_at_once_on_connections_that_stay() {
    let both = caller("shop", &keys(&[OLD, SHOP]), &[SHOPS], LOOKUPS);
    let bank = caller("bank", &keys(&[BANK]), &[BANKS], LOOKUPS);
    let guarded = Guarded::by(&(both + &bank)).await;
    let address = &guarded.gateway.address;
    let (mut revoked, mut kept, mut other) = (guarded.wire().await, guarded.wire().await, guarded.wire().await);
    let (h2, others_h2) = (h2c(address).await, h2c(address).await);
    let by_h2 = async |h2, key: &str| {
        ask_h2(h2, "GET", &path("scs-warm"), &[("authorization", &format!("Bearer {key}"))]).await
    };
    for (wire, key) in [(&mut revoked, OLD), (&mut kept, SHOP), (&mut other, BANK)] {
        assert_eq!(wire.look_up("scs-warm", &bearer(key)).await.status, 200);
    }
    assert_eq!((by_h2(&h2, OLD).await.status, by_h2(&others_h2, BANK).await.status), (200, 200));
    assert_eq!(revoked.look_up("scs-warm", &bearer(DESK)).await.status, 401, "one that was never good");

    let calls = guarded.calls();
    let one = caller("shop", &keys(&[SHOP]), &[SHOPS], LOOKUPS);
    let desk = caller("desk", &keys(&[DESK]), &[BANKS], LOOKUPS);
    guarded.reload(&(one + &bank + &desk)).await;
    assert_eq!(revoked.look_up("scs-warm", &bearer(OLD)).await.status, 401, "over HTTP/1.1");
    assert_eq!(by_h2(&h2, OLD).await.status, 401, "over HTTP/2");
    for (wire, key, space) in [(&mut revoked, DESK, BANKS), (&mut kept, SHOP, SHOPS), (&mut other, BANK, BANKS)] {
        let answer = wire.look_up("scs-warm", &bearer(key)).await;
        assert!(
            answer.cache_status().starts_with("monigate; hit") && answer.text().contains(&mark(space)),
            "{answer:?}"
        );
    }
    for (h2, key) in [(&h2, DESK), (&h2, SHOP), (&others_h2, BANK)] {
        assert!(by_h2(h2, key).await.cache_status().starts_with("monigate; hit"));
    }
    assert_eq!(guarded.calls(), calls, "nobody had to ask again");
}

#[tokio::test]
async fn the_program_revokes_and_adds_keys_on_a_hangup() {
    let folder = tempfile::tempdir().unwrap();
    let monime = every_space().await;
    let bank = caller("bank", &keys(&[BANK]), &[BANKS], LOOKUPS);
    let shop = |key: &str| caller("shop", &keys(&[key]), &[SHOPS], LOOKUPS) + &bank;
    let gateway = process(&folder, &shop(OLD), &monime.base_url, &[]).await;
    let (mut wire, mut other) = (Wire::connect(&gateway.address).await, Wire::connect(&gateway.address).await);
    let h2 = h2c(&gateway.address).await;
    let by_h2 = async |key: &str| {
        ask_h2(&h2, "GET", &path("scs-1"), &[("authorization", &format!("Bearer {key}"))]).await.status
    };
    assert_eq!(wire.look_up("scs-1", &bearer(OLD)).await.status, 200);
    assert_eq!(other.look_up("scs-1", &bearer(BANK)).await.status, 200);
    assert_eq!((by_h2(OLD).await, by_h2(SHOP).await), (200, 401));
    let reloads =
        async || metric(&gateway.operator("/metrics").await.text(), "monigate_config_reloads_total{result=\"ok\"}");
    write(&folder, &shop(SHOP));
    gateway.process.signal("HUP");
    eventually("it reloads", async || (reloads().await == 1).then_some(())).await;
    assert_eq!(wire.look_up("scs-1", &bearer(OLD)).await.status, 401);
    assert_eq!((by_h2(OLD).await, by_h2(SHOP).await), (401, 200));
    assert!(wire.look_up("scs-1", &bearer(SHOP)).await.cache_status().starts_with("monigate; hit"));
    assert!(other.look_up("scs-1", &bearer(BANK)).await.cache_status().starts_with("monigate; hit"));
    assert_eq!(monime.heard().len(), 2);
}

#[tokio::test]
async fn a_used_up_rate_stays_used_up_over_a_reload_and_is_nobody_elses() {
    const BURST: usize = 300;
    let rated = caller("shop", &format!("{}rate = 1\nburst = {BURST}\n", keys(&[SHOP])), &[SHOPS], LOOKUPS);
    let bank = caller("bank", &format!("{}rate = 1\nburst = {BURST}\n", keys(&[BANK])), &[BANKS], LOOKUPS);
    let text = rated + &bank;
    let guarded = Guarded::by(&text).await;
    let mut wire = guarded.wire().await;
    let started = Instant::now();
    // How many are let through until one is not.
    let mut until_refused = async || {
        for admitted in 0.. {
            let answer = wire.look_up("scs-warm", &bearer(SHOP)).await;
            if answer.status != 200 {
                assert_eq!(answer.failure(), (429, "gateway_rate_limited".to_owned()));
                assert_eq!(answer.header("retry-after"), Some("1"));
                return admitted;
            }
            assert!(admitted < 2 * BURST, "hits count, too");
        }
        unreachable!()
    };
    let earned = |started: Instant| usize::try_from(started.elapsed().as_secs()).unwrap() + 1;
    let first = until_refused().await;
    assert!((BURST..=BURST + earned(started)).contains(&first), "{first}");
    guarded.reload(&(text.clone() + &caller("desk", &keys(&[DESK]), &[BANKS], LOOKUPS))).await;
    let second = until_refused().await;
    assert!(second <= earned(started), "{second} more after a reload, {:?}", started.elapsed());
    assert!(started.elapsed() < Duration::from_secs(BURST as u64), "this proves something");
    // Over another connection and another protocol it is the same caller; another one is another.
    let mut elsewhere = guarded.wire().await;
    elsewhere.send(get("/nowhere", &bearer(BANK))).await;
    assert_eq!(elsewhere.answer().await.unwrap().status, 404);
    for _ in 0..50 {
        assert_eq!(elsewhere.look_up("scs-warm", &bearer(BANK)).await.status, 200);
    }
}
