//! A gateway whose callers have names, and a Monime in whose every answer stands the space that it is of.

use std::path::PathBuf;

use monigate::caller::Digest;
use tempfile::TempDir;

use super::certificates::put;
use super::client::{Answer, Wire, ask, get, path};
use super::gateway::{self, Gateway, eventually};
use super::process;
use super::upstream::{Step, Upstream, answer, error, session};

/// Whose is which key.
pub(crate) const SHOP: &str = "mgk_Sh0pVn3Rk8Tq5Wm2Yx7Lc4Jd9Gf1Hb6Pz0Nk3Qv8Ts";
pub(crate) const BANK: &str = "mgk_B4nkXe7Ru2Io9Py5Aq3Sd8Fg1Hj6Kl0Zv4Cx7Bn2Mw";
pub(crate) const DESK: &str = "mgk_D35kMq9Zt4Yb1Uo6Ei8Ra3Lw7Vc2Xj5Nh0Gp9Fs4Td";
/// The space of the shop, that of the bank, and one that the gateway serves to nobody.
pub(crate) const SHOPS: &str = "spc-shops";
pub(crate) const BANKS: &str = "spc-banks";
pub(crate) const NOBODYS: &str = "spc-nobodys";
/// The one operation that most callers have.
pub(crate) const LOOKUPS: &[&str] = &["GetCheckoutSession"];

/// A gateway in this process with a file that names its callers.
pub(crate) struct Guarded {
    pub(crate) gateway: Gateway,
    pub(crate) monime: Upstream,
    pub(crate) folder: TempDir,
    settings: Vec<String>,
}

/// A list as TOML has it.
fn list(texts: &[&str]) -> String {
    format!("{texts:?}")
}

/// The proof of a caller by these keys.
pub(crate) fn keys(keys: &[&str]) -> String {
    let digests: Vec<_> = keys.iter().map(|key| Digest::of(key.as_bytes()).to_string()).collect();
    format!("keys_sha256 = {digests:?}\n")
}

/// A caller's table; `lines` are its proofs, and whatever else it has.
pub(crate) fn caller(name: &str, lines: &str, spaces: &[&str], operations: &[&str]) -> String {
    format!("[[callers]]\nname = \"{name}\"\n{lines}spaces = {}\noperations = {}\n", list(spaces), list(operations))
}

/// The shop and the bank, each with its key and its space, and the desk, which has both spaces.
pub(crate) fn town() -> String {
    caller("shop", &keys(&[SHOP]), &[SHOPS], LOOKUPS)
        + &caller("bank", &keys(&[BANK]), &[BANKS], LOOKUPS)
        + &caller("desk", &keys(&[DESK]), &[SHOPS, BANKS], LOOKUPS)
}

/// The header line that proves a caller by its key.
pub(crate) fn bearer(key: &str) -> String {
    format!("Authorization: Bearer {key}\r\n")
}

/// The header line that names a space.
pub(crate) fn of_space(space: &str) -> String {
    format!("Monime-Space-Id: {space}\r\n")
}

/// What stands in every answer of this space, and in no other.
pub(crate) fn mark(space: &str) -> String {
    format!("kept-in-{space}-alone")
}

/// The space that a request to Monime names.
pub(crate) fn named_space(request: &str) -> String {
    let mut fields = request.lines().filter_map(|line| line.split_once(": "));
    let found = fields.find(|(name, _)| name.eq_ignore_ascii_case("monime-space-id"));
    found.map(|(_, space)| space.to_owned()).unwrap_or_default()
}

/// A Monime that has every session in every space, completed, but for those that are called `scs-none…`.
pub(crate) async fn every_space() -> Upstream {
    Upstream::start(|_, request| vec![Step::Send(told(request))]).await
}

