//! The origin behind every contender: a fast server that knows every session. Owns what it answers, which is what the
//! sandbox would; refuses who lacks the token and the space, so that a contender that does not do its job is seen.
//!
//! What becomes of a session is in its id: `scs-p…` is pending, `scs-w…` completed after a wait of 200 ms, every other
//! completed at once. Monime's answers carry no `Cache-Control`; this origin's do, since most contenders cache by that alone.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, DATE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use monigate::sandbox::{DEFAULT_TOKEN, Limits, Sandbox, Settings};
use tokio::net::TcpListener;
use tokio::time::sleep;
use tower::ServiceExt;

use super::process::{LOAD_CORE, Started, free_address, pinned};
use super::wire::{Answer, SPACE, Target, path};

/// What its one session is about.
const SESSION: &str = include_str!("config/session.json");
/// How long a slow session takes.
pub(crate) const WAIT: Duration = Duration::from_millis(200);
/// Without a lookup for so long, none is under way.
const REST: Duration = Duration::from_millis(50);
/// Where it says how many lookups it has answered.
const COUNT: &str = "/count";

/// The origin's process.
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    _process: Started,
}

/// What it answers with: the pieces of a body between the places where the id stands.
struct Script {
    settled: Vec<String>,
    pending: Vec<String>,
    fields: HeaderMap,
    authorization: HeaderValue,
    answered: AtomicU64,
}

// === impl Origin ===

impl Origin {
    pub(crate) async fn start() -> io::Result<Self> {
        let address = free_address()?;
        let mut command = pinned(LOAD_CORE, &std::env::current_exe()?);
        let mut process = Started::spawn(command.arg("serve-origin").arg(address.to_string()))?;
        while Target::plain(address, "").ask(COUNT).await.is_err() {
            process.is_up()?;
            sleep(Duration::from_millis(5)).await;
        }
        Ok(Self { address, _process: process })
    }

    pub(crate) fn target(&self) -> Target {
        Target::plain(self.address, DEFAULT_TOKEN)
    }

    /// How many lookups it has answered.
    pub(crate) async fn answered(&self) -> io::Result<u64> {
        let answer = self.target().ask(COUNT).await?;
        std::str::from_utf8(&answer.body)
            .ok()
            .and_then(|text| text.parse().ok())
            .ok_or(io::ErrorKind::InvalidData.into())
    }

    /// The same, once it does not change any more: whoever makes load leaves requests behind that nobody waits for.
    pub(crate) async fn at_rest(&self) -> io::Result<u64> {
        loop {
            let before = self.answered().await?;
            sleep(REST).await;
            if self.answered().await? == before {
                return Ok(before);
            }
        }
    }

    /// What a gateway should say about a session.
    pub(crate) async fn word(&self, id: &str) -> io::Result<Answer> {
        self.target().ask(&path(id)).await
    }
}

// === the server ===

/// Serves for ever.
pub(crate) fn serve(address: &str) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let script = Arc::new(Script::of_the_sandbox().await?);
        let listener = TcpListener::bind(address).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let script = Arc::clone(&script);
            let service = service_fn(move |request| Arc::clone(&script).answer(request));
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    })
}

/// One request to a sandbox, and what it says.
async fn play(sandbox: &Sandbox, method: Method, target: &str, body: &'static str) -> io::Result<(HeaderMap, String)> {
    let request = Request::builder().method(method).uri(target).header(AUTHORIZATION, bearer());
    let request = request.header("monime-space-id", SPACE).header("idempotency-key", "order-10482");
    let request = request.header(CONTENT_TYPE, "application/json").body(Full::new(Bytes::from_static(body.as_bytes())));
    let answer = sandbox.service().oneshot(request.map_err(io::Error::other)?).await.map_err(io::Error::other)?;
    let (head, body) = answer.into_parts();
    let body = body.collect().await.map_err(|_| io::Error::other("the sandbox broke off"))?.to_bytes();
    if head.status != StatusCode::OK {
        return Err(io::Error::other(format!("the sandbox answers {}", head.status)));
    }
    Ok((head.headers, String::from_utf8(body.to_vec()).map_err(io::Error::other)?))
}

fn bearer() -> String {
    format!("Bearer {DEFAULT_TOKEN}")
}

// === impl Script ===

impl Script {
    /// Has a sandbox make a session and settle it at once, looks it up, and keeps the answer.
    async fn of_the_sandbox() -> io::Result<Self> {
        let settings = Settings { limits: Limits::NONE, settle_after: Some(Duration::ZERO), ..Settings::default() };
        let sandbox = Sandbox::new(settings);
        let (_, made) = play(&sandbox, Method::POST, "/v1/checkout-sessions", SESSION).await?;
        let begin = made.find("scs-").ok_or(io::ErrorKind::InvalidData)?;
        let id = made.get(begin..).and_then(|rest| rest.split('"').next()).ok_or(io::ErrorKind::InvalidData)?;
        let (mut fields, settled) = play(&sandbox, Method::GET, &path(id), "").await?;
        let pending = settled.replace(r#""status":"completed""#, r#""status":"pending""#);
        if pending == settled {
            return Err(io::Error::other("the sandbox did not settle its session"));
        }
        fields.remove(CONTENT_LENGTH);
        fields.remove(DATE);
        let pieces = |text: &str| text.split(id).map(str::to_owned).collect();
        let authorization = HeaderValue::from_str(&bearer()).map_err(io::Error::other)?;
        let (settled, pending) = (pieces(&settled), pieces(&pending));
        Ok(Self { settled, pending, fields, authorization, answered: AtomicU64::new(0) })
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        if request.uri().path() == COUNT {
            return Ok(Response::new(self.answered.load(Ordering::Relaxed).to_string().into()));
        }
        let field = |name| request.headers().get(name);
        let may_ask = field("authorization") == Some(&self.authorization)
            && field("monime-space-id").is_some_and(|space| space.as_bytes().starts_with(SPACE.as_bytes()));
        let Some(id) = request.uri().path().strip_prefix("/v1/checkout-sessions/").filter(|_| may_ask) else {
            let mut refused = Response::new(Full::default());
            *refused.status_mut() = StatusCode::UNAUTHORIZED;
            return Ok(refused);
        };
        self.answered.fetch_add(1, Ordering::Relaxed);
        if id.starts_with("scs-w") {
            sleep(WAIT).await;
        }
        Ok(self.about(id))
    }

    fn about(&self, id: &str) -> Response<Full<Bytes>> {
        let (pieces, cache) = if id.starts_with("scs-p") {
            (&self.pending, HeaderValue::from_static("no-store"))
        } else {
            (&self.settled, HeaderValue::from_static("max-age=86400"))
        };
        let mut response = Response::new(Full::from(pieces.join(id)));
        *response.headers_mut() = self.fields.clone();
        response.headers_mut().insert(CACHE_CONTROL, cache);
        response
    }
}
