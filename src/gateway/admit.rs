//! A layer that bounds how many requests wait on Monime at once, and how many of them may be one caller's.
//!
//! Who finds no place is refused at once: queueing for a place to queue would only hide the overload.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use tower::Service;

use super::rescue::{Error, Kind};
use crate::monime::operation::GET_CHECKOUT_SESSION;
use crate::upstream::Line;

/// Lets so many calls through at a time; the others fail with [`Kind::Overloaded`].
#[derive(Debug, Clone)]
pub(super) struct Admit<S> {
    inner: S,
    places: Places,
}

/// How many requests may wait, and how many do. Clones count together, also where they allow different numbers: who
/// came by older settings takes a place too.
#[derive(Debug, Clone)]
pub struct Places {
    most: usize,
    taken: Arc<Mutex<Taken>>,
}

/// One short lock for all: it is taken only by those who wait on Monime, and held for a look into a small map.
#[derive(Debug, Default)]
struct Taken {
    all: usize,
    /// Those of each caller who has any.
    named: HashMap<Line, usize>,
}

/// One place; dropped, it is given back.
#[derive(Debug)]
pub(super) struct Place {
    taken: Arc<Mutex<Taken>>,
    line: Line,
}

/// A request of which it is known whose line it waits in.
pub(super) trait HasLine {
    /// That line.
    fn line(&self) -> &Line;
}

impl Places {
    /// So many places, none of them taken.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { most, taken: Arc::default() }
    }

    /// The same places, now so many. Who has one keeps it.
    #[must_use]
    pub fn at_most(&self, most: usize) -> Self {
        Self { most, taken: Arc::clone(&self.taken) }
    }

    /// A caller may have twice as many places as it leaves free, and the one line of all who have no names as many as
    /// there are. So a caller alone comes to two thirds of all, two to two fifths each, and `k` to about two of `2k + 1`
    /// equal parts each: the last part is always free for whoever comes next. Those who flood one after the other first
    /// take two thirds of what is left each; who has more than is right then gets no new place until it has given enough
    /// back. Nobody needs a limit of its own, which would be too small by day or too large by night.
    pub(super) fn take(&self, line: &Line) -> Option<Place> {
        let mut taken = lock(&self.taken);
        let free = self.most.checked_sub(taken.all).filter(|free| *free > 0)?;
        if line.is_named() {
            let own = taken.named.get(line).copied().unwrap_or_default();
            // The first is everyone's, or there would be none where there are few.
            if own > 0 && own + 1 > (free - 1).saturating_mul(2) {
                return None;
            }
            taken.named.insert(line.clone(), own + 1);
        }
        taken.all += 1;
        Some(Place { taken: Arc::clone(&self.taken), line: line.clone() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = lock(&self.taken);
        taken.all = taken.all.saturating_sub(1);
        if let Some(own) = taken.named.get_mut(&self.line) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                taken.named.remove(&self.line);
            }
        }
    }
}

/// A panic under the lock leaves at worst one place too many taken, or too few.
fn lock(taken: &Mutex<Taken>) -> MutexGuard<'_, Taken> {
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<S> Admit<S> {
    pub(super) fn new(inner: S, places: Places) -> Self {
        Self { inner, places }
    }
}

