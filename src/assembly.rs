//! A gateway put together from its configuration, and put together anew when that changes.
//!
//! Everything that settings shape is built again and swapped in as one piece, around what must outlive it: memory and
//! flights, what was sent to Monime, secrets, connections. Refuses a change that would need another socket or another
//! memory, as a whole.

use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;

use crate::admin::Operated;
use crate::config::{Budget, Config, Effective, Fixed, Problems, Shutdown};
use crate::gateway::{Door, Places, Terms, Writes};
use crate::lookup::{self, Lookups, Memory, Purge};
use crate::monime::TokenKind;
use crate::secret::{Keyring, redact};
use crate::telemetry::{Metrics, log};
use crate::upstream::{self, Client, Forwards, Gate, NoClient, RetryBudget, Shared, Upstream};

/// What a gateway is made of, without sockets: enough to look something up.
#[derive(Debug, Clone)]
pub struct Parts {
    /// The memory, and the way to Monime behind it.
    pub lookups: Lookups<Upstream>,
    /// The way to Monime for what is passed on.
    pub forwards: Forwards,
    /// What callers may ask for.
    pub terms: Terms,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The tokens.
    pub keyring: Arc<Keyring>,
    shutdown: Shutdown,
    shared: Shared,
    client: Client,
    /// Who chose its proxy.
    proxy_source: String,
    budget: Budget,
    fixed: Fixed,
    config: Arc<Effective>,
}

/// What survives a change of settings, of what is not `Shared` with the way to Monime.
struct Kept {
    memory: Memory,
    places: Places,
    writes: Writes,
}

