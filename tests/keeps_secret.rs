//! The leak test: a canary token goes through every way to fail, and nothing that the program says holds any of it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what a test cannot prepare is its failure"
)]

mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use http::StatusCode;
use monigate::sandbox::{Fault, Limits, Scope, Settings};
use support::client::{ask_h2, get, h2c, path};
use support::gateway::{SPACE, play_with};
use support::leaks::{Said, base64, leak};
use support::mirrors::{COUNT, mirror};
use support::process::{Gateway, Process, Ran};
use support::upstream::Upstream;

/// One of a form that every word of the program is searched for, and one that only care can keep.
const TOKENS: [&str; 2] = ["mon_Zq8Kx3Wv7Rt2Yp9Lm4Jh6Gd1Fs5Cb0", "Nn5Bb2Vv8Cc3Xx6Zz1Ll4Kk7Jj9Hh0Gg"];
/// What callers send in `Authorization` and `Cookie`, which is none of ours and goes nowhere.
const THEIRS: &str = "Tt4Rr8Ee1Ww6Qq3Yy7Uu2Ii9Oo5Pp";
/// An environment that is enough, with a token that nobody looks for.
const GOOD: [(&str, &str); 2] =
    [("MONIGATE__MONIME__TOKEN", "other-0123456789"), ("MONIGATE__MONIME__DEFAULT_SPACE", SPACE)];

/// Runs a gateway at the most talkative level and asks for these sessions in several ways.
async fn provoke(token: &str, base_url: &str, settings: &[&str], ids: &[String], said: &mut Said) {
    // With a budget that no fault can use up, so that each of them is met.
    let ours = ["log.level=trace", "budget.endpoint=10000", "budget.token=10000", "budget.space=10000"];
    let mut gateway = Gateway::run_as(token, base_url, &[&ours, settings].concat()).await;
    let h2 = h2c(&gateway.address).await;
    let theirs = format!("Bearer {THEIRS}");
    for id in ids {
        let fields = format!("Authorization: {theirs}\r\nCookie: {THEIRS}\r\nX-Api-Key: {THEIRS}\r\n");
        let mut wire = support::client::Wire::connect(&gateway.address).await;
        wire.send(get(&path(id), &format!("{fields}Connection: close\r\n"))).await;
        said.heard(&format!("GET {id} over HTTP/1.1"), wire.rest().await);
        for method in ["GET", "PUT"] {
            let answer = ask_h2(&h2, method, &path(id), &[("authorization", &theirs), ("cookie", THEIRS)]).await;
            said.heard(&format!("{method} {id} over HTTP/2"), format!("{answer:?}"));
        }
        said.heard("/readyz?verbose", format!("{:?}", gateway.operator("/readyz?verbose").await));
    }
    // Heads that are refused before anybody has read them whole.
    for broken in [
        format!("Authorization: Bearer {THEIRS}\0\r\n"),
        format!("Authorization : {THEIRS}\r\n"),
        format!("{THEIRS}\r\n"),
    ] {
        let mut wire = support::client::Wire::connect(&gateway.address).await;
        wire.send(get("/v1/checkout-sessions/scs-1", &broken)).await;
        said.heard("an answer to a broken head", wire.rest().await);
    }
    for target in ["/metrics", "/config", "/readyz?verbose", "/livez"] {
        said.heard(target, format!("{:?}", gateway.operator(target).await));
    }
    gateway.process.signal("HUP");
    gateway.process.signal("TERM");
    assert_eq!(gateway.process.ended().await, Some(0));
    let Ran { out, err, .. } = gateway.process.ran().await;
    assert!(err.contains("\"TRACE\""), "it was at its most talkative");
    assert_eq!(leak(THEIRS, err.as_bytes()), None, "what callers send is in no log");
    said.heard("standard error", err);
    said.heard("standard output", out);
}

fn faults() -> Vec<Fault> {
    let status = |code| StatusCode::from_u16(code).unwrap();
    let codes = [200, 201, 204, 301, 304, 400, 401, 403, 404, 409, 429, 500, 502, 503, 504];
    let throttled = Fault::Throttled { scope: Scope::Endpoint, retry_after: 1 };
    let rest = [
        Fault::ReflectToken,
        Fault::Gzip,
        Fault::Malformed,
        Fault::Truncated,
        Fault::Reset,
        Fault::Huge(1 << 20),
        Fault::SessionStatus("processing".to_owned()),
        Fault::Html(StatusCode::OK),
        Fault::NestedResult,
        Fault::WrongId,
        Fault::Latency(std::time::Duration::from_secs(60)),
        throttled,
    ];
    codes.into_iter().map(|code| Fault::Status(status(code))).chain(rest).collect()
}

