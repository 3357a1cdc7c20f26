//! What a listener proves itself with, from PEM files to rustls: certificate chain, private key, the CA of its clients.
//!
//! Refuses old versions and providers other than aws-lc-rs; offers `h2` and `http/1.1` by ALPN. Refuses to guess: a file
//! with two keys, or one that belongs to another certificate, is an error. What it reads of the key is wiped; rustls
//! has the one that is left.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs::{self, sign::any_supported_type};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SigningKey, SingleCertAndKey};
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use webpki::{EndEntityCert, KeyUsage};
use zeroize::Zeroizing;

use super::flaw::{Flaw, InvalidTls, Part, Warning};
use super::{ClientAuth, Files};
use crate::secret::read_file;

/// What begins the lines that say that a key is encrypted: PKCS#8, and the older form of OpenSSL.
const ENCRYPTED: [&[u8]; 2] = [b"-----BEGIN ENCRYPTED PRIVATE KEY-----", b"Proc-Type: 4,ENCRYPTED"];

/// A certificate chain with its key, and whom clients' certificates must come from.
pub struct Identity {
    config: Arc<ServerConfig>,
    /// None if clients are not asked for a certificate.
    clients: Option<Arc<dyn ClientCertVerifier>>,
    warnings: Vec<Warning>,
}

/// What the files hold.
pub(super) struct Texts {
    certificate: Zeroizing<Vec<u8>>,
    key: Zeroizing<Vec<u8>>,
    client_ca: Option<Zeroizing<Vec<u8>>>,
}

// === impl Identity ===

impl Identity {
    /// Reads what a listener proves itself with. Blocks for a moment.
    ///
    /// # Errors
    /// [`InvalidTls`] names the file and what is wrong with it.
    pub fn read(files: &Files) -> Result<Self, InvalidTls> {
        Self::of(&Texts::read(files, &mut DefaultHasher::new())?, files)
    }

    /// What clients may not accept. Empty if all is well.
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    pub(super) fn of(texts: &Texts, files: &Files) -> Result<Self, InvalidTls> {
        let of_chain = |flaw| InvalidTls::new(Part::Certificate, &files.certificate, flaw);
        let of_key = |flaw| InvalidTls::new(Part::Key, &files.key, flaw);
        let chain = certificates(&texts.certificate).map_err(of_chain)?;
        let parsed = parse(&chain).map_err(of_chain)?;
        let key = private_key(&texts.key).map_err(of_key)?;
        match owner(&parsed, &*key) {
            Some(0) => {}
            Some(index) => return Err(of_chain(Flaw::NotFirst(index + 1))),
            None => return Err(of_key(Flaw::OtherKey)),
        }
        let warnings = warnings(&parsed);
        let clients = texts.client_ca.as_ref().zip(files.client_ca.as_ref()).map(|(text, path)| {
            verifier(text, files.client_auth).map_err(|flaw| InvalidTls::new(Part::ClientCa, path, flaw))
        });
        let clients = clients.transpose()?;
        let config = config(chain, key, clients.clone()).map_err(|error| of_chain(Flaw::Rustls(error)))?;
        Ok(Self { config: Arc::new(config), clients, warnings })
    }

    pub(super) fn config(&self) -> &Arc<ServerConfig> {
        &self.config
    }

