//! `monigate key` as an operator meets it: a key that is shown once, and a digest that says nothing of it.

#![expect(clippy::unwrap_used, reason = "what a test cannot prepare is its failure")]

use std::io::Write;
use std::process::{Command, Output, Stdio};

use aws_lc_rs::digest::{SHA256, digest};

const CANARY: &str = "mgk_canaryCanaryCanaryCanaryCanaryCanaryCanary1";

fn monigate(arguments: &[&str], input: &[u8]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_monigate"));
    command.args(arguments).env_clear().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A process that reads nothing may be gone by now.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

fn out(ran: &Output) -> &str {
    assert_eq!((ran.status.code(), ran.stderr.as_slice()), (Some(0), &b""[..]));
    std::str::from_utf8(&ran.stdout).unwrap()
}

fn sha256(text: &str) -> String {
    digest(&SHA256, text.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_new_key_comes_with_the_line_that_lets_it_in() {
    let (ran, other) = (monigate(&["key", "new"], b""), monigate(&["key", "new"], b""));
    let lines: Vec<_> = out(&ran).lines().collect();
    let key = lines.first().unwrap().strip_prefix("key, shown only now: ").unwrap();
    let random = key.strip_prefix("mgk_").unwrap();
    assert_eq!(random.len(), 43);
    assert!(random.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)), "{key}");
    assert_eq!(lines.get(1..).unwrap(), [format!("keys_sha256 = [\"{}\"]", sha256(key))]);
    assert!(!out(&other).contains(key), "each is another");

    let digest = monigate(&["key", "digest"], format!("{key}\n").as_bytes());
    assert_eq!(out(&digest), format!("{}\n", sha256(key)));
}

#[test]
fn a_digest_is_of_the_key_without_its_line_break() {
    for input in [CANARY.to_owned(), format!("{CANARY}\n"), format!("{CANARY}\r\n")] {
        assert_eq!(out(&monigate(&["key", "digest"], input.as_bytes())), format!("{}\n", sha256(CANARY)), "{input:?}");
    }
    let longest = "canary__".repeat(1024);
    assert_eq!(out(&monigate(&["key", "digest"], longest.as_bytes())), format!("{}\n", sha256(&longest)));
}

#[test]
fn what_nobody_could_send_has_no_digest_and_is_never_repeated() {
    let (twice, scheme, long) = (format!("{CANARY}\n{CANARY}"), format!("Bearer {CANARY}"), "canary".repeat(100_000));
    for (input, part) in [
        ("", "is empty"),
        ("\n", "is empty"),
        (&twice, "cannot be sent"),
        (&scheme, "begins with `Bearer `"),
        (&long, "longer than 8192 bytes"),
    ] {
        let ran = monigate(&["key", "digest"], input.as_bytes());
        let said = String::from_utf8(ran.stderr).unwrap();
        assert_eq!((ran.status.code(), ran.stdout.as_slice()), (Some(1), &b""[..]));
        assert!(said.starts_with("monigate: the key ") && said.contains(part), "{said}");
        assert!(!said.to_lowercase().contains("canary"), "{said}");
    }
}

#[test]
fn a_key_on_the_command_line_is_refused_and_not_repeated() {
    for arguments in [&["key"][..], &["key", CANARY], &["key", "digest", CANARY], &["key", "new", CANARY], &[CANARY]] {
        let ran = monigate(arguments, b"");
        let said = String::from_utf8(ran.stderr).unwrap() + std::str::from_utf8(&ran.stdout).unwrap();
        assert_eq!(ran.status.code(), Some(2), "{arguments:?}");
        assert!(!said.is_empty() && !said.to_lowercase().contains("canary"), "{said}");
    }
}
