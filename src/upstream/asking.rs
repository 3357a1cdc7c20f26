//! What the layers on the way to Monime need to know of a request and of its answer, whatever kind they are.

use http::{HeaderMap, Response, StatusCode};
use tokio::time::Instant;

use super::{Fetch, Forward, Interest, Reply, Stage};
use crate::monime::SpaceId;
use crate::monime::operation::GET_CHECKOUT_SESSION;

/// How many times shorter than others a session may wait that was just read. The rest of the line is for those that were
/// not, or chance would decide which of many sessions are ever read.
const EARLY_DIVISOR: u32 = 4;

/// A request's wait for its turn.
#[derive(Debug, Clone)]
pub struct Waiting {
    /// On whose behalf.
    pub interest: Interest,
    /// Where it stands, for whoever waits for it.
    pub stage: Stage,
    /// When the request was made; how long it may take counts from here.
    pub began: Instant,
}

/// A request on its way to Monime.
pub(super) trait Asks {
    /// Its `operationId`.
    fn operation(&self) -> &'static str;
    /// The space it is for.
    fn space(&self) -> &SpaceId;
    /// Its wait for its turn.
    fn waiting(&self) -> &Waiting;
    /// Whether how it comes out tells of Monime's health.
    fn teaches(&self) -> bool;
    /// How many times shorter than others it may wait.
    fn haste(&self) -> u32;
}

/// What came back.
pub(super) trait Answers {
    /// Its status.
    fn status(&self) -> StatusCode;
    /// Its headers.
    fn headers(&self) -> &HeaderMap;
}

impl Waiting {
    /// One that begins now.
    #[must_use]
    pub fn on_behalf_of(interest: Interest) -> Self {
        Self { interest, stage: Stage::default(), began: Instant::now() }
    }
}

impl Asks for Fetch {
    fn operation(&self) -> &'static str {
        GET_CHECKOUT_SESSION
    }

    fn space(&self) -> &SpaceId {
        &self.key.space
    }

    fn waiting(&self) -> &Waiting {
        &self.waiting
    }

    fn teaches(&self) -> bool {
        // The same cheap question, whoever asks, and nobody can take it back once it was sent.
        true
    }

    fn haste(&self) -> u32 {
        if self.early { EARLY_DIVISOR } else { 1 }
    }
}

impl Asks for Forward {
    fn operation(&self) -> &'static str {
        self.operation.id
    }

    fn space(&self) -> &SpaceId {
        &self.space
    }

    fn waiting(&self) -> &Waiting {
        &self.waiting
    }

    fn teaches(&self) -> bool {
        // What one caller makes Monime fail at, gives up, or lets run for a minute must not shut out the others.
        false
    }

    fn haste(&self) -> u32 {
        1
    }
}

impl Answers for Reply {
    fn status(&self) -> StatusCode {
        self.status
    }

    fn headers(&self) -> &HeaderMap {
        &self.headers
    }
}

impl<B> Answers for Response<B> {
    fn status(&self) -> StatusCode {
        self.status()
    }

    fn headers(&self) -> &HeaderMap {
        self.headers()
    }
}
