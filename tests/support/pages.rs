//! Callers as pages are: each polls one session on a connection that it keeps, and remembers how it was treated. And a
//! sandbox that notes when they are heard, whatever else this process does.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use http::StatusCode;
use monigate::monime::{SessionId, SpaceId};
use monigate::sandbox::{Asked, Limits, Sandbox, Settings};
use monigate::server::Address;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::client::{Answer, Wire};
use super::gateway::{SPACE, play_with};

/// What a page lets pass between two questions.
const EVERY: Duration = Duration::from_secs(3);

/// How a caller goes on.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Manner {
    /// Asks every three seconds; refused, as it was told.
    Page,
    /// Asks as often as `Monigate-Poll-After` says; refused, as it was told.
    Heeding,
    /// Asks again at once; refused, as it was told.
    Eager,
    /// Asks again at once, whatever it was told.
    Impatient,
}

/// How callers were treated.
#[derive(Debug, Default)]
pub(crate) struct Treated {
    pub(crate) answers: usize,
    /// 429s of the gateway's own that say when to come back.
    pub(crate) refusals: usize,
    /// Whatever else they were told.
    pub(crate) wrong: Vec<String>,
    /// The longest that anyone waited for an answer or a refusal.
    pub(crate) longest: Duration,
}

/// A sandbox on a thread of its own, so that no moment it notes is late because its callers are many.
pub(crate) struct Monime {
    pub(crate) sandbox: Sandbox,
    pub(crate) base_url: String,
    _stop: oneshot::Sender<()>,
}

/// A way to a sandbox that is as far away as Monime may be: each new connection takes this long, and no byte after it.
pub(crate) struct FarAway {
    pub(crate) base_url: String,
    _served: JoinSet<()>,
}

/// What a sandbox was asked, each from the first request on.
pub(crate) struct Record(Vec<Asked>);

// === impl Monime ===

impl Monime {
    pub(crate) fn start(token: &str, limits: Limits) -> Self {
        let settings = Settings { token: token.to_owned(), limits, ..Settings::default() };
        let (tell, told) = mpsc::channel();
        let (_stop, stopped) = oneshot::channel::<()>();
        thread::spawn(move || {
            Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
                let (sandbox, base_url, _served) = play_with(settings, None).await;
                tell.send((sandbox, base_url)).unwrap();
                drop(stopped.await);
            });
        });
        let (sandbox, base_url) = told.recv().unwrap();
        Self { sandbox, base_url, _stop }
    }

    /// So many pending sessions.
    pub(crate) fn sessions(&self, count: usize) -> Vec<SessionId> {
        self.sessions_in(SPACE, count)
    }

    pub(crate) fn sessions_in(&self, space: &str, count: usize) -> Vec<SessionId> {
        let space = SpaceId::parse(space).unwrap();
        (0..count).map(|_| self.sandbox.create(&space)).collect()
    }

    pub(crate) fn record(&self) -> Record {
        let mut asked = self.sandbox.asked();
        let first = asked.first().map_or(Duration::ZERO, |first| first.at);
        asked.iter_mut().for_each(|asked| asked.at -= first);
        Record(asked)
    }
}

// === impl FarAway ===

impl FarAway {
    pub(crate) async fn before(monime: &Monime, distance: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}", listener.local_addr().unwrap());
        let there = monime.base_url.trim_start_matches("http://").to_owned();
        let mut served = JoinSet::new();
        served.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (mut socket, there) = (listener.accept().await.unwrap().0, there.clone());
                connections.spawn(async move {
                    sleep(distance).await;
                    let mut onward = TcpStream::connect(there).await.unwrap();
                    drop(copy_bidirectional(&mut socket, &mut onward).await);
                });
            }
        });
        Self { base_url, _served: served }
    }
}

// === impl Record ===

