//! What the configuration promises, file by file and problem by problem.

mod callers;
mod jwt;
mod limits;
mod listen;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value as Json;

use super::*;
use crate::lookup::{StaleIfError, Ttl};

/// A set with the public key of RFC 7517, appendix A.1.
const JWKS: &str = r#"{"keys":[{"kty":"EC","crv":"P-256","kid":"1","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
    "y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}]}"#;
const DOCUMENTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config/monigate.toml");

/// The least that can start, and what `pairs` add to it.
fn environment(pairs: &[(&str, &str)]) -> Sources {
    let least = [("MONIGATE__MONIME__TOKEN", "mon_unit"), ("MONIGATE__MONIME__DEFAULT_SPACE", "spc-a")];
    let pairs = least.iter().chain(pairs).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Sources { environment: pairs.collect(), ..Sources::default() }
}

fn set(key: &str, value: &str) -> Result<Config, Problems> {
    let flags = vec![Flag::Set(format!("{key}={value}"))];
    Config::load(&Sources { flags, ..environment(&[]) })
}

/// What becomes of a file, beside the least that can start.
fn load(toml: &str) -> Result<Config, Problems> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.toml");
    std::fs::write(&path, toml).unwrap();
    Config::load(&Sources { files: vec![path], ..environment(&[]) })
}

/// The keys of every problem, and what all of them say.
fn wrong(toml: &str) -> (Vec<String>, String) {
    let problems = load(toml).expect_err(toml);
    (problems.iter().map(|problem| problem.key.clone()).collect(), problems.to_string())
}

/// The path of a new file of this mode in a folder.
fn file(folder: &Path, name: &str, text: &str, mode: u32) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    path.to_str().unwrap().to_owned()
}

fn effective(files: &[&Path]) -> BTreeMap<String, (Json, String)> {
    let schema = schema::schema();
    let sources = Sources { files: files.iter().map(|path| path.to_path_buf()).collect(), ..Sources::default() };
    let mut problems = Problems::default();
    let settings = sources.merge(Node(&schema), &mut problems).unwrap();
    assert!(problems.is_empty(), "{problems}");
    let json: serde_json::Map<String, Json> = serde_json::from_slice(&Effective::of(&settings).to_json()).unwrap();
    let entry = |entry: Json| (entry["value"].clone(), entry["source"].as_str().unwrap().to_owned());
    json.into_iter().map(|(key, value)| (key, entry(value))).collect()
}

#[test]
fn the_documented_file_names_every_key_with_its_default_and_a_line_of_meaning() {
    let schema = schema::schema();
    let text = std::fs::read_to_string(DOCUMENTED).unwrap();
    let as_it_is = effective(&[Path::new(DOCUMENTED)]);

    let folder = tempfile::tempdir().unwrap();
    let opened = folder.path().join("opened.toml");
    let is_key = |line: &str| {
        line.split(" = ")
            .next()
            .is_some_and(|key| key.bytes().all(|b| b == b'_' || b.is_ascii_lowercase() || b.is_ascii_digit()))
    };
    let is_table = |line: &str| line.starts_with('[') && line.ends_with(']');
    let is_written = |line: &&str| is_table(line) || (line.contains(" = ") && is_key(line));
    let open = |line: &str| line.strip_prefix("# ").filter(is_written).unwrap_or(line).to_owned();
    let lines: Vec<String> = text.lines().map(open).collect();
    std::fs::write(&opened, lines.join("\n")).unwrap();
    let with_optional = effective(&[&opened]);

    for (key, leaf) in Node(&schema).leaves() {
        match leaf.default() {
            Some(default) => {
                assert_eq!(as_it_is[&key], (default.clone(), format!("file {DOCUMENTED}")), "{key}");
            }
            None => {
                assert!(!as_it_is.contains_key(&key), "{key} has no default, so it is commented out");
                assert_eq!(with_optional[&key].1, format!("file {}", opened.display()), "{key}");
            }
        }
    }
    for pair in lines.windows(2).filter(|pair| pair[1].contains(" = ") && !pair[1].starts_with('#')) {
        assert!(pair[0].starts_with("# ") && pair[0].ends_with('.'), "no line of meaning above: {}", pair[1]);
    }
    assert!(text.contains("{ id = "), "the one key of a further space");
    let caller = Node(&schema).child("callers").and_then(Node::items).unwrap();
    for (key, _) in caller.children() {
        assert!(with_optional["callers"].0[0].get(key).is_some(), "callers' {key} is not there");
    }
}