impl<S, R> Service<R> for Admit<S>
where
    R: HasLine,
    S: Service<R, Error = Error>,
    S::Future: Send + 'static,
    S::Response: Send + 'static,
{
    type Response = S::Response;
    type Error = Error;
    type Future = BoxFuture<'static, Result<S::Response, Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let Some(place) = self.places.take(request.line()) else {
            return Box::pin(std::future::ready(Err(Kind::Overloaded.of(GET_CHECKOUT_SESSION))));
        };
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            drop(place);
            answer
        })
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tower::{ServiceExt, service_fn};

    use super::*;

    impl HasLine for Line {
        fn line(&self) -> &Line {
            self
        }
    }

    fn line(name: &str) -> Line {
        Line::of(&name.into())
    }

    /// As many places as this line gets.
    fn flood(places: &Places, line: &Line) -> Vec<Place> {
        std::iter::from_fn(|| places.take(line)).collect()
    }

    #[test]
    fn a_caller_gets_most_places_but_never_all_and_leaves_a_newcomer_room() {
        let places = Places::new(1024);
        let first = flood(&places, &line("first"));
        assert_eq!(first.len(), 682, "two thirds");
        let second = flood(&places, &line("second"));
        assert_eq!(second.len(), 228, "two thirds of what was left");
        assert!(places.take(&line("newcomer")).is_some());
    }

    #[test]
    fn where_places_are_few_a_caller_leaves_one_all_the_same() {
        for (most, one_caller) in [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3), (10, 6)] {
            let places = Places::new(most);
            assert_eq!(flood(&places, &line("first")).len(), one_caller, "of {most}");
        }
    }

    #[test]
    fn who_has_more_than_is_right_now_gets_none_until_others_have_as_many() {
        let places = Places::new(1024);
        let (first, second) = (line("first"), line("second"));
        let (mut early, mut late) = (flood(&places, &first), flood(&places, &second));
        while early.len() > late.len() {
            assert!(places.take(&first).is_none(), "{} and {}", early.len(), late.len());
            early.pop();
            late.extend(places.take(&second));
        }
        assert!((408..=411).contains(&late.len()), "{} and {}, two fifths each", early.len(), late.len());
    }

    #[test]
    fn callers_who_flood_together_come_to_equal_parts_and_leave_one_half_as_large() {
        for callers in [1, 2, 5, 20] {
            let places = Places::new(1024);
            let lines: Vec<_> = (0..callers).map(|caller| line(&format!("caller-{caller}"))).collect();
            let mut held: Vec<_> = lines.iter().map(|_| Vec::new()).collect();
            while lines.iter().zip(&mut held).fold(false, |any, (line, held)| {
                let place = places.take(line);
                let took = place.is_some();
                held.extend(place);
                any | took
            }) {}
            let part = 2 * 1024 / (2 * callers + 1);
            let counts: Vec<_> = held.iter().map(Vec::len).collect();
            assert!(counts.iter().all(|count| count.abs_diff(part) <= 2), "{callers}: {counts:?}, not {part}");
            let free = 1024 - counts.iter().sum::<usize>();
            assert!(free.abs_diff(part / 2) <= callers, "{callers}: {free} are free");
        }
    }

    #[test]
    fn those_without_names_are_bound_by_the_number_of_places_alone() {
        let places = Places::new(100);
        assert_eq!(flood(&places, &Line::default()).len(), 100);
    }

    #[test]
    fn who_has_no_place_is_not_remembered() {
        let places = Places::new(10);
        let held = [line("first"), line("second"), Line::default()].map(|line| flood(&places, &line));
        assert_eq!(lock(&places.taken).named.len(), 2);
        drop(held);
        let taken = lock(&places.taken);
        assert_eq!((taken.all, taken.named.len()), (0, 0));
    }

    #[test]
    fn what_a_caller_took_by_other_settings_counts_by_these() {
        let places = Places::new(9);
        let held = flood(&places, &line("first"));
        assert_eq!(held.len(), 6);
        assert_eq!(flood(&places.at_most(12), &line("first")).len(), 2, "eight of twelve");
        assert!(places.at_most(5).take(&line("second")).is_none(), "there are fewer than are taken");
    }

    #[tokio::test]
    async fn who_finds_no_place_is_refused_and_who_leaves_makes_room() {
        let endless = service_fn(|_: Line| std::future::pending::<Result<(), Error>>());
        let admit = Admit::new(endless, Places::new(2));
        let mut waiting = Vec::new();
        for _ in 0..2 {
            let mut call = Box::pin(admit.clone().oneshot(Line::default()));
            assert!(call.as_mut().now_or_never().is_none());
            waiting.push(call);
        }
        assert!(matches!(admit.clone().oneshot(Line::default()).await, Err(Error { kind: Kind::Overloaded, .. })));
        waiting.pop();
        assert!(admit.oneshot(Line::default()).now_or_never().is_none());
    }

    #[tokio::test]
    async fn places_that_were_taken_by_other_settings_are_taken() {
        let endless = service_fn(|_: Line| std::future::pending::<Result<(), Error>>());
        let places = Places::new(2);
        let [old, fewer, more] = [2, 1, 3].map(|most| Admit::new(endless, places.at_most(most)));
        let is_full = |admit: &Admit<_>| {
            matches!(
                admit.clone().oneshot(Line::default()).now_or_never(),
                Some(Err(Error { kind: Kind::Overloaded, .. }))
            )
        };
        let mut waiting: Vec<_> = (0..2).map(|_| Box::pin(old.clone().oneshot(Line::default()))).collect();
        assert!(waiting.iter_mut().all(|call| call.as_mut().now_or_never().is_none()));
        assert_eq!([&old, &fewer, &more].map(is_full), [true, true, false]);
        waiting.pop();
        assert_eq!([&old, &fewer, &more].map(is_full), [false, true, false]);
        waiting.pop();
        assert!(!is_full(&fewer));
    }
}
