//! The bytes of a connection, on their way to and from the HTTP library.
//!
//! Over HTTP/1 everything that comes is read by `framing` first, and what that refuses the library never sees: it finds the
//! end of the connection there instead, once every answer before is on the wire. A head that comes in pieces is held back
//! until it is whole, so that nobody but `framing` has a word about half of one. Notes what is read and taken for those
//! who keep the time. What can be answered at once is answered here, when everything before is: of that the library sees
//! nothing. Over HTTP/2 what is sent may be held back for a moment, to go out with more. Refuses to end the connection:
//! whoever made it gets the stream back when the library is done with it.

use std::io::{self, Cursor};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Buf;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::activity::Activity;
use super::fast_path::{self, FastPath};
use super::framing::{Broken, Framing};

/// From so many held bytes on no more are held back: what a window of HTTP/2 usually takes.
const MOST_HELD: usize = 64 * 1024;

/// How many requests are answered at once before others have their turn: the connection's clock, and other connections.
const IN_ONE_POLL: usize = 16;

/// A stream that notes what happens on it. Dropped, it gives the stream back.
#[derive(Debug)]
pub(super) struct Wire<I, F> {
    /// There until it is dropped.
    io: Option<I>,
    framing: Option<Framing>,
    /// Who may answer at once, if anybody.
    fast_path: Option<F>,
    /// Of an answer that was given at once, or of several that are sent together, what the socket has not taken yet.
    untold: Cursor<Vec<u8>>,
    buffered: Buffered,
    activity: Arc<Activity>,
    lent: Lent<I>,
}

/// What came and was not handed on. Empty, and without memory, wherever heads come whole.
#[derive(Debug, Default)]
struct Buffered {
    bytes: Vec<u8>,
    /// How many of them may be handed on; the others are of a head that has not ended.
    whole: usize,
}

/// Where a stream is found again that was lent to a [`Wire`].
#[derive(Debug)]
pub(super) struct Lent<I>(Arc<Mutex<Option<I>>>);

