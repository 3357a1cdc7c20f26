//! A layer that lets nothing go to Monime before its turn, and nothing at all while Monime is down.
//!
//! Owns waiting; when a turn comes and whether Monime is well is known by two pure state machines behind one `Gate`. Every
//! attempt passes it, also one that is made again. Refuses at once where waiting would not help: a turn that would come
//! too late for its answer, and an open breaker.

mod breaker;
pub(super) mod budget;
mod gate;

use std::future::ready;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tower::Service;

use super::{Failure, Fetch, Reply};
use crate::monime::operation::GET_CHECKOUT_SESSION;
use budget::Places;
pub use gate::{Gate, Quota};

use crate::secret::Keyring;

/// The part of the line that is open to a session that was just read. The rest is for those that were not, or chance
/// would decide which of many sessions are ever read.
const HEAD: u32 = 4;

/// Gives each attempt its turn.
#[derive(Debug, Clone)]
pub(super) struct Admission<S> {
    inner: S,
    gate: Gate,
    keyring: Arc<Keyring>,
    quota: Quota,
    /// How long after a fetch began its turn may come.
    patience: Duration,
}

impl<S> Admission<S> {
    /// Admits through `gate` what gets its turn within `patience` of its beginning, at the rates that `quota` grants the
    /// kind of token that `keyring` has for it.
    pub(super) fn new(inner: S, gate: Gate, keyring: Arc<Keyring>, quota: Quota, patience: Duration) -> Self {
        Self { inner, gate, keyring, quota, patience }
    }
}

impl<S> Service<Fetch> for Admission<S>
where
    S: Service<Fetch, Response = Reply, Error = Failure> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Reply;
    type Error = Failure;
    type Future = BoxFuture<'static, Result<Reply, Failure>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, fetch: Fetch) -> Self::Future {
        let space = &fetch.key.space;
        let rates = self.quota.rates(self.keyring.kind(space));
        let Some(token) = self.keyring.source_name(space) else {
            return Box::pin(ready(Err(Failure::NoToken)));
        };
        let places = Places { token, operation: GET_CHECKOUT_SESSION, space: space.clone() };
        let latest = fetch.began + if fetch.early { self.patience / HEAD } else { self.patience };
        let (gate, mut inner) = (self.gate.clone(), self.inner.clone());
        Box::pin(async move {
            fetch.stage.waits();
            let turn = gate.turn(places, &fetch.interest, rates, latest).await?;
            fetch.stage.sends();
            let result = inner.call(fetch).await;
            turn.ended(&result);
            result
        })
    }
}

#[cfg(test)]
mod tests;
