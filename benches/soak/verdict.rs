//! What must not happen, noticed where it does: a wrong answer, a piece of a token, a panic. Owns the rules for answers;
//! counts everything, keeps the first few in words.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::sync::{Mutex, PoisonError};

use super::wire::Answer;

/// This many characters of a token in a row do not occur by chance.
const RUN: usize = 12;
/// How many wrongs are told in words.
const TOLD: usize = 20;
/// Why a lookup may fail on a rough day of Monime's. Not among them: a credential that it does not take, another
/// session's answer, a bug of ours, an overload.
const ROUGH: [&str; 9] = [
    "gateway_upstream_timeout",
    "gateway_upstream_unreachable",
    "gateway_upstream_unreadable",
    "gateway_upstream_unexpected",
    "gateway_upstream_throttled",
    "gateway_upstream_error",
    "gateway_upstream_unavailable",
    "gateway_upstream_open",
    "gateway_budget_exhausted",
];

/// What is asked for, and so what may be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// A session that settled as completed.
    Completed,
    /// One that is pending for as long as this runs.
    Pending,
    /// One that Monime may not know.
    Absent,
    /// A path that there is not.
    Nowhere,
}

/// Everything that was noticed.
pub(crate) struct Verdict {
    /// Every piece of every token, and the first two bytes of each.
    pieces: HashSet<[u8; RUN]>,
    begins: Vec<bool>,
    noted: Mutex<Noted>,
}

#[derive(Default)]
struct Noted {
    counts: BTreeMap<String, u64>,
    wrongs: Vec<String>,
    wrong: u64,
}

impl Verdict {
    pub(crate) fn keeping(tokens: &[String]) -> Self {
        let windows = tokens.iter().flat_map(|token| token.as_bytes().windows(RUN));
        let pieces: HashSet<[u8; RUN]> = windows.filter_map(|piece| piece.try_into().ok()).collect();
        let mut begins = vec![false; 1 << 16];
        for piece in &pieces {
            if let Some(begin) = begins.get_mut(pair(piece)) {
                *begin = true;
            }
        }
        Self { pieces, begins, noted: Mutex::default() }
    }

    /// One more of these.
    pub(crate) fn count(&self, what: &str) {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        match noted.counts.get_mut(what) {
            Some(count) => *count += 1,
            None => drop(noted.counts.insert(what.to_owned(), 1)),
        }
    }

    /// Something that must not be.
    pub(crate) fn wrong(&self, what: impl Into<String>) {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        noted.wrong += 1;
        if noted.wrongs.len() < TOLD {
            noted.wrongs.push(what.into());
        }
    }

    /// Looks at bytes that the gateway let out. What is found is not repeated.
    pub(crate) fn heard(&self, place: &str, bytes: &[u8]) {
        let begins = |window: &&[u8]| self.begins.get(pair(window)).is_some_and(|begins| *begins);
        if bytes.windows(RUN).filter(begins).any(|window| self.pieces.contains(window)) {
            self.wrong(format!("{place}: a piece of a token"));
        }
    }

    /// One line of the gateway's log.
    pub(crate) fn logged(&self, line: &[u8]) {
        self.heard("the log", line);
        self.count("lines of the log");
        if memchr::memmem::find(line, b"panicked").is_some() {
            self.wrong(format!("the log: {}", String::from_utf8_lossy(line)));
        }
    }

    /// What became of a request. False where it is wise to wait a little before the next.
    pub(crate) fn judge(&self, who: &str, wanted: Wanted, id: &str, answer: &io::Result<Answer>) -> bool {
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                self.wrong(format!("{who}: {wanted:?} {id}: no answer: {error}"));
                return false;
            }
        };
        self.heard("an answer's head", answer.head.as_bytes());
        self.heard("an answer's body", &answer.body);
        if let Err(why) = fits(wanted, id, answer) {
            let (status, body) = (answer.status, String::from_utf8_lossy(&answer.body));
            self.wrong(format!("{who}: {wanted:?} {id}: {why}: {status} {body:.300}"));
        }
        let how = answer.field("cache-status").split([';', ',']).nth(1).unwrap_or("").trim();
        let how = how.split('=').next_back().unwrap_or("").to_owned();
        self.count(&format!("{} {how}", answer.status));
        answer.status == 200
    }

    /// How many of each, how many wrong, and the first of those.
    pub(crate) fn told(&self) -> (BTreeMap<String, u64>, u64, Vec<String>) {
        let noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        (noted.counts.clone(), noted.wrong, noted.wrongs.clone())
    }
}

fn pair(bytes: &[u8]) -> usize {
    bytes.iter().take(2).fold(0, |pair, byte| pair << 8 | usize::from(*byte))
}

/// Why an answer is not one to this request.
fn fits(wanted: Wanted, id: &str, answer: &Answer) -> Result<(), &'static str> {
    let has = |text: &str| memchr::memmem::find(&answer.body, text.as_bytes()).is_some();
    let ids = memchr::memmem::find_iter(&answer.body, b"\"scs-");
    let own = format!("\"{id}\"");
    if ids.into_iter().any(|at| !answer.body.get(at..).is_some_and(|rest| rest.starts_with(own.as_bytes()))) {
        return Err("a body of another id");
    }
    let hit = answer.field("cache-status").starts_with("monigate; hit");
    match (answer.status, wanted) {
        (200, _) if !has(&own) => Err("a body without the id"),
        (200, Wanted::Completed) if has("\"completed\"") => Ok(()),
        (200, Wanted::Pending) if has("\"pending\"") && !hit => Ok(()),
        (200, Wanted::Absent) if has("\"completed\"") => Ok(()),
        (200, _) => Err("not what became of this session, or not to be told from memory"),
        (404, Wanted::Nowhere) if has("gateway_route_unknown") => Ok(()),
        (404, Wanted::Absent) if !has("gateway_") => Ok(()),
        (429 | 500..=599, Wanted::Completed | Wanted::Pending | Wanted::Absent) if ROUGH.into_iter().any(has) => Ok(()),
        _ => Err("an answer that may not be"),
    }
}
