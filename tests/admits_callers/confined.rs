//! Nobody gets an answer of a space that is not its own, whatever it writes into its request.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request};
use http_body_util::{BodyExt, Empty};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use crate::support::callers::{
    BANK, BANKS, Guarded, LOOKUPS, NOBODYS, SHOP, SHOPS, bearer, caller, keys, mark, named_space, of_space, told, town,
};
use crate::support::client::{ask_h2, get, h2c, path};
use crate::support::gateway::PATIENCE;
use crate::support::upstream::{Step, Upstream};

/// The key of a caller with two spaces, neither of them the bank's.
const MALL: &str = "mgk_M4llQz6Wx1Ec8Rv3Tb9Yn5Um2Ik7Op0La4Js6Hd1Gf";
/// Its second space.
const MALLS: &str = "spc-malls";
/// How many sessions the bank has asked for before.
const WARM: usize = 4;

/// Where the session stands that is asked for.
#[derive(Debug, Clone, Copy)]
enum State {
    /// In memory, for the bank.
    Warm(usize),
    /// In memory, for the bank and for who asks.
    Shared(usize),
    Cold,
    /// The bank asks at the same time.
    Beside,
}

/// One request of somebody's who wants the bank's.
#[derive(Debug, Clone)]
struct Attempt {
    /// Whether it has two spaces.
    two: bool,
    state: State,
    http2: bool,
    method: &'static str,
    target: &'static str,
    /// Names of fields, what stands before the colon, and values.
    fields: Vec<(String, &'static str, String)>,
    proof: usize,
}

struct Bank {
    guarded: Guarded,
    /// The ETags of its sessions in memory, and those of the shop and the mall.
    etags: Vec<String>,
    others: Vec<String>,
    next: AtomicUsize,
    served: [AtomicUsize; 2],
}

fn a_space() -> impl Strategy<Value = &'static str> {
    prop_oneof![6 => Just(BANKS), 3 => Just(SHOPS), 1 => Just(MALLS), 1 => Just(NOBODYS), 1 => Just("spc-unknown")]
}

/// A space as somebody might write it.
fn spelt() -> impl Strategy<Value = String> {
    (a_space(), a_space(), 0..17_usize).prop_map(|(space, other, how)| match how {
        0..4 => space.to_owned(),
        4 => space.to_uppercase(),
        5 => space.replacen('s', "S", 1),
        6 => format!("   {space}\t"),
        7 => format!("\t{space} "),
        8 => format!("{space},{other}"),
        9 => format!("{space}, {other}"),
        10 => space.replacen('b', "%62", 1),
        11 => String::new(),
        12 => format!("\"{space}\""),
        13 => format!("{space};{other}"),
        14 => format!("\r\n {space}"),
        15 => format!("{space}\r\n {other}"),
        _ => format!("{space} {other}"),
    })
}

fn field() -> impl Strategy<Value = (String, &'static str, String)> {
    let name = prop_oneof![
        6 => Just("Monime-Space-Id"),
        2 => Just("monime-space-id"),
        2 => Just("MONIME-SPACE-ID"),
        1 => prop::sample::select(vec![
            "X-Monime-Space-Id", "Monime_Space_Id", "Monime-Space", "X-Original-Monime-Space-Id", "Space-Id",
            "Monime-Space-Id-", "Forwarded", "X-Forwarded-For", "X-Original-URL", "X-Rewrite-URL", "Cookie", "Trailer",
        ]),
    ];
    let before = prop_oneof![8 => Just(""), 1 => Just(" "), 1 => Just("\t")];
    let of_space = (name, before, spelt()).prop_map(|(name, before, value)| (name.to_owned(), before, value));
    let of_cache = prop::sample::select(vec![
        ("If-None-Match", "ETAG"),
        ("If-None-Match", "W/ETAG"),
        ("If-None-Match", "*"),
        ("If-Match", "ETAG"),
        ("Cache-Control", "only-if-cached"),
        ("Cache-Control", "no-cache"),
        ("Cache-Control", "max-stale=99999999"),
        ("Range", "bytes=0-"),
        ("Connection", "monime-space-id"),
        ("Connection", "authorization"),
        ("X-HTTP-Method-Override", "GET"),
    ]);
    let of_cache = of_cache.prop_map(|(name, value)| (name.to_owned(), "", value.to_owned()));
    prop_oneof![3 => of_space, 1 => of_cache]
}

