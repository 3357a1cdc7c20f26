//! The rules for what proves who somebody is: the digests of keys, and that each proof is one's alone.
//!
//! Refuses to repeat what is no digest: it may be the key itself.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;

use super::Rules;
use crate::caller::Digest;
use crate::secret::GATEWAY_KEY_PREFIX;

/// What proves who somebody is, and the key at which it was read first.
#[derive(Default)]
pub(in crate::config) struct Proofs {
    digests: HashMap<Digest, String>,
    /// Names in certificates.
    pub(super) san: HashMap<String, String>,
    pub(super) service_accounts: HashMap<String, String>,
}

// === impl Rules ===

impl Rules<'_> {
    /// The digests in the list `key`; `whose` stands before every complaint.
    pub(super) fn digests(&mut self, key: &str, whose: &str, texts: &[String], proofs: &mut Proofs) -> Vec<Digest> {
        let mut digests = Vec::with_capacity(texts.len());
        for (index, text) in texts.iter().enumerate() {
            let key = format!("{key}[{index}]");
            if let Some(digest) = self.digest(&key, whose, text)
                && self.alone(&mut proofs.digests, digest, &key, whose)
            {
                digests.push(digest);
            }
        }
        digests
    }

    fn digest(&mut self, key: &str, whose: &str, text: &str) -> Option<Digest> {
        const COMPUTE: &str = "put its digest here, `monigate key digest` computes it";
        let is_key = text.to_ascii_lowercase().contains(GATEWAY_KEY_PREFIX);
        let (rule, fix) = match text.parse::<Digest>() {
            // What a script computes when the key it should have read was not there, with and without a line break.
            Ok(digest) if digest == Digest::of(b"") || digest == Digest::of(b"\n") => (
                "this is the digest of an empty text",
                "compute it again, of the key: `monigate key digest`".to_owned(),
            ),
            Ok(digest) => return Some(digest),
            Err(_) if is_key => {
                ("this is the key itself", format!("{COMPUTE}, and replace the key, since others may have read it"))
            }
            Err(_) => (
                "this is no SHA-256 digest, which is 64 hex digits",
                format!("if it is the key itself, {COMPUTE}, and replace the key, since others may have read it"),
            ),
        };
        self.broken(key, format!("{whose}{rule}"), fix);
        None
    }

    /// Whether nobody else proves itself so.
    pub(super) fn alone<P: Eq + Hash>(
        &mut self,
        seen: &mut HashMap<P, String>,
        proof: P,
        key: &str,
        whose: &str,
    ) -> bool {
        match seen.entry(proof) {
            Entry::Vacant(first) => {
                first.insert(key.to_owned());
                true
            }
            Entry::Occupied(first) => {
                let rule = format!("{whose}the same stands at {}, so it would not say who asks", first.get());
                self.broken(key, rule, "remove one of the two");
                false
            }
        }
    }
}
