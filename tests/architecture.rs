//! The house rules that a compiler does not know, and the proof that they hold: who may import whom, which crate has
//! which owner, what a file looks like, what lies at the top.
//!
//! Each rule is a table; to change a rule is to change its row, with a reason. The checker is tested like anything
//! else, at the end of this file, on small trees that break one rule each.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot read the tree has failed")]

#[path = "architecture/source.rs"]
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use source::Source;

/// Who may import whom: each module, and every module of ours that it may name. A row names only rows above it, so
/// that imports can point one way only. `lib` stands for what `lib.rs` itself defines.
const IMPORTS: &[(&str, &[&str])] = &[
    ("monime", &[]),
    // What Monime's operations are called.
    ("telemetry", &["monime"]),
    // What Monime's tokens begin with and whose they are; that a secret was read anew is counted where it happens.
    ("secret", &["monime", "telemetry"]),
    // Knows nothing of Monime: of secrets, how a private key's file is read.
    ("server", &["telemetry", "secret"]),
    // The names in a client's certificate are read where connections are.
    ("caller", &["monime", "secret", "telemetry", "server"]),
    ("upstream", &["monime", "secret", "telemetry"]),
    // Knows neither callers nor credentials.
    ("lookup", &["monime", "telemetry", "upstream"]),
    // Knows neither sockets nor credentials: of the server, what a listener bears and why it turns requests away.
    ("gateway", &["monime", "telemetry", "server", "caller", "upstream", "lookup"]),
    ("admin", &["monime", "telemetry", "server", "caller", "lookup"]),
    // What a program that only wants a Monime to talk to would take along.
    ("sandbox", &["monime", "server"]),
    // Whatever it builds.
    ("config", &["monime", "telemetry", "secret", "server", "caller", "upstream", "lookup", "gateway", "admin"]),
    // Everything but the sandbox: a gateway must not know that its Monime is none.
    (
        "assembly",
        &["monime", "telemetry", "secret", "server", "caller", "upstream", "lookup", "gateway", "admin", "config"],
    ),
    // The assembly besides.
    (
        "lib",
        &[
            "monime",
            "telemetry",
            "secret",
            "server",
            "caller",
            "upstream",
            "lookup",
            "gateway",
            "admin",
            "config",
            "assembly",
        ],
    ),
    ("cli", ALL),
    ("main", ALL),
];

/// Every module.
const ALL: &[&str] = &["*"];

/// Which crate is whose: a crate, or a part of one, and the modules that may name it. The longest row that fits counts.
/// Every dependency has a row, so that taking a new one in is a decision about where it stays.
const OWNERS: &[(&str, &[&str])] = &[
    // The vocabulary of the wire and of the runtime.
    ("bytes", ALL),
    ("futures_util", ALL),
    ("http", ALL),
    ("http_body", ALL),
    ("http_body_util", ALL),
    ("thiserror", ALL),
    ("tower", ALL),
    ("tracing", ALL),
    // Not `monime`, which is pure: no clock, no I/O.
    (
        "tokio",
        &["secret", "server", "caller", "upstream", "lookup", "gateway", "admin", "sandbox", "assembly", "lib", "cli"],
    ),
    // Connections.
    ("hyper", &["server", "upstream", "sandbox"]),
    ("hyper::client", &["upstream"]),
    ("hyper::server", &["server"]),
    // Streams and their windows, where a request over HTTP/2 is answered without a task of its own.
    ("h2", &["server"]),
    ("hyper_util", &["server", "upstream", "sandbox"]),
    ("hyper_util::client", &["upstream"]),
    ("hyper_util::server", &["server"]),
    ("hyper_rustls", &["upstream"]),
    ("rustls", &["server", "upstream", "sandbox"]),
    ("rustls_pki_types", &["server", "upstream", "sandbox"]),
    ("tokio_rustls", &["server", "upstream", "sandbox"]),
    // One of two kinds of streams.
    ("tokio_util", &["server"]),
    ("webpki", &["server"]),
    ("webpki_roots", &["upstream"]),
    ("rcgen", &["sandbox"]),
    ("flate2", &["upstream", "sandbox"]),
    // What an answer means and where it is kept.
    ("serde", ALL),
    // In `caller`: an issuer's key set.
    ("serde_json", &["monime", "caller", "admin", "sandbox", "config", "cli"]),
    // Secrets, the service and its parts are swapped under those who use them; nothing else of ours changes in place.
    ("arc_swap", &["secret", "server", "caller", "assembly"]),
    // Digests, and comparing in constant time.
    ("aws_lc_rs", &["secret", "lookup", "caller", "sandbox"]),
    ("equivalent", &["monime"]),
    ("fastrand", &["server", "upstream", "lookup", "gateway", "sandbox"]),
    ("foldhash", &["lookup", "caller", "upstream"]),
    ("hex", &["lookup", "caller", "gateway", "sandbox"]),
    // Service-account tokens.
    ("jsonwebtoken", &["caller"]),
    ("moka", &["lookup"]),
    // In `server` and `lookup`: the ends of lines.
    ("memchr", &["secret", "server", "lookup"]),
    ("secrecy", &["secret"]),
    // How a proxy's credentials are read from a URL and written into a header field; how a gateway key is written.
    ("base64", &["secret", "caller"]),
    ("percent_encoding", &["secret"]),
    // In `cli`: a key on its way from standard input.
    ("zeroize", &["secret", "server", "caller", "config", "cli"]),
    ("pin_project_lite", &["server", "gateway"]),
    // What the operator says and sees.
    ("anstyle", &["cli"]),
    ("clap", &["cli"]),
    ("config", &["config"]),
    ("httpdate", &["upstream", "server"]),
    ("humantime", &["config", "sandbox", "cli"]),
    ("itoa", &["gateway", "lookup"]),
    // The process's own limits.
    ("rustix", &["cli"]),
    ("schemars", &["config"]),
    ("strsim", &["config"]),
    ("prometheus", &["telemetry"]),
    ("prometheus::TextEncoder", &["admin"]),
    ("tracing_appender", &["telemetry"]),
    ("tracing_subscriber", &["telemetry", "cli"]),
    // The process: read and ended in one place.
    ("std::env", &["main"]),
    ("std::process", &["main"]),
];

