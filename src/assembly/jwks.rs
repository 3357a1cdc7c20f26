//! Brings the public keys of an issuer of service-account tokens, and newer ones when there are any.
//!
//! A file is read as often as secrets are; a server is asked every few minutes, and sooner when a token names a key that is
//! not known, but not for everyone who makes one up. Refuses to give up keys that were fine for what is none, and to send
//! its bearer token anywhere but to that one server.

use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION};
use http::uri::PathAndQuery;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use tokio::task::spawn_blocking;
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
    from: From,
    settings: Jwt,
    state: Mutex<State>,
}

#[derive(Debug)]
enum From {
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
    /// When they were last asked for.
    asked_at: Option<Instant>,
    due: Instant,
    /// What was seen last, so that only a change is taken on, and complained of.
    seen: Result<Bytes, String>,
}

impl Keys {
    /// The issuer of these settings; with keys already, if they are in a file. Blocks for a moment then.
    ///
    /// # Errors
    /// [`NoClient`] when the server's CA cannot be used.
    pub(super) fn new(settings: Jwt) -> Result<Self, NoClient> {
        let issuer = Arc::new(Issuer::new(settings.issuer.as_str(), settings.audience.as_str()));
        let from = match &settings.keys {
            Jwks::File(path) => From::File(path.clone()),
            Jwks::Url { wire, path, token_file } => From::Server(Box::new(Server {
                client: Client::new(wire)?,
                origin: wire.origin.clone(),
                // The configuration took it out of a URL.
                path: path.parse().unwrap_or(PathAndQuery::from_static("/")),
                token_file: token_file.clone(),
            })),
        };
        let state = State { asked_at: None, due: Instant::now(), seen: Err(String::new()) };
        let keys = Self { issuer, from, settings, state: Mutex::new(state) };
        if let From::File(path) = &keys.from
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

    /// Keeps up with the keys for as long as it is polled. Cancel-safe: who follows later goes on from here.
    pub(crate) async fn follow(&self, metrics: &Metrics) -> Infallible {
        loop {
            tokio::select! {
                () = sleep_until(self.lock().due) => {}
                () = self.missed() => {}
            }
            let bounded = timeout(DEADLINE, self.bring());
            let brought = bounded.await.unwrap_or_else(|_| Err("took longer than 5 s".into()));
            self.take_on(brought, metrics);
        }
    }

    /// Resolves when a token named a key that is not known, and the server was not asked only just now.
    async fn missed(&self) {
        match &self.from {
            From::File(_) => pending().await,
            From::Server(_) => {
                self.issuer.unknown_key().await;
                let asked_at = self.lock().asked_at;
                if let Some(asked_at) = asked_at {
                    sleep_until(asked_at + ASK_AGAIN).await;
                }
            }
        }
    }

    async fn bring(&self) -> Result<Bytes, BoxError> {
        match &self.from {
            From::File(path) => {
                let path = path.clone();
                Ok(spawn_blocking(move || read(&path)).await??)
            }
            From::Server(server) => {
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
        Ok(spawn_blocking(move || Secret::from_file(&path, allow_world_readable)).await??)
    }

    fn take_on(&self, brought: Result<Bytes, BoxError>, metrics: &Metrics) {
        let mut state = self.lock();
        let now = Instant::now();
        let brought = brought.map_err(|error| causes(&*error));
        state.asked_at = Some(now);
        if brought != state.seen {
            let taken = brought.as_ref().map_err(String::clone);
            let taken = taken.and_then(|text| self.issuer.take_on(text).map_err(|error| error.to_string()));
            metrics.jwks_reload(taken.is_ok());
            match taken {
                Ok(keys) => tracing::info!(keys, "the keys of service-account tokens were read"),
                Err(error) => tracing::error!(
                    error,
                    ready = self.issuer.is_ready(),
                    "the keys of service-account tokens cannot be read; those before are kept, if there are any"
                ),
            }
        }
        let every = match (&self.from, &brought) {
            (From::File(_), _) => FILE_EVERY,
            (From::Server(_), Ok(_)) => ASK_EVERY,
            (From::Server(_), Err(_)) => ASK_AGAIN,
        };
        state.due = now + every;
        state.seen = brought;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // Whoever panicked with it left what it was before, or what it is now.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
