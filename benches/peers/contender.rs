//! Who takes part, and how each is started and known to do its job. What each is configured with is in a file of its own;
//! this one owns what is the same for all: one core, one worker, a key that is checked, a cache by space and path.

use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use super::process::{SERVER_CORE, Started, free_address, pinned};
use super::stage::Stage;
use super::tools::Tool;
use super::wire::{Answer, Protocol, Target, path};
use super::{gateway, haproxy, nginx, varnish};

/// How long a server may take to start.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contender {
    Monigate,
    /// hyper that returns monigate's answer and knows nothing else.
    Bare,
    /// hyper that asks the origin each time and knows nothing else.
    Forward,
    Nginx,
    Haproxy,
    /// HAProxy that reads bodies to decide what it keeps.
    HaproxyByBody,
    Varnish,
}

/// What a case wants of a server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scene {
    pub(crate) protocol: Protocol,
    pub(crate) tls: bool,
    /// Whether those that cannot tell a pending session by its body cache at all.
    pub(crate) keeps: bool,
    /// The most that the cache may take, in MiB.
    pub(crate) memory: u32,
    /// Whether its instructions are counted, which makes it slow.
    pub(crate) counted: bool,
    /// In how many spaces callers ask in turn. monigate asks Monime so often for each that one is not enough.
    pub(crate) spaces: usize,
    /// How many callers monigate knows.
    pub(crate) callers: u32,
    /// Whether idle connections may stay as long as a bench takes.
    pub(crate) patient: bool,
}

/// Where a server finds things.
pub(crate) struct Room {
    pub(crate) address: SocketAddr,
    /// Where monigate shows its metrics.
    pub(crate) admin: SocketAddr,
    pub(crate) folder: TempDir,
    pub(crate) cache: TempDir,
}

/// A server that answers.
pub(crate) struct Running {
    pub(crate) contender: Contender,
    pub(crate) target: Target,
    /// From its start to its first answer.
    pub(crate) start: Duration,
    // Before its room: ended first, cleared away then.
    pub(crate) server: Started,
    pub(crate) room: Room,
}

// === impl Scene ===

impl Scene {
    pub(crate) const H1: Self = Self {
        protocol: Protocol::H1,
        tls: false,
        keeps: true,
        memory: 64,
        counted: false,
        spaces: 1,
        callers: 1,
        patient: false,
    };
}

// === impl Room ===

impl Room {
    /// Where the instructions are that were counted, once the server has ended.
    pub(crate) fn counts(&self) -> PathBuf {
        self.folder.path().join("counts")
    }
}

// === impl Contender ===

impl Contender {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Monigate => "monigate",
            Self::Bare => "bare hyper, same answer",
            Self::Forward => "bare hyper, forwarding",
            Self::Nginx => "nginx",
            Self::Haproxy => "HAProxy",
            Self::HaproxyByBody => "HAProxy, by body",
            Self::Varnish => "Varnish",
        }
    }

    fn tool(self) -> Option<Tool> {
        match self {
            Self::Monigate | Self::Bare | Self::Forward => None,
            Self::Nginx => Some(Tool::Nginx),
            Self::Haproxy | Self::HaproxyByBody => Some(Tool::Haproxy),
            Self::Varnish => Some(Tool::Varnish),
        }
    }

    /// Its program; this executable for those that are built in.
    pub(crate) fn program(self, stage: &Stage) -> io::Result<PathBuf> {
        match self.tool() {
            Some(tool) => stage.tools.get(tool),
            None if self == Self::Monigate => Ok(PathBuf::from(env!("CARGO_BIN_EXE_monigate"))),
            None => std::env::current_exe(),
        }
    }

    /// Why it does not take part.
    pub(crate) fn lacks(self, stage: &Stage, scene: Scene) -> Option<String> {
        let missing = self.tool().filter(|tool| stage.tools.place(*tool).is_none());
        match missing {
            Some(tool) => Some(tool.missing()),
            None if self == Self::Varnish && scene.tls => Some("speaks no TLS by itself".to_owned()),
            None => None,
        }
    }

    fn command(self, stage: &Stage, scene: Scene, room: &Room) -> io::Result<Command> {
        let program = self.program(stage)?;
        let mut command = if scene.counted {
            counted(&stage.tools.get(Tool::Valgrind)?, &program, room)
        } else {
            pinned(SERVER_CORE, &program)
        };
        match self {
            Self::Monigate => gateway::configure(&mut command, stage, scene, room)?,
            Self::Nginx => nginx::configure(&mut command, stage, scene, room)?,
            Self::Haproxy | Self::HaproxyByBody => {
                haproxy::configure(&mut command, stage, scene, room, self == Self::HaproxyByBody)?;
            }
            Self::Varnish => varnish::configure(&mut command, stage, scene, room)?,
            Self::Bare => {
                let protocol = if scene.protocol == Protocol::H2 { "h2" } else { "h1" };
                command.args(["serve-bare", protocol, &room.address.to_string()]).arg(answer_file(stage));
                scene.tls.then(|| command.arg(stage.tls()));
            }
            Self::Forward => {
                command.arg("serve-forward").arg(room.address.to_string()).arg(stage.origin.address.to_string());
            }
        }
        Ok(command)
    }

    /// Starts it, and waits for its first answer, to a request without a key.
    pub(crate) async fn start(self, stage: &Stage, scene: Scene) -> io::Result<Running> {
        let (address, admin) = (free_address()?, free_address()?);
        let room = Room { address, admin, folder: tempfile::tempdir()?, cache: stage.cache()? };
        let mut command = self.command(stage, scene, &room)?;
        let said = File::create(room.folder.path().join("said"))?;
        command.stdout(said.try_clone()?).stderr(said);
        let target = Target {
            address: room.address,
            protocol: scene.protocol,
            tls: scene.tls.then(|| std::sync::Arc::clone(&stage.client_tls)),
            key: String::new(),
        };
        let began = Instant::now();
        let mut server = Started::spawn(&mut command)?;
        while let Err(error) = target.ask(&path("scs-1")).await {
            let up = if began.elapsed() < PATIENCE { server.is_up() } else { Err(error) };
            up.map_err(|error| self.failed(&error, room.folder.path()))?;
            sleep(Duration::from_millis(1)).await;
        }
        let target = Target { key: stage.key.clone(), ..target };
        Ok(Running { contender: self, target, start: began.elapsed(), server, room })
    }

    fn failed(self, error: &io::Error, folder: &Path) -> io::Error {
        let said = fs::read_to_string(folder.join("said")).unwrap_or_default();
        io::Error::other(format!("{} does not come up: {error}\n{}", self.name(), said.trim()))
    }
}

