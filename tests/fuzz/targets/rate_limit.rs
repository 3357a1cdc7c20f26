//! However `Retry-After` and `Monime-Rate-Limit` read, no pause is longer than its cap of 60 seconds, none that Monime asks
//! for in whole seconds is cut short below it, and what a caller is told to wait is from 1 to 60 seconds.
//!
//! The first line of the input says how Monime fails: `1` once with 429, `4` always with 429, else always with 503. Every
//! other line is a field: `Monime-Rate-Limit` if it begins with `!`, else `Retry-After`.

#![no_main]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::Full;
use libfuzzer_sys::{Corpus, fuzz_target};
use monigate::upstream::retry_after;
use monigate_fuzz::{Gateway, Manner, error, on_a_paused_clock, session};
use tokio::time::Instant;

/// The longest pause that is believed.
const CAP: Duration = Duration::from_secs(60);
/// The pause where nothing is said that can be understood.
const DEFAULT: Duration = Duration::from_secs(1);
/// How far apart the clock's steps and the jitter before a repetition may put things.
const SLACK: Duration = Duration::from_millis(400);
/// Long enough for every pause that there can be.
const PATIENT: Manner = Manner { named: false, total: Duration::from_secs(200) };

fuzz_target!(|data: &[u8]| -> Corpus {
    let mut lines = data.split(|byte| *byte == b'\n');
    let how = lines.next().and_then(|line| line.first().copied()).unwrap_or_default();
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = match line.strip_prefix(b"!") {
            Some(value) => ("monime-rate-limit", value),
            None => ("retry-after", line),
        };
        let Ok(value) = HeaderValue::from_bytes(value) else { return Corpus::Reject };
        headers.append(name, value);
    }
    assert_eq!(whole_seconds(&headers), retry_after(&headers).filter(|_| whole_seconds(&headers).is_some()));
    on_a_paused_clock(play(how, &headers));
    Corpus::Keep
});

async fn play(how: u8, headers: &HeaderMap) {
    let moments = Arc::new(Mutex::new(Vec::new()));
    let (noted, said) = (Arc::clone(&moments), headers.clone());
    let gateway = Gateway::new(PATIENT, move |nth, request| {
        noted.lock().expect("no panic goes on").push(Instant::now());
        let mut answer = match (how, nth) {
            (b'1', 0) | (b'4', _) => error(429),
            (b'1', _) => return session(request, "completed"),
            _ => error(503),
        };
        answer.headers_mut().extend(said.clone());
        answer
    });
    let request = Request::get("/v1/checkout-sessions/scs-1").body(Full::<Bytes>::default()).expect("a request");
    let answer = gateway.ask(request).await;
    let moments = moments.lock().expect("no panic goes on");
    for pair in moments.windows(2) {
        let pause = pair[1] - pair[0];
        assert!(pause <= CAP + SLACK, "{pause:?} for {headers:?}");
        if matches!(how, b'1' | b'4') {
            let least = match (headers.contains_key("retry-after"), whole_seconds(headers)) {
                (false, _) => DEFAULT,
                // A date, or nonsense.
                (true, None) => Duration::ZERO,
                (true, Some(asked)) => asked.min(CAP),
            };
            assert!(pause >= least, "{pause:?} for {headers:?}");
        }
    }
    match how {
        b'1' => assert_eq!((answer.head.status, moments.len()), (StatusCode::OK, 2), "{headers:?}"),
        _ => {
            let reason = answer.reason(&Method::GET).expect("an error of the gateway's own");
            assert!(
                matches!(reason.as_str(), "gateway_upstream_throttled" | "gateway_upstream_unavailable"),
                "{reason}"
            );
            let wait: u64 = answer.field("retry-after").and_then(|text| text.parse().ok()).expect("whole seconds");
            assert!((1..=60).contains(&wait), "{wait}");
            if let Some(asked) = whole_seconds(headers) {
                assert_eq!(wait, asked.as_secs().clamp(1, 60));
            }
        }
    }
}

/// The seconds of the first `Retry-After`, if it is a number of them (RFC 9110, 10.2.3).
fn whole_seconds(headers: &HeaderMap) -> Option<Duration> {
    let said = headers.get("retry-after")?.to_str().ok()?;
    let digits = !said.is_empty() && said.bytes().all(|byte| byte.is_ascii_digit());
    said.parse().ok().filter(|_| digits).map(Duration::from_secs)
}
