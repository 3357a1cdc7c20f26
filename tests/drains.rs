//! How the real program ends: it stops being ready first, answers what it accepted, and is gone in bounded time.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what a test cannot prepare is its failure"
)]

mod support;

use std::io::Write;
use std::time::Duration;

use monigate::Ended;
use monigate::monime::Final;
use monigate::sandbox::{self, Fault, Limits};
use monigate::server::Address;
use support::client::{Wire, ask, ask_h2, get, h2c, path};
use support::gateway::{self, eventually};
use support::process::{Gateway, Process};
use support::upstream::{Step, Upstream, answer, session};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// Longer than any test takes: what ends before it did not wait for it.
const LONG: &str = "shutdown.timeout=50m";
/// Connections at once: no more than a small system queues, and more than a task may accept at a stretch.
const QUEUED: usize = 129;
/// Far below [`LONG`], far above what ending takes on a busy machine.
const SOON: Duration = Duration::from_secs(8);

/// A Monime that holds its answer back until the gate opens.
async fn held() -> Upstream {
    Upstream::playing(vec![Step::Gate, Step::Send(answer("200 OK", "", &session("scs-1", "completed")))]).await
}

async fn is_not_ready(gateway: &Gateway) {
    eventually("readiness fails", async || {
        let answer = gateway.operator("/readyz").await;
        (answer.status == 503).then(|| assert_eq!(answer.text(), "draining\n"))
    })
    .await;
}

async fn refuses_connections(address: &Address) {
    let Address::Tcp(address) = address else { panic!("a TCP address") };
    eventually("the listener closes", async || TcpStream::connect(address).await.is_err().then_some(())).await;
}

#[tokio::test]
async fn readiness_fails_first_and_what_still_comes_is_served_until_the_delay_is_over() {
    let upstream = Upstream::playing(vec![Step::Send(answer("200 OK", "", &session("scs-1", "completed")))]).await;
    let mut gateway = Gateway::run(&upstream.base_url, &["shutdown.delay=50m", LONG]).await;
    assert_eq!(gateway.operator("/readyz").await.status, 200);
    gateway.process.signal("TERM");
    is_not_ready(&gateway).await;
    assert_eq!(gateway.operator("/livez").await.status, 200, "it still lives");
    assert_eq!(ask(&gateway.address, &get(&path("scs-1"), "")).await.session(), "completed");
    assert!(gateway.process.is_running());
    let told = Instant::now();
    gateway.process.signal("TERM");
    assert_eq!(gateway.process.ended().await, Some(0), "a second signal asks not to wait");
    assert!(told.elapsed() < SOON);
}

#[tokio::test]
async fn a_request_under_way_is_answered_over_http_1_and_http_2() {
    let upstream = held().await;
    let mut gateway = Gateway::run(&upstream.base_url, &[LONG]).await;
    let mut wire = Wire::connect(&gateway.address).await;
    wire.send(get(&path("scs-1"), "")).await;
    let h2 = h2c(&gateway.address).await;
    let path = path("scs-1");
    let stream = ask_h2(&h2, "GET", &path, &[]);
    let steps = async {
        upstream.hears(1).await;
        // Streams are heard in their order, so this answer means that the one before is under way.
        assert_eq!(ask_h2(&h2, "GET", "/nowhere", &[]).await.status, 404);
        gateway.process.signal("TERM");
        is_not_ready(&gateway).await;
        refuses_connections(&gateway.address).await;
        assert_eq!(gateway.operator("/readyz?verbose").await.status, 503, "operators are served to the end");
        upstream.open_the_gate();
        wire.answer().await.unwrap()
    };
    let (over_h2, over_h1) = tokio::join!(stream, steps);
    assert_eq!((over_h1.session().as_str(), over_h2.session().as_str()), ("completed", "completed"));
    assert_eq!(over_h1.header("connection"), Some("close"), "the caller is told not to come back here");
    assert_eq!(upstream.heard().len(), 1);
    assert!(gateway.process.says("every accepted request was answered").await["level"] == "INFO");
    assert_eq!(gateway.process.ended().await, Some(0));
}

