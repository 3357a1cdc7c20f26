//! What is asked again and what never is, how long that waits, and that a storm of failures stays a small one.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use tempfile::TempDir;
use tokio::time::{Instant, advance};

use super::*;
use crate::lookup::tests::scripted::{Monime, Said, key, metric};
use crate::secret::{Secret, Source};
use crate::upstream::{Bound, Unreachable, Unreadable};

/// The timer's resolution, which a paused clock moves by.
const TICK: Duration = Duration::from_millis(1);
/// What may be retried before anything was deposited.
const RESERVE: usize = 10;

/// One answer of a script.
type Says = fn() -> Said;

/// A retry layer over a script, and the moments at which it was asked.
#[derive(Clone)]
struct Asked {
    layer: Retry<Monime>,
    monime: Monime,
    metrics: Arc<Metrics>,
    moments: Arc<Mutex<Vec<Instant>>>,
}

impl Asked {
    /// Says these one after another, then a session for ever.
    fn saying(script: Vec<Says>) -> Self {
        Self::always(move |nth| {
            script.get(nth).map_or_else(|| Said::session(&key("scs-1"), "completed"), |said| said())
        })
    }

    fn always(said: impl Fn(usize) -> Said + Send + Sync + 'static) -> Self {
        let moments = Arc::new(Mutex::new(Vec::new()));
        let monime = Monime::saying({
            let moments = Arc::clone(&moments);
            move |_| {
                let mut moments = moments.lock().unwrap();
                moments.push(Instant::now());
                said(moments.len() - 1)
            }
        });
        let secret = Secret::parse(b"mon_retry-tests".to_vec()).unwrap();
        let keyring = Keyring::new([(key("scs-1").space, Source::environment(secret))], false);
        Self::with(keyring.into(), monime, moments)
    }

    fn with(keyring: Arc<Keyring>, monime: Monime, moments: Arc<Mutex<Vec<Instant>>>) -> Self {
        let metrics = Arc::new(Metrics::new().unwrap());
        let layer = Retry::new(monime.clone(), keyring, RetryBudget::default(), Arc::clone(&metrics));
        Self { layer, monime, metrics, moments }
    }

    async fn look_up(&self) -> Result<Reply, Failure> {
        self.layer.clone().oneshot(Fetch::new(key("scs-1"))).await
    }

    /// The status of the reply, or the word for the failure.
    async fn outcome(&self) -> String {
        self.look_up()
            .await
            .map_or_else(|failure| failure.as_str().to_owned(), |reply| reply.status.as_str().to_owned())
    }

    fn retries(&self, cause: &str) -> u64 {
        metric(&self.metrics, "monigate_upstream_retries_total", &[cause])
    }

    /// How long each retry waited.
    fn waits(&self) -> Vec<Duration> {
        self.moments.lock().unwrap().windows(2).map(|pair| pair[1] - pair[0]).collect()
    }
}

fn unreachable() -> Said {
    Said::Failure(Failure::Unreachable(Unreachable::Unanswered, "".into()))
}

fn exhausted() -> Said {
    Said::Failure(Failure::Exhausted { wait: Duration::from_secs(1) })
}

fn open() -> Said {
    Said::Failure(Failure::Open { wait: Duration::from_secs(1) })
}

/// What is asked again, and what it counts as.
const RETRIED: [(Says, &str); 7] = [
    (unreachable, "unreachable"),
    (|| Said::Failure(Failure::Unreachable(Unreachable::NotConnected, "".into())), "unreachable"),
    (|| Said::Failure(Failure::TimedOut(Bound::Connect)), "unreachable"),
    (|| Said::error(502), "502"),
    (|| Said::error(503), "503"),
    (|| Said::error(504), "504"),
    (|| Said::error(429), "429"),
];

