//! Through a company's proxy: what it is told, what it never learns, and how its failures read.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what a test cannot prepare is its failure"
)]

mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use monigate::monime::SessionId;
use monigate::sandbox::{DEFAULT_TOKEN, Sandbox};
use support::client::{ask, get};
use support::gateway::{self, Gateway, PATIENCE, SPACE, space};
use support::leaks::{Said, base64, leak};
use support::process::{self, Process, Ran};
use support::proxy::{Manner, Proxy};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

const UNREACHABLE: (u16, &str) = (502, "gateway_upstream_unreachable");
/// Who we are to the proxy, and the same in a URL.
const PASSWORD: &str = "Pw7@Kx3/Wv9:Rt2Yp8Lm";
const IN_A_URL: &str = "shop:Pw7%40Kx3%2fWv9%3aRt2Yp8Lm";

/// A Monime that speaks https, with a completed session.
struct Monime {
    folder: TempDir,
    sandbox: Sandbox,
    base_url: String,
    id: SessionId,
    _served: JoinSet<()>,
}

impl Monime {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (sandbox, base_url, served) = gateway::play(Some(folder.path())).await;
        let id = sandbox.create(&space());
        sandbox.put(&space(), &id, "completed");
        Self { folder, sandbox, base_url, id, _served: served }
    }

    fn ca(&self) -> String {
        format!("monime.ca_file={}", self.folder.path().join("ca.pem").display())
    }

    fn host(&self) -> &str {
        self.base_url.trim_start_matches("https://")
    }

    fn calls(&self) -> u64 {
        self.sandbox.seen().requests
    }

    /// A gateway that trusts it.
    async fn gateway(&self, settings: &[&str]) -> Gateway {
        Gateway::before(&self.base_url, &[&[self.ca().as_str()], settings].concat()).await
    }

    /// What the program says that looks the session up at the most talkative level, in this environment.
    async fn get(&self, settings: &[&str], environment: &[(&str, &str)]) -> Ran {
        let (id, base_url, ca) = (self.id.to_string(), format!("monime.base_url={}", self.base_url), self.ca());
        let mut arguments = vec!["get", &id, "--log-level", "trace", "--set", &base_url, "--set", &ca];
        settings.iter().for_each(|setting| arguments.extend(["--set", *setting]));
        Process::start(&arguments, &[&LEAST[..], environment].concat()).ran().await
    }
}

const LEAST: [(&str, &str); 2] =
    [("MONIGATE__MONIME__TOKEN", DEFAULT_TOKEN), ("MONIGATE__MONIME__DEFAULT_SPACE", SPACE)];

/// A file with the credentials, for its owner alone.
fn credentials(folder: &Path) -> String {
    let file = folder.join("proxy");
    std::fs::write(&file, format!("shop:{PASSWORD}\n")).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    format!("monime.proxy_credentials_file={}", file.display())
}

fn field() -> String {
    format!("proxy-authorization: Basic {}\r\n", base64(format!("shop:{PASSWORD}").as_bytes()))
}

async fn ran(arguments: &[&str], environment: &[(&str, &str)]) -> Ran {
    Process::start(arguments, &[&LEAST[..], environment].concat()).ran().await
}

/// Fails if any of the secrets is in what was said.
fn keeps_quiet(what: &str, ran: &Ran) {
    let mut said = Said::default();
    said.heard(&format!("{what}, output"), ran.out.clone());
    said.heard(&format!("{what}, errors"), ran.err.clone());
    for secret in [DEFAULT_TOKEN, PASSWORD, IN_A_URL, "hunter2-hunter2"] {
        said.keeps(secret);
    }
}

