//! A throw-away certificate authority, so that clients which insist on https can be pointed at the sandbox.
//!
//! Owns the files `ca.pem`, `server.pem` and `server.key` of one folder. Refuses to keep the authority's own key, which
//! dies with this call, so nobody can ever sign more with it: a later start serves what it finds, as long as that is
//! good for a while, so that who trusts `ca.pem` need not learn of a restart. Refuses to replace a file that it did not
//! write.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::server::tls::{ClientAuth, Files, InvalidTls, Tls};

/// The first line of each file; PEM readers skip what stands before a block.
const MARK: &str = "monigate sandbox: made to be thrown away; trust it nowhere else\n";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Longer only helps somebody who found a forgotten file.
const VALID: Duration = Duration::from_secs(90 * 24 * 60 * 60);
/// A private key is its owner's alone.
const PRIVATE: u32 = 0o600;
const PUBLIC: u32 = 0o644;
/// By what the certificate may be asked for.
const NAME: &str = "localhost";
const ADDRESSES: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

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

/// The files of an earlier call, if they are whole, still private and good for another day; else those of [`make_ca`].
///
/// Clients trust `dir/ca.pem`. Blocks for a few milliseconds.
///
/// # Errors
/// As [`make_ca`].
pub fn find_or_make_ca(dir: &Path) -> Result<Tls, NoCa> {
    find(dir).map_or_else(|| make_ca(dir), Ok)
}

/// Makes an authority and a certificate for `localhost`, `127.0.0.1` and `::1`, writes them to `dir` and returns what a
/// listener speaks TLS with.
///
/// Clients trust `dir/ca.pem`. Files of an earlier call are replaced. Blocks for a few milliseconds.
///
/// # Errors
/// [`NoCa`]; also when a file stands in the way that no call like this wrote.
pub fn make_ca(dir: &Path) -> Result<Tls, NoCa> {
    make(dir, VALID)
}

fn make(dir: &Path, valid: Duration) -> Result<Tls, NoCa> {
    let authority_key = KeyPair::generate()?;
    let authority = authority(valid);
    let ca = authority.self_signed(&authority_key)?.pem();
    let server_key = KeyPair::generate()?;
    let server = server(valid).signed_by(&server_key, &Issuer::new(authority, authority_key))?.pem();
    let key = server_key.serialize_pem();

    fs::create_dir_all(dir).map_err(|source| NoCa::File { path: dir.into(), source })?;
    for (name, text, mode) in [("ca.pem", &ca, PUBLIC), ("server.pem", &server, PUBLIC), ("server.key", &key, PRIVATE)]
    {
        let path = dir.join(name);
        write(&path, text, mode).map_err(|source| NoCa::File { path, source })?;
    }
    Ok(Tls::new(files(dir))?)
}

/// What an earlier call left, if it still serves.
fn find(dir: &Path) -> Option<Tls> {
    let key = dir.join("server.key");
    // Read by us and by nobody else: we own it, and nobody knows it.
    if fs::symlink_metadata(&key).ok()?.permissions().mode() & 0o7777 != PRIVATE {
        return None;
    }
    let read = |path: PathBuf| fs::read(path).ok().filter(|text| text.starts_with(MARK.as_bytes()));
    let (ca, server, _) = (read(dir.join("ca.pem"))?, read(dir.join("server.pem"))?, read(key)?);
    if !vouches(&ca, &server)? {
        return None;
    }
    Tls::new(files(dir)).ok()
}

/// What a listener serves from.
fn files(dir: &Path) -> Files {
    let [certificate, key] = ["server.pem", "server.key"].map(|name| dir.join(name));
    Files { certificate, key, client_ca: None, client_auth: ClientAuth::Optional, allow_world_readable: false }
}

/// Whether who trusts `ca` alone accepts `server`, by each of its names, now and a day from now.
fn vouches(ca: &[u8], server: &[u8]) -> Option<bool> {
    let [ca, server] = [ca, server].map(|pem| CertificateDer::from_pem_slice(pem).ok());
    let server = server?;
    let mut roots = RootCertStore::empty();
    roots.add(ca?).ok()?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().ok()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    let mut names: Vec<ServerName<'_>> = ADDRESSES.map(ServerName::from).into();
    names.push(NAME.try_into().ok()?);
    let accepts = |name: &ServerName<'_>, moment| {
        verifier.verify_server_cert(&server, &[], name, &[], UnixTime::since_unix_epoch(moment)).is_ok()
    };
    Some(names.iter().all(|name| accepts(name, now) && accepts(name, now + DAY)))
}

fn authority(valid: Duration) -> CertificateParams {
    let mut params = named("monigate sandbox CA (throw-away)", valid);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn server(valid: Duration) -> CertificateParams {
    let mut params = named("monigate sandbox", valid);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    params.subject_alt_names = ADDRESSES.map(SanType::IpAddress).into();
    params.subject_alt_names.extend(NAME.try_into().map(SanType::DnsName));
    params
}

fn named(name: &str, valid: Duration) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let now = date_time_ymd(1970, 1, 1) + SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // A day back, for clocks that disagree.
    (params.not_before, params.not_after) = (now - DAY, now + valid);
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

    #[test]
    fn what_still_serves_is_kept_and_everything_else_is_made_anew() {
        let [folder, other] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let file = |name: &str| folder.path().join(name);
        let all = || ["ca.pem", "server.pem", "server.key"].map(|name| fs::read(file(name)).unwrap());
        let again = || find_or_make_ca(folder.path()).unwrap();
        make_ca(other.path()).unwrap();
        again();
        let first = all();
        again();
        assert_eq!(all(), first, "kept as they are");

        let take = |name: &str| fs::write(file(name), fs::read(other.path().join(name)).unwrap()).unwrap();
        let open = || fs::set_permissions(file("server.key"), fs::Permissions::from_mode(0o644)).unwrap();
        let spoil: [(&str, &dyn Fn()); 6] = [
            ("good for less than a day", &|| drop(make(folder.path(), DAY / 2).unwrap())),
            ("another authority's", &|| take("ca.pem")),
            ("another certificate's key", &|| take("server.key")),
            ("not whole", &|| fs::write(file("server.pem"), MARK).unwrap()),
            ("gone", &|| fs::remove_file(file("ca.pem")).unwrap()),
            ("known to others", &open),
        ];
        for (why, spoil) in spoil {
            let before = all();
            spoil();
            let spoiled = ["ca.pem", "server.pem", "server.key"].map(|name| fs::read(file(name)).unwrap_or_default());
            again();
            let anew = all();
            let differs = |old: &[Vec<u8>]| anew.iter().zip(old).all(|(anew, old)| anew != old);
            assert!(differs(&before) && differs(&spoiled), "{why}");
            again();
            assert_eq!(all(), anew, "{why}, and then kept");
            assert_eq!(fs::metadata(file("server.key")).unwrap().permissions().mode() & 0o777, PRIVATE, "{why}");
        }

        fs::write(file("ca.pem"), "precious").unwrap();
        assert!(matches!(find_or_make_ca(folder.path()), Err(NoCa::File { .. })));
        assert_eq!(fs::read(file("ca.pem")).unwrap(), b"precious");
    }
}
