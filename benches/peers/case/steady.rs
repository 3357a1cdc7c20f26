//! Load round after round, each contender in turn: what a request costs in CPU time. Owns that a round in which the origin
//! was asked more or less often than it should does not count.

use std::io;

use tokio::time::Instant;

use super::Case;
use crate::accounting::Spent;
use crate::bare::write_down;
use crate::contender::{Contender, Running, Scene, answer_file};
use crate::gateway::BUDGET;
use crate::load::{Crowd, Walk};
use crate::report::{Row, Table};
use crate::spread::Spread;
use crate::stage::Stage;
use crate::wire::{Answer, Connection, path};

/// With less of its core than this a server often sleeps between two requests, and to wake up costs.
const STARVED: f64 = 0.5;
/// How often a round is begun in which a thread of the server ends, as nginx's cache loader does a minute after its start.
const ATTEMPTS: u64 = 3;
/// Different sessions that are asked for again and again.
const SESSIONS: u32 = 1000;

pub(crate) struct Steady {
    pub(crate) title: &'static str,
    pub(crate) scene: Scene,
    pub(crate) crowd: Crowd,
    pub(crate) asks: Asks,
    pub(crate) ceiling: Contender,
}

/// Which sessions are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asks {
    Kept,
    New,
    Pending,
}

struct Runner {
    running: Running,
    /// Of an answer, about.
    head: usize,
    /// One for each round.
    samples: Vec<Sample>,
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    /// Microseconds of CPU time for a request.
    cost: f64,
    /// Requests a second.
    rate: f64,
    /// How much of its core the server took.
    busy: f64,
}

// === impl Steady ===

impl Steady {
    pub(crate) async fn run(&self, case: Case, stage: &Stage) -> io::Result<Table> {
        let contenders = [
            // First: the ceiling repeats its answer.
            Contender::Monigate,
            self.ceiling,
            Contender::Nginx,
            Contender::Haproxy,
            Contender::HaproxyByBody,
            Contender::Varnish,
        ];
        let (able, left_out) = super::able(&contenders, stage, self.scene);
        let mut runners = Vec::new();
        let mut ours = None;
        for contender in able {
            let running = contender.start(stage, self.scene).await?;
            let answer = self.prepare(stage, &running, ours.as_ref()).await?;
            runners.push(Runner { running, head: answer.head_size(), samples: Vec::new() });
            ours.get_or_insert(answer);
        }
        let all = runners.len();
        for round in 0..=stage.rounds {
            // Each begins a round in turn, so that none always follows the same other.
            for turn in 0..all {
                let at = (turn + usize::try_from(round).unwrap_or_default()) % all;
                let Some(runner) = runners.get_mut(at) else { continue };
                let sample = self.sample(stage, &runner.running, round).await?;
                // The first one warms up.
                if round > 0 {
                    runner.samples.push(sample);
                }
            }
        }
        Ok(self.table(case, &runners, left_out))
    }

    fn walk(&self, tag: u64) -> Walk {
        let walk = match self.asks {
            Asks::Kept => Walk::new('0', 0, Some(SESSIONS)),
            Asks::Pending => Walk::new('p', 0, Some(SESSIONS)),
            Asks::New => Walk::new('c', tag, None),
        };
        walk.across(self.scene.spaces)
    }

    /// How often the origin should be asked for two lookups of one session.
    fn calls(&self, contender: Contender) -> u64 {
        if self.asks == Asks::Pending || !contender.is_whole() { 2 } else { 1 }
    }

    /// Has it prove itself, fills its cache, and takes one answer as everyone gets it from then on.
    async fn prepare(&self, stage: &Stage, running: &Running, ours: Option<&Answer>) -> io::Result<Answer> {
        let walk = self.walk(0);
        let proof = running.prove(stage, &walk.id(0), self.calls(running.contender)).await?;
        if self.asks != Asks::Kept {
            return Ok(proof);
        }
        let mut connection = Connection::to(&running.target).await?;
        for id in walk.ids() {
            connection.ask(&path(&id)).await?;
        }
        let answer = connection.ask(&path(&walk.id(0))).await?;
        if running.contender == Contender::Monigate {
            if !answer.field("cache-status").starts_with("monigate; hit") {
                return Err(io::Error::other("monigate does not call a hit one"));
            }
            write_down(&answer, &answer_file(stage))?;
        }
        let fields = |answer: &Answer| {
            let mut fields = answer.fields.clone();
            fields.remove(http::header::DATE);
            fields
        };
        let differs = |ours: &Answer| fields(ours) != fields(&answer) || ours.body != answer.body;
        if running.contender == Contender::Bare && ours.is_some_and(differs) {
            return Err(io::Error::other("the ceiling does not answer as monigate does"));
        }
        Ok(answer)
    }