/// The longest file, its tests not counted.
const MAX_LINES: usize = 350;
/// Files that may be longer, each with its reason on the line above. None is.
const LONGER: &[&str] = &[];
/// Names that say nothing about what is inside.
const EMPTY_NAMES: &[&str] =
    &["common", "constants", "helper", "helpers", "manager", "misc", "mod", "prelude", "types", "util", "utils"];
/// What may lie at the top. Tools that can be pointed at a dotfile are.
const TOP: &[&str] = &[
    ".cargo",
    ".ci",
    ".clippy.toml",
    ".deny.toml",
    ".dockerignore",
    ".gitattributes",
    ".github",
    ".gitignore",
    ".rustfmt.toml",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "SECURITY.md",
    "benches",
    "config",
    "deploy",
    "docs",
    "examples",
    "rust-toolchain.toml",
    "src",
    "tests",
];

/// A tree to check: the names at its top, and the files that matter with their texts.
#[derive(Default)]
struct Tree {
    top: BTreeSet<String>,
    files: BTreeMap<String, String>,
}

/// A file of `src` and the module it is.
struct Module<'a> {
    file: &'a str,
    /// The module below `crate`, outermost first; empty for `lib.rs` and `main.rs`.
    path: Vec<&'a str>,
    source: Source,
    /// Whether it belongs to the program and not to the library.
    in_program: bool,
}

#[test]
fn imports_point_one_way() {
    assert_kept(imports(&Tree::here()));
}

#[test]
fn every_crate_stays_with_its_owners() {
    assert_kept(owners(&Tree::here()));
}

#[test]
fn every_file_says_what_it_owns_and_fits_in_a_head() {
    assert_kept(files(&Tree::here()));
}

#[test]
fn the_top_level_holds_what_everyone_looks_for_and_nothing_else() {
    assert_kept(top(&Tree::here()));
}

#[test]
fn the_map_is_of_this_country() {
    assert_kept(map(&Tree::here(), &fs::read_to_string("ARCHITECTURE.md").unwrap()));
}

