//! The `Date` of answers that the HTTP library does not date: written once a second.
//!
//! Refuses to ask the system's clock more often than once a second of the process's own.

use std::cell::RefCell;
use std::time::{Duration, SystemTime};

use http::HeaderValue;
use httpdate::HttpDate;
use tokio::time::Instant;

/// The length of a date in the one form that may be sent (RFC 9110, 5.6.7).
pub(super) const LENGTH: usize = "Sun, 06 Nov 1994 08:49:37 GMT".len();

thread_local! {
    /// The date as it is sent, and until when it is that one.
    static LAST: RefCell<Option<(Instant, HeaderValue)>> = const { RefCell::new(None) };
}

/// Shows `to` what the date is.
pub(super) fn show<T>(now: Instant, to: impl FnOnce(&HeaderValue) -> T) -> T {
    LAST.with_borrow_mut(|last| match last {
        Some((until, date)) if now < *until => to(date),
        _ => {
            let (left, date) = today();
            to(&last.insert((now + left, date)).1)
        }
    })
}

/// The date, and for how long it is that one.
fn today() -> (Duration, HeaderValue) {
    let time = SystemTime::now();
    let into_second = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().subsec_nanos();
    let date = HeaderValue::from_maybe_shared(bytes::Bytes::from(HttpDate::from(time).to_string()));
    // Of letters and digits alone, it is always a value.
    let date = date.unwrap_or(HeaderValue::from_static("Thu, 01 Jan 1970 00:00:00 GMT"));
    (Duration::from_secs(1) - Duration::from_nanos(into_second.into()), date)
}
