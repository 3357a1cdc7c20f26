//! Where the sandbox listens, and the words it starts with.
//!
//! Owns that it listens on loopback unless somebody insists. Refuses to start without saying what it is not.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{self, Path, PathBuf};

use super::tls::{NoCa, find_or_make_ca};
use super::{DEFAULT_TOKEN, PREFIX, Profile, Sandbox, Schedule};
use crate::server::{Address, Listener, Rules, WithoutFastPath, serve};

/// Where to listen, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The address; port 0 takes a free one.
    pub address: Address,
    /// The folder of a throw-away authority, which is made there unless it is there; none means plain http.
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
    ca_file: Option<PathBuf>,
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
        // Before anything is written: who cannot listen leaves the files of the one that does alone.
        let bound = Listener::bind(address, None).await;
        let mut listener = bound.map_err(|source| CannotListen::Bind { address: address.clone(), source })?;
        let Some(dir) = &place.tls else { return Ok(Open { sandbox: self.clone(), listener, ca_file: None }) };
        listener = listener.with_tls(find_or_make_ca(dir)?);
        let ca_file = dir.join("ca.pem");
        // Whoever is told to trust it may stand elsewhere.
        let ca_file = Some(path::absolute(&ca_file).unwrap_or(ca_file));
        Ok(Open { sandbox: self.clone(), listener, ca_file })
    }
}

impl Open {
    /// Where it listens, with the port that was really taken.
    #[must_use]
    pub fn address(&self) -> &Address {
        self.listener.address()
    }

    /// What clients on this machine are given as Monime's base URL.
    #[must_use]
    pub fn base_url(&self) -> String {
        match self.listener.address() {
            Address::Tcp(address) => {
                let scheme = if self.ca_file.is_some() { "https" } else { "http" };
                format!("{scheme}://{}", within_reach(*address))
            }
            Address::Unix(_) => self.listener.address().to_string(),
        }
    }

    /// What clients must trust, as an absolute path; none if the sandbox speaks plain http.
    #[must_use]
    pub fn ca_file(&self) -> Option<&Path> {
        self.ca_file.as_deref()
    }

    /// The start-up lines, one fact to each. They show the token only if that is the well-known one.
    #[must_use]
    pub fn greeting(&self) -> String {
        let token = match self.sandbox.shared.settings.token.as_str() {
            DEFAULT_TOKEN => DEFAULT_TOKEN,
            _ => "(the one you gave)",
        };
        let url = self.base_url();
        let steered = match self.address() {
            Address::Tcp(_) => format!("{url}{PREFIX}"),
            Address::Unix(_) => format!("{PREFIX} on the same socket"),
        };
        let faults = match self.sandbox.schedule() {
            Schedule { profile: Profile::Calm, .. } => String::new(),
            Schedule { profile, seed } => {
                let profile = profile.as_str();
                format!("\n  faults    {profile}; the same again with --faults {profile} --seed {seed}")
            }
        };
        let trust = self.ca_file.as_ref().map(|path| format!("\n  trust     {}", path.display()));
        format!(
            "THIS IS NOT MONIME: a sandbox that plays Monime's checkout sessions; no money moves.\n  \
             base URL  {url}\n  \
             token     {token}\n  \
             steer it  {steered}{faults}{}",
            trust.unwrap_or_default()
        )
    }

    /// Serves until `stop` resolves and every request in progress is answered.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        serve(self.listener, WithoutFastPath::new(self.sandbox.service()), Rules::default(), stop).await;
    }
}

/// Nobody can be told to connect to "any address": there, loopback answers too.
fn within_reach(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        let loopback =
            if address.is_ipv4() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { IpAddr::V6(Ipv6Addr::LOCALHOST) };
        address.set_ip(loopback);
    }
    address
}
