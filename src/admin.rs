//! The operator's side, on a listener of its own.
//!
//! - `GET /livez`: 200 while the process turns; never looks at Monime.
//! - `GET /readyz`: 200 when requests may be sent here, else 503; `?verbose` says why, and how Monime does.
//! - `GET /metrics`: Prometheus text.
//! - `GET /config`: the effective configuration, redacted, with the source of each key.
//! - `POST /purge`: takes answers out of memory.
//!
//! On an address that other machines can reach, only the first three are open, unless there are keys for the others.
//! Refuses to show a secret, and to purge anything on a request that it does not understand to the last field.

mod limits;
mod rejected;

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderValue, WWW_AUTHENTICATE};
use http::uri::Authority;
use http::{Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Full, Limited};
use prometheus::TextEncoder;
use serde::{Deserialize, Deserializer};
use tokio::time::timeout;
use tower::Service;

use crate::caller::Callers;
use crate::lookup::Purge;
use crate::monime::{Envelope, SessionId, SpaceId, is_json};
use crate::telemetry::Metrics;
pub use limits::{MOST_CONNECTIONS, limits};
pub use rejected::reject;

/// The longest purge request: two ids and their names fit many times.
const MAX_PURGE: usize = 4 * 1024;

/// How long a purge request's body may take.
const PURGE_DEADLINE: Duration = Duration::from_secs(5);

type Answer = Response<Full<Bytes>>;

/// What the admin listener can see and do.
#[derive(Debug)]
pub struct Admin {
    /// Whether only processes of this machine can reach it.
    pub local: bool,
    /// Whether requests may be sent here.
    pub readiness: Readiness,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The gateway.
    pub gateway: Arc<dyn Operated>,
}

/// What an operator may know of the gateway and do to it.
pub trait Operated: std::fmt::Debug + Send + Sync {
    /// Removes answers from memory; returns how many.
    fn purge(&self, purge: &Purge) -> u64;
    /// Brings the metrics up to date that are not counted as they happen.
    fn measure(&self);
    /// How Monime's last answer came out, and whether it is asked, in words.
    fn upstream(&self) -> String;
    /// Whose each credential is and how it is doing, in words. Never any part of it.
    fn credentials(&self) -> Vec<String>;
    /// The effective configuration as JSON, redacted.
    fn config(&self) -> Bytes;
    /// Those who may see and do what is not open to everyone, by keys of theirs; none where there are no keys.
    fn operators(&self) -> Option<Arc<Callers>>;
}

/// Whether requests may be sent here. Clones share the state.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<AtomicU8>);

/// The admin service. Always ready; never fails.
#[derive(Debug, Clone)]
pub struct AdminService(Arc<Admin>);

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct PurgeRequest {
    #[serde(deserialize_with = "said")]
    space: Option<String>,
    #[serde(deserialize_with = "said")]
    id: Option<String>,
    #[serde(deserialize_with = "said")]
    all: Option<bool>,
}

/// A member that is there has a value: `null` is not the same as not said, for it may be a client's missing id.
fn said<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

// === impl Readiness ===

impl Readiness {
    const STARTING: u8 = 0;
    const READY: u8 = 1;
    const DRAINING: u8 = 2;

    /// From now on requests are answered.
    pub fn ready(&self) {
        self.0.store(Self::READY, Ordering::Release);
    }

    /// From now on requests should go elsewhere.
    pub fn draining(&self) {
        self.0.store(Self::DRAINING, Ordering::Release);
    }

    /// Whether requests should be sent here, and the word for it.
    #[must_use]
    pub fn state(&self) -> (bool, &'static str) {
        match self.0.load(Ordering::Acquire) {
            Self::STARTING => (false, "starting"),
            Self::READY => (true, "ready"),
            _ => (false, "draining"),
        }
    }
}

// === impl AdminService ===

impl AdminService {
    /// Serves `admin`.
    #[must_use]
    pub fn new(admin: Admin) -> Self {
        Self(Arc::new(admin))
    }
}

impl<B> Service<Request<B>> for AdminService
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = Answer;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Answer, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let admin = Arc::clone(&self.0);
        Box::pin(async move { Ok(admin.answer(request).await) })
    }
}

// === impl Admin ===

