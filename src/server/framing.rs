//! What the bytes of an HTTP/1 peer mean, told before anything else reads them: where each message begins and ends, and
//! whether it can be read in one way only.
//!
//! A pure state machine without a clock and without I/O. Stricter than RFC 9112 asks a server to be, and far stricter
//! than the parser behind it: what two readers could take for different things is refused, however common the lenient
//! reading is. It refuses to mend anything (RFC 9112, 2.2 would have a server skip an empty line before a request; what
//! sends one has lost count of its own body) and to keep what it saw: of a head that comes whole it copies nothing, of
//! one that comes in pieces a line at a time, and of a body never anything.

mod chunks;
mod classes;
mod head;
mod request_line;

use memchr::memchr;

use super::limits::HeadLimits;
use super::rejection::Rejection;
use chunks::Chunks;
pub(super) use head::split_once;
use head::{Body, Head};

/// Reads along with a connection.
#[derive(Debug)]
pub struct Framing {
    limits: HeadLimits,
    at: At,
    /// Of a line of a head that comes in pieces, those that came. Never more than a head may have, and given back when
    /// the head ends.
    pieces: Vec<u8>,
    heads: u64,
    /// Whether the head that ended last says nothing of a body, nor that its connection is to be anything but kept.
    is_plain: bool,
}

/// What was read cannot be trusted, nor can anything after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broken {
    /// What is at fault.
    pub why: Rejection,
    /// How many of the bytes just read come before what is at fault, and may be handed on: those before a bad head, or
    /// before a line of a chunked body that is none. None if it began in what was read earlier.
    pub sound: usize,
}

/// Where in its messages a peer is.
#[derive(Debug)]
enum At {
    /// Before the first byte of a message.
    Start,
    Head(Head),
    /// So many bytes before the end of a body; never none.
    Sized(u64),
    Chunked(Chunks),
    Broken(Rejection),
}

// === impl Framing ===

impl Framing {
    /// Before the first byte of a connection.
    #[must_use]
    pub fn new(limits: HeadLimits) -> Self {
        Self { limits, at: At::Start, pieces: Vec::new(), heads: 0, is_plain: false }
    }

    /// Reads on, and says how many of these bytes come before a head that has not ended, if there is one: whoever parses a
    /// head anew should see it whole. After an error nothing more may be read; whoever tries is told the same again.
    ///
    /// # Errors
    /// [`Broken`] at the first byte that could be read in two ways, or is one too many.
    pub fn read(&mut self, bytes: &[u8]) -> Result<usize, Broken> {
        let mut rest = bytes;
        let mut sound = 0;
        while !rest.is_empty() {
            if self.at.is_between() {
                sound = bytes.len() - rest.len();
            }
            match self.step(rest) {
                Ok(unread) => rest = unread,
                Err(why) => {
                    self.at = At::Broken(why);
                    self.pieces = Vec::new();
                    return Err(Broken { why, sound });
                }
            }
        }
        Ok(if self.is_within_head() { sound } else { bytes.len() })
    }

    /// Whether a head has begun that has not ended.
    #[must_use]
    pub fn is_within_head(&self) -> bool {
        matches!(self.at, At::Head(_))
    }

    /// How many heads have ended.
    #[must_use]
    pub fn heads(&self) -> u64 {
        self.heads
    }

    /// Whether it is between two messages, and the head before says nothing of a body, nor of its connection but that it is
    /// kept.
    #[must_use]
    pub fn is_behind_plain_head(&self) -> bool {
        self.is_plain && matches!(self.at, At::Start)
    }

    /// Reads what is of one kind, at least a byte, and returns what comes after.
    fn step<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], Rejection> {
        match &mut self.at {
            At::Start => {
                self.at = At::Head(Head::default());
                Ok(bytes)
            }
            At::Head(_) => self.read_head(bytes),
            At::Sized(left) => {
                let (skipped, rest) = skip(bytes, *left);
                *left -= skipped;
                if *left == 0 {
                    self.at = At::Start;
                }
                Ok(rest)
            }
            At::Chunked(chunks) => {
                let rest = chunks.read(bytes)?;
                if chunks.have_ended() {
                    self.at = At::Start;
                }
                Ok(rest)
            }
            At::Broken(why) => Err(*why),
        }
    }

    /// Reads to the end of a line, or of the bytes. What a line is refused for does not depend on how it is cut up.
    fn read_head<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], Rejection> {
        let At::Head(head) = &mut self.at else { return Ok(bytes) };
        let (within, beyond) = split(bytes, self.limits.size.saturating_sub(head.size));
        let Some(end) = memchr(b'\n', within) else {
            head.size += within.len();
            self.pieces.extend_from_slice(within);
            head.begin_line(&self.pieces, self.limits)?;
            return if beyond.is_empty() { Ok(beyond) } else { Err(Rejection::HeadTooLarge) };
        };
        let (line, rest) = split(bytes, end + 1);
        head.size += line.len();
        let body = if self.pieces.is_empty() {
            head.end_line(line, self.limits)?
        } else {
            self.pieces.extend_from_slice(line);
            head.end_line(&self.pieces, self.limits)?
        };
        self.pieces.clear();
        if let Some(body) = body {
            self.pieces = Vec::new();
            self.heads += 1;
            self.is_plain = head.is_plain();
            self.at = At::after_head(body);
        }
        Ok(rest)
    }
}

// === impl At ===

impl At {
    fn after_head(body: Body) -> Self {
        match body {
            Body::Sized(0) => Self::Start,
            Body::Sized(size) => Self::Sized(size),
            Body::Chunked => Self::Chunked(Chunks::default()),
        }
    }

    /// Whether what was read so far is sound whatever comes next.
    fn is_between(&self) -> bool {
        match self {
            Self::Start | Self::Sized(_) => true,
            Self::Chunked(chunks) => chunks.are_between_lines(),
            Self::Head(_) | Self::Broken(_) => false,
        }
    }
}

/// The first `size` bytes, or all, and the rest.
fn split(bytes: &[u8], size: usize) -> (&[u8], &[u8]) {
    bytes.split_at_checked(size).unwrap_or((bytes, &[]))
}

/// Leaves out as many bytes as are there, `most` at most: how many, and the rest.
fn skip(bytes: &[u8], most: u64) -> (u64, &[u8]) {
    let (skipped, rest) = split(bytes, usize::try_from(most).unwrap_or(usize::MAX));
    (skipped.len() as u64, rest)
}

#[cfg(test)]
mod tests;
