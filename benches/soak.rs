//! The whole gateway at full load on a rough day of Monime's, for minutes:
//! `cargo bench --bench soak -- --minutes 10`, and for some seconds without that.
//!
//! The real process in front of a sandbox with faults, both on loopback; well-behaved callers that are never idle over
//! HTTP/1.1 and HTTP/2, and others that leave, drip, stand around and overdo it; reloads, rotated tokens and purges
//! meanwhile. Says before and after of what a process can leak, and fails if any of it grows or any answer is wrong.
//! `--seed` repeats the callers' choices and Monime's faults. Needs Linux; ends only what it started.

#![expect(clippy::print_stdout, reason = "a bench talks to a person and ends with a verdict")]

#[path = "soak/load.rs"]
mod load;
#[path = "soak/process.rs"]
mod process;
#[path = "soak/verdict.rs"]
mod verdict;
#[path = "soak/wire.rs"]
mod wire;

use std::io;
use std::process::exit;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use fastrand::Rng;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use load::{Load, crowd, warm_up};
use process::{Desk, MAX_SIZE_MIB, Sample, Started, free_address, keep_pending, operate};
use verdict::Verdict;

/// Without `--minutes`: only to see that it runs.
const SHORT: Duration = Duration::from_secs(15);
/// The pool keeps 64 idle connections to Monime, each a descriptor and a task; and some for what is just ending.
const AT_REST: f64 = 72.0;

/// What the command line says.
struct Asked {
    lasts: Duration,
    seed: u64,
}

/// One row of the table, and how much its end may be above its beginning.
struct Row {
    name: &'static str,
    pick: fn(&Sample) -> f64,
    /// After warm-up, under load; none where nothing is promised.
    may_grow: Option<f64>,
    /// From rest before to rest after.
    may_stay: Option<f64>,
}

/// Memory may breathe: allocators give back late. A leak of a byte for each request is seen all the same.
const ROWS: [Row; 7] = [
    Row {
        name: "resident MiB",
        pick: |s| s.resident,
        may_grow: Some(12.0),
        may_stay: Some(64.0 + MAX_SIZE_MIB as f64),
    },
    Row { name: "most resident MiB", pick: |s| s.most, may_grow: Some(32.0), may_stay: None },
    Row { name: "descriptors", pick: |s| s.descriptors, may_grow: Some(64.0), may_stay: Some(AT_REST) },
    Row { name: "threads", pick: |s| s.threads, may_grow: Some(4.0), may_stay: Some(4.0) },
    Row { name: "tasks", pick: |s| s.tasks, may_grow: Some(128.0), may_stay: Some(AT_REST) },
    Row { name: "kept answers", pick: |s| s.entries, may_grow: None, may_stay: None },
    Row { name: "kept MiB", pick: |s| s.weight, may_grow: Some(MAX_SIZE_MIB as f64), may_stay: None },
];

fn main() {
    let asked = match Asked::of(std::env::args().skip(1)) {
        Ok(asked) => asked,
        Err(other) => {
            println!("soak: {other:?} is not understood: --minutes <number>, --seed <number>");
            exit(2);
        }
    };
    println!("soak: {} s, seed {}", asked.lasts.as_secs(), asked.seed);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    match runtime.and_then(|runtime| runtime.block_on(soak(&asked))) {
        Ok(true) => println!("soak: flat, and nothing wrong"),
        Ok(false) => {
            println!("soak: FAILED; again with --seed {}", asked.seed);
            exit(1);
        }
        Err(error) => {
            println!("soak: could not be run: {error}");
            exit(1);
        }
    }
}

impl Asked {
    fn of(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut asked = Self { lasts: SHORT, seed: u64::from(fastrand::u32(..)) };
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| argument.clone());
            match argument.as_str() {
                "--bench" => {}
                "--minutes" => {
                    let minutes: f64 = value()?.parse().map_err(|_| argument.clone())?;
                    asked.lasts = Duration::try_from_secs_f64(minutes * 60.0).map_err(|_| argument.clone())?;
                }
                "--seed" => asked.seed = value()?.parse().map_err(|_| argument.clone())?,
                _ => return Err(argument),
            }
        }
        Ok(asked)
    }
}

