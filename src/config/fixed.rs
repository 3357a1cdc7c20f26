//! What cannot change while running: sockets that are open, the memory's bound, whom the memory is about, the log's form.
//!
//! Refuses a reload that would change any of it as a whole, so that what runs is always one configuration that somebody
//! wrote, and never a half of each.

use super::{Config, Listen, Problems};
use crate::server::Address;
use crate::server::tls::Files;
use crate::telemetry::log::Format;
use crate::upstream::Origin;

/// The settings that hold until the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fixed {
    listen: Listen,
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
            admin: config.admin.address.clone(),
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
        let (listen, other) = (&self.listen, &asked.listen);
        let tls = self.tls_changes(&asked);
        let changes = [
            ("listen.address", listen.address != other.address),
            ("listen.socket_mode", listen.socket_mode != other.socket_mode),
            ("listen.require_header", listen.require_header != other.require_header),
            ("admin.address", self.admin != asked.admin),
            ("monime.base_url", self.origin != asked.origin),
            ("cache.max_size", self.max_size != asked.max_size),
            ("log.format", self.format != asked.format),
        ];
        for (key, changes) in changes.into_iter().chain(tls) {
            if changes {
                let fix = "restart to change it, or set it back to what it was";
                problems.add(key, newer.effective.source(key), "cannot change while running", fix);
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(problems.sorted()) }
    }

    /// Whether the listener's files would be others. What they hold may change at any time: it is followed.
    fn tls_changes(&self, asked: &Self) -> [(&'static str, bool); 5] {
        let (ours, theirs) = (self.listen.tls.as_ref(), asked.listen.tls.as_ref());
        let differ = |differ: fn(&Files, &Files) -> bool| match (ours, theirs) {
            (Some(ours), Some(theirs)) => differ(ours, theirs),
            (None, None) | (Some(_), None) | (None, Some(_)) => false,
        };
        [
            // Switched on or off, it is one change.
            (
                "listen.tls.cert_file",
                ours.is_some() != theirs.is_some() || differ(|a, b| a.certificate != b.certificate),
            ),
            ("listen.tls.key_file", differ(|a, b| a.key != b.key)),
            ("listen.tls.client_ca_file", differ(|a, b| a.client_ca != b.client_ca)),
            ("listen.tls.client_auth", differ(|a, b| a.client_auth != b.client_auth)),
            // It is asked anew whenever the key's file changes.
            ("security.allow_world_readable_secrets", differ(|a, b| a.allow_world_readable != b.allow_world_readable)),
        ]
    }
}
