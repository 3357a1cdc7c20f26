//! The answer on a stream, from its head to its last byte.
//!
//! Gives the library no more of a body than the peer takes, but for the piece at hand. A peer's reset drops what is under
//! way at once. Refuses to choose what is said, and what is not for HTTP/2 to say.

use std::error::Error;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, HeaderName, TE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderValue, Response};
use http_body::Body;
use tokio::time::Instant;
use tower::BoxError;

use crate::server::activity::CallGuard;
use crate::server::call::Answer;
use crate::server::date;

/// Fields about a connection, which HTTP/2 does not have (RFC 9113, 8.2.2); beside those that `Connection` names.
static OF_CONNECTIONS: [HeaderName; 5] = [
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// A piece of an answer. The last one takes the call along, which is under way until that is written or given up: what the
/// library was given it may keep for long, for a peer that has no room for it.
pub(super) struct Piece {
    bytes: Bytes,
    under_way: Option<CallGuard>,
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, written: usize) {
        self.bytes.advance(written);
        if let Some(under_way) = &self.under_way {
            under_way.taken();
        }
    }
}

/// Sends what is at hand whole, or no more than its head: returns the body and its call then, and where they belong.
pub(super) fn send_whole(
    response: Response<Bytes>,
    mut under_way: CallGuard,
    now: Instant,
    respond: &mut SendResponse<Piece>,
) -> Result<Option<(Bytes, CallGuard, SendStream<Piece>)>, h2::Error> {
    let (mut response, body) = split(response);
    let is_end = body.is_empty();
    complete(response.headers_mut(), (!is_end).then_some(body.len() as u64), now);
    let mut stream = respond.send_response(response, is_end)?;
    under_way.answered();
    if is_end {
        return Ok(None);
    }
    stream.reserve_capacity(body.len());
    if stream.capacity() < body.len() {
        return Ok(Some((body, under_way, stream)));
    }
    stream.send_data(Piece { bytes: body, under_way: Some(under_way) }, true).map(|()| None)
}

/// Sends what a call comes to, which is apart: it is gone before its answer's body begins.
pub(super) async fn send<B, E>(
    mut call: Pin<Box<impl Future<Output = Result<Response<Answer<B>>, E>>>>,
    mut respond: SendResponse<Piece>,
) -> Result<(), BoxError>
where
    B: Body<Data = Bytes, Error: Into<BoxError>>,
    E: Into<BoxError>,
{
    let answer = poll_fn(|cx| match call.as_mut().poll(cx) {
        Poll::Ready(answer) => Poll::Ready(Ok(answer)),
        Poll::Pending => respond.poll_reset(cx).map(is_reset),
    });
    let answer = answer.await?;
    drop(call);
    let (mut response, body) = match answer {
        Ok(response) => split(response),
        Err(error) => {
            let error = error.into();
            respond.send_reset(reason(&*error));
            return Err(error);
        }
    };
    strip(response.headers_mut());
    let is_end = body.is_end_stream();
    complete(response.headers_mut(), body.size_hint().exact().filter(|_| !is_end), Instant::now());
    match respond.send_response(response, is_end) {
        Ok(_) if is_end => Ok(()),
        Ok(stream) => pump(body, stream).await,
        Err(error) => {
            respond.send_reset(Reason::INTERNAL_ERROR);
            Err(error.into())
        }
    }
}

/// Sends a body as its peer takes it.
pub(super) async fn pump<B>(body: Answer<B>, mut stream: SendStream<Piece>) -> Result<(), BoxError>
where
    B: Body<Data = Bytes, Error: Into<BoxError>>,
{
    let mut body = pin!(body);
    loop {
        let frame = poll_fn(|cx| match stream.poll_reset(cx) {
            Poll::Ready(reset) => Poll::Ready(is_reset(reset)),
            Poll::Pending => body.as_mut().poll_frame(cx).map(|frame| Ok(frame.map(|frame| frame.map_err(Into::into)))),
        });
        match frame.await? {
            None => {
                let last = Piece { bytes: Bytes::new(), under_way: body.under_way() };
                return Ok(stream.send_data(last, true)?);
            }
            Some(Err(error)) => {
                let error: BoxError = error;
                stream.send_reset(reason(&*error));
                return Err(error);
            }
            Some(Ok(frame)) => match frame.into_data() {
                Ok(bytes) if body.is_end_stream() => {
                    let last = Piece { bytes, under_way: body.under_way() };
                    return send_piece(last, true, &mut stream).await;
                }
                Ok(bytes) => send_piece(Piece { bytes, under_way: None }, false, &mut stream).await?,
                Err(frame) => {
                    if let Ok(trailers) = frame.into_trailers() {
                        stream.reserve_capacity(0);
                        return Ok(stream.send_trailers(trailers)?);
                    }
                }
            },
        }
    }
}

/// Waits for room, and takes a whole piece then. It asks for no more before it has one: what is reserved here is missing
/// on the connection's other streams.
async fn send_piece(piece: Piece, is_end: bool, stream: &mut SendStream<Piece>) -> Result<(), BoxError> {
    if piece.has_remaining() {
        stream.reserve_capacity(1);
        poll_fn(|cx| poll_room(stream, cx)).await?;
    }
    Ok(stream.send_data(piece, is_end)?)
}

fn poll_room(stream: &mut SendStream<Piece>, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
    while stream.capacity() == 0 {
        if let Poll::Ready(reset) = stream.poll_reset(cx) {
            return Poll::Ready(is_reset(reset));
        }
        match ready!(stream.poll_capacity(cx)) {
            Some(Ok(_)) => {}
            Some(Err(error)) => return Poll::Ready(Err(error.into())),
            None => return Poll::Ready(Err("the stream takes nothing any more".into())),
        }
    }
    Poll::Ready(Ok(()))
}

fn split<B>(response: Response<B>) -> (Response<()>, B) {
    let (head, body) = response.into_parts();
    (Response::from_parts(head, ()), body)
}

/// Adds what every answer says.
fn complete(fields: &mut HeaderMap, length: Option<u64>, now: Instant) {
    if let Some(length) = length {
        fields.entry(CONTENT_LENGTH).or_insert_with(|| HeaderValue::from(length));
    }
    fields.entry(DATE).or_insert_with(|| date::show(now, HeaderValue::clone));
}

/// Takes out what is not for HTTP/2.
fn strip(fields: &mut HeaderMap) {
    for name in &OF_CONNECTIONS {
        fields.remove(name);
    }
    let lines = fields.get_all(CONNECTION).iter().filter_map(|line| line.to_str().ok());
    let named: Vec<String> = lines.flat_map(|line| line.split(',')).map(|name| name.trim().to_owned()).collect();
    named.iter().for_each(|name| drop(fields.remove(name)));
    fields.remove(CONNECTION);
}

/// A stream that its peer reset, or its connection, is over.
fn is_reset<T>(reset: Result<Reason, h2::Error>) -> Result<T, BoxError> {
    Err(reset.map_or_else(|error| error, h2::Error::from).into())
}

/// The reason of the library's own that is behind an error.
fn reason<'a>(error: &'a (dyn Error + 'static)) -> Reason {
    let mut causes = std::iter::successors(Some(error), |error| {
        let error: &'a (dyn Error + 'static) = *error;
        error.source()
    });
    let found = causes.find_map(|cause| cause.downcast_ref::<h2::Error>());
    found.and_then(h2::Error::reason).unwrap_or(Reason::INTERNAL_ERROR)
}
