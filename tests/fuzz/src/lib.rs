//! A whole gateway in this process, in front of a Monime that says what a fuzz target wants it to.
//!
//! Put together as the program does it, but for sockets; on a paused clock and with seeded jitter, so that an input has one
//! outcome. Every gateway is a new one: what an input leaves behind cannot decide about the next.

use std::convert::Infallible;
use std::future::Future;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, response};
use http_body_util::{BodyExt, Full};
use monigate::caller::{Callers, Digest, Named, Policy};
use monigate::gateway::{Body, BodyLimits, Door, Places, Terms, Writes, gateway};
use monigate::lookup::{Lifetimes, Limits, Lookups, Memory, StaleIfError, Ttl};
use monigate::monime::operation::OPERATIONS;
use monigate::monime::{KNOWN_VERSIONS, Rates, SpaceId, Version};
use monigate::secret::{Keyring, Secret, Source};
use monigate::server::HeadLimits;
use monigate::telemetry::Metrics;
use monigate::upstream::{Failure, Gate, Quota, RetryBudget, Settings, Shared, Timeouts, forwards, upstream};
use tower::ServiceExt;
use tower::util::BoxCloneSyncService;

/// The gateway's token. Nothing that is said to a caller may hold 12 consecutive characters of it.
pub const TOKEN: &str = "mon_Xq7Zw3Kv9Jt5Rb1Np8Hd2Lm6Gf4Sc0Ty";
/// The gateway key of the one caller of a gateway whose callers have names.
pub const KEY: &str = "mgk_Vu2Ea8Io4Wd6Qk0Bz5Xn1";
/// The operation that this caller may not use.
pub const FORBIDDEN: &str = "CreatePayout";
/// How many consecutive characters of a secret are one.
const PIECE: usize = 12;

/// What is counted tells nothing between inputs, and registering it takes longer than everything else.
static METRICS: LazyLock<Arc<Metrics>> = LazyLock::new(|| Arc::new(Metrics::new().expect("metrics")));

/// A gateway and what it sent to Monime.
pub struct Gateway {
    /// Every request as it left, the token in it.
    pub sent: Arc<Mutex<Vec<Request<Bytes>>>>,
    service: BoxCloneSyncService<Request<Full<Bytes>>, Response<Body>, Infallible>,
}

/// How a gateway is to be.
#[derive(Debug, Clone, Copy)]
pub struct Manner {
    /// Whether its callers must prove who they are.
    pub named: bool,
    /// The longest that a lookup may take.
    pub total: Duration,
}

impl Default for Manner {
    fn default() -> Self {
        Self { named: false, total: Duration::from_secs(10) }
    }
}

/// An answer as far as it came.
#[derive(Debug)]
pub struct Answer {
    /// Its head.
    pub head: response::Parts,
    /// Its body, up to where it broke off.
    pub body: Vec<u8>,
    /// Whether it came to its end.
    pub whole: bool,
}

impl Gateway {
    /// A gateway whose Monime answers each request, counted from zero, by `says`.
    ///
    /// # Panics
    /// Never, unless what is constant here is wrong.
    pub fn new<S>(manner: Manner, says: S) -> Self
    where
        S: Fn(usize, &Request<Bytes>) -> Response<Bytes> + Clone + Send + Sync + 'static,
    {
        fastrand::seed(7);
        let sent = Arc::new(Mutex::new(Vec::new()));
        let recorded = Arc::clone(&sent);
        let wire = tower::service_fn(move |request: Request<Full<Bytes>>| {
            let (recorded, says) = (Arc::clone(&recorded), says.clone());
            async move {
                let (head, body) = request.into_parts();
                let Ok(body) = body.collect().await;
                let request = Request::from_parts(head, body.to_bytes());
                let mut recorded = recorded.lock().expect("no panic goes on");
                let answer = says(recorded.len(), &request);
                recorded.push(request);
                Ok::<_, Failure>(answer.map(Full::new))
            }
        });
        let source = Source::environment(Secret::parse(TOKEN.as_bytes().to_vec()).expect("a token"));
        let keyring = Arc::new(Keyring::new(spaces().map(|space| (space, Arc::clone(&source))), false));
        let gate = Gate::new(1.0, Arc::clone(&METRICS));
        let shared = Shared { gate, retries: RetryBudget::default(), metrics: Arc::clone(&METRICS) };
        let seconds = Duration::from_secs;
        let timeouts = Timeouts { connect: seconds(2), attempt: seconds(5), total: manner.total, write: seconds(60) };
        let origin = "https://api.monime.io".parse().expect("an origin");
        let settings = Settings { origin, timeouts, quota: Quota::default() };
        let limits = Limits { max_size: 1 << 20, max_flights: 16, rate: Rates::LIVE.endpoint };
        let memory = Memory::new(limits, Arc::clone(&METRICS));
        let lookups = Lookups::new(upstream(wire.clone(), &keyring, &settings, &shared), memory, lifetimes());
        let forwards = forwards(wire, &keyring, &settings, &shared);
        let service = gateway(lookups, forwards, terms(manner), Arc::clone(&METRICS));
        Self { sent, service: BoxCloneSyncService::new(service) }
    }

    /// Asks once.
    ///
    /// # Panics
    /// When there is no answer within twice the longest of the gateway's own bounds.
    pub async fn ask(&self, request: Request<Full<Bytes>>) -> Answer {
        let answered = tokio::time::timeout(Duration::from_secs(600), async {
            let Ok(response) = self.service.clone().oneshot(request).await;
            let (head, mut rest) = response.into_parts();
            let mut answer = Answer { head, body: Vec::new(), whole: true };
            while let Some(frame) = rest.frame().await {
                match frame.map(|frame| frame.into_data()) {
                    Ok(Ok(data)) => answer.body.extend_from_slice(&data),
                    Ok(Err(_)) => {}
                    Err(_) => {
                        answer.whole = false;
                        break;
                    }
                }
            }
            answer
        });
        answered.await.expect("no request hangs")
    }
}

