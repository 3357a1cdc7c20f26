//! Whatever a configuration file says, it is taken or refused without a panic; every problem says where it is, by which
//! rule, and what to do; no secret that was given to the program, or that somebody wrote into the file as one, is shown;
//! and what is in effect, read again, is accepted and in effect.
//!
//! The first letter of the input is the file's language: `t` for TOML, `y` for YAML; in capitals if a proxy with a
//! password is named by the environment. The file follows after the first line.

#![no_main]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::{Corpus, fuzz_target};
use monigate::config::{Config, Sources, TOKEN_VARIABLE};
use monigate_fuzz::{TOKEN, holds_a_piece};
use serde_json::Value;

/// A password of a proxy.
const PASSWORD: &str = "Yw4Jk7Pz2Qv9Nh5Sd8";
/// What stands where a secret would.
const REDACTED: &str = "[redacted]";

/// A folder of this process's own.
static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let program = std::env::current_exe().expect("a program");
    let folder = program.with_extension(format!("{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    folder
});

fuzz_target!(|data: &[u8]| -> Corpus {
    let (language, text) = match data {
        [language @ (b't' | b'y' | b'T' | b'Y'), b'\n', text @ ..] => (*language, text),
        _ => return Corpus::Reject,
    };
    // A token is known by how it begins: without that it is a text like any other.
    let without = String::from_utf8_lossy(text).replace(TOKEN, "");
    if holds_a_piece(without.as_bytes(), TOKEN) || holds_a_piece(without.as_bytes(), PASSWORD) {
        return Corpus::Reject;
    }
    let proxied = language.is_ascii_uppercase();
    let extension = if language.eq_ignore_ascii_case(&b't') { "toml" } else { "yaml" };
    match load(extension, text, proxied) {
        Ok(config) => {
            // What is no secret by its place may be written as it is where developers alone look.
            if without.as_bytes() == text {
                keeps_secrets(&format!("{config:?}"));
            }
            shown(&config, proxied);
        }
        Err(problems) => {
            assert!(problems.iter().next().is_some(), "refused without a reason");
            for problem in problems.iter() {
                let parts = [&problem.key, &problem.source, &problem.rule, &problem.fix];
                assert!(parts.iter().all(|part| !part.is_empty()), "{problem:?}");
            }
            keeps_secrets(&format!("{problems} {problems:?}"));
        }
    }
    Corpus::Keep
});

fn load(extension: &str, text: &[u8], proxied: bool) -> Result<Config, monigate::config::Problems> {
    let path = FOLDER.join("monigate").with_extension(extension);
    std::fs::write(&path, text).expect("a file");
    let mut environment = BTreeMap::from([
        (TOKEN_VARIABLE.to_owned(), TOKEN.to_owned()),
        ("MONIGATE__MONIME__DEFAULT_SPACE".to_owned(), "spc-one".to_owned()),
    ]);
    if proxied {
        environment.insert("HTTPS_PROXY".to_owned(), format!("http://someone:{PASSWORD}@proxy.example:3128"));
    }
    Config::load(&Sources { files: vec![path], environment, flags: Vec::new() })
}

fn shown(config: &Config, proxied: bool) {
    let (toml, json) = (config.effective.to_toml(), config.effective.to_json());
    keeps_secrets(&format!("{toml} {} {:?}", String::from_utf8_lossy(&json), config.warnings()));
    let before = values(&json);
    // A secret that is not shown cannot be read again. Where a secret was given as a value, that is all of it.
    let hidden = |key: &str, value: &Value| key != "monime.token" && value.to_string().contains(REDACTED);
    if before.iter().any(|(key, value)| hidden(key, value)) {
        return;
    }
    let readable: Vec<&str> = toml.lines().filter(|line| !line.starts_with("monime.token = ")).collect();
    let again = load("toml", readable.join("\n").as_bytes(), proxied);
    let again = again.unwrap_or_else(|problems| panic!("what is in effect is refused:\n{problems}\n{toml}"));
    assert_eq!(before, values(&again.effective.to_json()), "{toml}");
}

/// Every key with its value.
fn values(json: &[u8]) -> BTreeMap<String, Value> {
    let all: BTreeMap<String, Value> = serde_json::from_slice(json).expect("JSON");
    all.into_iter().map(|(key, mut entry)| (key, entry["value"].take())).collect()
}

fn keeps_secrets(text: &str) {
    for secret in [TOKEN, PASSWORD] {
        assert!(!holds_a_piece(text.as_bytes(), secret), "{text}");
    }
}