fn attempt() -> impl Strategy<Value = Attempt> {
    let state = prop_oneof![
        3 => (0..WARM).prop_map(State::Warm),
        3 => (0..WARM).prop_map(State::Shared),
        1 => Just(State::Cold),
        1 => Just(State::Beside),
    ];
    let target = prop_oneof![
        8 => Just("/v1/checkout-sessions/ID"),
        3 => prop::sample::select(vec![
            "http://gateway/v1/checkout-sessions/ID",
            "http://spc-banks@gateway/v1/checkout-sessions/ID",
            "https://spc-banks/v1/checkout-sessions/ID",
            "/v1/checkout-sessions/ID?Monime-Space-Id=spc-banks",
            "/v1/checkout-sessions/ID?space=spc-banks",
            "/v1/checkout-sessions/ID?access_token=BANK",
            "/v1/checkout-sessions/ID;space=spc-banks",
            "/v1/checkout-sessions/spc-banks/ID",
            "/spc-banks/v1/checkout-sessions/ID",
            "/v1/checkout-sessions/%49D",
            "//v1/checkout-sessions/ID",
            "/v1/checkout-sessions/../checkout-sessions/ID",
        ]),
    ];
    let proof = prop_oneof![4 => Just(0), 1 => 0..PROOFS];
    let fields = prop::collection::vec(field(), 0..4);
    let method = prop_oneof![4 => Just("GET"), 1 => Just("HEAD")];
    (any::<bool>(), state, any::<bool>(), method, target, fields, proof).prop_map(
        |(two, state, http2, method, target, fields, proof)| Attempt {
            two,
            state,
            http2,
            method,
            target,
            fields,
            proof,
        },
    )
}

const PROOFS: usize = 16;

/// Who asks with `own` and has got hold of the bank's key, too, but must not come to be taken for the bank by it.
fn proof(which: usize, own: &str, theirs: &str) -> Vec<(String, &'static str, String)> {
    let field = |name: &str, value: String| (name.to_owned(), "", value);
    let authorization = |value: String| field("Authorization", value);
    let mine = authorization(format!("Bearer {own}"));
    match which {
        0 => vec![mine],
        1 => vec![mine, authorization(format!("Bearer {theirs}"))],
        2 => vec![authorization(format!("Bearer {theirs}")), mine],
        3 => vec![authorization(format!("Bearer {own}, Bearer {theirs}"))],
        4 => vec![authorization(format!("Bearer {theirs}, Bearer {own}"))],
        5 => vec![authorization(format!("Bearer {own} {theirs}"))],
        6 => vec![authorization(format!("Bearer {own},{theirs}"))],
        7 => vec![mine, field("Proxy-Authorization", format!("Bearer {theirs}"))],
        8 => vec![mine, field("Cookie", format!("Authorization=Bearer {theirs}; access_token={theirs}"))],
        9 => vec![mine, field("X-Api-Key", theirs.to_owned()), field("X-Forwarded-Authorization", theirs.to_owned())],
        10 => vec![field("authorization", format!("Bearer {theirs}")), field("AUTHORIZATION", format!("Bearer {own}"))],
        11 => vec![mine, ("Authorization".to_owned(), " ", format!("Bearer {theirs}"))],
        12 => vec![authorization(format!("Bearer {own}\r\n {theirs}"))],
        13 => vec![authorization(format!("Bearer {own}\r\n\tBearer {theirs}"))],
        14 => vec![mine, field("X-Forwarded-Client-Cert", "URI=spiffe://bank;DNS=bank".to_owned())],
        _ => vec![mine, field("X-Caller", "bank".to_owned()), field("X-Remote-User", "bank".to_owned())],
    }
}