impl Answer {
    /// The text of a field that stands there once; none if it is not there.
    ///
    /// # Panics
    /// When it stands there twice, or is no text.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut values = self.head.headers.get_all(name).iter();
        let value = values.next().map(|value| value.to_str().expect("a text"));
        assert!(values.next().is_none(), "{name} stands there twice");
        value
    }

    /// The reason, if this is an error of the gateway's own, whose every part is checked on the way.
    ///
    /// # Panics
    /// When it is one and does not have Monime's shape.
    #[must_use]
    pub fn reason(&self, method: &http::Method) -> Option<String> {
        let status = self.field("cache-status").expect("every answer says how it came about");
        let reason = status.strip_prefix("monigate; detail=").filter(|reason| reason.starts_with("gateway_"))?;
        assert_eq!(self.field("cache-control"), Some("no-store"));
        assert_eq!(self.field("content-type"), Some("application/json"));
        if method == http::Method::HEAD {
            assert!(self.body.is_empty());
            return Some(reason.to_owned());
        }
        let value: serde_json::Value = serde_json::from_slice(&self.body).expect("an error is JSON");
        let message = value["error"]["message"].as_str().filter(|text| !text.is_empty()).expect("a message");
        let code = self.head.status.as_u16();
        let error = serde_json::json!({"code": code, "reason": reason, "message": message, "details": []});
        assert_eq!(value, serde_json::json!({"success": false, "messages": [], "error": error}));
        Some(reason.to_owned())
    }

    /// Everything that a caller can read of it.
    #[must_use]
    pub fn told(&self) -> Vec<u8> {
        let fields = self.head.headers.iter();
        let fields = fields.flat_map(|(name, value)| [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\n"]);
        [fields.flatten().copied().collect(), self.body.clone()].concat()
    }
}

/// Runs `work` to its end on a clock that stands still while anything is left to do, and jumps when all are waiting.
///
/// # Panics
/// When there is no runtime to be had.
pub fn on_a_paused_clock<T>(work: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().start_paused(true).build().expect("a runtime").block_on(work)
}

/// Whether `text` holds 12 consecutive characters of `secret`.
#[must_use]
pub fn holds_a_piece(text: &[u8], secret: &str) -> bool {
    let pieces: Vec<&[u8]> = secret.as_bytes().windows(PIECE).collect();
    text.windows(PIECE).any(|window| pieces.contains(&window))
}

/// Monime's answer with this status and body.
///
/// # Panics
/// When that is no status.
#[must_use]
pub fn json(status: u16, body: impl Into<Bytes>) -> Response<Bytes> {
    let response = Response::builder().status(status).header("content-type", "application/json");
    response.body(body.into()).expect("a response")
}

/// Monime's answer to a request for a session, which has this status.
#[must_use]
pub fn session(request: &Request<Bytes>, status: &str) -> Response<Bytes> {
    let id = request.uri().path().rsplit('/').next().unwrap_or_default();
    json(200, format!(r#"{{"success":true,"messages":[],"result":{{"id":"{id}","status":"{status}"}}}}"#))
}

/// Monime's error with this status.
#[must_use]
pub fn error(status: u16) -> Response<Bytes> {
    let error = r#""error":{"code":0,"reason":"monimes","message":"Monime's words.","details":[]}"#;
    json(status, format!(r#"{{"success":false,"messages":[],{error}}}"#))
}

/// The header fields of these lines, `name: value` each; none if a line is no field.
#[must_use]
pub fn fields<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    for line in lines {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        headers.append(HeaderName::from_bytes(name).ok()?, HeaderValue::from_bytes(value).ok()?);
    }
    Some(headers)
}

fn spaces() -> impl Iterator<Item = SpaceId> {
    ["spc-one", "spc-two"].into_iter().map(|space| SpaceId::parse(space).expect("a space"))
}

/// Everything is kept for a while, so that it is seen what is kept.
fn lifetimes() -> Lifetimes {
    let minute = Duration::from_secs(60);
    let ttl = Ttl { completed: minute, cancelled: minute, expired: minute, absent: minute };
    Lifetimes { ttl, stale_if_error: StaleIfError { completed: minute, cancelled: minute, expired: minute } }
}

fn terms(manner: Manner) -> Terms {
    let versions = KNOWN_VERSIONS.map(|version| Version::parse(version).expect("a version"));
    Terms {
        door: Door { callers: manner.named.then(callers), ..Door::default() },
        default_space: spaces().next(),
        spaces: spaces().collect(),
        version: versions[0].clone(),
        versions: versions.into(),
        callers_may_refresh: true,
        patience: manner.total,
        head: HeadLimits::default(),
        body: BodyLimits::default(),
        places: Places::new(16),
        writes: Writes::default(),
    }
}

fn callers() -> Arc<Callers> {
    let operations = OPERATIONS.iter().map(|operation| operation.id).filter(|id| *id != FORBIDDEN).collect();
    let policy = Policy { spaces: spaces().take(1).collect(), operations, rate: None };
    let keys = vec![Digest::of(KEY.as_bytes())];
    let named = Named { name: "fuzzer".into(), keys, san: Vec::new(), service_accounts: Vec::new(), policy };
    Arc::new(Callers::new(vec![named], None))
}
