//! A purge takes out what was there and keeps what was under way from coming back.

use super::*;

fn session() -> Purge {
    let key = key("scs-1");
    Purge::Session(key.space, key.id)
}

fn every_purge() -> [Purge; 3] {
    [session(), Purge::Space(key("scs-1").space), Purge::All]
}

#[tokio::test(start_paused = true)]
async fn a_purge_takes_out_what_it_names_and_says_how_much_that_was() {
    let everything = [
        key_in("spc-a", "scs-1", "v1"),
        key_in("spc-a", "scs-1", "v2"),
        key_in("spc-a", "scs-2", "v1"),
        key_in("spc-b", "scs-1", "v1"),
    ];
    let space = || everything[0].space.clone();
    for (purge, purged, stays) in [
        (Purge::Session(space(), everything[0].id.clone()), 2, &everything[2..]),
        (Purge::Space(space()), 3, &everything[3..]),
        (Purge::All, 4, &[]),
    ] {
        let memory = Memory::silent();
        for key in &everything {
            memory.keep(key, "completed").await;
        }
        assert_eq!(memory.lookups.memory().purge(&purge), purged, "{purge:?}");
        let kept: Vec<&Key> = everything.iter().filter(|key| memory.kept(key).is_some()).collect();
        assert_eq!(kept, stays.iter().collect::<Vec<_>>(), "{purge:?}");
        assert_eq!(memory.lookups.memory().purge(&purge), 0, "{purge:?}: there is nothing left");
    }
}

#[tokio::test(start_paused = true)]
async fn a_flight_that_was_under_way_at_a_purge_answers_but_does_not_store() {
    for purge in every_purge() {
        let memory = Memory::silent();
        let key = key("scs-1");
        let callers = [memory.ask(&key), memory.ask(&key)];
        memory.monime.asked(1).await;
        assert_eq!(memory.lookups.memory().purge(&purge), 0);
        memory.monime.land(0, Said::session(&key, "completed"));
        for told in join_all(callers).await {
            let told = told.unwrap();
            assert_eq!((told.answer.verdict(), told.stored), (Verdict::Final(Final::Completed), false), "{purge:?}");
        }
        assert_eq!(memory.kept(&key), None, "{purge:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_flight_after_a_purge_may_store_even_if_it_lands_before_the_old_one() {
    for purge in every_purge() {
        let memory = Memory::silent();
        let key = key("scs-1");
        let old = memory.ask(&key);
        memory.monime.asked(1).await;
        memory.lookups.memory().purge(&purge);
        let new = memory.ask(&key);
        memory.monime.asked(2).await;
        memory.monime.land(1, Said::session(&key, "completed"));
        assert!(new.await.unwrap().stored, "{purge:?}");
        memory.monime.land(0, Said::session(&key, "cancelled"));
        let old = old.await.unwrap();
        assert_eq!((old.outcome, old.answer.verdict()), (Outcome::Miss, Verdict::Final(Final::Cancelled)));
        assert_eq!(memory.kept(&key), Some("completed"), "{purge:?}: the old flight changes nothing");
    }
}

#[tokio::test(start_paused = true)]
async fn a_purged_flight_does_not_end_its_successor() {
    let memory = Memory::silent();
    let key = key("scs-1");
    for old_end in [Said::session(&key, "pending"), Said::timed_out(), Said::Panic] {
        let nth = memory.monime.calls();
        let old = memory.ask(&key);
        memory.monime.asked(nth + 1).await;
        memory.lookups.memory().purge(&Purge::All);
        let new = memory.ask(&key);
        memory.monime.asked(nth + 2).await;
        memory.monime.land(nth, old_end);
        let _ = old.await;
        let joins = memory.ask(&key);
        memory.monime.land(nth + 1, Said::session(&key, "pending"));
        assert_eq!(new.await.unwrap().outcome, Outcome::Pending);
        assert_eq!(joins.await.unwrap().outcome, Outcome::Joined, "the successor was still current");
    }
}

#[tokio::test(start_paused = true)]
async fn a_purge_of_something_else_leaves_a_flight_alone() {
    let others = [Purge::Session(key("scs-1").space, key("scs-2").id), Purge::Space(key_in("spc-b", "x", "v").space)];
    for purge in others {
        let memory = Memory::silent();
        let key = key("scs-1");
        let asking = memory.ask(&key);
        memory.monime.asked(1).await;
        memory.lookups.memory().purge(&purge);
        memory.monime.land(0, Said::session(&key, "completed"));
        assert!(asking.await.unwrap().stored, "{purge:?}");
    }
}
