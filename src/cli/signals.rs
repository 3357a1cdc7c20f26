//! The signals of the operating system, as two moments: stop, and stop at once.
//!
//! The first SIGTERM or SIGINT asks to finish, the second does not wait for it. SIGHUP is survived and said to do
//! nothing, because its default would be to die.

use std::io;

use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use super::runtime;

/// The handlers, in place from the moment this exists.
#[derive(Debug)]
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    /// A runtime, and the signals of the process taken over by it.
    pub(super) fn take() -> io::Result<(Runtime, Self)> {
        let runtime = runtime()?;
        let entered = runtime.enter();
        let signals = Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        };
        drop(entered);
        Ok((runtime, signals))
    }

    /// Runs `work`, which is given the first signal as a future; returns none if a second one ended it.
    pub(super) async fn over<W, F>(mut self, work: W) -> Option<F::Output>
    where
        W: FnOnce(oneshot::Receiver<()>) -> F,
        F: Future,
    {
        let (stop, stopped) = oneshot::channel();
        let signals = async {
            self.next().await;
            // If nobody listens any more, the work is done anyway.
            let _ = stop.send(());
            self.next().await;
        };
        tokio::select! {
            done = work(stopped) => Some(done),
            () = signals => None,
        }
    }

    async fn next(&mut self) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hang_up.recv() => tracing::warn!("SIGHUP: reloading is not supported; restart to reload"),
            }
        }
    }
}
