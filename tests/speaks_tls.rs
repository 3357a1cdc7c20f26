//! TLS between a caller and the listener: which protocols, whose certificates, and both swapped under load.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what a test cannot prepare is its failure"
)]

mod support;

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures_util::future::poll_immediate;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, Full};
use monigate::server::tls::{ClientAuth, Files};
use monigate::server::{Address, ClientCertificate, HttpService, Listener, Rules, Tls, Upload, WithoutFastPath, serve};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, HandshakeKind};
use support::certificates::{Ca, DAY, Leaf, put};
use support::client::{H2, Wire, ask_h2, get, h2_over, shake};
use support::gateway::{PATIENCE, eventually};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tower::service_fn;

const SHOP: &str = "spiffe://cluster/ns/shop/sa/storefront";

/// A listener that tells each caller who it is, and the folder with its files.
struct Served {
    address: Address,
    /// The CA of its own certificate.
    ca: Ca,
    folder: TempDir,
    tls: Tls,
    stop: Option<oneshot::Sender<()>>,
    task: JoinSet<()>,
}

/// Answers with the HTTP version and the names in the client's certificate.
fn who() -> impl HttpService {
    WithoutFastPath::new(service_fn(async |request: Request<Upload>| {
        let names = request.extensions().get::<ClientCertificate>().map(|certificate| {
            let mut names: Vec<_> = certificate.uri_names().chain(certificate.dns_names()).collect();
            names.sort_unstable();
            names.join(" ")
        });
        let said = format!("{:?} {}", request.version(), names.as_deref().unwrap_or("nobody"));
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(said))))
    }))
}

impl Served {
    /// Asks nobody for a certificate.
    async fn start() -> Self {
        Self::with(None).await
    }

    /// Asks for certificates of this CA.
    async fn asking(clients: &Ca, auth: ClientAuth) -> Self {
        Self::with(Some((clients, auth))).await
    }

    async fn with(clients: Option<(&Ca, ClientAuth)>) -> Self {
        Self::serving(clients, who()).await
    }

    async fn serving(clients: Option<(&Ca, ClientAuth)>, service: impl HttpService) -> Self {
        let (ca, folder) = (Ca::new("the servers' CA"), tempfile::tempdir().unwrap());
        let (certificate, key) = ca.server().write(folder.path(), "server");
        let client_ca = clients.map(|(clients, _)| {
            let path = folder.path().join("clients.pem");
            put(&path, &clients.pem, 0o644);
            path
        });
        let client_auth = clients.map_or(ClientAuth::Optional, |(_, auth)| auth);
        let tls = Tls::new(Files { certificate, key, client_ca, client_auth, allow_world_readable: false }).unwrap();
        let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap(), None).await.unwrap().with_tls(tls.clone());
        let address = listener.address().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let mut task = JoinSet::new();
        task.spawn(serve(listener, service, Rules::default(), async { drop(stopped.await) }));
        Self { address, ca, folder, tls, stop: Some(stop), task }
    }

    /// Another certificate of the server's own, from the same CA or another one.
    async fn becomes(&mut self, ca: Ca) {
        ca.server().write(self.folder.path(), "server");
        self.ca = ca;
        self.tls.look().await;
        assert_eq!(self.tls.problem(), None);
    }

    /// Others are trusted from now on.
    async fn trusts(&self, clients: &str) {
        put(&self.folder.path().join("clients.pem"), clients, 0o644);
        self.tls.look().await;
        assert_eq!(self.tls.problem(), None);
    }

    fn client(&self, own: Option<&Leaf>, protocol: &str) -> ClientConfig {
        self.ca.trusted_by(own, &[protocol], &[&TLS12, &TLS13])
    }

    async fn wire(&self, own: Option<&Leaf>) -> Wire {
        Wire::over(shake(&self.address, self.client(own, "http/1.1")).await.unwrap())
    }

    async fn h2(&self, own: Option<&Leaf>) -> H2 {
        h2_over(shake(&self.address, self.client(own, "h2")).await.unwrap()).await
    }

    /// Asks over a connection of its own; none if it is not let in.
    async fn ask(&self, config: ClientConfig) -> Option<String> {
        // With TLS 1.3 the client has shaken hands before the server has seen its certificate.
        let mut io = shake(&self.address, config).await.ok()?;
        io.write_all(get("/", "").as_bytes()).await.ok()?;
        Wire::over(io).answer().await.map(|answer| answer.text())
    }
}

/// Asks on a connection that is there; none if it ends without an answer.
async fn ask(wire: &mut Wire) -> Option<String> {
    wire.send(get("/", "")).await;
    wire.answer().await.map(|answer| answer.text())
}

