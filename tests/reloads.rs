//! A running gateway takes on a newer configuration as a whole or not at all, and nobody who is connected notices.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what a test cannot prepare is its failure"
)]

mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use monigate::config::{Config, Problems};
use monigate::monime::{SessionId, SpaceId};
use monigate::sandbox::tls::make_ca;
use monigate::sandbox::{DEFAULT_TOKEN, Profile, Sandbox, Schedule};
use support::client::{Answer, Wire, ask, get, path};
use support::gateway::{self, Gateway, OTHER_SPACE, SPACE, eventually, metric, play, space};
use support::leaks::Said;
use support::process;
use support::proxy::{Manner, Proxy};
use support::upstream::{Step, Upstream, answer, session};
use tempfile::TempDir;
use tokio::task::JoinSet;

const OK: &str = "monigate_config_reloads_total{result=\"ok\"}";
const FAILED: &str = "monigate_config_reloads_total{result=\"failed\"}";
const TOKEN: &str = "mon_Ka3Wv7Rt2Yp9Lm4Jh6Gd1Fs5Cb0Zq";
const ANOTHER: &str = "mon_Ux8Qe4Tn1Iy6Om3Ps9Ad5Fg2Hj7Kl";

/// A gateway in this process, a Monime that its configuration names, and one connection of a caller, which stays.
struct Shop {
    gateway: Gateway,
    base_url: String,
    caller: Wire,
}

impl Shop {
    async fn before(base_url: &str, settings: &[&str]) -> Self {
        let gateway = Gateway::before(base_url, settings).await;
        let caller = Wire::connect(&gateway.address).await;
        Self { gateway, base_url: base_url.to_owned(), caller }
    }

    /// Reloads with these settings instead of those before; says whether they were taken on.
    async fn reload(&self, settings: &[&str]) -> bool {
        self.offer(gateway::load(&self.base_url, settings)).await
    }

    async fn offer(&self, loaded: Result<Config, Problems>) -> bool {
        let count = async || [self.gateway.metric(OK).await, self.gateway.metric(FAILED).await];
        let before = count().await;
        self.gateway.newer.send(loaded).await.unwrap();
        let after = eventually("the reload counts", async || Some(count().await).filter(|now| *now != before)).await;
        assert_eq!(after.iter().sum::<u64>(), before.iter().sum::<u64>() + 1);
        after[0] > before[0]
    }

    async fn look_up(&mut self, id: impl std::fmt::Display) -> Answer {
        self.caller.look_up(id, "").await
    }

    async fn look_up_with(&mut self, id: impl std::fmt::Display, fields: &str) -> Answer {
        self.caller.look_up(id, fields).await
    }
}

/// A Monime of our own with sessions in it.
struct Monime {
    sandbox: Sandbox,
    base_url: String,
    _served: JoinSet<()>,
}

impl Monime {
    async fn start() -> Self {
        let (sandbox, base_url, served) = play(None).await;
        Self { sandbox, base_url, _served: served }
    }

    fn session(&self, space: &SpaceId, status: &str) -> SessionId {
        let id = self.sandbox.create(space);
        self.sandbox.put(space, &id, status);
        id
    }

    fn completed(&self) -> SessionId {
        self.session(&space(), "completed")
    }

    fn calls(&self) -> u64 {
        self.sandbox.seen().requests
    }
}

