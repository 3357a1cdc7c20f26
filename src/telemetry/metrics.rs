//! Every metric there is, on one page: name, help, labels, buckets.
//!
//! Base units, labels from enums only. Refuses ids, paths and any other label that callers could grow. Hit ratio =
//! (hit + stale) / (hit + stale + miss + joined) over `monigate_requests_total`.

use std::time::Duration;

use prometheus::process_collector::ProcessCollector;
use prometheus::{
    GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
};
use prometheus::{Registry, Result};

use super::outcome::Outcome;
use crate::monime::operation::GET_CHECKOUT_SESSION;

/// From a hit in memory (microseconds) to the longest deadline (seconds).
#[rustfmt::skip]
const SECONDS: [f64; 21] = [
    1e-6, 5e-6, 10e-6, 25e-6, 50e-6, 100e-6, 250e-6, 500e-6,
    1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 100e-3, 250e-3, 500e-3,
    1.0, 2.5, 5.0, 10.0,
];

/// What Monime's limits count.
const SCOPES: [&str; 3] = ["endpoint", "token", "space"];
/// What stands in a caller's place that proved to be none: no name has parentheses.
const UNPROVED: &str = "(none)";
/// The words for how reading a changed secret or configuration came out.
const RELOAD_RESULTS: [&str; 2] = ["ok", "failed"];

/// What nearly every request counts in: looked up once, not by three strings each time.
#[derive(Debug)]
struct Series {
    counts: IntCounter,
    seconds: Histogram,
}

/// The metrics of one gateway.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    request_seconds: HistogramVec,
    hits: Series,
    misses: Series,
    lookups: Series,
    waits: [Histogram; SCOPES.len()],
    upstream_requests: IntCounterVec,
    upstream_seconds: HistogramVec,
    upstream_answers: IntCounterVec,
    upstream_retries: IntCounterVec,
    caller_requests: IntCounterVec,
    writes: IntCounterVec,
    config_reloads: IntCounterVec,
    secret_reloads: IntCounterVec,
    jwks_reloads: IntCounterVec,
    tls_reloads: IntCounterVec,
    /// `monigate_cache_entries`.
    pub cache_entries: IntGauge,
    /// `monigate_cache_weight_bytes`.
    pub cache_weight: IntGauge,
    /// `monigate_cache_evictions_total`.
    pub cache_evictions: IntCounter,
    /// `monigate_flights`.
    pub flights: IntGauge,
    /// `monigate_status_regressions_total`.
    pub status_regressions: IntCounter,
    /// `monigate_budget_waiting`.
    pub budget_waiting: IntGauge,
    budget_refusals: IntCounterVec,
    budget_share: GaugeVec,
    budget_paused: IntGaugeVec,
    upstream_throttled: IntCounterVec,
    /// `monigate_breaker_state`.
    pub breaker_state: IntGauge,
    /// `monigate_connections`.
    pub connections: IntGauge,
    /// `monigate_tasks`.
    pub tasks: IntGauge,
}

