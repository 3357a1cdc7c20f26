//! What callers are promised, held to it request by request: the whole stack in front of a scripted Monime, on a
//! paused clock and without a socket.

mod admission;
mod at_once;
mod callers;
mod conditions;
mod counting;
mod descriptions;
mod errands;
mod freshness;
mod patience;
mod readme;
mod refusals;
mod rejections;
mod stale;
mod terms;
mod verdicts;

use std::future::Future;

use bytes::Bytes;
use http::HeaderValue;
use http_body_util::{BodyExt, Full};
use tower::ServiceExt;
use tower::util::BoxCloneSyncService;

use super::*;
use crate::lookup::tests::scripted::{self, Monime, SPACE, Said, limits, metric, never_stale, ttl};
use crate::lookup::{Lifetimes, Memory, Ttl};
use crate::monime::{CURRENT_VERSION, KNOWN_VERSIONS};

/// The target of most lookups here.
const SESSION: &str = "/v1/checkout-sessions/scs-1";

/// A gateway in front of a scripted Monime.
struct Gateway {
    monime: Monime,
    metrics: Arc<Metrics>,
    service: BoxCloneSyncService<Request<Full<Bytes>>, Response<Body>, Infallible>,
    fast_path: Box<dyn FastPath + Send + Sync>,
}

/// What a caller got, to its last byte.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: http::HeaderMap,
    body: Bytes,
}

impl Gateway {
    /// On the terms of most tests: one default space, both versions, ten seconds.
    fn of(monime: Monime) -> Self {
        Self::on(monime, ttl(), |_| {})
    }

    fn saying(said: impl Fn(&crate::monime::Key) -> Said + Send + Sync + 'static) -> Self {
        Self::of(Monime::saying(said))
    }

    /// Says this status of every session.
    fn settled(status: &'static str) -> Self {
        Self::saying(move |key| Said::session(key, status))
    }

    fn on(monime: Monime, ttl: Ttl, change: impl FnOnce(&mut Terms)) -> Self {
        Self::lasting(monime, never_stale(ttl), change)
    }

    fn lasting(monime: Monime, lifetimes: Lifetimes, change: impl FnOnce(&mut Terms)) -> Self {
        let forwards = Forwards::new(tower::service_fn(|_| async { Err(Failure::NoToken) }));
        Self::passing(monime, lifetimes, forwards, change)
    }

    /// The same, with a way for what is passed on.
    fn passing(monime: Monime, lifetimes: Lifetimes, forwards: Forwards, change: impl FnOnce(&mut Terms)) -> Self {
        let versions = KNOWN_VERSIONS.map(|version| Version::parse(version).unwrap());
        let space = SpaceId::parse(SPACE).unwrap();
        let mut terms = Terms {
            default_space: Some(space.clone()),
            spaces: vec![space, SpaceId::parse("spc-other").unwrap()],
            version: versions[0].clone(),
            versions: versions.to_vec(),
            head: HeadLimits::default(),
            body: BodyLimits::default(),
            callers_may_refresh: false,
            patience: Duration::from_secs(10),
            places: Places::new(1024),
            door: Door::default(),
            writes: Writes::default(),
        };
        change(&mut terms);
        let metrics = Arc::new(Metrics::new().unwrap());
        let lookups = Lookups::new(monime.clone(), Memory::new(limits(1 << 22), Arc::clone(&metrics)), lifetimes);
        let gateway = gateway(lookups, forwards, terms, Arc::clone(&metrics));
        let fast_path = Box::new(gateway.clone());
        Self { monime, metrics, service: BoxCloneSyncService::new(gateway), fast_path }
    }

    /// Sends a request. Nothing happens before the returned future is polled.
    fn send(&self, request: Request<Full<Bytes>>) -> impl Future<Output = Answer> + Send + use<> {
        let service = self.service.clone();
        async move {
            let (head, body) = service.oneshot(request).await.unwrap().into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            Answer { status: head.status.as_u16(), headers: head.headers, body }
        }
    }

    fn ask(&self, method: &str, target: &str, headers: &[(&str, &str)]) -> impl Future<Output = Answer> + Send + use<> {
        self.send(request(method, target, headers))
    }

    fn get(&self, headers: &[(&str, &str)]) -> impl Future<Output = Answer> + Send + use<> {
        self.ask("GET", SESSION, headers)
    }

    /// A lookup of [`SESSION`] that is under way: Monime has been asked, and there have been `calls` by now.
    async fn under_way(&self, headers: &[(&str, &str)], calls: usize) -> tokio::task::JoinHandle<Answer> {
        let asking = tokio::spawn(self.get(headers));
        self.monime.asked(calls).await;
        asking
    }

    /// How many requests were counted under these labels.
    fn counted(&self, operation: &str, code: u16, outcome: &str) -> u64 {
        metric(&self.metrics, "monigate_requests_total", &[&code.to_string(), operation, outcome])
    }

    /// How many requests were counted at all.
    fn counted_in_all(&self) -> u64 {
        let families = self.metrics.registry().gather();
        let requests = families.iter().filter(|family| family.name() == "monigate_requests_total");
        let series = requests.flat_map(|family| family.get_metric());
        series.map(|one| one.get_counter().get_value() as u64).sum()
    }
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next().map(|value| value.to_str().unwrap());
        assert!(values.next().is_none(), "{name} is there twice");
        value
    }

    fn cache_status(&self) -> &str {
        self.header("cache-status").expect("every answer says how it came about")
    }

    /// The reason of an error of the gateway's own, whose shape is checked on the way.
    fn reason(&self) -> String {
        let value: serde_json::Value = serde_json::from_slice(&self.body).expect("an error is JSON");
        let error = &value["error"];
        let reason = error["reason"].as_str().expect("an error has a reason").to_owned();
        let message = error["message"].as_str().filter(|message| !message.is_empty()).expect("and a message");
        let shape = serde_json::json!({"success": false, "messages": [],
            "error": {"code": self.status, "reason": reason, "message": message, "details": []}});
        assert_eq!(value, shape);
        assert!(reason.starts_with("gateway_"), "{reason}");
        assert_eq!(self.cache_status(), format!("monigate; detail={reason}"));
        assert_eq!(self.header("content-type"), Some("application/json"));
        assert_eq!(self.header("content-length"), Some(self.body.len().to_string().as_str()));
        assert_eq!(self.header("cache-control"), Some("no-store"));
        for absent in ["etag", "age", "location", "via", "monigate-poll-after"] {
            assert_eq!(self.header(absent), None, "{absent} on {reason}");
        }
        reason
    }
}

fn request(method: &str, target: &str, headers: &[(&str, &str)]) -> Request<Full<Bytes>> {
    let mut request = Request::builder().method(method).uri(target);
    for (name, value) in headers {
        request = request.header(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    request.body(Full::default()).unwrap()
}
