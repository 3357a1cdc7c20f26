//! The rules for as whom we ask: a token for every space, its own or the one for all.
//!
//! Refuses a token that is given twice, and a space that would be left without one.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::Rules;
use crate::config::raw::{self, Raw};
use crate::config::sources::{TOKEN_KEY, TOKEN_VARIABLE};
use crate::monime::SpaceId;
use crate::secret::{Keyring, Secret, Source};

// === impl Rules ===

impl Rules<'_> {
    /// `variable` is the token for all, when the environment holds it.
    pub(super) fn keyring(&mut self, raw: &Raw, variable: Option<&str>, spaces: &[SpaceId]) -> Option<Keyring> {
        let allowed = raw.security.allow_world_readable_secrets;
        let for_all = self.token_for_all(raw, variable);
        let mut own = HashMap::new();
        for (index, space) in raw.monime.spaces.iter().enumerate() {
            if let (Some(id), Some(path)) = (&space.id, &space.token_file) {
                let source = self.token_file(&format!("monime.spaces[{index}].token_file"), path, allowed);
                own.entry(id.as_str()).or_insert(source);
            }
        }
        let source = |space: &SpaceId| match own.get(space.as_str()) {
            Some(source) => source.clone(),
            None => for_all.clone(),
        };
        let sources: Option<Vec<_>> = spaces.iter().map(|space| Some((space.clone(), source(space)?))).collect();
        Some(Keyring::new(sources?, allowed))
    }

    /// The token for spaces without their own, from the one place that was named.
    fn token_for_all(&mut self, raw: &Raw, variable: Option<&str>) -> Option<Arc<Source>> {
        let key = "monime.token_file";
        match (&raw.monime.token_file, variable) {
            (Some(_), Some(_)) => {
                let rule = format!("the token is given twice: here and by {TOKEN_VARIABLE}, which is set");
                self.broken(key, rule, "remove one of the two; an empty variable is set, too");
                None
            }
            (None, None) => {
                if self.is_any_without_its_own(&raw.monime) {
                    let fix = format!(
                        "set monime.token_file to the path of a file, or {TOKEN_VARIABLE} to the token, or give each \
                         space in monime.spaces a token_file"
                    );
                    self.broken(key, "there is no token", fix);
                }
                None
            }
            (Some(path), None) => self.token_file(key, path, raw.security.allow_world_readable_secrets),
            (None, Some(token)) => {
                let secret = Secret::parse(Zeroizing::new(token.as_bytes().to_vec()));
                let source = format!("environment variable {TOKEN_VARIABLE}");
                let complain = |error: crate::secret::InvalidSecret| {
                    self.problems.add(TOKEN_KEY, &source, error.to_string(), error.fix());
                };
                secret.map(Source::environment).map_err(complain).ok()
            }
        }
    }

    fn token_file(&mut self, key: &str, path: &str, allow_world_readable: bool) -> Option<Arc<Source>> {
        let source = Source::file(Path::new(path), allow_world_readable);
        source.map_err(|error| self.broken(key, error.to_string(), error.fix())).ok()
    }

    /// Whether some space needs the token for all. One whose own was cut out for its shape does not.
    fn is_any_without_its_own(&self, raw: &raw::Monime) -> bool {
        let has_own = |(index, space): (usize, &raw::Space)| {
            space.token_file.is_some() || self.problems.touch(&format!("monime.spaces[{index}].token_file"))
        };
        let default_has_own = |default: &String| {
            let same = raw.spaces.iter().enumerate().filter(|(_, space)| space.id.as_ref() == Some(default));
            same.map(has_own).next() == Some(true)
        };
        let none_is_listed = raw.spaces.is_empty() && raw.default_space.is_none();
        none_is_listed
            || raw.default_space.as_ref().is_some_and(|default| !default_has_own(default))
            || !raw.spaces.iter().enumerate().all(has_own)
    }
}
