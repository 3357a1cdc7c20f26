//! Fifteen hundred schedules of a whole gateway, or as many as you like, on a clock that runs by itself: callers, a wire, and a Monime with every
//! fault there is, all decided by one number.
//!
//! What must be true is in `simulation/world.rs`, `traffic.rs` and `health.rs`. A schedule that fails says its seed;
//! `MONIGATE_SEED=<seed> cargo test --test simulation any_schedule` runs it alone, and `MONIGATE_SCHEDULES=<number>`
//! runs more of them, or fewer.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    clippy::disallowed_methods,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "what a test cannot prepare is its failure"
)]

#[path = "simulation/gateway.rs"]
mod gateway;
#[path = "simulation/health.rs"]
mod health;
#[path = "simulation/plan.rs"]
mod plan;
#[path = "simulation/traffic.rs"]
mod traffic;
#[path = "simulation/weather.rs"]
mod weather;
#[path = "simulation/wire.rs"]
mod wire;
#[path = "simulation/world.rs"]
mod world;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fastrand::Rng;
use tokio::runtime::Builder;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep, sleep_until};

use gateway::{Gateway, Manner, key};
use plan::{Life, Plan, Status};
use weather::Weather;
use world::{Meaning, Word};

/// So many schedules, unless somebody says otherwise: less than a minute on two busy cores.
const SCHEDULES: u64 = 1500;
/// The longest until a few lookups succeed once Monime is well: a pause that is believed, a breaker, and the smallest
/// of budgets.
const RECOVERY: Duration = Duration::from_secs(150);

