//! A client's certificate: the names that it proves, and whether it still does.
//!
//! Refuses to take a handshake for a promise for ever: a connection may live for days, and meanwhile a certificate
//! expires or its CA is trusted no longer. Knows nothing of who may do what by which name.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::EndEntityCert;

use super::identity::refused_at;
use super::{Current, Tls};

/// Names that a client has proved to be its own, of every kind that stands in its certificate's subject alternative
/// names (RFC 5280, section 4.2.1.6) and is read here. Stands in the extensions of each of its requests; clones share
/// it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate(Arc<Names>);

#[derive(Debug, Default, PartialEq, Eq)]
struct Names {
    dns: Vec<String>,
    uri: Vec<String>,
}

/// A client that came with a certificate, for as long as its connection lasts.
pub(in crate::server) struct Client {
    certificate: ClientCertificate,
    chain: Vec<CertificateDer<'static>>,
    /// The last moment at which its own certificate is valid.
    until: UnixTime,
    tls: Tls,
    /// The generation of the identity that was last satisfied with it.
    satisfied: AtomicU64,
}

// === impl ClientCertificate ===

impl ClientCertificate {
    /// The DNS names, in lower case. A wildcard is told as it stands.
    pub fn dns_names(&self) -> impl Iterator<Item = &str> {
        self.0.dns.iter().map(String::as_str)
    }

    /// The URIs, such as SPIFFE ids, letter by letter as they stand; nothing says that they are well-formed.
    pub fn uri_names(&self) -> impl Iterator<Item = &str> {
        self.0.uri.iter().map(String::as_str)
    }
}

// === impl Client ===

impl Client {
    /// A client with this chain, with which a handshake by `shaken` was satisfied.
    pub(in crate::server) fn new(tls: Tls, shaken: &Current, chain: &[CertificateDer<'static>]) -> Self {
        // What the handshake was satisfied with can be read. If that ever failed, it would prove nothing for no time.
        let never = UnixTime::since_unix_epoch(Duration::ZERO);
        let own = chain.first().and_then(|own| EndEntityCert::try_from(own).ok());
        let (names, until) = own.map_or((Names::default(), never), |own| (Names::of(&own), last_moment(&own, never)));
        let certificate = ClientCertificate(Arc::new(names));
        Self { certificate, chain: chain.to_vec(), until, tls, satisfied: AtomicU64::new(shaken.generation) }
    }

    /// What the client proves at this moment, or none if it would not be let in any more.
    pub(in crate::server) fn certificate(&self) -> Option<&ClientCertificate> {
        (UnixTime::now() <= self.until && self.satisfies_the_current()).then_some(&self.certificate)
    }

    fn satisfies_the_current(&self) -> bool {
        let satisfied = self.satisfied.load(Ordering::Relaxed);
        if satisfied == self.tls.generation() {
            return true;
        }
        let current = self.tls.current();
        let accepted = current.identity.accepts(&self.chain);
        if accepted {
            self.satisfied.store(current.generation, Ordering::Relaxed);
        }
        accepted
    }
}

// === impl Names ===

impl Names {
    fn of(certificate: &EndEntityCert<'_>) -> Self {
        Self {
            dns: certificate.valid_dns_names().map(str::to_ascii_lowercase).collect(),
            uri: certificate.valid_uri_names().map(str::to_owned).collect(),
        }
    }
}

/// Asked about the end of time, webpki says when the certificate's own time ended.
fn last_moment(certificate: &EndEntityCert<'_>, otherwise: UnixTime) -> UnixTime {
    match refused_at(certificate, UnixTime::since_unix_epoch(Duration::MAX)) {
        Some(webpki::Error::CertExpired { not_after, .. }) => not_after,
        Some(_) | None => otherwise,
    }
}
