//! Monime is asked gently: never more often than it allows, nearly as often as it allows, everyone in turn. Whole
//! gateways over real sockets before the real sandbox, in real time, with figures that a busy machine does not upset.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what a test cannot prepare is its failure"
)]
#![allow(clippy::print_stderr, reason = "how well a promise was kept is worth reading")]

mod support;

use std::collections::BTreeMap;
use std::future::Future;
use std::os::unix::fs::PermissionsExt;
use std::sync::{LazyLock, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use futures_util::future::join_all;
use http::StatusCode;
use monigate::sandbox::{Asked, DEFAULT_TOKEN, Fault, Limits, Profile, Schedule, Scope};
use support::client::{Wire, ask, get, path};
use support::gateway::{OTHER_SPACE, SPACE, eventually};
use support::pages::{FarAway, Manner, Monime, Treated, poll};
use support::process::Gateway;
use tokio::runtime::Builder;
use tokio::time::sleep;

const LIVE: &str = DEFAULT_TOKEN;
const TEST: &str = "mon_test_Wd4Nf7Hs2Jq9Vb3Xk6Lr8Zt5";
/// Refusals are failures, and a crowd has thousands.
const QUIET: &str = "log.level=info,monigate::gateway=off";
/// By when a lookup is answered or refused.
const TOTAL: Duration = Duration::from_secs(10);
/// The gateway waits a twentieth longer than it must, which leaves this much of a limit; a burst at either end makes
/// good for a hiccup or two.
const USED: f64 = 0.9;

// === the long runs, all at once ===

/// A run's name, and how it went.
type Runs = Mutex<BTreeMap<&'static str, JoinHandle<String>>>;

/// The harness runs as many tests at a time as there are cores; these wait nearly all of the time, so they start
/// together, each on a thread of its own.
static RUNS: LazyLock<Runs> = LazyLock::new(|| {
    Mutex::new(BTreeMap::from([
        ("live", run(|| crowd(LIVE, Limits::LIVE, Manner::Page, secs(30)))),
        ("test", run(|| crowd(TEST, Limits::TEST, Manner::Page, secs(30)))),
        ("pressing", run(|| crowd(TEST, Limits::TEST, Manner::Page, secs(75)))),
        ("heeding", run(|| crowd(TEST, Limits::TEST, Manner::Heeding, secs(75)))),
        ("impatient", run(|| crowd(TEST, Limits::TEST, Manner::Impatient, secs(30)))),
        ("five", run(five_gateways)),
        ("halves", run(two_halves)),
        ("spaces", run(two_spaces)),
    ]))
});

fn run<F: Future<Output = String> + 'static>(run: fn() -> F) -> JoinHandle<String> {
    thread::spawn(move || Builder::new_current_thread().enable_all().build().unwrap().block_on(run()))
}

/// Waits for a run; its failure is this test's.
fn holds(name: &str) {
    let run = RUNS.lock().unwrap().remove(name).unwrap();
    match run.join() {
        Ok(figures) => eprintln!("{name}: {figures}"),
        Err(panic) => panic!("{name}: {}", panic.downcast_ref::<String>().map_or("it panicked", String::as_str)),
    }
}

#[test]
fn no_429_from_monime_ever() {
    holds("live");
}

#[test]
fn no_429_from_monimes_test_mode_ever() {
    holds("test");
}

#[test]
fn every_session_is_read_where_callers_heed_how_often_they_may_ask() {
    holds("heeding");
}

#[test]
fn no_session_is_left_out_while_others_are_read_again() {
    holds("pressing");
}

#[test]
fn no_429_from_monime_however_impatient_callers_are() {
    holds("impatient");
}

#[test]
fn five_gateways_settle_on_one_token_without_talking() {
    holds("five");
}

#[test]
fn gateways_that_share_a_token_by_halves_meet_no_429() {
    holds("halves");
}

#[test]
fn each_token_has_its_own_budget_and_one_spaces_429_stops_no_other() {
    holds("spaces");
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn is_throttled(asked: &&Asked) -> bool {
    asked.status == Some(StatusCode::TOO_MANY_REQUESTS)
}

fn float(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap())
}