impl Record {
    /// Those that came from the one moment on and before the other.
    pub(crate) fn between(&self, from: Duration, until: Duration) -> impl Iterator<Item = &Asked> {
        self.0.iter().filter(move |asked| from <= asked.at && asked.at < until)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Asked> {
        self.0.iter()
    }

    /// What made the first 429 one too many: its moment and those of the two seconds before with its token, in
    /// milliseconds.
    pub(crate) fn too_many(&self) -> Vec<u128> {
        let first = self.0.iter().position(|asked| asked.status == Some(StatusCode::TOO_MANY_REQUESTS));
        let Some(first) = first.map(|index| &self.0[index]) else { return Vec::new() };
        let before = self.between(first.at.saturating_sub(Duration::from_secs(2)), first.at);
        let its = before.filter(|asked| asked.token == first.token).chain([first]);
        its.map(|asked| asked.at.as_millis()).collect()
    }

    /// The longest that one of these sessions was not read, from the first request until `end`.
    pub(crate) fn longest_gap(&self, sessions: &[SessionId], end: Duration) -> Duration {
        let gap = |id: &SessionId| {
            let mut last = Duration::ZERO;
            let reads = self.between(Duration::ZERO, end).filter(|asked| asked.session.as_ref() == Some(id));
            reads.map(|asked| asked.at).chain([end]).map(|at| at - std::mem::replace(&mut last, at)).max().unwrap()
        };
        sessions.iter().map(gap).max().unwrap()
    }
}

// === impl Treated ===

impl Treated {
    fn take(&mut self, answer: &Answer, waited: Duration) {
        self.longest = self.longest.max(waited);
        match answer.status {
            200 => self.answers += 1,
            429 if answer.failure().1 == "gateway_budget_exhausted" && told(answer, "retry-after").is_some() => {
                self.refusals += 1
            }
            _ => self.wrong.push(format!("{answer:?}")),
        }
    }

    fn add(mut self, other: Self) -> Self {
        self.answers += other.answers;
        self.refusals += other.refusals;
        self.wrong.extend(other.wrong);
        self.longest = self.longest.max(other.longest);
        self
    }
}

/// The wait that an answer asks for, in whole seconds and at least one.
fn told(answer: &Answer, header: &str) -> Option<Duration> {
    let seconds: u64 = answer.header(header)?.parse().ok()?;
    (seconds >= 1).then(|| Duration::from_secs(seconds))
}

/// Lets each of `callers` callers poll one of the sessions, in turn, for as long as it `lasts`. Each then waits for what it
/// asked for last.
pub(crate) async fn poll(
    gateway: &Address,
    fields: &'static str,
    sessions: &[SessionId],
    callers: usize,
    manner: Manner,
    lasts: Duration,
) -> Treated {
    let end = Instant::now() + lasts;
    let mut crowd = JoinSet::new();
    for id in sessions.iter().cycle().take(callers) {
        crowd.spawn(go_on(gateway.clone(), fields, id.clone(), manner, end));
    }
    crowd.join_all().await.into_iter().fold(Treated::default(), Treated::add)
}

async fn go_on(gateway: Address, fields: &str, id: SessionId, manner: Manner, end: Instant) -> Treated {
    let mut treated = Treated::default();
    // They come one by one: a crowd that appears out of nothing all at once is another matter.
    sleep(EVERY.mul_f64(fastrand::f64())).await;
    let mut wire = Wire::connect(&gateway).await;
    while Instant::now() < end {
        let asked = Instant::now();
        let answer = wire.look_up(&id, fields).await;
        treated.take(&answer, asked.elapsed());
        let next = match (manner, told(&answer, "retry-after")) {
            (Manner::Page | Manner::Heeding | Manner::Eager, Some(wait)) => Instant::now() + wait,
            (Manner::Page, None) => asked + EVERY,
            (Manner::Heeding, None) => Instant::now() + told(&answer, "monigate-poll-after").unwrap_or(EVERY),
            (Manner::Eager, None) | (Manner::Impatient, _) => continue,
        };
        sleep_until(next.min(end)).await;
    }
    treated
}
