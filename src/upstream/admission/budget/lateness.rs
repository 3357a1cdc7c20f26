//! How much later than it was sent a call may have come to Monime, beyond what every call takes.
//!
//! Monime counts arrivals, and only departures are known here. A way that always takes equally long changes nothing; one
//! that took longer than the quickest of late brings two seconds' worth closer together. Refuses to guess before it has
//! seen a minute of calls: until then the whole of an answer's time counts.

use std::time::Duration;

use tokio::time::Instant;

/// What every width has to spare for the way.
const MARGIN: Duration = Duration::from_millis(50);
/// How long the quickest way is looked for before it is believed, and then believed.
const SPAN: Duration = Duration::from_secs(60);

/// The quickest answers of the last span and of this one.
#[derive(Debug, Default)]
pub(super) struct Lateness {
    believed: Duration,
    seen: Option<(Instant, Duration)>,
}

impl Lateness {
    /// How long a call may be under way and still have come when its turn assumed.
    pub(super) fn usual(&self) -> Duration {
        self.believed + MARGIN
    }

    /// How much later than when it was sent a call counts that took so long until it was answered or given up.
    pub(super) fn of(&mut self, took: Duration, now: Instant) -> Duration {
        match &mut self.seen {
            Some((since, quickest)) if now.saturating_duration_since(*since) < SPAN => *quickest = took.min(*quickest),
            Some((since, quickest)) => {
                // What was seen before a long silence says nothing: connections have been closed since.
                let recent = now.saturating_duration_since(*since) < 2 * SPAN;
                self.believed = if recent { *quickest } else { Duration::ZERO };
                (*since, *quickest) = (now, took);
            }
            None => self.seen = Some((now, took)),
        }
        took.saturating_sub(self.usual())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_way_that_always_takes_equally_long_costs_nothing_once_it_is_known() {
        let (start, ms) = (Instant::now(), Duration::from_millis);
        let mut lateness = Lateness::default();
        assert_eq!(lateness.of(ms(30), start), ms(0), "the margin has room for it");
        assert_eq!(lateness.of(ms(300), start), ms(250), "nothing is known, so it may all have been the way there");
        assert_eq!(lateness.of(ms(200), start + ms(59_000)), ms(150));
        assert_eq!(lateness.of(ms(200), start + ms(61_000)), ms(120), "the quickest of the first minute took 30 ms");
        assert_eq!(lateness.of(ms(210), start + ms(122_000)), ms(0), "of the second, 200 ms");
        assert_eq!(lateness.of(ms(900), start + ms(122_000)), ms(650));
        assert_eq!(lateness.of(ms(200), start + ms(300_000)), ms(150), "after a silence everything is new");
    }
}
