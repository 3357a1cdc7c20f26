//! monigate

pub mod config;
pub mod lookup;
pub mod monime;
pub mod secret;
pub mod server;
pub mod telemetry;
pub mod upstream;