impl Metrics {
    /// Registers every metric in a registry of its own.
    ///
    /// # Errors
    /// When a name is registered twice or malformed, which a test of this file excludes.
    #[rustfmt::skip]
    pub fn new() -> Result<Self> {
        let registry = Registry::new();
        let r = &registry;
        let requests = counters(r, "monigate_requests_total", "Requests by operation, status code and how the caller was served.", &["operation", "code", "outcome"])?;
        let request_seconds = histograms(r, "monigate_request_duration_seconds", "Time from a request's head to its answer's head.", &["operation", "outcome"])?;
        let upstream_requests = counters(r, "monigate_upstream_requests_total", "Requests sent to Monime by operation and status code, or the kind of failure.", &["operation", "code"])?;
        let upstream_seconds = histograms(r, "monigate_upstream_request_duration_seconds", "Time from a request to Monime to the last byte of its answer, or to its head where it is passed on.", &["operation"])?;
        let budget_wait = histograms(r, "monigate_budget_wait_seconds", "Time that a request to Monime waited for its turn, by the scope that decided it.", &["scope"])?;
        let metrics = Self {
            lookups: Series { counts: upstream_requests.with_label_values(&[GET_CHECKOUT_SESSION, "200"]), seconds: upstream_seconds.with_label_values(&[GET_CHECKOUT_SESSION]) },
            waits: SCOPES.map(|scope| budget_wait.with_label_values(&[scope])),
            hits: Series { counts: requests.with_label_values(&[GET_CHECKOUT_SESSION, "200", Outcome::Hit.as_str()]), seconds: request_seconds.with_label_values(&[GET_CHECKOUT_SESSION, Outcome::Hit.as_str()]) },
            misses: Series { counts: requests.with_label_values(&[GET_CHECKOUT_SESSION, "200", Outcome::Miss.as_str()]), seconds: request_seconds.with_label_values(&[GET_CHECKOUT_SESSION, Outcome::Miss.as_str()]) },
            requests,
            request_seconds,
            upstream_requests,
            upstream_seconds,
            upstream_answers: counters(r, "monigate_upstream_answers_total", "Complete answers of Monime by what they mean.", &["verdict"])?,
            upstream_retries: counters(r, "monigate_upstream_retries_total", "Times Monime was to be asked once more for the same lookup, by why.", &["cause"])?,
            caller_requests: counters(r, "monigate_caller_requests_total", "Requests of named callers by how each was served; those that proved no name have `(none)`.", &["caller", "outcome"])?,
            writes: counters(r, "monigate_writes_total", "Writes by what became of them: done, rejected, unknown, not_sent.", &["operation", "outcome"])?,
            config_reloads: counters(r, "monigate_config_reloads_total", "Changed configurations that were taken over (ok) or refused (failed).", &["result"])?,
            secret_reloads: counters(r, "monigate_secret_reloads_total", "Changed secrets that were taken over (ok) or refused (failed).", &["result"])?,
            tls_reloads: counters(r, "monigate_tls_reloads_total", "Changed certificates of the listener that were taken over (ok) or refused (failed).", &["result"])?,
            jwks_reloads: counters(r, "monigate_jwks_reloads_total", "Changed keys for service-account tokens that were taken over (ok) or refused (failed).", &["result"])?,
            cache_entries: gauge(r, "monigate_cache_entries", "Answers kept in memory.")?,
            cache_weight: gauge(r, "monigate_cache_weight_bytes", "What the kept answers cost in memory; bounded by cache.max_size.")?,
            cache_evictions: counter(r, "monigate_cache_evictions_total", "Answers dropped to make room or because their time was over.")?,
            flights: gauge(r, "monigate_flights", "Lookups that are waiting for Monime, each for all of its callers.")?,
            status_regressions: counter(r, "monigate_status_regressions_total", "Times Monime's answer went back behind a kept completed one.")?,
            budget_waiting: gauge(r, "monigate_budget_waiting", "Requests to Monime that wait for their turn.")?,
            budget_refusals: counters(r, "monigate_budget_refusals_total", "Requests to Monime refused because their turn would have come too late, by the scope that decided it.", &["scope"])?,
            budget_share: gauges(r, "monigate_budget_share", "Part of Monime's limit that is asked for, the smallest of each scope.", &["scope"])?,
            budget_paused: int_gauges(r, "monigate_budget_paused", "1 while a 429 of Monime pauses this scope.", &["scope"])?,
            upstream_throttled: counters(r, "monigate_upstream_throttled_total", "429s of Monime by the scope that they name.", &["scope"])?,
            breaker_state: gauge(r, "monigate_breaker_state", "0: Monime is asked, 1: it is tried, 2: it is left alone.")?,
            connections: gauge(r, "monigate_connections", "Open connections of callers; limits.connections is the most.")?,
            tasks: gauge(r, "monigate_tasks", "Tasks of the runtime that have not ended: about one for each connection, lookup and write.")?,
            registry,
        };
        metrics.begin();
        let build = IntGaugeVec::new(Opts::new("monigate_build_info", "Always 1; the version is the label."), &["version"])?;
        metrics.registry.register(Box::new(build.clone()))?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        metrics.registry.register(Box::new(ProcessCollector::for_self()))?;
        Ok(metrics)
    }