/// Every fault of a sandbox, over http or with TLS.
async fn every_fault(token: &str, tls: Option<&Path>) {
    let settings = Settings { token: token.to_owned(), limits: Limits::NONE, ..Settings::default() };
    let (sandbox, base_url, _served) = play_with(settings, tls).await;
    let space = support::gateway::space();
    let mut ids = vec![sandbox.create(&space).to_string()];
    for fault in faults() {
        let id = sandbox.create(&space);
        sandbox.play_for(&id, fault, 100);
        ids.push(id.to_string());
    }
    let ca = tls.map(|folder| format!("monime.ca_file={}", folder.join("ca.pem").display()));
    let mut settings = vec!["monime.timeouts.attempt=300ms", "monime.timeouts.connect=300ms"];
    settings.extend(ca.as_deref());
    let mut said = Said::default();
    provoke(token, &base_url, &settings, &ids, &mut said).await;
    let met = sandbox.seen().faults;
    for fault in faults() {
        assert!(met.get(fault.name()).is_some_and(|times| *times > 0), "{fault:?} was never met: {met:?}");
    }
    said.keeps(token);
}

#[tokio::test]
async fn a_sandbox_with_every_fault_gets_no_word_of_the_token_out() {
    let [one, other] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    tokio::join!(
        every_fault(TOKENS[0], None),
        every_fault(TOKENS[1], None),
        every_fault(TOKENS[0], Some(one.path())),
        every_fault(TOKENS[1], Some(other.path())),
    );
}

#[tokio::test]
async fn a_monime_that_mirrors_the_token_everywhere_gets_no_word_of_it_out() {
    for token in TOKENS {
        let upstream = Upstream::start(|_, request| mirror(request)).await;
        let ids: Vec<_> = (0..COUNT).map(|number| format!("scs-{number}")).collect();
        let mut said = Said::default();
        provoke(token, &upstream.base_url, &["monime.timeouts.attempt=2s"], &ids, &mut said).await;
        assert!(upstream.heard().len() >= COUNT);
        assert!(upstream.heard().iter().all(|request| request.contains(token) && !request.contains(THEIRS)));
        said.keeps(token);
    }
}

#[tokio::test]
async fn who_is_out_of_reach_or_wrongly_certified_changes_nothing() {
    let [theirs, ours] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    monigate::sandbox::tls::make_ca(ours.path()).unwrap();
    let (sandbox, base_url, _served) = play_with(Settings::default(), Some(theirs.path())).await;
    let ca = format!("monime.ca_file={}", ours.path().join("ca.pem").display());
    for token in TOKENS {
        let mut said = Said::default();
        provoke(token, &base_url, &[&ca], &["scs-1".to_owned()], &mut said).await;
        provoke(token, "http://127.0.0.1:1", &[], &["scs-1".to_owned()], &mut said).await;
        said.keeps(token);
    }
    assert_eq!(sandbox.seen().requests, 0);
}

async fn ran(said: &mut Said, arguments: &[&str], environment: &[(&str, &str)]) -> Option<i32> {
    let Ran { code, out, err } = Process::start(arguments, environment).ran().await;
    said.heard(&format!("{} {environment:?}, output", arguments.join(" ")), out);
    said.heard(&format!("{} {environment:?}, errors", arguments.join(" ")), err);
    code
}

#[tokio::test]
async fn commands_say_nothing_of_a_token_that_is_in_its_place() {
    let upstream = Upstream::start(|_, request| mirror(request)).await;
    let folder = tempfile::tempdir().unwrap();
    for token in TOKENS {
        let mut said = Said::default();
        let file = folder.path().join("token");
        std::fs::write(&file, token).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        let base_url = format!("monime.base_url={}", upstream.base_url);
        let space = ("MONIGATE__MONIME__DEFAULT_SPACE", SPACE);
        for place in [("MONIGATE__MONIME__TOKEN", token), ("MONIGATE__MONIME__TOKEN_FILE", file.to_str().unwrap())] {
            for command in [&["check"][..], &["config"], &["config", "--format", "json"]] {
                assert_eq!(ran(&mut said, command, &[place, space]).await, Some(0), "{command:?}");
                assert_eq!(ran(&mut said, command, &[place]).await, Some(78), "{command:?}");
            }
            for number in 0..COUNT {
                let id = format!("scs-{number}");
                ran(&mut said, &["get", &id, "--set", &base_url, "--log-level", "trace"], &[place, space]).await;
            }
        }
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        let place = ("MONIGATE__MONIME__TOKEN_FILE", file.to_str().unwrap());
        assert_eq!(ran(&mut said, &["run"], &[place, space]).await, Some(78));
        for wrong in [format!("{token} x"), format!("{token}\n{token}"), format!("Bearer {token}"), token.repeat(200)] {
            assert_eq!(ran(&mut said, &["check"], &[("MONIGATE__MONIME__TOKEN", &wrong), space]).await, Some(78));
            std::fs::write(&file, wrong).unwrap();
            let more = ("MONIGATE__SECURITY__ALLOW_WORLD_READABLE_SECRETS", "true");
            assert_eq!(ran(&mut said, &["check"], &[place, space, more]).await, Some(78));
        }
        said.keeps(token);
    }
}

