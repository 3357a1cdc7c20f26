//! The rules for who may ask: a name, at least one proof of it that nobody else has, and what it may ask for.
//!
//! Refuses to allow what is not written down. There may be ten thousand of them: whatever is looked up is hashed.

use std::collections::{HashMap, HashSet};

use super::{Proofs, Rules};
use crate::caller::{Named, Policy, Rate};
use crate::config::problems::{nearest, shown};
use crate::config::raw::{self, Raw};
use crate::monime::SpaceId;
use crate::monime::operation::{self, OPERATIONS};
use crate::secret::looks_secret;

/// The longest name of a caller.
const MAX_NAME: usize = 64;
/// The longest name in a certificate: what a SPIFFE id may have.
const MAX_SAN: usize = 2048;
/// The most requests a second, and at once, that it makes sense to speak of.
const MAX_RATE: u32 = 100_000;

/// What callers are checked against.
struct Known<'a> {
    /// Every space that may be named; none while that itself is wrong.
    spaces: Option<HashSet<&'a str>>,
    has_client_ca: bool,
    has_jwt: bool,
}

/// Where a caller stands.
struct Place {
    /// Its key: `callers[0]`.
    key: String,
    /// Who it is, to begin a sentence with.
    whose: String,
}

// === impl Place ===

impl Place {
    fn of(&self, name: &str) -> String {
        format!("{}.{name}", self.key)
    }

    fn item(&self, name: &str, index: usize) -> String {
        format!("{}.{name}[{index}]", self.key)
    }
}

// === impl Rules ===

