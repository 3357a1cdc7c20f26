//! What the program asks of the operating system for itself: that nobody looks into its memory, that what it makes is its
//! own, and as many open files as there are to be had.
//!
//! Refuses to fail over it: what cannot be had is said, and the program goes on with less.

use rustix::fs::Mode;
use rustix::io;
use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit, umask};
use rustix::thread::set_no_new_privs;

/// What others may not do with what it makes: anything.
const OTHERS: Mode = Mode::RWXG.union(Mode::RWXO);

/// Keeps the process to itself, from here on and before it reads a secret: its memory goes into no core and is open to no
/// other process of the same user, files that it makes are its own, and it never gains a privilege. Returns what could
/// not be had, each in words for an operator.
///
/// For the thread that starts all others, before it does.
pub(super) fn keep_to_itself() -> Vec<String> {
    umask(OTHERS);
    let no_core = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    // Not the same: a handler that the kernel pipes cores to is not held to the limit, nor is a debugger.
    let no_look = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let asked = [
        (no_core, "its memory may be written to a core file, and secrets with it"),
        (no_look, "other processes of this user may look into its memory, and at secrets there"),
        (set_no_new_privs(true), "it may gain privileges"),
    ];
    asked.into_iter().filter_map(|(done, risk)| done.err().map(|error| in_words(error, risk))).collect()
}

fn in_words(error: io::Errno, risk: &str) -> String {
    format!("{risk}, because the operating system refused to rule that out: {error}")
}

/// How many files this process may have open, after asking for as many as it may ask for.
pub(super) fn descriptors() -> usize {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        // Where it is refused, the old limit holds, and what does not fit into that is warned of.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    }
    let current = getrlimit(Resource::Nofile).current;
    // None is no limit.
    current.and_then(|files| usize::try_from(files).ok()).unwrap_or(usize::MAX)
}
