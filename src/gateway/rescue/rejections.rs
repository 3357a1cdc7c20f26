//! What a request is told that the server turned away before it got here: a reason for each, exhaustively.
//!
//! The status and the words are the server's. Refuses to say the same thing in two ways: what the stack refuses as well
//! has the row that it has there.

use super::{INTERNAL, fail, refuse, say};
use crate::gateway::route::{NO_OPERATION, Refused};
use crate::gateway::served::Served;
use crate::monime::sentence;
use crate::server::Rejection;
use crate::telemetry::Outcome;

/// The answer that tells of it.
pub(in crate::gateway) fn turned_away(rejection: Rejection) -> Served {
    Served { operation: NO_OPERATION, ..told(rejection) }
}

fn told(rejection: Rejection) -> Served {
    let reason = match rejection {
        Rejection::RequestLine | Rejection::LineEnd | Rejection::FieldLine => "gateway_request_malformed",
        Rejection::Host | Rejection::Length | Rejection::Chunk => "gateway_request_malformed",
        Rejection::Version => "gateway_http_version_not_supported",
        Rejection::Method => "gateway_method_not_supported",
        Rejection::Upgrade => "gateway_upgrade_not_allowed",
        Rejection::Expectation => "gateway_expectation_failed",
        Rejection::HeadTimedOut => "gateway_head_timeout",
        Rejection::PlainHttp => "gateway_tls_required",
        Rejection::TargetTooLong => return refuse(Refused::TargetTooLong),
        Rejection::HeadTooLarge => return refuse(Refused::HeadTooLarge),
        Rejection::Panicked => return fail(INTERNAL, None),
    };
    say(rejection.status(), reason, &sentence(&rejection), Outcome::Refused, None)
}
