//! What an operator may write: every key, its meaning, its shape and its default, in one place.
//!
//! Refuses to judge: a shape is text, a number or a list; what a text must say is decided in `rules`. The JSON Schema,
//! the built-in defaults and the refusal of unknown keys all come from these types. None of them can be printed: what was
//! written may be a misplaced token.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;

use crate::monime::{CURRENT_VERSION, KNOWN_VERSIONS};

/// The settings of monigate.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "monigate")]
pub(super) struct Raw {
    pub(super) listen: Listen,
    pub(super) admin: Admin,
    pub(super) monime: Monime,
    pub(super) cache: Cache,
    pub(super) budget: Budget,
    pub(super) limits: Limits,
    pub(super) shutdown: Shutdown,
    pub(super) security: Security,
    pub(super) log: Log,
}

/// Where services ask.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Listen {
    /// A loopback address such as `127.0.0.1:8080`, or `unix:/path/of.sock`.
    #[schemars(extend("default" = "127.0.0.1:8080"))]
    pub(super) address: String,
}

/// Where operators and probes ask.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Admin {
    /// An address such as `127.0.0.1:9090`, or `unix:/path/of.sock`.
    #[schemars(extend("default" = "127.0.0.1:9090"))]
    pub(super) address: String,
}

/// Which Monime is asked, and as whom.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Monime {
    /// Scheme and host of Monime; plain http only for loopback.
    #[schemars(extend("default" = "https://api.monime.io"))]
    pub(super) base_url: String,
    /// A PEM file with the certificates of a private CA in front of Monime.
    #[schemars(extend("examples" = ["/etc/monigate/ca.pem"]))]
    pub(super) ca_file: Option<String>,
    /// The egress proxy that https goes through, or `none`; left away, HTTPS_PROXY and NO_PROXY decide.
    #[schemars(extend("examples" = ["http://proxy.corp:3128"]))]
    pub(super) proxy: Option<String>,
    /// The file that holds `user:password` for the proxy.
    #[schemars(extend("examples" = ["/run/secrets/monime/proxy"]))]
    pub(super) proxy_credentials_file: Option<String>,
    /// The API release that is asked for when a caller names none.
    #[schemars(extend("default" = CURRENT_VERSION))]
    pub(super) version: String,
    /// The API releases that a caller may name.
    #[schemars(extend("default" = KNOWN_VERSIONS))]
    pub(super) versions: Vec<String>,
    /// The file that holds the token of spaces without their own; or set MONIGATE__MONIME__TOKEN in the environment.
    #[schemars(extend("examples" = ["/run/secrets/monime/token"]))]
    pub(super) token_file: Option<String>,
    /// The space of a caller that names none.
    #[schemars(extend("examples" = ["spc-yourSpace"]))]
    pub(super) default_space: Option<String>,
    /// Further spaces that callers may name.
    #[schemars(extend("default" = []))]
    pub(super) spaces: Vec<Space>,
    pub(super) timeouts: Timeouts,
}

/// A further space.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Space {
    /// The space's id.
    #[schemars(required, extend("examples" = ["spc-anotherSpace"]))]
    pub(super) id: Option<String>,
    /// The file that holds this space's own token; without it the one for all is used.
    #[schemars(extend("examples" = ["/run/secrets/another/token"]))]
    pub(super) token_file: Option<String>,
}

/// The longest that one lookup may take, in nested bounds.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Timeouts {
    /// A new connection to Monime: name, TCP and TLS, through a proxy if there is one.
    #[schemars(extend("default" = "2s"))]
    pub(super) connect: String,
    /// One request to Monime, to the last byte of its answer.
    #[schemars(extend("default" = "5s"))]
    pub(super) attempt: String,
    /// Everything that one lookup does. What it is longer than one attempt is how long a lookup may wait for its turn.
    #[schemars(extend("default" = "10s"))]
    pub(super) total: String,
}

/// What is kept, and for how long.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Cache {
    /// The most memory that kept answers may take.
    #[schemars(extend("default" = "64MiB"))]
    pub(super) max_size: Size,
    pub(super) ttl: Ttl,
    pub(super) stale_if_error: StaleIfError,
    /// Whether a caller's `Cache-Control: no-cache` asks Monime again.
    #[schemars(extend("default" = false))]
    pub(super) callers_may_refresh: bool,
}

/// How long each kind of answer is fresh; 0s means that it is not kept.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Ttl {
    /// A completed session, which cannot change any more.
    #[schemars(extend("default" = "24h"))]
    pub(super) completed: String,
    /// A cancelled session, which might still be deleted or completed late.
    #[schemars(extend("default" = "60s"))]
    pub(super) cancelled: String,
    /// An expired session, which might still be completed late.
    #[schemars(extend("default" = "60s"))]
    pub(super) expired: String,
    /// A session that Monime does not know.
    #[schemars(extend("default" = "0s"))]
    pub(super) absent: String,
}

/// How much longer each kind of answer is told when Monime fails; 0s means that it is not.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct StaleIfError {
    /// A completed session, which cannot change any more.
    #[schemars(extend("default" = "24h"))]
    pub(super) completed: String,
    /// A cancelled session; it may have become completed, so an old answer may lose a paid order.
    #[schemars(extend("default" = "0s"))]
    pub(super) cancelled: String,
    /// An expired session; it may have become completed, so an old answer may lose a paid order.
    #[schemars(extend("default" = "0s"))]
    pub(super) expired: String,
}

/// How often Monime is asked, in calls a second.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Budget {
    /// Lookups with one token; left away, what Monime grants it: 20, or 5 for a test token.
    #[schemars(range(min = 1, max = 10_000))]
    pub(super) endpoint: Option<i64>,
    /// All calls with one token; without it 80, or 20 with a test token.
    #[schemars(range(min = 1, max = 10_000))]
    pub(super) token: Option<i64>,
    /// All calls for one space; without it 500, or 100 with a test token.
    #[schemars(range(min = 1, max = 10_000))]
    pub(super) space: Option<i64>,
    /// This gateway's part of those limits, from 0.001 to 1; with several gateways on one token, one divided by their
    /// number: 0.25 for four.
    #[schemars(extend("default" = 1.0, "minimum" = 0.001, "maximum" = 1))]
    pub(super) share: f64,
}

/// How much is done at once.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Limits {
    /// The most requests that may wait on Monime at a time; answers from memory do not count.
    #[schemars(range(min = 1, max = 65_536), extend("default" = 1024))]
    pub(super) max_in_flight: i64,
}

/// How it ends.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Shutdown {
    /// How long it still accepts after readiness failed.
    #[schemars(extend("default" = "0s"))]
    pub(super) delay: String,
    /// How long connections may take to finish after that.
    #[schemars(extend("default" = "20s"))]
    pub(super) timeout: String,
}

/// What is allowed although it is risky.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Security {
    /// Whether a secret's file may be readable by everyone on the machine.
    #[schemars(extend("default" = false))]
    pub(super) allow_world_readable_secrets: bool,
}

/// What is logged, to standard error.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Log {
    /// `json` for machines or `text` for people.
    #[schemars(extend("default" = "json", "enum" = ["json", "text"]))]
    pub(super) format: String,
    /// error, warn, info, debug, trace or off; or a list such as `info,monigate::upstream=debug`.
    #[schemars(extend("default" = "info"))]
    pub(super) level: String,
}

/// A number of bytes: text with a unit, or a plain number.
#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct Size(pub(super) String);

impl JsonSchema for Size {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Size".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({"type": ["string", "integer"], "minimum": 0})
    }
}