impl<I> Lent<I> {
    /// The stream, if its wire is gone.
    pub(super) fn back(self) -> Option<I> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl<I, F> Wire<I, F> {
    /// Lends `io`. Over HTTP/1 there is a `framing`, and maybe somebody who answers at once.
    pub(super) fn over(
        io: I,
        framing: Option<Framing>,
        fast_path: Option<F>,
        activity: &Arc<Activity>,
    ) -> (Self, Lent<I>) {
        let place = Arc::new(Mutex::new(None));
        let wire = Self {
            io: Some(io),
            framing,
            fast_path,
            untold: Cursor::default(),
            buffered: Buffered::default(),
            activity: Arc::clone(activity),
            lent: Lent(Arc::clone(&place)),
        };
        (wire, Lent(place))
    }
}

impl<I: Unpin, F> Wire<I, F> {
    fn io(&mut self) -> io::Result<Pin<&mut I>> {
        self.io.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// The end, as soon as everything before it is told; at once within a body, whose reader would wait for the rest.
    fn end(&self) -> Poll<io::Result<()>> {
        // Whoever sends the rest of an answer polls this anew: see `poll_flush`.
        if self.activity.has_broken_body() || self.activity.is_all_told() {
            self.activity.meets_rejection();
            Poll::Ready(Ok(()))
        } else {
            Poll::Pending
        }
    }

    fn progress<T>(&self, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match &written {
            Poll::Pending => self.activity.stalls(),
            // Over HTTP/2 what is taken may be an acknowledgement of the peer's own: there the answers count their pieces.
            Poll::Ready(Ok(_)) if self.framing.is_some() => self.activity.takes(),
            Poll::Ready(Ok(_)) => self.activity.writes(),
            Poll::Ready(Err(_)) => {}
        }
        written
    }
}

/// Only the stream is ever pinned.
impl<I: Unpin, F> Unpin for Wire<I, F> {}

impl<I, F> Drop for Wire<I, F> {
    fn drop(&mut self) {
        *self.lent.0.lock().unwrap_or_else(PoisonError::into_inner) = self.io.take();
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin, F: FastPath> AsyncRead for Wire<I, F> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let mut answered = 0;
        loop {
            if self.buffered.hand_on(buf) {
                return Poll::Ready(Ok(()));
            }
            // Over HTTP/2 neither side waits for the other.
            if self.framing.is_some() {
                ready!(self.poll_tell(cx))?;
            }
            if answered == IN_ONE_POLL {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if self.activity.rejection().is_some() {
                return self.end();
            }
            let is_quiet = self.is_quiet();
            ready!(self.io()?.poll_read(cx, buf))?;
            let came = buf.filled().get(before..).unwrap_or_default();
            if came.is_empty() {
                self.activity.peer_is_done();
                return Poll::Ready(Ok(()));
            }
            let whole = self.judge(came);
            if is_quiet && self.answer(came) {
                buf.set_filled(before);
                answered += 1;
                continue;
            }
            let now = self.buffered.take_in(came, whole);
            buf.set_filled(before + now);
            if now > 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<I, F> Wire<I, F> {
    /// How many of these bytes may be handed on, together with what is held: those before a head that has not ended, or
    /// before what is at fault.
    fn judge(&mut self, came: &[u8]) -> usize {
        let Self { framing: Some(framing), activity, .. } = self else {
            self.activity.hears();
            return came.len();
        };
        let read = framing.read(came);
        activity.head(framing.is_within_head());
        read.unwrap_or_else(|Broken { why, sound }| {
            tracing::debug!(heads = framing.heads(), "what a peer sent is not read any more: {why}");
            activity.reject(why);
            sound
        })
    }
}

impl<I: AsyncWrite + Unpin, F: FastPath> Wire<I, F> {
    /// Whether every request that came was answered, and the next one may be answered here.
    fn is_quiet(&self) -> bool {
        let heads = self.framing.as_ref().map(Framing::heads);
        self.fast_path.is_some()
            && self.buffered.bytes.is_empty()
            && !self.activity.is_leaving()
            && self.activity.is_all_told()
            && heads == Some(self.activity.ended() as u64)
    }

    /// Answers at once, if what came is a plain head and nothing else, and there is an answer.
    fn answer(&mut self, came: &[u8]) -> bool {
        let (Some(framing), Some(fast_path)) = (&self.framing, &self.fast_path) else { return false };
        if !framing.is_behind_plain_head() || framing.heads() != self.activity.ended() as u64 + 1 {
            return false;
        }
        let Some(answer) = fast_path::answer(fast_path, came) else { return false };
        self.untold = Cursor::new(answer);
        self.activity.answers_at_once();
        true
    }
}

impl<I: AsyncWrite + Unpin, F> Wire<I, F> {
    /// Sends what is left of an answer that was given at once, or of what was held back.
    fn poll_tell(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.untold.get_ref().is_empty() {
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_drain(cx))?;
        // What TLS has taken the socket may not have.
        let flushed = self.io()?.poll_flush(cx);
        if flushed.is_pending() {
            self.activity.stalls();
        }
        ready!(flushed)?;
        self.untold = Cursor::default();
        self.activity.flushed();
        Poll::Ready(Ok(()))
    }

    /// Writes it, so that more can follow.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.untold.has_remaining() {
            let Self { io: Some(io), untold, .. } = self else { return Poll::Ready(Ok(())) };
            let written = Pin::new(io).poll_write(cx, untold.chunk());
            match ready!(self.progress(written))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                taken => self.untold.advance(taken),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Takes these bytes to send them with others, if that is wanted and there is room.
    fn hold_back(&mut self, bytes: &[io::IoSlice<'_>]) -> Option<usize> {
        if !self.activity.is_holding() || self.untold.remaining() >= MOST_HELD {
            return None;
        }
        // What was sent makes room, or what is held would grow by all that is ever sent.
        let sent = self.untold.get_ref().len() - self.untold.remaining();
        self.untold.get_mut().drain(..sent);
        self.untold.set_position(0);
        bytes.iter().for_each(|piece| self.untold.get_mut().extend_from_slice(piece));
        Some(bytes.iter().map(|piece| piece.len()).sum())
    }
}

impl Buffered {
    /// Takes in what came, of which so many bytes are whole; returns how many of them may be handed on without being held.
    fn take_in(&mut self, came: &[u8], whole: usize) -> usize {
        if self.bytes.is_empty() {
            self.bytes.extend_from_slice(came.get(whole..).unwrap_or_default());
            return whole;
        }
        if whole > 0 {
            // The head that was held has ended.
            self.whole = self.bytes.len() + whole;
        }
        self.bytes.extend_from_slice(came);
        0
    }

    /// Whether there was anything to hand on.
    fn hand_on(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        let whole = self.bytes.get(..self.whole).unwrap_or_default();
        let now = whole.get(..buf.remaining()).unwrap_or(whole);
        buf.put_slice(now);
        let handed_on = now.len();
        self.bytes.drain(..handed_on);
        self.whole -= handed_on;
        if self.bytes.is_empty() {
            self.bytes = Vec::new();
        }
        handed_on > 0
    }
}

impl<I: AsyncWrite + Unpin, F> AsyncWrite for Wire<I, F> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if let Some(held) = self.hold_back(&[io::IoSlice::new(bytes)]) {
            return Poll::Ready(Ok(held));
        }
        ready!(self.poll_drain(cx))?;
        let written = self.io()?.poll_write(cx, bytes);
        self.progress(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Some(held) = self.hold_back(bytes) {
            return Poll::Ready(Ok(held));
        }
        ready!(self.poll_drain(cx))?;
        let written = self.io()?.poll_write_vectored(cx, bytes);
        self.progress(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.activity.is_holding() {
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_tell(cx))?;
        let flushed = self.io()?.poll_flush(cx);
        match &flushed {
            Poll::Pending => self.activity.stalls(),
            Poll::Ready(_) => {
                let waited_for = self.activity.rejection().is_some() && !self.activity.is_all_told();
                self.activity.flushed();
                if waited_for && self.activity.is_all_told() {
                    cx.waker().wake_by_ref();
                }
            }
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_tell(cx)
    }
}
