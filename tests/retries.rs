//! What fails in passing is asked once more, where everybody can count it, and callers do not notice.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what a test cannot prepare is its failure"
)]

mod support;

use monigate::sandbox::Fault;
use support::gateway::Gateway;
use support::upstream::{Step, Upstream, answer, session};

fn completed(id: &str) -> Step {
    Step::Send(answer("200 OK", "", &session(id, "completed")))
}

fn retries(cause: &str) -> String {
    format!(r#"monigate_upstream_retries_total{{cause="{cause}"}}"#)
}

fn attempts(code: &str) -> String {
    format!(r#"monigate_upstream_requests_total{{code="{code}",operation="GetCheckoutSession"}}"#)
}

#[tokio::test]
async fn a_kept_connection_that_ends_at_the_second_request_costs_a_retry_and_no_answer() {
    for end in [Step::Close, Step::Reset] {
        let upstream = Upstream::start(move |nth, _| match nth {
            0 => vec![completed("scs-1")],
            1 => vec![end.clone()],
            _ => vec![completed("scs-2")],
        })
        .await;
        let gateway = Gateway::before(&upstream.base_url, &[]).await;
        assert_eq!(gateway.look_up("scs-1").await.status, 200);
        let told = gateway.look_up("scs-2").await;
        assert_eq!((told.status, told.session().as_str()), (200, "completed"), "{told:?}");
        // The second was the last on its connection, so the third came over a new one; nothing was sent in secret.
        let heard = upstream.heard();
        let ids = ["scs-1", "scs-2", "scs-2"];
        assert!(heard.len() == 3 && heard.iter().zip(ids).all(|(request, id)| request.contains(id)), "{heard:?}");
        assert_eq!(gateway.metric(&retries("unreachable")).await, 1);
        assert_eq!((gateway.metric(&attempts("unreachable")).await, gateway.metric(&attempts("200")).await), (1, 2));
    }
}

#[tokio::test]
async fn a_monime_that_falters_is_asked_again_and_one_that_fails_is_let_be() {
    let gateway = Gateway::start().await;
    for status in [502, 503, 504] {
        let status = http::StatusCode::from_u16(status).unwrap();
        let before = gateway.calls();
        gateway.sandbox.play(Fault::Status(status), 2);
        assert_eq!(gateway.look_up(gateway.completed()).await.status, 200, "{status}");
        assert_eq!((gateway.calls() - before, gateway.metric(&retries(status.as_str())).await), (3, 2));
    }
    let before = gateway.calls();
    gateway.sandbox.play(Fault::Truncated, 1);
    assert_eq!(gateway.look_up(gateway.completed()).await.status, 502);
    assert_eq!(gateway.calls() - before, 1);
}