#[tokio::test]
async fn both_versions_of_http_and_of_tls_are_spoken_and_nothing_older() {
    let served = Served::start().await;
    for version in [&TLS12, &TLS13] {
        for (protocols, agreed, said) in [
            (&["h2", "http/1.1"][..], Some("h2"), "HTTP/2.0 nobody"),
            (&["http/1.1"], Some("http/1.1"), "HTTP/1.1 nobody"),
            (&[], None, "HTTP/1.1 nobody"),
        ] {
            let io = shake(&served.address, served.ca.trusted_by(None, protocols, &[version])).await.unwrap();
            assert_eq!(io.get_ref().1.protocol_version(), Some(version.version));
            assert_eq!(io.get_ref().1.alpn_protocol(), agreed.map(str::as_bytes));
            let text = if agreed == Some("h2") {
                ask_h2(&h2_over(io).await, "GET", "/", &[]).await.text()
            } else {
                ask(&mut Wire::over(io)).await.unwrap()
            };
            assert_eq!(text, said);
        }
    }
    let refused = shake(&served.address, served.ca.trusted_by(None, &["spdy/3"], &[&TLS13])).await;
    assert!(refused.unwrap_err().to_string().contains("NoApplicationProtocol"));
}

/// A client of our own time does not even know how to ask for it, so its greeting is written by hand (RFC 4346).
#[tokio::test]
async fn a_client_of_tls_1_1_is_told_that_its_version_is_too_old() {
    let served = Served::start().await;
    // One suite that the server would take, and one kind of signature; all else is left out.
    let hello = [&[3, 2][..], &[7; 32], &[0, 0, 2, 0xc0, 0x2b, 1, 0, 0, 8, 0, 13, 0, 4, 0, 2, 4, 3]].concat();
    let message = [&[1, 0, 0, u8::try_from(hello.len()).unwrap()][..], &hello].concat();
    let record = [&[0x16, 3, 1, 0, u8::try_from(message.len()).unwrap()][..], &message].concat();
    let Address::Tcp(address) = served.address else { panic!("a TCP address") };
    let mut wire = Wire::over(TcpStream::connect(address).await.unwrap());
    wire.send(record).await;
    let said = wire.rest().await;
    assert_eq!((said[0], &said[5..]), (0x15, &[2, 70][..]), "a fatal alert, protocol_version: {said:?}");
}

#[tokio::test]
async fn plain_text_is_told_that_tls_is_spoken_here_and_harms_nobody() {
    let served = Served::start().await;
    for text in [get("/", ""), "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), "\0".repeat(100)] {
        let mut wire = Wire::connect(&served.address).await;
        wire.send(text).await;
        let said = wire.rest().await;
        let said = String::from_utf8_lossy(&said).into_owned();
        assert!(said.starts_with("HTTP/1.1 400 ") && said.contains("https") && !said.contains("nobody"), "{said}");
    }
    assert_eq!(ask(&mut served.wire(None).await).await.unwrap(), "HTTP/1.1 nobody");
}

#[tokio::test]
async fn who_needs_no_certificate_is_asked_for_none() {
    let served = Served::start().await;
    let own = Ca::new("anyone's").client(&[SHOP], &[]);
    assert_eq!(ask(&mut served.wire(Some(&own)).await).await.unwrap(), "HTTP/1.1 nobody");
}

#[tokio::test]
async fn the_names_in_a_clients_certificate_come_with_each_of_its_requests() {
    let clients = Ca::new("the clients' CA");
    for auth in [ClientAuth::Optional, ClientAuth::Required] {
        let served = Served::asking(&clients, auth).await;
        let own = clients.client(&[SHOP], &["Shop.Internal", "*.shop.internal"]);
        let names = format!("*.shop.internal shop.internal {SHOP}");
        let mut wire = served.wire(Some(&own)).await;
        for _ in 0..2 {
            assert_eq!(ask(&mut wire).await.unwrap(), format!("HTTP/1.1 {names}"));
        }
        let h2 = served.h2(Some(&own)).await;
        for _ in 0..2 {
            assert_eq!(ask_h2(&h2, "GET", "/", &[]).await.text(), format!("HTTP/2.0 {names}"));
        }
        let nameless = clients.client(&[], &[]);
        assert_eq!(ask(&mut served.wire(Some(&nameless)).await).await.unwrap(), "HTTP/1.1 ");
    }
}

