//! One call of the service, from a request's head to the last byte of its answer.
//!
//! Tells the connection of each. Lets nothing through that is turned away by its head alone, and nothing of a client whose
//! certificate a handshake of this moment would not accept; a panic of the service becomes an answer. Refuses to wait.

use std::convert::Infallible;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::CONNECTION;
use http::request::Parts;
use http::{HeaderValue, Request, Response, Version};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;
use pin_project_lite::pin_project;

use super::HttpService;
use super::activity::{Activity, CallGuard};
use super::http2;
use super::rejection::{Reject, Rejection};
use super::tls::Client;
use super::upload::{Rest, Upload};

/// The service of one connection.
pub(super) struct Calls<S> {
    pub(super) service: S,
    pub(super) reject: Reject,
    pub(super) activity: Arc<Activity>,
    /// None without TLS, and for a client that came without a certificate.
    pub(super) client: Option<Client>,
}

/// Bytes of an answer that are given away at once.
const PIECE: usize = 16 * 1024;

/// A request was not let through, because its client's certificate is good no longer. Not an answer: the connection
/// ends, and another handshake says to the client what is wrong.
#[derive(Debug, thiserror::Error)]
#[error("the client's certificate is not accepted any more")]
pub(super) struct NoLongerAccepted;

pin_project! {
    /// A call under way.
    pub(super) struct Call<F> {
        #[pin]
        stage: Stage<F>,
        // None once it is answered.
        exchange: Option<Exchange>,
    }
}

