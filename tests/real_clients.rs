//! Clients as applications use them, in Node and over TLS with a private CA: plain `fetch`, and an SDK from npm whose
//! origin is hard-coded. Their scripts are in the folder beside this file, and double as examples for the README.
//!
//! They want node, and the SDK's package in `target/real_clients`, where `.ci/clients` puts it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what a test cannot prepare is its failure"
)]
#![allow(clippy::disallowed_methods, reason = "which tools there are is for the test's environment to say")]

mod support;

use std::env;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use monigate::caller::Digest;
use monigate::sandbox::{DEFAULT_TOKEN, Operation, Sandbox};
use monigate::server::Address;
use serde_json::{Value, json};
use support::gateway::{SPACE, play};
use support::process::Gateway;
use tempfile::TempDir;
use tokio::task::JoinSet;

const FETCH: &str = "fetch.mjs";
const MONIME_PACKAGE: &str = "monime_package.mjs";

/// Whom a client asks, and as whom.
struct Target<'a> {
    base_url: &'a str,
    key: &'a str,
    /// The authority it trusts beside the public ones.
    ca: Option<&'a Path>,
}

/// What a script said: a line of JSON for each step.
struct Steps(Vec<Value>);

impl Steps {
    fn of(&self, step: &str) -> &Value {
        self.0.iter().find(|said| said["step"] == step).unwrap_or_else(|| panic!("no step {step:?}: {:?}", self.0))
    }
}

/// Where `.ci/clients` puts packages.
fn packages() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("real_clients")
}

/// What is missing for running clients here, and how to get it.
fn missing() -> Option<&'static str> {
    if Command::new("node").arg("--version").output().is_err() {
        Some("there is no `node` (18 or later) in the PATH")
    } else if !packages().join("node_modules/monime-package").is_dir() {
        Some("the packages are not there: run .ci/clients")
    } else {
        None
    }
}

/// Whether clients can be run here. Elsewhere than in `.ci/run` a test without them says so and passes.
fn ready() -> bool {
    let Some(why) = missing() else { return true };
    assert!(env::var_os("MONIGATE_REQUIRE_TOOLS").is_none(), "{why}");
    // Past the harness, which keeps what a passing test prints to itself.
    let mut said = io::stderr().lock();
    writeln!(said, "NOT RUN, a test of tests/real_clients.rs: {why}").unwrap();
    false
}

/// Runs a script to its end, in an environment of its own.
async fn run(script: &str, target: &Target<'_>) -> Output {
    // An import is looked for upwards from the script, so it has to lie below the packages.
    let folder = tempfile::tempdir_in(packages()).unwrap();
    let file = folder.path().join(script);
    fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real_clients").join(script), &file).unwrap();
    let mut node = Command::new("node");
    node.arg(file).env_clear().env("PATH", env::var_os("PATH").unwrap());
    node.envs([("BASE_URL", target.base_url), ("KEY", target.key), ("SPACE", SPACE)]);
    // Should a request still go where the SDK wants it, it ends here.
    node.envs([("HTTPS_PROXY", "http://127.0.0.1:9"), ("NO_PROXY", "localhost,127.0.0.1")]);
    node.envs(target.ca.map(|ca| ("NODE_EXTRA_CA_CERTS", ca)));
    tokio::task::spawn_blocking(move || node.output().unwrap()).await.unwrap()
}

