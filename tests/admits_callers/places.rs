//! The door itself: policies, the demanded header, sockets, operators, and what is written down about who came.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;

use monigate::caller::Digest;
use monigate::server::Address;
use serde_json::Value;

use crate::support::callers::{
    BANK, BANKS, DESK, Guarded, LOOKUPS, NOBODYS, SHOP, SHOPS, bearer, caller, every_space, keys, mark, of_space,
    process as run, town, write,
};
use crate::support::client::{Answer, Wire, ask, ask_h2, get, h2c, path};
use crate::support::gateway::{SPACE, eventually, metric};
use crate::support::leaks::{Said, base64};
use crate::support::process::{self, Process};

/// An operator's.
const OPERATORS: &str = "mgk_0p3rAt0rW5Zx8Cv1Bn4Mj7Hk2Gf9Ds6Qa3Pl0Ty7Ui";
/// One of another caller, which may do less than the others.
const CLERK: &str = "mgk_Cl3rkT6Yh9Ub2Nj5Im8Ko1Lp4Aw7Sx0Dq3Ez6Rc9Fv";

#[tokio::test]
async fn a_policy_is_kept_before_anything_is_looked_up() {
    let guarded = Guarded::by(&(town() + &caller("clerk", &keys(&[CLERK]), &[SHOPS], &["ListBanks"]))).await;
    for space in [SHOPS, BANKS] {
        let kept = guarded.look_up("scs-warm", &(bearer(DESK) + &of_space(space))).await;
        assert!(kept.cache_status().contains("stored") && kept.text().contains(&mark(space)), "{kept:?}");
    }
    assert!(guarded.look_up("scs-warm", &bearer(SHOP)).await.cache_status().starts_with("monigate; hit"));
    assert_eq!(guarded.look_up("scs-none", &bearer(SHOP)).await.status, 404);
    let calls = guarded.calls();
    let told = |answer: Answer| (answer.failure(), answer.header("cache-status").map(str::to_owned), answer.text());
    for (fields, status, reason) in [
        (bearer(CLERK), 403, "gateway_operation_forbidden"),
        (bearer(CLERK) + &of_space(BANKS), 403, "gateway_operation_forbidden"),
        (bearer(SHOP) + &of_space(BANKS), 403, "gateway_space_forbidden"),
        (bearer(SHOP) + &of_space(NOBODYS), 403, "gateway_space_forbidden"),
        (bearer(SHOP) + &of_space("spc-there-is-none"), 403, "gateway_space_forbidden"),
        (bearer(DESK), 400, "gateway_space_required"),
    ] {
        let known = told(guarded.look_up("scs-warm", &fields).await);
        assert_eq!(known.0, (status, reason.to_owned()), "{fields}");
        for id in ["scs-none", "scs-unknown", "scs-1"] {
            assert_eq!(told(guarded.look_up(id, &fields).await), known, "{fields}");
        }
    }
    let forbidden = ask(&guarded.gateway.address, &get("/v1/banks", &bearer(SHOP))).await;
    assert_eq!(forbidden.failure(), (403, "gateway_operation_forbidden".to_owned()));
    assert_eq!(guarded.calls(), calls, "Monime hears nothing of it");
}

#[tokio::test]
async fn a_demanded_header_lets_in_and_its_absence_keeps_out_whoever_asks() {
    let folder = tempfile::tempdir().unwrap();
    let guarded = Guarded::with(folder, &town(), &["listen.require_header=X-Monigate-Request"]).await;
    let with = |key: &str, line: &str| bearer(key) + line;
    let required = (403, "gateway_header_required".to_owned());
    let header = "x-monigate-REQUEST: 1\r\n";
    assert_eq!(guarded.look_up("scs-1", &with(SHOP, header)).await.status, 200);
    assert_eq!(guarded.look_up("scs-1", &with(SHOP, "X-Monigate-Request:\r\n")).await.status, 200, "even if empty");
    for key in [SHOP, "mgk_nobodys"] {
        for line in ["", "X-Monigate-Requested: 1\r\n", "Cookie: X-Monigate-Request=1\r\n"] {
            assert_eq!(guarded.look_up("scs-1", &with(key, line)).await.failure(), required, "before who it is");
        }
    }
    let h2 = h2c(&guarded.gateway.address).await;
    let authorization = format!("Bearer {SHOP}");
    let fields = [("authorization", &*authorization), ("x-monigate-request", "1")];
    assert_eq!(ask_h2(&h2, "GET", &path("scs-1"), &fields[..1]).await.failure(), required);
    assert_eq!(ask_h2(&h2, "GET", &path("scs-1"), &fields).await.status, 200);
    assert_eq!(guarded.look_up("scs-1", &with("mgk_nobodys", header)).await.status, 401, "it proves nobody");
    assert_eq!(guarded.calls(), 1);
}

