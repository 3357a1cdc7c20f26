//! What memory holds, for how long, and how much of it.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_time_to_live_of_zero_keeps_nothing() {
    let none = Ttl { completed: Duration::ZERO, cancelled: Duration::ZERO, expired: Duration::ZERO, ..ttl() };
    for status in ["completed", "cancelled", "expired"] {
        let memory = Memory::of(Monime::saying(move |key| Said::session(key, status)), none);
        let told = memory.ask(&key("scs-1")).await.unwrap();
        assert_eq!((told.outcome, told.stored), (Outcome::Miss, false), "{status}");
        memory.ask(&key("scs-1")).await.unwrap();
        assert_eq!((memory.kept(&key("scs-1")), memory.monime.calls()), (None, 2), "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_ages_from_the_moment_monime_was_asked() {
    let memory = Memory::silent();
    let key = key("scs-1");
    let asking = memory.ask(&key);
    memory.monime.asked(1).await;
    advance(Duration::from_secs(9)).await;
    memory.monime.land(0, Said::session(&key, "completed"));
    let now = Instant::now();
    let answer = asking.await.unwrap().answer;
    assert_eq!(answer.age(now), 9);
    let day = 24 * 3600;
    assert!((day * 9 / 10 - 9..=day * 11 / 10 - 9).contains(&answer.ttl(now)), "{}", answer.ttl(now));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_was_under_way_for_longer_than_it_is_fresh_is_not_kept() {
    let memory = Memory::silent();
    let key = key("scs-1");
    let asking = memory.ask(&key);
    memory.monime.asked(1).await;
    advance(Duration::from_secs(67)).await;
    memory.monime.land(0, Said::session(&key, "cancelled"));
    let told = asking.await.unwrap();
    assert_eq!((told.outcome, told.stored, memory.kept(&key)), (Outcome::Miss, false, None));
}

#[tokio::test(start_paused = true)]
async fn a_stored_404_is_forgotten_like_any_other_answer() {
    let memory = Memory::of(Monime::saying(|_| Said::error(404)), Ttl { absent: Duration::from_secs(10), ..ttl() });
    let key = key("scs-1");
    assert!(memory.ask(&key).await.unwrap().stored);
    assert_eq!(memory.ask(&key).await.unwrap().outcome, Outcome::Hit);
    advance(Duration::from_secs(11)).await;
    assert_eq!(memory.ask(&key).await.unwrap().outcome, Outcome::Miss);
    assert_eq!(memory.monime.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn memory_stays_within_its_bound_and_drops_what_was_used_least_lately() {
    let monime = Monime::saying(|key| Said::session(key, "completed"));
    let metrics = Arc::new(Metrics::new().unwrap());
    let bound = 100 * 1024;
    let lookups = Lookups::new(
        monime.clone(),
        crate::lookup::Memory::new(limits(bound), Arc::clone(&metrics)),
        never_stale(ttl()),
    );
    let keys: Vec<Key> = (0..1000).map(|number| key(&format!("scs-{number}"))).collect();
    for key in &keys {
        patient(lookups.ask(key.clone(), Line::default(), false)).await.unwrap();
    }
    lookups.memory().sweep();
    let (entries, weight) =
        (metric(&metrics, "monigate_cache_entries", &[]), metric(&metrics, "monigate_cache_weight_bytes", &[]));
    assert!(weight <= bound, "{weight} bytes are kept");
    assert!((20..200).contains(&entries), "{entries} answers are kept");
    assert_eq!(metric(&metrics, "monigate_cache_evictions_total", &[]), 1000 - entries);
    assert!(lookups.recall(keys[999].as_ref(), Instant::now()).is_some(), "what came last stays");
    assert!(lookups.recall(keys[0].as_ref(), Instant::now()).is_none(), "what came first goes");
}

#[tokio::test(start_paused = true)]
async fn the_gauges_tell_flights_and_entries_as_they_are() {
    let memory = Memory::silent();
    let gauges = || {
        memory.lookups.memory().sweep();
        let read = |name| metric(&memory.metrics, name, &[]);
        (read("monigate_flights"), read("monigate_cache_entries"))
    };
    let callers = [memory.ask(&key("scs-1")), memory.ask(&key("scs-1")), memory.ask(&key("scs-2"))];
    memory.monime.asked(2).await;
    assert_eq!(gauges(), (2, 0));
    memory.monime.land(0, Said::session(&key("scs-1"), "completed"));
    memory.monime.land(1, Said::timed_out());
    join_all(callers).await;
    assert_eq!(gauges(), (0, 1));
}
