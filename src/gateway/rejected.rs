//! How the listener for services says that it turns a request away by itself: as the stack would, and as much heard of.
//!
//! Counts it, logs it and has it in the audit as every refusal of a stranger. Refuses to name a caller, a space or an
//! operation: nothing of such a request was believed.

use std::sync::Arc;

use futures_util::FutureExt;
use http::Response;
use http_body_util::{BodyExt, Collected};

use super::measure::Measurement;
use super::rescue;
use crate::server::Reject;
use crate::telemetry::Metrics;

/// Tells of rejections in Monime's envelope, and counts them; `named` says whether callers have names at the moment.
pub fn reject(metrics: Arc<Metrics>, named: impl Fn() -> bool + Send + Sync + 'static) -> Reject {
    Arc::new(move |rejection| {
        let mut measurement = Measurement::of_nobody(Arc::clone(&metrics), named());
        let (head, body) = measurement.answered(rescue::turned_away(rejection)).into_parts();
        // An error's body is here already.
        let body = body.collect().now_or_never().and_then(Result::ok).map(Collected::to_bytes);
        Response::from_parts(head, body.unwrap_or_default())
    })
}
