//! The keys of service-account tokens are followed: in a file, on a server, and from one configuration to the next.
//!
//! What takes minutes is not waited for: between two steps the clock is stopped, moved on and let go again.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what a test cannot prepare is its failure"
)]

mod support;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use monigate::caller::Digest;
use monigate::config::{Config, Sources};
use monigate::monime::SessionId;
use monigate::sandbox::DEFAULT_TOKEN;
use support::certificates::put;
use support::client::Answer;
use support::gateway::{Gateway, SPACE, eventually, play, space};
use support::tokens::{ACCOUNT, AUDIENCE, ISSUER, Signer, jwks};
use support::upstream::{Step, Upstream, answer};
use tempfile::TempDir;

const OK: &str = "monigate_jwks_reloads_total{result=\"ok\"}";
const FAILED: &str = "monigate_jwks_reloads_total{result=\"failed\"}";
const RELOADS: &str = "monigate_config_reloads_total{result=\"ok\"}";
/// What another caller proves itself with, whom no token concerns.
const KEY: &str = "gk_backoffice_4Wm8Tz1Qy6Rk9Xc3Vb7Np2Hs";

/// A gateway with one caller by its tokens and one by a key, and a session that both may look up.
struct Office {
    folder: TempDir,
    base_url: String,
    gateway: Gateway,
    id: SessionId,
}

/// An issuer that publishes its keys, or whatever else it is told to do when it is asked.
struct Publisher {
    says: Arc<Mutex<Vec<Step>>>,
    server: Upstream,
}

impl Office {
    /// With this in `[jwt]`, where `FOLDER` is the folder that the files are put into first.
    async fn with(jwt: &str, files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        files.iter().for_each(|(name, text)| put(&folder.path().join(name), text, 0o600));
        let (sandbox, base_url, served) = play(None).await;
        let id = sandbox.create(&space());
        sandbox.put(&space(), &id, "completed");
        let config = load(&folder, &base_url, jwt);
        let gateway = Gateway::open(sandbox, served, config).await;
        Self { folder, base_url, gateway, id }
    }

    async fn asking(publisher: &Publisher) -> Self {
        Self::with(&publisher.setting(), &[]).await
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn reload(&self, jwt: &str) {
        let before = self.gateway.metric(RELOADS).await;
        self.gateway.newer.send(Ok(load(&self.folder, &self.base_url, jwt))).await.unwrap();
        eventually("the reload counts", async || (self.gateway.metric(RELOADS).await > before).then_some(())).await;
    }

    async fn ask(&self, credential: &str) -> Answer {
        self.gateway.look_up_with(&self.id, &format!("Authorization: Bearer {credential}\r\n")).await
    }

    async fn is_served(&self, signer: &Signer) -> bool {
        let answer = self.ask(&signer.token()).await;
        assert!(answer.status == 200 || answer.failure().0 == 401, "{answer:?}");
        answer.status == 200
    }

    async fn serves(&self, signer: &Signer) {
        eventually("its tokens are believed", async || (self.ask(&signer.token()).await.status == 200).then_some(()))
            .await;
    }

    /// How often keys were taken on and refused.
    async fn counts(&self) -> [u64; 2] {
        [self.gateway.metric(OK).await, self.gateway.metric(FAILED).await]
    }

    async fn count(&self, counts: [u64; 2]) {
        eventually(&format!("{counts:?} are counted"), async || (self.counts().await == counts).then_some(())).await;
    }

    /// So much time goes by at once, after and before everything that happens by itself.
    async fn pass(&self, time: Duration) {
        self.settles().await;
        tokio::time::pause();
        tokio::time::advance(time).await;
        tokio::time::resume();
        self.settles().await;
    }

    /// Lets everything happen that can without time going by.
    async fn settles(&self) {
        for _ in 0..5 {
            self.counts().await;
        }
    }
}

impl Publisher {
    async fn of(keys: &[&Signer]) -> Self {
        let says = Arc::new(Mutex::new(Self::publishing(keys)));
        let theirs = Arc::clone(&says);
        let server = Upstream::start(move |_, _| theirs.lock().unwrap().clone()).await;
        Self { says, server }
    }

    fn publishing(keys: &[&Signer]) -> Vec<Step> {
        vec![Step::Send(answer("200 OK", "", &jwks(keys)))]
    }

    fn publishes(&self, keys: &[&Signer]) {
        self.does(Self::publishing(keys));
    }

    fn does(&self, steps: Vec<Step>) {
        *self.says.lock().unwrap() = steps;
    }

    fn setting(&self) -> String {
        format!("jwks_url = \"{}/openid/v1/jwks?a=b\"", self.server.base_url)
    }

