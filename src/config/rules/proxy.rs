//! The rules for the way to Monime: which proxy, who named it, and as whom it is asked.
//!
//! Our own key wins over the variables that every program knows, and `NO_PROXY` speaks only of theirs. Refuses to repeat a
//! proxy's URL that is wrong, since it may hold a password, and to go straight where a proxy was named that cannot be used.

use std::path::Path;

use http::uri::Scheme;

use super::Rules;
use crate::config::raw;
use crate::config::sources::{DEFAULT, Sources};
use crate::secret::ProxyCredentials;
use crate::upstream::{InvalidProxy, Origin, Proxy, is_exempt};

/// The key that names a proxy.
pub(in crate::config) const PROXY_KEY: &str = "monime.proxy";
/// What the key says to switch off a proxy that the environment names.
pub(in crate::config) const STRAIGHT: &str = "none";
/// The key whose file says who we are to it.
const CREDENTIALS_KEY: &str = "monime.proxy_credentials_file";

/// Which proxy is used, if any, and who decided so.
pub(super) struct Egress {
    pub(super) proxy: Option<Proxy>,
    /// A file, a flag, an environment variable, or a reason, in words for an operator.
    pub(super) source: String,
}

// === impl Rules ===

impl Rules<'_> {
    pub(super) fn egress(
        &mut self,
        raw: &raw::Monime,
        security: &raw::Security,
        sources: &Sources,
        origin: Option<&Origin>,
    ) -> Option<Egress> {
        let by_key = raw.proxy.as_deref().map(|text| self.egress_by_key(text));
        if raw.proxy_credentials_file.is_some() && by_key.is_none() && sources.proxy().is_none() {
            let rule = "there is no proxy that these credentials are for";
            self.broken(CREDENTIALS_KEY, rule, format!("set {PROXY_KEY}, or remove this key"));
        }
        let origin = origin?;
        if origin.scheme == Scheme::HTTP {
            return Some(Egress { proxy: None, source: "monime.base_url, which is plain http".to_owned() });
        }
        let egress = by_key.unwrap_or_else(|| self.egress_by_environment(sources, origin))?;
        match (egress.proxy, &raw.proxy_credentials_file) {
            (Some(proxy), Some(path)) => {
                let proxy = self.with_credentials_file(proxy, path, security.allow_world_readable_secrets)?;
                Some(Egress { proxy: Some(proxy), ..egress })
            }
            (proxy, _) => Some(Egress { proxy, ..egress }),
        }
    }

    fn egress_by_key(&mut self, text: &str) -> Option<Egress> {
        let source = self.effective.source(PROXY_KEY).to_owned();
        if text == STRAIGHT {
            return Some(Egress { proxy: None, source });
        }
        match Proxy::parse(text) {
            Ok(proxy) => Some(Egress { proxy: Some(proxy), source }),
            Err(error) => {
                self.broken(PROXY_KEY, error.to_string(), fix(error));
                None
            }
        }
    }

    fn egress_by_environment(&mut self, sources: &Sources, origin: &Origin) -> Option<Egress> {
        let Some((name, text)) = sources.proxy() else {
            return Some(Egress { proxy: None, source: DEFAULT.to_owned() });
        };
        if let Some((name, list)) = sources.no_proxy()
            && is_exempt(origin, list)
        {
            return Some(Egress { proxy: None, source: format!("environment variable {name}") });
        }
        let source = format!("environment variable {name}");
        match Proxy::from_variable(name, text) {
            Ok(proxy) => Some(Egress { proxy: Some(proxy), source }),
            Err(error) => {
                let fix = format!("mend it, or set {PROXY_KEY}, which wins: a URL, or {STRAIGHT}");
                self.problems.add(PROXY_KEY, &source, error.to_string(), fix);
                None
            }
        }
    }

    /// The same proxy, asked as the file says.
    fn with_credentials_file(&mut self, proxy: Proxy, path: &str, allow_world_readable: bool) -> Option<Proxy> {
        if let Some(variable) = proxy.credentials_place() {
            let rule = format!("the proxy's credentials are given twice: here and by {variable}");
            self.broken(CREDENTIALS_KEY, rule, "remove one of the two");
            return None;
        }
        // The credentials themselves, most likely, and a complaint about a file would repeat them.
        if path.contains(':') && !path.starts_with(['/', '.']) {
            self.broken(
                CREDENTIALS_KEY,
                "is no path of a file",
                "put user:password into a file, and the file's path here",
            );
            return None;
        }
        match ProxyCredentials::from_file(Path::new(path), allow_world_readable) {
            Ok(credentials) => Some(proxy.with_credentials(credentials, CREDENTIALS_KEY)),
            Err(error) => {
                self.broken(CREDENTIALS_KEY, error.to_string(), error.fix());
                None
            }
        }
    }
}

fn fix(error: InvalidProxy) -> String {
    match error {
        InvalidProxy::UserInfo => {
            format!(
                "put user:password into a file and set {CREDENTIALS_KEY}, or leave this key away and set HTTPS_PROXY"
            )
        }
        InvalidProxy::Url | InvalidProxy::Scheme | InvalidProxy::Path | InvalidProxy::Credentials(_) => {
            format!("write it like http://proxy.corp:3128, or {STRAIGHT}")
        }
    }
}