#[tokio::test]
async fn connections_that_ask_nothing_do_not_hold_it() {
    let upstream = Upstream::playing(vec![Step::Send(answer("200 OK", "", &session("scs-1", "completed")))]).await;
    let mut gateway = Gateway::run(&upstream.base_url, &[LONG]).await;
    let mut kept_alive = Wire::connect(&gateway.address).await;
    assert_eq!(kept_alive.look_up("scs-1", "").await.status, 200);
    let h2 = h2c(&gateway.address).await;
    assert_eq!(ask_h2(&h2, "GET", &path("scs-1"), &[]).await.status, 200);
    let silent = Wire::connect(&gateway.address).await;
    let mut half = Wire::connect(&gateway.address).await;
    half.send("GET /v1/checkout-sess").await;
    let told = Instant::now();
    gateway.process.signal("TERM");
    assert_eq!(gateway.process.ended().await, Some(0));
    assert!(told.elapsed() < SOON, "{:?}", told.elapsed());
    for wire in [kept_alive, silent] {
        assert_eq!(wire.rest().await, b"");
    }
    assert!(half.rest().await.starts_with(b"HTTP/1.1 408 "));
}

#[tokio::test]
async fn whoever_was_connected_is_answered_though_nobody_had_accepted_yet() {
    let upstream = Upstream::playing(vec![Step::Send(answer("200 OK", "", &session("scs-1", "completed")))]).await;
    let mut gateway = gateway::Gateway::before(&upstream.base_url, &[LONG]).await;
    assert_eq!(gateway.look_up("scs-1").await.status, 200);
    let Address::Tcp(address) = gateway.address else { panic!("a TCP address") };
    // More than a task may accept at a stretch, and fewer than the kernel queues. Nothing here yields to the gateway.
    let mut crowd: Vec<_> = (0..QUEUED).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
    for socket in &mut crowd {
        socket.write_all(get(&path("scs-1"), "").as_bytes()).unwrap();
        socket.set_nonblocking(true).unwrap();
    }
    let mut crowd: Vec<_> = crowd.into_iter().map(|socket| Wire::over(TcpStream::from_std(socket).unwrap())).collect();
    let (ended, answered) = tokio::join!(gateway.stop(), async {
        let mut answered = 0;
        for wire in &mut crowd {
            answered += usize::from(wire.answer().await.is_some_and(|answer| answer.status == 200));
        }
        answered
    });
    assert_eq!((ended, answered), (Ended::Drained, QUEUED));
}

#[tokio::test]
async fn slow_answers_and_a_queue_for_turns_cost_no_request_that_was_accepted() {
    let settings =
        sandbox::Settings { limits: Limits::NONE, invent: Some(Final::Completed), ..sandbox::Settings::default() };
    let (sandbox, base_url, _served) = gateway::play_with(settings, None).await;
    for number in 0..80 {
        sandbox.play(Fault::Latency(Duration::from_millis(1000 + 100 * (number % 11))), 1);
    }
    let gateway = Gateway::run(&base_url, &["budget.endpoint=5", "shutdown.delay=1s", "shutdown.timeout=20s"]).await;
    let address = gateway.address.clone();
    let ask = async |id: String| {
        let mut wire = Wire::connect(&address).await;
        wire.send(get(&path(id), "")).await;
        wire.answer().await.expect("an answer, not a closed connection")
    };
    let crowd = futures_util::future::join_all((0..40).map(|number| ask(format!("scs-{number}"))));
    let steps = async {
        eventually("some are sent", async || (sandbox.seen().requests >= 8).then_some(())).await;
        gateway.process.signal("TERM");
        let told = Instant::now();
        is_not_ready(&gateway).await;
        // It still accepts for a second, and what joins a lookup that waits costs no turn.
        let late = futures_util::future::join_all((0..10).map(|number| ask(format!("scs-{number}")))).await;
        (told, late)
    };
    let (crowd, (told, late)) = tokio::join!(crowd, steps);
    let mut answered = 0;
    for answer in crowd.iter().chain(&late) {
        match answer.status {
            200 => {
                assert_eq!(answer.session(), "completed");
                answered += 1;
            }
            _ => assert_eq!(answer.failure(), (429, "gateway_budget_exhausted".to_owned())),
        }
    }
    // Five a second for the five seconds within which a turn is worth waiting for; fewer where answers are late, too.
    assert!((10..=50).contains(&answered), "{answered}");
    let ran = gateway.process.ran().await;
    assert!(told.elapsed() < Duration::from_secs(20), "{:?}", told.elapsed());
    assert_eq!(ran.code, Some(0));
    assert!(ran.err.contains("every accepted request was answered"), "{ran:?}");
}

