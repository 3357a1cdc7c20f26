//! The rules for where services and operators ask: addresses, a socket's permissions, a header that is demanded.
//!
//! Refuses a listener that other machines reach while nobody is named who may ask there. Its TLS is `tls`'.

use http::HeaderName;

use super::{Proofs, Rules};
use crate::config::problems::shown;
use crate::config::raw::{self, Raw};
use crate::config::{Admin, Listen};
use crate::server::Address;

/// Who may connect to a Unix socket if nobody says: its owner and its group.
const SOCKET_MODE: u32 = 0o660;
/// What the owner of a socket needs: to connect is to read and to write.
const OWNER: u32 = 0o600;

/// What a browser sends by itself, or lets a page send to another origin without asking that origin first: the Fetch
/// standard's forbidden and safelisted names, what it adds for caches, credentials and hints, and what proxies add.
const SENT_BY_BROWSERS: [&str; 54] = [
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "alt-used",
    "authorization",
    "cache-control",
    "connection",
    "content-encoding",
    "content-language",
    "content-length",
    "content-type",
    "cookie",
    "cookie2",
    "date",
    "device-memory",
    "dnt",
    "downlink",
    "dpr",
    "early-data",
    "ect",
    "expect",
    "forwarded",
    "from",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "keep-alive",
    "last-event-id",
    "max-forwards",
    "origin",
    "ping-from",
    "ping-to",
    "pragma",
    "priority",
    "purpose",
    "range",
    "referer",
    "rtt",
    "save-data",
    "service-worker",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "upgrade-insecure-requests",
    "user-agent",
    "via",
    "viewport-width",
    "width",
];
/// The same, by how they begin.
const SENT_BY_BROWSERS_ALL: [&str; 4] = ["access-control-", "proxy-", "sec-", "x-forwarded-"];

// === impl Rules ===

impl Rules<'_> {
    pub(in crate::config) fn listen(&mut self, all: &Raw) -> Option<Listen> {
        let raw = &all.listen;
        let address = self.address("listen.address", &raw.address);
        if let Some(address) = &address {
            self.reached_only_by_the_named(address, all);
        }
        let socket_mode = self.socket_mode(raw, address.as_ref());
        let require_header = raw.require_header.as_ref().map(|name| self.require_header(name));
        let tls = raw.tls.as_ref().map(|tls| self.tls(tls, all.security.allow_world_readable_secrets));
        // None asked for is fine, one that cannot be is not.
        let (require_header, tls) =
            (require_header.map_or(Some(None), |it| it.map(Some)), tls.map_or(Some(None), |it| it.map(Some)));
        Some(Listen { address: address?, socket_mode: socket_mode?, tls: tls?, require_header: require_header? })
    }

    pub(in crate::config) fn admin(&mut self, all: &Raw, proofs: &mut Proofs) -> Option<Admin> {
        let raw = &all.admin;
        let address = self.address("admin.address", &raw.address);
        if let (Ok(listen), Some(admin)) = (all.listen.address.parse(), &address)
            && collide(&listen, admin)
        {
            let rule = format!("{admin} is taken by listen.address");
            self.broken("admin.address", rule, "choose another port or another path");
        }
        let keys = self.digests("admin.keys_sha256", "", &raw.keys_sha256, proofs);
        Some(Admin { address: address?, keys })
    }

    pub(in crate::config) fn address(&mut self, key: &str, text: &str) -> Option<Address> {
        let address = text.parse().ok();
        if address.is_none() {
            let fix = "write IP:PORT such as 127.0.0.1:8080 or [::1]:8080, or unix:/absolute/path";
            self.broken(key, format!("{} is no address", shown(text)), fix);
        }
        address
    }

    fn reached_only_by_the_named(&mut self, address: &Address, all: &Raw) {
        let named = all.callers.as_ref().is_some_and(|callers| !callers.is_empty());
        // Whoever was named in a wrong way, or in a file that could not be read, is to be named better first.
        if address.is_local() || named || self.problems.concern("callers") || self.problems.lost_a_file() {
            return;
        }
        let rule = format!(
            "{address} can be reached from other machines, and without named callers everyone who reaches it is served \
             with the token"
        );
        let fix = "name who may ask: a table [[callers]] for each, with name, keys_sha256, spaces and operations; or bind \
                   a loopback address such as 127.0.0.1:8080, or a socket such as unix:/run/monigate/gateway.sock; to revoke the \
                   last caller, put the digest of a new key in the place of its old one";
        self.broken("listen.address", rule, fix);
    }

    fn socket_mode(&mut self, raw: &raw::Listen, address: Option<&Address>) -> Option<u32> {
        let key = "listen.socket_mode";
        let Some(text) = &raw.socket_mode else { return Some(SOCKET_MODE) };
        if let Some(Address::Tcp(address)) = address {
            let rule = format!("is for Unix sockets, and listen.address is {address}");
            self.broken(key, rule, "remove it, or set listen.address to unix:/absolute/path");
        }
        let is_octal = matches!(text.len(), 3 | 4) && text.bytes().all(|digit| matches!(digit, b'0'..=b'7'));
        let mode = u32::from_str_radix(text, 8).ok().filter(|mode| is_octal && *mode <= 0o777);
        let rule = match mode {
            None => Some("is no octal permissions"),
            Some(mode) if mode & OWNER != OWNER => Some("does not let the owner read and write"),
            Some(_) => None,
        };
        if let Some(rule) = rule {
            let fix = "write \"0660\" for owner and group, \"0600\" for the owner alone, or \"0666\" for everyone";
            self.broken(key, format!("{} {rule}", shown(text)), fix);
        }
        mode
    }

    fn require_header(&mut self, text: &str) -> Option<HeaderName> {
        let key = "listen.require_header";
        let fix = "choose a name of your own, such as X-Monigate-Request";
        let Ok(name) = HeaderName::from_bytes(text.as_bytes()) else {
            self.broken(key, format!("{} is no name of a header", shown(text)), fix);
            return None;
        };
        let is_of_browsers = SENT_BY_BROWSERS.contains(&name.as_str())
            || SENT_BY_BROWSERS_ALL.iter().any(|start| name.as_str().starts_with(start));
        if is_of_browsers {
            let rule =
                format!("{} is sent by browsers, or by proxies, so demanding it keeps no web page out", shown(text));
            self.broken(key, rule, fix);
        }
        (!is_of_browsers).then_some(name)
    }
}

/// Whether the two cannot both be bound. Port 0 is another one each time; all addresses include every single one.
fn collide(one: &Address, other: &Address) -> bool {
    match (one, other) {
        (Address::Tcp(one), Address::Tcp(other)) => {
            let overlap = one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
            one.port() != 0 && one.port() == other.port() && overlap
        }
        (Address::Unix(one), Address::Unix(other)) => one == other,
        (Address::Tcp(_), Address::Unix(_)) | (Address::Unix(_), Address::Tcp(_)) => false,
    }
}
