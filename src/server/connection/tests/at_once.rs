//! What is answered at once on a connection, what is not, and that nobody can tell the two apart by anything else.

use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite};

use super::*;
use crate::server::{FastPath, HttpService, PlainHead};

/// Says how it came to answer, as long as anybody likes.
#[derive(Clone)]
struct Both {
    /// How long the stack takes.
    takes: Duration,
    /// How long an answer is that is given at once.
    length: usize,
}

impl FastPath for Both {
    fn answer(&self, head: PlainHead<'_>, _: Instant, out: &mut Vec<u8>) -> Option<Bytes> {
        assert_ne!(head.target(), "/panics");
        let length = self.length;
        out.extend_from_slice(format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nsaid: at once\r\n").as_bytes());
        (head.target() != "/not-here").then(|| vec![b'x'; length].into())
    }

    fn respond(&self, head: &http::request::Parts, _: Instant) -> Option<Response<Bytes>> {
        assert_ne!(head.uri.path(), "/panics");
        let response = || Response::builder().header("said", "at once").body(vec![b'x'; self.length].into()).unwrap();
        (head.uri.path() != "/not-here").then(response)
    }
}

impl tower::Service<Request<Upload>> for Both {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = futures_util::future::BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Upload>) -> Self::Future {
        let takes = self.takes;
        Box::pin(async move {
            request.into_body().collect().await.unwrap();
            sleep(takes).await;
            Ok(Response::builder().header("said", "by the stack").body(Full::default()).unwrap())
        })
    }
}

/// A stream that takes what it is given at once and holds it until it can pass it on, as TLS does.
pub(super) struct Holding {
    io: DuplexStream,
    held: Vec<u8>,
    /// How often it has passed something on.
    told: Arc<AtomicUsize>,
}

impl Holding {
    pub(super) fn over(io: DuplexStream) -> (Self, Arc<AtomicUsize>) {
        let told = Arc::default();
        (Self { io, held: Vec::new(), told: Arc::clone(&told) }, told)
    }
}

