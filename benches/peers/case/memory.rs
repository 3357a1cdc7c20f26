//! What a server is and takes: its size, its start, its memory at rest, and its memory with very many kept answers. What is
//! kept in files of a file system in memory is memory too.

use std::fs;
use std::io;

use futures_util::future::try_join_all;

use super::{Case, able};
use crate::accounting::Resident;
use crate::contender::{Contender, Running, Scene};
use crate::load::Walk;
use crate::report::{Row, Table};
use crate::spread::Spread;
use crate::stage::Stage;
use crate::wire::{Connection, path};

const ANSWERS: u32 = 100_000;
const CONNECTIONS: u32 = 16;
/// How often it is started.
const STARTS: u32 = 5;
/// Of a thousand, so many are asked for again, to see that they were kept.
const LOOKED_AT: usize = 97;
const MIB: f64 = 1024.0 * 1024.0;

const CONTENDERS: [Contender; 4] = [Contender::Monigate, Contender::Nginx, Contender::Haproxy, Contender::Varnish];

pub(crate) async fn run(case: Case, stage: &Stage) -> io::Result<Table> {
    let (able, mut notes) = able(&CONTENDERS, stage, Scene::H1);
    let mut rows = Vec::new();
    for contender in able {
        let scene = Scene { memory: room(contender), ..Scene::H1 };
        let row = row(stage, contender, scene).await;
        rows.push(row.map_err(|error| io::Error::other(format!("{}: {error}", contender.name())))?);
    }
    notes.push("Programs: the others' are without the libraries that they load; monigate's holds its own.".into());
    notes.push("HAProxy takes all that its cache may have at once; of Varnish's memory its log is 80 MiB.".into());
    Ok(Table {
        name: case.name(),
        title: format!("what a server takes: at rest, and with {ANSWERS} kept answers"),
        unit: "MiB with all answers, memory and files in memory",
        columns: vec![
            "server",
            "program, MiB",
            "start to first answer, ms",
            "resident at rest, MiB",
            "resident full, MiB",
            "files full, MiB",
            "all ÷ bodies",
        ],
        rows,
        notes,
    })
}

/// What the cache may take, in MiB: more than all answers need. HAProxy takes it at once, so as much as its blocks of 1 KiB
/// need for them, two each.
fn room(contender: Contender) -> u32 {
    if contender == Contender::Haproxy { 256 } else { 768 }
}

async fn row(stage: &Stage, contender: Contender, scene: Scene) -> io::Result<Row> {
    let mut starts = Vec::new();
    for _ in 1..STARTS {
        starts.push(contender.start(stage, scene).await?.start.as_secs_f64() * 1e3);
    }
    let running = contender.start(stage, scene).await?;
    starts.push(running.start.as_secs_f64() * 1e3);
    let rest = Resident::of(&running.server.processes()).0;
    let walk = Walk::new('0', 0, Some(ANSWERS));
    let bodies = fill(&running, &walk).await?;
    let (full, files) = (Resident::of(&running.server.processes()).0, running.in_files());
    kept(stage, &running, &walk).await?;
    let program = size(&contender.program(stage)?);
    let all = Spread::of([(full + files) / MIB]);
    let cells = vec![
        format!("{:.1}", program / MIB),
        Spread::of(starts).shown(0),
        format!("{:.1}", rest / MIB),
        format!("{:.0}", full / MIB),
        format!("{:.0}", files / MIB),
        format!("{:.2}", (full + files) / bodies),
    ];
    Ok(Row { label: contender.name(), cells, bar: Some(all) })
}

/// Asks for every session once; the bytes of all bodies.
pub(super) async fn fill(running: &Running, walk: &Walk) -> io::Result<f64> {
    let parts = (0..CONNECTIONS).map(async |part| {
        let mut connection = Connection::to(&running.target).await?;
        let mut bytes = 0.0;
        for number in (part..walk.sessions.unwrap_or(1)).step_by(usize::try_from(CONNECTIONS).unwrap_or(1)) {
            let answer = connection.ask(&path(&walk.id(number))).await?;
            if answer.status.as_u16() != 200 {
                return Err(io::Error::other(format!("answers {}", answer.status)));
            }
            bytes += f64::from(u32::try_from(answer.body.len()).unwrap_or(u32::MAX));
        }
        Ok(bytes)
    });
    Ok(try_join_all(parts).await?.into_iter().sum())
}

/// An error if some of them have to be asked for again.
async fn kept(stage: &Stage, running: &Running, walk: &Walk) -> io::Result<()> {
    let before = stage.origin.answered().await?;
    let mut connection = Connection::to(&running.target).await?;
    for number in (0..ANSWERS).step_by(LOOKED_AT) {
        connection.ask(&path(&walk.id(number))).await?;
    }
    match stage.origin.answered().await? - before {
        0 => Ok(()),
        gone => Err(io::Error::other(format!("{gone} answers were not kept, of every {LOOKED_AT}th"))),
    }
}

/// Of a program, wherever it is found.
fn size(program: &std::path::Path) -> f64 {
    let places = ["", "/usr/sbin", "/usr/bin"].map(|folder| std::path::Path::new(folder).join(program));
    let length = places.iter().find_map(|place| fs::metadata(place).ok()).map_or(0, |data| data.len());
    f64::from(u32::try_from(length).unwrap_or(u32::MAX))
}