#[tokio::test]
async fn who_comes_without_a_good_certificate_is_not_let_in() {
    let (clients, others) = (Ca::new("the clients' CA"), Ca::new("the clients' CA"));
    let middle = clients.intermediate("the middle");
    let bad = [
        ("of another CA with the same name", others.client(&[SHOP], &[])),
        ("expired", clients.client_valid(&[SHOP], &[], (-9 * DAY, -60))),
        ("not yet valid", clients.client_valid(&[SHOP], &[], (3600, DAY))),
        ("for servers only", clients.server()),
        ("without the chain that leads to the CA", middle.client(&[SHOP], &[])),
    ];
    for auth in [ClientAuth::Optional, ClientAuth::Required] {
        let served = Served::asking(&clients, auth).await;
        for version in [&TLS12, &TLS13] {
            let ask = async |own: Option<&Leaf>| served.ask(served.ca.trusted_by(own, &["http/1.1"], &[version])).await;
            for (why, own) in &bad {
                assert_eq!(ask(Some(own)).await, None, "{why}");
            }
            let let_in = ask(None).await;
            match auth {
                ClientAuth::Optional => assert_eq!(let_in.as_deref(), Some("HTTP/1.1 nobody")),
                ClientAuth::Required => assert_eq!(let_in, None),
            }
            let chained = middle.client(&[SHOP], &[]).followed_by(&[&middle]);
            assert_eq!(ask(Some(&chained)).await, Some(format!("HTTP/1.1 {SHOP}")));
        }
    }
}

#[tokio::test]
async fn a_new_certificate_is_for_new_connections_and_old_ones_go_on() {
    let mut served = Served::start().await;
    let (mut old, old_h2) = (served.wire(None).await, served.h2(None).await);
    assert!(ask(&mut old).await.is_some());
    let trusts_old = served.client(None, "http/1.1");
    served.becomes(Ca::new("another CA")).await;
    assert!(shake(&served.address, trusts_old).await.is_err(), "the old certificate is gone");
    assert_eq!(ask(&mut served.wire(None).await).await.unwrap(), "HTTP/1.1 nobody");
    assert_eq!(ask(&mut old).await.unwrap(), "HTTP/1.1 nobody");
    assert_eq!(ask_h2(&old_h2, "GET", "/", &[]).await.text(), "HTTP/2.0 nobody");
}

#[tokio::test]
async fn a_broken_certificate_changes_nothing() {
    let served = Served::start().await;
    let mut old = served.wire(None).await;
    for (name, text) in [("server.pem", served.ca.server().certificate), ("server.key", "nothing".to_owned())] {
        put(&served.folder.path().join(name), &text, 0o600);
        served.tls.look().await;
        assert!(served.tls.problem().is_some());
        assert!(ask(&mut old).await.is_some() && ask(&mut served.wire(None).await).await.is_some());
    }
}

