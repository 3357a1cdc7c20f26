//! The command line: what may be asked of the program, and what it answers.
//!
//! Refuses to print on its own, to read the environment and to end the process: all three are handed in or left to
//! `main`. What it repeats of a command line passes the redaction of `secret`, for people paste tokens there.

mod ask;
mod check;
mod demo;
mod key;
mod plain;
mod process;
mod serve;
mod signals;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use monigate::config::{self, Config, Flag, Problems, Sources};
use monigate::secret::redact;
use tokio::runtime::Runtime;

use serve::SandboxArgs;
use signals::Signals;

/// It went well.
const OK: u8 = 0;
/// It did not, or the answer could not be written.
const FAILED: u8 = 1;
/// The configuration has problems: `EX_CONFIG` of sysexits.
const BAD_CONFIG: u8 = 78;

/// The caching gateway for Monime's checkout sessions.
#[derive(Parser)]
#[command(name = "monigate", version, subcommand_required = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve callers until SIGTERM; SIGHUP reads the configuration again
    Run(Settings),
    /// Look one session up, through the code that serves callers; asks Monime, not a running gateway
    Get {
        /// The session's id
        id: String,
        /// The space; else the default one
        #[arg(long, value_name = "SPACE")]
        space: Option<String>,
        #[command(flatten)]
        settings: Settings,
    },
    /// See it work: a sandbox and a gateway in one process, and a guided tour
    Demo {
        /// End after the tour instead of staying up
        #[arg(long)]
        once: bool,
    },
    /// Play Monime's checkout sessions, for people and tests: NOT Monime
    Sandbox(SandboxArgs),
    /// Ask the running gateway at admin.address how it is; exit 0 or 1
    Healthcheck {
        /// Whether it is ready for requests, instead of whether it lives
        #[arg(long)]
        ready: bool,
        #[command(flatten)]
        settings: Settings,
    },
    /// Check the configuration, the secrets, certificates and keys as starting does, and say every problem
    Check(Settings),
    /// Print the configuration in effect, redacted, with the source of each key
    Config {
        #[command(flatten)]
        settings: Settings,
        /// How it is printed
        #[arg(long, value_enum, default_value_t = Format::Toml)]
        format: Format,
    },
    /// Make a gateway key, or the digest of one: what `keys_sha256` of a caller, or of admin, holds
    #[command(subcommand)]
    Key(key::Command),
    /// Print the JSON Schema of a configuration file
    Schema,
    /// Print the version
    Version,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Toml,
    Json,
}

/// Where settings come from. All values stay text here, so that a wrong one is reported with all the others.
#[derive(Args)]
struct Settings {
    /// A configuration file, TOML or YAML; repeat it to layer several, later ones win
    #[arg(long, value_name = "FILE")]
    config: Vec<PathBuf>,
    /// Set one key, such as --set monime.version=caph.2025-08-23; wins over files and the environment
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// The same as --set listen.address=ADDRESS
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// The same as --set admin.address=ADDRESS
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<String>,
    /// The same as --set log.level=LEVEL
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// The same as --set log.format=FORMAT
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
}

/// What a command may use of the process.
pub(crate) struct Process<I, O, E> {
    /// The environment.
    pub(crate) environment: BTreeMap<String, String>,
    /// Where a secret is read from that is to stand nowhere else.
    pub(crate) input: I,
    /// Where answers go.
    pub(crate) out: O,
    /// Where complaints go.
    pub(crate) err: E,
    /// Whether `out` is a terminal that shows colour.
    pub(crate) colour: bool,
}

/// Runs one command; the number is the exit code.
pub(crate) fn run(
    arguments: impl IntoIterator<Item = OsString>,
    mut process: Process<impl Read, impl Write, impl Write>,
) -> u8 {
    let done = match Cli::try_parse_from(arguments) {
        Ok(cli) => keep_secrets(&cli.command, &mut process.err).and_then(|()| obey(cli.command, &mut process)),
        Err(error) => explain(&error, &mut process.out, &mut process.err),
    };
    done.unwrap_or_else(|error| {
        // A reader that hung up, such as `head`, is told nothing more.
        if error.kind() != io::ErrorKind::BrokenPipe {
            // Where this cannot be written either, the exit code has to do.
            let _ = writeln!(process.err, "monigate: {error}");
        }
        FAILED
    })
}

