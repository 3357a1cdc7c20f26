//! What an operator sees while it runs: metrics and logs.

pub mod log;