pin_project! {
    #[project = StageNow]
    enum Stage<F> {
        Asked { #[pin] answer: F },
        TurnedAway { why: Rejection },
        // None once it is answered.
        AtOnce { response: Option<Response<Bytes>> },
        ShutOut,
    }
}

/// What a call holds until its answer ends.
struct Exchange {
    under_way: CallGuard,
    reject: Reject,
    /// What its service leaves unread.
    rest: Rest,
    version: Version,
}

pin_project! {
    /// The body of an answer. Until it ends the call counts, and the body of its request is not given up: over HTTP/2 that
    /// would reset the stream, and the reset could overtake the answer. Given away in small pieces: the library would take a
    /// large one whole, and nobody here could tell a peer that takes none of it.
    pub struct Answer<B> {
        #[pin]
        body: Content<B>,
        // Of the piece that came last, what was not given away.
        left: Bytes,
        under_way: CallGuard,
        rest: Rest,
    }
}

pin_project! {
    #[project = ContentNow]
    enum Content<B> {
        Answered { #[pin] body: B },
        Whole { #[pin] body: Full<Bytes> },
    }
}

// === impl Calls ===

impl<S: HttpService> hyper::service::Service<Request<Incoming>> for Calls<S> {
    type Response = Response<Answer<S::Body>>;
    type Error = NoLongerAccepted;
    type Future = Call<S::Future>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let under_way = CallGuard::new(&self.activity);
        let version = request.version();
        let (mut head, body) = request.into_parts();
        let (upload, rest) = Upload::of(body);
        // Over HTTP/1 it was asked before the library had the request.
        let has_fast_path = version == Version::HTTP_2 && !rest.is_of_a_body();
        let exchange = Some(Exchange { under_way, reject: Arc::clone(&self.reject), rest, version });
        if version == Version::HTTP_2
            && let Err(why) = http2::check(&head)
        {
            return Call { stage: Stage::TurnedAway { why }, exchange };
        }
        if let Some(client) = &self.client {
            let Some(certificate) = client.certificate() else {
                self.activity.shut_out();
                return Call { stage: Stage::ShutOut, exchange };
            };
            head.extensions.insert(certificate.clone());
        }
        if has_fast_path && let Some(response) = self.at_once(&head) {
            return Call { stage: Stage::AtOnce { response: Some(response) }, exchange };
        }
        let request = Request::from_parts(head, upload);
        // Services here are always ready: what waits, waits inside `call`, where a deadline bounds it.
        let asked = catch_unwind(AssertUnwindSafe(|| self.service.clone().call(request)));
        let stage = asked.map_or(Stage::TurnedAway { why: Rejection::Panicked }, |answer| Stage::Asked { answer });
        Call { stage, exchange }
    }
}

impl<S: HttpService> Calls<S> {
    /// The answer of the fast path. What panics there is asked of the service.
    fn at_once(&self, head: &Parts) -> Option<Response<Bytes>> {
        catch_unwind(AssertUnwindSafe(|| self.service.respond(head))).ok()?
    }
}

// === impl Call ===

impl<F, B> Future for Call<F>
where
    F: Future<Output = Result<Response<B>, Infallible>>,
{
    type Output = Result<Response<Answer<B>>, NoLongerAccepted>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = match this.stage.project() {
            StageNow::ShutOut => {
                // Not one who left: what was asked before is not to suffer for it.
                if let Some(exchange) = this.exchange {
                    exchange.under_way.answered();
                }
                return Poll::Ready(Err(NoLongerAccepted));
            }
            StageNow::TurnedAway { why } => Err(*why),
            StageNow::AtOnce { response } => match response.take() {
                Some(response) => Ok(response.map(whole)),
                None => return Poll::Pending,
            },
            // What is left of a service that panicked is never asked again, only dropped.
            StageNow::Asked { answer } => match catch_unwind(AssertUnwindSafe(|| answer.poll(cx))) {
                Ok(answer) => {
                    let response = ready!(answer).map_err(|never| match never {});
                    response.map(|response| response.map(|body| Content::Answered { body }))
                }
                Err(_) => Err(Rejection::Panicked),
            },
        };
        match this.exchange.take() {
            Some(exchange) => Poll::Ready(Ok(exchange.answer(answer))),
            None => Poll::Pending,
        }
    }
}

impl Exchange {
    fn answer<B>(self, answer: Result<Response<Content<B>>, Rejection>) -> Response<Answer<B>> {
        let Self { mut under_way, reject, rest, version } = self;
        under_way.answered();
        // Behind a body that nobody read there is no telling where the next request begins.
        let is_lost = rest.is_unread() || (rest.is_of_a_body() && under_way.has_broken_body());
        let is_last = under_way.is_last() || is_lost;
        let mut response = answer.unwrap_or_else(|why| reject(why).map(whole));
        // HTTP/1.0 gets one answer a connection: what keeps it open there was never standardised.
        if version < Version::HTTP_11 || (version == Version::HTTP_11 && is_last) {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            under_way.leaves();
        }
        response.map(|body| Answer { body, left: Bytes::new(), under_way, rest })
    }
}

fn whole<B>(body: Bytes) -> Content<B> {
    Content::Whole { body: Full::new(body) }
}

// === impl Answer ===

impl<B: Body<Data = Bytes>> Body for Answer<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        if this.left.is_empty() {
            let frame = match this.body.project() {
                ContentNow::Answered { body } => ready!(body.poll_frame(cx)),
                ContentNow::Whole { body } => {
                    ready!(body.poll_frame(cx)).map(|frame| frame.map_err(|never| match never {}))
                }
            };
            match frame.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => *this.left = data,
                Some(Ok(Err(trailers))) => return Poll::Ready(Some(Ok(trailers))),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
        this.under_way.taken();
        let piece = this.left.split_to(this.left.len().min(PIECE));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        let has_come = match &self.body {
            Content::Answered { body } => body.is_end_stream(),
            Content::Whole { body } => body.is_end_stream(),
        };
        has_come && self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        let to_come = match &self.body {
            Content::Answered { body } => body.size_hint(),
            Content::Whole { body } => body.size_hint(),
        };
        let left = self.left.len() as u64;
        let mut hint = SizeHint::new();
        hint.set_lower(to_come.lower() + left);
        if let Some(upper) = to_come.upper() {
            hint.set_upper(upper + left);
        }
        hint
    }
}
