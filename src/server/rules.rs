//! By which rules a server serves: its limits of the moment, and how it turns requests away.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response};
use tokio::sync::watch;

use super::limits::Limits;
use super::rejection::{Reject, Rejection};
use crate::telemetry::Metrics;

/// By which rules a server serves.
#[derive(Clone)]
pub struct Rules {
    /// Its limits. What changes is for connections that come later; the number of connections holds at once.
    pub limits: watch::Receiver<Limits>,
    /// How it says that it turns a request away.
    pub reject: Reject,
    /// Where it says how many connections it has, if anybody is to know.
    pub metrics: Option<Arc<Metrics>>,
}

impl Rules {
    /// Rules that stay as they are, of which callers are told by status and a line of text.
    #[must_use]
    pub fn plain(limits: Limits) -> Self {
        // A receiver keeps the last value when its sender is gone.
        Self { limits: watch::Sender::new(limits).subscribe(), reject: Arc::new(plain), metrics: None }
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self::plain(Limits::default())
    }
}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rules").field("limits", &*self.limits.borrow()).finish_non_exhaustive()
    }
}

fn plain(rejection: Rejection) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(format!("{rejection}\n")));
    *response.status_mut() = rejection.status();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