/// Before any of them is read. The sandbox has none, and makes files that others are to read.
fn keep_secrets(command: &Command, err: &mut impl Write) -> io::Result<()> {
    if matches!(command, Command::Sandbox(_)) {
        return Ok(());
    }
    process::keep_to_itself().iter().try_for_each(|risk| writeln!(err, "monigate: warning: {risk}"))
}

fn obey(command: Command, process: &mut Process<impl Read, impl Write, impl Write>) -> io::Result<u8> {
    let Process { environment, input, out, err, colour } = process;
    let environment = std::mem::take(environment);
    match command {
        Command::Run(settings) => {
            // Before anything that takes time: a signal that comes meanwhile is to end it in order, too.
            let (runtime, signals) = Signals::take()?;
            let sources = settings.sources(environment);
            match load(&sources) {
                Ok(config) => {
                    let ended = serve::run(&runtime, signals, config, sources, err);
                    // A volume that hangs under the reading of a secret must not keep the process from ending.
                    runtime.shutdown_background();
                    ended
                }
                Err(problems) => bad_config(&problems, err),
            }
        }
        Command::Get { id, space, settings } => {
            with_config(settings, environment, err, |config, err| ask::get(config, &id, space.as_deref(), out, err))
        }
        Command::Demo { once } => demo::run(once, *colour, out, err),
        Command::Sandbox(args) => serve::run_sandbox(args, out, err),
        Command::Healthcheck { ready, settings } => match Config::admin_address(&settings.sources(environment)) {
            Ok(address) => ask::healthcheck(&address, ready, out, err),
            Err(problems) => bad_config(&problems, err),
        },
        Command::Check(settings) => with_config(settings, environment, err, |config, _| check::say(&config, out)),
        Command::Config { settings, format } => with_config(settings, environment, err, |config, _| {
            let text = match format {
                Format::Toml => config.effective.to_toml().into_bytes(),
                Format::Json => config.effective.to_json(),
            };
            out.write_all(&text).map(|()| OK)
        }),
        Command::Key(command) => key::obey(command, input, out, err),
        Command::Schema => out.write_all(&config::schema()).map(|()| OK),
        Command::Version => writeln!(out, "monigate {}", env!("CARGO_PKG_VERSION")).map(|()| OK),
    }
}

/// The configuration, as far as it fits into this process.
fn load(sources: &Sources) -> Result<Config, Problems> {
    Ok(Config::load(sources)?.within(process::descriptors()))
}

/// Does something with a valid configuration, or says why there is none.
fn with_config<E: Write>(
    settings: Settings,
    environment: BTreeMap<String, String>,
    err: &mut E,
    act: impl FnOnce(Config, &mut E) -> io::Result<u8>,
) -> io::Result<u8> {
    match load(&settings.sources(environment)) {
        Ok(config) => act(config, err),
        Err(problems) => bad_config(&problems, err),
    }
}

fn bad_config(problems: &Problems, err: &mut impl Write) -> io::Result<u8> {
    write!(err, "monigate: {problems}").map(|()| BAD_CONFIG)
}

/// How many tasks of its own a worker runs before it takes one of those that wait for any. Left to itself it is dozens, and
/// of a thousand connections that ask at once some wait twenty times as long as others; with this, seven times.
const OWN_BEFORE_SHARED: u32 = 4;

fn runtime() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().global_queue_interval(OWN_BEFORE_SHARED).build()
}

/// Prints clap's help, version or complaint, in plain text.
fn explain(error: &clap::Error, out: &mut impl Write, err: &mut impl Write) -> io::Result<u8> {
    let text = error.render().to_string();
    if error.use_stderr() {
        err.write_all(redact(&text).as_bytes())?;
    } else {
        out.write_all(text.as_bytes())?;
    }
    Ok(u8::try_from(error.exit_code()).unwrap_or(FAILED))
}

// === impl Settings ===

impl Settings {
    fn sources(self, environment: BTreeMap<String, String>) -> Sources {
        let named = [
            ("--listen", "listen.address", self.listen),
            ("--admin", "admin.address", self.admin),
            ("--log-level", "log.level", self.log_level),
            ("--log-format", "log.format", self.log_format),
        ];
        let named =
            named.into_iter().filter_map(|(flag, key, value)| value.map(|value| Flag::Named { flag, key, value }));
        Sources { files: self.config, environment, flags: self.set.into_iter().map(Flag::Set).chain(named).collect() }
    }
}
