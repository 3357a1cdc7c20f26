//! One schedule: everything that a seed decides before its first moment.

use std::time::Duration;

use fastrand::Rng;
use monigate::lookup::{Lifetimes, StaleIfError, Ttl};
use monigate::monime::Rates;
use monigate::upstream::Timeouts;

use super::weather::{WEATHERS, Weather};

/// The spaces and the versions that callers name.
pub(crate) const SPACES: [&str; 2] = ["spc-one", "spc-two"];
pub(crate) const VERSIONS: [&str; 2] = ["caph.2025-08-23", "caph.2025-06-20"];

/// What Monime would say about a session, were nothing in the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Pending,
    Completed,
    Cancelled,
    Expired,
    Processing,
    Absent,
}

/// What becomes of one session: what it shows from which moment on. The first is there from the start.
#[derive(Debug, Clone)]
pub(crate) struct Life(pub(crate) Vec<(Duration, Status)>);

#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) span: Duration,
    pub(crate) lifetimes: Lifetimes,
    pub(crate) timeouts: Timeouts,
    pub(crate) rates: Rates,
    pub(crate) share: f64,
    pub(crate) max_in_flight: usize,
    pub(crate) callers_may_refresh: bool,
    pub(crate) lives: Vec<Life>,
    /// Each from its moment on.
    pub(crate) weathers: Vec<(Duration, Weather)>,
    /// How often callers ask, all together.
    pub(crate) questions: usize,
    /// When everybody comes at once.
    pub(crate) crowds: Vec<Duration>,
    pub(crate) purges: Vec<Duration>,
    /// How many callers prove who they are, each with a line of its own; none if everyone is let in.
    pub(crate) named: usize,
}

impl Status {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Completed => "completed",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
            Self::Processing => "processing",
            Self::Absent => "absent",
        }
    }
}

impl Life {
    pub(crate) fn always(status: Status) -> Self {
        Self(vec![(Duration::ZERO, status)])
    }

    pub(crate) fn at(&self, moment: Duration) -> Status {
        let past = self.0.iter().take_while(|(from, _)| *from <= moment);
        past.last().map_or(Status::Absent, |(_, status)| *status)
    }

    fn random(rng: &mut Rng, span: Duration) -> Self {
        let mut life = vec![(Duration::ZERO, Status::Pending)];
        let mut at = Duration::ZERO;
        let mut then = |rng: &mut Rng, status| {
            at += span.mul_f64(rng.f64() * 0.5);
            life.push((at, status));
        };
        match rng.u32(0..10) {
            0 => {}
            1..4 => then(rng, Status::Completed),
            4 => {
                then(rng, Status::Cancelled);
                then(rng, Status::Absent);
            }
            5 => {
                then(rng, Status::Expired);
                then(rng, Status::Completed);
            }
            6 => {
                then(rng, Status::Cancelled);
                then(rng, Status::Completed);
                then(rng, Status::Cancelled);
            }
            // What must never happen, and must not be passed on if it does.
            7 => {
                let back = [Status::Pending, Status::Processing, Status::Absent];
                then(rng, Status::Completed);
                then(rng, rng.clone().choice(back).unwrap_or(Status::Pending));
                then(rng, Status::Completed);
            }
            8 => {
                then(rng, Status::Processing);
                then(rng, Status::Expired);
            }
            _ => then(rng, Status::Absent),
        }
        Self(life)
    }
}

impl Plan {
    pub(crate) fn of(seed: u64) -> Self {
        let rng = &mut Rng::with_seed(seed);
        let span = Duration::from_secs(rng.u64(60..=180));
        let within = |rng: &mut Rng, most: u32| {
            let mut moments: Vec<_> = (0..rng.u32(0..=most)).map(|_| span.mul_f64(rng.f64())).collect();
            moments.sort_unstable();
            moments
        };
        let mut weathers = Vec::new();
        let mut at = Duration::ZERO;
        while at < span {
            weathers.push((at, rng.choice(WEATHERS).unwrap_or(Weather::Calm)));
            at += Duration::from_secs(rng.u64(3..=40));
        }
        Self {
            seed,
            span,
            lifetimes: lifetimes(rng),
            timeouts: timeouts(rng),
            rates: Rates { endpoint: rng.u32(3..=20), token: rng.u32(4..=40), space: rng.u32(3..=60) },
            share: rng.choice([1.0, 1.0, 1.0, 0.5, 0.5, 0.07]).unwrap_or(1.0),
            max_in_flight: rng.choice([1024, 1024, 16]).unwrap_or(1024),
            callers_may_refresh: rng.bool(),
            lives: (0..rng.usize(2..=40)).map(|_| Life::random(rng, span)).collect(),
            weathers,
            questions: rng.usize(30..=110),
            crowds: within(rng, 4),
            purges: within(rng, 4),
            named: rng.choice([0, 0, 1, 4]).unwrap_or(0),
        }
    }

    /// Nothing by chance: calm, then ten minutes of something else from the first minute on, then calm.
    pub(crate) fn outage(seed: u64, weather: Weather, lives: Vec<Life>) -> Self {
        let [second, minute, day] = [1, 60, 24 * 3600].map(Duration::from_secs);
        let ttl = Ttl { completed: minute / 2, cancelled: minute, expired: minute, absent: Duration::ZERO };
        let stale_if_error = StaleIfError { completed: day, ..StaleIfError::default() };
        Self {
            seed,
            span: 12 * minute,
            lifetimes: Lifetimes { ttl, stale_if_error },
            timeouts: Timeouts { connect: 2 * second, attempt: 5 * second, total: 10 * second, write: 60 * second },
            rates: Rates::LIVE,
            share: 1.0,
            max_in_flight: 1024,
            callers_may_refresh: false,
            lives,
            weathers: vec![(Duration::ZERO, Weather::Calm), (minute, weather), (11 * minute, Weather::Calm)],
            questions: 0,
            crowds: Vec::new(),
            purges: Vec::new(),
            named: 0,
        }
    }

    pub(crate) fn weather(&self, moment: Duration) -> Weather {
        if moment >= self.span {
            return Weather::Calm;
        }
        let past = self.weathers.iter().take_while(|(from, _)| *from <= moment);
        past.last().map_or(Weather::Calm, |(_, weather)| *weather)
    }
}

fn lifetimes(rng: &mut Rng) -> Lifetimes {
    let seconds = |rng: &mut Rng, range| Duration::from_secs(rng.u64(range));
    let long = Duration::from_secs(24 * 3600);
    let completed = if rng.bool() { long } else { seconds(rng, 1..=30) };
    let stale = if rng.bool() { long } else { seconds(rng, 1..=60) };
    let ttl = Ttl { completed, cancelled: seconds(rng, 1..=60), expired: seconds(rng, 1..=60), absent: Duration::ZERO };
    Lifetimes { ttl, stale_if_error: StaleIfError { completed: stale, ..StaleIfError::default() } }
}

fn timeouts(rng: &mut Rng) -> Timeouts {
    let [connect, attempt, total] = rng.choice([[2, 5, 10], [1, 2, 4], [2, 5, 6]]).unwrap_or([2, 5, 10]);
    let [connect, attempt, total] = [connect, attempt, total].map(Duration::from_secs);
    Timeouts { connect, attempt, total, write: Duration::from_secs(60) }
}
