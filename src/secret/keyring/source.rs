//! One place that a token comes from: the token that is in use, and what was last seen in its place.
//!
//! Everything that changes is one value, replaced as a whole, so a reader never waits and never sees half a change.
//! Refuses to read a file twice at the same time, and to read on the runtime's own threads: a volume may hang.

use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;

use super::Health;
use crate::monime::TokenKind;
use crate::secret::file::look;
use crate::secret::{FileError, Secret, redact};
use crate::telemetry::Metrics;

/// A file, or the environment, and the token from it.
#[derive(Debug)]
pub struct Source {
    name: Arc<str>,
    /// None is the environment, which does not change while the process runs.
    path: Option<PathBuf>,
    state: ArcSwap<State>,
    /// Held by whoever reads the file.
    turn: Arc<Mutex<()>>,
    /// How many readings have begun that somebody asked for.
    asked_for: AtomicU64,
    /// Keyed with what nobody knows, so that a mark tells nothing of a bad token.
    marks: RandomState,
}

/// Why a file is read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Occasion {
    /// It is time to.
    Routine,
    /// Monime refused the token, and whoever asked wants to know whether there is a newer one.
    Refused,
    /// An operator asks for it.
    Asked,
}

#[derive(Debug, Clone)]
struct State {
    secret: Arc<Secret>,
    /// Whether Monime's last answer to it was that it is not good.
    refused: Arc<AtomicBool>,
    /// How many times the secret has changed.
    generation: u64,
    /// What is wrong with what was last seen in its place.
    problem: Option<Problem>,
}

/// A file that was refused.
#[derive(Debug, Clone)]
struct Problem {
    words: String,
    /// Which file it was, what it held and what was wrong with it.
    mark: u64,
}

// === impl Source ===

impl Source {
    /// Reads a token from a file, which may be read again later.
    ///
    /// # Errors
    /// [`FileError`] names the file and what is wrong with it.
    pub fn file(path: &Path, allow_world_readable: bool) -> Result<Arc<Self>, FileError> {
        let secret = Secret::from_file(path, allow_world_readable)?;
        Ok(Self::new(&path.to_string_lossy(), Some(path.to_owned()), secret))
    }

    /// A token from the environment.
    #[must_use]
    pub fn environment(secret: Secret) -> Arc<Self> {
        Self::new("the environment", None, secret)
    }

    fn new(name: &str, path: Option<PathBuf>, secret: Secret) -> Arc<Self> {
        let state = State::of(secret, 0);
        Arc::new(Self {
            name: name.into(),
            path,
            state: ArcSwap::from_pointee(state),
            turn: Arc::default(),
            asked_for: AtomicU64::new(0),
            marks: RandomState::new(),
        })
    }

    /// The file's path, or "the environment". To be shown only when redacted.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// What the token is for, as it is now.
    #[must_use]
    pub fn kind(&self) -> TokenKind {
        self.state.load().secret.kind()
    }

    pub(super) fn token(&self) -> Arc<Secret> {
        Arc::clone(&self.state.load().secret)
    }

    pub(super) fn generation(&self) -> u64 {
        self.state.load().generation
    }

    pub(super) fn refused(&self, token: &Arc<Secret>, refused: bool) {
        let state = self.state.load();
        if Arc::ptr_eq(&state.secret, token) {
            state.refused.store(refused, Ordering::Relaxed);
        }
    }

    pub(super) fn health(&self) -> Health {
        let state = self.state.load();
        let problem = state.problem.as_ref().map(|problem| problem.words.clone());
        Health { problem, refused: state.refused.load(Ordering::Relaxed) }
    }

    pub(super) fn is_same_place_as(&self, other: &Self) -> bool {
        self.path == other.path
    }

    /// Reads the file again, if it is one.
    ///
    /// Cancel-safe: a reading that has begun goes on to its end, and keeps the turn until then.
    pub(super) async fn look_again(
        self: &Arc<Self>,
        occasion: Occasion,
        allow_world_readable: bool,
        metrics: Option<Arc<Metrics>>,
    ) {
        let Some(path) = self.path.clone() else { return };
        let asked_for = self.asked_for.load(Ordering::Acquire);
        let turn = Arc::clone(&self.turn).lock_owned().await;
        // Many are refused at the same moment. Whoever waited while a reading began and ended has what they came for.
        if self.asked_for.load(Ordering::Acquire) > asked_for {
            return;
        }
        if occasion != Occasion::Routine {
            self.asked_for.fetch_add(1, Ordering::Release);
        }
        let source = Arc::clone(self);
        let reading = spawn_blocking(move || {
            source.read(&path, occasion, allow_world_readable, metrics.as_deref());
            drop(turn);
        });
        // It fails only when the runtime ends, and then nobody is left who could use a token.
        let _ = reading.await;
    }

    fn read(&self, path: &Path, occasion: Occasion, allow_world_readable: bool, metrics: Option<&Metrics>) {
        let before = self.state.load_full();
        let mut seen = self.marks.build_hasher();
        match look(path, allow_world_readable, &mut seen) {
            Ok(secret) if secret.is_same_as(&before.secret) => {
                if before.problem.is_some() {
                    self.replace(State { problem: None, ..State::clone(&before) });
                    tracing::info!(source = %redact(&self.name), "the secret's file is as it was before");
                }
            }
            Ok(secret) => {
                let kind = secret.kind();
                self.replace(State::of(secret, before.generation + 1));
                count(metrics, true);
                let source = redact(&self.name);
                tracing::info!(%source, ?kind, "the secret has changed; the new one is used from now on");
            }
            Err(error) => {
                let words = error.problem.to_string();
                words.hash(&mut seen);
                let mark = seen.finish();
                let is_known = before.problem.as_ref().is_some_and(|problem| problem.mark == mark);
                if is_known && occasion != Occasion::Asked {
                    return;
                }
                self.replace(State { problem: Some(Problem { words, mark }), ..State::clone(&before) });
                count(metrics, false);
                tracing::error!(%error, fix = error.fix(), "a secret's file cannot be used; the one before is kept");
            }
        }
    }

    fn replace(&self, state: State) {
        self.state.store(Arc::new(state));
    }
}

// === impl State ===

impl State {
    fn of(secret: Secret, generation: u64) -> Self {
        Self { secret: Arc::new(secret), refused: Arc::default(), generation, problem: None }
    }
}

fn count(metrics: Option<&Metrics>, taken_over: bool) {
    if let Some(metrics) = metrics {
        metrics.secret_reload(taken_over);
    }
}
