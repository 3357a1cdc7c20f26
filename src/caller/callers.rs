//! All callers of one configuration, and finding the one that a request comes from.
//!
//! A snapshot: it never changes but for the meters in it, and a newer configuration makes another. Owns in which order
//! proofs count. Refuses to fall back from a proof that failed to another one.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use foldhash::fast::RandomState;
use http::HeaderMap;
use tokio::time::Instant;

use super::credential::{bearer, presented};
use super::issuer::{Issuer, is_token_shaped, subject_of};
use super::keys::{Keys, Plainly, Steps};
use super::{Caller, Named, Unproved};

/// The longest DNS name (RFC 1035 section 2.3.4). What is longer is no caller's.
const MAX_DNS_NAME: usize = 255;

/// From what proves a caller to its place. Seeded and fast: who asks chooses what is looked for, never what is in it.
type Places<K> = HashMap<K, usize, RandomState>;

/// Every caller of a configuration.
pub struct Callers {
    all: Vec<Arc<Caller>>,
    by_name: Places<Arc<str>>,
    by_key: Keys,
    /// By the names in certificates: a URI as it is, a DNS name in lower case. No name is both.
    by_san: Places<Box<[u8]>>,
    /// By the subject of service-account tokens.
    by_subject: Places<String>,
    issuer: Option<Arc<Issuer>>,
}

// === impl Callers ===

impl Callers {
    /// Everyone in `callers`, and the issuer of their service-account tokens. Where a name, a key, a name in a
    /// certificate or an account stands twice, the first one has it.
    #[must_use]
    pub fn new(callers: Vec<Named>, issuer: Option<Arc<Issuer>>) -> Self {
        let now = Instant::now();
        let (mut all, mut keys) = (Vec::with_capacity(callers.len()), Vec::new());
        let (mut by_name, mut by_san, mut by_subject) = (Places::default(), Places::default(), Places::default());
        for Named { name, keys: digests, san, service_accounts, policy } in callers {
            let place = all.len();
            if *by_name.entry(Arc::clone(&name)).or_insert(place) != place {
                continue;
            }
            keys.extend(digests.into_iter().map(|digest| (digest, place)));
            for name in san {
                by_san.entry(as_looked_up(name)).or_insert(place);
            }
            for subject in service_accounts.iter().filter_map(|account| subject_of(account)) {
                by_subject.entry(subject).or_insert(place);
            }
            all.push(Arc::new(Caller::new(name, policy, now)));
        }
        Self { all, by_name, by_key: Keys::new(keys), by_san, by_subject, issuer }
    }

    /// The same, where callers who are in `old` by the same name go on with what is used of their rate. With another
    /// rate as many requests are owed as before, at most the new burst; with the same one both snapshots count as one.
    #[must_use]
    pub fn adopt(self, old: &Self) -> Self {
        let now = Instant::now();
        let adopted = |caller: Arc<Caller>| match old.get(&caller.name) {
            Some(before) => Arc::new(caller.going_on(before, now)),
            None => caller,
        };
        Self { all: self.all.into_iter().map(adopted).collect(), ..self }
    }

    /// Who sent a request with these headers, over a connection whose client certificate has these DNS names and
    /// URIs; no names if there was no certificate. A name with a colon is a URI and compared byte for byte, any other
    /// is a DNS name, so that whoever reads certificates must leave out a URI that has none.
    ///
    /// Waits for nothing, and allocates nothing but for a service-account token.
    ///
    /// # Errors
    /// [`Unproved`]: the request is nobody's.
    pub fn identify(&self, headers: &HeaderMap, certificate: &[impl AsRef<str>]) -> Result<&Arc<Caller>, Unproved> {
        self.identify_by(&Plainly, headers, certificate)
    }

    /// Whose gateway key is in this `Authorization` field, if it is anyone's: who that is, [`Callers::identify`] names too,
    /// whatever the certificate. Never looks at service-account tokens. Allocates nothing.
    #[must_use]
    pub fn by_key(&self, authorization: &[u8]) -> Option<&Arc<Caller>> {
        let place = self.by_key.find(&Plainly, bearer(authorization).ok()?)?;
        self.all.get(place)
    }

    pub(super) fn identify_by(
        &self,
        steps: &impl Steps,
        headers: &HeaderMap,
        certificate: &[impl AsRef<str>],
    ) -> Result<&Arc<Caller>, Unproved> {
        let place = match presented(headers)? {
            Some(credential) => match self.by_key.find(steps, credential) {
                Some(place) => place,
                None => self.by_token(credential)?,
            },
            None => self.by_certificate(certificate)?,
        };
        self.all.get(place).ok_or(Unproved::Unknown)
    }

    fn by_token(&self, token: &[u8]) -> Result<usize, Unproved> {
        let issuer = self.issuer.as_ref().filter(|_| is_token_shaped(token)).ok_or(Unproved::Unknown)?;
        let subject = issuer.subject(token)?;
        self.by_subject.get(&subject).copied().ok_or(Unproved::Unknown)
    }

    fn by_certificate(&self, names: &[impl AsRef<str>]) -> Result<usize, Unproved> {
        let mut found = None;
        for place in names.iter().filter_map(|name| self.by_san(name.as_ref())) {
            if found.is_some_and(|before| before != place) {
                return Err(Unproved::Ambiguous);
            }
            found = Some(place);
        }
        found.ok_or(if names.is_empty() { Unproved::Missing } else { Unproved::Unknown })
    }

    fn by_san(&self, name: &str) -> Option<usize> {
        if is_uri(name) {
            return self.by_san.get(name.as_bytes()).copied();
        }
        // In lower case without an allocation.
        let mut lower = [0; MAX_DNS_NAME];
        let lower = lower.get_mut(..name.len())?;
        lower.copy_from_slice(name.as_bytes());
        lower.make_ascii_lowercase();
        self.by_san.get(&*lower).copied()
    }

    /// The caller with this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<Caller>> {
        self.by_name.get(name).and_then(|place| self.all.get(*place))
    }

    /// Every caller, in the order of the configuration.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<Caller>> {
        self.all.iter()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}

fn is_uri(name: &str) -> bool {
    name.contains(':')
}

/// A configured name as it is looked for.
fn as_looked_up(mut name: String) -> Box<[u8]> {
    if !is_uri(&name) {
        name.make_ascii_lowercase();
    }
    name.into_bytes().into()
}

impl fmt::Debug for Callers {
    /// How many there are of each: there may be ten thousand.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Callers")
            .field("callers", &self.all.len())
            .field("keys", &self.by_key.len())
            .field("certificate_names", &self.by_san.len())
            .field("service_accounts", &self.by_subject.len())
            .field("issuer", &self.issuer)
            .finish()
    }
}
