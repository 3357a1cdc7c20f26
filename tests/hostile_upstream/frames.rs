//! A Monime that speaks HTTP/2 frame by frame (RFC 9113), for what no library would send.

use std::sync::{Arc, Mutex};

use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Duration, interval};
use tokio_rustls::TlsAcceptor;

use super::Shop;
use super::support::certificates::{Ca, put};
use super::support::upstream::Step;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PUSH_PROMISE: u8 = 5;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;
pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

/// A frame.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Header fields without compression (RFC 7541, 6.2.2).
pub(super) fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    fields.iter().flat_map(|(name, value)| [&[0][..], &text(name), &text(value)].concat()).collect()
}

fn text(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    match text.len() {
        short @ ..127 => bytes.push(u8::try_from(short).unwrap()),
        long => {
            bytes.push(127);
            let mut rest = long - 127;
            while rest > 127 {
                bytes.push(u8::try_from(rest % 128).unwrap() | 128);
                rest /= 128;
            }
            bytes.push(u8::try_from(rest).unwrap());
        }
    }
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

/// The head of an answer in one frame.
pub(super) fn head(stream: u32, flags: u8, more: &[(&str, &str)]) -> Vec<u8> {
    let sound = [(":status", "200"), ("content-type", "application/json")];
    frame(HEADERS, END_HEADERS | flags, stream, &fields(&[&sound, more].concat()))
}

/// A whole answer.
pub(super) fn whole(stream: u32, body: &str) -> Vec<u8> {
    [head(stream, 0, &[]), frame(DATA, END_STREAM, stream, body.as_bytes())].concat()
}

/// Frames behind a listener on a free port.
pub(super) struct Frames {
    base_url: String,
    ca: Ca,
    /// What came: of which connection, which kind, on which stream.
    seen: Arc<Mutex<Vec<(usize, u8, u32)>>>,
    _served: JoinSet<()>,
}

impl Frames {
    /// `script` is asked at every request, by its stream.
    pub(super) async fn start(script: impl Fn(u32) -> Vec<Step> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let ca = Ca::new("ours");
        let acceptor = TlsAcceptor::from(Arc::new(ca.server().shown(&["h2"])));
        let (script, seen) = (Arc::new(script), Arc::new(Mutex::new(Vec::new())));
        let theirs = Arc::clone(&seen);
        let mut served = JoinSet::new();
        served.spawn(async move {
            let mut connections = JoinSet::new();
            for number in 0.. {
                let (socket, _) = listener.accept().await.unwrap();
                let (acceptor, script, seen) = (acceptor.clone(), Arc::clone(&script), Arc::clone(&theirs));
                connections.spawn(async move {
                    let Ok(socket) = acceptor.accept(socket).await else { return };
                    let (from, to) = split(socket);
                    let (steps, to_play) = mpsc::unbounded_channel();
                    // Ends with either of them: what is dropped is closed.
                    tokio::select! {
                        _ = read(from, |kind, flags, stream| {
                            seen.lock().unwrap().push((number, kind, stream));
                            match kind {
                                HEADERS => script(stream).into_iter().for_each(|step| drop(steps.send(step))),
                                SETTINGS if flags & ACK == 0 => {
                                    drop(steps.send(Step::Send(frame(SETTINGS, ACK, 0, b""))));
                                }
                                _ => {}
                            }
                        }) => {}
                        () = play(to, to_play) => {}
                    }
                });
            }
        });
        Self { base_url, ca, seen, _served: served }
    }

    /// A gateway that asks it.
    pub(super) async fn shop(&self, settings: &[&str]) -> (Shop, TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let ca = self.ca_file(&folder);
        (Shop::before(&self.base_url, &[&[ca.as_str()], settings].concat()).await, folder)
    }

    /// The setting that has it trusted.
    pub(super) fn ca_file(&self, folder: &TempDir) -> String {
        put(&folder.path().join("ca.pem"), &self.ca.pem, 0o644);
        format!("monime.ca_file={}", folder.path().join("ca.pem").display())
    }

    pub(super) fn base_url(&self) -> &str {
        &self.base_url
    }

    /// The streams on which frames of this kind came, each with its connection.
    pub(super) fn seen(&self, kind: u8) -> Vec<(usize, u32)> {
        let seen = self.seen.lock().unwrap();
        seen.iter().filter(|(_, found, _)| *found == kind).map(|(number, _, stream)| (*number, *stream)).collect()
    }
}

/// Reads frames until there are none.
async fn read(mut from: impl AsyncRead + Unpin, mut heard: impl FnMut(u8, u8, u32)) -> Option<()> {
    let mut preface = [0; 24];
    from.read_exact(&mut preface).await.ok()?;
    loop {
        let mut head = [0; 9];
        from.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        from.read_exact(&mut payload).await.ok()?;
        heard(head[3], head[4], u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]));
    }
}

/// Writes what the steps say; a closing or a reset is both the end of the connection.
async fn play(mut to: impl AsyncWrite + Unpin, mut steps: mpsc::UnboundedReceiver<Step>) {
    if to.write_all(&frame(SETTINGS, 0, 0, b"")).await.is_err() {
        return;
    }
    while let Some(step) = steps.recv().await {
        let mut pace = interval(Duration::from_millis(20));
        let played = match step {
            Step::Send(bytes) => to.write_all(&bytes).await,
            Step::Flood(bytes) => loop {
                if let Err(error) = to.write_all(&bytes).await {
                    break Err(error);
                }
            },
            Step::Drip(bytes) => loop {
                pace.tick().await;
                if let Err(error) = to.write_all(&bytes).await {
                    break Err(error);
                }
            },
            Step::Gate => std::future::pending().await,
            Step::Close | Step::Reset => return,
        };
        if played.is_err() || to.flush().await.is_err() {
            return;
        }
    }
}