/// Why there can be no gateway, though its configuration is in order.
#[derive(Debug, thiserror::Error)]
pub enum CannotAssemble {
    /// The client to Monime cannot be made.
    #[error(transparent)]
    Client(#[from] NoClient),
    /// The metrics cannot be registered, which is a bug.
    #[error("metrics: {0}")]
    Metrics(String),
}

/// Why a newer configuration is not taken on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CannotReload {
    /// It is not in order, or changes what cannot change.
    #[error("{0}")]
    Config(#[from] Problems),
    /// The client to Monime cannot be made.
    #[error(transparent)]
    Client(#[from] NoClient),
}

/// The parts in use, as operators see them.
#[derive(Debug)]
pub(crate) struct Current(ArcSwap<Parts>);

// === impl Parts ===

impl Parts {
    /// Puts a gateway together. Opens no connection yet.
    ///
    /// # Errors
    /// [`CannotAssemble`] when the private CA or the metrics cannot be used.
    pub fn assemble(mut config: Config) -> Result<Self, CannotAssemble> {
        let metrics = Arc::new(Metrics::new().map_err(|error| CannotAssemble::Metrics(error.to_string()))?);
        config.monime.keyring = config.monime.keyring.counting(Arc::clone(&metrics));
        let client = Client::new(&config.monime.wire)?;
        let gate = Gate::new(config.budget.share, Arc::clone(&metrics));
        let shared = Shared { gate, retries: RetryBudget::default(), metrics };
        let limits = lookup::Limits {
            max_size: config.cache.max_size,
            max_flights: config.max_in_flight,
            rate: rate(&config.monime.keyring, &config.budget),
        };
        let memory = Memory::new(limits, Arc::clone(&shared.metrics));
        let kept = Kept { memory, places: Places::new(config.max_in_flight), writes: Writes::default() };
        let parts = Self::around(kept, shared, client, config);
        parts.announce();
        Ok(parts)
    }

    /// The same gateway by other settings. What every request passes changes at once; the rest is for whoever is served
    /// with what this returns.
    ///
    /// # Errors
    /// [`CannotReload`]; then nothing has changed.
    pub(crate) fn reassemble(&self, mut config: Config) -> Result<Self, CannotReload> {
        self.fixed.permits(&config)?;
        // Connections to Monime go on, unless they are to be made otherwise.
        let client = if self.client.wire() == &config.monime.wire {
            self.client.clone()
        } else {
            Client::new(&config.monime.wire)?
        };
        config.monime.keyring = config.monime.keyring.adopt(&self.keyring);
        // From here on nothing fails.
        let memory = self.lookups.memory().clone();
        memory.limit(config.max_in_flight);
        self.shared.gate.set_share(config.budget.share);
        let places = self.terms.places.at_most(config.max_in_flight);
        let kept = Kept { memory, places, writes: self.terms.writes.clone() };
        Ok(Self::around(kept, self.shared.clone(), client, config))
    }

    fn around(kept: Kept, shared: Shared, client: Client, config: Config) -> Self {
        let Kept { memory, places, writes } = kept;
        let fixed = Fixed::of(&config);
        let Config { monime, cache, budget, effective, shutdown, .. } = config;
        let keyring = Arc::new(monime.keyring);
        let settings =
            upstream::Settings { origin: monime.wire.origin, timeouts: monime.timeouts, quota: budget.quota };
        let upstream = upstream::upstream(client.clone(), &keyring, &settings, &shared);
        let forwards = upstream::forwards(client.clone(), &keyring, &settings, &shared);
        let lookups = Lookups::new(upstream, memory, cache.lifetimes);
        let terms = Terms {
            door: Door::default(),
            default_space: monime.default_space,
            spaces: monime.spaces,
            version: monime.version,
            versions: monime.versions,
            callers_may_refresh: cache.callers_may_refresh,
            patience: monime.timeouts.total,
            places,
            writes,
        };
        let metrics = Arc::clone(&shared.metrics);
        let config = Arc::new(effective);
        let proxy_source = monime.proxy_source;
        Self {
            lookups,
            forwards,
            terms,
            metrics,
            keyring,
            shutdown,
            shared,
            client,
            proxy_source,
            budget,
            fixed,
            config,
        }
    }

    /// Paces callers by the tokens of the moment: a token that changes may be of another kind.
    fn pace(&self) {
        self.lookups.memory().pace(rate(&self.keyring, &self.budget));
    }

    /// Says what an operator should know of how Monime is asked.
    fn announce(&self) {
        if let Some(proxy) = &self.client.wire().proxy {
            tracing::info!(%proxy, source = self.proxy_source, "Monime is asked through a proxy");
        }
        for source in self.keyring.sources() {
            let name = redact(source.name());
            match source.kind() {
                TokenKind::Live => {}
                TokenKind::Test => {
                    tracing::warn!(source = %name, "the token is a test token: Monime's test mode refuses checkout sessions");
                }
                TokenKind::Other => {
                    tracing::warn!(source = %name, "the token does not begin with `mon_`: Monime's test limits are assumed");
                }
            }
        }
    }
}

/// How many lookups a second callers are paced to. The slowest token's: asking too gently costs seconds, asking too fast
/// costs everyone behind the token.
fn rate(keyring: &Keyring, budget: &Budget) -> u32 {
    let limits = keyring.sources().map(|source| budget.quota.rates(source.kind()).endpoint);
    let limit = limits.min().unwrap_or(budget.quota.rates(TokenKind::Other).endpoint);
    // A share below one leaves no more than the limit, and a wait need not be exact.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between zero and the limit")]
    let rate = (f64::from(limit) * budget.share) as u32;
    rate
}

// === impl Current ===

impl Current {
    pub(crate) fn new(parts: Parts) -> Self {
        Self(ArcSwap::from_pointee(parts))
    }

    /// How it is to end.
    pub(crate) fn shutdown(&self) -> Shutdown {
        self.0.load().shutdown
    }

    /// Takes on a newer configuration as one piece, or keeps the old one and says why; `serve` is to serve with it from
    /// then on. Looks at the secrets again in either case: who asks for a reload may mean one of those. It counts once
    /// all of it is in effect.
    pub(crate) async fn reload(&self, loaded: Result<Config, Problems>, serve: impl Fn(&Parts)) {
        let taken_on = loaded.map_err(CannotReload::from).and_then(|config| self.take_on(config, serve));
        let parts = self.0.load_full();
        parts.keyring.reread_all().await;
        parts.pace();
        match &taken_on {
            Ok(()) => {
                tracing::info!("configuration reloaded");
                parts.announce();
            }
            Err(error) => complain(error),
        }
        parts.metrics.config_reload(taken_on.is_ok());
    }

    /// Looks at the secrets as a matter of routine.
    pub(crate) async fn look(&self) {
        let parts = self.0.load_full();
        parts.keyring.look().await;
        parts.pace();
    }

    fn take_on(&self, config: Config, serve: impl Fn(&Parts)) -> Result<(), CannotReload> {
        let level = config.log.level.clone();
        let newer = self.0.load().reassemble(config)?;
        log::refilter(&level);
        serve(&newer);
        self.0.store(Arc::new(newer));
        Ok(())
    }
}

fn complain(error: &CannotReload) {
    const KEPT: &str = "configuration not reloaded; the one before stays";
    match error {
        CannotReload::Config(problems) => {
            for problem in problems.iter() {
                let (key, rule, fix) = (&problem.key, &problem.rule, &problem.fix);
                tracing::error!(key, source = problem.source, rule, fix, "{KEPT}");
            }
        }
        CannotReload::Client(error) => tracing::error!(%error, "{KEPT}"),
    }
}

impl Operated for Current {
    fn purge(&self, purge: &Purge) -> u64 {
        self.0.load().lookups.memory().purge(purge)
    }

    fn measure(&self) {
        let parts = self.0.load();
        parts.lookups.memory().sweep();
        parts.shared.gate.report();
    }

    fn upstream(&self) -> String {
        let parts = self.0.load();
        let breaker = parts.shared.gate.breaker();
        match parts.lookups.memory().last_landing() {
            None => format!("not asked yet; breaker {breaker}"),
            Some((word, ago)) => format!("last answer {word}, {} s ago; breaker {breaker}", ago.as_secs()),
        }
    }

    fn credentials(&self) -> Vec<String> {
        let parts = self.0.load();
        let health = parts.keyring.health();
        health.map(|(space, health)| format!("of {}: {health}", redact(space.as_str()))).collect()
    }

    fn config(&self) -> Bytes {
        self.0.load().config.to_json().into()
    }
}
