//! Monime's rate limits: three sliding one-second windows, per token and endpoint, per token, per space.
//!
//! Owns counting what was let through. Refuses to count what it refused: a caller that keeps asking too fast is
//! answered again as soon as a place is free. Time is passed in, so every promise is testable without waiting.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::Duration;

use tokio::time::Instant;

use super::api::Operation;
use crate::monime::{Rates, SpaceId};

/// Monime states its limits per second; any second counts, not only those that a clock begins.
const WINDOW: Duration = Duration::from_secs(1);
/// Idle windows of one kind are forgotten beyond this many, so that made-up spaces do not fill the memory.
const MAX_WINDOWS: usize = 1024;

/// Requests a second, in any second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// For one token at one endpoint.
    pub endpoint: u32,
    /// For one token.
    pub token: u32,
    /// For one space.
    pub space: u32,
}

/// Which limit was reached; its text is what `Monime-Rate-Limit` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Scope {
    /// One token at one endpoint.
    #[serde(rename = "endpoint-limit")]
    Endpoint,
    /// One token.
    #[serde(rename = "token-limit")]
    Token,
    /// One space.
    #[serde(rename = "space-limit")]
    Space,
}

/// What was let through within the last second.
#[derive(Debug)]
pub(super) struct Limiter {
    limits: Limits,
    /// By the numbers of tokens.
    tokens: HashMap<usize, Window>,
    endpoints: HashMap<(usize, Operation), Window>,
    spaces: HashMap<SpaceId, Window>,
}

/// The moments within the last second.
#[derive(Debug, Default)]
pub(super) struct Window(VecDeque<Instant>);

// === impl Limits ===

impl Limits {
    /// What Monime grants a live token.
    pub const LIVE: Self = Self::of(Rates::LIVE);
    /// What Monime grants a test token.
    pub const TEST: Self = Self::of(Rates::TEST);
    /// No limit at all, for measuring something else.
    pub const NONE: Self = Self { endpoint: u32::MAX, token: u32::MAX, space: u32::MAX };

    /// All of these, by name.
    pub const NAMED: [(&str, Self); 3] = [("live", Self::LIVE), ("test", Self::TEST), ("none", Self::NONE)];

    const fn of(Rates { endpoint, token, space }: Rates) -> Self {
        Self { endpoint, token, space }
    }

    /// The limits that go by this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMED.into_iter().find(|(known, _)| *known == name).map(|(_, limits)| limits)
    }
}

// === impl Scope ===

impl Scope {
    /// As `Monime-Rate-Limit` writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Endpoint => "endpoint-limit",
            Self::Token => "token-limit",
            Self::Space => "space-limit",
        }
    }
}

// === impl Limiter ===

impl Limiter {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, tokens: HashMap::new(), endpoints: HashMap::new(), spaces: HashMap::new() }
    }

    /// Takes one place in all three windows, or none and names the narrowest one that is full.
    pub(super) fn admit(
        &mut self,
        token: usize,
        operation: Operation,
        space: &SpaceId,
        now: Instant,
    ) -> Result<(), Scope> {
        if self.limits == Limits::NONE {
            return Ok(());
        }
        let endpoint = window(&mut self.endpoints, (token, operation), now);
        let token = window(&mut self.tokens, token, now);
        let space = window(&mut self.spaces, space.clone(), now);
        for (window, limit, scope) in [
            (&mut *endpoint, self.limits.endpoint, Scope::Endpoint),
            (&mut *token, self.limits.token, Scope::Token),
            (&mut *space, self.limits.space, Scope::Space),
        ] {
            if window.count(now) >= limit {
                return Err(scope);
            }
        }
        for window in [endpoint, token, space] {
            window.take(now);
        }
        Ok(())
    }
}

fn window<K: Eq + Hash>(windows: &mut HashMap<K, Window>, of: K, now: Instant) -> &mut Window {
    if windows.len() >= MAX_WINDOWS {
        windows.retain(|_, window| window.count(now) > 0);
    }
    windows.entry(of).or_default()
}

// === impl Window ===

