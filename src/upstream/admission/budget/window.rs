//! One window: the moments of its calls, those sent and those booked, and no interval of its width with too many.
//!
//! Owns the ring of moments and the rule over it. Refuses to know whose moments they are, and which other windows a
//! call must fit into.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::share::{Pace, Share};

/// A place's window: no half-open interval of the pace's width holds more calls than its most, and two calls are never
/// closer than the gap. A moment that [`Window::earliest`] gave, marked at once, keeps both.
#[derive(Debug)]
pub(super) struct Window {
    limit: u32,
    share: Share,
    pace: Pace,
    gap: Duration,
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
    /// A turn that somebody waits for.
    Booked,
}

// === impl Window ===

impl Window {
    /// An empty one for `limit × share` calls a second.
    pub(super) fn new(limit: u32, share: f64) -> Self {
        let pace = Pace::of(limit, share);
        Self {
            limit,
            share: Share::full(),
            pace,
            gap: Duration::ZERO,
            marks: VecDeque::new(),
            sent: 0,
            paused_until: None,
        }
    }

    /// Takes on another limit or configured share, and what the share has regrown; whether that changes its pace.
    pub(super) fn adjust(&mut self, limit: Option<u32>, configured: f64, now: Instant) -> bool {
        self.limit = limit.unwrap_or(self.limit);
        self.share.grow(now);
        let pace = Pace::of(self.limit, configured);
        let gap = self.share.gap(self.limit, configured);
        let changed = (pace, gap) != (self.pace, self.gap);
        (self.pace, self.gap) = (pace, gap);
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
        let mut at = self.paused_until.map_or(from, |until| until.max(from));
        loop {
            let apart = self.clear(1, self.gap, at);
            let clear = self.clear(self.pace.most, self.pace.width, apart);
            if clear == at {
                return at;
            }
            at = clear;
        }
    }

    /// The earliest moment from `at` on that, marked, leaves at most `most` marks in any half-open interval of `width`.
    fn clear(&self, most: usize, width: Duration, mut at: Instant) -> Instant {
        if self.is_clear_behind_all(most, width, at) {
            return at;
        }
        let start = self.marks.partition_point(|mark| mark.at + width <= at);
        let firsts = self.marks.range(start..);
        let lasts = self.marks.range((start + most - 1).min(self.marks.len())..);
        // So many marks within one width leave no room between them, nor within a width of the far one on either side.
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

    /// Whether `at` comes after every mark and is clear: only the last of them can be within a width of it then, so that one
    /// look is enough, however many there are. What it usually is while nobody waits.
    fn is_clear_behind_all(&self, most: usize, width: Duration, at: Instant) -> bool {
        let is_last = self.marks.back().is_none_or(|last| last.at <= at);
        let first = self.marks.len().checked_sub(most).and_then(|index| self.marks.get(index));
        is_last && first.is_none_or(|first| first.at + width <= at)
    }

    /// Marks this moment.
    pub(super) fn mark(&mut self, at: Instant, kind: Kind) {
        let index = match self.marks.back() {
            Some(last) if last.at > at => self.marks.partition_point(|mark| mark.at <= at),
            Some(_) | None => self.marks.len(),
        };
        self.marks.insert(index, Mark { at, kind });
        self.sent += usize::from(kind == Kind::Sent);
    }

    /// A call that counted from `sent_at` counts from `at`, also if it was forgotten already.
    pub(super) fn delay(&mut self, sent_at: Instant, at: Instant) {
        let start = self.marks.partition_point(|mark| mark.at < sent_at);
        let same = self.marks.range(start..).take_while(|mark| mark.at == sent_at);
        let offset = same.enumerate().find(|(_, mark)| mark.kind == Kind::Sent).map(|(offset, _)| offset);
        if let Some(offset) = offset {
            self.marks.remove(start + offset);
            self.sent -= 1;
        }
        self.mark(at, Kind::Sent);
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

    /// Nobody goes before `until`, and after it one by one; cuts the share, unless it was for a call `sent_at` a time
    /// when it had not been cut yet. Whether it was cut now.
    pub(super) fn pause(&mut self, configured: f64, sent_at: Instant, until: Instant, now: Instant) -> bool {
        self.share.grow(now);
        let cut = self.share.cut(sent_at, now);
        self.adjust(None, configured, now);
        self.paused_until = self.paused_until.max(Some(until));
        cut
    }

    /// Forgets marks that can matter no more. The last `most` calls are kept whatever their age: the width grows when
    /// the share shrinks.
    pub(super) fn prune(&mut self, now: Instant) {
        let Pace { most, width } = self.pace;
        while let Some(front) = self.marks.front().filter(|front| front.at + width <= now) {
            if front.kind == Kind::Booked || self.sent <= most {
                return;
            }
            self.marks.pop_front();
            self.sent -= 1;
        }
    }

    /// Whether forgetting it changes nothing: a full share, no pause and nobody waiting, and no call after `since`.
    pub(super) fn is_idle(&self, since: Instant) -> bool {
        let past = |mark: &Mark| mark.kind == Kind::Sent && mark.at <= since;
        self.share.is_full() && self.paused_until.is_none_or(|until| until <= since) && self.marks.iter().all(past)
    }
}