#[tokio::test]
async fn a_proxy_is_told_the_host_and_learns_nothing_else() {
    let (monime, proxy) = (Monime::start().await, Proxy::start(Manner::Open).await);
    let gateway = monime.gateway(&[&proxy.setting()]).await;
    let answer = gateway.look_up(&monime.id).await;
    assert_eq!((answer.status, answer.header("via")), (200, Some("2 monigate")), "{answer:?}");
    monime.sandbox.put(&space(), &monime.id, "pending");
    let other = monime.sandbox.create(&space());
    assert_eq!(gateway.look_up(&other).await.status, 200);
    assert_eq!(monime.calls(), 2);

    let host = monime.host();
    let told = format!("connect {host} http/1.1\r\nhost: {host}\r\n\r\n");
    assert_eq!(proxy.heads(), [told], "one tunnel serves both");
    let carried = proxy.carried();
    assert!(carried.len() > 1000, "it all went through");
    assert_eq!(leak(DEFAULT_TOKEN, &carried), None);
    for id in [monime.id.to_string(), other.to_string()] {
        assert!(!carried.windows(id.len()).any(|window| window == id.as_bytes()));
    }
}

#[tokio::test]
async fn credentials_go_to_the_proxy_and_never_to_monime() {
    let (monime, proxy) = (Monime::start().await, Proxy::start(Manner::OpenFor(field())).await);
    let gateway = monime.gateway(&[&proxy.setting(), &credentials(monime.folder.path())]).await;
    assert_eq!(gateway.look_up(&monime.id).await.status, 200);
    assert_eq!(proxy.heads().len(), 1);
    assert_eq!(proxy.heads()[0].matches("authorization").count(), 1, "{:?}", proxy.heads());
    let seen = monime.sandbox.seen().last.unwrap();
    let mut names: Vec<_> = seen.headers.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    let ours = ["accept", "accept-encoding", "authorization", "monime-space-id", "monime-version", "user-agent"];
    assert_eq!(names, ours);
}

#[tokio::test]
async fn a_proxy_that_reads_along_is_taken_for_nobody() {
    let (monime, theirs) = (Monime::start().await, Monime::start().await);
    let proxy = Proxy::start(Manner::Misdirect(theirs.host().replace("localhost", "127.0.0.1").parse().unwrap())).await;
    let gateway = monime.gateway(&[&proxy.setting()]).await;
    let (code, reason) = gateway.look_up(&monime.id).await.failure();
    assert_eq!((code, reason.as_str()), UNREACHABLE);
    assert_eq!((monime.calls(), theirs.calls(), proxy.heads().len()), (0, 0, 1));
}

#[tokio::test]
async fn plain_http_to_this_machine_never_goes_through_a_proxy() {
    let proxy = Proxy::start(Manner::Open).await;
    let gateway = Gateway::with(&[&proxy.setting()]).await;
    assert_eq!(gateway.look_up(gateway.completed()).await.status, 200);
    assert!(proxy.heads().is_empty());
}

#[tokio::test]
async fn the_connect_deadline_bounds_the_proxy_and_the_tls_behind_it() {
    let monime = Monime::start().await;
    // Far longer than anybody here waits, so that only the first bound can end it.
    let long = format!("{}s", PATIENCE.as_secs() * 3);
    let bounds = [
        "monime.timeouts.connect=200ms".to_owned(),
        format!("monime.timeouts.attempt={long}"),
        format!("monime.timeouts.total={long}"),
    ];
    for (manner, expected) in [(Manner::Ignore, UNREACHABLE), (Manner::Pretend, (504, "gateway_upstream_timeout"))] {
        let proxy = Proxy::start(manner).await;
        let settings = [&bounds[0], &bounds[1], &bounds[2], &proxy.setting()];
        let gateway = monime.gateway(&settings.map(String::as_str)).await;
        let (code, reason) = gateway.look_up(&monime.id).await.failure();
        assert_eq!((code, reason.as_str()), expected);
        assert_eq!(proxy.heads().len(), 3, "each attempt has a deadline of its own");
    }
    assert_eq!(monime.calls(), 0);
}