    fn asked(&self) -> usize {
        self.server.heard().len()
    }
}

fn load(folder: &TempDir, base_url: &str, jwt: &str) -> Config {
    let file = folder.path().join("monigate.toml");
    let jwt = jwt.replace("FOLDER", folder.path().to_str().unwrap());
    let jwt = if jwt.contains("issuer") { jwt } else { format!("issuer = \"{ISSUER}\"\n{jwt}") };
    let digest = Digest::of(KEY.as_bytes());
    let policy = format!("spaces = [\"{SPACE}\"]\noperations = [\"GetCheckoutSession\"]\n");
    let text = format!(
        "listen.address = \"127.0.0.1:0\"\nadmin.address = \"127.0.0.1:0\"\n\
         monime.base_url = \"{base_url}\"\nmonime.default_space = \"{SPACE}\"\n\
         [jwt]\naudience = \"{AUDIENCE}\"\n{jwt}\n\
         [[callers]]\nname = \"storefront\"\nservice_accounts = [\"{ACCOUNT}\"]\n{policy}\
         [[callers]]\nname = \"backoffice\"\nkeys_sha256 = [\"{digest}\"]\n{policy}"
    );
    put(&file, &text, 0o600);
    let environment = BTreeMap::from([("MONIGATE__MONIME__TOKEN".to_owned(), DEFAULT_TOKEN.to_owned())]);
    Config::load(&Sources { files: vec![file], environment, flags: Vec::new() }).unwrap()
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[tokio::test]
async fn a_file_that_is_swapped_is_followed_within_a_look_and_a_bad_one_never() {
    let (first, second) = (Signer::new("first"), Signer::new("second"));
    let office = Office::with("jwks_file = \"FOLDER/jwks\"", &[("jwks", &jwks(&[&first]))]).await;
    assert!(office.is_served(&first).await, "from the first request on");
    office.count([1, 0]).await;
    assert!(!office.is_served(&second).await);
    put(&office.path("jwks"), &jwks(&[&second]), 0o600);
    office.pass(secs(5)).await;
    office.count([2, 0]).await;
    assert!(office.is_served(&second).await && !office.is_served(&first).await);

    for (failures, bad) in ["", "no JSON", "{\"keys\": []}", &" ".repeat((1 << 20) + 1)].iter().enumerate() {
        put(&office.path("jwks"), bad, 0o600);
        office.pass(secs(5)).await;
        let expected = [2, u64::try_from(failures).unwrap() + 1];
        office.count(expected).await;
        office.pass(secs(5)).await;
        assert_eq!(office.counts().await, expected, "complained of once");
        assert!(office.is_served(&second).await);
    }
    std::fs::remove_file(office.path("jwks")).unwrap();
    office.pass(secs(5)).await;
    office.count([2, 5]).await;
    assert!(office.is_served(&second).await, "nor is it missed that there is none");
    put(&office.path("jwks"), &jwks(&[&first, &second]), 0o600);
    office.pass(secs(5)).await;
    office.count([3, 5]).await;
    assert!(office.is_served(&first).await && office.is_served(&second).await);
}

#[tokio::test]
async fn a_server_is_asked_at_start_and_every_five_minutes() {
    let (first, second) = (Signer::new("first"), Signer::new("second"));
    let publisher = Publisher::of(&[&first]).await;
    let office = Office::asking(&publisher).await;
    office.serves(&first).await;
    let head = &publisher.server.heard()[0];
    assert!(head.starts_with("GET /openid/v1/jwks?a=b HTTP/1.1\r\n"), "{head}");
    assert!(!head.to_lowercase().contains("authorization"), "there is no token for it");
    publisher.publishes(&[&second]);
    for asked in 1..4 {
        office.pass(secs(298)).await;
        assert_eq!(publisher.asked(), asked);
        office.pass(secs(2)).await;
        publisher.server.hears(asked + 1).await;
    }
    office.serves(&second).await;
    assert!(!office.is_served(&first).await);
    assert_eq!(office.counts().await, [2, 0], "what is as it was does not count");
}

#[tokio::test]
async fn before_there_are_keys_tokens_are_told_so_and_everyone_else_is_served() {
    let signer = Signer::new("first");
    let publisher = Publisher::of(&[]).await;
    let office = Office::asking(&publisher).await;
    office.count([0, 1]).await;
    let not_ready = (503, "gateway_tokens_not_ready".to_owned());
    assert_eq!(office.ask(&signer.token()).await.failure(), not_ready);
    assert_eq!(office.ask(KEY).await.status, 200);
    publisher.does(vec![Step::Gate]);
    office.pass(secs(10)).await;
    publisher.server.hears(2).await;
    assert_eq!(office.ask(&signer.token()).await.failure(), not_ready);
    assert_eq!(office.ask(KEY).await.status, 200);
    publisher.publishes(&[&signer]);
    office.pass(secs(5)).await;
    office.count([0, 2]).await;
    office.pass(secs(10)).await;
    office.serves(&signer).await;
}

#[tokio::test]
async fn what_is_no_key_set_changes_nothing_is_counted_once_and_asked_for_again_in_ten_seconds() {
    let (signer, other) = (Signer::new("first"), Signer::new("other"));
    let elsewhere = Publisher::of(&[&other]).await;
    let moved = format!("Location: {}/openid/v1/jwks\r\n", elsewhere.server.base_url);
    let publisher = Publisher::of(&[&signer]).await;
    let office = Office::asking(&publisher).await;
    office.serves(&signer).await;
    let (large, set) = (" ".repeat(1 << 20) + "{}", jwks(&[&other]));
    let say = |status, fields, body| vec![Step::Send(answer(status, fields, body))];
    let mut asked = 1;
    for (turn, (why, does, hangs)) in [
        ("it is elsewhere", say("302 Found", &*moved, &*set), false),
        ("it is elsewhere for good", say("308 Permanent Redirect", &*moved, &*set), false),
        ("an error", say("500 Internal Server Error", "", &*set), false),
        ("nothing", say("204 No Content", "", ""), false),
        ("no JSON", say("200 OK", "", "<html>"), false),
        ("without a key", say("200 OK", "", "{\"keys\":[]}"), false),
        ("too large", say("200 OK", "", &*large), false),
        ("broken off", vec![Step::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{".to_vec()), Step::Close], false),
        ("silence", vec![Step::Gate], true),
        (
            "silence halfway",
            vec![Step::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{".to_vec()), Step::Gate],
            true,
        ),
    ]
    .into_iter()
    .enumerate()
    {
        publisher.does(does);
        // It was fine, and is looked at again in its time; then it is asked for every ten seconds.
        for (wait, again) in [(300, false), (10, true), (10, true)] {
            office.pass(secs(wait - 2)).await;
            assert_eq!(publisher.asked(), asked, "{why}: not so soon");
            office.pass(secs(2)).await;
            asked += 1;
            publisher.server.hears(asked).await;
            if hangs {
                office.pass(secs(5)).await;
            }
            let turn = u64::try_from(turn).unwrap() + 1;
            office.count([turn, turn]).await;
            office.settles().await;
            assert_eq!(office.counts().await, [turn, turn], "{why}: once, {again}");
            assert!(office.is_served(&signer).await, "{why}");
        }
        publisher.publishes(&[&signer]);
        office.pass(secs(10)).await;
        asked += 1;
        office.count([u64::try_from(turn).unwrap() + 2, u64::try_from(turn).unwrap() + 1]).await;
    }
    assert_eq!(elsewhere.asked(), 0, "redirects are not followed");
}

#[tokio::test]
async fn a_new_key_is_brought_as_soon_as_a_token_names_it_and_made_up_ones_bring_nothing() {
    let (first, second) = (Signer::new("first"), Signer::new("second"));
    let publisher = Publisher::of(&[&first]).await;
    let office = Office::asking(&publisher).await;
    office.serves(&first).await;
    // So soon after it was asked it is not asked again, but the hint is not lost.
    publisher.publishes(&[&first, &second]);
    for made_up in 0..30 {
        assert!(!office.is_served(&Signer::new(&format!("made-up-{made_up}"))).await);
    }
    assert!(!office.is_served(&second).await);
    office.pass(secs(8)).await;
    assert_eq!(publisher.asked(), 1);
    office.pass(secs(2)).await;
    publisher.server.hears(2).await;
    office.serves(&second).await;

    // Long after, it is asked at once.
    let third = Signer::new("third");
    publisher.publishes(&[&second, &third]);
    office.pass(secs(60)).await;
    let asked = publisher.asked();
    assert!(!office.is_served(&third).await);
    publisher.server.hears(asked + 1).await;
    office.serves(&third).await;

    // However many are made up, every ten seconds one question.
    let before = publisher.asked();
    for _ in 0..6 {
        for made_up in 0..10 {
            assert!(!office.is_served(&Signer::new(&format!("made-up-{made_up}"))).await);
        }
        office.pass(secs(5)).await;
    }
    let asked = publisher.asked() - before;
    assert!((2..=3).contains(&asked), "{asked} times in half a minute");
}

#[tokio::test]
async fn the_bearer_token_is_read_each_time() {
    let signer = Signer::new("first");
    let publisher = Publisher::of(&[&signer]).await;
    let setting = format!("{}\ntoken_file = \"FOLDER/bearer\"", publisher.setting());
    let office = Office::with(&setting, &[("bearer", "one-bearer-token-of-ours")]).await;
    office.serves(&signer).await;
    let bearer = |index: usize| {
        let head = publisher.server.heard()[index].to_lowercase();
        head.lines().find_map(|line| line.strip_prefix("authorization: ").map(str::to_owned)).unwrap()
    };
    assert_eq!(bearer(0), "bearer one-bearer-token-of-ours");
    put(&office.path("bearer"), "another-bearer-token-of-ours\n", 0o600);
    office.pass(secs(300)).await;
    publisher.server.hears(2).await;
    assert_eq!(bearer(1), "bearer another-bearer-token-of-ours");
    // Without it nothing is asked, rather than asked without.
    std::fs::remove_file(office.path("bearer")).unwrap();
    office.pass(secs(300)).await;
    office.count([1, 1]).await;
    assert_eq!(publisher.asked(), 2);
    put(&office.path("bearer"), "one-bearer-token-of-ours", 0o600);
    office.pass(secs(10)).await;
    publisher.server.hears(3).await;
    assert!(office.is_served(&signer).await);
}

#[tokio::test]
async fn a_reload_that_leaves_them_alone_keeps_keys_and_schedule() {
    let signer = Signer::new("first");
    let publisher = Publisher::of(&[&signer]).await;
    let office = Office::asking(&publisher).await;
    office.serves(&signer).await;
    for _ in 0..10 {
        office.pass(secs(29)).await;
        office.reload(&publisher.setting()).await;
        assert!(office.is_served(&signer).await);
    }
    assert_eq!(publisher.asked(), 1);
    office.pass(secs(10)).await;
    publisher.server.hears(2).await;
    assert_eq!(office.counts().await, [1, 0]);
}

#[tokio::test]
async fn reloads_do_not_interrupt_what_is_being_asked() {
    let (first, second) = (Signer::new("first"), Signer::new("second"));
    let publisher = Publisher::of(&[&first]).await;
    let office = Office::asking(&publisher).await;
    office.serves(&first).await;
    publisher.does([vec![Step::Gate], Publisher::publishing(&[&first, &second])].concat());
    office.pass(secs(60)).await;
    assert!(!office.is_served(&second).await, "which is the hint");
    publisher.server.hears(2).await;
    for _ in 0..10 {
        office.reload(&publisher.setting()).await;
    }
    office.settles().await;
    assert_eq!(publisher.asked(), 2, "and not once more for each reload");
    publisher.server.open_the_gate();
    office.serves(&second).await;
    assert_eq!(publisher.asked(), 2);
}

#[tokio::test]
async fn another_place_of_the_same_issuers_keys_is_asked_at_once_and_the_keys_stay_until_it_answers() {
    let (first, second) = (Signer::new("first"), Signer::new("second"));
    let (publisher, other) = (Publisher::of(&[&first]).await, Publisher::of(&[&second]).await);
    let office = Office::asking(&publisher).await;
    office.serves(&first).await;
    other.does([vec![Step::Gate], Publisher::publishing(&[&second])].concat());
    office.reload(&other.setting()).await;
    other.server.hears(1).await;
    assert!(office.is_served(&first).await, "it has not answered yet");
    other.server.open_the_gate();
    office.serves(&second).await;
    assert!(!office.is_served(&first).await);
    office.pass(secs(300)).await;
    other.server.hears(2).await;
    assert_eq!(publisher.asked(), 1, "nobody asks the old one");

    put(&office.path("jwks"), &jwks(&[&first]), 0o600);
    office.reload("jwks_file = \"FOLDER/jwks\"").await;
    assert!(office.is_served(&first).await && !office.is_served(&second).await, "a file is read with the settings");
}

#[tokio::test]
async fn another_issuers_keys_are_not_believed_for_the_old_ones_sake() {
    let signer = Signer::new("first");
    let publisher = Publisher::of(&[&signer]).await;
    let office = Office::asking(&publisher).await;
    office.serves(&signer).await;
    publisher.does(vec![Step::Gate]);
    office.reload(&format!("issuer = \"https://another\"\n{}", publisher.setting())).await;
    publisher.server.hears(2).await;
    let not_ready = (503, "gateway_tokens_not_ready".to_owned());
    assert_eq!(office.ask(&signer.token()).await.failure(), not_ready);
    publisher.publishes(&[&signer]);
    office.pass(secs(5)).await;
    office.pass(secs(10)).await;
    office.count([2, 1]).await;
    assert!(!office.is_served(&signer).await, "whose key it is does not matter where another issuer is wanted");
    assert_eq!(office.ask(KEY).await.status, 200);
}
