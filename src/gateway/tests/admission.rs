//! When too many wait on Monime: who comes too late is told so at once, and memory goes on answering.

use super::*;

/// A gateway with room for two that wait, whose memory holds the session `kept`.
async fn narrow() -> Gateway {
    let monime = Monime::saying(|key| Said::session(key, "completed"));
    let gateway = Gateway::on(monime, ttl(), |terms| terms.places = Places::new(2));
    gateway.ask("GET", "/v1/checkout-sessions/kept", &[]).await;
    gateway.monime.falls_silent();
    gateway
}

#[tokio::test(start_paused = true)]
async fn who_finds_no_room_is_shed_at_once_while_hits_are_answered() {
    let gateway = narrow().await;
    let waiting = [gateway.under_way(&[], 2).await, tokio::spawn(gateway.get(&[]))];
    tokio::task::yield_now().await;
    let started = Instant::now();
    for target in [SESSION, "/v1/checkout-sessions/scs-2"] {
        let shed = gateway.ask("GET", target, &[]).await;
        assert_eq!((shed.status, shed.reason().as_str()), (503, "gateway_overloaded"), "{target}");
        assert_eq!(shed.header("retry-after"), Some("1"));
    }
    for _ in 0..10 {
        let hit = gateway.ask("GET", "/v1/checkout-sessions/kept", &[]).await;
        assert!(hit.cache_status().starts_with("monigate; hit"));
    }
    assert_eq!(gateway.ask("GET", "/v1/nothing", &[]).await.status, 404, "what is refused needs no room either");
    assert_eq!(started.elapsed(), Duration::ZERO, "nobody waited");
    assert_eq!((gateway.counted("GetCheckoutSession", 503, "error"), gateway.monime.calls()), (2, 2));
    gateway.monime.land(1, Said::session(&scripted::key("scs-1"), "completed"));
    for waiting in waiting {
        assert_eq!(waiting.await.unwrap().status, 200, "who had room is answered");
    }
}

#[tokio::test(start_paused = true)]
async fn room_is_given_back_by_an_answer_an_error_lost_patience_and_by_leaving() {
    let gateway = narrow().await;
    for (nth, ending) in ["answer", "error", "panic", "patience", "leaving"].into_iter().enumerate() {
        let calls = gateway.monime.calls();
        let target = format!("/v1/checkout-sessions/scs-{nth}");
        let waiting = [0, 1].map(|_| tokio::spawn(gateway.ask("GET", &target, &[("monigate-timeout", "5")])));
        gateway.monime.asked(calls + 1).await;
        tokio::task::yield_now().await;
        assert_eq!(gateway.ask("GET", &target, &[]).await.status, 503, "{ending}: there is no room");
        match ending {
            "answer" => gateway.monime.land(calls, Said::error(404)),
            "error" => gateway.monime.land(calls, Said::timed_out()),
            "panic" => gateway.monime.land(calls, Said::Panic),
            "leaving" => waiting.iter().for_each(tokio::task::JoinHandle::abort),
            _ => {}
        }
        for waiting in waiting {
            assert_eq!(waiting.await.is_err(), ending == "leaving");
        }
        let next = gateway.ask("GET", "/v1/checkout-sessions/next", &[("monigate-timeout", "1")]).await;
        assert_eq!(next.status, 504, "{ending}: there is room again");
    }
}
