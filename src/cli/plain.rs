//! A plain request to a listener of ours, TCP or Unix, one connection each: for health checks and the demo.
//!
//! Refuses every address that is not given as an [`Address`].

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use monigate::server::Address;
use monigate::upstream::plain::ask_over;
use tokio::net::{TcpStream, UnixStream};

/// Sends one request and reads the whole answer. Cancel-safe; has no deadline of its own.
pub(super) async fn ask(
    address: &Address,
    request: Request<Full<Bytes>>,
) -> Result<Response<Bytes>, Box<dyn Error + Send + Sync>> {
    match address {
        Address::Tcp(address) => ask_over(TcpStream::connect(reachable(*address)).await?, request).await,
        Address::Unix(path) => ask_over(UnixStream::connect(path).await?, request).await,
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
