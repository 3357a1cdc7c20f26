//! What the operator's listener bears: the limits of the one for services, and no more connections than operators need.
//!
//! Refuses to share a crowd: connections here are counted apart, so that probes are answered however many callers there
//! are.

use crate::server::Limits;

/// How many connections may be open at once: some for each probe, each scraper and each operator.
pub const MOST_CONNECTIONS: usize = 256;
/// How many of them may be of one address, where others than this machine come in.
const OF_ONE_PEER: usize = 64;

/// The limits of the operator's listener, beside one for services that bears so much; `local` says whether only processes
/// of this machine can reach it.
///
/// No ingress stands before it, so an address is a peer there: no single one can take every place from a probe. On the
/// machine itself all have the same address, and it would be a second, smaller limit on all of them.
#[must_use]
pub fn limits(of_services: Limits, local: bool) -> Limits {
    let configured = of_services.connections_per_peer;
    let of_one_peer = configured.map_or(OF_ONE_PEER, |configured| configured.min(OF_ONE_PEER));
    Limits {
        connections: of_services.connections.min(MOST_CONNECTIONS),
        connections_per_peer: (!local).then_some(of_one_peer),
        ..of_services
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_find_a_place_whatever_one_stranger_takes() {
        let (few, many) = (Limits { connections: 100, ..Limits::default() }, Limits::default());
        let of_peers = |most| Limits { connections_per_peer: Some(most), ..many };
        for (given, local, connections, of_one_peer) in [
            (many, true, 256, None),
            (many, false, 256, Some(64)),
            (few, true, 100, None),
            (of_peers(7), false, 256, Some(7)),
            (of_peers(1000), false, 256, Some(64)),
            (of_peers(7), true, 256, None),
        ] {
            let limits = limits(given, local);
            assert_eq!((limits.connections, limits.connections_per_peer), (connections, of_one_peer));
            assert_eq!((limits.head, limits.times), (given.head, given.times));
        }
    }
}
