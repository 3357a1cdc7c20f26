//! Tokens change under a running gateway: each space is asked for with its own, the newest that is fine, and no word
//! of any of them, old, new or broken, gets out.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what a test cannot prepare is its failure"
)]

mod support;

use std::convert::Infallible;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, Full};
use monigate::Parts;
use monigate::config::{Config, Sources};
use monigate::gateway::gateway;
use monigate::monime::SpaceId;
use support::client::{ask, get, path};
use support::gateway::{OTHER_SPACE, SPACE, metric};
use support::leaks::Said;
use support::process::{Gateway, Process};
use support::upstream::{Step, Upstream, answer, session};
use tempfile::TempDir;
use tower::{Service, ServiceExt};

const OLD: [&str; 2] = ["mon_Ka3Wv7Rt2Yp9Lm4Jh6Gd1Fs5Cb0Zq", "Pn5Bb2Vv8Cc3Xx6Zz1Ll4Kk7Jj9Hh0Gg"];
const NEW: [&str; 2] = ["mon_Ux8Qe4Tn1Iy6Om3Ps9Ad5Fg2Hj7Kl", "Mm9Nn3Bb7Vv1Cc5Xx8Zz2Aa6Ss4Dd0Ff"];
const SPACES: [&str; 2] = [SPACE, OTHER_SPACE];

/// Two token files and a configuration that names them.
struct Desk {
    folder: TempDir,
}

impl Desk {
    fn before(upstream: &Upstream) -> Self {
        let desk = Self { folder: tempfile::tempdir().unwrap() };
        (0..2).for_each(|number| desk.put(number, OLD[number]));
        let spaces: String = (0..2)
            .map(|number| {
                let (id, file) = (SPACES[number], desk.token(number));
                format!("[[monime.spaces]]\nid = \"{id}\"\ntoken_file = \"{}\"\n", file.display())
            })
            .collect();
        let monime = format!("[monime]\nbase_url = \"{}\"\ndefault_space = \"{SPACE}\"\n", upstream.base_url);
        std::fs::write(desk.config(), monime + &spaces).unwrap();
        desk
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("monigate.toml")
    }

    fn token(&self, number: usize) -> PathBuf {
        self.folder.path().join(format!("token-{number}"))
    }

    /// Swaps a token's file as a whole, so that nobody sees half of it.
    fn put(&self, number: usize, text: &str) {
        let next = self.folder.path().join("next");
        std::fs::write(&next, text).unwrap();
        std::fs::set_permissions(&next, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::rename(next, self.token(number)).unwrap();
    }

    fn assemble(&self) -> Parts {
        let sources = Sources { files: vec![self.config()], ..Sources::default() };
        Parts::assemble(Config::load(&sources).unwrap()).unwrap()
    }
}

/// The spaces and tokens of the requests so far, and in each nothing twice.
fn heard(upstream: &Upstream) -> Vec<[String; 2]> {
    let field = |request: &str, name: &str| {
        let fields = request.split("\r\n").filter_map(|line| line.split_once(": "));
        let mut values = fields.filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value);
        let value = values.next().unwrap().to_owned();
        assert_eq!(values.next(), None, "{request}");
        value
    };
    upstream
        .heard()
        .iter()
        .map(|request| ["monime-space-id", "authorization"].map(|name| field(request, name)))
        .collect()
}

fn sent(number: usize, token: &str) -> [String; 2] {
    [SPACES[number].to_owned(), format!("Bearer {token}")]
}

/// Completed, whatever was asked for.
fn completed(request: &str) -> Vec<Step> {
    let id = request.split(' ').nth(1).unwrap().rsplit('/').next().unwrap();
    vec![Step::Send(answer("200 OK", "", &session(id, "completed")))]
}

async fn look_up<S>(stack: &S, id: &str, number: usize) -> (u16, String)
where
    S: Service<Request<Empty<Bytes>>, Response = Response<Full<Bytes>>, Error = Infallible> + Clone,
{
    let mut request = support::request(id);
    request.headers_mut().insert("monime-space-id", SPACES[number].parse().unwrap());
    let Ok(response) = stack.clone().oneshot(request).await;
    let (head, body) = response.into_parts();
    (head.status.as_u16(), String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap())
}

#[tokio::test]
async fn each_space_is_asked_for_with_its_own_newest_token() {
    let upstream = Upstream::start(|_, request| completed(request)).await;
    let desk = Desk::before(&upstream);
    let Parts { lookups, terms, metrics, keyring, .. } = desk.assemble();
    let stack = gateway(lookups, terms, metrics);
    let spaces = SPACES.map(|space| SpaceId::parse(space).unwrap());

    let mut expected = Vec::new();
    for round in [[OLD[0], OLD[1]], [NEW[0], OLD[1]], [NEW[0], NEW[1]]] {
        for number in 0..2 {
            desk.put(number, round[number]);
            keyring.reread(&spaces[number]).await;
        }
        for number in [0, 1, 0] {
            let id = format!("scs-{}", expected.len());
            assert_eq!(look_up(&stack, &id, number).await.0, 200);
            expected.push(sent(number, round[number]));
        }
        assert_eq!(heard(&upstream), expected);
    }
}

