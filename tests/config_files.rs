//! What an operator meets: configuration files, the environment and flags, through the real program.
//!
//! The environment is cleared for every run: nothing here depends on the machine it runs on.
#![expect(clippy::unwrap_used, reason = "what a test cannot prepare is its failure")]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

const CANARY: &str = "mon_live_canary_5f2c9a7be1d84c03";
const TOKEN: (&str, &str) = ("MONIGATE__MONIME__TOKEN", CANARY);
const SPACE: (&str, &str) = ("MONIGATE__MONIME__DEFAULT_SPACE", "spc-a");

struct Ran {
    code: i32,
    out: String,
    err: String,
}

fn monigate(arguments: &[&str], environment: &[(&str, &str)]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_monigate"));
    let ran = command.args(arguments).env_clear().envs(environment.iter().copied()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: ran.status.code().unwrap(), out: text(ran.stdout), err: text(ran.stderr) }
}

fn file(folder: &TempDir, name: &str, text: &str) -> String {
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path.to_str().unwrap().to_owned()
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// The keys that the complaint names, in its order.
fn keys(ran: &Ran) -> Vec<&str> {
    ran.err
        .lines()
        .filter(|line| line.starts_with("  ") && !line.starts_with("    "))
        .map(|line| line.trim().split(' ').next().unwrap())
        .collect()
}

/// Whether nothing of the token was printed; names of variables are read in lower case, so that form counts too.
fn keeps_quiet(said: &str) {
    assert!(!said.to_lowercase().contains("canary"), "{said}");
}

/// Every key of the schema, tables included.
fn every_key(node: &Value, path: &str, keys: &mut Vec<String>) {
    for (name, child) in node["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        every_key(child, &path, keys);
        keys.push(path);
    }
}

#[test]
fn the_environment_alone_is_enough() {
    let ran =
        monigate(&["check"], &[TOKEN, SPACE, ("MONIGATE_PORT", "tcp://10.0.0.1:80"), ("MONIGATE_SERVICE_HOST", "x")]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    assert!(
        ran.out.starts_with("configuration ok: 127.0.0.1:8080 asks https://api.monime.io for spc-a\n"),
        "{}",
        ran.out
    );
    assert!(!ran.out.contains(CANARY));
}

#[test]
fn five_mistakes_are_five_problems_at_once() {
    let folder = folder();
    let config = file(
        &folder,
        "a.toml",
        "[listen]\naddress = \"0.0.0.0:8080\"\n[monime]\nbase_url = \"ftp://x\"\ntokenfile = \"x\"\n[cache]\nmax_size = \"1KiB\"\n",
    );
    let ran = monigate(&["check", "--config", &config, "--set", "monime.timeouts.total=1s"], &[TOKEN, SPACE]);
    assert_eq!(ran.code, 78);
    assert_eq!(ran.out, "");
    assert!(ran.err.starts_with("monigate: the configuration has 5 problems:\n"), "{}", ran.err);
    let wrong = ["cache.max_size", "listen.address", "monime.base_url", "monime.timeouts.attempt", "monime.tokenfile"];
    assert_eq!(keys(&ran), wrong);
    assert_eq!(ran.err.matches("    fix: ").count(), 5);
    assert_eq!(ran.err.matches(&format!("(file {config})")).count(), 4, "{}", ran.err);
}

#[test]
fn a_wrong_shape_hides_no_other_problem() {
    let folder = folder();
    let first =
        file(&folder, "a.toml", "log = \"info\"\nlisten = [1]\n[cache]\nttl = { completed = 5, expird = \"1s\" }\n");
    let second = file(&folder, "b.yaml", "log: {level: loud}\nlimits: {max_in_flight: \"9\"}\nmonime: {versions: x}\n");
    let ran =
        monigate(&["check", "--config", &first, "--config", &second], &[TOKEN, ("MONIGATE__MONIME__SPACES", "nope")]);
    assert_eq!(ran.code, 78);
    let wrong = [
        "cache.ttl.completed",
        "cache.ttl.expird",
        "limits.max_in_flight",
        "listen",
        "log",
        "log.level",
        "monime.spaces[0].id",
        "monime.versions",
    ];
    assert_eq!(keys(&ran), wrong, "{}", ran.err);
}

#[test]
fn later_sources_win_and_each_key_says_who_set_it() {
    let folder = folder();
    let toml = file(
        &folder,
        "a.toml",
        "[log]\nlevel = \"error\"\n[cache.ttl]\ncompleted = \"1h\"\nexpired = \"1s\"\n[shutdown]\ndelay = \"1s\"\n",
    );
    let yaml = file(
        &folder,
        "b.yml",
        "cache:\n  ttl:\n    expired: 2s\n  max_size: 2097152\nshutdown:\n  delay: 2s\nlog:\n  level: warn\n",
    );
    let ran = monigate(
        &[
            "config",
            "--format",
            "json",
            "--config",
            &toml,
            "--config",
            &yaml,
            "--set",
            "log.level=debug",
            "--log-level",
            "trace",
        ],
        &[TOKEN, SPACE, ("MONIGATE__SHUTDOWN__DELAY", "3s"), ("MONIGATE__LOG__LEVEL", "info")],
    );
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    let config: Value = serde_json::from_str(&ran.out).unwrap();
    let said = |key: &str| (config[key]["value"].clone(), config[key]["source"].as_str().unwrap().to_owned());
    assert_eq!(said("cache.ttl.completed"), ("1h".into(), format!("file {toml}")));
    assert_eq!(said("cache.ttl.expired"), ("2s".into(), format!("file {yaml}")));
    assert_eq!(said("cache.max_size"), ("2097152".into(), format!("file {yaml}")));
    assert_eq!(said("shutdown.delay"), ("3s".into(), "environment variable MONIGATE__SHUTDOWN__DELAY".into()));
    assert_eq!(said("log.level"), ("trace".into(), "flag --log-level".into()));
    assert_eq!(said("log.format"), ("json".into(), "default".into()));
    assert_eq!(said("monime.token"), ("[redacted]".into(), "environment variable MONIGATE__MONIME__TOKEN".into()));
}

#[test]
fn what_config_prints_is_a_configuration_file() {
    let folder = folder();
    let token = file(&folder, "token", CANARY);
    let environment =
        [("MONIGATE__MONIME__TOKEN_FILE", token.as_str()), SPACE, ("MONIGATE__MONIME__SPACES", "spc-b,spc-c")];
    let printed = monigate(&["config", "--listen", "127.0.0.1:0"], &environment).out;
    assert!(printed.contains("# from environment variable MONIGATE__MONIME__SPACES"), "{printed}");
    let token_line = printed.lines().find(|line| line.starts_with("monime.token =")).unwrap();
    assert!(
        token_line.contains("\"[redacted]\"") && token_line.ends_with(&format!("# from file {token}")),
        "{token_line}"
    );
    let rest: Vec<_> = printed.lines().filter(|line| *line != token_line).collect();
    let again = file(&folder, "again.toml", &rest.join("\n"));
    let ran = monigate(&["check", "--config", &again], &[]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    assert!(ran.out.contains("spc-a, spc-b, spc-c"));
}

#[test]
fn a_token_is_named_once_and_only_where_nobody_else_reads() {
    let folder = folder();
    let token = file(&folder, "token", CANARY);
    let none = monigate(&["check"], &[SPACE]);
    assert_eq!((none.code, keys(&none)), (78, vec!["monime.token_file"]));
    assert!(none.err.contains("monime.token_file") && none.err.contains("MONIGATE__MONIME__TOKEN"), "{}", none.err);

    let both = monigate(&["check"], &[SPACE, TOKEN, ("MONIGATE__MONIME__TOKEN_FILE", &token)]);
    assert_eq!((both.code, keys(&both)), (78, vec!["monime.token_file"]));
    assert!(both.err.contains("twice"), "{}", both.err);

    let config = file(&folder, "a.toml", &format!("monime.token = \"{CANARY}\"\nmonime.token_file = \"{token}\"\n"));
    let set = format!("monime.token={CANARY}");
    let seen = monigate(&["check", "--config", &config, "--set", &set], &[SPACE]);
    assert_eq!((seen.code, keys(&seen)), (78, vec!["monime.token", "monime.token"]));
    assert!(seen.err.contains("secrets never come from a configuration file"), "{}", seen.err);
    assert!(!seen.err.contains(CANARY));
}

/// A configuration of these spaces, each with a token file of its own or without.
fn spaces(folder: &TempDir, monime: &str, spaces: &[(&str, Option<&str>)]) -> String {
    let space = |(id, token): &(&str, Option<&str>)| {
        let token = token.map(|path| format!("token_file = \"{path}\"\n")).unwrap_or_default();
        format!("[[monime.spaces]]\nid = \"{id}\"\n{token}")
    };
    file(folder, "spaces.toml", &(format!("[monime]\n{monime}\n") + &spaces.iter().map(space).collect::<String>()))
}

#[test]
fn a_space_may_have_a_token_of_its_own() {
    let folder = folder();
    let (one, other) = (file(&folder, "one", CANARY), file(&folder, "other", "mon_test_canary_5f2c9a7be1d84c03"));
    let live = |path: &str| format!("token: a live token, from {path}\n");
    let test = format!("token: a test token, with which Monime refuses checkout sessions, from {other}\n");
    let default = "default_space = \"spc-a\"";
    let for_all = format!("{default}\ntoken_file = \"{one}\"");
    for (monime, listed, tokens) in [
        (default, &[("spc-a", Some(&*one)), ("spc-b", Some(&*other))][..], live(&one) + &test),
        ("", &[("spc-a", Some(&*one)), ("spc-b", Some(&*one))], live(&one)),
        (&for_all, &[("spc-b", Some(&*other)), ("spc-c", None)], live(&one) + &test),
        (&for_all, &[("spc-b", Some(&*one))], live(&one)),
    ] {
        let config = spaces(&folder, monime, listed);
        let ran = monigate(&["check", "--config", &config], &[]);
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{monime}");
        assert!(ran.out.contains(&format!("\n{tokens}proxy")), "{} lacks {tokens}", ran.out);

        let printed = monigate(&["config", "--config", &config], &[]).out;
        assert_eq!(printed.contains("monime.token ="), monime == for_all, "{printed}");
        let rest: Vec<_> = printed.lines().filter(|line| !line.starts_with("monime.token =")).collect();
        let again = file(&folder, "again.toml", &rest.join("\n"));
        // But for who said that there is no proxy.
        let said =
            |out: &str| out.lines().filter(|line| !line.starts_with("proxy")).map(str::to_owned).collect::<Vec<_>>();
        let out = monigate(&["check", "--config", &again], &[]).out;
        assert_eq!(said(&out), said(&ran.out), "what was printed says the same");
        keeps_quiet(&(printed + &ran.out));
    }
    let config = spaces(&folder, default, &[("spc-b", Some(&other))]);
    let ran = monigate(&["check", "--config", &config], &[TOKEN]);
    assert!(ran.out.contains(&format!("from the environment\n{test}")), "{}{}", ran.out, ran.err);
}

#[test]
fn every_space_needs_a_token_and_every_bad_one_is_named() {
    let folder = folder();
    let (good, empty) = (file(&folder, "good", CANARY), file(&folder, "empty", ""));
    let open = file(&folder, "open", CANARY);
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o644)).unwrap();
    let (default, for_all) = ("default_space = \"spc-a\"", format!("token_file = \"{good}\""));
    let bad = ["monime.spaces[0].token_file", "monime.spaces[1].token_file"];
    for (monime, listed, wrong) in [
        (default, &[("spc-b", Some(&*good))][..], &["monime.token_file"][..]),
        (default, &[("spc-a", None), ("spc-b", Some(&good))], &["monime.token_file"]),
        ("", &[("spc-a", Some(&good)), ("spc-b", None)], &["monime.token_file"]),
        (default, &[("spc-a", Some("/nowhere")), ("spc-b", Some("/nowhere"))], &bad),
        ("", &[("spc-a", Some(&empty)), ("spc-b", Some(&open))], &bad),
        (&for_all, &[("spc-a", Some(&good)), ("spc-b", Some("/"))], &bad[1..]),
        ("", &[("nope", Some(&good))], &["monime.spaces[0].id"]),
        ("token_file = \"/nowhere\"", &[("spc-a", Some(&good))], &["monime.token_file"]),
        ("", &[("spc-a", Some(CANARY))], &bad[..1]),
    ] {
        let config = spaces(&folder, monime, listed);
        let ran = monigate(&["check", "--config", &config], &[]);
        assert_eq!((ran.code, keys(&ran)), (78, wrong.to_vec()), "{monime} {listed:?}: {}", ran.err);
        keeps_quiet(&ran.err);
    }
    let config = spaces(&folder, "", &[("spc-a", Some(&open))]);
    let allow = ["check", "--config", &config, "--set", "security.allow_world_readable_secrets=true"];
    assert_eq!(monigate(&allow, &[]).code, 0);
    let shape = file(&folder, "shape.toml", "[[monime.spaces]]\nid = \"spc-a\"\ntoken_file = 5\n");
    assert_eq!(keys(&monigate(&["check", "--config", &shape], &[])), bad[..1], "one mistake is one problem");
}

#[test]
fn a_token_under_a_wrong_key_is_never_repeated() {
    let folder = folder();
    let mut said = String::new();
    let schema: Value = serde_json::from_str(&monigate(&["schema"], &[]).out).unwrap();
    let mut keys = vec!["monime.token".into(), "monime.secret".into(), CANARY.to_owned()];
    every_key(&schema, "", &mut keys);
    assert!(keys.len() > 25);
    for key in &keys {
        let set = format!("{key}={CANARY}");
        let variable = format!("MONIGATE__{}", key.replace('.', "__").to_uppercase());
        let toml = file(&folder, "a.toml", &format!("{key} = \"{CANARY}\"\n"));
        let list = file(&folder, "b.toml", &format!("{key} = [\"{CANARY}\", {{ {CANARY} = 1 }}]\n"));
        for ran in [
            monigate(&["check", "--set", &set], &[SPACE]),
            monigate(&["check"], &[SPACE, (&variable, CANARY)]),
            monigate(&["check", "--config", &toml], &[SPACE]),
            monigate(&["config", "--config", &list], &[SPACE]),
        ] {
            said += &(ran.out + &ran.err);
        }
    }
    keeps_quiet(&said);
}

#[test]
fn a_token_in_a_broken_file_is_never_repeated() {
    let folder = folder();
    let bare = [format!("a = {CANARY}"), format!("\"{CANARY}"), CANARY.to_owned(), format!("a: b: {CANARY}")];
    let twice = [format!("{CANARY}: 1\n{CANARY}: 2"), format!("{CANARY} = 1\n{CANARY} = 2"), format!("a: *{CANARY}")];
    for text in bare.iter().chain(&twice) {
        for name in ["c.toml", "c.yaml"] {
            let path = file(&folder, name, text);
            let ran = monigate(&["check", "--config", &path], &[TOKEN, SPACE]);
            assert_eq!(ran.code, 78, "{text} as {name}");
            keeps_quiet(&ran.err);
        }
    }
}

#[test]
fn a_token_on_the_command_line_is_never_repeated() {
    let url = format!("monime.base_url=https://user:{CANARY}@api.monime.io");
    let plain = "monime.base_url=https://user:canary@api.monime.io";
    for arguments in [
        &[CANARY][..],
        &["check", CANARY],
        &["check", &format!("--{CANARY}")],
        &["check", "--config", CANARY],
        &["check", "--set", CANARY],
        &["check", "--set", &url],
        &["check", "--set", plain],
        &["check", "--listen", CANARY],
        &["check", "--log-level", CANARY],
        &["config", "--format", CANARY],
    ] {
        let ran = monigate(arguments, &[TOKEN, SPACE]);
        assert_ne!(ran.code, 0, "{arguments:?}");
        keeps_quiet(&(ran.out + &ran.err));
    }
}

#[test]
fn a_token_that_is_none_is_never_repeated() {
    for token in
        [format!("Bearer {CANARY}"), format!("{CANARY} {CANARY}"), format!("{CANARY}\n{CANARY}"), String::new()]
    {
        let ran = monigate(&["check"], &[SPACE, (TOKEN.0, &token)]);
        assert_eq!((ran.code, keys(&ran)), (78, vec!["monime.token"]));
        assert!(ran.err.contains("(environment variable MONIGATE__MONIME__TOKEN)"), "{}", ran.err);
        keeps_quiet(&ran.err);
    }
}

#[test]
fn a_token_that_everyone_may_read_is_refused_with_its_mode_and_the_fix() {
    let folder = folder();
    let token = file(&folder, "token", CANARY);
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o644)).unwrap();
    let environment = [SPACE, ("MONIGATE__MONIME__TOKEN_FILE", token.as_str())];
    let ran = monigate(&["check"], &environment);
    assert_eq!((ran.code, keys(&ran)), (78, vec!["monime.token_file"]));
    for part in [token.as_str(), "0644", "security.allow_world_readable_secrets", "defaultMode: 0440", "fsGroup"] {
        assert!(ran.err.contains(part), "{} lacks {part}", ran.err);
    }
    let ran = monigate(&["check", "--set", "security.allow_world_readable_secrets=true"], &environment);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
}

