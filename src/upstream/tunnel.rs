//! Reaching Monime's door: by TCP straight to it, or through a proxy by CONNECT (RFC 9110, section 9.3.6).
//!
//! Owns what a proxy is told and the words for how it fails. Refuses to tell it anything but Monime's host and port and
//! who we are to it, and to send plain http through it: there it could read the token. TLS begins above, inside the
//! tunnel, so it is Monime's certificate that is checked and not the proxy's.

use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::{HOST, PROXY_AUTHORIZATION};
use http::uri::Scheme;
use http::{Method, Request, StatusCode, Uri};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper::upgrade;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tower::{BoxError, Service};

use super::proxy::Proxy;

/// How long a connection may be silent before the kernel asks whether anybody is there.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Bytes of a proxy's answer to CONNECT that are buffered: hyper's least.
const MAX_HEAD: usize = 8 * 1024;
/// Where https goes when the origin names no port.
const HTTPS_PORT: u16 = 443;

/// Connects to the host of a URL, so that TLS can begin.
#[derive(Debug, Clone)]
pub(super) struct Dial {
    tcp: HttpConnector,
    proxy: Option<Proxy>,
    limit: Duration,
}

/// No tunnel, and by whose fault. Monime heard nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoTunnel {
    /// No connection to the proxy.
    #[error("the proxy {0} cannot be reached")]
    Unreachable(Proxy, #[source] BoxError),
    /// It asks who we are, and we have nothing to say.
    #[error("the proxy {0} asks for credentials (407): set monime.proxy_credentials_file")]
    Unknown(Proxy),
    /// It does not like what we said.
    #[error("the proxy {0} does not accept the credentials from {1} (407)")]
    Credentials(Proxy, &'static str),
    /// It does not let us through, or cannot reach Monime itself.
    #[error("the proxy {0} answered CONNECT {1} with {2}")]
    Refused(Proxy, String, StatusCode),
    /// It answered nothing that makes sense.
    #[error("the proxy {0} broke off, or does not speak HTTP")]
    Broken(Proxy, #[source] BoxError),
    /// It took all the time there is to connect.
    #[error("the proxy {0} opened no tunnel within monime.timeouts.connect")]
    Silent(Proxy),
}

/// The proxy spoke before the TLS that it was asked to carry.
#[derive(Debug, thiserror::Error)]
#[error("it sent bytes that belong to no answer")]
struct Unasked;

// === impl Dial ===

impl Dial {
    /// Through `proxy`, if there is one; the tunnel must be open within `limit`.
    pub(super) fn new(proxy: Option<Proxy>, limit: Duration) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(KEEP_ALIVE));
        Self { tcp, proxy, limit }
    }
}

impl Service<Uri> for Dial {
    type Response = TokioIo<TcpStream>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.tcp.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let encrypted = uri.scheme() == Some(&Scheme::HTTPS);
        let Some(proxy) = self.proxy.clone().filter(|_| encrypted) else {
            let connected = self.tcp.call(uri);
            return Box::pin(async move { Ok(connected.await?) });
        };
        let tunnel = timeout(self.limit, tunnel(self.tcp.clone(), proxy.clone(), uri));
        Box::pin(async move { Ok(tunnel.await.unwrap_or(Err(NoTunnel::Silent(proxy)))?) })
    }
}

/// A connection through `proxy` to the host of `uri`. Cancel-safe: dropping it closes what was opened.
async fn tunnel(mut tcp: HttpConnector, proxy: Proxy, uri: Uri) -> Result<TokioIo<TcpStream>, NoTunnel> {
    let broken = |error: BoxError| NoTunnel::Broken(proxy.clone(), error);
    let address = proxy.uri().map_err(|error| NoTunnel::Unreachable(proxy.clone(), error.into()))?;
    // This connector is always ready.
    let socket = tcp.call(address).await.map_err(|error| NoTunnel::Unreachable(proxy.clone(), error.into()))?;
    let target = format!("{}:{}", uri.host().unwrap_or_default(), uri.port_u16().unwrap_or(HTTPS_PORT));
    let request = connect(&proxy, &target).map_err(|error| broken(error.into()))?;
    let handshake = http1::Builder::new().max_buf_size(MAX_HEAD).handshake(socket).await;
    let (mut sender, connection) = handshake.map_err(|error| broken(error.into()))?;
    let asked = async {
        let reply = sender.send_request(request).await.map_err(|error| broken(error.into()))?;
        match (reply.status(), proxy.credentials_place()) {
            (status, _) if status.is_success() => upgrade::on(reply).await.map_err(|error| broken(error.into())),
            (StatusCode::PROXY_AUTHENTICATION_REQUIRED, None) => Err(NoTunnel::Unknown(proxy.clone())),
            (StatusCode::PROXY_AUTHENTICATION_REQUIRED, Some(place)) => {
                Err(NoTunnel::Credentials(proxy.clone(), place))
            }
            (status, _) => Err(NoTunnel::Refused(proxy.clone(), target, status)),
        }
    };
    // The connection ends when it has become a tunnel, or because it broke.
    let ended = async { connection.with_upgrades().await.map_err(|error| broken(error.into())) };
    let (upgraded, ()) = tokio::try_join!(asked, ended)?;
    match upgraded.downcast::<TokioIo<TcpStream>>() {
        Ok(parts) if parts.read_buf.is_empty() => Ok(parts.io),
        Ok(_) | Err(_) => Err(broken(Unasked.into())),
    }
}

/// All that a proxy is ever told.
fn connect(proxy: &Proxy, target: &str) -> Result<Request<Empty<Bytes>>, http::Error> {
    let mut request = Request::builder().method(Method::CONNECT).uri(target).header(HOST, target);
    if let Some(credentials) = proxy.credentials() {
        request = request.header(PROXY_AUTHORIZATION, credentials.basic());
    }
    request.body(Empty::new())
}

#[cfg(test)]
mod tests {
    use hyper_util::rt::TokioIo;
    use socket2::SockRef;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tower::ServiceExt;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    fn lives_and_does_not_wait(connected: &TokioIo<TcpStream>) {
        let socket = connected.inner();
        assert!(socket.nodelay().unwrap());
        assert!(SockRef::from(socket).keepalive().unwrap());
    }

    #[tokio::test]
    async fn connections_to_monime_and_to_a_proxy_are_kept_alive_and_never_hold_bytes_back() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let straight = Dial::new(None, LIMIT).oneshot(format!("https://{address}").parse().unwrap());
        lives_and_does_not_wait(&straight.await.unwrap());
        let _ = listener.accept().await.unwrap();

        let proxy = Proxy::parse(&format!("http://{address}")).unwrap();
        // To plain http a proxy is not even asked: nobody answers a CONNECT here.
        let plain = Dial::new(Some(proxy.clone()), LIMIT).oneshot(format!("http://{address}").parse().unwrap());
        lives_and_does_not_wait(&plain.await.unwrap());
        let _ = listener.accept().await.unwrap();

        let tunnelled = Dial::new(Some(proxy), LIMIT).oneshot("https://monime.invalid".parse().unwrap());
        let served = async {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(socket.read_u8().await.unwrap());
            }
            socket.write_all(b"HTTP/1.0 200 Connection established\r\n\r\n").await.unwrap();
            (socket, String::from_utf8(head).unwrap().to_lowercase())
        };
        let (tunnelled, (_, head)) = tokio::join!(tunnelled, served);
        lives_and_does_not_wait(&tunnelled.unwrap());
        assert_eq!(head, "connect monime.invalid:443 http/1.1\r\nhost: monime.invalid:443\r\n\r\n");
    }
}
