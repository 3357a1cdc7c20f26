//! The command line: what may be asked of the program, and what it answers.
//!
//! Refuses to print on its own, to read the environment and to end the process: all three are handed in or left to
//! `main`. What it repeats of a command line passes the redaction of `secret`, for people paste tokens there.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use monigate::config::{self, Config, Flag, Sources};
use monigate::monime::TokenKind;
use monigate::secret::redact;

/// It went well.
const OK: u8 = 0;
/// The answer could not be written.
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
    /// Check the configuration, the secret and the CA as starting does, and say every problem
    Check(Settings),
    /// Print the configuration in effect, redacted, with the source of each key
    Config {
        #[command(flatten)]
        settings: Settings,
        /// How it is printed
        #[arg(long, value_enum, default_value_t = Format::Toml)]
        format: Format,
    },
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

/// Runs one command; the number is the exit code.
pub(crate) fn run(
    arguments: impl IntoIterator<Item = OsString>,
    environment: BTreeMap<String, String>,
    out: &mut impl Write,
    err: &mut impl Write,
) -> u8 {
    let done = match Cli::try_parse_from(arguments) {
        Ok(cli) => obey(cli.command, environment, out, err),
        Err(error) => explain(&error, out, err),
    };
    // A reader that hung up, such as `head`, is told nothing more.
    done.unwrap_or(FAILED)
}

fn obey(
    command: Command,
    environment: BTreeMap<String, String>,
    out: &mut impl Write,
    err: &mut impl Write,
) -> io::Result<u8> {
    match command {
        Command::Check(settings) => with_config(settings, environment, err, |config| check(config, out)),
        Command::Config { settings, format } => with_config(settings, environment, err, |config| match format {
            Format::Toml => out.write_all(config.effective.to_toml().as_bytes()),
            Format::Json => out.write_all(&config.effective.to_json()),
        }),
        Command::Schema => out.write_all(&config::schema()).map(|()| OK),
        Command::Version => writeln!(out, "monigate {}", env!("CARGO_PKG_VERSION")).map(|()| OK),
    }
}

/// Does something with a valid configuration, or says why there is none.
fn with_config(
    settings: Settings,
    environment: BTreeMap<String, String>,
    err: &mut impl Write,
    act: impl FnOnce(&Config) -> io::Result<()>,
) -> io::Result<u8> {
    match Config::load(&settings.sources(environment)) {
        Ok(config) => act(&config).map(|()| OK),
        Err(problems) => write!(err, "monigate: {problems}").map(|()| BAD_CONFIG),
    }
}

fn check(config: &Config, out: &mut impl Write) -> io::Result<()> {
    let monime = &config.monime;
    let spaces: Vec<_> = monime.spaces.iter().map(|space| space.as_str()).collect();
    writeln!(out, "configuration ok: {} asks {} for {}", config.listen, monime.origin, spaces.join(", "))?;
    let token = match monime.token.kind() {
        TokenKind::Live => "a live token",
        TokenKind::Test => "a test token, with which Monime refuses checkout sessions",
        TokenKind::Other => "a token of a form that is not Monime's; the limits of test mode are kept",
    };
    match &monime.token_file {
        Some(path) => writeln!(out, "token: {token}, from {}", redact(&path.to_string_lossy())),
        None => writeln!(out, "token: {token}, from the environment"),
    }?;
    writeln!(out, "admin: {}", config.admin)
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