#[tokio::test]
async fn a_sidecar_without_callers_demands_the_header_too() {
    let folder = tempfile::tempdir().unwrap();
    let monime = every_space().await;
    let demanded = "listen.require_header=X-Monigate-Request";
    let gateway = run(&folder, "", &monime.base_url, &[demanded]).await;
    let refused = ask(&gateway.address, &get(&path("scs-1"), "")).await;
    assert_eq!(refused.failure(), (403, "gateway_header_required".to_owned()));
    let served = ask(&gateway.address, &get(&path("scs-1"), "X-Monigate-Request: 1\r\n")).await;
    assert!(served.text().contains(&mark(SPACE)), "{served:?}");
    assert_eq!(monime.heard().len(), 1);
}

#[tokio::test]
async fn a_socket_has_its_mode_is_nobody_elses_while_it_is_served_and_goes_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let monime = every_space().await;
    for (setting, mode) in
        [(None, 0o660), (Some("listen.socket_mode=0600"), 0o600), (Some("listen.socket_mode=0666"), 0o666)]
    {
        let socket = folder.path().join(format!("{mode:o}.sock"));
        let listen = format!("listen.address=unix:{}", socket.display());
        let settings: Vec<_> = [listen.as_str()].into_iter().chain(setting).collect();
        let mut first = run(&folder, &town(), &monime.base_url, &settings).await;
        assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o7777, mode);
        let listens: Address = format!("unix:{}", socket.display()).parse().unwrap();
        assert_eq!(ask(&listens, &get(&path("scs-1"), &bearer(SHOP))).await.status, 200);
        assert_eq!(ask(&listens, &get(&path("scs-1"), "")).await.status, 401, "callers have names here, too");

        let file = write(&folder, &town());
        let base_url = format!("monime.base_url={}", monime.base_url);
        let spaces = format!("monime.spaces={SHOPS},{BANKS}");
        let arguments = [
            "run",
            "--config",
            file.to_str().unwrap(),
            "--admin",
            "127.0.0.1:0",
            "--set",
            &listen,
            "--set",
            &base_url,
            "--set",
            &spaces,
        ];
        let environment = [("MONIGATE__MONIME__TOKEN", "other-0123456789"), ("MONIGATE__MONIME__DEFAULT_SPACE", SPACE)];
        let second = Process::start(&arguments, &environment).ran().await;
        assert!(second.code == Some(1) && second.err.contains("listen.address"), "{second:?}");
        assert_eq!(ask(&listens, &get(&path("scs-1"), &bearer(SHOP))).await.status, 200, "the first is left alone");
        first.process.signal("TERM");
        assert_eq!(first.process.ended().await, Some(0));
        assert!(!socket.exists());
    }
}

