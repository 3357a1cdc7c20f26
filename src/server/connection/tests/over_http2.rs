//! What is done here for a stream over HTTP/2, by the library's own client at the far end.

use std::error::Error;
use std::task::Poll;

use futures_util::StreamExt;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, StatusCode};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::*;
use crate::server::HttpService;

/// A client whose windows are this large, and what tells the server how it feels.
struct Client {
    requests: SendRequest<Bytes>,
    state: Sender<ServerState>,
    connection: JoinHandle<Result<(), h2::Error>>,
}

impl Client {
    async fn of<S: HttpService>(server: (Sender<ServerState>, Connection<S>), window: u32) -> Self {
        let (far, near) = duplex(64 * 1024);
        Self::over(far, near, server, window).await
    }

    async fn over<S: HttpService>(
        far: DuplexStream,
        near: impl Sever + Send + 'static,
        (state, connection): (Sender<ServerState>, Connection<S>),
        window: u32,
    ) -> Self {
        tokio::spawn(connection.run(near, seat()));
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(window).initial_connection_window_size(1 << 20);
        let (requests, connection) = builder.handshake(far).await.unwrap();
        Self { requests, state, connection: tokio::spawn(connection) }
    }

    async fn ask(&mut self, body: bool) -> (ResponseFuture, SendStream<Bytes>) {
        let mut ready = self.requests.clone().ready().await.unwrap();
        ready.send_request(Request::builder().uri("http://a/").body(()).unwrap(), !body).unwrap()
    }

    async fn answer(&mut self) -> Response<RecvStream> {
        self.ask(false).await.0.await.unwrap()
    }
}

/// All of it, taken as it comes.
async fn whole(mut body: RecvStream) -> Result<Vec<u8>, h2::Error> {
    let mut all = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len()).unwrap();
        all.extend_from_slice(&data);
    }
    Ok(all)
}

#[tokio::test(start_paused = true)]
async fn who_resets_a_stream_is_not_answered_any_more() {
    let (began, mut begins) = mpsc::unbounded_channel();
    let service = service_fn(move |_: Request<Upload>| {
        let (held, dropped) = oneshot::channel::<()>();
        began.send(dropped).unwrap();
        async move {
            let _held = held;
            pending::<()>().await;
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::new())))
        }
    });
    let mut client = Client::of(connection(service, None), 1 << 16).await;
    let (_answer, mut stream) = client.ask(false).await;
    let dropped = begins.recv().await.unwrap();
    stream.send_reset(Reason::CANCEL);
    dropped.await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn who_resets_a_stream_within_its_answer_has_its_body_dropped() {
    let (held, dropped) = oneshot::channel::<()>();
    let held = Arc::new(std::sync::Mutex::new(Some(held)));
    let service = service_fn(move |_: Request<Upload>| {
        let held = held.lock().unwrap().take();
        let first = stream::once(ready(Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"first")))));
        let body = first.chain(stream::once(pending())).inspect(move |_| assert!(held.is_some()));
        ready(Ok::<_, Infallible>(Response::new(StreamBody::new(body))))
    });
    let mut client = Client::of(connection(service, None), 1 << 16).await;
    let (answer, mut stream) = client.ask(false).await;
    let mut body = answer.await.unwrap().into_body();
    assert_eq!(body.data().await.unwrap().unwrap(), "first");
    stream.send_reset(Reason::CANCEL);
    dropped.await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_longer_than_its_window_is_told_as_the_window_opens() {
    const LONG: usize = 300_000;
    let service = service_fn(|_: Request<Upload>| {
        ready(Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(&[b'x'; LONG])))))
    });
    let mut by_the_stack = Client::of(connection(service, None), 100).await;
    assert_eq!(whole(by_the_stack.answer().await.into_body()).await.unwrap().len(), LONG);
    for length in [99, 100, 101, LONG] {
        let mut at_once = Client::of(at_once::connection(length), 100).await;
        let answer = at_once.answer().await;
        assert_eq!(answer.headers()["said"], "at once");
        assert_eq!(whole(answer.into_body()).await.unwrap(), vec![b'x'; length]);
    }
}