fn assert_kept(broken: Vec<String>) {
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

// === the rules ===

fn imports(tree: &Tree) -> Vec<String> {
    let (modules, mut broken) = tree.modules();
    let known = |name: &str| IMPORTS.iter().any(|(module, _)| *module == name);
    for module in &modules {
        let Some((_, allowed)) = IMPORTS.iter().find(|(name, _)| *name == module.name()) else {
            let fix = "give it a row in IMPORTS in tests/architecture.rs, below everything that it names";
            broken.push(format!("{}:1: the import rule knows no module `{}`; {fix}", module.file, module.name()));
            continue;
        };
        for (line, target) in module.targets(known) {
            if target != module.name() && !holds(allowed, &target) {
                let fix = "pass the value in from above, or move it down to where both may see it";
                let text = format!("`{}` may not import `{target}` (IMPORTS, tests/architecture.rs)", module.name());
                broken.push(format!("{}:{line}: {text}; {fix}", module.file));
            }
        }
    }
    broken
}

fn owners(tree: &Tree) -> Vec<String> {
    let (modules, mut broken) = tree.modules();
    let manifest = tree.files.get("Cargo.toml").map(String::as_str).unwrap_or_default();
    for (line, name) in dependencies(manifest) {
        if !OWNERS.iter().any(|(part, _)| *part == name) {
            let fix = "give it a row in OWNERS in tests/architecture.rs: the one module that needs it";
            broken.push(format!("Cargo.toml:{line}: the dependency `{name}` has no owner; {fix}"));
        }
    }
    for module in &modules {
        for path in &module.source.paths {
            let named = path.segments.join("::");
            if let Some((part, owners)) = foreign(&named, module.name()) {
                let fix = "ask the owner for what you need, in words of its own";
                let owners = owners.join("`, `");
                let text = format!("`{named}` belongs to `{owners}` (row `{part}` of OWNERS, tests/architecture.rs)");
                broken.push(format!("{}:{}: {text}; {fix}", module.file, path.line));
            }
        }
    }
    broken
}

fn files(tree: &Tree) -> Vec<String> {
    let (modules, mut broken) = tree.modules();
    for (file, text) in tree.files.iter().filter(|(file, _)| file.ends_with(".rs")) {
        if !text.starts_with("//!") {
            broken.push(format!("{file}:1: a file opens with `//!`; say what it owns and what it refuses to do"));
        }
        // Shared code of tests is `tests/name/mod.rs`: Cargo takes `tests/name.rs` for a test of its own.
        let named = if file.starts_with("tests/") { file.trim_end_matches("/mod.rs") } else { file };
        let mut names = named.split('/').map(|name| name.trim_end_matches(".rs"));
        if let Some(name) = names.find(|name| EMPTY_NAMES.contains(name)) {
            broken.push(format!("{file}:1: `{name}` does not say what is inside; name it after what it owns"));
        }
    }
    for module in &modules {
        let lines = module.source.code_lines;
        if lines > MAX_LINES && !LONGER.contains(&module.file) {
            let fix = "take a second idea out into a file of its own";
            broken.push(format!("{}:{MAX_LINES}: {lines} lines of code, {MAX_LINES} are the most; {fix}", module.file));
        }
        for line in &module.source.switches {
            let fix = "keep it to `mod` and `use`, or tests prove another program than the one that ships";
            broken.push(format!("{}:{line}: `#[cfg(test)]` switches code; {fix}", module.file));
        }
    }
    broken
}

fn top(tree: &Tree) -> Vec<String> {
    let stray = tree.top.iter().filter(|name| !TOP.contains(&name.as_str()));
    let fix = "move it into a folder, or argue for a place in TOP in tests/architecture.rs";
    stray.map(|name| format!("{name}: the top level has no place for it; {fix}")).collect()
}

/// What `ARCHITECTURE.md` leaves out, and what it names that is not there.
fn map(tree: &Tree, text: &str) -> Vec<String> {
    let (modules, mut broken) = tree.modules();
    let names: BTreeSet<_> = modules.iter().map(Module::name).collect();
    for name in names.iter().filter(|name| !text.contains(&format!("\n| `{name}` |"))) {
        broken.push(format!("ARCHITECTURE.md: the map has no line for `{name}`; say in one what it owns and refuses"));
    }
    for (number, line) in text.lines().enumerate() {
        let files = line.split('`').skip(1).step_by(2).filter(|word| word.ends_with(".rs") && !word.contains(' '));
        for file in files.filter(|file| *file != "name.rs") {
            if !tree.files.contains_key(file) && !tree.files.contains_key(&format!("src/{file}")) {
                broken.push(format!("ARCHITECTURE.md:{}: there is no {file}; say where it went", number + 1));
            }
        }
    }
    broken
}

/// Whether a table's cell holds `name`.
fn holds(cell: &[&str], name: &str) -> bool {
    cell == ALL || cell.contains(&name)
}

/// The row that keeps `module` from naming `path`.
fn foreign(path: &str, module: &str) -> Option<&'static (&'static str, &'static [&'static str])> {
    let below =
        |path: &str, part: &str| path.strip_prefix(part).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
    let forbids = |row: &&(&str, &[&str])| !holds(row.1, module);
    let nearest = OWNERS.iter().filter(|(part, _)| below(path, part)).max_by_key(|(part, _)| part.len());
    // `use hyper_util::*` names every part of it.
    let glob = path.strip_suffix("::*");
    let parts = glob.and_then(|whole| OWNERS.iter().filter(|(part, _)| below(part, whole)).find(forbids));
    nearest.filter(forbids).or(parts)
}

