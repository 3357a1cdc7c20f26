//! Where a server listens: a TCP address or a Unix socket.
//!
//! Owns the socket file: it is removed when the listener is dropped, a stale one is replaced, and one that another
//! process still serves is refused.

use std::fmt;
use std::fs::Permissions;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixSocket, UnixStream};
use tokio_util::either::Either;

use super::tls::Tls;

/// How many connections may wait to be accepted; the kernel cuts it to `net.core.somaxconn`.
const BACKLOG: u32 = 4096;
/// What the kernel's `sun_path` holds, but for the zero at its end.
const MAX_SOCKET_PATH: usize = 107;
/// How many queued connections are taken over when a listener closes: what a kernel queues at most by default.
const LAST_CALL: usize = 4096;

/// A place to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// An IP address and a port; port 0 takes a free one.
    Tcp(SocketAddr),
    /// The absolute path of a Unix socket, written `unix:/path`.
    Unix(PathBuf),
}

/// A text that is no [`Address`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an address is `IP:PORT`, such as `127.0.0.1:8080` or `[::1]:8080`, or `unix:/absolute/path`")]
pub struct InvalidAddress;

/// A bound socket.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    address: Address,
    tls: Option<Tls>,
    /// Held for its drop.
    _file: Option<SocketFile>,
}

/// An accepted connection, before TLS. Its kind is looked at with each call, so that what speaks HTTP is built once.
pub(super) struct Accepted {
    pub(super) stream: Either<TcpStream, UnixStream>,
    /// Where it comes from; a Unix socket's peer has no address.
    pub(super) peer: Option<IpAddr>,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Removes the socket's file when the listener goes, if it is still the one that was made.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    /// Device and inode.
    identity: (u64, u64),
}

// === impl Address ===

impl Address {
    /// Whether only processes of this machine can reach it.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("unix:") {
            Some(path) if Path::new(path).is_absolute() => Ok(Self::Unix(path.into())),
            Some(_) => Err(InvalidAddress),
            None => text.parse().map(Self::Tcp).map_err(|_| InvalidAddress),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

// === impl Listener ===

impl Listener {
    /// Binds `address`. A Unix socket has exactly these permissions, such as `0o660`, before anybody can connect;
    /// without, the process's umask decides. They mean nothing to a TCP address.
    ///
    /// # Errors
    /// What the operating system says; `AddrInUse` also when another process answers on the Unix socket, and
    /// `AlreadyExists` when a file that is no socket stands in its place.
    pub async fn bind(address: &Address, mode: Option<u32>) -> io::Result<Self> {
        match address {
            Address::Tcp(wanted) => {
                let socket = listen_tcp(*wanted)?;
                let address = Address::Tcp(socket.local_addr()?);
                Ok(Self { socket: Socket::Tcp(socket), address, tls: None, _file: None })
            }
            Address::Unix(path) => {
                remove_stale(path).await?;
                let (socket, file) = listen_unix(path, mode).map_err(|error| explain(error, path))?;
                Ok(Self { socket: Socket::Unix(socket), address: address.clone(), tls: None, _file: Some(file) })
            }
        }
    }

    /// The same listener, speaking TLS, with the identity of each moment.
    #[must_use]
    pub fn with_tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Where it listens, with the port that was really taken.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    pub(super) fn tls(&self) -> Option<Tls> {
        self.tls.clone()
    }

    /// Stops listening, and returns the connections that had come by then: whoever completed a handshake was promised
    /// an answer.
    ///
    /// Asks the kernel itself: the reactor may not have seen yet what is queued. Bounded, so that a flood of new
    /// connections cannot keep it open.
    pub(super) fn close(self) -> Vec<Accepted> {
        match self.socket {
            Socket::Tcp(socket) => queued(socket.into_std(), |socket| {
                let (stream, peer) = socket.accept()?;
                stream.set_nonblocking(true)?;
                stream.set_nodelay(true)?;
                Ok(Accepted::tcp(TcpStream::from_std(stream)?, peer))
            }),
            Socket::Unix(socket) => queued(socket.into_std(), |socket| {
                let (stream, _) = socket.accept()?;
                stream.set_nonblocking(true)?;
                UnixStream::from_std(stream).map(Accepted::unix)
            }),
        }
    }

