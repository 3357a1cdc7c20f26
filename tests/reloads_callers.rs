//! Everything that callers are known by is replaced while they ask without a pause, and not one of them notices: the
//! configuration's callers, the listener's certificate, the CA of theirs, and the keys of their tokens.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what a test cannot prepare is its failure"
)]
#![allow(clippy::print_stderr, reason = "how much was asked meanwhile is worth reading")]

mod support;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use monigate::caller::Digest;
use monigate::monime::SessionId;
use monigate::sandbox::{DEFAULT_TOKEN, Sandbox};
use monigate::server::Address;
use rustls::ClientConfig;
use rustls::version::{TLS12, TLS13};
use serde_json::Value;
use support::certificates::{Ca, Leaf, put};
use support::client::{Answer, Wire, ask_h2, get, h2_over, path, shake};
use support::gateway::{SPACE, eventually, metric, play, space};
use support::process::Gateway;
use support::tokens::{ACCOUNT, AUDIENCE, ISSUER, Signer, jwks};
use support::upstream::{Step, Upstream, answer};
use tempfile::TempDir;
use tokio::task::JoinSet;

const ROUNDS: usize = 30;
/// Each of those who ask is answered so often before the next round.
const BETWEEN: usize = 3;
const SAN: &str = "spiffe://cluster/ns/shop/sa/storefront";
const NEWCOMER: &str = "partner.internal";
const KEPT: &str = "configuration not reloaded; the one before stays";

/// Where the keys of tokens are published.
enum Published {
    File,
    Server { upstream: Upstream, says: Arc<Mutex<String>> },
}

/// The real program with all of its callers' files.
struct Fort {
    folder: TempDir,
    gateway: Gateway,
    sandbox: Sandbox,
    monime: String,
    /// Who issued the listener's certificate, and those of clients.
    servers: Ca,
    clients: Ca,
    published: Published,
    _served: JoinSet<()>,
}

/// What everyone who asks looks at.
struct Crowd {
    address: Address,
    sandbox: Sandbox,
    settled: SessionId,
    over: AtomicBool,
    /// What is good at this moment: a gateway key, and a token.
    key: Mutex<String>,
    token: Mutex<String>,
    asked: Vec<AtomicUsize>,
}

/// What one of them proves itself with.
#[derive(Clone, Copy)]
enum Proof {
    Key,
    Certificate,
    Token,
}

/// How it is connected.
#[derive(Clone, Copy)]
enum Way {
    Kept,
    Anew,
    H2,
}

fn key(round: usize) -> String {
    format!("gk_storefront_{round:02}_Wm8Tz1Qy6Rk9Xc3Vb7Np2Hs")
}

fn guest(round: usize) -> String {
    format!("gk_guest_{round:02}_Kd5Lf0Zs8Qa2We7Rt4Yu1Io")
}

// === impl Fort ===

impl Fort {
    async fn start(published: Published, signer: &Signer) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (sandbox, monime, served) = play(None).await;
        let (servers, clients) = (Ca::new("the servers' CA"), Ca::new("the clients' CA"));
        servers.server().write(folder.path(), "server");
        put(&folder.path().join("clients.pem"), &clients.pem, 0o644);
        put(&folder.path().join("token"), DEFAULT_TOKEN, 0o600);
        published.publish(&folder, 0, &jwks(&[signer]));
        let file = folder.path().join("monigate.toml");
        put(&file, &written(&folder, &monime, &published, 0), 0o600);
        let gateway = Gateway::start(&["run", "--config", file.to_str().unwrap()], &[]).await;
        Self { folder, gateway, sandbox, monime, servers, clients, published, _served: served }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn config(&self, round: usize) -> String {
        written(&self.folder, &self.monime, &self.published, round)
    }

    fn client(&self, own: Option<&Leaf>, protocol: &str) -> ClientConfig {
        self.servers.trusted_by(own, &[protocol], &[&TLS12, &TLS13])
    }

    async fn wire(&self, own: Option<&Leaf>) -> Wire {
        Wire::over(shake(&self.gateway.address, self.client(own, "http/1.1")).await.unwrap())
    }

    /// How often this kind was taken on and refused.
    async fn counts(&self, kind: &str) -> [u64; 2] {
        let text = self.gateway.operator("/metrics").await.text();
        ["ok", "failed"].map(|result| metric(&text, &format!("monigate_{kind}_reloads_total{{result=\"{result}\"}}")))
    }

