//! The ceilings: hyper and nothing else. `bare` reads the request and returns the very header fields and body that monigate
//! returned; `forward` reads it, asks the origin over a kept connection, and returns what it said. Both know no key, no
//! cache, no metric. Built into the same executable, with the same hyper, runtime and TLS as monigate.

use std::convert::Infallible;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::uri::{Authority, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use monigate::sandbox::DEFAULT_TOKEN;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::wire::{Answer, Protocol};

/// One answer for everyone.
struct Told {
    fields: HeaderMap,
    body: Bytes,
}

type Pool = Client<HttpConnector, Incoming>;

/// Writes an answer down for [`serve`]. `date` hyper adds by itself.
pub(crate) fn write_down(answer: &Answer, file: &Path) -> io::Result<()> {
    let mut text = Vec::new();
    for (name, value) in answer.fields.iter().filter(|(name, _)| *name != http::header::DATE) {
        text.extend_from_slice(&[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\n"].concat());
    }
    text.push(b'\n');
    text.extend_from_slice(&answer.body);
    fs::write(file, text)
}

fn read_back(file: &Path) -> io::Result<Told> {
    let text = fs::read_to_string(file)?;
    let (head, body) = text.split_once("\n\n").ok_or(io::ErrorKind::InvalidData)?;
    let mut fields = HeaderMap::new();
    for (name, value) in head.lines().filter_map(|line| line.split_once(": ")) {
        let name = name.parse::<HeaderName>().map_err(io::Error::other)?;
        fields.append(name, value.parse::<HeaderValue>().map_err(io::Error::other)?);
    }
    Ok(Told { fields, body: Bytes::copy_from_slice(body.as_bytes()) })
}

/// Serves one answer for ever, with TLS if there is a folder with a certificate.
pub(crate) fn serve(protocol: Protocol, address: &str, file: &Path, tls: Option<&Path>) -> io::Result<()> {
    let told = Arc::new(read_back(file)?);
    let tls = tls.map(acceptor).transpose()?;
    // As monigate makes its own.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(address).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(converse(stream, protocol, Arc::clone(&told), tls.clone()));
        }
    })
}

fn acceptor(folder: &Path) -> io::Result<TlsAcceptor> {
    let certificate = CertificateDer::from_pem_file(folder.join("server.pem")).map_err(io::Error::other)?;
    let key = PrivateKeyDer::from_pem_file(folder.join("server.key")).map_err(io::Error::other)?;
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key);
    Ok(TlsAcceptor::from(Arc::new(config.map_err(io::Error::other)?)))
}

async fn converse(stream: TcpStream, protocol: Protocol, told: Arc<Told>, tls: Option<TlsAcceptor>) {
    let service = service_fn(move |_: Request<Incoming>| {
        let mut response = Response::new(Full::new(told.body.clone()));
        *response.headers_mut() = told.fields.clone();
        std::future::ready(Ok::<_, Infallible>(response))
    });
    // A peer that leaves is no failure of the bench.
    match (protocol, tls) {
        (Protocol::H1, None) => {
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        }
        (Protocol::H1, Some(tls)) => {
            if let Ok(stream) = tls.accept(stream).await {
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            }
        }
        (Protocol::H2, _) => {
            let builder = http2::Builder::new(TokioExecutor::new());
            let _ = builder.serve_connection(TokioIo::new(stream), service).await;
        }
    }
}

/// Forwards to the origin for ever.
pub(crate) fn forward(address: &str, origin: SocketAddr) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let pool: Pool = Client::builder(TokioExecutor::new()).build(connector);
        let authority = Authority::try_from(origin.to_string()).map_err(io::Error::other)?;
        let listener = TcpListener::bind(address).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let (pool, authority) = (pool.clone(), authority.clone());
            let service = service_fn(move |request| pass(pool.clone(), authority.clone(), request));
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    })
}

async fn pass(
    pool: Pool,
    authority: Authority,
    mut request: Request<Incoming>,
) -> Result<Response<Incoming>, Box<dyn std::error::Error + Send + Sync>> {
    const BEARER: &str = "Bearer ";
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    (parts.scheme, parts.authority) = (Some(Scheme::HTTP), Some(authority));
    *request.uri_mut() = Uri::from_parts(parts)?;
    let token = HeaderValue::from_str(&[BEARER, DEFAULT_TOKEN].concat())?;
    request.headers_mut().insert(AUTHORIZATION, token);
    Ok(pool.request(request).await?)
}