/// Which part of `limit` a second so many calls in this time are.
fn part(calls: usize, limit: u32, time: Duration) -> f64 {
    float(calls) / (f64::from(limit) * time.as_secs_f64())
}

fn everyone_was_heard(treated: &Treated) {
    assert!(treated.wrong.is_empty(), "{} such as {}", treated.wrong.len(), treated.wrong[0]);
    assert!(treated.longest <= TOTAL, "{treated:?}");
    assert!(treated.answers > 0);
}

/// 300 callers poll 100 pending sessions.
async fn crowd(token: &str, limits: Limits, manner: Manner, lasts: Duration) -> String {
    let monime = Monime::start(token, limits);
    let gateway = Gateway::run_as(token, &monime.base_url, &[QUIET]).await;
    let sessions = monime.sessions(100);
    // Who does not wait when it is told to keeps a core busy, and a few do that as well as many.
    let callers = if matches!(manner, Manner::Impatient) { 40 } else { 300 };
    let treated = poll(&gateway.address, "", &sessions, callers, manner, lasts).await;

    let (record, seen) = (monime.record(), monime.sandbox.seen());
    let calls = record.between(Duration::ZERO, lasts).count();
    let used = part(calls, limits.endpoint, lasts);
    let asked_for = &sessions[..callers.min(sessions.len())];
    let gap = record.longest_gap(asked_for, lasts);
    let Treated { answers, refusals, longest, .. } = &treated;
    let figures = format!(
        "{calls} calls are {used:.3} of the limit, busiest second {}, {} throttled, longest gap {gap:.1?}, \
         {answers} answers, {refusals} refusals, longest wait {longest:.1?}",
        seen.busiest, seen.throttled
    );
    assert_eq!(seen.throttled, 0, "{figures}: {:?}", record.too_many());
    everyone_was_heard(&treated);
    assert!(seen.busiest <= limits.endpoint, "{figures}");
    assert!(used >= USED, "{figures}");
    let turns = match manner {
        Manner::Page | Manner::Heeding => Some(2.5),
        Manner::Eager | Manner::Impatient => None,
    };
    let turn = float(sessions.len()) / f64::from(limits.endpoint);
    assert!(turns.is_none_or(|turns| gap <= Duration::from_secs_f64(turns * turn)), "{figures}");
    figures
}

/// Five that know nothing of each other, each with more to ask than all of them may.
async fn five_gateways() -> String {
    const GATEWAYS: usize = 5;
    const SETTLED: Duration = Duration::from_secs(30);
    const END: Duration = Duration::from_secs(75);
    let monime = Monime::start(LIVE, Limits::LIVE);
    let limit = Limits::LIVE.endpoint;
    let gateways = join_all((0..GATEWAYS).map(|_| Gateway::run(&monime.base_url, &[QUIET]))).await;
    let sessions: Vec<_> = gateways.iter().map(|_| monime.sessions(30)).collect();
    let polled = gateways
        .iter()
        .zip(&sessions)
        .map(|(gateway, sessions)| poll(&gateway.address, "", sessions, sessions.len(), Manner::Eager, END));
    join_all(polled).await;

    let record = monime.record();
    let calls = record.between(SETTLED, END).count();
    let throttled = record.between(SETTLED, END).filter(is_throttled).count();
    let used = part(calls - throttled, limit, END - SETTLED);
    let shares: Vec<f64> = sessions
        .iter()
        .map(|its| {
            let its = |asked: &&Asked| asked.session.as_ref().is_some_and(|id| its.contains(id));
            let answered = record.between(SETTLED, END).filter(|asked| its(asked) && !is_throttled(asked)).count();
            part(answered, limit, END - SETTLED) * float(GATEWAYS)
        })
        .collect();
    let refused = float(throttled) / float(calls);
    let before = record.between(Duration::ZERO, SETTLED).filter(is_throttled).count();
    let figures = format!(
        "{calls} calls, {refused:.4} of them throttled ({before} before), {used:.3} of the limit, of its fair share \
         each {shares:.2?}"
    );
    assert!(refused < 0.02, "{figures}");
    assert!(used >= 0.7, "{figures}");
    assert!(shares.iter().all(|share| *share >= 1.0 / 3.0), "{figures}");
    figures
}

