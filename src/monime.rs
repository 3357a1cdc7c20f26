//! Monime's vocabulary: ids, the typed key, operations, what an answer means, the error envelope.
//!
//! Pure: no I/O, no clock, nothing of ours above it. Every fact here comes from Monime's public OpenAPI file (release
//! `caph.2025-08-23`) or its documentation, and says so; what is only a guess is treated as a thing to survive.

pub mod envelope;
pub mod id;
mod json;
pub mod operation;
pub mod verdict;

pub use envelope::{Envelope, sentence};
pub use id::{InvalidId, Key, KeyRef, SessionId, SessionIdRef, SpaceId, Version};
pub use json::is_json;
pub use verdict::{Final, Flaw, Verdict};

/// The header that names the space a request is for.
pub const SPACE_HEADER: &str = "monime-space-id";
/// The header that names the release whose shapes a caller wants.
pub const VERSION_HEADER: &str = "monime-version";
/// The header in which a 429 says which limit was reached.
pub const RATE_LIMIT_HEADER: &str = "monime-rate-limit";
/// The header in which Monime names each request that it answered.
pub const REQUEST_ID_HEADER: &str = "monime-request-id";
/// The headers in which Monime says what it did with a request: its name, and with it a checksum, a duration and a moment.
pub const DIAGNOSTIC_HEADERS: [&str; 4] =
    ["monime-request-checksum", "monime-request-duration", REQUEST_ID_HEADER, "monime-request-timestamp"];
/// The release that Monime's public OpenAPI file describes.
pub const CURRENT_VERSION: &str = "caph.2025-08-23";
/// Every release that is known.
pub const KNOWN_VERSIONS: [&str; 2] = [CURRENT_VERSION, "caph.2025-06-20"];

/// Monime's limits, in calls a second. They hold for any second, not only for those that a clock begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    /// For one token at one operation.
    pub endpoint: u32,
    /// For one token.
    pub token: u32,
    /// For one space.
    pub space: u32,
}

impl Rates {
    /// What Monime grants a live token.
    pub const LIVE: Self = Self { endpoint: 20, token: 80, space: 500 };
    /// What Monime grants a test token.
    pub const TEST: Self = Self { endpoint: 5, token: 20, space: 100 };

    /// What Monime grants a token of this kind. One of neither form gets the smaller numbers: asking too gently costs
    /// seconds, asking too fast costs everyone behind the token.
    #[must_use]
    pub fn of(kind: TokenKind) -> Self {
        match kind {
            TokenKind::Live => Self::LIVE,
            TokenKind::Test | TokenKind::Other => Self::TEST,
        }
    }
}

/// What a token is for, as its first characters say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// `mon_…`: real money.
    Live,
    /// `mon_test_…`: Monime's test mode, which refuses checkout sessions.
    Test,
    /// Neither: a stand-in's, or a form that is not known yet.
    Other,
}

impl TokenKind {
    /// Reads the kind off a token's first characters.
    #[must_use]
    pub fn of(token: &str) -> Self {
        if token.starts_with("mon_test_") {
            Self::Test
        } else if token.starts_with("mon_") {
            Self::Live
        } else {
            Self::Other
        }
    }
}
