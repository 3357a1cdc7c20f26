//! How many connections a server has, in all and of one peer, and how often the log says that there is no room.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How long the same line is not written again.
const QUIET: Duration = Duration::from_secs(60);

/// The connections of each peer. Clones count together.
#[derive(Debug, Clone, Default)]
pub(super) struct Peers(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// A connection's place among those of its peer; dropped, it is free again.
#[derive(Debug)]
pub(super) struct Seat {
    peers: Peers,
    /// None for who has no address.
    peer: Option<IpAddr>,
}

/// Keeps a line of the log that would be written far too often to one a minute.
#[derive(Debug, Default)]
pub(super) struct LogThrottle {
    written: Option<Instant>,
    /// How often it was not written since.
    held_back: u64,
}

// === impl Peers ===

impl Peers {
    /// A seat for this peer, unless it has as many as `most`.
    pub(super) fn seat(&self, peer: Option<IpAddr>, most: Option<usize>) -> Option<Seat> {
        let peer = peer.map(network);
        if let Some(peer) = peer {
            let mut peers = self.lock();
            let taken = peers.entry(peer).or_default();
            if most.is_some_and(|most| *taken >= most) {
                // It has some, so the entry was there before.
                return None;
            }
            *taken += 1;
        }
        Some(Seat { peers: self.clone(), peer })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let Some(peer) = self.peer else { return };
        let mut peers = self.peers.lock();
        if let Some(taken) = peers.get_mut(&peer) {
            *taken = taken.saturating_sub(1);
            if *taken == 0 {
                peers.remove(&peer);
            }
        }
    }
}

/// Who has one IPv6 address has all of its /64.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
        address @ IpAddr::V4(_) => address,
    }
}

// === impl LogThrottle ===

impl LogThrottle {
    /// How often it was held back since it was written last, if it is to be written now.
    pub(super) fn is_due(&mut self) -> Option<u64> {
        let now = Instant::now();
        if self.written.is_some_and(|written| now < written + QUIET) {
            self.held_back += 1;
            return None;
        }
        self.written = Some(now);
        Some(std::mem::take(&mut self.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_has_its_seats_and_no_more_and_gets_them_back() {
        let peers = Peers::default();
        let [first, second] = ["10.0.0.1", "10.0.0.2"].map(|peer| Some(peer.parse().unwrap()));
        let held: Vec<_> = (0..3).map(|_| peers.seat(first, Some(3)).unwrap()).collect();
        assert!(peers.seat(first, Some(3)).is_none() && peers.seat(first, Some(4)).is_some());
        assert!(peers.seat(second, Some(3)).is_some() && peers.seat(first, None).is_some());
        drop(held);
        assert!(peers.seat(first, Some(1)).is_some());
        assert!(peers.lock().is_empty(), "who has none is not remembered");
    }

    #[test]
    fn a_peer_is_an_ipv4_address_however_written_or_a_network_of_ipv6() {
        let peers = Peers::default();
        let is_one = |first: &str, second: &str| {
            let _held = peers.seat(Some(first.parse().unwrap()), Some(1)).unwrap();
            peers.seat(Some(second.parse().unwrap()), Some(1)).is_none()
        };
        assert!(is_one("10.0.0.1", "::ffff:10.0.0.1"));
        assert!(is_one("2001:db8::1", "2001:db8::ffff:0:0:1"));
        assert!(!is_one("2001:db8::1", "2001:db8:0:1::1"));
        assert!(!is_one("10.0.0.1", "10.0.0.2"));
    }

    #[test]
    fn who_has_no_address_is_not_counted() {
        let peers = Peers::default();
        let held: Vec<_> = (0..3).map(|_| peers.seat(None, Some(1))).collect();
        assert!(held.iter().all(Option::is_some));
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_of_the_log_is_written_once_a_minute_and_says_how_often_it_was_not() {
        let mut throttle = LogThrottle::default();
        assert_eq!([throttle.is_due(), throttle.is_due(), throttle.is_due()], [Some(0), None, None]);
        tokio::time::sleep(QUIET).await;
        assert_eq!([throttle.is_due(), throttle.is_due()], [Some(2), None]);
    }
}
