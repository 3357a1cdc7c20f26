//! One caller's flood costs the others next to nothing: lines are served in turn, who joins a flight that waits does not
//! wait with it, and there is always a place for the next one. The real program over real sockets before the real sandbox
//! with the limits of a live token; judged by the order in which Monime was asked, not by the clock.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what a test cannot prepare is its failure"
)]
#![allow(clippy::print_stderr, reason = "how well a promise was kept is worth reading")]

mod support;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use monigate::caller::Digest;
use monigate::monime::SessionId;
use monigate::sandbox::{DEFAULT_TOKEN, Limits};
use monigate::server::Address;
use support::certificates::put;
use support::client::{Answer, Wire, get, path};
use support::gateway::{SPACE, eventually, metric, space};
use support::pages::Monime;
use support::process::Gateway;
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// What Monime allows in a second, and so what may go at once when a second is over.
const SECOND: usize = Limits::LIVE.endpoint as usize;

const NAMES: [&str; 3] = ["first", "second", "third"];

/// A gateway for three callers.
struct Hall {
    monime: Monime,
    gateway: Gateway,
    /// Who asked for which session first.
    asked: Arc<Mutex<HashMap<SessionId, usize>>>,
    _folder: TempDir,
}

/// How somebody is told off, and how often.
type Refusals = BTreeMap<String, usize>;

fn key(caller: usize) -> String {
    format!("gk_{}_Wm8Tz1Qy6Rk9Xc3Vb7Np2Hs", NAMES[caller])
}

fn field(caller: usize) -> String {
    format!("Authorization: Bearer {}\r\n", key(caller))
}

impl Hall {
    async fn open(max_in_flight: usize) -> Self {
        let monime = Monime::start(DEFAULT_TOKEN, Limits::LIVE);
        let folder = tempfile::tempdir().unwrap();
        put(&folder.path().join("token"), DEFAULT_TOKEN, 0o600);
        let callers = (0..NAMES.len()).map(|caller| {
            let digest = Digest::of(key(caller).as_bytes());
            format!(
                "[[callers]]\nname = \"{}\"\nkeys_sha256 = [\"{digest}\"]\nspaces = [\"{SPACE}\"]\n\
                 operations = [\"GetCheckoutSession\"]\n",
                NAMES[caller]
            )
        });
        let text = format!(
            "listen.address = \"127.0.0.1:0\"\nadmin.address = \"127.0.0.1:0\"\n\
             log.level = \"info,monigate::gateway=off,monigate::audit=off\"\nlimits.max_in_flight = {max_in_flight}\n\
             [monime]\nbase_url = \"{}\"\ndefault_space = \"{SPACE}\"\ntoken_file = \"{}/token\"\n{}",
            monime.base_url,
            folder.path().display(),
            callers.collect::<String>()
        );
        let file = folder.path().join("monigate.toml");
        put(&file, &text, 0o600);
        let gateway = Gateway::start(&["run", "--config", file.to_str().unwrap()], &[]).await;
        Self { monime, gateway, asked: Arc::default(), _folder: folder }
    }

    /// A session that nobody has asked for, for this caller.
    fn cold(&self, caller: usize) -> SessionId {
        cold(&self.monime, &self.asked, caller)
    }

    /// So many of this caller each ask for one cold session after the other, for as long as what is returned lives.
    fn flood(&self, caller: usize, many: usize) -> (JoinSet<()>, Arc<Mutex<Refusals>>) {
        let refusals: Arc<Mutex<Refusals>> = Arc::default();
        let mut flood = JoinSet::new();
        for _ in 0..many {
            let (address, asked, told) = (self.gateway.address.clone(), Arc::clone(&self.asked), Arc::clone(&refusals));
            let sandbox = self.monime.sandbox.clone();
            flood.spawn(async move {
                let mut wire = Wire::connect(&address).await;
                loop {
                    let id = sandbox.create(&space());
                    asked.lock().unwrap().insert(id.clone(), caller);
                    let answer = wire.look_up(&id, &field(caller)).await;
                    if answer.status != 200 {
                        *told.lock().unwrap().entry(answer.failure().1).or_default() += 1;
                        sleep(Duration::from_millis(300)).await;
                    }
                }
            });
        }
        (flood, refusals)
    }

    /// Whose calls Monime was asked with, in order.
    fn calls(&self) -> Vec<(usize, SessionId)> {
        let asked = self.asked.lock().unwrap();
        let calls = self.monime.sandbox.asked().into_iter().map(|call| call.session.unwrap());
        calls.map(|id| (asked[&id], id)).collect()
    }

    /// Waits until nobody's turn is just being taken, and says how many have been.
    async fn quiet(&self) -> usize {
        loop {
            let before = self.monime.sandbox.asked().len();
            sleep(Duration::from_millis(100)).await;
            if self.monime.sandbox.asked().len() == before {
                return before;
            }
        }
    }

