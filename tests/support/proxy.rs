//! An egress proxy that writes down all it could know: what it was told, and every byte that it carried.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// What it does with everyone who asks.
#[derive(Clone)]
pub(crate) enum Manner {
    /// Opens a tunnel to where it was asked to.
    Open,
    /// Opens one for who shows this field, and asks everyone else who they are.
    OpenFor(String),
    /// Opens one, but to here.
    Misdirect(SocketAddr),
    /// Says that it opened one, and is silent.
    Pretend,
    /// Says this and hangs up.
    Say(&'static str),
    /// Reads, and says nothing.
    Ignore,
}

/// A proxy on a free port.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    notes: Arc<Mutex<Notes>>,
    _served: JoinSet<()>,
}

#[derive(Default)]
struct Notes {
    heads: Vec<String>,
    carried: Vec<u8>,
}

impl Proxy {
    pub(crate) async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let notes = Arc::new(Mutex::new(Notes::default()));
        let mut served = JoinSet::new();
        let theirs = Arc::clone(&notes);
        served.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                connections.spawn(serve(socket, manner.clone(), Arc::clone(&theirs)));
            }
        });
        Self { address, notes, _served: served }
    }

    /// The setting that names it.
    pub(crate) fn setting(&self) -> String {
        format!("monime.proxy=http://{}", self.address)
    }

    /// What it was told, in lower case.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.notes.lock().unwrap().heads.clone()
    }

    /// What went through it, both ways.
    pub(crate) fn carried(&self) -> Vec<u8> {
        self.notes.lock().unwrap().carried.clone()
    }
}

async fn serve(mut socket: TcpStream, manner: Manner, notes: Arc<Mutex<Notes>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = socket.read_u8().await else { return };
        head.push(byte);
    }
    let head = String::from_utf8(head).unwrap();
    notes.lock().unwrap().heads.push(head.to_lowercase());
    let asked = head.split(' ').nth(1).unwrap().to_owned();
    let (said, to) = match manner {
        Manner::OpenFor(field) if !head.to_lowercase().contains(&field.to_lowercase()) => {
            ("HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\r\n", None)
        }
        Manner::Open | Manner::OpenFor(_) => ("HTTP/1.1 200 Connection established\r\n\r\n", Some(asked)),
        Manner::Misdirect(to) => ("HTTP/1.1 200 OK\r\n\r\n", Some(to.to_string())),
        Manner::Pretend => ("HTTP/1.1 200 OK\r\n\r\n", None),
        Manner::Say(said) => {
            let _ = socket.write_all(said.as_bytes()).await;
            return;
        }
        Manner::Ignore => ("", None),
    };
    let _ = socket.write_all(said.as_bytes()).await;
    let Some(to) = to else {
        let _ = copy(&mut socket, &mut tokio::io::sink()).await;
        return;
    };
    let Ok(monime) = TcpStream::connect(to).await else { return };
    let ((from_us, to_us), (from_monime, to_monime)) = (socket.into_split(), monime.into_split());
    tokio::join!(carry(from_us, to_monime, &notes), carry(from_monime, to_us, &notes));
}

async fn carry(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, notes: &Mutex<Notes>) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        notes.lock().unwrap().carried.extend_from_slice(&buffer[..read]);
        if to.write_all(&buffer[..read]).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}