#[test]
fn the_examples_in_the_readme_are_configuration_files() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let examples = readme.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let write = |(number, text): (usize, &str)| file(folder.path(), &format!("{number}.toml"), text, 0o600).into();
    let files: Vec<PathBuf> = examples.enumerate().map(write).collect();
    assert_eq!(files.len(), 3);
    let is_nobodys = |key: &str| key.ends_with("_file") || key.contains("sha256");
    for file in &files {
        // Those after the first say what is added to it, each for itself: callers of one file are not those of another.
        let files = vec![files[0].clone(), file.clone()];
        let problems = Config::load(&Sources { files, ..Sources::default() }).unwrap_err();
        assert!(problems.iter().all(|problem| is_nobodys(&problem.key)), "{problems}");
    }
}

#[test]
fn the_schema_refuses_unknown_keys_and_requires_only_what_no_default_gives() {
    fn tables(node: &Json, seen: &mut usize) {
        if node["type"] == "object" || node["type"] == serde_json::json!(["object", "null"]) {
            *seen += 1;
            assert_eq!(node["additionalProperties"], false, "{node}");
            for (_, child) in node["properties"].as_object().unwrap() {
                assert!(child["description"].as_str().is_some_and(|text| !text.is_empty()), "{child}");
                tables(child, seen);
            }
        }
        if let Some(items) = node.get("items") {
            tables(items, seen);
        }
    }
    let schema: Json = serde_json::from_slice(&schema()).unwrap();
    let mut seen = 0;
    tables(&schema, &mut seen);
    assert_eq!(seen, 18);
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    for (place, required) in [
        ("/properties/monime/properties/spaces/items", &["id"][..]),
        ("/properties/callers/items", &["name", "operations", "spaces"]),
        ("/properties/jwt", &["audience", "issuer"]),
        ("/properties/listen/properties/tls", &["cert_file", "key_file"]),
    ] {
        let mut found: Vec<_> = schema.pointer(place).unwrap()["required"].as_array().unwrap().clone();
        found.sort_by_key(Json::to_string);
        assert_eq!(found, required, "{place}");
    }
    assert_eq!(serde_json::to_string(&schema).unwrap().matches("\"required\":").count(), 4);
}

#[test]
fn the_environment_alone_is_enough_and_the_rest_is_default() {
    let config = Config::load(&environment(&[])).unwrap();
    assert_eq!(config.listen.address.to_string(), "127.0.0.1:8080");
    assert_eq!((config.listen.socket_mode, &config.listen.tls, &config.listen.require_header), (0o660, &None, &None));
    assert_eq!((config.admin.address.to_string().as_str(), &*config.admin.keys), ("127.0.0.1:9090", &[][..]));
    assert!(config.callers.is_empty() && config.jwt.is_none() && config.warnings().is_empty());
    assert_eq!(config.monime.wire.origin.to_string(), "https://api.monime.io");
    assert_eq!(config.monime.version.as_str(), crate::monime::CURRENT_VERSION);
    assert_eq!(config.monime.versions.len(), 2);
    assert_eq!(config.monime.spaces, [SpaceId::parse("spc-a").unwrap()]);
    let seconds = Duration::from_secs;
    let timeouts = Timeouts { connect: seconds(2), attempt: seconds(5), total: seconds(10), write: seconds(60) };
    assert_eq!(config.monime.timeouts, timeouts);
    let ttl = Ttl { completed: seconds(86_400), cancelled: seconds(60), expired: seconds(60), absent: Duration::ZERO };
    let stale_if_error =
        StaleIfError { completed: seconds(86_400), cancelled: Duration::ZERO, expired: Duration::ZERO };
    let lifetimes = Lifetimes { ttl, stale_if_error };
    assert_eq!(config.cache, Cache { max_size: 64 << 20, lifetimes, callers_may_refresh: false });
    let limits = Limits { max_in_flight: 1024, server: server::Limits::default(), body: BodyLimits::default() };
    assert_eq!(config.limits, limits, "each default is said once, in words, and once where it is meant");
    assert_eq!(config.shutdown, Shutdown { delay: Duration::ZERO, timeout: seconds(20) });
    assert_eq!(config.log, Log { format: Format::Json, level: "info".into() });
    assert!(!format!("{config:?}").contains("mon_unit"));
}

