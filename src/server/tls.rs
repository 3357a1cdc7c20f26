//! A server's side of TLS: certificate chain and private key from PEM to rustls.
//!
//! Refuses old versions and providers other than aws-lc-rs; offers `h2` and `http/1.1` by ALPN.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// The files that a listener's TLS is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The certificate chain, as PEM, the server's own first.
    pub certificate: PathBuf,
    /// Its private key, as PEM.
    pub key: PathBuf,
    /// Whom clients' certificates must come from, as PEM; without it none is asked for.
    pub client_ca: Option<PathBuf>,
    /// Whether a client without a certificate is let in, where `client_ca` is given.
    pub client_auth: ClientAuth,
    /// Whether the key's file may be readable by everyone on the machine.
    pub allow_world_readable: bool,
}

/// Whether a client must have a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuth {
    /// It may come without.
    Optional,
    /// Without one the handshake fails.
    Required,
}

/// Why a certificate and its key cannot serve. Never carries the key.
#[derive(Debug, thiserror::Error)]
pub enum InvalidTls {
    /// The text holds no certificate, or none that can be read.
    #[error("the certificate is not PEM: {0}")]
    Certificate(rustls_pki_types::pem::Error),
    /// The text holds no private key, or none that can be read.
    #[error("the private key is not PEM (PKCS#8, SEC1 or PKCS#1)")]
    Key,
    /// The two do not belong together, or rustls cannot use them.
    #[error("the certificate and the key cannot be used: {0}")]
    Pair(#[from] rustls::Error),
}

/// Builds the configuration of a listener from PEM texts.
///
/// # Errors
/// [`InvalidTls`] names which part is wrong.
pub fn server_config(certificate_chain: &[u8], private_key: &[u8]) -> Result<Arc<ServerConfig>, InvalidTls> {
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(certificate_chain).collect::<Result<_, _>>().map_err(InvalidTls::Certificate)?;
    let key = PrivateKeyDer::from_pem_slice(private_key).map_err(|_| InvalidTls::Key)?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
