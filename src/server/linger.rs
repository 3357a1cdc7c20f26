//! How a connection ends that its peer has not ended.
//!
//! What comes after the last answer is read and dropped for a moment: a socket that is closed with something unread resets
//! the connection, and the reset overtakes the answers before it (RFC 9112, 9.6). Refuses to do so for long, or for much,
//! and to say of what broke off that it is whole.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;

use super::replay::Replay;

/// How long a peer has to hear the last words and hang up.
const LINGER: Duration = Duration::from_secs(1);
/// How many bytes of what it still has to say are dropped.
const DROPPED: u64 = 64 * 1024 * 1024;

/// How what was said to a peer ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// In good order, after these last words.
    Whole(Vec<u8>),
    /// In the middle: over TLS, without the message that nothing is missing (RFC 8446, 6.1).
    Broken,
}

/// A stream whose sending side can be closed without a word.
pub(super) trait Sever: AsyncRead + AsyncWrite + Unpin {
    /// Ends the sending side as the transport does, and says nothing in any protocol above it.
    fn poll_sever(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}

/// Ends the sending side so; then waits a moment for the peer to agree.
pub(super) async fn linger(mut io: impl Sever, ending: Ending, peer_is_done: bool) {
    let all = async {
        match ending {
            Ending::Whole(words) => {
                io.write_all(&words).await?;
                io.shutdown().await?;
            }
            Ending::Broken => poll_fn(|cx| io.poll_sever(cx)).await?,
        }
        if !peer_is_done {
            tokio::io::copy(&mut (&mut io).take(DROPPED), &mut tokio::io::sink()).await?;
        }
        io::Result::Ok(())
    };
    // Who is gone or does not listen has missed them.
    let _ = timeout(LINGER, all).await;
}

// === impl Sever ===

impl Sever for TcpStream {
    fn poll_sever(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self).poll_shutdown(cx)
    }
}

impl Sever for UnixStream {
    fn poll_sever(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self).poll_shutdown(cx)
    }
}

impl<L: Sever, R: Sever> Sever for Either<L, R> {
    fn poll_sever(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Left(io) => io.poll_sever(cx),
            Self::Right(io) => io.poll_sever(cx),
        }
    }
}

impl<I: Sever> Sever for Box<TlsStream<I>> {
    fn poll_sever(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().0.poll_sever(cx)
    }
}

impl<I: Sever> Sever for Replay<I> {
    fn poll_sever(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_sever(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{DuplexStream, duplex};
    use tokio::time::Instant;

    use super::*;

    impl Sever for DuplexStream {
        fn poll_sever(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(self).poll_shutdown(cx)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_peer_still_says_is_heard_for_a_second() {
        for ending in [Ending::Whole(b"bye".to_vec()), Ending::Broken] {
            let (mut far, near) = duplex(1024);
            let words = if ending == Ending::Broken { &b""[..] } else { b"bye" };
            let lingers = tokio::spawn(linger(near, ending, false));
            let (began, mut said) = (Instant::now(), Vec::new());
            far.read_to_end(&mut said).await.unwrap();
            assert_eq!(said, words);
            far.write_all(&[0; 64 * 1024]).await.unwrap();
            assert!(began.elapsed().is_zero() && !lingers.is_finished());
            lingers.await.unwrap();
            assert!((LINGER..LINGER * 2).contains(&began.elapsed()), "{:?}", began.elapsed());
            far.write_all(b"x").await.unwrap_err();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_said_all_is_not_waited_for_and_who_says_without_end_is_cut_off() {
        let (far, near) = duplex(1024);
        linger(near, Ending::Broken, true).await;
        drop(far);

        let (mut far, near) = duplex(1 << 20);
        let lingers = tokio::spawn(linger(near, Ending::Broken, false));
        let mut taken = 0;
        while far.write_all(&[0; 1 << 16]).await.is_ok() {
            taken += 1_u64 << 16;
            assert!(taken < 2 * DROPPED, "time stands still, so only the amount can end it");
        }
        lingers.await.unwrap();
    }
}
