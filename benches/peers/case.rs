//! What is measured: each case by name, what it is about, and about how long it takes. How is with `case/`.

#[path = "case/cold.rs"]
mod cold;
#[path = "case/latency.rs"]
mod latency;
#[path = "case/memory.rs"]
mod memory;
#[path = "case/steady.rs"]
mod steady;

use std::io;
use std::time::Duration;

use super::contender::{Contender, Running, Scene};
use super::load::{Crowd, Walk};
use super::report::Table;
use super::stage::Stage;
use super::wire::Protocol;
use steady::{Asks, Steady};

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
}

/// Servers started one after the other, and why the others were not.
struct Cast {
    running: Vec<Running>,
    left_out: Vec<String>,
}

impl Case {
    pub(crate) const ALL: [Self; 9] = [
        Self::HitH1,
        Self::HitH2c64x1,
        Self::HitH2c4x16,
        Self::HitTls,
        Self::MissH1,
        Self::MissLatency,
        Self::Pending,
        Self::Cold64,
        Self::Memory,
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
        }
    }

    pub(crate) async fn run(self, stage: &Stage) -> io::Result<Table> {
        match self {
            Self::MissLatency => latency::run(self, stage).await,
            Self::Cold64 => cold::run(self, stage).await,
            Self::Memory => memory::run(self, stage).await,
            steady => match steady.steady() {
                Some(how) => how.run(self, stage).await,
                None => Err(io::Error::other("a case that nobody runs")),
            },
        }
    }

    /// Longer than it should take, on a machine that is not quite idle.
    pub(crate) fn bound(self, rounds: u32, seconds: u32) -> Duration {
        let rounds = rounds + 1;
        let seconds = match self {
            Self::MissLatency => 60 + rounds * 6 * 5,
            Self::Cold64 => 60 + 10 * 5 * 3,
            Self::Memory => 600,
            _ => 60 + rounds * 7 * (seconds + 2),
        };
        Duration::from_secs(u64::from(seconds))
    }

    /// How the cases go in which load is made round after round.
    fn steady(self) -> Option<Steady> {
        let many = Crowd { connections: 64, streams: 1 };
        let h2 = Scene { protocol: Protocol::H2, ..Scene::H1 };
        let hit = Steady {
            title: "a hit over HTTP/1.1, 64 kept connections",
            scene: Scene::H1,
            crowd: many,
            asks: Asks::Kept,
            ceiling: Contender::Bare,
        };
        let forwards = Steady { ceiling: Contender::Forward, ..hit };
        match self {
            Self::HitH1 => Some(hit),
            Self::HitH2c64x1 => {
                Some(Steady { title: "a hit over HTTP/2 (h2c), 64 connections of 1 stream", scene: h2, ..hit })
            }
            Self::HitH2c4x16 => Some(Steady {
                title: "a hit over HTTP/2 (h2c), 4 connections of 16 streams",
                scene: h2,
                crowd: Crowd { connections: 4, streams: 16 },
                ..hit
            }),
            Self::HitTls => {
                let scene = Scene { tls: true, ..Scene::H1 };
                Some(Steady { title: "a hit over HTTP/1.1 and TLS, 64 kept connections", scene, ..hit })
            }
            Self::MissH1 => Some(Steady {
                title: "a miss over HTTP/1.1, 64 kept connections, every session for the first time",
                asks: Asks::New,
                ..forwards
            }),
            Self::Pending => Some(Steady {
                title: "a pending session over HTTP/1.1, 64 kept connections, never kept",
                scene: Scene { keeps: false, ..Scene::H1 },
                asks: Asks::Pending,
                ..forwards
            }),
            Self::MissLatency | Self::Cold64 | Self::Memory => None,
        }
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
