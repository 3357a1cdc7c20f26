//! How often a caller may ask: the generic cell rate algorithm (ITU-T I.371), in one atomic number.
//!
//! Owns when the next request may come. Refuses to wait, to lock and to know whose rate it is. What is kept is one
//! moment: until when the caller has used up its rate in advance. It may lie as far ahead as a whole burst takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::Rate;

const SECOND: u64 = 1_000_000_000;

/// One caller's rate and what is used of it.
pub(super) struct Meter {
    /// What one request uses up, in nanoseconds. Rounded up, so that no second holds more than the rate.
    each: u64,
    /// What a burst uses up, in nanoseconds.
    burst: u64,
    used: Arc<Used>,
}

/// Shared by all meters of a caller while its rate stays the same.
struct Used {
    /// The moment that nanoseconds are counted from.
    since: Instant,
    /// Until when the rate is used up.
    until: AtomicU64,
}

// === impl Meter ===

impl Meter {
    /// With nothing used.
    pub(super) fn new(rate: Rate, now: Instant) -> Self {
        Self::owing(rate, now, |_, _| 0)
    }

    /// A meter for `rate` that goes on from what is used of this one. The same rate shares its state, so that not a
    /// request is lost while both are in use; with another rate as many requests are owed as before, but never more
    /// than the new burst allows.
    pub(super) fn going_on(&self, rate: Rate, now: Instant) -> Self {
        let owed = self.used.until.load(Ordering::Relaxed).saturating_sub(self.used.at(now));
        let next = Self::owing(rate, now, |each, burst| {
            let owed = u128::from(owed) * u128::from(each) / u128::from(self.each.max(1));
            u64::try_from(owed).unwrap_or(u64::MAX).min(burst)
        });
        let is_same = (next.each, next.burst) == (self.each, self.burst);
        if is_same { Self { used: Arc::clone(&self.used), ..next } } else { next }
    }

    fn owing(rate: Rate, now: Instant, owed: impl FnOnce(u64, u64) -> u64) -> Self {
        let each = SECOND.div_ceil(u64::from(rate.per_second.max(1)));
        // At most 2^32 seconds, which fits.
        let burst = each.saturating_mul(u64::from(rate.burst.max(1)));
        let until = AtomicU64::new(owed(each, burst));
        Self { each, burst, used: Arc::new(Used { since: now, until }) }
    }

    /// Counts one request.
    ///
    /// # Errors
    /// How long until one would be let through; then nothing is counted.
    pub(super) fn admit(&self, now: Instant) -> Result<(), Duration> {
        let now = self.used.at(now);
        let latest = now.saturating_add(self.burst);
        let after = |until: u64| until.max(now).saturating_add(self.each);
        // Nothing else is told by this number, so its order among other writes does not matter.
        let count = |until| Some(after(until)).filter(|after| *after <= latest);
        match self.used.until.fetch_update(Ordering::Relaxed, Ordering::Relaxed, count) {
            Ok(_) => Ok(()),
            Err(until) => Err(Duration::from_nanos(after(until).saturating_sub(latest))),
        }
    }
}

// === impl Used ===

impl Used {
    /// In nanoseconds. Who took the time before the meter was made asks at its beginning.
    fn at(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.since).as_nanos()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::thread;

    use proptest::prelude::*;

    use super::*;

    fn rate(per_second: u32, burst: u32) -> Rate {
        Rate { per_second, burst }
    }

    fn admitted(meter: &Meter, now: Instant, asked: usize) -> usize {
        (0..asked).filter(|_| meter.admit(now).is_ok()).count()
    }

    #[test]
    fn a_burst_is_let_through_and_then_one_at_a_time() {
        let start = Instant::now();
        let meter = Meter::new(rate(10, 3), start);
        assert_eq!(admitted(&meter, start, 5), 3);
        assert_eq!(meter.admit(start), Err(Duration::from_millis(100)));
        assert_eq!(admitted(&meter, start + Duration::from_millis(99), 5), 0);
        assert_eq!(admitted(&meter, start + Duration::from_millis(100), 5), 1);
        assert_eq!(admitted(&meter, start + Duration::from_secs(60), 5), 3, "a pause earns a burst and no more");
    }

    #[test]
    fn a_clock_that_steps_back_neither_fails_nor_gives_more() {
        let start = Instant::now();
        let meter = Meter::new(rate(1, 2), start + Duration::from_secs(9));
        assert_eq!(admitted(&meter, start, 5), 2);
        assert_eq!(admitted(&meter, start + Duration::from_secs(9), 5), 0);
    }

