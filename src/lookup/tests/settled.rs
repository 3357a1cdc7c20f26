//! Final never goes back while it is kept, and Monime's newest final word is the one that is told.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_kept_completed_answer_outlives_every_lesser_word() {
    let memory = Memory::silent();
    let key = key("scs-1");
    memory.keep(&key, "completed").await;
    let kept = (Outcome::Stale, Verdict::Final(Final::Completed), Some("completed"));
    assert_eq!(memory.refreshed(&key, |key| Said::session(key, "pending")).await, kept);
    assert_eq!(memory.regressions(), 1);
    assert_eq!(memory.refreshed(&key, |key| Said::session(key, "processing")).await, kept);
    assert_eq!(memory.regressions(), 2);
    assert_eq!(memory.refreshed(&key, |_| Said::error(404)).await, kept);
    assert_eq!(memory.regressions(), 3);
    assert_eq!(memory.ask(&key).await.unwrap().outcome, Outcome::Hit);
    assert_eq!(memory.regressions(), 3, "a hit is no regression");
}

#[tokio::test(start_paused = true)]
async fn everyone_on_a_flight_that_went_back_is_told_what_is_kept() {
    let memory = Memory::silent();
    let key = key("scs-1");
    memory.keep(&key, "completed").await;
    memory.monime.falls_silent();
    let callers = [memory.refresh(&key), memory.refresh(&key), memory.ask(&key)];
    memory.monime.asked(2).await;
    memory.monime.land(1, Said::session(&key, "pending"));
    for told in join_all(callers).await {
        let told = told.unwrap();
        assert_eq!((told.outcome, told.answer.verdict()), (Outcome::Stale, Verdict::Final(Final::Completed)));
    }
    assert_eq!(memory.regressions(), 1, "counted by flight, not by caller");
}

#[tokio::test(start_paused = true)]
async fn a_later_final_word_replaces_an_earlier_one() {
    let memory = Memory::silent();
    let key = key("scs-1");
    let words = [
        ("expired", Final::Expired),
        ("completed", Final::Completed),
        ("cancelled", Final::Cancelled),
        ("completed", Final::Completed),
    ];
    for (status, settled) in words {
        let told = memory.refreshed(&key, move |key| Said::session(key, status)).await;
        assert_eq!(told, (Outcome::Miss, Verdict::Final(settled), Some(status)));
    }
    assert_eq!(memory.regressions(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_later_final_word_replaces_an_earlier_one_even_if_it_is_not_kept_itself() {
    let memory = Memory::of(Monime::silent(), Ttl { cancelled: Duration::ZERO, ..ttl() });
    let key = key("scs-1");
    memory.keep(&key, "completed").await;
    let told = memory.refreshed(&key, |key| Said::session(key, "cancelled")).await;
    assert_eq!(told, (Outcome::Miss, Verdict::Final(Final::Cancelled), None), "the older word must not come back");
}

#[tokio::test(start_paused = true)]
async fn a_kept_cancelled_or_expired_answer_gives_way_to_whatever_contradicts_it() {
    for status in ["cancelled", "expired"] {
        for lesser in [404, 200] {
            let memory = Memory::silent();
            let key = key("scs-1");
            memory.keep(&key, status).await;
            let said = move |key: &Key| if lesser == 404 { Said::error(404) } else { Said::session(key, "pending") };
            let (outcome, verdict, kept) = memory.refreshed(&key, said).await;
            assert!(matches!(verdict, Verdict::Absent | Verdict::Pending), "{status}: it passes through");
            assert!(matches!(outcome, Outcome::Miss | Outcome::Pending), "{status}");
            assert_eq!((kept, memory.regressions()), (None, 0), "{status}: and what was kept is gone");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_says_nothing_about_a_session_leaves_what_is_kept_alone() {
    let memory = Memory::silent();
    let key = key("scs-1");
    for status in ["completed", "cancelled"] {
        memory.keep(&key, status).await;
        let (outcome, verdict, kept) = memory.refreshed(&key, |_| Said::error(403)).await;
        assert_eq!((outcome, verdict, kept), (Outcome::Miss, Verdict::Word, Some(status)));
        for said in [|| Said::error(401), || Said::error(429), || Said::Panic] {
            memory.monime.says(move |_| said());
            assert!(memory.refresh(&key).await.is_err());
            assert_eq!(memory.kept(&key), Some(status));
        }
        for said in [|| Said::error(500), Said::timed_out] {
            memory.monime.says(move |_| said());
            assert_eq!(memory.refresh(&key).await.unwrap().outcome, Outcome::Stale, "what is kept stands in");
            assert_eq!(memory.kept(&key), Some(status));
        }
    }
    assert_eq!(memory.regressions(), 0);
}

#[tokio::test(start_paused = true)]
async fn once_a_completed_answer_is_gone_there_is_nothing_to_go_back_from() {
    let memory = Memory::silent();
    let key = key("scs-1");
    memory.keep(&key, "completed").await;
    advance(Duration::from_secs(24 * 3600 * 11 / 10)).await;
    let told = memory.refreshed(&key, |key| Said::session(key, "pending")).await;
    assert_eq!(told, (Outcome::Pending, Verdict::Pending, None));
    assert_eq!(memory.regressions(), 0);
}
