//! monigate as it ships, with everything on: a caller's key, policy, metrics, limits, log. Owns the only things that differ
//! from the defaults: addresses, who may ask, and a budget as high as it goes, for Monime's own limits are not at issue.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use monigate::sandbox::DEFAULT_TOKEN;

use super::contender::{Room, Scene};
use super::stage::Stage;
use super::wire::{SPACE, space_names};

/// The most calls a second that can be configured, for one token.
pub(crate) const BUDGET: u32 = 10_000;

pub(crate) fn configure(command: &mut Command, stage: &Stage, scene: Scene, room: &Room) -> io::Result<()> {
    let tls = if scene.tls {
        let folder = stage.tls();
        let folder = folder.display();
        format!("[listen.tls]\ncert_file = \"{folder}/server.pem\"\nkey_file = \"{folder}/server.key\"\n")
    } else {
        String::new()
    };
    let spaces = spaces(scene.spaces, room)?;
    let names: Vec<String> = space_names(scene.spaces).map(|name| format!("\"{name}\"")).collect();
    let times = if scene.patient { "[limits.timeouts]\nidle = \"1h\"\n" } else { "" };
    let config = format!(
        "[listen]\naddress = \"{address}\"\n{tls}\
         [admin]\naddress = \"{admin}\"\n\
         [monime]\nbase_url = \"http://{origin}\"\ndefault_space = \"{SPACE}\"\nspaces = [{spaces}]\n\
         [cache]\nmax_size = \"{memory}MiB\"\n\
         [budget]\nendpoint = {BUDGET}\ntoken = {BUDGET}\nspace = {BUDGET}\n{times}\
         [[callers]]\nname = \"storefront\"\nkeys_sha256 = [\"{digest}\"]\nspaces = [{names}]\n\
         operations = [\"GetCheckoutSession\"]\n{others}",
        address = room.address,
        admin = room.admin,
        origin = stage.origin.address,
        memory = scene.memory,
        digest = stage.digest,
        names = names.join(", "),
        others = (1..scene.callers).map(other_caller).collect::<String>(),
    );
    let file = room.folder.path().join("monigate.toml");
    fs::write(&file, config)?;
    command.arg("run").arg("--config").arg(file).env("MONIGATE__MONIME__TOKEN", DEFAULT_TOKEN);
    Ok(())
}

/// A caller whose key nobody has.
fn other_caller(number: u32) -> String {
    format!(
        "[[callers]]\nname = \"caller-{number}\"\nkeys_sha256 = [\"{number:064x}\"]\nspaces = [\"{SPACE}\"]\n\
         operations = [\"GetCheckoutSession\"]\n"
    )
}

/// The spaces after the first, each with a token from a file of its own: limits are Monime's for each token.
fn spaces(all: usize, room: &Room) -> io::Result<String> {
    let mut spaces = Vec::new();
    for name in space_names(all).skip(1) {
        let file = room.folder.path().join(&name);
        fs::write(&file, DEFAULT_TOKEN)?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
        spaces.push(format!("{{ id = \"{name}\", token_file = \"{}\" }}", file.display()));
    }
    Ok(spaces.join(", "))
}
