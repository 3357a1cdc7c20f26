//! The signals of the operating system, as what they ask for: stop, stop at once, reload.
//!
//! The first SIGTERM or SIGINT asks to finish, the second does not wait for it. SIGHUP asks to reload; where there is
//! nothing to reload it is survived, because its default would be to die.

use std::io;

use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

use super::runtime;

/// The handlers, in place from the moment this exists.
#[derive(Debug)]
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

/// Resolves when the work is asked to finish.
#[derive(Debug)]
pub(super) struct Stop(oneshot::Receiver<()>);

/// Has an item for each reload that is asked for; several that come at once may be one.
pub(super) type HangUps = mpsc::Receiver<()>;

// === impl Stop ===

impl Stop {
    pub(super) async fn asked(self) {
        self.0.await.unwrap_or_default();
    }
}

// === impl Signals ===

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

    /// Runs `work`, which is given what is asked of it; returns none if a second signal ended it.
    pub(super) async fn over<W, F>(mut self, work: W) -> Option<F::Output>
    where
        W: FnOnce(Stop, HangUps) -> F,
        F: Future,
    {
        let (stop, stopped) = oneshot::channel();
        let (reload, hang_ups) = mpsc::channel(1);
        let signals = async {
            self.ended(&reload).await;
            // If nobody listens any more, the work is done anyway.
            let _ = stop.send(());
            self.ended(&reload).await;
        };
        tokio::select! {
            done = work(Stop(stopped), hang_ups) => Some(done),
            () = signals => None,
        }
    }

    /// Passes on SIGHUPs until one of the others comes.
    async fn ended(&mut self, reload: &mpsc::Sender<()>) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                // One that waits will see what this one is about, too.
                _ = self.hang_up.recv() => drop(reload.try_send(())),
            }
        }
    }
}
