//! A layer that turns a lookup into a request and a response into a complete reply.
//!
//! The request is built from the typed key, so that nothing of a caller's request can be in it. The reply is bounded
//! as sent and as decoded, copied out of the read buffers, and stripped to the headers that callers may see. Refuses a
//! reply that carries the gateway's own credential.

#[cfg(test)]
mod tests;

use std::io::Read as _;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use flate2::read::MultiGzDecoder;
use futures_util::future::BoxFuture;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use tokio::time::timeout;
use tower::{BoxError, Service};

use super::credentials::SentWith;
use super::failure::{Failure, Unreachable, Unreadable, causes};
use super::framing::hop_by_hop;
use super::origin::Origin;
use super::{Fetch, Reply};
use crate::monime::operation::checkout_session;
use crate::monime::verdict::body_counts;
use crate::monime::{DIAGNOSTIC_HEADERS, Key, RATE_LIMIT_HEADER, SPACE_HEADER, VERSION_HEADER};

/// The longest body of a lookup's answer, as sent and as decoded. A session's is below 10 KiB.
const MAX_BODY: usize = 1024 * 1024;

/// How long a body that nobody will see may take, for the sake of its connection.
const COURTESY: Duration = Duration::from_millis(100);

/// The headers of Monime's that are kept. `Monime-Cache` speaks of Monime's own cache and would be misread as ours.
static KEPT: [HeaderName; 7] = [
    CONTENT_TYPE,
    RETRY_AFTER,
    HeaderName::from_static(RATE_LIMIT_HEADER),
    HeaderName::from_static(DIAGNOSTIC_HEADERS[0]),
    HeaderName::from_static(DIAGNOSTIC_HEADERS[1]),
    HeaderName::from_static(DIAGNOSTIC_HEADERS[2]),
    HeaderName::from_static(DIAGNOSTIC_HEADERS[3]),
];

/// How many of them come with an answer to a lookup: all but those of a refusal.
const USUALLY_KEPT: usize = 5;

/// The fields of a request on the wire, those included that are put on below.
const FIELDS: usize = 8;
const SPACE: HeaderName = HeaderName::from_static(SPACE_HEADER);
const VERSION: HeaderName = HeaderName::from_static(VERSION_HEADER);

/// How we call ourselves.
pub(super) const NAME: HeaderValue = HeaderValue::from_static(concat!("monigate/", env!("CARGO_PKG_VERSION")));

/// Asks, and reads the answer to its end.
#[derive(Debug, Clone)]
pub(super) struct Read<S> {
    inner: S,
    origin: Origin,
}

impl<S> Read<S> {
    pub(super) fn new(inner: S, origin: Origin) -> Self {
        Self { inner, origin }
    }
}

impl<S, B> Service<Fetch> for Read<S>
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>, Error = Failure>,
    S::Future: Send + 'static,
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    type Response = Reply;
    type Error = Failure;
    type Future = BoxFuture<'static, Result<Reply, Failure>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, fetch: Fetch) -> Self::Future {
        let response = request(&self.origin, &fetch.key).map(|request| self.inner.call(request));
        Box::pin(async move {
            let mut response = response?.await?;
            let Some(SentWith(token)) = response.extensions_mut().remove() else {
                return Err(Failure::Internal("an answer to a request without a token".into()));
            };
            let reply = read(response).await?;
            let in_its_head = reply.headers.values().any(|value| token.is_reflected_in(value.as_bytes()));
            if in_its_head || token.is_reflected_in(&reply.body) {
                return Err(Unreadable::Reflects.into());
            }
            Ok(reply)
        })
    }
}

fn request(origin: &Origin, key: &Key) -> Result<Request<Full<Bytes>>, Failure> {
    // A key is made of what a path segment and a header field hold unescaped; an error here would be a bug of ours.
    let unusable = |error: http::Error| Failure::Internal(Box::new(error));
    let path = PathAndQuery::try_from(checkout_session(key.id.as_ref())).map_err(|error| unusable(error.into()))?;
    let uri = origin.url(path).map_err(unusable)?;
    let mut request = Request::new(Full::default());
    *request.method_mut() = Method::GET;
    *request.uri_mut() = uri;
    // For the layer that knows whose token is which.
    request.extensions_mut().insert(key.space.clone());
    let value = |text: &str| HeaderValue::from_str(text).map_err(|error| unusable(error.into()));
    let mut headers = HeaderMap::with_capacity(FIELDS);
    headers.insert(SPACE, value(key.space.as_str())?);
    headers.insert(VERSION, value(key.version.as_str())?);
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    // The stored bytes are the served bytes, so they are asked for uncoded.
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers.insert(USER_AGENT, NAME);
    *request.headers_mut() = headers;
    Ok(request)
}

