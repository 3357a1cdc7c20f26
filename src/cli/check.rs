//! `check`: what a configuration in order comes to, in a line for each matter.
//!
//! Refuses to judge: what is wrong has been said by then, and what is worth a second look is the configuration's word.

use std::io::{self, Write};

use monigate::config::{Config, Jwks, Monime};
use monigate::monime::TokenKind;
use monigate::secret::redact;
use monigate::server::tls::{ClientAuth, Files, Identity};

use super::OK;

pub(super) fn say(config: &Config, out: &mut impl Write) -> io::Result<u8> {
    let monime = &config.monime;
    let spaces: Vec<_> = monime.spaces.iter().map(|space| space.as_str()).collect();
    let address = &config.listen.address;
    writeln!(out, "configuration ok: {address} asks {} for {}", monime.wire.origin, spaces.join(", "))?;
    tokens_and_proxy(monime, out)?;
    let tls = match &config.listen.tls {
        None => "none",
        Some(files) if files.client_ca.is_none() => "on, without certificates of callers",
        Some(files) => match files.client_auth {
            ClientAuth::Optional => "on, with certificates of callers, optional",
            ClientAuth::Required => "on, with certificates of callers, required",
        },
    };
    writeln!(out, "tls: {tls}")?;
    match config.callers.len() {
        0 => writeln!(out, "callers: none are named, so everyone who reaches it may look sessions up"),
        number => writeln!(out, "callers: {number}"),
    }?;
    match &config.jwt {
        None => writeln!(out, "jwt: none, so no service-account token is believed"),
        Some(jwt) => {
            let keys = match &jwt.keys {
                Jwks::File(path) => path.display().to_string(),
                // A query may hold a key.
                Jwks::Url { wire, path, .. } => {
                    format!("{}{}", wire.origin, path.split('?').next().unwrap_or_default())
                }
            };
            writeln!(
                out,
                "jwt: tokens of {} for {}, with keys from {}",
                redact(&jwt.issuer),
                jwt.audience,
                redact(&keys)
            )
        }
    }?;
    writeln!(out, "admin: {}", config.admin.address)?;
    config.warnings().iter().try_for_each(|warning| writeln!(out, "warning: {warning}"))?;
    config.listen.tls.iter().try_for_each(|files| certificate(files, out))?;
    Ok(OK)
}

/// What is worth a second look of a certificate that can serve.
fn certificate(files: &Files, out: &mut impl Write) -> io::Result<()> {
    // It could be read a moment ago.
    let Ok(identity) = Identity::read(files) else { return Ok(()) };
    let (path, mut warnings) = (files.certificate.display(), identity.warnings().iter());
    warnings.try_for_each(|warning| writeln!(out, "warning: {path} serves, but {warning}; {}", warning.fix()))
}

fn tokens_and_proxy(monime: &Monime, out: &mut impl Write) -> io::Result<()> {
    for source in monime.keyring.sources() {
        let token = match source.kind() {
            TokenKind::Live => "a live token",
            TokenKind::Test => "a test token, with which Monime refuses checkout sessions",
            TokenKind::Other => "a token that does not begin with mon_, as Monime's do: is it the right secret?",
        };
        writeln!(out, "token: {token}, from {}", redact(source.name()))?;
    }
    let source = &monime.proxy_source;
    match &monime.wire.proxy {
        None => writeln!(out, "proxy: none, from {source}"),
        Some(proxy) => {
            let credentials = proxy.credentials_place().map(|place| format!(", with credentials from {place}"));
            writeln!(out, "proxy: {proxy}, from {source}{}", credentials.unwrap_or_default())
        }
    }
}
