//! How much a server bears: how many connections, how long each may take over what, and how large a request's head is.
//!
//! Only numbers: who keeps to them is told in `connection` and `crowd`. The defaults are safe on an open network.

use std::time::Duration;

/// What a server bears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How many connections may be open at once. At the limit nothing more is accepted until one of them ends; the
    /// kernel queues meanwhile, and who is idle is asked to go.
    pub connections: usize,
    /// How many of them may be of one peer: an IPv4 address, or the /64 that an IPv6 address is in. More are closed as
    /// they come. Means nothing to a Unix socket, whose peers have no address.
    pub connections_per_peer: Option<usize>,
    /// How large the head of a request may be.
    pub head: HeadLimits,
    /// How long a connection may take over what.
    pub times: Times,
}

/// How large the head of a request may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes of the whole, request line and line ends included. HTTP/2 counts 32 for each field instead of its line
    /// (RFC 9113, 6.5.2), and takes 16 KiB at most.
    pub size: usize,
    /// Field lines, from 1 to 100.
    pub fields: usize,
    /// Bytes of the request target.
    pub target: usize,
}

/// How long a connection may take over what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// For the TLS handshake.
    pub handshake: Duration,
    /// For the head of a request: of the first one from when the connection is ready for it, of a later one from its
    /// first byte.
    pub head: Duration,
    /// Without a request and without an answer under way, after the first.
    pub idle: Duration,
    /// Without taking a byte of what it is sent.
    pub send: Duration,
    /// In all. It ends between two requests, a tenth sooner or later, so that not all of a crowd come back at once.
    pub age: Duration,
    /// While draining: what a connection still gets to ask something.
    pub last_words: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 16_384, connections_per_peer: None, head: HeadLimits::default(), times: Times::default() }
    }
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self { size: 64 * 1024, fields: 100, target: 8 * 1024 }
    }
}

impl Default for Times {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(5),
            head: Duration::from_secs(10),
            // Longer than the pools of common clients keep idle connections, so that they close first.
            idle: Duration::from_secs(60),
            send: Duration::from_secs(30),
            age: Duration::from_secs(60 * 60),
            last_words: Duration::from_millis(500),
        }
    }
}
