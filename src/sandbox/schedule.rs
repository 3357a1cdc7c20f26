//! Faults by seed: what each lookup meets, known ahead, so that a run that failed can be repeated.
//!
//! Owns the profiles and their chances. Refuses to look at a clock and to remember: a turn depends on the profile, the
//! seed and its number alone, whenever it is taken and whatever came before it.

use std::time::Duration;

use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::fault::Fault;
use super::limiter::Scope;

/// What kind of day Monime has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// Nothing goes wrong.
    Calm,
    /// Seven lookups in ten are as ever. The others are late, fail, are told to slow down, break off or come spoiled.
    Rough,
    /// Every lookup fails, at once.
    Down,
}

/// Which faults lookups meet, one after the other. The same one decides the same for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct Schedule {
    /// How likely each fault is.
    #[serde(rename = "faults")]
    pub profile: Profile,
    /// Where its chance begins; another one is another day of the same kind.
    pub seed: u64,
}

/// Chance that can be repeated: SplitMix64. Not a crate's generator, which may draw otherwise after an update, while
/// a seed that somebody wrote down must keep its meaning.
struct Dice(u64);

// === impl Profile ===

impl Profile {
    /// All of them, by name.
    pub const NAMED: [(&str, Self); 3] = [("calm", Self::Calm), ("rough", Self::Rough), ("down", Self::Down)];

    /// The profile that goes by this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMED.into_iter().find(|(known, _)| *known == name).map(|(_, profile)| profile)
    }

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Calm => "calm",
            Self::Rough => "rough",
            Self::Down => "down",
        }
    }
}

// === impl Schedule ===

impl Schedule {
    /// No faults at all.
    pub const CALM: Self = Self { profile: Profile::Calm, seed: 0 };

    /// A day of this kind: the one with this seed, or else one that nobody has seen before.
    #[must_use]
    pub fn of(profile: Profile, seed: Option<u64>) -> Self {
        // Short enough to be typed, and exact in JSON wherever numbers are floating-point.
        let seed = seed.unwrap_or_else(|| u64::from(fastrand::u32(..)));
        Self { profile, seed }
    }

    /// What the lookup with this number meets, counted from 0; none is the right answer at once.
    #[must_use]
    pub fn at(self, turn: u64) -> Option<Fault> {
        let mut dice = Dice::of(self.seed, turn);
        match self.profile {
            Profile::Calm => None,
            Profile::Rough => rough(&mut dice),
            Profile::Down => Some(down(&mut dice)),
        }
    }
}

/// In thousandths. What throttles stays rare: a caller that obeys loses a second to each.
fn rough(dice: &mut Dice) -> Option<Fault> {
    let fault = match dice.below(1000) {
        0..700 => return None,
        700..850 => Fault::Latency(dice.millis(10, 300)),
        850..910 => Fault::Status(failure(dice)),
        910..920 => Fault::Throttled { scope: scope(dice), retry_after: 1 },
        920..940 => Fault::Reset,
        // About a kilobyte of answer: a third of a second at most.
        940..960 => Fault::Drip { bytes: 64, every: dice.millis(1, 20) },
        960..975 => Fault::Truncated,
        975..990 => Fault::Malformed,
        _ => Fault::Html(failure(dice)),
    };
    Some(fault)
}

/// An outage that answers or closes quickly; to play one that hangs, plan a [`Fault::Latency`].
fn down(dice: &mut Dice) -> Fault {
    match dice.below(4) {
        0 => Fault::Reset,
        1 => Fault::Html(failure(dice)),
        _ => Fault::Status(failure(dice)),
    }
}

fn failure(dice: &mut Dice) -> StatusCode {
    match dice.below(4) {
        0 => StatusCode::INTERNAL_SERVER_ERROR,
        1 => StatusCode::BAD_GATEWAY,
        2 => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::GATEWAY_TIMEOUT,
    }
}

fn scope(dice: &mut Dice) -> Scope {
    match dice.below(3) {
        0 => Scope::Endpoint,
        1 => Scope::Token,
        _ => Scope::Space,
    }
}

// === impl Dice ===

impl Dice {
    /// Begins somewhere else for every pair: mixed twice, so that neighbouring seeds are no shifted copies.
    fn of(seed: u64, turn: u64) -> Self {
        Self(mix(mix(seed).wrapping_add(turn)))
    }

    /// A number from 0 to `bound`, itself excluded. The bounds here are so small that the bias does not matter.
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0) % bound
    }

    /// Whole milliseconds from `least` to `most`.
    fn millis(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_millis(least + self.below(most - least + 1))
    }
}

