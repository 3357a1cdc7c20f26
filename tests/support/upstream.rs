//! A Monime made of raw bytes, for what the sandbox is too well-behaved to do.
//!
//! It hears requests one after another on each connection and answers each by a script: bytes, a gate, breaking off.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};

use super::gateway::{PATIENCE, eventually};

/// What happens next on a connection.
#[derive(Clone)]
pub(crate) enum Step {
    Send(Vec<u8>),
    /// Nothing more until [`Upstream::open_the_gate`].
    Gate,
    /// The same bytes for as long as somebody reads them.
    Flood(Vec<u8>),
    /// The same bytes over and over, one each twenty milliseconds, for as long as somebody reads them.
    Drip(Vec<u8>),
    /// An orderly end.
    Close,
    /// A reset.
    Reset,
}

/// Raw bytes behind a listener on a free port.
pub(crate) struct Upstream {
    pub(crate) base_url: String,
    heard: Arc<Mutex<Vec<String>>>,
    gate: watch::Sender<bool>,
    /// How many connections began and how many of them are over.
    connections: watch::Receiver<(usize, usize)>,
    _served: JoinSet<()>,
}

impl Upstream {
    /// `script` is asked for every request: which one it is, from 0, and its text.
    pub(crate) async fn start(script: impl Fn(usize, &str) -> Vec<Step> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}", listener.local_addr().unwrap());
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (gate, opened) = watch::channel(false);
        let (count, connections) = watch::channel((0, 0));
        let mut served = JoinSet::new();
        let (script, ears) = (Arc::new(script), Arc::clone(&heard));
        served.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    accepted = listener.accept() => {
                        let (socket, _) = accepted.unwrap();
                        let connection = Connection { socket, heard: Arc::clone(&ears), gate: opened.clone() };
                        count.send_modify(|(begun, _)| *begun += 1);
                        connections.spawn(connection.run(Arc::clone(&script)));
                    }
                    Some(_) = connections.join_next() => count.send_modify(|(_, over)| *over += 1),
                }
            }
        });
        Self { base_url, heard, gate, connections, _served: served }
    }

    /// Always the same steps.
    pub(crate) async fn playing(steps: Vec<Step>) -> Self {
        Self::start(move |_, _| steps.clone()).await
    }

    /// Always these bytes, then an orderly end.
    pub(crate) async fn saying(bytes: impl Into<Vec<u8>>) -> Self {
        Self::playing(vec![Step::Send(bytes.into()), Step::Close]).await
    }

    /// The requests so far, as they came.
    pub(crate) fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }

    /// Waits until so many requests came.
    pub(crate) async fn hears(&self, count: usize) {
        eventually("a request arrives", async || (self.heard().len() >= count).then_some(())).await;
    }

    /// How many connections were made to it.
    pub(crate) fn connections(&self) -> usize {
        self.connections.borrow().0
    }

    /// Waits until so many connections are over.
    pub(crate) async fn is_left_by(&self, count: usize) {
        let mut connections = self.connections.clone();
        let left = connections.wait_for(|(_, over)| *over >= count);
        timeout(PATIENCE, left).await.expect("a connection ends").unwrap();
    }

    pub(crate) fn open_the_gate(&self) {
        self.gate.send_replace(true);
    }
}

struct Connection {
    socket: TcpStream,
    heard: Arc<Mutex<Vec<String>>>,
    gate: watch::Receiver<bool>,
}

impl Connection {
    async fn run(mut self, script: Arc<impl Fn(usize, &str) -> Vec<Step>>) {
        while let Some(request) = self.request().await {
            let number = {
                let mut heard = self.heard.lock().unwrap();
                heard.push(request.clone());
                heard.len() - 1
            };
            for step in script(number, &request) {
                if self.play(step).await.is_none() {
                    return;
                }
            }
        }
    }

    /// The next request: its head, and as many bytes of a body as that says.
    async fn request(&mut self) -> Option<String> {
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"\r\n\r\n") {
            bytes.push(self.socket.read_u8().await.ok()?);
        }
        let head = String::from_utf8(bytes).unwrap();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        self.socket.read_exact(&mut body).await.ok()?;
        Some(head + &String::from_utf8(body).unwrap())
    }

    async fn play(&mut self, step: Step) -> Option<()> {
        match step {
            Step::Send(bytes) => self.socket.write_all(&bytes).await.ok()?,
            Step::Gate => drop(self.gate.wait_for(|open| *open).await.ok()?),
            Step::Flood(bytes) => while self.socket.write_all(&bytes).await.is_ok() {},
            Step::Drip(bytes) => {
                let mut pace = interval(Duration::from_millis(20));
                for byte in bytes.into_iter().cycle() {
                    pace.tick().await;
                    if self.socket.write_u8(byte).await.is_err() {
                        break;
                    }
                }
            }
            Step::Close => {
                let _ = self.socket.shutdown().await;
                return None;
            }
            Step::Reset => {
                self.socket.set_zero_linger().unwrap();
                return None;
            }
        }
        Some(())
    }
}

/// A whole answer with this body, kept alive.
pub(crate) fn answer(status: &str, fields: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n{fields}\r\n{body}")
        .into_bytes()
}

/// A session as Monime shows it, in few words.
pub(crate) fn session(id: &str, status: &str) -> String {
    format!(r#"{{"success":true,"messages":[],"result":{{"id":"{id}","status":"{status}"}}}}"#)
}

/// An error as Monime words it.
pub(crate) fn error(code: u16) -> String {
    format!(
        r#"{{"success":false,"messages":[],"error":{{"code":{code},"reason":"said_by_monime","message":"m","details":[]}}}}"#
    )
}