    /// Waits for the next connection. Cancel-safe: a connection is either returned or still queued.
    pub(super) async fn accept(&mut self) -> io::Result<Accepted> {
        match &self.socket {
            Socket::Tcp(socket) => {
                let (stream, peer) = socket.accept().await?;
                // Answers are small and written at once: waiting to fill a segment only delays them.
                stream.set_nodelay(true)?;
                Ok(Accepted::tcp(stream, peer))
            }
            Socket::Unix(socket) => socket.accept().await.map(|(stream, _)| Accepted::unix(stream)),
        }
    }
}

/// Everything that `accept` has without waiting.
fn queued<S>(socket: io::Result<S>, accept: impl Fn(&S) -> io::Result<Accepted>) -> Vec<Accepted> {
    let Ok(socket) = socket else { return Vec::new() };
    let mut streams = Vec::new();
    while streams.len() < LAST_CALL {
        match accept(&socket) {
            Ok(stream) => streams.push(stream),
            Err(error) if is_passing(&error) => {}
            Err(_) => break,
        }
    }
    streams
}

/// Whether accepting failed because of one connection, and says nothing about the next.
pub(super) fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

// === impl Accepted ===

impl Accepted {
    fn tcp(stream: TcpStream, peer: SocketAddr) -> Self {
        Self { stream: Either::Left(stream), peer: Some(peer.ip()) }
    }

