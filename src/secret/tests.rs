//! What the token's one type promises: what is let in, what never gets out, what is found again.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use proptest::prelude::*;

use super::*;

const CANARY: &str = "mon_canary_9b1f4d0c7e2a5b8d3f6e1c4a7d0b";

fn secret() -> Secret {
    Secret::parse(CANARY.as_bytes().to_vec()).unwrap()
}

/// Base64 as everyone writes it, padding included: an independent way to the same alphabet.
fn base64(text: &[u8]) -> String {
    let bits: String = text.iter().map(|byte| format!("{byte:08b}")).collect();
    let alphabet: Vec<char> = ('A'..='Z').chain('a'..='z').chain('0'..='9').chain(['+', '/']).collect();
    let mut encoded: String = bits
        .as_bytes()
        .chunks(6)
        .map(|chunk| {
            let chunk = format!("{:0<6}", std::str::from_utf8(chunk).unwrap());
            alphabet[usize::from_str_radix(&chunk, 2).unwrap()]
        })
        .collect();
    while !encoded.len().is_multiple_of(4) {
        encoded.push('=');
    }
    encoded
}

fn write(folder: &Path, text: &[u8], mode: u32) -> std::path::PathBuf {
    let path = folder.join("token");
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    path
}

#[test]
fn no_way_of_printing_shows_the_token() {
    #[derive(Debug)]
    struct Holder(#[expect(dead_code, reason = "only printed")] Option<Secret>);
    let header = secret().bearer();
    let mut printed = format!("{:?} {:#?} {:?} {header:?}", secret(), secret(), Holder(Some(secret())));
    for wrong in [format!("{CANARY} x"), format!("{CANARY}\n{CANARY}"), format!("Bearer {CANARY}"), CANARY.repeat(200)]
    {
        let error = Secret::parse(wrong.into_bytes()).unwrap_err();
        printed += &format!("{error} {error:?} {}", error.fix());
    }
    for form in [CANARY.to_owned(), format!("{:?}", CANARY.as_bytes()), base64(CANARY.as_bytes())] {
        let form = form.trim_matches(['[', ']', '=']);
        assert!(!printed.contains(form), "{printed}");
    }
    assert!(printed.contains("Secret([redacted])"));
}

#[test]
fn the_one_exit_is_a_sensitive_bearer() {
    let bearer = secret().bearer();
    assert!(bearer.is_sensitive());
    assert_eq!(bearer.to_str().unwrap(), format!("Bearer {CANARY}"));
    assert_eq!(secret().kind(), TokenKind::Live);
    assert_eq!(Secret::parse(b"mon_test_1".to_vec()).unwrap().kind(), TokenKind::Test);
}

#[test]
fn one_line_break_at_the_end_is_no_part_of_the_token() {
    for text in ["abc", "abc\n", "abc\r\n"] {
        assert_eq!(Secret::parse(text.as_bytes().to_vec()).unwrap().bearer(), "Bearer abc", "{text:?}");
    }
}

#[test]
fn a_text_that_is_no_token_is_named_for_what_it_is() {
    for (text, error) in [
        ("", InvalidSecret::Empty),
        ("\n", InvalidSecret::Empty),
        ("\r\n", InvalidSecret::Empty),
        ("a\n\n", InvalidSecret::Lines),
        ("a\nb", InvalidSecret::Lines),
        ("Bearer abc", InvalidSecret::Scheme),
        ("bearer abc", InvalidSecret::Scheme),
        (" abc", InvalidSecret::Character),
        ("a b", InvalidSecret::Character),
        ("a\tb", InvalidSecret::Character),
        ("a\0b", InvalidSecret::Character),
        ("\u{feff}abc", InvalidSecret::Character),
        (&"x".repeat(MAX_TOKEN + 1), InvalidSecret::Long),
    ] {
        assert_eq!(Secret::parse(text.as_bytes().to_vec()).unwrap_err(), error, "{text:?}");
    }
    assert!(Secret::parse("x".repeat(MAX_TOKEN).into_bytes()).is_ok());
}

#[test]
fn a_file_gives_its_token_through_a_symbolic_link() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), format!("{CANARY}\n").as_bytes(), 0o440);
    symlink("token", folder.path().join("..data")).unwrap();
    let secret = Secret::from_file(&folder.path().join("..data"), false).unwrap();
    assert_eq!(secret.bearer().to_str().unwrap(), format!("Bearer {CANARY}"));
}

#[test]
fn a_file_that_everyone_may_read_is_refused_with_its_mode_and_the_ways_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), CANARY.as_bytes(), 0o644);
    let error = Secret::from_file(&path, false).unwrap_err();
    let said = format!("{error}; {}", error.fix());
    for part in
        [path.to_str().unwrap(), "0644", "security.allow_world_readable_secrets", "defaultMode: 0440", "fsGroup"]
    {
        assert!(said.contains(part), "{said} lacks {part}");
    }
    assert!(!said.contains(CANARY));
    assert!(Secret::from_file(&path, true).is_ok());
}

#[test]
fn what_is_no_token_file_is_refused_without_reading_it() {
    let folder = tempfile::tempdir().unwrap();
    let problem = |path: &Path| Secret::from_file(path, true).unwrap_err().problem;
    assert!(matches!(problem(&folder.path().join("nowhere")), Unusable::Missing));
    assert!(matches!(problem(folder.path()), Unusable::NotRegular));
    assert!(matches!(problem(Path::new("/dev/zero")), Unusable::NotRegular));
    assert!(matches!(problem(&write(folder.path(), &[b'x'; 65_537], 0o400)), Unusable::Large));
    let path = folder.path().join("empty");
    std::fs::write(&path, "\n").unwrap();
    assert!(matches!(problem(&path), Unusable::Invalid(InvalidSecret::Empty)));
}

