//! A whole gateway over the simulated wire, and those who use it.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use futures_util::FutureExt;
use http::header::{HeaderValue, IF_NONE_MATCH};
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use monigate::caller::{Callers, Digest, Named, Policy};
use monigate::gateway::{Body, BodyLimits, Door, Places, Terms, Writes, gateway};
use monigate::lookup::{Limits, Lookups, Memory, Purge};
use monigate::monime::operation::GET_CHECKOUT_SESSION;
use monigate::monime::{Key, SessionId, SpaceId, Version};
use monigate::secret::{Keyring, Secret, Source};
use monigate::server::HeadLimits;
use monigate::telemetry::Metrics;
use monigate::upstream::{Gate, Quota, RetryBudget, Settings, Shared, forwards, upstream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tower::Service;
use tower::util::BoxCloneSyncService;

use super::plan::{Plan, SPACES, VERSIONS};
use super::wire::{Tower, Wire};
use super::world::{Question, TICK, Word, World};

/// The gateway and the world around it. Clones are the same ones.
#[derive(Clone)]
pub(crate) struct Gateway {
    pub(crate) world: World,
    pub(crate) gate: Gate,
    pub(crate) memory: Memory,
    pub(crate) metrics: Arc<Metrics>,
    service: BoxCloneSyncService<Request<Empty<Bytes>>, Response<Body>, Infallible>,
}

/// How somebody asks.
#[derive(Debug, Clone, Default)]
pub(crate) struct Manner {
    pub(crate) refresh: bool,
    pub(crate) only_if_cached: bool,
    /// What it says how long it waits.
    pub(crate) patience: Option<Duration>,
    /// After how long it leaves, whatever it said.
    pub(crate) leaves: Option<Duration>,
    /// Whether it has a tag of the last answer about this session, and wants to hear no more than that it is the same.
    pub(crate) compares: bool,
    /// Which of those who have names it is, where anyone has one.
    pub(crate) caller: usize,
}

impl Gateway {
    /// Put together as `assembly` does it.
    pub(crate) fn new(plan: Plan) -> Self {
        let metrics = Arc::new(Metrics::new().expect("metrics"));
        let gate = Gate::new(plan.share, Arc::clone(&metrics));
        let world = World::new(plan.clone(), gate.clone());
        let source = Source::environment(Secret::parse(super::world::TOKEN.as_bytes().to_vec()).expect("a token"));
        let keyring = Arc::new(Keyring::new(spaces().map(|space| (space, Arc::clone(&source))), false));
        let shared = Shared { gate: gate.clone(), retries: RetryBudget::default(), metrics: Arc::clone(&metrics) };
        let quota =
            Quota { endpoint: Some(plan.rates.endpoint), token: Some(plan.rates.token), space: Some(plan.rates.space) };
        let origin = "https://api.monime.io".parse().expect("an origin");
        let settings = Settings { origin, timeouts: plan.timeouts, quota };
        let inner = upstream(Wire(world.clone()), &keyring, &settings, &shared);
        let forwards = forwards(Wire(world.clone()), &keyring, &settings, &shared);
        let limits = Limits { max_size: 1 << 26, max_flights: plan.max_in_flight, rate: plan.rates.endpoint };
        let memory = Memory::new(limits, Arc::clone(&metrics));
        let lookups = Lookups::new(Tower { inner, world: world.clone() }, memory.clone(), plan.lifetimes);
        let versions = VERSIONS.map(|version| Version::parse(version).expect("a version"));
        let terms = Terms {
            default_space: spaces().next(),
            spaces: spaces().collect(),
            version: versions[0].clone(),
            versions: versions.into(),
            head: HeadLimits::default(),
            body: BodyLimits::default(),
            callers_may_refresh: plan.callers_may_refresh,
            patience: plan.timeouts.total,
            places: Places::new(plan.max_in_flight),
            door: Door { callers: callers(plan.named), ..Door::default() },
            writes: Writes::default(),
        };
        let service = BoxCloneSyncService::new(gateway(lookups, forwards, terms, Arc::clone(&metrics)));
        Self { world, gate, memory, metrics, service }
    }

    /// Asks once. None if whoever asks left before it was answered.
    pub(crate) async fn ask(&self, key: &Key, manner: Manner) -> Option<(Word, Response<Bytes>)> {
        let Manner { refresh, only_if_cached, patience, leaves, compares, caller } = manner;
        let total = self.world.look().plan.timeouts.total;
        let limit = patience.map_or(total, |patience| patience.min(total));
        let asked_at = Instant::now();
        let expects = self.world.look().expects(key, refresh);
        let etag = self.world.look().tags.get(key).cloned().filter(|_| compares);
        let mut request = request(key, refresh, only_if_cached, patience, etag.as_ref());
        let named = self.world.look().plan.named;
        if let Some(caller) = caller.checked_rem(named) {
            self.world.look().count("asked by name");
            introduce(&mut request, caller, key);
        }
        let question = Question { key: key.clone(), refresh, only_if_cached, limit, etag, asked_at, expects };
        // Called in this very moment, so that nothing comes between what is expected and what is asked.
        let answer = self.service.clone().call(request);
        // One tick more than it may take: who is not answered then will not be.
        let hangs = limit + 2 * TICK;
        let Ok(answer) = timeout(leaves.unwrap_or(hangs).min(hangs), answer).await else {
            let mut world = self.world.look();
            world.count("left");
            world.check(leaves.is_some_and(|leaves| leaves <= hangs), || format!("{key:?} hangs"));
            return None;
        };
        let (head, body) = answer.expect("infallible").into_parts();
        let body = body.collect().now_or_never().expect("a whole body").expect("infallible").to_bytes();
        let response = Response::from_parts(head, body);
        let word = self.world.look().told(&question, &response);
        Some((word, response))
    }

    fn plan(&self) -> (Plan, Instant) {
        let world = self.world.look();
        (world.plan.clone(), world.start)
    }

    /// Takes out of memory what the operator wants out.
    pub(crate) fn purge(&self, purge: &Purge) {
        self.world.look().purges(purge);
        self.memory.purge(purge);
    }

    /// Everyone who asks, now and then, alone and in crowds, in every manner there is. Nobody waits for an answer
    /// before the next question, so that what is asked when does not hang on the order in which many are woken at once.
    pub(crate) async fn callers(self, mut rng: Rng) {
        let (plan, start) = self.plan();
        let mut moments: Vec<Duration> = (0..plan.questions).map(|_| plan.span.mul_f64(rng.f64())).collect();
        for moment in &mut moments {
            if let Some(crowd) = rng.choice(&plan.crowds).filter(|_| rng.u32(0..10) < 7) {
                *moment = *crowd + Duration::from_millis(rng.u64(0..=1500));
            }
        }
        moments.sort_unstable();
        let mut asking = JoinSet::new();
        for moment in moments {
            sleep_until(start + moment).await;
            let key = key(rng.usize(..plan.lives.len()), rng.usize(0..4) / 3, rng.usize(0..8) / 7);
            let manner = manner(&mut rng);
            let gateway = self.clone();
            asking.spawn(async move { gateway.ask(&key, manner).await.is_some() });
        }
        asking.join_all().await;
    }

    /// An operator who takes answers out of memory.
    pub(crate) async fn operator(self, mut rng: Rng) {
        let (plan, start) = self.plan();
        for moment in plan.purges {
            sleep_until(start + moment).await;
            let Key { space, id, .. } = key(rng.usize(..plan.lives.len()), rng.usize(0..2), 0);
            self.purge(&match rng.u32(0..3) {
                0 => Purge::All,
                1 => Purge::Space(space),
                _ => Purge::Session(space, id),
            });
        }
    }

    /// Waits until nothing is under way any more, and sees that this is so.
    pub(crate) async fn drains(&self) {
        let total = self.world.look().plan.timeouts.total;
        sleep(total + TICK).await;
        self.memory.sweep();
        let mut world = self.world.look();
        let flying = world.flying();
        world.check(flying == 0, || format!("{flying} flights are left over"));
        let (flights, waiting) = (self.metrics.flights.get(), self.metrics.budget_waiting.get());
        world
            .check((flights, waiting) == (0, 0), || format!("{flights} flights and {waiting} in line, by the metrics"));
    }
}

fn manner(rng: &mut Rng) -> Manner {
    let patience = [50, 500, 1000, 3000, 7000, 20_000];
    Manner {
        refresh: rng.u32(0..8) == 0,
        only_if_cached: rng.u32(0..25) == 0,
        patience: rng.choice(patience).filter(|_| rng.u32(0..3) == 0).map(Duration::from_millis),
        leaves: (rng.u32(0..8) == 0).then(|| Duration::from_millis(rng.u64(1..=4000))),
        compares: rng.u32(0..10) == 0,
        // The first asks more than all others.
        caller: rng.usize(0..8).saturating_sub(4),
    }
}

/// A session by its number, in this space and this version.
pub(crate) fn key(session: usize, space: usize, version: usize) -> Key {
    Key {
        space: SpaceId::parse(SPACES[space]).expect("a space"),
        id: SessionId::parse(&format!("scs-{session}")).expect("an id"),
        version: Version::parse(VERSIONS[version]).expect("a version"),
    }
}

fn spaces() -> impl Iterator<Item = SpaceId> {
    SPACES.into_iter().map(|space| SpaceId::parse(space).expect("a space"))
}

/// So many who must prove who they are, and may look up everything.
fn callers(named: usize) -> Option<Arc<Callers>> {
    let policy = Policy { spaces: spaces().collect(), operations: vec![GET_CHECKOUT_SESSION], rate: None };
    let named: Vec<_> = (0..named)
        .map(|caller| Named {
            name: format!("caller-{caller}").into(),
            keys: vec![Digest::of(gateway_key(caller).as_bytes())],
            san: Vec::new(),
            service_accounts: Vec::new(),
            policy: policy.clone(),
        })
        .collect();
    (!named.is_empty()).then(|| Arc::new(Callers::new(named, None)))
}

fn gateway_key(caller: usize) -> String {
    format!("the-callers-own-{caller}")
}

/// Says who asks, and in which space, as who may ask in more than one has to.
fn introduce(request: &mut Request<Empty<Bytes>>, caller: usize, key: &Key) {
    let value = |text: &str| HeaderValue::from_str(text).expect("a header");
    let headers = request.headers_mut();
    headers.insert("authorization", value(&format!("Bearer {}", gateway_key(caller))));
    headers.insert("monime-space-id", value(key.space.as_str()));
}

fn request(
    key: &Key,
    refresh: bool,
    only_if_cached: bool,
    patience: Option<Duration>,
    etag: Option<&HeaderValue>,
) -> Request<Empty<Bytes>> {
    let mut request = Request::get(format!("/v1/checkout-sessions/{}", key.id.as_str()))
        .header("authorization", "Bearer the-callers-own")
        .header("x-caller", "one");
    if key.space.as_str() != SPACES[0] {
        request = request.header("monime-space-id", key.space.as_str());
    }
    if key.version.as_str() != VERSIONS[0] {
        request = request.header("monime-version", key.version.as_str());
    }
    if refresh {
        request = request.header("cache-control", "no-cache");
    }
    if only_if_cached {
        request = request.header("cache-control", "only-if-cached");
    }
    if let Some(patience) = patience {
        request = request.header("monigate-timeout", patience.as_secs_f64().to_string());
    }
    if let Some(etag) = etag {
        request = request.header(IF_NONE_MATCH, etag);
    }
    request.body(Empty::new()).expect("a request")
}