    /// Makes series that are there from the start: of a counter that appears with its first failure, no rate shows that
    /// failure.
    fn begin(&self) {
        for scope in SCOPES {
            self.upstream_throttled.with_label_values(&[scope]);
            self.budget_refusals.with_label_values(&[scope]);
        }
        for result in RELOAD_RESULTS {
            self.secret_reloads.with_label_values(&[result]);
            self.jwks_reloads.with_label_values(&[result]);
            self.tls_reloads.with_label_values(&[result]);
            self.config_reloads.with_label_values(&[result]);
        }
    }

    /// Counts one request of a caller. `operation` must come from the table of operations.
    pub fn request(&self, operation: &'static str, code: http::StatusCode, outcome: Outcome, took: Duration) {
        let seconds = took.as_secs_f64();
        let usual = match outcome {
            Outcome::Hit => Some(&self.hits),
            Outcome::Miss => Some(&self.misses),
            Outcome::Stale | Outcome::Joined | Outcome::Pending => None,
            Outcome::Bypass | Outcome::Refused | Outcome::Error => None,
        };
        if let Some(series) = usual.filter(|_| code == http::StatusCode::OK && operation == GET_CHECKOUT_SESSION) {
            return series.count(seconds);
        }
        self.requests.with_label_values(&[operation, code.as_str(), outcome.as_str()]).inc();
        self.request_seconds.with_label_values(&[operation, outcome.as_str()]).observe(seconds);
    }

    /// Counts one request of a named caller; `caller` must come from the configuration, or be none.
    pub fn caller_request(&self, caller: Option<&str>, outcome: Outcome) {
        self.caller_requests.with_label_values(&[caller.unwrap_or(UNPROVED), outcome.as_str()]).inc();
    }

    /// Counts one write. `operation` must come from the table of operations.
    pub fn write(&self, operation: &'static str, outcome: &'static str) {
        self.writes.with_label_values(&[operation, outcome]).inc();
    }

    /// Counts one request to Monime. `code` is a status code or a word for the failure.
    pub fn upstream_request(&self, operation: &'static str, code: &str, took: Duration) {
        let seconds = took.as_secs_f64();
        if code == "200" && operation == GET_CHECKOUT_SESSION {
            return self.lookups.count(seconds);
        }
        self.upstream_requests.with_label_values(&[operation, code]).inc();
        self.upstream_seconds.with_label_values(&[operation]).observe(seconds);
    }

    /// Counts one judged answer of Monime.
    pub fn upstream_answer(&self, verdict: &'static str) {
        self.upstream_answers.with_label_values(&[verdict]).inc();
    }

    /// Counts one decision to ask Monime again.
    pub fn upstream_retry(&self, cause: &'static str) {
        self.upstream_retries.with_label_values(&[cause]).inc();
    }

    /// Counts one turn, and how long it was waited for; `scope` decided how long.
    pub fn budget_waited(&self, scope: &'static str, waited: Duration) {
        let known = SCOPES.iter().zip(&self.waits).find(|(name, _)| **name == scope);
        debug_assert!(known.is_some(), "{scope} is a scope");
        if let Some((_, waits)) = known {
            waits.observe(waited.as_secs_f64());
        }
    }

    /// Counts one turn that would have come too late; `scope` decided that.
    pub fn budget_refused(&self, scope: &'static str) {
        self.budget_refusals.with_label_values(&[scope]).inc();
    }

    /// Notes the share of a scope's limit that is asked for, and whether a 429 pauses it.
    pub fn budget_state(&self, scope: &'static str, share: f64, paused: bool) {
        self.budget_share.with_label_values(&[scope]).set(share);
        self.budget_paused.with_label_values(&[scope]).set(paused.into());
    }

    /// Counts one 429 of Monime's that names this scope.
    pub fn throttled(&self, scope: &'static str) {
        self.upstream_throttled.with_label_values(&[scope]).inc();
    }

