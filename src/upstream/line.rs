//! Whose line a request to Monime waits in.

use std::sync::Arc;

/// The line of one caller, by its configured name; or the one line of all who have no names. Lines are served in turn.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Line(Option<Arc<str>>);

impl Line {
    /// The line of the caller of this name.
    #[must_use]
    pub fn of(caller: &Arc<str>) -> Self {
        Self(Some(Arc::clone(caller)))
    }

    /// Whether it is a caller's own.
    #[must_use]
    pub fn is_named(&self) -> bool {
        self.0.is_some()
    }
}