async fn two_halves() -> String {
    const LASTS: Duration = Duration::from_secs(30);
    let monime = Monime::start(LIVE, Limits::LIVE);
    let limit = Limits::LIVE.endpoint;
    let gateways = join_all((0..2).map(|_| Gateway::run(&monime.base_url, &[QUIET, "budget.share=0.5"]))).await;
    let sessions: Vec<_> = gateways.iter().map(|_| monime.sessions(60)).collect();
    let polled = gateways
        .iter()
        .zip(&sessions)
        .map(|(gateway, sessions)| poll(&gateway.address, "", sessions, sessions.len(), Manner::Eager, LASTS));
    let treated = join_all(polled).await;

    let (record, seen) = (monime.record(), monime.sandbox.seen());
    let used = part(record.between(Duration::ZERO, LASTS).count(), limit, LASTS);
    let figures = format!("{used:.3} of the limit, busiest second {}, {} throttled", seen.busiest, seen.throttled);
    assert_eq!(seen.throttled, 0, "{figures}: {:?}", record.too_many());
    treated.iter().for_each(everyone_was_heard);
    assert!(seen.busiest <= limit, "{figures}");
    assert!(used >= USED, "{figures}");
    figures
}

/// A gateway for two spaces, each with a token of its own.
async fn gateway_of_two(base_url: &str, tokens: [&str; 2], folder: &std::path::Path) -> Gateway {
    let spaces = [(SPACE, "one"), (OTHER_SPACE, "two")].iter().zip(tokens).map(|((id, file), token)| {
        let file = folder.join(file);
        std::fs::write(&file, token).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        format!("[[monime.spaces]]\nid = \"{id}\"\ntoken_file = \"{}\"\n", file.display())
    });
    let spaces: String = spaces.collect();
    let config = folder.join("monigate.toml");
    let monime = format!("[monime]\nbase_url = \"{base_url}\"\ndefault_space = \"{SPACE}\"\n{spaces}");
    std::fs::write(&config, monime).unwrap();
    let config = config.to_str().unwrap();
    let arguments = ["run", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--config", config];
    Gateway::start(&arguments, &[]).await
}

async fn two_spaces() -> String {
    const UNTROUBLED: Duration = Duration::from_secs(8);
    const LASTS: Duration = Duration::from_secs(18);
    const PAUSE: u64 = 4;
    let second = "mon_Gr5Tz8Kw2Pm6Yc9Xb4Vn7Qs3";
    let monime = Monime::start(LIVE, Limits::LIVE);
    monime.sandbox.accept_tokens([LIVE, second]);
    let folder = tempfile::tempdir().unwrap();
    let gateway = gateway_of_two(&monime.base_url, [LIVE, second], folder.path()).await;
    let sessions = [SPACE, OTHER_SPACE].map(|space| monime.sessions_in(space, 30));
    let crowd = |fields, sessions| poll(&gateway.address, fields, sessions, 30, Manner::Eager, LASTS);
    let trouble = async {
        sleep(UNTROUBLED).await;
        monime.sandbox.play(Fault::Throttled { scope: Scope::Space, retry_after: PAUSE }, 1);
    };
    let (first, other, ()) =
        tokio::join!(crowd("", &sessions[0]), crowd("Monime-Space-Id: spc-other\r\n", &sessions[1]), trouble);

    let (record, limit) = (monime.record(), Limits::LIVE.endpoint);
    let together = part(record.between(Duration::ZERO, UNTROUBLED).count(), limit, UNTROUBLED);
    let throttled: Vec<_> = record.all().filter(is_throttled).collect();
    let hit = throttled.iter().find(|asked| asked.fault.is_some()).unwrap();
    // What was on the way when the pause began arrives all the same.
    let (paused, resumed) = (hit.at + Duration::from_millis(500), hit.at + secs(PAUSE) - Duration::from_millis(500));
    let [stopped, went_on] = [true, false]
        .map(|same| record.between(paused, resumed).filter(|asked| (asked.token == hit.token) == same).count());
    let again = record.between(resumed, LASTS).filter(|asked| asked.token == hit.token).count();
    let went_on = part(went_on, limit, resumed - paused);
    let figures = format!(
        "{together:.3} of one limit together, {} throttled; in the pause {stopped} calls of the one, {went_on:.3} of \
         the limit of the other; {again} calls of the one afterwards; {} and {} wrong",
        throttled.len(),
        first.wrong.len(),
        other.wrong.len()
    );
    assert!(together >= 2.0 * USED, "{figures}");
    assert_eq!((throttled.len(), stopped), (1, 0), "{figures}");
    assert!(went_on >= 0.6 && again > 0, "{figures}");
    let metrics = gateway.operator("/metrics").await.text();
    assert_eq!(value(&metrics, "monigate_upstream_throttled_total{scope=\"space\"}"), 1.0, "{figures}");
    figures
}

// === the short ones ===

/// The value of one series in the text of the metrics; zero if it is not there.
fn value(metrics: &str, series: &str) -> f64 {
    let value = metrics.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok());
    value.unwrap_or_default()
}

