//! A Monime, or whoever stands in its place, that means harm: nothing it sends hangs a caller, fills memory, is kept, is
//! taken for another answer, or makes the token leave. Raw scripted servers before whole gateways over real sockets.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what a test cannot prepare is its failure"
)]

#[path = "hostile_upstream/bodies.rs"]
mod bodies;
#[path = "hostile_upstream/frames.rs"]
mod frames;
#[path = "hostile_upstream/framing.rs"]
mod framing;
#[path = "hostile_upstream/heads.rs"]
mod heads;
#[path = "hostile_upstream/memory.rs"]
mod memory;
#[path = "hostile_upstream/over_h2.rs"]
mod over_h2;
#[path = "hostile_upstream/slow.rs"]
mod slow;
#[path = "hostile_upstream/strangers.rs"]
mod strangers;
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use monigate::monime::operation::OPERATIONS;
use monigate::sandbox::DEFAULT_TOKEN;
use support::callers::{SHOP, bearer, caller, keys, write};
use support::client::{Wire, path};
use support::gateway::{Gateway, SPACE, eventually, load_files};
use support::leaks::leak;
use support::upstream::{Step, Upstream, answer, session};
use tempfile::TempDir;

/// Far above what any test here sends.
const FAST: [&str; 3] = ["budget.endpoint=10000", "budget.token=10000", "budget.space=10000"];
/// For those who must run into a deadline.
const SHORT: [&str; 4] = [
    "monime.timeouts.connect=500ms",
    "monime.timeouts.attempt=500ms",
    "monime.timeouts.total=5s",
    "monime.timeouts.write=500ms",
];
/// A session that is paid.
const ID: &str = "scs-1";

/// The ways in which a caller makes Monime speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ask {
    /// A lookup, which is kept.
    Lookup,
    /// Another read, which is passed on as a stream.
    Read,
    /// A write, which is sent once.
    Write,
}

const ALL: [Ask; 3] = [Ask::Lookup, Ask::Read, Ask::Write];

/// A gateway with one caller that may use everything.
struct Shop {
    gateway: Gateway,
    _folder: TempDir,
}

/// Everything that a caller was sent until its connection ended.
struct Told {
    status: u16,
    head: String,
    body: String,
    /// Whether it came to the end that its head announced.
    whole: bool,
}

/// A gateway before a Monime that is hostile until it is told otherwise.
struct Stage {
    shop: Shop,
    upstream: Upstream,
    hostile: Arc<AtomicBool>,
}

/// The file that names the one caller.
fn callers() -> String {
    let all: Vec<_> = OPERATIONS.iter().map(|operation| operation.id).collect();
    caller("shop", &keys(&[SHOP]), &[SPACE], &all)
}

/// What a sound Monime answers to a request.
fn sound(request: &str) -> Vec<Step> {
    let body = if request.contains(ID) { session(ID, "completed") } else { "{}".to_owned() };
    vec![Step::Send(answer("200 OK", "", &body))]
}

/// What was in chunks, also if their end is missing.
fn unchunked(mut chunks: &str) -> String {
    let mut body = String::new();
    while let Some((size, rest)) = chunks.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        body.push_str(&rest[..size.min(rest.len())]);
        chunks = rest.get(size + 2..).unwrap_or_default();
    }
    body
}

// === impl Ask ===

impl Ask {
    /// Its text, for a connection that ends with its answer.
    fn request(self) -> String {
        let (line, rest) = match self {
            Self::Lookup => (format!("GET {}", path(ID)), "\r\n"),
            Self::Read => ("GET /v1/banks".to_owned(), "\r\n"),
            Self::Write => ("POST /v1/payouts".to_owned(), "Idempotency-Key: key-1\r\nContent-Length: 2\r\n\r\n{}"),
        };
        format!("{line} HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n{}{rest}", bearer(SHOP))
    }
}

// === impl Shop ===

impl Shop {
    async fn before(base_url: &str, settings: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = [&FAST, settings].concat();
        let config = load_files(vec![write(&folder, &callers())], base_url, &settings).unwrap();
        Self { gateway: Gateway::of(config).await, _folder: folder }
    }