#[tokio::test]
async fn what_hangs_is_cut_off_at_the_limit() {
    let upstream = Upstream::playing(vec![Step::Gate]).await;
    let slow = ["shutdown.timeout=300ms", "monime.timeouts.attempt=50s", "monime.timeouts.total=60s"];
    let gateway = Gateway::run(&upstream.base_url, &slow).await;
    let mut wire = Wire::connect(&gateway.address).await;
    wire.send(get(&path("scs-1"), "")).await;
    upstream.hears(1).await;
    let told = Instant::now();
    gateway.process.signal("TERM");
    let ran = gateway.process.ran().await;
    assert!((Duration::from_millis(300)..SOON).contains(&told.elapsed()), "{:?}", told.elapsed());
    assert!(ran.code == Some(0) && ran.err.contains("stopped at shutdown.timeout"), "{ran:?}");
    assert_eq!(wire.rest().await, b"");
}

#[tokio::test]
async fn a_second_signal_does_not_wait_for_what_hangs() {
    let upstream = Upstream::playing(vec![Step::Gate]).await;
    for second in ["TERM", "INT"] {
        let slow = [LONG, "monime.timeouts.attempt=50s", "monime.timeouts.total=60s"];
        let mut gateway = Gateway::run(&upstream.base_url, &slow).await;
        let mut wire = Wire::connect(&gateway.address).await;
        let heard = upstream.heard().len();
        wire.send(get(&path("scs-1"), "")).await;
        upstream.hears(heard + 1).await;
        gateway.process.signal("INT");
        is_not_ready(&gateway).await;
        assert!(gateway.process.is_running());
        let told = Instant::now();
        gateway.process.signal(second);
        assert_eq!(gateway.process.ended().await, Some(0));
        assert!(told.elapsed() < SOON);
    }
}

#[tokio::test]
async fn a_hang_up_ends_nothing() {
    let upstream = held().await;
    let mut gateway = Gateway::run(&upstream.base_url, &[LONG]).await;
    let mut wire = Wire::connect(&gateway.address).await;
    wire.send(get(&path("scs-1"), "")).await;
    upstream.hears(1).await;
    for _ in 0..3 {
        gateway.process.signal("HUP");
    }
    gateway.process.says("SIGHUP").await;
    assert_eq!(gateway.operator("/readyz").await.status, 200);
    upstream.open_the_gate();
    assert_eq!(wire.answer().await.unwrap().session(), "completed");
    gateway.process.signal("TERM");
    assert_eq!(gateway.process.ended().await, Some(0), "and a hang-up is no first signal");
}

#[tokio::test]
async fn a_signal_before_it_serves_ends_it_too() {
    let settings = ["--set", "monime.default_space=spc-1", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    let environment = [("MONIGATE__MONIME__TOKEN", "mon_0123456789")];
    let mut process = Process::start(&[&["run"][..], &settings].concat(), &environment);
    process.says("serving").await;
    process.signal("TERM");
    let ran = process.ran().await;
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), ""), "{ran:?}");
    assert!(ran.err.lines().all(|line| line.starts_with('{')), "{ran:?}");
}