/// Whether all was well.
async fn soak(asked: &Asked) -> io::Result<bool> {
    let mut rng = Rng::with_seed(asked.seed);
    let tokens: Vec<String> = (0..4).map(|_| token(&mut rng)).collect();
    let verdict = Arc::new(Verdict::keeping(&tokens));
    let (sandbox_address, address, admin) = (free_address()?, free_address()?, free_address()?);
    let first = tokens.first().map_or("", String::as_str);
    let desk = Desk::new(sandbox_address, first)?;
    let _sandbox = Started::sandbox(sandbox_address, first).await?;
    keep_pending(sandbox_address).await?;
    let mut gateway = Started::gateway(address, admin, &desk.config(), &verdict).await?;
    let load = Arc::new(Load {
        gateway: address,
        sandbox: sandbox_address,
        verdict: Arc::clone(&verdict),
        over: AtomicBool::new(false),
        numbers: AtomicU64::new(0),
    });
    warm_up(&load).await?;
    let before = at_rest(&gateway, admin, &verdict).await?;
    let mut callers = crowd(&load, asked.seed);
    let samples = async {
        let samples = sampled(asked.lasts, &gateway, admin, &verdict).await;
        load.over.store(true, Ordering::Relaxed);
        samples
    };
    let (samples, operated) = tokio::join!(samples, operate(&load, &desk, &tokens, &gateway, admin, rng));
    let samples = samples?;
    operated?;
    while callers.join_next().await.is_some() {}
    let after = at_rest(&gateway, admin, &verdict).await?;
    gateway.signal("TERM")?;
    if gateway.ended(30).await? != Some(0) {
        verdict.wrong("the gateway did not end with 0");
    }
    let flat = report(&before, &samples, &after);
    Ok(accounted(&verdict) && flat)
}

/// As tokens look, without a word that could stand elsewhere.
fn token(rng: &mut Rng) -> String {
    format!("mon_{}", std::iter::repeat_with(|| rng.alphanumeric()).take(32).collect::<String>())
}

/// When nobody asks anything any more.
async fn at_rest(gateway: &Started, admin: std::net::SocketAddr, verdict: &Verdict) -> io::Result<Sample> {
    sleep(Duration::from_secs(3)).await;
    gateway.sample(admin, 0.0, verdict).await
}

/// One sample a second.
async fn sampled(
    lasts: Duration,
    gateway: &Started,
    admin: std::net::SocketAddr,
    verdict: &Verdict,
) -> io::Result<Vec<Sample>> {
    let started = Instant::now();
    let mut seconds = interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut samples = Vec::new();
    while started.elapsed() < lasts {
        seconds.tick().await;
        samples.push(gateway.sample(admin, started.elapsed().as_secs_f64(), verdict).await?);
    }
    Ok(samples)
}

// === what is said ===

/// Prints the table; whether everything is flat.
fn report(before: &Sample, samples: &[Sample], after: &Sample) -> bool {
    // The first quarter warms up; beginning and end are a fifth each of what is left.
    let warm = samples.get(samples.len() / 4..).unwrap_or_default();
    let fifth = (warm.len() / 5).max(1);
    let begin = warm.get(..fifth).unwrap_or_default();
    let end = warm.get(warm.len().saturating_sub(fifth)..).unwrap_or_default();
    let requests = samples.last().map_or(0.0, |last| last.requests) - before.requests;
    let seconds = samples.last().map_or(1.0, |last| last.second);
    println!("{requests:.0} requests in {seconds:.0} s, {:.0} a second\n", requests / seconds);
    println!(
        "{:<18} {:>9} {:>9} {:>9} {:>9} {:>11} {:>9}",
        "", "at rest", "warmed up", "at end", "peak", "each minute", "rest then"
    );
    let mut flat = true;
    for Row { name, pick, may_grow, may_stay } in ROWS {
        let (from, to) = (mean(begin, pick), mean(end, pick));
        let (rest, then) = (pick(before), pick(after));
        let peak = samples.iter().map(pick).fold(0.0, f64::max);
        let slope = slope(warm, pick);
        let grows = may_grow.is_some_and(|most| to - from > most);
        let stays = may_stay.is_some_and(|most| then - rest > most);
        flat &= !grows && !stays;
        let bound = |bound: Option<f64>| bound.map_or("-".to_owned(), |most| format!("+{most:.0}"));
        println!(
            "{name:<18} {rest:>9.1} {from:>9.1} {to:>9.1} {peak:>9.1} {slope:>11.2} {then:>9.1}  may grow {}, stay {}{}",
            bound(may_grow),
            bound(may_stay),
            if grows || stays { "  GREW" } else { "" }
        );
    }
    flat
}

/// Prints what became of the requests; whether nothing was wrong.
fn accounted(verdict: &Verdict) -> bool {
    let (counts, wrong, wrongs) = verdict.told();
    println!();
    for (what, count) in counts {
        println!("{count:>10}  {what}");
    }
    println!("{wrong:>10}  wrong");
    wrongs.iter().for_each(|what| println!("            {what}"));
    wrong == 0
}

fn mean(samples: &[Sample], pick: fn(&Sample) -> f64) -> f64 {
    samples.iter().map(pick).sum::<f64>() / count(samples)
}

/// By least squares, a minute.
fn slope(samples: &[Sample], pick: fn(&Sample) -> f64) -> f64 {
    let (seconds, value) = (mean(samples, |sample| sample.second), mean(samples, pick));
    let products = samples.iter().map(|sample| (sample.second - seconds) * (pick(sample) - value)).sum::<f64>();
    let squares = samples.iter().map(|sample| (sample.second - seconds).powi(2)).sum::<f64>();
    if squares > 0.0 { products / squares * 60.0 } else { 0.0 }
}

fn count(samples: &[Sample]) -> f64 {
    f64::from(u32::try_from(samples.len()).unwrap_or(u32::MAX)).max(1.0)
}
