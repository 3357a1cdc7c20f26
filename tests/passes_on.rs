//! What is passed on to Monime and back: the real program with named callers, before a Monime of raw bytes where it
//! matters what is on the wire, and before the sandbox where it matters what came of it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what a test cannot prepare is its failure"
)]

#[path = "passes_on/answers.rs"]
mod answers;
#[path = "passes_on/bodies.rs"]
mod bodies;
#[path = "passes_on/operations.rs"]
mod operations;
#[path = "passes_on/purges.rs"]
mod purges;
#[path = "passes_on/streams.rs"]
mod streams;
mod support;
#[path = "passes_on/writes.rs"]
mod writes;

use std::fmt::Write;

use monigate::caller::new_key;
use monigate::monime::operation::OPERATIONS;
use monigate::sandbox::DEFAULT_TOKEN;
use serde_json::Value;
use support::client::{Answer, Wire};
use support::gateway::{OTHER_SPACE, SPACE, eventually, metric};
use support::process::Gateway;
use tempfile::TempDir;

/// Far above what any test here sends.
const FAST: [&str; 3] = ["budget.endpoint=1000", "budget.token=1000", "budget.space=1000"];
/// Where sessions are made.
const SESSIONS: &str = "/v1/checkout-sessions";
/// What must be in no line of the log.
const KEY: &str = "canary-key-7281";
/// A session with a name that must be in no line of the log.
const ORDER: &str = r#"{"name":"canary-body-9163","successUrl":"https://shop.example/ok","lineItems":[{"type":"custom","name":"Tea","price":{"currency":"SLE","value":500},"quantity":2}]}"#;

/// A running gateway with three callers.
struct Shop {
    gateway: Gateway,
    /// May use every operation in one space.
    shop: String,
    /// May look sessions up and nothing else.
    till: String,
    /// May use every operation in both spaces.
    office: String,
    _folder: TempDir,
}

impl Shop {
    /// Asks whoever is at `base_url`.
    async fn before(base_url: &str, settings: &[&str]) -> Self {
        let all = OPERATIONS.iter().map(|operation| format!("{:?}", operation.id)).collect::<Vec<_>>().join(", ");
        let both = format!("\"{SPACE}\", \"{OTHER_SPACE}\"");
        let (only, lookup) = (format!("\"{SPACE}\""), "\"GetCheckoutSession\"".to_owned());
        let mut text = String::new();
        let keys =
            [("shop", &only, &all), ("till", &only, &lookup), ("office", &both, &all)].map(|(name, spaces, may)| {
                let (key, digest) = new_key().unwrap();
                let digest = digest.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
                let caller = "[[callers]]\nname = ";
                writeln!(
                    text,
                    "{caller}\"{name}\"\nkeys_sha256 = [\"{digest}\"]\nspaces = [{spaces}]\noperations = [{may}]"
                )
                .unwrap();
                format!("Authorization: Bearer {}\r\n", key.expose())
            });
        let [shop, till, office] = keys;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("callers.toml");
        std::fs::write(&file, text).unwrap();
        let base_url = format!("monime.base_url={base_url}");
        let spaces = format!("monime.spaces={OTHER_SPACE}");
        let mut arguments = vec!["run", "--config", file.to_str().unwrap(), "--listen", "127.0.0.1:0"];
        arguments.extend(["--admin", "127.0.0.1:0", "--set", &base_url, "--set", &spaces]);
        FAST.iter().chain(settings).for_each(|setting| arguments.extend(["--set", *setting]));
        let environment = [("MONIGATE__MONIME__TOKEN", DEFAULT_TOKEN), ("MONIGATE__MONIME__DEFAULT_SPACE", SPACE)];
        let gateway = Gateway::start(&arguments, &environment).await;
        Self { gateway, shop, till, office, _folder: folder }
    }

    /// The first caller's request.
    fn request(&self, method: &str, target: &str, fields: &str, body: &str) -> String {
        request(method, target, &format!("{}{fields}", self.shop), body)
    }

    /// Asks as the first caller, on a connection of its own.
    async fn ask(&self, method: &str, target: &str, fields: &str, body: &str) -> Answer {
        self.send(&self.request(method, target, fields, body)).await
    }

    /// Sends a whole request on a connection of its own.
    async fn send(&self, request: &str) -> Answer {
        let mut wire = self.sent(request).await;
        if request.starts_with("HEAD") { wire.head().await } else { wire.answer().await.expect("an answer") }
    }

    /// A connection on which this was sent.
    async fn sent(&self, request: &str) -> Wire {
        let mut wire = Wire::connect(&self.gateway.address).await;
        wire.send(request).await;
        wire
    }

    /// Makes a session.
    async fn create(&self) -> Answer {
        self.send(&self.creation()).await
    }

    fn creation(&self) -> String {
        self.request("POST", SESSIONS, &key(KEY), ORDER)
    }

    async fn metric(&self, series: &str) -> u64 {
        metric(&self.gateway.operator("/metrics").await.text(), series)
    }

    /// The lines of the audit so far.
    fn audit(&self) -> Vec<Value> {
        audit(self.gateway.process.log())
    }

    /// Waits until the audit says this outcome.
    async fn audited(&self, outcome: &str) -> Value {
        let found = async || self.audit().into_iter().find(|line| line["outcome"] == outcome);
        eventually(&format!("the audit says {outcome}"), found).await
    }

    /// Ends it, and gives the audit to its last line.
    async fn end(self) -> Vec<Value> {
        self.gateway.process.signal("TERM");
        self.over().await
    }

    /// Waits for its end, and gives the audit to its last line.
    async fn over(self) -> Vec<Value> {
        let ran = self.gateway.process.ran().await;
        assert_eq!(ran.code, Some(0), "{ran:?}");
        for secret in [KEY, "canary-body-9163", DEFAULT_TOKEN] {
            assert!(!ran.err.contains(secret), "{secret} is in the log: {}", ran.err);
        }
        audit(ran.err.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
    }
}

/// A request's text with a body if there is one. `fields` are whole lines.
fn request(method: &str, target: &str, fields: &str, body: &str) -> String {
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    format!("{method} {target} HTTP/1.1\r\nHost: gateway\r\n{fields}{length}\r\n{body}")
}

fn key(key: &str) -> String {
    format!("Idempotency-Key: {key}\r\n")
}

fn audit(log: Vec<Value>) -> Vec<Value> {
    log.into_iter().filter(|line| line["target"] == "monigate::audit").collect()
}

fn failed(status: u16, reason: &str) -> (u16, String) {
    (status, reason.to_owned())
}