#[tokio::test(start_paused = true)]
async fn answers_to_what_came_together_are_sent_together() {
    const REQUESTS: usize = 50;
    let (far, near) = duplex(1 << 20);
    let (near, told) = at_once::Holding::over(near);
    let mut client = Client::over(far, near, at_once::connection(1300), 1 << 16).await;
    client.answer().await;
    let before = told.load(Relaxed);
    let mut asked = Vec::new();
    for _ in 0..REQUESTS {
        asked.push(client.ask(false).await.0);
    }
    for answer in asked {
        let answer = answer.await.unwrap();
        assert_eq!(answer.headers()["said"], "at once");
        assert_eq!(whole(answer.into_body()).await.unwrap().len(), 1300);
    }
    let sent = told.load(Relaxed) - before;
    assert!(sent < REQUESTS / 5, "{REQUESTS} answers were sent in {sent} pieces");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_longer_than_its_window_is_read_to_its_end_and_its_trailers_too() {
    const LONG: usize = 1 << 20;
    let service = service_fn(|request: Request<Upload>| async move {
        let body = request.into_body().collect().await.unwrap();
        let trailers = body.trailers().cloned().unwrap_or_default();
        let length = body.to_bytes().len().to_string();
        let frames = [Frame::data(Bytes::from(length)), Frame::trailers(trailers)];
        Ok::<_, Infallible>(Response::new(StreamBody::new(stream::iter(frames.map(Ok::<_, Infallible>)))))
    });
    let mut client = Client::of(connection(service, None), 1 << 16).await;
    let (answer, mut stream) = client.ask(true).await;
    stream.send_data(vec![b'x'; LONG].into(), false).unwrap();
    stream.send_trailers(HeaderMap::from_iter([(http::header::ETAG, HeaderValue::from_static("x"))])).unwrap();
    let mut body = answer.await.unwrap().into_body();
    assert_eq!(body.data().await.unwrap().unwrap(), LONG.to_string());
    assert_eq!(body.trailers().await.unwrap().unwrap()[http::header::ETAG], "x");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_taken_back_has_not_come_whole_whatever_reason_is_given() {
    for reason in [Reason::NO_ERROR, Reason::CANCEL] {
        let (read, mut reads) = mpsc::unbounded_channel();
        let service = service_fn(move |request: Request<Upload>| {
            let read = read.clone();
            async move {
                read.send(request.into_body().collect().await.is_ok()).unwrap();
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::new())))
            }
        });
        let mut client = Client::of(connection(service, None), 1 << 16).await;
        let (_answer, mut stream) = client.ask(true).await;
        stream.send_data(Bytes::from_static(b"half"), false).unwrap();
        stream.send_reset(reason);
        assert_ne!(reads.recv().await, Some(true), "{reason:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_fails_resets_its_stream_with_the_reason_if_there_is_one_and_no_other() {
    let service = service_fn(|request: Request<Upload>| {
        let (named, path) = (h2::Error::from(Reason::ENHANCE_YOUR_CALM), request.uri().path().to_owned());
        let error: Box<dyn Error + Send + Sync> = if path == "/named" { named.into() } else { "unnamed".into() };
        let begin = stream::iter([Ok(Frame::data(Bytes::from_static(b"begin")))]);
        // A reset overtakes what is not on the wire.
        let fails = stream::once(async {
            sleep(TICK).await;
            Err(error)
        });
        ready(Ok::<_, Infallible>(Response::new(StreamBody::new(begin.chain(fails)))))
    });
    let mut client = Client::of(connection(service, None), 1 << 16).await;
    for (path, wanted) in [("named", Reason::ENHANCE_YOUR_CALM), ("other", Reason::INTERNAL_ERROR)] {
        let request = Request::builder().uri(format!("http://a/{path}")).body(()).unwrap();
        let answer = client.requests.send_request(request, true).unwrap().0.await.unwrap();
        let error = whole(answer.into_body()).await.unwrap_err();
        assert_eq!(error.reason(), Some(wanted), "{path}");
        assert!(error.is_reset(), "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_within_a_body_costs_its_stream_alone() {
    let service = service_fn(|_: Request<Upload>| {
        let body = stream::poll_fn(|_| -> Poll<Option<Result<Frame<Bytes>, Infallible>>> { panic!("on purpose") });
        ready(Ok::<_, Infallible>(Response::new(StreamBody::new(body))))
    });
    let mut client = Client::of(connection(service, None), 1 << 16).await;
    for _ in 0..2 {
        whole(client.answer().await.into_body()).await.unwrap_err();
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_asked_to_leave_gets_what_is_under_way_first() {
    let (gate, opened) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
    let (at_gate, begun) = (Arc::clone(&gate), Arc::clone(&opened));
    let service = service_fn(move |_: Request<Upload>| {
        let at_gate = Arc::clone(&at_gate);
        begun.fetch_add(1, Relaxed);
        async move {
            at_gate.acquire().await.unwrap().forget();
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"answer"))))
        }
    });
    let mut client = Client::of(connection(service, None), 1 << 16).await;
    let (answer, _) = client.ask(false).await;
    while opened.load(Relaxed) == 0 {
        tokio::task::yield_now().await;
    }
    client.state.send_modify(|state| state.draining = true);
    sleep(TICK).await;
    gate.add_permits(1);
    assert_eq!(whole(answer.await.unwrap().into_body()).await.unwrap(), b"answer");
    let answered = Instant::now();
    client.connection.await.unwrap().unwrap();
    assert!(is_about(answered.elapsed(), Duration::ZERO), "{:?}: no last words are waited for", answered.elapsed());
}

#[tokio::test(start_paused = true)]
async fn who_is_asked_to_leave_gets_what_it_has_not_taken_yet_as_long_as_it_takes_some() {
    for length in [100, 5000, 100_000] {
        let mut client = Client::of(at_once::connection(length), 99).await;
        let mut body = client.answer().await.into_body();
        let mut taken = body.data().await.unwrap().unwrap().len();
        client.state.send_modify(|state| state.draining = true);
        // Longer than who has been answered has for its last words.
        sleep(4 * times().last_words).await;
        body.flow_control().release_capacity(taken).unwrap();
        taken += whole(body).await.unwrap().len();
        assert_eq!(taken, length);
        client.connection.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn who_takes_too_little_of_a_last_piece_is_stalled_and_not_idle() {
    let mut client = Client::of(at_once::connection(100), 99).await;
    let began = Instant::now();
    let body = client.answer().await.into_body();
    let _ = client.connection.await;
    assert!(is_about(began.elapsed(), times().send), "{:?}", began.elapsed());
    drop(body);
}

#[tokio::test(start_paused = true)]
async fn an_answer_says_its_length_and_date_and_nothing_of_connections() {
    let service = service_fn(|_: Request<Upload>| {
        let response = Response::builder()
            .status(StatusCode::ACCEPTED)
            .header("connection", "x-hop, keep-alive")
            .header("x-hop", "1")
            .header("keep-alive", "timeout=5")
            .header("transfer-encoding", "chunked")
            .header("upgrade", "h2c")
            .header("te", "gzip")
            .header("x-end", "1");
        ready(Ok::<_, Infallible>(response.body(Full::new(Bytes::from_static(b"answer"))).unwrap()))
    });
    let mut client = Client::of(connection(service, None), 1 << 16).await;
    let answer = client.answer().await;
    assert_eq!((answer.status(), answer.headers().len()), (StatusCode::ACCEPTED, 3), "{:?}", answer.headers());
    assert!(answer.headers()["x-end"] == "1" && answer.headers()["content-length"] == "6", "{:?}", answer.headers());
    let date = answer.headers()["date"].to_str().unwrap();
    httpdate::parse_http_date(date).unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_takes_too_little_of_an_answer_that_was_given_at_once_is_closed_as_any_other() {
    let mut client = Client::of(at_once::connection(100_000), 100).await;
    let _untaken = client.answer().await;
    let asked = Instant::now();
    let _ = client.connection.await.unwrap();
    assert!(is_about(asked.elapsed(), times().send), "{:?}", asked.elapsed());
}
