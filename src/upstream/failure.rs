//! Why there is no reply: the closed set of things that go wrong between a lookup and the wire.
//!
//! Carries causes for the log. Refuses to pick a status: `gateway::rescue` alone does that.

use std::error::Error;

/// A request to Monime that brought no usable reply.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// No connection, no TLS, or a connection that broke before the reply was complete.
    #[error("Monime could not be reached")]
    Unreachable(#[source] Box<dyn Error + Send + Sync>),
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
            Self::Unreachable(_) => "unreachable",
            Self::TimedOut(_) => "timeout",
            Self::Internal(_) => "internal",
            Self::NoToken => "no_token",
            Self::Unreadable(_) => "unreadable",
        }
    }
}

impl std::fmt::Display for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Connect => "connect",
            Self::Attempt => "attempt",
            Self::Total => "total",
        })
    }
}