#[tokio::test]
async fn the_log_tells_the_failures_of_a_proxy_apart_and_keeps_its_credentials() {
    let monime = Monime::start().await;
    let file = credentials(monime.folder.path());
    let host = monime.host();
    let refused = |status: &str| format!("answered CONNECT {host} with {status}");
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let broken = "broke off, or does not speak HTTP";
    for (manner, settings, cause) in [
        (
            Some(Manner::OpenFor("nobody".into())),
            &[][..],
            "asks for credentials (407): set monime.proxy_credentials_file",
        ),
        (
            Some(Manner::OpenFor("nobody".into())),
            &[file.as_str()],
            "does not accept the credentials from monime.proxy_credentials_file (407)",
        ),
        (Some(Manner::Say("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")), &[], &refused("403 Forbidden")),
        (Some(Manner::Say("HTTP/1.1 503 x\r\n\r\nno route")), &[], &refused("503 Service Unavailable")),
        (Some(Manner::Say("HTTP/1.1 302 Found\r\nLocation: http://portal/\r\n\r\n")), &[], &refused("302 Found")),
        (Some(Manner::Say("SSH-2.0-OpenSSH\r\n\r\n")), &[], broken),
        (Some(Manner::Say("HTTP/1.1 200 OK\r\n\r\nwelcome")), &[], broken),
        (Some(Manner::Say("")), &[], broken),
        (Some(Manner::Ignore), &["monime.timeouts.connect=200ms"], "opened no tunnel within monime.timeouts.connect"),
        (None, &[], "cannot be reached"),
    ] {
        let proxy = match manner {
            Some(manner) => Some(Proxy::start(manner).await),
            None => None,
        };
        let address = proxy.as_ref().map_or(taken, |proxy| proxy.address);
        let setting = format!("monime.proxy=http://{address}");
        let ran = monime.get(&[settings, &[&setting]].concat(), &[]).await;
        let (code, reason) = UNREACHABLE;
        assert!(
            ran.code == Some(1) && ran.out.contains(reason) && ran.err.contains(&format!("HTTP {code}")),
            "{ran:?}"
        );
        let line = ran.err.lines().find(|line| line.contains("failed")).unwrap();
        assert!(line.contains(&format!("the proxy http://{address} {cause}")), "{cause}: {line}");
        assert!(!ran.out.contains("proxy"), "callers are not told: {}", ran.out);
        keeps_quiet(cause, &ran);
    }
    assert_eq!(monime.calls(), 0);
}

