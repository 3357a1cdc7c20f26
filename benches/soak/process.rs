//! The two processes and their operator. Owns starting and ending them, what is read of the gateway from outside, and what
//! an operator does to it meanwhile. Refuses to touch any process that it did not start.

use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use tokio::time::sleep;

use super::load::{Load, PENDING};
use super::verdict::Verdict;
use super::wire::{Answer, Wire, get, send};

const SPACE: &str = "spc-soak";
/// Small, so that it is full long before the end.
pub(crate) const MAX_SIZE_MIB: u64 = 8;

/// A process, ended with the soak.
pub(crate) struct Started(Child);

/// The files that the gateway reads.
pub(crate) struct Desk(tempfile::TempDir);

/// The gateway at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) second: f64,
    /// Resident, in MiB, and the most so far.
    pub(crate) resident: f64,
    pub(crate) most: f64,
    pub(crate) descriptors: f64,
    pub(crate) threads: f64,
    pub(crate) tasks: f64,
    pub(crate) entries: f64,
    pub(crate) weight: f64,
    pub(crate) requests: f64,
}

pub(crate) fn free_address() -> io::Result<SocketAddr> {
    std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()
}

// === impl Desk ===

impl Desk {
    pub(crate) fn new(sandbox: SocketAddr, token: &str) -> io::Result<Self> {
        let desk = Self(tempfile::tempdir()?);
        desk.put(token)?;
        let config = format!(
            "[monime]\nbase_url = \"http://{sandbox}\"\ndefault_space = \"{SPACE}\"\ntoken_file = \"{}\"\n\
             [cache]\nmax_size = \"{MAX_SIZE_MIB}MiB\"\n[budget]\nendpoint = 2000\ntoken = 4000\nspace = 8000\n",
            desk.token().display()
        );
        fs::write(desk.config(), config)?;
        Ok(desk)
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.0.path().join("monigate.toml")
    }

    fn token(&self) -> PathBuf {
        self.0.path().join("token")
    }

    /// Puts another token in its place, as a whole.
    fn put(&self, token: &str) -> io::Result<()> {
        use std::os::unix::fs::PermissionsExt;
        let beside = self.0.path().join("token.new");
        fs::write(&beside, token)?;
        fs::set_permissions(&beside, fs::Permissions::from_mode(0o600))?;
        fs::rename(beside, self.token())
    }
}

// === impl Started ===

impl Started {
    pub(crate) async fn sandbox(address: SocketAddr, token: &str) -> io::Result<Self> {
        let listen = address.to_string();
        let mut command = Command::new(env!("CARGO_BIN_EXE_monigate"));
        command.args(["sandbox", "--listen", &listen, "--limits", "none", "--invent", "completed"]);
        command.args(["--faults", "calm", "--token", token]).stdout(Stdio::null());
        Self(command.spawn()?).up(address).await
    }

    pub(crate) async fn gateway(
        address: SocketAddr,
        admin: SocketAddr,
        config: &Path,
        verdict: &Arc<Verdict>,
    ) -> io::Result<Self> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_monigate"));
        command.arg("run").arg("--config").arg(config).arg("--listen").arg(address.to_string());
        command.arg("--admin").arg(admin.to_string()).env_clear().stdin(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        child.stdout.take().into_iter().for_each(|pipe| listen(pipe, Arc::clone(verdict)));
        child.stderr.take().into_iter().for_each(|pipe| listen(pipe, Arc::clone(verdict)));
        Self(child).up(address).await
    }

    async fn up(self, address: SocketAddr) -> io::Result<Self> {
        for _ in 0..500 {
            if tokio::net::TcpStream::connect(address).await.is_ok() {
                return Ok(self);
            }
            sleep(Duration::from_millis(20)).await;
        }
        Err(io::Error::other(format!("{address} did not come up")))
    }

    pub(crate) fn signal(&self, name: &str) -> io::Result<()> {
        let id = self.0.id().to_string();
        Command::new("/bin/sh").args(["-c", "kill -s \"$0\" \"$1\"", name, &id]).status().map(drop)
    }

