//! The words of the model's Monime: everything that a call can come out as, and what each is to memory.

use std::time::Duration;

use proptest::prelude::*;

use crate::lookup::tests::scripted::Said;
use crate::lookup::{StaleIfError, Ttl};
use crate::monime::Key;

/// What Monime may say, or do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    Completed,
    Cancelled,
    Expired,
    Pending,
    Unknown,
    Absent,
    Forbidden,
    Mismatch,
    Failed,
    TimedOut,
    Panic,
}

// === impl Word ===

impl Word {
    pub(super) fn said(self, key: &Key, nth: usize) -> Said {
        match self {
            Self::Absent => Said::status(404, self.body(key, nth)),
            Self::Forbidden => Said::status(403, self.body(key, nth)),
            Self::Failed => Said::error(500),
            Self::TimedOut => Said::timed_out(),
            Self::Panic => Said::Panic,
            Self::Completed | Self::Cancelled | Self::Expired | Self::Pending | Self::Unknown | Self::Mismatch => {
                Said::status(200, self.body(key, nth))
            }
        }
    }

    /// Bytes that no other flight lands with.
    pub(super) fn body(self, key: &Key, nth: usize) -> String {
        let session =
            |id, status| format!(r#"{{"success":true,"nth":{nth},"result":{{"id":"{id}","status":"{status}"}}}}"#);
        match self {
            Self::Completed => session(key.id.as_str(), "completed"),
            Self::Cancelled => session(key.id.as_str(), "cancelled"),
            Self::Expired => session(key.id.as_str(), "expired"),
            Self::Pending => session(key.id.as_str(), "pending"),
            Self::Mismatch => session("another", "completed"),
            Self::Unknown => session(key.id.as_str(), "processing"),
            Self::Absent | Self::Forbidden | Self::Failed | Self::TimedOut | Self::Panic => {
                format!(r#"{{"success":false,"error":{{"nth":{nth}}}}}"#)
            }
        }
    }

    pub(super) fn ttl(self, ttl: &Ttl) -> Duration {
        match self {
            Self::Completed => ttl.completed,
            Self::Cancelled => ttl.cancelled,
            Self::Expired => ttl.expired,
            Self::Absent => ttl.absent,
            Self::Pending
            | Self::Unknown
            | Self::Forbidden
            | Self::Mismatch
            | Self::Failed
            | Self::TimedOut
            | Self::Panic => Duration::ZERO,
        }
    }

    pub(super) fn stale_if_error(self, stale: &StaleIfError) -> Duration {
        match self {
            Self::Completed => stale.completed,
            Self::Cancelled => stale.cancelled,
            Self::Expired => stale.expired,
            Self::Absent
            | Self::Pending
            | Self::Unknown
            | Self::Forbidden
            | Self::Mismatch
            | Self::Failed
            | Self::TimedOut
            | Self::Panic => Duration::ZERO,
        }
    }
}

/// Mostly words that decide something.
pub(super) fn word() -> impl Strategy<Value = Word> {
    prop_oneof![
        6 => Just(Word::Completed),
        3 => prop_oneof![Just(Word::Cancelled), Just(Word::Expired)],
        6 => prop_oneof![Just(Word::Pending), Just(Word::Unknown), Just(Word::Absent)],
        2 => prop_oneof![Just(Word::Forbidden), Just(Word::Mismatch), Just(Word::Failed), Just(Word::TimedOut)],
        1 => Just(Word::Panic),
    ]
}
