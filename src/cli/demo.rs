//! `demo`: a sandbox and a gateway in one process, and a guided tour that shows the main job with real numbers.
//!
//! Everything the tour says was asked over loopback sockets, as a service would ask; nothing is made up.

mod pen;
mod tour;

use std::collections::BTreeMap;
use std::error::Error;
use std::future::pending;
use std::io::{self, Write};
use std::pin::pin;

use monigate::Monigate;
use monigate::config::{Config, Flag, Sources, TOKEN_VARIABLE};
use monigate::sandbox::{self, DEFAULT_TOKEN, Place, Sandbox};
use monigate::server::Address;
use monigate::telemetry::log;
use tokio::sync::mpsc;
use tracing_subscriber::filter::{LevelFilter, Targets};

use super::signals::Signals;
use super::{FAILED, OK, load};
use pen::Pen;
use tour::Tour;

/// The space of the demo's sessions.
const SPACE: &str = "spc-demo";

type Trouble = Box<dyn Error + Send + Sync>;

/// The addresses of what the demo started.
struct Places {
    sandbox: String,
    gateway: Address,
    admin: Address,
}

/// Gives the tour; afterwards it stays up until a signal, unless it is for once.
pub(super) fn run(once: bool, colour: bool, out: &mut impl Write, err: &mut impl Write) -> io::Result<u8> {
    // Only what goes wrong: the tour is for reading. Where logging runs already, that is as good.
    let _flush_at_the_end = log::start(log::Format::Text, Targets::new().with_default(LevelFilter::WARN));
    let mut pen = Pen::new(out, colour);
    let (runtime, signals) = Signals::take()?;
    let done = runtime.block_on(async {
        Box::pin(signals.over(|stop, _| show(once, &mut pen, stop.asked()))).await.unwrap_or(Ok(()))
    });
    match done {
        Ok(()) => Ok(OK),
        // A reader that has seen enough, such as `head`.
        Err(trouble) if is_hang_up(trouble.as_ref()) => Ok(OK),
        Err(trouble) => writeln!(err, "monigate: the demo failed: {trouble}").map(|()| FAILED),
    }
}

fn is_hang_up(trouble: &(dyn Error + 'static)) -> bool {
    trouble.downcast_ref().is_some_and(|error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe)
}

async fn show(once: bool, pen: &mut Pen<impl Write>, stop: impl Future<Output = ()>) -> Result<(), Trouble> {
    let sandbox = Sandbox::new(sandbox::Settings::default());
    let place = Place { address: "127.0.0.1:0".parse()?, tls: None, beyond_loopback: false };
    let open = sandbox.open(&place).await?;
    let base_url = open.base_url();
    let gateway = Monigate::bind(config(&base_url)?).await?;
    let places =
        Places { sandbox: base_url, gateway: gateway.address().clone(), admin: gateway.admin_address().clone() };
    let mut stop = pin!(stop);
    let tour = async {
        let mut tour = Tour::new(pen, &sandbox, &places)?;
        tokio::select! {
            given = tour.give() => given?,
            () = stop.as_mut() => return Ok(()),
        }
        if !once {
            tour.invite()?;
            stop.as_mut().await;
        }
        Ok(())
    };
    let (_, no_reloads) = mpsc::channel(1);
    tokio::select! {
        done = tour => done,
        () = open.run(pending()) => Err("the sandbox ended".into()),
        _ = Box::pin(gateway.serve(pending(), no_reloads)) => Err("the gateway ended".into()),
    }
}

/// The configuration as an operator would write it, on free loopback ports.
fn config(base_url: &str) -> Result<Config, Trouble> {
    let set = |setting: &str| Flag::Set(setting.to_owned());
    let base_url = format!("monime.base_url={base_url}");
    let space = format!("monime.default_space={SPACE}");
    let addresses = ["listen.address=127.0.0.1:0", "admin.address=127.0.0.1:0"];
    let flags = [base_url.as_str(), &space].into_iter().chain(addresses).map(set).collect();
    let token = (TOKEN_VARIABLE.to_owned(), DEFAULT_TOKEN.to_owned());
    load(&Sources { files: Vec::new(), environment: BTreeMap::from([token]), flags })
        .map_err(|problems| problems.to_string().into())
}
