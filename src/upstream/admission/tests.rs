//! The layer over its machines: who waits, who is woken, and what is given back; on a paused clock.

use std::sync::Mutex;

use futures_util::FutureExt;
use futures_util::future::join_all;
use http::{HeaderMap, StatusCode, Version};
use tokio::task::yield_now;
use tokio::time::{Instant, advance};
use tower::{ServiceExt, service_fn};

use super::*;
use crate::lookup::tests::scripted::{key, limits, metric, never_stale, ttl};
use crate::lookup::{Lookups, Memory};
use crate::monime::Rates;
use crate::monime::operation::GET_CHECKOUT_SESSION;
use crate::secret::{Secret, Source};
use crate::telemetry::Metrics;
use crate::upstream::{CameBy, Fetch, Interest, Line, Reply, Unreachable};

const WIDTH: Duration = Duration::from_millis(1050);

/// What one request comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    Status(u16),
    Broken,
    Nothing,
}

/// The layer over a script, and the moments at which something was sent.
struct World {
    layer: BoxedLayer,
    gate: Gate,
    metrics: Arc<Metrics>,
    said: Arc<Mutex<Said>>,
    sent: Arc<Mutex<Vec<Duration>>>,
}

type BoxedLayer = tower::util::BoxCloneSyncService<Fetch, Reply, Failure>;

impl World {
    /// With a test token's limits: five lookups in a window.
    fn new(patience: Duration) -> Self {
        let metrics = Arc::new(Metrics::new().unwrap());
        let gate = Gate::new(1.0, Arc::clone(&metrics));
        let secret = Secret::parse(b"mon_test_admission".to_vec()).unwrap();
        let keyring = Arc::new(Keyring::new([(key("scs-1").space, Source::environment(secret))], false));
        let (said, sent) = (Arc::new(Mutex::new(Said::Status(200))), Arc::new(Mutex::new(Vec::new())));
        let began = Instant::now();
        let wire = service_fn({
            let (said, sent) = (Arc::clone(&said), Arc::clone(&sent));
            move |_: Fetch| {
                sent.lock().unwrap().push(began.elapsed());
                let said = *said.lock().unwrap();
                async move { say(said).await }
            }
        });
        let layer = Admission::new(wire, gate.clone(), keyring, Quota::default(), patience);
        Self { layer: tower::util::BoxCloneSyncService::new(layer), gate, metrics, said, sent }
    }

    fn says(&self, said: Said) {
        *self.said.lock().unwrap() = said;
    }

    fn ask(&self) -> tokio::task::JoinHandle<Result<Reply, Failure>> {
        tokio::spawn(self.layer.clone().oneshot(Fetch::new(key("scs-1"))))
    }

    /// In the line of this caller.
    fn ask_in(&self, caller: &str) -> tokio::task::JoinHandle<Result<Reply, Failure>> {
        let fetch = Fetch::on_behalf_of(key("scs-1"), Interest::of(line(caller)));
        tokio::spawn(self.layer.clone().oneshot(fetch))
    }

    async fn asked(&self) -> Result<Reply, Failure> {
        self.ask().await.unwrap()
    }

    fn sent(&self) -> Vec<Duration> {
        self.sent.lock().unwrap().clone()
    }

    /// So many failures in a row as the breaker needs, spread over the turns there are.
    async fn fails(&self) {
        self.says(Said::Broken);
        join_all((0..20).map(|_| self.ask())).await;
    }

    fn gauge(&self, name: &str, labels: &[&str]) -> u64 {
        metric(&self.metrics, name, labels)
    }
}

async fn say(said: Said) -> Result<Reply, Failure> {
    match said {
        Said::Status(status) => {
            let headers = match status {
                429 => HeaderMap::from_iter([(http::header::RETRY_AFTER, "3".parse().unwrap())]),
                _ => HeaderMap::new(),
            };
            let status = StatusCode::from_u16(status).unwrap();
            Ok(Reply { status, protocol: Version::HTTP_11, headers, body: "{}".into(), came_by: CameBy::default() })
        }
        Said::Broken => Err(Failure::Unreachable(Unreachable::NotConnected, "refused".into())),
        Said::Nothing => std::future::pending().await,
    }
}

fn line(caller: &str) -> Line {
    Line::of(&caller.into())
}

