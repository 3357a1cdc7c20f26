//! Brings the public keys of an issuer of service-account tokens, and newer ones when there are any.
//!
//! A file is read as often as secrets are; a server is asked every few minutes, and sooner when a token names a key that is
//! not known, but not for everyone who makes one up. Refuses to give up keys that were fine for what is none, and to send
//! its bearer token anywhere but to that one server.

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION};
use http::uri::PathAndQuery;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::{Instant, sleep_until, timeout};
use tower::{BoxError, ServiceExt};

use crate::caller::{Issuer, MAX_JWKS};
use crate::config::{Jwks, Jwt};
use crate::secret::Secret;
use crate::telemetry::{Metrics, causes};
use crate::upstream::{Client, NoClient, Origin};

/// How often a file is read.
const FILE_EVERY: Duration = Duration::from_secs(5);
/// How often a server is asked. Issuers list a new key long before they sign with it.
const ASK_EVERY: Duration = Duration::from_secs(5 * 60);
/// How soon it is asked again that could not be read, or because of a key that is not known.
const ASK_AGAIN: Duration = Duration::from_secs(10);
/// The longest that asking may take.
const DEADLINE: Duration = Duration::from_secs(5);

/// An issuer and where its keys come from. Goes on from one configuration to the next that names the same.
#[derive(Debug)]
pub(crate) struct Keys {
    pub(super) issuer: Arc<Issuer>,
    from: Source,
    settings: Jwt,
    state: Mutex<State>,
    /// Held by whoever reads a file: where a volume hangs, one thread waits for it and no more.
    turn: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug)]
enum Source {
    File(PathBuf),
    Server(Box<Server>),
}

#[derive(Debug)]
struct Server {
    client: Client,
    origin: Origin,
    path: PathAndQuery,
    token_file: Option<PathBuf>,
}

#[derive(Debug)]
struct State {
    /// When they were last asked for; at first, when that began to matter.
    asked_at: Instant,
    due: Instant,
    /// What was seen last, so that only a change is taken on, and complained of.
    seen: Option<Result<Bytes, String>>,
    /// Whether that is in use.
    is_fine: bool,
}

impl Keys {
    /// The issuer of these settings; with keys already, if they are in a file. Blocks for a moment then. If those before
    /// were of the same issuer, their keys stay until others are brought: nobody's token is worse for where they are.
    ///
    /// # Errors
    /// [`NoClient`] when the server's CA cannot be used.
    pub(super) fn new(settings: Jwt, before: Option<&Self>) -> Result<Self, NoClient> {
        let issuer = Issuer::new(settings.issuer.as_str(), settings.audience.as_str());
        let issuer = match before.filter(|before| before.issuer.is_like(&issuer)) {
            Some(before) => Arc::clone(&before.issuer),
            None => Arc::new(issuer),
        };
        let from = match &settings.keys {
            Jwks::File(path) => Source::File(path.clone()),
            Jwks::Url { wire, path, token_file } => Source::Server(Box::new(Server {
                client: Client::new(wire)?,
                origin: wire.origin.clone(),
                // The configuration took it out of a URL.
                path: path.parse().unwrap_or(PathAndQuery::from_static("/")),
                token_file: token_file.clone(),
            })),
        };
        let now = Instant::now();
        let state = State { asked_at: now, due: now, seen: None, is_fine: false };
        let keys = Self { issuer, from, settings, state: Mutex::new(state), turn: Arc::default() };
        if let Source::File(path) = &keys.from
            && let Ok(text) = read(path)
        {
            // Judged as it was when the configuration was; what became of it since is told by following it.
            let _ = keys.issuer.take_on(&text);
        }
        Ok(keys)
    }

    /// Whether these settings name the same keys.
    pub(super) fn are_of(&self, settings: &Jwt) -> bool {
        self.settings == *settings
    }

