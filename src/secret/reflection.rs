//! Whether an answer holds a piece of the token, so that it is neither kept nor passed on.
//!
//! Owns what the token can be spelled as, found once for a token, living as long as the token and wiped with it. Every run
//! of [`RUN`] bytes of an answer covers one whole piece of [`PIECE`] bytes that starts at a multiple of [`PIECE`]: so only
//! those pieces of an answer are looked up among all pieces of the spellings, and only where one is found are its
//! neighbours compared. The time is linear in the answer, whatever it holds; a token that repeats itself makes it slower, in
//! proportion to its length. Refuses to say where, or what.

use memchr::{memchr, memmem};
use zeroize::{Zeroize, Zeroizing};

/// This many consecutive bytes of the token, or characters of its Base64, do not occur by chance.
const RUN: usize = 12;
/// The most bytes that so many bytes of the token can be spelled with: each as an escape of JSON's.
pub const REACH: usize = 6 * RUN;
/// The longest piece for which that holds.
const PIECE: usize = RUN / 2;
/// A shorter token stands in almost any text: looking for it would refuse every answer. Monime's are far longer.
const SHORTEST: usize = 8;
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// How many lists the pieces are spread over: with a token of Monime's, most of them are empty.
const LISTS: usize = 512;

/// What a token can be spelled as: raw or as Base64.
pub(super) struct Spellings {
    texts: Vec<Zeroizing<Vec<u8>>>,
    /// Where each list of pieces begins: the index of one, counted from 1; 0 where it is empty. Small, to leave the L1 cache
    /// to others.
    lists: Box<[u32; LISTS]>,
    /// All pieces of the texts that are long enough, in lists of those with the same number.
    pieces: Vec<Piece>,
}

struct Piece {
    /// Which spelling, and where in it.
    spelling: u32,
    at: u32,
    /// The next one in its list, counted from 1; 0 for the last.
    next: u32,
}

/// What Base64 makes of the token, in the texts that it may stand in. It works in groups of three bytes. In a longer text
/// the token may begin anywhere in a group, so it has three spellings; of each only whole groups are looked for, since the
/// others depend on the neighbours. `Bearer ` puts the token at one of these places too.
fn encoded(token: &[u8]) -> Vec<Zeroizing<Vec<u8>>> {
    let is_short = token.len() < RUN;
    let offsets = if is_short { 0..1 } else { 0..3 };
    let encoded = offsets.filter_map(|offset| token.get(offset..)).map(base64);
    encoded.chain(is_short.then(|| short_bearer(token))).collect()
}

/// The same bytes with JSON's escapes for ASCII undone, if there are any: whoever reads the answer undoes them too.
fn unescaped(bytes: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    // Most texts have no escape of any kind, which is found out fastest.
    memchr(b'\\', bytes)?;
    let escape = memmem::Finder::new(b"\\u00");
    escape.find(bytes)?;
    let mut plain = Zeroizing::new(Vec::with_capacity(bytes.len()));
    let mut rest = bytes;
    while let Some(at) = escape.find(rest) {
        let (before, escaped) = rest.split_at(at);
        plain.extend_from_slice(before);
        let digits = escaped.get(4..6).and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        plain.extend(byte);
        rest = escaped.get(if byte.is_some() { 6 } else { 4 }..).unwrap_or_default();
    }
    plain.extend_from_slice(rest);
    Some(plain)
}

/// A short token has too few groups of its own to be recognised; with the scheme before it there are enough.
fn short_bearer(token: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut text = Zeroizing::new(Vec::with_capacity("Bearer ".len() + token.len()));
    text.extend_from_slice(b"Bearer ");
    text.extend_from_slice(token);
    let encoded = base64(&text);
    // The first groups spell the scheme alone, which is no secret.
    Zeroizing::new(encoded.get(8..).unwrap_or_default().to_vec())
}

// === impl Spellings ===

impl Drop for Spellings {
    fn drop(&mut self) {
        self.lists.zeroize();
        self.pieces.iter_mut().for_each(|piece| piece.next.zeroize());
    }
}