impl Bank {
    async fn open() -> Self {
        let mall = caller("mall", &keys(&[MALL]), &[SHOPS, MALLS], LOOKUPS);
        let spaces = format!("monime.spaces={SHOPS},{BANKS},{NOBODYS},{MALLS}");
        let guarded = Guarded::with(tempfile::tempdir().unwrap(), &(town() + &mall), &[&spaces]).await;
        let (mut etags, mut others) = (Vec::new(), Vec::new());
        for number in 0..WARM {
            for id in [format!("scs-warm-{number}"), format!("scs-shared-{number}")] {
                let answer = guarded.look_up(&id, &bearer(BANK)).await;
                etags.push(answer.header("etag").unwrap().to_owned());
            }
            for space in [SHOPS, MALLS] {
                let fields = bearer(MALL) + &of_space(space);
                let answer = guarded.look_up(&format!("scs-shared-{number}"), &fields).await;
                others.push(answer.header("etag").unwrap().to_owned());
            }
        }
        Self { guarded, etags, others, next: AtomicUsize::new(0), served: <[AtomicUsize; 2]>::default() }
    }

    async fn withstands(&self, attempt: &Attempt) {
        let fresh = || format!("scs-fresh-{}", self.next.fetch_add(1, Ordering::Relaxed));
        let (id, etag) = match attempt.state {
            State::Warm(number) => (format!("scs-warm-{number}"), &self.etags[2 * number]),
            State::Shared(number) => (format!("scs-shared-{number}"), &self.etags[2 * number + 1]),
            State::Cold | State::Beside => (fresh(), &self.etags[0]),
        };
        let own = if attempt.two { MALL } else { SHOP };
        let target = attempt.target.replace("ID", &id).replace("BANK", BANK);
        let fields = proof(attempt.proof, own, BANK).into_iter().chain(attempt.fields.iter().cloned());
        let fields: Vec<_> = fields.map(|(name, before, value)| (name, before, value.replace("ETAG", etag))).collect();
        let calls = self.guarded.calls();
        let mut beside = self.guarded.wire().await;
        if matches!(attempt.state, State::Beside) {
            beside.send(get(&path(&id), &bearer(BANK))).await;
        }
        let said = if attempt.http2 {
            self.over_http2(attempt.method, &target, &fields).await
        } else {
            self.over_http1(attempt.method, &target, &fields).await
        };
        if matches!(attempt.state, State::Beside) {
            assert!(beside.answer().await.unwrap().text().contains(&mark(BANKS)), "and the bank is served");
        }
        self.judge(attempt, &said, calls);
    }

    fn judge(&self, attempt: &Attempt, said: &str, calls: usize) {
        let mine: &[&str] = if attempt.two { &[SHOPS, MALLS] } else { &[SHOPS] };
        for space in [SHOPS, BANKS, MALLS, NOBODYS, "spc-unknown"].iter().filter(|space| !mine.contains(space)) {
            assert!(!said.contains(&mark(space)), "{space} is none of its spaces: {said}");
        }
        let etag = self.etags.iter().find(|etag| said.contains(etag.as_str()));
        assert_eq!(etag, None, "that is the bank's: {said}");
        for request in self.guarded.heard_since(calls) {
            let space = named_space(&request);
            let banks = matches!(attempt.state, State::Beside) && space == BANKS;
            assert!(banks || mine.contains(&space.as_str()), "{request}");
            assert!(!request.contains("mgk_"), "{request}");
        }
        if mine.iter().any(|space| said.contains(&mark(space))) {
            self.served[usize::from(attempt.http2)].fetch_add(1, Ordering::Relaxed);
        }
        if said.starts_with("HTTP/1.1 304") || said.starts_with("304") {
            let known = self.others.iter().any(|etag| said.contains(etag.as_str()));
            assert!(known || !matches!(attempt.state, State::Shared(_)), "only of what it may see: {said}");
        }
    }