/// Runs a script that is to succeed.
async fn steps(script: &str, target: &Target<'_>) -> Steps {
    let ran = run(script, target).await;
    let [out, err] = [&ran.stdout, &ran.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    assert!(ran.status.success(), "{out}\n{err}");
    assert!(!out.contains(target.key) && !err.contains(target.key), "a key was told");
    Steps(out.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

/// What `fetch` must have met, whoever answers.
fn check_fetch(steps: &Steps) {
    let (created, again) = (steps.of("create"), steps.of("create again"));
    let session = &created["body"]["result"];
    assert_eq!(
        (&created["status"], &session["status"], &session["name"]),
        (&json!(200), &json!("pending"), &json!("Order 7"))
    );
    assert_eq!((&again["status"], &again["body"]), (&json!(200), &created["body"]), "one key, one session");
    let read = steps.of("read");
    assert_eq!((&read["status"], &read["body"]), (&json!(200), &created["body"]));
    let list = steps.of("list");
    assert_eq!((&list["status"], &list["body"]["result"]), (&json!(200), &json!([session])));
    assert_eq!(list["body"]["pagination"], json!({"count": 1, "next": null}));
    let deleted = steps.of("delete");
    assert_eq!((&deleted["status"], &deleted["body"]), (&json!(200), &json!({"success": true, "messages": []})));
    let gone = steps.of("read what is gone");
    assert_eq!((&gone["status"], &gone["body"]["error"]["reason"]), (&json!(404), &json!("not_found")));
    let stranger = steps.of("ask as a stranger");
    assert_eq!((&stranger["status"], &stranger["body"]["error"]["code"]), (&json!(401), &json!(401)));
    for step in &steps.0 {
        assert_eq!(step["headers"]["content-type"], "application/json", "{step}");
    }
}

/// What monime-package must have met, whoever answers.
fn check_monime_package(steps: &Steps) {
    let created = steps.of("create");
    let session = &created["data"]["result"];
    assert_eq!((&created["success"], &session["status"]), (&json!(true), &json!("pending")), "{created}");
    assert_eq!(steps.of("create again")["data"], created["data"], "one key, one session");
    // Its one key for everything, met by Monime's own word: the key has come through.
    let another = &steps.of("create another")["error"];
    assert_eq!(
        (&another["status"], &another["body"]["error"]["reason"]),
        (&json!(409), &json!("idempotency_key_in_use"))
    );
    assert_eq!(steps.of("read")["data"], created["data"]);
    assert_eq!(steps.of("list")["data"]["result"], json!([session]));
    assert_eq!(steps.of("delete")["success"], true);
    let gone = &steps.of("read what is gone")["error"];
    assert_eq!((&gone["status"], &gone["body"]["error"]["reason"]), (&json!(404), &json!("not_found")));
}

/// What Monime was asked for and told, in its order, by whom it knows.
fn asked(sandbox: &Sandbox) -> Vec<(Operation, u16)> {
    let known = sandbox.asked().into_iter().filter(|asked| asked.token == Some(0));
    known.map(|asked| (asked.operation.unwrap(), asked.status.unwrap().as_u16())).collect()
}

const FETCH_ASKS: [(Operation, u16); 6] = [
    (Operation::Create, 200),
    (Operation::Create, 200),
    (Operation::Get, 200),
    (Operation::List, 200),
    (Operation::Delete, 200),
    (Operation::Get, 404),
];
const MONIME_PACKAGE_ASKS: [(Operation, u16); 7] = [
    (Operation::Create, 200),
    (Operation::Create, 200),
    (Operation::Create, 409),
    (Operation::Get, 200),
    (Operation::List, 200),
    (Operation::Delete, 200),
    (Operation::Get, 404),
];

/// What the storefront proves itself with. Monime would not know it.
const KEY: &str = "gk_storefront_4Wm8Tz1Qy6Rk9Xc3Vb7Np2Hs";

/// A gateway that serves https in the sandbox's place, with a certificate of the same authority.
struct Shared {
    folder: TempDir,
    sandbox: Sandbox,
    gateway: Gateway,
    base_url: String,
    _served: JoinSet<()>,
}

impl Shared {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (sandbox, monime, served) = play(Some(folder.path())).await;
        let config = folder.path().join("monigate.toml");
        fs::write(&config, Self::config(folder.path(), &monime)).unwrap();
        let token = [("MONIGATE__MONIME__TOKEN", DEFAULT_TOKEN)];
        let gateway = Gateway::start(&["run", "--config", config.to_str().unwrap()], &token).await;
        let Address::Tcp(address) = gateway.address else { panic!("a TCP address") };
        Self { folder, sandbox, gateway, base_url: format!("https://{address}"), _served: served }
    }

    fn config(folder: &Path, monime: &str) -> String {
        let file = |name: &str| folder.join(name).display().to_string();
        let (ca, cert, key) = (file("ca.pem"), file("server.pem"), file("server.key"));
        let digest = Digest::of(KEY.as_bytes());
        format!(
            r#"
            [listen]
            address = "127.0.0.1:0"
            tls = {{ cert_file = "{cert}", key_file = "{key}" }}
            [admin]
            address = "127.0.0.1:0"
            [monime]
            base_url = "{monime}"
            ca_file = "{ca}"
            default_space = "{SPACE}"
            [[callers]]
            name = "storefront"
            keys_sha256 = ["{digest}"]
            spaces = ["{SPACE}"]
            operations = [
              "GetCheckoutSession", "CreateCheckoutSession", "ListCheckoutSessions", "DeleteCheckoutSession",
            ]
            "#
        )
    }

    async fn steps(&self, script: &str) -> Steps {
        let ca = self.folder.path().join("ca.pem");
        steps(script, &Target { base_url: &self.base_url, key: KEY, ca: Some(&ca) }).await
    }

    /// What was asked of Monime, and that nobody was told a secret meanwhile.
    fn asked(&self) -> Vec<(Operation, u16)> {
        let said = self.gateway.process.out() + &self.gateway.process.err();
        assert!(!said.contains(KEY) && !said.contains(DEFAULT_TOKEN), "a secret was told");
        let asked = asked(&self.sandbox);
        assert_eq!(self.sandbox.asked().len(), asked.len(), "all of it with Monime's own token");
        asked
    }
}

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    (folder, ca)
}

// Without a gateway: what the scripts expect is what Monime's stand-in does.

#[tokio::test]
async fn plain_fetch_is_at_home_with_the_sandbox() {
    if !ready() {
        return;
    }
    let (folder, ca) = folder();
    let (sandbox, base_url, _served) = play(Some(folder.path())).await;
    let target = Target { base_url: &base_url, key: DEFAULT_TOKEN, ca: Some(&ca) };
    check_fetch(&steps(FETCH, &target).await);
    assert_eq!(asked(&sandbox), FETCH_ASKS);
}

#[tokio::test]
async fn monime_package_is_at_home_with_the_sandbox() {
    if !ready() {
        return;
    }
    let (folder, ca) = folder();
    let (sandbox, base_url, _served) = play(Some(folder.path())).await;
    let target = Target { base_url: &base_url, key: DEFAULT_TOKEN, ca: Some(&ca) };
    check_monime_package(&steps(MONIME_PACKAGE, &target).await);
    assert_eq!(asked(&sandbox), MONIME_PACKAGE_ASKS);
}

#[tokio::test]
async fn a_client_that_was_not_told_of_the_authority_sends_nothing() {
    if !ready() {
        return;
    }
    let (folder, _) = folder();
    let (sandbox, base_url, _served) = play(Some(folder.path())).await;
    for script in [FETCH, MONIME_PACKAGE] {
        let ran = run(script, &Target { base_url: &base_url, key: DEFAULT_TOKEN, ca: None }).await;
        assert!(!ran.status.success(), "{script}");
    }
    assert_eq!(sandbox.seen().requests, 0);
}

// And the same clients with a gateway key, through a gateway.

#[tokio::test]
async fn plain_fetch_works_through_a_gateway_as_it_does_without() {
    if !ready() {
        return;
    }
    let shared = Shared::start().await;
    let steps = shared.steps(FETCH).await;
    check_fetch(&steps);
    assert_eq!(shared.asked(), FETCH_ASKS, "the stranger got no further than the gateway");
    for step in &steps.0 {
        let status = step["headers"]["cache-status"].as_str().unwrap_or_default();
        assert!(status.starts_with("monigate"), "{step}");
    }
    let stranger = &steps.of("ask as a stranger")["body"]["error"]["reason"];
    assert!(stranger.as_str().unwrap().starts_with("gateway_"), "{stranger}");
}

#[tokio::test]
async fn monime_package_works_through_a_gateway_as_it_does_without() {
    if !ready() {
        return;
    }
    let shared = Shared::start().await;
    check_monime_package(&shared.steps(MONIME_PACKAGE).await);
    assert_eq!(shared.asked(), MONIME_PACKAGE_ASKS);
}
