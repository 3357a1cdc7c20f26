//! How far a request came, told by servers that break off at each stage, over real sockets.

use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::yield_now;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use super::*;
use crate::sandbox::tls::make_ca;
use crate::upstream::{Bound, Unreachable, Unreadable};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";

/// A client for this address that gives up connecting after a while.
fn client(scheme: &str, listener: &TcpListener, connect: Duration) -> Client {
    let origin = format!("{scheme}://{}", listener.local_addr().unwrap());
    Client::new(&Wire { origin: origin.parse().unwrap(), ca_pem: None, connect, proxy: None }).unwrap()
}

/// A client for this address that trusts this CA.
fn trusting(listener: &TcpListener, ca: &std::path::Path) -> Client {
    let origin = format!("https://{}", listener.local_addr().unwrap()).parse().unwrap();
    let ca_pem = Some(std::fs::read(ca).unwrap());
    Client::new(&Wire { origin, ca_pem, connect: Duration::from_secs(10), proxy: None }).unwrap()
}

async fn ask(client: &Client) -> Result<Bytes, Failure> {
    Ok(head(client).await?.into_body().collect().await.unwrap().to_bytes())
}

/// Asks, and reads no body yet.
async fn head(client: &Client) -> Result<Response<Leased>, Failure> {
    let Origin { scheme, authority } = &client.wire().origin;
    let request = Request::get(format!("{scheme}://{authority}/")).body(Full::default()).unwrap();
    client.clone().oneshot(request).await
}

/// A lookup over a new connection that `serve` plays the other side of.
async fn asked_of(scheme: &str, serve: impl AsyncFnOnce(TcpStream)) -> Result<Bytes, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = client(scheme, &listener, Duration::from_secs(10));
    let served = async { serve(listener.accept().await.unwrap().0).await };
    tokio::join!(ask(&client), served).0
}

async fn heard(socket: &mut TcpStream) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(socket.read_u8().await.unwrap());
    }
}

async fn answers(socket: &mut TcpStream) {
    heard(socket).await;
    socket.write_all(ANSWER).await.unwrap();
}

/// The next connection, over which all of an answer has come but its last byte.
async fn answers_in_part(listener: &TcpListener) -> TcpStream {
    let mut socket = listener.accept().await.unwrap().0;
    heard(&mut socket).await;
    socket.write_all(&ANSWER[..ANSWER.len() - 1]).await.unwrap();
    socket
}

fn how_far(asked: Result<Bytes, Failure>) -> Unreachable {
    let failure = asked.unwrap_err();
    let Failure::Unreachable(came, _) = failure else { panic!("{failure:?}") };
    came
}

#[tokio::test]
async fn without_a_listener_there_is_no_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = client("http", &listener, Duration::from_secs(10));
    drop(listener);
    assert_eq!(how_far(ask(&client).await), Unreachable::NotConnected);
}

#[tokio::test]
async fn a_handshake_that_is_cut_off_is_no_connection() {
    let at_once = asked_of("https", async |socket| drop(socket)).await;
    let after_a_word = asked_of("https", async |mut socket| {
        socket.read_u8().await.unwrap();
    })
    .await;
    assert_eq!([at_once, after_a_word].map(how_far), [Unreachable::NotConnected; 2]);
}

#[tokio::test]
async fn a_handshake_that_takes_too_long_is_a_connect_time_out() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let failure = ask(&client("https", &listener, Duration::from_millis(20))).await.unwrap_err();
    assert!(matches!(failure, Failure::TimedOut(Bound::Connect)), "{failure:?}");
}

#[tokio::test]
async fn who_is_not_trusted_or_speaks_no_tls_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let tls = make_ca(folder.path()).unwrap().config();
    let unknown = asked_of("https", async |socket| drop(TlsAcceptor::from(tls).accept(socket).await)).await;
    let plain = asked_of("https", async |mut socket| {
        assert!(socket.read(&mut [0; 4096]).await.unwrap() > 0);
        socket.write_all(ANSWER).await.unwrap();
    })
    .await;
    assert_eq!([unknown, plain].map(how_far), [Unreachable::Refused; 2]);
}

#[tokio::test]
async fn tls_that_breaks_once_the_request_has_come_is_no_refusal() {
    let garbage = [&b"\x17\x03\x03\x00\x20"[..], &[b'x'; 32]].concat();
    let in_plain = b"HTTP/1.1 500 Oh\r\n\r\n".to_vec();
    for broken in [garbage, in_plain] {
        let folder = tempfile::tempdir().unwrap();
        let tls = make_ca(folder.path()).unwrap().config();
        // Over HTTP/1.1, where a request has come before anything is answered.
        let mut tls = Arc::unwrap_or_clone(tls);
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = trusting(&listener, &folder.path().join("ca.pem"));
        let served = async {
            let socket = listener.accept().await.unwrap().0;
            let mut socket = TlsAcceptor::from(Arc::new(tls)).accept(socket).await.unwrap();
            assert!(socket.read(&mut [0; 4096]).await.unwrap() > 0, "the request came");
            let (tcp, _) = socket.get_mut();
            tcp.write_all(&broken).await.unwrap();
            tcp.flush().await.unwrap();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            asked = ask(&client) => assert_eq!(how_far(asked), Unreachable::Unanswered),
            () = served => {}
        }
    }
}

