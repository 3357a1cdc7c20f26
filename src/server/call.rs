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
use h2::RecvStream;
use http::header::CONNECTION;
use http::request::Parts;
use http::{HeaderValue, Request, Response, Version};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;
use pin_project_lite::pin_project;
use tokio::time::Instant;

use super::HttpService;
use super::activity::{Activity, CallGuard};
use super::http2::{self, Inflow};
use super::rejection::{Reject, Rejection};
use super::tls::Client;
use super::upload::{Rest, Source, Upload};

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
        Refused { why: Refusal },
    }
}

/// Why the service is not asked, or has no answer.
#[derive(Debug, Clone, Copy)]
enum Refusal {
    TurnedAway(Rejection),
    ShutOut,
}

/// What became of a request.
pub(super) enum Opened<F> {
    /// Its answer is at hand.
    Answered(Response<Bytes>, CallGuard),
    Called(Call<F>),
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
        // None once somebody else has it.
        under_way: Option<CallGuard>,
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

/// Over HTTP/1, where it was asked for an answer at once before the library had the request.
impl<S: HttpService> hyper::service::Service<Request<Incoming>> for Calls<S> {
    type Response = Response<Answer<S::Body>>;
    type Error = NoLongerAccepted;
    type Future = Call<S::Future>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let under_way = CallGuard::new(&self.activity);
        let (mut head, body) = request.into_parts();
        let admitted = self.admit(&mut head);
        self.ask(admitted, head, Source::Http1(body), under_way)
    }
}

impl<S: HttpService> Calls<S> {
    /// What becomes of a request over HTTP/2 that came at this moment.
    pub(super) fn open(&self, mut head: Parts, body: RecvStream, now: Instant) -> Opened<S::Future> {
        let under_way = CallGuard::new(&self.activity);
        let checked = http2::check(&head).map_err(Refusal::TurnedAway);
        let admitted = checked.and_then(|()| self.admit(&mut head));
        if admitted.is_ok()
            && body.is_end_stream()
            && let Some(response) = self.at_once(&head, now)
        {
            return Opened::Answered(response, under_way);
        }
        let body = Source::Http2(Inflow::new(body, &head.headers));
        Opened::Called(self.ask(admitted, head, body, under_way))
    }

    /// Looks at the client's certificate anew.
    fn admit(&self, head: &mut Parts) -> Result<(), Refusal> {
        let Some(client) = &self.client else { return Ok(()) };
        let Some(certificate) = client.certificate() else {
            self.activity.shut_out();
            return Err(Refusal::ShutOut);
        };
        head.extensions.insert(certificate.clone());
        Ok(())
    }

    /// The answer of the fast path. What panics there is asked of the service.
    fn at_once(&self, head: &Parts, now: Instant) -> Option<Response<Bytes>> {
        catch_unwind(AssertUnwindSafe(|| self.service.respond(head, now))).ok()?
    }

    /// Asks the service, if it may be asked.
    fn ask(&self, admitted: Result<(), Refusal>, head: Parts, body: Source, under_way: CallGuard) -> Call<S::Future> {
        let version = head.version;
        let (upload, rest) = Upload::of(body);
        let asked = admitted.and_then(|()| {
            let request = Request::from_parts(head, upload);
            // Services here are always ready: what waits, waits inside `call`, where a deadline bounds it.
            let asked = catch_unwind(AssertUnwindSafe(|| self.service.clone().call(request)));
            asked.map_err(|_| Refusal::TurnedAway(Rejection::Panicked))
        });
        let stage = asked.map_or_else(|why| Stage::Refused { why }, |answer| Stage::Asked { answer });
        let exchange = Some(Exchange { under_way, reject: Arc::clone(&self.reject), rest, version });
        Call { stage, exchange }
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
            StageNow::Refused { why: Refusal::ShutOut } => {
                // Not one who left: what was asked before is not to suffer for it.
                if let Some(exchange) = this.exchange {
                    exchange.under_way.answered();
                }
                return Poll::Ready(Err(NoLongerAccepted));
            }
            StageNow::Refused { why: Refusal::TurnedAway(why) } => Err(*why),
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
        response.map(|body| Answer { body, left: Bytes::new(), under_way: Some(under_way), rest })
    }
}

fn whole<B>(body: Bytes) -> Content<B> {
    Content::Whole { body: Full::new(body) }
}

// === impl Answer ===

impl<B> Answer<B> {
    /// What is at hand whole, of a request without a body.
    pub(super) fn whole(body: Bytes, under_way: CallGuard) -> Self {
        Self { body: whole(body), left: Bytes::new(), under_way: Some(under_way), rest: Rest::default() }
    }

    /// The call, to be kept for as long as the last piece is on its way.
    pub(super) fn under_way(self: Pin<&mut Self>) -> Option<CallGuard> {
        self.project().under_way.take()
    }
}

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
        if let Some(under_way) = this.under_way {
            under_way.taken();
        }
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
