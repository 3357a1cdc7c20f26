//! The same enmity over HTTP/2, where one connection carries everybody's answers.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::stream;
use http::Response;
use http_body::Frame;
use http_body_util::StreamBody;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, PING, PUSH_PROMISE, RST_STREAM, SETTINGS,
    WINDOW_UPDATE, fields, frame, head, whole,
};
use super::support::callers::{SHOP, bearer};
use super::support::certificates::{Ca, put};
use super::support::client::{Wire, ask, get, path};
use super::support::gateway::eventually;
use super::support::upstream::{Step, session};
use super::{ALL, Ask, DEFAULT_TOKEN, ID, SHORT, Shop};

/// What plays at each request, by its stream, while the enemy is one.
type Script = Arc<dyn Fn(u32) -> Vec<Step> + Send + Sync>;

/// Whichever way Monime is asked while it plays this: it is refused, nothing of it is kept, and the next answer is right.
async fn is_refused(what: &str, script: Script) {
    for ask in ALL {
        let hostile = Arc::new(AtomicBool::new(true));
        let (theirs, script) = (Arc::clone(&hostile), Arc::clone(&script));
        let frames = Frames::start(move |stream| match theirs.load(Ordering::SeqCst) {
            true => script(stream),
            false => vec![Step::Send(whole(stream, &session(ID, "completed")))],
        })
        .await;
        let (shop, _folder) = frames.shop(&SHORT).await;
        let told = shop.ask(ask).await;
        assert!(told.is_refusal(), "{what}: {ask:?}: {told:?}");
        hostile.store(false, Ordering::SeqCst);
        // A connection that is being flooded may be tried once more before it is given up.
        let told = eventually(&format!("{what}: {ask:?}: a sound answer"), async || {
            Some(shop.ask(Ask::Lookup).await).filter(|told| told.status == 200)
        })
        .await;
        assert!(told.whole && told.body == session(ID, "completed"), "{what}: {ask:?}: {told:?}");
        assert!(told.has("cache-status: monigate; fwd=miss; stored"), "{what}: {ask:?}: {told:?}");
    }
}

fn sending(bytes: impl Fn(u32) -> Vec<u8> + Send + Sync + 'static) -> Script {
    Arc::new(move |stream| vec![Step::Send(bytes(stream))])
}

fn flooding(
    first: impl Fn(u32) -> Vec<u8> + Send + Sync + 'static,
    rest: impl Fn(u32) -> Vec<u8> + Send + Sync + 'static,
) -> Script {
    Arc::new(move |stream| vec![Step::Send(first(stream)), Step::Flood(rest(stream))])
}

/// The beginning of a session's answer that is announced in full.
fn begun(stream: u32) -> Vec<u8> {
    let body = session(ID, "completed");
    let length = body.len().to_string();
    [head(stream, 0, &[("content-length", &length)]), frame(DATA, 0, stream, &body.as_bytes()[..20])].concat()
}

#[tokio::test]
async fn an_answer_frame_by_frame_is_one() {
    let frames = Frames::start(|stream| vec![Step::Send(whole(stream, &session(ID, "completed")))]).await;
    let (shop, _folder) = frames.shop(&[]).await;
    for ask in ALL {
        let told = shop.ask(ask).await;
        assert!(told.status == 200 && told.whole && told.body.contains(&session(ID, "completed")), "{ask:?}: {told:?}");
        assert!(told.has("via: 2 monigate"), "{told:?}");
    }
}

#[tokio::test]
async fn an_answer_that_is_reset_or_left_behind_is_refused() {
    for code in [0_u8, 1, 2, 8, 11] {
        let reset = move |stream| [begun(stream), frame(RST_STREAM, 0, stream, &[0, 0, 0, code])].concat();
        is_refused("a reset", sending(reset)).await;
    }
    for last in [0_u8, 1] {
        is_refused(
            "a farewell",
            Arc::new(move |stream| {
                let farewell = frame(GOAWAY, 0, 0, &[0, 0, 0, last, 0, 0, 0, 0]);
                vec![Step::Send([begun(stream), farewell].concat()), Step::Close]
            }),
        )
        .await;
    }
    is_refused("an end", Arc::new(|stream| vec![Step::Send(begun(stream)), Step::Close])).await;
}

#[tokio::test]
async fn lengths_that_are_wrong_are_refused() {
    let body = || session(ID, "completed");
    let of_length = move |length: String| {
        sending(move |stream| {
            let head = head(stream, 0, &[("content-length", &length)]);
            [head, frame(DATA, END_STREAM, stream, body().as_bytes())].concat()
        })
    };
    is_refused("too short", of_length((body().len() + 1).to_string())).await;
    is_refused("too long", of_length((body().len() - 1).to_string())).await;
    is_refused("none", of_length("many".to_owned())).await;
    is_refused("fifty megabytes", of_length("50000000".to_owned())).await;
}

