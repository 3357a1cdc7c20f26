//! Varnish for this job. What it decides, and why, is in `config/default.vcl`; the parameters are here.

use std::fs;
use std::io;
use std::process::Command;

use monigate::sandbox::DEFAULT_TOKEN;

use super::contender::{Room, Scene, fill};
use super::stage::Stage;

const TEMPLATE: &str = include_str!("config/default.vcl");

/// For one core and this load.
const PARAMETERS: [&str; 8] = [
    // One pool for one core.
    "thread_pools=1",
    // A thread for each connection and, over HTTP/2, for each stream; none comes and goes while it is measured.
    "thread_pool_min=300",
    "thread_pool_max=300",
    // Bodies of 1.3 KB in JSON: nobody asks for them compressed.
    "http_gzip_support=off",
    // Keep-alive connections stay for as long as elsewhere.
    "timeout_idle=3600",
    "backend_idle_timeout=3600",
    "feature=+http2",
    // Its log in memory cannot be switched off; what is written for each header field, and nobody reads, can.
    "vsl_mask=-ReqHeader,-RespHeader,-BereqHeader,-BerespHeader,-ObjHeader,-VCL_call,-VCL_return,-Timestamp",
];

pub(crate) fn configure(command: &mut Command, stage: &Stage, scene: Scene, room: &Room) -> io::Result<()> {
    let words = [
        ("ORIGIN", stage.origin.address.port().to_string()),
        ("KEY", stage.key.clone()),
        ("TOKEN", DEFAULT_TOKEN.to_owned()),
        ("LOOK", if scene.keeps { "hash".to_owned() } else { "pass".to_owned() }),
    ];
    let file = room.folder.path().join("default.vcl");
    fs::write(&file, fill(TEMPLATE, &words))?;
    // In the foreground, without a command line, and without another user for its child.
    command.args(["-F", "-T", "none", "-j", "none"]).arg("-f").arg(file);
    command.arg("-n").arg(room.cache.path()).arg("-a").arg(room.address.to_string());
    command.arg("-s").arg(format!("malloc,{}m", scene.memory));
    command.args(PARAMETERS.iter().flat_map(|parameter| ["-p", parameter]));
    Ok(())
}
