//! A plain request over a connection that somebody else made: for health checks and the demo.
//!
//! Never used for Monime, and never holds a credential: it refuses to know where it is connected to.

use std::error::Error;

use bytes::Bytes;
use http::header::HOST;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

/// Sends one request and reads the whole answer. Cancel-safe; has no deadline of its own.
///
/// # Errors
/// What sending or reading says.
pub async fn ask_over<I>(
    io: I,
    mut request: Request<Full<Bytes>>,
) -> Result<Response<Bytes>, Box<dyn Error + Send + Sync>>
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
