//! `monigate sandbox` as somebody meets it who has just installed the program: what it says, and that what it says is
//! ready to be pasted.

#![expect(clippy::unwrap_used, reason = "what a test cannot prepare is its failure")]

mod support;

use std::process::{Command, Output};

use monigate::sandbox::DEFAULT_TOKEN;
use support::gateway::eventually;
use support::process::{Process, Ran};

const LISTEN: [&str; 3] = ["sandbox", "--listen", "127.0.0.1:0"];

/// Starts a sandbox and waits for the last line it says, if that is a command for a gateway.
async fn started(arguments: &[&str]) -> (Process, String) {
    let sandbox = Process::start(&[&LISTEN, arguments].concat(), &[]);
    let said = eventually("it greets", async || {
        let out = sandbox.out();
        out.ends_with("spc-demo\n").then_some(out)
    })
    .await;
    (sandbox, said)
}

fn fact<'a>(said: &'a str, name: &str) -> &'a str {
    said.lines().find_map(|line| line.trim_start().strip_prefix(name)).unwrap().trim()
}

/// Pastes the last line into a shell, elsewhere, where it checks its settings instead of serving.
fn pasted(said: &str, token: Option<&str>) -> Output {
    let command = said.lines().last().unwrap().replace("monigate run", "\"$0\" check");
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", &command, env!("CARGO_BIN_EXE_monigate")]).env_clear().current_dir("/");
    shell.envs(token.map(|token| ("MONIGATE__MONIME__TOKEN", token)));
    shell.output().unwrap()
}

async fn refused(arguments: &[&str]) -> Ran {
    Process::start(&[&["sandbox"], arguments].concat(), &[]).ran().await
}

#[tokio::test]
async fn the_greeting_says_one_fact_a_line_and_ends_with_a_command_that_works() {
    let (_sandbox, said) = started(&[]).await;
    let url = fact(&said, "base URL");
    assert!(url.starts_with("http://127.0.0.1:") && !url.ends_with(":0"), "{said}");
    let expected = format!(
        "THIS IS NOT MONIME: a sandbox that plays Monime's checkout sessions; no money moves.\n  \
         base URL  {url}\n  \
         token     {DEFAULT_TOKEN}\n  \
         steer it  {url}/_sandbox\n\
         \n\
         A gateway in front of it, from another terminal:\n\
         \n\
         MONIGATE__MONIME__TOKEN={DEFAULT_TOKEN} monigate run --set monime.base_url={url} \
         --set monime.default_space=spc-demo\n"
    );
    assert_eq!(said, expected);
    let checked = pasted(&said, None);
    assert!(checked.status.success(), "{checked:?}");
}

#[tokio::test]
async fn a_token_of_ones_own_is_not_repeated() {
    let canary = "mon_canary_0123456789abcdefghij";
    let (sandbox, said) = started(&["--token", canary]).await;
    assert!(!(said + &sandbox.err()).contains("canary"));
    let said = sandbox.out();
    assert_eq!(fact(&said, "token"), "(the one you gave)");
    assert!(said.lines().last().unwrap().starts_with("monigate run "), "{said}");
    let checked = pasted(&said, Some(canary));
    assert!(checked.status.success(), "{checked:?}");
}

#[tokio::test]
async fn who_trusted_the_authority_once_trusts_it_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("it's a folder");
    let ca_file = dir.join("ca.pem");
    let mut seen = Vec::new();
    for _ in 0..2 {
        let (_sandbox, said) = started(&["--tls", dir.to_str().unwrap()]).await;
        assert!(fact(&said, "base URL").starts_with("https://"), "{said}");
        assert_eq!(fact(&said, "trust"), ca_file.to_str().unwrap());
        let checked = pasted(&said, None);
        assert!(checked.status.success(), "{checked:?}");
        seen.push(std::fs::read(&ca_file).unwrap());
    }
    assert_eq!(seen.first(), seen.last());
}

#[tokio::test]
async fn who_cannot_listen_writes_nothing_and_is_told_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("ca");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ran = refused(&["--listen", &address, "--tls", dir.to_str().unwrap()]).await;
    assert!(ran.code == Some(1) && ran.err.contains(&address) && ran.err.contains("--listen 127.0.0.1:0"), "{ran:?}");
    assert!(!dir.exists(), "bound first");
    let ran = refused(&["--listen", "0.0.0.0:0"]).await;
    assert!(ran.code == Some(1) && ran.err.contains("--beyond-loopback"), "{ran:?}");
}

#[tokio::test]
async fn names_are_listed_by_help_and_by_complaints() {
    let help = refused(&["--help"]).await.out;
    for (flag, wrong, names) in [
        ("--limits", "foo", "live, test, none"),
        ("--outcome", "paid", "completed, cancelled, expired"),
        ("--faults", "stormy", "calm, rough, down"),
    ] {
        let ran = refused(&[flag, wrong]).await;
        assert!(ran.code == Some(2) && ran.err.contains(&format!("[possible values: {names}]")), "{ran:?}");
        assert!(help.contains(&format!("[possible values: {names}]")), "{help}");
    }
}

#[tokio::test]
async fn faults_come_with_a_seed_that_gives_them_again() {
    let (_sandbox, said) = started(&["--faults", "rough", "--seed", "42"]).await;
    assert_eq!(fact(&said, "faults"), "rough; the same again with --faults rough --seed 42");
    let (_sandbox, said) = started(&["--faults", "down"]).await;
    let seed = fact(&said, "faults").strip_prefix("down; the same again with --faults down --seed ").unwrap();
    assert!(seed.parse::<u32>().is_ok(), "{said}");
}

#[tokio::test]
async fn a_seed_is_a_number_and_belongs_to_faults() {
    for wrong in ["soon", "1.5", "", "18446744073709551616"] {
        let ran = refused(&["--faults", "rough", "--seed", wrong]).await;
        let said = "a seed is a whole number from 0 to 18446744073709551615";
        assert!(ran.code == Some(2) && ran.err.contains(said), "{ran:?}");
    }
    let ran = refused(&["--seed", "42"]).await;
    assert!(ran.code == Some(2) && ran.err.contains("--faults <FAULTS>"), "{ran:?}");
}