/// A command whose instructions are counted into its room.
fn counted(valgrind: &Path, program: &Path, room: &Room) -> Command {
    let mut command = pinned(SERVER_CORE, valgrind);
    command.arg("--tool=callgrind").arg(format!("--callgrind-out-file={}", room.counts().display()));
    // One worker, as one core has: how many there are is not to depend on the machine.
    command.env("TOKIO_WORKER_THREADS", "1").arg(program);
    command
}

// === impl Running ===

impl Running {
    /// Ends the server; what it left in its room is there until that goes.
    pub(crate) fn end(self) -> Room {
        let Self { server, room, .. } = self;
        drop(server);
        room
    }

    /// That it checks the key, passes the origin's very bytes, and asks the origin as often as it should: the second
    /// answer. `calls`: how often for two lookups of one session.
    pub(crate) async fn prove(&self, stage: &Stage, id: &str, calls: u64) -> io::Result<Answer> {
        let wrong = |what: String| Err(io::Error::other(format!("{}: {what}", self.contender.name())));
        let word = stage.origin.word(id).await?;
        let stranger = Target { key: String::new(), ..self.target.clone() }.ask(&path(id)).await?;
        if self.contender.is_whole() && stranger.status.as_u16() != 401 {
            return wrong(format!("answers {} to who has no key", stranger.status));
        }
        let before = stage.origin.answered().await?;
        let mut connection = super::wire::Connection::to(&self.target).await?;
        connection.ask(&path(id)).await?;
        let answer = connection.ask(&path(id)).await?;
        if answer.status.as_u16() != 200 || (self.contender != Contender::Bare && answer.body != word.body) {
            let body = String::from_utf8_lossy(&answer.body);
            return wrong(format!("{} and not what the origin says: {body:.300}", answer.status));
        }
        let asked = stage.origin.answered().await? - before;
        if self.contender != Contender::Bare && asked != calls {
            return wrong(format!("asked the origin {asked} times for two lookups, and should {calls}"));
        }
        Ok(answer)
    }

    /// What it keeps outside its own memory: nginx's cache is files. Varnish's are its log, which its memory has in it.
    pub(crate) fn in_files(&self) -> f64 {
        if self.contender == Contender::Nginx { super::accounting::on_disk(self.room.cache.path()) } else { 0.0 }
    }
}

impl Contender {
    /// Whether it does the whole job; the others are ceilings.
    pub(crate) fn is_whole(self) -> bool {
        !matches!(self, Self::Bare | Self::Forward)
    }
}

/// Where monigate's answer is for [`Contender::Bare`].
pub(crate) fn answer_file(stage: &Stage) -> PathBuf {
    stage.file("answer")
}

/// A template with its words in place; those stand between at-signs.
pub(crate) fn fill(template: &str, words: &[(&str, String)]) -> String {
    words.iter().fold(template.to_owned(), |text, (word, value)| text.replace(&format!("@{word}@"), value))
}