const SESSION: &str = "/v1/checkout-sessions/scs-1";
/// What is asked for, by which key and for which space, and what the audit says of it: caller, operation, space, reason.
#[rustfmt::skip]
const REFUSED: [(&str, &str, &str, [&str; 4]); 9] = [
    (SESSION, "", "", ["", "none", "", "gateway_credentials_required"]),
    (SESSION, "mgk_nobodys", SHOPS, ["", "none", "", "gateway_credentials_invalid"]),
    (SESSION, SHOP, BANKS, ["shop", "GetCheckoutSession", BANKS, "gateway_space_forbidden"]),
    (SESSION, SHOP, "spc-strangers-word", ["shop", "GetCheckoutSession", "", "gateway_space_forbidden"]),
    (SESSION, DESK, "", ["desk", "GetCheckoutSession", "", "gateway_space_required"]),
    ("/v1/banks", BANK, BANKS, ["bank", "ListBanks", BANKS, "gateway_operation_forbidden"]),
    ("/v1/nothing", BANK, "", ["bank", "none", "", "gateway_route_unknown"]),
    ("/v1/checkout-sessions/scs-1?a=b", BANK, BANKS, ["bank", "GetCheckoutSession", BANKS, "gateway_query_not_allowed"]),
    ("/v1/strangers-word", "", "", ["", "none", "", "gateway_credentials_required"]),
];

#[tokio::test]
async fn each_refusal_has_one_line_in_the_audit_and_no_read_that_was_served_has_any() {
    let folder = tempfile::tempdir().unwrap();
    let monime = every_space().await;
    let slow = caller("slow", &format!("{}rate = 1\nburst = 1\n", keys(&[CLERK])), &[SHOPS], LOOKUPS);
    let mut gateway = run(&folder, &(town() + &slow), &monime.base_url, &[]).await;
    let asked = async |target: &str, key: &str, space: &str, id: &str| {
        let proof = if key.is_empty() { String::new() } else { bearer(key) };
        let space = if space.is_empty() { String::new() } else { of_space(space) };
        let fields = format!("{proof}{space}X-Request-Id: {id}\r\n");
        let answer = ask(&gateway.address, &get(target, &fields)).await;
        assert_eq!(answer.header("x-request-id"), Some(id));
        answer.status
    };
    let mut expected = BTreeMap::new();
    for (nth, (target, key, space, row)) in REFUSED.into_iter().enumerate() {
        let id = format!("refused-{nth}");
        expected.insert(id.clone(), (asked(target, key, space, &id).await, row));
        assert_eq!(asked(SESSION, SHOP, "", &format!("served-{nth}")).await, 200);
    }
    // From its second request on, or its third where the machine is slow.
    let limited = ["slow", "none", "", "gateway_rate_limited"];
    assert_eq!(asked(SESSION, CLERK, "", "served-slowly").await, 200);
    eventually("its rate is used up", async || {
        (asked(SESSION, CLERK, "", "refused-slowly").await == 429).then_some(())
    })
    .await;
    expected.insert("refused-slowly".to_owned(), (429, limited));

    gateway.process.signal("TERM");
    assert_eq!(gateway.process.ended().await, Some(0));
    let ran = gateway.process.ran().await;
    assert!(!ran.err.contains("strangers-word"), "what strangers write is in no log");
    audited(&ran.err, expected);
}

/// The log has one line in the audit for each of these and no other.
fn audited(log: &str, mut expected: BTreeMap<String, (u16, [&str; 4])>) {
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    for line in lines.filter(|line| line["target"] == "monigate::audit") {
        let expected = expected.remove(line["request_id"].as_str().unwrap());
        let (status, row) = expected.unwrap_or_else(|| panic!("a second line, or one too many: {line}"));
        let said = ["caller", "operation", "space", "reason"].map(|field| line[field].as_str().unwrap_or_default());
        assert_eq!(said, row, "{line}");
        assert_eq!((&line["outcome"], &line["status"]), (&"refused".into(), &Value::from(status)), "{line}");
    }
    assert!(expected.is_empty(), "nothing was written about {expected:?}");
}

