//! Why there is no reply: the closed set of things that go wrong between a request and the wire.
//!
//! Carries causes for the log. Refuses to pick a status: `gateway::rescue` alone does that.

use std::error::Error;
use std::io;
use std::time::Duration;

/// A request to Monime that brought no usable reply.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// No connection, no TLS, or a connection that broke before the reply was complete.
    #[error("Monime could not be reached: {0}")]
    Unreachable(Unreachable, #[source] Box<dyn Error + Send + Sync>),
    /// A deadline of ours passed.
    #[error("Monime did not answer in time ({0} deadline)")]
    TimedOut(Bound),
    /// The request could not be made, which is a bug of ours.
    #[error("the request could not be made")]
    Internal(#[source] Box<dyn Error + Send + Sync>),
    /// There is no token for the space, so nothing was sent.
    #[error("there is no token for this space")]
    NoToken,
    /// A reply that cannot be used.
    #[error("Monime's answer cannot be used")]
    Unreadable(#[from] Unreadable),
    /// Not sent: our budget of requests has no turn that would come in time.
    #[error("the budget of requests to Monime is used up")]
    Exhausted {
        /// How long until there would be a turn.
        wait: Duration,
    },
    /// Not sent: Monime failed so often that it is left alone for a moment.
    #[error("Monime failed too often and is left alone for a moment")]
    Open {
        /// How long until Monime is tried again.
        wait: Duration,
    },
}

/// How far it came before Monime was out of reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreachable {
    /// To no connection: no such name, nobody listens, or the TLS handshake was cut off.
    #[error("no connection")]
    NotConnected,
    /// To TLS, which one side refused: a certificate that is not trusted, or what is no TLS at all.
    #[error("TLS was refused")]
    Refused,
    /// To a connection, which ended before an answer began or before its head was complete.
    #[error("the connection ended before an answer")]
    Unanswered,
    /// Into the middle of an answer, where the connection was reset.
    #[error("the connection was reset in the middle of the answer")]
    Reset,
}

/// Which deadline passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// `monime.timeouts.connect`.
    Connect,
    /// `monime.timeouts.attempt`.
    Attempt,
    /// `monime.timeouts.total`.
    Total,
    /// `monime.timeouts.write`.
    Write,
}

/// Why a reply cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It is longer than the bound, as sent or decoded.
    #[error("its body is over the bound")]
    TooLarge,
    /// It ended before its declared length, or its framing broke.
    #[error("its body broke off")]
    BrokenOff,
    /// Its head is not HTTP, or says two things about its length.
    #[error("its head is broken")]
    Framing,
    /// It is in a content coding that was not asked for and is not understood.
    #[error("its content coding is not understood")]
    Coding,
    /// It says gzip and is not.
    #[error("its gzip coding is broken")]
    Undecodable,
    /// It carries the gateway's own token.
    #[error("it carries the gateway's credential")]
    Reflects,
}

impl Failure {
    /// The word for the `code` label of `monigate_upstream_requests_total`.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Unreachable(..) => "unreachable",
            Self::TimedOut(_) => "timeout",
            Self::Internal(_) => "internal",
            Self::NoToken => "no_token",
            Self::Unreadable(_) => "unreadable",
            Self::Exhausted { .. } => "exhausted",
            Self::Open { .. } => "open",
        }
    }

    /// Whether the same lookup could fare better at once, and may be sent again: a GET may, even if the first was heard.
    #[must_use]
    pub fn is_worth_a_retry(&self) -> bool {
        match self {
            Self::Unreachable(Unreachable::NotConnected | Unreachable::Unanswered, _) => true,
            // Who is not trusted will not be trusted a moment later.
            Self::Unreachable(Unreachable::Refused | Unreachable::Reset, _) => false,
            Self::TimedOut(Bound::Connect) => true,
            // They have used up the time that a retry would need.
            Self::TimedOut(Bound::Attempt | Bound::Total | Bound::Write) => false,
            Self::Internal(_) | Self::NoToken | Self::Unreadable(_) | Self::Exhausted { .. } | Self::Open { .. } => {
                false
            }
        }
    }

    /// Whether it is certain that Monime has got nothing of the request.
    #[must_use]
    pub fn was_not_sent(&self) -> bool {
        match self {
            Self::Unreachable(Unreachable::NotConnected | Unreachable::Refused, _) | Self::TimedOut(Bound::Connect) => {
                true
            }
            Self::NoToken | Self::Exhausted { .. } | Self::Open { .. } => true,
            // A bug of ours, of which nothing is certain.
            Self::Internal(_) => false,
            Self::Unreachable(Unreachable::Unanswered | Unreachable::Reset, _) | Self::Unreadable(_) => false,
            Self::TimedOut(Bound::Attempt | Bound::Total | Bound::Write) => false,
        }
    }

    /// Whether an answer past its time may be told instead: yes, where Monime is down, slow or more in demand than it may
    /// be asked; no, where something came that should be looked into, or where the fault is ours.
    #[must_use]
    pub fn permits_stale(&self) -> bool {
        match self {
            Self::Unreachable(..) | Self::TimedOut(_) | Self::Open { .. } | Self::Exhausted { .. } => true,
            Self::Internal(_) | Self::NoToken | Self::Unreadable(_) => false,
        }
    }
}

/// An error and everything it was caused by, outermost first; with what an I/O error was made of, which its own
/// `source` leaves out.
pub(super) fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| match error.downcast_ref().and_then(io::Error::get_ref) {
        Some(inner) => Some(inner as &(dyn Error + 'static)),
        None => error.source(),
    })
}

impl std::fmt::Display for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Connect => "connect",
            Self::Attempt => "attempt",
            Self::Total => "total",
            Self::Write => "write",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every failure, whether it is asked again for, and whether an answer past its time may stand in for it.
    #[test]
    fn every_failure_says_what_may_be_done_about_it() {
        let wait = Duration::from_secs(1);
        for (failure, unsent, retry, stale) in [
            (Failure::Unreachable(Unreachable::NotConnected, "".into()), true, true, true),
            (Failure::Unreachable(Unreachable::Refused, "".into()), true, false, true),
            (Failure::Unreachable(Unreachable::Unanswered, "".into()), false, true, true),
            (Failure::Unreachable(Unreachable::Reset, "".into()), false, false, true),
            (Failure::TimedOut(Bound::Connect), true, true, true),
            (Failure::TimedOut(Bound::Attempt), false, false, true),
            (Failure::TimedOut(Bound::Total), false, false, true),
            (Failure::TimedOut(Bound::Write), false, false, true),
            (Failure::Internal("".into()), false, false, false),
            (Failure::NoToken, true, false, false),
            (Failure::Unreadable(Unreadable::Framing), false, false, false),
            (Failure::Exhausted { wait }, true, false, true),
            (Failure::Open { wait }, true, false, true),
        ] {
            let said = (failure.was_not_sent(), failure.is_worth_a_retry(), failure.permits_stale());
            assert_eq!(said, (unsent, retry, stale), "{failure:?}");
        }
    }

    #[test]
    fn a_cause_is_found_however_deep_in_io_errors() {
        let deep = io::Error::other(io::Error::other(io::Error::other(Unreadable::Coding)));
        assert!(causes(&deep).any(|cause| cause.is::<Unreadable>()));
        assert_eq!(causes(&Unreadable::Coding).count(), 1);
    }
}
