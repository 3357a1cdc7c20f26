//! The real process keeps its secrets to itself: no core, no look into its memory, no privilege; and it needs none to serve.
//!
//! What takes another user or a root that cannot be written wants `setpriv` and `unshare` of util-linux, and to be root or
//! to be let make user namespaces.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what a test cannot prepare is its failure"
)]
#![allow(clippy::disallowed_methods, reason = "which tools there are is for the test's environment to say")]

mod support;

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};

use monigate::sandbox::DEFAULT_TOKEN;
use serde_json::Value;
use support::client::{get, path};
use support::gateway::{SPACE, eventually, play, space};
use support::process::{Gateway, Process};

const PROGRAM: &str = env!("CARGO_BIN_EXE_monigate");
/// The user that owns nothing.
const NOBODY: u32 = 65_534;
/// Everything of root's given up, for good.
const UNPRIVILEGED: &str = "setpriv --no-new-privs --bounding-set=-all --inh-caps=-all";

/// A shell's command, which becomes the program, before `base_url` on free ports.
fn serving(script: &str, base_url: &str) -> Command {
    let run =
        format!("{PROGRAM} run --listen 127.0.0.1:0 --set admin.address=127.0.0.1:0 --set monime.base_url={base_url}");
    shell(&script.replace("RUN", &run))
}

fn shell(script: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command.envs([("MONIGATE__MONIME__TOKEN", DEFAULT_TOKEN), ("MONIGATE__MONIME__DEFAULT_SPACE", SPACE)]);
    command
}

fn output(script: &str) -> Output {
    shell(script).output().unwrap()
}

fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// The words after a name at the beginning of a line.
fn words(text: &str, name: &str) -> Vec<String> {
    let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name} in {text}"));
    line[name.len()..].trim_start_matches(':').split_whitespace().map(str::to_owned).collect()
}

fn of_process(process: &Process, file: &str) -> String {
    fs::read_to_string(format!("/proc/{}/{file}", process.id())).unwrap()
}

/// Whether this can be done here, which `script` tries out. Elsewhere than in `.ci/run` a test without it says so and
/// passes.
fn ready(script: &str, what: &str) -> bool {
    let tried = output(script);
    if tried.status.success() {
        return true;
    }
    let why = format!("{what} is not to be had: {}", String::from_utf8_lossy(&tried.stderr).trim());
    assert!(env::var_os("MONIGATE_REQUIRE_TOOLS").is_none(), "{why}");
    // Past the harness, which keeps what a passing test prints to itself.
    writeln!(io::stderr().lock(), "NOT RUN, a test of tests/hardened.rs: {why}").unwrap();
    false
}

/// What operators see of the process itself, all of it above zero.
async fn sees_itself(gateway: &Gateway) {
    let metrics = gateway.operator("/metrics").await.text();
    for name in [
        "process_open_fds",
        "process_max_fds",
        "process_resident_memory_bytes",
        "process_virtual_memory_bytes",
        "process_start_time_seconds",
        "process_threads",
    ] {
        let value = words(&metrics, &format!("{name} "))[0].parse::<f64>().unwrap();
        assert!(value > 0.0, "{name} {value}");
    }
    assert!(metrics.contains("process_cpu_seconds_total "));
}

/// Ends it, and looks through its log for anything that went wrong.
async fn ends_well(gateway: Gateway) {
    gateway.process.signal("TERM");
    let ran = gateway.process.ran().await;
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    for line in ran.err.lines() {
        assert!(line.contains("\"level\":\"INFO\""), "{line}");
    }
}

