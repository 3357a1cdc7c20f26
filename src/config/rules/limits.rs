//! The rules for how much is borne: connections, heads, bodies, and the time that each may take.
//!
//! Refuses a limit that is none: every size and time has an upper bound, too, beyond which it would no longer protect.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::{MINUTE, Rules};
use crate::config::Limits;
use crate::config::problems::shown;
use crate::config::raw;
use crate::config::values::{self, Bounds};
use crate::gateway::BodyLimits;
use crate::server::{self, HeadLimits, Times};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
/// Beyond these the one or the other is tied up by whoever wants to tie it up.
const CONNECTIONS: RangeInclusive<i64> = 1..=1_048_576;
const IN_FLIGHT: RangeInclusive<i64> = 1..=65_536;
/// What is read of a head is bounded by these in any case.
const HEAD_SIZE: (u64, u64) = (KIB, 64 * KIB);
const HEAD_FIELDS: RangeInclusive<i64> = 1..=100;
/// The longest path of a lookup and its line around it fit into the least.
const TARGET_SIZE: (u64, u64) = (256, 64 * KIB);
/// Monime's largest, a session with all its line items, is far below the default.
const BODY_SIZE: (u64, u64) = (KIB, 8 * MIB);
/// Who needs longer than five minutes for any of these is not coming.
const STEP: Bounds = Bounds::new(Duration::from_millis(1), MINUTE.saturating_mul(5));
const IDLE: Bounds = Bounds::new(Duration::from_millis(1), MINUTE.saturating_mul(60));
const AGE: Bounds = Bounds::new(Duration::from_millis(1), MINUTE.saturating_mul(60 * 24 * 7));

// === impl Rules ===

impl Rules<'_> {
    pub(in crate::config) fn limits(&mut self, raw: &raw::Limits) -> Option<Limits> {
        let max_in_flight = self.number("limits.max_in_flight", raw.max_in_flight, &IN_FLIGHT);
        let connections = self.number("limits.connections", raw.connections, &CONNECTIONS);
        let per_peer = raw.connections_per_peer;
        let per_peer = per_peer.map(|number| self.number("limits.connections_per_peer", number, &CONNECTIONS));
        let head = self.head(raw);
        let body_size = self.size("limits.body_size", &raw.body_size, BODY_SIZE);
        let body_time = self.duration("limits.timeouts.body", &raw.timeouts.body, STEP);
        let times = self.times(&raw.timeouts);
        // None asked for is fine, one that cannot be is not.
        let connections_per_peer = match per_peer {
            Some(number) => Some(number?),
            None => None,
        };
        Some(Limits {
            max_in_flight: max_in_flight?,
            server: server::Limits { connections: connections?, connections_per_peer, head: head?, times: times? },
            body: BodyLimits { size: body_size?, time: body_time? },
        })
    }

    fn head(&mut self, raw: &raw::Limits) -> Option<HeadLimits> {
        let size = self.size("limits.head_size", &raw.head_size, HEAD_SIZE);
        let fields = self.number("limits.head_fields", raw.head_fields, &HEAD_FIELDS);
        let target = self.size("limits.target_size", &raw.target_size, TARGET_SIZE);
        let head = HeadLimits { size: size?, fields: fields?, target: target? };
        if head.target > head.size {
            let (raw::Size(size), raw::Size(target)) = (&raw.head_size, &raw.target_size);
            let rule = format!("{} is less than limits.target_size, {}", shown(size), shown(target));
            self.broken("limits.head_size", rule, "raise it, or lower limits.target_size: a target is part of a head");
        }
        Some(head)
    }

    fn times(&mut self, raw: &raw::ConnectionTimeouts) -> Option<Times> {
        let handshake = self.duration("limits.timeouts.handshake", &raw.handshake, STEP);
        let head = self.duration("limits.timeouts.head", &raw.head, STEP);
        let idle = self.duration("limits.timeouts.idle", &raw.idle, IDLE);
        let send = self.duration("limits.timeouts.send", &raw.send, STEP);
        let age = self.duration("limits.timeouts.age", &raw.age, AGE);
        let last_words = Times::default().last_words;
        Some(Times { handshake: handshake?, head: head?, idle: idle?, send: send?, age: age?, last_words })
    }

    fn number(&mut self, key: &str, number: i64, range: &RangeInclusive<i64>) -> Option<usize> {
        let fits = range.contains(&number);
        if !fits {
            let fix = format!("choose a number from {} to {}", range.start(), range.end());
            self.broken(key, format!("{number} is out of range"), fix);
        }
        usize::try_from(number).ok().filter(|_| fits)
    }

    fn size(&mut self, key: &str, raw::Size(text): &raw::Size, (least, most): (u64, u64)) -> Option<usize> {
        let [least_text, most_text] = [least, most].map(spelt);
        let rule = match values::size(text) {
            None => "is not a size".to_owned(),
            Some(bytes) if bytes < least => format!("is less than {least_text}"),
            Some(bytes) if bytes > most => format!("is more than {most_text}"),
            Some(bytes) => return usize::try_from(bytes).ok(),
        };
        self.broken(
            key,
            format!("{} {rule}", shown(text)),
            format!("write a size from {least_text} to {most_text}, such as {most_text}"),
        );
        None
    }
}

/// A number of bytes in the largest unit that it is a multiple of.
fn spelt(bytes: u64) -> String {
    if bytes.is_multiple_of(MIB) {
        format!("{}MiB", bytes / MIB)
    } else if bytes.is_multiple_of(KIB) {
        format!("{}KiB", bytes / KIB)
    } else {
        format!("{bytes}B")
    }
}
