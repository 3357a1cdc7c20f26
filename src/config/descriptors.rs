//! How many connections fit into the files that a process may have open.
//!
//! Lowers what was asked for, and says so in the configuration in effect and as a warning. Refuses to count on luck: a
//! process without a descriptor left can neither accept, nor ask Monime, nor read a secret.

use super::{Config, Limits};
use crate::admin;

/// For what is open beside connections: secrets, certificates, the log, what the runtime needs.
const FILES: usize = 64;
/// What is kept back for files and operators.
const RESERVE: usize = FILES + admin::MOST_CONNECTIONS;
/// The key that is lowered.
const KEY: &str = "limits.connections";

// === impl Config ===

impl Config {
    /// The same in a process that may have so many files open: with `limits.connections` as it is if that leaves enough
    /// for files, for operators and for connections to Monime, else lowered, and with a warning.
    #[must_use]
    pub fn within(mut self, descriptors: usize) -> Self {
        let asked_for = self.limits.server.connections;
        let fitting = fitting(descriptors, self.limits.max_in_flight);
        if asked_for > fitting {
            self.limits.server.connections = fitting;
            self.effective.note_lowered(KEY, fitting, "to fit into the files that the process may have open");
            self.lowered = Some(warning(asked_for, fitting, descriptors, &self.limits));
        }
        self
    }
}

/// How many connections fit. What goes to Monime is at most one for each request that waits on it, and a quarter of all
/// at most.
fn fitting(descriptors: usize, max_in_flight: usize) -> usize {
    // Where there are hardly any, the half of them has to do for the rest.
    let left = descriptors - RESERVE.min(descriptors / 2);
    (left - max_in_flight.min(left / 4)).max(1)
}

fn warning(asked_for: usize, fitting: usize, descriptors: usize, limits: &Limits) -> String {
    let enough = asked_for.saturating_add(limits.max_in_flight).saturating_add(RESERVE);
    format!(
        "{KEY} {asked_for} is more than fits into the {descriptors} files that this process may have open: at most {fitting} \
         connections are open at once; let it open {enough} (LimitNOFILE= of systemd, --ulimit nofile= of docker), or \
         lower {KEY}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_warning_asks_for_is_enough() {
        for (asked_for, max_in_flight) in [(16_384, 1024), (1, 1), (1_048_576, 65_536), (1000, 65_536), (100, 50)] {
            let advised = asked_for + max_in_flight + RESERVE;
            assert!(fitting(advised, max_in_flight) >= asked_for, "{asked_for} {max_in_flight}");
        }
        assert_eq!(fitting(16_384 + 1024 + RESERVE - 1, 1024), 16_383, "and not one too many");
    }

    #[test]
    fn something_is_left_for_everyone_however_few_there_are() {
        for (descriptors, max_in_flight, connections) in [
            (1024, 1024, 528),
            (4096, 1024, 2832),
            (4096, 10, 3766),
            (640, 1024, 240),
            (256, 1024, 96),
            (3, 1, 2),
            (0, 1, 1),
        ] {
            assert_eq!(fitting(descriptors, max_in_flight), connections, "{descriptors} {max_in_flight}");
        }
    }
}
