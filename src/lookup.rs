//! What became of this session? From memory when it can no longer change, else from Monime, once for everyone who asks.

use std::time::Duration;

/// How long each kind of answer counts as fresh. Zero means that it is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ttl {
    /// For `completed`.
    pub completed: Duration,
    /// For `cancelled`.
    pub cancelled: Duration,
    /// For `expired`.
    pub expired: Duration,
    /// For a 404.
    pub absent: Duration,
}
