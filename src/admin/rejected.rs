//! How the operator's listener says that it turns a request away by itself: in the form of its other errors.
//!
//! The status and the words are the server's. Neither counted nor in the audit, as nothing here is.

use std::sync::Arc;

use super::error;
use crate::monime::sentence;
use crate::server::{Reject, Rejection};

/// Tells of rejections in Monime's envelope.
#[must_use]
pub fn reject() -> Reject {
    Arc::new(|rejection| error(rejection.status(), reason(rejection), &sentence(&rejection)))
}

fn reason(rejection: Rejection) -> &'static str {
    match rejection {
        Rejection::RequestLine | Rejection::LineEnd | Rejection::FieldLine => "admin_request_malformed",
        Rejection::Host | Rejection::Length | Rejection::Chunk => "admin_request_malformed",
        Rejection::Version => "admin_http_version_not_supported",
        Rejection::Method => "admin_method_not_supported",
        Rejection::Upgrade => "admin_upgrade_not_allowed",
        Rejection::Expectation => "admin_expectation_failed",
        Rejection::TargetTooLong => "admin_target_too_long",
        Rejection::HeadTooLarge => "admin_head_too_large",
        Rejection::HeadTimedOut => "admin_head_timeout",
        Rejection::PlainHttp => "admin_tls_required",
        Rejection::Panicked => "admin_internal",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rejection_is_an_error_in_the_form_of_the_others() {
        for (rejection, status, reason, message) in [
            (
                Rejection::RequestLine,
                400,
                "admin_request_malformed",
                "The request line is not `METHOD /path HTTP/1.1`.",
            ),
            (Rejection::LineEnd, 400, "admin_request_malformed", "A line of the head"),
            (Rejection::FieldLine, 400, "admin_request_malformed", "A header field is not"),
            (Rejection::Host, 400, "admin_request_malformed", "Host must be there once"),
            (Rejection::Length, 400, "admin_request_malformed", "The length of the body"),
            (Rejection::Chunk, 400, "admin_request_malformed", "The body is not chunked"),
            (Rejection::Version, 505, "admin_http_version_not_supported", "This version of HTTP"),
            (Rejection::Method, 501, "admin_method_not_supported", "CONNECT and TRACE"),
            (Rejection::Upgrade, 400, "admin_upgrade_not_allowed", "No other protocol"),
            (Rejection::Expectation, 417, "admin_expectation_failed", "Expect is not understood"),
            (Rejection::TargetTooLong, 414, "admin_target_too_long", "The request target is too long."),
            (Rejection::HeadTooLarge, 431, "admin_head_too_large", "The request head has too many"),
            (Rejection::HeadTimedOut, 408, "admin_head_timeout", "The request head did not come"),
            (Rejection::PlainHttp, 400, "admin_tls_required", "This address speaks TLS"),
            (Rejection::Panicked, 500, "admin_internal", "The request met a fault of this program."),
        ] {
            let answer = reject()(rejection);
            assert_eq!(answer.status(), status, "{rejection:?}");
            assert_eq!(answer.headers()["content-type"], "application/json");
            assert_eq!(answer.headers()["cache-control"], "no-store");
            let body: serde_json::Value = serde_json::from_slice(answer.body()).unwrap();
            let error = &body["error"];
            assert_eq!((&error["code"], &error["reason"]), (&status.into(), &reason.into()), "{rejection:?}");
            let said = error["message"].as_str().unwrap();
            assert!(said.starts_with(message) && said.ends_with('.'), "{rejection:?}: {said}");
        }
    }
}
