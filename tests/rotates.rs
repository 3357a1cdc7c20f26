//! Tokens change under a running gateway: each space is asked for with its own, the newest that is fine, and no word
//! of any of them, old, new or broken, gets out.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what a test cannot prepare is its failure"
)]

mod support;

use std::convert::Infallible;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use monigate::Parts;
use monigate::config::{Config, Sources};
use monigate::gateway::{Body, gateway};
use monigate::monime::{Final, SpaceId};
use monigate::sandbox::{self, Limits, Sandbox};
use support::client::{Wire, ask, get, path};
use support::gateway::{OTHER_SPACE, SPACE, eventually, metric, play_with};
use support::leaks::Said;
use support::process::Gateway;
use support::upstream::{Step, Upstream, answer, session};
use tempfile::TempDir;
use tokio::sync::{RwLock, watch};
use tokio::task::JoinSet;
use tower::{Service, ServiceExt};

const OLD: [&str; 2] = ["mon_Ka3Wv7Rt2Yp9Lm4Jh6Gd1Fs5Cb0Zq", "Pn5Bb2Vv8Cc3Xx6Zz1Ll4Kk7Jj9Hh0Gg"];
const NEW: [&str; 2] = ["mon_Ux8Qe4Tn1Iy6Om3Ps9Ad5Fg2Hj7Kl", "Mm9Nn3Bb7Vv1Cc5Xx8Zz2Aa6Ss4Dd0Ff"];
const SPACES: [&str; 2] = [SPACE, OTHER_SPACE];

/// Two token files and a configuration that names them.
struct Desk {
    folder: TempDir,
}

impl Desk {
    fn before(base_url: &str) -> Self {
        let desk = Self { folder: tempfile::tempdir().unwrap() };
        (0..2).for_each(|number| desk.put(number, OLD[number]));
        let spaces: String = (0..2)
            .map(|number| {
                let (id, file) = (SPACES[number], desk.token(number));
                format!("[[monime.spaces]]\nid = \"{id}\"\ntoken_file = \"{}\"\n", file.display())
            })
            .collect();
        let monime = format!("[monime]\nbase_url = \"{base_url}\"\ndefault_space = \"{SPACE}\"\n");
        std::fs::write(desk.config(), monime + &spaces).unwrap();
        desk
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("monigate.toml")
    }

    fn token(&self, number: usize) -> PathBuf {
        self.folder.path().join(format!("token-{number}"))
    }

    /// Swaps a token's file as a whole, so that nobody sees half of it.
    fn put(&self, number: usize, text: &str) {
        let next = self.folder.path().join("next");
        std::fs::write(&next, text).unwrap();
        std::fs::set_permissions(&next, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::rename(next, self.token(number)).unwrap();
    }

    fn assemble(&self) -> Parts {
        let sources = Sources { files: vec![self.config()], ..Sources::default() };
        Parts::assemble(Config::load(&sources).unwrap()).unwrap()
    }
}

/// The spaces and tokens of the requests so far, and in each nothing twice.
fn heard(upstream: &Upstream) -> Vec<[String; 2]> {
    let field = |request: &str, name: &str| {
        let fields = request.split("\r\n").filter_map(|line| line.split_once(": "));
        let mut values = fields.filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value);
        let value = values.next().unwrap().to_owned();
        assert_eq!(values.next(), None, "{request}");
        value
    };
    upstream
        .heard()
        .iter()
        .map(|request| ["monime-space-id", "authorization"].map(|name| field(request, name)))
        .collect()
}

fn sent(number: usize, token: &str) -> [String; 2] {
    [SPACES[number].to_owned(), format!("Bearer {token}")]
}

/// Completed, whatever was asked for.
fn completed(request: &str) -> Vec<Step> {
    let id = request.split(' ').nth(1).unwrap().rsplit('/').next().unwrap();
    vec![Step::Send(answer("200 OK", "", &session(id, "completed")))]
}

async fn look_up<S>(stack: &S, id: &str, number: usize) -> (u16, String)
where
    S: Service<Request<Empty<Bytes>>, Response = Response<Body>, Error = Infallible> + Clone,
{
    let mut request = support::request(id);
    request.headers_mut().insert("monime-space-id", SPACES[number].parse().unwrap());
    let Ok(response) = stack.clone().oneshot(request).await;
    let (head, body) = response.into_parts();
    (head.status.as_u16(), String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap())
}

