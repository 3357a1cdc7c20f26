//! How a sandbox plays, as whoever starts it says.
//!
//! Owns the defaults. Refuses to show the token, also in debug output: somebody may have put a real one.

use std::fmt;
use std::time::Duration;

use super::limiter::Limits;
use super::schedule::Schedule;
use super::session::LIFETIME;
use crate::monime::Final;

/// The token that a sandbox accepts unless told otherwise. Known to everyone, good for nothing else.
pub const DEFAULT_TOKEN: &str = "mon_sandbox_q7Vt2Xk9Lr4Zb8NsWc3Yd6";

/// How a sandbox plays.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    /// The only bearer token that is accepted, until [`Sandbox::accept_tokens`](super::Sandbox::accept_tokens) says
    /// otherwise.
    pub token: String,
    /// After how long a session settles by itself; none means that it waits to be settled or expires.
    pub settle_after: Option<Duration>,
    /// How it then settles.
    pub outcome: Final,
    /// From `createTime` to `expireTime`.
    pub lifetime: Duration,
    /// How fast it may be asked.
    pub limits: Limits,
    /// Answers every id that nobody created as a session that settled like this, always with the same bytes.
    pub invent: Option<Final>,
    /// Which faults lookups meet unless one was planned for them.
    pub schedule: Schedule,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            token: DEFAULT_TOKEN.to_owned(),
            settle_after: None,
            outcome: Final::Completed,
            lifetime: LIFETIME,
            limits: Limits::LIVE,
            invent: None,
            schedule: Schedule::CALM,
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("settle_after", &self.settle_after)
            .field("outcome", &self.outcome)
            .field("lifetime", &self.lifetime)
            .field("limits", &self.limits)
            .field("invent", &self.invent)
            .field("schedule", &self.schedule)
            .finish_non_exhaustive()
    }
}
