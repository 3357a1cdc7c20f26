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

use super::Failure;
use super::asking::{Answers, Asks};
use budget::Places;
pub use gate::{Gate, Quota};

use crate::secret::Keyring;

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

impl<S, R> Service<R> for Admission<S>
where
    S: Service<R, Error = Failure> + Clone + Send + 'static,
    S::Response: Answers + Send,
    S::Future: Send,
    R: Asks + Send + 'static,
{
    type Response = S::Response;
    type Error = Failure;
    type Future = BoxFuture<'static, Result<S::Response, Failure>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let space = request.space();
        let rates = self.quota.rates(self.keyring.kind(space));
        let Some(token) = self.keyring.source_name(space) else {
            return Box::pin(ready(Err(Failure::NoToken)));
        };
        let places = Places { token, operation: request.operation(), space: space.clone() };
        let waiting = request.waiting().clone();
        let latest = waiting.began + self.patience / request.haste();
        let (gate, mut inner) = (self.gate.clone(), self.inner.clone());
        Box::pin(async move {
            waiting.stage.waits();
            let turn = gate.turn(places, &waiting.interest, rates, latest, request.teaches()).await?;
            waiting.stage.sends();
            let result = inner.call(request).await;
            turn.ended(&result);
            result
        })
    }
}

#[cfg(test)]
mod tests;
