//! A gateway put together from its configuration, and put together anew when that changes.
//!
//! Everything that settings shape is built again and swapped in as one piece, around what must outlive it: memory and
//! flights, what was sent to Monime, secrets, connections. Refuses a change that would need another socket or another
//! memory, as a whole.

mod current;
mod jwks;
mod listener_limits;

use std::sync::Arc;

use crate::caller::{Callers, Digest, Named, Policy};
use crate::config::{Budget, Config, Effective, Fixed, Jwt, Problems, Shutdown};
use crate::gateway::{Door, Places, Terms, Writes};
use crate::lookup::{self, Lookups, Memory};
use crate::monime::TokenKind;
use crate::secret::{Keyring, redact};
use crate::telemetry::Metrics;
use crate::upstream::{self, Client, Forwards, Gate, NoClient, RetryBudget, Shared, Upstream};
pub(crate) use current::Current;
use jwks::Keys;
use listener_limits::ListenerLimits;

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
    /// What each listener bears.
    listener_limits: ListenerLimits,
    /// Operators who proved who they are; where there are keys for that.
    operators: Option<Arc<Callers>>,
    /// The keys of service-account tokens, if any are taken.
    keys: Option<Arc<Keys>>,
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
    callers: Option<Arc<Callers>>,
    keys: Option<Arc<Keys>>,
    listener_limits: ListenerLimits,
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
            max_flights: config.limits.max_in_flight,
            rate: rate(&config.monime.keyring, &config.budget),
        };
        let memory = Memory::new(limits, Arc::clone(&shared.metrics));
        let keys = keys(config.jwt.take(), None)?;
        let callers = callers(std::mem::take(&mut config.callers), keys.as_deref(), None);
        let (places, listener_limits) = (Places::new(config.limits.max_in_flight), ListenerLimits::of(&config));
        let kept = Kept { memory, places, writes: Writes::default(), callers, keys, listener_limits };
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
        let keys = keys(config.jwt.take(), self.keys.as_ref())?;
        // From here on nothing fails.
        let memory = self.lookups.memory().clone();
        memory.limit(config.limits.max_in_flight);
        self.shared.gate.set_share(config.budget.share);
        let places = self.terms.places.at_most(config.limits.max_in_flight);
        let callers = callers(std::mem::take(&mut config.callers), keys.as_deref(), self.terms.door.callers.as_deref());
        let listener_limits = self.listener_limits.clone();
        listener_limits.change(&config);
        let kept = Kept { memory, places, writes: self.terms.writes.clone(), callers, keys, listener_limits };
        Ok(Self::around(kept, self.shared.clone(), client, config))
    }

    fn around(kept: Kept, shared: Shared, client: Client, config: Config) -> Self {
        let Kept { memory, places, writes, callers, keys, listener_limits } = kept;
        let fixed = Fixed::of(&config);
        let Config { monime, cache, budget, limits, effective, shutdown, listen, admin, .. } = config;
        let keyring = Arc::new(monime.keyring);
        let settings =
            upstream::Settings { origin: monime.wire.origin, timeouts: monime.timeouts, quota: budget.quota };
        let upstream = upstream::upstream(client.clone(), &keyring, &settings, &shared);
        let forwards = upstream::forwards(client.clone(), &keyring, &settings, &shared);
        let lookups = Lookups::new(upstream, memory, cache.lifetimes);
        let terms = Terms {
            door: Door { callers, require_header: listen.require_header },
            default_space: monime.default_space,
            spaces: monime.spaces,
            version: monime.version,
            versions: monime.versions,
            head: limits.server.head,
            body: limits.body,
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
            listener_limits,
            operators: operators(admin.keys),
            keys,
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

/// The keys of these settings, if there are any; those that are in use already, if they are the same.
fn keys(settings: Option<Jwt>, in_use: Option<&Arc<Keys>>) -> Result<Option<Arc<Keys>>, NoClient> {
    let Some(settings) = settings else { return Ok(None) };
    match in_use.filter(|keys| keys.are_of(&settings)) {
        Some(keys) => Ok(Some(Arc::clone(keys))),
        None => Ok(Some(Arc::new(Keys::new(settings, in_use.map(Arc::as_ref))?))),
    }
}

/// Those who must prove who they are, if anyone must; whoever was named before goes on with what is used of its rate.
fn callers(named: Vec<Named>, keys: Option<&Keys>, before: Option<&Callers>) -> Option<Arc<Callers>> {
    if named.is_empty() {
        return None;
    }
    let callers = Callers::new(named, keys.map(|keys| Arc::clone(&keys.issuer)));
    Some(Arc::new(match before {
        Some(before) => callers.adopt(before),
        None => callers,
    }))
}

/// Those who may operate the gateway from elsewhere, if there are keys for that: whoever has one of them.
fn operators(keys: Vec<Digest>) -> Option<Arc<Callers>> {
    let policy = Policy { spaces: Vec::new(), operations: Vec::new(), rate: None };
    let operator = Named { name: "operator".into(), keys, san: Vec::new(), service_accounts: Vec::new(), policy };
    (!operator.keys.is_empty()).then(|| Arc::new(Callers::new(vec![operator], None)))
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
