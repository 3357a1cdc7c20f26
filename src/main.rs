//! The program: hands the command line and the environment to `cli`, and its answer to the operating system.
//!
//! Refuses to do anything else: no other file reads the environment, prints or exits.

mod cli;

use std::collections::BTreeMap;
use std::io::{stderr, stdout};
use std::process::ExitCode;

fn main() -> ExitCode {
    // Not locked: other threads may have to say something while a command runs.
    let code = cli::run(std::env::args_os(), environment(), &mut stdout(), &mut stderr());
    ExitCode::from(code)
}

/// What is not Unicode becomes a replacement character, which no setting and no token may hold: it is reported there.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
fn environment() -> BTreeMap<String, String> {
    let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect()
}
