//! The operations of Monime's public API, by the names of its OpenAPI file (release `caph.2025-08-23`).
//!
//! One table: method, path template, `operationId`, and what a request may carry. Owns recognising a request as one of
//! them; refuses to say which are allowed, which is policy.

use super::id::SessionIdRef;

/// One operation of Monime's API.
#[derive(Debug, PartialEq, Eq)]
pub struct Operation {
    /// The `operationId`.
    pub id: &'static str,
    /// The HTTP method.
    pub method: &'static str,
    /// The path, with `{}` for one id.
    pub path: &'static str,
    /// Whether it reads a query string: lists do, for their pages and filters, and few others.
    pub query: bool,
}

/// The operation whose answers monigate keeps.
pub const GET_CHECKOUT_SESSION: &str = "GetCheckoutSession";
/// The operation after which what is kept of a session is not true any more.
pub const DELETE_CHECKOUT_SESSION: &str = "DeleteCheckoutSession";
/// The path template of both.
pub const CHECKOUT_SESSION: &str = "/v1/checkout-sessions/{}";

/// The header with which a write that is sent again is still carried out once.
pub const IDEMPOTENCY_KEY_HEADER: &str = "idempotency-key";
/// The most characters of such a key.
pub const MAX_IDEMPOTENCY_KEY: usize = 64;
/// The longest id in a path. Monime does not say how its ids look; all that are known are shorter, and made of these.
const MAX_ID: usize = 128;

macro_rules! operations {
    ($($method:ident $path:literal $id:literal $($query:ident)?,)*) => {
        /// Every operation that is known.
        pub const OPERATIONS: &[Operation] = &[$(Operation {
            id: $id,
            method: stringify!($method),
            path: $path,
            query: !stringify!($($query)?).is_empty(),
        }),*];
    };
}

operations! {
    GET    "/v1/banks"                     "ListBanks"                 query,
    GET    "/v1/banks/{}"                  "GetBank",
    POST   "/v1/checkout-sessions"         "CreateCheckoutSession",
    GET    "/v1/checkout-sessions"         "ListCheckoutSessions"      query,
    GET    "/v1/checkout-sessions/{}"      "GetCheckoutSession",
    DELETE "/v1/checkout-sessions/{}"      "DeleteCheckoutSession",
    GET    "/v1/countries"                 "ListCountries"             query,
    GET    "/v1/countries/{}"              "GetCountry",
    POST   "/v1/financial-accounts"        "CreateFinancialAccount",
    GET    "/v1/financial-accounts"        "ListFinancialAccounts"     query,
    GET    "/v1/financial-accounts/{}"     "GetFinancialAccount"       query,
    PATCH  "/v1/financial-accounts/{}"     "UpdateFinancialAccount",
    GET    "/v1/financial-transactions"    "ListFinancialTransactions" query,
    GET    "/v1/financial-transactions/{}" "GetTransaction",
    POST   "/v1/internal-transfers"        "CreateInternalTransfer",
    GET    "/v1/internal-transfers"        "ListInternalTransfers"     query,
    GET    "/v1/internal-transfers/{}"     "GetInternalTransfer",
    PATCH  "/v1/internal-transfers/{}"     "PatchInternalTransfer",
    DELETE "/v1/internal-transfers/{}"     "DeleteInternalTransfer",
    GET    "/v1/momos"                     "ListMomos"                 query,
    GET    "/v1/momos/{}"                  "GetMomo",
    POST   "/v1/payment-codes"             "CreatePaymentCode",
    GET    "/v1/payment-codes"             "ListPaymentCodes"          query,
    GET    "/v1/payment-codes/{}"          "GetPaymentCode",
    PATCH  "/v1/payment-codes/{}"          "UpdatePaymentCode",
    DELETE "/v1/payment-codes/{}"          "DeletePaymentCode",
    GET    "/v1/payments"                  "ListPayments"              query,
    GET    "/v1/payments/{}"               "GetPayment",
    PATCH  "/v1/payments/{}"               "UpdatePayment",
    POST   "/v1/payouts"                   "CreatePayout",
    GET    "/v1/payouts"                   "ListPayouts"               query,
    GET    "/v1/payouts/{}"                "GetPayout",
    PATCH  "/v1/payouts/{}"                "UpdatePayout",
    DELETE "/v1/payouts/{}"                "DeletePayout",
    GET    "/v1/provider-kyc/{}"           "GetProviderKyc"            query,
    GET    "/v1/receipts/{}"               "RetrieveReceipt",
    POST   "/v1/receipts/{}/redeem"        "RedeemReceipt",
    POST   "/v1/ussd-otps"                 "CreateUSSDOTP",
    GET    "/v1/ussd-otps"                 "ListUSSDOTPs"              query,
    GET    "/v1/ussd-otps/{}"              "GetUSSDOTP",
    DELETE "/v1/ussd-otps/{}"              "DeleteUSSDOTP",
    POST   "/v1/webhooks"                  "CreateWebhook",
    GET    "/v1/webhooks"                  "ListWebhooks"              query,
    GET    "/v1/webhooks/{}"               "GetWebhook",
    PATCH  "/v1/webhooks/{}"               "UpdateWebhook",
    DELETE "/v1/webhooks/{}"               "DeleteWebhook",
}