    async fn counts_more(&self, kind: &str, before: [u64; 2], more: [u64; 2]) {
        eventually(&format!("{kind}: {more:?} more than {before:?}"), async || {
            let now = self.counts(kind).await;
            (now[0] >= before[0] + more[0] && now[1] >= before[1] + more[1]).then_some(())
        })
        .await;
    }

    /// Sends SIGHUP and waits until it counts; whether the configuration was taken on.
    async fn hang_up(&self) -> bool {
        let before = self.counts("config").await;
        self.gateway.process.signal("HUP");
        let after =
            eventually("the hang-up counts", async || Some(self.counts("config").await).filter(|now| *now != before));
        after.await[0] > before[0]
    }

    /// Waits until the log has an error with this message since it had so many lines, which names all of these.
    async fn complains(&self, since: usize, message: &str, of: &[&str]) {
        let names = |line: &Value| {
            let text = line.to_string();
            let said = line["message"].as_str().unwrap_or_default().contains(message);
            line["level"] == "ERROR" && said && of.iter().all(|word| text.contains(word))
        };
        eventually(&format!("a complaint of {of:?}"), async || {
            self.gateway.process.log()[since..].iter().any(names).then_some(())
        })
        .await;
    }

    /// All of it is replaced: the callers, the certificate, the CA of clients, and the keys of tokens.
    async fn is_replaced(&self, round: usize, signers: &[&Signer], newcomers: Option<&Ca>) {
        let (keys, certificates) = (self.counts("jwks").await, self.counts("tls").await);
        self.servers.server().write(self.folder.path(), "server");
        let trusted = self.clients.pem.clone() + newcomers.map_or("", |ca| &ca.pem);
        put(&self.path("clients.pem"), &trusted, 0o644);
        self.published.publish(&self.folder, round, &jwks(signers));
        put(&self.path("monigate.toml"), &self.config(round), 0o600);
        assert!(self.hang_up().await, "{}", self.gateway.process.err());
        self.counts_more("tls", certificates, [1, 0]).await;
        self.counts_more("jwks", keys, [1, 0]).await;
    }

    /// All that can be wrong is wrong, one after the other, and right again in the end.
    async fn is_spoilt(&self, round: usize) {
        let good = self.config(round);
        let file = self.path("monigate.toml");
        let lines = || self.gateway.process.log().len();
        let since = lines();
        put(&file, &good[..good.len() / 2], 0o600);
        assert!(!self.hang_up().await);
        self.complains(since, KEPT, &[file.to_str().unwrap()]).await;
        put(&file, &good.replace("\"GetCheckoutSession\"", "\"GetEverything\""), 0o600);
        assert!(!self.hang_up().await);
        self.complains(since, KEPT, &["callers[0].operations[0]"]).await;
        put(&file, &good, 0o600);

        let (since, before) = (lines(), self.counts("tls").await);
        let certificate = std::fs::read_to_string(self.path("server.pem")).unwrap();
        put(&self.path("server.pem"), &self.servers.server().certificate, 0o644);
        assert!(!self.hang_up().await, "a certificate without its key");
        self.counts_more("tls", before, [0, 1]).await;
        self.complains(since, "a certificate cannot be used; the one before is kept", &["server.key"]).await;
        put(&self.path("server.pem"), &certificate, 0o644);

        let (since, before) = (lines(), self.counts("jwks").await);
        let elsewhere = round + ROUNDS;
        self.published.publish(&self.folder, elsewhere, "<html>");
        let [here, there] = [round, elsewhere].map(|round| self.published.setting(&self.folder, round));
        put(&file, &good.replace(&here, &there), 0o600);
        match &self.published {
            Published::File => {
                assert!(!self.hang_up().await, "named anew, it is judged with the configuration");
                self.complains(since, KEPT, &["jwt.jwks_file"]).await;
            }
            Published::Server { upstream, .. } => {
                assert!(self.hang_up().await, "what is there shows only when it is asked");
                self.counts_more("jwks", before, [0, 1]).await;
                self.complains(since, "the keys of service-account tokens cannot be read", &[&upstream.base_url]).await;
            }
        }
        put(&file, &good, 0o600);
    }
}

impl Published {
    async fn on_a_server() -> Self {
        let says = Arc::new(Mutex::new(String::new()));
        let theirs = Arc::clone(&says);
        let upstream = Upstream::start(move |_, _| vec![Step::Send(answer("200 OK", "", &theirs.lock().unwrap()))]);
        Self::Server { upstream: upstream.await, says }
    }

