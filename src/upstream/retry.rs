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

use super::{Failure, Fetch, Reply};
use crate::telemetry::Metrics;

/// The longest wait before each retry, and so how many there are. The wait itself is anything between nothing and this,
/// so that those who failed together do not come back together.
const WAITS: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(200)];
/// Who says with a 503 to come back later than this many seconds is not waited for.
const LONGEST_RETRY_AFTER: u64 = 2;

/// Over how long retries are held against lookups.
const BUDGET_WINDOW: Duration = Duration::from_secs(10);
/// Retries a second that are always there, for a gateway that is asked little.
const BUDGET_FLOOR: u32 = 1;
/// Retries per lookup.
const BUDGET_SHARE: f32 = 0.1;

/// Repeats a lookup that failed in passing. Clones share the budget.
#[derive(Debug, Clone)]
pub(super) struct Retry<S> {
    inner: S,
    budget: Arc<TpsBudget>,
    metrics: Arc<Metrics>,
}

/// Why Monime is asked again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    Unreachable,
    BadGateway,
    Unavailable,
    GatewayTimeout,
    Throttled,
}

impl<S> Retry<S> {
    pub(super) fn new(inner: S, metrics: Arc<Metrics>) -> Self {
        let budget = Arc::new(TpsBudget::new(BUDGET_WINDOW, BUDGET_FLOOR, BUDGET_SHARE));
        Self { inner, budget, metrics }
    }
}

impl<S> Service<Fetch> for Retry<S>
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
        let first = self.inner.call(fetch.clone());
        let Self { inner, budget, metrics } = self.clone();
        Box::pin(async move {
            budget.deposit();
            let mut answered = first.await;
            for longest in WAITS {
                let Some((cause, wait)) = again(&answered, longest).filter(|_| budget.withdraw()) else { break };
                metrics.upstream_retry(cause.as_str());
                tracing::debug!(cause = cause.as_str(), wait_ms = wait.as_millis(), "Monime is asked again");
                sleep(wait).await;
                match inner.clone().oneshot(fetch.clone()).await {
                    // That we would not ask again says less than what we know already.
                    Err(Failure::Exhausted { .. } | Failure::Open { .. }) => break,
                    newer => answered = newer,
                }
            }
            answered
        })
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

/// The wait that a 503 asks for; none where it is too long, or a date, which is rarely for a wait as short as ours.
fn asked_for(reply: &Reply) -> Option<Duration> {
    let Some(said) = reply.headers.get(RETRY_AFTER) else { return Some(Duration::ZERO) };
    let seconds = said.to_str().ok()?.parse().ok()?;
    (seconds <= LONGEST_RETRY_AFTER).then(|| Duration::from_secs(seconds))
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
        }
    }
}

#[cfg(test)]
mod tests;
