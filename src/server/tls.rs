//! A server's side of TLS: what a listener proves itself with at this moment, and what its clients must prove.
//!
//! A changed certificate, key or CA is told by what the files hold, so it does not matter how they were swapped. What is
//! new is for new connections; of the old ones only those end whose client would not be let in any more. Refuses to give
//! up what was fine for what is not, and to read on the runtime's own threads: a volume may hang.

mod client;
mod flaw;
mod identity;

use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;

use crate::telemetry::Metrics;
use identity::Texts;

pub(super) use client::Client;
pub use client::ClientCertificate;
pub use flaw::{Flaw, InvalidTls, Part, Warning};
pub use identity::Identity;

/// The files that a listener's TLS is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The certificate chain, as PEM, the server's own first.
    pub certificate: PathBuf,
    /// Its private key, as PEM.
    pub key: PathBuf,
    /// Whom clients' certificates must come from, as PEM; without it none is asked for.
    pub client_ca: Option<PathBuf>,
    /// Whether a client without a certificate is let in, where `client_ca` is given.
    pub client_auth: ClientAuth,
    /// Whether the key's file may be readable by everyone on the machine.
    pub allow_world_readable: bool,
}

/// Whether a client must have a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuth {
    /// It may come without.
    Optional,
    /// Without one the handshake fails.
    Required,
}

/// A listener's TLS as it is at each moment. Clones share it.
#[derive(Clone)]
pub struct Tls {
    shared: Arc<Shared>,
    metrics: Option<Arc<Metrics>>,
}

struct Shared {
    files: Files,
    current: ArcSwap<Current>,
    /// Held by whoever reads the files.
    turn: Arc<Mutex<()>>,
    /// Keyed with what nobody knows, so that a mark tells nothing of a key.
    marks: RandomState,
}

/// Replaced as a whole, so that nobody sees half a change.
#[derive(Clone)]
pub(super) struct Current {
    identity: Arc<Identity>,
    /// How many identities came before this one.
    generation: u64,
    /// What the files held.
    mark: u64,
    /// What is wrong with what was last seen in their place.
    problem: Option<Problem>,
}

/// Files that were refused.
#[derive(Clone)]
struct Problem {
    words: String,
    /// Which files they were, what they held and what was wrong with them.
    mark: u64,
}

// === impl Tls ===

impl Tls {
    /// Reads the files, which may be read again later. Blocks for a moment.
    ///
    /// # Errors
    /// [`InvalidTls`] names the file and what is wrong with it.
    pub fn new(files: Files) -> Result<Self, InvalidTls> {
        let marks = RandomState::new();
        let texts = Texts::read(&files, &mut marks.build_hasher())?;
        let identity = Arc::new(Identity::of(&texts, &files)?);
        warn(&identity, &files);
        let current = Current { identity, generation: 0, mark: marks.hash_one(&texts), problem: None };
        let shared = Shared { files, current: ArcSwap::from_pointee(current), turn: Arc::default(), marks };
        Ok(Self { shared: Arc::new(shared), metrics: None })
    }

    /// The same, counting in `metrics` from now on; clones that were made before do not count.
    #[must_use]
    pub fn counting(self, metrics: Arc<Metrics>) -> Self {
        Self { metrics: Some(metrics), ..self }
    }

    /// The files it is read from.
    #[must_use]
    pub fn files(&self) -> &Files {
        &self.shared.files
    }

    /// What a handshake of this moment is done with, for who accepts connections by other means than a
    /// [`Listener`](super::Listener).
    #[must_use]
    pub fn config(&self) -> Arc<ServerConfig> {
        self.current().config()
    }

    /// What is wrong with what lies in the files' place now, if an older identity is used meanwhile.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        self.shared.current.load().problem.as_ref().map(|problem| problem.words.clone())
    }

    /// Reads the files again as a matter of routine. Bad ones are complained of once.
    ///
    /// Cancel-safe: a reading that has begun goes on to its end, in the background.
    pub async fn look(&self) {
        self.look_again(false).await;
    }

    /// Reads the files again because an operator asks for it. Bad ones are complained of each time. Cancel-safe, as
    /// [`look`](Self::look) is.
    pub async fn reread(&self) {
        self.look_again(true).await;
    }

    pub(super) fn current(&self) -> Arc<Current> {
        self.shared.current.load_full()
    }

    /// How many identities came before the current one.
    fn generation(&self) -> u64 {
        self.shared.current.load().generation
    }

    async fn look_again(&self, asked: bool) {
        let turn = Arc::clone(&self.shared.turn).lock_owned().await;
        let tls = self.clone();
        let reading = spawn_blocking(move || {
            tls.read(asked);
            drop(turn);
        });
        // It fails only when the runtime ends, and then nobody is left to shake hands with.
        let _ = reading.await;
    }

    fn read(&self, asked: bool) {
        let Shared { files, current, marks, .. } = &*self.shared;
        let before = current.load_full();
        let mut seen = marks.build_hasher();
        let read = Texts::read(files, &mut seen).and_then(|texts| {
            let mark = marks.hash_one(&texts);
            if mark == before.mark {
                return Ok(None);
            }
            let identity = Arc::new(Identity::of(&texts, files)?);
            Ok(Some(Current { identity, generation: before.generation + 1, mark, problem: None }))
        });
        let certificate = files.certificate.display();
        match read {
            Ok(None) if before.problem.is_none() => {}
            Ok(None) => {
                current.store(Arc::new(Current { problem: None, ..Current::clone(&before) }));
                tracing::info!(%certificate, "the certificate's files are as they were before");
            }
            Ok(Some(new)) => {
                warn(&new.identity, files);
                current.store(Arc::new(new));
                self.count(true);
                tracing::info!(%certificate, "the certificate has changed; new connections get the new one");
            }
            Err(error) => {
                let words = error.to_string();
                words.hash(&mut seen);
                let mark = seen.finish();
                if !asked && before.problem.as_ref().is_some_and(|problem| problem.mark == mark) {
                    return;
                }
                let problem = Some(Problem { words, mark });
                current.store(Arc::new(Current { problem, ..Current::clone(&before) }));
                self.count(false);
                tracing::error!(%error, fix = error.fix(), "a certificate cannot be used; the one before is kept");
            }
        }
    }

    fn count(&self, taken_over: bool) {
        if let Some(metrics) = &self.metrics {
            metrics.tls_reload(taken_over);
        }
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("files", &self.shared.files).finish_non_exhaustive()
    }
}

// === impl Current ===

impl Current {
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(self.identity.config())
    }
}

fn warn(identity: &Identity, files: &Files) {
    for warning in identity.warnings() {
        let certificate = files.certificate.display();
        tracing::warn!(%certificate, fix = warning.fix(), "the certificate serves, but {warning}");
    }
}

#[cfg(test)]
mod tests;