    /// Keeps up with the keys for as long as it is polled. Cancel-safe: who follows later goes on from here, and what was
    /// being asked is asked again.
    pub(crate) async fn follow(&self, metrics: &Metrics) -> Infallible {
        let is_asked = matches!(self.from, Source::Server(_));
        loop {
            let due = self.lock().due;
            tokio::select! {
                () = sleep_until(due) => {
                    let bounded = timeout(DEADLINE, self.bring());
                    let brought = bounded.await.unwrap_or_else(|_| Err(format!("took longer than {DEADLINE:?}").into()));
                    self.take_on(brought, metrics);
                }
                () = self.issuer.unknown_key(), if is_asked => self.hasten(),
            }
        }
    }

    /// A token named a key that is not known: the server is asked now, unless it was only just.
    fn hasten(&self) {
        let mut state = self.lock();
        state.due = state.due.min(state.asked_at + ASK_AGAIN);
    }

    async fn bring(&self) -> Result<Bytes, BoxError> {
        match &self.from {
            Source::File(path) => {
                let path = path.clone();
                Ok(self.aside(move || read(&path)).await??)
            }
            Source::Server(server) => {
                let Server { client, origin, path, token_file } = &**server;
                let mut request = Request::get(origin.url(path.clone())?).header(ACCEPT, "application/json");
                if let Some(path) = token_file {
                    request = request.header(AUTHORIZATION, self.token(path.clone()).await?.bearer());
                }
                let response = client.clone().oneshot(request.body(Full::default())?).await?;
                if response.status() != StatusCode::OK {
                    return Err(format!("the server answered {}", response.status()).into());
                }
                Ok(Limited::new(response.into_body(), MAX_JWKS).collect().await?.to_bytes())
            }
        }
    }

    /// Read at each use: it is replaced every hour.
    async fn token(&self, path: PathBuf) -> Result<Secret, BoxError> {
        let allow_world_readable = self.settings.allow_world_readable;
        Ok(self.aside(move || Secret::from_file(&path, allow_world_readable)).await??)
    }

    /// Reads beside everything else, and after whoever reads already.
    async fn aside<T: Send + 'static>(&self, read: impl FnOnce() -> T + Send + 'static) -> Result<T, JoinError> {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let reading = spawn_blocking(move || {
            let read = read();
            drop(turn);
            read
        });
        reading.await
    }

    fn take_on(&self, brought: Result<Bytes, BoxError>, metrics: &Metrics) {
        let mut state = self.lock();
        let brought = brought.map_err(|error| causes(&*error));
        if state.seen.as_ref() != Some(&brought) {
            let taken = brought.as_ref().map_err(String::clone);
            let taken = taken.and_then(|text| self.issuer.take_on(text).map_err(|error| error.to_string()));
            metrics.jwks_reload(taken.is_ok());
            state.is_fine = taken.is_ok();
            let from = &self.from;
            match taken {
                Ok(keys) => tracing::info!(%from, keys, "the keys of service-account tokens were read"),
                Err(error) => tracing::error!(
                    %from,
                    error,
                    ready = self.issuer.is_ready(),
                    "the keys of service-account tokens cannot be read; those before are kept, if there are any"
                ),
            }
            state.seen = Some(brought);
        }
        let every = match &self.from {
            Source::File(_) => FILE_EVERY,
            Source::Server(_) if state.is_fine => ASK_EVERY,
            Source::Server(_) => ASK_AGAIN,
        };
        state.asked_at = Instant::now();
        state.due = state.asked_at + every;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // Whoever panicked with it left what it was before, or what it is now.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            // What is behind a question mark is nobody's business.
            Self::Server(server) => write!(f, "{}{}", server.origin, server.path.path()),
        }
    }
}

fn read(path: &Path) -> io::Result<Bytes> {
    let file = std::fs::metadata(path)?;
    // Asked before opening: opening a pipe waits for a writer that may never come.
    if !file.is_file() || file.len() > MAX_JWKS as u64 {
        return Err(io::Error::other("it is not a regular file of at most 1 MiB"));
    }
    std::fs::read(path).map(Bytes::from)
}
