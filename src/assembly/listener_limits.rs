//! What each listener bears at the moment: by the configuration in use, for connections that come.
//!
//! One place for both, kept over reloads, because the listeners are.

use tokio::sync::watch;

use crate::admin;
use crate::config::Config;
use crate::server::Limits;

/// What each listener bears. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct ListenerLimits {
    services: watch::Sender<Limits>,
    operators: watch::Sender<Limits>,
}

// === impl ListenerLimits ===

impl ListenerLimits {
    pub(super) fn of(config: &Config) -> Self {
        let (services, operators) = limits(config);
        Self { services: watch::Sender::new(services), operators: watch::Sender::new(operators) }
    }

    /// From now on they bear this.
    pub(super) fn change(&self, config: &Config) {
        let (services, operators) = limits(config);
        self.services.send_replace(services);
        self.operators.send_replace(operators);
    }

    /// Those of the listener for services.
    pub(crate) fn of_services(&self) -> watch::Receiver<Limits> {
        self.services.subscribe()
    }

    /// Those of the listener for operators.
    pub(crate) fn of_operators(&self) -> watch::Receiver<Limits> {
        self.operators.subscribe()
    }
}

fn limits(config: &Config) -> (Limits, Limits) {
    let services = config.limits.server;
    (services, admin::limits(services, config.admin.address.is_local()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assembly::Parts;
    use crate::config::{Flag, Sources};

    fn config(setting: &str) -> Config {
        let environment = [("MONIGATE__MONIME__TOKEN", "mon_unit"), ("MONIGATE__MONIME__DEFAULT_SPACE", "spc-a")];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        Config::load(&Sources { environment, flags: vec![Flag::Set(setting.to_owned())], ..Sources::default() })
            .unwrap()
    }

    #[tokio::test]
    async fn a_newer_configuration_reaches_the_listeners_of_before() {
        let parts = Parts::assemble(config("limits.connections=7")).unwrap();
        let services = parts.listener_limits.of_services();
        let newer = parts.reassemble(config("limits.timeouts.idle=7s")).unwrap();
        assert_eq!((services.borrow().connections, services.borrow().times.idle.as_secs()), (16_384, 7));
        drop(parts);
        newer.reassemble(config("limits.connections=9")).unwrap();
        assert_eq!(services.borrow().connections, 9, "after the first, as well");
    }

    #[test]
    fn both_listeners_hear_of_other_limits_and_operators_keep_places_of_their_own() {
        let listener_limits = ListenerLimits::of(&config("limits.connections=7"));
        let (services, mut operators) = (listener_limits.of_services(), listener_limits.of_operators());
        assert_eq!((services.borrow().connections, operators.borrow().connections), (7, 7));
        listener_limits.clone().change(&config("limits.connections=5000"));
        assert!(services.has_changed().unwrap() && operators.has_changed().unwrap());
        assert_eq!((services.borrow().connections, operators.borrow_and_update().connections), (5000, 256));
    }
}
