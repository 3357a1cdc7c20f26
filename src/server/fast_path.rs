//! Requests that are answered without the stack: over HTTP/1.1 where their bytes are read, before the HTTP library has seen
//! them, over HTTP/2 from the head that it has read.
//!
//! Most of what a request costs is not its answer: it is making a typed request of its bytes, and bytes of a typed
//! response. Whoever has an answer at hand may write it down here instead. Owns which requests are offered: a `GET` over
//! HTTP/1.1 that came whole and alone, without a body, to a connection with nothing else under way. Refuses to offer
//! anything unusual, and to read a head that `framing` has not found sound. What is not answered here goes the way of all
//! others and must be answered there with the same bytes, so nothing can be had here that cannot be had there.

use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::str;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::request::Parts;
use http::{Request, Response};
use http_body::Body;
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use memchr::memchr;
use tokio::time::Instant;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, Service, ServiceExt};

use super::date;
use super::framing::split_once;
use super::upload::Upload;

/// Whoever may have an answer at hand.
pub trait FastPath {
    /// Answers `head`, which came at this moment: writes the status line and the fields to `out`, each with the end of its
    /// line, and returns the body. `Date` and the end of the head are added by whoever sends it. Returns none, and has
    /// changed and counted nothing then, if it has no answer, if it would refuse, and if anything is unusual.
    ///
    /// Is called within a poll: it must neither wait nor block.
    fn answer(&self, head: PlainHead<'_>, came_at: Instant, out: &mut Vec<u8>) -> Option<Bytes>;

    /// The same for a head that the library has read, of a request over HTTP/2 without a body. `Date` is added by whoever
    /// sends it, and so is the length; of fields about connections it has none.
    fn respond(&self, head: &Parts, came_at: Instant) -> Option<Response<Bytes>>;
}

/// A service that never has an answer at hand: one type for all of them, so that what speaks HTTP is not built for each.
#[derive(Debug, Clone)]
pub struct WithoutFastPath(BoxCloneSyncService<Request<Upload>, Response<UnsyncBoxBody<Bytes, BoxError>>, Infallible>);

/// The head of a request that may be answered at once.
#[derive(Debug, Clone, Copy)]
pub struct PlainHead<'a> {
    target: &'a str,
    fields: &'a [u8],
}

/// How many bytes are put behind a head that was written here: a date, and the end.
pub const TAIL: usize = b"date: \r\n\r\n".len() + date::LENGTH;

// === impl PlainHead ===

impl<'a> PlainHead<'a> {
    /// The head that `bytes` are, which [`Framing`](super::Framing) has read as one plain head and nothing else. None if it
    /// is of another method or version.
    #[must_use]
    pub fn of(bytes: &'a [u8]) -> Option<Self> {
        let (line, fields) = bytes.split_at_checked(memchr(b'\n', bytes)? + 1)?;
        let target = line.strip_prefix(b"GET ")?.strip_suffix(b" HTTP/1.1\r\n")?;
        Some(Self { target: str::from_utf8(target).ok()?, fields })
    }

    /// Path and query, as they were sent.
    #[must_use]
    pub fn target(&self) -> &'a str {
        self.target
    }

    /// Every field, in order: its name as it was sent, and its value without the space around it.
    pub fn fields(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let mut rest = self.fields;
        std::iter::from_fn(move || {
            let (line, after) = rest.split_at_checked(memchr(b'\n', rest)? + 1)?;
            rest = after;
            let (name, value) = split_once(line, b':')?;
            Some((name, value.trim_ascii()))
        })
    }
}

/// The whole answer to the request that `bytes` are, if there is one at hand.
pub(super) fn answer(service: &impl FastPath, bytes: &[u8]) -> Option<Vec<u8>> {
    let head = PlainHead::of(bytes)?;
    let (mut answer, came_at) = (Vec::new(), Instant::now());
    // What panics here is asked of the service, where a panic is an answer.
    let body = catch_unwind(AssertUnwindSafe(|| service.answer(head, came_at, &mut answer))).ok()??;
    answer.reserve_exact(TAIL + body.len());
    answer.extend_from_slice(b"date: ");
    date::show(came_at, |date| answer.extend_from_slice(date.as_bytes()));
    answer.extend_from_slice(b"\r\n\r\n");
    answer.extend_from_slice(&body);
    Some(answer)
}

// === impl WithoutFastPath ===

impl WithoutFastPath {
    /// The same as `service`, which is always ready.
    pub fn new<S, B>(service: S) -> Self
    where
        S: Service<Request<Upload>, Response = Response<B>, Error = Infallible> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let erased = |response: Response<B>| response.map(|body| body.map_err(Into::into).boxed_unsync());
        Self(BoxCloneSyncService::new(service.map_response(erased)))
    }
}

impl FastPath for WithoutFastPath {
    fn answer(&self, _: PlainHead<'_>, _: Instant, _: &mut Vec<u8>) -> Option<Bytes> {
        None
    }

    fn respond(&self, _: &Parts, _: Instant) -> Option<Response<Bytes>> {
        None
    }
}

impl Service<Request<Upload>> for WithoutFastPath {
    type Response = Response<UnsyncBoxBody<Bytes, BoxError>>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Upload>) -> Self::Future {
        self.0.call(request)
    }
}
