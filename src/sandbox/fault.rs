//! Faults on demand: which, for whom, how often.
//!
//! Owns what a request meets: the first fault that was meant for it, else, if it is a lookup, its turn of the schedule.
//! Refuses to decide who deserves one; playing it is `play`'s.

mod play;
pub(super) mod spoken;

use std::collections::VecDeque;
use std::time::Duration;

use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::api::Operation;
use super::limiter::Scope;
use super::schedule::Schedule;
use crate::monime::SessionId;

/// Faults that may wait at once: enough for any test, too few to be a leak.
const CAPACITY: usize = 1024;

/// What goes wrong. The request is carried out all the same: only its answer suffers.
///
/// In JSON: `"reset"`, `{"latency": "2s"}`, `{"drip": {"bytes": 1, "every": "100ms"}}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// The answer is right, and this late. The request is carried out after the wait, and not at all if its caller has
    /// left by then.
    Latency(#[serde(with = "spoken::duration")] Duration),
    /// The answer is right, and this late. The request is carried out before the wait, whoever leaves.
    Withheld(#[serde(with = "spoken::duration")] Duration),
    /// This status (200–599): errors in Monime's envelope, 3xx with a `Location`, 2xx with the right body.
    Status(#[serde(with = "spoken::status")] StatusCode),
    /// A 429 that names this limit.
    Throttled {
        /// What `Monime-Rate-Limit` says.
        scope: Scope,
        /// What `Retry-After` says, in seconds.
        retry_after: u64,
    },
    /// A complete answer whose JSON ends in the middle.
    Malformed,
    /// `Content-Length` promises the whole body; half of it is sent, then the connection closes.
    Truncated,
    /// The connection closes before a byte of an answer.
    Reset,
    /// The right answer, a few bytes at a time.
    Drip {
        /// Bytes at a time; 0 counts as 1.
        bytes: usize,
        /// The pause between them.
        #[serde(with = "spoken::duration")]
        every: Duration,
    },
    /// The right answer behind this many bytes of white space, at most 1 GiB, without a `Content-Length`.
    Huge(u64),
    /// The right answer with this session status.
    SessionStatus(String),
    /// The right answer with the bearer token in it.
    ReflectToken,
    /// The right answer, gzip-coded whether or not the caller accepts that.
    Gzip,
    /// A web page with this status, as an edge in front of Monime would answer.
    Html(#[serde(with = "spoken::status")] StatusCode),
    /// The right answer with the session in a `result` inside the `result`.
    NestedResult,
    /// The right answer about another session.
    WrongId,
}

/// Which requests a fault is meant for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Planned {
    pub(super) fault: Fault,
    /// How many more times.
    pub(super) times: u32,
    pub(super) operation: Operation,
    /// Only for this session; any, if none.
    #[serde(serialize_with = "spoken::session")]
    pub(super) id: Option<SessionId>,
}

/// The faults that are still to be played.
#[derive(Debug)]
pub(super) struct Faults {
    waiting: VecDeque<Planned>,
    schedule: Schedule,
    /// Turns of the schedule that were taken.
    turns: u64,
}

/// What a request meets.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Met {
    pub(super) fault: Option<Fault>,
    /// Which turn of the schedule decided that.
    pub(super) turn: Option<u64>,
}

/// Too many faults wait already.
#[derive(Debug)]
pub(super) struct Full;

// === impl Fault ===

impl Fault {
    /// What it is called in JSON.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Latency(_) => "latency",
            Self::Withheld(_) => "withheld",
            Self::Status(_) => "status",
            Self::Throttled { .. } => "throttled",
            Self::Malformed => "malformed",
            Self::Truncated => "truncated",
            Self::Reset => "reset",
            Self::Drip { .. } => "drip",
            Self::Huge(_) => "huge",
            Self::SessionStatus(_) => "session_status",
            Self::ReflectToken => "reflect_token",
            Self::Gzip => "gzip",
            Self::Html(_) => "html",
            Self::NestedResult => "nested_result",
            Self::WrongId => "wrong_id",
        }
    }
}

// === impl Faults ===

impl Faults {
    pub(super) fn new(schedule: Schedule) -> Self {
        Self { waiting: VecDeque::new(), schedule, turns: 0 }
    }

    pub(super) fn plan(&mut self, planned: Planned) -> Result<(), Full> {
        if self.waiting.len() >= CAPACITY {
            return Err(Full);
        }
        if planned.times > 0 {
            self.waiting.push_back(planned);
        }
        Ok(())
    }

    /// Goes by another schedule, from its first turn.
    pub(super) fn follow(&mut self, schedule: Schedule) {
        (self.schedule, self.turns) = (schedule, 0);
    }

    /// The schedule, and how many of its turns were taken.
    pub(super) fn schedule(&self) -> (Schedule, u64) {
        (self.schedule, self.turns)
    }