/// What it says to a request.
pub(crate) fn told(request: &str) -> Vec<u8> {
    let id = request.split(' ').nth(1).unwrap().rsplit('/').next().unwrap();
    if id.starts_with("scs-none") {
        return answer("404 Not Found", "", &error(404));
    }
    let marked = format!("\"name\":\"{}\",\"status\"", mark(&named_space(request)));
    answer("200 OK", "", &session(id, "completed").replacen("\"status\"", &marked, 1))
}

/// The settings of every gateway here, on top of a file.
fn settings(more: &[&str]) -> Vec<String> {
    let spaces = format!("monime.spaces={SHOPS},{BANKS},{NOBODYS}");
    let budget = ["endpoint", "token", "space"].map(|scope| format!("budget.{scope}=10000"));
    [spaces].into_iter().chain(budget).chain(more.iter().map(|setting| (*setting).to_owned())).collect()
}

// === impl Guarded ===

impl Guarded {
    /// With a file that says `text`.
    pub(crate) async fn by(text: &str) -> Self {
        Self::with(tempfile::tempdir().unwrap(), text, &[]).await
    }

    /// The same with further settings, and a folder in which files lie that `text` names.
    pub(crate) async fn with(folder: TempDir, text: &str, more: &[&str]) -> Self {
        Self::before(every_space().await, folder, text, more).await
    }

    /// The same before a Monime of one's own.
    pub(crate) async fn before(monime: Upstream, folder: TempDir, text: &str, more: &[&str]) -> Self {
        let settings = settings(more);
        let config = load(&folder, text, &monime.base_url, &settings);
        Self { gateway: Gateway::of(config).await, monime, folder, settings }
    }

    /// Takes on what the file says now.
    pub(crate) async fn reload(&self, text: &str) {
        let config = load(&self.folder, text, &self.monime.base_url, &self.settings);
        let count = async || self.gateway.metric("monigate_config_reloads_total{result=\"ok\"}").await;
        let before = count().await;
        self.gateway.newer.send(Ok(config)).await.unwrap();
        eventually("it is taken on", async || (count().await > before).then_some(())).await;
    }

    pub(crate) async fn wire(&self) -> Wire {
        Wire::connect(&self.gateway.address).await
    }

    /// A lookup by whom these header lines prove, on a connection of its own.
    pub(crate) async fn look_up(&self, id: &str, fields: &str) -> Answer {
        ask(&self.gateway.address, &get(&path(id), fields)).await
    }

    /// What Monime heard from here on.
    pub(crate) fn heard_since(&self, calls: usize) -> Vec<String> {
        self.monime.heard().split_off(calls)
    }

    pub(crate) fn calls(&self) -> usize {
        self.monime.heard().len()
    }
}

fn load(folder: &TempDir, text: &str, base_url: &str, settings: &[String]) -> monigate::config::Config {
    let settings: Vec<_> = settings.iter().map(String::as_str).collect();
    gateway::load_files(vec![write(folder, text)], base_url, &settings).unwrap()
}

/// Writes the file that names callers.
pub(crate) fn write(folder: &TempDir, text: &str) -> PathBuf {
    let file = folder.path().join("monigate.toml");
    put(&file, text, 0o600);
    file
}

/// The real program with a file that says `text`.
pub(crate) async fn process(folder: &TempDir, text: &str, base_url: &str, more: &[&str]) -> process::Gateway {
    let file = write(folder, text);
    let mut settings = settings(more);
    settings.push(format!("monime.base_url={base_url}"));
    let mut arguments = vec!["run", "--config", file.to_str().unwrap(), "--admin", "127.0.0.1:0"];
    if !more.iter().any(|setting| setting.starts_with("listen.address=")) {
        arguments.extend(["--listen", "127.0.0.1:0"]);
    }
    settings.iter().for_each(|setting| arguments.extend(["--set", setting.as_str()]));
    let environment = [
        ("MONIGATE__MONIME__TOKEN", monigate::sandbox::DEFAULT_TOKEN),
        ("MONIGATE__MONIME__DEFAULT_SPACE", gateway::SPACE),
    ];
    process::Gateway::start(&arguments, &environment).await
}
