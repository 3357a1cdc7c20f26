//! What the layers of the stack hand up: an answer, and how it came about.

use std::sync::Arc;

use http::Response;

use super::body::Body;
use crate::lookup;
use crate::monime::SpaceId;
use crate::telemetry::Outcome;

/// An answer and how it came about.
#[derive(Debug)]
pub(super) struct Served {
    pub(super) response: Response<Body>,
    pub(super) outcome: Outcome,
    pub(super) operation: &'static str,
    /// What went wrong, where something did.
    pub(super) failure: Option<Failed>,
}

/// What went wrong, for the log.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) reason: &'static str,
    pub(super) cause: Option<Arc<lookup::Error>>,
    /// The space that it named, if it is one of the gateway's; for the audit.
    pub(super) space: Option<SpaceId>,
}