    /// Counts one secret that was to change: taken over, or refused.
    pub fn secret_reload(&self, taken_over: bool) {
        self.secret_reloads.with_label_values(&[reloaded(taken_over)]).inc();
    }

    /// Counts one certificate of the listener, with its key and its clients' CA, that was to change: taken over, or
    /// refused.
    pub fn tls_reload(&self, taken_over: bool) {
        self.tls_reloads.with_label_values(&[reloaded(taken_over)]).inc();
    }

    /// Counts one set of keys for service-account tokens that was to change: taken over, or refused.
    pub fn jwks_reload(&self, taken_over: bool) {
        self.jwks_reloads.with_label_values(&[reloaded(taken_over)]).inc();
    }

    /// Counts one configuration that was to change: taken over, or refused.
    pub fn config_reload(&self, taken_over: bool) {
        self.config_reloads.with_label_values(&[reloaded(taken_over)]).inc();
    }

    /// The registry, for whoever writes it out.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }
}

// === impl Series ===

impl Series {
    fn count(&self, seconds: f64) {
        self.counts.inc();
        self.seconds.observe(seconds);
    }
}

fn reloaded(taken_over: bool) -> &'static str {
    let [ok, failed] = RELOAD_RESULTS;
    if taken_over { ok } else { failed }
}

fn counter(registry: &Registry, name: &str, help: &str) -> Result<IntCounter> {
    let counter = IntCounter::new(name, help)?;
    registry.register(Box::new(counter.clone())).map(|()| counter)
}

fn gauge(registry: &Registry, name: &str, help: &str) -> Result<IntGauge> {
    let gauge = IntGauge::new(name, help)?;
    registry.register(Box::new(gauge.clone())).map(|()| gauge)
}

fn gauges(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> Result<GaugeVec> {
    let gauges = GaugeVec::new(Opts::new(name, help), labels)?;
    registry.register(Box::new(gauges.clone())).map(|()| gauges)
}

fn int_gauges(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec> {
    let gauges = IntGaugeVec::new(Opts::new(name, help), labels)?;
    registry.register(Box::new(gauges.clone())).map(|()| gauges)
}

fn counters(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec> {
    let counters = IntCounterVec::new(Opts::new(name, help), labels)?;
    registry.register(Box::new(counters.clone())).map(|()| counters)
}

fn histograms(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> Result<HistogramVec> {
    let histograms = HistogramVec::new(HistogramOpts::new(name, help).buckets(SECONDS.to_vec()), labels)?;
    registry.register(Box::new(histograms.clone())).map(|()| histograms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_has_our_prefix_a_unit_and_a_help() {
        let metrics = Metrics::new().unwrap();
        metrics.request("GetCheckoutSession", http::StatusCode::NOT_FOUND, Outcome::Miss, Duration::from_millis(3));
        metrics.upstream_request("GetCheckoutSession", "404", Duration::from_millis(2));
        metrics.upstream_answer("absent");
        metrics.upstream_retry("503");
        for family in metrics.registry().gather() {
            let name = family.name();
            assert!(name.starts_with("monigate_") || name.starts_with("process_"), "{name}");
            assert!(!family.help().is_empty(), "{name}");
        }
    }

    #[test]
    fn a_hit_counts_in_the_same_series_as_everything_else() {
        let metrics = Metrics::new().unwrap();
        metrics.request(GET_CHECKOUT_SESSION, http::StatusCode::OK, Outcome::Hit, Duration::from_micros(7));
        metrics.request(GET_CHECKOUT_SESSION, http::StatusCode::NOT_MODIFIED, Outcome::Hit, Duration::from_micros(7));
        assert_eq!(metrics.requests.with_label_values(&[GET_CHECKOUT_SESSION, "200", "hit"]).get(), 1);
        assert_eq!(metrics.requests.with_label_values(&[GET_CHECKOUT_SESSION, "304", "hit"]).get(), 1);
        assert_eq!(metrics.hits.seconds.get_sample_count(), 2);
    }
}
