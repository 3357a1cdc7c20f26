//! What a request presents in `Authorization`: the one header field that is read.
//!
//! Refuses whatever is not exactly one bearer token, before anything is looked up. Says nothing about whose it is.

use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::Unproved;
use crate::secret::looks_secret;

/// The longest key or token that is looked at, in bytes. Service-account tokens are around 1 KiB.
pub const MAX_CREDENTIAL: usize = 8 * 1024;

/// The token in `Authorization`; none if the field is not there.
///
/// # Errors
/// [`Unproved`] when it is there and is not one bearer token.
pub(super) fn presented(headers: &HeaderMap) -> Result<Option<&[u8]>, Unproved> {
    let mut fields = headers.get_all(AUTHORIZATION).iter();
    let Some(field) = fields.next() else { return Ok(None) };
    if fields.next().is_some() {
        return Err(Unproved::Repeated);
    }
    bearer(field.as_bytes()).map(Some)
}

/// Whether a text of a caller's own choice, which is shown where it is taken over, looks like a gateway key or a token
/// that was put in the wrong place.
#[must_use]
pub fn is_misplaced(text: &str) -> bool {
    looks_secret(text)
}

/// RFC 6750 section 2.1, but for one thing: RFC 9110 lets more than one space follow a scheme, and nobody sends that.
pub(super) fn bearer(field: &[u8]) -> Result<&[u8], Unproved> {
    let mut parts = field.splitn(2, |byte| *byte == b' ');
    let scheme = parts.next().unwrap_or_default();
    if !scheme.eq_ignore_ascii_case(b"bearer") {
        return Err(Unproved::Scheme);
    }
    let token = parts.next().unwrap_or_default();
    if token.len() > MAX_CREDENTIAL {
        return Err(Unproved::TooLong);
    }
    if is_token68(token) { Ok(token) } else { Err(Unproved::Malformed) }
}

/// `token68` of RFC 9110 section 11.2, which is `b64token` of RFC 6750.
pub(super) fn is_token68(text: &[u8]) -> bool {
    let end = text.iter().rposition(|byte| *byte != b'=').map_or(0, |last| last + 1);
    let word = text.get(..end).unwrap_or_default();
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-'..=b'/' | b'_' | b'~' | b'+');
    // All are looked at before any is judged: without a way out the compiler looks at many at once.
    !word.is_empty() && word.iter().fold(true, |all, byte| all & allowed(*byte))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn one(field: &[u8]) -> Result<Vec<u8>, Unproved> {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_bytes(field).unwrap());
        presented(&headers).map(|token| token.unwrap().to_vec())
    }

    #[test]
    fn a_bearer_token_is_taken_in_any_spelling_of_the_scheme_and_unchanged() {
        for field in ["Bearer aZ0-._~+/", "bearer aZ0-._~+/", "BEARER aZ0-._~+/", "bEaReR aZ0-._~+/"] {
            assert_eq!(one(field.as_bytes()).unwrap(), b"aZ0-._~+/", "{field}");
        }
        assert_eq!(one(b"Bearer a==").unwrap(), b"a==");
        assert_eq!(presented(&HeaderMap::new()), Ok(None));
    }

    #[test]
    fn what_is_no_bearer_token_is_refused_for_what_it_is() {
        let long = [b"Bearer ".to_vec(), vec![b'a'; MAX_CREDENTIAL + 1]].concat();
        for (field, why) in [
            (&b""[..], Unproved::Scheme),
            (b"abc", Unproved::Scheme),
            (b"Basic YTpi", Unproved::Scheme),
            (b"Bearer\tabc", Unproved::Scheme),
            (b"Bearers abc", Unproved::Scheme),
            (b" Bearer abc", Unproved::Scheme),
            (b"Bearer", Unproved::Malformed),
            (b"Bearer ", Unproved::Malformed),
            (b"Bearer  abc", Unproved::Malformed),
            (b"Bearer abc ", Unproved::Malformed),
            (b"Bearer a b", Unproved::Malformed),
            (b"Bearer abc, Bearer abc", Unproved::Malformed),
            (b"Bearer a=b", Unproved::Malformed),
            (b"Bearer ===", Unproved::Malformed),
            (b"Bearer \"abc\"", Unproved::Malformed),
            (b"Bearer ab\xe9", Unproved::Malformed),
            (&long, Unproved::TooLong),
        ] {
            assert_eq!(one(field), Err(why), "{}", String::from_utf8_lossy(field));
        }
        assert!(one(long.strip_suffix(b"a").unwrap()).is_ok());
    }

    #[test]
    fn two_fields_are_none_even_if_they_say_the_same() {
        let mut headers = HeaderMap::new();
        headers.append(AUTHORIZATION, HeaderValue::from_static("Bearer abc"));
        headers.append(AUTHORIZATION, HeaderValue::from_static("Bearer abc"));
        assert_eq!(presented(&headers), Err(Unproved::Repeated));
    }
}