#[test]
fn a_file_that_cannot_be_read_is_one_problem_with_its_place() {
    let folder = folder();
    let missing = folder.path().join("missing.toml").to_str().unwrap().to_owned();
    for (path, part) in [
        (missing, "cannot be read: No such file or directory"),
        (file(&folder, "a.json", "{}"), "has an unknown extension"),
        (file(&folder, "b.toml", "[log]\nlevel = info\n"), "is not valid TOML at line 2, column 9"),
        (file(&folder, "c.yaml", "log:\n  level: a: b\n"), "is not valid YAML at line 2"),
        (file(&folder, "d.yaml", "just text\n"), "is not one YAML table of keys"),
    ] {
        let ran = monigate(&["check", "--config", &path], &[TOKEN, SPACE]);
        assert_eq!((ran.code, keys(&ran)), (78, vec![path.as_str()]), "{}", ran.err);
        assert!(ran.err.contains(part), "{} lacks {part}", ran.err);
        assert!(!ran.err.contains("level"), "{}", ran.err);
    }
    for nothing in [file(&folder, "e.yaml", ""), file(&folder, "f.toml", ""), file(&folder, "g.yaml", "monime:\n")] {
        assert_eq!(monigate(&["check", "--config", &nothing], &[TOKEN, SPACE]).code, 0);
    }
}

