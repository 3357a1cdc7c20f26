//! What Monime and the way to it do to one call, by the weather of the moment and by chance that can be repeated.
//!
//! The sandbox's own schedules of faults are two of the weathers; the others are days that it does not know.

use std::time::Duration;

use fastrand::Rng;
use monigate::sandbox::{Fault, Profile, Schedule};

/// The days a schedule is made of.
pub(crate) const WEATHERS: [Weather; 11] = [
    Weather::Calm,
    Weather::Calm,
    Weather::Rough,
    Weather::Down,
    Weather::Faltering,
    Weather::Refusing,
    Weather::Silent,
    Weather::Slow,
    Weather::Throttling,
    Weather::Odd,
    Weather::Mixed,
];

/// What kind of moment it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weather {
    /// Nothing goes wrong.
    Calm,
    /// As the sandbox has it.
    Rough,
    /// As the sandbox has it.
    Down,
    /// Six in ten fail at once, in ways that are worth a retry: too few for the breaker.
    Faltering,
    /// No connection, at once.
    Refusing,
    /// No answer, ever.
    Silent,
    /// Answers that take seconds, trickle, or stop in the middle.
    Slow,
    /// Three in ten are told to slow down.
    Throttling,
    /// Answers that cannot be used.
    Odd,
    /// Any of these, anew for each call.
    Mixed,
}

/// What one call meets.
#[derive(Debug, Clone)]
pub(crate) struct Fate {
    /// From sending to arrival.
    pub(crate) transit: Duration,
    /// From arrival to the answer's head.
    pub(crate) wait: Duration,
    pub(crate) what: What,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum What {
    Right,
    Never,
    NotConnected,
    Refused,
    Unanswered,
    ConnectTimedOut,
    /// An error in Monime's envelope, with `Retry-After`.
    Status(u16, Option<u64>),
    Throttled(Option<&'static str>, Option<u64>),
    Html(u16),
    Redirect,
    Malformed,
    BreaksOff,
    ResetMidway,
    StopsMidway,
    Drip(usize, Duration),
    WrongId,
    NestedResult,
    Doubled,
    Reflects,
}

impl Fate {
    /// What the call with this number meets.
    pub(crate) fn of(weather: Weather, seed: u64, turn: u64, rng: &mut Rng) -> Self {
        let transit = Duration::from_millis(rng.u64(0..=40));
        let (what, wait) = weather.meets(seed, turn, rng);
        Self { transit, wait, what }
    }
}

impl Weather {
    fn meets(self, seed: u64, turn: u64, rng: &mut Rng) -> (What, Duration) {
        let millis = |rng: &mut Rng, range: std::ops::RangeInclusive<u64>| Duration::from_millis(rng.u64(range));
        let soon = millis(rng, 0..=30);
        let often = |rng: &mut Rng, percent: u32| rng.u32(0..100) < percent;
        match self {
            Self::Calm => (What::Right, soon),
            Self::Rough => played(Schedule { profile: Profile::Rough, seed }.at(turn)),
            Self::Down => played(Schedule { profile: Profile::Down, seed }.at(turn)),
            Self::Faltering if often(rng, 60) => (passing(rng), soon),
            Self::Faltering => (What::Right, soon),
            Self::Refusing => (What::NotConnected, Duration::ZERO),
            Self::Silent => (What::Never, Duration::ZERO),
            Self::Slow => match rng.u32(0..6) {
                0 => (What::StopsMidway, soon),
                1 => (What::Drip(16, millis(rng, 10..=400)), soon),
                2 => (What::ConnectTimedOut, Duration::from_secs(2)),
                _ => (What::Right, millis(rng, 500..=8000)),
            },
            Self::Throttling if often(rng, 30) => (throttled(rng), soon),
            Self::Throttling => (What::Right, soon),
            Self::Odd => (odd(rng), soon),
            Self::Mixed => WEATHERS[rng.usize(..WEATHERS.len() - 1)].meets(seed, turn, rng),
        }
    }
}

/// A fault of the sandbox's, on this wire.
fn played(fault: Option<Fault>) -> (What, Duration) {
    let what = match fault {
        None => What::Right,
        Some(Fault::Latency(wait)) => return (What::Right, wait),
        Some(Fault::Status(status)) => What::Status(status.as_u16(), None),
        Some(Fault::Throttled { scope, retry_after }) => What::Throttled(Some(scope.as_str()), Some(retry_after)),
        Some(Fault::Reset) => What::Unanswered,
        Some(Fault::Drip { bytes, every }) => What::Drip(bytes, every),
        Some(Fault::Truncated) => What::BreaksOff,
        Some(Fault::Malformed) => What::Malformed,
        Some(Fault::Html(status)) => What::Html(status.as_u16()),
        Some(other) => panic!("the sandbox's schedules play no {}", other.name()),
    };
    (what, Duration::from_millis(5))
}

/// What may be over a moment later.
fn passing(rng: &mut Rng) -> What {
    match rng.u32(0..6) {
        0 => What::NotConnected,
        1 => What::Unanswered,
        2 => What::Status(502, None),
        3 => What::Status(503, None),
        4 => What::Status(503, Some(rng.u64(0..=4))),
        _ => What::Status(504, None),
    }
}

fn throttled(rng: &mut Rng) -> What {
    let scopes = [Some("endpoint-limit"), Some("token-limit"), Some("space-limit"), Some("moon-limit"), None];
    // One in a while asks for more than is believed.
    let wait = if rng.u32(0..40) == 0 { 90 } else { rng.u64(0..=4) };
    What::Throttled(rng.choice(scopes).flatten(), (rng.u32(0..5) > 0).then_some(wait))
}

fn odd(rng: &mut Rng) -> What {
    let whats = [
        What::Right,
        What::Refused,
        What::Status(500, None),
        What::Status(401, None),
        What::Status(403, None),
        What::Status(404, None),
        What::Html(404),
        What::Html(502),
        What::Redirect,
        What::Malformed,
        What::BreaksOff,
        What::ResetMidway,
        What::WrongId,
        What::NestedResult,
        What::Doubled,
        What::Reflects,
    ];
    rng.choice(whats).unwrap_or(What::Right)
}
