//! Sockets in, answered connections out: accept, bound the first request, drain.
//!
//! Generic over a tower service that is always ready and never fails; knows nothing of Monime, of lookups or of what
//! a status means. Refuses to end on a single bad connection or a full descriptor table: it backs off and goes on.

mod connection;
#[allow(dead_code, reason = "nothing reads a connection through it yet")]
mod framing;
mod limits;
mod listener;
mod rejection;
mod replaceable;
mod rules;
pub mod tls;

use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::{Body, Incoming};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tower::Service;

pub use limits::{Head, Limits, Times};
pub use listener::{Address, InvalidAddress, Listener};
pub use rejection::{Reject, Rejection};
pub use replaceable::Replaceable;
pub use rules::Rules;
pub use tls::{ClientCertificate, Tls};

use connection::Connection;
use listener::{Stream, is_passing};

/// How long accepting rests after an error that more accepting would only repeat, such as a full descriptor table.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// What a server serves: always ready, never failing, cheap to clone.
pub trait HttpService:
    Service<Request<Incoming>, Response = Response<Self::Body>, Error = Infallible, Future: Send + 'static>
    + Clone
    + Send
    + Sync
    + 'static
{
    /// The body of its answers.
    type Body: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static;
}

impl<S, B> HttpService for S
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible, Future: Send + 'static>
        + Clone
        + Send
        + Sync
        + 'static,
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    type Body = B;
}

/// Serves `listener` until `stop` resolves, then drains.
///
/// Draining accepts what the kernel had already queued, closes the listener, lets every request in progress finish and
/// closes idle connections. Returns when the last connection ended. It has no deadline of its own: wrap it in one;
/// dropping the future aborts what is left.
pub async fn serve<S: HttpService>(mut listener: Listener, service: S, rules: Rules, stop: impl Future<Output = ()>) {
    let (drain, draining) = watch::channel(false);
    let times = rules.limits.borrow().times;
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
    for stream in listener.close() {
        spawn(&mut connections, &connection, stream);
    }
    drain.send_replace(true);
    while connections.join_next().await.is_some() {}
}

fn spawn<S: HttpService>(connections: &mut JoinSet<()>, connection: &Connection<S>, stream: Stream) {
    let connection = connection.clone();
    match stream {
        Stream::Tcp(stream) => connections.spawn(connection.run(stream)),
        Stream::Unix(stream) => connections.spawn(connection.run(stream)),
    };
}

/// A connection that died in the queue says nothing about the next one; anything else would repeat at once.
async fn rest_if_futile(error: &std::io::Error) {
    if !is_passing(error) {
        tracing::warn!(%error, "accepting a connection failed; trying again shortly");
        sleep(ACCEPT_BACKOFF).await;
    }
}