async fn read<B>(response: Response<B>) -> Result<Reply, Failure>
where
    B: Body + Unpin,
    B::Error: Into<BoxError>,
{
    let (mut head, body) = response.into_parts();
    let body = if body_counts(head.status) {
        decode(collect(body).await?, &head.headers)?
    } else {
        // The status says it all, however the body is framed or coded. A short one is read all the same, because an
        // answer that was read to its end leaves a connection that can be used again.
        let _ = timeout(COURTESY, collect(body)).await;
        Bytes::new()
    };
    let came_by = head.extensions.remove().unwrap_or_default();
    Ok(Reply { status: head.status, protocol: head.version, headers: kept(&head.headers), body, came_by })
}

async fn collect<B>(mut body: B) -> Result<Vec<u8>, Failure>
where
    B: Body + Unpin,
    B::Error: Into<BoxError>,
{
    let declared = body.size_hint().lower();
    if declared > MAX_BODY as u64 {
        return Err(Unreadable::TooLarge.into());
    }
    let mut bytes = Vec::with_capacity(usize::try_from(declared).unwrap_or_default());
    while let Some(frame) = body.frame().await {
        let Ok(mut data) = frame.map_err(broken)?.into_data() else { continue };
        if bytes.len() + data.remaining() > MAX_BODY {
            return Err(Unreadable::TooLarge.into());
        }
        while data.has_remaining() {
            let chunk = data.chunk();
            bytes.extend_from_slice(chunk);
            let length = chunk.len();
            data.advance(length);
        }
    }
    // Kept for a day, perhaps: without the room that growing left.
    bytes.shrink_to_fit();
    Ok(bytes)
}

/// A connection that was reset is Monime out of reach; a body that just ended early is an answer that makes no sense.
pub(super) fn broken<E: Into<BoxError>>(error: E) -> Failure {
    let error = error.into();
    let reset = |io: &std::io::Error| io.kind() == std::io::ErrorKind::ConnectionReset;
    if causes(error.as_ref()).any(|cause| cause.downcast_ref().is_some_and(reset)) {
        return Failure::Unreachable(Unreachable::Reset, error);
    }
    Unreadable::BrokenOff.into()
}

fn decode(body: Vec<u8>, headers: &HeaderMap) -> Result<Bytes, Unreadable> {
    let mut codings = headers.get_all(CONTENT_ENCODING).iter();
    let coding = codings.next().map_or(&b"identity"[..], HeaderValue::as_bytes);
    if codings.next().is_some() {
        return Err(Unreadable::Coding);
    }
    match coding {
        coding if coding.eq_ignore_ascii_case(b"identity") => Ok(body.into()),
        coding if coding.eq_ignore_ascii_case(b"gzip") || coding.eq_ignore_ascii_case(b"x-gzip") => gunzip(&body),
        _ => Err(Unreadable::Coding),
    }
}

fn gunzip(coded: &[u8]) -> Result<Bytes, Unreadable> {
    let mut decoded = Vec::with_capacity(coded.len().saturating_mul(4).min(MAX_BODY));
    // One byte more than allowed tells a body at the bound from one over it.
    let mut bounded = MultiGzDecoder::new(coded).take(MAX_BODY as u64 + 1);
    bounded.read_to_end(&mut decoded).map_err(|_| Unreadable::Undecodable)?;
    if decoded.len() > MAX_BODY {
        return Err(Unreadable::TooLarge);
    }
    decoded.shrink_to_fit();
    Ok(decoded.into())
}

fn kept(headers: &HeaderMap) -> HeaderMap {
    let connections = hop_by_hop(headers);
    let names = KEPT.iter().filter(|name| !connections.contains(name));
    let fields: Vec<_> = names.filter_map(|name| headers.get(name).map(|value| (name, value))).collect();
    // Copied: a value cut out of the read buffer would keep all of it alive for as long as the answer is stored. All into
    // one buffer, for they are kept and told together.
    let mut copies = BytesMut::with_capacity(fields.iter().map(|(_, value)| value.len()).sum());
    fields.iter().for_each(|(_, value)| copies.extend_from_slice(value.as_bytes()));
    let mut copies = copies.freeze();
    let mut kept = HeaderMap::with_capacity(USUALLY_KEPT);
    for (name, value) in fields {
        let copy = copies.split_to(value.len().min(copies.len()));
        if let Ok(value) = HeaderValue::from_maybe_shared(copy) {
            kept.insert(name, value);
        }
    }
    kept
}
