//! One window: the moments of its calls, those sent and those booked, and no interval of its width with too many.
//!
//! Owns the ring of moments and the rule over it. Refuses to know whose moments they are, and which other windows a
//! call must fit into.

use std::collections::VecDeque;

use tokio::time::Instant;

use super::share::{Pace, Share};

/// A place's window. The invariant: a moment that [`Window::earliest`] gave for the marks as they are can be marked
/// without any half-open interval of the width holding more than the most.
#[derive(Debug)]
pub(super) struct Window {
    limit: u32,
    share: Share,
    pace: Pace,
    /// In order of time.
    marks: VecDeque<Mark>,
    /// How many of the marks are calls that were sent.
    sent: usize,
    paused_until: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Mark {
    at: Instant,
    kind: Kind,
}

/// What a mark stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A call that was sent then.
    Sent,
    /// No call: it fills the window of a pause, so that the window empties evenly afterwards.
    Refill,
    /// A turn that somebody waits for.
    Booked,
}

// === impl Window ===

impl Window {
    /// An empty one for `limit × share` calls a second.
    pub(super) fn new(limit: u32, share: f64) -> Self {
        let pace = Pace::of(limit, share);
        Self { limit, share: Share::full(), pace, marks: VecDeque::new(), sent: 0, paused_until: None }
    }

    /// Takes on another limit or configured share, and what the share has regrown; whether that changes its pace.
    pub(super) fn adjust(&mut self, limit: Option<u32>, configured: f64, now: Instant) -> bool {
        self.limit = limit.unwrap_or(self.limit);
        self.share.grow(now);
        let pace = Pace::of(self.limit, configured * self.share.part());
        let changed = pace != self.pace;
        self.pace = pace;
        changed
    }

    pub(super) fn share(&self) -> &Share {
        &self.share
    }

    pub(super) fn limit(&self) -> u32 {
        self.limit
    }

    pub(super) fn is_paused(&self, now: Instant) -> bool {
        self.paused_until.is_some_and(|until| now < until)
    }

    /// The earliest moment from `from` on that may be marked.
    pub(super) fn earliest(&self, from: Instant) -> Instant {
        let Pace { most, width } = self.pace;
        let mut at = self.paused_until.map_or(from, |until| until.max(from));
        let start = self.marks.partition_point(|mark| mark.at + width <= at);
        let firsts = self.marks.range(start..);
        let lasts = self.marks.range((start + most - 1).min(self.marks.len())..);
        // A full window: as many marks as may be within one width. One more fits before or after, not in between.
        for (first, last) in firsts.zip(lasts) {
            if last.at >= at + width {
                break;
            }
            let end = first.at + width;
            if last.at < end && at < end {
                at = end;
            }
        }
        at
    }

    /// Marks this moment.
    pub(super) fn mark(&mut self, at: Instant, kind: Kind) {
        let index = self.marks.partition_point(|mark| mark.at <= at);
        self.marks.insert(index, Mark { at, kind });
        self.sent += usize::from(kind == Kind::Sent);
    }

    /// Takes back a turn booked for this moment.
    pub(super) fn unbook(&mut self, at: Instant) {
        let start = self.marks.partition_point(|mark| mark.at < at);
        let offset = self.marks.range(start..).position(|mark| mark.kind == Kind::Booked);
        if let Some(offset) = offset {
            self.marks.remove(start + offset);
        }
    }

    /// Takes back every turn that is booked.
    pub(super) fn unbook_all(&mut self) {
        self.marks.retain(|mark| mark.kind != Kind::Booked);
    }

    /// Nobody goes before `until`, and after it one by one; halves the share, unless it was for a call `sent_at` a
    /// time when it had not been halved yet. Whether it was halved now.
    pub(super) fn pause(&mut self, configured: f64, sent_at: Instant, until: Instant, now: Instant) -> bool {
        self.share.grow(now);
        let halved = self.share.halve(sent_at, now);
        self.adjust(None, configured, now);
        if self.paused_until.is_none_or(|paused| paused < until) {
            self.paused_until = Some(until);
            self.refill(until);
        }
        halved
    }

    /// Fills the window that ends at `until` evenly.
    fn refill(&mut self, until: Instant) {
        self.marks.retain(|mark| mark.kind != Kind::Refill);
        let Pace { most, width } = self.pace;
        for step in 0..most {
            #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
            let back = width.mul_f64((most - step) as f64 / most as f64);
            if let Some(at) = until.checked_sub(back) {
                self.mark(at, Kind::Refill);
            }
        }
    }

    /// Forgets marks that can matter no more. The last `most` calls are kept whatever their age: the width grows when
    /// the share shrinks.
    pub(super) fn prune(&mut self, now: Instant) {
        let Pace { most, width } = self.pace;
        while let Some(front) = self.marks.front().filter(|front| front.at + width <= now) {
            match front.kind {
                Kind::Sent if self.sent > most => self.sent -= 1,
                Kind::Refill => {}
                Kind::Sent | Kind::Booked => return,
            }
            self.marks.pop_front();
        }
    }

    /// Whether forgetting it changes nothing: a full share, no pause, and no mark after `since`.
    pub(super) fn is_idle(&self, since: Instant) -> bool {
        self.share.is_full()
            && self.paused_until.is_none_or(|until| until <= since)
            && self.marks.back().is_none_or(|last| last.at <= since && last.kind != Kind::Booked)
            && self.marks.iter().all(|mark| mark.kind != Kind::Booked)
    }
}
