//! Callers that mean harm, over raw sockets: messages that could be read in two ways, floods, and those who take their
//! time. What each meets on HTTP/1.1 and HTTP/2, with TLS and without.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what a test cannot prepare is its failure"
)]

#[path = "hostile_callers/bodies.rs"]
mod bodies;
#[path = "hostile_callers/crowd.rs"]
mod crowd;
#[path = "hostile_callers/defects.rs"]
mod defects;
#[path = "hostile_callers/floods.rs"]
mod floods;
#[path = "hostile_callers/frames.rs"]
mod frames;
#[path = "hostile_callers/framing.rs"]
mod framing;
#[path = "hostile_callers/ground.rs"]
mod ground;
#[path = "hostile_callers/http2.rs"]
mod http2;
#[path = "hostile_callers/limits.rs"]
mod limits;
#[path = "hostile_callers/running.rs"]
mod running;
#[path = "hostile_callers/slow.rs"]
mod slow;
mod support;
#[path = "hostile_callers/weight.rs"]
mod weight;
