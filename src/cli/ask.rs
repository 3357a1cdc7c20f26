//! `get` and `healthcheck`: the commands that ask one question.

use std::io::{self, Write};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Collected, Full};
use monigate::config::{Config, Log};
use monigate::gateway::{Door, Terms, gateway};
use monigate::monime::operation::checkout_session;
use monigate::monime::{SPACE_HEADER, SessionId};
use monigate::server::Address;
use monigate::telemetry::log;
use monigate::{CannotStart, Parts};
use tokio::time::timeout;
use tower::ServiceExt;

use super::serve::{cannot_start, start_log};
use super::{FAILED, OK, plain, runtime};

/// Orchestrators give a probe a second or more; one that answers at all answers at once.
const HEALTH_DEADLINE: Duration = Duration::from_secs(2);

/// Looks one session up, through the code that serves callers. The body goes to `out`, how it went to `err`.
pub(super) fn get(
    config: Config,
    id: &str,
    space: Option<&str>,
    out: &mut impl Write,
    err: &mut impl Write,
) -> io::Result<u8> {
    // Why a lookup failed is in the log, as it is when serving.
    let _flush_at_the_end = start_log(&Log { format: log::Format::Text, level: config.log.level.clone() });
    let id = match SessionId::parse(id) {
        Ok(id) => id,
        Err(error) => return writeln!(err, "monigate: {error}").map(|()| FAILED),
    };
    let mut request = Request::builder().uri(checkout_session(id.as_ref()));
    if let Some(space) = space {
        request = request.header(SPACE_HEADER, space);
    }
    let Ok(request) = request.body(Full::<Bytes>::default()) else {
        writeln!(err, "monigate: the space holds characters that no request can carry")?;
        return Ok(FAILED);
    };
    let response = match runtime()?.block_on(look_up(config, request)) {
        Ok(response) => response,
        Err(error) => return cannot_start(&error, err),
    };
    let (head, body) = response.into_parts();
    writeln!(err, "HTTP {}", head.status)?;
    for (name, value) in &head.headers {
        writeln!(err, "{name}: {}", value.to_str().unwrap_or("(not text)"))?;
    }
    out.write_all(&body)?;
    writeln!(out)?;
    Ok(if head.status == StatusCode::OK { OK } else { FAILED })
}

async fn look_up(config: Config, request: Request<Full<Bytes>>) -> Result<Response<Bytes>, CannotStart> {
    let parts = Parts::assemble(config)?;
    // Who may read the tokens need not prove to be a caller.
    let terms = Terms { door: Door::default(), ..parts.terms };
    let Ok(response) = gateway(parts.lookups, parts.forwards, terms, parts.metrics).oneshot(request).await;
    let (head, body) = response.into_parts();
    // A lookup's body is here already.
    let body = body.collect().await.map(Collected::to_bytes).unwrap_or_default();
    Ok(Response::from_parts(head, body))
}

/// Asks the admin listener how it is.
pub(super) fn healthcheck(
    address: &Address,
    ready: bool,
    out: &mut impl Write,
    err: &mut impl Write,
) -> io::Result<u8> {
    let path = if ready { "/readyz" } else { "/livez" };
    let request = Request::builder().uri(path).body(Full::default());
    let asked = async { timeout(HEALTH_DEADLINE, plain::ask(address, request?)).await? };
    match runtime()?.block_on(asked) {
        Ok(answer) => {
            let healthy = answer.status() == StatusCode::OK;
            let said = String::from_utf8_lossy(answer.body());
            writeln!(out, "{path} at {address}: {} {}", answer.status().as_u16(), said.trim())?;
            Ok(if healthy { OK } else { FAILED })
        }
        Err(error) => {
            writeln!(err, "monigate: {path} at {address}: {error}; is the gateway running with this admin.address?")?;
            Ok(FAILED)
        }
    }
}
