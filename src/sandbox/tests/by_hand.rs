//! The control routes for somebody who has only curl: the list of what there is, and a first session.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_pending_session_that_is_put_settles_like_a_created_one() {
    let outcome = Final::Cancelled;
    let sandbox = Sandbox::new(Settings { settle_after: Some(MINUTE), outcome, ..Settings::default() });
    let [by_hand, by_code] = ["scs-1", "scs-2"].map(|id| SessionId::parse(id).unwrap());
    let put = json!({"space": "spc-shop", "status": "pending"});
    assert_eq!(control(&sandbox, "PUT", "sessions/scs-1", put).await.status, 200);
    sandbox.put(&space(), &by_code, "pending");
    for (wait, expected) in [(59, "pending"), (1, "cancelled")] {
        advance(Duration::from_secs(wait)).await;
        for id in [&by_hand, &by_code] {
            assert_eq!(lookup(&sandbox, id).await.json()["result"]["status"], expected, "{id}");
        }
    }
}
