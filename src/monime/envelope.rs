//! Monime's error envelope: `{success, messages, error: {code, reason, message, details}}`.
//!
//! Owns its shape in both directions: writing our own errors and the sandbox's, and recognising Monime's. Refuses to
//! look at reasons: Monime does not document those of 400, 401 and 404, so nothing may depend on them.

use bytes::Bytes;
use http::StatusCode;
use serde::Serialize;
use serde_json::Value;

use super::json;

/// An error as Monime's clients expect to read it.
#[derive(Debug, Clone, Serialize)]
pub struct Envelope<'a> {
    success: bool,
    messages: [&'a str; 0],
    error: ErrorBody<'a>,
}

#[derive(Debug, Clone, Serialize)]
struct ErrorBody<'a> {
    code: u16,
    reason: &'a str,
    message: &'a str,
    details: &'a [Value],
}

impl<'a> Envelope<'a> {
    /// An error with this status. `reason` is for programs (snake case), `message` for people.
    #[must_use]
    pub fn new(status: StatusCode, reason: &'a str, message: &'a str) -> Self {
        let error = ErrorBody { code: status.as_u16(), reason, message, details: &[] };
        Self { success: false, messages: [], error }
    }

    /// The same error with details, each an object of its own.
    #[must_use]
    pub fn with_details(mut self, details: &'a [Value]) -> Self {
        self.error.details = details;
        self
    }

    /// The JSON that goes on the wire.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        // Strings and numbers always serialize; an empty body would be the honest rest if that ever changed.
        serde_json::to_vec(self).map(Bytes::from).unwrap_or_default()
    }
}

/// An error's own words as a message for people: a sentence.
#[must_use]
pub fn sentence(error: &impl std::error::Error) -> String {
    let words = error.to_string();
    let mut rest = words.chars();
    rest.next().into_iter().flat_map(char::to_uppercase).chain(rest).chain(['.']).collect()
}

/// Whether `body` is an error in Monime's envelope: `success` is false and `error` is an object.
///
/// An edge's HTML, a proxy's own JSON and an answer that claims success are not.
#[must_use]
pub fn is_error(body: &[u8]) -> bool {
    let Ok(object) = json::Object::parse(body, "error") else { return false };
    let error = object.only("error").and_then(json::Value::as_object);
    error.is_some() && object.only("success").and_then(json::Value::as_bool) == Some(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_errors_have_monimes_shape() {
        let envelope = Envelope::new(StatusCode::BAD_GATEWAY, "gateway_upstream_error", "Monime \"failed\".");
        let value: Value = serde_json::from_slice(&envelope.to_bytes()).unwrap();
        assert_eq!(
            value,
            serde_json::json!({"success": false, "messages": [], "error": {
                "code": 502, "reason": "gateway_upstream_error", "message": "Monime \"failed\".", "details": []}})
        );
        assert!(is_error(&envelope.to_bytes()));
    }

    #[test]
    fn an_errors_words_become_a_sentence() {
        assert_eq!(sentence(&std::io::Error::other("a line: too long")), "A line: too long.");
    }

    #[test]
    fn an_edge_is_not_mistaken_for_monime() {
        for foreign in [
            "",
            "<html>404</html>",
            "null",
            "[]",
            "{}",
            r#"{"error":"not found"}"#,
            r#"{"success":true,"error":{}}"#,
            r#"{"success":false,"error":"x"}"#,
            r#"{"success":false,"error":{}} trailing"#,
            r#"{"success":false,"success":true,"error":{}}"#,
        ] {
            assert!(!is_error(foreign.as_bytes()), "{foreign}");
        }
    }
}