#[tokio::test]
async fn no_request_fails_while_certificates_are_swapped() {
    let clients = Ca::new("the clients' CA");
    let served = Served::asking(&clients, ClientAuth::Required).await;
    let own = clients.client(&[SHOP], &[]);
    let (asked, enough) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let mut callers = JoinSet::new();
    for keep_alive in [true, true, false, false] {
        let (address, config) = (served.address.clone(), served.client(Some(&own), "http/1.1"));
        let (asked, enough) = (Arc::clone(&asked), Arc::clone(&enough));
        callers.spawn(async move {
            let connect = async || Wire::over(shake(&address, config.clone()).await.unwrap());
            let mut wire = connect().await;
            let mut stop = pin!(enough.notified());
            while poll_immediate(&mut stop).await.is_none() {
                if !keep_alive {
                    wire = connect().await;
                }
                assert_eq!(ask(&mut wire).await, Some(format!("HTTP/1.1 {SHOP}")));
                asked.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let more_clients = Ca::new("more clients");
    for round in 0..20 {
        let before = asked.load(Ordering::Relaxed);
        served.ca.server().write(served.folder.path(), "server");
        let trusted = if round % 2 == 0 { clients.pem.clone() + &more_clients.pem } else { clients.pem.clone() };
        served.trusts(&trusted).await;
        eventually("they go on", async || (asked.load(Ordering::Relaxed) > before + 8).then_some(())).await;
    }
    enough.notify_waiters();
    while let Some(caller) = callers.join_next().await {
        caller.unwrap();
    }
}

#[tokio::test]
async fn a_client_whose_ca_is_trusted_no_more_is_served_no_more() {
    let clients = Ca::new("the clients' CA");
    for auth in [ClientAuth::Optional, ClientAuth::Required] {
        let served = Served::asking(&clients, auth).await;
        let own = clients.client(&[SHOP], &[]);
        let (mut kept, h2) = (served.wire(Some(&own)).await, served.h2(Some(&own)).await);
        assert!(ask(&mut kept).await.is_some());
        assert_eq!(ask_h2(&h2, "GET", "/", &[]).await.status, 200);

        let others = Ca::new("others");
        served.trusts(&format!("{}{}", others.pem, clients.pem)).await;
        assert_eq!(ask(&mut kept).await, Some(format!("HTTP/1.1 {SHOP}")), "still among the trusted");
        assert_eq!(ask_h2(&h2, "GET", "/", &[]).await.text(), format!("HTTP/2.0 {SHOP}"));

        served.trusts(&others.pem).await;
        assert_eq!(ask(&mut kept).await, None, "closed without an answer");
        assert!(is_refused_and_ended(h2).await);
        assert_eq!(served.ask(served.client(Some(&own), "http/1.1")).await, None, "nor is it let in again");
        let other = others.client(&[SHOP], &[]);
        assert_eq!(served.ask(served.client(Some(&other), "http/1.1")).await, Some(format!("HTTP/1.1 {SHOP}")));
    }
}

/// Whether a request over a connection fails, and the connection is told to end, so that its client comes anew.
async fn is_refused_and_ended(mut h2: H2) -> bool {
    h2.ready().await.unwrap();
    let request = || Request::builder().uri("http://gateway/").body(Empty::<Bytes>::new()).unwrap();
    let refused = timeout(PATIENCE, h2.send_request(request())).await.expect("it ends").is_err();
    eventually("the connection ends", async || h2.is_closed().then_some(())).await;
    refused
}

#[tokio::test]
async fn a_client_without_a_certificate_does_not_mind_whose_are_trusted() {
    let clients = Ca::new("the clients' CA");
    let served = Served::asking(&clients, ClientAuth::Optional).await;
    let mut kept = served.wire(None).await;
    assert_eq!(ask(&mut kept).await.unwrap(), "HTTP/1.1 nobody");
    served.trusts(&Ca::new("others").pem).await;
    assert_eq!(ask(&mut kept).await.unwrap(), "HTTP/1.1 nobody");
}

#[tokio::test]
async fn what_was_asked_before_its_ca_was_gone_is_still_answered() {
    let clients = Ca::new("the clients' CA");
    let (begun, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (says_begun, waits) = (Arc::clone(&begun), Arc::clone(&go));
    let slow = WithoutFastPath::new(service_fn(move |_: Request<Upload>| {
        let (begun, go) = (Arc::clone(&says_begun), Arc::clone(&waits));
        async move {
            begun.notify_one();
            go.notified().await;
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from("answered"))))
        }
    }));
    let served = Served::serving(Some((&clients, ClientAuth::Required)), slow).await;
    let mut h2 = served.h2(Some(&clients.client(&[SHOP], &[]))).await;
    h2.ready().await.unwrap();
    let request = || Request::builder().uri("http://gateway/").body(Empty::<Bytes>::new()).unwrap();
    let first = h2.send_request(request());
    begun.notified().await;
    served.trusts(&Ca::new("others").pem).await;
    let late = timeout(PATIENCE, h2.send_request(request())).await.expect("it ends");
    assert!(late.is_err(), "what is asked afterwards is not");
    go.notify_one();
    let answer = first.await.unwrap().into_body().collect().await.unwrap();
    assert_eq!(answer.to_bytes(), "answered");
}

#[tokio::test]
async fn a_certificate_that_expires_meanwhile_is_good_no_more() {
    let clients = Ca::new("the clients' CA");
    let served = Served::asking(&clients, ClientAuth::Optional).await;
    let own = clients.client_valid(&[SHOP], &[], (-DAY, 3));
    let config = served.client(Some(&own), "http/1.1");
    let mut kept = Wire::over(shake(&served.address, config.clone()).await.unwrap());
    assert_eq!(ask(&mut kept).await, Some(format!("HTTP/1.1 {SHOP}")));
    // Nobody here can turn the clock that certificates live by.
    eventually("it expires", async || ask(&mut kept).await.is_none().then_some(())).await;
    assert_eq!(served.ask(config).await, None, "nor is it on another connection");
}

#[tokio::test]
async fn who_has_a_certificate_proves_it_on_each_connection() {
    let clients = Ca::new("the clients' CA");
    let own = clients.client(&[SHOP], &[]);
    let (proving, other) = (Served::asking(&clients, ClientAuth::Optional).await, Served::start().await);
    for version in [&TLS12, &TLS13] {
        for (served, again) in [(&proving, HandshakeKind::Full), (&other, HandshakeKind::Resumed)] {
            // Its clones share the sessions that may be resumed.
            let config = served.ca.trusted_by(Some(&own), &["http/1.1"], &[version]);
            for kind in [HandshakeKind::Full, again] {
                let io = shake(&served.address, config.clone()).await.unwrap();
                assert_eq!(io.get_ref().1.handshake_kind(), Some(kind), "{version:?}");
                assert!(ask(&mut Wire::over(io)).await.is_some());
            }
        }
    }
}

#[tokio::test]
async fn a_drain_answers_over_tls_too() {
    let mut served = Served::start().await;
    let mut kept = served.wire(None).await;
    assert!(ask(&mut kept).await.is_some());
    drop(served.stop.take());
    assert_eq!(kept.rest().await, b"", "idle, so it is closed");
    timeout(PATIENCE, served.task.join_next()).await.expect("it ends").unwrap().unwrap();
}
