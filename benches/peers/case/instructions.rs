//! What a hit takes in instructions of the program itself, counted by callgrind: the same on a busy machine as on an idle
//! one, so that a change of a few percent shows. Owns the comparison with a figure that was held before. Knows nothing of
//! what the kernel does for a hit, which is most of its time.

use std::fs;
use std::io;
use std::path::Path;

use super::{Case, able};
use crate::bare::write_down;
use crate::contender::{Contender, Scene, answer_file};
use crate::load::Walk;
use crate::report::{Row, Table};
use crate::spread::Spread;
use crate::stage::Stage;
use crate::wire::{Connection, path};

/// Sessions that are asked for again and again.
const SESSIONS: u32 = 100;
/// How often, in two runs: what differs is the requests.
const FEW: u32 = 500;
const MANY: u32 = 3500;
/// By how much a hit may grow.
const LEEWAY: f64 = 1.05;

/// A server whose instructions are counted, and its ceiling.
const CONTENDERS: [Contender; 2] = [Contender::Monigate, Contender::Bare];

pub(crate) async fn run(case: Case, stage: &Stage) -> io::Result<Table> {
    let scene = Scene { counted: true, ..Scene::H1 };
    let (able, notes) = able(&CONTENDERS, stage, scene);
    let mut figures = Vec::new();
    for contender in able {
        let (few, many) = (count(stage, contender, scene, FEW).await?, count(stage, contender, scene, MANY).await?);
        figures.push((contender, (many - few) / f64::from(MANY - FEW)));
    }
    let of = |wanted| figures.iter().find_map(|(contender, figure)| (*contender == wanted).then_some(*figure));
    if let (Some(file), Some(ours)) = (&stage.held, of(Contender::Monigate)) {
        hold(file, ours)?;
    }
    let ceiling = of(Contender::Bare).unwrap_or(f64::NAN);
    let row = |(contender, figure): &(Contender, f64)| Row {
        label: contender.name(),
        cells: vec![format!("{figure:.0}"), format!("{:.2}", figure / ceiling)],
        bar: Some(Spread::of([*figure])),
    };
    Ok(Table {
        name: case.name(),
        title: "a hit over HTTP/1.1, in the program's own instructions".to_owned(),
        unit: "instructions a request",
        columns: vec!["server", "instructions a request", "÷ bare hyper"],
        rows: figures.iter().map(row).collect(),
        notes,
    })
}

/// The instructions of a whole run with so many requests for kept sessions, one after the other.
async fn count(stage: &Stage, contender: Contender, scene: Scene, requests: u32) -> io::Result<f64> {
    let running = contender.start(stage, scene).await?;
    let walk = Walk::new('0', 0, Some(SESSIONS));
    let mut connection = Connection::to(&running.target).await?;
    // The first time it is kept.
    for number in 0..SESSIONS {
        connection.ask(&path(&walk.id(number))).await?;
    }
    for number in 0..requests {
        let answer = connection.ask(&path(&walk.id(number % SESSIONS))).await?;
        if !answer.field("cache-status").starts_with("monigate; hit") {
            return Err(io::Error::other(format!("{}: no hit", contender.name())));
        }
        if contender == Contender::Monigate && number == 0 {
            write_down(&answer, &answer_file(stage))?;
        }
    }
    drop(connection);
    let room = running.end();
    let text = fs::read_to_string(room.counts())?;
    let total = text.lines().find_map(|line| line.strip_prefix("summary: ").or(line.strip_prefix("totals: ")));
    total.and_then(|total| total.trim().parse().ok()).ok_or_else(|| io::Error::other("callgrind counted nothing"))
}

/// An error if a hit takes notably more than the figure in this file.
fn hold(file: &Path, ours: f64) -> io::Result<()> {
    let text =
        fs::read_to_string(file).map_err(|error| io::Error::other(format!("--held {}: {error}", file.display())))?;
    let held = text.lines().find(|line| !line.starts_with('#')).and_then(|line| line.trim().parse::<f64>().ok());
    let held = held.ok_or_else(|| io::Error::other(format!("{}: no number", file.display())))?;
    let place = file.display();
    if ours > held * LEEWAY {
        return Err(io::Error::other(format!(
            "a hit takes {ours:.0} instructions, {:.1} % more than the {held:.0} of {place}: find out what for, or write \
             the new figure there and say in the commit what it buys",
            (ours / held - 1.0) * 100.0
        )));
    }
    if ours * LEEWAY < held {
        println!("\na hit takes {ours:.0} instructions and not {held:.0}: write that into {place}, so that it is held");
    }
    Ok(())
}
