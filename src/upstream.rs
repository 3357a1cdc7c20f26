//! Asking Monime: a typed key in, one complete reply or one failure out.
//!
//! Owns everything that touches the wire: the pooled client, the credential, the deadlines, the bound on bodies.
//! Refuses to know what an answer means: that is `monime::verdict`'s, and what to do about it is `lookup`'s.

#[cfg_attr(not(test), expect(dead_code, reason = "the layer that asks it comes next"))]
mod admission;
mod client;
mod credentials;
mod deadline;
mod failure;
mod observe;
mod origin;
pub mod plain;
mod read;
mod roots;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, StatusCode, Version};
use tower::ServiceBuilder;
use tower::util::BoxCloneSyncService;

pub use client::{Client, NoClient};
pub use failure::{Bound, Failure, Unreadable};
pub use origin::{InvalidOrigin, Origin, Timeouts};
pub use roots::{InvalidRoots, roots};

use crate::monime::Key;
use crate::secret::Secret;
use crate::telemetry::Metrics;
use credentials::Credentials;
use deadline::Deadline;
use observe::Observe;
use read::Read;

/// A lookup that has to go to Monime.
#[derive(Debug, Clone)]
pub struct Fetch {
    /// What is asked for.
    pub key: Key,
}

/// A complete answer of Monime's, decoded, with the headers that may be passed on and no others.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The protocol it came by, for `Via`.
    pub protocol: Version,
    /// `Content-Type`, `Retry-After` and Monime's diagnostic headers; copies, which pin no read buffer.
    pub headers: HeaderMap,
    /// The body, byte for byte; empty for statuses whose body nobody may see.
    pub body: Bytes,
}

/// Whoever can answer a [`Fetch`]: always ready, cancel-safe (dropping the future aborts the request).
pub type Upstream = BoxCloneSyncService<Fetch, Reply, Failure>;

/// Everything between a lookup and the wire, outermost first.
#[must_use]
pub fn upstream(client: Client, token: Arc<Secret>, timeouts: Timeouts, metrics: Arc<Metrics>) -> Upstream {
    let origin = client.origin().clone();
    let stack = ServiceBuilder::new()
        // Whatever happens below, whoever waits knows when it ends.
        .layer_fn(|inner| Deadline::total(inner, timeouts.total))
        // Below the total deadline, so that each request to Monime is counted, also one that ran out of time.
        .layer_fn(|inner| Observe::new(inner, Arc::clone(&metrics)))
        // Bounds the body too: a reply counts when its last byte is there.
        .layer_fn(|inner| Deadline::attempt(inner, timeouts.attempt))
        // Above the credential, which it must be able to recognise in what comes back.
        .layer_fn(|inner| Read::new(inner, origin.clone(), Arc::clone(&token)))
        // Last before the wire: nothing above ever holds a request with the token in it.
        .layer_fn(|inner| Credentials::new(inner, Arc::clone(&token)))
        .service(client);
    BoxCloneSyncService::new(stack)
}