#[tokio::test]
async fn a_bad_token_file_loses_no_lookup() {
    let upstream = Upstream::start(|_, request| completed(request)).await;
    let desk = Desk::before(&upstream);
    let Parts { lookups, terms, metrics, keyring, .. } = desk.assemble();
    let stack = gateway(lookups, terms, metrics);
    for (number, bad) in ["", "a b", "Bearer x", "one\ntwo\n"].into_iter().enumerate() {
        desk.put(0, bad);
        keyring.reread_all().await;
        assert_eq!(look_up(&stack, &format!("scs-{number}"), 0).await.0, 200, "{bad:?}");
        assert_eq!(heard(&upstream)[number], sent(0, OLD[0]), "{bad:?}");
    }
}

#[tokio::test]
async fn an_answer_is_held_against_the_token_that_it_was_asked_for_with() {
    for (mirrored, status) in [(OLD[1], 502), (NEW[1], 200)] {
        let upstream = Upstream::start(move |_, _| {
            let body = session("scs-1", "completed").replace("[]", &format!(r#"["{mirrored}"]"#));
            vec![Step::Gate, Step::Send(answer("200 OK", "", &body))]
        });
        let upstream = upstream.await;
        let desk = Desk::before(&upstream);
        let Parts { lookups, terms, metrics, keyring, .. } = desk.assemble();
        let stack = gateway(lookups, terms, metrics);
        let rotated = async {
            upstream.hears(1).await;
            desk.put(1, NEW[1]);
            keyring.reread_all().await;
            upstream.open_the_gate();
        };
        let (told, ()) = tokio::join!(look_up(&stack, "scs-1", 1), rotated);
        assert_eq!(told.0, status, "{told:?}");
        assert_eq!(heard(&upstream), [sent(1, OLD[1])]);
    }
}

/// Starts the program at its most talkative.
async fn run(desk: &Desk) -> Gateway {
    let config = desk.config();
    let arguments = ["run", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--log-level", "trace", "--config"];
    let mut process = Process::start(&[&arguments[..], &[config.to_str().unwrap()]].concat(), &[]);
    let serving = process.says("serving").await;
    let address = |field: &str| serving[field].as_str().unwrap().parse().unwrap();
    Gateway { address: address("address"), admin: address("admin"), process }
}

#[tokio::test]
async fn a_running_gateway_takes_new_tokens_over_and_says_no_word_of_any() {
    // Of the second space Monime thinks little.
    let upstream = Upstream::start(|_, request| match request.contains(OTHER_SPACE) {
        true => vec![Step::Send(answer("401 Unauthorized", "", &support::upstream::error(401)))],
        false => completed(request),
    });
    let upstream = upstream.await;
    let desk = Desk::before(&upstream);
    let mut gateway = run(&desk).await;
    let mut said = Said::default();
    let before = gateway.operator("/readyz?verbose").await;
    let fine = "gateway: ready\ncredential of spc-shop: fine\ncredential of spc-other: fine\nmonime: not asked yet; breaker closed\n";
    assert_eq!((before.status, before.text().as_str()), (200, fine));

    desk.put(0, NEW[0]);
    desk.put(1, &format!("Bearer {}", NEW[1]));
    let taken = gateway.process.says("the secret has changed").await;
    assert_eq!((taken["level"].as_str(), taken["source"].as_str()), (Some("INFO"), desk.token(0).to_str()), "{taken}");
    let refused = gateway.process.says("a secret's file cannot be used").await;
    assert_eq!(refused["level"], "ERROR");
    let error = format!("{} holds no usable token: the token begins with `Bearer `", desk.token(1).display());
    assert_eq!(refused["error"], error.as_str(), "{refused}");
    assert_eq!(refused["fix"], "keep the token alone: the scheme is added here");

    for number in 0..2 {
        let fields = format!("Monime-Space-Id: {}\r\n", SPACES[number]);
        let answer = ask(&gateway.address, &get(&path("scs-1"), &fields)).await;
        assert_eq!(answer.status, [200, 502][number]);
        said.heard("an answer", format!("{answer:?}"));
    }
    assert_eq!(heard(&upstream), [sent(0, NEW[0]), sent(1, OLD[1])]);

    let after = gateway.operator("/readyz?verbose").await;
    assert_eq!(after.status, 200, "another Monime's trouble, or a file's, is not the gateway's");
    let words = "credential of spc-shop: fine\ncredential of spc-other: an older one is used, because its file now holds \
                 no usable token: the token begins with `Bearer `; Monime refused it when last asked\n";
    assert!(after.text().contains(words), "{}", after.text());
    let metrics = gateway.operator("/metrics").await.text();
    for result in ["ok", "failed"] {
        assert_eq!(metric(&metrics, &format!("monigate_secret_reloads_total{{result=\"{result}\"}}")), 1, "{result}");
    }
    said.heard("/readyz", after.text());
    said.heard("/metrics", metrics);
    said.heard("/config", gateway.operator("/config").await.text());
    gateway.process.signal("TERM");
    let ran = gateway.process.ran().await;
    assert!(ran.err.contains("\"TRACE\""), "it was at its most talkative");
    said.heard("standard error", ran.err);
    said.heard("standard output", ran.out);
    OLD.iter().chain(&NEW).for_each(|token| said.keeps(token));
}