#[tokio::test]
async fn requests_are_counted_by_configured_names_and_strangers_make_no_series() {
    let guarded = Guarded::by(&town()).await;
    let series = async || {
        let text = guarded.gateway.operator("/metrics").await.text();
        let lines = text.lines().filter(|line| line.starts_with("monigate_caller_requests_total{"));
        lines.map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect::<BTreeSet<_>>()
    };
    for fields in [bearer(SHOP), bearer(SHOP), bearer(SHOP) + &of_space(BANKS), bearer(BANK), String::new()] {
        guarded.look_up("scs-1", &fields).await;
    }
    let before = series().await;
    for stranger in 0..50 {
        let key = format!("Authorization: Bearer mgk_stranger-{stranger}\r\n");
        let more = format!(
            "Monime-Space-Id: spc-{stranger}\r\nX-Caller: caller-{stranger}\r\nUser-Agent: agent-{stranger}\r\n\
             X-Request-Id: id-{stranger}\r\n"
        );
        assert_eq!(guarded.look_up(&format!("scs-{stranger}"), &(key + &more)).await.status, 401);
        assert_eq!(guarded.look_up("scs-1", &(bearer(BANK) + &more)).await.status, 403);
    }
    let after = series().await;
    let new: Vec<_> = after.difference(&before).collect();
    assert_eq!(new.len(), 1, "the bank's refusals alone: {new:?}");
    let text = guarded.gateway.operator("/metrics").await.text();
    for (name, outcome, count) in [
        ("shop", "miss", 1),
        ("shop", "hit", 1),
        ("shop", "refused", 1),
        ("bank", "miss", 1),
        ("bank", "refused", 50),
        ("(none)", "refused", 51),
    ] {
        let series = format!("monigate_caller_requests_total{{caller=\"{name}\",outcome=\"{outcome}\"}}");
        assert_eq!(metric(&text, &series), count, "{series}");
    }
    for invented in ["stranger", "caller-", "spc-4", "agent", "id-4"] {
        assert!(!text.contains(invented), "{invented}");
    }
}

/// Every place in a request where a key may stand, in its right place or by mistake.
fn misplaced(key: &str) -> [String; 15] {
    let basic = base64(format!("shop:{key}").as_bytes());
    [
        bearer(key),
        bearer(key) + &of_space(NOBODYS),
        bearer(key) + &bearer(key),
        format!("Authorization: Basic {basic}\r\n"),
        format!("Authorization: Bearer {key} {key}\r\n"),
        format!("Authorization: {key}\r\n"),
        format!("Authorization: Bearer {key}\0\r\n"),
        bearer(&key.repeat(200)),
        bearer(SHOP) + &format!("Proxy-Authorization: Bearer {key}\r\nCookie: key={key}\r\nX-Api-Key: {key}\r\n"),
        bearer(SHOP) + &format!("X-Request-Id: {key}\r\n"),
        bearer(key) + &format!("X-Request-Id: for.{}\r\n", key.to_uppercase()),
        bearer(SHOP) + &of_space(key),
        bearer(SHOP) + &of_space(&format!("spc-{key}")),
        bearer(SHOP) + &format!("Monime-Version: {key}\r\nMonigate-Timeout: {key}\r\n"),
        bearer(SHOP) + &format!("Idempotency-Key: {key}\r\nIf-None-Match: \"{key}\"\r\nUser-Agent: {key}\r\n"),
    ]
}

/// Sends a key in every place, for a session of its own each time.
async fn misplace(gateway: &process::Gateway, key: &str, said: &mut Said) {
    for (nth, fields) in misplaced(key).into_iter().enumerate() {
        let mut wire = Wire::connect(&gateway.address).await;
        let target = path(format!("scs-{nth}-{}", &key[4..8]));
        wire.send(get(&target, &format!("{fields}Connection: close\r\n"))).await;
        said.heard(&fields.replace(key, "KEY"), wire.rest().await);
    }
    let (h2, authorization) = (h2c(&gateway.address).await, format!("Bearer {key}"));
    for target in
        [format!("/v1/checkout-sessions/scs-1?access_token={key}"), format!("/v1/{key}"), format!("/{key}/v1/banks")]
    {
        let answer = ask_h2(&h2, "GET", &target, &[("authorization", &authorization)]).await;
        said.heard("over HTTP/2", format!("{answer:?}"));
    }
    for target in ["/config", "/metrics", "/readyz?verbose", "/purge"] {
        said.heard(target, format!("{:?}", ask(&gateway.admin, &get(target, &bearer(key))).await));
    }
}