    fn publish(&self, folder: &TempDir, round: usize, text: &str) {
        match self {
            Self::File => put(&folder.path().join(format!("jwks-{round}")), text, 0o644),
            Self::Server { says, .. } => text.clone_into(&mut says.lock().unwrap()),
        }
    }

    /// Somewhere else each time, so that it is looked at there at once.
    fn setting(&self, folder: &TempDir, round: usize) -> String {
        match self {
            Self::File => format!("jwks_file = \"{}/jwks-{round}\"", folder.path().display()),
            Self::Server { upstream, .. } => format!("jwks_url = \"{}/jwks?{round}\"", upstream.base_url),
        }
    }
}

/// The configuration of a round: the storefront's key of this round and of the one before, and one guest.
fn written(folder: &TempDir, monime: &str, published: &Published, round: usize) -> String {
    let file = |name: &str| folder.path().join(name).display().to_string();
    let digest = |key: String| Digest::of(key.as_bytes()).to_string();
    let policy = format!("spaces = [\"{SPACE}\"]\noperations = [\"GetCheckoutSession\"]\n");
    format!(
        "[listen]\naddress = \"127.0.0.1:0\"\n\
         tls = {{ cert_file = \"{}\", key_file = \"{}\", client_ca_file = \"{}\", client_auth = \"optional\" }}\n\
         [admin]\naddress = \"127.0.0.1:0\"\n\
         [monime]\nbase_url = \"{monime}\"\ndefault_space = \"{SPACE}\"\ntoken_file = \"{}\"\n\
         [budget]\nendpoint = 10000\ntoken = 10000\n\
         [jwt]\nissuer = \"{ISSUER}\"\naudience = \"{AUDIENCE}\"\n{}\n\
         [[callers]]\nname = \"storefront\"\nkeys_sha256 = [\"{}\", \"{}\"]\nsan = [\"{SAN}\"]\n\
         service_accounts = [\"{ACCOUNT}\"]\n{policy}\
         [[callers]]\nname = \"partner\"\nsan = [\"{NEWCOMER}\"]\n{policy}\
         [[callers]]\nname = \"guest-{round}\"\nkeys_sha256 = [\"{}\"]\n{policy}",
        file("server.pem"),
        file("server.key"),
        file("clients.pem"),
        file("token"),
        published.setting(folder, round),
        digest(key(round)),
        digest(key(round + 1)),
        digest(guest(round)),
    )
}

// === impl Crowd ===

impl Crowd {
    /// One with each proof over each kind of connection.
    async fn before(fort: &Fort, signer: &Signer) -> (Arc<Self>, JoinSet<()>) {
        let proofs = [Proof::Key, Proof::Certificate, Proof::Token];
        let kinds = proofs.map(|proof| [Way::Kept, Way::Anew, Way::H2].map(|way| (proof, way)));
        let kinds = kinds.as_flattened();
        let own = fort.clients.client(&[SAN], &[]);
        let settled = fort.sandbox.create(&space());
        fort.sandbox.put(&space(), &settled, "completed");
        let crowd = Arc::new(Self {
            address: fort.gateway.address.clone(),
            sandbox: fort.sandbox.clone(),
            settled,
            over: AtomicBool::new(false),
            key: Mutex::new(key(0)),
            token: Mutex::new(signer.token()),
            asked: kinds.iter().map(|_| AtomicUsize::new(0)).collect(),
        });
        fort.counts_more("jwks", [0, 0], [1, 0]).await;
        let mut asking = JoinSet::new();
        for (number, (proof, way)) in kinds.iter().copied().enumerate() {
            let own = matches!(proof, Proof::Certificate).then_some(&own);
            let config = fort.client(own, if matches!(way, Way::H2) { "h2" } else { "http/1.1" });
            asking.spawn(Arc::clone(&crowd).ask_on(number, config, proof, way));
        }
        (crowd, asking)
    }

    /// What one of them says of itself now.
    fn field(&self, proof: Proof) -> Option<String> {
        let credential = match proof {
            Proof::Key => self.key.lock().unwrap().clone(),
            Proof::Token => self.token.lock().unwrap().clone(),
            Proof::Certificate => return None,
        };
        Some(format!("Bearer {credential}"))
    }

    /// What it asks for: mostly what is in memory, now and then what nobody has asked for.
    fn target(&self, turn: usize) -> String {
        if turn.is_multiple_of(8) { path(self.sandbox.create(&space())) } else { path(&self.settled) }
    }

