//! Where services ask: addresses, a socket's permissions, TLS, the header that is demanded.

use super::*;
use crate::server::tls::ClientAuth;

const CALLER: &str = "[[callers]]\nname = \"a\"\nspaces = [\"spc-a\"]\noperations = [\"GetCheckoutSession\"]\n\
    keys_sha256 = [\"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\"]\n";
const SOCKET: &str = "address = \"unix:/run/monigate.sock\"\n";

#[test]
fn other_machines_reach_only_a_gateway_that_names_its_callers() {
    for address in ["0.0.0.0:8080", "[::]:8080", "10.0.0.1:8080"] {
        let listen = format!("[listen]\naddress = \"{address}\"\n");
        for none in [listen.clone(), format!("callers = []\n{listen}")] {
            let (keys, said) = wrong(&none);
            assert_eq!(keys, ["listen.address"]);
            assert!(said.contains("[[callers]]") && said.contains("keys_sha256"), "{said}");
        }
        let config = load(&format!("{listen}{CALLER}")).unwrap();
        assert_eq!(config.listen.address.to_string(), address);
        assert!(config.warnings()[0].contains("keys travel in the clear"), "{:?}", config.warnings());
    }
    assert!(load(CALLER).unwrap().warnings().is_empty(), "loopback needs no TLS");
    let admin = |key: &str| format!("[admin]\naddress = \"0.0.0.0:9090\"\n{key}");
    let key = format!("keys_sha256 = [\"{}\"]", Digest::of(b"operator"));
    assert!(
        load(&admin(&key)).unwrap().warnings()[0].contains("operators' keys travel"),
        "the admin listener has no TLS"
    );
    assert!(load(&admin("")).unwrap().warnings().is_empty(), "without keys there are none to read");
}

#[test]
fn callers_that_are_wrong_or_lost_are_not_said_to_be_missing() {
    let listen = "[listen]\naddress = \"0.0.0.0:8080\"\n";
    assert_eq!(wrong(&format!("callers = 5\n{listen}")).0, ["callers"]);
    let lost = Sources {
        files: vec!["/nowhere.toml".into()],
        ..environment(&[("MONIGATE__LISTEN__ADDRESS", "0.0.0.0:8080")])
    };
    let problems = Config::load(&lost).unwrap_err();
    assert_eq!(problems.iter().map(|problem| problem.key.as_str()).collect::<Vec<_>>(), ["/nowhere.toml"]);
}

#[test]
fn a_sockets_permissions_are_octal_and_let_its_owner_in() {
    for (text, mode) in [("0660", 0o660), ("600", 0o600), ("0777", 0o777)] {
        let config = load(&format!("[listen]\n{SOCKET}socket_mode = \"{text}\"")).unwrap();
        assert_eq!(config.listen.socket_mode, mode);
    }
    for text in ["", "0", "0060", "0460", "0260", "0668", "0o660", "+660", "1660", "00660", "rw"] {
        assert_eq!(wrong(&format!("[listen]\n{SOCKET}socket_mode = \"{text}\"")).0, ["listen.socket_mode"], "{text}");
    }
    let (keys, said) = wrong("[listen]\nsocket_mode = \"0660\"");
    assert!(keys == ["listen.socket_mode"] && said.contains("listen.address is 127.0.0.1:8080"), "{said}");
    assert_eq!(wrong(&format!("[listen]\n{SOCKET}socket_mode = 660")).0, ["listen.socket_mode"]);
}

#[test]
fn a_demanded_header_is_one_that_no_browser_sends_by_itself() {
    let config = set("listen.require_header", "X-Monigate-Request").unwrap();
    assert_eq!(config.listen.require_header.unwrap(), "x-monigate-request");
    for text in [
        "Host",
        "COOKIE",
        "accept",
        "Origin",
        "Sec-Fetch-Site",
        "proxy-anything",
        "Access-Control-Request-Method",
        "Authorization",
        "If-None-Match",
        "content-type",
        "Range",
        "X-Forwarded-For",
        "",
        "a b",
        "\u{e9}",
        "a:",
    ] {
        let problems = set("listen.require_header", text).expect_err(text);
        assert_eq!(problems.iter().map(|problem| problem.key.as_str()).collect::<Vec<_>>(), ["listen.require_header"]);
    }
}

