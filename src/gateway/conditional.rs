//! `If-None-Match` (RFC 9110, 13.1.2): whether a caller holds the very bytes it would be sent.
//!
//! Weak comparison, as the RFC has it for this header. Refuses dates: Monime's answers carry none to compare with.

use http::header::{ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue};

/// Whether the request's `If-None-Match` covers the answer's `ETag`.
pub(super) fn holds(request: &HeaderMap, answer: &HeaderMap) -> bool {
    let Some(etag) = answer.get(ETAG) else { return false };
    request.get_all(IF_NONE_MATCH).iter().any(|line| lists(line, etag.as_bytes()))
}

fn lists(line: &HeaderValue, etag: &[u8]) -> bool {
    let line = line.as_bytes().trim_ascii();
    // Our tags hold no comma, so a tag that is torn apart at one cannot become equal to one of ours.
    let mut tags = line.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    line == b"*" || tags.any(|tag| tag.strip_prefix(b"W/").unwrap_or(tag) == etag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_weak_tags_and_the_star_are_understood() {
        let answer = HeaderMap::from_iter([(ETAG, HeaderValue::from_static("\"abc\""))]);
        let asked = |values: &[&'static str]| {
            let mut request = HeaderMap::new();
            for value in values {
                request.append(IF_NONE_MATCH, HeaderValue::from_static(value));
            }
            holds(&request, &answer)
        };
        for held in [&["\"abc\""][..], &["W/\"abc\""], &["*"], &["\"x\", W/\"abc\" ,\"y\""], &["\"x\"", "\"abc\""]] {
            assert!(asked(held), "{held:?}");
        }
        for other in [
            &[][..],
            &["\"ab\""],
            &["abc"],
            &["w/\"abc\""],
            &["\"abc"],
            &["\"x,abc\""],
            &["\"a,*,b\""],
            &["W/*"],
            &[""],
        ] {
            assert!(!asked(other), "{other:?}");
        }
        assert!(!holds(&HeaderMap::from_iter([(IF_NONE_MATCH, HeaderValue::from_static("*"))]), &HeaderMap::new()));
    }
}