#[tokio::test]
async fn each_space_is_asked_for_with_its_own_newest_token() {
    let upstream = Upstream::start(|_, request| completed(request)).await;
    let desk = Desk::before(&upstream.base_url);
    let Parts { lookups, terms, metrics, keyring, .. } = desk.assemble();
    let stack = gateway(lookups, support::no_forwards(), terms, metrics);
    let spaces = SPACES.map(|space| SpaceId::parse(space).unwrap());

    let mut expected = Vec::new();
    for round in [[OLD[0], OLD[1]], [NEW[0], OLD[1]], [NEW[0], NEW[1]]] {
        for number in 0..2 {
            desk.put(number, round[number]);
            keyring.reread(&spaces[number]).await;
        }
        for number in [0, 1, 0] {
            let id = format!("scs-{}", expected.len());
            assert_eq!(look_up(&stack, &id, number).await.0, 200);
            expected.push(sent(number, round[number]));
        }
        assert_eq!(heard(&upstream), expected);
    }
}

#[tokio::test]
async fn a_bad_token_file_loses_no_lookup() {
    let upstream = Upstream::start(|_, request| completed(request)).await;
    let desk = Desk::before(&upstream.base_url);
    let Parts { lookups, terms, metrics, keyring, .. } = desk.assemble();
    let stack = gateway(lookups, support::no_forwards(), terms, metrics);
    for (number, bad) in ["", "a b", "Bearer x", "one\ntwo\n"].into_iter().enumerate() {
        desk.put(0, bad);
        keyring.reread_all().await;
        assert_eq!(look_up(&stack, &format!("scs-{number}"), 0).await.0, 200, "{bad:?}");
        assert_eq!(heard(&upstream)[number], sent(0, OLD[0]), "{bad:?}");
    }
}