#[tokio::test(start_paused = true)]
async fn what_fails_in_passing_is_asked_again_and_counted() {
    for (said, cause) in RETRIED {
        let asked = Asked::saying(vec![said]);
        assert_eq!(asked.outcome().await, "200", "{cause}");
        assert_eq!((asked.monime.calls(), asked.retries(cause)), (2, 1), "{cause}");
        assert_eq!(asked.monime.key(1), asked.monime.key(0));
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_else_comes_is_told_as_it_came() {
    for status in [200, 204, 302, 400, 401, 403, 404, 408, 409, 422, 425, 500, 501, 505, 599] {
        let asked = Asked::always(move |_| Said::error(status));
        assert_eq!((asked.outcome().await, asked.monime.calls()), (status.to_string(), 1));
    }
    let failures: [(Says, &str); 8] = [
        (|| Said::Failure(Failure::Unreachable(Unreachable::Refused, "".into())), "unreachable"),
        (|| Said::Failure(Failure::Unreachable(Unreachable::Reset, "".into())), "unreachable"),
        (|| Said::Failure(Failure::TimedOut(Bound::Attempt)), "timeout"),
        (|| Said::Failure(Failure::TimedOut(Bound::Total)), "timeout"),
        (|| Said::Failure(Failure::Internal("".into())), "internal"),
        (|| Said::Failure(Unreadable::BrokenOff.into()), "unreadable"),
        (exhausted, "exhausted"),
        (open, "open"),
    ];
    for (said, word) in failures {
        let asked = Asked::always(move |_| said());
        assert_eq!((asked.outcome().await.as_str(), asked.monime.calls()), (word, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_asked_more_than_three_times() {
    for (said, cause) in RETRIED {
        let asked = Asked::always(move |_| said());
        assert_ne!(asked.outcome().await, "200", "{cause}");
        assert_eq!((asked.monime.calls(), asked.retries(cause)), (3, 2), "{cause}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_wait_is_anything_between_nothing_and_a_bound_that_doubles() {
    let mut waits = [const { Vec::new() }; 2];
    for _ in 0..300 {
        let asked = Asked::always(|_| Said::error(502));
        asked.outcome().await;
        waits.iter_mut().zip(asked.waits()).for_each(|(waits, wait)| waits.push(wait));
    }
    for (waits, bound) in waits.iter_mut().zip([100, 200].map(Duration::from_millis)) {
        waits.sort_unstable();
        assert!(waits[299] <= bound + TICK, "{:?}", waits[299]);
        // Three hundred throws of fair dice: none of these fails once in a million runs.
        assert!(waits[0] < bound / 10 && waits[299] > bound * 9 / 10, "{waits:?}");
        assert!(waits[150] > bound * 3 / 10 && waits[150] < bound * 7 / 10, "{waits:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_429_its_turn_is_asked_for_at_once() {
    let asked = Asked::always(|_| Said::error(429).with("retry-after", "7"));
    asked.outcome().await;
    assert!(asked.waits().len() == 2 && asked.waits().iter().all(|wait| *wait <= TICK), "{:?}", asked.waits());
}

#[tokio::test(start_paused = true)]
async fn a_503_is_left_alone_for_as_long_as_it_asks_unless_that_is_too_long() {
    for (said, least) in [("0", 0), ("1", 1), ("2", 2)] {
        let asked = Asked::always(move |nth| match nth {
            0 => Said::error(503).with("retry-after", said),
            _ => Said::error(404),
        });
        assert_eq!(asked.outcome().await, "404");
        let (wait, least) = (asked.waits()[0], Duration::from_secs(least));
        assert!(wait >= least && wait <= least + WAITS[0] + TICK, "{said}: {wait:?}");
    }
    for said in ["3", "60", "86400", "99999999999999999999", "-1", "", "soon", "Fri, 31 Dec 9999 23:59:59 GMT"] {
        let asked = Asked::always(move |_| Said::error(503).with("retry-after", said));
        assert_eq!((asked.outcome().await.as_str(), asked.monime.calls()), ("503", 1), "{said}");
    }
}

#[tokio::test(start_paused = true)]
async fn our_own_refusal_is_never_told_in_place_of_what_monime_said() {
    for refusal in [exhausted, open] {
        for (said, cause) in RETRIED {
            let asked = Asked::saying(vec![said, refusal]);
            let told = asked.outcome().await;
            assert_eq!(told, Asked::always(move |_| said()).outcome().await, "{cause}");
            assert_eq!(asked.monime.calls(), 2, "{cause}: a refusal is no cause to ask again");
        }
        let asked = Asked::saying(vec![|| Said::error(502), || Said::error(429).with("retry-after", "7"), refusal]);
        let told = asked.look_up().await.unwrap();
        assert_eq!((told.status.as_u16(), &told.headers[RETRY_AFTER]), (429, &http::HeaderValue::from_static("7")));
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_ends_it() {
    let asked = Asked::always(|_| Said::error(503).with("retry-after", "2"));
    let looking = asked.look_up();
    assert!(tokio::time::timeout(Duration::from_secs(1), looking).await.is_err(), "it waits for its retry");
    advance(Duration::from_secs(60)).await;
    assert_eq!(asked.monime.calls(), 1);
}

/// Lookups at an even pace, each retried as the layer sees fit, all answered when this returns.
async fn storm(asked: &Asked, lookups: usize, pace: Duration) {
    let mut under_way = tokio::task::JoinSet::new();
    for _ in 0..lookups {
        let asked = asked.clone();
        under_way.spawn(async move { asked.outcome().await });
        sleep(pace).await;
    }
    assert!(under_way.join_all().await.iter().all(|outcome| outcome == "502"));
}

#[tokio::test(start_paused = true)]
async fn when_everything_fails_retries_are_a_tenth_plus_one_a_second() {
    for (lookups, pace) in [(6000, Duration::from_millis(10)), (300, Duration::from_millis(200))] {
        let asked = Asked::always(|_| Said::error(502));
        let started = Instant::now();
        storm(&asked, lookups, pace).await;
        let seconds = usize::try_from(started.elapsed().as_secs()).unwrap();
        let retries = asked.monime.calls() - lookups;
        let most = lookups / 10 + seconds + RESERVE;
        assert!(retries <= most && retries * 2 > most, "{retries} of at most {most}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_budget_that_is_used_up_grows_again() {
    let asked = Asked::always(|_| Said::error(502));
    let twenty = async || {
        let before = asked.monime.calls();
        for _ in 0..20 {
            asked.outcome().await;
        }
        asked.monime.calls() - before - 20
    };
    let whole = RESERVE..=RESERVE + 20 / 10 + 3;
    let first = twenty().await;
    assert!(whole.contains(&first), "{first}");
    let second = twenty().await;
    assert!(second < RESERVE, "{second}");
    advance(Duration::from_secs(21)).await;
    let third = twenty().await;
    assert!(whole.contains(&third), "{third}");
}

/// A token in a file, and the retry layer over a script that sees with which token it is asked.
struct Rotating {
    asked: Asked,
    sent: Arc<Mutex<Vec<String>>>,
    folder: TempDir,
}

impl Rotating {
    /// `said` is told which request it is, with which token, and where that token's file is.
    fn saying(said: impl Fn(usize, &str, &Path) -> Said + Send + Sync + 'static) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        put(&file, OLD);
        let source = Source::file(&file, false).unwrap();
        let keyring = Arc::new(Keyring::new([(key("scs-1").space, source)], false));
        let (sent, moments) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
        let monime = Monime::saying({
            let (keyring, sent, moments) = (Arc::clone(&keyring), Arc::clone(&sent), Arc::clone(&moments));
            move |key| {
                let field = keyring.token(&key.space).unwrap().bearer();
                let token = field.to_str().unwrap().trim_start_matches("Bearer ").to_owned();
                let nth = {
                    let mut sent = sent.lock().unwrap();
                    sent.push(token.clone());
                    moments.lock().unwrap().push(Instant::now());
                    sent.len() - 1
                };
                said(nth, &token, &file)
            }
        });
        Self { asked: Asked::with(keyring, monime, moments), sent, folder }
    }

    /// Refuses every token but this one.
    fn accepting(accepted: &'static str) -> Self {
        Self::saying(move |_, token, _| if token == accepted { Said::error(404) } else { Said::error(401) })
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("token")
    }

    fn sent(&self) -> Vec<String> {
        self.sent.lock().unwrap().clone()
    }
}

const OLD: &str = "mon_old_0123456789abcdef";
const NEW: &str = "mon_new_fedcba9876543210";

fn put(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_that_is_still_the_newest_is_not_tried_again() {
    let monime = Rotating::accepting(NEW);
    for round in 1..=2 {
        assert_eq!(monime.asked.outcome().await, "401");
        assert_eq!((monime.sent(), monime.asked.retries("credentials")), (vec![OLD.to_owned(); round], 0));
    }
    for unusable in ["", "two\nlines", "Bearer x"] {
        put(&monime.file(), unusable);
        assert_eq!(monime.asked.outcome().await, "401", "{unusable:?} is no reason to try the old one again");
    }
    fs::remove_file(monime.file()).unwrap();
    assert_eq!(monime.asked.outcome().await, "401");
    assert_eq!((monime.sent().len(), monime.asked.retries("credentials")), (6, 0));
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_that_has_a_successor_is_tried_again_with_that() {
    let monime = Rotating::accepting(NEW);
    put(&monime.file(), NEW);
    assert_eq!(monime.asked.outcome().await, "404");
    assert_eq!((monime.sent(), monime.asked.retries("credentials")), (vec![OLD.to_owned(), NEW.to_owned()], 1));
    assert!(monime.asked.waits()[0] <= TICK, "there is nothing to wait for");
    assert_eq!(monime.asked.outcome().await, "404");
    assert_eq!(monime.sent().len(), 3, "from now on it is the one that is used");
}

#[tokio::test(start_paused = true)]
async fn a_successor_that_is_refused_too_is_told_as_it_came() {
    let monime = Rotating::accepting("none of these");
    put(&monime.file(), NEW);
    assert_eq!(monime.asked.outcome().await, "401");
    assert_eq!(monime.sent(), [OLD, NEW]);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_changes_all_the_time_is_not_asked_with_for_ever() {
    let monime = Rotating::saying(|nth, _, file| {
        put(file, &format!("mon_number_{nth}"));
        Said::error(401)
    });
    assert_eq!(monime.asked.outcome().await, "401");
    assert_eq!(monime.sent(), [OLD, "mon_number_0", "mon_number_1"]);
}

#[tokio::test(start_paused = true)]
async fn a_new_token_waits_for_a_turn_of_its_own() {
    let monime = Rotating::accepting(NEW);
    put(&monime.file(), NEW);
    let script = monime.asked.monime.clone();
    script.lets_wait();
    let fetch = Fetch::new(key("scs-1"));
    let stage = fetch.waiting.stage.clone();
    let looking = tokio::spawn(monime.asked.layer.clone().oneshot(fetch));
    script.queued(1).await;
    script.says({
        let (script, sent) = (script.clone(), Arc::clone(&monime.sent));
        move |_| {
            sent.lock().unwrap().push(String::new());
            script.lets_wait();
            Said::error(401)
        }
    });
    script.admits();
    script.queued(2).await;
    stage.queued().await;
    assert_eq!(monime.sent().len(), 1, "it is not sent without a turn");
    script.says(|_| Said::error(404));
    script.admits();
    assert_eq!(looking.await.unwrap().unwrap().status, 404);
}

#[tokio::test(start_paused = true)]
async fn new_tokens_neither_need_nor_use_up_the_budget_for_retries() {
    // More rotations than the budget has retries, and each of them answered.
    let monime = Rotating::saying(|nth, _, file| match nth {
        0..100 if nth % 2 == 0 => {
            put(file, &format!("mon_number_{nth}"));
            Said::error(401)
        }
        0..100 => Said::error(404),
        _ => Said::error(502),
    });
    for _ in 0..50 {
        assert_eq!(monime.asked.outcome().await, "404");
    }
    assert_eq!((monime.sent().len(), monime.asked.retries("credentials")), (100, 50));
    while monime.asked.retries("502") < RESERVE as u64 {
        let before = monime.sent().len();
        assert_eq!(monime.asked.outcome().await, "502");
        assert_ne!(monime.sent().len(), before + 1, "nothing was taken out of what there is for failures");
    }
}

#[tokio::test(start_paused = true)]
async fn a_budget_that_is_used_up_keeps_no_new_token_from_its_turn() {
    let monime = Rotating::saying(|nth, token, file| match nth {
        0..100 => Said::error(502),
        100 => {
            put(file, NEW);
            Said::error(401)
        }
        _ if token == NEW => Said::error(404),
        _ => Said::error(401),
    });
    while monime.sent().len() < 100 {
        assert_eq!(monime.asked.outcome().await, "502");
    }
    assert_eq!((monime.sent().len(), monime.asked.outcome().await.as_str()), (100, "404"));
}
