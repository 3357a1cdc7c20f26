//! HAProxy for this job, in two variants: it keeps by the origin's `Cache-Control`, or by what it finds in the body. What it
//! is configured with, and why, is in `config/haproxy.cfg`; this fills that in.

use std::fs;
use std::io;
use std::process::Command;

use monigate::sandbox::DEFAULT_TOKEN;

use super::contender::{Room, Scene, fill};
use super::stage::Stage;
use super::wire::Protocol;

const TEMPLATE: &str = include_str!("config/haproxy.cfg");

pub(crate) fn configure(
    command: &mut Command,
    stage: &Stage,
    scene: Scene,
    room: &Room,
    by_body: bool,
) -> io::Result<()> {
    let kind = match (scene.protocol, scene.tls) {
        (Protocol::H2, _) => " proto h2".to_owned(),
        (Protocol::H1, true) => format!(" ssl crt {}/both.pem", stage.tls().display()),
        (Protocol::H1, false) => String::new(),
    };
    let caches = scene.keeps || by_body;
    let words = [
        ("LISTEN", format!("{}{kind}", room.address)),
        ("CACHED", if caches { "TRUE".to_owned() } else { "FALSE".to_owned() }),
        ("MEMORY", scene.memory.to_string()),
        ("ORIGIN", stage.origin.address.to_string()),
        ("KEY", stage.key.clone()),
        ("TOKEN", DEFAULT_TOKEN.to_owned()),
    ];
    let file = room.folder.path().join("haproxy.cfg");
    fs::write(&file, fill(&variant(by_body), &words))?;
    // In the foreground, one process.
    command.arg("-db").arg("-f").arg(file);
    Ok(())
}

/// The template, with the lines of one variant alone.
fn variant(by_body: bool) -> String {
    let (taken, left) = if by_body { ("body: ", "plain: ") } else { ("plain: ", "body: ") };
    let lines = TEMPLATE.lines().filter(|line| !line.trim_start().starts_with(left));
    lines.map(|line| line.replacen(taken, "", 1) + "\n").collect()
}