#[tokio::test]
async fn a_token_that_was_put_under_another_key_is_not_repeated() {
    let (token, folder) = (TOKENS[0], tempfile::tempdir().unwrap());
    let (mut said, good) = (Said::default(), GOOD);
    for key in [
        "monime.token",
        "monime.token_file",
        "monime.default_space",
        "monime.spaces",
        "monime.version",
        "monime.base_url",
        "monime.ca_file",
        "monime.proxy",
        "monime.proxy_credentials_file",
        "listen.address",
        "admin.address",
        "log.level",
        "log.format",
        "cache.max_size",
        "cache.ttl.completed",
        "limits.max_in_flight",
        token,
    ] {
        let variable = format!("MONIGATE__{}", key.replace('.', "__").to_uppercase());
        ran(&mut said, &["check", "--set", &format!("{key}={token}")], &good).await;
        ran(&mut said, &["config", "--set", &format!("{key}=https://user:{token}@h")], &good).await;
        if key != "monime.token" {
            ran(&mut said, &["check"], &[&good[..], &[(&variable, token)]].concat()).await;
        }
        for (name, text) in [("a.toml", format!("{key} = \"{token}\"\n")), ("a.yaml", format!("{key}: {token}: x\n"))] {
            let file = folder.path().join(name);
            std::fs::write(&file, text).unwrap();
            ran(&mut said, &["config", "--config", file.to_str().unwrap()], &good).await;
        }
    }
    said.keeps(token);
}

#[tokio::test]
async fn a_token_that_was_put_on_the_command_line_is_not_repeated() {
    let (mut said, token) = (Said::default(), TOKENS[0]);
    for arguments in [
        &[token][..],
        &["get", token],
        &["run", token],
        &["--token", token],
        &["run", "--token", token],
        &["check", "--set", token],
        &["check", "--config", token],
        &["run", "--listen", token],
        &["run", "--admin", token],
        &["check", "--log-level", token],
        &["check", "--log-format", token],
        &["config", "--format", token],
        &["healthcheck", "--admin", token],
        &["sandbox", "--listen", token],
        &["sandbox", "--limits", token],
        &["sandbox", "--outcome", token],
    ] {
        let unreachable = [&GOOD[..], &[("MONIGATE__MONIME__BASE_URL", "http://127.0.0.1:1")]].concat();
        let code = ran(&mut said, arguments, &unreachable).await;
        assert!(code.is_some_and(|code| code != 0), "{}", arguments.join(" "));
    }
    said.keeps(token);
}

#[test]
fn the_detector_finds_what_it_is_for() {
    for token in TOKENS {
        let bytes: Vec<String> = token.bytes().map(|byte| byte.to_string()).collect();
        let hex: String = token.bytes().map(|byte| format!("{byte:02x}")).collect();
        for planted in [
            token[5..17].to_owned(),
            token.to_lowercase(),
            token.to_uppercase(),
            base64(token.as_bytes()),
            base64(format!("Bearer {token}").as_bytes()),
            base64(format!("x{token}").as_bytes()),
            base64(format!("xy{token}").as_bytes()).replace('+', "-").replace('/', "_"),
            format!("{:?}", token.as_bytes()),
            bytes[3..].join(","),
            hex,
        ] {
            let text = format!("some words, {planted} and more");
            assert!(leak(token, text.as_bytes()).is_some(), "{planted}");
        }
        assert_eq!(leak(token, &token.as_bytes()[5..16]), None, "eleven are not enough");
        assert_eq!(leak(token, b"Authorization: Sensitive, [109, 111, 110], mon_[redacted]"), None);
    }
}