    /// What this request meets. One that a planned fault was meant for takes no turn of the schedule.
    pub(super) fn meet(&mut self, operation: Operation, id: Option<&SessionId>) -> Met {
        let planned = self.take(operation, id);
        if planned.is_some() || operation != Operation::Get {
            return Met { fault: planned, turn: None };
        }
        let turn = self.turns;
        self.turns += 1;
        Met { fault: self.schedule.at(turn), turn: Some(turn) }
    }

    /// The first fault meant for this request, used up by one.
    fn take(&mut self, operation: Operation, id: Option<&SessionId>) -> Option<Fault> {
        let meant = |planned: &Planned| {
            planned.operation == operation && planned.id.as_ref().is_none_or(|wanted| Some(wanted) == id)
        };
        let index = self.waiting.iter().position(meant)?;
        let planned = self.waiting.get_mut(index)?;
        planned.times -= 1;
        let fault = planned.fault.clone();
        if planned.times == 0 {
            self.waiting.remove(index);
        }
        Some(fault)
    }

    pub(super) fn waiting(&self) -> impl Iterator<Item = &Planned> {
        self.waiting.iter()
    }

    pub(super) fn clear(&mut self) {
        self.waiting.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::super::schedule::Profile;
    use super::*;

    #[test]
    fn a_request_meets_the_first_fault_that_was_meant_for_it() {
        let mut faults = Faults::new(Schedule::CALM);
        let [one, other] = ["scs-1", "scs-2"].map(|id| SessionId::parse(id).unwrap());
        for (fault, times, operation, id) in [
            (Fault::Reset, 1, Operation::Create, None),
            (Fault::Gzip, 2, Operation::Get, Some(one.clone())),
            (Fault::Malformed, 1, Operation::Get, None),
            (Fault::Truncated, 0, Operation::Get, None),
        ] {
            faults.plan(Planned { fault, times, operation, id }).unwrap();
        }
        let mut get = |id| faults.take(Operation::Get, Some(id));
        assert_eq!(get(&other), Some(Fault::Malformed));
        assert_eq!(get(&other), None);
        assert_eq!([get(&one), get(&one), get(&one)], [Some(Fault::Gzip), Some(Fault::Gzip), None]);
        assert_eq!(faults.take(Operation::Create, None), Some(Fault::Reset));
        assert_eq!(faults.waiting().count(), 0);
    }

    #[test]
    fn a_lookup_takes_its_turn_of_the_schedule_unless_a_fault_was_meant_for_it() {
        let schedule = Schedule { profile: Profile::Rough, seed: 7 };
        let mut faults = Faults::new(schedule);
        let id = SessionId::parse("scs-1").unwrap();
        let lookup = |faults: &mut Faults| faults.meet(Operation::Get, Some(&id));
        let turn = |turn| Met { fault: schedule.at(turn), turn: Some(turn) };
        assert_eq!([lookup(&mut faults), lookup(&mut faults)], [turn(0), turn(1)]);
        faults.plan(Planned { fault: Fault::Gzip, times: 1, operation: Operation::Get, id: None }).unwrap();
        assert_eq!(lookup(&mut faults), Met { fault: Some(Fault::Gzip), turn: None });
        assert_eq!(faults.meet(Operation::Create, None), Met::default());
        assert_eq!(lookup(&mut faults), turn(2));
        assert_eq!(faults.schedule(), (schedule, 3));
        faults.follow(schedule);
        assert_eq!(lookup(&mut faults), turn(0), "from its first turn");
    }

    #[test]
    fn faults_are_spoken_in_json() {
        for (text, fault) in [
            (r#""reset""#, Fault::Reset),
            (r#"{"latency":"2s"}"#, Fault::Latency(Duration::from_secs(2))),
            (r#"{"status":503}"#, Fault::Status(StatusCode::SERVICE_UNAVAILABLE)),
            (
                r#"{"throttled":{"scope":"token-limit","retry_after":7}}"#,
                Fault::Throttled { scope: Scope::Token, retry_after: 7 },
            ),
            (r#"{"drip":{"bytes":1,"every":"100ms"}}"#, Fault::Drip { bytes: 1, every: Duration::from_millis(100) }),
            (r#"{"session_status":"processing"}"#, Fault::SessionStatus("processing".to_owned())),
        ] {
            assert_eq!(serde_json::from_str::<Fault>(text).unwrap(), fault);
            assert_eq!(serde_json::to_string(&fault).unwrap(), text);
        }
        for wrong in [r#"{"status":199}"#, r#"{"status":600}"#, r#"{"latency":"soon"}"#, r#""explode""#] {
            assert!(serde_json::from_str::<Fault>(wrong).is_err(), "{wrong}");
        }
    }
}
