//! A scripted Monime: says what a test wants, when the test wants it, and remembers what it was asked.
//!
//! Shared by the tests of the lookup and of the gateway. Stands where the upstream stack stands, so that nothing here
//! knows sockets. Every wait is for an event; one that can never come fails the test at once on a paused clock.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;
use tower::Service;

use crate::lookup::{Lifetimes, Limits, StaleIfError, Ttl};
use crate::monime::{CURRENT_VERSION, Envelope, Key, SessionId, SpaceId, Version};
use crate::telemetry::Metrics;
use crate::upstream::{Bound, CameBy, Failure, Fetch, Reply};

/// The space of every key that does not name another.
pub(crate) const SPACE: &str = "spc-test";

/// What Monime does with one call.
#[derive(Debug)]
pub(crate) enum Said {
    Reply(Reply),
    Failure(Failure),
    /// The task that asks panics, quietly.
    Panic,
}

type Script = Arc<dyn Fn(&Key) -> Said + Send + Sync>;

/// The stand-in. Clones are the same Monime.
#[derive(Clone)]
pub(crate) struct Monime(Arc<State>);

struct State {
    /// What is said at once; without it every call waits to be landed.
    script: Mutex<Option<Script>>,
    calls: Mutex<Vec<Call>>,
    count: watch::Sender<usize>,
    /// Whether calls may go out; while not, they wait for their turn.
    open: watch::Sender<bool>,
    /// How many calls began to wait for a turn, and how many of them were given up.
    waiting: watch::Sender<(usize, usize)>,
}

/// A place in the queue; dropped without a turn, it was given up.
struct Place(Monime, bool);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.0.waiting.send_modify(|(_, given_up)| *given_up += usize::from(!self.1));
    }
}

struct Call {
    key: Key,
    /// Gone when it was landed.
    held: Option<oneshot::Sender<Said>>,
}

// === impl Monime ===

impl Monime {
    /// Leaves every call waiting until it is landed.
    pub(crate) fn silent() -> Self {
        Self(Arc::new(State {
            script: Mutex::default(),
            calls: Mutex::default(),
            count: watch::Sender::new(0),
            open: watch::Sender::new(true),
            waiting: watch::Sender::default(),
        }))
    }

    /// Answers every call at once.
    pub(crate) fn saying(said: impl Fn(&Key) -> Said + Send + Sync + 'static) -> Self {
        let monime = Self::silent();
        monime.says(said);
        monime
    }

    /// From now on answers every call at once.
    pub(crate) fn says(&self, said: impl Fn(&Key) -> Said + Send + Sync + 'static) {
        *self.0.script.lock().unwrap() = Some(Arc::new(said));
    }

    /// From now on leaves every call waiting until it is landed.
    pub(crate) fn falls_silent(&self) {
        *self.0.script.lock().unwrap() = None;
    }

    /// From now on lets every call wait for its turn.
    pub(crate) fn lets_wait(&self) {
        self.0.open.send_replace(false);
    }

    /// Gives everyone a turn.
    pub(crate) fn admits(&self) {
        self.0.open.send_replace(true);
    }

    /// Returns when `count` calls have begun to wait for a turn.
    pub(crate) async fn queued(&self, count: usize) {
        let mut waiting = self.0.waiting.subscribe();
        let queued = waiting.wait_for(|(queued, _)| *queued >= count);
        timeout(Duration::from_secs(3600), queued).await.expect("nobody queued").unwrap();
    }

    /// Returns when `count` calls have given their place in the queue back.
    pub(crate) async fn abandoned(&self, count: usize) {
        let mut waiting = self.0.waiting.subscribe();
        let abandoned = waiting.wait_for(|(_, given_up)| *given_up >= count);
        timeout(Duration::from_secs(3600), abandoned).await.expect("nobody gave up").unwrap();
    }

    /// How many calls there have been.
    pub(crate) fn calls(&self) -> usize {
        *self.0.count.borrow()
    }

    /// What the `nth` call asked for, counted from zero.
    pub(crate) fn key(&self, nth: usize) -> Key {
        self.0.calls.lock().unwrap()[nth].key.clone()
    }

    /// Returns when there have been `count` calls.
    pub(crate) async fn asked(&self, count: usize) {
        let mut calls = self.0.count.subscribe();
        let asked = calls.wait_for(|calls| *calls >= count);
        timeout(Duration::from_secs(3600), asked).await.expect("Monime was not asked").unwrap();
    }

    /// Takes a call, and waits for what is said.
    async fn said(&self, key: Key) -> Said {
        let script = self.0.script.lock().unwrap().clone();
        let (sender, receiver) = oneshot::channel();
        let (said, held) = match script {
            Some(script) => (Some(script(&key)), None),
            None => (None, Some(sender)),
        };
        self.0.calls.lock().unwrap().push(Call { key, held });
        self.0.count.send_modify(|count| *count += 1);
        match said {
            Some(said) => said,
            None => receiver.await.expect("the script ended before its calls"),
        }
    }

