//! A crowd for one session that nobody has asked for before, on connections that are open, in front of a slow origin: how
//! often the origin is asked, and when the last one has its answer.

use std::io;

use futures_util::future::try_join_all;
use tokio::time::Instant;

use super::{Case, Cast, cast};
use crate::contender::{Contender, Running, Scene};
use crate::load::Walk;
use crate::origin::WAIT;
use crate::report::{Row, Table};
use crate::spread::Spread;
use crate::stage::Stage;
use crate::wire::{Connection, path};

const CROWD: u32 = 64;
const REPEATS: u32 = 10;

const CONTENDERS: [Contender; 4] = [Contender::Monigate, Contender::Nginx, Contender::Haproxy, Contender::Varnish];

/// What became of one crowd: calls to the origin, and the slowest answer's milliseconds.
type Met = (f64, f64);

pub(crate) async fn run(case: Case, stage: &Stage) -> io::Result<Table> {
    let Cast { running, left_out } = cast(&CONTENDERS, stage, Scene::H1).await?;
    let mut met: Vec<Vec<Met>> = running.iter().map(|_| Vec::new()).collect();
    for repeat in 0..REPEATS {
        for (running, met) in running.iter().zip(&mut met) {
            let crowd = crowd(stage, running, &Walk::new('w', u64::from(repeat), None).id(0)).await;
            met.push(crowd.map_err(|error| io::Error::other(format!("{}: {error}", running.contender.name())))?);
        }
    }
    let rows = running.iter().zip(met).map(|(running, met)| {
        let calls = Spread::of(met.iter().map(|(calls, _)| *calls));
        let slowest = Spread::of(met.iter().map(|(_, slowest)| *slowest));
        Row { label: running.contender.name(), cells: vec![calls.shown(0), slowest.shown(0)], bar: Some(slowest) }
    });
    Ok(Table {
        name: case.name(),
        title: format!("{CROWD} lookups of one new session at once, origin {} ms, {REPEATS} times", WAIT.as_millis()),
        unit: "ms to the last answer",
        columns: vec!["server", "calls to the origin", "ms to the last answer"],
        rows: rows.collect(),
        notes: left_out,
    })
}

async fn crowd(stage: &Stage, running: &Running, id: &str) -> io::Result<Met> {
    let mut connections = try_join_all((0..CROWD).map(|_| Connection::to(&running.target))).await?;
    let before = stage.origin.answered().await?;
    let (target, began) = (path(id), Instant::now());
    let answers = try_join_all(connections.iter_mut().map(|connection| connection.ask(&target))).await?;
    let slowest = began.elapsed().as_secs_f64() * 1e3;
    let calls = stage.origin.answered().await? - before;
    let word = stage.origin.word(id).await?;
    if answers.iter().any(|answer| answer.status.as_u16() != 200 || answer.body != word.body) {
        return Err(io::Error::other("not everyone got the origin's answer"));
    }
    Ok((f64::from(u32::try_from(calls).unwrap_or(u32::MAX)), slowest))
}
