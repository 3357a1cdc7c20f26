//! `run` and `sandbox`: the commands that stay up until a signal.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use monigate::config::{Config, Log};
use monigate::sandbox::{self, DEFAULT_TOKEN, Limits, Place, Sandbox};
use monigate::server::Address;
use monigate::telemetry::log;
use monigate::{CannotStart, Monigate};
use tracing_subscriber::EnvFilter;

use super::signals::Signals;
use super::{FAILED, OK, runtime};

/// How the sandbox plays, and where.
#[derive(Args)]
pub(super) struct SandboxArgs {
    /// Where it listens; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8081")]
    listen: Address,
    /// The bearer token that it accepts; never use a real one
    #[arg(long, value_name = "TOKEN", default_value = DEFAULT_TOKEN)]
    token: String,
    /// Sessions settle by themselves after this long, such as 5s
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    settle_after: Option<Duration>,
    /// How they settle: completed, cancelled or expired
    #[arg(long, default_value = "completed", value_parser = known(sandbox::outcome))]
    outcome: monigate::monime::Final,
    /// How fast it may be asked: as a live token, as a test token, or without limit
    #[arg(long, value_name = "live|test|none", default_value = "live", value_parser = known(Limits::named))]
    limits: Limits,
    /// Make a throw-away CA in this folder and serve https
    #[arg(long, value_name = "DIR")]
    tls: Option<PathBuf>,
    /// Listen on an address that other machines can reach; they can then steer it
    #[arg(long)]
    beyond_loopback: bool,
}

/// Starts the gateway and serves until it is told to stop.
pub(super) fn run(config: Config, err: &mut impl Write) -> io::Result<u8> {
    let _flush_at_the_end = match start_log(&config.log) {
        Ok(guard) => guard,
        Err(error) => return writeln!(err, "monigate: {error}").map(|()| FAILED),
    };
    runtime()?.block_on(async {
        let signals = Signals::take()?;
        match Monigate::bind(config).await {
            Ok(gateway) => {
                let ended = signals.over(|stop| gateway.serve(async { stop.await.unwrap_or_default() })).await;
                if ended.is_none() {
                    tracing::warn!("stopped at once by a second signal; what was under way is cut off");
                    return Ok(FAILED);
                }
                Ok(OK)
            }
            Err(error) => cannot_start(&error, err),
        }
    })
}

/// Starts the stand-in Monime alone.
pub(super) fn run_sandbox(args: SandboxArgs, out: &mut impl Write, err: &mut impl Write) -> io::Result<u8> {
    let SandboxArgs { listen, token, settle_after, outcome, limits, tls, beyond_loopback } = args;
    let settings = sandbox::Settings { token, settle_after, outcome, limits, ..sandbox::Settings::default() };
    runtime()?.block_on(async {
        let signals = Signals::take()?;
        let place = Place { address: listen, tls, beyond_loopback };
        match Sandbox::new(settings).open(&place).await {
            Ok(open) => {
                writeln!(out, "{}", open.greeting())?;
                out.flush()?;
                signals.over(|stop| open.run(async { stop.await.unwrap_or_default() })).await;
                Ok(OK)
            }
            Err(error) => writeln!(err, "monigate: the sandbox cannot start: {error}").map(|()| FAILED),
        }
    })
}

pub(super) fn start_log(settings: &Log) -> Result<impl Drop + use<>, Box<dyn std::error::Error>> {
    Ok(log::start(settings.format, EnvFilter::try_new(&settings.level)?)?)
}

pub(super) fn cannot_start(error: &CannotStart, err: &mut impl Write) -> io::Result<u8> {
    writeln!(err, "monigate: {error}").map(|()| FAILED)
}

/// A reader of names that the library knows.
fn known<T>(read: fn(&str) -> Option<T>) -> impl Fn(&str) -> Result<T, &'static str> + Clone {
    move |text| read(text).ok_or("no such name")
}
