//! The parts in use: as requests are served with them, as operators see them, and how they follow what changes.
//!
//! Refuses a change by halves: newer parts are whole before anyone is served with them.

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use tokio::sync::Notify;

use super::{CannotReload, ListenerLimits, Parts};
use crate::admin::Operated;
use crate::caller::Callers;
use crate::config::{Config, Problems, Shutdown};
use crate::lookup::Purge;
use crate::secret::redact;
use crate::server::Tls;
use crate::telemetry::log;

/// The parts in use, as operators see them.
#[derive(Debug)]
pub(crate) struct Current {
    parts: ArcSwap<Parts>,
    /// The listener's, which is there to the end.
    tls: Option<Tls>,
    /// Told when tokens are checked with the keys of other settings.
    other_keys: Notify,
}

// === impl Current ===

impl Current {
    pub(crate) fn new(parts: Parts, tls: Option<Tls>) -> Self {
        Self { parts: ArcSwap::from_pointee(parts), tls, other_keys: Notify::new() }
    }

    /// What each listener bears, now and later.
    pub(crate) fn listener_limits(&self) -> ListenerLimits {
        self.parts.load().listener_limits.clone()
    }

    /// Whether callers must prove who they are.
    pub(crate) fn names_callers(&self) -> bool {
        self.parts.load().terms.door.callers.is_some()
    }

    /// How it is to end.
    pub(crate) fn shutdown(&self) -> Shutdown {
        self.parts.load().shutdown
    }

    /// Takes on a newer configuration as one piece, or keeps the old one and says why; `serve` is to serve with it from
    /// then on. Looks at the secrets again in either case: who asks for a reload may mean one of those. It counts once
    /// all of it is in effect.
    pub(crate) async fn reload(&self, loaded: Result<Config, Problems>, serve: impl Fn(&Parts)) {
        let taken_on = loaded.map_err(CannotReload::from).and_then(|config| self.take_on(config, serve));
        let parts = self.parts.load_full();
        tokio::join!(parts.keyring.reread_all(), reread(self.tls.as_ref()));
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

    /// Looks at the secrets as a matter of routine, and at the certificates.
    pub(crate) async fn look(&self) {
        let parts = self.parts.load_full();
        tokio::join!(parts.keyring.look(), look(self.tls.as_ref()));
        parts.pace();
    }

    /// Keeps up with the keys of service-account tokens.
    pub(crate) async fn follow_keys(&self) -> Infallible {
        loop {
            let other_keys = self.other_keys.notified();
            // Nothing else of these parts: they are replaced by a reload, and what they hold goes with them.
            let (keys, metrics) = {
                let parts = self.parts.load();
                (parts.keys.clone(), Arc::clone(&parts.metrics))
            };
            let following = async {
                match &keys {
                    Some(keys) => keys.follow(&metrics).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                never = following => match never {},
                () = other_keys => {}
            }
        }
    }

    fn take_on(&self, config: Config, serve: impl Fn(&Parts)) -> Result<(), CannotReload> {
        let (level, warnings) = (config.log.level.clone(), config.warnings());
        let before = self.parts.load_full();
        let newer = before.reassemble(config)?;
        log::refilter(&level);
        warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        serve(&newer);
        // What is being asked for the same keys is not asked anew at each reload.
        let same_keys = before.keys.as_ref().map(Arc::as_ptr) == newer.keys.as_ref().map(Arc::as_ptr);
        self.parts.store(Arc::new(newer));
        if !same_keys {
            self.other_keys.notify_waiters();
        }
        Ok(())
    }
}

async fn look(tls: Option<&Tls>) {
    if let Some(tls) = tls {
        tls.look().await;
    }
}

async fn reread(tls: Option<&Tls>) {
    if let Some(tls) = tls {
        tls.reread().await;
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
        self.parts.load().lookups.memory().purge(purge)
    }

    fn measure(&self) {
        let parts = self.parts.load();
        parts.lookups.memory().sweep();
        parts.shared.gate.report();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            parts.metrics.tasks.set(runtime.metrics().num_alive_tasks().try_into().unwrap_or(i64::MAX));
        }
    }

    fn upstream(&self) -> String {
        let parts = self.parts.load();
        let breaker = parts.shared.gate.breaker();
        match parts.lookups.memory().last_landing() {
            None => format!("not asked yet; breaker {breaker}"),
            Some((word, ago)) => format!("last answer {word}, {} s ago; breaker {breaker}", ago.as_secs()),
        }
    }

    fn credentials(&self) -> Vec<String> {
        let parts = self.parts.load();
        let health = parts.keyring.health();
        let of_spaces = health.map(|(space, health)| format!("of {}: {health}", redact(space.as_str())));
        let problem =
            |tls: &Tls| tls.problem().map_or("fine".to_owned(), |problem| format!("an older one is used: {problem}"));
        let of_listener = self.tls.iter().map(|tls| format!("of the listener: {}", problem(tls)));
        let of_tokens = parts.keys.iter().map(|keys| {
            let state = if keys.issuer.is_ready() { "fine" } else { "not read yet" };
            format!("of service-account tokens: keys {state}")
        });
        of_spaces.chain(of_listener).chain(of_tokens).collect()
    }

    fn config(&self) -> Bytes {
        self.parts.load().config.to_json().into()
    }

    fn operators(&self) -> Option<Arc<Callers>> {
        self.parts.load().operators.clone()
    }
}
