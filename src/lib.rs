//! monigate: the caching gateway for Monime's checkout sessions.
//!
//! # The map
//! - [`monime`]: Monime's vocabulary; what an answer means is [`monime::verdict`]
//! - [`secret`]: the token, with one exit
//! - [`telemetry`]: every metric on one page, logs
//! - [`server`]: sockets in, answered connections out; knows nothing of Monime
//! - [`upstream`]: one fixed origin; a typed key in, one reply or one failure out
//! - [`lookup`]: the store and the flights: what became of this session?
//! - [`gateway`]: the HTTP face, one stack in one expression
//! - [`admin`]: health, metrics, configuration, purge
//! - [`config`]: what the operator wrote, and what the program needs
//! - [`sandbox`]: a stand-in Monime, for the demo, the tests and the benches
//!
//! # The life of a request
//! [`server`] accepts and reads it; [`gateway`] understands it and looks into the memory of [`lookup`]. A fresh answer
//! is told at once. Otherwise the request joins the flight that is already asking Monime for this key, or starts one:
//! [`upstream`] builds a request from the key, adds the token, reads the reply; [`monime::verdict`] judges it; the
//! store keeps it if it is final; everyone who waited is told.
//!
//! # The import rule
//! `monime` → `secret, telemetry` → `server, upstream` → `lookup` → `gateway, admin` → `config` → this file → `cli` →
//! `main`; `sandbox` knows `monime` and `server`. Nobody imports against the arrows; a test proves it.

pub mod admin;
pub mod config;
pub mod gateway;
pub mod lookup;
pub mod monime;
pub mod sandbox;
pub mod secret;
pub mod server;
pub mod telemetry;
pub mod upstream;

use std::future::{Future, pending};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::sleep;

use admin::{Admin, AdminService, Memory, Readiness};
use config::{Config, Shutdown};
use gateway::Terms;
use lookup::{Lookups, Purge};
use monime::TokenKind;
use server::{Address, Listener, Times};
use telemetry::Metrics;
use upstream::{Client, Upstream};

/// How often memory is swept: often enough that what is gone does not stay, seldom enough to cost nothing.
const SWEEP: Duration = Duration::from_secs(1);

/// A gateway that has its sockets and is ready to serve.
#[derive(Debug)]
pub struct Monigate {
    listener: Listener,
    admin_listener: Listener,
    parts: Parts,
    shutdown: Shutdown,
}

/// What a gateway is made of, without sockets: enough to look something up.
#[derive(Debug, Clone)]
pub struct Parts {
    /// The memory, and the way to Monime behind it.
    pub lookups: Lookups<Upstream>,
    /// What callers may ask for.
    pub terms: Terms,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    config: Arc<config::Effective>,
}

/// Why it cannot start, though its configuration is in order.
#[derive(Debug, thiserror::Error)]
pub enum CannotStart {
    /// An address is not to be had.
    #[error("{key}: cannot listen on {address}: {source}\n    fix: end what uses it, or set {key} to another address")]
    Listen {
        /// The configuration key.
        key: &'static str,
        /// What it says.
        address: Address,
        /// What the operating system says.
        source: io::Error,
    },
    /// The client to Monime cannot be made.
    #[error(transparent)]
    Client(#[from] upstream::NoClient),
    /// The metrics cannot be registered, which is a bug.
    #[error("metrics: {0}")]
    Metrics(String),
}

/// How serving ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Every request that was accepted was answered.
    Drained,
    /// Some connections were still busy at the end of `shutdown.timeout`.
    CutOff,
}

// === impl Parts ===

impl Parts {
    /// Puts a gateway together. Opens no connection yet.
    ///
    /// # Errors
    /// [`CannotStart`] when the private CA or the metrics cannot be used.
    pub fn assemble(config: Config) -> Result<Self, CannotStart> {
        let Config { monime, cache, max_in_flight, effective, .. } = config;
        let metrics = Arc::new(Metrics::new().map_err(|error| CannotStart::Metrics(error.to_string()))?);
        let token = Arc::new(monime.token);
        warn_about(token.kind());
        let rate = monime::endpoint_rate(token.kind());
        if let Some(proxy) = &monime.way.proxy {
            tracing::info!(%proxy, source = monime.way.source, "Monime is asked through a proxy");
        }
        let (ca_pem, connect) = (monime.ca_pem.as_deref(), monime.timeouts.connect);
        let client = Client::new(monime.origin, ca_pem, connect, monime.way.proxy)?;
        let upstream = upstream::upstream(client, token, monime.timeouts, Arc::clone(&metrics));
        let limits = lookup::Limits { max_size: cache.max_size, max_flights: max_in_flight, rate };
        let lookups = Lookups::new(upstream, limits, cache.ttl, Arc::clone(&metrics));
        let terms = Terms {
            default_space: monime.default_space,
            spaces: monime.spaces,
            version: monime.version,
            versions: monime.versions,
            callers_may_refresh: cache.callers_may_refresh,
            patience: monime.timeouts.total,
            max_in_flight,
        };
        Ok(Self { lookups, terms, metrics, config: Arc::new(effective) })
    }
}

