//! What cannot change while running: sockets that are open, the memory's bound, whom the memory is about, the log's form.
//!
//! Refuses a reload that would change any of it as a whole, so that what runs is always one configuration that somebody
//! wrote, and never a half of each.

use super::{Config, Problems};
use crate::server::Address;
use crate::telemetry::log::Format;
use crate::upstream::Origin;

/// The settings that hold until the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fixed {
    listen: Address,
    admin: Address,
    origin: Origin,
    max_size: u64,
    format: Format,
}

impl Fixed {
    /// Those of `config`.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        Self {
            listen: config.listen.clone(),
            admin: config.admin.clone(),
            origin: config.monime.wire.origin.clone(),
            max_size: config.cache.max_size,
            format: config.log.format,
        }
    }

    /// Whether `newer` leaves them as they are.
    ///
    /// # Errors
    /// A problem for each that it would change.
    pub fn permits(&self, newer: &Config) -> Result<(), Problems> {
        let asked = Self::of(newer);
        let mut problems = Problems::default();
        for (key, changes) in [
            ("listen.address", self.listen != asked.listen),
            ("admin.address", self.admin != asked.admin),
            ("monime.base_url", self.origin != asked.origin),
            ("cache.max_size", self.max_size != asked.max_size),
            ("log.format", self.format != asked.format),
        ] {
            if changes {
                let fix = "restart to change it, or set it back to what it was";
                problems.add(key, newer.effective.source(key), "cannot change while running", fix);
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(problems.sorted()) }
    }
}
