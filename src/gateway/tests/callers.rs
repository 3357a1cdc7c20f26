//! Callers with names: what each may ask for, and how often, to the moment.

use super::*;
use crate::caller::{Callers, Digest, Named, Policy, Rate};
use crate::lookup::X_REQUEST_ID;
use crate::monime::operation::{GET_CHECKOUT_SESSION, OPERATIONS};

/// The other space that the gateway serves.
const OTHER: &str = "spc-other";

pub(super) fn named(name: &str, spaces: &[&str], operations: &[&'static str], rate: Option<(u32, u32)>) -> Named {
    let spaces = spaces.iter().map(|space| SpaceId::parse(space).unwrap()).collect();
    let rate = rate.map(|(per_second, burst)| Rate { per_second, burst });
    Named {
        name: name.into(),
        keys: vec![Digest::of(format!("mgk_{name}").as_bytes())],
        san: vec![],
        service_accounts: vec![],
        policy: Policy { spaces, operations: operations.to_vec(), rate },
    }
}

/// A gateway for these callers, each with `mgk_` and its name as its key.
fn open_to(callers: Vec<Named>) -> Gateway {
    let monime =
        Monime::saying(
            |key| {
                if key.id.as_str() == "none" { Said::error(404) } else { Said::session(key, "completed") }
            },
        );
    Gateway::on(monime, ttl(), |terms| terms.door.callers = Some(Arc::new(Callers::new(callers, None))))
}

impl Gateway {
    async fn by(&self, name: &str, id: &str, more: &[(&str, &str)]) -> Answer {
        let authorization = format!("Bearer mgk_{name}");
        let headers = [&[("authorization", authorization.as_str())][..], more].concat();
        self.ask("GET", &format!("/v1/checkout-sessions/{id}"), &headers).await
    }

    fn counted_of(&self, caller: &str, outcome: &str) -> u64 {
        metric(&self.metrics, "monigate_caller_requests_total", &[caller, outcome])
    }
}

/// What an answer says, without the id of its request.
fn said(mut answer: Answer) -> (u16, http::HeaderMap, Bytes) {
    answer.headers.remove(X_REQUEST_ID).unwrap();
    (answer.status, answer.headers, answer.body)
}

#[tokio::test(start_paused = true)]
async fn a_caller_of_one_space_need_not_name_it_and_one_of_several_must() {
    let lookups = [GET_CHECKOUT_SESSION];
    let gateway = open_to(vec![named("one", &[OTHER], &lookups, None), named("both", &[SPACE, OTHER], &lookups, None)]);
    assert_eq!(gateway.by("one", "scs-1", &[]).await.status, 200);
    assert_eq!(gateway.monime.key(0).space.as_str(), OTHER, "its own, not the gateway's default");
    let answer = gateway.by("both", "scs-1", &[]).await;
    assert_eq!((answer.status, answer.reason().as_str()), (400, "gateway_space_required"));
    for space in [SPACE, OTHER] {
        assert_eq!(gateway.by("both", "scs-1", &[("monime-space-id", space)]).await.status, 200, "{space}");
    }
    assert_eq!(gateway.monime.calls(), 2, "who may ask for the same is told the same");
    assert_eq!(gateway.get(&[]).await.status, 401, "and nobody else is anybody");
}

#[tokio::test(start_paused = true)]
async fn a_space_that_is_not_a_callers_is_forbidden_alike_whatever_is_in_it() {
    let lookups = [GET_CHECKOUT_SESSION];
    let gateway = open_to(vec![named("shop", &[SPACE], &lookups, None), named("bank", &[OTHER], &lookups, None)]);
    assert_eq!(gateway.by("bank", "kept", &[]).await.status, 200);
    assert_eq!(gateway.by("bank", "none", &[]).await.status, 404);
    let calls = gateway.monime.calls();
    let mut answers = Vec::new();
    for id in ["kept", "none", "never"] {
        for space in [OTHER, "spc-unknown"] {
            let answer = gateway.by("shop", id, &[("monime-space-id", space)]).await;
            assert_eq!((answer.status, answer.reason().as_str()), (403, "gateway_space_forbidden"), "{id} {space}");
            answers.push(said(answer));
        }
    }
    answers.dedup();
    assert_eq!((answers.len(), gateway.monime.calls()), (1, calls), "{answers:?}");
}

#[tokio::test(start_paused = true)]
async fn no_operation_is_a_callers_that_its_policy_does_not_name() {
    let others: Vec<_> =
        OPERATIONS.iter().map(|operation| operation.id).filter(|id| *id != GET_CHECKOUT_SESSION).collect();
    let gateway =
        open_to(vec![named("shop", &[SPACE], &[GET_CHECKOUT_SESSION], None), named("rest", &[SPACE], &others, None)]);
    assert_eq!(gateway.by("shop", "kept", &[]).await.status, 200);
    let mut answers = Vec::new();
    for id in ["kept", "none"] {
        let answer = gateway.by("rest", id, &[]).await;
        assert_eq!(
            (answer.status, answer.reason().as_str()),
            (403, "gateway_operation_forbidden"),
            "though {id} is kept"
        );
        answers.push(said(answer));
    }
    assert_eq!(answers[0], answers[1]);
    for operation in OPERATIONS.iter().filter(|operation| operation.id != GET_CHECKOUT_SESSION) {
        let path = operation.path.replace("{}", "abc-1");
        let answer = gateway.ask(operation.method, &path, &[("authorization", "Bearer mgk_shop")]).await;
        assert_eq!((answer.status, answer.reason().as_str()), (403, "gateway_operation_forbidden"), "{operation:?}");
    }
    assert_eq!(gateway.monime.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_rate_is_kept_to_the_request_and_costs_nobody_else() {
    let lookups = [GET_CHECKOUT_SESSION];
    let gateway = open_to(vec![
        named("shop", &[SPACE], &lookups, Some((2, 5))),
        named("bank", &[SPACE], &lookups, Some((2, 5))),
        named("desk", &[SPACE], &lookups, None),
    ]);
    for _ in 0..5 {
        assert_eq!(gateway.by("shop", "kept", &[]).await.status, 200, "a burst, four of it from memory");
    }
    for more in [&[][..], &[("cache-control", "only-if-cached")], &[("monime-space-id", OTHER)], &[("x", "y")]] {
        let limited = gateway.by("shop", "kept", more).await;
        assert_eq!((limited.status, limited.reason().as_str()), (429, "gateway_rate_limited"), "also from memory");
        assert_eq!(limited.header("retry-after"), Some("1"));
    }
    for _ in 0..5 {
        assert_eq!(gateway.by("bank", "kept", &[]).await.status, 200, "whose rate is as high, and its own");
        assert_eq!(gateway.by("desk", "kept", &[]).await.status, 200, "who has none");
    }
    tokio::time::advance(Duration::from_millis(499)).await;
    assert_eq!(gateway.by("shop", "kept", &[]).await.status, 429);
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(gateway.by("shop", "kept", &[]).await.status, 200, "and refusals cost nothing");
    assert_eq!(gateway.by("shop", "kept", &[]).await.status, 429);
    assert_eq!((gateway.counted_of("shop", "hit"), gateway.counted_of("shop", "refused")), (5, 6));
    assert_eq!((gateway.counted_of("bank", "hit"), gateway.counted_of("desk", "hit")), (5, 5));
    assert_eq!(gateway.monime.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn how_long_to_wait_is_told_so_that_who_waits_is_let_in() {
    let gateway = open_to(vec![named("shop", &[SPACE], &[GET_CHECKOUT_SESSION], Some((1, 3)))]);
    for round in 0..5 {
        let mut limited = gateway.by("shop", "kept", &[]).await;
        for _ in 0..3 {
            limited = gateway.by("shop", "kept", &[]).await;
        }
        let seconds: u64 = limited.header("retry-after").expect("it says").parse().unwrap();
        tokio::time::advance(Duration::from_secs(seconds)).await;
        assert_eq!(gateway.by("shop", "kept", &[]).await.status, 200, "{round}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_for_who_asks_counts_against_nobodys_rate_and_what_is_refused_otherwise_does() {
    let gateway = open_to(vec![named("shop", &[SPACE], &[GET_CHECKOUT_SESSION], Some((1, 3)))]);
    for _ in 0..20 {
        assert_eq!(gateway.by("nobody", "kept", &[]).await.status, 401);
    }
    assert_eq!(gateway.by("shop", "kept", &[("monime-space-id", OTHER)]).await.status, 403);
    assert_eq!(gateway.by("shop", "a.b", &[]).await.status, 404);
    assert_eq!(gateway.by("shop", "kept", &[]).await.status, 200);
    assert_eq!(gateway.by("shop", "kept", &[]).await.status, 429, "three are three, whatever became of them");
    assert_eq!(gateway.counted_of("(none)", "refused"), 20);
}