async fn reads(gateway: &Gateway, series: &str, expected: impl Fn(f64) -> bool) {
    eventually(series, async || expected(value(&gateway.operator("/metrics").await.text(), series)).then_some(()))
        .await;
}

#[tokio::test]
async fn who_leaves_gives_its_place_to_those_behind() {
    /// Turns at 0, 1.05, 2.1, 3.15 and 4.2 s: a sixth row would come too late for its answers.
    const LINE: usize = 25;
    /// What leaves 4.25 s to wait: enough for the fifth row, and the sixth is a second too late for it.
    const PATIENCE: &str = "monime.timeouts.attempt=5.75s";
    let monime = Monime::start(TEST, Limits::TEST);
    let gateway = Gateway::run_as(TEST, &monime.base_url, &[QUIET, PATIENCE]).await;
    let sessions = monime.sessions(LINE + 1);
    let stands = async |many: usize| {
        let stood = |waiting| waiting as usize + monime.record().all().count() == many;
        reads(&gateway, "monigate_budget_waiting", stood).await;
    };
    let mut line = Vec::new();
    for row in sessions[..LINE].chunks(5) {
        for id in row {
            let mut wire = Wire::connect(&gateway.address).await;
            wire.send(get(&path(id), "")).await;
            line.push((id, wire));
        }
        // One row after the other, so that it is known who stands where.
        stands(line.len()).await;
    }
    let late = ask(&gateway.address, &get(&path(&sessions[LINE]), "")).await;
    assert_eq!(late.failure(), (429, "gateway_budget_exhausted".to_owned()));

    // Those of the third row and of the fourth, whose turns are far off still.
    line.drain(10..20).for_each(drop);
    stands(LINE - 10).await;
    let newcomer = ask(&gateway.address, &get(&path(&sessions[LINE]), "")).await;
    assert_eq!(newcomer.session(), "pending");
    for (_, wire) in &mut line {
        assert_eq!(wire.answer().await.unwrap().session(), "pending");
    }
    assert_eq!(monime.sandbox.seen().throttled, 0);
    let moments: Vec<_> = monime.record().all().map(|asked| asked.at).collect();
    // Three rows and the newcomer, where there were five.
    assert_eq!(moments.len(), 16, "{moments:?}");
    assert!(moments[14] < Duration::from_millis(2600) && moments[15] < secs(4), "{moments:?}");
}

