//! The rules for whose service-account tokens are believed, and where its public keys are.
//!
//! Refuses keys that come over a wire which others can write on, and to repeat a URL that is wrong: it may hold a
//! password.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http::Uri;
use http::uri::Scheme;

use super::Rules;
use crate::caller::Issuer;
use crate::config::problems::shown;
use crate::config::raw::{self, Raw};
use crate::config::{Jwks, Jwt};
use crate::secret::{Secret, Unusable};
use crate::upstream::{InvalidOrigin, Origin, Wire};

/// How long connecting to the server of the keys may take: as long as connecting to Monime by default.
const CONNECT: Duration = Duration::from_secs(2);
/// The longest issuer and audience: what a URL may have nearly everywhere.
const MAX_NAME: usize = 2048;
/// The key that names the file of the public keys.
const FILE: &str = "jwt.jwks_file";
/// The key that names the server of the public keys.
pub(in crate::config) const URL: &str = "jwt.jwks_url";

// === impl Rules ===

impl Rules<'_> {
    /// Whose tokens are believed, if anybody's; none at all if what was written is wrong.
    #[expect(clippy::option_option, reason = "it may be left away, and it may be wrong")]
    pub(in crate::config) fn jwt(&mut self, all: &Raw) -> Option<Option<Jwt>> {
        let Some(raw) = &all.jwt else { return Some(None) };
        let issuer = self.said("jwt.issuer", raw.issuer.as_deref(), "copy the `iss` of the tokens");
        let audience =
            self.said("jwt.audience", raw.audience.as_deref(), "choose a name for this gateway, such as monigate");
        let allow_world_readable = all.security.allow_world_readable_secrets;
        let keys = self.jwks(raw, allow_world_readable);
        Some(Some(Jwt { issuer: issuer?, audience: audience?, keys: keys?, allow_world_readable }))
    }

    fn said(&mut self, key: &str, text: Option<&str>, fix: &str) -> Option<String> {
        let rule = match text {
            None => "is not set".to_owned(),
            Some("") => "is empty".to_owned(),
            Some(text) if text.len() > MAX_NAME || !text.bytes().all(|byte| byte.is_ascii_graphic()) => {
                format!("{} is not at most {MAX_NAME} visible ASCII characters", shown(text))
            }
            Some(text) => return Some(text.to_owned()),
        };
        self.broken(key, rule, fix);
        None
    }

    fn jwks(&mut self, raw: &raw::Jwt, allow_world_readable: bool) -> Option<Jwks> {
        if raw.jwks_url.is_none() && !self.problems.concern(URL) {
            for (key, text) in [("jwt.ca_file", &raw.ca_file), ("jwt.token_file", &raw.token_file)] {
                if text.is_some() {
                    self.broken(key, format!("is for {URL}, which is not set"), "remove it");
                }
            }
        }
        match (&raw.jwks_file, &raw.jwks_url) {
            (Some(_), Some(_)) => {
                self.broken(FILE, format!("the keys are named twice: here and by {URL}"), "remove one of the two");
                None
            }
            (None, None) => {
                // One that was cut out for its shape is wrong, not missing.
                if !self.problems.concern(URL) {
                    let fix = format!("set it to the path of a JWKS file, or {URL}");
                    self.broken(FILE, "there are no keys to check tokens with", fix);
                }
                None
            }
            (Some(path), None) => self.jwks_file(Path::new(path)),
            (None, Some(url)) => self.jwks_url(raw, url, allow_world_readable),
        }
    }

    fn jwks_file(&mut self, path: &Path) -> Option<Jwks> {
        let fix = "give the file with the issuer's public keys, as its jwks_uri serves them";
        let keys = self.file(FILE, path, fix)?;
        // As they will be judged when tokens are to be checked with them.
        let usable = Issuer::new("", "").take_on(&keys);
        let complain = |error| self.broken(FILE, format!("{} cannot be used: {error}", path.display()), fix);
        usable.map_err(complain).ok().map(|_| Jwks::File(path.to_owned()))
    }

    fn jwks_url(&mut self, raw: &raw::Jwt, url: &str, allow_world_readable: bool) -> Option<Jwks> {
        let place = split(url);
        if let Err(error) = &place {
            let rule = match error {
                InvalidOrigin::Url | InvalidOrigin::Path => "this is no https URL",
                InvalidOrigin::Port => "a port is a number from 1 to 65535",
                InvalidOrigin::UserInfo => "a URL carries no user name and no password",
                InvalidOrigin::Plain => {
                    "plain http is only for 127.0.0.0/8, [::1] and localhost: who is on the way could put keys in"
                }
            };
            self.broken(URL, rule, "write it like https://kubernetes.default.svc/openid/v1/jwks");
        }
        let ca_pem = raw.ca_file.as_ref().map(|path| self.ca("jwt.ca_file", Path::new(path)));
        let token_file = raw.token_file.as_ref().map(|path| self.jwks_token(Path::new(path), allow_world_readable));
        let (origin, path) = place.ok()?;
        let ca_pem = match ca_pem {
            Some(pem) => Some(pem?),
            None => None,
        };
        let token_file = match token_file {
            Some(path) => Some(path?),
            None => None,
        };
        Some(Jwks::Url { wire: Wire { origin, ca_pem, connect: CONNECT, proxy: None }, path, token_file })
    }

    /// It is only tried: Kubernetes renews such a token every hour, so that it is read at each use.
    fn jwks_token(&mut self, path: &Path, allow_world_readable: bool) -> Option<PathBuf> {
        if let Err(error) = Secret::from_file(path, allow_world_readable) {
            // Whose token it would be otherwise is Monime's.
            let fix =
                if matches!(error.problem, Unusable::Invalid(_)) { "put the token there alone" } else { error.fix() };
            self.broken("jwt.token_file", error.to_string(), fix);
            return None;
        }
        Some(path.to_owned())
    }
}

/// The server in a URL, and the path there.
fn split(url: &str) -> Result<(Origin, String), InvalidOrigin> {
    let uri: Uri = url.parse().map_err(|_| InvalidOrigin::Url)?;
    let parts = uri.into_parts();
    let (Some(scheme), Some(authority)) = (parts.scheme, parts.authority) else { return Err(InvalidOrigin::Url) };
    // `http` drops a fragment without a word.
    if url.contains('#') || (scheme != Scheme::HTTP && scheme != Scheme::HTTPS) {
        return Err(InvalidOrigin::Url);
    }
    let origin = format!("{scheme}://{authority}").parse()?;
    Ok((origin, parts.path_and_query.map_or("/".to_owned(), |path| path.to_string())))
}
