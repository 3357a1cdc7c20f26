//! Finds a token in what a program said, however it was written.

/// This many consecutive characters do not occur by chance.
const RUN: usize = 12;
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Everything that was heard, each with where.
#[derive(Default)]
pub(crate) struct Said(Vec<(String, Vec<u8>)>);

impl Said {
    pub(crate) fn heard(&mut self, place: &str, text: impl Into<Vec<u8>>) {
        self.0.push((place.to_owned(), text.into()));
    }

    /// Fails if any of it holds any of the token.
    pub(crate) fn keeps(&self, token: &str) {
        assert!(!self.0.is_empty());
        for (place, text) in &self.0 {
            if let Some(found) = leak(token, text) {
                panic!("{place} holds {found}: {}", String::from_utf8_lossy(text));
            }
        }
    }
}

/// The first piece of `token` in `text`: as it is in any case, in Base64 of any alignment, as a list of bytes, in hex.
pub(crate) fn leak(token: &str, text: &[u8]) -> Option<String> {
    let pieces: Vec<Vec<u8>> = pieces(token).into_iter().map(|piece| piece.bytes().map(fold).collect()).collect();
    let text: Vec<u8> = text.iter().copied().map(fold).collect();
    // Megabytes of log are read byte by byte without optimisation, so most places are passed by at a glance.
    let mut begins = vec![false; 1 << 16];
    let pair = |bytes: &[u8]| usize::from(bytes[0]) << 8 | usize::from(bytes[1]);
    pieces.iter().for_each(|piece| begins[pair(piece)] = true);
    let places = (1..text.len()).map(|end| end - 1).filter(|at| begins[pair(&text[*at..])]);
    let mut found = places.filter_map(|at| pieces.iter().find(|piece| text[at..].starts_with(piece)));
    found.next().map(|piece| String::from_utf8_lossy(piece).into_owned())
}

/// What may stand for each other: cases, and the two alphabets of Base64.
fn fold(byte: u8) -> u8 {
    match byte {
        b'-' => b'+',
        b'_' => b'/',
        _ => byte.to_ascii_lowercase(),
    }
}

/// Every piece that is long enough to be told, in every spelling.
fn pieces(token: &str) -> Vec<String> {
    let mut pieces = windows(token, RUN);
    for offset in 0..3 {
        let rest = &token.as_bytes()[offset..];
        // Of a last group that is not whole the spelling depends on what follows.
        pieces.extend(windows(&base64(&rest[..rest.len() / 3 * 3]), RUN));
    }
    // Half a run of bytes is a whole one in digits.
    for bytes in token.as_bytes().windows(RUN / 2) {
        let join = |separator: &str| bytes.iter().map(u8::to_string).collect::<Vec<_>>().join(separator);
        pieces.extend([join(", "), join(","), join(" "), bytes.iter().map(|byte| format!("{byte:02x}")).collect()]);
    }
    pieces
}

fn windows(text: &str, length: usize) -> Vec<String> {
    text.as_bytes().windows(length).map(|window| String::from_utf8_lossy(window).into_owned()).collect()
}

/// Base64 with padding.
pub(crate) fn base64(text: &[u8]) -> String {
    let group = |group: &[u8]| {
        let bits = group.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        let letter = |place: usize| char::from(ALPHABET[usize::try_from(bits >> (18 - 6 * place) & 63).unwrap()]);
        (0..4).map(|place| if place <= group.len() { letter(place) } else { '=' }).collect::<String>()
    };
    text.chunks(3).map(group).collect()
}