#[tokio::test]
async fn the_environment_names_a_proxy_unless_the_key_does_or_the_host_is_exempt() {
    let monime = Monime::start().await;
    let (named, other) = (Proxy::start(Manner::Open).await, Proxy::start(Manner::Open).await);
    let (one, two) = (format!("http://{}", named.address), format!("http://{}", other.address));
    let key = other.setting();
    let name = monime.host().split(':').next().unwrap();
    let flag = "from flag --set";
    for (environment, settings, by, line) in [
        (&[("HTTPS_PROXY", one.as_str())][..], &[][..], Some(&named), "from environment variable HTTPS_PROXY"),
        (&[("https_proxy", &one)], &[], Some(&named), "from environment variable https_proxy"),
        (&[("ALL_PROXY", &one)], &[], Some(&named), "from environment variable ALL_PROXY"),
        (&[("all_proxy", &one)], &[], Some(&named), "from environment variable all_proxy"),
        (&[("HTTPS_PROXY", &one), ("ALL_PROXY", &two)], &[], Some(&named), "from environment variable HTTPS_PROXY"),
        (&[("HTTPS_PROXY", " "), ("https_proxy", &one)], &[], Some(&named), "from environment variable https_proxy"),
        (&[("HTTP_PROXY", &one), ("http_proxy", &one)], &[], None, "from default"),
        (&[("HTTPS_PROXY", &one), ("NO_PROXY", name)], &[], None, "from environment variable NO_PROXY"),
        (&[("HTTPS_PROXY", &one), ("no_proxy", "x, *")], &[], None, "from environment variable no_proxy"),
        (&[("HTTPS_PROXY", &one), ("NO_PROXY", "10.0.0.0/8,corp")], &[], Some(&named), "variable HTTPS_PROXY"),
        (&[("HTTPS_PROXY", "socks5://x:1"), ("NO_PROXY", "*")], &[], None, "from environment variable NO_PROXY"),
        (&[("HTTPS_PROXY", &one), ("NO_PROXY", "*")], &[key.as_str()], Some(&other), flag),
        (&[("HTTPS_PROXY", &one)], &["monime.proxy=none"], None, flag),
        (&[("HTTPS_PROXY", "socks5://x:1")], &["monime.proxy=none"], None, flag),
    ] {
        let before = [&named, &other].map(|proxy| proxy.heads().len());
        let answered = monime.get(settings, environment).await;
        assert_eq!(answered.code, Some(0), "{environment:?} {settings:?}: {answered:?}");
        let heard = [&named, &other].map(|proxy| proxy.heads().len());
        let expected = [&named, &other].map(|proxy| usize::from(by.is_some_and(|by| by.address == proxy.address)));
        assert_eq!([heard[0] - before[0], heard[1] - before[1]], expected, "{environment:?} {settings:?}");

        let base_url = format!("monime.base_url={}", monime.base_url);
        let mut arguments = vec!["check", "--set", &base_url];
        settings.iter().for_each(|setting| arguments.extend(["--set", *setting]));
        let checked = ran(&arguments, environment).await;
        let shown = by.map_or("none".to_owned(), |by| format!("http://{}", by.address));
        let said = checked.out.lines().find(|line| line.starts_with("proxy: ")).unwrap_or_default();
        assert!(said.starts_with(&format!("proxy: {shown}, ")) && said.ends_with(line), "{environment:?}: {said}");
        arguments[0] = "config";
        let config = ran(&arguments, environment).await;
        let said = config.out.lines().find(|line| line.starts_with("monime.proxy ")).unwrap_or_default();
        assert!(said.starts_with(&format!("monime.proxy = \"{shown}\"")) && said.ends_with(line), "{said}");
    }
}

