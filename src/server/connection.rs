//! One connection from handshake to close: TLS, HTTP/1.1 or HTTP/2 by preface, its deadlines, its part of the drain.
//!
//! Refuses to wait without end for a first request: hyper's own time-outs begin only once it knows the protocol, so a
//! peer that says nothing would outlive them all. Refuses to let a request of a client through whose certificate a
//! handshake of that moment would not accept. hyper's limits are set above those of the service, so that in the
//! common range it is the service that refuses, in words of its own.

use std::convert::Infallible;
use std::future::pending;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, interval_at, sleep, sleep_until};
use tokio_rustls::TlsAcceptor;

use super::HttpService;
use super::limits::Times;
use super::tls::{Client, Tls};

/// Field lines that HTTP/1 parsing accepts: above the 100 that the service allows, so that its 431 is the one seen.
const HTTP1_MAX_FIELDS: usize = 128;
/// Bytes of a head that HTTP/1 buffers: above the 64 KiB that the service allows, with room for a pipelined next one.
const HTTP1_MAX_BUFFER: usize = 128 * 1024;
/// Bytes of a decoded header list in HTTP/2: above the service's 64 KiB, which do not count 32 bytes a field.
const HTTP2_MAX_HEADER_LIST: u32 = 80 * 1024;

/// How often a silent HTTP/2 peer is asked whether it lives, and how long it may take to say so.
const PING_EVERY: Duration = Duration::from_secs(15);
const PING_DEADLINE: Duration = Duration::from_secs(10);

/// What every connection of one server shares.
#[derive(Clone)]
pub(super) struct Connection<S> {
    pub(super) service: S,
    pub(super) times: Times,
    pub(super) draining: watch::Receiver<bool>,
    pub(super) tls: Option<Tls>,
}

/// The service of one connection, which tells the connection of every call.
struct Announced<S> {
    service: S,
    activity: Arc<Activity>,
    /// None without TLS, and for a client that came without a certificate.
    client: Option<Client>,
}

/// A request was not let through, because its client's certificate is good no longer. Not an answer: the connection
/// ends, and another handshake says to the client what is wrong.
#[derive(Debug, thiserror::Error)]
#[error("the client's certificate is not accepted any more")]
struct NoLongerAccepted;

/// What goes on on a connection, as far as its service can see.
#[derive(Default)]
struct Activity {
    /// Told of the first call, which disarms the first-request deadline.
    asked: Notify,
    /// Told when a request was not let through, which ends the connection.
    refused: Notify,
    /// Calls under way.
    busy: AtomicUsize,
    /// Calls that ended, with an answer or because their caller left.
    ended: AtomicUsize,
}

pin_project! {
    /// A call under way.
    struct Call<F> {
        // None if it is not let through.
        #[pin]
        inner: Option<F>,
        under_way: UnderWay,
    }
}

/// Counts a call until it is dropped.
struct UnderWay(Arc<Activity>);

// === impl Connection ===

