//! What Monime says to one call, and what it means by it.

use bytes::Bytes;

use super::TOKEN;
use crate::plan::Status;
use crate::weather::What;

/// What Monime said, word for word.
#[derive(Clone)]
pub(super) struct Said {
    pub(super) status: u16,
    pub(super) body: Bytes,
    pub(super) meaning: Meaning,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    Session(Status),
    /// Another word in Monime's envelope.
    Word,
    /// Nothing that anybody may be told.
    Unusable,
}

/// To the call with this number, which asks for the session `id`; `status` is what is true of it.
pub(super) fn answer_to(call: usize, id: &str, status: Status, what: &What) -> Said {
    let session = |id: &str, more: &str| {
        let status = status.as_str();
        format!(
            r#"{{"success":true,"messages":[{more}],"result":{{"id":"{id}","status":"{status}","name":"call {call}"}}}}"#
        )
    };
    let error = |code: u16| {
        let reason = "simulated";
        format!(
            r#"{{"success":false,"messages":[],"error":{{"code":{code},"reason":"{reason}","message":"call {call}","details":[]}}}}"#
        )
    };
    let right = || match status {
        Status::Absent => (404, error(404)),
        _ => (200, session(id, "")),
    };
    let ((status, body), meaning) = match what {
        What::Status(404, _) => ((404, error(404)), Meaning::Session(Status::Absent)),
        What::Status(403, _) => ((403, error(403)), Meaning::Word),
        What::Status(code, _) => ((*code, error(*code)), Meaning::Unusable),
        What::Throttled(..) => ((429, error(429)), Meaning::Unusable),
        What::Html(code) => ((*code, "<html><h1>Bad day</h1></html>".to_owned()), Meaning::Unusable),
        What::Redirect => ((302, String::new()), Meaning::Unusable),
        What::Malformed => {
            let (code, mut body) = right();
            body.truncate(body.len() / 2);
            ((code, body), Meaning::Unusable)
        }
        What::WrongId => ((200, session("scs-another", "")), Meaning::Unusable),
        What::Reflects => ((200, session(id, &format!("\"Bearer {TOKEN}\""))), Meaning::Unusable),
        What::NestedResult => ((200, nested(session(id, ""))), Meaning::Session(Status::Processing)),
        What::Doubled => (
            (200, session(id, "").replace("\"name\"", "\"status\":\"completed\",\"name\"")),
            Meaning::Session(Status::Processing),
        ),
        What::BreaksOff | What::ResetMidway | What::StopsMidway => (right(), Meaning::Unusable),
        _ => (right(), Meaning::Session(status)),
    };
    Said { status, body: body.into(), meaning }
}

/// A session in a `result` inside the `result`.
fn nested(body: String) -> String {
    body.replace("\"result\":{", "\"result\":{\"result\":{").replace("}}", "}}}")
}