    /// Lets the `nth` call, counted from zero, come out as `said`.
    pub(crate) fn land(&self, nth: usize, said: Said) {
        let held = self.0.calls.lock().unwrap()[nth].held.take();
        held.expect("this call has been answered already").send(said).expect("the flight has ended already");
    }
}

impl Service<Fetch> for Monime {
    type Response = Reply;
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<Reply, Failure>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, Fetch { key, waiting, .. }: Fetch) -> Self::Future {
        let monime = self.clone();
        Box::pin(async move {
            let mut place = Place(monime.clone(), false);
            monime.0.waiting.send_modify(|(queued, _)| *queued += 1);
            monime.0.open.subscribe().wait_for(|open| *open).await.expect("the script ended before its calls");
            place.1 = true;
            waiting.stage.sends();
            match monime.said(key).await {
                Said::Reply(reply) => Ok(reply),
                Said::Failure(failure) => Err(failure),
                Said::Panic => std::panic::resume_unwind(Box::new("scripted")),
            }
        })
    }
}

// === impl Said ===

impl Said {
    /// A reply with this status and body, and no headers but its type.
    pub(crate) fn status(status: u16, body: impl Into<Bytes>) -> Self {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        let status = StatusCode::from_u16(status).unwrap();
        Self::Reply(Reply {
            status,
            protocol: http::Version::HTTP_11,
            headers,
            body: body.into(),
            came_by: CameBy::default(),
        })
    }

    /// An error in Monime's envelope.
    pub(crate) fn error(status: u16) -> Self {
        let envelope = Envelope::new(StatusCode::from_u16(status).unwrap(), "monimes_reason", "Monime's words.");
        Self::status(status, envelope.to_bytes())
    }

    /// The session that was asked for, in this status.
    pub(crate) fn session(key: &Key, status: &str) -> Self {
        Self::status(200, body(key, status))
    }

    /// Our own time-out.
    pub(crate) fn timed_out() -> Self {
        Self::Failure(Failure::TimedOut(Bound::Total))
    }

    /// The same, with so many spaces behind its body.
    pub(crate) fn padded(mut self, spaces: usize) -> Self {
        let Self::Reply(reply) = &mut self else { panic!("only a reply has a body") };
        reply.body = [&reply.body[..], &vec![b' '; spaces]].concat().into();
        self
    }

    /// The same with one more header.
    pub(crate) fn with(mut self, name: &'static str, value: &'static str) -> Self {
        let Self::Reply(reply) = &mut self else { panic!("only a reply has headers") };
        reply.headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        self
    }
}

/// The bytes of the session that was asked for, in this status.
pub(crate) fn body(key: &Key, status: &str) -> String {
    let space = &key.space;
    format!(r#"{{"success":true,"messages":[],"result":{{"id":"{}","status":"{status}","x":"{space}"}}}}"#, key.id)
}

/// The key of a session in [`SPACE`].
pub(crate) fn key(id: &str) -> Key {
    key_in(SPACE, id, CURRENT_VERSION)
}

pub(crate) fn key_in(space: &str, id: &str, version: &str) -> Key {
    Key {
        space: SpaceId::parse(space).unwrap(),
        id: SessionId::parse(id).unwrap(),
        version: Version::parse(version).unwrap(),
    }
}

/// So many bytes, many flights, and a live token's rate.
pub(crate) fn limits(max_size: u64) -> Limits {
    Limits { max_size, max_flights: 4096, rate: 20 }
}

/// The times that `config` gives by default.
pub(crate) fn ttl() -> Ttl {
    Ttl {
        completed: Duration::from_secs(24 * 3600),
        cancelled: Duration::from_secs(60),
        expired: Duration::from_secs(60),
        absent: Duration::ZERO,
    }
}

/// The same with nothing stale.
pub(crate) fn never_stale(ttl: Ttl) -> Lifetimes {
    Lifetimes { ttl, stale_if_error: StaleIfError::default() }
}

/// The value of one counter or gauge, by its name and all of its labels' values; zero while it has no such series.
pub(crate) fn metric(metrics: &Metrics, name: &str, labels: &[&str]) -> u64 {
    let families = metrics.registry().gather();
    let series = families.iter().filter(|family| family.name() == name).flat_map(|family| family.get_metric());
    let found = series.filter(|one| one.get_label().iter().map(|label| label.value()).eq(labels.iter().copied()));
    found.map(|one| (one.get_counter().get_value() + one.get_gauge().get_value()) as u64).sum()
}