    /// Whether a handshake of this moment would let a client with this chain in.
    pub(super) fn accepts(&self, chain: &[CertificateDer<'_>]) -> bool {
        self.clients.as_ref().zip(chain.split_first()).is_some_and(|(clients, (own, intermediates))| {
            clients.verify_client_cert(own, intermediates, UnixTime::now()).is_ok()
        })
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("warnings", &self.warnings).finish_non_exhaustive()
    }
}

fn config(
    chain: Vec<CertificateDer<'static>>,
    key: Arc<dyn SigningKey>,
    clients: Option<Arc<dyn ClientCertVerifier>>,
) -> Result<ServerConfig, rustls::Error> {
    let proves = clients.is_some();
    let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(clients.unwrap_or_else(WebPkiClientVerifier::no_client_auth));
    let certified = SingleCertAndKey::from(CertifiedKey::new(chain, key));
    let mut config = builder.with_cert_resolver(Arc::new(certified));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    if proves {
        // A resumed session shows the certificate of the session before, which may have expired, or have been replaced
        // by one with other names, without being looked at again.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    Ok(config)
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Flaw> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|_| Flaw::Pem)?;
    if found.is_empty() { Err(Flaw::NoCertificate) } else { Ok(found) }
}

fn parse<'a>(chain: &'a [CertificateDer<'a>]) -> Result<Vec<EndEntityCert<'a>>, Flaw> {
    let numbered = (1..).zip(chain);
    numbered.map(|(number, der)| EndEntityCert::try_from(der).map_err(|_| Flaw::Certificate(number))).collect()
}

fn private_key(pem: &[u8]) -> Result<Arc<dyn SigningKey>, Flaw> {
    let says = |begin: &[u8]| pem.split(|byte| matches!(byte, b'\n' | b'\r')).any(|line| line.starts_with(begin));
    if ENCRYPTED.into_iter().any(says) {
        return Err(Flaw::Encrypted);
    }
    let keys = PrivateKeyDer::pem_slice_iter(pem).map(|key| key.map(Zeroizing::new));
    match keys.collect::<Result<Vec<_>, _>>().map_err(|_| Flaw::Pem)?.as_slice() {
        [] => Err(Flaw::NoKey),
        [key] => any_supported_type(key).map_err(|_| Flaw::UnknownKey),
        several => Err(Flaw::SeveralKeys(several.len())),
    }
}

/// Which certificate is this key's. A key that cannot tell is taken at its word.
fn owner(chain: &[EndEntityCert<'_>], key: &dyn SigningKey) -> Option<usize> {
    let Some(public) = key.public_key() else { return Some(0) };
    chain.iter().position(|certificate| certificate.subject_public_key_info() == public)
}

fn warnings(chain: &[EndEntityCert<'_>]) -> Vec<Warning> {
    let now = UnixTime::now();
    let seconds = |from: UnixTime, to: UnixTime| Duration::from_secs(to.as_secs().saturating_sub(from.as_secs()));
    let validity = chain.first().and_then(|own| match refused_at(own, now) {
        Some(webpki::Error::CertExpired { not_after, .. }) => Some(Warning::Expired(seconds(not_after, now))),
        Some(webpki::Error::CertNotValidYet { not_before, .. }) => Some(Warning::NotYetValid(seconds(now, not_before))),
        Some(_) | None => None,
    });
    let pairs = (2..).zip(chain.iter().zip(chain.iter().skip(1)));
    let stray = pairs.filter(|(_, (one, next))| one.issuer() != next.subject());
    validity.into_iter().chain(stray.map(|(number, _)| Warning::OutOfOrder(number))).collect()
}

/// What is wrong with a certificate at a moment, its time before all else; nobody is trusted, so something always is.
/// webpki tells of a certificate's time only by refusing it.
pub(super) fn refused_at(certificate: &EndEntityCert<'_>, moment: UnixTime) -> Option<webpki::Error> {
    certificate.verify_for_usage(&[], &[], &[], moment, KeyUsage::server_auth(), None, None).err()
}

fn verifier(pem: &[u8], auth: ClientAuth) -> Result<Arc<dyn ClientCertVerifier>, Flaw> {
    let mut roots = RootCertStore::empty();
    for (number, certificate) in (1..).zip(certificates(pem)?) {
        roots.add(certificate).map_err(|_| Flaw::Certificate(number))?;
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let builder = match auth {
        ClientAuth::Optional => builder.allow_unauthenticated(),
        ClientAuth::Required => builder,
    };
    builder.build().map_err(|_| Flaw::NoCertificate)
}

// === impl Texts ===

impl Texts {
    /// Reads the files, and tells `seen` which files they are and what they hold.
    pub(super) fn read(files: &Files, seen: &mut impl Hasher) -> Result<Self, InvalidTls> {
        let mut read = |part, path: &Path, allow_world_readable| {
            read_file(path, allow_world_readable, seen).map_err(|flaw| InvalidTls::new(part, path, flaw.into()))
        };
        Ok(Self {
            certificate: read(Part::Certificate, &files.certificate, true)?,
            key: read(Part::Key, &files.key, files.allow_world_readable)?,
            client_ca: files.client_ca.as_ref().map(|path| read(Part::ClientCa, path, true)).transpose()?,
        })
    }
}

impl Hash for Texts {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.certificate.as_slice().hash(state);
        self.key.as_slice().hash(state);
        self.client_ca.as_ref().map(|text| text.as_slice()).hash(state);
    }
}

#[cfg(test)]
mod tests;
