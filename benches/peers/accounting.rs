//! What a server cost, by the operating system's own account: time on a CPU, and memory. Reads `/proc`, and asks no server
//! about itself.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

/// Nanoseconds that no thread which serves stays below.
const HELPER: u64 = 20_000_000;

/// Nanoseconds on a CPU so far, of each thread of some processes: the first field of its `schedstat`.
pub(crate) struct Spent(BTreeMap<(u32, u32), u64>);

/// Memory of some processes together, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Resident(pub(crate) f64);

// === impl Spent ===

impl Spent {
    pub(crate) fn by(processes: &[u32]) -> Self {
        let threads = processes.iter().flat_map(|process| {
            let tasks = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
            tasks.filter_map(|task| {
                let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
                let thread = task.file_name().to_str()?.parse().ok()?;
                Some(((*process, thread), text.split(' ').next()?.parse().ok()?))
            })
        });
        Self(threads.collect())
    }

    /// Microseconds since `earlier`. None if a thread has ended since then, for its time is lost; unless it never did much.
    pub(crate) fn since(&self, earlier: &Self) -> io::Result<Option<f64>> {
        if self.0.is_empty() {
            return Err(io::Error::other("no schedstat: this kernel does not say what a thread cost"));
        }
        let gone = earlier.0.iter().filter(|(thread, spent)| **spent > HELPER && !self.0.contains_key(*thread));
        if gone.count() > 0 {
            return Ok(None);
        }
        let spent = |(thread, spent): (&_, &u64)| spent.saturating_sub(earlier.0.get(thread).copied().unwrap_or(0));
        let nanoseconds: u64 = self.0.iter().map(spent).sum();
        Ok(Some(std::time::Duration::from_nanos(nanoseconds).as_secs_f64() * 1e6))
    }
}

// === impl Resident ===

impl Resident {
    /// What is each process's own, and once the most of what they have in common: files and shared memory.
    pub(crate) fn of(processes: &[u32]) -> Self {
        let status = |process: &u32| fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
        let statuses: Vec<String> = processes.iter().map(status).collect();
        let kilobytes = |field: &'static str| statuses.iter().map(move |status| number(status, field));
        let shared = |field| kilobytes(field).fold(0.0, f64::max);
        Self(1024.0 * (kilobytes("RssAnon:").sum::<f64>() + shared("RssFile:") + shared("RssShmem:")))
    }
}

/// The first number of the line that begins so; zero if there is none.
pub(crate) fn number(text: &str, begin: &str) -> f64 {
    let rest = text.lines().find_map(|line| line.strip_prefix(begin)).unwrap_or_default();
    rest.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0.0)
}

/// Bytes that the files below a folder take, in whole blocks.
pub(crate) fn on_disk(folder: &Path) -> f64 {
    use std::os::unix::fs::MetadataExt;
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(data) if data.is_dir() => on_disk(&entry.path()),
        Ok(data) => 512.0 * f64::from(u32::try_from(data.blocks()).unwrap_or(u32::MAX)),
        Err(_) => 0.0,
    };
    entries.map(size).sum()
}
