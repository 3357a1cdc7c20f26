//! What a server adds to a lookup that the origin must answer: one connection, one request at a time, next to asking the
//! origin directly.

use std::io;

use tokio::time::Instant;

use super::{Case, Cast, cast};
use crate::contender::{Contender, Scene};
use crate::load::Walk;
use crate::report::{Row, Table};
use crate::spread::Spread;
use crate::stage::Stage;
use crate::wire::{Connection, Target, path};

/// Lookups of a round.
const LOOKUPS: u32 = 500;

const CONTENDERS: [Contender; 6] = [
    Contender::Monigate,
    Contender::Forward,
    Contender::Nginx,
    Contender::Haproxy,
    Contender::HaproxyByBody,
    Contender::Varnish,
];

pub(crate) async fn run(case: Case, stage: &Stage) -> io::Result<Table> {
    let Cast { running, left_out } = cast(&CONTENDERS, stage, Scene::H1).await?;
    let mut asked = vec![("the origin, directly", stage.origin.target(), Vec::new())];
    asked.extend(running.iter().map(|running| (running.contender.name(), running.target.clone(), Vec::new())));
    let all = asked.len();
    for round in 0..=stage.rounds {
        for turn in 0..all {
            let at = (turn + usize::try_from(round).unwrap_or_default()) % all;
            let Some((name, target, medians)) = asked.get_mut(at) else { continue };
            let median = median(target, &Walk::new('c', u64::from(round), Some(LOOKUPS))).await;
            let median = median.map_err(|error| io::Error::other(format!("{name}: {error}")))?;
            if round > 0 {
                medians.push(median);
            }
        }
    }
    let direct = asked.first().map(|(_, _, medians)| medians.clone()).unwrap_or_default();
    let rows = asked.into_iter().map(|(label, _, medians)| {
        let (all, more) = (Spread::of(medians.iter().copied()), medians.iter().zip(&direct));
        let added = Spread::of(more.map(|(median, direct)| median - direct));
        Row { label, cells: vec![all.shown(0), added.shown(0)], bar: Some(added) }
    });
    Ok(Table {
        name: case.name(),
        title: format!("a miss over one connection, medians of {LOOKUPS} lookups one after the other"),
        unit: "µs added to the origin's own",
        columns: vec!["asked", "µs", "µs added"],
        rows: rows.collect(),
        notes: left_out,
    })
}

/// Microseconds.
async fn median(target: &Target, walk: &Walk) -> io::Result<f64> {
    let mut connection = Connection::to(target).await?;
    let mut taken = Vec::new();
    for id in walk.ids() {
        let began = Instant::now();
        let answer = connection.ask(&path(&id)).await?;
        taken.push(began.elapsed().as_secs_f64() * 1e6);
        if answer.status.as_u16() != 200 {
            return Err(io::Error::other(format!("answers {}", answer.status)));
        }
    }
    Ok(Spread::of(taken).median)
}
