//! `Retry-After` (RFC 9110, 10.2.3), in both of its forms.

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::header::RETRY_AFTER;

/// How long an answer asks to be left alone; none where it says nothing that can be understood.
#[must_use]
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let said = headers.get(RETRY_AFTER)?.to_str().ok()?;
    let until = || Some(httpdate::parse_http_date(said).ok()?.duration_since(SystemTime::now()).unwrap_or_default());
    said.parse().ok().map(Duration::from_secs).or_else(until)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(said: &str) -> Option<Duration> {
        retry_after(&HeaderMap::from_iter([(RETRY_AFTER, said.parse().unwrap())]))
    }

    #[test]
    fn seconds_and_dates_are_understood_and_nothing_else() {
        assert_eq!(read("7"), Some(Duration::from_secs(7)));
        assert_eq!(read("0"), Some(Duration::ZERO));
        let soon = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(60));
        assert!(read(&soon).is_some_and(|wait| wait > Duration::from_secs(55) && wait <= Duration::from_secs(60)));
        assert_eq!(read("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO), "what is past needs no wait");
        for nonsense in ["", "-1", "1.5", "soon", "99999999999999999999999999"] {
            assert_eq!(read(nonsense), None, "{nonsense:?}");
        }
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }
}
