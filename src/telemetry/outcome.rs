//! How one caller was served, in the words that logs, metric labels and documents share.

/// How *this caller* was served. A 304 counts as what produced it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// From memory, fresh.
    Hit,
    /// From memory, although Monime's newest word was unusable or had gone back.
    Stale,
    /// By another caller's flight.
    Joined,
    /// By a flight of its own, which found the session pending.
    Pending,
    /// By a flight of its own, with any other complete reply.
    Miss,
    /// With Monime's answer to an operation that is passed on.
    Bypass,
    /// Not: the request was at fault, or asked for what is only in memory, or its caller left.
    Refused,
    /// Not: the gateway or Monime was at fault.
    Error,
}

impl Outcome {
    /// The word for log fields and metric labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Stale => "stale",
            Self::Joined => "joined",
            Self::Pending => "pending",
            Self::Miss => "miss",
            Self::Bypass => "bypass",
            Self::Refused => "refused",
            Self::Error => "error",
        }
    }
}