#[test]
fn a_private_ca_is_read_as_starting_reads_it() {
    let folder = folder();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let good = file(&folder, "ca.pem", &made.cert.pem());
    let environment = [TOKEN, SPACE, ("MONIGATE__MONIME__CA_FILE", good.as_str())];
    assert_eq!(monigate(&["check"], &environment).code, 0);
    for garbled in ["", "hello", "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n"] {
        let path = file(&folder, "bad.pem", garbled);
        let ran = monigate(&["check"], &[TOKEN, SPACE, ("MONIGATE__MONIME__CA_FILE", path.as_str())]);
        assert_eq!((ran.code, keys(&ran)), (78, vec!["monime.ca_file"]), "{}", ran.err);
    }
}

/// A set with the public key of RFC 7517, appendix A.1.
const JWKS: &str = r#"{"keys":[{"kty":"EC","crv":"P-256","kid":"1","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
    "y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}]}"#;
const DIGEST: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

/// A gateway that other machines reach, with a caller of every kind.
fn shared(folder: &TempDir, tls: bool) -> String {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let cert = file(folder, "tls.crt", &made.cert.pem());
    let key = file(folder, "tls.key", &made.signing_key.serialize_pem());
    let jwks = file(folder, "jwks.json", JWKS);
    let (tls, san) = if tls {
        let tls = format!("[listen.tls]\ncert_file = \"{cert}\"\nkey_file = \"{key}\"\nclient_ca_file = \"{cert}\"\n");
        (tls, "san = [\"spiffe://cluster/ns/shop/sa/b\"]\n")
    } else {
        (String::new(), "")
    };
    let text = format!(
        "[listen]\naddress = \"0.0.0.0:8080\"\nrequire_header = \"X-Ours\"\n{tls}\
         [jwt]\nissuer = \"https://kubernetes.default.svc\"\naudience = \"monigate\"\njwks_file = \"{jwks}\"\n\
         [[callers]]\nname = \"a\"\nkeys_sha256 = [\"{DIGEST}\"]\nspaces = [\"spc-a\"]\n\
         operations = [\"GetCheckoutSession\", \"ListBanks\"]\nrate = 50\n\
         [[callers]]\nname = \"b\"\nservice_accounts = [\"shop/b\"]\n{san}spaces = [\"spc-a\"]\n\
         operations = [\"GetCheckoutSession\"]\n"
    );
    file(folder, "shared.toml", &text)
}

