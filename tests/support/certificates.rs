//! Certificates for tests: a CA of one's own, what it issues to servers and clients, and the PEM files of those.
//!
//! Also read by the tests beside the code, so it knows nothing of what else is here.

#![allow(dead_code, unreachable_pub, reason = "each test uses its own part")]

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType, date_time_ymd,
};
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

pub(crate) const DAY: i64 = 24 * 60 * 60;
/// From yesterday to tomorrow, as seconds from now.
pub(crate) const VALID: (i64, i64) = (-DAY, DAY);

/// An authority. Two of the same name have different keys.
pub(crate) struct Ca {
    pub(crate) pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate that a CA issued, with its key, both as PEM.
#[derive(Clone)]
pub(crate) struct Leaf {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Ca {
    pub(crate) fn new(name: &str) -> Self {
        let (params, key) = authority(name);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// An authority below this one.
    pub(crate) fn intermediate(&self, name: &str) -> Self {
        let (params, key) = authority(name);
        let pem = params.signed_by(&key, &self.issuer).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// For `localhost`, `127.0.0.1` and `::1`.
    pub(crate) fn server(&self) -> Leaf {
        self.server_valid(VALID)
    }

    /// The same, valid from and to so many seconds from now.
    pub(crate) fn server_valid(&self, valid: (i64, i64)) -> Leaf {
        self.issue(at_home(), ExtendedKeyUsagePurpose::ServerAuth, valid)
    }

    /// For a client with these names.
    pub(crate) fn client(&self, uris: &[&str], dns: &[&str]) -> Leaf {
        self.client_valid(uris, dns, VALID)
    }

    /// The same, valid from and to so many seconds from now.
    pub(crate) fn client_valid(&self, uris: &[&str], dns: &[&str], valid: (i64, i64)) -> Leaf {
        let uris = uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap()));
        let dns = dns.iter().map(|name| SanType::DnsName((*name).try_into().unwrap()));
        self.issue(uris.chain(dns).collect(), ExtendedKeyUsagePurpose::ClientAuth, valid)
    }

    /// For a server that is called otherwise.
    pub(crate) fn server_called(&self, name: &str) -> Leaf {
        let name = SanType::DnsName(name.try_into().unwrap());
        self.issue(vec![name], ExtendedKeyUsagePurpose::ServerAuth, VALID)
    }

    /// With the names of [`Ca::server`], but to be a client with.
    pub(crate) fn client_at_home(&self) -> Leaf {
        self.issue(at_home(), ExtendedKeyUsagePurpose::ClientAuth, VALID)
    }

    fn issue(&self, names: Vec<SanType>, usage: ExtendedKeyUsagePurpose, valid: (i64, i64)) -> Leaf {
        let (params, key) = (leaf(names, usage, valid), KeyPair::generate().unwrap());
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        Leaf { certificate, key: key.serialize_pem() }
    }

    /// A client that trusts this CA alone, shows `own` if it is given, and offers these protocols.
    pub(crate) fn trusted_by(
        &self,
        own: Option<&Leaf>,
        protocols: &[&str],
        versions: &[&'static SupportedProtocolVersion],
    ) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match own {
            Some(own) => builder.with_client_auth_cert(own.chain(), own.private_key()).unwrap(),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        config
    }
}

impl Leaf {
    /// For the names of [`Ca::server`], signed by nobody else.
    pub(crate) fn self_signed() -> Self {
        let (params, key) = (leaf(at_home(), ExtendedKeyUsagePurpose::ServerAuth, VALID), KeyPair::generate().unwrap());
        Self { certificate: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
    }

    /// A server that shows this certificate and speaks these protocols.
    pub(crate) fn shown(&self, protocols: &[&str]) -> ServerConfig {
        let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let mut config = builder.with_single_cert(self.chain(), self.private_key()).unwrap();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        config
    }

    /// The same with further certificates behind its own.
    pub(crate) fn followed_by(mut self, others: &[&Ca]) -> Self {
        others.iter().for_each(|other| self.certificate.push_str(&other.pem));
        self
    }

    /// Writes `NAME.pem` and `NAME.key`, and returns their paths.
    pub(crate) fn write(&self, folder: &Path, name: &str) -> (PathBuf, PathBuf) {
        let [certificate, key] = ["pem", "key"].map(|ending| folder.join(format!("{name}.{ending}")));
        put(&certificate, &self.certificate, 0o644);
        put(&key, &self.key, 0o600);
        (certificate, key)
    }

    fn chain(&self) -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_slice_iter(self.certificate.as_bytes()).collect::<Result<_, _>>().unwrap()
    }

    fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap()
    }
}

/// Writes a file with this mode and renames it into its place, as whoever swaps secrets should.
pub(crate) fn put(path: &Path, text: &str, mode: u32) {
    let beside = path.with_extension("next");
    let _ = fs::remove_file(&beside);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside).unwrap();
    file.write_all(text.as_bytes()).unwrap();
    fs::rename(beside, path).unwrap();
}

/// The names of this machine to itself.
fn at_home() -> Vec<SanType> {
    let addresses = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)].map(SanType::IpAddress);
    addresses.into_iter().chain([SanType::DnsName("localhost".try_into().unwrap())]).collect()
}

fn leaf(names: Vec<SanType>, usage: ExtendedKeyUsagePurpose, (from, to): (i64, i64)) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "a leaf");
    params.subject_alt_names = names;
    params.extended_key_usages = vec![usage];
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let moment = |offset| date_time_ymd(1970, 1, 1) + Duration::from_secs(now.saturating_add_signed(offset));
    (params.not_before, params.not_after) = (moment(from), moment(to));
    params
}

fn authority(name: &str) -> (CertificateParams, KeyPair) {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    (params, KeyPair::generate().unwrap())
}
