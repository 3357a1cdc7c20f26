//! The rules for TLS on the listener: a certificate and its key, and whom callers' certificates come from.
//!
//! Refuses one without the other, and files that could not serve.

use std::path::PathBuf;

use super::Rules;
use crate::config::problems::shown;
use crate::config::raw;
use crate::secret::FileError;
use crate::server::tls::{ClientAuth, Files, Identity, Part};

/// The key of the certificate chain's file.
const CERTIFICATE: &str = "listen.tls.cert_file";
/// The key of the private key's file.
const KEY: &str = "listen.tls.key_file";
/// The key of the file with the CA that callers' certificates come from.
const CLIENT_CA: &str = "listen.tls.client_ca_file";
/// The key that says whether a caller must have one.
const CLIENT_AUTH: &str = "listen.tls.client_auth";

// === impl Rules ===

impl Rules<'_> {
    pub(super) fn tls(&mut self, raw: &raw::Tls, allow_world_readable: bool) -> Option<Files> {
        let certificate = self.needed(CERTIFICATE, raw.cert_file.as_ref());
        let key = self.needed(KEY, raw.key_file.as_ref());
        let client_ca = raw.client_ca_file.as_ref().map(PathBuf::from);
        let client_auth = self.client_auth(raw.client_auth.as_deref(), client_ca.is_some());
        let files =
            Files { certificate: certificate?, key: key?, client_ca, client_auth: client_auth?, allow_world_readable };
        self.can_serve(&files).then_some(files)
    }

    fn needed(&mut self, key: &str, path: Option<&String>) -> Option<PathBuf> {
        if path.is_none() {
            let rule = "is not set, and TLS needs a certificate and its key";
            self.broken(key, rule, "set it to the path of a PEM file, or remove all of listen.tls");
        }
        path.map(PathBuf::from)
    }

    fn client_auth(&mut self, text: Option<&str>, has_ca: bool) -> Option<ClientAuth> {
        let client_auth = match text {
            None | Some("optional") => ClientAuth::Optional,
            Some("required") => ClientAuth::Required,
            Some(text) => {
                self.broken(CLIENT_AUTH, format!("{} is not known", shown(text)), "choose optional or required");
                return None;
            }
        };
        if text.is_some() && !has_ca && !self.problems.concern(CLIENT_CA) {
            let rule = "there is no CA that callers' certificates could come from";
            self.broken(CLIENT_AUTH, rule, format!("set {CLIENT_CA}, or remove this key"));
        }
        Some(client_auth)
    }

    /// Whether a listener could serve with these files. They are read again whenever they change, so nothing is kept.
    fn can_serve(&mut self, files: &Files) -> bool {
        let named =
            [(CERTIFICATE, Some(&files.certificate)), (KEY, Some(&files.key)), (CLIENT_CA, files.client_ca.as_ref())];
        // Reading stops at the first that is wrong; those that are not even there are said all at once.
        for (key, path) in named {
            if let Some(path) = path
                && let Err(error) = std::fs::metadata(path)
            {
                let error = FileError { path: path.clone(), problem: error.into() };
                self.broken(key, error.to_string(), error.fix());
            }
        }
        let read = Identity::read(files);
        if let Err(error) = &read {
            let key = match error.part {
                Part::Certificate => CERTIFICATE,
                Part::Key => KEY,
                Part::ClientCa => CLIENT_CA,
            };
            self.broken(key, error.to_string(), error.fix());
        }
        read.is_ok()
    }
}
