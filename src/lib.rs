//! monigate: the caching gateway for Monime's checkout sessions.
//!
//! # The map
//! - [`monime`]: Monime's vocabulary; what an answer means is [`monime::verdict`]
//! - [`secret`]: the tokens and a proxy's credentials, each with one exit; whose they are, and their rotation
//! - [`telemetry`]: every metric on one page, logs
//! - [`server`]: sockets in, answered connections out; knows nothing of Monime
//! - [`caller`]: who asks, and what they may ask for
//! - [`upstream`]: one fixed origin; a typed key in, one reply or one failure out
//! - [`lookup`]: the store and the flights: what became of this session?
//! - [`gateway`]: the HTTP face, one stack in one expression
//! - [`admin`]: health, metrics, configuration, purge
//! - [`config`]: what the operator wrote, and what the program needs
//! - `assembly`: a gateway put together from its configuration, and anew when that changes
//! - [`sandbox`]: a stand-in Monime, for the demo, the tests and the benches
//!
//! # The life of a request
//! [`server`] accepts and reads it; [`gateway`] understands it and looks into the memory of [`lookup`]. A fresh answer
//! is told at once. Otherwise the request joins the flight that is already asking Monime for this key, or starts one:
//! [`upstream`] builds a request from the key, adds the token, reads the reply; [`monime::verdict`] judges it; the
//! store keeps it if it is final; everyone who waited is told.
//!
//! # The import rule
//! `monime` → `telemetry` → `secret` → `server` → `caller, upstream` → `lookup` → `gateway, admin` → `config` → `assembly`
//! → this file → `cli` → `main`; `sandbox` knows `monime` and `server`. Nobody imports against the arrows; a test proves it.

pub mod admin;
mod assembly;
pub mod caller;
pub mod config;
pub mod gateway;
pub mod lookup;
pub mod monime;
pub mod sandbox;
pub mod secret;
pub mod server;
pub mod telemetry;
pub mod upstream;

use std::convert::Infallible;
use std::future::{Future, pending};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;

use admin::{Admin, AdminService, Operated, Readiness};
use assembly::Current;
use config::{Config, Problems};
use server::tls::InvalidTls;
use server::{Address, HttpService, Listener, Replaceable, Rules, Tls, WithoutFastPath};
use telemetry::Metrics;

pub use assembly::{CannotAssemble, Parts};

/// How often secrets are looked at again. Old and new tokens are both good for minutes at least, and orchestrators take
/// up to one to bring a file; sooner than this it is only a 401 or the operator who knows that a token has changed.
const LOOK_AT_SECRETS: Duration = Duration::from_secs(5);

/// The permissions of the admin listener's file, if it is a Unix socket: who runs the gateway operates it.
const ADMIN_SOCKET_MODE: u32 = 0o600;

/// Newer configurations as they are asked for, each read and judged already. Once its sender is gone there are no more.
pub type Reloads = mpsc::Receiver<Result<Config, Problems>>;

