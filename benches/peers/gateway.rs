//! monigate as it ships, with everything on: a caller's key, policy, metrics, limits, log. Owns the only things that differ
//! from the defaults: addresses, who may ask, and a budget as high as it goes, for Monime's own limits are not at issue.

use std::fs;
use std::io;
use std::process::Command;

use monigate::sandbox::DEFAULT_TOKEN;

use super::contender::{Room, Scene};
use super::process::free_address;
use super::stage::Stage;
use super::wire::SPACE;

/// The most calls a second that can be configured.
pub(crate) const BUDGET: u32 = 10_000;

pub(crate) fn configure(command: &mut Command, stage: &Stage, scene: Scene, room: &Room) -> io::Result<()> {
    let tls = if scene.tls {
        let folder = stage.tls();
        let folder = folder.display();
        format!("[listen.tls]\ncert_file = \"{folder}/server.pem\"\nkey_file = \"{folder}/server.key\"\n")
    } else {
        String::new()
    };
    let config = format!(
        "[listen]\naddress = \"{address}\"\n{tls}\
         [admin]\naddress = \"{admin}\"\n\
         [monime]\nbase_url = \"http://{origin}\"\ndefault_space = \"{SPACE}\"\n\
         [cache]\nmax_size = \"{memory}MiB\"\n\
         [budget]\nendpoint = {BUDGET}\ntoken = {BUDGET}\nspace = {BUDGET}\n\
         [[callers]]\nname = \"storefront\"\nkeys_sha256 = [\"{digest}\"]\nspaces = [\"{SPACE}\"]\n\
         operations = [\"GetCheckoutSession\"]\n",
        address = room.address,
        admin = free_address()?,
        origin = stage.origin.address,
        memory = scene.memory,
        digest = stage.digest,
    );
    let file = room.folder.path().join("monigate.toml");
    fs::write(&file, config)?;
    command.arg("run").arg("--config").arg(file).env("MONIGATE__MONIME__TOKEN", DEFAULT_TOKEN);
    Ok(())
}
