//! Reading a secret from a file: a token, a proxy's credentials, or the private key of a listener.
//!
//! Refuses a file that everyone on the machine may read, unless told otherwise, and anything that is no regular file.
//! Symbolic links are followed: that is how Kubernetes swaps a mounted secret. The buffer is wiped.

use std::collections::hash_map::DefaultHasher;
use std::fs::{File, Metadata};
use std::hash::{Hash, Hasher};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::{InvalidCredentials, InvalidSecret, ProxyCredentials, Secret, redact};

/// A file larger than this is no secret, nor a chain of certificates, and is not read.
const MAX_FILE: u64 = 64 * 1024;
/// The permission bit for reading by everyone.
const WORLD_READABLE: u32 = 0o004;

/// Why a file gives no secret. Names the file, never what it holds.
#[derive(Debug, thiserror::Error)]
#[error("{} {problem}", redact(&path.to_string_lossy()))]
pub struct FileError {
    /// The file, as it was asked for.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: Unusable,
}

/// What makes a file unusable as a secret.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// No such file.
    #[error("does not exist")]
    Missing,
    /// We may not read it.
    #[error("cannot be read: permission denied")]
    Denied,
    /// A folder, a pipe, a socket or a device.
    #[error("is not a regular file")]
    NotRegular,
    /// Everyone on the machine can read it; this is its mode.
    #[error("can be read by everyone on this machine (mode {0:04o})")]
    WorldReadable(u32),
    /// Larger than what is looked for ever is.
    #[error("is larger than {MAX_FILE} bytes")]
    Large,
    /// What the operating system says.
    #[error("cannot be read: {0}")]
    Io(io::Error),
    /// It was read, but what it holds is no token.
    #[error("holds no usable token: {0}")]
    Invalid(#[from] InvalidSecret),
    /// It was read, but what it holds are no credentials for a proxy.
    #[error("holds no usable credentials: {0}")]
    Credentials(#[from] InvalidCredentials),
}

// === impl Secret ===

impl Secret {
    /// Reads a token from a file.
    ///
    /// # Errors
    /// [`FileError`] names the file and what is wrong with it.
    pub fn from_file(path: &Path, allow_world_readable: bool) -> Result<Self, FileError> {
        look(path, allow_world_readable, &mut DefaultHasher::new())
    }
}

/// Reads a token from a file, and tells `seen` which file that is and what it holds: who looks at the same file with
/// the same words in it tells the same.
///
/// # Errors
/// [`FileError`] names the file and what is wrong with it.
pub(super) fn look(path: &Path, allow_world_readable: bool, seen: &mut impl Hasher) -> Result<Secret, FileError> {
    let text = read(path, allow_world_readable, seen);
    let secret = text.and_then(|text| Ok(Secret::parse(text)?));
    secret.map_err(|problem| FileError { path: path.to_owned(), problem })
}

// === impl ProxyCredentials ===

impl ProxyCredentials {
    /// Reads credentials from a file, which is held to the same rules as a token's.
    ///
    /// # Errors
    /// [`FileError`] names the file and what is wrong with it.
    pub fn from_file(path: &Path, allow_world_readable: bool) -> Result<Self, FileError> {
        let text = read(path, allow_world_readable, &mut DefaultHasher::new());
        let credentials = text.and_then(|text| Ok(Self::parse(text)?));
        credentials.map_err(|problem| FileError { path: path.to_owned(), problem })
    }
}

/// Reads a file as a secret is read, whatever it holds, and tells `seen` which file that is and what it holds.
///
/// # Errors
/// What makes the file unusable, of which [`Unusable::Invalid`] and [`Unusable::Credentials`] are for others to say.
pub fn read(path: &Path, allow_world_readable: bool, seen: &mut impl Hasher) -> Result<Zeroizing<Vec<u8>>, Unusable> {
    // Asked before opening too: opening a pipe waits for a writer that may never come.
    permit(&std::fs::metadata(path)?, allow_world_readable, seen)?;
    let file = File::open(path)?;
    permit(&file.metadata()?, allow_world_readable, seen)?;
    // As large as it may get from the start: a buffer that grows leaves unwiped copies behind.
    let mut text = Zeroizing::new(Vec::with_capacity(usize::try_from(MAX_FILE).unwrap_or_default() + 1));
    file.take(MAX_FILE).read_to_end(&mut text)?;
    seen.write(&text);
    Ok(text)
}

fn permit(metadata: &Metadata, allow_world_readable: bool, seen: &mut impl Hasher) -> Result<(), Unusable> {
    (metadata.dev(), metadata.ino()).hash(seen);
    let mode = metadata.mode() & 0o7777;
    let problem = if !metadata.is_file() {
        Unusable::NotRegular
    } else if mode & WORLD_READABLE != 0 && !allow_world_readable {
        Unusable::WorldReadable(mode)
    } else if metadata.len() > MAX_FILE {
        Unusable::Large
    } else {
        return Ok(());
    };
    // It will not be read, so this must do for what it holds.
    (metadata.len(), metadata.mtime(), metadata.mtime_nsec()).hash(seen);
    Err(problem)
}

// === impl FileError ===

impl FileError {
    /// What to do about it.
    #[must_use]
    pub fn fix(&self) -> &'static str {
        self.problem.fix()
    }
}

// === impl Unusable ===

impl Unusable {
    /// What to do about it.
    #[must_use]
    pub fn fix(&self) -> &'static str {
        match self {
            Self::Missing => "give the path of the file that holds it, or mount it there",
            Self::Denied => {
                "let the user this runs as read it; in Kubernetes give the volume `defaultMode: 0440` and the Pod an `fsGroup`"
            }
            Self::NotRegular => "give the path of the file itself, not of its folder, a pipe or a socket",
            Self::WorldReadable(_) => {
                "chmod 0440 it; in Kubernetes give the volume `defaultMode: 0440` and the Pod an `fsGroup`; or, if \
                 nobody else shares this machine, set security.allow_world_readable_secrets = true"
            }
            Self::Large => "give the path of a file that holds nothing else",
            Self::Io(_) => "check the file and the volume it is on",
            Self::Invalid(invalid) => invalid.fix(),
            Self::Credentials(invalid) => invalid.fix(),
        }
    }
}

impl From<io::Error> for Unusable {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::NotFound {
            Self::Missing
        } else if error.kind() == io::ErrorKind::PermissionDenied {
            Self::Denied
        } else {
            Self::Io(error)
        }
    }
}