#[test]
fn tls_files_are_read_as_serving_reads_them_and_each_bad_one_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let [one, other] = [(); 2].map(|()| rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap());
    let path = |name, text: &str, mode| file(folder.path(), name, text, mode);
    let cert = path("cert", &one.cert.pem(), 0o644);
    let key = path("key", &one.signing_key.serialize_pem(), 0o600);
    let others = path("others", &other.signing_key.serialize_pem(), 0o600);
    let open = path("open", &one.signing_key.serialize_pem(), 0o644);
    let garbled = path("garbled", "canary", 0o600);
    let tls = |cert: &str, key: &str, rest: &str| {
        format!("[listen.tls]\ncert_file = \"{cert}\"\nkey_file = \"{key}\"\n{rest}")
    };
    let ca = format!("client_ca_file = \"{cert}\"\n");

    let files = load(&tls(&cert, &key, "")).unwrap().listen.tls.unwrap();
    assert_eq!((files.client_ca, files.client_auth, files.allow_world_readable), (None, ClientAuth::Optional, false));
    let files = load(&tls(&cert, &key, &ca)).unwrap().listen.tls.unwrap();
    assert_eq!((files.client_ca, files.client_auth), (Some(cert.clone().into()), ClientAuth::Optional));
    let files = load(&tls(&cert, &key, &format!("{ca}client_auth = \"required\""))).unwrap().listen.tls.unwrap();
    assert_eq!(files.client_auth, ClientAuth::Required);
    load(&format!("security.allow_world_readable_secrets = true\n{}", tls(&cert, &open, ""))).unwrap();

    let (at_cert, at_key) = ("listen.tls.cert_file", "listen.tls.key_file");
    for (toml, at, named) in [
        (tls("/nowhere", &key, ""), &[at_cert][..], "/nowhere"),
        (tls(&cert, "/", ""), &[at_key], "not a regular file"),
        (tls(&cert, &others, ""), &[at_key], "does not belong"),
        (tls(&cert, &open, ""), &[at_key], "0644"),
        (tls(&garbled, &key, ""), &[at_cert], &garbled),
        (tls(&cert, &garbled, ""), &[at_key], &garbled),
        (tls(&cert, &cert, ""), &[at_key], "0644"),
        (
            tls("/nowhere", "/elsewhere", "client_ca_file = \"/third\""),
            &[at_cert, "listen.tls.client_ca_file", at_key],
            "/third",
        ),
        (tls(&cert, &key, &format!("client_ca_file = \"{garbled}\"")), &["listen.tls.client_ca_file"], &garbled),
        (tls(&cert, &key, "client_auth = \"required\""), &["listen.tls.client_auth"], "client_ca_file"),
        (tls(&cert, &key, &format!("{ca}client_auth = \"maybe\"")), &["listen.tls.client_auth"], "maybe"),
        (format!("[listen.tls]\ncert_file = \"{cert}\""), &[at_key], "is not set"),
        (format!("[listen.tls]\nkey_file = \"{key}\""), &[at_cert], "is not set"),
        (format!("[listen.tls]\n{ca}"), &[at_cert, at_key], "is not set"),
        ("[listen.tls]".to_owned(), &[at_cert, at_key], "is not set"),
    ] {
        let (keys, said) = wrong(&toml);
        assert!(keys == at && said.contains(named) && !said.contains("canary"), "{toml}: {said}");
    }
}

#[test]
fn what_belongs_to_the_open_socket_stays_and_the_rest_may_change() {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let path = |name, text: &str| file(folder.path(), name, text, 0o600);
    let (cert, key) = (path("cert", &made.cert.pem()), path("key", &made.signing_key.serialize_pem()));
    let (cert_too, key_too) = (path("cert2", &made.cert.pem()), path("key2", &made.signing_key.serialize_pem()));
    let tls = |cert: &str, key: &str, rest: &str| {
        format!("[listen]\n{SOCKET}[listen.tls]\ncert_file = \"{cert}\"\nkey_file = \"{key}\"\n{rest}")
    };
    let fixed = Fixed::of(&load(&tls(&cert, &key, "")).unwrap());
    for (toml, at) in [
        (format!("[listen]\n{SOCKET}"), &["listen.tls.cert_file"][..]),
        (tls(&cert_too, &key_too, ""), &["listen.tls.cert_file", "listen.tls.key_file"]),
        (tls(&cert, &key, &format!("client_ca_file = \"{cert}\"")), &["listen.tls.client_ca_file"]),
        (
            tls(&cert, &key, &format!("client_ca_file = \"{cert}\"\nclient_auth = \"required\"")),
            &["listen.tls.client_auth", "listen.tls.client_ca_file"],
        ),
        (
            tls(&cert, &key, "[security]\nallow_world_readable_secrets = true"),
            &["security.allow_world_readable_secrets"],
        ),
        (tls(&cert, &key, "").replace("[listen]", "[listen]\nsocket_mode = \"0600\""), &["listen.socket_mode"]),
        (tls(&cert, &key, "").replace("[listen]", "[listen]\nrequire_header = \"X-A\""), &["listen.require_header"]),
        (tls(&cert, &key, "").replace("monigate.sock", "other.sock"), &["listen.address"]),
        (tls(&cert, &key, "[admin]\naddress = \"127.0.0.1:9\""), &["admin.address"]),
    ] {
        let problems = fixed.permits(&load(&toml).unwrap()).unwrap_err();
        assert_eq!(problems.iter().map(|problem| problem.key.as_str()).collect::<Vec<_>>(), at, "{toml}");
    }
    let rest = format!(
        "[admin]\nkeys_sha256 = [\"{}\"]\n[monime.timeouts]\nwrite = \"9s\"\n{CALLER}",
        Digest::of(b"operator")
    );
    fixed.permits(&load(&tls(&cert, &key, &rest)).unwrap()).unwrap();
}