fn put(path: &Path, text: &str) {
    let next = path.with_extension("next");
    std::fs::write(&next, text).unwrap();
    std::fs::set_permissions(&next, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::rename(next, path).unwrap();
}

#[tokio::test]
async fn spaces_and_versions_are_followed_on_a_connection_that_stays() {
    let monime = Monime::start().await;
    let mut shop = Shop::before(&monime.base_url, &[]).await;
    let third = SpaceId::parse("spc-third").unwrap();
    let [ours, other, thirds] =
        [&space(), &SpaceId::parse(OTHER_SPACE).unwrap(), &third].map(|space| monime.session(space, "completed"));
    let named = |space: &str| format!("Monime-Space-Id: {space}\r\n");
    let june = "Monime-Version: caph.2025-06-20\r\n";
    assert_eq!(shop.look_up_with(&ours, june).await.status, 200);
    assert_eq!(shop.look_up_with(&other, &named(OTHER_SPACE)).await.status, 200);
    let forbidden = (403, "gateway_space_forbidden".to_owned());
    assert_eq!(shop.look_up_with(&thirds, &named("spc-third")).await.failure(), forbidden);

    let newer = ["monime.spaces=spc-third", "monime.default_space=spc-third", "monime.versions=caph.2025-08-23"];
    assert!(shop.reload(&newer).await);
    assert_eq!(shop.look_up(&thirds).await.status, 200, "the new default");
    for gone in [SPACE, OTHER_SPACE] {
        assert_eq!(shop.look_up_with(&other, &named(gone)).await.failure(), forbidden, "though it is in memory");
    }
    let failure = shop.look_up_with(&thirds, june).await.failure();
    assert_eq!(failure, (400, "gateway_version_not_allowed".to_owned()));
    assert!(shop.reload(&[]).await);
    assert_eq!(shop.look_up_with(&ours, june).await.cache_status().split(';').nth(1), Some(" hit"), "and back");
}

#[tokio::test]
async fn memory_survives() {
    let monime = Monime::start().await;
    let mut shop = Shop::before(&monime.base_url, &[]).await;
    let id = monime.completed();
    let before = shop.look_up(&id).await;
    assert!(shop.reload(&["cache.ttl.completed=1h", "limits.max_in_flight=7", "budget.share=0.5"]).await);
    let after = shop.look_up(&id).await;
    assert!(after.cache_status().starts_with("monigate; hit; ttl="), "{after:?}");
    assert_eq!((before.body, monime.calls()), (after.body, 1));
}

#[tokio::test]
async fn lifetimes_and_what_callers_may_refresh_are_followed() {
    let monime = Monime::start().await;
    let mut shop = Shop::before(&monime.base_url, &["cache.ttl.completed=0s"]).await;
    let no_cache = "Cache-Control: no-cache\r\n";
    let [kept, stale, lost] = [(); 3].map(|()| monime.completed());
    assert!(!shop.look_up(&kept).await.cache_status().contains("stored"));
    assert!(shop.reload(&[]).await);
    assert!(shop.look_up(&kept).await.cache_status().contains("stored"));
    assert!(shop.look_up_with(&kept, no_cache).await.cache_status().contains("hit"));
    assert!(shop.reload(&["cache.callers_may_refresh=true"]).await);
    assert!(!shop.look_up_with(&kept, no_cache).await.cache_status().contains("hit"));

    assert!(shop.reload(&["cache.ttl.completed=1s"]).await);
    assert!(shop.look_up(&stale).await.cache_status().contains("stored"));
    assert!(shop.reload(&["cache.ttl.completed=1s", "cache.stale_if_error.completed=0s"]).await);
    assert!(shop.look_up(&lost).await.cache_status().contains("stored"));
    monime.sandbox.follow(Schedule::of(Profile::Down, Some(1)));
    let past = "it is no longer fresh";
    eventually(past, async || shop.look_up(&lost).await.cache_status().starts_with("monigate; detail=").then_some(()))
        .await;
    eventually(past, async || shop.look_up(&stale).await.cache_status().contains("detail=stale").then_some(())).await;
}

#[tokio::test]
async fn limits_of_heads_are_followed() {
    let monime = Monime::start().await;
    let mut shop = Shop::before(&monime.base_url, &[]).await;
    let long = "x".repeat(400);
    assert_eq!(shop.look_up(&long).await.status, 404, "no session is called that");
    assert!(shop.reload(&["limits.target_size=256B"]).await);
    // On a connection that comes: one that stays may keep to what it began with.
    let late = async || ask(&shop.gateway.address, &get(&path(&long), "")).await.failure();
    assert_eq!(late().await, (414, "gateway_target_too_long".to_owned()));
    assert!(shop.reload(&["limits.head_fields=1"]).await);
    let answer = ask(&shop.gateway.address, &get(&path(monime.completed()), "Accept: */*\r\n")).await;
    assert_eq!(answer.failure(), (431, "gateway_head_too_large".to_owned()));
}

#[tokio::test]
async fn what_is_under_way_finishes_by_the_settings_that_it_began_with() {
    let upstream = Upstream::start(|_, request| {
        let id = request.split(' ').nth(1).unwrap().rsplit('/').next().unwrap();
        vec![Step::Gate, Step::Send(answer("200 OK", "", &session(id, "completed")))]
    });
    let upstream = upstream.await;
    let mut shop = Shop::before(&upstream.base_url, &[]).await;
    let mut early = Wire::connect(&shop.gateway.address).await;
    early.send(get(&path("scs-early"), "")).await;
    upstream.hears(1).await;
    let short = ["monime.timeouts.connect=50ms", "monime.timeouts.attempt=50ms", "monime.timeouts.total=50ms"];
    assert!(shop.reload(&[&short[..], &["monime.spaces=", "monime.default_space=spc-third"]].concat()).await);
    let late = shop.look_up("scs-late").await;
    assert_eq!(late.failure(), (504, "gateway_upstream_timeout".to_owned()), "by the new ones");
    upstream.open_the_gate();
    let answer = early.answer().await.unwrap();
    assert_eq!((answer.status, answer.session().as_str()), (200, "completed"), "by the old ones");
    assert!(upstream.heard()[0].contains(SPACE) && upstream.heard()[1].contains("spc-third"));
    assert_eq!(early.look_up("scs-early", "").await.header("age"), None, "and of another space nobody is told");
}

#[tokio::test]
async fn who_waits_takes_a_place_whatever_settings_it_came_by() {
    let upstream =
        Upstream::playing(vec![Step::Gate, Step::Send(answer("200 OK", "", &session("scs-1", "completed")))]).await;
    let mut shop = Shop::before(&upstream.base_url, &["limits.max_in_flight=1"]).await;
    let mut waiting = Wire::connect(&shop.gateway.address).await;
    waiting.send(get(&path("scs-1"), "")).await;
    upstream.hears(1).await;
    let overloaded = (503, "gateway_overloaded".to_owned());
    assert_eq!(shop.look_up("scs-1").await.failure(), overloaded);
    for most in [1, 2] {
        assert!(shop.reload(&[&format!("limits.max_in_flight={most}")]).await);
        let mut another = Wire::connect(&shop.gateway.address).await;
        // To join a flight takes a place, and to start one a flight more.
        another.send(get(&path(format!("scs-{most}")), "")).await;
        match most {
            1 => assert_eq!(another.answer().await.unwrap().failure(), overloaded),
            _ => upstream.hears(2).await,
        }
    }
    upstream.open_the_gate();
    assert_eq!(waiting.answer().await.unwrap().session(), "completed");
}

#[tokio::test]
async fn the_budget_is_followed_and_what_was_sent_is_not_forgotten() {
    let monime = Monime::start().await;
    // One call in ten seconds, and nobody waits for a turn.
    let tight = ["budget.endpoint=1", "budget.share=0.1", "monime.timeouts.attempt=10s"];
    let mut shop = Shop::before(&monime.base_url, &tight).await;
    assert_eq!(shop.look_up(monime.completed()).await.status, 200);
    let exhausted = (429, "gateway_budget_exhausted".to_owned());
    assert_eq!(shop.look_up(monime.completed()).await.failure(), exhausted);
    for newer in [&tight[..], &[&tight[..], &["cache.ttl.expired=5s"]].concat()] {
        assert!(shop.reload(newer).await);
        assert_eq!(shop.look_up(monime.completed()).await.failure(), exhausted);
    }
    let share = |text: &str| text.contains("monigate_budget_share{scope=\"endpoint\"} 0.1\n");
    assert!(share(&shop.gateway.operator("/metrics").await.text()));

    assert!(shop.reload(&["budget.endpoint=1000", "budget.token=1000", "monime.timeouts.attempt=10s"]).await);
    for _ in 0..50 {
        assert_eq!(shop.look_up(monime.completed()).await.status, 200, "fifty at once");
    }
    assert!(!share(&shop.gateway.operator("/metrics").await.text()));
    assert!(shop.reload(&tight).await);
    assert_eq!(shop.look_up(monime.completed()).await.failure(), exhausted, "the fifty count");
}

#[tokio::test]
async fn a_breaker_that_is_open_stays_open() {
    let monime = Monime::start().await;
    let mut shop = Shop::before(&monime.base_url, &["budget.endpoint=1000", "budget.token=1000"]).await;
    monime.sandbox.follow(Schedule::of(Profile::Down, Some(1)));
    let open = (503, "gateway_upstream_open".to_owned());
    eventually("it opens", async || {
        let answer = shop.look_up(monime.completed()).await;
        (answer.failure() == open).then_some(())
    })
    .await;
    assert!(shop.reload(&["budget.endpoint=999", "budget.token=999"]).await);
    // One may be the call that finds out whether Monime is back; a breaker that knew nothing would let all three go.
    let mut refused = 0;
    for _ in 0..3 {
        refused += u32::from(shop.look_up(monime.completed()).await.failure() == open);
    }
    assert!(refused >= 2, "{refused}");
}

#[tokio::test]
async fn the_ca_file_is_read_again_and_a_proxy_is_taken() {
    let (theirs, ours) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    make_ca(ours.path()).unwrap();
    let (sandbox, base_url, _served) = play(Some(theirs.path())).await;
    let ca = ours.path().join("ca.pem");
    let setting = format!("monime.ca_file={}", ca.display());
    let mut shop = Shop::before(&base_url, &[&setting]).await;
    let id = sandbox.create(&space());
    assert_eq!(shop.look_up(&id).await.failure(), (502, "gateway_upstream_unreachable".to_owned()));
    std::fs::copy(theirs.path().join("ca.pem"), &ca).unwrap();
    assert!(shop.reload(&[&setting]).await);
    assert_eq!(shop.look_up(&id).await.status, 200);
    let proxy = Proxy::start(Manner::Open).await;
    assert!(shop.reload(&[&setting, &proxy.setting()]).await);
    assert_eq!((shop.look_up(&id).await.status, proxy.heads().len()), (200, 1));
    assert!(shop.reload(&[&setting, &proxy.setting(), "cache.ttl.expired=5s"]).await);
    assert_eq!((shop.look_up(&id).await.status, proxy.heads().len()), (200, 1), "its connections go on");
    assert!(shop.reload(&[&setting, "monime.proxy=none"]).await);
    assert_eq!((shop.look_up(&id).await.status, proxy.heads().len()), (200, 1));
}

#[tokio::test]
async fn another_token_file_is_taken_and_callers_are_paced_by_the_kind_of_its_token() {
    let monime = Monime::start().await;
    let folder = tempfile::tempdir().unwrap();
    let [one, two] = ["one", "two"].map(|name| folder.path().join(name));
    let [first, second] = [&one, &two].map(|path| format!("monime.token_file={}", path.display()));
    let (live, test) = (format!("{TOKEN}-live"), "mon_test_Yp9Lm4Jh6Gd1Fs5Cb0Zq".to_owned());
    put(&one, &test);
    put(&two, &live);
    monime.sandbox.accept_tokens([test.clone(), live.clone()]);
    let mut shop = Shop::before(&monime.base_url, &[&first, "budget.endpoint=1000"]).await;
    for _ in 0..16 {
        assert_eq!(shop.look_up(monime.session(&space(), "pending")).await.header("monigate-poll-after"), Some("3"));
    }
    assert_eq!(monime.sandbox.asked().last().unwrap().token, Some(1));
    let pending = monime.session(&space(), "pending");
    assert!(shop.reload(&[&second]).await);
    let paced = shop.look_up(&pending).await;
    assert_eq!(paced.header("monigate-poll-after"), Some("3"), "seventeen at twenty a second: {paced:?}");
    assert_eq!(monime.sandbox.asked().last().unwrap().token, Some(2));
    put(&two, &test);
    assert!(shop.reload(&[&second]).await);
    let paced = shop.look_up(&pending).await;
    assert_eq!(paced.header("monigate-poll-after"), Some("4"), "at five a second: {paced:?}");
    assert_eq!(monime.sandbox.asked().last().unwrap().token, Some(1));
    put(&two, &live);
    assert!(shop.reload(&[&second]).await);
    assert_eq!(shop.look_up(&pending).await.header("monigate-poll-after"), Some("3"));
    assert!(shop.reload(&[&second, "budget.share=0.25"]).await);
    assert_eq!(shop.look_up(&pending).await.header("monigate-poll-after"), Some("4"), "a quarter of twenty");
}

/// The real program with a configuration in a file, at its most talkative.
struct Desk {
    folder: TempDir,
    base_url: String,
    process: process::Gateway,
}

impl Desk {
    async fn run(base_url: &str, rest: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let token = folder.path().join("token");
        put(&token, DEFAULT_TOKEN);
        let file = folder.path().join("monigate.toml");
        put(&file, &written(&folder, base_url, rest));
        let arguments = ["run", "--listen", "127.0.0.1:0", "--config", file.to_str().unwrap()];
        let process = process::Gateway::start(&arguments, &[]).await;
        Self { folder, base_url: base_url.to_owned(), process }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("monigate.toml")
    }

    fn write(&self, rest: &str) {
        put(&self.file(), &written(&self.folder, &self.base_url, rest));
    }

    async fn counts(&self) -> [u64; 2] {
        let text = self.process.operator("/metrics").await.text();
        [OK, FAILED].map(|series| metric(&text, series))
    }

    /// Sends SIGHUP and waits until it counts; whether the configuration was taken on.
    async fn hang_up(&self) -> bool {
        let before = self.counts().await;
        self.process.process.signal("HUP");
        let after = eventually("the hang-up counts", async || Some(self.counts().await).filter(|now| *now != before));
        after.await[0] > before[0]
    }

    async fn look_up(&self, id: impl std::fmt::Display) -> Answer {
        ask(&self.process.address, &get(&path(id), "")).await
    }

    /// The value of a key as `/config` shows it.
    async fn effective(&self, key: &str) -> serde_json::Value {
        self.process.operator("/config").await.json()[key]["value"].clone()
    }

    /// Waits until the log has complained of these keys since it had so many lines, and of no others.
    async fn complains(&self, since: usize, keys: &[&str]) {
        // The log is written beside everything else.
        eventually(&format!("complaints of {keys:?}"), async || {
            let log = self.process.process.log();
            let kept = "configuration not reloaded; the one before stays";
            let complaints = log[since..].iter().filter(|line| line["message"] == kept && line["level"] == "ERROR");
            let named = complaints.map(|line| {
                assert!(["source", "rule", "fix"].iter().all(|field| !line[field].as_str().unwrap().is_empty()));
                line["key"].as_str().unwrap()
            });
            named.eq(keys.iter().copied()).then_some(())
        })
        .await;
    }
}

/// Everything that must be said, before the `rest`.
fn written(folder: &TempDir, base_url: &str, rest: &str) -> String {
    let token = folder.path().join("token");
    format!(
        "admin.address = \"127.0.0.1:0\"\nmonime.base_url = \"{base_url}\"\nmonime.default_space = \"{SPACE}\"\n\
         monime.token_file = \"{}\"\n{rest}",
        token.display()
    )
}

#[tokio::test]
async fn a_hang_up_reloads_and_shows_it() {
    let monime = Monime::start().await;
    let mut desk = Desk::run(&monime.base_url, "").await;
    let id = monime.completed();
    assert_eq!(desk.look_up(&id).await.status, 200);
    assert_eq!(desk.effective("cache.ttl.completed").await, "24h");
    desk.write("cache.ttl.completed = \"12h\"\nlog.level = \"debug\"\n");
    assert!(desk.hang_up().await);
    assert_eq!(desk.effective("cache.ttl.completed").await, "12h");
    desk.process.process.says("configuration reloaded").await;
    assert!(!desk.process.process.log().iter().any(|line| line["message"] == "answered"));
    assert!(desk.look_up(&id).await.cache_status().contains("hit"));
    assert_eq!(desk.process.process.says("answered").await["level"], "DEBUG", "the level is followed");
    assert_eq!((desk.counts().await, monime.calls()), ([1, 0], 1));
}

#[tokio::test]
async fn of_many_hang_ups_the_last_word_counts() {
    let monime = Monime::start().await;
    let desk = Desk::run(&monime.base_url, "").await;
    // Long to read, so that most of them come while another is under way.
    let spaces: Vec<_> = (0..3000).map(|number| format!("{{ id = \"spc-{number}\" }}")).collect();
    let spaces = spaces.join(", ");
    for hours in 1..=30 {
        desk.write(&format!("cache.ttl.completed = \"{hours}h\"\nmonime.spaces = [{spaces}]\n"));
        desk.process.process.signal("HUP");
    }
    eventually("the last one is in effect", async || {
        (desk.effective("cache.ttl.completed").await == "30h").then_some(())
    })
    .await;
    assert_eq!(desk.look_up(monime.completed()).await.status, 200);
    let [ok, failed] = desk.counts().await;
    assert!(ok < 30 && failed == 0, "{ok} readings: some served several hang-ups, and each was whole");
}

#[tokio::test]
async fn what_cannot_change_refuses_the_whole_and_is_named() {
    let monime = Monime::start().await;
    let desk = Desk::run(&monime.base_url, "").await;
    let before = desk.process.operator("/config").await.text();
    // Each beside a change that could be taken on, were it alone.
    let harmless = "cache.ttl.completed = \"12h\"\n";
    let whole = written(&desk.folder, &desk.base_url, harmless);
    let elsewhere = whole.replace(&desk.base_url, "https://api.monime.io");
    let admin = whole.replace("127.0.0.1:0", "127.0.0.1:9");
    for (key, text) in [
        ("admin.address", admin.clone()),
        ("monime.base_url", elsewhere.clone()),
        ("cache.max_size", format!("{whole}cache.max_size = \"1MiB\"\n")),
        ("log.format", format!("{whole}log.format = \"text\"\n")),
    ] {
        put(&desk.file(), &text);
        let since = desk.process.process.log().len();
        assert!(!desk.hang_up().await, "{key}");
        desk.complains(since, &[key]).await;
        assert_eq!(desk.process.operator("/config").await.text(), before, "{key}");
    }
    put(
        &desk.file(),
        &admin
            .replace(&desk.base_url, "https://api.monime.io")
            .replace("cache.ttl", "cache.max_size = \"1MiB\"\nlog.format = \"text\"\ncache.ttl"),
    );
    let since = desk.process.process.log().len();
    assert!(!desk.hang_up().await);
    desk.complains(since, &["admin.address", "cache.max_size", "log.format", "monime.base_url"]).await;
    assert_eq!(desk.look_up(monime.completed()).await.status, 200, "and it goes on");
    put(&desk.file(), &whole);
    assert!(desk.hang_up().await, "without them it is taken on");
    assert_eq!(desk.effective("cache.ttl.completed").await, "12h");
    assert_eq!(desk.counts().await, [1, 5]);
}

#[tokio::test]
async fn where_services_ask_cannot_change_either() {
    let monime = Monime::start().await;
    let shop = Shop::before(&monime.base_url, &[]).await;
    assert!(!shop.reload(&["listen.address=127.0.0.1:9", "monime.default_space=spc-third"]).await);
    let refused = gateway::load(&shop.base_url, &["listen.address=127.0.0.1:9"]).unwrap();
    let before = gateway::load(&shop.base_url, &[]).unwrap();
    let problems = monigate::config::Fixed::of(&before).permits(&refused).unwrap_err();
    let [problem] = &problems.iter().collect::<Vec<_>>()[..] else { panic!("{problems}") };
    assert_eq!((problem.key.as_str(), problem.source.as_str()), ("listen.address", "flag --set"));
    assert_eq!(shop.gateway.look_up(monime.completed()).await.status, 200, "in the space of before");
}

#[tokio::test]
async fn a_configuration_with_problems_keeps_the_one_before_and_says_them_all() {
    let monime = Monime::start().await;
    let desk = Desk::run(&monime.base_url, "").await;
    let before = desk.process.operator("/config").await.text();
    let whole = written(&desk.folder, &desk.base_url, "");
    let no_token = whole.replace("/token\"", "/nowhere\"");
    for (keys, text) in [
        (&["cache.ttl.complete"][..], format!("{whole}cache.ttl.complete = \"12h\"\n")),
        (&["cache.ttl.completed"], format!("{whole}cache.ttl.completed = 5.5\n")),
        (
            &["budget.share", "limits.max_in_flight", "log.level"],
            format!("{whole}budget.share = 2\nlimits.max_in_flight = 0\nlog.level = \"{ANOTHER}\"\n"),
        ),
        (&["monime.token"], format!("{whole}monime.token = \"{ANOTHER}\"\n")),
        (&["monime.token_file"], no_token),
        (&["monime.ca_file"], format!("{whole}monime.ca_file = \"{}\"\n", desk.file().display())),
        (&["monime.proxy"], format!("{whole}monime.proxy = \"http://me:{ANOTHER}@proxy:1\"\n")),
        // Half written, in the middle of a token.
        (&[desk.file().to_str().unwrap()], format!("{whole}monime.token = \"{ANOTHER}")),
    ] {
        put(&desk.file(), &text);
        let since = desk.process.process.log().len();
        assert!(!desk.hang_up().await, "{keys:?}");
        desk.complains(since, keys).await;
        assert_eq!(desk.process.operator("/config").await.text(), before, "{keys:?}");
        assert_eq!(desk.look_up(monime.completed()).await.status, 200, "{keys:?}");
    }
    std::fs::remove_file(desk.file()).unwrap();
    assert!(!desk.hang_up().await, "no file at all");
    desk.write("");
    assert!(desk.hang_up().await);
    let mut said = Said::default();
    for target in ["/config", "/metrics", "/readyz?verbose"] {
        said.heard(target, desk.process.operator(target).await.text());
    }
    desk.process.process.signal("TERM");
    let ran = desk.process.process.ran().await;
    assert_eq!(ran.code, Some(0));
    said.heard("standard error", ran.err);
    [DEFAULT_TOKEN, ANOTHER].into_iter().for_each(|token| said.keeps(token));
}

#[tokio::test]
async fn a_hang_up_during_the_drain_harms_nobody() {
    let upstream =
        Upstream::playing(vec![Step::Gate, Step::Send(answer("200 OK", "", &session("scs-1", "completed")))]).await;
    let mut desk = Desk::run(&upstream.base_url, "shutdown.delay = \"50m\"\nshutdown.timeout = \"50m\"\n").await;
    let mut waiting = Wire::connect(&desk.process.address).await;
    waiting.send(get(&path("scs-1"), "")).await;
    upstream.hears(1).await;
    desk.process.process.signal("TERM");
    desk.process.process.says("stopping").await;
    assert!(desk.hang_up().await);
    desk.write("monime.spaces = [5]\n");
    assert!(!desk.hang_up().await);
    assert_eq!(desk.process.operator("/readyz").await.status, 503, "it is still on its way out");
    upstream.open_the_gate();
    assert_eq!(waiting.answer().await.unwrap().session(), "completed");
    assert_eq!(desk.look_up("scs-1").await.session(), "completed", "until the delay is over");
    desk.process.process.signal("TERM");
    assert_eq!(desk.process.process.ended().await, Some(0));

    let upstream =
        Upstream::playing(vec![Step::Gate, Step::Send(answer("200 OK", "", &session("scs-1", "completed")))]);
    let upstream = upstream.await;
    let mut desk = Desk::run(&upstream.base_url, "shutdown.timeout = \"50m\"\n").await;
    let mut waiting = Wire::connect(&desk.process.address).await;
    waiting.send(get(&path("scs-1"), "")).await;
    upstream.hears(1).await;
    desk.process.process.signal("TERM");
    desk.process.process.says("stopping").await;
    desk.write("shutdown.timeout = \"1ms\"\n");
    assert!(desk.hang_up().await);
    upstream.open_the_gate();
    assert_eq!(waiting.answer().await.unwrap().session(), "completed", "by the time-out that it stops by");
    assert!(desk.process.process.ran().await.err.contains("every accepted request was answered"));
}
