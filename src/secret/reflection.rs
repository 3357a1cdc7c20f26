//! Whether an answer holds a piece of the token, so that it is neither kept nor passed on.
//!
//! Refuses to build an index of the secret that would outlive the question. Every run of [`RUN`] bytes covers one whole
//! piece of [`PIECE`] bytes that starts at a multiple of [`PIECE`]: so only those pieces are searched for, and only where
//! one is found are its neighbours compared. The time is linear in the answer, whatever it holds.

use memchr::memmem::Finder;
use zeroize::Zeroizing;

/// This many consecutive bytes of the token, or characters of its Base64, do not occur by chance.
const RUN: usize = 12;
/// The most bytes that so many bytes of the token can be spelled with: each as an escape of JSON's.
pub const REACH: usize = 6 * RUN;
/// The longest piece for which the claim above holds.
const PIECE: usize = RUN / 2;
/// A shorter token stands in almost any text: looking for it would refuse every answer. Monime's are far longer.
const SHORTEST: usize = 8;
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Whether `bytes` holds [`RUN`] consecutive bytes of `token`, or all of one that has from [`SHORTEST`] to [`RUN`],
/// raw or as Base64.
pub(super) fn is_reflected(token: &[u8], bytes: &[u8]) -> bool {
    if token.len() < SHORTEST {
        return false;
    }
    if holds_run_of(token, bytes) || unescaped(bytes).is_some_and(|bytes| holds_run_of(token, &bytes)) {
        return true;
    }
    // Base64 works in groups of three bytes. In a longer text the token may begin anywhere in a group, so it has three
    // spellings; of each only whole groups are looked for, since the others depend on the neighbours. `Bearer ` puts the
    // token at one of these places too.
    let offsets = if token.len() < RUN { 0..1 } else { 0..3 };
    offsets.filter_map(|offset| token.get(offset..)).any(|rest| holds_run_of(&base64(rest), bytes))
        || (token.len() < RUN && holds_run_of(&short_bearer(token), bytes))
}

/// The same bytes with JSON's escapes for ASCII undone, if there are any: whoever reads the answer undoes them too.
fn unescaped(bytes: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let escape = Finder::new(b"\\u00");
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

/// Whether `bytes` holds [`RUN`] consecutive bytes of `text`, or all of it when it is shorter.
fn holds_run_of(text: &[u8], bytes: &[u8]) -> bool {
    if text.is_empty() {
        return false;
    }
    if text.len() < RUN {
        return Finder::new(text).find(bytes).is_some();
    }
    text.chunks_exact(PIECE).enumerate().any(|(index, piece)| {
        let (before, after) = text.split_at(index * PIECE);
        let finder = Finder::new(piece);
        let mut from = 0;
        // From one byte further each time: occurrences of a repetitive piece overlap.
        while let Some(found) = bytes.get(from..).and_then(|rest| finder.find(rest)) {
            let (left, right) = bytes.split_at(from + found);
            if common(before.iter().rev(), left.iter().rev()) + common(after.iter(), right.iter()) >= RUN {
                return true;
            }
            from += found + 1;
        }
        false
    })
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