#[tokio::test]
async fn the_metrics_and_the_log_tell_of_a_429() {
    let monime = Monime::start(LIVE, Limits::LIVE);
    let mut gateway = Gateway::run(&monime.base_url, &[]).await;
    let id = &monime.sessions(1)[0];
    reads(&gateway, "monigate_budget_share{scope=\"endpoint\"}", |share| share == 1.0).await;

    monime.sandbox.play(Fault::Throttled { scope: Scope::Endpoint, retry_after: 2 }, 1);
    let paused = reads(&gateway, "monigate_budget_paused{scope=\"endpoint\"}", |paused| paused == 1.0);
    let request = get(&path(id), "");
    let (answer, ()) = tokio::join!(ask(&gateway.address, &request), paused);
    assert_eq!(answer.session(), "pending", "it was asked again after the pause");
    let said = gateway.process.says("asking at a smaller share of its limit").await;
    assert_eq!(
        (said["level"].as_str(), said["scope"].as_str(), said["share"].as_f64()),
        (Some("WARN"), Some("endpoint"), Some(0.5))
    );
    let said = gateway.process.says("Monime answered 429: pausing").await;
    assert_eq!((said["scope"].as_str(), said["space"].as_str()), (Some("endpoint"), Some(SPACE)));

    let metrics = gateway.operator("/metrics").await.text();
    for (series, expected) in [
        ("monigate_upstream_throttled_total{scope=\"endpoint\"}", 1.0),
        ("monigate_budget_share{scope=\"endpoint\"}", 0.5),
        ("monigate_budget_share{scope=\"token\"}", 1.0),
        ("monigate_budget_paused{scope=\"endpoint\"}", 0.0),
        ("monigate_budget_waiting", 0.0),
        ("monigate_upstream_retries_total{cause=\"429\"}", 1.0),
    ] {
        assert_eq!(value(&metrics, series), expected, "{series}");
    }
    let moments: Vec<_> = monime.record().all().map(|asked| asked.at).collect();
    assert!(moments.len() == 2 && moments[1] >= secs(2), "{moments:?}");
}

#[tokio::test]
async fn the_metrics_and_the_log_tell_of_an_outage() {
    let monime = Monime::start(LIVE, Limits::LIVE);
    let mut gateway = Gateway::run(&monime.base_url, &[]).await;
    let id = &monime.sessions(1)[0];
    monime.sandbox.follow(Schedule { profile: Profile::Down, seed: 1 });
    let refused = eventually("the breaker opens", async || {
        let answer = ask(&gateway.address, &get(&path(id), "")).await;
        (answer.failure().1 == "gateway_upstream_open").then_some(answer)
    })
    .await;
    assert_eq!(refused.status, 503);
    assert!(refused.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    assert_eq!(gateway.process.says("not asking it for a moment").await["level"], "ERROR");
    reads(&gateway, "monigate_breaker_state", |state| state == 2.0).await;

    monime.sandbox.follow(Schedule::CALM);
    let calls = monime.sandbox.seen().requests;
    eventually("Monime is asked again", async || {
        let answer = ask(&gateway.address, &get(&path(id), "")).await;
        (answer.status == 200).then_some(())
    })
    .await;
    assert_eq!(monime.sandbox.seen().requests, calls + 1, "one probe");
    assert_eq!(gateway.process.says("Monime is back").await["level"], "INFO");
    reads(&gateway, "monigate_breaker_state", |state| state == 0.0).await;
}

#[tokio::test]
async fn no_429_from_monime_over_new_connections() {
    let monime = Monime::start(LIVE, Limits::LIVE);
    let far = FarAway::before(&monime, Duration::from_millis(300)).await;
    let gateway = Gateway::run_as(LIVE, &far.base_url, &[QUIET]).await;
    let sessions = monime.sessions(40);
    let requests: Vec<_> = sessions.iter().map(|id| get(&path(id), "")).collect();
    let answers = join_all(requests.iter().map(|request| ask(&gateway.address, request))).await;
    let answers: Vec<_> = answers.iter().map(|answer| answer.status).collect();
    let seen = monime.sandbox.seen();
    let moments: Vec<_> = monime.record().all().map(|asked| (asked.at.as_millis(), asked.status)).collect();
    assert_eq!(seen.throttled, 0, "busiest second {}: {moments:?}, {answers:?}", seen.busiest);
    assert!(answers.iter().filter(|status| **status == 200).count() >= 20, "{answers:?}");
}
