//! A throw-away certificate authority, so that clients which insist on https can be pointed at the sandbox.
//!
//! Owns the files `ca.pem`, `server.pem` and `server.key` of one folder. Refuses to keep the authority's own key, which
//! dies with this call, so nobody can ever sign more with it; refuses to replace a file that it did not write.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};
use rustls::ServerConfig;

use crate::server::tls::{InvalidTls, server_config};

/// The first line of each file; PEM readers skip what stands before a block.
const MARK: &str = "monigate sandbox: made to be thrown away; trust it nowhere else\n";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Each start makes new ones; longer only helps somebody who found a forgotten file.
const VALID: Duration = Duration::from_secs(90 * 24 * 60 * 60);
/// A private key is its owner's alone.
const PRIVATE: u32 = 0o600;
const PUBLIC: u32 = 0o644;

/// Why no authority could be made.
#[derive(Debug, thiserror::Error)]
pub enum NoCa {
    /// The folder or a file in it cannot be written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// A key or a certificate cannot be made.
    #[error("no certificate could be made: {0}")]
    Certificate(#[from] rcgen::Error),
    /// What was made cannot serve.
    #[error(transparent)]
    Tls(#[from] InvalidTls),
}

/// Makes an authority and a certificate for `localhost`, `127.0.0.1` and `::1`, writes them to `dir` and returns the
/// configuration of a listener.
///
/// Clients trust `dir/ca.pem`. Files of an earlier call are replaced. Blocks for a few milliseconds.
///
/// # Errors
/// [`NoCa`]; also when a file stands in the way that no call like this wrote.
pub fn make_ca(dir: &Path) -> Result<Arc<ServerConfig>, NoCa> {
    let authority_key = KeyPair::generate()?;
    let authority = authority();
    let ca = authority.self_signed(&authority_key)?.pem();
    let server_key = KeyPair::generate()?;
    let server = server().signed_by(&server_key, &Issuer::new(authority, authority_key))?.pem();
    let key = server_key.serialize_pem();

    fs::create_dir_all(dir).map_err(|source| NoCa::File { path: dir.into(), source })?;
    for (name, text, mode) in [("ca.pem", &ca, PUBLIC), ("server.pem", &server, PUBLIC), ("server.key", &key, PRIVATE)]
    {
        let path = dir.join(name);
        write(&path, text, mode).map_err(|source| NoCa::File { path, source })?;
    }
    Ok(server_config(server.as_bytes(), key.as_bytes())?)
}

fn authority() -> CertificateParams {
    let mut params = named("monigate sandbox CA (throw-away)");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn server() -> CertificateParams {
    let mut params = named("monigate sandbox");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let addresses = [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)];
    params.subject_alt_names = addresses.map(SanType::IpAddress).into();
    params.subject_alt_names.extend("localhost".try_into().map(SanType::DnsName));
    params
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let now = date_time_ymd(1970, 1, 1) + SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // A day back, for clocks that disagree.
    (params.not_before, params.not_after) = (now - DAY, now + VALID);
    params
}

fn write(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    match fs::read(path) {
        Ok(found) if found.starts_with(MARK.as_bytes()) => fs::remove_file(path)?,
        Ok(_) => return Err(io::Error::new(io::ErrorKind::AlreadyExists, "a file that the sandbox did not write")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    // Created with its mode, not changed to it: there is no moment at which others could open it.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(MARK.as_bytes())?;
    file.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_key_is_private_and_only_our_own_files_are_replaced() {
        let folder = tempfile::tempdir().unwrap();
        make_ca(folder.path()).unwrap();
        let first = fs::read(folder.path().join("ca.pem")).unwrap();
        make_ca(folder.path()).unwrap();
        assert_ne!(fs::read(folder.path().join("ca.pem")).unwrap(), first, "each call makes another");
        let mode = fs::metadata(folder.path().join("server.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3, "the authority's key is nowhere");

        fs::write(folder.path().join("server.key"), "precious").unwrap();
        assert!(matches!(make_ca(folder.path()), Err(NoCa::File { .. })));
        assert_eq!(fs::read(folder.path().join("server.key")).unwrap(), b"precious");
    }
}
