//! Which bytes may stand where in a head: a table, since each byte of each head is asked about.

/// May be of a token (RFC 9110, 5.6.2).
pub(super) const TOKEN: u8 = 1;
/// May be of a path with a query, and is read by nobody as another: no fragment, no backslash that some take for a slash,
/// and none of those that some would escape first.
pub(super) const TARGET: u8 = 1 << 1;
/// May be of a registered name (RFC 3986, 3.2.2) as it stands; not the comma, which is what two hosts look like that
/// somebody joined.
pub(super) const HOST: u8 = 1 << 2;

static CLASSES: [u8; 256] = classes();

/// Whether all of these bytes are of this class, as all of none are.
pub(super) fn all_are(class: u8, bytes: &[u8]) -> bool {
    bytes.iter().fold(class, |all, byte| all & class_of(*byte)) == class
}

/// Whether this byte is.
pub(super) fn is(class: u8, byte: u8) -> bool {
    class_of(byte) & class != 0
}

fn class_of(byte: u8) -> u8 {
    CLASSES.get(usize::from(byte)).copied().unwrap_or_default()
}

#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler, which would refuse an index beyond the end")]
const fn classes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = u8::MAX;
    loop {
        if matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~') {
            table[byte as usize] = TOKEN | TARGET | HOST;
        }
        if matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'^' | b'`' | b'|') {
            table[byte as usize] |= TOKEN;
        }
        if matches!(byte, b'!' | b'$'..=b';' | b'=' | b'?'..=b'[' | b']'..=b'_' | b'a'..=b'~') {
            table[byte as usize] |= TARGET;
        }
        if matches!(byte, b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b';' | b'=') {
            table[byte as usize] |= HOST;
        }
        if byte == 0 {
            return table;
        }
        byte -= 1;
    }
}
