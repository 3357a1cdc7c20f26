//! Many who take their time: each is cut off as one would be, and nobody else waits for them.

use std::time::Duration;

use monigate::server::{Limits, Times};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, timeout};

use crate::frames::{PREFACE, SETTINGS, frame, headers, lookup};
use crate::ground::{ALL, Io, Server, Way, hello};
use crate::support::client::get;
use crate::support::gateway::PATIENCE;

/// How many drip at once.
const MANY: usize = 1000;
/// What a head may take.
const HEAD: Duration = Duration::from_secs(3);
/// The longest that one of the others may wait for its answer, its connection included, on a machine with much to do.
const SOON: Duration = Duration::from_secs(2);

/// Sends one byte a beat until the connection ends.
async fn drip(io: Io, bytes: Vec<u8>) {
    let (mut reader, mut writer) = tokio::io::split(io);
    let dripping = async {
        let mut beat = interval(Duration::from_millis(500));
        for byte in bytes.chunks(1) {
            beat.tick().await;
            if writer.write_all(byte).await.is_err() || writer.flush().await.is_err() {
                return;
            }
        }
        std::future::pending().await
    };
    let mut said = Vec::new();
    let ended = reader.read_to_end(&mut said);
    tokio::select! { () = dripping => {} _ = ended => {} }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_who_drip_are_cut_off_and_slow_down_nobody() {
    for way in ALL {
        let times = Times { handshake: 10 * PATIENCE, head: HEAD, ..Times::default() };
        let server = Server::start(way, hello().0, Limits { times, ..Limits::default() }).await;
        let bytes = if way.http2() {
            [PREFACE, &frame(SETTINGS, 0, 0, &[]), &headers(1, &lookup("/"), 1)].concat()
        } else {
            get("/", "").into_bytes()
        };
        let mut drips = JoinSet::new();
        let began = Instant::now();
        for _ in 0..if way.tls() { MANY / 5 } else { MANY } {
            drips.spawn(drip(server.place.connect().await, bytes.clone()));
        }
        let (mut longest, mut served) = (Duration::ZERO, 0);
        let served_meanwhile = async {
            let mut beat = interval(Duration::from_millis(20));
            loop {
                beat.tick().await;
                let asked = Instant::now();
                is_served(&server, way).await;
                longest = longest.max(asked.elapsed());
                served += 1;
            }
        };
        let all_gone = async { while drips.join_next().await.is_some() {} };
        tokio::select! {
            never = served_meanwhile => never,
            gone = timeout(PATIENCE, all_gone) => gone.expect("they are cut off"),
        }
        assert!(began.elapsed() > HEAD / 2, "{way:?}: {:?}", began.elapsed());
        assert!(served > 10 && longest < SOON, "{way:?}: {served} were served, one after {longest:?}");
    }
}

async fn is_served(server: &Server, way: Way) {
    if way.http2() {
        let mut peer = server.place.peer().await;
        peer.ask(1, "/").await;
        assert_eq!(peer.outcome(1).await.status(), Some(200));
    } else {
        let mut wire = server.place.wire().await;
        wire.send(get("/", "")).await;
        assert_eq!(wire.answer().await.unwrap().status, 200);
    }
}
