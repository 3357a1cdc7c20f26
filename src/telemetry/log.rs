//! Logs: one event a line, to standard error, written off the request's path.
//!
//! A reader that stops reading must not stop payments: lines wait in a bounded queue, and when it is full they are
//! dropped. Refuses to print a panic's message, which could quote what was being handled; its place is printed.

use std::io;
use std::panic;
use std::sync::OnceLock;

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

/// Changes what is logged, in the process's one subscriber.
static REFILTER: OnceLock<Box<dyn Fn(EnvFilter) + Send + Sync>> = OnceLock::new();

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
    let lines = fmt().with_env_filter(filter).with_writer(writer).with_ansi(false).with_filter_reloading();
    let started = match format {
        Format::Json => {
            let lines = lines.json().flatten_event(true).with_current_span(false).with_span_list(false);
            let handle = lines.reload_handle();
            lines.try_init().map(|()| refilter_by(move |filter| drop(handle.reload(filter))))
        }
        Format::Text => {
            let handle = lines.reload_handle();
            lines.try_init().map(|()| refilter_by(move |filter| drop(handle.reload(filter))))
        }
    };
    started.map_err(|_| StartedTwice)?;
    panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "a task panicked; this is a bug");
    }));
    Ok(guard)
}

/// From now on logs what `filter` lets through. Does nothing while nothing is logged.
pub fn refilter(filter: EnvFilter) {
    if let Some(refilter) = REFILTER.get() {
        refilter(filter);
    }
}

fn refilter_by(refilter: impl Fn(EnvFilter) + Send + Sync + 'static) {
    // Set once: a second subscriber is refused before this.
    let _ = REFILTER.set(Box::new(refilter));
}

/// The process has a subscriber already.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("logging has been started already")]
pub struct StartedTwice;
