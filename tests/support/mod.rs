//! What several tests share. Here: a gateway's stack in this process, in front of a Monime that is a function; in the
//! files beside it: whole gateways over real sockets, a Monime made of raw bytes, and clients.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what a test cannot prepare is its failure"
)]

pub(crate) mod callers;
pub(crate) mod certificates;
pub(crate) mod client;
pub(crate) mod gateway;
pub(crate) mod leaks;
pub(crate) mod mirrors;
pub(crate) mod pages;
pub(crate) mod process;
pub(crate) mod proxy;
pub(crate) mod tokens;
pub(crate) mod upstream;

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, Version};
use http_body_util::Empty;
use monigate::gateway::{Body, BodyLimits, Door, Places, Terms, Writes, gateway};
use monigate::lookup::{Lifetimes, Limits, Lookups, Memory, StaleIfError, Ttl};
use monigate::monime::{self, SpaceId};
use monigate::server::{FastPath, HeadLimits};
use monigate::telemetry::Metrics;
use monigate::upstream::{CameBy, Failure, Fetch, Forwards, Reply};
use tower::{Service, ServiceExt, service_fn};

/// Lifetimes as the defaults have them.
pub(crate) const LIFETIMES: Lifetimes = Lifetimes {
    ttl: Ttl {
        completed: Duration::from_secs(24 * 60 * 60),
        cancelled: Duration::from_secs(60),
        expired: Duration::from_secs(60),
        absent: Duration::ZERO,
    },
    stale_if_error: StaleIfError {
        completed: Duration::from_secs(24 * 60 * 60),
        cancelled: Duration::ZERO,
        expired: Duration::ZERO,
    },
};

/// One space, every version.
pub(crate) fn terms() -> Terms {
    let versions: Vec<_> = monime::KNOWN_VERSIONS.iter().map(|name| monime::Version::parse(name).unwrap()).collect();
    Terms {
        default_space: Some(SpaceId::parse("spc-1").unwrap()),
        spaces: vec![SpaceId::parse("spc-1").unwrap()],
        version: versions[0].clone(),
        versions,
        head: HeadLimits::default(),
        body: BodyLimits::default(),
        callers_may_refresh: false,
        patience: Duration::from_secs(10),
        places: Places::new(1024),
        door: Door::default(),
        writes: Writes::default(),
    }
}

/// A way to Monime that nothing may take.
pub(crate) fn no_forwards() -> Forwards {
    Forwards::new(service_fn(|_| ready(Err(Failure::NoToken))))
}

/// A completed session, padded to about `size` bytes.
pub(crate) fn completed(fetch: &Fetch, size: usize) -> Reply {
    let id = &fetch.key.id;
    let head = format!(r#"{{"success":true,"messages":[],"result":{{"id":"{id}","status":"completed","name":""#);
    let padding = "x".repeat(size.saturating_sub(head.len() + 3));
    let headers = [
        ("content-type", "application/json"),
        ("monime-request-id", "req-0123456789abcdef"),
        ("monime-request-timestamp", "2026-11-22T07:00:00Z"),
        ("monime-request-duration", "12"),
    ];
    let headers = headers.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
    Reply {
        status: StatusCode::OK,
        protocol: Version::HTTP_11,
        headers: HeaderMap::from_iter(headers),
        // Without spare room, as the client leaves it.
        body: format!(r#"{head}{padding}"}}}}"#).into_bytes().into_boxed_slice().into(),
        came_by: CameBy::default(),
    }
}

/// A Monime that answers every lookup with a completed session of about `size` bytes, at once.
pub(crate) fn lookups(
    size: usize,
    max_size: u64,
    metrics: &Arc<Metrics>,
) -> Lookups<
    impl Service<Fetch, Response = Reply, Error = Failure, Future = Ready<Result<Reply, Failure>>>
    + Clone
    + Send
    + Sync
    + 'static
    + use<>,
> {
    let monime = service_fn(move |fetch: Fetch| ready(Ok::<_, Failure>(completed(&fetch, size))));
    let limits = Limits { max_size, max_flights: 1024, rate: 20 };
    Lookups::new(monime, Memory::new(limits, Arc::clone(metrics)), LIFETIMES)
}

/// Asks the stack for one session.
pub(crate) async fn look_up<S>(stack: &S, id: &str) -> Response<Body>
where
    S: Service<Request<Empty<Bytes>>, Response = Response<Body>, Error = Infallible> + Clone,
{
    let Ok(response) = stack.clone().oneshot(request(id)).await;
    response
}

/// A lookup as a plain client sends it.
pub(crate) fn request(id: &str) -> Request<Empty<Bytes>> {
    Request::builder()
        .uri(format!("/v1/checkout-sessions/{id}"))
        .header("host", "127.0.0.1:8080")
        .header("accept", "*/*")
        .header("user-agent", "test")
        .body(Empty::new())
        .unwrap()
}

/// The whole stack over [`lookups`].
pub(crate) fn stack(
    size: usize,
    max_size: u64,
) -> impl Service<Request<Empty<Bytes>>, Response = Response<Body>, Error = Infallible, Future: Send> + FastPath + Clone
{
    let metrics = Arc::new(Metrics::new().unwrap());
    gateway(lookups(size, max_size, &metrics), no_forwards(), terms(), metrics)
}