#[tokio::test]
async fn an_answer_is_held_against_the_token_that_it_was_asked_for_with() {
    for (mirrored, status) in [(OLD[1], 502), (NEW[1], 200)] {
        let upstream = Upstream::start(move |_, _| {
            let body = session("scs-1", "completed").replace("[]", &format!(r#"["{mirrored}"]"#));
            vec![Step::Gate, Step::Send(answer("200 OK", "", &body))]
        });
        let upstream = upstream.await;
        let desk = Desk::before(&upstream.base_url);
        let Parts { lookups, terms, metrics, keyring, .. } = desk.assemble();
        let stack = gateway(lookups, support::no_forwards(), terms, metrics);
        let rotated = async {
            upstream.hears(1).await;
            desk.put(1, NEW[1]);
            keyring.reread_all().await;
            upstream.open_the_gate();
        };
        let (told, ()) = tokio::join!(look_up(&stack, "scs-1", 1), rotated);
        assert_eq!(told.0, status, "{told:?}");
        assert_eq!(heard(&upstream), [sent(1, OLD[1])]);
    }
}

/// Starts the program before a desk, as talkative as this.
async fn run(desk: &Desk, level: &str) -> Gateway {
    let config = desk.config();
    let arguments = ["run", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--log-level", level, "--config"];
    Gateway::start(&[&arguments[..], &[config.to_str().unwrap()]].concat(), &[]).await
}

#[tokio::test]
async fn a_running_gateway_takes_new_tokens_over_and_says_no_word_of_any() {
    // Of the second space Monime thinks little.
    let upstream = Upstream::start(|_, request| match request.contains(OTHER_SPACE) {
        true => vec![Step::Send(answer("401 Unauthorized", "", &support::upstream::error(401)))],
        false => completed(request),
    });
    let upstream = upstream.await;
    let desk = Desk::before(&upstream.base_url);
    let mut gateway = run(&desk, "trace").await;
    let mut said = Said::default();
    let before = gateway.operator("/readyz?verbose").await;
    let fine = "gateway: ready\ncredential of spc-shop: fine\ncredential of spc-other: fine\nmonime: not asked yet; breaker closed\n";
    assert_eq!((before.status, before.text().as_str()), (200, fine));

    desk.put(0, NEW[0]);
    desk.put(1, &format!("Bearer {}", NEW[1]));
    let taken = gateway.process.says("the secret has changed").await;
    assert_eq!((taken["level"].as_str(), taken["source"].as_str()), (Some("INFO"), desk.token(0).to_str()), "{taken}");
    let refused = gateway.process.says("a secret's file cannot be used").await;
    assert_eq!(refused["level"], "ERROR");
    let error = format!("{} holds no usable token: the token begins with `Bearer `", desk.token(1).display());
    assert_eq!(refused["error"], error.as_str(), "{refused}");
    assert_eq!(refused["fix"], "keep the token alone: the scheme is added here");

    for number in 0..2 {
        let fields = format!("Monime-Space-Id: {}\r\n", SPACES[number]);
        let answer = ask(&gateway.address, &get(&path("scs-1"), &fields)).await;
        assert_eq!(answer.status, [200, 502][number]);
        said.heard("an answer", format!("{answer:?}"));
    }
    assert_eq!(heard(&upstream), [sent(0, NEW[0]), sent(1, OLD[1])]);

    let after = gateway.operator("/readyz?verbose").await;
    assert_eq!(after.status, 200, "another Monime's trouble, or a file's, is not the gateway's");
    let words = "credential of spc-shop: fine\ncredential of spc-other: an older one is used, because its file now holds \
                 no usable token: the token begins with `Bearer `; Monime refused it when last asked\n";
    assert!(after.text().contains(words), "{}", after.text());
    let metrics = gateway.operator("/metrics").await.text();
    for result in ["ok", "failed"] {
        assert_eq!(metric(&metrics, &format!("monigate_secret_reloads_total{{result=\"{result}\"}}")), 1, "{result}");
    }
    said.heard("/readyz", after.text());
    said.heard("/metrics", metrics);
    said.heard("/config", gateway.operator("/config").await.text());
    gateway.process.signal("TERM");
    let ran = gateway.process.ran().await;
    assert!(ran.err.contains("\"TRACE\""), "it was at its most talkative");
    said.heard("standard error", ran.err);
    said.heard("standard output", ran.out);
    OLD.iter().chain(&NEW).for_each(|token| said.keeps(token));
}

/// A Monime that knows every session as completed, and as many lookups as anyone likes.
async fn generous() -> (Sandbox, String, JoinSet<()>) {
    let settings =
        sandbox::Settings { limits: Limits::NONE, invent: Some(Final::Completed), ..sandbox::Settings::default() };
    play_with(settings, None).await
}

#[tokio::test]
async fn a_token_that_was_refused_is_replaced_within_the_lookup_that_heard_so() {
    let (sandbox, base_url, _served) = generous().await;
    sandbox.accept_tokens(OLD);
    let desk = Desk::before(&base_url);
    let Parts { lookups, terms, metrics, keyring, .. } = desk.assemble();
    let stack = gateway(lookups, support::no_forwards(), terms, metrics);
    let mut dice = fastrand::Rng::with_seed(1);
    for round in 0..20 {
        // Nobody says that the file is another one, and no poll runs.
        let token = token(&mut dice);
        desk.put(0, &token);
        sandbox.accept_tokens([token.as_str(), OLD[1]]);
        let crowd = (0..8).map(|caller| {
            let stack = stack.clone();
            async move { look_up(&stack, &format!("scs-{round}-{caller}"), caller % 2).await }
        });
        for (status, body) in futures_util::future::join_all(crowd).await {
            assert_eq!(status, 200, "{body}");
        }
    }
    assert!(keyring.health().all(|(_, health)| !health.refused));
    sandbox.accept_tokens([OLD[0]]);
    for number in 0..2 {
        let (status, body) = look_up(&stack, "scs-refused", number).await;
        assert!(status == 502 && body.contains("gateway_upstream_credentials"), "{body}");
    }
    assert_eq!(keyring.health().filter(|(_, health)| health.refused).count(), 2);
}

#[tokio::test]
async fn readiness_tells_whose_token_was_refused_until_it_has_a_successor() {
    let (sandbox, base_url, _served) = generous().await;
    sandbox.accept_tokens([OLD[0]]);
    let desk = Desk::before(&base_url);
    let gateway = run(&desk, "info").await;
    let said = async || {
        let text = gateway.operator("/readyz?verbose").await.text();
        let words = text.lines().filter_map(|line| line.strip_prefix("credential of ")).map(str::to_owned);
        words.collect::<Vec<_>>()
    };
    let look_up = async |number: usize| {
        let fields = format!("Monime-Space-Id: {}\r\n", SPACES[number]);
        ask(&gateway.address, &get(&path("scs-1"), &fields)).await.status
    };
    assert_eq!([look_up(0).await, look_up(1).await], [200, 502]);
    assert_eq!(said().await, ["spc-shop: fine", "spc-other: fine; Monime refused it when last asked"]);
    desk.put(1, NEW[1]);
    sandbox.accept_tokens([OLD[0], NEW[1]]);
    hang_up(&gateway, [1, 0]).await;
    assert_eq!(said().await, ["spc-shop: fine", "spc-other: fine"], "of the new one nothing bad is known");
    assert_eq!(look_up(1).await, 200);
}

const ROTATIONS: u64 = 1_000;
const CALLERS: usize = 2;

fn token(dice: &mut fastrand::Rng) -> String {
    format!("mon_{}", (0..28).map(|_| dice.alphanumeric()).collect::<String>())
}

/// A volume as Kubernetes fills it: the file is a link through `..data`, a link that is swapped as a whole.
struct Volume {
    folder: TempDir,
    version: u32,
}

impl Volume {
    fn new(text: &str) -> Self {
        let mut volume = Self { folder: tempfile::tempdir().unwrap(), version: 0 };
        volume.swap(text, 0o600);
        std::os::unix::fs::symlink("..data/token", volume.token()).unwrap();
        volume
    }

    fn token(&self) -> PathBuf {
        self.folder.path().join("token")
    }

    /// Swaps the folder that the link is about, as the kubelet does.
    fn swap(&mut self, text: &str, mode: u32) {
        self.version += 1;
        let (folder, name) = (self.folder.path(), format!("..{}", self.version));
        std::fs::create_dir(folder.join(&name)).unwrap();
        write(&folder.join(&name).join("token"), text, mode);
        std::os::unix::fs::symlink(&name, folder.join("..data_tmp")).unwrap();
        std::fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
        let before = folder.join(format!("..{}", self.version - 1));
        let _ = std::fs::remove_dir_all(before);
    }

    /// Renames another file over the one behind the link, as editors and agents do.
    fn rename(&self, text: &str, mode: u32) {
        let data = self.folder.path().join("..data");
        write(&data.join("next"), text, mode);
        std::fs::rename(data.join("next"), data.join("token")).unwrap();
    }

    fn put(&mut self, turn: u64, text: &str, mode: u32) {
        if turn.is_multiple_of(2) { self.swap(text, mode) } else { self.rename(text, mode) }
    }

    /// Spoils the file in one of the ways in which files are spoilt; returns what is wrong with it.
    fn spoil(&mut self, turn: u64, token: &str) -> &'static str {
        let (text, problem) = match turn / 10 % 7 {
            0 => (String::new(), "the token is empty"),
            1 => (format!("Bearer {token}"), "the token begins with `Bearer `"),
            2 => (format!("{token}\n{token}\n"), "the token has more than one line"),
            3 => (format!("\"{token}\""), "the token stands in quotation marks"),
            4 => (format!("{token} "), "the token holds a character that is not visible ASCII"),
            5 => {
                self.put(turn / 10, token, 0o644);
                return "can be read by everyone";
            }
            _ => {
                std::fs::remove_file(self.folder.path().join("..data/token")).unwrap();
                return "does not exist";
            }
        };
        self.put(turn / 10, &text, 0o600);
        problem
    }
}

fn write(path: &Path, text: &str, mode: u32) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// How many configurations were taken on and refused.
async fn reloads(gateway: &Gateway) -> [u64; 2] {
    let text = gateway.operator("/metrics").await.text();
    ["ok", "failed"].map(|result| metric(&text, &format!("monigate_config_reloads_total{{result=\"{result}\"}}")))
}

/// Sends SIGHUP and waits until so many count.
async fn hang_up(gateway: &Gateway, expected: [u64; 2]) {
    gateway.process.signal("HUP");
    eventually("the hang-up counts", async || {
        let now = reloads(gateway).await;
        assert!(now.iter().sum::<u64>() <= expected.iter().sum(), "{now:?}");
        (now.iter().sum::<u64>() == expected.iter().sum::<u64>()).then(|| assert_eq!(now, expected))
    })
    .await;
}

/// Starts the program with the token in this volume, and allows it more lookups than anybody can make.
async fn run_with(volume: &Volume, base_url: &str) -> Gateway {
    let file = format!("monime.token_file={}", volume.token().display());
    let base_url = format!("monime.base_url={base_url}");
    let space = format!("monime.default_space={SPACE}");
    let fast = ["budget.endpoint=10000", "budget.token=10000", "budget.space=10000"];
    let mut arguments = vec!["run", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    [&[file.as_str(), &base_url, &space][..], &fast].concat().iter().for_each(|set| arguments.extend(["--set", *set]));
    Gateway::start(&arguments, &[]).await
}

/// A caller that never asks twice for the same, and lets nobody tell it that this failed; returns how often it asked.
async fn never_rest(caller: usize, mut wire: Wire, under_way: Arc<RwLock<()>>, stopped: watch::Receiver<bool>) -> u64 {
    let mut lookups = 0;
    while !*stopped.borrow() {
        let _one = under_way.read().await;
        let answer = wire.look_up(format!("scs-{caller}-{lookups}"), "").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        lookups += 1;
    }
    lookups
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_rotations_under_load_lose_no_lookup_and_tell_no_token() {
    let mut dice = fastrand::Rng::with_seed(42);
    let mut current = token(&mut dice);
    let (sandbox, base_url, _served) = generous().await;
    sandbox.accept_tokens([current.as_str()]);
    let mut volume = Volume::new(&current);
    let gateway = run_with(&volume, &base_url).await;
    let (stop, stopped) = watch::channel(false);
    let under_way = Arc::new(RwLock::new(()));
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let wire = Wire::connect(&gateway.address).await;
        callers.spawn(never_rest(caller, wire, Arc::clone(&under_way), stopped.clone()));
    }

    let (mut all, mut counts, mut problems) = (vec![current.clone()], [0, 0], Vec::new());
    for turn in 1..=ROTATIONS {
        let next = token(&mut dice);
        all.push(next.clone());
        if turn.is_multiple_of(10) {
            // Who was refused with the token before looks at the file once more: let it be the good one still.
            drop(under_way.write().await);
            problems.push(volume.spoil(turn, &next));
            counts[1] += 1;
            hang_up(&gateway, counts).await;
            continue;
        }
        sandbox.accept_tokens([&current, &next].map(String::as_str));
        volume.put(turn, &next, 0o600);
        counts[0] += 1;
        if turn.is_multiple_of(3) {
            // Monime retires the old one before anyone tells the gateway.
            sandbox.accept_tokens([next.as_str()]);
        }
        hang_up(&gateway, counts).await;
        sandbox.accept_tokens([next.as_str()]);
        current = next;
    }
    stop.send_replace(true);
    let lookups: u64 = callers.join_all().await.into_iter().sum();
    assert!(lookups > ROTATIONS, "{lookups} lookups are no load");
    told_of_each(gateway, &volume, &problems, &all).await;
}

/// Holds what the program said against what happened to its token's file.
async fn told_of_each(gateway: Gateway, volume: &Volume, problems: &[&str], tokens: &[String]) {
    let metrics = gateway.operator("/metrics").await.text();
    for (result, count) in [("ok", 900), ("failed", 100)] {
        for what in ["config", "secret"] {
            let series = format!("monigate_{what}_reloads_total{{result=\"{result}\"}}");
            assert_eq!(metric(&metrics, &series), count, "{series}");
        }
    }
    let shown = [gateway.operator("/config").await.text(), gateway.operator("/readyz?verbose").await.text(), metrics];
    gateway.process.signal("TERM");
    let ran = gateway.process.ran().await;
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), ""));
    let log: Vec<serde_json::Value> = ran.err.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let file = volume.token().display().to_string();
    let told = |message: &str, words: &str| {
        let lines: Vec<_> = log.iter().filter(|line| line["message"] == message).collect();
        assert_eq!(lines.len(), problems.len(), "{message}");
        for (line, problem) in lines.iter().zip(problems) {
            let said = line[words].as_str().unwrap();
            assert!(said.contains(&file) && said.contains(problem), "{problem}: {line}");
            assert!(line["level"] == "ERROR" && !line["fix"].as_str().unwrap().is_empty(), "{line}");
        }
    };
    told("a secret's file cannot be used; the one before is kept", "error");
    told("configuration not reloaded; the one before stays", "rule");

    let windows = |text: &'_ [u8]| text.windows(12).map(<[u8]>::to_vec).collect::<Vec<_>>();
    let secret: std::collections::HashSet<_> = tokens.iter().flat_map(|token| windows(token.as_bytes())).collect();
    let mut said = Said::default();
    for text in shown.iter().chain([&ran.err]) {
        assert!(text.as_bytes().windows(12).all(|window| !secret.contains(window)), "some token is in it");
        said.heard("what it said", text.as_str());
    }
    // In every spelling, for some: one that was used to the end, one that never was, the first.
    [&tokens[0], &tokens[999], &tokens[1000]].into_iter().for_each(|token| said.keeps(token));
}