/// The crates that the program is built from, as code names them, with their lines in the manifest.
fn dependencies(manifest: &str) -> Vec<(usize, String)> {
    let mut section = "";
    let mut found = Vec::new();
    for (number, line) in manifest.lines().enumerate() {
        if line.starts_with('[') {
            section = line.trim();
        } else if section == "[dependencies]"
            && let Some((name, _)) = line.split_once('=')
            && !line.starts_with('#')
        {
            found.push((number + 1, name.trim().replace('-', "_")));
        }
    }
    found
}

// === impl Tree ===

impl Tree {
    /// This repository. Cargo runs tests at its top.
    fn here() -> Self {
        let mut tree = Self { top: tracked().unwrap_or_else(present), ..Self::default() };
        for folder in ["src", "tests", "benches", "examples"] {
            tree.take(Path::new(folder));
        }
        assert!(tree.files.contains_key("src/lib.rs"), "this test must run at the top of the repository");
        tree.files.insert("Cargo.toml".to_owned(), fs::read_to_string("Cargo.toml").unwrap());
        tree
    }

    fn take(&mut self, folder: &Path) {
        let Ok(entries) = fs::read_dir(folder) else { return };
        for path in entries.map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                self.take(&path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                self.files.insert(path.to_str().unwrap().to_owned(), fs::read_to_string(&path).unwrap());
            }
        }
    }

    /// The files of `src` that are not a test's, read, and what could not be.
    fn modules(&self) -> (Vec<Module<'_>>, Vec<String>) {
        let mut modules = Vec::new();
        let mut broken = Vec::new();
        for (file, text) in self.files.iter().filter(|(file, _)| file.starts_with("src/")) {
            match Module::read(file, text) {
                Ok(module) => modules.push(module),
                Err(why) => broken.push(format!("{file}:1: {why}")),
            }
        }
        let tests: Vec<_> = modules.iter().flat_map(Module::tests).collect();
        let under = |path: &str, test: &str| {
            path.strip_prefix(test).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        modules.retain(|module| !tests.iter().any(|test| under(&module.path.join("/"), test)));
        let main = modules.iter().find(|module| module.file == "src/main.rs");
        let program = main.map(|main| main.source.modules.clone()).unwrap_or_default();
        for module in &mut modules {
            module.in_program = program.iter().any(|name| name == module.name());
        }
        (modules, broken)
    }
}

// === impl Module ===

impl<'a> Module<'a> {
    fn read(file: &'a str, text: &str) -> Result<Self, String> {
        let path = file.trim_start_matches("src/").trim_end_matches(".rs");
        let path = if matches!(path, "lib" | "main") { Vec::new() } else { path.split('/').collect() };
        let source = Source::read(text, &path)?;
        Ok(Self { file, path, source, in_program: file == "src/main.rs" })
    }

    /// The module at the top that it belongs to.
    fn name(&self) -> &'a str {
        let root = if self.file == "src/main.rs" { "main" } else { "lib" };
        self.path.first().unwrap_or(&root)
    }

    /// The modules that it declares for tests only.
    fn tests(&self) -> Vec<String> {
        let tests = self.source.test_modules.iter();
        tests.map(|test| [&self.path[..], &[test]].concat().join("/")).collect()
    }

    /// The modules of ours that it names, each with the first line that does.
    fn targets(&self, known: impl Fn(&str) -> bool) -> Vec<(usize, String)> {
        let mut targets: Vec<(usize, String)> = Vec::new();
        for path in &self.source.paths {
            let root = match path.segments[0].as_str() {
                "crate" if self.in_program || self.file == "src/main.rs" => "main",
                "crate" | "monigate" => "lib",
                _ => continue,
            };
            // What is no module is defined at the root itself.
            let target = path.segments.get(1).filter(|name| known(name)).map_or(root, String::as_str);
            if !targets.iter().any(|(_, seen)| seen == target) {
                targets.push((path.line, target.to_owned()));
            }
        }
        targets
    }
}

