//! A chunked body (RFC 9112, 7.1), without what makes readers disagree: no chunk extensions, no trailers.
//!
//! Both are optional for whoever sends, senders of requests have no use for them, and a reader may drop them; readers
//! that looked for their ends in different places have made two requests of one.

use super::skip;
use crate::server::rejection::Rejection;

/// The most digits of a chunk's size: no number of so many overflows, and none is ever sent.
const MOST_DIGITS: u8 = 15;

/// Where in a chunked body a peer is.
#[derive(Debug)]
pub(super) enum Chunks {
    /// In a chunk's size, after so many digits that make this number.
    Size {
        digits: u8,
        size: u64,
    },
    /// Before the LF that ends the size.
    SizeLf {
        size: u64,
    },
    /// So many bytes before the end of a chunk's data; never none.
    Data {
        left: u64,
    },
    /// Before the CR that follows the data.
    DataCr,
    /// Before the LF that follows the data.
    DataLf,
    /// After the last chunk, before the CR that ends the body.
    LastCr,
    /// Before the LF that ends the body.
    LastLf,
    Ended,
}

impl Default for Chunks {
    fn default() -> Self {
        Self::Size { digits: 0, size: 0 }
    }
}

impl Chunks {
    /// Reads on, by a byte or more if there is one, and returns what it did not read.
    pub(super) fn read<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], Rejection> {
        if let Self::Data { left } = self {
            let (skipped, rest) = skip(bytes, *left);
            *left -= skipped;
            if *left == 0 {
                *self = Self::DataCr;
            }
            return Ok(rest);
        }
        let Some((byte, rest)) = bytes.split_first() else { return Ok(bytes) };
        *self = self.after(*byte).ok_or(Rejection::Chunk)?;
        Ok(rest)
    }

    /// What follows when `byte` comes outside of the data; none if it may not come.
    fn after(&self, byte: u8) -> Option<Self> {
        match (self, byte) {
            (Self::Size { digits: 1.., size }, b'\r') => Some(Self::SizeLf { size: *size }),
            (Self::Size { digits, size }, digit) if *digits < MOST_DIGITS => {
                let value = char::from(digit).to_digit(16)?;
                Some(Self::Size { digits: digits + 1, size: size * 16 + u64::from(value) })
            }
            (Self::SizeLf { size: 0 }, b'\n') => Some(Self::LastCr),
            (Self::SizeLf { size }, b'\n') => Some(Self::Data { left: *size }),
            (Self::DataCr, b'\r') => Some(Self::DataLf),
            (Self::DataLf, b'\n') => Some(Self::default()),
            (Self::LastCr, b'\r') => Some(Self::LastLf),
            (Self::LastLf, b'\n') => Some(Self::Ended),
            _ => None,
        }
    }

    pub(super) fn have_ended(&self) -> bool {
        matches!(self, Self::Ended)
    }

    /// Whether what was read so far is sound whatever comes next.
    pub(super) fn are_between_lines(&self) -> bool {
        matches!(self, Self::Size { digits: 0, .. } | Self::Data { .. } | Self::DataCr | Self::LastCr)
    }
}
