//! The operations of Monime's public API, by the names of its OpenAPI file (release `caph.2025-08-23`).
//!
//! One table: method, path template, `operationId`. Owns recognising a request as one of them; refuses to say which
//! are allowed, which is policy. The file has 46 operations; the two that no public client uses are not known here.

use super::id::SessionIdRef;

/// One operation of Monime's API.
#[derive(Debug, PartialEq, Eq)]
pub struct Operation {
    /// The `operationId`.
    pub id: &'static str,
    /// The HTTP method.
    pub method: &'static str,
    /// The path, with `{}` for one non-empty segment.
    pub path: &'static str,
}

/// The operation whose answers monigate keeps.
pub const GET_CHECKOUT_SESSION: &str = "GetCheckoutSession";
/// The path template of that operation.
pub const CHECKOUT_SESSION: &str = "/v1/checkout-sessions/{}";

macro_rules! operations {
    ($($method:ident $path:literal $id:literal,)*) => {
        /// Every operation that is known.
        pub const OPERATIONS: &[Operation] = &[$(Operation { id: $id, method: stringify!($method), path: $path }),*];
    };
}

operations! {
    GET    "/v1/banks"                       "ListBanks",
    GET    "/v1/banks/{}"                    "GetBank",
    POST   "/v1/checkout-sessions"           "CreateCheckoutSession",
    GET    "/v1/checkout-sessions"           "ListCheckoutSessions",
    GET    "/v1/checkout-sessions/{}"        "GetCheckoutSession",
    DELETE "/v1/checkout-sessions/{}"        "DeleteCheckoutSession",
    POST   "/v1/financial-accounts"          "CreateFinancialAccount",
    GET    "/v1/financial-accounts"          "ListFinancialAccounts",
    GET    "/v1/financial-accounts/{}"       "GetFinancialAccount",
    PATCH  "/v1/financial-accounts/{}"       "UpdateFinancialAccount",
    GET    "/v1/financial-transactions"      "ListFinancialTransactions",
    GET    "/v1/financial-transactions/{}"   "GetFinancialTransaction",
    POST   "/v1/internal-transfers"          "CreateInternalTransfer",
    GET    "/v1/internal-transfers"          "ListInternalTransfers",
    GET    "/v1/internal-transfers/{}"       "GetInternalTransfer",
    PATCH  "/v1/internal-transfers/{}"       "UpdateInternalTransfer",
    DELETE "/v1/internal-transfers/{}"       "DeleteInternalTransfer",
    GET    "/v1/momos"                       "ListMomos",
    GET    "/v1/momos/{}"                    "GetMomo",
    POST   "/v1/payment-codes"               "CreatePaymentCode",
    GET    "/v1/payment-codes"               "ListPaymentCodes",
    GET    "/v1/payment-codes/{}"            "GetPaymentCode",
    PATCH  "/v1/payment-codes/{}"            "UpdatePaymentCode",
    DELETE "/v1/payment-codes/{}"            "DeletePaymentCode",
    GET    "/v1/payments"                    "ListPayments",
    GET    "/v1/payments/{}"                 "GetPayment",
    PATCH  "/v1/payments/{}"                 "UpdatePayment",
    POST   "/v1/payouts"                     "CreatePayout",
    GET    "/v1/payouts"                     "ListPayouts",
    GET    "/v1/payouts/{}"                  "GetPayout",
    PATCH  "/v1/payouts/{}"                  "UpdatePayout",
    DELETE "/v1/payouts/{}"                  "DeletePayout",
    GET    "/v1/provider-kyc/{}"             "GetProviderKyc",
    GET    "/v1/receipts/{}"                 "GetReceipt",
    POST   "/v1/receipts/{}/redeem"          "RedeemReceipt",
    POST   "/v1/ussd-otps"                   "CreateUssdOtp",
    GET    "/v1/ussd-otps"                   "ListUssdOtps",
    GET    "/v1/ussd-otps/{}"                "GetUssdOtp",
    DELETE "/v1/ussd-otps/{}"                "DeleteUssdOtp",
    POST   "/v1/webhooks"                    "CreateWebhook",
    GET    "/v1/webhooks"                    "ListWebhooks",
    GET    "/v1/webhooks/{}"                 "GetWebhook",
    PATCH  "/v1/webhooks/{}"                 "UpdateWebhook",
    DELETE "/v1/webhooks/{}"                 "DeleteWebhook",
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
        Some(segment) => segment == wanted || (wanted == "{}" && !segment.is_empty()),
        None => false,
    });
    fits && segments.next().is_none()
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
        for none in
            ["", "/", "/v1", "/v1/", "/v1/checkout-sessions/", "/v1/checkout-sessions/a/b", "//v1/banks", "/v1/bankses"]
        {
            assert!(ids(none).is_empty(), "{none}");
        }
    }

    #[test]
    fn no_operation_stands_twice() {
        for (index, operation) in OPERATIONS.iter().enumerate() {
            let rest = &OPERATIONS[index + 1..];
            assert!(rest.iter().all(|other| other.id != operation.id), "{}", operation.id);
            assert!(rest.iter().all(|other| (other.method, other.path) != (operation.method, operation.path)));
        }
    }
}
