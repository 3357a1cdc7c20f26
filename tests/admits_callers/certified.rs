//! Client certificates, from the listener's handshake to whose answer it is.

use monigate::server::Address;
use rustls::version::{TLS12, TLS13};
use tokio::io::AsyncWriteExt;

use crate::support::callers::{BANK, BANKS, Guarded, LOOKUPS, SHOP, SHOPS, bearer, caller, keys, mark};
use crate::support::certificates::{Ca, Leaf, put};
use crate::support::client::{Answer, Wire, ask_h2, get, h2_over, path, shake};

const SPIFFE: &str = "spiffe://cluster/ns/shop/sa/storefront";
const DNS: &str = "bank.internal";

/// A gateway with TLS, and both its CAs.
struct Certified {
    guarded: Guarded,
    servers: Ca,
    clients: Ca,
}

impl Certified {
    async fn asking(auth: &str) -> Self {
        let (servers, clients, folder) = (Ca::new("servers"), Ca::new("clients"), tempfile::tempdir().unwrap());
        let (certificate, key) = servers.server().write(folder.path(), "server");
        let trusted = folder.path().join("clients.pem");
        put(&trusted, &clients.pem, 0o644);
        let shop = format!("{}san = [\"{SPIFFE}\"]\n", keys(&[SHOP]));
        let text = format!(
            "[listen.tls]\ncert_file = {certificate:?}\nkey_file = {key:?}\nclient_ca_file = {trusted:?}\n\
             client_auth = \"{auth}\"\n{}{}",
            caller("shop", &shop, &[SHOPS], LOOKUPS),
            caller("bank", &format!("{}san = [\"{DNS}\"]\n", keys(&[BANK])), &[BANKS], LOOKUPS),
        );
        Self { guarded: Guarded::with(folder, &text, &[]).await, servers, clients }
    }

    fn address(&self) -> &Address {
        &self.guarded.gateway.address
    }

    /// Asks over both versions of TLS and both protocols; the same answer from each, or none if it is not let in.
    async fn ask(&self, own: Option<&Leaf>, key: Option<&str>) -> Option<Answer> {
        let mut answers = Vec::new();
        for version in [&TLS12, &TLS13] {
            let config = self.servers.trusted_by(own, &["http/1.1"], &[version]);
            answers.push(self.over_http1(config, key).await);
        }
        if answers[0].is_some() {
            let config = self.servers.trusted_by(own, &["h2"], &[&TLS13]);
            let h2 = h2_over(shake(self.address(), config).await.unwrap()).await;
            let authorization = key.map(|key| format!("Bearer {key}"));
            let fields: Vec<_> = authorization.iter().map(|value| ("authorization", value.as_str())).collect();
            answers.push(Some(ask_h2(&h2, "GET", &path("scs-1"), &fields).await));
        }
        let said = |answer: &Option<Answer>| answer.as_ref().map(|answer| (answer.status, answer.text()));
        assert!(answers.iter().all(|answer| said(answer) == said(&answers[0])), "{answers:?}");
        answers.swap_remove(0)
    }

    async fn over_http1(&self, config: rustls::ClientConfig, key: Option<&str>) -> Option<Answer> {
        let mut io = shake(self.address(), config).await.ok()?;
        io.write_all(get(&path("scs-1"), &key.map(bearer).unwrap_or_default()).as_bytes()).await.ok()?;
        Wire::over(io).answer().await
    }

    /// Whose answer it is; none if it was refused.
    async fn whose(&self, own: Option<&Leaf>, key: Option<&str>) -> Option<&'static str> {
        let answer = self.ask(own, key).await.expect("it is let in");
        if answer.status != 200 {
            assert_eq!(answer.status, 401, "{answer:?}");
            return None;
        }
        [SHOPS, BANKS].into_iter().find(|space| answer.text().contains(&mark(space)))
    }
}

