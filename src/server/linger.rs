//! How a connection ends that its peer has not ended.
//!
//! What comes after the last answer is read and dropped for a moment: a socket that is closed with something unread resets
//! the connection, and the reset overtakes the answer (RFC 9112, 9.6). Refuses to do so for long, or for much.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// How long a peer has to hear the last words and hang up.
const LINGER: Duration = Duration::from_secs(1);
/// How many bytes of what it still has to say are dropped.
const DROPPED: u64 = 64 * 1024 * 1024;

/// Says the last words, and that there are no more; then waits a moment for the peer to agree.
pub(super) async fn linger<I: AsyncRead + AsyncWrite + Unpin>(mut io: I, words: &[u8], peer_is_done: bool) {
    let all = async {
        io.write_all(words).await?;
        io.shutdown().await?;
        if !peer_is_done {
            tokio::io::copy(&mut (&mut io).take(DROPPED), &mut tokio::io::sink()).await?;
        }
        std::io::Result::Ok(())
    };
    // Who is gone or does not listen has missed them.
    let _ = timeout(LINGER, all).await;
}