impl Operation {
    /// Whether it changes something at Monime.
    #[must_use]
    pub fn writes(&self) -> bool {
        self.method != "GET"
    }

    /// Whether a request for it has a body.
    #[must_use]
    pub fn has_body(&self) -> bool {
        matches!(self.method, "POST" | "PATCH")
    }

    /// Whether it requires an `Idempotency-Key`: everything that is made does. No other operation has one.
    #[must_use]
    pub fn is_keyed(&self) -> bool {
        self.method == "POST"
    }
}

/// The operation of this `operationId`.
#[must_use]
pub fn named(id: &str) -> Option<&'static Operation> {
    OPERATIONS.iter().find(|operation| operation.id == id)
}

/// The operations whose path template `path` fits, whatever their method.
pub fn at(path: &str) -> impl Iterator<Item = &'static Operation> {
    OPERATIONS.iter().filter(move |operation| fits(operation.path, path))
}

/// Where the path of one checkout session begins.
const CHECKOUT_SESSIONS: &str = "/v1/checkout-sessions/";

/// The path of one checkout session.
#[must_use]
pub fn checkout_session(id: SessionIdRef<'_>) -> String {
    format!("{CHECKOUT_SESSIONS}{id}")
}

/// The id in the path of one checkout session, if it can be one.
#[must_use]
pub fn checkout_session_id(path: &str) -> Option<SessionIdRef<'_>> {
    path.strip_prefix(CHECKOUT_SESSIONS).and_then(|id| SessionIdRef::parse(id).ok())
}

/// The methods that Monime has at a path template.
pub fn methods(template: &str) -> impl Iterator<Item = &'static str> {
    OPERATIONS.iter().filter(move |operation| operation.path == template).map(|operation| operation.method)
}

fn fits(template: &str, path: &str) -> bool {
    let mut segments = path.split('/');
    let fits = template.split('/').all(|wanted| match segments.next() {
        Some(segment) => segment == wanted || (wanted == "{}" && is_id(segment)),
        None => false,
    });
    fits && segments.next().is_none()
}

/// Nothing that a server on the way could read as something else: no dots, no escapes, no parameters.
fn is_id(segment: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    (1..=MAX_ID).contains(&segment.len()) && segment.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_the_operations_of_its_template_and_no_other() {
        let ids = |path| at(path).map(|operation| operation.id).collect::<Vec<_>>();
        assert_eq!(ids("/v1/checkout-sessions/scs-1"), [GET_CHECKOUT_SESSION, "DeleteCheckoutSession"]);
        assert_eq!(ids("/v1/checkout-sessions"), ["CreateCheckoutSession", "ListCheckoutSessions"]);
        assert_eq!(ids("/v1/receipts/1/redeem"), ["RedeemReceipt"]);
        for none in [
            "",
            "/",
            "/v1",
            "/v1/",
            "/v1/checkout-sessions/",
            "/v1/checkout-sessions/a/b",
            "//v1/banks",
            "/v1/bankses",
            "/v1/banks/..",
            "/v1/banks/a%2Fb",
            "/v1/banks/a;b",
            "/v1/banks/.",
            "/v1/banks/\u{e9}",
        ] {
            assert!(ids(none).is_empty(), "{none}");
        }
    }

    #[test]
    fn what_a_request_may_carry_follows_from_the_table() {
        let carry = |id| named(id).map(|it| (it.writes(), it.has_body(), it.is_keyed(), it.query));
        assert_eq!(carry("CreateCheckoutSession"), Some((true, true, true, false)));
        assert_eq!(carry("UpdatePayout"), Some((true, true, false, false)));
        assert_eq!(carry("DeleteCheckoutSession"), Some((true, false, false, false)));
        assert_eq!(carry("ListCheckoutSessions"), Some((false, false, false, true)));
        assert_eq!(carry("GetFinancialAccount"), Some((false, false, false, true)));
        assert_eq!(carry("GetBank"), Some((false, false, false, false)));
        assert_eq!(carry("getbank"), None);
    }

    #[test]
    fn every_operation_of_the_file_is_here_and_none_stands_twice() {
        assert_eq!(OPERATIONS.len(), 46);
        for (index, operation) in OPERATIONS.iter().enumerate() {
            let rest = &OPERATIONS[index + 1..];
            assert!(rest.iter().all(|other| other.id != operation.id), "{}", operation.id);
            assert!(rest.iter().all(|other| (other.method, other.path) != (operation.method, operation.path)));
        }
    }
}