impl AsyncRead for Holding {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Holding {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.held.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { io, held, told } = &mut *self;
        told.fetch_add(usize::from(!held.is_empty()), Relaxed);
        while !held.is_empty() {
            let taken = ready!(Pin::new(&mut *io).poll_write(cx, held))?;
            held.drain(..taken);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_flush(cx))?;
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

impl Sever for Holding {
    fn poll_sever(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// A connection whose stack takes a second.
fn both(room: usize) -> Wire {
    let (far, near) = duplex(room);
    over(far, near)
}

/// One whose answers are so long.
pub(super) fn connection(length: usize) -> (Sender<ServerState>, Connection<impl HttpService>) {
    let state = Sender::new(ServerState::default());
    let rules = Rules::default();
    let limits = *rules.limits.borrow();
    let service = Both { takes: Duration::from_secs(1), length };
    let connection = Connection { service, reject: rules.reject, limits, state: state.subscribe(), tls: None };
    (state, connection)
}

fn over(far: DuplexStream, near: impl Sever + Send + 'static) -> Wire {
    let (state, connection) = connection(1000);
    Wire { far, task: tokio::spawn(connection.run(near, seat())), state }
}

fn get(path: &str, fields: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n").into_bytes()
}

impl Wire {
    /// Sends this at once, and hears who answers to each of so many requests.
    async fn hears(&mut self, bytes: &[u8], answers: usize) -> Vec<String> {
        self.far.write_all(bytes).await.unwrap();
        let mut said = Vec::new();
        while String::from_utf8_lossy(&said).matches("\r\n\r\n").count() < answers {
            assert_ne!(self.far.read_buf(&mut said).await.unwrap(), 0, "closed before its answers");
        }
        let mut missing = String::from_utf8_lossy(&said).matches("said: at once").count() * 1000;
        missing -= said.iter().filter(|byte| **byte == b'x').count();
        self.far.read_exact(&mut vec![0; missing]).await.unwrap();
        who(&said)
    }
}

/// Who answered, in order.
fn who(said: &[u8]) -> Vec<String> {
    let said = String::from_utf8_lossy(said);
    said.lines().filter_map(|line| line.strip_prefix("said: ")).map(str::to_owned).collect()
}

#[tokio::test(start_paused = true)]
async fn a_plain_request_that_came_whole_is_answered_at_once_and_every_other_by_the_stack() {
    let mut wire = both(64 * 1024);
    for plain in [get("/", ""), get("/?x=1", "connection: Keep-Alive\r\n"), get("/", "X-Any: thing\r\naccept: */*\r\n")]
    {
        assert_eq!(wire.hears(&plain, 1).await, ["at once"], "{}", String::from_utf8_lossy(&plain));
    }
    for other in [
        get("/not-here", ""),
        get("/", "Content-Length: 0\r\n"),
        [get("/", "Content-Length: 4\r\n"), b"\r\n\r\n".to_vec()].concat(),
        [get("/", "Transfer-Encoding: chunked\r\n"), b"0\r\n\r\n".to_vec()].concat(),
        get("/", "connection: x, keep-alive\r\n"),
        b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
        b"POST / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
    ] {
        assert_eq!(wire.hears(&other, 1).await, ["by the stack"], "{}", String::from_utf8_lossy(&other));
    }
    assert_eq!(wire.hears(&get("/", ""), 1).await, ["at once"], "and the connection is as good as before");
}

#[tokio::test(start_paused = true)]
async fn a_head_in_pieces_and_heads_together_are_answered_by_the_stack_in_order() {
    let mut wire = both(64 * 1024);
    let (begin, end) = (&REQUEST[..9], &REQUEST[9..]);
    wire.far.write_all(begin).await.unwrap();
    sleep(TICK).await;
    assert_eq!(wire.hears(end, 1).await, ["by the stack"]);
    assert_eq!(wire.hears(&[REQUEST, REQUEST].concat(), 2).await, ["by the stack", "by the stack"]);
    assert_eq!(wire.hears(REQUEST, 1).await, ["at once"]);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_answered_at_once_before_what_was_asked_before_it() {
    let mut wire = both(64 * 1024);
    wire.far.write_all(&get("/not-here", "")).await.unwrap();
    sleep(TICK).await;
    assert_eq!(wire.hears(REQUEST, 2).await, ["by the stack", "by the stack"]);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_answered_at_once_behind_a_last_answer() {
    let closing = get("/", "Connection: close\r\n");
    for (last, drains) in [(&closing[..], false), (b"GET / HTTP/1.0\r\n\r\n", false), (REQUEST, true)] {
        let mut wire = both(64 * 1024);
        assert_eq!(wire.hears(REQUEST, 1).await, ["at once"]);
        if drains {
            wire.drain();
            sleep(TICK).await;
        }
        wire.far.write_all(last).await.unwrap();
        sleep(TICK).await;
        wire.far.write_all(REQUEST).await.unwrap();
        let (said, _) = wire.ends().await;
        assert_eq!(who(said.as_bytes()), ["by the stack"], "{said}");
        assert!(said.contains("connection: close"), "{said}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_panics_is_asked_of_the_stack_and_ends_nothing() {
    let mut wire = both(64 * 1024);
    assert_eq!(wire.hears(&get("/panics", ""), 1).await, ["by the stack"]);
    assert_eq!(wire.hears(REQUEST, 1).await, ["at once"]);
}

#[tokio::test(start_paused = true)]
async fn who_takes_little_of_an_answer_gets_all_of_it_and_who_takes_nothing_is_closed() {
    let mut wire = both(64);
    wire.far.write_all(REQUEST).await.unwrap();
    let mut said = Vec::new();
    while said.iter().filter(|byte| **byte == b'x').count() < 1000 {
        sleep(times().send - Duration::from_secs(1)).await;
        assert_ne!(wire.far.read_buf(&mut said).await.unwrap(), 0, "closed within an answer");
    }
    assert_eq!(wire.hears(&get("/not-here", ""), 1).await, ["by the stack"]);
    wire.far.write_all(REQUEST).await.unwrap();
    let started = Instant::now();
    wire.task.await.unwrap();
    assert!(is_about(started.elapsed(), times().send), "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn who_takes_nothing_of_what_is_held_for_it_is_closed_too() {
    let (far, near) = duplex(64);
    let mut wire = over(far, Holding::over(near).0);
    wire.far.write_all(REQUEST).await.unwrap();
    let started = Instant::now();
    wire.task.await.unwrap();
    assert!(is_about(started.elapsed(), times().send), "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn who_was_answered_at_once_is_idle_and_not_silent() {
    let mut wire = both(64 * 1024);
    for _ in 0..3 {
        assert_eq!(wire.hears(REQUEST, 1).await, ["at once"]);
        sleep(times().idle - Duration::from_secs(1)).await;
    }
    assert_eq!(wire.hears(REQUEST, 1).await, ["at once"]);
    assert!(is_about(wire.closes_after().await, times().idle));
}

#[tokio::test(start_paused = true)]
async fn a_bad_request_behind_an_answer_is_told_what_is_wrong() {
    let mut wire = both(64 * 1024);
    assert_eq!(wire.hears(REQUEST, 1).await, ["at once"]);
    wire.far.write_all(&[REQUEST, b"GET / HTTP/1.1\nHost: a\r\n\r\n"].concat()).await.unwrap();
    let (said, _) = wire.ends().await;
    assert_eq!(who(said.as_bytes()), ["by the stack"], "{said}");
    assert!(said.contains("HTTP/1.1 400 "), "{said}");
}

#[tokio::test(start_paused = true)]
async fn over_http_2_what_has_no_body_is_answered_at_once_and_the_stack_answers_what_is_not() {
    let Wire { far, task: _task, state: _state } = both(64 * 1024);
    let handshake = hyper::client::conn::http2::Builder::new(TokioExecutor::new()).handshake(TokioIo::new(far));
    let (mut sender, connection) = handshake.await.unwrap();
    tokio::spawn(connection);
    for (path, body, wanted) in [
        ("/", "", "at once"),
        ("/", "body", "by the stack"),
        ("/not-here", "", "by the stack"),
        ("/panics", "", "by the stack"),
        ("/", "", "at once"),
    ] {
        let request = Request::builder().uri(format!("http://a{path}")).body(Full::<Bytes>::from(body)).unwrap();
        let answer = sender.send_request(request).await.unwrap();
        assert_eq!(answer.headers()["said"], wanted, "{path} {body}");
        let length = if wanted == "at once" { 1000 } else { 0 };
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes().len(), length);
    }
}
