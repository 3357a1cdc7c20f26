//! What an operator sees while it runs: every metric on one page, logs, and the words that both use.
//!
//! Refuses global state: the registry is passed to whoever counts, so that two gateways in one process do not mix.

pub mod audit;
pub mod log;
mod metrics;
mod outcome;

pub use log::causes;
pub use metrics::Metrics;
pub use outcome::Outcome;