#[tokio::test]
async fn a_connection_that_ends_before_a_whole_head_has_not_answered() {
    for begun in [&b""[..], b"HTTP/1.1 200 OK\r\nContent-"] {
        for reset in [false, true] {
            let asked = asked_of("http", async |mut socket| {
                heard(&mut socket).await;
                socket.write_all(begun).await.unwrap();
                if reset {
                    socket.set_zero_linger().unwrap();
                }
            });
            assert_eq!(how_far(asked.await), Unreachable::Unanswered, "{begun:?} {reset}");
        }
    }
}

#[tokio::test]
async fn what_is_not_http_is_unreadable() {
    let asked = asked_of("http", async |mut socket| {
        heard(&mut socket).await;
        socket.write_all(b"SSH-2.0-OpenSSH_9.6\r\n\r\n").await.unwrap();
    });
    let failure = asked.await.unwrap_err();
    assert!(matches!(failure, Failure::Unreadable(Unreadable::Framing)), "{failure:?}");
}

/// A connection that is kept alive after one answer: both of its ends, and where another would arrive.
async fn kept_alive() -> (Client, TcpStream, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = client("http", &listener, Duration::from_secs(10));
    let served = async {
        let mut socket = listener.accept().await.unwrap().0;
        heard(&mut socket).await;
        socket.write_all(ANSWER).await.unwrap();
        socket
    };
    let (answer, socket) = tokio::join!(ask(&client), served);
    assert_eq!(answer.unwrap(), "{}");
    (client, socket, listener)
}

#[tokio::test]
async fn a_kept_connection_that_ends_at_the_second_request_has_not_answered_it() {
    let (client, mut socket, listener) = kept_alive().await;
    let served = async {
        heard(&mut socket).await;
        drop(socket);
        listener.accept().await
    };
    tokio::select! {
        asked = ask(&client) => assert_eq!(how_far(asked), Unreachable::Unanswered),
        _ = served => panic!("it was sent again over a new connection"),
    }
}

/// The client learns of the end of the kept connection in the moment in which it is used again: the request was handed
/// over, and is handed back unsent. Sending it again is not the client's to decide.
#[tokio::test]
async fn a_request_that_was_handed_back_unsent_is_not_sent_again_in_secret() {
    let (client, socket, listener) = kept_alive().await;
    drop(socket);
    // One turn of the runtime's driver. What it hears wakes the connection's task, which runs after this one.
    yield_now().await;
    tokio::select! {
        asked = ask(&client) => assert_eq!(how_far(asked), Unreachable::Unanswered),
        _ = listener.accept() => panic!("it was sent again over a new connection"),
    }
}

/// How a listener of its own is reached.
async fn wire() -> (Wire, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    (Wire { origin, ca_pem: None, connect: Duration::from_secs(10), proxy: None }, listener)
}

#[tokio::test]
async fn a_connection_is_used_again_until_it_is_old_and_then_closed_however_busy_it_is() {
    let (wire, listener) = wire().await;
    let client = Client::new(&wire).unwrap();
    let served = async {
        let mut socket = listener.accept().await.unwrap().0;
        for _ in 0..3 {
            answers(&mut socket).await;
        }
        socket
    };
    let asked = async {
        for _ in 0..3 {
            assert_eq!(ask(&client).await.unwrap(), "{}");
        }
    };
    let (mut socket, ()) = tokio::join!(served, asked);
    // As if five minutes had passed.
    for idle in &mut client.pool.open.lock().unwrap().idle {
        idle.connection.born -= Duration::from_secs(300);
    }
    let served = async { answers(&mut listener.accept().await.unwrap().0).await };
    let closed = async { assert_eq!(socket.read(&mut [0]).await.unwrap(), 0, "the old one is closed") };
    let (answer, (), ()) = tokio::join!(ask(&client), served, closed);
    assert_eq!(answer.unwrap(), "{}");
}

#[tokio::test]
async fn what_is_under_way_over_an_old_connection_is_finished_there() {
    let (wire, listener) = wire().await;
    let client = Client::renewed_every(Duration::ZERO, &wire).unwrap();
    let (old, mut socket) = tokio::join!(head(&client), answers_in_part(&listener));
    let served = async { answers(&mut listener.accept().await.unwrap().0).await };
    let (answer, ()) = tokio::join!(ask(&client), served);
    assert_eq!(answer.unwrap(), "{}");
    socket.write_all(&ANSWER[ANSWER.len() - 1..]).await.unwrap();
    assert_eq!(old.unwrap().into_body().collect().await.unwrap().to_bytes(), "{}");
    assert_eq!(socket.read(&mut [0]).await.unwrap(), 0, "and closed then");
}

