//! New ids in the shape of Monime's: a prefix and 27 base62 characters, KSUID-like.
//!
//! Owns their order: an id made later sorts later, also within one second. Refuses to promise more than that they do
//! not repeat: they are no secrets, and nothing may treat them as such.

use std::hash::{BuildHasher, RandomState};

use crate::monime::SessionId;

/// In the order of ASCII, so that texts sort as the numbers they spell.
const BASE62: [u8; 62] = *b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// How many of them spell any number of 160 bits.
const LENGTH: usize = 27;
/// KSUIDs count seconds from 2014-05-13T16:53:20Z, which keeps 32 bits sufficient until 2150.
const EPOCH: u64 = 1_400_000_000;

/// Makes ids, each greater than the one before.
#[derive(Debug, Default)]
pub(super) struct Mint {
    newest: u64,
    sequence: u64,
    random: RandomState,
}

impl Mint {
    /// A session id made at `unix` seconds.
    pub(super) fn session(&mut self, unix: u64) -> SessionId {
        // Prefix and alphabet are a session id's own, so the first turn is the only one.
        loop {
            if let Ok(id) = SessionId::parse(&self.text("scs-", unix)) {
                return id;
            }
        }
    }

    /// `prefix` and 27 characters: seconds, then a count, then noise.
    pub(super) fn text(&mut self, prefix: &str, unix: u64) -> String {
        // A wall clock set back must not sort new ids before old ones.
        self.newest = self.newest.max(unix.saturating_sub(EPOCH));
        self.sequence += 1;
        let seconds = u32::try_from(self.newest).unwrap_or(u32::MAX);
        let noise = self.random.hash_one(self.sequence);
        let low = (u128::from(self.sequence) << 64) | u128::from(noise);
        format!("{prefix}{}", spell(seconds, low))
    }
}

/// The 160-bit number `high · 2^128 + low` in base62, padded to 27 characters.
fn spell(high: u32, low: u128) -> String {
    // Five 32-bit limbs, most significant first: schoolbook division by 62.
    let mut limbs = [high, limb(low, 96), limb(low, 64), limb(low, 32), limb(low, 0)];
    let mut digits = [b'0'; LENGTH];
    for digit in digits.iter_mut().rev() {
        let mut rest = 0;
        for limb in &mut limbs {
            let part = (rest << 32) | u64::from(*limb);
            *limb = u32::try_from(part / 62).unwrap_or(u32::MAX);
            rest = part % 62;
        }
        *digit = usize::try_from(rest).ok().and_then(|rest| BASE62.get(rest)).copied().unwrap_or(b'0');
    }
    digits.iter().copied().map(char::from).collect()
}

fn limb(number: u128, shift: u32) -> u32 {
    u32::try_from((number >> shift) & u128::from(u32::MAX)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_session_id_is_scs_and_27_base62_characters() {
        let id = Mint::default().session(1_790_000_000);
        let rest = id.as_str().strip_prefix("scs-").unwrap();
        assert_eq!(rest.len(), 27);
        assert!(rest.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{id}");
    }

    #[test]
    fn ids_sort_in_the_order_they_were_made_even_when_the_clock_goes_back() {
        let mut mint = Mint::default();
        let ids: Vec<SessionId> =
            [1_790_000_000, 1_790_000_000, 1_790_000_001, 1_700_000_000, 1_790_000_002, u64::MAX, u64::MAX]
                .map(|unix| mint.session(unix))
                .into();
        assert!(ids.is_sorted_by(|one, next| one < next), "{ids:?}");
    }

    #[test]
    fn the_largest_number_is_spelled_as_ksuid_does() {
        assert_eq!(spell(u32::MAX, u128::MAX), "aWgEPTl1tmebfsQzFP4bxwgy80V");
        assert_eq!(spell(0, 0), "0".repeat(27));
        assert_eq!(spell(0, 61), format!("{}z", "0".repeat(26)));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn spelling_keeps_the_order(one: (u32, u128), other: (u32, u128)) {
            prop_assert_eq!(one.cmp(&other), spell(one.0, one.1).cmp(&spell(other.0, other.1)));
        }
    }
}