    #[test]
    fn the_largest_numbers_are_counted_like_any_other() {
        let start = Instant::now();
        let most = Meter::new(rate(u32::MAX, u32::MAX), start);
        assert_eq!(admitted(&most, start, 1000), 1000);
        let slow = Meter::new(rate(1, u32::MAX), start);
        assert_eq!(admitted(&slow, start + Duration::from_secs(1 << 33), 1000), 1000);
        let least = Meter::new(rate(0, 0), start);
        assert_eq!((admitted(&least, start, 9), least.admit(start)), (1, Err(Duration::from_secs(1))));
    }

    #[test]
    fn the_same_rate_goes_on_in_one_count() {
        let start = Instant::now();
        let old = Meter::new(rate(10, 4), start);
        assert_eq!(admitted(&old, start, 1), 1);
        let new = old.going_on(rate(10, 4), start);
        assert_eq!(admitted(&new, start, 1) + admitted(&old, start, 1) + admitted(&new, start, 9), 3);
        assert_eq!(admitted(&old, start, 9), 0);
    }

    #[test]
    fn another_rate_owes_as_many_requests_and_never_more_than_its_burst() {
        let start = Instant::now();
        let slow = Meter::new(rate(1, 100), start);
        assert_eq!(admitted(&slow, start, 100), 100);
        let fast = slow.going_on(rate(100, 10), start);
        assert_eq!(fast.admit(start), Err(Duration::from_millis(10)), "not the 100 seconds that the old rate takes");
        let larger = slow.going_on(rate(1, 150), start);
        assert_eq!(admitted(&larger, start, 200), 50);

        let half = Meter::new(rate(10, 10), start);
        assert_eq!(admitted(&half, start, 5), 5);
        assert_eq!(admitted(&half.going_on(rate(2, 8), start), start, 20), 3);
        let later = start + Duration::from_secs(60);
        assert_eq!(admitted(&half.going_on(rate(2, 8), later), later, 20), 8);
    }

    #[test]
    fn threads_that_ask_at_once_never_get_more_than_the_burst() {
        for _ in 0..50 {
            let start = Instant::now();
            let (meter, together) = (Meter::new(rate(1, 100), start), Barrier::new(4));
            let one = || {
                together.wait();
                admitted(&meter, start, 100)
            };
            let each: Vec<usize> = thread::scope(|scope| {
                let threads: Vec<_> = (0..4).map(|_| scope.spawn(one)).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            assert_eq!(each.iter().sum::<usize>(), 100, "{each:?}");
        }
    }

    /// The same rule told as a bucket of tokens, in fractions of a token: one nanosecond earns one, one request takes
    /// as many as it lasts.
    struct Bucket {
        each: u128,
        size: u128,
        level: u128,
        at: u128,
    }

    impl Bucket {
        fn admit(&mut self, now: u128) -> Result<(), u128> {
            self.level = self.size.min(self.level + (now - self.at));
            self.at = now;
            if self.level < self.each {
                return Err(self.each - self.level);
            }
            self.level -= self.each;
            Ok(())
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn it_decides_as_a_bucket_of_tokens_does(
            per_second in 1_u32..2000,
            burst in 1_u32..20,
            steps in proptest::collection::vec(prop_oneof![Just(0_u64), 0..3_000_000_000_u64, 0..2_000_000_u64], 1..200),
        ) {
            let start = Instant::now();
            let meter = Meter::new(rate(per_second, burst), start);
            let each = 1_000_000_000_u128.div_ceil(u128::from(per_second));
            let size = each * u128::from(burst);
            let mut bucket = Bucket { each, size, level: size, at: 0 };
            let mut now = 0;
            for step in steps {
                now += step;
                let told = meter.admit(start + Duration::from_nanos(now)).map_err(|wait| wait.as_nanos());
                prop_assert_eq!(told, bucket.admit(u128::from(now)));
            }
        }

        #[test]
        fn the_wait_is_exact(per_second in 1_u32..5000, burst in 1_u32..20, later in 0_u64..1_000_000_000) {
            let start = Instant::now();
            let meter = Meter::new(rate(per_second, burst), start);
            prop_assert_eq!(admitted(&meter, start, 100), burst as usize);
            let now = start + Duration::from_nanos(later % u64::from(1_000_000_000 / per_second));
            let wait = meter.admit(now).unwrap_err();
            prop_assert!(meter.admit(now + wait.saturating_sub(Duration::from_nanos(1))).is_err());
            prop_assert!(meter.admit(now + wait).is_ok());
        }
    }
}
