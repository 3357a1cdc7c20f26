//! The words for what is wrong with a listener's files, and for what is only strange about them.
//!
//! Refuses to say what a file holds.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::secret::{Unusable, redact};

/// Why a listener's files cannot serve. Names the file, never what the key's holds.
#[derive(Debug, thiserror::Error)]
#[error("{part} {} {flaw}", redact(&path.to_string_lossy()))]
pub struct InvalidTls {
    /// What the file is for.
    pub part: Part,
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub flaw: Flaw,
}

/// What one of the files is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The certificate chain.
    Certificate,
    /// Its private key.
    Key,
    /// Whom clients' certificates must come from.
    ClientCa,
}

/// What makes a file unusable.
#[derive(Debug, thiserror::Error)]
pub enum Flaw {
    /// It cannot be read, or may not be.
    #[error(transparent)]
    File(#[from] Unusable),
    /// It begins as PEM and goes on as something else.
    #[error("is not readable as PEM")]
    Pem,
    /// Nothing, no PEM, or PEM of something else.
    #[error("holds no certificate in PEM")]
    NoCertificate,
    /// The certificate with this number is not one.
    #[error("holds something that cannot be read where its certificate number {0} should be")]
    Certificate(usize),
    /// The certificate with this number is the key's, and not the first one.
    #[error("begins with another certificate: the one of the private key is number {0}")]
    NotFirst(usize),
    /// Nothing, no PEM, or PEM of something else.
    #[error("holds no private key in PEM (PKCS#8, SEC1 or PKCS#1)")]
    NoKey,
    /// Nobody is here to type a passphrase.
    #[error("holds an encrypted private key")]
    Encrypted,
    /// More than one.
    #[error("holds {0} private keys")]
    SeveralKeys(usize),
    /// Broken, or of a kind that is not for TLS.
    #[error("holds a private key that is neither RSA, ECDSA nor Ed25519")]
    UnknownKey,
    /// It is no certificate's of the chain.
    #[error("holds a private key that does not belong to the certificate")]
    OtherKey,
    /// What rustls says.
    #[error("cannot be used: {0}")]
    Rustls(rustls::Error),
}

/// What clients may not accept, though it can be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Warning {
    /// It ended this long ago.
    Expired(Duration),
    /// It begins in this long.
    NotYetValid(Duration),
    /// The certificate with this number is not the issuer of the one before it.
    OutOfOrder(usize),
}

// === impl InvalidTls ===

impl InvalidTls {
    pub(super) fn new(part: Part, path: &Path, flaw: Flaw) -> Self {
        Self { part, path: path.to_owned(), flaw }
    }

    /// What to do about it.
    #[must_use]
    pub fn fix(&self) -> &'static str {
        match &self.flaw {
            Flaw::File(unusable) => unusable.fix(),
            Flaw::Pem => "copy it again, whole, each `-----BEGIN` line with its `-----END` line",
            Flaw::NoCertificate => {
                "give a file of `-----BEGIN CERTIFICATE-----` blocks; of DER, `openssl x509 -inform der` makes one"
            }
            Flaw::Certificate(_) => "issue or copy that certificate again; it must be X.509 of version 3",
            Flaw::NotFirst(_) => "put the server's own certificate first, then its issuer, and so on",
            Flaw::NoKey => "give the file with the `-----BEGIN PRIVATE KEY-----` block",
            Flaw::Encrypted => {
                "decrypt it, as with `openssl pkey -in KEY -out PLAIN`, and protect the file by its permissions"
            }
            Flaw::SeveralKeys(_) => "keep the one key of the certificate",
            Flaw::UnknownKey => "make a new key, such as ECDSA P-256, and have a certificate issued for it",
            Flaw::OtherKey => "give the certificate and the key that were made together",
            Flaw::Rustls(_) => "issue the certificate again",
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Certificate => "the certificate",
            Self::Key => "the private key",
            Self::ClientCa => "the clients' CA",
        })
    }
}

// === impl Warning ===

impl Warning {
    /// What to do about it.
    #[must_use]
    pub fn fix(self) -> &'static str {
        match self {
            Self::Expired(_) => "put a new one in its place: clients refuse this one",
            Self::NotYetValid(_) => "wait, put another one in its place, or set the clock right",
            Self::OutOfOrder(_) => "put the server's own certificate first, then its issuer, and so on",
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expired(since) => write!(f, "it expired {} ago", Span(*since)),
            Self::NotYetValid(until) => write!(f, "it is not valid before {} from now", Span(*until)),
            Self::OutOfOrder(number) => {
                write!(f, "certificate number {number} of its chain did not issue the one before it")
            }
        }
    }
}

/// A time that may be long, in the largest unit of which there is at least one.
struct Span(Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let units = [(86_400, "day"), (3_600, "hour"), (60, "minute")];
        let fitting = units.into_iter().find(|(unit, _)| seconds >= *unit).unwrap_or((1, "second"));
        let count = seconds / fitting.0;
        write!(f, "{count} {}{}", fitting.1, if count == 1 { "" } else { "s" })
    }
}
