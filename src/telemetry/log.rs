//! Logs: one event a line, to standard error, written off the request's path.
//!
//! A reader that stops reading must not stop payments: lines wait in a bounded queue, and when it is full they are
//! dropped. Refuses to print a panic's message, which could quote what was being handled; its place is printed.

use std::io;
use std::panic;
use std::sync::OnceLock;

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, fmt, registry, reload};

/// How many lines wait at most. The queue takes its room at once, 32 bytes a line.
const WAITING: usize = 16 * 1024;

/// Where the filter of the process's one subscriber can be changed.
static FILTER: OnceLock<reload::Handle<Targets, Registry>> = OnceLock::new();

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
pub fn start(format: Format, filter: Targets) -> Result<WorkerGuard, StartedTwice> {
    let (writer, guard) = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(WAITING).finish(io::stderr());
    let (filter, handle) = reload::Layer::new(filter);
    let lines = fmt::layer().with_writer(writer).with_ansi(false);
    let process = registry().with(filter);
    let started = match format {
        Format::Json => {
            process.with(lines.json().flatten_event(true).with_current_span(false).with_span_list(false)).try_init()
        }
        Format::Text => process.with(lines).try_init(),
    };
    started.map_err(|_| StartedTwice)?;
    // Set once: a second subscriber has just been refused.
    let _ = FILTER.set(handle);
    panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "a task panicked; this is a bug");
    }));
    Ok(guard)
}

/// From now on logs what `level` lets through: a level, or a list of directives. Does nothing while nothing is logged, or
/// if it is neither.
pub fn refilter(level: &str) {
    if let (Some(handle), Ok(filter)) = (FILTER.get(), level.parse::<Targets>()) {
        // It fails only without a subscriber, which nobody takes away.
        let _ = handle.reload(filter);
    }
}

/// An error and what is behind it, in one line.
#[must_use]
pub fn causes(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(": ");
        line.push_str(&error.to_string());
        cause = error.source();
    }
    line
}

/// The process has a subscriber already.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("logging has been started already")]
pub struct StartedTwice;