impl Window {
    /// How many moments lie within the second that ends at `now`.
    pub(super) fn count(&mut self, now: Instant) -> u32 {
        while self.0.front().is_some_and(|moment| now.saturating_duration_since(*moment) >= WINDOW) {
            self.0.pop_front();
        }
        u32::try_from(self.0.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn take(&mut self, now: Instant) {
        self.0.push_back(now);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OPERATIONS: [Operation; 2] = [Operation::Get, Operation::List];

    fn spaces() -> [SpaceId; 2] {
        ["spc-a", "spc-b"].map(|space| SpaceId::parse(space).unwrap())
    }

    #[test]
    fn a_refused_request_takes_no_place_and_a_place_is_free_after_one_second() {
        let start = Instant::now();
        let mut limiter = Limiter::new(Limits { endpoint: 1, token: 9, space: 9 });
        let [space, _] = spaces();
        let mut at = |millis| limiter.admit(0, Operation::Get, &space, start + Duration::from_millis(millis));
        assert_eq!(at(0), Ok(()));
        assert_eq!(at(999), Err(Scope::Endpoint));
        assert_eq!(at(1000), Ok(()));
        assert_eq!(at(1999), Err(Scope::Endpoint));
    }

    #[test]
    fn made_up_spaces_are_forgotten_once_idle() {
        let start = Instant::now();
        let mut limiter = Limiter::new(Limits { endpoint: u32::MAX, token: u32::MAX, space: 1 });
        for index in 0..5000_u32 {
            let space = SpaceId::parse(&format!("spc-{index}")).unwrap();
            let now = start + Duration::from_millis(10) * index;
            assert_eq!(limiter.admit(0, Operation::Get, &space, now), Ok(()));
        }
        assert!(limiter.spaces.len() <= MAX_WINDOWS, "{}", limiter.spaces.len());
    }

    #[test]
    fn every_token_has_its_own_limits_and_a_space_is_shared() {
        let now = Instant::now();
        let mut limiter = Limiter::new(Limits { endpoint: 1, token: 2, space: 3 });
        let [space, _] = spaces();
        let mut ask = |token, operation| limiter.admit(token, operation, &space, now);
        assert_eq!(ask(0, Operation::Get), Ok(()));
        assert_eq!(ask(0, Operation::Get), Err(Scope::Endpoint));
        assert_eq!(ask(1, Operation::Get), Ok(()));
        assert_eq!(ask(0, Operation::List), Ok(()));
        assert_eq!(ask(0, Operation::Create), Err(Scope::Token));
        assert_eq!(ask(1, Operation::List), Err(Scope::Space));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn it_decides_as_counting_all_of_history_does(
            limits in (1u32..6, 1u32..9, 1u32..9),
            asks in proptest::collection::vec((0u64..400, 0usize..2, 0usize..2, 0usize..2), 0..160),
        ) {
            let limits = Limits { endpoint: limits.0, token: limits.1, space: limits.2 };
            let (mut limiter, spaces, mut now) = (Limiter::new(limits), spaces(), Instant::now());
            let mut let_through: Vec<(Instant, usize, usize, usize)> = Vec::new();
            for (pause, token, operation, space) in asks {
                now += Duration::from_millis(pause);
                let count = |counts: &dyn Fn(usize, usize, usize) -> bool| {
                    let in_window = |at: Instant| now - at < Duration::from_secs(1);
                    let_through.iter().filter(|past| in_window(past.0) && counts(past.1, past.2, past.3)).count() as u32
                };
                let expected = if count(&|by, past, _| (by, past) == (token, operation)) >= limits.endpoint {
                    Err(Scope::Endpoint)
                } else if count(&|by, _, _| by == token) >= limits.token {
                    Err(Scope::Token)
                } else if count(&|_, _, past| past == space) >= limits.space {
                    Err(Scope::Space)
                } else {
                    Ok(())
                };
                prop_assert_eq!(limiter.admit(token, OPERATIONS[operation], &spaces[space], now), expected);
                if expected.is_ok() {
                    let_through.push((now, token, operation, space));
                }
            }
        }
    }
}
