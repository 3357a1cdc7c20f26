//! Who may ask, over real sockets: by which proofs, for which spaces, how often, and what is written about it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what a test cannot prepare is its failure"
)]

#[path = "admits_callers/accounts.rs"]
mod accounts;
#[path = "admits_callers/certified.rs"]
mod certified;
#[path = "admits_callers/confined.rs"]
mod confined;
#[path = "admits_callers/keys.rs"]
mod keys;
#[path = "admits_callers/places.rs"]
mod places;
mod support;