/// The names at the top that git tracks; none without git or outside a repository.
fn tracked() -> Option<BTreeSet<String>> {
    let listed = Command::new("git").args(["ls-files", "-z"]).output().ok().filter(|git| git.status.success())?;
    let names = String::from_utf8(listed.stdout).ok()?;
    let top = names.split('\0').filter(|name| !name.is_empty()).map(|name| name.split('/').next().unwrap_or(name));
    Some(top.map(str::to_owned).collect())
}

/// The names at the top that are there.
fn present() -> BTreeSet<String> {
    let names = fs::read_dir(".").unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| !matches!(name.as_str(), ".git" | "target")).collect()
}

// === the checker, checked ===

/// A tree of these files, below one good file.
fn tree(files: &[(&str, &str)]) -> Tree {
    let files = files.iter().map(|(file, text)| ((*file).to_owned(), (*text).to_owned())).collect();
    Tree { top: BTreeSet::new(), files }
}

/// The places that a rule reports, and what follows each of them.
fn places(broken: &[String]) -> Vec<&str> {
    broken.iter().map(|line| line.split(';').next().unwrap_or_default()).collect()
}

#[test]
fn the_tables_are_in_order() {
    for (at, (module, allowed)) in IMPORTS.iter().enumerate() {
        let above = |name: &str| IMPORTS[..at].iter().any(|(above, _)| *above == name);
        assert!(*allowed == ALL || allowed.iter().all(|name| above(name)), "{module} names a row that is not above it");
    }
    for (part, owners) in OWNERS {
        let known = |name: &str| name == "*" || IMPORTS.iter().any(|(module, _)| *module == name);
        assert!(owners.iter().all(|name| known(name)), "the owners of {part} are not all in IMPORTS");
    }
}

#[test]
fn an_import_against_the_arrow_is_found_however_it_is_written() {
    let wrong: &[(&str, &str)] = &[
        ("use of a module", "use crate::gateway;"),
        ("use of an item", "use crate::gateway::Terms;"),
        ("a group", "use crate::{monime::Key, gateway::Terms};"),
        ("a group in a group", "use {std::fmt, crate::{monime::{Key, Verdict}, gateway::{Terms}}};"),
        ("super", "use super::super::gateway::Terms;"),
        ("self and super", "use self::super::super::gateway::Terms;"),
        ("super in a group", "use super::{super::gateway::{self, Terms}};"),
        ("the library by name", "use monigate::gateway::Terms;"),
        ("an alias of the root", "use crate as root; fn f(_: root::monime::Key) {}"),
        ("everything at the root", "use crate::*;"),
        ("an alias", "use crate::gateway as door;"),
        ("an inline path", "fn f() -> crate::gateway::Terms { todo!() }"),
        ("a path in an expression", "fn f() { let _ = 1 + crate::gateway::count::<u8>(); }"),
        ("a path in a macro", "fn f() { tracing::info!(n = crate::gateway::count(), \"x\"); }"),
        ("a path in a macro of ours", "macro_rules! m { () => { $crate::gateway::count() } }"),
        ("a path in an attribute", "#[serde(with = \"crate::gateway::seconds\")] struct S;"),
        ("a public re-export", "pub(crate) use crate::gateway::Terms;"),
        ("inside a module", "mod inner { use super::super::super::gateway::Terms; }"),
        ("a qualified type", "fn f() { <crate::gateway::Terms as Clone>::clone(&t); }"),
        ("after a test", "#[cfg(test)] use crate::monime::Key; use crate::gateway::Terms;"),
    ];
    for (how, text) in wrong {
        let broken = imports(&tree(&[("src/lookup/store.rs", &format!("//! Keeps.\n\n{text}\n"))]));
        let target = if text.contains("root") || text.contains('*') { "lib" } else { "gateway" };
        let wanted =
            format!("src/lookup/store.rs:3: `lookup` may not import `{target}` (IMPORTS, tests/architecture.rs)");
        assert_eq!(places(&broken), [wanted], "{how}: {text}");
    }
}