#[test]
fn a_token_pasted_as_a_path_is_not_repeated() {
    let error = Secret::from_file(Path::new(CANARY), false).unwrap_err();
    assert_eq!(error.to_string(), "[redacted] does not exist");
    assert_eq!(redact(&format!("say '{CANARY}' twice,\n{CANARY}")), "say [redacted] twice,\n[redacted]");
    assert_eq!(redact("monime.token_file"), "monime.token_file");
}

#[test]
fn a_token_that_was_pasted_into_another_word_is_redacted_too() {
    assert_eq!(redact("monime.spmon_Xq7Zw3Kv9Jt5aces is unknown"), "[redacted] is unknown");
    for text in ["common_administration", "common_x1", "salmon_123456789012"] {
        assert_eq!(redact(text), text);
    }
}

#[test]
fn a_gateway_key_is_redacted_as_a_token_is() {
    let key = format!("mgk_{}", "aB3-_".repeat(9).get(..43).unwrap());
    for text in [key.clone(), format!("keys={key}"), format!("\"{key}\","), key.to_uppercase(), key[..12].to_owned()] {
        assert!(looks_secret(&text), "{text}");
        assert_eq!(redact(&format!("error: {text}\nfix: other")), "error: [redacted]\nfix: other");
    }
    for text in ["", "mgk", "amgk_b", "omgk_", "mgk-abc", "gateway_unauthorized", "common_"] {
        assert_eq!(redact(text), text);
    }
}

#[test]
fn twelve_bytes_of_the_token_are_a_reflection_and_eleven_are_not() {
    let token = CANARY.as_bytes();
    for start in 0..=token.len() - 12 {
        let body = [b"{\"echo\":\"", &token[start..start + 12], b"\"}"].concat();
        assert!(secret().is_reflected_in(&body), "{start}");
        let body = [b"{\"echo\":\"", &token[start..start + 11], b"\"}"].concat();
        assert!(!secret().is_reflected_in(&body), "{start}");
    }
    assert!(!secret().is_reflected_in(b""));
}

#[test]
fn the_token_in_base64_is_a_reflection_wherever_it_begins() {
    for before in ["", "x", "xx", "Bearer ", "Authorization: Bearer ", "user:"] {
        let body = format!("{{\"echo\":\"{}\"}}", base64(format!("{before}{CANARY} and more").as_bytes()));
        assert!(secret().is_reflected_in(body.as_bytes()), "{before}");
    }
    assert!(!secret().is_reflected_in(base64(b"Bearer of other news, at length").as_bytes()));
}

#[test]
fn a_run_of_any_spelling_is_found_wherever_it_stands() {
    for (before, skipped) in [("", 0), ("x", 4), ("xx", 4)] {
        let spelled = base64(format!("{before}{CANARY}").as_bytes());
        let runs: Vec<&[u8]> = spelled.as_bytes()[skipped..].windows(12).collect();
        // What is left at the end depends on what follows the token.
        for (at, run) in runs[..runs.len() - 4].iter().enumerate() {
            let body = ["-".repeat(at).as_bytes(), run, b"and more"].concat();
            assert!(secret().is_reflected_in(&body), "{before} {at}");
        }
    }
}

#[test]
fn a_token_behind_escapes_is_found() {
    let secret = Secret::parse(b"mon_live_0a1b2c3d4e5f6g7h".to_vec()).unwrap();
    let escaped: String = "mon_live_0a1b2c3d4e5f6g7h".bytes().map(|byte| format!("\\u{byte:04x}")).collect();
    assert!(secret.is_reflected_in(format!(r#"{{"a":"{escaped}"}}"#).as_bytes()));
    assert!(secret.is_reflected_in(br#"{"a":"mon_live\u005F0a1b2c3d4e5f6g7h"}"#));
    assert!(!secret.is_reflected_in(br#"{"a":"\u00","b":"\u00zz\u0041"}"#));
}

#[test]
fn a_short_token_is_looked_for_as_a_whole() {
    let short = Secret::parse(b"tok-12345".to_vec()).unwrap();
    assert!(short.is_reflected_in(b"{\"a\":\"tok-12345\"}"));
    assert!(short.is_reflected_in(base64(b"tok-12345").as_bytes()));
    assert!(short.is_reflected_in(base64(b"Bearer tok-12345").as_bytes()));
    assert!(!short.is_reflected_in(b"{\"a\":\"tok-1234\"}"));
    let tiny = Secret::parse(b"status".to_vec()).unwrap();
    assert!(!tiny.is_reflected_in(b"{\"status\":\"pending\"}"), "a word of the answer is not a leak");
}

proptest! {
    #[test]
    fn the_search_finds_exactly_the_runs_that_a_plain_search_finds(
        token in "[ab]{12,40}",
        body in "[ab]{0,60}",
    ) {
        let plain = token.as_bytes().windows(12).any(|run| body.as_bytes().windows(12).any(|window| window == run));
        let secret = Secret::parse(token.into_bytes()).unwrap();
        prop_assert_eq!(secret.is_reflected_in(body.as_bytes()), plain);
    }
}