    /// Waits for its end, for so many seconds at most; its exit code.
    pub(crate) async fn ended(&mut self, seconds: u32) -> io::Result<Option<i32>> {
        for _ in 0..seconds * 50 {
            if let Some(status) = self.0.try_wait()? {
                return Ok(status.code());
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(None)
    }

    pub(crate) async fn sample(&self, admin: SocketAddr, second: f64, verdict: &Verdict) -> io::Result<Sample> {
        let folder = PathBuf::from(format!("/proc/{}", self.0.id()));
        let status = fs::read_to_string(folder.join("status"))?;
        let of_status = |name: &str| number(&status, name);
        // Its own connection and task are among what is counted, each time.
        let metrics = operator(admin, "/metrics").await?;
        verdict.heard("/metrics", &metrics.body);
        let text = String::from_utf8_lossy(&metrics.body);
        let requests = text.lines().filter(|line| line.starts_with("monigate_requests_total"));
        Ok(Sample {
            second,
            resident: of_status("VmRSS:") / 1024.0,
            most: of_status("VmHWM:") / 1024.0,
            descriptors: f64::from(u32::try_from(fs::read_dir(folder.join("fd"))?.count()).unwrap_or(u32::MAX)),
            threads: of_status("Threads:"),
            tasks: number(&text, "monigate_tasks "),
            entries: number(&text, "monigate_cache_entries "),
            weight: number(&text, "monigate_cache_weight_bytes ") / 1_048_576.0,
            requests: requests.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum(),
        })
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The first number of the line that begins so; zero if there is none.
fn number(text: &str, begin: &str) -> f64 {
    let rest = text.lines().find_map(|line| line.strip_prefix(begin)).unwrap_or_default();
    rest.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0.0)
}

/// Looks at each line as it comes and keeps none.
fn listen(pipe: impl Read + Send + 'static, verdict: Arc<Verdict>) {
    std::thread::spawn(move || {
        let (mut pipe, mut line) = (BufReader::new(pipe), Vec::new());
        while pipe.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            verdict.logged(&line);
            line.clear();
        }
    });
}

async fn operator(admin: SocketAddr, target: &str) -> io::Result<Answer> {
    Wire::connect(admin).await?.ask(&get(target, "connection: close\r\n")).await
}

/// Sessions that stay pending; told anew, since they would expire.
pub(crate) async fn keep_pending(sandbox: SocketAddr) -> io::Result<()> {
    let session = format!(r#"{{"space": "{SPACE}", "status": "pending"}}"#);
    for number in 0..PENDING {
        send(sandbox, "PUT", &format!("/_sandbox/sessions/scs-pending{number}"), &session).await?;
    }
    Ok(())
}

/// Of six rounds one is an outage, and two are calm: a budget that Monime pauses needs some time to recover.
fn weather(round: usize, seed: u64) -> String {
    let faults = match round % 6 {
        0 => "down",
        1 | 2 => "calm",
        _ => "rough",
    };
    format!(r#"{{"faults": "{faults}", "seed": {seed}}}"#)
}

/// Reloads, rotates, purges and changes the weather until it is over.
pub(crate) async fn operate(
    load: &Load,
    desk: &Desk,
    tokens: &[String],
    gateway: &Started,
    admin: SocketAddr,
    mut rng: Rng,
) -> io::Result<()> {
    let mut round = 0;
    while !load.is_over() {
        round += 1;
        let pair = (tokens.get((round - 1) % tokens.len()), tokens.get(round % tokens.len()));
        let (Some(old), Some(new)) = pair else { return Ok(()) };
        // Both are good for now: what is under way may have the old one.
        let accept = format!(r#"{{"accept": ["{old}", "{new}"]}}"#);
        send(load.sandbox, "PUT", "/_sandbox/tokens", &accept).await?;
        send(load.sandbox, "PUT", "/_sandbox/schedule", &weather(round, u64::from(rng.u32(..)))).await?;
        desk.put(new)?;
        gateway.signal("HUP")?;
        keep_pending(load.sandbox).await?;
        sleep(Duration::from_millis(1500)).await;
        let purge = match rng.u8(..10) {
            0 => r#"{"all": true}"#.to_owned(),
            _ => format!(r#"{{"space": "{SPACE}", "id": "scs-known{}"}}"#, rng.u8(..)),
        };
        let purged = send(admin, "POST", "/purge", &purge).await?;
        if purged.status != 200 {
            load.verdict.wrong(format!("a purge: {}", purged.status));
        }
        load.verdict.heard("/config", &operator(admin, "/config").await?.body);
        load.verdict.count("reloads, rotations and purges");
        sleep(Duration::from_millis(rng.u64(1000..3000))).await;
    }
    Ok(())
}