    async fn waiting(&self) -> u64 {
        metric(&self.gateway.operator("/metrics").await.text(), "monigate_budget_waiting")
    }

    fn address(&self) -> &Address {
        &self.gateway.address
    }
}

fn cold(monime: &Monime, asked: &Mutex<HashMap<SessionId, usize>>, caller: usize) -> SessionId {
    let id = monime.sandbox.create(&space());
    asked.lock().unwrap().insert(id.clone(), caller);
    id
}

/// How many of the calls from the one number on came before the one for this session.
fn before(calls: &[(usize, SessionId)], from: usize, id: &SessionId) -> usize {
    calls[from..].iter().position(|(_, its)| its == id).expect("Monime was asked")
}

#[tokio::test]
async fn who_asks_now_and_then_is_next_however_much_another_asks() {
    // Fewer places than the flood would fill.
    let hall = Hall::open(60).await;
    let (flood, refusals) = hall.flood(0, 250);
    eventually("the flood waits", async || (hall.waiting().await >= 30).then_some(())).await;
    let mut wire = Wire::connect(hall.address()).await;
    let mut overtaken = Vec::new();
    while overtaken.len() < 10 {
        let from = hall.quiet().await;
        let id = hall.cold(1);
        let answer: Answer = wire.look_up(&id, &field(1)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        overtaken.push(before(&hall.calls(), from, &id));
    }
    drop(flood);
    let refusals = refusals.lock().unwrap().clone();
    let waited = hall.calls().len();
    eprintln!(
        "of {waited} calls, before each of the one who asks now and then: {overtaken:?}; the flood: {refusals:?}"
    );
    overtaken.sort_unstable();
    // One turn of the other line's, and on a busy machine what was taken while it was on its way.
    assert!(overtaken[5] <= SECOND / 2 && overtaken[9] <= 2 * SECOND, "{overtaken:?}");
    assert!(refusals.contains_key("gateway_overloaded"), "the flood was out of places: {refusals:?}");
    assert_eq!(hall.monime.sandbox.seen().throttled, 0);
}

#[tokio::test]
async fn who_joins_what_waits_in_anothers_line_is_served_by_its_own() {
    /// As many as have time to wait.
    const FLOOD: usize = 80;
    let hall = Hall::open(1024).await;
    let mut flood = Vec::new();
    for _ in 0..FLOOD {
        let id = hall.cold(0);
        let mut wire = Wire::connect(hall.address()).await;
        wire.send(get(&path(&id), &field(0))).await;
        flood.push((id, wire));
    }
    eventually("the flood waits", async || {
        let waiting = usize::try_from(hall.waiting().await).unwrap();
        (waiting + hall.calls().len() == FLOOD).then_some(())
    })
    .await;
    let from = hall.quiet().await;
    // Whoever is last in line now.
    let (last, mut theirs) = flood.pop().unwrap();
    assert!(hall.calls().iter().all(|(_, id)| *id != last));
    let answer = Wire::connect(hall.address()).await.look_up(&last, &field(1)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.cache_status().contains("collapsed"), "it joined: {answer:?}");
    let overtaken = before(&hall.calls(), from, &last);
    let behind = hall.waiting().await;
    eprintln!("{overtaken} calls before the one that was joined, and {behind} behind it");
    assert!(overtaken <= SECOND && behind > 0, "{overtaken} before and {behind} behind");
    assert_eq!(theirs.answer().await.unwrap().status, 200, "whose it was is served with it");
    for (_, wire) in &mut flood {
        // A busy machine answers late, and then less is asked than all of them have time for.
        let answer = wire.answer().await.expect("nobody of the flood is forgotten");
        assert!(answer.status == 200 || answer.failure().1 == "gateway_budget_exhausted", "{answer:?}");
    }
}

#[tokio::test]
async fn three_callers_get_a_third_each_however_unlike_their_crowds() {
    let hall = Hall::open(1024).await;
    let mut floods = Vec::new();
    for (caller, many) in [200, 60, 30].into_iter().enumerate() {
        floods.push(hall.flood(caller, many));
    }
    // The first was there first, with all that the others were too late for.
    eventually("everyone has had a turn", async || {
        let calls = hall.calls();
        (0..3).all(|caller| calls.iter().any(|(its, _)| *its == caller)).then_some(())
    })
    .await;
    let from = hall.calls().len() + SECOND;
    eventually("eight seconds' worth of turns", async || (hall.calls().len() >= from + 8 * SECOND).then_some(())).await;
    drop(floods);
    let calls = hall.calls();
    let counts = [0, 1, 2].map(|caller| calls[from..].iter().filter(|(its, _)| *its == caller).count());
    let all: usize = counts.iter().sum();
    eprintln!("{counts:?} of {all} calls");
    assert!(counts.iter().all(|count| count * 10 >= all * 3), "{counts:?} of {all}");
    assert_eq!(hall.monime.sandbox.seen().throttled, 0);
}