#[tokio::test]
async fn heads_that_are_malformed_or_over_their_bound_are_refused() {
    let of = |more: &'static [(&'static str, &'static str)]| {
        sending(move |stream| {
            [head(stream, 0, more), frame(DATA, END_STREAM, stream, session(ID, "completed").as_bytes())].concat()
        })
    };
    is_refused("a field of the connection", of(&[("connection", "monime-request-id")])).await;
    is_refused("chunks", of(&[("transfer-encoding", "chunked")])).await;
    is_refused("upper case", of(&[("Monime-Request-Id", "x")])).await;
    is_refused("an injected line", of(&[("monime-request-id", "x\r\nset-cookie: a=b")])).await;
    is_refused("a NUL", of(&[("monime-request-id", "x\0y")])).await;
    is_refused("a second status", of(&[(":status", "200")])).await;
    is_refused("a pseudo-field of requests", of(&[(":path", "/")])).await;
}

#[tokio::test]
async fn frames_that_make_no_answer_are_refused() {
    is_refused("no status", sending(|stream| frame(HEADERS, END_HEADERS | END_STREAM, stream, &fields(&[("a", "b")]))))
        .await;
    is_refused("broken compression", sending(|stream| frame(HEADERS, END_HEADERS, stream, &[0xff; 40]))).await;
    let long = "x".repeat(15_000);
    let over = move |stream| {
        let more = fields(&[("x", &long), ("y", &long)]);
        let (first, rest) = more.split_at(15_900);
        [
            frame(HEADERS, 0, stream, &[&fields(&[(":status", "200")]), first].concat()),
            frame(CONTINUATION, END_HEADERS, stream, rest),
            frame(DATA, END_STREAM, stream, session(ID, "completed").as_bytes()),
        ]
        .concat()
    };
    is_refused("a long head", sending(over)).await;
    is_refused("data before a head", sending(|stream| frame(DATA, END_STREAM, stream, b"{}"))).await;
    is_refused(
        "a promise",
        sending(|stream| {
            [
                frame(
                    PUSH_PROMISE,
                    END_HEADERS,
                    stream,
                    &[
                        &[0, 0, 0, 2][..],
                        &fields(&[
                            (":method", "GET"),
                            (":path", "/"),
                            (":scheme", "https"),
                            (":authority", "localhost"),
                        ]),
                    ]
                    .concat(),
                ),
                whole(stream, &session(ID, "completed")),
            ]
            .concat()
        }),
    )
    .await;
}

#[tokio::test]
async fn floods_are_ended() {
    let none = |_| Vec::new();
    join_all([
        is_refused(
            "interim answers",
            flooding(none, |stream| {
                frame(HEADERS, END_HEADERS, stream, &fields(&[(":status", "103"), ("link", "</x>")]))
            }),
        ),
        is_refused(
            "continuations",
            flooding(
                |stream| frame(HEADERS, 0, stream, &fields(&[(":status", "200")])),
                |stream| frame(CONTINUATION, 0, stream, &fields(&[("x-more", "and more")])),
            ),
        ),
        is_refused(
            "empty continuations",
            flooding(
                |stream| frame(HEADERS, 0, stream, &fields(&[(":status", "200")])),
                |stream| frame(CONTINUATION, 0, stream, b""),
            ),
        ),
        is_refused(
            "data beyond the window",
            flooding(|stream| head(stream, 0, &[]), |stream| frame(DATA, 0, stream, &[b' '; 16_384])),
        ),
        is_refused("empty data", flooding(|stream| head(stream, 0, &[]), |stream| frame(DATA, 0, stream, b""))),
        is_refused("pings", flooding(none, |_| frame(PING, 0, 0, &[0; 8]))),
        is_refused("settings", flooding(none, |_| frame(SETTINGS, 0, 0, b""))),
        is_refused("windows", flooding(none, |stream| frame(WINDOW_UPDATE, 0, stream, &[0, 0, 1, 0]))),
        is_refused("padding", flooding(|stream| head(stream, 0, &[]), |stream| frame(DATA, 8, stream, &[255; 256]))),
    ])
    .await;
}

#[tokio::test]
async fn a_drip_ends_at_the_deadline_and_others_keep_the_connection() {
    for ask in ALL {
        let frames = Frames::start(move |stream| match stream {
            1 => vec![Step::Send(begun(stream))],
            _ => vec![Step::Send(whole(stream, &session(ID, "completed")))],
        })
        .await;
        let (shop, _folder) = frames.shop(&SHORT).await;
        let told = shop.ask(ask).await;
        assert!(told.status == 504 || !told.whole, "{ask:?}: {told:?}");
        eventually("it is reset", async || frames.seen(RST_STREAM).contains(&(0, 1)).then_some(())).await;
        let told = shop.ask(Ask::Lookup).await;
        assert_eq!((told.status, told.body), (200, session(ID, "completed")));
        assert!(frames.seen(HEADERS).iter().all(|(connection, _)| *connection == 0), "over the same connection");
    }
}

