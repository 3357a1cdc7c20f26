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
    let text = String::from_utf8_lossy(text);
    let lower = text.to_lowercase();
    let holds = |piece: &String| lower.contains(&piece.to_lowercase());
    let standard = text.replace('-', "+").replace('_', "/");
    windows(token, RUN).into_iter().find(holds).or_else(|| {
        let coded = (0..3).map(|offset| base64(&token.as_bytes()[offset..]));
        // What follows the last whole group depends on what follows the token.
        let whole = coded.map(|coded| coded[..(token.len() - 2) / 3 * 4 - 4].to_owned());
        let based = whole.flat_map(|coded| windows(&coded, RUN)).find(|piece| standard.contains(piece));
        based.or_else(|| spelled(token).find(holds))
    })
}

/// Half a run as numbers is a whole one in length.
fn spelled(token: &str) -> impl Iterator<Item = String> {
    token.as_bytes().windows(RUN / 2).flat_map(|bytes| {
        let join = |separator: &str| bytes.iter().map(u8::to_string).collect::<Vec<_>>().join(separator);
        let hex = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        [join(", "), join(","), join(" "), hex]
    })
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
