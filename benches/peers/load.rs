//! The load: wrk for HTTP/1.1, h2load for HTTP/2, and what they say of a round. Owns that a round with a single answer
//! that is no 200, or a connection that broke, does not count.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io;
use std::process::Command;

use super::process::{LOAD_CORE, Started, pinned};
use super::stage::Stage;
use super::tools::Tool;
use super::wire::{Protocol, SPACE, Target, path, space_names};

const SCRIPT: &str = include_str!("config/walk.lua");

/// Which sessions are asked for. An id is a prefix of 19 and a number of 12.
#[derive(Debug, Clone)]
pub(crate) struct Walk {
    pub(crate) prefix: String,
    /// How many there are; none means a new one each time.
    pub(crate) sessions: Option<u32>,
    /// In how many spaces, in turn; over HTTP/1.1 alone.
    pub(crate) spaces: usize,
}

/// How many ask at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Crowd {
    pub(crate) connections: u32,
    /// On one connection.
    pub(crate) streams: u32,
}

/// How a round went.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Told {
    pub(crate) requests: f64,
    pub(crate) seconds: f64,
    /// Microseconds that 99 of 100 answers took at most; over HTTP/1.1 alone, zero over HTTP/2.
    pub(crate) p99: f64,
}

// === impl Protocol ===

impl Protocol {
    /// What makes load over it.
    pub(crate) fn load(self) -> Tool {
        match self {
            Self::H1 => Tool::Wrk,
            Self::H2 => Tool::H2load,
        }
    }
}

// === impl Walk ===

impl Walk {
    /// A kind of sessions: `0` settled, `p` pending, `w` slow; `tag` keeps them apart from others.
    pub(crate) fn new(kind: char, tag: u64, sessions: Option<u32>) -> Self {
        Self { prefix: format!("scs-{kind}{tag:014}"), sessions, spaces: 1 }
    }

    /// The same in so many spaces.
    pub(crate) fn across(self, spaces: usize) -> Self {
        Self { spaces, ..self }
    }

    pub(crate) fn id(&self, number: u32) -> String {
        format!("{}{number:012}", self.prefix)
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = String> {
        (0..self.sessions.unwrap_or(1)).map(|number| self.id(number))
    }
}

// === impl Crowd ===

impl Crowd {
    /// Asks for some seconds.
    pub(crate) async fn ask(self, stage: &Stage, target: &Target, walk: &Walk) -> io::Result<Told> {
        let (mut command, read): (_, fn(&str) -> Option<Told>) = match target.protocol {
            Protocol::H1 => (self.wrk(stage, target, walk)?, read_wrk),
            Protocol::H2 => (self.h2load(stage, target, walk)?, read_h2load),
        };
        let file = stage.file("load");
        let said = File::create(&file)?;
        let status = Started::spawn(command.stdout(said.try_clone()?).stderr(said))?.finished().await?;
        let said = fs::read_to_string(&file)?;
        let told = read(&said).filter(|told| status.success() && told.requests > 0.0);
        told.ok_or_else(|| io::Error::other(format!("a round that does not count:\n{}", said.trim())))
    }

    fn wrk(self, stage: &Stage, target: &Target, walk: &Walk) -> io::Result<Command> {
        let script = stage.file("walk.lua");
        fs::write(&script, SCRIPT)?;
        let mut command = program(stage, Protocol::H1)?;
        command.args(["-t1", &format!("-c{}", self.connections), &format!("-d{}s", stage.seconds)]);
        command.arg("-s").arg(script).args(["-H", &bearer(target), "-H", &space()]);
        command.arg(target.base()).arg("--").arg(&walk.prefix).arg(walk.sessions.unwrap_or(0).to_string());
        command.args(space_names(walk.spaces));
        Ok(command)
    }

    fn h2load(self, stage: &Stage, target: &Target, walk: &Walk) -> io::Result<Command> {
        let list = stage.file("targets");
        let mut lines = String::new();
        walk.ids().try_for_each(|id| writeln!(lines, "{}{}", target.base(), path(&id))).map_err(io::Error::other)?;
        fs::write(&list, lines)?;
        let mut command = program(stage, Protocol::H2)?;
        command.args(["-t1", &format!("-c{}", self.connections), &format!("-m{}", self.streams)]);
        command.arg(format!("-D{}", stage.seconds)).args(["-H", &bearer(target), "-H", &space()]);
        command.arg("-i").arg(list);
        Ok(command)
    }
}

fn program(stage: &Stage, protocol: Protocol) -> io::Result<Command> {
    let tool = protocol.load();
    let place = stage.tools.get(tool)?;
    Ok(pinned(LOAD_CORE, &place))
}

fn bearer(target: &Target) -> String {
    format!("authorization: Bearer {}", target.key)
}

fn space() -> String {
    format!("monime-space-id: {SPACE}")
}

/// The script's last line: requests, microseconds, answers that are errors, failures of connections, the 99th percentile.
fn read_wrk(said: &str) -> Option<Told> {
    let line = said.lines().find_map(|line| line.strip_prefix("peers: "))?;
    let numbers: Vec<f64> = line.split(' ').filter_map(|number| number.parse().ok()).collect();
    let [requests, microseconds, 0.0, 0.0, p99] = numbers.as_slice() else { return None };
    Some(Told { requests: *requests, seconds: microseconds / 1e6, p99: *p99 })
}

/// `finished in 2.00s, …`, `requests: … 0 failed, 0 errored, 0 timeout` and `status codes: 82533 2xx, 0 3xx, …`.
fn read_h2load(said: &str) -> Option<Told> {
    let line = |begin: &str| said.lines().find_map(|line| line.strip_prefix(begin));
    let before = |line: &str, word: &str| {
        let number = line.split(", ").find_map(|part| part.strip_suffix(word))?;
        number.trim().parse::<f64>().ok()
    };
    let requests = line("requests: ")?;
    let codes = line("status codes: ")?;
    let failed = ["failed", "errored", "timeout"].map(|word| before(requests, word));
    let others = ["3xx", "4xx", "5xx"].map(|word| before(codes, word));
    let seconds = line("finished in ")?.split(',').next().and_then(seconds)?;
    let clean = failed.iter().chain(&others).all(|number| *number == Some(0.0));
    clean.then_some(Told { requests: before(requests, "succeeded")?, seconds, p99: 0.0 })
}

/// `2.00s` or `998.12ms`.
fn seconds(text: &str) -> Option<f64> {
    let (number, unit) = text.strip_suffix("ms").map_or((text.strip_suffix('s')?, 1.0), |text| (text, 1e-3));
    number.parse::<f64>().ok().map(|number| number * unit)
}
