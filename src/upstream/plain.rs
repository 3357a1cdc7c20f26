//! A plain request to a listener of ours, TCP or Unix, one connection each: for health checks and the demo.
//!
//! Never used for Monime, and never holds a credential: it refuses every address that is not given as an [`Address`].

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::Bytes;
use http::header::HOST;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use crate::server::Address;

type BoxError = Box<dyn Error + Send + Sync>;

/// Sends one request and reads the whole answer. Cancel-safe; has no deadline of its own.
///
/// # Errors
/// What connecting, sending or reading says.
pub async fn ask(address: &Address, request: Request<Full<Bytes>>) -> Result<Response<Bytes>, BoxError> {
    match address {
        Address::Tcp(address) => ask_over(TcpStream::connect(reachable(*address)).await?, request).await,
        Address::Unix(path) => ask_over(UnixStream::connect(path).await?, request).await,
    }
}

async fn ask_over<I>(io: I, mut request: Request<Full<Bytes>>) -> Result<Response<Bytes>, BoxError>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    request.headers_mut().entry(HOST).or_insert(http::HeaderValue::from_static("localhost"));
    let (mut sender, connection) = http1::handshake(TokioIo::new(io)).await?;
    let answer = async {
        let (head, body) = sender.send_request(request).await?.into_parts();
        Ok(Response::from_parts(head, body.collect().await?.to_bytes()))
    };
    tokio::select! {
        answer = answer => answer,
        // The connection ends only after the answer, unless it breaks.
        Err(error) = connection => Err(error.into()),
    }
}

/// Who listens on every address is asked on this machine's own.
fn reachable(address: SocketAddr) -> SocketAddr {
    let loopback = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        IpAddr::V4(_) | IpAddr::V6(_) => address.ip(),
    };
    SocketAddr::new(loopback, address.port())
}
