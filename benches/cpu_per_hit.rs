//! What a hit costs in CPU time, next to a bare hyper server that returns the same header fields and body:
//! `cargo bench --bench cpu_per_hit`.
//!
//! Two server processes, one load generator, rounds in turn; the figure is the operating system's own account of the
//! time each server ran on a CPU, per request, and the ratio of the two within a round. Needs Linux; `taskset`, where
//! there is one, keeps servers and load on different cores.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "what a bench cannot prepare is its failure")]

use std::future::pending;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use monigate::monime::Final;
use monigate::sandbox::{DEFAULT_TOKEN, Limits, Place, Sandbox, Settings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Keep-alive connections of the load generator.
const CONNECTIONS: usize = 64;
/// Different sessions that are asked for.
const IDS: usize = 1000;
/// Requests of one connection in one round.
const REQUESTS: usize = 500;
/// Rounds that count; one more goes before.
const ROUNDS: usize = 21;

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    match arguments.next().as_deref() {
        Some("bare") => serve_bare(&arguments.next().unwrap()),
        Some(other) => println!("cpu_per_hit: {other:?} is not a filter; this bench measures one thing"),
        None => tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(measure()),
    }
}

async fn measure() {
    pin_this_process("1");
    let (gateway_address, bare_address) = (free_address(), free_address());
    let gateway = start_gateway(gateway_address).await;
    for id in 0..IDS {
        ask_once(gateway_address, id).await;
    }
    let bare = start_bare(bare_address, &ask_once(gateway_address, 0).await).await;
    let mut rounds = Vec::new();
    for round in 0..=ROUNDS {
        let ours = cost(gateway_address, &gateway).await;
        let theirs = cost(bare_address, &bare).await;
        if round > 0 {
            rounds.push((ours, theirs, ours / theirs));
        }
    }
    report(&rounds);
}

fn report(rounds: &[(f64, f64, f64)]) {
    let row = |name: &str, unit: &str, pick: fn(&(f64, f64, f64)) -> f64| {
        let mut values: Vec<f64> = rounds.iter().map(pick).collect();
        values.sort_by(f64::total_cmp);
        let (least, most) = (values.first().unwrap(), values.last().unwrap());
        let median = values.get(values.len() / 2).unwrap();
        println!("{name:<28} median {median:>8.2} {unit:<3} ({least:.2} to {most:.2})");
    };
    println!("CPU time per request, {ROUNDS} rounds of {} requests in turn:", CONNECTIONS * REQUESTS);
    row("monigate, a hit", "µs", |round| round.0);
    row("bare hyper, same answer", "µs", |round| round.1);
    row("ratio within a round", "", |round| round.2);
}

// === the load ===

/// Microseconds of CPU time per request that the server took over one round.
async fn cost(address: SocketAddr, server: &Started) -> f64 {
    let before = server.nanoseconds();
    let loads = (0..CONNECTIONS).map(|connection| tokio::spawn(load(address, connection)));
    for load in loads.collect::<Vec<_>>() {
        load.await.unwrap();
    }
    let requests = u32::try_from(CONNECTIONS * REQUESTS).unwrap();
    (server.nanoseconds() - before) / 1000.0 / f64::from(requests)
}

async fn load(address: SocketAddr, connection: usize) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let mut buffer = Vec::with_capacity(16 * 1024);
    for number in 0..REQUESTS {
        ask(&mut stream, (connection * REQUESTS + number) % IDS, &mut buffer).await;
    }
}