/// What happened in a schedule, by kind; and a number for all of it.
type Ran = Result<(BTreeMap<&'static str, u64>, u64), String>;

/// Runs `work` on a clock that stands still while there is something to do, with chance that begins at `seed`.
fn simulate<F: Future>(seed: u64, work: F) -> F::Output {
    fastrand::seed(seed);
    Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime").block_on(work)
}

/// One schedule, from its first moment until Monime is well again.
async fn run(plan: Plan) -> Ran {
    let (seed, span) = (plan.seed, plan.span);
    let mut rng = Rng::with_seed(!seed);
    let gateway = Gateway::new(plan);
    tokio::join!(gateway.clone().callers(rng.fork()), gateway.clone().operator(rng.fork()));
    let start = gateway.world.look().start;
    sleep_until(start + span).await;
    gateway.drains().await;
    recovers(&gateway).await;
    gateway.drains().await;
    verdict(&gateway)
}

/// With a wire that is calm again, lookups succeed before long, and go on succeeding. So many in a row, as what failed
/// before may still open the breaker once.
async fn recovers(gateway: &Gateway) {
    let (since, enough) = (Instant::now(), 4);
    let first = gateway.world.look().plan.lives.len();
    gateway.world.look().plan.lives.extend((0..1000).map(|_| Life::always(Status::Completed)));
    let (mut well, mut asked) = (0, 0);
    while (well < enough || gateway.gate.breaker() != "closed") && since.elapsed() < RECOVERY {
        match gateway.ask(&key(first + asked, 0, 0), Manner::default()).await {
            Some((Word::Monimes(_, Meaning::Session(Status::Completed)), _)) => well += 1,
            told => {
                // What Monime's limit leaves is little for a while after it was reached.
                let limited = matches!(told, Some((Word::Failure("gateway_budget_exhausted"), _)));
                well = if limited { well } else { 0 };
                sleep(Duration::from_millis(500)).await;
            }
        }
        asked += 1;
    }
    let breaker = gateway.gate.breaker();
    let right = well >= enough && breaker == "closed";
    gateway.world.look().check(right, || format!("{well} of {asked} succeed at last, breaker {breaker}"));
}

fn verdict(gateway: &Gateway) -> Ran {
    let mut world = gateway.world.look();
    world.check_retries();
    match world.wrong.len() {
        0 => Ok((world.seen.clone(), world.story())),
        wrong => Err(format!("{wrong} promises broken:\n{}", world.wrong[..wrong.min(12)].join("\n"))),
    }
}

fn schedule(seed: u64) -> Ran {
    let ran = std::panic::catch_unwind(|| simulate(seed, run(Plan::of(seed))));
    ran.unwrap_or_else(|_| Err("it panicked, see above".to_owned()))
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is a number")))
}

/// What must have happened somewhere in many schedules, or they prove nothing.
const HAPPENS: [&str; 32] = [
    "absent",
    "asked by name",
    "calls",
    "flights",
    "flights given up",
    "gateway_budget_exhausted",
    "gateway_not_cached",
    "gateway_overloaded",
    "gateway_upstream_credentials",
    "gateway_upstream_error",
    "gateway_upstream_mismatch",
    "gateway_upstream_open",
    "gateway_upstream_throttled",
    "gateway_upstream_timeout",
    "gateway_upstream_unavailable",
    "gateway_upstream_unexpected",
    "gateway_upstream_unreachable",
    "gateway_upstream_unreadable",
    "hits",
    "joined",
    "landings after a purge",
    "left",
    "misses",
    "not modified",
    "pending",
    "probes",
    "purges",
    "regressions",
    "retries",
    "stale",
    "stale after patience",
    "throttled",
];

#[test]
fn any_schedule_keeps_every_promise() {
    if let Some(seed) = number("MONIGATE_SEED") {
        match schedule(seed) {
            Ok((seen, _)) => return println!("{seen:#?}"),
            Err(wrong) => panic!("schedule {seed}: {wrong}"),
        }
    }
    let schedules = number("MONIGATE_SCHEDULES").unwrap_or(SCHEDULES);
    let (next, failed, seen) = (AtomicU64::new(0), Mutex::new(Vec::new()), Mutex::new(BTreeMap::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= schedules || failed.lock().unwrap().len() > 2 {
                        return;
                    }
                    match schedule(seed) {
                        Ok((saw, _)) => {
                            let mut seen = seen.lock().unwrap();
                            saw.into_iter().for_each(|(what, times)| *seen.entry(what).or_insert(0) += times);
                        }
                        Err(wrong) => failed.lock().unwrap().push(format!(
                            "schedule {seed}: {wrong}\n  alone: MONIGATE_SEED={seed} cargo test --test simulation any_schedule"
                        )),
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    let seen = seen.into_inner().unwrap();
    println!("{seen:#?}");
    let missing: Vec<_> = HAPPENS.into_iter().filter(|what| !seen.contains_key(what)).collect();
    assert!(missing.is_empty() || schedules < SCHEDULES, "never seen: {missing:?}");
}

#[test]
fn a_seed_tells_the_same_story_each_time() {
    for seed in 0..8 {
        let stories = [schedule(seed), schedule(seed)].map(|ran| ran.map(|(_, story)| story));
        assert_eq!(stories[0], stories[1], "schedule {seed}");
    }
}

/// Sessions that are completed and were asked for before the outage, and those that nobody has asked for yet: one for
/// each question.
const KEPT: usize = 20;
const NEW: usize = 4000;

/// One question in an outage, and what came of it.
struct Asked {
    session: usize,
    at: Duration,
    took: Duration,
    /// What the breaker said at that moment.
    breaker: &'static str,
    word: Word,
}

/// Ten minutes without Monime and under load: every tenth of a second two questions, one about what is kept and one
/// about what is not.
async fn outage(weather: Weather) -> (Gateway, Vec<Asked>) {
    let lives = (0..KEPT + 2 * NEW).map(|_| Life::always(Status::Completed)).collect();
    let gateway = Gateway::new(Plan::outage(1, weather, lives));
    let (start, span) = {
        let world = gateway.world.look();
        (world.start, world.plan.span)
    };
    let (mut ticks, mut asking, mut new) = (interval(Duration::from_millis(100)), JoinSet::new(), KEPT);
    while start.elapsed() < span {
        ticks.tick().await;
        for session in [new % KEPT, new] {
            let (gateway, at, breaker) = (gateway.clone(), start.elapsed(), gateway.gate.breaker());
            asking.spawn(async move {
                let told = gateway.ask(&key(session, 0, 0), Manner::default()).await;
                let (word, _) = told.expect("it waits");
                Asked { session, at, took: start.elapsed() - at, breaker, word }
            });
        }
        new += 1;
    }
    let asked = asking.join_all().await;
    gateway.drains().await;
    verdict(&gateway).unwrap_or_else(|wrong| panic!("{wrong}"));
    (gateway, asked)
}

/// What an outage must be like for callers and for Monime, if the breaker opens within `opens` and a probe that fails
/// takes `probe`.
async fn an_outage_costs_nothing_but_what_is_new(weather: Weather, opens: Duration, probe: Duration) {
    let [minute, second] = [60, 1].map(Duration::from_secs);
    let (gateway, asked) = outage(weather).await;
    let (from, to) = (minute, 11 * minute);
    let completed = |word: Word| matches!(word, Word::Monimes(_, Meaning::Session(Status::Completed)));
    for one in asked.iter().filter(|one| one.session < KEPT && one.at > second * 3) {
        assert!(completed(one.word), "what was kept is told: {:?} at {:?}", one.word, one.at);
    }
    let stale = asked.iter().filter(|one| matches!(one.word, Word::Monimes("stale", _))).count();
    let hits = asked.iter().filter(|one| matches!(one.word, Word::Monimes("hits", _))).count();
    assert!(stale > 5000 && hits > 900, "{stale} stale, {hits} hits");
    let out = |one: &&Asked| one.at > from + opens && one.at < to;
    let mut waited = 0;
    for one in asked.iter().filter(out) {
        let new = one.session >= KEPT;
        assert!(!new || matches!(one.word, Word::Failure(_)), "{:?} at {:?}", one.word, one.at);
        assert!(one.breaker != "closed", "at {:?}", one.at);
        waited += usize::from(!one.took.is_zero());
    }
    // Only who leads a probe waits, or who joins one: for as long as it takes.
    let probes = (600.0 / (2.0 + probe.as_secs_f64())).ceil() as usize + 1;
    let joined = 1 + probe.as_millis() as usize / 2000;
    assert!(waited <= probes * joined, "{waited} have waited for {probes} probes");
    let open = |one: &&Asked| matches!(one.word, Word::Failure("gateway_upstream_open"));
    assert!(asked.iter().filter(open).all(|one| one.took.is_zero() || one.at < from + opens), "refused at once");
    let world = gateway.world.look();
    let sent = |from, to| {
        let within = |at: Duration| from < at && at < to;
        world.calls.iter().map(|call| call.sent_at - world.start).filter(|at| within(*at)).count()
    };
    let outage = sent(from + opens, to);
    assert!((probes * 8 / 10..=probes).contains(&outage), "{outage} calls in an outage, {probes} probes");
    drop(world);
    let back = to + 2 * second + probe + second;
    for one in asked.iter().filter(|one| one.at > back) {
        assert!(completed(one.word), "Monime is back: {:?} at {:?}", one.word, one.at);
    }
    assert_eq!(gateway.gate.breaker(), "closed");
}

#[test]
fn ten_minutes_of_refused_connections_cost_nothing_but_what_is_new() {
    let opens = Duration::from_secs(12);
    simulate(1, an_outage_costs_nothing_but_what_is_new(Weather::Refusing, opens, Duration::ZERO));
}

#[test]
fn ten_minutes_of_silence_cost_nothing_but_what_is_new() {
    let opens = Duration::from_secs(12);
    simulate(1, an_outage_costs_nothing_but_what_is_new(Weather::Silent, opens, Duration::from_secs(5)));
}