    /// Asks on a connection of its own. Whatever is told, the token is not in it.
    async fn ask(&self, ask: Ask) -> Told {
        let mut wire = Wire::connect(&self.gateway.address).await;
        wire.send(ask.request()).await;
        let bytes = wire.rest().await;
        assert_eq!(leak(DEFAULT_TOKEN, &bytes), None, "{ask:?}: {}", String::from_utf8_lossy(&bytes));
        Told::of(&bytes)
    }
}

// === impl Told ===

impl Told {
    fn of(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let head = head.to_lowercase();
        let status = head.split(' ').nth(1).map_or(0, |status| status.parse().unwrap());
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let whole = match length {
            Some(length) => body.len() == length.parse::<usize>().unwrap(),
            None => body.ends_with("0\r\n\r\n"),
        };
        let body = if head.contains("\r\ntransfer-encoding: chunked") { unchunked(body) } else { body.to_owned() };
        Self { status, head, body, whole }
    }

    fn has(&self, field: &str) -> bool {
        self.head.contains(&format!("\r\n{field}"))
    }

    /// Whether it says in the gateway's own words, or by breaking off, that there is no usable answer.
    fn is_refusal(&self) -> bool {
        !self.whole || ((502..=504).contains(&self.status) && self.body.contains("\"gateway_"))
    }
}

impl std::fmt::Debug for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let body: String = self.body.chars().take(300).collect();
        write!(f, "whole: {} {:?} {body:?} of {}", self.whole, self.head, self.body.len())
    }
}

// === impl Stage ===

impl Stage {
    async fn with(steps: Vec<Step>, settings: &[&str]) -> Self {
        let hostile = Arc::new(AtomicBool::new(true));
        let theirs = Arc::clone(&hostile);
        let upstream = Upstream::start(move |_, request| match theirs.load(Ordering::SeqCst) {
            true => steps.clone(),
            false => sound(request),
        })
        .await;
        Self { shop: Shop::before(&upstream.base_url, settings).await, upstream, hostile }
    }

    /// From here on Monime is what it should be. Nothing from before was kept, and this answer is the right one: a lookup
    /// has to ask again, over a new connection if `connections` says so.
    async fn comes_to_its_senses(&self, what: &str, connections: usize) {
        self.hostile.store(false, Ordering::SeqCst);
        // Deadlines are short, and others flood at the same time.
        let sound = async || Some(self.shop.ask(Ask::Lookup).await).filter(|told| told.status == 200);
        let told = eventually(&format!("{what}: a sound answer"), sound).await;
        assert!(told.whole && told.body == session(ID, "completed"), "{what}: {told:?}");
        assert!(told.has("cache-status: monigate; fwd=miss; stored"), "{what}: {told:?}");
        assert!(self.upstream.connections() >= connections, "{what}: over the same connection");
    }
}

/// Whichever way Monime is asked while it sends `bytes`: it is refused, the connection that carried it is never used again,
/// and nothing of it is kept.
async fn is_refused(what: &str, bytes: impl AsRef<[u8]>) {
    for ask in ALL {
        let stage = Stage::with(vec![Step::Send(bytes.as_ref().to_vec())], &[]).await;
        let told = stage.shop.ask(ask).await;
        assert!(told.is_refusal(), "{what}: {ask:?}: {told:?}");
        stage.upstream.is_left_by(1).await;
        stage.comes_to_its_senses(&format!("{what}: {ask:?}"), 2).await;
    }
}

/// Whichever way Monime is asked while it plays these endless `steps`: a deadline or a bound ends it, on both sides.
async fn is_ended(what: &str, steps: Vec<Step>) {
    for ask in ALL {
        let stage = Stage::with(steps.clone(), &SHORT).await;
        let told = stage.shop.ask(ask).await;
        assert!(told.is_refusal(), "{what}: {ask:?}: {told:?}");
        stage.upstream.is_left_by(1).await;
        stage.comes_to_its_senses(&format!("{what}: {ask:?}"), 2).await;
    }
}
