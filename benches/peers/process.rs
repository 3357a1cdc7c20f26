//! The processes that the bench starts: on which core, with what children, and that all of them end with it. Refuses to
//! touch any process that it did not start.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::sleep;

/// Where servers run, and where load and origin do.
pub(crate) const SERVER_CORE: &str = "0";
pub(crate) const LOAD_CORE: &str = "1";

/// How long a server may take to end by itself.
const PATIENCE: u32 = 1000;
const MOMENT: Duration = Duration::from_millis(10);

/// A process and those that it starts; ended with this.
pub(crate) struct Started(Child);

/// A process, and when it began: a number that comes again is not it.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
struct Known {
    id: u32,
    began: u64,
}

/// A command that runs on one core.
pub(crate) fn pinned(core: &str, program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command.arg("-c").arg(core).arg(program).stdin(Stdio::null());
    command
}

/// Puts the bench itself where the load is.
pub(crate) fn pin_this_process() -> io::Result<()> {
    let id = std::process::id().to_string();
    let status = Command::new("taskset").args(["-a", "-c", "-p", LOAD_CORE, &id]).stdout(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other("taskset could not put the bench on core 1")) }
}

pub(crate) fn free_address() -> io::Result<SocketAddr> {
    std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()
}

// === impl Started ===

impl Started {
    pub(crate) fn spawn(command: &mut Command) -> io::Result<Self> {
        command.spawn().map(Self)
    }

    /// It and every process below it.
    pub(crate) fn processes(&self) -> Vec<u32> {
        self.known().iter().map(|known| known.id).collect()
    }

    /// Waits for its end.
    pub(crate) async fn finished(&mut self) -> io::Result<ExitStatus> {
        loop {
            if let Some(status) = self.0.try_wait()? {
                return Ok(status);
            }
            sleep(MOMENT).await;
        }
    }

    /// An error once it has ended by itself.
    pub(crate) fn is_up(&mut self) -> io::Result<()> {
        let ended = self.0.try_wait()?;
        ended.map_or(Ok(()), |status| Err(io::Error::other(format!("ended by itself: {status}"))))
    }

    fn known(&self) -> Vec<Known> {
        let mut found: Vec<Known> = Known::of(self.0.id()).map(|(known, _)| known).into_iter().collect();
        let all: Vec<(Known, u32)> = everyone().filter_map(Known::of).collect();
        let mut at = 0;
        while let Some(parent) = found.get(at).copied() {
            found.extend(all.iter().filter(|(_, above)| *above == parent.id).map(|(known, _)| *known));
            at += 1;
        }
        found
    }

    fn has_ended(&mut self) -> bool {
        self.0.try_wait().is_ok_and(|status| status.is_some())
    }
}

impl Drop for Started {
    #[expect(clippy::disallowed_methods, reason = "dropped without a runtime, too, and waits for another process")]
    fn drop(&mut self) {
        let family = self.known();
        // The servers end their workers when they are asked to; killed, they would leave them behind.
        signal(self.0.id(), Signal::TERM);
        for _ in 0..PATIENCE {
            if self.has_ended() {
                break;
            }
            std::thread::sleep(MOMENT);
        }
        // Both fail where it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
        family.into_iter().filter(Known::is_there).for_each(|left| signal(left.id, Signal::KILL));
    }
}

fn signal(id: u32, signal: Signal) {
    // It may have ended already.
    let _ = i32::try_from(id).ok().and_then(Pid::from_raw).map(|pid| kill_process(pid, signal));
}

fn everyone() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

// === impl Known ===

impl Known {
    /// A process, and its parent.
    fn of(id: u32) -> Option<(Self, u32)> {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        // The name may hold anything, also blanks and brackets.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let began = fields.get(19)?.parse().ok()?;
        Some((Self { id, began }, fields.get(1)?.parse().ok()?))
    }

    fn is_there(&self) -> bool {
        Self::of(self.id).is_some_and(|(now, _)| now == *self)
    }
}