// === impl Monigate ===

impl Monigate {
    /// Takes the sockets. From here on connections queue, but nobody answers until [`Monigate::serve`].
    ///
    /// # Errors
    /// [`CannotStart`], which names the configuration key.
    pub async fn bind(config: Config) -> Result<Self, CannotStart> {
        let (listen, admin, shutdown) = (config.listen.clone(), config.admin.clone(), config.shutdown);
        let parts = Parts::assemble(config)?;
        let listener = bind("listen.address", listen).await?;
        let admin_listener = bind("admin.address", admin).await?;
        Ok(Self { listener, admin_listener, parts, shutdown })
    }

    /// Where services ask.
    #[must_use]
    pub fn address(&self) -> &Address {
        self.listener.address()
    }

    /// Where operators ask.
    #[must_use]
    pub fn admin_address(&self) -> &Address {
        self.admin_listener.address()
    }

    /// Serves until `stop` resolves, then drains: readiness fails, `shutdown.delay` passes while it still accepts,
    /// the listener closes, connections finish, at the latest after `shutdown.timeout`. The admin listener answers
    /// to the end. Dropping the future ends everything at once.
    pub async fn serve(self, stop: impl Future<Output = ()>) -> Ended {
        let Self { listener, admin_listener, parts, shutdown } = self;
        tracing::info!(version = env!("CARGO_PKG_VERSION"), address = %listener.address(),
            admin = %admin_listener.address(), "serving");
        let readiness = Readiness::default();
        let admin = operators_side(&parts, readiness.clone(), admin_listener.address().is_local());
        let service = gateway::gateway(parts.lookups.clone(), parts.terms, parts.metrics);
        readiness.ready();
        let (closing, closed) = oneshot::channel();
        let drain = async move {
            stop.await;
            readiness.draining();
            tracing::info!("stopping: no longer ready, finishing what was accepted");
            sleep(shutdown.delay).await;
            // The receiver lives in the same `select!` as this future.
            let _ = closing.send(());
        };
        let requests = pin!(server::serve(listener, service, Times::default(), drain));
        // Neither of the two ends by itself.
        let beside = async {
            let operators = server::serve(admin_listener, admin, Times::default(), pending());
            tokio::join!(lookup::sweep_every(parts.lookups, SWEEP), operators).0
        };
        let hard_limit = async {
            // Without a sender there is nothing to limit.
            if closed.await.is_err() {
                pending::<()>().await;
            }
            sleep(shutdown.timeout).await;
        };
        let ended = tokio::select! {
            () = requests => Ended::Drained,
            () = hard_limit => Ended::CutOff,
            never = beside => match never {},
        };
        match ended {
            Ended::Drained => tracing::info!("stopped; every accepted request was answered"),
            Ended::CutOff => tracing::warn!("stopped at shutdown.timeout with connections still busy"),
        }
        ended
    }
}

async fn bind(key: &'static str, address: Address) -> Result<Listener, CannotStart> {
    Listener::bind(&address).await.map_err(|source| CannotStart::Listen { key, address, source })
}

fn operators_side(parts: &Parts, readiness: Readiness, local: bool) -> AdminService {
    let memory = Arc::new(OperatorsMemory(parts.lookups.clone()));
    let config = parts.config.to_json().into();
    AdminService::new(Admin { local, readiness, metrics: Arc::clone(&parts.metrics), config, memory })
}

fn warn_about(kind: TokenKind) {
    match kind {
        TokenKind::Live => {}
        TokenKind::Test => tracing::warn!("the token is a test token: Monime's test mode refuses checkout sessions"),
        TokenKind::Other => tracing::warn!("the token does not begin with `mon_`: Monime's test limits are assumed"),
    }
}

/// What the admin listener may do to the lookups.
#[derive(Debug)]
struct OperatorsMemory(Lookups<Upstream>);

impl Memory for OperatorsMemory {
    fn purge(&self, purge: &Purge) -> u64 {
        self.0.purge(purge)
    }

    fn sweep(&self) {
        self.0.sweep();
    }

    fn upstream(&self) -> String {
        match self.0.last_landing() {
            None => "not asked yet".to_owned(),
            Some((word, ago)) => format!("last answer {word}, {} s ago", ago.as_secs()),
        }
    }
}
