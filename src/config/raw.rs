//! What an operator may write: every key, its meaning, its shape and its default, in one place.
//!
//! Refuses to judge: a shape is text, a number or a list; what a text must say is decided in `rules`. The JSON Schema,
//! the built-in defaults and the refusal of unknown keys all come from these types. None of them can be printed: what was
//! written may be a misplaced token.

mod limits;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use serde_json::{Value as Json, json};

use crate::monime::operation::OPERATIONS;
use crate::monime::{CURRENT_VERSION, KNOWN_VERSIONS};
pub(super) use limits::{ConnectionTimeouts, Limits};

/// The settings of monigate.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "monigate")]
pub(super) struct Raw {
    pub(super) listen: Listen,
    pub(super) admin: Admin,
    /// Who may ask, and for what; without any, everyone who reaches the listener, which is then for this machine only.
    pub(super) callers: Option<Vec<Caller>>,
    /// Whose service-account tokens are believed.
    pub(super) jwt: Option<Jwt>,
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
    /// An address such as `127.0.0.1:8080`, or `unix:/path/of.sock`; one that other machines reach needs callers.
    #[schemars(extend("default" = "127.0.0.1:8080"))]
    pub(super) address: String,
    /// Who may connect to a Unix socket, as octal permissions; left away, 0660.
    #[schemars(extend("examples" = ["0660"]))]
    pub(super) socket_mode: Option<String>,
    /// A header that every request must carry, one that a web page cannot send to another origin unasked.
    #[schemars(extend("examples" = ["X-Monigate-Request"]))]
    pub(super) require_header: Option<String>,
    /// TLS on this listener.
    pub(super) tls: Option<Tls>,
}

/// TLS on a listener.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Tls {
    /// The certificate chain in PEM, the gateway's own first.
    #[schemars(required, extend("examples" = ["/etc/monigate/tls/tls.crt"]))]
    pub(super) cert_file: Option<String>,
    /// Its private key in PEM.
    #[schemars(required, extend("examples" = ["/etc/monigate/tls/tls.key"]))]
    pub(super) key_file: Option<String>,
    /// The CA in PEM that callers' certificates must come from; left away, callers are asked for none.
    #[schemars(extend("examples" = ["/etc/monigate/tls/clients.pem"]))]
    pub(super) client_ca_file: Option<String>,
    /// Whether a caller may come without a certificate, `optional`, or not, `required`; left away, optional.
    #[schemars(extend("examples" = ["required"], "enum" = ["optional", "required"]))]
    pub(super) client_auth: Option<String>,
}

/// Where operators and probes ask.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Admin {
    /// An address such as `127.0.0.1:9090`, or `unix:/path/of.sock`.
    #[schemars(extend("default" = "127.0.0.1:9090"))]
    pub(super) address: String,
    /// SHA-256 digests of operators' keys; with any, `/config` and `/purge` are open to who sends such a key alone.
    #[schemars(extend("default" = []))]
    pub(super) keys_sha256: Vec<String>,
}

/// Who may ask, and for what.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Caller {
    /// Its name in logs and metrics: 1 to 64 of A-Z a-z 0-9 . _ -
    #[schemars(required, extend("examples" = ["storefront"], "pattern" = "^[A-Za-z0-9._-]{1,64}$"))]
    pub(super) name: Option<String>,
    /// SHA-256 digests of its gateway keys, never the keys; `monigate key digest` computes one.
    #[schemars(extend("examples" = [["<64 hex digits>"]]))]
    pub(super) keys_sha256: Option<Vec<String>>,
    /// Subject alternative names of its certificate, URIs or DNS names; they need `listen.tls.client_ca_file`.
    #[schemars(extend("examples" = [["spiffe://cluster/ns/shop/sa/storefront"]]))]
    pub(super) san: Option<Vec<String>>,
    /// Its Kubernetes service accounts, as `namespace/name`; for these `[jwt]` is needed.
    #[schemars(extend("examples" = [["shop/storefront"]]))]
    pub(super) service_accounts: Option<Vec<String>>,
    /// The spaces it may name, out of `monime.default_space` and `monime.spaces`.
    #[schemars(required, extend("examples" = [["spc-yourSpace"]], "minItems" = 1))]
    pub(super) spaces: Option<Vec<String>>,
    /// The operations it may use, by Monime's operationIds.
    #[schemars(required, extend("examples" = [["GetCheckoutSession"]], "minItems" = 1, "items" = operation_ids()))]
    pub(super) operations: Option<Vec<String>>,
    /// How many requests a second it may make, those from memory too; left away, as many as it likes.
    #[schemars(range(min = 1, max = 100_000), extend("examples" = [50]))]
    pub(super) rate: Option<i64>,
    /// How many requests at once after a pause; left away, as many as in a second.
    #[schemars(range(min = 1, max = 100_000), extend("examples" = [100]))]
    pub(super) burst: Option<i64>,
}

fn operation_ids() -> Json {
    json!({"type": "string", "enum": OPERATIONS.iter().map(|operation| operation.id).collect::<Vec<_>>()})
}

/// Whose service-account tokens are believed.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Jwt {
    /// Who must have issued a token, its `iss`.
    #[schemars(required, extend("examples" = ["https://kubernetes.default.svc"]))]
    pub(super) issuer: Option<String>,
    /// For whom it must have been issued, in its `aud`.
    #[schemars(required, extend("examples" = ["monigate"]))]
    pub(super) audience: Option<String>,
    /// The file with the issuer's public keys (JWKS); or `jwks_url`.
    #[schemars(extend("examples" = ["/etc/monigate/jwks.json"]))]
    pub(super) jwks_file: Option<String>,
    /// Where the issuer's public keys (JWKS) are to be had; plain http only for loopback.
    #[schemars(extend("examples" = ["https://kubernetes.default.svc/openid/v1/jwks"]))]
    pub(super) jwks_url: Option<String>,
    /// A PEM file with the certificates of a private CA in front of `jwks_url`.
    #[schemars(extend("examples" = ["/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"]))]
    pub(super) ca_file: Option<String>,
    /// The file that holds a bearer token for `jwks_url`, read anew each time.
    #[schemars(extend("examples" = ["/var/run/secrets/kubernetes.io/serviceaccount/token"]))]
    pub(super) token_file: Option<String>,
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
    /// The space of a request that names none, where there are no callers.
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
    /// Everything that one lookup does. Beyond one attempt, it is how long any request may wait for its turn.
    #[schemars(extend("default" = "10s"))]
    pub(super) total: String,
    /// The longest that a write may take once it was sent.
    #[schemars(extend("default" = "60s"))]
    pub(super) write: String,
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
    /// Calls of one operation with one token; left away, what Monime grants it: 20, or 5 for a test token.
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

/// How it ends.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Shutdown {
    /// How long it still accepts after readiness failed.
    #[schemars(extend("default" = "0s"))]
    pub(super) delay: String,
    /// How long connections, and writes whose callers have left, may take to finish after that.
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
