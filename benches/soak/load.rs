//! The callers: well-behaved ones that are never idle, and all the others. Owns how each behaves; what an answer may be
//! is the verdict's.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use fastrand::Rng;
use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::verdict::{Verdict, Wanted};
use super::wire::{Answer, H2, Wire, ask_h2, get, h2c, send};

/// Sessions that are asked for again and again.
const KNOWN: usize = 300;
/// Sessions that stay pending.
pub(crate) const PENDING: usize = 50;
/// Streams at once on one connection.
const STREAMS: usize = 8;
/// After an answer that is no 200.
const PAUSE: Duration = Duration::from_millis(5);
/// How many callers of each kind there are.
const CROWD: [(Kind, usize); 9] = [
    (Kind::Hits, 12),
    (Kind::Misses, 6),
    (Kind::Mixed, 2),
    (Kind::Others, 4),
    (Kind::Anew, 4),
    (Kind::Leaves, 4),
    (Kind::Slow, 4),
    (Kind::HalfOpen, 40),
    (Kind::Oversized, 2),
];

/// How a caller behaves.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// One connection, known sessions.
    Hits,
    /// One connection, new sessions.
    Misses,
    /// HTTP/2, several streams at once, of everything.
    Mixed,
    /// Pending sessions, unknown ones, paths that there are not.
    Others,
    /// A connection for each request.
    Anew,
    /// Gone before the answer.
    Leaves,
    /// Sends its head in drops and reads late.
    Slow,
    /// Never finishes asking.
    HalfOpen,
    /// Sends a head that is too long.
    Oversized,
}

/// What all callers share.
pub(crate) struct Load {
    pub(crate) gateway: SocketAddr,
    pub(crate) sandbox: SocketAddr,
    pub(crate) verdict: Arc<Verdict>,
    pub(crate) over: AtomicBool,
    pub(crate) numbers: AtomicU64,
}

struct Caller {
    load: Arc<Load>,
    kind: Kind,
    rng: Rng,
}

/// Sends them all; they end soon after [`Load::over`].
pub(crate) fn crowd(load: &Arc<Load>, seed: u64) -> JoinSet<()> {
    let mut callers = JoinSet::new();
    let kinds = CROWD.into_iter().flat_map(|(kind, number)| std::iter::repeat_n(kind, number));
    for (kind, number) in kinds.zip(1..) {
        let rng = Rng::with_seed(seed.wrapping_add(number));
        callers.spawn(Caller { load: Arc::clone(load), kind, rng }.run());
    }
    callers
}

/// Asks for every known session once, while Monime is well.
pub(crate) async fn warm_up(load: &Load) -> std::io::Result<()> {
    let mut wire = Wire::connect(load.gateway).await?;
    for number in 0..KNOWN {
        let id = format!("scs-known{number}");
        let answer = wire.ask(&get(&path(&id), "")).await;
        load.verdict.judge("warming up", Wanted::Completed, &id, &answer);
    }
    Ok(())
}

/// The path of a session.
fn path(id: &str) -> String {
    format!("/v1/checkout-sessions/{id}")
}

// === impl Load ===

impl Load {
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn new_id(&self) -> String {
        format!("scs-new{}", self.numbers.fetch_add(1, Ordering::Relaxed))
    }

    async fn judged(&self, who: Kind, wanted: Wanted, id: &str, answer: std::io::Result<Answer>) -> bool {
        let failed = answer.is_err();
        if !self.verdict.judge(&format!("{who:?}"), wanted, id, &answer) && wanted != Wanted::Nowhere {
            sleep(PAUSE).await;
        }
        let closes = |answer: Answer| answer.field("connection") == "close";
        !failed && !answer.is_ok_and(closes)
    }

    /// A session that Monime will not know for once.
    async fn absent(&self) -> String {
        let id = format!("scs-gone{}", self.numbers.fetch_add(1, Ordering::Relaxed));
        let fault = format!(r#"{{"fault": {{"status": 404}}, "times": 1, "id": "{id}"}}"#);
        if let Err(error) = send(self.sandbox, "POST", "/_sandbox/faults", &fault).await {
            self.verdict.wrong(format!("the sandbox: {error}"));
        }
        id
    }
}

// === impl Caller ===

impl Caller {
    async fn run(mut self) {
        while !self.load.is_over() {
            let done = match self.kind {
                Kind::Hits | Kind::Misses | Kind::Others => self.keep_alive().await,
                Kind::Mixed => self.multiplex().await,
                Kind::Anew => self.ask_once().await,
                Kind::Leaves => self.leave().await,
                Kind::Slow => self.drip().await,
                Kind::HalfOpen => self.stand_around().await,
                Kind::Oversized => self.overdo().await,
            };
            if let Err(error) = done {
                self.load.verdict.count(&format!("{:?}: {}", self.kind, error.kind()));
                sleep(PAUSE).await;
            }
        }
    }