#[test]
fn what_only_looks_like_an_import_is_let_through() {
    let fine: &[&str] = &[
        "// use crate::gateway::Terms;",
        "/* crate::gateway */ fn f() {}",
        "//! Not [`crate::gateway`].\nfn f() {}",
        "fn f() -> &'static str { \"crate::gateway::Terms\" }",
        "fn f() -> &'static str { r#\"use crate::gateway;\"# }",
        "use crate::monime::Key;\nuse super::answer::Answer;\npub(crate) use crate::upstream::Reply;",
        "use gateway::Terms;",
        "fn f() { let gateway = Gateway::default(); gateway.call(); }",
        "fn f<F>() -> impl Sized + use<F> {}",
        "#[cfg(test)]\nmod tests {\n    use crate::gateway::Terms;\n}",
        "#[cfg(test)]\nmod tests;",
        "mod inner { use super::super::answer::Answer; }",
    ];
    for text in fine {
        assert_eq!(imports(&tree(&[("src/lookup/store.rs", text)])), [""; 0], "{text}");
    }
    let tests = [("src/lookup.rs", "#[cfg(test)]\nmod tests;"), ("src/lookup/tests.rs", "use crate::gateway::Terms;")];
    assert_eq!(imports(&tree(&tests)), [""; 0]);
}

#[test]
fn the_program_may_import_the_library_and_not_the_other_way_round() {
    let files = [
        ("src/lib.rs", "pub mod config;\nuse config::Config;\nuse sandbox::Sandbox;\npub fn run() {}"),
        ("src/main.rs", "mod cli;\nfn main() { cli::run(monigate::config::load()) }"),
        ("src/cli.rs", "use monigate::{config, sandbox::Sandbox};\npub(crate) fn run() { monigate::run() }"),
        ("src/config.rs", "use crate::monime::Key;\nfn f() { crate::run() }"),
        ("src/monime.rs", "use crate::config::Config;"),
        ("src/sandbox.rs", "use crate::secret::Secret;"),
        ("src/webhook.rs", ""),
    ];
    let found = imports(&tree(&files));
    let rule = |module, target| format!("`{module}` may not import `{target}` (IMPORTS, tests/architecture.rs)");
    let wanted = [
        format!("src/config.rs:2: {}", rule("config", "lib")),
        format!("src/monime.rs:1: {}", rule("monime", "config")),
        format!("src/sandbox.rs:1: {}", rule("sandbox", "secret")),
        "src/webhook.rs:1: the import rule knows no module `webhook`".to_owned(),
    ];
    assert_eq!(places(&found), wanted);
    assert!(found.iter().all(|line| line.contains("; ")), "each says what to do: {found:?}");
}

#[test]
fn a_crate_in_a_strangers_hands_is_found() {
    let wrong: &[(&str, &str, &str)] = &[
        ("gateway", "use moka::sync::Cache;", "moka"),
        ("gateway", "fn f() { let c = moka::sync::Cache::<u8, u8>::new(1); }", "moka"),
        ("gateway", "use moka as kept;", "moka"),
        ("gateway", "extern crate moka;", "moka"),
        ("gateway", "fn f() { tokio::select! { x = ::moka::f() => x } }", "moka"),
        ("gateway", "#[derive(clap::Parser)] struct S;", "clap"),
        ("cli", "fn f() { ::config::Config::builder(); }", "config"),
        ("cli", "use config::Config;", "config"),
        ("lookup", "use hyper_util::{client::legacy, rt};", "hyper_util::client"),
        ("server", "use hyper_util as h; fn f() { h::client::legacy::Client::new() }", "hyper_util::client"),
        ("server", "use hyper_util::*;", "hyper_util::client"),
        ("upstream", "use prometheus::{Registry, TextEncoder};", "prometheus"),
        ("admin", "use prometheus::Registry;", "prometheus"),
        ("telemetry", "use prometheus::TextEncoder;", "prometheus::TextEncoder"),
        ("config", "use rustls::ClientConfig;", "rustls"),
        ("lookup", "use flate2::read::GzDecoder;", "flate2"),
        ("monime", "use tokio::time::Instant;", "tokio"),
        ("server", "fn f() { std::process::exit(1) }", "std::process"),
    ];
    for (module, text, part) in wrong {
        let file = format!("src/{module}/file.rs");
        let broken = owners(&tree(&[(&file, text)]));
        let known = broken.first().is_some_and(|line| {
            line.starts_with(&format!("{file}:1: `")) && line.contains(&format!("(row `{part}` of OWNERS"))
        });
        assert!(known, "{module}: {text}: {broken:?}");
    }
    let fine: &[(&str, &str)] = &[
        ("lookup", "use moka::sync::Cache;"),
        ("config", "use ::config::{Config, Source};"),
        ("cli", "use monigate::config::{self, Config}; fn f() { config::schema(); }"),
        ("admin", "use prometheus::TextEncoder;"),
        ("server", "use hyper_util::server::conn::auto::Builder;"),
        ("gateway", "use crate::lookup::moka; fn f() { moka::x() }"),
        ("gateway", "use std::process_like::X; // moka::sync"),
    ];
    for (module, text) in fine {
        assert_eq!(owners(&tree(&[(&format!("src/{module}/file.rs"), text)])), [""; 0], "{text}");
    }
}