/// The finalizer of SplitMix64: one to one, and every bit of the result depends on every bit of `word`.
fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::answer::checksum;
    use super::*;

    fn rough(seed: u64) -> Schedule {
        Schedule { profile: Profile::Rough, seed }
    }

    /// How often each fault comes within so many turns, by name; `none` where none does.
    fn counts(schedule: Schedule, turns: u64) -> BTreeMap<&'static str, u64> {
        let mut counts = BTreeMap::new();
        for turn in 0..turns {
            *counts.entry(schedule.at(turn).map_or("none", |fault| fault.name())).or_default() += 1;
        }
        counts
    }

    #[test]
    fn a_seed_that_was_written_down_keeps_its_meaning() {
        let expected = r#"[[3,{"latency":"126ms"}],[5,{"latency":"118ms"}],[12,{"latency":"230ms"}],[18,{"latency":"280ms"}],
[22,{"status":502}],[25,{"latency":"259ms"}],[30,{"throttled":{"scope":"space-limit","retry_after":1}}],
[33,{"latency":"281ms"}]]"#;
        let faults: Vec<_> = (0..40).filter_map(|turn| rough(42).at(turn).map(|fault| (turn, fault))).collect();
        assert_eq!(serde_json::to_string(&faults).unwrap(), expected.replace('\n', ""));
        for (profile, expected) in [
            (Profile::Rough, "86c336e240ca336fed94f7e387dfe64dad225ad18ad565f384d6e6b78b25960d"),
            (Profile::Down, "1a18ab5f0b677afc803392909d8e5b9490539ba9cba0d17d7f6d26766756315b"),
        ] {
            let schedule = Schedule { profile, seed: 42 };
            let faults: Vec<_> = (0..10_000).map(|turn| schedule.at(turn)).collect();
            assert_eq!(checksum(&serde_json::to_vec(&faults).unwrap()), expected, "{profile:?}");
        }
        assert_eq!(mix(0x9e37_79b9_7f4a_7c15), 0xe220_a839_7b1d_cdaf, "as everyone's SplitMix64 begins from 0");
    }

    #[test]
    fn a_rough_day_has_some_of_everything_it_promises_and_mostly_right_answers() {
        for seed in [0, 1, 2, 42, u64::MAX] {
            let counts = counts(rough(seed), 10_000);
            for (name, chance) in [
                ("none", 7000),
                ("latency", 1500),
                ("status", 600),
                ("throttled", 100),
                ("reset", 200),
                ("drip", 200),
                ("truncated", 150),
                ("malformed", 150),
                ("html", 100),
            ] {
                // Six standard deviations on either side.
                let slack = 6 * (chance as f64).sqrt() as u64;
                let found = counts.get(name).copied().unwrap_or_default();
                assert!(found.abs_diff(chance) <= slack, "{name}: {found}, not about {chance}, with seed {seed}");
            }
            assert_eq!(counts.len(), 9, "{counts:?}");
        }
    }

    #[test]
    fn neighbouring_seeds_are_different_days_and_not_shifted_copies() {
        let day = |seed, from: u64| (from..from + 200).map(|turn| rough(seed).at(turn)).collect::<Vec<_>>();
        for shift in 0..50 {
            assert_ne!(day(1, shift), day(2, 0), "{shift}");
            assert_ne!(day(1, 0), day(2, shift), "{shift}");
        }
    }

    #[test]
    fn names_are_what_json_and_people_call_a_profile() {
        for (name, profile) in Profile::NAMED {
            assert_eq!((Profile::named(name), profile.as_str()), (Some(profile), name));
            assert_eq!(serde_json::to_string(&profile).unwrap(), format!("\"{name}\""));
        }
        assert_eq!(Profile::named("stormy"), None);
        assert_eq!(serde_json::to_string(&rough(42)).unwrap(), r#"{"faults":"rough","seed":42}"#);
    }

    #[test]
    fn a_seed_it_chooses_itself_is_short_and_new() {
        let seeds: std::collections::BTreeSet<u64> = (0..8).map(|_| Schedule::of(Profile::Rough, None).seed).collect();
        assert!(seeds.len() > 1 && seeds.iter().all(|seed| *seed <= u64::from(u32::MAX)), "{seeds:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_turn_is_the_same_whenever_it_is_taken(seed: u64, turns in proptest::collection::vec(any::<u64>(), 1..20)) {
            let schedule = rough(seed);
            let first: Vec<_> = turns.iter().map(|turn| schedule.at(*turn)).collect();
            let mut again: Vec<_> = turns.iter().rev().map(|turn| schedule.at(*turn)).collect();
            again.reverse();
            prop_assert_eq!(first, again);
        }

        #[test]
        fn on_a_calm_day_nothing_fails_and_in_an_outage_nothing_else_happens(seed: u64, turn: u64) {
            prop_assert_eq!(Schedule { profile: Profile::Calm, seed }.at(turn), None);
            let outage = Schedule { profile: Profile::Down, seed };
            let fails = match outage.at(turn) {
                Some(Fault::Reset) => true,
                Some(Fault::Status(status) | Fault::Html(status)) => status.is_server_error(),
                _ => false,
            };
            prop_assert!(fails);
        }
    }
}