    async fn next(&mut self) -> (Wanted, String) {
        let dice = match self.kind {
            Kind::Hits => 0,
            Kind::Misses => 60,
            Kind::Others => self.rng.u8(80..100),
            Kind::Mixed | Kind::Anew | Kind::Leaves | Kind::Slow | Kind::HalfOpen | Kind::Oversized => {
                self.rng.u8(..100)
            }
        };
        match dice {
            0..60 => (Wanted::Completed, format!("scs-known{}", self.rng.usize(..KNOWN))),
            60..80 => (Wanted::Completed, self.load.new_id()),
            80..92 => (Wanted::Pending, format!("scs-pending{}", self.rng.usize(..PENDING))),
            92..96 => (Wanted::Nowhere, "scs-1/nowhere".to_owned()),
            _ => (Wanted::Absent, self.load.absent().await),
        }
    }

    async fn keep_alive(&mut self) -> std::io::Result<()> {
        let mut wire = Wire::connect(self.load.gateway).await?;
        while !self.load.is_over() {
            let (wanted, id) = self.next().await;
            let answer = wire.ask(&get(&path(&id), "")).await;
            if !self.load.judged(self.kind, wanted, &id, answer).await {
                break;
            }
        }
        Ok(())
    }

    async fn multiplex(&mut self) -> std::io::Result<()> {
        let h2 = h2c(self.load.gateway).await?;
        // A connection lives for some hundreds of requests.
        let streams = (0..STREAMS).map(|_| {
            let caller = Self { load: Arc::clone(&self.load), kind: self.kind, rng: self.rng.fork() };
            caller.stream(h2.clone(), self.rng.usize(10..200))
        });
        join_all(streams).await;
        Ok(())
    }

    async fn stream(mut self, mut h2: H2, requests: usize) {
        for _ in 0..requests {
            if self.load.is_over() || h2.ready().await.is_err() {
                return;
            }
            let (wanted, id) = self.next().await;
            let answer = ask_h2(&mut h2, &path(&id)).await;
            self.load.judged(self.kind, wanted, &id, answer).await;
        }
    }

    async fn ask_once(&mut self) -> std::io::Result<()> {
        let (wanted, id) = self.next().await;
        let answer = Wire::connect(self.load.gateway).await?.ask(&get(&path(&id), "connection: close\r\n")).await;
        self.load.judged(self.kind, wanted, &id, answer).await;
        Ok(())
    }

    async fn leave(&mut self) -> std::io::Result<()> {
        let mut wire = Wire::connect(self.load.gateway).await?;
        let (_, id) = self.next().await;
        wire.stream.write_all(get(&path(&id), "").as_bytes()).await?;
        sleep(Duration::from_millis(self.rng.u64(5..60))).await;
        self.load.verdict.count("left before the answer");
        Ok(())
    }

    async fn drip(&mut self) -> std::io::Result<()> {
        let mut wire = Wire::connect(self.load.gateway).await?;
        let (wanted, id) = self.next().await;
        for drop in get(&path(&id), "").as_bytes().chunks(9) {
            wire.stream.write_all(drop).await?;
            sleep(Duration::from_millis(self.rng.u64(5..40))).await;
        }
        sleep(Duration::from_millis(self.rng.u64(..500))).await;
        let answer = wire.answer().await;
        self.load.judged(self.kind, wanted, &id, answer).await;
        Ok(())
    }

    async fn stand_around(&mut self) -> std::io::Result<()> {
        const SAID: [&[u8]; 4] = [b"", b"GET /v1/checkout-sess", b"PRI * HTTP/2.0\r\n", b"\x16\x03\x01\x02\x00\x01"];
        let mut wire = Wire::connect(self.load.gateway).await?;
        wire.stream.write_all(self.rng.choice(SAID).unwrap_or_default()).await?;
        let mut rest = Vec::new();
        let stays = Duration::from_millis(self.rng.u64(500..12_000));
        // Ends by itself or is left, whichever is first.
        let _ = timeout(stays, async {
            let _ = wire.stream.read_to_end(&mut rest).await;
            sleep(PAUSE).await;
        })
        .await;
        self.load.verdict.heard("what half a request brings", &rest);
        self.load.verdict.count("asked half a request");
        Ok(())
    }

    async fn overdo(&mut self) -> std::io::Result<()> {
        let mut wire = Wire::connect(self.load.gateway).await?;
        let field = format!("x-long: {}\r\n", "x".repeat(8000));
        let text = get(&path("scs-known1"), &field.repeat(self.rng.usize(9..40)));
        match wire.ask(&text).await {
            Ok(answer) if answer.status == 431 => self.load.verdict.count("431"),
            Ok(answer) => self.load.verdict.wrong(format!("a head of {} bytes: {}", text.len(), answer.status)),
            // It is hung up on, before it has sent or heard everything.
            Err(_) => self.load.verdict.count("431, or hung up on"),
        }
        sleep(Duration::from_millis(50)).await;
        Ok(())
    }
}