    async fn sample(&self, stage: &Stage, running: &Running, round: u32) -> io::Result<Sample> {
        for attempt in 0..ATTEMPTS {
            // Other sessions each time.
            let walk = self.walk(1 + attempt + ATTEMPTS * u64::from(round));
            if let Some(sample) = self.attempt(stage, running, &walk).await? {
                return Ok(sample);
            }
        }
        Err(lost(running, &io::Error::other("threads of it end in every round, and their time is lost")))
    }

    /// None if it cannot be said what the server spent.
    async fn attempt(&self, stage: &Stage, running: &Running, walk: &Walk) -> io::Result<Option<Sample>> {
        let processes = running.server.processes();
        let asked = stage.origin.at_rest().await?;
        let (before, began) = (Spent::by(&processes), Instant::now());
        let told = self.crowd.ask(stage, &running.target, walk).await.map_err(|error| lost(running, &error))?;
        let spent = Spent::by(&processes).since(&before).map_err(|error| lost(running, &error))?;
        let elapsed = began.elapsed().as_secs_f64();
        let asked = stage.origin.at_rest().await? - asked;
        let calls = f64::from(u32::try_from(asked).unwrap_or(u32::MAX));
        if running.contender != Contender::Bare && !self.is_right(calls / told.requests, calls - told.requests) {
            let why = format!("the origin was asked {calls} times for {} requests", told.requests);
            return Err(lost(running, &io::Error::other(why)));
        }
        Ok(spent.map(|spent| Sample {
            cost: spent / told.requests,
            rate: told.requests / told.seconds,
            busy: spent / elapsed / 1e6,
        }))
    }

    /// Whether the origin was asked as often as it should: so much for each request, and so much oftener than there were
    /// requests, since the last ones are not waited for.
    fn is_right(&self, share: f64, more: f64) -> bool {
        let under_way = f64::from(self.crowd.connections * self.crowd.streams);
        match self.asks {
            Asks::Kept => share == 0.0,
            Asks::New => (0.0..=under_way).contains(&more),
            // Who asks for the same session at the same time may get the same answer.
            Asks::Pending => share > 0.9 && more <= under_way,
        }
    }

    /// What is to be known of the figures besides.
    fn notes(&self, runners: &[Runner], mut notes: Vec<String>) -> Vec<String> {
        let starved = runners.iter().filter(|runner| busy(&runner.samples) < STARVED);
        notes.extend(starved.map(|runner| {
            let name = runner.running.contender.name();
            format!("{name} had little to do: load or machine were too slow, and waking up is in its figure.")
        }));
        if self.asks != Asks::Kept {
            notes.push(format!(
                "monigate asks the origin at most {BUDGET} times a second for one token, its highest budget: callers ask in {} spaces in turn, each with a token of its own.",
                self.scene.spaces
            ));
        }
        if self.asks == Asks::Pending {
            notes.push(
                "nginx, HAProxy and Varnish forward here without a cache; HAProxy by body reads each.".to_owned(),
            );
        }
        notes
    }

    fn table(&self, case: Case, runners: &[Runner], left_out: Vec<String>) -> Table {
        let samples = |wanted: Contender| {
            let runner = runners.iter().find(|runner| runner.running.contender == wanted);
            runner.map(|runner| runner.samples.as_slice()).unwrap_or_default()
        };
        let (ceiling, ours) = (samples(self.ceiling), samples(Contender::Monigate));
        let ratio = |samples: &[Sample], base: &[Sample]| {
            Spread::of(samples.iter().zip(base).map(|(sample, base)| sample.cost / base.cost)).shown(2)
        };
        let rows = runners.iter().map(|Runner { running, head, samples }| {
            let cost = Spread::of(samples.iter().map(|sample| sample.cost));
            let cells = vec![
                cost.shown(2),
                ratio(samples, ceiling),
                ratio(samples, ours),
                format!("{:.0}", Spread::of(samples.iter().map(|sample| sample.rate)).median),
                format!("{:.0} %", 100.0 * busy(samples)),
                head.to_string(),
            ];
            Row { label: running.contender.name(), cells, bar: Some(cost) }
        });
        let rows = rows.collect();
        Table {
            name: case.name(),
            title: self.title.to_owned(),
            unit: "µs of CPU time a request",
            columns: vec![
                "server",
                "CPU µs a request",
                "÷ bare hyper",
                "÷ monigate",
                "requests/s",
                "of its core",
                "head, bytes",
            ],
            rows,
            notes: self.notes(runners, left_out),
        }
    }
}

/// How much of its core a server took, as a rule.
fn busy(samples: &[Sample]) -> f64 {
    Spread::of(samples.iter().map(|sample| sample.busy)).median
}

fn lost(running: &Running, error: &io::Error) -> io::Error {
    io::Error::other(format!("{}: {error}", running.contender.name()))
}
