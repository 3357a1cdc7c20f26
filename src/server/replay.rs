//! A stream whose first bytes were looked at before anyone read them.
//!
//! Refuses to look at more than tells one protocol from another.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// What an HTTP/2 client says first (RFC 9113, 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// What a TLS client's first record is (RFC 8446, 5.1).
const HANDSHAKE: u8 = 22;

/// A stream and those of its bytes that were looked at already.
#[derive(Debug)]
pub(super) struct Replay<I> {
    io: I,
    looked_at: [u8; PREFACE.len()],
    /// How many there are.
    length: usize,
    /// How many of them were read again.
    replayed: usize,
}

/// What a peer speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

impl<I> Replay<I> {
    pub(super) fn new(io: I) -> Self {
        Self { io, looked_at: [0; PREFACE.len()], length: 0, replayed: 0 }
    }

    pub(super) fn get_mut(&mut self) -> &mut I {
        &mut self.io
    }

    /// Whether anything came yet.
    pub(super) fn is_silent(&self) -> bool {
        self.length == 0
    }

    /// Whether what came so far might be the beginning of HTTP/2.
    fn may_be_http2(&self) -> bool {
        self.looked_at.get(..self.length) == PREFACE.get(..self.length)
    }
}

impl<I: AsyncRead + Unpin> Replay<I> {
    /// Waits for the first byte, and says whether a TLS handshake begins with it. Cancel-safe.
    pub(super) async fn is_tls(&mut self) -> io::Result<bool> {
        if self.length == 0 {
            self.look(1).await?;
        }
        Ok(self.looked_at.first() == Some(&HANDSHAKE))
    }

    /// Waits until it is clear what the peer speaks; none if it leaves before. Cancel-safe.
    pub(super) async fn protocol(&mut self) -> io::Result<Option<Protocol>> {
        while self.may_be_http2() {
            if self.length == PREFACE.len() {
                return Ok(Some(Protocol::Http2));
            }
            if self.look(PREFACE.len()).await? == 0 {
                return Ok(None);
            }
        }
        Ok(Some(Protocol::Http1))
    }

    /// Reads once, so that there are `most` bytes at most.
    async fn look(&mut self, most: usize) -> io::Result<usize> {
        let room = self.looked_at.get_mut(self.length..most).unwrap_or_default();
        let came = self.io.read(room).await?;
        self.length += came;
        Ok(came)
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Replay<I> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { io, looked_at, length, replayed } = &mut *self;
        let rest = looked_at.get(*replayed..*length).unwrap_or_default();
        if rest.is_empty() {
            return Pin::new(io).poll_read(cx, buf);
        }
        let again = rest.get(..buf.remaining()).unwrap_or(rest);
        buf.put_slice(again);
        *replayed += again.len();
        // What came with it is read with it: a head that came whole is seen whole.
        if *replayed == *length
            && let Poll::Ready(Err(error)) = Pin::new(io).poll_read(cx, buf)
        {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Replay<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
