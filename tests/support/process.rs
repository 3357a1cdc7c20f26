//! The real program in a process of its own: what it says, how it takes signals, how it ends.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use monigate::sandbox::DEFAULT_TOKEN;
use monigate::server::Address;
use serde_json::Value;

use super::client::{Answer, ask, get};
use super::gateway::{SPACE, eventually};

/// A process that ends with the test.
pub(crate) struct Process {
    child: Child,
    out: Arc<Mutex<String>>,
    err: Arc<Mutex<String>>,
}

/// A running gateway.
pub(crate) struct Gateway {
    pub(crate) process: Process,
    pub(crate) address: Address,
    pub(crate) admin: Address,
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

// === impl Process ===

impl Process {
    /// Starts the program with this environment and no other.
    pub(crate) fn start(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_monigate"));
        command.args(arguments).env_clear().envs(environment.iter().copied());
        Self::of(command)
    }

    /// The same with at most this many descriptors.
    pub(crate) fn start_within(descriptors: usize, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut command = Command::new("/bin/sh");
        let script = format!("ulimit -n {descriptors}; exec \"$0\" \"$@\"");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_monigate")]).args(arguments);
        command.env_clear().envs(environment.iter().copied());
        Self::of(command)
    }

    /// Starts this command, which is the program in the end.
    pub(crate) fn of(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let out = collect(child.stdout.take().unwrap());
        let err = collect(child.stderr.take().unwrap());
        Self { child, out, err }
    }

    /// Its id, which is the program's where that took the place of what started it.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by its name, such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("/bin/sh").args(["-c", "kill -s \"$0\" \"$1\"", name, &id]).status().unwrap();
        assert!(sent.success(), "the process is there");
    }

    /// A line of what the kernel knows of its memory, such as `VmHWM`, in bytes.
    pub(crate) fn memory(&self, line: &str) -> u64 {
        let status = std::fs::read_to_string(self.proc("status")).unwrap();
        let value = status.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(':'));
        value.unwrap().trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// What the kernel tells of it under this name.
    pub(crate) fn proc(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{name}", self.child.id()))
    }

    /// Leaves it at most this many descriptors from now on.
    pub(crate) fn limit_descriptors(&self, count: usize) {
        let (pid, limit) = (self.child.id().to_string(), format!("--nofile={count}:"));
        let limited = Command::new("prlimit").args(["--pid", &pid, &limit]).status().unwrap();
        assert!(limited.success(), "its limit is changed");
    }

    pub(crate) fn out(&self) -> String {
        self.out.lock().unwrap().clone()
    }

    pub(crate) fn err(&self) -> String {
        self.err.lock().unwrap().clone()
    }

    /// The log so far, line by line.
    pub(crate) fn log(&self) -> Vec<Value> {
        self.err().lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Waits for a line of the log with this message.
    pub(crate) async fn says(&mut self, message: &str) -> Value {
        eventually(message, async || {
            // Looked at before the log: whatever was said by then is in it.
            let over = self.has_said_everything();
            let found =
                self.log().into_iter().find(|line| line["message"].as_str().unwrap_or_default().contains(message));
            assert!(found.is_some() || !over, "it ended without {message:?}: {}", self.err());
            found
        })
        .await
    }

    /// The readers hold the other half of their texts until the pipes are at their ends.
    fn has_said_everything(&self) -> bool {
        Arc::strong_count(&self.out) == 1 && Arc::strong_count(&self.err) == 1
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for its end; none as the code means that a signal killed it.
    pub(crate) async fn ended(&mut self) -> Option<i32> {
        self.status().await.code()
    }

    /// Waits for its end, and how it came about.
    pub(crate) async fn status(&mut self) -> ExitStatus {
        eventually("the process ends", async || self.child.try_wait().unwrap()).await
    }

    /// Waits for its end and for its last word.
    pub(crate) async fn ran(mut self) -> Ran {
        let code = self.ended().await;
        eventually("the pipes end", async || self.has_said_everything().then_some(())).await;
        Ran { code, out: self.out(), err: self.err() }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads a pipe to its end on a thread of its own, so that the process never waits for us.
fn collect(pipe: impl Read + Send + 'static) -> Arc<Mutex<String>> {
    let text = Arc::new(Mutex::new(String::new()));
    let theirs = Arc::clone(&text);
    thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        while pipe.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            theirs.lock().unwrap().push_str(&String::from_utf8_lossy(&line));
            line.clear();
        }
    });
    text
}

// === impl Gateway ===

impl Gateway {
    /// Runs a gateway on free loopback ports with the sandbox's own token.
    pub(crate) async fn run(base_url: &str, settings: &[&str]) -> Self {
        Self::run_as(DEFAULT_TOKEN, base_url, settings).await
    }

    pub(crate) async fn run_as(token: &str, base_url: &str, settings: &[&str]) -> Self {
        let base_url = format!("monime.base_url={base_url}");
        let mut arguments = vec!["run", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--set", &base_url];
        settings.iter().for_each(|setting| arguments.extend(["--set", *setting]));
        let environment = [("MONIGATE__MONIME__TOKEN", token), ("MONIGATE__MONIME__DEFAULT_SPACE", SPACE)];
        Self::start(&arguments, &environment).await
    }

    /// Starts the program, and waits until it says where it serves.
    pub(crate) async fn start(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        Self::of(Process::start(arguments, environment)).await
    }

    /// Waits until this process says where it serves.
    pub(crate) async fn of(mut process: Process) -> Self {
        let serving = process.says("serving").await;
        let address = |field: &str| serving[field].as_str().unwrap().parse().unwrap();
        Self { address: address("address"), admin: address("admin"), process }
    }

    pub(crate) async fn operator(&self, target: &str) -> Answer {
        ask(&self.admin, &get(target, "")).await
    }
}
