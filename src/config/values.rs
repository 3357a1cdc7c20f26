//! What a single text may say: durations, sizes, log levels.
//!
//! Refuses a bare number where a unit could be meant, and to look at more than one value at a time.

use std::time::Duration;

/// What a log level may be.
const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];

/// The bounds that a duration must keep, both included.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) least: Duration,
    pub(super) most: Duration,
}

// === impl Bounds ===

impl Bounds {
    pub(super) const fn new(least: Duration, most: Duration) -> Self {
        Self { least, most }
    }
}

/// Reads `2s`, `250ms` or `24h`.
///
/// # Errors
/// The rule that is broken.
pub(super) fn duration(text: &str, bounds: Bounds) -> Result<Duration, String> {
    let Ok(duration) = humantime::parse_duration(text) else {
        return Err("is not a duration with a unit".to_owned());
    };
    if duration < bounds.least && duration.is_zero() {
        Err("must be more than zero".to_owned())
    } else if duration < bounds.least {
        Err(format!("must be at least {}", humantime::format_duration(bounds.least)))
    } else if duration > bounds.most {
        Err(format!("must be at most {}", humantime::format_duration(bounds.most)))
    } else {
        Ok(duration)
    }
}

/// Reads `64MiB`, `16MB` or `1024`, which is bytes.
pub(super) fn size(text: &str) -> Option<u64> {
    let digits = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits)?;
    let factor: u64 = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1000,
        "kib" => 1 << 10,
        "mb" => 1_000_000,
        "mib" => 1 << 20,
        "gb" => 1_000_000_000,
        "gib" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// Whether `text` is a level, or levels of single targets among them, separated by commas. Stricter than the filter
/// that reads it, to which a misspelt level is just another target.
pub(super) fn is_log_level(text: &str) -> bool {
    text.split(',').all(|directive| match directive.split_once('=') {
        Some((target, level)) => is_target(target) && is_level(level),
        None => is_level(directive),
    })
}

fn is_level(text: &str) -> bool {
    LEVELS.contains(&text)
}

fn is_target(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_a_whole_number_with_or_without_a_unit() {
        for (text, bytes) in [
            ("1024", 1024),
            ("0", 0),
            ("1B", 1),
            ("2kB", 2000),
            ("64MiB", 64 << 20),
            ("16MB", 16_000_000),
            ("1 GiB", 1 << 30),
        ] {
            assert_eq!(size(text), Some(bytes), "{text}");
        }
        for text in
            ["", "MiB", "-1", "1.5GiB", "64 bananas", "99999999999999999999", "18446744073709551615GiB", "1é", "٣"]
        {
            assert_eq!(size(text), None, "{text}");
        }
    }

    #[test]
    fn a_duration_keeps_its_bounds() {
        let bounds = Bounds::new(Duration::from_millis(1), Duration::from_secs(60));
        for (text, duration) in [("1ms", Ok(1)), ("60s", Ok(60_000)), ("1m", Ok(60_000))] {
            assert_eq!(super::duration(text, bounds), duration.map(Duration::from_millis));
        }
        for (text, rule) in [
            ("0s", "must be more than zero"),
            ("1us", "must be at least 1ms"),
            ("61s", "must be at most 1m"),
            ("5", "is not a duration with a unit"),
            ("", "is not a duration with a unit"),
            ("soon", "is not a duration with a unit"),
            ("-1s", "is not a duration with a unit"),
            ("99999999999999999999999h", "is not a duration with a unit"),
        ] {
            assert_eq!(duration(text, bounds), Err(rule.to_owned()), "{text}");
        }
    }

    #[test]
    fn a_misspelt_level_is_no_target() {
        for good in ["info", "off", "warn,monigate=debug", "monigate::upstream=trace,error"] {
            assert!(is_log_level(good), "{good}");
            assert!(good.parse::<tracing_subscriber::filter::Targets>().is_ok(), "{good}");
        }
        for bad in ["", "inof", "INFO ", "monigate", "monigate=loud", "=info", "info,", "a b=info"] {
            assert!(!is_log_level(bad), "{bad}");
        }
    }
}
