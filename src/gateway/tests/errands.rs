//! What is passed on, in front of a way to Monime that a test decides: what is told of each way to fail, and what becomes
//! of a write whose caller, task or process ends.

use std::panic::resume_unwind;

use futures_util::FutureExt;
use http_body_util::BodyExt;
use tokio::sync::watch;

use super::*;
use crate::caller::{Callers, Named, Policy, new_key};
use crate::upstream::{Bound, Forward, Forwarded, Stage, Unreachable, Unreadable};

/// A gateway with one caller, who may do everything.
struct Shop {
    gateway: Gateway,
    key: String,
    writes: Writes,
}

impl Shop {
    fn passing<F>(pass: impl Fn(Forward) -> F + Clone + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Forwarded, Failure>> + Send + 'static,
    {
        let (key, digest) = new_key().unwrap();
        let operations = crate::monime::operation::OPERATIONS.iter().map(|operation| operation.id).collect();
        let policy = Policy { spaces: vec![SpaceId::parse(SPACE).unwrap()], operations, rate: None };
        let (san, service_accounts) = (Vec::new(), Vec::new());
        let caller = Named { name: "shop".into(), keys: vec![digest], san, service_accounts, policy };
        let callers = Some(Arc::new(Callers::new(vec![caller], None)));
        let writes = Writes::default();
        let forwards = Forwards::new(tower::service_fn(pass));
        let gateway = Gateway::passing(
            Monime::saying(|key| Said::session(key, "completed")),
            never_stale(ttl()),
            forwards,
            |terms| {
                terms.door = Door { callers, require_header: None };
                terms.writes = writes.clone();
            },
        );
        Self { gateway, key: format!("Bearer {}", key.expose()), writes }
    }

    fn create(&self) -> impl Future<Output = Answer> + Send + use<> {
        let headers = [("authorization", self.key.as_str()), ("idempotency-key", "k")];
        self.gateway.ask("POST", "/v1/payouts", &headers)
    }

    /// How many writes were told with this outcome, and how many at all.
    fn told(&self, outcome: &str) -> (u64, u64) {
        let told = |outcome: &str| metric(&self.gateway.metrics, "monigate_writes_total", &["CreatePayout", outcome]);
        (told(outcome), ["done", "rejected", "unknown", "not_sent"].map(told).iter().sum())
    }
}

fn answer(status: u16) -> Forwarded {
    let body = Full::new(Bytes::from_static(b"{}")).map_err(|never| match never {}).boxed_unsync();
    let response = Response::builder().status(status).header("content-type", "application/json");
    response.body(body).unwrap()
}

/// A failure; what is told of it, and the outcome for the audit.
type Case = (fn() -> Failure, u16, &'static str, &'static str);

#[tokio::test]
async fn every_way_to_fail_says_whether_it_may_have_been_carried_out() {
    const WAIT: Duration = Duration::from_secs(3);
    let cases: [Case; 14] = [
        (|| Failure::Exhausted { wait: WAIT }, 429, "gateway_budget_exhausted", "not_sent"),
        (|| Failure::Open { wait: WAIT }, 503, "gateway_upstream_open", "not_sent"),
        (|| Failure::NoToken, 502, "gateway_upstream_credentials", "not_sent"),
        (|| Failure::TimedOut(Bound::Connect), 504, "gateway_upstream_timeout", "not_sent"),
        (
            || Failure::Unreachable(Unreachable::NotConnected, "".into()),
            502,
            "gateway_upstream_unreachable",
            "not_sent",
        ),
        (|| Failure::Unreachable(Unreachable::Refused, "".into()), 502, "gateway_upstream_unreachable", "not_sent"),
        (|| Failure::Unreachable(Unreachable::Unanswered, "".into()), 502, "gateway_outcome_unknown", "unknown"),
        (|| Failure::Unreachable(Unreachable::Reset, "".into()), 502, "gateway_outcome_unknown", "unknown"),
        (|| Failure::TimedOut(Bound::Write), 504, "gateway_outcome_unknown", "unknown"),
        (|| Failure::Internal("".into()), 502, "gateway_outcome_unknown", "unknown"),
        (|| Unreadable::TooLarge.into(), 502, "gateway_outcome_unknown", "unknown"),
        (|| Unreadable::BrokenOff.into(), 502, "gateway_outcome_unknown", "unknown"),
        (|| Unreadable::Reflects.into(), 502, "gateway_outcome_unknown", "unknown"),
        (|| Unreadable::Coding.into(), 502, "gateway_outcome_unknown", "unknown"),
    ];
    for (failure, status, reason, outcome) in cases {
        let shop = Shop::passing(move |_| std::future::ready(Err(failure())));
        let told = shop.create().await;
        assert_eq!((told.status, told.reason().as_str()), (status, reason), "{:?}", failure());
        let waits = matches!(failure(), Failure::Exhausted { .. } | Failure::Open { .. }).then_some("3");
        assert_eq!(told.header("retry-after"), waits);
        assert_eq!(shop.told(outcome), (1, 1), "{:?}", failure());
    }
}

#[tokio::test]
async fn a_write_whose_task_dies_may_have_been_carried_out_and_holds_nothing_up() {
    let shop = Shop::passing(|_| async { panic!("a bug") });
    let told = shop.create().await;
    assert_eq!((told.status, told.reason().as_str()), (504, "gateway_outcome_unknown"));
    shop.writes.ended().await;
    assert_eq!(shop.told("unknown"), (1, 1));
}

/// Notes what had been told of the write when it was woken.
struct Witness(Arc<Metrics>, std::sync::Mutex<Option<u64>>);

impl std::task::Wake for Witness {
    fn wake(self: Arc<Self>) {
        let told = metric(&self.0, "monigate_writes_total", &["CreatePayout", "unknown"]);
        self.1.lock().unwrap().get_or_insert(told);
    }
}

#[tokio::test]
async fn whoever_waits_for_the_end_of_a_write_that_dies_waits_for_its_line_of_the_audit() {
    let shop = Shop::passing(|_| async { resume_unwind(Box::new("a bug")) });
    let witness = Arc::new(Witness(Arc::clone(&shop.gateway.metrics), std::sync::Mutex::default()));
    let mut asking = Box::pin(shop.create());
    assert!(asking.as_mut().now_or_never().is_none());
    let mut ended = Box::pin(shop.writes.ended());
    let waker = Arc::clone(&witness).into();
    assert!(ended.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    assert_eq!(asking.await.reason(), "gateway_outcome_unknown");
    assert_eq!(*witness.1.lock().unwrap(), Some(1));
}

#[tokio::test]
async fn a_read_that_panics_is_answered_and_counted_and_gives_its_place_back() {
    let first = std::sync::atomic::AtomicBool::new(true);
    let first = Arc::new(first);
    let shop = Shop::passing(move |_| {
        let dies = first.swap(false, std::sync::atomic::Ordering::Relaxed);
        async move { if dies { resume_unwind(Box::new("a bug")) } else { Ok(answer(200)) } }
    });
    let headers = [("authorization", shop.key.as_str())];
    let told = shop.gateway.ask("GET", "/v1/payouts", &headers).await;
    assert_eq!((told.status, told.reason().as_str()), (500, "gateway_internal"));
    assert!(told.header("x-request-id").is_some());
    assert_eq!((shop.gateway.counted("ListPayouts", 500, "error"), shop.gateway.counted_in_all()), (1, 1));
    assert_eq!(shop.gateway.ask("GET", "/v1/payouts", &headers).await.status, 200);
}

/// A way on which each write says where it stands, and ends when it is let.
fn held() -> (Shop, watch::Receiver<Option<Stage>>, watch::Sender<bool>) {
    let (shows, stage) = watch::channel(None);
    let (opens, gate) = watch::channel(false);
    let shows = Arc::new(shows);
    let shop = Shop::passing(move |forward: Forward| {
        let mut gate = gate.clone();
        shows.send_replace(Some(forward.waiting.stage.clone()));
        async move {
            gate.wait_for(|open| *open).await.unwrap();
            Ok(answer(200))
        }
    });
    (shop, stage, opens)
}

#[tokio::test]
async fn who_leaves_takes_a_write_along_that_waits_for_its_turn_and_no_other() {
    for (sent, outcome) in [(false, "not_sent"), (true, "done")] {
        let (shop, mut stage, gate) = held();
        let caller = tokio::spawn(shop.create());
        let stage = stage.wait_for(Option::is_some).await.unwrap().clone().unwrap();
        if sent {
            stage.sends();
        }
        caller.abort();
        assert!(caller.await.unwrap_err().is_cancelled());
        if sent {
            assert!(shop.writes.ended().now_or_never().is_none(), "it is under way");
            gate.send_replace(true);
        }
        shop.writes.ended().await;
        assert_eq!(shop.told(outcome), (1, 1));
        assert_eq!(shop.gateway.counted("CreatePayout", 499, "refused"), 1, "counted as what it was");
    }
}

#[tokio::test]
async fn what_is_cut_off_is_told_by_how_far_it_came() {
    for (sent, outcome) in [(false, "not_sent"), (true, "unknown")] {
        let (shop, mut stage, _gate) = held();
        let caller = tokio::spawn(shop.create());
        let stage = stage.wait_for(Option::is_some).await.unwrap().clone().unwrap();
        if sent {
            stage.sends();
        }
        shop.writes.cut_off().await;
        assert_eq!(shop.told(outcome), (1, 1));
        assert_eq!(caller.await.unwrap().reason(), "gateway_outcome_unknown");
    }
}

#[tokio::test(start_paused = true)]
async fn who_says_how_long_it_waits_for_a_write_waits_so_long_and_others_to_its_end() {
    let (shop, _stage, gate) = held();
    let headers = [("authorization", shop.key.as_str()), ("idempotency-key", "k"), ("monigate-timeout", "600")];
    let begun = Instant::now();
    let told = shop.gateway.ask("POST", "/v1/payouts", &headers).await;
    assert_eq!((told.status, told.reason().as_str()), (504, "gateway_outcome_unknown"));
    assert_eq!(begun.elapsed(), Duration::from_secs(600), "longer than a lookup may take");
    let waits = tokio::spawn(shop.create());
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert!(!waits.is_finished());
    gate.send_replace(true);
    assert_eq!(waits.await.unwrap().status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_read_is_waited_for_as_long_as_a_lookup_at_most_and_given_up() {
    for (says, waits) in [(None, 10_000), (Some("600"), 10_000), (Some("0.5"), 500)] {
        let under_way = Arc::new(());
        let weak = Arc::downgrade(&under_way);
        let shop = Shop::passing(move |_| {
            let under_way = weak.upgrade();
            async move {
                std::future::pending::<()>().await;
                drop(under_way);
                Err(Failure::NoToken)
            }
        });
        let mut headers = vec![("authorization", shop.key.as_str())];
        headers.extend(says.map(|says| ("monigate-timeout", says)));
        let begun = Instant::now();
        let told = shop.gateway.ask("GET", "/v1/payouts", &headers).await;
        assert_eq!((told.status, told.reason().as_str()), (504, "gateway_upstream_timeout"));
        assert_eq!(begun.elapsed(), Duration::from_millis(waits));
        assert_eq!(Arc::strong_count(&under_way), 1, "it is gone");
    }
}
