//! Where settings come from, and which of them wins: defaults < files < environment < flags.
//!
//! Refuses to read the process's environment: it is passed in. Keeps the token out of the tree of settings, so that
//! nothing that prints settings could print it.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use ::config::{Config, ConfigError, FileFormat, Map, Source, Value};

use super::problems::{FILE_FLAG, Problems};
use super::schema::Node;
use super::shape::Inspector;

/// How every environment variable of ours begins. Two underscores: Kubernetes sets `MONIGATE_PORT` and the like by
/// itself for a Service of this name.
pub(super) const PREFIX: &str = "MONIGATE__";
/// The variable that may hold the token.
pub const TOKEN_VARIABLE: &str = "MONIGATE__MONIME__TOKEN";
/// The key that this variable would set, if the token were a setting.
pub(super) const TOKEN_KEY: &str = "monime.token";
/// What names the proxy of https, the strongest first; names in lower case are as common.
const PROXY_VARIABLES: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
/// What names the hosts that need no proxy.
const NO_PROXY_VARIABLES: [&str; 2] = ["NO_PROXY", "no_proxy"];
/// Who set a value that nobody set.
pub(super) const DEFAULT: &str = "default";
/// A file larger than this is not a configuration. Ten thousand callers with a few digests each take a quarter of it.
const MAX_FILE: u64 = 16 * 1024 * 1024;

/// Everything that a configuration is made of.
#[derive(Default, Clone)]
pub struct Sources {
    /// Files in TOML or YAML; later ones win.
    pub files: Vec<PathBuf>,
    /// The environment; only names that begin with `MONIGATE__` count, and those that name a proxy everywhere.
    pub environment: BTreeMap<String, String>,
    /// Flags; later ones win.
    pub flags: Vec<Flag>,
}

/// A setting from the command line.
#[derive(Clone)]
pub enum Flag {
    /// `--set KEY=VALUE`, not yet taken apart: it may be misspelt.
    Set(String),
    /// A flag that stands for one key.
    Named {
        /// The flag, such as `--listen`.
        flag: &'static str,
        /// The key it sets.
        key: &'static str,
        /// To which value.
        value: String,
    },
}

/// One source, after inspection.
#[derive(Debug, Clone, Default)]
struct Layer(Map<String, Value>);

// === impl Flag ===

impl fmt::Debug for Flag {
    /// Never the value, nor a setting that was not taken apart yet: either may be the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Set(_) => f.write_str("--set"),
            Self::Named { flag, .. } => f.write_str(flag),
        }
    }
}

// === impl Sources ===

impl fmt::Debug for Sources {
    /// Names only: a value may be the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let variables: Vec<_> = self.environment.keys().filter(|name| name.starts_with(PREFIX)).collect();
        f.debug_struct("Sources")
            .field("files", &self.files)
            .field("environment", &variables)
            .field("flags", &self.flags)
            .finish()
    }
}

impl Sources {
    /// The token, when the environment holds it.
    pub(super) fn token(&self) -> Option<&str> {
        self.environment.get(TOKEN_VARIABLE).map(String::as_str)
    }

    /// The variable that names a proxy, and what it holds.
    pub(super) fn proxy(&self) -> Option<(&'static str, &str)> {
        self.first_of(&PROXY_VARIABLES)
    }

    /// The variable that names the hosts that need no proxy, and what it holds.
    pub(super) fn no_proxy(&self) -> Option<(&'static str, &str)> {
        self.first_of(&NO_PROXY_VARIABLES)
    }