#[tokio::test]
async fn a_certificate_proves_a_caller_by_its_uri_or_its_dns_name() {
    let certified = Certified::asking("optional").await;
    let clients = &certified.clients;
    for (leaf, whose) in [
        (clients.client(&[SPIFFE], &[]), Some(SHOPS)),
        (clients.client(&[], &[DNS]), Some(BANKS)),
        (clients.client(&[], &["BANK.Internal"]), Some(BANKS)),
        (clients.client(&[SPIFFE], &["another.internal"]), Some(SHOPS)),
        (clients.client(&["spiffe://cluster/ns/shop/sa/Storefront"], &[]), None),
        (clients.client(&[&format!("{SPIFFE}/x")], &[]), None),
        (clients.client(&[], &["x.bank.internal"]), None),
        (clients.client(&[], &["*.internal"]), None),
        (clients.client(&[&format!("https://{DNS}")], &[]), None),
        (clients.client(&[], &[]), None),
        (clients.client(&[SPIFFE], &[DNS]), None),
    ] {
        assert_eq!(certified.whose(Some(&leaf), None).await, whose);
    }
    assert_eq!(certified.guarded.calls(), 2, "the strangers were not asked for");
}

#[tokio::test]
async fn a_key_counts_where_there_is_one_and_no_certificate_rescues_a_wrong_one() {
    let certified = Certified::asking("optional").await;
    let shop = certified.clients.client(&[SPIFFE], &[]);
    assert_eq!(certified.whose(Some(&shop), None).await, Some(SHOPS));
    assert_eq!(certified.whose(Some(&shop), Some("mgk_nobodys")).await, None);
    assert_eq!(certified.whose(Some(&shop), Some("")).await, None);
    assert_eq!(certified.whose(Some(&shop), Some(BANK)).await, Some(BANKS), "the key alone says who");
    assert_eq!(certified.whose(None, Some(SHOP)).await, Some(SHOPS));
    assert_eq!(certified.whose(None, None).await, None);
    let stranger = certified.clients.client(&[], &["another.internal"]);
    assert_eq!(certified.whose(Some(&stranger), Some(SHOP)).await, Some(SHOPS));
}

#[tokio::test]
async fn where_certificates_are_required_nobody_comes_in_without_a_good_one() {
    let certified = Certified::asking("required").await;
    let forged = Ca::new("clients").client(&[SPIFFE], &[]);
    for own in [None, Some(&forged)] {
        assert!(certified.ask(own, Some(SHOP)).await.is_none(), "not with a key either");
    }
    assert_eq!(certified.guarded.calls(), 0);
    let (shop, stranger) =
        (certified.clients.client(&[SPIFFE], &[]), certified.clients.client(&[], &["another.internal"]));
    assert_eq!(certified.whose(Some(&shop), None).await, Some(SHOPS));
    assert_eq!(certified.whose(Some(&stranger), None).await, None);
}

#[tokio::test]
async fn a_forged_certificate_is_let_in_nowhere() {
    let certified = Certified::asking("optional").await;
    let forged = Ca::new("clients").client(&[SPIFFE], &[]);
    assert!(certified.ask(Some(&forged), None).await.is_none());
    assert!(certified.ask(Some(&forged), Some(SHOP)).await.is_none());
    assert_eq!(certified.guarded.calls(), 0);
}

#[tokio::test]
async fn a_name_that_is_taken_from_its_caller_fails_at_once_on_a_connection_that_stays() {
    let certified = Certified::asking("optional").await;
    let text = std::fs::read_to_string(certified.guarded.folder.path().join("monigate.toml")).unwrap();
    let config = |leaf: &Leaf| certified.servers.trusted_by(Some(leaf), &["http/1.1"], &[&TLS13]);
    let (shop, bank) = (certified.clients.client(&[SPIFFE], &[]), certified.clients.client(&[], &[DNS]));
    let mut shop = Wire::over(shake(certified.address(), config(&shop)).await.unwrap());
    let mut bank = Wire::over(shake(certified.address(), config(&bank)).await.unwrap());
    for wire in [&mut shop, &mut bank] {
        assert_eq!(wire.look_up("scs-1", "").await.status, 200);
    }
    certified.guarded.reload(&text.replace(SPIFFE, "spiffe://cluster/ns/shop/sa/another")).await;
    assert_eq!(shop.look_up("scs-1", "").await.status, 401);
    assert!(bank.look_up("scs-1", "").await.cache_status().starts_with("monigate; hit"), "who is not meant goes on");
}
