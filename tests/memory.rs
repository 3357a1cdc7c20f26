//! Memory is bounded by what answers cost, not by how many ids callers know.
#![expect(clippy::unwrap_used, reason = "what a test cannot prepare is its failure")]

mod support;

use std::sync::Arc;

use monigate::gateway::gateway;
use monigate::telemetry::Metrics;
use support::{look_up, lookups, terms};

const MIB: u64 = 1 << 20;
/// `cache.max_size` of the promise.
const MAX_SIZE: u64 = 16 * MIB;
/// What the whole process may then take.
const MAX_RESIDENT: u64 = 60 * MIB;

/// Resident memory of this process, from the second field of `/proc/self/statm`, in pages of 4 KiB.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

#[tokio::test]
async fn two_hundred_thousand_sessions_stay_within_the_bound() {
    let metrics = Arc::new(Metrics::new().unwrap());
    let lookups = lookups(1300, MAX_SIZE, &metrics);
    let stack = gateway(lookups.clone(), support::no_forwards(), terms(), Arc::clone(&metrics));
    let mut heaviest = 0;
    for number in 0..200_000 {
        let response = look_up(&stack, &format!("scs-{number:027}")).await;
        assert_eq!(response.headers()["cache-status"], "monigate; fwd=miss; stored");
        if number % 1000 == 0 {
            lookups.memory().sweep();
            heaviest = heaviest.max(metrics.cache_weight.get());
        }
    }
    lookups.memory().sweep();
    let kept = metrics.cache_entries.get();
    assert!(u64::try_from(heaviest).unwrap() <= MAX_SIZE, "{heaviest} bytes are more than {MAX_SIZE}");
    assert!(kept > 1000, "only {kept} answers were kept");
    assert!(resident() < MAX_RESIDENT, "{} bytes are resident", resident());
    println!("kept {kept} answers; weight {heaviest}; resident {}", resident());
}
