//! Monime's vocabulary: ids, the typed key, operations, what an answer means, the error envelope.
//!
//! Pure: no I/O, no clock, nothing of ours above it. Every fact here comes from Monime's public OpenAPI file (release
//! `caph.2025-08-23`) or its documentation, and says so; what is only a guess is treated as a thing to survive.

pub mod envelope;
pub mod id;
mod json;
pub mod operation;
pub mod verdict;

pub use envelope::Envelope;
pub use id::{InvalidId, Key, KeyRef, SessionId, SessionIdRef, SpaceId, Version};
pub use verdict::{Final, Flaw, Verdict};

/// The header that names the space a request is for.
pub const SPACE_HEADER: &str = "monime-space-id";
/// The header that names the release whose shapes a caller wants.
pub const VERSION_HEADER: &str = "monime-version";
/// The release that Monime's public OpenAPI file describes.
pub const CURRENT_VERSION: &str = "caph.2025-08-23";
/// Every release that is known.
pub const KNOWN_VERSIONS: [&str; 2] = [CURRENT_VERSION, "caph.2025-06-20"];

/// Lookups a second that Monime grants one token at one endpoint, by what the token is for.
///
/// Live tokens begin with `mon_` and get 20, test tokens with `mon_test_` and get 5. A token of neither form gets the
/// smaller number: asking too gently costs seconds, asking too fast costs everyone behind the token.
#[must_use]
pub fn endpoint_rate(kind: TokenKind) -> u32 {
    match kind {
        TokenKind::Live => 20,
        TokenKind::Test | TokenKind::Other => 5,
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
