//! `run` and `sandbox`: the commands that stay up until a signal.

use std::convert::Infallible;
use std::future::pending;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use monigate::config::{Config, Log, Problems, Sources, TOKEN_VARIABLE};
use monigate::monime::Final;
use monigate::sandbox::{self, CannotListen, DEFAULT_TOKEN, Limits, OUTCOMES, Open, Place, Profile, Sandbox, Schedule};
use monigate::server::Address;
use monigate::telemetry::log;
use monigate::{CannotStart, Monigate};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tracing_subscriber::filter::Targets;

use super::signals::{HangUps, Signals};
use super::{FAILED, OK, load};

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
    /// How they settle
    #[arg(long, default_value = "completed", value_parser = known(OUTCOMES.map(Final::as_str), sandbox::outcome))]
    outcome: Final,
    /// Answer every id that nobody made as a session that settled like this; for load tests, with --limits none
    #[arg(long, value_parser = known(OUTCOMES.map(Final::as_str), sandbox::outcome))]
    invent: Option<Final>,
    /// How fast it may be asked: as a live token, as a test token, or without limit
    #[arg(long, default_value = "live", value_parser = known(Limits::NAMED.map(|(name, _)| name), Limits::named))]
    limits: Limits,
    /// What lookups meet: no faults, some of each kind (late, failing, broken off, spoiled), or an outage
    #[arg(long, default_value = "calm", value_parser = known(Profile::NAMED.map(|(name, _)| name), Profile::named))]
    faults: Profile,
    /// Which faults exactly: the same number gives the same ones again; else it takes one and says it
    #[arg(long, value_name = "NUMBER", requires = "faults", value_parser = seed)]
    seed: Option<u64>,
    /// Serve https with a throw-away CA in this folder, which is made there unless it is there
    #[arg(long, value_name = "DIR")]
    tls: Option<PathBuf>,
    /// Listen on an address that other machines can reach; they can then steer it
    #[arg(long)]
    beyond_loopback: bool,
}

/// Starts the gateway and serves until it is told to stop; reads `sources` again when it is told to reload.
pub(super) fn run(
    runtime: &Runtime,
    signals: Signals,
    config: Config,
    sources: Sources,
    err: &mut impl Write,
) -> io::Result<u8> {
    let _flush_at_the_end = match start_log(&config.log) {
        Ok(guard) => guard,
        Err(error) => return writeln!(err, "monigate: {error}").map(|()| FAILED),
    };
    runtime.block_on(async {
        match Monigate::bind(config).await {
            Ok(gateway) => {
                let writes = gateway.writes();
                let work = signals.over(|stop, hang_ups| async {
                    let (configs, reloads) = mpsc::channel(1);
                    tokio::select! {
                        _ = Box::pin(gateway.serve(stop.asked(), reloads)) => {}
                        never = read_again(sources, hang_ups, configs) => match never {},
                    }
                });
                if work.await.is_none() {
                    tracing::warn!("stopped at once by a second signal; what was under way is cut off");
                    writes.cut_off().await;
                }
                // Ended as it was told to: an orchestrator must not take that for a crash.
                Ok(OK)
            }
            Err(error) => cannot_start(&error, err),
        }
    })
}

/// Reads the configuration anew at each hang-up. One that comes meanwhile is heard after it: whatever was written before
/// a hang-up is read after it.
async fn read_again(
    sources: Sources,
    mut hang_ups: HangUps,
    configs: mpsc::Sender<Result<Config, Problems>>,
) -> Infallible {
    let sources = Arc::new(sources);
    while hang_ups.recv().await.is_some() {
        tracing::info!("SIGHUP: reading the configuration and the secrets again");
        let sources = Arc::clone(&sources);
        // Files may hang, and requests must not wait for them. Reading cannot panic; were it ever to, the old
        // configuration stays.
        let Ok(loaded) = tokio::task::spawn_blocking(move || load(&sources)).await else { continue };
        // It fails only once serving has ended, and that ends this too.
        let _ = configs.send(loaded).await;
    }
    // Without anyone to ask there is nothing to read, which is no reason to stop serving.
    pending().await
}

