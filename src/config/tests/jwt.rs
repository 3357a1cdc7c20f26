//! Whose service-account tokens are believed, and where its public keys are.

use super::*;
use crate::secret::MAX_TOKEN;

const WHO: &str = "[jwt]\nissuer = \"https://kubernetes.default.svc\"\naudience = \"monigate\"\n";

fn url(text: &str) -> String {
    format!("{WHO}jwks_url = \"{text}\"")
}

#[test]
fn an_issuers_keys_come_from_a_file_or_a_server() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name, text: &str| file(folder.path(), name, text, 0o600);
    let jwks = path("jwks", JWKS);
    let jwt = load(&format!("{WHO}jwks_file = \"{jwks}\"")).unwrap().jwt.unwrap();
    assert_eq!((&*jwt.issuer, &*jwt.audience), ("https://kubernetes.default.svc", "monigate"));
    assert_eq!(jwt.keys, Jwks::File(jwks.into()));

    let ca = path("ca", &rcgen::generate_simple_self_signed(["k".to_owned()]).unwrap().cert.pem());
    let token = path("token", "a-token\n");
    let with =
        format!("{}\nca_file = \"{ca}\"\ntoken_file = \"{token}\"", url("https://k8s.local:6443/openid/v1/jwks?a=b"));
    let Jwks::Url { wire, path, token_file } = load(&with).unwrap().jwt.unwrap().keys else { panic!("{with}") };
    assert_eq!((wire.origin.to_string(), &*path), ("https://k8s.local:6443".into(), "/openid/v1/jwks?a=b"));
    assert_eq!((wire.ca_pem, token_file), (Some(std::fs::read(ca).unwrap()), Some(token.into())));
    assert_eq!((wire.connect, wire.proxy), (Duration::from_secs(2), None));

    let Jwks::Url { wire, path, token_file } = load(&url("http://127.0.0.1:1")).unwrap().jwt.unwrap().keys else {
        panic!()
    };
    assert_eq!(
        (wire.origin.to_string(), &*path, token_file, wire.ca_pem),
        ("http://127.0.0.1:1".into(), "/", None, None)
    );
}

#[test]
fn the_query_of_the_servers_url_is_shown_to_nobody() {
    let config = load(&url("https://k8s.local/jwks?key=hunter2")).unwrap();
    let shown = String::from_utf8(config.effective.to_json()).unwrap() + &config.effective.to_toml();
    assert!(!shown.contains("hunter2") && shown.contains("https://k8s.local/jwks?[redacted]"), "{shown}");
}

#[test]
fn every_rule_of_an_issuer_names_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name, text: &str, mode| file(folder.path(), name, text, mode);
    let (jwks, large) = (path("jwks", JWKS, 0o644), path("large", &"x".repeat((1 << 20) + 1), 0o644));
    let (open, empty) = (path("open", "canary", 0o644), path("empty", "", 0o600));
    let none = path("none", "{\"keys\":[]}", 0o644);
    let long = path("long", &"x".repeat(MAX_TOKEN + 1), 0o600);
    let from_file = |path: &str| format!("{WHO}jwks_file = \"{path}\"\n");
    let good = url("https://k8s.local/jwks");
    for (toml, at) in [
        ("[jwt]".to_owned(), &["audience", "issuer", "jwks_file"][..]),
        (from_file(&jwks).replace("\"monigate\"", "\"\""), &["audience"]),
        (from_file(&jwks).replace("https://kub", "https:// kub"), &["issuer"]),
        (WHO.to_owned(), &["jwks_file"]),
        (format!("{good}\njwks_file = \"{jwks}\""), &["jwks_file"]),
        (from_file("/nowhere"), &["jwks_file"]),
        (from_file("/"), &["jwks_file"]),
        (from_file(&none), &["jwks_file"]),
        (from_file(&open), &["jwks_file"]),
        (from_file(&large), &["jwks_file"]),
        (from_file(&jwks) + "ca_file = \"x\"\ntoken_file = \"y\"", &["ca_file", "token_file"]),
        (format!("{WHO}jwks_url = 5\nca_file = \"x\""), &["jwks_url"]),
        (url("http://k8s.local/jwks"), &["jwks_url"]),
        (url("ftp://k8s.local/jwks"), &["jwks_url"]),
        (url("k8s.local/jwks"), &["jwks_url"]),
        (url("https://me:canary@k8s.local/jwks"), &["jwks_url"]),
        (url("https://k8s.local:0/jwks"), &["jwks_url"]),
        (url("https://k8s.local/jwks#x"), &["jwks_url"]),
        (format!("{good}\nca_file = \"{jwks}\""), &["ca_file"]),
        (format!("{good}\ntoken_file = \"{open}\""), &["token_file"]),
        (format!("{good}\ntoken_file = \"{empty}\""), &["token_file"]),
        (format!("{good}\ntoken_file = \"{long}\""), &["token_file"]),
        (format!("{good}\ntoken_file = \"/nowhere\""), &["token_file"]),
    ] {
        let (keys, said) = wrong(&toml);
        assert_eq!(keys, at.iter().map(|at| format!("jwt.{at}")).collect::<Vec<_>>(), "{toml}: {said}");
        assert!(!said.contains("canary"), "{said}");
    }
}

#[test]
fn an_optional_table_is_not_conjured_up() {
    // A default below a table that nobody wrote would make the table.
    let schema = schema::schema();
    for (key, leaf) in Node(&schema).leaves() {
        let is_optional = key.starts_with("jwt.") || key.starts_with("listen.tls.") || key == "callers";
        assert!(!is_optional || leaf.default().is_none(), "{key}");
    }
    let config = Config::load(&environment(&[])).unwrap();
    assert!(!config.effective.to_toml().contains("jwt"), "{}", config.effective.to_toml());
}