#[tokio::test]
async fn no_key_gets_out_by_any_way() {
    const WRONG: &str = "mgk_Wr0ngE9Rf2Vt5Bg8Yn1Hu4Mj7Ki0Lo3Pq6Az9Sx2Dc";
    const KEYS: [&str; 6] = [SHOP, BANK, DESK, CLERK, WRONG, OPERATORS];
    let folder = tempfile::tempdir().unwrap();
    let monime = every_space().await;
    let admin = format!("admin.keys_sha256={}", Digest::of(OPERATORS.as_bytes()));
    let slow = caller("slow", &format!("{}rate = 1\nburst = 1\n", keys(&[CLERK])), &[SHOPS], LOOKUPS);
    let text = town() + &slow;
    let mut gateway = run(&folder, &text, &monime.base_url, &["log.level=trace", &admin]).await;
    let mut said = Said::default();
    for key in KEYS {
        misplace(&gateway, key, &mut said).await;
    }
    write(&folder, &(text + "\nunknown = 1\n"));
    gateway.process.signal("HUP");
    gateway.process.says("not reloaded").await;
    gateway.process.signal("TERM");
    assert_eq!(gateway.process.ended().await, Some(0));
    let ran = gateway.process.ran().await;
    assert!(ran.err.contains("\"TRACE\"") && ran.err.contains("monigate::audit"), "it was at its most talkative");
    said.heard("standard error", ran.err);
    said.heard("standard output", ran.out);
    let heard = monime.heard();
    assert!(heard.len() > 10, "{heard:#?}");
    said.heard("what Monime heard", heard.concat());
    KEYS.into_iter().for_each(|key| said.keeps(key));
}

#[tokio::test]
async fn operators_on_other_machines_prove_themselves_and_probes_need_not() {
    let keyed = format!("admin.keys_sha256={}", Digest::of(OPERATORS.as_bytes()));
    let purge = |fields: &str| {
        let body = "{\"all\":true}";
        format!(
            "POST /purge HTTP/1.1\r\nHost: gateway\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{fields}\r\n{body}",
            body.len()
        )
    };
    for (more, closed) in [(&[keyed.as_str()][..], "admin_key_required"), (&[], "admin_loopback_only")] {
        let settings = [&["admin.address=0.0.0.0:0"][..], more].concat();
        let guarded = Guarded::with(tempfile::tempdir().unwrap(), &town(), &settings).await;
        let Address::Tcp(bound) = guarded.gateway.admin else { panic!("a TCP address") };
        assert!(bound.ip().is_unspecified());
        let admin: Address = format!("127.0.0.1:{}", bound.port()).parse().unwrap();
        assert_eq!(guarded.look_up("scs-1", &bearer(SHOP)).await.status, 200);
        for open in ["/livez", "/readyz", "/readyz?verbose", "/metrics"] {
            assert_eq!(ask(&admin, &get(open, "")).await.status, 200, "{open}");
        }
        let forbidden = (403, closed.to_owned());
        let wrong = bearer(OPERATORS) + &bearer(OPERATORS);
        for fields in ["", &bearer(SHOP), &bearer(&OPERATORS[1..]), &wrong, &format!("Cookie: key={OPERATORS}\r\n")] {
            assert_eq!(ask(&admin, &get("/config", fields)).await.failure(), forbidden, "{fields}");
            assert_eq!(ask(&admin, &purge(fields)).await.failure(), forbidden, "{fields}");
        }
        let hit = guarded.look_up("scs-1", &bearer(SHOP)).await;
        assert!(hit.cache_status().starts_with("monigate; hit"), "nothing was purged");
        let statuses = [
            ask(&admin, &get("/config", &bearer(OPERATORS))).await.status,
            ask(&admin, &purge(&bearer(OPERATORS))).await.status,
        ];
        let proved = !more.is_empty();
        assert_eq!(statuses, if proved { [200, 200] } else { [403, 403] });
        assert_eq!(guarded.look_up("scs-1", &bearer(SHOP)).await.cache_status().contains("stored"), proved);
        assert_eq!(guarded.look_up("scs-1", &bearer(OPERATORS)).await.status, 401, "an operator is no caller");
    }
}
