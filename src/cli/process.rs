//! What the program asks of the operating system for itself.
//!
//! Refuses to fail over it: what cannot be had is said, and the program goes on with less.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

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
