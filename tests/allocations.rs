//! What a hit costs in allocations, as a committed number that can only be changed on purpose.
#![expect(clippy::unwrap_used, clippy::panic, reason = "what a test cannot prepare is its failure")]

mod support;

use futures_util::FutureExt;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, StatusCode};
use monigate::caller::{Callers, Digest, Named, Policy, Rate, Unproved};
use monigate::monime::SpaceId;
use monigate::server::{FastPath, PlainHead};
use support::{look_up, request, stack};
use tokio::time::Instant;
use tower::Service;

/// Allocations of one hit, from the request hyper made to the response hyper gets: the header map that the kept head is
/// read into (its index and its entries), `Age`, `Cache-Status` and a fresh `X-Request-Id`.
const ALLOCATIONS_OF_A_HIT: u64 = 5;

/// Allocations and bytes of one hit on a body of `size` bytes.
fn hit(size: usize) -> (u64, u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut stack = stack(size, 64 << 20);
    runtime.block_on(async {
        for _ in 0..3 {
            assert_eq!(look_up(&stack, "scs-1").await.status(), StatusCode::OK);
        }
        let request = request("scs-1");
        let mut response = None;
        let counted = allocation_counter::measure(|| response = stack.call(request).now_or_never());
        let Some(Ok(response)) = response else { panic!("a hit must not wait") };
        assert!(response.headers()["cache-status"].to_str().unwrap().starts_with("monigate; hit; ttl="));
        (counted.count_total, counted.bytes_total)
    })
}

#[test]
fn a_hit_allocates_this_often_and_not_more_for_a_larger_body() {
    let (small, small_bytes) = hit(500);
    let (large, large_bytes) = hit(500_000);
    assert_eq!((small, small_bytes), (large, large_bytes), "a body is shared, not copied");
    assert_eq!(small, ALLOCATIONS_OF_A_HIT);
}

#[test]
fn a_hit_that_is_answered_from_its_bytes_allocates_what_it_is_written_to_and_nothing_else() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let stack = stack(500, 64 << 20);
    runtime.block_on(async {
        for _ in 0..3 {
            assert_eq!(look_up(&stack, "scs-1").await.status(), StatusCode::OK);
        }
        let head = PlainHead::of(b"GET /v1/checkout-sessions/scs-1 HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        let (mut out, mut body) = (Vec::new(), None);
        let counted = allocation_counter::measure(|| body = stack.answer(head, Instant::now(), &mut out));
        assert!(body.is_some() && out.starts_with(b"HTTP/1.1 200 OK\r\n"));
        assert_eq!(counted.count_total, 1);
    });
}

#[test]
fn telling_callers_apart_and_holding_them_to_their_rates_allocates_nothing() {
    let policy = Policy {
        spaces: vec![SpaceId::parse("spc-1").unwrap()],
        operations: vec!["GetCheckoutSession"],
        rate: Some(Rate { per_second: 1, burst: 1 }),
    };
    let named = |number: usize| Named {
        name: format!("caller-{number}").into(),
        keys: vec![Digest::of(format!("mgk_{number}").as_bytes())],
        san: vec![format!("caller-{number}.internal")],
        service_accounts: vec![],
        policy: policy.clone(),
    };
    let callers = Callers::new((0..1000).map(named).collect(), None);
    let headers = |field: &'static str| HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static(field))]);
    let (right, wrong, none) = (headers("Bearer mgk_7"), headers("Bearer a.b.c"), HeaderMap::new());
    let no_names: &[&str] = &[];
    let now = Instant::now();
    let mut told = None;
    let counted = allocation_counter::measure(|| {
        let by_key = callers.identify(&right, no_names);
        let admitted = by_key.map(|caller| (caller.may("GetCheckoutSession"), caller.admit(now), caller.admit(now)));
        let by_name = callers.identify(&none, &["Caller-8.internal"]);
        told = Some((by_key, admitted, by_name, callers.identify(&wrong, no_names)));
    });
    let (by_key, admitted, by_name, unknown) = told.unwrap();
    assert_eq!((&**by_key.unwrap().name(), &**by_name.unwrap().name()), ("caller-7", "caller-8"));
    assert!(matches!(admitted, Ok((true, Ok(()), Err(_)))));
    assert_eq!(unknown.unwrap_err(), Unproved::Unknown);
    assert_eq!(counted.count_total, 0);
}
