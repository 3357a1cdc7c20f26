//! What a hit costs, and how late the slowest of a hundred is, as there is more of everything: connections that are idle,
//! connections that ask, kept answers, callers. monigate alone, each state a gateway of its own, measured in turn.

use std::io;

use futures_util::future::try_join_all;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::Case;
use super::memory::fill;
use crate::accounting::{Resident, Spent};
use crate::contender::{Contender, Running, Scene};
use crate::load::{Crowd, Walk};
use crate::report::{Row, Table};
use crate::spread::Spread;
use crate::stage::Stage;
use crate::wire::{Connection, Target, path};

const IDLE: u32 = 10_000;
/// Connections that are opened at a time.
const AT_A_TIME: u32 = 16;
const SCRAPES: u32 = 100;
/// How often a round is begun in which a thread ends: those that read files do when they have nothing to do.
const ATTEMPTS: u32 = 3;
const MIB: f64 = 1024.0 * 1024.0;

/// Who asks for what, and what there is besides.
struct State {
    label: &'static str,
    scene: Scene,
    crowd: Crowd,
    sessions: u32,
    idle: u32,
}

struct Standing {
    state: State,
    running: Running,
    walk: Walk,
    /// Open for as long as this is.
    _idle: Vec<Connection>,
    /// In bytes, before and after the idle connections.
    resident: (f64, f64),
    samples: Vec<Sample>,
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    /// Microseconds of CPU time for a request.
    cost: f64,
    /// Microseconds.
    p99: f64,
}

fn states() -> [State; 5] {
    let few = Crowd { connections: 64, streams: 1 };
    let scene = Scene { patient: true, ..Scene::H1 };
    let usual = |label| State { label, scene, crowd: few, sessions: 1000, idle: 0 };
    [
        usual("64 connections, 1,000 answers, 1 caller"),
        State { idle: IDLE, ..usual("beside 10,000 idle connections") },
        State { crowd: Crowd { connections: 1000, ..few }, ..usual("1,000 connections") },
        State { scene: Scene { callers: 1000, ..scene }, ..usual("1,000 callers") },
        State { scene: Scene { memory: 4096, ..scene }, sessions: 1_000_000, ..usual("1,000,000 answers") },
    ]
}

pub(crate) async fn run(case: Case, stage: &Stage) -> io::Result<Table> {
    may_open_many()?;
    let mut all = Vec::new();
    for state in states() {
        let label = state.label;
        all.push(Standing::of(state, stage).await.map_err(|error| io::Error::other(format!("{label}: {error}")))?);
    }
    for round in 0..=stage.rounds {
        for standing in &mut all {
            let sample = standing.sample(stage).await?;
            // The first one warms up.
            if round > 0 {
                standing.samples.push(sample);
            }
        }
    }
    let mut notes = vec!["p99 is wrk's, with all the waiting for one core that it keeps busy.".to_owned()];
    for standing in &all {
        notes.push(standing.scrape().await?);
    }
    Ok(table(case, &all, notes))
}

/// As many files as this process may have, and those that it starts: a connection has one at either end.
fn may_open_many() -> io::Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    let enough = maximum.is_none_or(|most| most > u64::from(IDLE) + 2000);
    if enough { Ok(()) } else { Err(io::Error::other(format!("{IDLE} connections want more open files (ulimit -Hn)"))) }
}

// === impl Standing ===

impl Standing {
    async fn of(state: State, stage: &Stage) -> io::Result<Self> {
        let running = Contender::Monigate.start(stage, state.scene).await?;
        let walk = Walk::new('0', 0, Some(state.sessions));
        fill(&running, &walk).await?;
        let resident = |running: &Running| Resident::of(&running.server.processes()).0;
        let before = resident(&running);
        let idle = open(&running.target, state.idle, &path(&walk.id(0))).await?;
        let resident = (before, resident(&running));
        Ok(Self { state, running, walk, _idle: idle, resident, samples: Vec::new() })
    }

    async fn sample(&self, stage: &Stage) -> io::Result<Sample> {
        for _ in 0..ATTEMPTS {
            if let Some(sample) = self.attempt(stage).await? {
                return Ok(sample);
            }
        }
        Err(io::Error::other(format!("{}: threads end in every round, and their time is lost", self.state.label)))
    }

    /// None if it cannot be said what the server spent.
    async fn attempt(&self, stage: &Stage) -> io::Result<Option<Sample>> {
        let processes = self.running.server.processes();
        let (before, asked) = (Spent::by(&processes), stage.origin.answered().await?);
        let told = self.state.crowd.ask(stage, &self.running.target, &self.walk).await?;
        let spent = Spent::by(&processes).since(&before)?;
        if stage.origin.answered().await? != asked {
            return Err(io::Error::other(format!("{}: an answer was not kept", self.state.label)));
        }
        Ok(spent.map(|spent| Sample { cost: spent / told.requests, p99: told.p99 }))
    }

    /// What it costs to be asked for the metrics.
    async fn scrape(&self) -> io::Result<String> {
        let mut connection = Connection::to(&Target::plain(self.running.room.admin, "")).await?;
        let length = connection.ask("/metrics").await?.body.len();
        let processes = self.running.server.processes();
        let before = Spent::by(&processes);
        for _ in 0..SCRAPES {
            connection.ask("/metrics").await?;
        }
        let spent = Spent::by(&processes).since(&before)?.unwrap_or_default() / f64::from(SCRAPES);
        Ok(format!("{}: a scrape takes {spent:.0} µs of CPU time for {length} bytes.", self.state.label))
    }
}

/// Connections that have asked once.
async fn open(target: &Target, all: u32, path: &str) -> io::Result<Vec<Connection>> {
    let parts = (0..AT_A_TIME).map(async |part| {
        let mut open = Vec::new();
        for _ in (part..all).step_by(usize::try_from(AT_A_TIME).unwrap_or(1)) {
            let mut connection = Connection::to(target).await?;
            connection.ask(path).await?;
            open.push(connection);
        }
        Ok::<_, io::Error>(open)
    });
    Ok(try_join_all(parts).await?.into_iter().flatten().collect())
}

fn table(case: Case, all: &[Standing], notes: Vec<String>) -> Table {
    let base = all.first().map(|first| first.samples.as_slice()).unwrap_or_default();
    let rows = all.iter().map(|Standing { state, resident: (before, after), samples, .. }| {
        let ratio = |what: fn(&Sample) -> f64| {
            Spread::of(samples.iter().zip(base).map(|(sample, base)| what(sample) / what(base))).shown(2)
        };
        let cost = Spread::of(samples.iter().map(|sample| sample.cost));
        let each = match state.idle {
            0 => "-".to_owned(),
            idle => format!("{:.1}", (after - before) / 1024.0 / f64::from(idle)),
        };
        let cells = vec![
            cost.shown(2),
            ratio(|sample| sample.cost),
            Spread::of(samples.iter().map(|sample| sample.p99)).shown(0),
            ratio(|sample| sample.p99),
            format!("{:.0}", after / MIB),
            each,
        ];
        Row { label: state.label, cells, bar: Some(cost) }
    });
    Table {
        name: case.name(),
        title: "a hit over HTTP/1.1, and more of everything".to_owned(),
        unit: "µs of CPU time a request",
        columns: vec![
            "state",
            "CPU µs a request",
            "÷ the first",
            "p99, µs",
            "p99 ÷ the first",
            "resident, MiB",
            "KiB an idle connection",
        ],
        rows: rows.collect(),
        notes,
    }
}
