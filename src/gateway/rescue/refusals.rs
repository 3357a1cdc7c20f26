//! What a request is told that is refused: one row for each reason, exhaustively.
//!
//! Says what is wrong with the request and what to do about it. Refuses to say what would have been right where that is a
//! secret, and whether what was asked for exists.

use http::StatusCode;

use super::Row;
use crate::caller::Unproved;
use crate::gateway::route::Refused;

/// The row of a refusal.
#[rustfmt::skip]
pub(super) fn row(refused: Refused) -> Row {
    match refused {
        Refused::TargetTooLong => Row(StatusCode::URI_TOO_LONG, "gateway_target_too_long",
            "The request target is longer than this gateway reads. A lookup is GET /v1/checkout-sessions/{id}."),
        Refused::HeadTooLarge => Row(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "gateway_head_too_large",
            "The request head has more fields or bytes than this gateway reads. Send fewer or shorter header fields."),
        Refused::RouteUnknown => Row(StatusCode::NOT_FOUND, "gateway_route_unknown",
            "The gateway knows no such path. A lookup is GET /v1/checkout-sessions/{id}: the id is 1 to 128 of A-Z a-z 0-9 _ -, and no slash follows."),
        Refused::DoubledSlash => Row(StatusCode::NOT_FOUND, "gateway_route_unknown",
            "The path begins with two slashes. Drop the trailing slash of the client's base URL."),
        Refused::MethodUnknown(_) => Row(StatusCode::METHOD_NOT_ALLOWED, "gateway_method_not_allowed",
            "This path cannot be asked with this method. The Allow header says with which."),
        Refused::OperationForbidden => Row(StatusCode::FORBIDDEN, "gateway_operation_forbidden",
            "This operation is not among those that this caller may use; the gateway's operator can add it to `operations`."),
        Refused::QueryNotAllowed => Row(StatusCode::BAD_REQUEST, "gateway_query_not_allowed",
            "This operation has no query string. Ask without it."),
        Refused::BodyNotAllowed => Row(StatusCode::BAD_REQUEST, "gateway_body_not_allowed",
            "This operation has no body. Send neither a body nor Transfer-Encoding."),
        Refused::BodyTooLarge => Row(StatusCode::PAYLOAD_TOO_LARGE, "gateway_body_too_large",
            "The body is longer than this gateway takes, and was not sent to Monime."),
        Refused::BodyBroken => Row(StatusCode::BAD_REQUEST, "gateway_body_broken",
            "The body did not arrive whole, and was not sent to Monime."),
        Refused::BodyTimedOut => Row(StatusCode::REQUEST_TIMEOUT, "gateway_body_timeout",
            "The body took longer than this gateway waits for one, and was not sent to Monime."),
        Refused::BodyCoded => Row(StatusCode::UNSUPPORTED_MEDIA_TYPE, "gateway_content_encoding_not_allowed",
            "The body is in a content coding. Send it plain, without Content-Encoding."),
        Refused::ContentTypeInvalid => Row(StatusCode::BAD_REQUEST, "gateway_content_type_invalid",
            "Content-Type must be there at most once, with at most 128 visible ASCII characters, such as application/json."),
        Refused::IdempotencyKeyRequired => Row(StatusCode::BAD_REQUEST, "gateway_idempotency_key_required",
            "Monime requires an Idempotency-Key here. Send one, and the same again when you repeat this very request."),
        Refused::IdempotencyKeyInvalid => Row(StatusCode::BAD_REQUEST, "gateway_idempotency_key_invalid",
            "Idempotency-Key must be there once, with 1 to 64 visible ASCII characters and no comma."),
        Refused::HeaderRequired => Row(StatusCode::FORBIDDEN, "gateway_header_required",
            "This gateway serves only requests with a header that web pages cannot send; its operator knows which."),
        Refused::Unproved(unproved) => unproved_row(unproved),
        Refused::RateLimited(_) => Row(StatusCode::TOO_MANY_REQUESTS, "gateway_rate_limited",
            "This caller asks more often than its rate in this gateway. Wait as Retry-After says."),
        Refused::SpaceRequired => Row(StatusCode::BAD_REQUEST, "gateway_space_required",
            "There is no space to take by default. Say which with one Monime-Space-Id header."),
        Refused::SpaceInvalid => Row(StatusCode::BAD_REQUEST, "gateway_space_invalid",
            "Monime-Space-Id must be there at most once and be a space id: spc-, then 1 to 60 visible ASCII characters without a comma."),
        Refused::SpaceForbidden => Row(StatusCode::FORBIDDEN, "gateway_space_forbidden",
            "This gateway does not serve that space to this caller."),
        Refused::VersionNotAllowed => Row(StatusCode::BAD_REQUEST, "gateway_version_not_allowed",
            "Monime-Version must be there at most once and be one that this gateway is configured for."),
        Refused::TimeoutInvalid => Row(StatusCode::BAD_REQUEST, "gateway_timeout_invalid",
            "Monigate-Timeout must be there at most once and be seconds above zero, such as 2 or 0.5."),
        Refused::NotCached => Row(StatusCode::GATEWAY_TIMEOUT, "gateway_not_cached",
            "There is no fresh answer in memory, and only-if-cached forbids asking Monime."),
    }
}

/// What a request is told that proves no caller: what it lacks, and nothing of what would have been right.
#[rustfmt::skip]
fn unproved_row(unproved: Unproved) -> Row {
    const REQUIRED: &str = "gateway_credentials_required";
    const INVALID: &str = "gateway_credentials_invalid";
    let (reason, message) = match unproved {
        Unproved::Missing => (REQUIRED,
            "Callers must prove who they are. Send `Authorization: Bearer <gateway key>`, once."),
        Unproved::Scheme => (REQUIRED,
            "Authorization has another scheme than Bearer. Send `Authorization: Bearer <gateway key>`."),
        Unproved::Repeated => (INVALID, "Authorization is there more than once. Send one."),
        Unproved::Malformed => (INVALID, "After `Bearer` and one space, Authorization must hold a key and nothing else."),
        Unproved::TooLong => (INVALID, "What Authorization holds is longer than any key or token."),
        Unproved::Unknown => (INVALID, "This is nobody's key here; it may have been revoked."),
        Unproved::Ambiguous => (INVALID, "The client certificate has the names of more than one caller."),
        Unproved::NotReady => return Row(StatusCode::SERVICE_UNAVAILABLE, "gateway_tokens_not_ready",
            "The gateway has not read the keys yet that service-account tokens are checked with. Try again in a moment."),
        Unproved::NoToken => (INVALID, "This is neither a key of a caller here nor a usable token."),
        Unproved::UnknownKey => (INVALID, "The token is signed with a key that its issuer does not list."),
        Unproved::Forged => (INVALID, "The token's signature is not good."),
        Unproved::Issuer => (INVALID, "The token is of another issuer than this gateway takes."),
        Unproved::Audience => (INVALID, "The token is for another audience than this gateway."),
        Unproved::Expired => (INVALID, "The token has expired. Read it anew: it is replaced before its end."),
        Unproved::NotYet => (INVALID, "The token's time has not come. Compare the clocks."),
    };
    Row(StatusCode::UNAUTHORIZED, reason, message)
}