#[test]
fn a_dependency_without_an_owner_is_found() {
    let manifest = "[package]\nname = \"x\"\n[dependencies]\n# tokio\nhyper-util = \"0.1\"\nleft-pad = \"1\"\n\n[dev-dependencies]\nproptest = \"1\"\n";
    let broken = owners(&tree(&[("Cargo.toml", manifest)]));
    assert_eq!(places(&broken), ["Cargo.toml:6: the dependency `left_pad` has no owner"]);
}

#[test]
fn a_file_that_hides_what_it_is_is_found() {
    let long = format!("//! Long.\n{}", "fn f() {}\n".repeat(MAX_LINES));
    let tests = "#[test]\nfn f() {}\n".repeat(MAX_LINES);
    let covered = format!("//! Short.\nfn f() {{}}\n#[cfg(test)]\nmod tests {{\n{tests}}}\n");
    let found = files(&tree(&[
        ("src/a.rs", "use std::fmt;\n//! Late."),
        ("src/b.rs", &long),
        ("src/c.rs", &covered),
        ("src/d.rs", "//! D.\n\n#[cfg(test)]\nfn only_in_tests() {}\n"),
        ("src/e/mod.rs", "//! E."),
        ("src/f/utils.rs", "//! F."),
        ("src/g.rs", "//! G.\nfn f( {}"),
        ("tests/h.rs", ""),
        ("tests/support/mod.rs", "//! Shared."),
        ("tests/helpers/mod.rs", "//! Shared."),
    ]));
    let wanted = [
        "src/a.rs:1: a file opens with `//!`",
        "src/b.rs:350: 351 lines of code, 350 are the most",
        "src/d.rs:3: `#[cfg(test)]` switches code",
        "src/e/mod.rs:1: `mod` does not say what is inside",
        "src/f/utils.rs:1: `utils` does not say what is inside",
        "src/g.rs:1: it is not Rust",
        "tests/h.rs:1: a file opens with `//!`",
        "tests/helpers/mod.rs:1: `helpers` does not say what is inside",
    ];
    let mut found = places(&found);
    found.sort_unstable();
    assert_eq!(found.len(), wanted.len(), "{found:#?}");
    for (found, wanted) in found.iter().zip(wanted) {
        assert!(found.starts_with(wanted), "{found}");
    }
}

#[test]
fn a_stray_name_at_the_top_is_found() {
    let top_of = |names: &[&str]| Tree { top: names.iter().map(ToString::to_string).collect(), ..Tree::default() };
    assert_eq!(top(&top_of(&["src", "Cargo.toml", ".ci"])), [""; 0]);
    assert_eq!(places(&top(&top_of(&["src", "notes.txt"]))), ["notes.txt: the top level has no place for it"]);
}

#[test]
fn a_map_of_another_country_is_found() {
    let tree = tree(&[("src/lookup.rs", ""), ("src/lookup/store.rs", ""), ("src/webhook.rs", "")]);
    let text = "# Map\n\n| `lookup` | x |\n\nSee `lookup/store.rs`, `src/lookup.rs`, then\n`lookup/flight.rs`.\n";
    let wanted =
        ["ARCHITECTURE.md: the map has no line for `webhook`", "ARCHITECTURE.md:6: there is no lookup/flight.rs"];
    assert_eq!(places(&map(&tree, text)), wanted);
}