#[tokio::test]
async fn no_core_is_left_of_a_process_that_is_aborted() {
    let (_sandbox, base_url, _served) = play(None).await;
    let folder = tempfile::tempdir().unwrap();
    let mut command = serving("ulimit -c unlimited; exec RUN", &base_url);
    command.current_dir(folder.path());
    let gateway = Gateway::of(Process::of(command)).await;
    let mut process = gateway.process;
    process.signal("ABRT");
    let status = process.status().await;
    assert_eq!((status.signal(), status.core_dumped()), (Some(6), false), "{status:?}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn what_it_does_not_need_is_given_up_before_it_serves() {
    let (_sandbox, base_url, _served) = play(None).await;
    let gateway = Gateway::of(Process::of(serving("ulimit -c unlimited; umask 000; exec RUN", &base_url))).await;
    let limits = of_process(&gateway.process, "limits");
    assert_eq!(words(&limits, "Max core file size")[..2], ["0", "0"], "{limits}");
    let files = words(&limits, "Max open files");
    assert_eq!(files[0], files[1], "but for open files, of which it has all that there are");
    let status = of_process(&gateway.process, "status");
    assert_eq!((words(&status, "NoNewPrivs"), words(&status, "Umask")), (vec!["1".into()], vec!["0077".into()]));
}

#[tokio::test]
async fn no_process_of_the_same_user_looks_inside_and_metrics_still_do() {
    let (sandbox, base_url, _served) = play(None).await;
    let user = format!("--reuid={NOBODY} --regid={NOBODY} --clear-groups");
    // Who is no root has its own user only, which is as good.
    let unprivileged = if is_root() { format!("{UNPRIVILEGED} {user}") } else { "env".to_owned() };
    if !ready(&format!("{unprivileged} true"), "another user, by setpriv of util-linux") {
        return;
    }
    let gateway = Gateway::of(Process::of(serving(&format!("exec {unprivileged} RUN"), &base_url))).await;
    let id = gateway.process.id();
    let owner = |file: &str| fs::metadata(format!("/proc/{id}/{file}")).unwrap().uid();
    assert_ne!(owner(""), 0, "the process is somebody's");
    for file in ["environ", "mem", "fd", "maps"] {
        assert_eq!(owner(file), 0, "{file} is root's, which is how the kernel shows that nobody may look");
    }
    let look = |id: &str| output(&format!("{unprivileged} cat /proc/{id}/environ")).status.success();
    assert!(look("self"), "others it may look at");
    assert!(!look(&id.to_string()));

    let session = sandbox.create(&space());
    sandbox.put(&space(), &session, "completed");
    assert_eq!(support::client::ask(&gateway.address, &get(&path(&session), "")).await.status, 200);
    sees_itself(&gateway).await;
    ends_well(gateway).await;
}

#[tokio::test]
async fn it_serves_from_a_root_that_nobody_can_write_without_a_privilege() {
    let (sandbox, base_url, _served) = play(None).await;
    let read_only = "mount -o remount,bind,ro / && ! touch /probe 2>/dev/null";
    let (space_of_its_own, user) = if is_root() {
        ("unshare --mount", format!("--reuid={NOBODY} --regid={NOBODY} --clear-groups"))
    } else {
        ("unshare --user --map-root-user --mount", String::new())
    };
    let confined =
        |last: &str| format!("exec {space_of_its_own} sh -c '{read_only} && exec {UNPRIVILEGED} {user} {last}'");
    if !ready(&confined("true"), "a root of its own, by unshare and setpriv of util-linux") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = serving(&confined("RUN"), &base_url);
    command.current_dir(folder.path());
    let gateway = Gateway::of(Process::of(command)).await;
    let status = of_process(&gateway.process, "status");
    for capabilities in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(words(&status, capabilities), ["0000000000000000"], "{capabilities}");
    }
    let mounts = of_process(&gateway.process, "mounts");
    let root = mounts.lines().rfind(|line| line.split(' ').nth(1) == Some("/")).unwrap();
    assert!(root.split(' ').nth(3).unwrap().split(',').any(|option| option == "ro"), "{root}");

    let session = sandbox.create(&space());
    sandbox.put(&space(), &session, "completed");
    for _ in 0..2 {
        let answer = support::client::ask(&gateway.address, &get(&path(&session), "")).await;
        assert_eq!((answer.status, answer.session().as_str()), (200, "completed"));
    }
    sees_itself(&gateway).await;
    gateway.process.signal("HUP");
    let mut gateway = gateway;
    gateway.process.says("configuration reloaded").await;
    ends_well(gateway).await;
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// The system calls that the profile for containers allows.
fn allowed() -> BTreeSet<String> {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/seccomp.json")).unwrap();
    let profile: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(profile["defaultAction"], "SCMP_ACT_ERRNO");
    let rules = profile["syscalls"].as_array().unwrap();
    assert!(rules.iter().all(|rule| rule["action"] == "SCMP_ACT_ALLOW"));
    let names = rules.iter().flat_map(|rule| rule["names"].as_array().unwrap());
    names.map(|name| name.as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn the_profile_for_containers_allows_all_that_it_does_and_nothing_that_breaks_out() {
    let allowed = allowed();
    for name in ["ptrace", "process_vm_readv", "mount", "unshare", "setns", "bpf", "io_uring_setup", "keyctl", "setuid"]
    {
        assert!(!allowed.contains(name), "{name}");
    }
    if !ready("strace -o /dev/null true", "strace") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (traced, socket) = (folder.path().join("traced"), folder.path().join("gateway.sock"));
    let (sandbox, base_url, _served) = play(Some(folder.path())).await;
    // With its name looked up as well.
    let base_url = base_url.replace("127.0.0.1", "localhost");
    // What is not allowed fails as it would by the profile. A name that this machine does not have is passed over.
    let names: Vec<_> = allowed.iter().map(|name| format!("?{name}")).collect();
    let inject = format!("inject=!{}:error=ENOSYS", names.join(","));
    let trace = format!("exec strace -D -f -q -o {} -e trace=all -e \"{inject}\"", traced.display());
    let settings = format!(
        "--set monime.ca_file={0}/ca.pem --set admin.address=unix:{1}",
        folder.path().display(),
        socket.display()
    );
    let gateway = Gateway::of(Process::of(serving(&format!("{trace} RUN {settings}"), &base_url))).await;

    let session = sandbox.create(&space());
    sandbox.put(&space(), &session, "completed");
    for cache_status in ["monigate; fwd=miss; stored", "monigate; hit"] {
        let answer = support::client::ask(&gateway.address, &get(&path(&session), "")).await;
        assert!(answer.status == 200 && answer.cache_status().starts_with(cache_status), "{answer:?}");
    }
    sees_itself(&gateway).await;
    gateway.process.signal("HUP");
    let mut gateway = gateway;
    gateway.process.says("configuration reloaded").await;
    let id = gateway.process.id().to_string();
    ends_well(gateway).await;
    let text = || fs::read_to_string(&traced).unwrap();
    // Short ids are padded.
    let is_end = |line: &str| line.split_whitespace().next() == Some(&id) && line.ends_with("+++ exited with 0 +++");
    eventually("the trace ends", async || text().lines().any(is_end).then_some(())).await;
    let text = text();
    let called =
        text.lines().filter_map(|line| line.split_once(' ')?.1.trim_start().split_once('(').map(|call| call.0));
    let called: BTreeSet<_> =
        called.filter(|name| name.bytes().all(|b| b == b'_' || b.is_ascii_alphanumeric())).collect();
    assert!(["accept4", "connect", "futex", "umask"].iter().all(|name| called.contains(name)), "{called:?}");
    let beyond: Vec<_> = called.iter().filter(|name| !allowed.contains(**name)).collect();
    assert!(beyond.is_empty(), "not in deploy/seccomp.json: {beyond:?}");
}

#[test]
fn a_secret_that_everyone_may_read_is_refused_whatever_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let ran = output(&format!(
        "cd {} && umask 022 && \
        printf mon_unit > token && printf user:password > proxy && printf key > key.pem && printf cert > cert.pem && \
        chmod 644 token proxy key.pem && unset MONIGATE__MONIME__TOKEN && {PROGRAM} check --set monime.token_file=token \
        --set monime.proxy=http://proxy:1 --set monime.proxy_credentials_file=proxy \
        --set listen.tls.cert_file=cert.pem --set listen.tls.key_file=key.pem",
        folder.path().display()
    ));
    let said = String::from_utf8(ran.stderr).unwrap();
    assert_eq!(ran.status.code(), Some(78), "{said}");
    for key in ["monime.token_file", "monime.proxy_credentials_file", "listen.tls.key_file"] {
        let problem =
            said.split("\n  ").find(|problem| problem.starts_with(key)).unwrap_or_else(|| panic!("{key}: {said}"));
        assert!(problem.contains("can be read by everyone on this machine (mode 0644)"), "{problem}");
    }
}