    async fn ask_on(self: Arc<Self>, number: usize, config: ClientConfig, proof: Proof, way: Way) {
        let connect = async || shake(&self.address, config.clone()).await.unwrap();
        let mut wire = None;
        let mut h2 = None;
        for turn in 0.. {
            if self.over.load(Ordering::Relaxed) {
                break;
            }
            let (target, field) = (self.target(turn), self.field(proof));
            let answer = match way {
                Way::H2 => {
                    if h2.is_none() {
                        h2 = Some(h2_over(connect().await).await);
                    }
                    let fields = field.as_deref().map(|value| ("authorization", value));
                    ask_h2(h2.as_ref().unwrap(), "GET", &target, fields.as_slice()).await
                }
                Way::Kept | Way::Anew => {
                    if wire.is_none() || matches!(way, Way::Anew) {
                        wire = Some(Wire::over(connect().await));
                    }
                    let wire = wire.as_mut().unwrap();
                    let fields = field.map(|value| format!("Authorization: {value}\r\n")).unwrap_or_default();
                    wire.send(get(&target, &fields)).await;
                    wire.answer().await.expect("the connection goes on")
                }
            };
            assert_eq!(answer.status, 200, "number {number}, request {turn}: {answer:?}");
            self.asked[number].fetch_add(1, Ordering::Relaxed);
        }
    }

    fn counts(&self) -> Vec<usize> {
        self.asked.iter().map(|asked| asked.load(Ordering::Relaxed)).collect()
    }

    /// Waits until each has been answered some more; the failure of one is the test's.
    async fn goes_on(&self, asking: &mut JoinSet<()>) {
        let before = self.counts();
        eventually("everyone is answered", async || {
            if let Some(ended) = asking.try_join_next() {
                ended.unwrap();
            }
            self.counts().iter().zip(&before).all(|(now, before)| *now >= before + BETWEEN).then_some(())
        })
        .await;
    }
}

async fn with_key(wire: &mut Wire, id: &SessionId, key: &str) -> Answer {
    wire.look_up(id, &format!("Authorization: Bearer {key}\r\n")).await
}

async fn nobody_notices(published: Published) {
    let mut signers = [Signer::new("round-0"), Signer::new("round-1")];
    let fort = Fort::start(published, &signers[0]).await;
    let others = Ca::new("the partners' CA");
    let newcomer = others.client(&[], &[NEWCOMER]);
    let (crowd, mut asking) = Crowd::before(&fort, &signers[0]).await;
    let mut guests = fort.wire(None).await;
    assert_eq!(with_key(&mut guests, &crowd.settled, &guest(0)).await.status, 200);
    for round in 1..=ROUNDS {
        // Everything is known before it is used, and forgotten only when nobody uses it any more.
        *crowd.key.lock().unwrap() = key(round);
        crowd.goes_on(&mut asking).await;
        let trusted = (round % 2 == 1).then_some(&others);
        fort.is_replaced(round, &[&signers[0], &signers[1]], trusted).await;
        assert_eq!(with_key(&mut guests, &crowd.settled, &guest(round)).await.status, 200, "at once");
        assert_eq!(with_key(&mut guests, &crowd.settled, &guest(round - 1)).await.failure().0, 401, "no more");
        assert_eq!(with_key(&mut guests, &crowd.settled, &key(round - 1)).await.failure().0, 401, "no more");
        let let_in = Wire::over(shake(&fort.gateway.address, fort.client(Some(&newcomer), "http/1.1")).await.unwrap());
        assert_eq!(is_served(let_in, &crowd.settled).await, trusted.is_some());
        *crowd.token.lock().unwrap() = signers[1].token();
        crowd.goes_on(&mut asking).await;
        if round % 5 == 0 {
            fort.is_spoilt(round).await;
            crowd.goes_on(&mut asking).await;
        }
        let [_, now] = signers;
        signers = [now, Signer::new(&format!("round-{}", round + 1))];
    }
    crowd.over.store(true, Ordering::Relaxed);
    while let Some(ended) = asking.join_next().await {
        ended.unwrap();
    }
    eprintln!("{:?} requests of each, and none failed", crowd.counts());
}

/// Whether a client with a certificate is answered; it may not even be let in.
async fn is_served(mut wire: Wire, id: &SessionId) -> bool {
    wire.send(get(&path(id), "")).await;
    wire.answer().await.is_some_and(|answer| answer.status == 200)
}

#[tokio::test]
async fn nobody_notices_where_the_keys_of_tokens_are_in_a_file() {
    nobody_notices(Published::File).await;
}

#[tokio::test]
async fn nobody_notices_where_the_keys_of_tokens_are_on_a_server() {
    nobody_notices(Published::on_a_server().await).await;
}
