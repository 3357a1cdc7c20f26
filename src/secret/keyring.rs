//! Which space is asked for with which token, and keeping up with tokens that change.
//!
//! A changed file is told by what it holds, so it does not matter how it was swapped. Refuses to give up a token that
//! was fine for one that is not, and to find a token for a space that has none: who asks gets none, and sends nothing.

mod source;

use std::fmt;
use std::sync::Arc;

use futures_util::future::join_all;

pub use source::Source;

use super::Secret;
use crate::monime::{SpaceId, TokenKind};
use crate::telemetry::Metrics;
use source::Occasion;

/// Every space with where its token comes from.
#[derive(Debug)]
pub struct Keyring {
    /// Few, and looked through only on the way to Monime. Spaces with the same file share one source.
    spaces: Vec<(SpaceId, Arc<Source>)>,
    allow_world_readable: bool,
    metrics: Option<Arc<Metrics>>,
}

/// How a space's token is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// What is wrong with what lies in the token's place now; an older token is used meanwhile.
    pub problem: Option<String>,
    /// Whether Monime's last answer to this token was that it is not good.
    pub refused: bool,
}

// === impl Keyring ===

impl Keyring {
    /// A token for each space. `allow_world_readable` is for the files that will be read again.
    #[must_use]
    pub fn new(spaces: impl IntoIterator<Item = (SpaceId, Arc<Source>)>, allow_world_readable: bool) -> Self {
        let mut keyring = Self { spaces: Vec::new(), allow_world_readable, metrics: None };
        for (space, source) in spaces {
            let source = keyring.shared(source);
            keyring.spaces.push((space, source));
        }
        keyring
    }

    /// The same, counting in `metrics` from now on.
    #[must_use]
    pub fn counting(self, metrics: Arc<Metrics>) -> Self {
        Self { metrics: Some(metrics), ..self }
    }

    /// The same with the sources of `old` for all files that it has too, so that their tokens, generations and health
    /// go on. Reads nothing: [`reread_all`](Self::reread_all) is due after it.
    #[must_use]
    pub fn adopt(self, old: &Self) -> Self {
        let spaces = self.spaces.into_iter().map(|(space, source)| (space, old.shared(source))).collect();
        Self { spaces, metrics: self.metrics.or_else(|| old.metrics.clone()), ..self }
    }

    /// The token to ask for `space` with, as it is now. None means that nothing may be sent.
    #[must_use]
    pub fn token(&self, space: &SpaceId) -> Option<Arc<Secret>> {
        self.source(space).map(|source| source.token())
    }

    /// How many times the space's token has changed: who was refused with a token of a smaller generation may try
    /// again.
    #[must_use]
    pub fn generation(&self, space: &SpaceId) -> u64 {
        self.source(space).map_or(0, |source| source.generation())
    }

    /// The name of where the space's token comes from. It stays while tokens change, and is the same for all spaces
    /// that share a token. It may be a path that somebody pasted a token into: to be shown only when redacted.
    #[must_use]
    pub fn source_name(&self, space: &SpaceId) -> Option<Arc<str>> {
        self.source(space).map(|source| Arc::clone(source.name()))
    }

    /// What the space's token is for, as it is now.
    #[must_use]
    pub fn kind(&self, space: &SpaceId) -> TokenKind {
        self.source(space).map_or(TokenKind::Other, |source| source.kind())
    }

    /// Notes whether Monime refused this token, unless another is the space's by now: what is said of the one before
    /// says nothing of its successor.
    pub fn refused(&self, space: &SpaceId, token: &Arc<Secret>, refused: bool) {
        if let Some(source) = self.source(space) {
            source.refused(token, refused);
        }
    }

    /// Every space with how its token is doing.
    pub fn health(&self) -> impl Iterator<Item = (&SpaceId, Health)> {
        self.spaces.iter().map(|(space, source)| (space, source.health()))
    }

    /// Where tokens come from, each once.
    pub fn sources(&self) -> impl Iterator<Item = &Arc<Source>> {
        let is_first = |at, source| !self.spaces.iter().take(at).any(|(_, before)| Arc::ptr_eq(before, source));
        let numbered = self.spaces.iter().enumerate();
        numbered.filter(move |(at, (_, source))| is_first(*at, source)).map(|(_, (_, source))| source)
    }

    /// Looks at the space's token again because Monime refused it; returns when it was looked at. A bad one is complained
    /// of once: lookups come by the second.
    ///
    /// Cancel-safe: a reading that has begun goes on to its end, in the background.
    pub async fn reread(&self, space: &SpaceId) {
        if let Some(source) = self.source(space) {
            self.look_again(source, Occasion::Refused).await;
        }
    }

    /// Looks at every token again because an operator asks for it; returns when all were looked at. A bad one is
    /// complained of each time. Cancel-safe, as [`reread`](Self::reread) is.
    pub async fn reread_all(&self) {
        self.look_at_all(Occasion::Asked).await;
    }

    /// Looks at every token again as a matter of routine. A bad one is complained of once. Cancel-safe, as
    /// [`reread`](Self::reread) is.
    pub async fn look(&self) {
        self.look_at_all(Occasion::Routine).await;
    }

    async fn look_at_all(&self, occasion: Occasion) {
        // Side by side: a volume that hangs keeps nobody from the others.
        join_all(self.sources().map(|source| self.look_again(source, occasion))).await;
    }

    async fn look_again(&self, source: &Arc<Source>, occasion: Occasion) {
        source.look_again(occasion, self.allow_world_readable, self.metrics.clone()).await;
    }

    fn source(&self, space: &SpaceId) -> Option<&Arc<Source>> {
        self.spaces.iter().find(|(held, _)| held == space).map(|(_, source)| source)
    }

    /// The source that is already here for the same place, or else this one.
    fn shared(&self, source: Arc<Source>) -> Arc<Source> {
        let known = self.spaces.iter().map(|(_, known)| known).find(|known| known.is_same_place_as(&source));
        known.map_or(source, Arc::clone)
    }
}

// === impl Health ===

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.problem {
            None => f.write_str("fine"),
            Some(problem) => write!(f, "an older one is used, because its file now {problem}"),
        }?;
        if self.refused { f.write_str("; Monime refused it when last asked") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests;