#[test]
fn lists_numbers_and_switches_come_out_of_text() {
    let sources = environment(&[
        ("MONIGATE__MONIME__SPACES", "spc-b, spc-c,spc-a"),
        ("MONIGATE__MONIME__VERSION", "v2"),
        ("MONIGATE__MONIME__VERSIONS", "v1,v2"),
        ("MONIGATE__CACHE__CALLERS_MAY_REFRESH", "true"),
        ("MONIGATE__CACHE__MAX_SIZE", "1048576"),
        ("MONIGATE__LIMITS__MAX_IN_FLIGHT", "7"),
        ("MONIGATE_PORT", "tcp://10.0.0.1:80"),
        ("MONIGATE_SERVICE_HOST", "10.0.0.1"),
    ]);
    let config = Config::load(&sources).unwrap();
    let spaces: Vec<_> = config.monime.spaces.iter().map(SpaceId::as_str).collect();
    assert_eq!(spaces, ["spc-a", "spc-b", "spc-c"], "the default first, each once");
    assert_eq!(config.monime.versions.len(), 2);
    assert!(config.cache.callers_may_refresh);
    assert_eq!((config.cache.max_size, config.limits.max_in_flight), (1 << 20, 7));
}

#[test]
fn every_rule_names_its_key() {
    for (key, value, at) in [
        ("listen.address", "0.0.0.0:8080", "listen.address"),
        ("listen.address", "localhost:8080", "listen.address"),
        ("admin.address", "127.0.0.1:8080", "admin.address"),
        ("admin.address", "0.0.0.0:8080", "admin.address"),
        ("monime.base_url", "http://api.monime.io", "monime.base_url"),
        ("monime.base_url", "https://api.monime.io/v1", "monime.base_url"),
        ("monime.ca_file", "/nowhere/ca.pem", "monime.ca_file"),
        ("monime.ca_file", "/", "monime.ca_file"),
        ("monime.ca_file", DOCUMENTED, "monime.ca_file"),
        ("monime.version", "caph.1999", "monime.versions"),
        ("monime.version", "a b", "monime.version"),
        ("monime.versions", "caph.2025-08-23,caph.2025-08-23", "monime.versions[1]"),
        ("monime.versions", "", "monime.versions"),
        ("monime.spaces", "spc-b,nope", "monime.spaces[1].id"),
        ("monime.spaces", "spc-b,spc-b", "monime.spaces[1].id"),
        ("monime.default_space", "nope", "monime.default_space"),
        ("monime.token_file", "/nowhere", "monime.token_file"),
        ("monime.timeouts.connect", "6s", "monime.timeouts.connect"),
        ("monime.timeouts.attempt", "11s", "monime.timeouts.attempt"),
        ("monime.timeouts.total", "6m", "monime.timeouts.total"),
        ("monime.timeouts.total", "0s", "monime.timeouts.total"),
        ("monime.timeouts", "1s", "monime.timeouts"),
        ("monime.timeouts.write", "0s", "monime.timeouts.write"),
        ("monime.timeouts.write", "6m", "monime.timeouts.write"),
        ("monime.timeouts.write", "4s", "monime.timeouts.attempt"),
        ("cache.max_size", "1023KiB", "cache.max_size"),
        ("cache.ttl.completed", "31d", "cache.ttl.completed"),
        ("cache.callers_may_refresh", "yes", "cache.callers_may_refresh"),
        ("limits.max_in_flight", "0", "limits.max_in_flight"),
        ("limits.max_in_flight", "65537", "limits.max_in_flight"),
        ("limits.max_in_flight", "many", "limits.max_in_flight"),
        ("shutdown.timeout", "0s", "shutdown.timeout"),
        ("log.format", "xml", "log.format"),
        ("log.level", "loud", "log.level"),
    ] {
        let problems = set(key, value).unwrap_err();
        let keys: Vec<_> = problems.iter().map(|problem| problem.key.as_str()).collect();
        assert_eq!(keys, [at], "{key}={value}: {problems}");
        assert!(problems.iter().all(|problem| problem.source == "flag --set" || key != at), "{problems}");
    }
}

