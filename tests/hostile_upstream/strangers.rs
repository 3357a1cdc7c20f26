//! Who is not Monime: whatever certificate it shows, not a byte of a request reaches it.

use std::sync::{Arc, Mutex};

use monigate::sandbox::DEFAULT_TOKEN;
use rustls::ServerConfig;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::support::certificates::{Ca, DAY, Leaf, put};
use super::support::gateway::eventually;
use super::support::upstream::session;
use super::{ALL, Ask, ID, Shop};

/// A server that writes down what it was told once TLS was there, says `says`, and hangs up without a word of TLS.
struct Server {
    base_url: String,
    heard: Arc<Mutex<Vec<u8>>>,
    /// How handshakes ended.
    shaken: Arc<Mutex<Vec<bool>>>,
    _served: JoinSet<()>,
}

impl Server {
    async fn showing(config: ServerConfig, says: impl Into<Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let (heard, shaken) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
        let (ears, hands, says) = (Arc::clone(&heard), Arc::clone(&shaken), says.into());
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let mut served = JoinSet::new();
        served.spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let shaken = acceptor.accept(socket).await;
                hands.lock().unwrap().push(shaken.is_ok());
                let Ok(mut socket) = shaken else { continue };
                let mut request = vec![0; 4096];
                let read = socket.read(&mut request).await.unwrap_or_default();
                ears.lock().unwrap().extend_from_slice(&request[..read]);
                let _ = socket.write_all(&says).await;
                let _ = socket.flush().await;
                drop(socket.into_inner().0);
            }
        });
        Self { base_url, heard, shaken, _served: served }
    }
}

/// A gateway that trusts this CA and asks this server.
async fn shop(ca: &Ca, server: &Server) -> (Shop, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    put(&folder.path().join("ca.pem"), &ca.pem, 0o644);
    let ca = format!("monime.ca_file={}", folder.path().join("ca.pem").display());
    (Shop::before(&server.base_url, &[&ca]).await, folder)
}

const ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";

#[tokio::test]
async fn who_cannot_prove_to_be_monime_is_told_nothing_by_lookups_reads_and_writes() {
    let ca = Ca::new("ours");
    let (theirs, between) = (Ca::new("ours"), ca.intermediate("between"));
    for (what, leaf) in [
        ("another name", ca.server_called("monime.invalid")),
        ("a name above it", ca.server_called("*.localhost")),
        ("expired", ca.server_valid((-2 * DAY, -DAY))),
        ("not valid yet", ca.server_valid((DAY, 2 * DAY))),
        ("signed by itself", Leaf::self_signed()),
        ("of an authority of the same name", theirs.server()),
        ("of an authority of the same name that shows itself", theirs.server().followed_by(&[&theirs])),
        ("to be a client with", ca.client_at_home()),
        ("below an authority that it does not show", between.server()),
    ] {
        for protocols in [&["h2", "http/1.1"][..], &["http/1.1"], &[]] {
            let server = Server::showing(leaf.shown(protocols), ANSWER).await;
            let (shop, _folder) = shop(&ca, &server).await;
            for ask in ALL {
                let told = shop.ask(ask).await;
                let refused = told.status == 502 && told.body.contains("gateway_upstream_unreachable");
                assert!(refused, "{what}: {ask:?}: {told:?}");
            }
            eventually("handshakes end", async || (server.shaken.lock().unwrap().len() >= 3).then_some(())).await;
            assert_eq!(*server.heard.lock().unwrap(), b"", "{what}");
            assert!(server.shaken.lock().unwrap().iter().all(|shaken| !shaken), "{what}: it is refused in TLS itself");
        }
    }
}

#[tokio::test]
async fn who_proves_to_be_monime_is_told_everything() {
    let ca = Ca::new("ours");
    let between = ca.intermediate("between");
    for leaf in [ca.server(), between.server().followed_by(&[&between])] {
        let server = Server::showing(leaf.shown(&["http/1.1"]), ANSWER).await;
        let (shop, _folder) = shop(&ca, &server).await;
        assert_eq!(shop.ask(Ask::Write).await.status, 200);
        assert!(String::from_utf8_lossy(&server.heard.lock().unwrap()).contains(DEFAULT_TOKEN));
    }
}

/// Whoever is on the way can end a connection, but not say that it ended as it should.
#[tokio::test]
async fn an_answer_up_to_the_end_of_a_connection_is_refused_if_tls_did_not_end() {
    let ca = Ca::new("ours");
    let body = session(ID, "completed");
    let says = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n{body}");
    for ask in ALL {
        let server = Server::showing(ca.server().shown(&["http/1.1"]), says.clone()).await;
        let (shop, _folder) = shop(&ca, &server).await;
        let told = shop.ask(ask).await;
        assert!(told.is_refusal(), "{ask:?}: {told:?}");
    }
}