/// Lets every task run until it waits.
async fn settle() {
    for _ in 0..64 {
        yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_crowd_goes_out_window_by_window() {
    let world = World::new(Duration::from_secs(10));
    let asking: Vec<_> = (0..12).map(|_| world.ask()).collect();
    settle().await;
    assert_eq!((world.sent().len(), world.gauge("monigate_budget_waiting", &[])), (5, 7));
    assert!(join_all(asking).await.into_iter().all(|told| told.unwrap().is_ok()));
    let windows = world.sent().iter().map(|at| at.as_millis() / WIDTH.as_millis()).collect::<Vec<_>>();
    assert_eq!(windows, [0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 2, 2]);
    assert_eq!(world.gauge("monigate_budget_waiting", &[]), 0);
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_would_come_too_late_is_refused_at_once_and_says_when() {
    let world = World::new(Duration::from_secs(1));
    let asking: Vec<_> = (0..5).map(|_| world.ask()).collect();
    settle().await;
    let refused = world.ask();
    settle().await;
    let Some(Ok(Err(Failure::Exhausted { wait }))) = refused.now_or_never() else { panic!("not refused at once") };
    assert_eq!(wait, WIDTH);
    assert!(join_all(asking).await.into_iter().all(|told| told.unwrap().is_ok()));
    assert_eq!((world.sent().len(), world.gauge("monigate_budget_refusals_total", &["endpoint"])), (5, 1));
}

#[tokio::test(start_paused = true)]
async fn who_leaves_gives_the_turn_to_who_is_next() {
    let world = World::new(Duration::from_secs(10));
    let asking: Vec<_> = (0..11).map(|_| world.ask()).collect();
    settle().await;
    // All of the second window leave; the one of the third moves up into it.
    asking[5..10].iter().for_each(tokio::task::JoinHandle::abort);
    settle().await;
    assert_eq!(world.gauge("monigate_budget_waiting", &[]), 1);
    join_all(asking).await;
    let sent = world.sent();
    assert_eq!(sent.len(), 6);
    assert!(sent[5] < 2 * WIDTH, "{sent:?}");
}

#[tokio::test(start_paused = true)]
async fn what_was_looked_up_of_late_leaves_most_of_the_line_to_what_was_not() {
    let world = World::new(4 * WIDTH);
    let early = || tokio::spawn(world.layer.clone().oneshot(Fetch::new(key("scs-1")).early(true)));
    let crowd: Vec<_> = (0..20).map(|_| early()).collect();
    settle().await;
    // Five at once, and five in the window that begins in the first quarter.
    assert_eq!(world.gauge("monigate_budget_waiting", &[]), 5);
    let others: Vec<_> = (0..20).map(|_| world.ask()).collect();
    settle().await;
    assert_eq!(world.gauge("monigate_budget_waiting", &[]), 20, "the rest is theirs");
    assert!(matches!(early().await.unwrap(), Err(Failure::Exhausted { .. })));
    let mut told = Vec::new();
    for asking in crowd.into_iter().chain(others) {
        told.push(asking.await.unwrap().is_ok());
    }
    assert_eq!(told.iter().filter(|told| **told).count(), 25);
}

#[tokio::test(start_paused = true)]
async fn a_callers_only_request_does_not_wait_for_anothers_flood() {
    let world = World::new(Duration::from_secs(30));
    let flood: Vec<_> = (0..50).map(|_| world.ask_in("many")).collect();
    settle().await;
    let began = Instant::now();
    assert!(world.ask_in("one").await.unwrap().is_ok());
    assert_eq!(began.elapsed().as_millis() / WIDTH.as_millis(), 1, "the first window was full already");
    flood.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test(start_paused = true)]
async fn who_has_to_make_way_for_longer_than_it_waits_is_told_when_its_turn_should_have_come() {
    let world = World::new(2 * WIDTH);
    let flood: Vec<_> = (0..15).map(|_| world.ask_in("many")).collect();
    settle().await;
    let began = Instant::now();
    // They take turns with the ten who wait, the last five of whom would come a window later than they were promised.
    let others: Vec<_> = (0..5).map(|_| world.ask_in("others")).collect();
    settle().await;
    assert_eq!(world.gauge("monigate_budget_waiting", &[]), 15);
    let told: Vec<_> = join_all(flood).await.into_iter().map(Result::unwrap).collect();
    let refused = |told: &Result<Reply, Failure>| matches!(told, Err(Failure::Exhausted { .. }));
    assert!(told[..10].iter().all(Result::is_ok) && told[10..].iter().all(refused));
    assert!(began.elapsed() <= 2 * WIDTH + Duration::from_millis(1), "not left to sleep: {:?}", began.elapsed());
    assert!(join_all(others).await.into_iter().all(|told| told.unwrap().is_ok()));
    assert_eq!(world.gauge("monigate_budget_waiting", &[]), 0);
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_another_caller_joins_goes_when_one_of_its_own_would() {
    let world = World::new(Duration::from_secs(30));
    let flood: Vec<_> = (0..50).map(|_| world.ask_in("many")).collect();
    let interest = Interest::of(line("many"));
    let fetch = Fetch::on_behalf_of(key("scs-1"), interest.clone());
    let joined = tokio::spawn(world.layer.clone().oneshot(fetch));
    settle().await;
    let began = Instant::now();
    // Neither of them has to be told anything else for it.
    interest.add(line("many"));
    interest.add(line("one"));
    assert!(joined.await.unwrap().is_ok());
    assert_eq!(began.elapsed().as_millis() / WIDTH.as_millis(), 1);
    assert_eq!(world.gauge("monigate_budget_waiting", &[]), 50 - 9, "nobody lost a place over it");
    flood.iter().for_each(tokio::task::JoinHandle::abort);
    settle().await;
    assert_eq!(world.gauge("monigate_budget_waiting", &[]), 0);
}

#[tokio::test(start_paused = true)]
async fn a_lookup_that_joins_a_flight_in_a_long_line_does_not_wait_for_that_line() {
    let world = World::new(Duration::from_secs(30));
    let memory = Memory::new(limits(1 << 20), Arc::clone(&world.metrics));
    let lookups = Lookups::new(world.layer.clone(), memory, never_stale(ttl()));
    let ask = |session: usize, caller| lookups.ask(key(&format!("scs-{session}")), line(caller), false);
    let flood: Vec<_> = (0..50).map(|session| tokio::spawn(ask(session, "many"))).collect();
    settle().await;
    let began = Instant::now();
    let _ = ask(49, "one").await;
    assert_eq!(began.elapsed().as_millis() / WIDTH.as_millis(), 1);
    flood.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test(start_paused = true)]
async fn a_429_pauses_everyone_and_refuses_who_cannot_wait_that_long() {
    let world = World::new(Duration::from_secs(2));
    let waiting: Vec<_> = (0..6).map(|_| world.ask()).collect();
    settle().await;
    world.says(Said::Status(429));
    tokio::time::sleep(WIDTH).await;
    settle().await;
    assert_eq!((world.sent().len(), world.gauge("monigate_upstream_throttled_total", &["endpoint"])), (6, 1));
    assert_eq!(world.gauge("monigate_budget_paused", &["endpoint"]), 1);
    let Err(Failure::Exhausted { wait }) = world.asked().await else { panic!("not refused") };
    assert!(wait > Duration::from_secs(2), "{wait:?}");
    join_all(waiting).await;
    world.says(Said::Status(200));
    advance(Duration::from_secs(4)).await;
    assert!(world.asked().await.is_ok(), "a pause ends");
    world.gate.report();
    assert_eq!(world.gauge("monigate_budget_paused", &["endpoint"]), 0);
}

#[tokio::test(start_paused = true)]
async fn who_was_promised_a_turn_that_a_pause_takes_away_is_told_at_once() {
    let world = World::new(Duration::from_millis(1500));
    let latest = Instant::now() + Duration::from_millis(1500);
    let turn = world.gate.turn(places(), &Interest::default(), Rates::TEST, latest, true).await.map_err(drop).unwrap();
    assert!(join_all((0..4).map(|_| world.ask())).await.into_iter().all(|told| told.unwrap().is_ok()));
    let promised = world.ask();
    settle().await;
    assert_eq!(world.gauge("monigate_budget_waiting", &[]), 1);
    turn.ended(&say(Said::Status(429)).await);
    settle().await;
    let Some(Ok(Err(Failure::Exhausted { wait }))) = promised.now_or_never() else { panic!("not told at once") };
    assert!(wait >= Duration::from_secs(3), "{wait:?}");
    assert_eq!(world.sent().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn an_open_breaker_refuses_at_once_those_who_wait_as_well_and_sends_nothing() {
    let world = World::new(Duration::from_secs(30));
    world.fails().await;
    assert_eq!(world.gauge("monigate_breaker_state", &[]), 2);
    let sent = world.sent().len();
    for _ in 0..10 {
        let Err(Failure::Open { wait }) = world.asked().await else { panic!("it was asked") };
        assert!(wait <= Duration::from_secs(2), "{wait:?}");
    }
    assert_eq!((world.sent().len(), world.gate.breaker()), (sent, "open"));
}

#[tokio::test(start_paused = true)]
async fn those_in_line_when_the_breaker_opens_are_told_at_that_moment() {
    let world = World::new(Duration::from_secs(30));
    world.says(Said::Broken);
    let asking: Vec<_> = (0..40).map(|_| world.ask()).collect();
    let began = Instant::now();
    let told: Vec<_> = join_all(asking).await.into_iter().map(Result::unwrap).collect();
    let opened = told.iter().filter(|told| matches!(told, Err(Failure::Open { .. }))).count();
    assert_eq!((world.sent().len(), opened), (20, 20));
    assert!(began.elapsed() < 4 * WIDTH, "nobody waited for a turn that leads nowhere: {:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn one_probe_goes_out_after_two_seconds_and_its_success_lets_everyone_in() {
    let world = World::new(Duration::from_secs(30));
    world.fails().await;
    let sent = world.sent().len();
    advance(Duration::from_secs(2)).await;
    world.says(Said::Nothing);
    let probe = world.ask();
    settle().await;
    assert_eq!((world.sent().len(), world.gate.breaker()), (sent + 1, "half-open"));
    assert!(matches!(world.asked().await, Err(Failure::Open { .. })), "one at a time");
    // Abandoned after it was sent: that is a failure.
    probe.abort();
    settle().await;
    assert_eq!(world.gate.breaker(), "open");
    advance(Duration::from_secs(2)).await;
    world.says(Said::Status(200));
    assert!(world.asked().await.is_ok());
    assert_eq!((world.gate.breaker(), world.gauge("monigate_breaker_state", &[])), ("closed", 0));
}

#[tokio::test(start_paused = true)]
async fn neither_a_client_error_nor_a_429_opens_the_breaker() {
    for status in [200, 401, 403, 404, 429] {
        let world = World::new(Duration::from_secs(600));
        world.says(Said::Status(status));
        for _ in 0..30 {
            let _ = world.asked().await;
        }
        assert_eq!(world.gate.breaker(), "closed", "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_fetch_is_queued_until_its_turn_comes_and_sent_from_then_on() {
    let world = World::new(Duration::from_secs(10));
    let first: Vec<_> = (0..5).map(|_| world.ask()).collect();
    settle().await;
    world.says(Said::Nothing);
    let fetch = Fetch::new(key("scs-1"));
    let stage = fetch.waiting.stage.clone();
    let asking = tokio::spawn(world.layer.clone().oneshot(fetch));
    settle().await;
    assert!(stage.queued().now_or_never().is_some());
    tokio::time::sleep(WIDTH).await;
    settle().await;
    assert!(stage.queued().now_or_never().is_none());
    asking.abort();
    join_all(first).await;
}

#[tokio::test(start_paused = true)]
async fn a_smaller_share_counts_at_once() {
    let world = World::new(Duration::from_secs(30));
    world.gate.set_share(0.4);
    join_all((0..6).map(|_| world.ask())).await;
    let windows = world.sent().iter().map(|at| at.as_millis() / WIDTH.as_millis()).collect::<Vec<_>>();
    assert_eq!(windows, [0, 0, 1, 1, 2, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_space_without_a_token_waits_for_nothing_and_sends_nothing() {
    let world = World::new(Duration::from_secs(30));
    let mut key = key("scs-1");
    key.space = crate::monime::SpaceId::parse("spc-nobodys").unwrap();
    let told = world.layer.clone().oneshot(Fetch::new(key)).await;
    assert!(matches!(told, Err(Failure::NoToken)));
    assert!(world.sent().is_empty());
}

fn places() -> Places {
    Places { token: "the environment".into(), operation: GET_CHECKOUT_SESSION, space: key("scs-1").space }
}
