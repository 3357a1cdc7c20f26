//! What an answer of Monime's means: one pure function from status and body to a verdict.
//!
//! Owns the table in the README. Judges by the session's own `status`, never by anything nested, repeated or merely
//! alike; refuses to call an answer final unless nothing in it is unclear, because a wrong final answer is kept.

use http::StatusCode;

use super::envelope;
use super::id::SessionIdRef;
use super::json::{Object, Value};

/// What Monime's answer to one lookup means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The session has settled.
    Final(Final),
    /// The session may still settle.
    Pending,
    /// A 200 that does not say clearly what became of the session.
    Unknown,
    /// Monime says there is no such session.
    Absent,
    /// Another 4xx in Monime's envelope: for the caller, and about the request.
    Word,
}

/// How a session settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Final {
    /// Paid. Nothing in Monime's API can change it.
    Completed,
    /// Cancelled; a late confirmation or a deletion is not excluded.
    Cancelled,
    /// Expired; a late confirmation is not excluded.
    Expired,
}

/// Why an answer may not be passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// It is about another session than the one asked for.
    Mismatch,
    /// It cannot be read as Monime's.
    Unreadable,
    /// 401: the gateway's own credential is not accepted.
    Credentials,
    /// 429: the gateway asked more often than Monime allows.
    Throttled,
    /// A status that a lookup never answers with: 1xx, another 2xx, 3xx.
    Unexpected,
    /// 500, 502 and every other 5xx.
    Failed,
    /// 503.
    Unavailable,
    /// 504.
    TimedOut,
}

impl Verdict {
    /// The word for logs and for the `verdict` label of `monigate_upstream_answers_total`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Final(_) => "final",
            Self::Pending => "pending",
            Self::Unknown => "unknown",
            Self::Absent => "absent",
            Self::Word => "word",
        }
    }
}

impl Flaw {
    /// The word for logs and for the `verdict` label of `monigate_upstream_answers_total`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mismatch => "mismatch",
            Self::Unreadable => "unreadable",
            Self::Credentials => "credentials",
            Self::Throttled => "throttled",
            Self::Unexpected => "unexpected",
            Self::Failed | Self::Unavailable | Self::TimedOut => "failure",
        }
    }

    /// Whether an answer past its time may be told instead: yes, where Monime is not well; no, where it said something
    /// that should be looked into.
    #[must_use]
    pub fn permits_stale(self) -> bool {
        match self {
            Self::Failed | Self::Unavailable | Self::TimedOut => true,
            Self::Mismatch | Self::Unreadable | Self::Credentials | Self::Throttled | Self::Unexpected => false,
        }
    }
}

impl Final {
    /// The session's status as Monime writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }
}

/// Judges a complete answer to a lookup of `asked`.
///
/// # Errors
/// The [`Flaw`] for which it may not be passed on.
pub fn judge(asked: SessionIdRef<'_>, status: StatusCode, body: &[u8]) -> Result<Verdict, Flaw> {
    match status.as_u16() {
        200 => judge_session(asked, body),
        401 => Err(Flaw::Credentials),
        429 => Err(Flaw::Throttled),
        404 if envelope::is_error(body) => Ok(Verdict::Absent),
        400..=499 if envelope::is_error(body) => Ok(Verdict::Word),
        400..=499 => Err(Flaw::Unreadable),
        503 => Err(Flaw::Unavailable),
        504 => Err(Flaw::TimedOut),
        500..=599 => Err(Flaw::Failed),
        _ => Err(Flaw::Unexpected),
    }
}

/// Whether the body of an answer with this status says anything that the status does not. No other needs to be read.
#[must_use]
pub fn body_counts(status: StatusCode) -> bool {
    let told_by_status = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::TOO_MANY_REQUESTS);
    status == StatusCode::OK || (status.is_client_error() && !told_by_status)
}

