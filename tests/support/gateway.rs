//! A whole gateway in this process, over real sockets, with a sandbox behind it. Both end when it is dropped.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use monigate::config::{Config, Flag, Problems, Sources};
use monigate::monime::{Final, SessionId, SpaceId};
use monigate::sandbox::{self, DEFAULT_TOKEN, Limits, Place, Sandbox};
use monigate::server::Address;
use monigate::{Ended, Monigate};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep};

use super::client::{Answer, ask, get, path};

/// Nothing here takes a tenth of it; whatever does has hung.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// The default space, and one more that callers may name.
pub(crate) const SPACE: &str = "spc-shop";
pub(crate) const OTHER_SPACE: &str = "spc-other";

/// A gateway, and the sandbox that it asks unless it was started before another upstream.
pub(crate) struct Gateway {
    pub(crate) sandbox: Sandbox,
    pub(crate) address: Address,
    pub(crate) admin: Address,
    /// Takes newer configurations, as a reload brings them.
    pub(crate) newer: mpsc::Sender<Result<Config, Problems>>,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<Ended>,
    _sandbox: JoinSet<()>,
}

impl Gateway {
    pub(crate) async fn start() -> Self {
        Self::with(&[]).await
    }

    /// With further settings, each as `key=value`.
    pub(crate) async fn with(settings: &[&str]) -> Self {
        let (sandbox, base_url, served) = play(None).await;
        Self::open(sandbox, served, config(&base_url, settings)).await
    }

    /// Asks a sandbox that speaks https with a throw-away CA in `folder`.
    pub(crate) async fn over_tls(folder: &Path, ca: &Path) -> Self {
        let (sandbox, base_url, served) = play(Some(folder)).await;
        let config = config(&base_url, &[&format!("monime.ca_file={}", ca.display())]);
        Self::open(sandbox, served, config).await
    }

    /// Asks whoever is at `base_url`; the sandbox hears nothing.
    pub(crate) async fn before(base_url: &str, settings: &[&str]) -> Self {
        Self::of(config(base_url, settings)).await
    }

    /// By this configuration, which says whom it asks; the sandbox hears nothing.
    pub(crate) async fn of(config: Config) -> Self {
        Self::open(Sandbox::new(sandbox::Settings::default()), JoinSet::new(), config).await
    }

    /// By this configuration, which asks this sandbox or somebody before it.
    pub(crate) async fn open(sandbox: Sandbox, behind: JoinSet<()>, config: Config) -> Self {
        let gateway = Monigate::bind(config).await.unwrap();
        let (address, admin) = (gateway.address().clone(), gateway.admin_address().clone());
        let (stop, stopped) = oneshot::channel::<()>();
        let (newer, reloads) = mpsc::channel(1);
        let served = tokio::spawn(gateway.serve(async { drop(stopped.await) }, reloads));
        Self { sandbox, address, admin, newer, stop: Some(stop), served, _sandbox: behind }
    }

    /// A lookup on a connection of its own.
    pub(crate) async fn look_up(&self, id: impl std::fmt::Display) -> Answer {
        self.look_up_with(id, "").await
    }

    /// The same with further header lines.
    pub(crate) async fn look_up_with(&self, id: impl std::fmt::Display, fields: &str) -> Answer {
        ask(&self.address, &get(&path(id), fields)).await
    }

    /// Asks the admin listener.
    pub(crate) async fn operator(&self, target: &str) -> Answer {
        ask(&self.admin, &get(target, "")).await
    }

    /// The value of one line of the metrics; zero if there is none.
    pub(crate) async fn metric(&self, series: &str) -> u64 {
        metric(&self.operator("/metrics").await.text(), series)
    }

    /// A session in the default space that shows this status.
    pub(crate) fn session(&self, status: &str) -> SessionId {
        let id = self.sandbox.create(&space());
        self.sandbox.put(&space(), &id, status);
        id
    }

    pub(crate) fn completed(&self) -> SessionId {
        self.session(Final::Completed.as_str())
    }

    /// How many requests Monime heard.
    pub(crate) fn calls(&self) -> u64 {
        self.sandbox.seen().requests
    }

    /// Lets it drain and waits until it has.
    pub(crate) async fn stop(&mut self) -> Ended {
        drop(self.stop.take());
        tokio::time::timeout(PATIENCE, &mut self.served).await.expect("it ends").unwrap()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.served.abort();
    }
}

pub(crate) fn space() -> SpaceId {
    SpaceId::parse(SPACE).unwrap()
}

/// The value of one series in the text of the metrics, whatever the order of its labels; zero if it is not there.
pub(crate) fn metric(text: &str, series: &str) -> u64 {
    let sorted = |series: &str| {
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let mut labels: Vec<_> = labels.trim_end_matches('}').split(',').map(str::to_owned).collect();
        labels.sort_unstable();
        (name.to_owned(), labels)
    };
    let lines = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' '));
    let mut values = lines.filter(|(found, _)| sorted(found) == sorted(series)).map(|(_, value)| value);
    values.next().map_or(0, |value| value.parse().unwrap())
}

/// Waits until `look` finds something. Bounded; for what gives no event.
pub(crate) async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(started.elapsed() < PATIENCE, "never: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// The configuration as an operator would write it, on free loopback ports.
pub(crate) fn config(base_url: &str, settings: &[&str]) -> Config {
    load(base_url, settings).unwrap()
}

/// The same, which may have problems.
pub(crate) fn load(base_url: &str, settings: &[&str]) -> Result<Config, Problems> {
    load_files(Vec::new(), base_url, settings)
}

/// The same on top of these files: what is a table can stand nowhere else.
pub(crate) fn load_files(files: Vec<PathBuf>, base_url: &str, settings: &[&str]) -> Result<Config, Problems> {
    let base_url = format!("monime.base_url={base_url}");
    let (space, other) = (format!("monime.default_space={SPACE}"), format!("monime.spaces={OTHER_SPACE}"));
    let ours = ["listen.address=127.0.0.1:0", "admin.address=127.0.0.1:0", &base_url, &space, &other];
    let flags = ours.iter().chain(settings).map(|setting| Flag::Set((*setting).to_owned())).collect();
    let mut environment = BTreeMap::from([("MONIGATE__MONIME__TOKEN".to_owned(), DEFAULT_TOKEN.to_owned())]);
    // A token is given once.
    environment.retain(|_, _| !settings.iter().any(|setting| setting.starts_with("monime.token_file=")));
    Config::load(&Sources { files, environment, flags })
}

/// A sandbox without limits.
pub(crate) async fn play(tls: Option<&Path>) -> (Sandbox, String, JoinSet<()>) {
    play_with(sandbox::Settings { limits: Limits::NONE, ..sandbox::Settings::default() }, tls).await
}

pub(crate) async fn play_with(settings: sandbox::Settings, tls: Option<&Path>) -> (Sandbox, String, JoinSet<()>) {
    let sandbox = Sandbox::new(settings);
    let place = Place { address: "127.0.0.1:0".parse().unwrap(), tls: tls.map(Into::into), beyond_loopback: false };
    let open = sandbox.open(&place).await.unwrap();
    let base_url = open.base_url();
    let mut served = JoinSet::new();
    served.spawn(open.run(std::future::pending()));
    (sandbox, base_url, served)
}
