//! Whose a presented key is, found in steps that are the same for every text.
//!
//! One hash, one look-up by that hash and one comparison in constant time, whether the key is right, nearly right or
//! nothing like one: how long an answer takes tells nothing. Refuses to hold a key: what is held are digests.

use std::collections::HashMap;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use foldhash::fast::RandomState;

use super::Digest;

/// The digests of all keys, each with the place of its caller. The hasher is seeded and fast; that is enough, since who
/// sends keys chooses what is looked for and never what is in the map.
pub(super) struct Keys(HashMap<Digest, usize, RandomState>);

/// What is compared with when no key was found. A match would mean nothing: nobody is behind it.
const NOBODY: Digest = Digest::ZERO;

/// The three steps. Apart from the finding, so that they can be counted.
pub(super) trait Steps {
    /// The digest of what was presented.
    fn digest(&self, presented: &[u8]) -> Digest;
    /// The digest that the map has for this one, and its caller's place.
    fn look_up<'a>(&self, keys: &'a Keys, digest: &Digest) -> Option<(&'a Digest, usize)>;
    /// Whether both are the same, in a time that does not tell where they differ.
    fn is_same(&self, one: &Digest, other: &Digest) -> bool;
}

/// The steps themselves.
pub(super) struct Plainly;

impl Steps for Plainly {
    fn digest(&self, presented: &[u8]) -> Digest {
        Digest::of(presented)
    }

    fn look_up<'a>(&self, keys: &'a Keys, digest: &Digest) -> Option<(&'a Digest, usize)> {
        keys.0.get_key_value(digest).map(|(held, place)| (held, *place))
    }

    fn is_same(&self, one: &Digest, other: &Digest) -> bool {
        verify_slices_are_equal(one.as_bytes(), other.as_bytes()).is_ok()
    }
}

// === impl Keys ===

impl Keys {
    /// Of digests that stand twice the first counts.
    pub(super) fn new(keys: impl IntoIterator<Item = (Digest, usize)>) -> Self {
        let mut map = HashMap::default();
        for (digest, place) in keys {
            map.entry(digest).or_insert(place);
        }
        Self(map)
    }

    /// The place of the caller whose key this is.
    pub(super) fn find(&self, steps: &impl Steps, presented: &[u8]) -> Option<usize> {
        let digest = steps.digest(presented);
        let (held, place) = match steps.look_up(self, &digest) {
            Some((held, place)) => (held, Some(place)),
            None => (&NOBODY, None),
        };
        // Not in the arms above: it is done for everyone.
        if steps.is_same(&digest, held) { place } else { None }
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