#[test]
fn the_edges_of_every_rule_are_inside() {
    for (key, value) in [
        ("listen.address", "[::1]:0"),
        ("listen.address", "unix:/run/monigate/gateway.sock"),
        ("admin.address", "0.0.0.0:9090"),
        ("admin.address", "unix:/run/monigate/admin.sock"),
        ("monime.base_url", "http://127.0.0.1:9"),
        ("monime.timeouts.connect", "5s"),
        ("monime.timeouts.attempt", "10s"),
        ("monime.timeouts.write", "5s"),
        ("cache.max_size", "1MiB"),
        ("cache.ttl.completed", "30d"),
        ("cache.ttl.cancelled", "0s"),
        ("limits.max_in_flight", "1"),
        ("limits.max_in_flight", "65536"),
        ("shutdown.delay", "5s"),
        ("log.level", "warn,monigate::upstream=trace"),
    ] {
        assert!(set(key, value).is_ok(), "{key}={value}: {}", set(key, value).unwrap_err());
    }
    let flags = ["listen.address=127.0.0.1:0", "admin.address=127.0.0.1:0"].map(|text| Flag::Set(text.to_owned()));
    assert!(Config::load(&Sources { flags: flags.to_vec(), ..environment(&[]) }).is_ok(), "free ports differ");
}

#[test]
fn a_misspelt_key_meets_the_one_that_was_meant() {
    for (key, meant) in [
        ("monime.tokenfile", Some("monime.token_file")),
        ("cache.ttl.complete", Some("cache.ttl.completed")),
        ("default_space", Some("monime.default_space")),
        ("listen.adress", Some("listen.address")),
        ("quite.another.thing", None),
    ] {
        let problems = set(key, "x").unwrap_err();
        let problem = problems.iter().next().unwrap();
        assert_eq!((problem.key.as_str(), problem.rule.as_str()), (key, "is not a known key"));
        let fix = meant
            .map_or("remove it; `monigate schema` lists every key".into(), |meant| format!("did you mean {meant}?"));
        assert_eq!(problem.fix, fix);
    }
}

#[test]
fn sources_print_names_and_no_values() {
    let flags = vec![
        Flag::Set("monime.token=mon_flag".into()),
        Flag::Named { flag: "--listen", key: "listen.address", value: "mon_listen".into() },
    ];
    let printed = format!("{:?}", Sources { flags, ..environment(&[("PATH", "/bin")]) });
    assert!(printed.contains("MONIGATE__MONIME__TOKEN") && printed.contains("--listen"), "{printed}");
    assert!(!printed.contains("mon_") && !printed.contains("PATH"), "{printed}");
}

#[test]
fn a_file_that_cannot_be_read_is_not_blamed_for_what_it_may_well_say() {
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("broken.toml");
    std::fs::write(&broken, "[monime]\ntoken_file = ").unwrap();
    let environment = [("MONIGATE__LOG__FORMAT".to_owned(), "xml".to_owned())].into();
    let problems = Config::load(&Sources { files: vec![broken.clone()], environment, flags: Vec::new() }).unwrap_err();
    let keys: Vec<&str> = problems.iter().map(|problem| problem.key.as_str()).collect();
    assert_eq!(keys, [broken.to_str().unwrap(), "log.format"]);
}

#[test]
fn a_pipe_is_no_file_and_nobody_waits_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe.toml");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let problems = Config::load(&Sources { files: vec![pipe], ..environment(&[]) }).unwrap_err();
    assert!(problems.to_string().contains("not a regular file"), "{problems}");
}

#[test]
fn a_variable_that_lost_an_underscore_is_not_ignored_in_silence() {
    let problems = Config::load(&environment(&[("MONIGATE_LOG__LEVEL", "debug")])).unwrap_err();
    let problem = problems.iter().next().unwrap();
    assert_eq!((problem.key.as_str(), problem.fix.as_str()), ("MONIGATE_LOG__LEVEL", "write MONIGATE__LOG__LEVEL"));
    Config::load(&environment(&[("MONIGATE_PORT", "tcp://10.0.0.1:80"), ("MONIGATE_SERVICE_HOST", "10.0.0.1")]))
        .unwrap();
}
