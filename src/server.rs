//! Sockets in, answered connections out: accept, bound the first request, drain.
//!
//! Generic over a tower service that is always ready and never fails; knows nothing of Monime, of lookups or of what
//! a status means. Refuses to end on a single bad connection or a full descriptor table: it backs off and goes on.

mod connection;
mod listener;
pub mod tls;

use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::time::Duration;

use futures_util::FutureExt;
use http::{Request, Response};
use hyper::body::{Body, Incoming};
use tokio::sync::watch;
use tokio::task::{JoinSet, unconstrained};
use tokio::time::sleep;
use tower::Service;

pub use connection::Times;
pub use listener::{Address, InvalidAddress, Listener};

use connection::Connection;
use listener::Stream;

/// How long accepting rests after an error that more accepting would only repeat, such as a full descriptor table.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// Serves `listener` until `stop` resolves, then drains.
///
/// Draining accepts what the kernel had already queued, closes the listener, lets every request in progress finish and
/// closes idle connections. Returns when the last connection ended. It has no deadline of its own: wrap it in one;
/// dropping the future aborts what is left.
pub async fn serve<S, B>(mut listener: Listener, service: S, times: Times, stop: impl Future<Output = ()>)
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let (drain, draining) = watch::channel(false);
    let connection = Connection { service, times, draining, tls: listener.tls() };
    let mut connections = JoinSet::new();
    let mut stop = pin!(stop);
    loop {
        tokio::select! {
            biased;
            () = &mut stop => break,
            // Finished connections are reaped here, so that the set does not grow with every connection ever served.
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok(stream) => spawn(&mut connections, &connection, stream),
                Err(error) => rest_if_futile(&error).await,
            },
        }
    }
    // Whoever completed a handshake before we stopped was promised an answer. Without tokio's bound on what a task does
    // at a stretch: at the bound, accepting would look as if nobody were left.
    while let Some(Ok(stream)) = unconstrained(listener.accept()).now_or_never() {
        spawn(&mut connections, &connection, stream);
    }
    drop(listener);
    drain.send_replace(true);
    while connections.join_next().await.is_some() {}
}

fn spawn<S, B>(connections: &mut JoinSet<()>, connection: &Connection<S>, stream: Stream)
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let connection = connection.clone();
    match stream {
        Stream::Tcp(stream) => connections.spawn(connection.run(stream)),
        Stream::Unix(stream) => connections.spawn(connection.run(stream)),
    };
}

/// A connection that died in the queue says nothing about the next one; anything else would repeat at once.
async fn rest_if_futile(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    if !matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted) {
        tracing::warn!(%error, "accepting a connection failed; trying again shortly");
        sleep(ACCEPT_BACKOFF).await;
    }
}