fn judge_session(asked: SessionIdRef<'_>, body: &[u8]) -> Result<Verdict, Flaw> {
    // A session that cannot be read could be anybody's, and makes the whole unreadable: its id could not be compared.
    let Ok(answer) = Object::parse(body, "result") else { return not_an_object(body) };
    // Any id that differs is somebody else's payment, however unclear the rest may be.
    let mut sessions = answer.all("result").filter_map(Value::as_object);
    let mut ids = sessions.clone().flat_map(|session| session.all("id"));
    if ids.any(|id| id.as_text().as_deref() != Some(asked.as_str())) {
        return Err(Flaw::Mismatch);
    }
    let success = answer.only("success").and_then(Value::as_bool);
    // The only result of all is the session, if it is an object.
    match (success, answer.only("result"), sessions.next()) {
        (Some(true), Some(_), Some(session)) => Ok(judge_status(session)),
        _ => Ok(Verdict::Unknown),
    }
}

fn judge_status(session: &Object<'_>) -> Verdict {
    // A `result` inside the result has been reported once: which of the two is the session is anybody's guess.
    if session.only("id").is_none() || session.all("result").next().is_some() {
        return Verdict::Unknown;
    }
    match session.only("status").and_then(Value::as_text).as_deref() {
        Some("completed") => Verdict::Final(Final::Completed),
        Some("cancelled") => Verdict::Final(Final::Cancelled),
        Some("expired") => Verdict::Final(Final::Expired),
        Some("pending") => Verdict::Pending,
        _ => Verdict::Unknown,
    }
}