/// Sends one request and reads one whole answer into `buffer`.
async fn ask(stream: &mut TcpStream, id: usize, buffer: &mut Vec<u8>) {
    let target = format!("/v1/checkout-sessions/scs-{id:027}");
    let request = format!("GET {target} HTTP/1.1\r\nhost: 127.0.0.1:8080\r\naccept: */*\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    buffer.clear();
    while whole(buffer).is_none_or(|length| buffer.len() < length) {
        assert_ne!(stream.read_buf(buffer).await.unwrap(), 0, "the server hung up");
    }
    assert!(buffer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(buffer));
}

/// The length of the answer that begins in `buffer`, once its head is there.
fn whole(buffer: &[u8]) -> Option<usize> {
    let head = memchr::memmem::find(buffer, b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(buffer.get(..head)?).ok()?;
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: "))?;
    Some(head + length.parse::<usize>().ok()?)
}

/// One answer as text, without `date`, which hyper adds by itself.
async fn ask_once(address: SocketAddr, id: usize) -> String {
    let mut buffer = Vec::new();
    ask(&mut TcpStream::connect(address).await.unwrap(), id, &mut buffer).await;
    let text = String::from_utf8(buffer).unwrap();
    text.lines().filter(|line| !line.starts_with("date: ")).collect::<Vec<_>>().join("\n")
}

// === the servers ===

/// A server process, ended with the bench.
struct Started(Child);

impl Started {
    /// Time on a CPU so far, over all threads: the first field of each `schedstat`.
    fn nanoseconds(&self) -> f64 {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.0.id())).unwrap();
        let stat = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        tasks.flatten().map(|task| stat(task).split(' ').next().unwrap().parse::<f64>().unwrap_or_default()).sum()
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// The gateway as it ships, in front of a sandbox in this process.
async fn start_gateway(address: SocketAddr) -> Started {
    let settings = Settings { limits: Limits::NONE, invent: Some(Final::Completed), ..Settings::default() };
    let place = Place { address: "127.0.0.1:0".parse().unwrap(), tls: None, beyond_loopback: false };
    let open = Sandbox::new(settings).open(&place).await.unwrap();
    let mut command = pinned(env!("CARGO_BIN_EXE_monigate").as_ref());
    command.arg("run").arg("--listen").arg(address.to_string()).arg("--admin").arg(free_address().to_string());
    command.arg("--set").arg(format!("monime.base_url={}", open.base_url()));
    command.arg("--set").arg("monime.default_space=spc-bench").arg("--log-level").arg("warn");
    command.env("MONIGATE__MONIME__TOKEN", DEFAULT_TOKEN);
    tokio::spawn(open.run(pending()));
    start(&mut command, address).await
}

async fn start_bare(address: SocketAddr, answer: &str) -> Started {
    let mut command = pinned(&std::env::current_exe().unwrap());
    start(command.arg("bare").arg(address.to_string()).env("BARE_ANSWER", answer), address).await
}

async fn start(command: &mut Command, address: SocketAddr) -> Started {
    let started = Started(command.stdout(Stdio::null()).spawn().unwrap());
    for _ in 0..500 {
        if TcpStream::connect(address).await.is_ok() {
            return started;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    println!("{address} did not come up");
    started
}

/// hyper and nothing else: reads the request, answers with copies of the same fields and the same body.
fn serve_bare(address: &str) {
    #[expect(clippy::disallowed_methods, reason = "how the parent hands the answer over")]
    let text = std::env::var("BARE_ANSWER").unwrap();
    let (head, body) = text.split_once("\n\n").unwrap();
    let fields = head.lines().skip(1).map(|line| line.split_once(": ").unwrap());
    let field =
        |(name, value): (&str, &str)| (name.parse::<HeaderName>().unwrap(), value.parse::<HeaderValue>().unwrap());
    let answer = Arc::new((fields.map(field).collect::<HeaderMap>(), Bytes::copy_from_slice(body.as_bytes())));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind(address).await.unwrap();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let answer = Arc::clone(&answer);
            let service = service_fn(move |_| {
                let mut response = Response::new(Full::new(answer.1.clone()));
                *response.headers_mut() = answer.0.clone();
                std::future::ready(Ok::<_, std::convert::Infallible>(response))
            });
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
}

fn pinned(program: &std::path::Path) -> Command {
    if !has_taskset() {
        return Command::new(program);
    }
    let mut command = Command::new("taskset");
    command.arg("-c").arg("0").arg(program);
    command
}

fn pin_this_process(core: &str) {
    if has_taskset() {
        let pid = std::process::id().to_string();
        Command::new("taskset").args(["-a", "-c", "-p", core, &pid]).stdout(Stdio::null()).status().unwrap();
    } else {
        println!("no taskset: servers and load share the cores");
    }
}

fn has_taskset() -> bool {
    Command::new("taskset").arg("--version").stdout(Stdio::null()).status().is_ok_and(|status| status.success())
}

fn free_address() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