#[tokio::test]
async fn credentials_from_the_environment_are_decoded_used_and_never_said() {
    let (monime, proxy) = (Monime::start().await, Proxy::start(Manner::OpenFor(field())).await);
    let wrong = Proxy::start(Manner::OpenFor("nobody".into())).await;
    let good = format!("http://{IN_A_URL}@{}", proxy.address);
    let ran_well = monime.get(&[], &[("HTTPS_PROXY", &good)]).await;
    assert_eq!(ran_well.code, Some(0), "{ran_well:?}");
    assert_eq!(proxy.heads().len(), 1);
    keeps_quiet("get", &ran_well);
    let bad = format!("http://{IN_A_URL}@{}", wrong.address);
    let ran_badly = monime.get(&[], &[("HTTPS_PROXY", &bad)]).await;
    assert!(ran_badly.err.contains("does not accept the credentials from HTTPS_PROXY (407)"), "{ran_badly:?}");
    keeps_quiet("get", &ran_badly);

    for command in [&["check"][..], &["config"], &["config", "--format", "json"]] {
        let said = ran(command, &[("HTTPS_PROXY", &good)]).await;
        assert!(said.code == Some(0) && said.out.contains(&format!("http://{}", proxy.address)), "{said:?}");
        keeps_quiet("a command", &said);
    }
    let said = ran(&["check"], &[("HTTPS_PROXY", &good)]).await;
    assert!(said.out.contains("with credentials from HTTPS_PROXY"), "{}", said.out);

    let (base_url, ca) = (format!("monime.base_url={}", monime.base_url), monime.ca());
    let listen = ["run", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--log-level", "trace"];
    let arguments = [&listen[..], &["--set", &base_url, "--set", &ca]].concat();
    let environment = [&LEAST[..], &[("HTTPS_PROXY", good.as_str())]].concat();
    let process::Gateway { address, admin, mut process } = process::Gateway::start(&arguments, &environment).await;
    assert_eq!(ask(&address, &get(&support::client::path(&monime.id), "")).await.status, 200);
    let mut said = Said::default();
    for target in ["/config", "/metrics", "/readyz?verbose"] {
        said.heard(target, ask(&admin, &get(target, "")).await.text());
    }
    said.keeps(PASSWORD);
    let way = process.says("Monime is asked through a proxy").await;
    assert_eq!(way["proxy"], format!("http://{}", proxy.address));
    assert_eq!(way["source"], "environment variable HTTPS_PROXY");
    process.signal("TERM");
    let ended = process.ran().await;
    assert_eq!(ended.code, Some(0));
    keeps_quiet("run", &ended);
}

#[tokio::test]
async fn what_names_no_usable_proxy_is_a_problem_and_its_password_is_not_repeated() {
    let folder = tempfile::tempdir().unwrap();
    let file = credentials(folder.path());
    let with_password = "http://shop:hunter2-hunter2@proxy.corp:3128";
    let toml = folder.path().join("a.toml");
    std::fs::write(&toml, format!("[monime]\nproxy = \"{with_password}\"\n")).unwrap();
    let flag = format!("monime.proxy={with_password}");
    let open = folder.path().join("open");
    std::fs::write(&open, "shop:hunter2-hunter2").unwrap();
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o644)).unwrap();
    let open = format!("monime.proxy_credentials_file={}", open.display());
    let named = "monime.proxy=http://proxy.corp:3128";
    for (arguments, environment, said) in [
        (&["--config", toml.to_str().unwrap()][..], &[][..], "set monime.proxy_credentials_file, or"),
        (&["--set", &flag], &[], "set monime.proxy_credentials_file, or"),
        (&[], &[("MONIGATE__MONIME__PROXY", with_password)], "set monime.proxy_credentials_file, or"),
        (&["--set", "monime.proxy="], &[], "http://proxy.corp:3128, or none"),
        (&["--set", "monime.proxy=https://shop:hunter2-hunter2@p:1"], &[], "https, SOCKS and others are not spoken"),
        (&["--set", "monime.proxy=https://p:1", "--set", "monime.base_url=no"], &[], "https, SOCKS"),
        (&[], &[("ALL_PROXY", "socks5://shop:hunter2-hunter2@p:1")], "(environment variable ALL_PROXY)"),
        (&[], &[("HTTPS_PROXY", "http://shop:hunter2-hunter2/@p:1")], "percent-encoded"),
        (&[], &[("HTTPS_PROXY", "http://shop:hunter2%0a-hunter2@p:1")], "cannot be used"),
        (&["--set", &file], &[("HTTPS_PROXY", with_password)], "given twice: here and by HTTPS_PROXY"),
        (&["--set", &file], &[], "there is no proxy that these credentials are for"),
        (&["--set", named, "--set", &open], &[], "chmod 0440"),
        (
            &["--set", named, "--set", "monime.proxy_credentials_file=shop:/hunter2-hunter2"],
            &[],
            "is no path of a file",
        ),
        (&["--set", named, "--set", "monime.proxy_credentials_file=/nowhere"], &[], "does not exist"),
    ] {
        for command in ["check", "run", "config"] {
            let ran = ran(&[&[command][..], arguments].concat(), environment).await;
            assert_eq!(ran.code, Some(78), "{arguments:?} {environment:?}: {ran:?}");
            assert!(ran.err.contains("monime.proxy") && ran.err.contains(said), "{said}: {}", ran.err);
            keeps_quiet(said, &ran);
        }
    }
}
