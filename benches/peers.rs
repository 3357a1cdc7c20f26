//! monigate next to nginx, HAProxy, Varnish and bare hyper, doing the same job on the same machine:
//! `cargo bench --bench peers`, or a part of it with `-- --case hit-h1 --rounds 5`.
//!
//! Each server is configured for this job as its own people would (`peers/config`), checks a caller's key, caches by space
//! and path, and shows that before it is measured. One core for the server, another for load and origin; rounds in turn;
//! the figure is the operating system's own account of the time that the server's processes ran on a CPU, for each
//! request, and its ratio to the others of the same round. Needs Linux, and of Debian's packages nginx-light, haproxy,
//! varnish, wrk, nghttp2-client and valgrind: what is missing is said and left out, or with `--require-all` a failure. Stays on
//! loopback, within a time that it says, and ends only what it started.

#![expect(clippy::print_stdout, reason = "a bench talks to a person and ends with its figures")]

#[path = "peers/accounting.rs"]
mod accounting;
#[path = "peers/arguments.rs"]
mod arguments;
#[path = "peers/bare.rs"]
mod bare;
#[path = "peers/case.rs"]
mod case;
#[path = "peers/contender.rs"]
mod contender;
#[path = "peers/gateway.rs"]
mod gateway;
#[path = "peers/haproxy.rs"]
mod haproxy;
#[path = "peers/load.rs"]
mod load;
#[path = "peers/nginx.rs"]
mod nginx;
#[path = "peers/origin.rs"]
mod origin;
#[path = "peers/plot.rs"]
mod plot;
#[path = "peers/process.rs"]
mod process;
#[path = "peers/report.rs"]
mod report;
#[path = "peers/spread.rs"]
mod spread;
#[path = "peers/stage.rs"]
mod stage;
#[path = "peers/tools.rs"]
mod tools;
#[path = "peers/varnish.rs"]
mod varnish;
#[path = "peers/wire.rs"]
mod wire;

use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use arguments::Arguments;
use load::Walk;
use report::Table;
use stage::Stage;
use tools::{Tool, Tools};
use wire::Protocol;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["serve-origin", address] => origin::serve(address),
        ["serve-forward", address, origin] => {
            origin.parse().map_err(io::Error::other).and_then(|origin| bare::forward(address, origin))
        }
        ["serve-bare", protocol, address, file, tls @ ..] => {
            let protocol = if *protocol == "h2" { Protocol::H2 } else { Protocol::H1 };
            bare::serve(protocol, address, Path::new(file), tls.first().map(Path::new))
        }
        _ => match Arguments::of(arguments.into_iter()) {
            Ok(arguments) => compare(&arguments),
            Err(why) => {
                println!("peers: {why}");
                return ExitCode::from(2);
            }
        },
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("peers: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Everything that was asked for, within its time. Whatever ends it, all that was started ends with it.
fn compare(arguments: &Arguments) -> io::Result<()> {
    let tools = Tools::look();
    let missing: Vec<String> = tools.missing().into_iter().map(Tool::missing).collect();
    missing.iter().for_each(|line| println!("peers: {line}"));
    if arguments.require_all && !missing.is_empty() {
        return Err(io::Error::other("--require-all, and not all is there"));
    }
    if tools.place(Tool::Taskset).is_none() {
        return Err(io::Error::other("without taskset, servers and load would share their cores"));
    }
    process::pin_this_process()?;
    let bound = arguments.cases.iter().map(|case| case.bound(arguments.rounds, arguments.seconds)).sum::<Duration>();
    println!("peers: at most {} minutes", bound.as_secs().div_ceil(60));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut asked_to_end = signal(SignalKind::terminate())?;
        tokio::select! {
            done = measure(arguments, tools) => done,
            _ = tokio::signal::ctrl_c() => Err(io::Error::other("ended before its time")),
            _ = asked_to_end.recv() => Err(io::Error::other("ended before its time")),
            () = tokio::time::sleep(bound) => Err(io::Error::other("took longer than it may")),
        }
    })
}

async fn measure(arguments: &Arguments, tools: Tools) -> io::Result<()> {
    let versions = report::versions(&tools);
    let stage = Stage::set(arguments, tools).await?;
    let body = stage.origin.word(&Walk::new('0', 0, None).id(0)).await?.body.len();
    let method = report::method(arguments.rounds, arguments.seconds, body);
    println!("{method}\n");
    versions.iter().for_each(|line| println!("  {line}"));
    let mut tables: Vec<Table> = Vec::new();
    let mut failed = Vec::new();
    for case in &arguments.cases {
        if let Some(why) = case.lacks(&stage) {
            println!("\n{}: left out: {why}", case.name());
            continue;
        }
        match case.run(&stage).await {
            Ok(table) => {
                println!("{}", table.text());
                tables.push(table);
            }
            Err(error) => {
                println!("\n{}: FAILED: {error}", case.name());
                failed.push(case.name());
            }
        }
    }
    if let Some(file) = &arguments.markdown {
        std::fs::write(file, report::markdown(&method, &versions, &tables))?;
    }
    if let Some(file) = &arguments.svg {
        std::fs::write(file, plot::svg(&tables))?;
    }
    if failed.is_empty() { Ok(()) } else { Err(io::Error::other(format!("failed: {}", failed.join(", ")))) }
}
