//! Where the sandbox listens, and the words it starts with.
//!
//! Owns that it listens on loopback unless somebody insists. Refuses to start without saying what it is not.

use std::io;
use std::path::PathBuf;

use super::tls::{NoCa, make_ca};
use super::{DEFAULT_TOKEN, PREFIX, Sandbox};
use crate::server::{Address, Listener, Times, serve};

/// Where to listen, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The address; port 0 takes a free one.
    pub address: Address,
    /// The folder for a throw-away authority; none means plain http.
    pub tls: Option<PathBuf>,
    /// Whether other machines may reach it: they may then steer it too.
    pub beyond_loopback: bool,
}

/// Why the sandbox cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum CannotListen {
    /// The address is one that other machines reach, and nobody insisted.
    #[error("{0} is not a loopback address; anyone who reaches the sandbox may steer it")]
    NotLoopback(Address),
    /// What the operating system says about the address.
    #[error("{address}: {source}")]
    Bind {
        /// The address.
        address: Address,
        /// What it says.
        source: io::Error,
    },
    /// No authority could be made.
    #[error(transparent)]
    Tls(#[from] NoCa),
}

/// A sandbox that has its socket and waits to be run.
#[derive(Debug)]
pub struct Open {
    sandbox: Sandbox,
    listener: Listener,
    https: bool,
}

impl Sandbox {
    /// Binds the sandbox to its place.
    ///
    /// # Errors
    /// [`CannotListen`] says which of address, socket and certificates it was.
    pub async fn open(&self, place: &Place) -> Result<Open, CannotListen> {
        let address = &place.address;
        if !(address.is_local() || place.beyond_loopback) {
            return Err(CannotListen::NotLoopback(address.clone()));
        }
        let tls = place.tls.as_deref().map(make_ca).transpose()?;
        let bound = Listener::bind(address).await;
        let mut listener = bound.map_err(|source| CannotListen::Bind { address: address.clone(), source })?;
        let https = tls.is_some();
        if let Some(tls) = tls {
            listener = listener.with_tls(tls);
        }
        Ok(Open { sandbox: self.clone(), listener, https })
    }
}

impl Open {
    /// Where it listens, with the port that was really taken.
    #[must_use]
    pub fn address(&self) -> &Address {
        self.listener.address()
    }

    /// What clients are given as Monime's base URL.
    #[must_use]
    pub fn base_url(&self) -> String {
        match self.listener.address() {
            Address::Tcp(address) => format!("{}://{address}", if self.https { "https" } else { "http" }),
            Address::Unix(_) => self.listener.address().to_string(),
        }
    }

    /// The start-up line. It shows the token only if that is the well-known one.
    #[must_use]
    pub fn greeting(&self) -> String {
        let token = match self.sandbox.shared.settings.token.as_str() {
            DEFAULT_TOKEN => DEFAULT_TOKEN,
            _ => "(yours)",
        };
        let url = self.base_url();
        format!(
            "THIS IS NOT MONIME: a sandbox that plays Monime's checkout sessions; no money moves. \
             Base URL {url}, token {token}, steered at {url}{PREFIX}"
        )
    }

    /// Serves until `stop` resolves and every request in progress is answered.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        serve(self.listener, self.sandbox.service(), Times::default(), stop).await;
    }
}
