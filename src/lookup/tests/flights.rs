//! One flight for a crowd: who leads, who joins, and that nobody is left waiting however a flight ends.

use futures_util::FutureExt;

use super::*;

#[tokio::test(start_paused = true)]
async fn five_hundred_callers_are_one_call() {
    let memory = Memory::silent();
    let key = key("scs-1");
    let callers: Vec<Asking> = (0..500).map(|_| memory.ask(&key)).collect();
    memory.monime.asked(1).await;
    memory.monime.land(0, Said::session(&key, "pending"));
    let told: Vec<Told> = join_all(callers).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(memory.monime.calls(), 1);
    assert_eq!(told.iter().filter(|told| told.outcome == Outcome::Pending).count(), 1, "one leads");
    assert_eq!(told.iter().filter(|told| told.outcome == Outcome::Joined).count(), 499, "the others join");
    assert!(told.iter().all(|other| Arc::ptr_eq(&other.answer, &told[0].answer)), "it is one and the same answer");
}

#[tokio::test(start_paused = true)]
async fn a_crowd_whose_first_ten_flights_fail_costs_eleven_calls() {
    let memory = Memory::silent();
    let key = key("scs-1");
    for flight in 0..10 {
        let callers: Vec<Asking> = (0..50).map(|_| memory.ask(&key)).collect();
        memory.monime.asked(flight + 1).await;
        memory.monime.land(flight, Said::timed_out());
        for failed in join_all(callers).await {
            assert!(matches!(*failed.unwrap_err(), Error::Failed(Failure::TimedOut(_))));
        }
    }
    let callers: Vec<Asking> = (0..50).map(|_| memory.ask(&key)).collect();
    memory.monime.asked(11).await;
    memory.monime.land(10, Said::session(&key, "completed"));
    assert!(join_all(callers).await.into_iter().all(|told| told.is_ok()), "a failure leaves nothing behind");
    assert_eq!(memory.monime.calls(), 11);
    assert_eq!(memory.ask(&key).await.unwrap().outcome, Outcome::Hit);
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_panics_wakes_everyone_and_the_next_caller_starts_anew() {
    let memory = Memory::silent();
    let key = key("scs-1");
    let callers: Vec<Asking> = (0..20).map(|_| memory.ask(&key)).collect();
    memory.monime.asked(1).await;
    memory.monime.land(0, Said::Panic);
    for lost in join_all(callers).await {
        assert!(matches!(*lost.unwrap_err(), Error::Lost));
    }
    let next = memory.ask(&key);
    memory.monime.asked(2).await;
    memory.monime.land(1, Said::session(&key, "completed"));
    assert_eq!(next.await.unwrap().outcome, Outcome::Miss);
}

#[tokio::test(start_paused = true)]
async fn a_flight_lands_for_memory_also_when_every_caller_has_left() {
    let memory = Memory::silent();
    let key = key("scs-1");
    let mut callers: Vec<Asking> = (0..3).map(|_| memory.ask(&key)).collect();
    memory.monime.asked(1).await;
    assert!(callers.iter_mut().all(|caller| caller.now_or_never().is_none()));
    drop(callers);
    let late = memory.ask(&key);
    memory.monime.land(0, Said::session(&key, "completed"));
    assert_eq!(late.await.unwrap().outcome, Outcome::Joined, "the flight goes on whoever leaves");
    assert_eq!((memory.kept(&key), memory.monime.calls()), (Some("completed"), 1));
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_boards_just_after_a_landing_hits() {
    let memory = Memory::silent();
    let key = key("scs-1");
    memory.keep(&key, "completed").await;
    // What `ask` finds under the lock, not what a caller found before it.
    let told = memory.ask(&key).await.unwrap();
    assert_eq!((told.outcome, told.stored, memory.monime.calls()), (Outcome::Hit, true, 1));
}

#[tokio::test(start_paused = true)]
async fn sessions_spaces_and_versions_fly_apart() {
    let memory = Memory::silent();
    let keys = [
        key_in("spc-a", "scs-1", "v1"),
        key_in("spc-b", "scs-1", "v1"),
        key_in("spc-a", "scs-1", "v2"),
        key_in("spc-a", "scs-2", "v1"),
    ];
    let callers: Vec<Asking> = keys.iter().map(|key| memory.ask(key)).collect();
    memory.monime.asked(4).await;
    for (nth, status) in ["completed", "pending", "cancelled", "expired"].into_iter().enumerate() {
        memory.monime.land(nth, Said::session(&memory.monime.key(nth), status));
    }
    join_all(callers).await;
    let kept: Vec<_> = keys.iter().map(|key| memory.kept(key)).collect();
    assert_eq!(kept, [Some("completed"), None, Some("cancelled"), Some("expired")]);
}

#[tokio::test(start_paused = true)]
async fn the_last_landing_is_told_with_its_age() {
    let memory = Memory::silent();
    assert_eq!(memory.lookups.memory().last_landing(), None);
    for (said, word) in [
        (Said::session(&key("scs-1"), "pending"), "pending"),
        (Said::error(404), "absent"),
        (Said::error(503), "failure"),
        (Said::timed_out(), "timeout"),
    ] {
        let asking = memory.ask(&key("scs-1"));
        let nth = memory.monime.calls();
        memory.monime.asked(nth + 1).await;
        memory.monime.land(nth, said);
        let _ = asking.await;
        advance(Duration::from_secs(7)).await;
        assert_eq!(memory.lookups.memory().last_landing(), Some((word, Duration::from_secs(7))));
    }
}

#[tokio::test(start_paused = true)]
async fn a_flight_that_everyone_left_before_its_turn_asks_nobody() {
    let memory = Memory::silent();
    let key = key("scs-1");
    memory.monime.lets_wait();
    let callers: Vec<Asking> = (0..3).map(|_| memory.ask(&key)).collect();
    memory.monime.queued(1).await;
    drop(callers);
    memory.monime.abandoned(1).await;
    assert_eq!((memory.monime.calls(), memory.flights()), (0, (0, 0)));
    memory.monime.admits();
    let next = memory.ask(&key);
    memory.monime.asked(1).await;
    memory.monime.land(0, Said::session(&key, "completed"));
    assert_eq!(next.await.unwrap().outcome, Outcome::Miss);
}

#[tokio::test(start_paused = true)]
async fn a_flight_that_waits_for_its_turn_goes_on_for_whoever_came_back() {
    let memory = Memory::silent();
    let key = key("scs-1");
    memory.monime.lets_wait();
    let first = memory.ask(&key);
    memory.monime.queued(1).await;
    drop(first);
    // Boarded before the flight's task could notice that it was alone.
    let second = memory.ask(&key);
    memory.monime.admits();
    memory.monime.asked(1).await;
    memory.monime.land(0, Said::session(&key, "completed"));
    assert_eq!(second.await.unwrap().outcome, Outcome::Joined);
    assert_eq!(memory.monime.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_answer_ages_from_when_it_was_sent_for_and_not_from_when_it_queued() {
    let memory = Memory::silent();
    let key = key("scs-1");
    memory.monime.lets_wait();
    let asking = memory.ask(&key);
    memory.monime.queued(1).await;
    advance(Duration::from_secs(4)).await;
    memory.monime.admits();
    memory.monime.asked(1).await;
    advance(Duration::from_secs(2)).await;
    memory.monime.land(0, Said::session(&key, "completed"));
    assert_eq!(asking.await.unwrap().answer.age(Instant::now()), 2);
}
