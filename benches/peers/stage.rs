//! What all cases share: the origin, the caller's key, the tools, a folder that goes with the bench, and how long to
//! measure. Refuses to keep the key anywhere but there.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use monigate::caller::new_key;
use monigate::sandbox::tls::make_ca;
use tempfile::TempDir;

use super::arguments::Arguments;
use super::origin::Origin;
use super::tools::Tools;
use super::wire::trust;

/// A file system in memory, where there is one.
const IN_MEMORY: &str = "/dev/shm";

pub(crate) struct Stage {
    pub(crate) origin: Origin,
    pub(crate) tools: Tools,
    /// The key that callers send, and its digest, which monigate has.
    pub(crate) key: String,
    pub(crate) digest: String,
    pub(crate) rounds: u32,
    pub(crate) seconds: u32,
    /// With the figure that instructions are held to.
    pub(crate) held: Option<PathBuf>,
    pub(crate) client_tls: std::sync::Arc<rustls::ClientConfig>,
    folder: TempDir,
}

// === impl Stage ===

impl Stage {
    pub(crate) async fn set(arguments: &Arguments, tools: Tools) -> io::Result<Self> {
        let folder = tempfile::tempdir()?;
        let tls = folder.path().join("tls");
        make_ca(&tls).map_err(io::Error::other)?;
        // HAProxy takes certificate and key from one file.
        let both = ["server.pem", "server.key"].map(|name| fs::read(tls.join(name)));
        let [certificate, key] = both;
        fs::write(tls.join("both.pem"), [certificate?, key?].concat())?;
        let client_tls = trust(&tls.join("ca.pem"))?;
        let (key, digest) = new_key().map_err(io::Error::other)?;
        let origin = Origin::start().await?;
        let (rounds, seconds, held) = (arguments.rounds, arguments.seconds, arguments.held.clone());
        let (key, digest) = (key.expose().to_owned(), digest.to_string());
        Ok(Self { origin, tools, key, digest, rounds, seconds, held, client_tls, folder })
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// With `ca.pem`, `server.pem`, `server.key`, and the last two as `both.pem`.
    pub(crate) fn tls(&self) -> PathBuf {
        self.file("tls")
    }

    /// A folder in memory, for a cache that is made of files.
    pub(crate) fn cache(&self) -> io::Result<TempDir> {
        let place = Path::new(IN_MEMORY);
        tempfile::tempdir_in(place).or_else(|_| tempfile::tempdir_in(self.folder.path()))
    }
}
