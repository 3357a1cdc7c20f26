//! monigate

pub mod lookup;
pub mod monime;
pub mod sandbox;
pub mod secret;
pub mod server;
pub mod telemetry;
pub mod upstream;