#[test]
fn a_shared_gateway_says_how_callers_reach_it_and_how_many_there_are() {
    let folder = folder();
    let config = shared(&folder, true);
    let ran = monigate(&["check", "--config", &config], &[TOKEN, SPACE]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    assert!(ran.out.starts_with("configuration ok: 0.0.0.0:8080 asks "), "{}", ran.out);
    let jwks = folder.path().join("jwks.json");
    let jwt = format!("jwt: tokens of https://kubernetes.default.svc for monigate, with keys from {}", jwks.display());
    for line in ["tls: on, with certificates of callers, optional", "callers: 2", &jwt] {
        assert!(ran.out.contains(&format!("\n{line}\n")), "{} lacks {line}", ran.out);
    }
    assert!(!ran.out.contains("warning: listen"), "{}", ran.out);

    let printed = monigate(&["config", "--config", &config], &[TOKEN, SPACE]).out;
    assert!(printed.contains(DIGEST), "a digest is no secret: {printed}");
    let rest: Vec<_> = printed.lines().filter(|line| !line.starts_with("monime.token =")).collect();
    let again = file(&folder, "again.toml", &rest.join("\n"));
    let again = monigate(&["check", "--config", &again], &[TOKEN]);
    assert_eq!((again.code, again.err.as_str()), (0, ""));
    assert!(again.out.contains("\ncallers: 2\n"), "what was printed says the same: {}", again.out);

    let plain = monigate(&["check", "--config", &shared(&folder, false)], &[TOKEN, SPACE]);
    assert_eq!((plain.code, plain.err.as_str()), (0, ""), "it may stand behind something that does TLS");
    assert!(plain.out.contains("\ntls: none\n"), "{}", plain.out);
    assert!(plain.out.contains("\nwarning: listen.address 0.0.0.0:8080 is without TLS"), "{}", plain.out);

    let alone = monigate(&["check"], &[TOKEN, SPACE]).out;
    for line in ["tls: none", "callers: none are named, so everyone who reaches it may look sessions up", "jwt: none"] {
        assert!(alone.contains(&format!("\n{line}")), "{alone} lacks {line}");
    }
}

#[test]
fn connections_that_do_not_fit_into_the_process_are_warned_of_with_both_numbers() {
    let within = |limits: &str, arguments: &str| {
        let script = format!("ulimit {limits} && exec {} {arguments}", env!("CARGO_BIN_EXE_monigate"));
        let mut command = Command::new("sh");
        let ran = command.args(["-c", &script]).env_clear().envs([TOKEN, SPACE]).output().unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8(ran.stdout).unwrap()
    };
    let warned = within("-n 1024", "check");
    let warning = "\nwarning: limits.connections 16384 is more than fits into the 1024 files that this process may have \
                   open: at most 528 connections are open at once; let it open 17728 (";
    assert!(warned.contains(warning), "{warned}");
    assert!(!within("-n 1024", "check --set limits.connections=528").contains("warning"), "it fits");
    assert!(!within("-S -n 300", "check --set limits.connections=528").contains("warning"), "it asks for more at once");
    let shown = within("-n 1024", "config --set limits.connections=600");
    let line = shown.lines().find(|line| line.starts_with("limits.connections =")).unwrap();
    assert!(line.starts_with("limits.connections = 528 "), "{line}");
    assert!(line.ends_with("# from flag --set, lowered from 600 to fit into the files that the process may have open"));
}

#[test]
fn every_mistake_about_callers_is_said_at_once_and_no_key_is_repeated() {
    let folder = folder();
    let config = file(
        &folder,
        "a.toml",
        &format!(
            "[listen]\naddress = \"0.0.0.0:8080\"\nsocket_mode = \"0660\"\nrequire_header = \"Host\"\n\
             [listen.tls]\ncert_file = \"/nowhere\"\n[admin]\nkeys_sha256 = [\"mgk_canary\"]\n[jwt]\nissuer = \"x\"\n\
             [[callers]]\nname = \"a\"\nkeys_sha256 = [\"canary\", \"{DIGEST}\"]\nspaces = [\"spc-b\"]\n\
             operations = [\"getCheckoutSession\"]\nburst = 5\n\
             [[callers]]\nname = \"a\"\nkeys_sha256 = [\"{DIGEST}\"]\nsan = [\"b.local\"]\n"
        ),
    );
    let ran = monigate(&["check", "--config", &config], &[TOKEN, SPACE]);
    let wrong = [
        "admin.keys_sha256[0]",
        "callers[0].burst",
        "callers[0].keys_sha256[0]",
        "callers[0].operations[0]",
        "callers[0].spaces[0]",
        "callers[1].keys_sha256[0]",
        "callers[1].name",
        "callers[1].operations",
        "callers[1].san",
        "callers[1].spaces",
        "jwt.audience",
        "jwt.jwks_file",
        "listen.require_header",
        "listen.socket_mode",
        "listen.tls.key_file",
    ];
    assert_eq!((ran.code, keys(&ran)), (78, wrong.to_vec()), "{}", ran.err);
    for part in [
        "this is the key itself",
        "did you mean GetCheckoutSession?",
        "caller a: \"spc-b\" is neither",
        "the same stands at callers[0].keys_sha256[1]",
        "a is also the name at callers[0].name",
        "set listen.tls.client_ca_file",
    ] {
        assert!(ran.err.contains(part), "{} lacks {part}", ran.err);
    }
    keeps_quiet(&ran.err);
}

#[test]
fn an_open_gateway_for_other_machines_is_refused_with_what_to_do() {
    for set in [&["--listen", "0.0.0.0:8080"][..], &["--set", "listen.address=[::]:8080"]] {
        let ran = monigate(&[&["check"], set].concat(), &[TOKEN, SPACE]);
        assert_eq!((ran.code, keys(&ran)), (78, vec!["listen.address"]));
        for part in ["without named callers", "[[callers]]", "unix:/run/monigate/gateway.sock"] {
            assert!(ran.err.contains(part), "{} lacks {part}", ran.err);
        }
    }
    let ran = monigate(&["check", "--listen", "0.0.0.0:8080"], &[TOKEN, SPACE, ("MONIGATE__CALLERS", "a,b")]);
    assert_eq!((ran.code, keys(&ran)), (78, vec!["callers"]));
    assert!(ran.err.contains("write each as a table of its own, [[callers]], in a file"), "{}", ran.err);
}

#[test]
fn the_documented_file_is_missing_only_a_token_and_a_space() {
    let documented: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/monigate.toml");
    let documented = documented.to_str().unwrap();
    let ran = monigate(&["check", "--config", documented], &[]);
    assert_eq!((ran.code, keys(&ran)), (78, vec!["monime.default_space", "monime.token_file"]));
    assert_eq!(monigate(&["check", "--config", documented], &[TOKEN, SPACE]).code, 0);
}

#[test]
fn the_schema_is_json_and_the_version_is_a_line() {
    let schema: Value = serde_json::from_str(&monigate(&["schema"], &[]).out).unwrap();
    assert_eq!(schema["additionalProperties"], false);
    assert_eq!(schema["properties"]["limits"]["properties"]["max_in_flight"]["default"], 1024);
    let version = monigate(&["version"], &[]);
    assert_eq!((version.code, version.out), (0, format!("monigate {}\n", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn a_wrong_command_line_is_usage_and_not_configuration() {
    for arguments in [&[][..], &["chek"], &["check", "--verbose"], &["check", "--config"]] {
        let ran = monigate(arguments, &[TOKEN, SPACE]);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{arguments:?}");
        assert!(!ran.err.is_empty() && !ran.err.contains('\u{1b}'), "a pipe gets plain text");
    }
    let help = monigate(&["check", "--help"], &[]);
    assert_eq!((help.code, help.err.as_str()), (0, ""));
}