impl<S: HttpService> Connection<S> {
    pub(super) async fn run<I>(mut self, io: I)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let deadline = Instant::now() + self.times.head;
        let Some(tls) = self.tls.take() else { return self.speak_http(io, deadline, None).await };
        let current = tls.current();
        let out_of_time = out_of_time(self.draining.clone(), deadline, self.times.last_words);
        tokio::select! {
            shaken = TlsAcceptor::from(current.config()).accept(io) => match shaken {
                Ok(io) => {
                    let client = io.get_ref().1.peer_certificates().map(|chain| Client::new(tls, &current, chain));
                    // The connection may live for days: it must not keep a replaced key in memory.
                    drop(current);
                    self.speak_http(io, deadline, client).await;
                }
                Err(error) => tracing::debug!(%error, "a TLS handshake failed"),
            },
            () = out_of_time => tracing::debug!("a TLS handshake took too long"),
        }
    }

    async fn speak_http<I>(mut self, io: I, deadline: Instant, client: Option<Client>)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let activity = Arc::new(Activity::default());
        let service = Announced { service: self.service, activity: Arc::clone(&activity), client };
        let builder = protocol();
        let mut http = pin!(builder.serve_connection(TokioIo::new(io), service));
        let mut out_of_time = pin!(out_of_time(self.draining.clone(), deadline, self.times.last_words));
        // A timer of ours, looked at once a minute, where hyper's would be armed and disarmed for every request.
        let mut idle = interval_at(Instant::now() + self.times.idle, self.times.idle);
        let (mut silent, mut draining, mut answers) = (true, false, 0);
        loop {
            tokio::select! {
                biased;
                ended = http.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, "a connection ended early");
                    }
                    return;
                }
                () = activity.asked.notified(), if silent => silent = false,
                () = out_of_time.as_mut(), if silent => {
                    tracing::debug!("a connection asked nothing in time");
                    return;
                }
                _ = idle.tick(), if !silent => match activity.since(answers) {
                    Some(now) => answers = now,
                    None => {
                        tracing::debug!("a connection was idle for long");
                        return;
                    }
                },
                _ = self.draining.wait_for(|draining| *draining), if !draining => draining = true,
                () = activity.refused.notified() => http.as_mut().graceful_shutdown(),
            }
            // A silent connection is not told to end: its first request may be on the way, and would be lost.
            if draining && !silent {
                http.as_mut().graceful_shutdown();
            }
        }
    }
}

/// Ends when a connection that has asked nothing yet has had its time: at `deadline`, or `last_words` after draining
/// began.
async fn out_of_time(mut draining: watch::Receiver<bool>, deadline: Instant, last_words: Duration) {
    let drained = async {
        // Without a sender the server is gone, and its connections with it.
        if draining.wait_for(|draining| *draining).await.is_err() {
            pending::<()>().await;
        }
        sleep(last_words).await;
    };
    tokio::select! {
        () = sleep_until(deadline) => {}
        () = drained => {}
    }
}

fn protocol() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().header_read_timeout(None).max_headers(HTTP1_MAX_FIELDS).max_buf_size(HTTP1_MAX_BUFFER);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(HTTP2_MAX_HEADER_LIST)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_DEADLINE);
    builder
}

// === impl Announced ===

impl<S: HttpService> hyper::service::Service<Request<Incoming>> for Announced<S> {
    type Response = S::Response;
    type Error = NoLongerAccepted;
    type Future = Call<S::Future>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let under_way = UnderWay::new(&self.activity);
        if let Some(client) = &self.client {
            let Some(certificate) = client.certificate() else {
                self.activity.refused.notify_one();
                return Call { inner: None, under_way };
            };
            request.extensions_mut().insert(certificate.clone());
        }
        // Services here are always ready: what waits, waits inside `call`, where a deadline bounds it.
        Call { inner: Some(self.service.clone().call(request)), under_way }
    }
}

impl<F: Future<Output = Result<R, Infallible>>, R> Future for Call<F> {
    type Output = Result<R, NoLongerAccepted>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().inner.as_pin_mut() {
            Some(inner) => inner.poll(cx).map_err(|never| match never {}),
            None => Poll::Ready(Err(NoLongerAccepted)),
        }
    }
}

// === impl Activity ===

impl Activity {
    /// How many calls ended by now, or none if nothing happened since `ended` calls had.
    fn since(&self, ended: usize) -> Option<usize> {
        let now = self.ended.load(Ordering::Relaxed);
        (now != ended || self.busy.load(Ordering::Relaxed) > 0).then_some(now)
    }
}

impl UnderWay {
    fn new(activity: &Arc<Activity>) -> Self {
        activity.busy.fetch_add(1, Ordering::Relaxed);
        activity.asked.notify_one();
        Self(Arc::clone(activity))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::Relaxed);
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
