//! What lookups promise, held to it by a scripted Monime on a paused clock: one flight for a crowd, a store that only
//! current flights write, a final answer that never goes back, and nobody left waiting.

mod flights;
mod keeping;
mod model;
mod purging;
pub(crate) mod scripted;
mod settled;
mod stale;

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{advance, timeout};

use super::*;
use crate::monime::{Final, Verdict};
use crate::telemetry::Metrics;
use scripted::{Monime, Said, key, key_in, limits, metric, never_stale, ttl};

type Asking = Pin<Box<dyn Future<Output = Result<Told, Arc<Error>>> + Send>>;

/// Lookups in front of a scripted Monime.
struct Memory {
    monime: Monime,
    metrics: Arc<Metrics>,
    lookups: Lookups<Monime>,
}

impl Memory {
    fn of(monime: Monime, ttl: Ttl) -> Self {
        Self::lasting(monime, never_stale(ttl))
    }

    fn lasting(monime: Monime, lifetimes: Lifetimes) -> Self {
        let metrics = Arc::new(Metrics::new().unwrap());
        let lookups =
            Lookups::new(monime.clone(), super::Memory::new(limits(1 << 20), Arc::clone(&metrics)), lifetimes);
        Self { monime, metrics, lookups }
    }

    fn silent() -> Self {
        Self::of(Monime::silent(), ttl())
    }

    fn ask(&self, key: &Key) -> Asking {
        patient(self.lookups.ask(key.clone(), Line::default(), false))
    }

    fn refresh(&self, key: &Key) -> Asking {
        patient(self.lookups.ask(key.clone(), Line::default(), true))
    }

    /// The status that memory holds for `key`, as a word.
    fn kept(&self, key: &Key) -> Option<&'static str> {
        self.lookups.recall(key.as_ref(), Instant::now()).map(|answer| {
            let Verdict::Final(settled) = answer.verdict() else { return answer.verdict().as_str() };
            settled.as_str()
        })
    }

    /// Brings `key` into memory in this status.
    async fn keep(&self, key: &Key, status: &'static str) {
        self.monime.says(move |key| Said::session(key, status));
        self.refresh(key).await.unwrap();
        assert_eq!(self.kept(key), Some(status));
    }

    /// What a refresh of `key` is told when Monime says so, and what memory holds then.
    async fn refreshed(
        &self,
        key: &Key,
        said: impl Fn(&Key) -> Said + Send + Sync + 'static,
    ) -> (Outcome, Verdict, Option<&'static str>) {
        self.monime.says(said);
        let told = self.refresh(key).await.unwrap();
        (told.outcome, told.answer.verdict(), self.kept(key))
    }

    /// How many flights are current, and how many under way.
    fn flights(&self) -> (usize, usize) {
        self.lookups.memory().inner().flights.count()
    }

    fn regressions(&self) -> u64 {
        metric(&self.metrics, "monigate_status_regressions_total", &[])
    }
}

/// Waits beyond every reason to: who is never told fails its test instead of hanging it.
fn patient(asking: impl Future<Output = Result<Told, Arc<Error>>> + Send + 'static) -> Asking {
    let told = timeout(Duration::from_secs(7 * 24 * 3600), asking);
    Box::pin(async { told.await.expect("a caller was left waiting") })
}
