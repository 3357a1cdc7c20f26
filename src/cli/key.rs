//! `monigate key`: gateway keys, made once and told once, and the digests that a configuration holds in their place.
//!
//! Refuses to take a key as an argument, where every process of the machine could read it, and to write one to a file.

use std::io::{self, Read, Write};

use clap::Subcommand;
use monigate::caller::{GatewayKey, MAX_CREDENTIAL, new_key};
use zeroize::Zeroizing;

use super::{FAILED, OK};

/// The longest that is read: a key, its line break, and one byte that shows that there is more.
const MAX_INPUT: usize = MAX_CREDENTIAL + 3;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Make a key, and print it this once, with the line of the configuration that lets it in
    New,
    /// Read a key from standard input and print its SHA-256
    Digest,
}

pub(super) fn obey(
    command: Command,
    input: &mut impl Read,
    out: &mut impl Write,
    err: &mut impl Write,
) -> io::Result<u8> {
    match command {
        Command::New => {
            let (key, digest) = new_key().map_err(io::Error::other)?;
            writeln!(out, "key, shown only now: {}", key.expose())?;
            writeln!(out, "keys_sha256 = [\"{digest}\"]").map(|()| OK)
        }
        Command::Digest => {
            // As large as it may get from the start: a buffer that grows leaves unwiped copies behind.
            let mut text = Zeroizing::new(Vec::with_capacity(MAX_INPUT + 1));
            input.take(u64::try_from(MAX_INPUT).unwrap_or_default()).read_to_end(&mut text)?;
            match GatewayKey::parse(text) {
                Ok(key) => writeln!(out, "{}", key.digest()).map(|()| OK),
                Err(problem) => writeln!(err, "monigate: {problem}").map(|()| FAILED),
            }
        }
    }
}
