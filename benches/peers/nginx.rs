//! nginx for this job. What it is configured with, and why, is in `config/nginx.conf`; this fills that in.

use std::fs;
use std::io;
use std::process::Command;

use monigate::sandbox::DEFAULT_TOKEN;

use super::contender::{Room, Scene, fill};
use super::stage::Stage;
use super::wire::Protocol;

const TEMPLATE: &str = include_str!("config/nginx.conf");

pub(crate) fn configure(command: &mut Command, stage: &Stage, scene: Scene, room: &Room) -> io::Result<()> {
    let folder = room.folder.path().display().to_string();
    // On a listener with `http2` this nginx speaks nothing else without TLS.
    let kind = match (scene.protocol, scene.tls) {
        (Protocol::H2, _) => " http2",
        (Protocol::H1, true) => " ssl",
        (Protocol::H1, false) => "",
    };
    let tls = stage.tls();
    let tls = tls.display();
    let certificate = format!("ssl_certificate {tls}/server.pem; ssl_certificate_key {tls}/server.key;");
    let is_root = rustix::process::geteuid().is_root();
    let words = [
        ("LISTEN", format!("{}{kind}", room.address)),
        ("TLS", if scene.tls { certificate } else { String::new() }),
        // Else the worker would be somebody who may not enter the folders.
        ("USER", if is_root { "user root;".to_owned() } else { String::new() }),
        ("CACHE", room.cache.path().display().to_string()),
        ("ZONE", if scene.keeps { "answers".to_owned() } else { "off".to_owned() }),
        ("MEMORY", scene.memory.to_string()),
        ("ORIGIN", stage.origin.address.to_string()),
        ("KEY", stage.key.clone()),
        ("TOKEN", DEFAULT_TOKEN.to_owned()),
        ("FOLDER", folder.clone()),
    ];
    let file = room.folder.path().join("nginx.conf");
    fs::write(&file, fill(TEMPLATE, &words))?;
    command.arg("-p").arg(&folder).arg("-e").arg(room.folder.path().join("error.log")).arg("-c").arg(file);
    Ok(())
}
