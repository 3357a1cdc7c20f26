//! One checkout session: its state machine and its JSON.
//!
//! Owns that the status is computed from the clock when somebody reads, so that a session needs no timer and a paused
//! clock shows exactly what a running one would. Refuses to go back: only a control call revises a settled session.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::clock::Clock;
use super::draft::{Draft, LineItem};
use crate::monime::{Final, SessionId, SpaceId};

/// `expireTime` is `createTime` and one hour, unless the settings say otherwise.
pub(super) const LIFETIME: Duration = Duration::from_secs(60 * 60);
/// How a session can settle.
pub const OUTCOMES: [Final; 3] = [Final::Completed, Final::Cancelled, Final::Expired];
/// The status of a session that did not settle yet.
pub(super) const PENDING: &str = "pending";
/// What stands before the id where no URL was given; RFC 2606 keeps the name from ever being anybody's.
const PAGE: &str = "https://checkout.sandbox.invalid";

/// A session that somebody created or seeded.
#[derive(Debug)]
pub(super) struct Session {
    draft: Arc<Draft>,
    created: Instant,
    expires: Instant,
    state: State,
}

#[derive(Debug)]
enum State {
    Open {
        settles: Option<(Instant, Final)>,
        started: bool,
    },
    /// Any text: the sandbox also plays statuses that Monime has not invented yet.
    Closed(Cow<'static, str>),
}

/// The JSON of a session, in the order of Monime's OpenAPI file.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct View<'a> {
    id: &'a str,
    status: &'a str,
    name: &'a str,
    order_number: Option<&'a str>,
    reference: Option<&'a str>,
    description: Option<&'a str>,
    redirect_url: Cow<'a, str>,
    cancel_url: Cow<'a, str>,
    success_url: Cow<'a, str>,
    line_items: Items<'a>,
    financial_account_id: Option<&'a str>,
    branding_options: Option<&'a Value>,
    expire_time: String,
    create_time: String,
    ownership_graph: Value,
    metadata: &'a Map<String, Value>,
}

#[derive(Serialize)]
struct Items<'a> {
    data: &'a [LineItem],
}

// === impl Session ===

impl Session {
    /// A pending session that expires after `lifetime` unless it settles before, after this long like this.
    pub(super) fn open(
        draft: Arc<Draft>,
        now: Instant,
        lifetime: Duration,
        settles: Option<(Duration, Final)>,
    ) -> Self {
        // A moment beyond the clock's range never comes.
        let settles = settles.and_then(|(after, outcome)| Some((now.checked_add(after)?, outcome)));
        Self {
            draft,
            created: now,
            expires: now.checked_add(lifetime).unwrap_or(now + LIFETIME),
            state: State::Open { settles, started: false },
        }
    }

    /// A session that shows `status` whatever the clock says.
    pub(super) fn closed(draft: Arc<Draft>, now: Instant, lifetime: Duration, status: &str) -> Self {
        let mut session = Self::open(draft, now, lifetime, None);
        session.state = State::Closed(Cow::Owned(status.to_owned()));
        session
    }

    /// Its status at `now`. Whatever would have happened first has happened.
    pub(super) fn status(&self, now: Instant) -> &str {
        match &self.state {
            State::Closed(status) => status,
            State::Open { settles: Some((at, outcome)), .. } if *at <= now && *at <= self.expires => outcome.as_str(),
            State::Open { .. } if self.expires <= now => Final::Expired.as_str(),
            State::Open { .. } => PENDING,
        }
    }

    /// Settles it now, whatever it was: a late confirmation may revise an earlier word.
    pub(super) fn settle(&mut self, outcome: Final) {
        self.state = State::Closed(Cow::Borrowed(outcome.as_str()));
    }

    /// The payer begins: from here on it cannot be deleted while it is pending.
    pub(super) fn start(&mut self) {
        if let State::Open { started, .. } = &mut self.state {
            *started = true;
        }
    }

    /// Monime deletes what the payer has not begun, and what was cancelled.
    pub(super) fn is_deletable(&self, now: Instant) -> bool {
        match self.status(now) {
            "cancelled" => true,
            PENDING => matches!(self.state, State::Open { started: false, .. }),
            _ => false,
        }
    }

    pub(super) fn view<'a>(&'a self, id: &'a SessionId, space: &SpaceId, clock: &Clock, now: Instant) -> View<'a> {
        let draft = &*self.draft;
        let url = |given: &'a Option<String>, page: &str| match given {
            Some(url) => Cow::Borrowed(url.as_str()),
            None => Cow::Owned(format!("{PAGE}/{id}{page}")),
        };
        View {
            id: id.as_str(),
            status: self.status(now),
            name: &draft.name,
            order_number: draft.order_number.as_deref(),
            reference: draft.reference.as_deref(),
            description: draft.description.as_deref(),
            redirect_url: url(&draft.redirect_url, ""),
            cancel_url: url(&draft.cancel_url, "/cancelled"),
            success_url: url(&draft.success_url, "/completed"),
            line_items: Items { data: &draft.line_items },
            financial_account_id: draft.financial_account_id.as_deref(),
            branding_options: draft.branding_options.as_ref(),
            expire_time: clock.shown(self.expires),
            create_time: clock.shown(self.created),
            ownership_graph: json!({"owner": {"id": space.as_str(), "type": "space", "owner": null}}),
            metadata: &draft.metadata,
        }
    }
}

/// Reads how a session settles, as Monime writes it: `completed`, `cancelled` or `expired`.
#[must_use]
pub fn outcome(text: &str) -> Option<Final> {
    OUTCOMES.into_iter().find(|known| known.as_str() == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(settles: Option<(u64, Final)>) -> (Session, Instant) {
        let now = Instant::now();
        let settles = settles.map(|(seconds, outcome)| (Duration::from_secs(seconds), outcome));
        (Session::open(Arc::new(Draft::plain()), now, LIFETIME, settles), now)
    }

    fn over_time(settles: Option<(u64, Final)>, seconds: [u64; 4]) -> [String; 4] {
        let (session, start) = open(settles);
        seconds.map(|second| session.status(start + Duration::from_secs(second)).to_owned())
    }

    #[test]
    fn what_would_have_happened_first_has_happened() {
        let hour = LIFETIME.as_secs();
        let moments = [0, hour - 1, hour, 9 * hour];
        assert_eq!(over_time(None, moments), ["pending", "pending", "expired", "expired"]);
        let paid = Some((5, Final::Completed));
        assert_eq!(over_time(paid, [4, 5, hour, 9 * hour]), ["pending", "completed", "completed", "completed"]);
        let too_late = Some((hour + 1, Final::Completed));
        assert_eq!(over_time(too_late, moments), ["pending", "pending", "expired", "expired"]);
        let never = Some((u64::MAX, Final::Completed));
        assert_eq!(over_time(never, moments), ["pending", "pending", "expired", "expired"]);
    }

    #[test]
    fn only_what_nobody_began_or_was_cancelled_can_be_deleted() {
        let (mut session, now) = open(None);
        assert!(session.is_deletable(now));
        assert!(!session.is_deletable(now + LIFETIME), "expired");
        session.start();
        assert!(!session.is_deletable(now), "the payer began");
        session.settle(Final::Completed);
        assert!(!session.is_deletable(now), "paid");
        session.settle(Final::Cancelled);
        assert!(session.is_deletable(now));
    }
}