    /// An empty variable counts as none: that is how a wrapper switches one off.
    fn first_of(&self, names: &[&'static str]) -> Option<(&'static str, &str)> {
        let mut set = names.iter().filter_map(|name| Some((*name, self.environment.get(*name)?.as_str())));
        set.find(|(_, text)| !text.trim().is_empty())
    }

    /// What is right in every source, merged.
    pub(super) fn merge(&self, root: Node<'_>, problems: &mut Problems) -> Result<Config, ConfigError> {
        let mut builder = Config::builder().add_source(defaults(root)?);
        for path in &self.files {
            builder = builder.add_source(file(root, path, problems));
        }
        builder.add_source(self.variables(root, problems)).add_source(self.flags(root, problems)).build()
    }

    fn variables(&self, root: Node<'_>, problems: &mut Problems) -> Layer {
        let mut layer = Layer::default();
        for (name, text) in self.environment.iter().filter(|(name, _)| *name != TOKEN_VARIABLE) {
            if let Some(key) = name.strip_prefix(PREFIX) {
                let path = key.to_ascii_lowercase().replace("__", ".");
                let source = format!("environment variable {name}");
                layer.0.extend(Inspector { root, source, problems }.text(&path, text).map(|value| (path, value)));
            } else if let Some(key) = misspelt(name) {
                let source = format!("environment variable {name}");
                problems.add(name, &source, "begins with one underscore", format!("write {PREFIX}{key}"));
            }
        }
        layer
    }

    fn flags(&self, root: Node<'_>, problems: &mut Problems) -> Layer {
        let mut layer = Layer::default();
        for flag in &self.flags {
            let (flag, key, text) = match flag {
                Flag::Named { flag, key, value } => (*flag, *key, value.as_str()),
                Flag::Set(setting) => match setting.split_once('=') {
                    Some((key, value)) => ("--set", key.trim(), value),
                    None => {
                        problems.add("--set", "flag --set", "has no `=`", "write it like --set log.level=debug");
                        continue;
                    }
                },
            };
            let source = format!("flag {flag}");
            layer.0.extend(Inspector { root, source, problems }.text(key, text).map(|value| (key.to_owned(), value)));
        }
        layer
    }
}

/// What a variable means that was to be one of ours: `MONIGATE_LOG__LEVEL` is, and Kubernetes' `MONIGATE_PORT` is not.
fn misspelt(name: &str) -> Option<&str> {
    name.strip_prefix("MONIGATE_").filter(|key| key.contains("__"))
}

/// The variable that sets a key.
pub(super) fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "__").to_ascii_uppercase())
}

fn defaults(root: Node<'_>) -> Result<Layer, ConfigError> {
    let origin = DEFAULT.to_owned();
    let defaults = root.leaves().into_iter().filter_map(|(path, leaf)| Some((path, leaf.default()?)));
    let defaults = defaults.map(|(path, json)| {
        let value: Value = serde_json::from_value(json.clone()).map_err(|error| ConfigError::Foreign(error.into()))?;
        Ok((path, Value::new(Some(&origin), value.kind)))
    });
    defaults.collect::<Result<_, _>>().map(Layer)
}

fn file(root: Node<'_>, path: &Path, problems: &mut Problems) -> Layer {
    let name = path.display().to_string();
    let mut refuse = |rule: String, fix: &str| {
        problems.add(&name, FILE_FLAG, rule, fix);
        Layer::default()
    };
    let (format, language) = match path.extension().and_then(|extension| extension.to_str()) {
        Some("toml") => (FileFormat::Toml, "TOML"),
        Some("yaml" | "yml") => (FileFormat::Yaml, "YAML"),
        Some(_) | None => return refuse("has an unknown extension".into(), "name it .toml, .yaml or .yml"),
    };
    let text = match read(path) {
        Ok(text) => text,
        Err(error) => return refuse(format!("cannot be read: {error}"), "check the path, or leave --config away"),
    };
    match ::config::File::from_str(&text, format).collect() {
        Ok(tree) => {
            let source = format!("file {name}");
            let tree = Value::new(Some(&source), tree);
            let right = Inspector { root, source, problems }.value(root, "", tree);
            Layer(right.and_then(|right| right.into_table().ok()).unwrap_or_default())
        }
        Err(error) => refuse(unreadable(language, &error), "mend the file there"),
    }
}

fn read(path: &Path) -> io::Result<String> {
    let regular = |metadata: Metadata| match metadata.is_file() {
        true => Ok(()),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")),
    };
    // Asked before opening too: opening a pipe waits for a writer that may never come.
    regular(std::fs::metadata(path)?)?;
    let file = File::open(path)?;
    regular(file.metadata()?)?;
    let mut text = String::new();
    if file.take(MAX_FILE + 1).read_to_string(&mut text)? > MAX_FILE as usize {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("larger than {MAX_FILE} bytes")));
    }
    // Editors on some systems begin a file with a byte order mark, which neither language knows.
    Ok(text.trim_start_matches('\u{feff}').to_owned())
}

/// Where the parser stumbled. Of its own words only the position is repeated: the rest may quote the file.
fn unreadable(language: &str, error: &ConfigError) -> String {
    let said = error.to_string();
    let number = |word: &str| {
        let (_, rest) = said.split_once(word)?;
        rest.split(|character: char| !character.is_ascii_digit()).next()?.parse::<u64>().ok()
    };
    match (number(" line "), number(" column ")) {
        (Some(line), Some(column)) => format!("is not valid {language} at line {line}, column {column}"),
        _ => format!("is not one {language} table of keys, or holds a number that is out of range"),
    }
}

// === impl Layer ===

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        Ok(self.0.clone())
    }
}
