//! `Idempotency-Key`: a create that is sent again within 24 hours is answered again, not done again.
//!
//! Owns what was answered to which key, per space. Refuses to answer another body under a used key. Time is passed in.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use tokio::time::Instant;

use crate::monime::SpaceId;

/// How long Monime's clients may rely on a key.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);
/// Keys kept at most; beyond it the oldest go early.
const CAPACITY: usize = 100_000;

/// Whose key it is, and the key.
type Name = (SpaceId, String);

/// The answers that can be given again.
#[derive(Debug, Default)]
pub(super) struct Replays {
    kept: HashMap<Name, Replay>,
    /// In the order of their age: the clock never goes back.
    ages: VecDeque<(Instant, Name)>,
}

#[derive(Debug)]
struct Replay {
    asked: [u8; 32],
    answered: Bytes,
}

/// The key was used with another body.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct InUse;

impl Replays {
    /// What was answered to this key, if it was used within 24 hours.
    pub(super) fn find(&mut self, name: &Name, body: &[u8], now: Instant) -> Result<Option<Bytes>, InUse> {
        self.forget(now);
        match self.kept.get(name) {
            None => Ok(None),
            Some(replay) if replay.asked == fingerprint(body) => Ok(Some(replay.answered.clone())),
            Some(_) => Err(InUse),
        }
    }

    pub(super) fn keep(&mut self, name: Name, body: &[u8], answered: Bytes, now: Instant) {
        self.ages.push_back((now, name.clone()));
        self.kept.insert(name, Replay { asked: fingerprint(body), answered });
    }

    fn forget(&mut self, now: Instant) {
        let old = |at: Instant| now.saturating_duration_since(at) >= KEPT;
        while self.ages.front().is_some_and(|(at, _)| old(*at)) || self.ages.len() > CAPACITY {
            if let Some((_, name)) = self.ages.pop_front() {
                self.kept.remove(&name);
            }
        }
    }
}

fn fingerprint(body: &[u8]) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, body).as_ref());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_answers_again_for_24_hours_and_only_the_same_body_in_the_same_space() {
        let (mut replays, now) = (Replays::default(), Instant::now());
        let name = |space: &str| (SpaceId::parse(space).unwrap(), "key".to_owned());
        assert_eq!(replays.find(&name("spc-a"), b"body", now), Ok(None));
        replays.keep(name("spc-a"), b"body", Bytes::from_static(b"answer"), now);

        let last = now + KEPT - Duration::from_millis(1);
        assert_eq!(replays.find(&name("spc-a"), b"body", last), Ok(Some(Bytes::from_static(b"answer"))));
        assert_eq!(replays.find(&name("spc-a"), b"other", last), Err(InUse));
        assert_eq!(replays.find(&name("spc-b"), b"other", last), Ok(None));
        assert_eq!(replays.find(&name("spc-a"), b"other", now + KEPT), Ok(None));
        assert!(replays.kept.is_empty() && replays.ages.is_empty());
    }
}
