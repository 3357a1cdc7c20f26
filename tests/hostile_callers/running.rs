//! The real program, before the sandbox, and what the kernel tells of it: memory, time, descriptors.

use monigate::sandbox::{DEFAULT_TOKEN, Sandbox};
use monigate::server::Address;
use tokio::task::JoinSet;

use crate::ground::{Place, Way};
use crate::support::client::{Answer, Wire, get};
use crate::support::gateway::{SPACE, play, space};
use crate::support::process::{Gateway, Process};

/// A gateway in a process of its own.
pub(crate) struct Running {
    pub(crate) gateway: Gateway,
    pub(crate) place: Place,
    /// The path of a session that is completed.
    pub(crate) path: String,
    _sandbox: Sandbox,
    _served: JoinSet<()>,
}

impl Running {
    /// With further settings, each as `key=value`, and at most so many descriptors.
    pub(crate) async fn start(way: Way, settings: &[&str], descriptors: usize) -> Self {
        let (sandbox, base_url, served) = play(None).await;
        let place = Place::new(way);
        let (file, base_url) = (place.write(), format!("monime.base_url={base_url}"));
        let mut arguments = vec!["run", "--config", file.to_str().unwrap(), "--listen", "127.0.0.1:0"];
        arguments.extend(["--admin", "127.0.0.1:0", "--set", &base_url]);
        let budget = ["endpoint", "token", "space"].map(|scope| format!("budget.{scope}=10000"));
        let settings = budget.iter().map(String::as_str).chain(settings.iter().copied());
        settings.for_each(|setting| arguments.extend(["--set", setting]));
        let environment = [("MONIGATE__MONIME__TOKEN", DEFAULT_TOKEN), ("MONIGATE__MONIME__DEFAULT_SPACE", SPACE)];
        let process = Process::start_within(descriptors, &arguments, &environment);
        let gateway = Gateway::of(process).await;
        let id = sandbox.create(&space());
        sandbox.put(&space(), &id, "completed");
        let place = Place::at(way, &gateway.address, place);
        let path = crate::support::client::path(id);
        Self { gateway, place, path, _sandbox: sandbox, _served: served }
    }

    /// One lookup on a connection of its own, by the way that it speaks.
    pub(crate) async fn look_up(&self) {
        drop(self.connect().await);
    }

    /// A connection on which one lookup was answered.
    pub(crate) async fn connect(&self) -> Box<dyn Send> {
        if self.place.way().http2() {
            let mut peer = self.place.peer().await;
            peer.ask(1, &self.path).await;
            assert_eq!(peer.outcome(1).await.status(), Some(200));
            return Box::new(peer);
        }
        let mut wire = self.place.wire().await;
        wire.send(get(&self.path, "")).await;
        assert_eq!(wire.answer().await.expect("an answer").status, 200);
        Box::new(wire)
    }

    pub(crate) fn admin(&self) -> &Address {
        &self.gateway.admin
    }

    /// One that is kept to ask the operators' listener.
    pub(crate) async fn operator(&self) -> Wire {
        Wire::connect(self.admin()).await
    }

    /// Resident memory, in bytes: now, and the most that it ever was.
    pub(crate) fn resident(&self) -> (u64, u64) {
        let status = std::fs::read_to_string(self.gateway.process.proc("status")).unwrap();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
        };
        (field("VmRSS:"), field("VmHWM:"))
    }

    /// Processor time so far, in hundredths of a second.
    pub(crate) fn busy(&self) -> u64 {
        let stat = std::fs::read_to_string(self.gateway.process.proc("stat")).unwrap();
        let fields: Vec<_> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
        [11, 12].map(|field: usize| fields[field].parse::<u64>().unwrap()).iter().sum()
    }

    /// How many descriptors are open.
    pub(crate) fn descriptors(&self) -> usize {
        std::fs::read_dir(self.gateway.process.proc("fd")).unwrap().count()
    }
}

/// Asks whether it lives.
pub(crate) async fn alive(operator: &mut Wire) -> Option<Answer> {
    operator.send(get("/livez", "")).await;
    operator.answer().await
}