    /// Everything that comes back.
    async fn over_http1(&self, method: &str, target: &str, fields: &[(String, &'static str, String)]) -> String {
        let lines: String = fields.iter().map(|(name, before, value)| format!("{name}{before}: {value}\r\n")).collect();
        let mut wire = self.guarded.wire().await;
        wire.send(format!("{method} {target} HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n{lines}\r\n")).await;
        String::from_utf8_lossy(&wire.rest().await).into_owned()
    }

    /// The same; what HTTP/2 cannot carry is left out.
    async fn over_http2(&self, method: &str, target: &str, fields: &[(String, &'static str, String)]) -> String {
        let uri = if target.starts_with("http") { target.to_owned() } else { format!("http://gateway{target}") };
        let mut request = Request::builder().method(method).uri(uri);
        for (name, _, value) in fields {
            let pair = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(value.as_bytes()));
            if let (Ok(name), Ok(value)) = pair
                && name != "connection"
            {
                request = request.header(name, value);
            }
        }
        let mut h2 = h2c(&self.guarded.gateway.address).await;
        let asked = async {
            h2.ready().await.unwrap();
            let response = h2.send_request(request.body(Empty::<Bytes>::new()).unwrap()).await.ok()?;
            let (head, body) = response.into_parts();
            let body = body.collect().await.ok()?.to_bytes();
            Some(
                format!("{} {:?} {}", head.status.as_u16(), head.headers, String::from_utf8_lossy(&body))
                    .replace('\\', ""),
            )
        };
        timeout(PATIENCE, asked).await.expect("it ends").unwrap_or_default()
    }
}

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

#[test]
fn no_request_brings_an_answer_of_a_space_that_its_callers_policy_lacks() {
    let runtime = runtime();
    let bank = runtime.block_on(Bank::open());
    let config = ProptestConfig { failure_persistence: None, cases: 1024, ..ProptestConfig::default() };
    let ran = TestRunner::new(config).run(&attempt(), |attempt| {
        runtime.block_on(bank.withstands(&attempt));
        Ok(())
    });
    ran.unwrap_or_else(|error| panic!("{error}"));
    let served = bank.served.each_ref().map(|served| served.load(Ordering::Relaxed));
    assert!(served.iter().all(|served| *served > 20), "they were let in: {served:?}");
}

#[tokio::test]
async fn no_trick_with_authorization_makes_one_caller_another() {
    let bank = Bank::open().await;
    let mut served = Vec::new();
    for which in 0..PROOFS {
        for (space, state) in [(BANKS, State::Warm(0)), (BANKS, State::Cold), (SHOPS, State::Shared(0))] {
            for http2 in [false, true] {
                let fields = vec![("Monime-Space-Id".to_owned(), "", space.to_owned())];
                let target = "/v1/checkout-sessions/ID";
                let attempt = Attempt { two: false, state, http2, method: "GET", target, fields, proof: which };
                let before = bank.served[usize::from(http2)].load(Ordering::Relaxed);
                bank.withstands(&attempt).await;
                let was_served = bank.served[usize::from(http2)].load(Ordering::Relaxed) > before;
                assert!(!was_served || space == SHOPS);
                served.extend(was_served.then_some((which, http2)));
            }
        }
    }
    let plain: Vec<_> = [0, 7, 8, 9, 14, 15].iter().flat_map(|which| [(*which, false), (*which, true)]).collect();
    assert!(plain.iter().all(|one| served.contains(one)), "what is no proof changes nothing: {served:?}");
    for unclear in 1..7 {
        assert!(!served.iter().any(|(which, _)| *which == unclear), "{unclear} is nobody");
    }
}

#[tokio::test]
async fn a_flight_of_another_space_is_joined_by_nobody_else() {
    let monime = Upstream::start(|_, request| vec![Step::Gate, Step::Send(told(request))]).await;
    let guarded = Guarded::before(monime, tempfile::tempdir().unwrap(), &town(), &[]).await;
    let h2 = h2c(&guarded.gateway.address).await;
    let (mut bank, mut shop) = (guarded.wire().await, guarded.wire().await);
    bank.send(get(&path("scs-1"), &bearer(BANK))).await;
    guarded.monime.hears(1).await;
    for space in [BANKS, NOBODYS] {
        let answer = guarded.look_up("scs-1", &(bearer(SHOP) + &of_space(space))).await;
        assert_eq!(answer.failure(), (403, "gateway_space_forbidden".to_owned()));
        let fields = [("authorization", &*format!("Bearer {SHOP}")), ("monime-space-id", space)];
        assert_eq!(ask_h2(&h2, "GET", &path("scs-1"), &fields).await.status, 403);
    }
    shop.send(get(&path("scs-1"), &bearer(SHOP))).await;
    guarded.monime.hears(2).await;
    guarded.monime.open_the_gate();
    for (wire, space) in [(&mut bank, BANKS), (&mut shop, SHOPS)] {
        let answer = wire.answer().await.unwrap();
        assert!(answer.text().contains(&mark(space)) && answer.cache_status().contains("stored"), "{answer:?}");
    }
    assert_eq!(guarded.monime.heard().iter().map(|request| named_space(request)).collect::<Vec<_>>(), [BANKS, SHOPS]);
}
