//! Logs: one event a line, to standard error, written off the request's path.
//!
//! A reader that stops reading must not stop payments: lines wait in a bounded queue, and when it is full they are
//! dropped. Refuses to print a panic's message, which could quote what was being handled; its place is printed.

use std::io;
use std::panic;

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

/// How a log line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line, for machines.
    Json,
    /// Columns, for people.
    Text,
}

/// Starts logging for the whole process. Lines are flushed when the guard is dropped.
///
/// # Errors
/// When the process logs already.
pub fn start(format: Format, filter: EnvFilter) -> Result<WorkerGuard, StartedTwice> {
    let (writer, guard) = NonBlockingBuilder::default().lossy(true).finish(io::stderr());
    let lines = fmt().with_env_filter(filter).with_writer(writer).with_ansi(false);
    let started = match format {
        Format::Json => lines.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init(),
        Format::Text => lines.try_init(),
    };
    started.map_err(|_| StartedTwice)?;
    panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "a task panicked; this is a bug");
    }));
    Ok(guard)
}

/// The process has a subscriber already.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("logging has been started already")]
pub struct StartedTwice;
