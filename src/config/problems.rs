//! Everything that is wrong with the configuration, said at once.
//!
//! Refuses to repeat what may be a secret: values are shown only by [`shown`], and every word of a problem passes the
//! redaction of `secret` once more.

use std::collections::BTreeSet;
use std::fmt;

use crate::secret::{REDACTED, looks_secret, redact};

/// The longest value that is repeated in a message: a wrong setting is short, what is pasted by mistake is long.
const SHOWN: usize = 40;

/// Who is named when a file is wrong as a whole.
pub(super) const FILE_FLAG: &str = "flag --config";

/// One thing that is wrong: where, by which rule, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key's path, such as `cache.ttl.completed`; or the file, when it could not be read as a whole.
    pub key: String,
    /// Who set it: a file, an environment variable, a flag or nobody.
    pub source: String,
    /// What is wrong with it.
    pub rule: String,
    /// What to do.
    pub fix: String,
}

/// Every [`Problem`] of one attempt to start.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Problems {
    found: Vec<Problem>,
    /// Their keys: thousands of callers may each have one, and each rule asks what is known to be wrong already.
    keys: BTreeSet<String>,
}

// === impl Problem ===

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}\n    fix: {}", self.key, self.source, self.rule, self.fix)
    }
}

// === impl Problems ===

impl Problems {
    /// One by one, by key.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.found.iter()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    pub(super) fn add(&mut self, key: &str, source: &str, rule: impl Into<String>, fix: impl Into<String>) {
        let [rule, fix] = [rule.into(), fix.into()];
        let [key, source, rule, fix] = [key, source, &rule, &fix].map(|text| redact(text).into_owned());
        self.keys.insert(key.clone());
        self.found.push(Problem { key, source, rule, fix });
    }

    /// Whether this key, or one below it, is known to be wrong.
    pub(super) fn concern(&self, key: &str) -> bool {
        let below = |separator: char| {
            let below = format!("{key}{separator}");
            self.keys.range(below.clone()..).next().is_some_and(|first| first.starts_with(&below))
        };
        self.keys.contains(key) || below('.') || below('[')
    }

    /// Whether this key's value may not be the one that somebody wrote: it, or a table around it, is wrong.
    pub(super) fn touch(&self, key: &str) -> bool {
        let mut above = key.match_indices(['.', '[']).filter_map(|(end, _)| key.get(..end));
        self.keys.contains(key) || above.any(|above| self.keys.contains(above))
    }

    /// Whether a file could not be read: what it may have set is not known then.
    pub(super) fn lost_a_file(&self) -> bool {
        self.found.iter().any(|problem| problem.source == FILE_FLAG)
    }

    /// By key, so that the same mistakes always read the same.
    pub(super) fn sorted(mut self) -> Self {
        self.found.sort_by(|one, other| (&one.key, &one.source).cmp(&(&other.key, &other.source)));
        self
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.found.len();
        writeln!(f, "the configuration has {count} problem{}:", if count == 1 { "" } else { "s" })?;
        self.found.iter().try_for_each(|problem| writeln!(f, "  {problem}"))
    }
}

impl std::error::Error for Problems {}

/// A value as it may be repeated in a message.
pub(super) fn shown(value: &str) -> String {
    if looks_secret(value) || value.contains('@') || value.to_ascii_lowercase().contains("bearer") {
        REDACTED.to_owned()
    } else if value.chars().count() > SHOWN {
        format!("a text of {} characters", value.chars().count())
    } else {
        format!("{value:?}")
    }
}

/// The name that was most likely meant.
pub(super) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let scored = known.into_iter().map(|known| (strsim::osa_distance(name, known), known));
    scored.filter(|(distance, known)| *distance <= known.len().div_ceil(3)).min().map(|(_, known)| known)
}