#[tokio::test]
async fn a_connection_on_which_an_answer_never_begins_takes_nobody_else_with_it() {
    for ask in ALL {
        let silent = AtomicBool::new(true);
        let frames = Frames::start(move |stream| match silent.swap(false, Ordering::SeqCst) {
            // Nothing more, whoever asks over it.
            true => vec![Step::Gate],
            false => vec![Step::Send(whole(stream, &session(ID, "completed")))],
        })
        .await;
        let (shop, _folder) = frames.shop(&SHORT).await;
        assert_eq!(shop.ask(ask).await.status, 504);
        let told = shop.ask(Ask::Lookup).await;
        assert_eq!((told.status, told.body), (200, session(ID, "completed")), "{ask:?}");
        assert_eq!(frames.seen(HEADERS), [(0, 1), (1, 1)]);
    }
}

#[tokio::test]
async fn trailers_are_nobodys_and_the_token_does_not_come_back_in_frames() {
    let trailed = |stream| {
        let trailers = fields(&[("monime-request-id", DEFAULT_TOKEN), ("set-cookie", "canary")]);
        [
            head(stream, 0, &[]),
            frame(DATA, 0, stream, session(ID, "completed").as_bytes()),
            frame(HEADERS, END_HEADERS | END_STREAM, stream, &trailers),
        ]
        .concat()
    };
    let in_pieces = |stream| {
        let pieces = DEFAULT_TOKEN.bytes().flat_map(|byte| frame(DATA, 0, stream, &[byte]));
        [head(stream, 0, &[]), pieces.collect(), frame(DATA, END_STREAM, stream, b"and an end")].concat()
    };
    let in_head = |stream| {
        let head = head(stream, 0, &[("monime-request-id", DEFAULT_TOKEN)]);
        [head, frame(DATA, END_STREAM, stream, session(ID, "completed").as_bytes())].concat()
    };
    is_refused("in a head", sending(in_head)).await;
    is_refused("in pieces", sending(in_pieces)).await;
    let frames = Frames::start(move |stream| vec![Step::Send(trailed(stream))]).await;
    let (shop, _folder) = frames.shop(&[]).await;
    for ask in ALL {
        let told = shop.ask(ask).await;
        assert!(told.status == 200 && told.whole && !told.head.contains("canary"), "{ask:?}: {told:?}");
        assert!(!told.body.contains("canary"), "{ask:?}: {told:?}");
    }
}

/// Everybody's answers come over one connection, with one window: who does not read must not fill it.
#[tokio::test]
async fn callers_who_do_not_read_leave_the_connection_to_the_others() {
    let (ca, folder) = (Ca::new("ours"), tempfile::tempdir().unwrap());
    put(&folder.path().join("ca.pem"), &ca.pem, 0o644);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let acceptor = TlsAcceptor::from(Arc::new(ca.server().shown(&["h2"])));
    let (mut served, sent) = (JoinSet::new(), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&sent);
    served.spawn(async move {
        let long = Bytes::from(vec![b' '; 7 << 20]);
        loop {
            let socket = acceptor.accept(listener.accept().await.unwrap().0).await.unwrap();
            let (long, count) = (long.clone(), Arc::clone(&count));
            let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                let is_lookup = request.uri().path().ends_with(ID);
                let body = if is_lookup { Bytes::from(session(ID, "completed")) } else { long.clone() };
                let count = Arc::clone(&count);
                let pieces = (0..body.len()).step_by(16_384).map(move |at| {
                    count.fetch_add(1, Ordering::SeqCst);
                    Ok::<_, Infallible>(Frame::data(body.slice(at..body.len().min(at + 16_384))))
                });

                let response = Response::builder()
                    .header("content-type", "application/json")
                    .body(StreamBody::new(stream::iter(pieces)));
                std::future::ready(response)
            });
            tokio::spawn(http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(socket), service));
        }
    });
    let ca = format!("monime.ca_file={}", folder.path().join("ca.pem").display());
    let shop = Shop::before(&base_url, &[&ca, "monime.timeouts.attempt=15s", "monime.timeouts.total=30s"]).await;
    let mut idle = Vec::new();
    let monigate::server::Address::Tcp(address) = shop.gateway.address.clone() else { panic!("a TCP address") };
    for _ in 0..6 {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let mut wire = Wire::over(socket.connect(address).await.unwrap());
        wire.send(format!("GET /v1/banks HTTP/1.1\r\nHost: gateway\r\n{}\r\n", bearer(SHOP))).await;
        wire.until("200 OK").await;
        idle.push(wire);
    }
    let (mut before, mut looks) = (0, 0);
    eventually("nothing moves any more", async || {
        let now = sent.load(Ordering::SeqCst);
        (before, looks) = (now, if before == now { looks + 1 } else { 0 });
        (looks == 100).then_some(())
    })
    .await;
    let told = ask(&shop.gateway.address, &get(&path(ID), &format!("{}Monigate-Timeout: 3\r\n", bearer(SHOP)))).await;
    assert!(told.status == 200 && told.session() == "completed", "{told:?}");
}