/// Starts the stand-in Monime alone.
pub(super) fn run_sandbox(args: SandboxArgs, out: &mut impl Write, err: &mut impl Write) -> io::Result<u8> {
    let SandboxArgs { listen, token, settle_after, outcome, invent, limits, faults, seed, tls, beyond_loopback } = args;
    let settings = sandbox::Settings {
        token: token.clone(),
        settle_after,
        outcome,
        limits,
        invent,
        schedule: Schedule::of(faults, seed),
        ..sandbox::Settings::default()
    };
    let (runtime, signals) = Signals::take()?;
    runtime.block_on(async {
        let place = Place { address: listen, tls, beyond_loopback };
        match Sandbox::new(settings).open(&place).await {
            Ok(open) => {
                greet(&open, &token, out)?;
                signals.over(|stop, _| open.run(stop.asked())).await;
                Ok(OK)
            }
            Err(error) => {
                writeln!(err, "monigate: the sandbox cannot start: {error}{}", remedy(&error)).map(|()| FAILED)
            }
        }
    })
}

fn greet(open: &Open, token: &str, out: &mut impl Write) -> io::Result<()> {
    let mut words = open.greeting();
    if let Some(command) = gateway_command(open, token) {
        let whose = if token == DEFAULT_TOKEN { "" } else { ", with your token in " };
        let name = if token == DEFAULT_TOKEN { "" } else { TOKEN_VARIABLE };
        words = format!("{words}\n\nA gateway in front of it, from another terminal{whose}{name}:\n\n{command}");
    }
    writeln!(out, "{words}")?;
    out.flush()
}

pub(super) fn start_log(settings: &Log) -> Result<impl Drop + use<>, Box<dyn std::error::Error>> {
    Ok(log::start(settings.format, settings.level.parse::<Targets>()?)?)
}

pub(super) fn cannot_start(error: &CannotStart, err: &mut impl Write) -> io::Result<u8> {
    writeln!(err, "monigate: {error}").map(|()| FAILED)
}

/// A reader of names that the library knows. Help and complaints list them.
fn known<T: Clone + Send + Sync + 'static>(
    names: [&'static str; 3],
    read: fn(&str) -> Option<T>,
) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(names).try_map(move |text| read(&text).ok_or("no such name"))
}

fn seed(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("a seed is a whole number from 0 to {}", u64::MAX))
}

/// The command that starts a gateway in front of this sandbox, for another terminal. None where no gateway of ours
/// could reach it: it speaks TCP, plainly to loopback only.
fn gateway_command(open: &Open, token: &str) -> Option<String> {
    let url = open.base_url();
    let within_reach = match open.address() {
        Address::Tcp(address) => address.ip().is_unspecified() || open.address().is_local(),
        Address::Unix(_) => false,
    };
    if !within_reach {
        return None;
    }
    let token = if token == DEFAULT_TOKEN { format!("{TOKEN_VARIABLE}={token} ") } else { String::new() };
    let ca = open.ca_file().map(|path| format!(" --set {}", quoted(&format!("monime.ca_file={}", path.display()))));
    let ca = ca.unwrap_or_default();
    Some(format!("{token}monigate run --set monime.base_url={url}{ca} --set monime.default_space=spc-demo"))
}

/// One word to a shell, whatever is in it.
fn quoted(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-=:,+@%".contains(&byte);
    if text.bytes().all(plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// What to do about it, where that is known.
fn remedy(error: &CannotListen) -> &'static str {
    match error {
        CannotListen::Bind { address: Address::Tcp(_), source } if source.kind() == io::ErrorKind::AddrInUse => {
            "; choose another port, or let it take a free one with --listen 127.0.0.1:0"
        }
        CannotListen::NotLoopback(_) => "; insist with --beyond-loopback",
        CannotListen::Bind { .. } | CannotListen::Tls(_) => "",
    }
}
