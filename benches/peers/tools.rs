//! The programs from elsewhere: which are there, where, in which version, and which package brings the others. Refuses to
//! install any.

use std::io;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// A program that a part of the bench needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tool {
    Nginx,
    Haproxy,
    Varnish,
    Wrk,
    H2load,
    Taskset,
    Valgrind,
}

/// What was found.
pub(crate) struct Tools(Vec<(Tool, PathBuf, String)>);

// === impl Tool ===

impl Tool {
    const ALL: [Self; 7] =
        [Self::Nginx, Self::Haproxy, Self::Varnish, Self::Wrk, Self::H2load, Self::Taskset, Self::Valgrind];

    fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Varnish => "varnishd",
            Self::Wrk => "wrk",
            Self::H2load => "h2load",
            Self::Taskset => "taskset",
            Self::Valgrind => "valgrind",
        }
    }

    /// What Debian calls the package.
    fn package(self) -> &'static str {
        match self {
            Self::Nginx => "nginx-light",
            Self::Haproxy => "haproxy",
            Self::Varnish => "varnish",
            Self::Wrk => "wrk",
            Self::H2load => "nghttp2-client",
            Self::Taskset => "util-linux",
            Self::Valgrind => "valgrind",
        }
    }

    fn version_flag(self) -> &'static str {
        match self {
            Self::Nginx | Self::Haproxy | Self::Wrk => "-v",
            Self::Varnish => "-V",
            Self::H2load | Self::Taskset | Self::Valgrind => "--version",
        }
    }

    /// Where it is, and the first line it says about itself. Servers may lie where only administrators look.
    fn find(self) -> Option<(PathBuf, String)> {
        let places = [PathBuf::from(self.name()), PathBuf::from("/usr/sbin").join(self.name())];
        places.into_iter().find_map(|place| first_line(&place, self.version_flag()).map(|line| (place, line)))
    }

    /// Why what needs it is left out.
    pub(crate) fn missing(self) -> String {
        format!("{} is not installed (Debian's package {})", self.name(), self.package())
    }
}

// === impl Tools ===

impl Tools {
    pub(crate) fn look() -> Self {
        Self(Tool::ALL.into_iter().filter_map(|tool| tool.find().map(|(place, line)| (tool, place, line))).collect())
    }

    pub(crate) fn place(&self, tool: Tool) -> Option<&PathBuf> {
        self.0.iter().find_map(|(found, place, _)| (*found == tool).then_some(place))
    }

    /// Where it is; an error that says how to get it if it is not there.
    pub(crate) fn get(&self, tool: Tool) -> io::Result<PathBuf> {
        self.place(tool).cloned().ok_or_else(|| io::Error::other(tool.missing()))
    }

    pub(crate) fn missing(&self) -> Vec<Tool> {
        Tool::ALL.into_iter().filter(|tool| self.place(*tool).is_none()).collect()
    }

    /// What each says about itself.
    pub(crate) fn versions(&self) -> Vec<String> {
        self.0.iter().map(|(_, _, line)| line.clone()).collect()
    }
}

/// The first line that a program says, wherever it says it.
pub(crate) fn first_line(program: &std::path::Path, flag: &str) -> Option<String> {
    let output = Command::new(program).arg(flag).stdin(Stdio::null()).output().ok()?;
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).lines().next().map(|line| line.trim().to_owned())
}
