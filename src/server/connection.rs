//! One connection from its first byte to its last: TLS, HTTP/1.1 or HTTP/2 by preface, and how it ends.
//!
//! Refuses to wait without end, at any stage: for a handshake, for a first byte, for what comes after it. A peer that says
//! nothing would outlive the time-outs of the HTTP library, which begin only once it is spoken to.

use std::fmt::Display;
use std::future::{pending, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;

use hyper_util::rt::TokioIo;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;

use super::activity::Activity;
use super::call::Calls;
use super::crowd::Seat;
use super::framing::Framing;
use super::limits::Limits;
use super::linger::{Ending, Sever, linger};
use super::rejection::{Reject, Rejection};
use super::replay::{Protocol, Replay};
use super::tls::{Client, Tls};
use super::watchdog::{CloseReason, Event, ServerState, Watchdog};
use super::wire::Wire;
use super::{HttpService, http1, http2};

/// What every connection of one server shares.
#[derive(Clone)]
pub(super) struct Connection<S> {
    pub(super) service: S,
    pub(super) reject: Reject,
    pub(super) limits: Limits,
    pub(super) state: watch::Receiver<ServerState>,
    pub(super) tls: Option<Tls>,
}

// === impl Connection ===

impl<S: HttpService> Connection<S> {
    /// Serves `io` to its end, and has its `seat` as long.
    pub(super) async fn run<I>(mut self, io: I, seat: Seat)
    where
        I: Sever + Send + 'static,
    {
        // For its drop, however this ends.
        let _seat = seat;
        let Some(tls) = self.tls.take() else { return self.speak_http(Either::Right(io), None).await };
        let mut io = Replay::new(io);
        let handshake = Instant::now() + self.limits.times.handshake;
        match self.in_time(handshake, io.is_tls()).await {
            Some(Ok(true)) => {}
            Some(Ok(false)) if !io.is_silent() => {
                return linger(io, Ending::Whole(self.last_words(Rejection::PlainHttp)), false).await;
            }
            Some(Ok(false) | Err(_)) | None => return tracing::debug!("nothing was said before a TLS handshake"),
        }
        let current = tls.current();
        match self.in_time(handshake, TlsAcceptor::from(current.config()).accept(io)).await {
            Some(Ok(io)) => {
                let client = io.get_ref().1.peer_certificates().map(|chain| Client::new(tls, &current, chain));
                // The connection may live for long: it must not keep a replaced key in memory.
                drop(current);
                self.speak_http(Either::Left(Box::new(io)), client).await;
            }
            Some(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
            None => tracing::debug!("a TLS handshake took too long"),
        }
    }

    /// With TLS or without: what speaks HTTP is built once for both.
    async fn speak_http<I>(mut self, io: Either<Box<TlsStream<Replay<I>>>, I>, client: Option<Client>)
    where
        I: Sever + Send + 'static,
    {
        let mut io = Replay::new(io);
        let activity = Arc::new(Activity::default());
        let mut watchdog = Watchdog::new(self.limits.times, &activity, *self.state.borrow());
        let protocol = match self.in_time(watchdog.first_look(), io.protocol()).await {
            Some(Ok(Some(protocol))) => protocol,
            Some(Ok(None) | Err(_)) => return,
            None => return tracing::debug!("a connection asked nothing in time"),
        };
        // Draining may have begun while the first words were waited for, and then the first answer is the last.
        watchdog.state = *self.state.borrow_and_update();
        if watchdog.state.draining {
            activity.leave();
        }
        let framing = (protocol == Protocol::Http1).then(|| Framing::new(self.limits.head));
        // A client's certificate is looked at anew for each request, in `call`.
        let fast_path = client.is_none().then(|| self.service.clone());
        let (wire, lent) = Wire::over(io, framing, fast_path, &activity);
        let activity = &activity;
        let service = Calls {
            service: self.service.clone(),
            reject: Arc::clone(&self.reject),
            activity: Arc::clone(activity),
            client,
        };
        let over = match protocol {
            Protocol::Http1 => {
                let http = http1::builder(self.limits.head).serve_connection(TokioIo::new(wire), service);
                self.attend(pin!(http), watchdog, activity).await
            }
            Protocol::Http2 => {
                let http = http2::serve(wire, service, self.limits.head);
                self.attend(pin!(http), watchdog, activity).await
            }
        };
        if let (Some(ending), Some(io)) = (self.ending(over, protocol, activity), lent.back()) {
            linger(io, ending, activity.is_peer_done()).await;
        }
    }

    /// How it ends; none if nobody is owed an end to wait for.
    fn ending(&self, over: Option<CloseReason>, protocol: Protocol, activity: &Activity) -> Option<Ending> {
        let said = activity.rejection().or(over.and_then(CloseReason::rejection));
        // HTTP/2 shows in its frames what of an answer is missing, HTTP/1 maybe only by how its connection ends.
        let is_broken = protocol == Protocol::Http1 && !activity.is_all_told();
        if over.is_some() && (is_broken || said.is_none()) {
            let ending = if protocol == Protocol::Http1 { Ending::Broken } else { Ending::Whole(Vec::new()) };
            return (over == Some(CloseReason::GivenUp)).then_some(ending);
        }
        // Not into the middle of an answer, and not behind one that said it is the last.
        let is_owed = over.is_some() || activity.has_met_rejection();
        let can_say = protocol == Protocol::Http1 && !is_broken && is_owed;
        // A request whose body breaks has its answer from the service, which found that the body ends too soon.
        let words = said.filter(|why| can_say && *why != Rejection::Chunk).map(|why| self.last_words(why));
        Some(Ending::Whole(words.unwrap_or_default()))
    }

    /// Until the library is done with it, or its time is over.
    async fn attend<E: Display>(
        &mut self,
        mut http: Pin<&mut impl Future<Output = Result<(), E>>>,
        mut watchdog: Watchdog,
        activity: &Activity,
    ) -> Option<CloseReason> {
        let mut timer = pin!(sleep_until(watchdog.first_look()));
        loop {
            tokio::select! {
                biased;
                ended = http.as_mut() => {
                    // What is broken off must not look like an end in good order, which over TLS is a message.
                    // Who leaves with every answer told has ended it in order, whatever the library says: of what was answered
                    // at once it knows nothing, and takes the end for one before a request.
                    let in_order = activity.is_peer_done() && activity.is_all_told();
                    return ended.err().filter(|_| !in_order).map(|error| {
                        tracing::debug!(%error, "a connection ended early");
                        CloseReason::GivenUp
                    });
                }
                Ok(()) = self.state.changed() => watchdog.state = *self.state.borrow(),
                event = poll_fn(|cx| watchdog.poll(&mut timer, cx)) => match event {
                    // Both find it in `activity`. Over HTTP/1 it is the answers that say so: the library would close an idle
                    // connection at once, and the request that is on its way would be lost.
                    Event::Leave => {}
                    Event::Close(over) => {
                        tracing::debug!("a connection is closed: {over}");
                        return Some(over);
                    }
                },
            }
        }
    }

    /// None if it does not come by then, or soon after draining began.
    async fn in_time<T>(&mut self, deadline: Instant, what: impl Future<Output = T>) -> Option<T> {
        let last_words = self.limits.times.last_words;
        let drained = async {
            // Without a sender the server is gone, and its connections with it.
            if self.state.wait_for(|state| state.draining).await.is_err() {
                pending::<()>().await;
            }
            sleep(last_words).await;
        };
        tokio::select! {
            biased;
            came = what => Some(came),
            () = sleep_until(deadline) => None,
            () = drained => None,
        }
    }

    fn last_words(&self, why: Rejection) -> Vec<u8> {
        http1::last_answer(&(self.reject)(why))
    }
}

#[cfg(test)]
mod tests;