#[tokio::test]
async fn a_connection_is_used_again_when_its_answer_has_ended_with_a_body_or_without() {
    let (wire, listener) = wire().await;
    let client = Client::new(&wire).unwrap();
    let answers = [
        &b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"[..],
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        ANSWER,
    ];
    let served = async {
        let mut socket = listener.accept().await.unwrap().0;
        for answer in answers {
            heard(&mut socket).await;
            socket.write_all(answer).await.unwrap();
        }
    };
    let asked = async {
        // Those without a body are not read to find their end, and dropped at once.
        assert_eq!(ask(&client).await.unwrap(), "{}");
        drop(head(&client).await.unwrap());
        drop(head(&client).await.unwrap());
        assert_eq!(ask(&client).await.unwrap(), "{}");
    };
    tokio::join!(served, asked);
}

#[tokio::test]
async fn a_connection_is_closed_with_the_body_that_nobody_reads_to_its_end() {
    let (wire, listener) = wire().await;
    let client = Client::new(&wire).unwrap();
    let (unread, mut socket) = tokio::join!(head(&client), answers_in_part(&listener));
    drop(unread.unwrap());
    assert_eq!(socket.read(&mut [0]).await.unwrap(), 0);
    let served = async { answers(&mut listener.accept().await.unwrap().0).await };
    assert_eq!(tokio::join!(ask(&client), served).0.unwrap(), "{}");
}

#[tokio::test]
async fn a_connection_whose_answer_says_that_it_is_the_last_is_not_used_again() {
    let (wire, listener) = wire().await;
    let client = Client::new(&wire).unwrap();
    for _ in 0..2 {
        let served = async {
            let mut socket = listener.accept().await.unwrap().0;
            heard(&mut socket).await;
            socket.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}").await.unwrap();
            socket
        };
        let (answer, mut socket) = tokio::join!(ask(&client), served);
        assert_eq!(answer.unwrap(), "{}");
        assert_eq!(socket.read(&mut [0]).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn a_request_that_nobody_waits_for_any_more_takes_its_connection_with_it() {
    let (client, mut socket, listener) = kept_alive().await;
    tokio::select! {
        biased;
        _ = ask(&client) => panic!("nobody answered"),
        () = heard(&mut socket) => {}
    }
    assert_eq!(socket.read(&mut [0]).await.unwrap(), 0);
    let served = async { answers(&mut listener.accept().await.unwrap().0).await };
    assert_eq!(tokio::join!(ask(&client), served).0.unwrap(), "{}");
}

#[tokio::test]
async fn an_unused_connection_is_closed_in_time_whether_anybody_asks_or_not() {
    let (client, mut socket, _listener) = kept_alive().await;
    assert!(client.pool.open.lock().unwrap().has_sweeper, "somebody looks at it");
    let now = Instant::now();
    let next = client.pool.swept(now).expect("it is kept, and looked at again");
    assert!((now..=now + Duration::from_secs(50)).contains(&next), "{:?}", next - now);
    assert_eq!(client.pool.swept(next), None, "nothing is left");
    assert_eq!(socket.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test]
async fn who_waits_for_a_connection_takes_one_that_is_given_back_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let tls = make_ca(folder.path()).unwrap().config();
    let mut tls = Arc::unwrap_or_clone(tls);
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    let tls = TlsAcceptor::from(Arc::new(tls));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = trusting(&listener, &folder.path().join("ca.pem"));
    let served = async {
        let mut first = tls.accept(listener.accept().await.unwrap().0).await.unwrap();
        let mut request = [0; 4096];
        assert!(first.read(&mut request).await.unwrap() > 0);
        // The second is never answered, not even in words of TLS.
        let _second = listener.accept().await.unwrap();
        for _ in 0..2 {
            first.write_all(ANSWER).await.unwrap();
            first.flush().await.unwrap();
            let _ = first.read(&mut request).await.unwrap();
        }
        std::future::pending::<()>().await;
    };
    let both = async { tokio::join!(ask(&client), ask(&client)) };
    tokio::select! {
        (one, other) = both => assert_eq!((one.unwrap(), other.unwrap()), ("{}".into(), "{}".into())),
        () = served => {}
    }
}

#[tokio::test]
async fn who_waits_for_a_connection_takes_one_that_all_can_use_as_soon_as_there_is_one() {
    let folder = tempfile::tempdir().unwrap();
    let tls = TlsAcceptor::from(make_ca(folder.path()).unwrap().config());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = trusting(&listener, &folder.path().join("ca.pem"));
    let served = async {
        let one = listener.accept().await.unwrap().0;
        // Never heard of again.
        let _others = [listener.accept().await.unwrap(), listener.accept().await.unwrap()];
        let socket = tls.accept(one).await.unwrap();
        let mut http = h2::server::handshake(socket).await.unwrap();
        while let Some(asked) = http.accept().await {
            let (_, mut respond) = asked.unwrap();
            let mut body = respond.send_response(Response::new(()), false).unwrap();
            body.send_data(Bytes::from_static(b"{}"), true).unwrap();
        }
    };
    let all = async { tokio::join!(ask(&client), ask(&client), ask(&client)) };
    tokio::select! {
        (one, two, three) = all => assert!([one, two, three].into_iter().all(|answer| answer.unwrap() == "{}")),
        () = served => panic!("the connection ended before its answers"),
    }
}
