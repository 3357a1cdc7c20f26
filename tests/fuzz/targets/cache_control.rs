//! What `Cache-Control` and `Pragma` ask of a cache is what an independent reading of RFC 9111 finds in them: whether
//! Monime is asked, and whether the caller hears that nothing is kept, follow from these fields and nothing else.
//!
//! A line of the input is a field: `Pragma` if it begins with `!`, else `Cache-Control`.

#![no_main]

use http::{HeaderName, HeaderValue, Method, Request};
use http_body_util::Full;
use libfuzzer_sys::{Corpus, fuzz_target};
use monigate_fuzz::{Gateway, Manner, on_a_paused_clock, session};

/// What a reading found.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Asks {
    only_if_cached: bool,
    no_cache: bool,
}

fuzz_target!(|data: &[u8]| -> Corpus {
    let mut fields: Vec<(&'static str, HeaderValue)> = Vec::new();
    for line in data.split(|byte| *byte == b'\n') {
        let (name, value) = match line.strip_prefix(b"!") {
            Some(value) => ("pragma", value),
            None => ("cache-control", line),
        };
        let Ok(value) = HeaderValue::from_bytes(value) else { return Corpus::Reject };
        fields.push((name, value));
    }
    if fields.len() > 100 {
        return Corpus::Reject;
    }
    let asks = read(&fields);
    on_a_paused_clock(async {
        let gateway = Gateway::new(Manner::default(), |_, request| session(request, "completed"));
        for known in [false, true] {
            if known {
                gateway.ask(request(&[])).await;
            }
            let before = gateway.sent.lock().expect("no panic goes on").len();
            let answer = gateway.ask(request(&fields)).await;
            let asked = gateway.sent.lock().expect("no panic goes on").len() - before;
            let is_told = known && !asks.no_cache;
            let refused = !is_told && asks.only_if_cached;
            let reason = answer.reason(&Method::GET);
            assert_eq!(
                reason.as_deref() == Some("gateway_not_cached"),
                refused,
                "{fields:?}: {asks:?}, known: {known}"
            );
            assert_eq!(reason.is_some(), refused, "{fields:?}: {reason:?}");
            assert_eq!(asked, usize::from(!is_told && !refused), "{fields:?}: {asks:?}, known: {known}");
        }
    });
    Corpus::Keep
});

fn request(fields: &[(&'static str, HeaderValue)]) -> Request<Full<bytes::Bytes>> {
    let mut request = Request::get("/v1/checkout-sessions/scs-1").body(Full::default()).expect("a request");
    for (name, value) in fields {
        request.headers_mut().append(HeaderName::from_static(name), value.clone());
    }
    request
}

/// RFC 9111, 5.2 and 5.4, byte by byte.
fn read(fields: &[(&'static str, HeaderValue)]) -> Asks {
    let of = |wanted: &'static str| {
        fields.iter().filter(move |(name, _)| *name == wanted).flat_map(|(_, value)| members(value))
    };
    if !fields.iter().any(|(name, _)| *name == "cache-control") {
        return Asks { only_if_cached: false, no_cache: of("pragma").any(|member| member == "no-cache") };
    }
    Asks {
        only_if_cached: of("cache-control").any(|member| member == "only-if-cached"),
        no_cache: of("cache-control")
            .any(|member| matches!(member.as_str(), "no-cache" | "max-age=0" | "max-age=\"0\"")),
    }
}

/// The members of a list, without the space around them and in lower case. A comma between quotes is none.
fn members(value: &HeaderValue) -> Vec<String> {
    let mut members = vec![String::new()];
    let mut bytes = value.as_bytes().iter().map(|byte| char::from(*byte));
    let mut quoted = false;
    while let Some(character) = bytes.next() {
        if character == ',' && !quoted {
            members.push(String::new());
            continue;
        }
        let last = members.last_mut().expect("there is one");
        last.push(character);
        if character == '"' {
            quoted = !quoted;
        } else if character == '\\' && quoted {
            last.extend(bytes.next());
        }
    }
    members.iter().map(|member| member.trim_matches([' ', '\t']).to_ascii_lowercase()).collect()
}
