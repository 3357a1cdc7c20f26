//! What the parts of a lookup take: `cargo bench --bench lookups`.
//!
//! A hit through the whole stack without sockets; a miss over loopback sockets to the sandbox; 64 callers on one miss.
//! Wall-clock figures: quote them with the machine, and as ratios between runs on the same one.

#![expect(clippy::unwrap_used, reason = "what a bench cannot prepare is its failure")]

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use futures_util::future::join_all;
use http::Request;
use http_body_util::Full;
use monigate::Parts;
use monigate::config::{Config, Flag, Sources};
use monigate::gateway::gateway;
use monigate::monime::Final;
use monigate::sandbox::{DEFAULT_TOKEN, Limits, Place, Sandbox, Settings};
use tokio::runtime::Runtime;
use tower::{Service, ServiceExt};

/// A gateway's parts in front of a sandbox that knows every id, over real sockets.
fn parts(runtime: &Runtime) -> Parts {
    runtime.block_on(async {
        let settings = Settings { limits: Limits::NONE, invent: Some(Final::Completed), ..Settings::default() };
        let place = Place { address: "127.0.0.1:0".parse().unwrap(), tls: None, beyond_loopback: false };
        let open = Sandbox::new(settings).open(&place).await.unwrap();
        let base_url = Flag::Set(format!("monime.base_url={}", open.base_url()));
        tokio::spawn(open.run(pending()));
        // What a lookup costs, not how long it waits for its turn.
        let rest =
            ["monime.default_space=spc-bench", "budget.endpoint=10000", "budget.token=10000", "budget.space=10000"];
        let flags = rest.map(|setting| Flag::Set(setting.to_owned())).into_iter().chain([base_url]).collect();
        let environment = [("MONIGATE__MONIME__TOKEN".to_owned(), DEFAULT_TOKEN.to_owned())].into();
        let sources = Sources { files: Vec::new(), environment, flags };
        Parts::assemble(Config::load(&sources).unwrap()).unwrap()
    })
}

fn request(id: &str) -> Request<Full<Bytes>> {
    let target = format!("/v1/checkout-sessions/{id}");
    Request::builder().uri(target).header("host", "127.0.0.1:8080").body(Full::default()).unwrap()
}

/// An id that nobody asked for before.
fn cold() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("scs-{:027}", NEXT.fetch_add(1, Ordering::Relaxed))
}

fn lookups(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let Parts { lookups, forwards, terms, metrics, .. } = parts(&runtime);
    let stack = runtime.block_on(async { gateway(lookups, forwards, terms, Arc::clone(&metrics)) });

    runtime.block_on(stack.clone().oneshot(request("scs-warm"))).unwrap();
    criterion.bench_function("hit", |bencher| {
        let mut stack = stack.clone();
        bencher.to_async(&runtime).iter(|| stack.call(request("scs-warm")));
    });
    criterion.bench_function("miss over loopback", |bencher| {
        let mut stack = stack.clone();
        bencher.to_async(&runtime).iter(|| stack.call(request(&cold())));
    });
    criterion.bench_function("64 callers on one miss", |bencher| {
        bencher.to_async(&runtime).iter(|| {
            let id = cold();
            let mut stack = stack.clone();
            join_all((0..64).map(|_| stack.call(request(&id))).collect::<Vec<_>>())
        });
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(4));
    targets = lookups
}
criterion_main!(benches);