impl Rules<'_> {
    /// Those that are in order.
    pub(in crate::config) fn callers(&mut self, all: &Raw, proofs: &mut Proofs) -> Vec<Named> {
        let known = self.known(all);
        let mut names = HashMap::new();
        let mut callers = Vec::new();
        for (index, raw) in all.callers.iter().flatten().enumerate() {
            let key = format!("callers[{index}]");
            // One that was cut out as a whole is known to be wrong, and nothing is left of it.
            if !self.problems.touch(&key) {
                let name = self.name(&key, raw.name.as_deref(), &mut names);
                let whose = name.map(|name| format!("caller {name}: ")).unwrap_or_default();
                callers.extend(self.caller(name, &Place { key, whose }, raw, &known, proofs));
            }
        }
        callers
    }

    fn known<'a>(&self, all: &'a Raw) -> Known<'a> {
        // What was written there may not be what was read.
        let in_doubt = |key: &str| self.problems.touch(key) || self.problems.lost_a_file();
        let mut spaces = HashSet::new();
        let mut are_known = !in_doubt("monime.spaces") && !in_doubt("monime.default_space");
        spaces.extend(all.monime.default_space.as_deref());
        for (index, space) in all.monime.spaces.iter().enumerate() {
            are_known &= !self.problems.touch(&format!("monime.spaces[{index}].id"));
            spaces.extend(space.id.as_deref());
        }
        let has_client_ca = all.listen.tls.as_ref().is_some_and(|tls| tls.client_ca_file.is_some());
        Known {
            spaces: are_known.then_some(spaces),
            has_client_ca: has_client_ca || in_doubt("listen.tls.client_ca_file"),
            has_jwt: all.jwt.is_some() || in_doubt("jwt"),
        }
    }

    fn caller(
        &mut self,
        name: Option<&str>,
        place: &Place,
        raw: &raw::Caller,
        known: &Known<'_>,
        proofs: &mut Proofs,
    ) -> Option<Named> {
        let [keys, san, accounts] =
            [&raw.keys_sha256, &raw.san, &raw.service_accounts].map(|it| it.as_deref().unwrap_or_default());
        let cut_out = |name: &str| self.problems.concern(&place.of(name));
        if keys.is_empty() && san.is_empty() && accounts.is_empty() && !cut_out("san") && !cut_out("service_accounts") {
            let rule = format!("{}has no way to prove itself", place.whose);
            let fix = "give it keys_sha256, the digests of its gateway keys; or san; or service_accounts; or, to revoke it, take \
                       out its whole table";
            self.broken(&place.of("keys_sha256"), rule, fix);
        }
        let keys = self.digests(&place.of("keys_sha256"), &place.whose, keys, proofs);
        let san = self.san(place, san, known, proofs);
        let service_accounts = self.service_accounts(place, accounts, known, proofs);
        let spaces = self.caller_spaces(place, raw.spaces.as_deref().unwrap_or_default(), known);
        let operations = self.operations(place, raw.operations.as_deref().unwrap_or_default());
        let rate = self.caller_rate(place, raw);
        Some(Named { name: name?.into(), keys, san, service_accounts, policy: Policy { spaces, operations, rate } })
    }

    fn name<'a>(&mut self, key: &str, name: Option<&'a str>, names: &mut HashMap<&'a str, String>) -> Option<&'a str> {
        let key = format!("{key}.name");
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let Some(name) = name else {
            self.broken(&key, "a caller needs a name", "add one, such as name = \"storefront\"");
            return None;
        };
        if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(allowed) {
            let rule = format!("{} is no name of a caller", shown(name));
            self.broken(&key, rule, format!("write 1 to {MAX_NAME} of the characters A-Z a-z 0-9 . _ -"));
            return None;
        }
        // It would stand in every line of the log.
        if looks_secret(name) {
            self.broken(
                &key,
                "this looks like a key or a token",
                "name the caller, and replace the secret if it is one",
            );
            return None;
        }
        if let Some(first) = names.get(name) {
            self.broken(&key, format!("{name} is also the name at {first}"), "give each caller a name of its own");
        } else {
            names.insert(name, key);
        }
        Some(name)
    }

    fn san(&mut self, place: &Place, texts: &[String], known: &Known<'_>, proofs: &mut Proofs) -> Vec<String> {
        if !texts.is_empty() && !known.has_client_ca {
            let rule = format!("{}there is no CA that its certificate could come from", place.whose);
            self.broken(&place.of("san"), rule, "set listen.tls.client_ca_file, or remove this key");
        }
        let mut names = Vec::with_capacity(texts.len());
        for (index, text) in texts.iter().enumerate() {
            let key = place.item("san", index);
            if !is_san(text) {
                let rule = format!("{}{} is no one name of a certificate", place.whose, shown(text));
                self.broken(&key, rule, "write a URI such as spiffe://cluster/ns/shop/sa/storefront, or a DNS name");
                continue;
            }
            // DNS knows no case, and a URI such as a SPIFFE id has one.
            let alike = if text.contains(':') { text.clone() } else { text.to_ascii_lowercase() };
            if self.alone(&mut proofs.san, alike, &key, &place.whose) {
                names.push(text.clone());
            }
        }
        names
    }

    fn service_accounts(
        &mut self,
        place: &Place,
        texts: &[String],
        known: &Known<'_>,
        proofs: &mut Proofs,
    ) -> Vec<String> {
        if !texts.is_empty() && !known.has_jwt {
            let rule = format!("{}there is no [jwt], so no service-account token is believed", place.whose);
            self.broken(&place.of("service_accounts"), rule, "add [jwt] with its issuer, or remove this key");
        }
        let mut accounts = Vec::with_capacity(texts.len());
        for (index, text) in texts.iter().enumerate() {
            let key = place.item("service_accounts", index);
            if !is_service_account(text) {
                let rule = format!("{}{} is no service account", place.whose, shown(text));
                self.broken(&key, rule, "write it as namespace/name, such as shop/storefront");
            } else if self.alone(&mut proofs.service_accounts, text.clone(), &key, &place.whose) {
                accounts.push(text.clone());
            }
        }
        accounts
    }

    fn caller_spaces(&mut self, place: &Place, texts: &[String], known: &Known<'_>) -> Vec<SpaceId> {
        if texts.is_empty() {
            let rule = format!("{}names no space, so every request would be refused", place.whose);
            self.broken(&place.of("spaces"), rule, "list the spaces that it may ask for, such as [\"spc-yourSpace\"]");
        }
        let mut spaces = Vec::with_capacity(texts.len());
        let mut seen = HashSet::new();
        for (index, text) in texts.iter().enumerate() {
            let key = place.item("spaces", index);
            let allowed = known.spaces.as_ref().is_none_or(|spaces| spaces.contains(text.as_str()));
            match SpaceId::parse(text) {
                Ok(_) if !seen.insert(text) => {
                    self.broken(&key, format!("{}stands there twice", place.whose), "remove one")
                }
                Ok(_) if !allowed => {
                    let rule =
                        format!("{}{} is neither monime.default_space nor in monime.spaces", place.whose, shown(text));
                    self.broken(&key, rule, "add it to monime.spaces, or name one that is there");
                }
                Ok(space) => spaces.push(space),
                Err(error) => self.broken(&key, format!("{}{error}", place.whose), "copy the id from monime.spaces"),
            }
        }
        spaces
    }

    fn operations(&mut self, place: &Place, texts: &[String]) -> Vec<&'static str> {
        if texts.is_empty() {
            let rule = format!("{}names no operation, so every request would be refused", place.whose);
            self.broken(&place.of("operations"), rule, "list those that it may use, such as [\"GetCheckoutSession\"]");
        }
        let mut operations = Vec::with_capacity(texts.len());
        for (index, text) in texts.iter().enumerate() {
            let key = place.item("operations", index);
            match operation::named(text) {
                Some(operation) if operations.contains(&operation.id) => {
                    self.broken(&key, format!("{}stands there twice", place.whose), "remove one");
                }
                Some(operation) => operations.push(operation.id),
                None => {
                    let rule = format!("{}{} is none of Monime's operations", place.whose, shown(text));
                    let fix = "write an operationId of Monime's API, such as GetCheckoutSession; `monigate schema` lists them";
                    self.broken(
                        &key,
                        rule,
                        operation_meant(text).map_or(fix.to_owned(), |id| format!("did you mean {id}?")),
                    );
                }
            }
        }
        operations
    }

    fn caller_rate(&mut self, place: &Place, raw: &raw::Caller) -> Option<Rate> {
        let mut number = |name: &str, number: Option<i64>| {
            let number = number?;
            let fits = u32::try_from(number).ok().filter(|number| (1..=MAX_RATE).contains(number));
            if fits.is_none() {
                let rule = format!("{}{number} is out of range", place.whose);
                self.broken(&place.of(name), rule, format!("choose a number from 1 to {MAX_RATE}"));
            }
            fits
        };
        let (per_second, burst) = (number("rate", raw.rate), number("burst", raw.burst));
        if raw.burst.is_some() && raw.rate.is_none() && !self.problems.concern(&place.of("rate")) {
            let rule = format!("{}a burst is a part of a rate, and there is none", place.whose);
            self.broken(&place.of("burst"), rule, "set rate, too, or remove this key");
        }
        per_second.map(|per_second| Rate { per_second, burst: burst.unwrap_or(per_second) })
    }
}

/// Whether this is one name that a certificate may have: a URI, or a DNS name, which has no colon. A name with a wildcard
/// is many.
fn is_san(text: &str) -> bool {
    let is_uri = text.contains(':');
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let fits = (1..=MAX_SAN).contains(&text.len());
    fits && text.bytes().all(|byte| if is_uri { byte.is_ascii_graphic() && byte != b'*' } else { allowed(byte) })
}

/// Whether this is `namespace/name`: a label and a subdomain, as Kubernetes names both (RFC 1123).
fn is_service_account(text: &str) -> bool {
    let is_end = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let is_label = |label: &str, most: usize| {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let bytes = label.as_bytes();
        label.len() <= most && label.bytes().all(allowed) && is_end(bytes.first()) && is_end(bytes.last())
    };
    let Some((namespace, name)) = text.split_once('/') else { return false };
    is_label(namespace, 63) && name.len() <= 253 && name.split('.').all(|label| is_label(label, 253))
}

/// The operation that was most likely meant.
fn operation_meant(text: &str) -> Option<&'static str> {
    let mut ids = OPERATIONS.iter().map(|operation| operation.id);
    ids.clone().find(|id| id.eq_ignore_ascii_case(text)).or_else(|| nearest(text, &mut ids))
}
