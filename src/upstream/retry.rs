//! A layer that asks Monime again where that may help: at most twice, after a random wait, inside the total deadline.
//!
//! Owns what is worth a retry and how many there may be. Refuses to make an outage worse: all retries together stay
//! within a tenth of what is looked up, plus one a second. Each one passes everything below anew, its own turn included.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::StatusCode;
use http::header::RETRY_AFTER;
use tokio::time::sleep;
use tower::retry::budget::{Budget, TpsBudget};
use tower::{Service, ServiceExt};

use super::{Failure, Fetch, Reply, retry_after};
use crate::secret::Keyring;
use crate::telemetry::Metrics;

/// The longest wait before each retry, and so how many there are. The wait itself is anything between nothing and this,
/// so that those who failed together do not come back together.
const WAITS: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(200)];
/// Who says with a 503 to come back later than this is not waited for.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(2);

/// Over how long retries are held against lookups.
const BUDGET_WINDOW: Duration = Duration::from_secs(10);
/// Retries a second that are always there, for a gateway that is asked little.
const BUDGET_FLOOR: u32 = 1;
/// Retries per lookup.
const BUDGET_SHARE: f32 = 0.1;

/// Repeats a lookup that failed in passing.
#[derive(Debug, Clone)]
pub(super) struct Retry<S> {
    inner: S,
    keyring: Arc<Keyring>,
    budget: RetryBudget,
    metrics: Arc<Metrics>,
}

/// How many retries there may be. Clones share it.
#[derive(Debug, Clone)]
pub struct RetryBudget(Arc<TpsBudget>);

impl Default for RetryBudget {
    fn default() -> Self {
        Self(Arc::new(TpsBudget::new(BUDGET_WINDOW, BUDGET_FLOOR, BUDGET_SHARE)))
    }
}

/// Why Monime is asked again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    Unreachable,
    BadGateway,
    Unavailable,
    GatewayTimeout,
    Throttled,
    Credentials,
}

impl<S> Retry<S> {
    pub(super) fn new(inner: S, keyring: Arc<Keyring>, budget: RetryBudget, metrics: Arc<Metrics>) -> Self {
        Self { inner, keyring, budget, metrics }
    }
}

impl<S> Service<Fetch> for Retry<S>
where
    S: Service<Fetch, Response = Reply, Error = Failure> + Clone + Send + Sync + 'static,
    S::Future: Send,
{
    type Response = Reply;
    type Error = Failure;
    type Future = BoxFuture<'static, Result<Reply, Failure>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, fetch: Fetch) -> Self::Future {
        let mut generation = self.keyring.generation(&fetch.key.space);
        let first = self.inner.call(fetch.clone());
        let retry = self.clone();
        Box::pin(async move {
            retry.budget.0.deposit();
            let mut answered = first.await;
            for longest in WAITS {
                let Some((cause, wait)) = retry.reason(&answered, &fetch, generation, longest).await else { break };
                retry.metrics.upstream_retry(cause.as_str());
                tracing::debug!(cause = cause.as_str(), wait_ms = wait.as_millis(), "Monime is asked again");
                // If nobody waits any more, this is where it ends.
                fetch.waiting.stage.waits();
                sleep(wait).await;
                generation = retry.keyring.generation(&fetch.key.space);
                match retry.inner.clone().oneshot(fetch.clone()).await {
                    // That we would not ask again says less than what we know already; but for a 401 to a token that is
                    // not in use any more.
                    Err(Failure::Exhausted { .. } | Failure::Open { .. }) if cause != Cause::Credentials => break,
                    newer => answered = newer,
                }
            }
            answered
        })
    }
}

impl<S> Retry<S> {
    /// Why and after how long to ask again; none where that would not help, or there have been too many.
    async fn reason(
        &self,
        answered: &Result<Reply, Failure>,
        fetch: &Fetch,
        generation: u64,
        longest: Duration,
    ) -> Option<(Cause, Duration)> {
        if let Ok(reply) = answered
            && reply.status == StatusCode::UNAUTHORIZED
        {
            // Out of no budget: it takes a new token each time.
            let space = &fetch.key.space;
            self.keyring.reread(space).await;
            return (self.keyring.generation(space) != generation).then_some((Cause::Credentials, Duration::ZERO));
        }
        again(answered, longest).filter(|_| self.budget.0.withdraw())
    }
}

/// Why and after how long to ask again; none where that would not help.
fn again(answered: &Result<Reply, Failure>, longest: Duration) -> Option<(Cause, Duration)> {
    let jitter = longest.mul_f64(fastrand::f64());
    match answered {
        Ok(reply) => match reply.status {
            StatusCode::BAD_GATEWAY => Some((Cause::BadGateway, jitter)),
            StatusCode::SERVICE_UNAVAILABLE => Some((Cause::Unavailable, asked_for(reply)? + jitter)),
            StatusCode::GATEWAY_TIMEOUT => Some((Cause::GatewayTimeout, jitter)),
            // How long to wait is decided below, for all lookups at once.
            StatusCode::TOO_MANY_REQUESTS => Some((Cause::Throttled, Duration::ZERO)),
            _ => None,
        },
        Err(failure) => failure.is_worth_a_retry().then_some((Cause::Unreachable, jitter)),
    }
}

/// The wait that a 503 asks for; none where it is too long, or cannot be understood.
fn asked_for(reply: &Reply) -> Option<Duration> {
    if !reply.headers.contains_key(RETRY_AFTER) {
        return Some(Duration::ZERO);
    }
    retry_after(&reply.headers).filter(|wait| *wait <= LONGEST_RETRY_AFTER)
}

impl Cause {
    /// The word for logs and for the `cause` label of `monigate_upstream_retries_total`.
    fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::BadGateway => "502",
            Self::Unavailable => "503",
            Self::GatewayTimeout => "504",
            Self::Throttled => "429",
            Self::Credentials => "credentials",
        }
    }
}

#[cfg(test)]
mod tests;
