//! The program: hands the command line and the environment to `cli`, and its answer to the operating system.
//!
//! Refuses to do anything else: no other file reads the environment, prints or exits.

mod cli;

use std::collections::BTreeMap;
use std::io::{IsTerminal, stderr, stdin, stdout};
use std::process::ExitCode;

fn main() -> ExitCode {
    let environment = environment();
    // https://no-color.org: any value but an empty one asks for none.
    let plain = environment.get("NO_COLOR").is_some_and(|value| !value.is_empty());
    let colour = stdout().is_terminal() && !plain;
    // Not locked: other threads may have to say something while a command runs.
    let process = cli::Process { environment, input: stdin(), out: stdout(), err: stderr(), colour };
    ExitCode::from(cli::run(std::env::args_os(), process))
}

/// What is not Unicode becomes a replacement character, which no setting and no token may hold: it is reported there.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
fn environment() -> BTreeMap<String, String> {
    let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect()
}
