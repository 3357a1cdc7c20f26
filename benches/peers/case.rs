//! What is measured: each case by name, what it is about, and about how long it takes. How is with `case/`.

#[path = "case/cold.rs"]
mod cold;
#[path = "case/instructions.rs"]
mod instructions;
#[path = "case/latency.rs"]
mod latency;
#[path = "case/memory.rs"]
mod memory;
#[path = "case/scale.rs"]
mod scale;
#[path = "case/steady.rs"]
mod steady;

use std::io;
use std::time::Duration;

use super::contender::{Contender, Running, Scene};
use super::load::{Crowd, Walk};
use super::report::Table;
use super::stage::Stage;
use super::tools::Tool;
use super::wire::Protocol;
use steady::{Asks, Steady};

/// Spaces in which what must be forwarded is asked for: budgets are for a token, and with as many of them as there are
/// spaces none is reached by what one core can do.
const SPACES: usize = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Case {
    HitH1,
    HitH2c64x1,
    HitH2c4x16,
    HitTls,
    MissH1,
    MissLatency,
    Pending,
    Cold64,
    Memory,
    Scale,
    Instructions,
}

/// How it is measured.
enum How {
    /// Load round after round.
    Steady(Steady),
    Latency,
    Cold,
    Memory,
    Scale,
    Instructions,
}

/// Servers started one after the other, and why the others were not.
struct Cast {
    running: Vec<Running>,
    left_out: Vec<String>,
}

impl Case {
    pub(crate) const ALL: [Self; 11] = [
        Self::HitH1,
        Self::HitH2c64x1,
        Self::HitH2c4x16,
        Self::HitTls,
        Self::MissH1,
        Self::MissLatency,
        Self::Pending,
        Self::Cold64,
        Self::Memory,
        Self::Scale,
        Self::Instructions,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::HitH1 => "hit-h1",
            Self::HitH2c64x1 => "hit-h2c-64x1",
            Self::HitH2c4x16 => "hit-h2c-4x16",
            Self::HitTls => "hit-tls",
            Self::MissH1 => "miss-h1",
            Self::MissLatency => "miss-latency",
            Self::Pending => "pending",
            Self::Cold64 => "cold-64",
            Self::Memory => "memory",
            Self::Scale => "scale",
            Self::Instructions => "instructions",
        }
    }

    pub(crate) async fn run(self, stage: &Stage) -> io::Result<Table> {
        match self.how() {
            How::Steady(how) => how.run(self, stage).await,
            How::Latency => latency::run(self, stage).await,
            How::Cold => cold::run(self, stage).await,
            How::Memory => memory::run(self, stage).await,
            How::Scale => scale::run(self, stage).await,
            How::Instructions => instructions::run(self, stage).await,
        }
    }

    /// Why it cannot be measured here.
    pub(crate) fn lacks(self, stage: &Stage) -> Option<String> {
        let tool = match self.how() {
            How::Steady(how) => how.scene.protocol.load(),
            How::Scale => Tool::Wrk,
            How::Instructions => Tool::Valgrind,
            How::Latency | How::Cold | How::Memory => return None,
        };
        stage.tools.place(tool).is_none().then(|| tool.missing())
    }

    /// Longer than it should take, on a machine that is not quite idle.
    pub(crate) fn bound(self, rounds: u32, seconds: u32) -> Duration {
        let rounds = rounds + 1;
        let seconds = match self.how() {
            How::Steady(_) => 60 + rounds * 7 * (seconds + 2),
            How::Latency => 60 + rounds * 7 * 3,
            How::Cold => 120,
            How::Instructions => 300,
            How::Memory => 600,
            How::Scale => 900 + rounds * 6 * (seconds + 2),
        };
        Duration::from_secs(u64::from(seconds))
    }

    fn how(self) -> How {
        let many = Crowd { connections: 64, streams: 1 };
        let h2 = Scene { protocol: Protocol::H2, ..Scene::H1 };
        let hit = Steady {
            title: "a hit over HTTP/1.1, 64 kept connections",
            scene: Scene::H1,
            crowd: many,
            asks: Asks::Kept,
            ceiling: Contender::Bare,
        };
        let scene = Scene { spaces: SPACES, ..Scene::H1 };
        let forwards = Steady { scene, ceiling: Contender::Forward, ..hit };
        How::Steady(match self {
            Self::HitH1 => hit,
            Self::HitH2c64x1 => {
                Steady { title: "a hit over HTTP/2 (h2c), 64 connections of 1 stream", scene: h2, ..hit }
            }
            Self::HitH2c4x16 => Steady {
                title: "a hit over HTTP/2 (h2c), 4 connections of 16 streams",
                scene: h2,
                crowd: Crowd { connections: 4, streams: 16 },
                ..hit
            },
            Self::HitTls => Steady {
                title: "a hit over HTTP/1.1 and TLS, 64 kept connections",
                scene: Scene { tls: true, ..Scene::H1 },
                ..hit
            },
            Self::MissH1 => Steady {
                title: "a miss over HTTP/1.1, 64 kept connections, every session for the first time",
                asks: Asks::New,
                ..forwards
            },
            Self::Pending => Steady {
                title: "a pending session over HTTP/1.1, 64 kept connections, never kept",
                scene: Scene { keeps: false, ..scene },
                asks: Asks::Pending,
                ..forwards
            },
            Self::MissLatency => return How::Latency,
            Self::Cold64 => return How::Cold,
            Self::Memory => return How::Memory,
            Self::Scale => return How::Scale,
            Self::Instructions => return How::Instructions,
        })
    }
}

/// Those that take part of these.
fn able(contenders: &[Contender], stage: &Stage, scene: Scene) -> (Vec<Contender>, Vec<String>) {
    let mut able = Vec::new();
    let mut left_out = Vec::new();
    for contender in contenders {
        match contender.lacks(stage, scene) {
            None => able.push(*contender),
            Some(why) => left_out.push(format!("{} is left out: {why}.", contender.name())),
        }
    }
    (able, left_out)
}

/// Starts those that take part of these, and has each prove that it keeps what it should.
async fn cast(contenders: &[Contender], stage: &Stage, scene: Scene) -> io::Result<Cast> {
    let (able, left_out) = able(contenders, stage, scene);
    let proof = Walk::new('0', 0, None).id(0);
    let mut running = Vec::new();
    for contender in able {
        let server = contender.start(stage, scene).await?;
        server.prove(stage, &proof, if contender.is_whole() { 1 } else { 2 }).await?;
        running.push(server);
    }
    Ok(Cast { running, left_out })
}