impl Spellings {
    /// Those of `token`; none if it is shorter than [`SHORTEST`].
    pub(super) fn of(token: &[u8]) -> Self {
        let token = Some(token).filter(|token| token.len() >= SHORTEST);
        let all = |token: &[u8]| std::iter::once(Zeroizing::new(token.to_vec())).chain(encoded(token));
        let texts: Vec<_> = token.into_iter().flat_map(all).filter(|text| !text.is_empty()).collect();
        let mut lists = Box::new([0; LISTS]);
        // Never moved while it grows: what was left behind would not be wiped.
        let mut pieces = Vec::with_capacity(texts.iter().map(|text| text.len()).sum());
        for (spelling, text) in (0..).zip(&texts).filter(|(_, text)| text.len() >= RUN) {
            for (at, piece) in (0..).zip(text.array_windows()) {
                if let Some(list) = lists.get_mut(number(piece)) {
                    pieces.push(Piece { spelling, at, next: *list });
                    // A token has a limit, and its spellings have a thousandth of these at most.
                    *list = u32::try_from(pieces.len()).unwrap_or(u32::MAX);
                }
            }
        }
        Self { texts, lists, pieces }
    }

    /// Whether `bytes` holds [`RUN`] consecutive bytes of one, or all of one that is shorter.
    pub(super) fn are_in(&self, bytes: &[u8]) -> bool {
        // Behind escapes as well, however it is spelled.
        self.stand_in(bytes) || unescaped(bytes).is_some_and(|bytes| self.stand_in(&bytes))
    }

    fn stand_in(&self, bytes: &[u8]) -> bool {
        // No run fits into these, so they are looked for as a whole.
        let mut short = self.texts.iter().filter(|text| text.len() < RUN);
        self.have_a_run_in(bytes) || short.any(|text| memmem::find(bytes, text).is_some())
    }

    /// Whether `bytes` holds [`RUN`] consecutive bytes of one of the spellings.
    fn have_a_run_in(&self, bytes: &[u8]) -> bool {
        let (blocks, _) = bytes.as_chunks::<PIECE>();
        blocks.iter().enumerate().any(|(index, block)| {
            let mut next = self.lists.get(number(block)).copied().unwrap_or_default();
            // Most lists are empty.
            while let Some(piece) = next.checked_sub(1).and_then(|index| self.pieces.get(index as usize)) {
                if self.is_in_a_run(piece, bytes, index * PIECE) {
                    return true;
                }
                next = piece.next;
            }
            false
        })
    }

    /// Whether what stands here in `bytes` is this piece, with enough of its neighbours.
    fn is_in_a_run(&self, piece: &Piece, bytes: &[u8], at: usize) -> bool {
        let spelling = self.texts.get(piece.spelling as usize);
        let around = spelling.and_then(|spelling| spelling.split_at_checked(piece.at as usize));
        let (Some((before, after)), Some((left, right))) = (around, bytes.split_at_checked(at)) else { return false };
        let ahead = common(after.iter(), right.iter());
        ahead >= PIECE && common(before.iter().rev(), left.iter().rev()) + ahead >= RUN
    }
}

/// In which list a piece is. Multiplied by the golden ratio, neighbouring texts are spread over all.
fn number(&[a, b, c, d, e, f]: &[u8; PIECE]) -> usize {
    let bits = u64::from_le_bytes([a, b, c, d, e, f, 0, 0]).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    usize::try_from(bits >> (u64::BITS - LISTS.ilog2())).unwrap_or_default()
}

/// How many bytes agree from the start, as far as it matters.
fn common<'a>(one: impl Iterator<Item = &'a u8>, other: impl Iterator<Item = &'a u8>) -> usize {
    one.zip(other).take(RUN).take_while(|(one, other)| one == other).count()
}

/// Base64 of every whole group of three bytes.
fn base64(text: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut encoded = Zeroizing::new(Vec::with_capacity(text.len() / 3 * 4));
    let (groups, _) = text.as_chunks::<3>();
    for &[a, b, c] in groups {
        let bits = u32::from_be_bytes([0, a, b, c]);
        for shift in [18, 12, 6, 0] {
            let index = usize::try_from(bits >> shift & 0x3f).unwrap_or_default();
            encoded.extend(ALPHABET.get(index));
        }
    }
    encoded
}
