//! What an operator may write of how much is borne.
//!
//! Refuses to judge, as all of `raw`.

use schemars::JsonSchema;
use serde::Deserialize;

use super::Size;

/// How much is borne: at once, in size and in time.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Limits {
    /// The most requests that may wait on Monime at a time, at most two thirds of them one caller's; answers from memory do not
    /// count.
    #[schemars(range(min = 1, max = 65_536), extend("default" = 1024))]
    pub(in crate::config) max_in_flight: i64,
    /// The most connections that may be open at once; fewer where the process may not have so many files open.
    #[schemars(range(min = 1, max = 1_048_576), extend("default" = 16_384))]
    pub(in crate::config) connections: i64,
    /// How many of them may be of one address, or of one /64 of IPv6; left away, all: an ingress is one address.
    #[schemars(range(min = 1, max = 1_048_576), extend("examples" = [64]))]
    pub(in crate::config) connections_per_peer: Option<i64>,
    /// The largest head of a request, from 1KiB to 64KiB; over HTTP/2 at most 16KiB.
    #[schemars(extend("default" = "64KiB"))]
    pub(in crate::config) head_size: Size,
    /// The most header fields of a request.
    #[schemars(range(min = 1, max = 100), extend("default" = 100))]
    pub(in crate::config) head_fields: i64,
    /// The longest request target, from 256B to 64KiB.
    #[schemars(extend("default" = "8KiB"))]
    pub(in crate::config) target_size: Size,
    /// The largest body of a write, from 1KiB to 8MiB; as many as `max_in_flight` may be in memory at once.
    #[schemars(extend("default" = "256KiB"))]
    pub(in crate::config) body_size: Size,
    pub(in crate::config) timeouts: ConnectionTimeouts,
}

/// How long a connection may take over what.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct ConnectionTimeouts {
    /// The TLS handshake.
    #[schemars(extend("default" = "5s"))]
    pub(in crate::config) handshake: String,
    /// The head of a request, the first one included.
    #[schemars(extend("default" = "10s"))]
    pub(in crate::config) head: String,
    /// The body of a write.
    #[schemars(extend("default" = "10s"))]
    pub(in crate::config) body: String,
    /// Without a request, after the first; longer than clients keep idle connections, so that they close first.
    #[schemars(extend("default" = "60s"))]
    pub(in crate::config) idle: String,
    /// Without taking a byte of what it is sent.
    #[schemars(extend("default" = "30s"))]
    pub(in crate::config) send: String,
    /// In all; it ends between two requests, a tenth sooner or later.
    #[schemars(extend("default" = "1h"))]
    pub(in crate::config) age: String,
}