/// A gateway that has its sockets and is ready to serve.
#[derive(Debug)]
pub struct Monigate {
    listener: Listener,
    admin_listener: Listener,
    tls: Option<Tls>,
    parts: Parts,
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
    /// The files of `listen.tls` have changed for the worse since the configuration was read.
    #[error("listen.tls: {0}\n    fix: {fix}", fix = .0.fix())]
    Tls(#[from] InvalidTls),
    /// A part of it cannot be made.
    #[error(transparent)]
    Assemble(#[from] CannotAssemble),
}

/// How serving ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Every request that was accepted was answered.
    Drained,
    /// Some connections were still busy at the end of `shutdown.timeout`.
    CutOff,
}

// === impl Monigate ===

impl Monigate {
    /// Takes the sockets. From here on connections queue, but nobody answers until [`Monigate::serve`].
    ///
    /// # Errors
    /// [`CannotStart`], which names the configuration key.
    pub async fn bind(config: Config) -> Result<Self, CannotStart> {
        let (listen, admin) = (config.listen.clone(), config.admin.address.clone());
        for warning in config.warnings() {
            tracing::warn!("{warning}");
        }
        let parts = Parts::assemble(config)?;
        let tls = listen.tls.map(Tls::new).transpose()?.map(|tls| tls.counting(Arc::clone(&parts.metrics)));
        let listener = bind("listen.address", listen.address, listen.socket_mode).await?;
        let listener = match &tls {
            Some(tls) => listener.with_tls(tls.clone()),
            None => listener,
        };
        let admin_listener = bind("admin.address", admin, ADMIN_SOCKET_MODE).await?;
        Ok(Self { listener, admin_listener, tls, parts })
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

    /// The writes under way, for whoever drops [`Monigate::serve`] and wants each to have its line of the audit.
    #[must_use]
    pub fn writes(&self) -> gateway::Writes {
        self.parts.terms.writes.clone()
    }

    /// Serves until `stop` resolves, then drains: readiness fails, `shutdown.delay` passes while it still accepts,
    /// the listener closes, connections finish, at the latest after `shutdown.timeout`. The admin listener answers
    /// to the end. Dropping the future ends everything at once.
    ///
    /// Each of `reloads` is taken on as a whole or refused as a whole, with its reasons in the log.
    pub async fn serve(self, stop: impl Future<Output = ()>, reloads: Reloads) -> Ended {
        let Self { listener, admin_listener, tls, parts } = self;
        tracing::info!(version = env!("CARGO_PKG_VERSION"), address = %listener.address(),
            admin = %admin_listener.address(), "serving");
        let readiness = Readiness::default();
        let service = Replaceable::new(stack(&parts));
        let writes = parts.terms.writes.clone();
        let (metrics, tend) = (Arc::clone(&parts.metrics), parts.lookups.memory().clone().tend());
        let current = Arc::new(Current::new(parts, tls));
        let (rules, admin_rules) = rules(&current, &metrics);
        let admin = AdminService::new(Admin {
            local: admin_listener.address().is_local(),
            readiness: readiness.clone(),
            metrics,
            gateway: Arc::clone(&current) as Arc<dyn Operated>,
        });
        readiness.ready();
        let (closing, closed) = oneshot::channel();
        let in_use = Arc::clone(&current);
        let drain = async move {
            stop.await;
            readiness.draining();
            tracing::info!("stopping: no longer ready, finishing what was accepted");
            let shutdown = in_use.shutdown();
            sleep(shutdown.delay).await;
            // The receiver lives in the same `select!` as this future.
            let _ = closing.send(shutdown.timeout);
        };
        let ended = {
            let requests = pin!(async {
                server::serve(listener, service.clone(), rules, drain).await;
                // Those whose callers have left are nobody's connection.
                writes.ended().await;
            });
            // None of the three ends by itself.
            let beside = async {
                let operators = server::serve(admin_listener, WithoutFastPath::new(admin), admin_rules, pending());
                let changes = follow(&current, reloads, |parts| service.replace(stack(parts)));
                tokio::join!(tend, changes, current.follow_keys(), operators).0
            };
            tokio::select! {
                () = requests => Ended::Drained,
                () = hard_limit(closed) => Ended::CutOff,
                never = beside => match never {},
            }
        };
        // Nobody is connected any more; what was under way still has its line of the audit.
        writes.cut_off().await;
        match ended {
            Ended::Drained => tracing::info!("stopped; every accepted request was answered"),
            Ended::CutOff => tracing::warn!("stopped at shutdown.timeout with connections still busy"),
        }
        ended
    }
}

/// Resolves when the drain has taken as long as it may, which it is told as it begins.
async fn hard_limit(closed: oneshot::Receiver<Duration>) {
    match closed.await {
        Ok(timeout) => sleep(timeout).await,
        // Without a sender there is nothing to limit.
        Err(_) => pending().await,
    }
}

async fn bind(key: &'static str, address: Address, socket_mode: u32) -> Result<Listener, CannotStart> {
    Listener::bind(&address, Some(socket_mode)).await.map_err(|source| CannotStart::Listen { key, address, source })
}

/// What callers are served by.
fn stack(parts: &Parts) -> impl HttpService + use<> {
    gateway::gateway(parts.lookups.clone(), parts.forwards.clone(), parts.terms.clone(), Arc::clone(&parts.metrics))
}

/// By which rules services are served, and by which operators.
fn rules(current: &Arc<Current>, metrics: &Arc<Metrics>) -> (Rules, Rules) {
    let (listener_limits, in_use) = (current.listener_limits(), Arc::clone(current));
    let reject = gateway::reject(Arc::clone(metrics), move || in_use.names_callers());
    let services = Rules { limits: listener_limits.of_services(), reject, metrics: Some(Arc::clone(metrics)) };
    (services, Rules { limits: listener_limits.of_operators(), reject: admin::reject(), metrics: None })
}

/// Keeps up with secrets that change and with newer configurations; `serve` is to serve with the parts of each.
async fn follow(current: &Current, mut reloads: Reloads, serve: impl Fn(&Parts)) -> Infallible {
    loop {
        let routine = async {
            sleep(LOOK_AT_SECRETS).await;
            current.look().await;
        };
        tokio::select! {
            () = routine => {}
            Some(loaded) = reloads.recv() => current.reload(loaded, &serve).await,
        }
    }
}
