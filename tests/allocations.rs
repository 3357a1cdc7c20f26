//! What a hit costs in allocations, as a committed number that can only be changed on purpose.
#![expect(clippy::unwrap_used, clippy::panic, reason = "what a test cannot prepare is its failure")]

mod support;

use futures_util::FutureExt;
use http::StatusCode;
use support::{look_up, request, stack};
use tower::Service;

/// Allocations of one hit, from the request hyper made to the response hyper gets: the copy of the header map (its
/// index and its entries), `Age`, `Cache-Status` and a fresh `X-Request-Id`.
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
