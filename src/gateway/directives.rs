//! What a caller's `Cache-Control` asks of a cache (RFC 9111, 5.2.1), as far as this one honours it.
//!
//! Directive names are compared without regard to case; a quoted argument may contain a comma. Refuses to guess: what
//! is not understood is as if it were not there.

use http::HeaderMap;
use http::header::{CACHE_CONTROL, PRAGMA};

/// The directives that matter here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Directives {
    /// `only-if-cached`: answer from memory or not at all.
    pub(super) only_if_cached: bool,
    /// `no-cache` or `max-age=0`: ask Monime even if there is an answer.
    pub(super) no_cache: bool,
}

impl Directives {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut directives = Self::default();
        let mut lines = headers.get_all(CACHE_CONTROL).iter().peekable();
        if lines.peek().is_none() {
            // RFC 9111, 5.4: `Pragma` counts only where there is no `Cache-Control`.
            directives.no_cache = headers.get_all(PRAGMA).iter().any(|value| names(value.as_bytes(), b"no-cache"));
            return directives;
        }
        for line in lines.map(http::HeaderValue::as_bytes) {
            directives.only_if_cached |= names(line, b"only-if-cached");
            directives.no_cache |=
                names(line, b"no-cache") || names(line, b"max-age=0") || names(line, b"max-age=\"0\"");
        }
        directives
    }
}

/// Whether `wanted` is one of the comma-separated members of `line`.
fn names(line: &[u8], wanted: &[u8]) -> bool {
    let mut quoted = false;
    let mut escaped = false;
    let outside_quotes = |byte: &u8| {
        let splits = *byte == b',' && !quoted;
        quoted ^= *byte == b'"' && !escaped;
        escaped = quoted && *byte == b'\\' && !escaped;
        splits
    };
    line.split(outside_quotes).any(|member| member.trim_ascii().eq_ignore_ascii_case(wanted))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(lines: &[(&'static str, &str)]) -> (bool, bool) {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        let directives = Directives::of(&headers);
        (directives.only_if_cached, directives.no_cache)
    }

    #[test]
    fn directives_are_found_wherever_they_stand() {
        assert_eq!(of(&[]), (false, false));
        assert_eq!(of(&[("cache-control", "no-cache")]), (false, true));
        assert_eq!(of(&[("cache-control", "max-age=0")]), (false, true));
        assert_eq!(of(&[("cache-control", "max-age=10")]), (false, false));
        assert_eq!(of(&[("cache-control", " No-Store ,\tONLY-IF-CACHED")]), (true, false));
        assert_eq!(of(&[("cache-control", "no-store"), ("cache-control", "no-cache")]), (false, true));
        assert_eq!(of(&[("cache-control", r#"x="a, no-cache, b\", no-cache", only-if-cached"#)]), (true, false));
        assert_eq!(of(&[("cache-control", "no-cached")]), (false, false));
        assert_eq!(of(&[("pragma", "no-cache")]), (false, true));
        assert_eq!(of(&[("pragma", "no-cache"), ("cache-control", "no-store")]), (false, false));
    }

    proptest! {
        #[test]
        fn no_value_makes_it_panic(value in proptest::collection::vec(0x20u8..0x7f, 0..80)) {
            let mut headers = HeaderMap::new();
            headers.insert(CACHE_CONTROL, http::HeaderValue::from_bytes(&value).unwrap());
            let _ = Directives::of(&headers);
        }
    }
}
