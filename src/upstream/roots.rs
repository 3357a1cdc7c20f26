//! The private CA that an operator trusts instead of the public ones.
//!
//! Refuses a file without a certificate, and one with any certificate that cannot be used: half a chain of trust is a
//! failure that shows only later.

use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

/// Why a text gives nobody to trust.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRoots {
    /// Not PEM, or broken PEM.
    #[error("it is not readable as PEM")]
    Pem,
    /// PEM of something else, or nothing.
    #[error("it holds no certificate")]
    Empty,
    /// The certificate with this number is not one.
    #[error("its certificate number {0} cannot be read")]
    Certificate(usize),
}

/// Reads the certificates of a CA from PEM.
///
/// # Errors
/// [`InvalidRoots`] names what is wrong.
pub fn roots(pem: &[u8]) -> Result<RootCertStore, InvalidRoots> {
    let mut roots = RootCertStore::empty();
    for (index, certificate) in CertificateDer::pem_slice_iter(pem).enumerate() {
        let certificate = certificate.map_err(|_| InvalidRoots::Pem)?;
        roots.add(certificate).map_err(|_| InvalidRoots::Certificate(index + 1))?;
    }
    if roots.is_empty() { Err(InvalidRoots::Empty) } else { Ok(roots) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_certificate_of_the_file_must_be_one() {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let good = made.cert.pem();
        assert_eq!(roots(good.repeat(2).as_bytes()).unwrap().len(), 2);

        let hollow = "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n";
        for (text, error) in [
            ("", InvalidRoots::Empty),
            ("not PEM", InvalidRoots::Empty),
            (&*made.signing_key.serialize_pem(), InvalidRoots::Empty),
            ("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n", InvalidRoots::Pem),
            ("-----BEGIN CERTIFICATE-----\naGVsbG8=\n", InvalidRoots::Pem),
            (&format!("{good}{hollow}"), InvalidRoots::Certificate(2)),
        ] {
            assert_eq!(roots(text.as_bytes()).unwrap_err(), error, "{text}");
        }
    }
}