impl Admin {
    async fn answer<B>(&self, request: Request<B>) -> Answer
    where
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        match (request.uri().path(), reads) {
            ("/livez", true) => plain(StatusCode::OK, "alive\n".into()),
            ("/readyz", true) => self.readyz(request.uri().query()),
            ("/metrics", true) => self.metrics(),
            ("/config" | "/purge", _) => match self.closed_to(&request) {
                Some(refusal) => refusal,
                None => self.guarded(request).await,
            },
            ("/livez" | "/readyz" | "/metrics", false) => not_allowed("GET, HEAD"),
            _ => error(
                StatusCode::NOT_FOUND,
                "admin_route_unknown",
                "There are /livez, /readyz, /metrics, /config and /purge here.",
            ),
        }
    }

    /// What is not open to everyone.
    async fn guarded<B>(&self, request: Request<B>) -> Answer
    where
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        match (request.uri().path(), request.method()) {
            ("/purge", &Method::POST) => self.purge(request).await,
            ("/purge", _) => not_allowed("POST"),
            (_, &Method::GET | &Method::HEAD) => typed(StatusCode::OK, "application/json", self.gateway.config()),
            _ => not_allowed("GET, HEAD"),
        }
    }

    /// Why the guarded part is closed to this request, if it is. Where there are keys, one of them opens it, wherever the
    /// request comes from; where there are none, only this machine's own requests get in.
    fn closed_to<B>(&self, request: &Request<B>) -> Option<Answer> {
        if let Some(operators) = self.gateway.operators() {
            const NO_NAMES: &[&str] = &[];
            let proved = operators.identify(request.headers(), NO_NAMES).is_ok();
            return (!proved).then(|| {
                let message =
                    "Send `Authorization: Bearer <key>`, once, with a key whose SHA-256 is in admin.keys_sha256.";
                let mut answer = error(StatusCode::FORBIDDEN, "admin_key_required", message);
                answer
                    .headers_mut()
                    .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"monigate admin\""));
                answer
            });
        }
        if !is_ours(request) {
            let message = "The Host header must be an IP address or a name without a dot, so that no web page can reach \
                           this under its own.";
            return Some(error(StatusCode::MISDIRECTED_REQUEST, "admin_host_unknown", message));
        }
        let message = "This endpoint is open only where no other machine can reach it, or to who proves to have a key. Bind \
                       admin.address to loopback, or set admin.keys_sha256.";
        (!self.local).then(|| error(StatusCode::FORBIDDEN, "admin_loopback_only", message))
    }

    fn readyz(&self, query: Option<&str>) -> Answer {
        let (ready, state) = self.readiness.state();
        let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        let verbose = query.is_some_and(|query| query.split('&').any(|part| part.starts_with("verbose")));
        if !verbose {
            return plain(status, format!("{state}\n"));
        }
        // Monime's trouble is shown and not judged: taking every gateway out of service would help nobody. Nor would it
        // with a secret that cannot be taken over: the one before may well be good.
        let credentials = self.gateway.credentials().into_iter().map(|words| format!("credential {words}\n"));
        let credentials: String = credentials.collect();
        plain(status, format!("gateway: {state}\n{credentials}monime: {}\n", self.gateway.upstream()))
    }

    fn metrics(&self) -> Answer {
        self.gateway.measure();
        let text = TextEncoder::new().encode_to_string(&self.metrics.registry().gather());
        match text {
            Ok(text) => typed(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text.into()),
            Err(_) => error(StatusCode::INTERNAL_SERVER_ERROR, "admin_internal", "The metrics could not be written."),
        }
    }

    async fn purge<B>(&self, request: Request<B>) -> Answer
    where
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        // A browser cannot send this type across origins without asking first, so no web page can purge.
        let json = request.headers().get(CONTENT_TYPE).is_some_and(|value| is_json(value.as_bytes()));
        if !json {
            return bad_purge("Content-Type must be application/json.");
        }
        let body = timeout(PURGE_DEADLINE, Limited::new(request.into_body(), MAX_PURGE).collect()).await;
        let Ok(Ok(body)) = body else {
            return bad_purge("The body is longer than 4 KiB, broke off, or took longer than 5 s.");
        };
        match parse_purge(&body.to_bytes()) {
            Ok(purge) => {
                let purged = self.gateway.purge(&purge);
                tracing::info!(purged, "purged");
                typed(StatusCode::OK, "application/json", format!("{{\"purged\":{purged}}}").into())
            }
            Err(why) => bad_purge(why),
        }
    }
}

fn parse_purge(body: &[u8]) -> Result<Purge, &'static str> {
    const FORMS: &str = "The body must be {\"space\":…,\"id\":…}, {\"space\":…} or {\"all\":true}, and nothing else.";
    // serde would read an array of three as well.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(FORMS);
    }
    let request: PurgeRequest = serde_json::from_slice(body).map_err(|_| FORMS)?;
    let space = |space: String| SpaceId::parse(&space).map_err(|_| "`space` is not a space id.");
    let id = |id: String| SessionId::parse(&id).map_err(|_| "`id` is not a session id.");
    match (request.space, request.id, request.all) {
        (Some(named), Some(asked), None) => Ok(Purge::Session(space(named)?, id(asked)?)),
        (Some(named), None, None) => Ok(Purge::Space(space(named)?)),
        (None, None, Some(true)) => Ok(Purge::All),
        _ => Err(FORMS),
    }
}

/// Whether the request was meant for this listener. A web page whose name was rebound to this address is, to its
/// browser, of the same origin; but its browser then sends the page's name, which in public DNS has a dot.
fn is_ours<B>(request: &Request<B>) -> bool {
    let named = request.headers().get(HOST).and_then(|host| host.to_str().ok()?.parse::<Authority>().ok());
    let Some(authority) = request.uri().authority().cloned().or(named) else {
        return !request.headers().contains_key(HOST);
    };
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    host.parse::<IpAddr>().is_ok() || (!host.is_empty() && !host.contains(['.', ':']))
}

fn bad_purge(why: &str) -> Answer {
    error(StatusCode::BAD_REQUEST, "admin_purge_invalid", &format!("{why} Nothing was purged."))
}

fn not_allowed(allow: &'static str) -> Answer {
    let mut answer =
        error(StatusCode::METHOD_NOT_ALLOWED, "admin_method_not_allowed", "The Allow header says how to ask.");
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    answer
}

fn error<B: From<Bytes>>(status: StatusCode, reason: &str, message: &str) -> Response<B> {
    typed(status, "application/json", Envelope::new(status, reason, message).to_bytes())
}

fn plain(status: StatusCode, text: String) -> Answer {
    typed(status, "text/plain; charset=utf-8", text.into())
}

fn typed<B: From<Bytes>>(status: StatusCode, content_type: &'static str, body: Bytes) -> Response<B> {
    let mut answer = Response::new(B::from(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

#[cfg(test)]
mod tests;