    fn unix(stream: UnixStream) -> Self {
        Self { stream: Either::Right(stream), peer: None }
    }
}

// === impl SocketFile ===

impl Drop for SocketFile {
    fn drop(&mut self) {
        // A successor may have put its own there; and if there is none any more, that is what we wanted.
        if identity(&self.path).is_ok_and(|identity| identity == self.identity) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = std::fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

/// As tokio binds, but with a longer queue: in its own, the crowd of a start would wait for retransmissions.
fn listen_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restart must not wait for the connections of its predecessor to time out.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Between binding and listening every connection is refused, so the permissions are right before the first can come.
fn listen_unix(path: &Path, mode: Option<u32>) -> io::Result<(UnixListener, SocketFile)> {
    let socket = UnixSocket::new_stream()?;
    socket.bind(path)?;
    // From here on the file goes again if anything fails.
    let file = SocketFile { path: path.to_owned(), identity: identity(path)? };
    if let Some(mode) = mode {
        std::fs::set_permissions(path, Permissions::from_mode(mode))?;
    }
    Ok((socket.listen(BACKLOG)?, file))
}

/// Says which of the many things that make a path impossible it is, where the operating system has one word for all.
fn explain(error: io::Error, path: &Path) -> io::Error {
    let folder = path.parent().unwrap_or(path);
    let kind = error.kind();
    let words = if path.as_os_str().len() > MAX_SOCKET_PATH {
        format!("the path of a Unix socket has at most {MAX_SOCKET_PATH} bytes")
    } else if kind == io::ErrorKind::NotFound {
        format!("there is no folder {}", folder.display())
    } else if kind == io::ErrorKind::PermissionDenied {
        format!("the user this runs as may not make files in {}", folder.display())
    } else {
        return error;
    };
    io::Error::new(kind, words)
}

/// A socket file outlives a killed process; only one that nobody answers on may be taken over.
async fn remove_stale(path: &Path) -> io::Result<()> {
    let Ok(metadata) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if !metadata.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "a file that is not a socket stands there"));
    }
    match UnixStream::connect(path).await {
        // Nobody has it open any more: the one answer that says so.
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(|error| explain(error, path))
        }
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Err(io::Error::new(error.kind(), "a socket stands there that the user this runs as may not connect to"))
        }
        Ok(_) | Err(_) => Err(io::Error::new(io::ErrorKind::AddrInUse, "another process serves this socket")),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn an_address_reads_as_it_writes() {
        for text in ["127.0.0.1:8080", "[::1]:0", "0.0.0.0:80", "unix:/run/monigate/gateway.sock"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        for text in ["", "8080", "localhost:8080", "127.0.0.1", "unix:", "unix:relative.sock", "http://127.0.0.1:1"] {
            assert_eq!(text.parse::<Address>(), Err(InvalidAddress), "{text}");
        }
    }

    #[test]
    fn only_loopback_and_sockets_are_local() {
        for (text, local) in [
            ("127.0.0.1:1", true),
            ("127.8.8.8:1", true),
            ("[::1]:1", true),
            ("[::ffff:127.0.0.1]:1", true),
            ("unix:/x", true),
            ("0.0.0.0:1", false),
            ("[::]:1", false),
            ("10.0.0.1:1", false),
        ] {
            assert_eq!(text.parse::<Address>().unwrap().is_local(), local, "{text}");
        }
    }

    #[tokio::test]
    async fn a_socket_in_use_is_refused_and_a_stale_one_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gateway.sock");
        let address = Address::Unix(path.clone());
        let first = Listener::bind(&address, None).await.unwrap();
        assert_eq!(Listener::bind(&address, None).await.unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(first);
        assert!(!path.exists(), "the file goes with its listener");

        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "a killed process leaves its file");
        Listener::bind(&address, None).await.unwrap();

        let first = Listener::bind(&address, None).await.unwrap();
        std::fs::remove_file(&path).unwrap();
        let successor = Listener::bind(&address, None).await.unwrap();
        drop(first);
        assert!(path.exists(), "a successor's file stays");
        drop(successor);

        std::fs::write(&path, "precious").unwrap();
        assert_eq!(Listener::bind(&address, None).await.unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    }

    #[tokio::test]
    async fn a_socket_has_exactly_the_mode_that_was_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gateway.sock");
        // Below and beyond what any umask leaves.
        for mode in [0o600, 0o660, 0o666, 0o777] {
            let _listener = Listener::bind(&Address::Unix(path.clone()), Some(mode)).await.unwrap();
            assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o7777, mode);
            std::os::unix::net::UnixStream::connect(&path).unwrap();
        }
    }

    #[tokio::test]
    async fn nobody_can_connect_before_the_mode_is_right() {
        const SOCKETS: usize = 300;
        let folder = tempfile::tempdir().unwrap();
        // A socket of its own for each try: of one that is replaced meanwhile, the mode seen could be its successor's.
        let paths: Vec<_> = (0..SOCKETS).map(|number| folder.path().join(number.to_string())).collect();
        let theirs = paths.clone();
        let caller = std::thread::spawn(move || {
            let connected = theirs.iter().map(|path| {
                while std::os::unix::net::UnixStream::connect(path).is_err() {
                    std::thread::yield_now();
                }
                std::fs::metadata(path).unwrap().mode() & 0o7777
            });
            connected.collect::<BTreeSet<_>>()
        });
        let mut listeners = Vec::new();
        for path in paths {
            // No umask of a test's leaves exactly this.
            listeners.push(Listener::bind(&Address::Unix(path), Some(0o602)).await.unwrap());
        }
        assert_eq!(caller.join().unwrap(), BTreeSet::from([0o602]));
    }

    #[tokio::test]
    async fn a_path_that_cannot_be_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let refused = async |path: PathBuf| Listener::bind(&Address::Unix(path), Some(0o600)).await.unwrap_err();
        let nowhere = folder.path().join("nowhere");
        let error = refused(nowhere.join("gateway.sock")).await;
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert_eq!(error.to_string(), format!("there is no folder {}", nowhere.display()));

        let base = folder.path().as_os_str().len() + 1;
        let named = |length: usize| folder.path().join("s".repeat(length - base));
        assert!(Listener::bind(&Address::Unix(named(MAX_SOCKET_PATH)), Some(0o600)).await.is_ok());
        let error = refused(named(MAX_SOCKET_PATH + 1)).await;
        assert_eq!(error.to_string(), "the path of a Unix socket has at most 107 bytes");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left behind");
    }
}