/// JSON that is no object says nothing but is passed through; anything else is not Monime's. An object that could not
/// be read is not passed through, even if a more lenient reader than ours finds a session in it.
fn not_an_object(body: &[u8]) -> Result<Verdict, Flaw> {
    let is_object = body.trim_ascii_start().first() == Some(&b'{');
    let text = std::str::from_utf8(body).ok().filter(|_| !is_object).ok_or(Flaw::Unreadable)?;
    match serde_json::from_str::<serde::de::IgnoredAny>(text) {
        Ok(_) => Ok(Verdict::Unknown),
        Err(_) => Err(Flaw::Unreadable),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn verdict(status: u16, body: &str) -> Result<Verdict, Flaw> {
        let asked = SessionIdRef::parse("scs-1").unwrap();
        judge(asked, StatusCode::from_u16(status).unwrap(), body.as_bytes())
    }

    fn session(status: &str) -> String {
        format!(r#"{{"success":true,"messages":[],"result":{{"id":"scs-1","status":"{status}"}}}}"#)
    }

    const ERROR: &str =
        r#"{"success":false,"messages":[],"error":{"code":404,"reason":"x","message":"y","details":[]}}"#;

    #[test]
    fn a_session_is_judged_by_its_status() {
        assert_eq!(verdict(200, &session("completed")), Ok(Verdict::Final(Final::Completed)));
        assert_eq!(verdict(200, &session("cancelled")), Ok(Verdict::Final(Final::Cancelled)));
        assert_eq!(verdict(200, &session("expired")), Ok(Verdict::Final(Final::Expired)));
        assert_eq!(verdict(200, &session("pending")), Ok(Verdict::Pending));
        for unknown in ["processing", "", "Completed", "completed ", "COMPLETED"] {
            assert_eq!(verdict(200, &session(unknown)), Ok(Verdict::Unknown), "{unknown:?}");
        }
    }

    #[test]
    fn what_is_unclear_is_unknown() {
        for body in [
            "{}",
            "[]",
            "null",
            "7",
            r#"{"success":true}"#,
            r#"{"success":true,"result":null}"#,
            r#"{"success":true,"result":[]}"#,
            r#"{"success":true,"result":[{"id":"scs-1","status":"completed"}]}"#,
            r#"{"success":true,"result":"completed"}"#,
            r#"{"success":true,"result":true}"#,
            r#"{"success":true,"result":-7}"#,
            r#"{"success":true,"result":7.5}"#,
            r#"{"success":true,"result":{}}"#,
            r#"{"success":true,"result":{"status":"completed"}}"#,
            r#"{"success":true,"result":{"id":"scs-1"}}"#,
            r#"{"success":true,"result":{"id":"scs-1","status":null}}"#,
            r#"{"success":true,"result":{"id":"scs-1","status":["completed"]}}"#,
            r#"{"success":"true","result":{"id":"scs-1","status":"completed"}}"#,
            r#"{"success":false,"result":{"id":"scs-1","status":"completed"}}"#,
            r#"{"result":{"id":"scs-1","status":"completed"}}"#,
            r#"{"success":true,"result":{"id":"scs-1","status":"completed","result":{}}}"#,
            r#"{"success":true,"result":{"id":"scs-1","result":{"id":"scs-1","status":"completed"}}}"#,
            r#"{"success":true,"data":{"id":"scs-1","status":"completed"}}"#,
        ] {
            assert_eq!(verdict(200, body), Ok(Verdict::Unknown), "{body}");
        }
    }

    #[test]
    fn a_name_that_stands_twice_is_unknown() {
        for body in [
            r#"{"success":true,"result":{"id":"scs-1","status":"pending","status":"completed"}}"#,
            r#"{"success":true,"result":{"id":"scs-1","status":"completed","status":"completed"}}"#,
            r#"{"success":true,"result":{"id":"scs-1","status":"completed","sta\u0074us":"pending"}}"#,
            r#"{"success":true,"result":{"id":"scs-1","id":"scs-1","status":"completed"}}"#,
            r#"{"success":true,"success":true,"result":{"id":"scs-1","status":"completed"}}"#,
            r#"{"success":true,"result":{"id":"scs-1","status":"completed"},"result":{"id":"scs-1","status":"completed"}}"#,
        ] {
            assert_eq!(verdict(200, body), Ok(Verdict::Unknown), "{body}");
        }
    }

    #[test]
    fn escapes_and_decoys_change_nothing() {
        for body in [
            r#"{"success":true,"result":{"id":"scs-1","st\u0061tus":"p\u0065nding"}}"#,
            r#"{"success":true,"result":{"id":"scs-1","metadata":{"status":"completed"},"status":"pending"}}"#,
            r#"{"status":"completed","success":true,"result":{"id":"scs-1","status":"pending"}}"#,
            r#"{"success":true,"result":{"id":"scs-1","status":"pending","name":"\",\"status\":\"completed"}}"#,
            r#"{"success":true,"messages":[{"result":{"status":"completed"}}],"result":{"id":"scs-1","status":"pending"}}"#,
            "{ \"success\" :true,\n\t\"result\"\r: { \"status\" : \"pending\" , \"id\":\"scs-1\" } }\n",
        ] {
            assert_eq!(verdict(200, body), Ok(Verdict::Pending), "{body}");
        }
    }

    #[test]
    fn another_sessions_answer_is_a_mismatch_whatever_else_it_says() {
        for body in [
            r#"{"success":true,"result":{"id":"scs-2","status":"completed"}}"#,
            r#"{"success":false,"result":{"id":"scs-2","status":"pending"}}"#,
            r#"{"success":true,"result":{"id":"scs-1","id":"scs-2","status":"completed"}}"#,
            r#"{"success":true,"result":{"id":"scs-1"},"result":{"id":"scs-2","status":"completed"}}"#,
            r#"{"success":true,"result":{"id":7,"status":"completed"}}"#,
            r#"{"success":true,"result":{"id":"scs-1 ","status":"completed"}}"#,
        ] {
            assert_eq!(verdict(200, body), Err(Flaw::Mismatch), "{body}");
        }
    }

    #[test]
    fn what_is_not_json_is_unreadable() {
        let whole = session("completed");
        for body in ["", "<html></html>", "{", &whole[..whole.len() - 1], &format!("{whole}x"), "\u{feff}{}", "NaN"] {
            assert_eq!(verdict(200, body), Err(Flaw::Unreadable), "{body}");
        }
        for unreadable in [
            r#"{"success":true,"result":1e999}"#,
            r#"{"\ud800":1,"success":true,"result":{"id":"scs-2","status":"completed"}}"#,
            r#"{"success":true,"result":{"\ud800":1,"id":"scs-2","status":"completed"}}"#,
            r#"{"success":true,"result":{"\ud800":1,"id":"scs-1","status":"completed"}}"#,
        ] {
            assert_eq!(verdict(200, unreadable), Err(Flaw::Unreadable), "{unreadable}");
        }
        let asked = SessionIdRef::parse("scs-1").unwrap();
        let latin = b"{\"success\":true,\"result\":{\"id\":\"scs-2\",\"status\":\"completed\",\"name\":\"\xff\"}}";
        assert_eq!(judge(asked, StatusCode::OK, latin), Err(Flaw::Unreadable));
        let broken = [whole.as_bytes(), b"\xff"].concat();
        assert_eq!(judge(asked, StatusCode::OK, &broken), Err(Flaw::Unreadable));
    }

    #[test]
    fn every_other_status_has_its_row() {
        assert_eq!(verdict(404, ERROR), Ok(Verdict::Absent));
        for status in [400, 402, 403, 405, 409, 410, 418, 422, 451, 499] {
            assert_eq!(verdict(status, ERROR), Ok(Verdict::Word), "{status}");
            assert_eq!(verdict(status, "<html>"), Err(Flaw::Unreadable), "{status}");
        }
        assert_eq!(verdict(404, "<html>"), Err(Flaw::Unreadable));
        for body in [ERROR, "", "<html>", &session("completed")] {
            for (status, flaw) in [
                (401, Flaw::Credentials),
                (429, Flaw::Throttled),
                (500, Flaw::Failed),
                (502, Flaw::Failed),
                (503, Flaw::Unavailable),
                (504, Flaw::TimedOut),
                (599, Flaw::Failed),
                (100, Flaw::Unexpected),
                (201, Flaw::Unexpected),
                (204, Flaw::Unexpected),
                (206, Flaw::Unexpected),
                (301, Flaw::Unexpected),
                (304, Flaw::Unexpected),
                (600, Flaw::Unexpected),
            ] {
                assert_eq!(verdict(status, body), Err(flaw), "{status} {body}");
            }
        }
    }

    #[test]
    fn an_answer_past_its_time_stands_in_only_where_monime_is_not_well() {
        for (flaw, stale) in [
            (Flaw::Failed, true),
            (Flaw::Unavailable, true),
            (Flaw::TimedOut, true),
            (Flaw::Mismatch, false),
            (Flaw::Unreadable, false),
            (Flaw::Credentials, false),
            (Flaw::Throttled, false),
            (Flaw::Unexpected, false),
        ] {
            assert_eq!(flaw.permits_stale(), stale, "{flaw:?}");
        }
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(status in 100u16..=999, body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let asked = SessionIdRef::parse("scs-1").unwrap();
            let _ = judge(asked, StatusCode::from_u16(status).unwrap(), &body);
        }

        #[test]
        fn final_means_a_strict_parser_reads_that_status(body in session_like()) {
            if let Ok(Verdict::Final(settled)) = verdict(200, &body) {
                let value: serde_json::Value = serde_json::from_str(&body).unwrap();
                prop_assert_eq!(&value["result"]["status"], settled.as_str());
                prop_assert_eq!(&value["result"]["id"], "scs-1");
                prop_assert_eq!(&value["success"], true);
            }
        }
    }

    /// Objects made of the names that matter, in any order, repeated, nested and with wrong values.
    fn session_like() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just(r#""completed""#.to_owned()),
            Just(r#""pending""#.to_owned()),
            Just(r#""scs-1""#.to_owned()),
            Just(r#""scs-2""#.to_owned()),
            Just("true".to_owned()),
            Just("null".to_owned()),
        ];
        let name = prop_oneof![Just("id"), Just("status"), Just("result"), Just("success"), Just("st\\u0061tus")];
        let object = |value: BoxedStrategy<String>| {
            proptest::collection::vec((name.clone(), value), 0..5).prop_map(|members| {
                let members: Vec<String> = members.iter().map(|(name, value)| format!(r#""{name}":{value}"#)).collect();
                format!("{{{}}}", members.join(","))
            })
        };
        let inner = object(leaf.clone().boxed());
        let result = prop_oneof![2 => Just(r#"{"id":"scs-1","status":"completed"}"#.to_owned()), 2 => inner, 1 => leaf];
        proptest::collection::vec((prop_oneof![Just("success"), Just("result"), Just("data")], result), 0..3).prop_map(
            |members| {
                let rest: Vec<String> = members.iter().map(|(name, value)| format!(r#","{name}":{value}"#)).collect();
                format!(r#"{{"success":true{}}}"#, rest.concat())
            },
        )
    }
}
