//! However the bytes of a connection come in pieces, they are judged alike; and what is let through, the parser behind reads
//! as the same requests: where each head ends, its method, target and version, and how many fields it has.
//!
//! The first byte of the input says how long the pieces are; the rest is what a peer sends.

#![no_main]

use httparse::{EMPTY_HEADER, Request, Status};
use libfuzzer_sys::fuzz_target;
use monigate::server::{Framing, HeadLimits, Rejection};

/// Small, so that they are met.
const LIMITS: HeadLimits = HeadLimits { size: 600, fields: 12, target: 200 };

fuzz_target!(|data: &[u8]| {
    let Some((length, sent)) = data.split_first() else { return };
    let (whole, good) = judge(sent, sent.len().max(1));
    let (in_pieces, less) = judge(sent, usize::from(*length).max(1));
    assert_eq!((whole.why, whole.heads), (in_pieces.why, in_pieces.heads));
    assert!(good.starts_with(less) || less.starts_with(good));
    read_behind(good);
});

/// What became of it: why it was refused, if it was, and how many heads it had before.
struct Verdict {
    why: Option<Rejection>,
    heads: u64,
}

/// Reads in pieces; what comes back besides is what would have been handed on.
fn judge(sent: &[u8], length: usize) -> (Verdict, &[u8]) {
    let mut framing = Framing::new(LIMITS);
    let mut before = 0;
    for piece in sent.chunks(length) {
        if let Err(broken) = framing.read(piece) {
            assert!(broken.sound <= piece.len());
            return (Verdict { why: Some(broken.why), heads: framing.heads() }, &sent[..before + broken.sound]);
        }
        before += piece.len();
    }
    (Verdict { why: None, heads: framing.heads() }, sent)
}

/// The parser behind finds a sound head wherever there is one, and nothing in it that was not meant.
fn read_behind(good: &[u8]) {
    let mut fields = [EMPTY_HEADER; 100];
    let mut request = Request::new(&mut fields);
    let mut framing = Framing::new(LIMITS);
    // The end of the first head, as the gateway sees it.
    let Some(end) = (1..=good.len()).find(|end| framing.read(&good[end - 1..*end]).is_ok() && framing.heads() == 1)
    else {
        return;
    };
    assert_eq!(request.parse(good), Ok(Status::Complete(end)));
    let line = good[..end].split(|byte| *byte == b'\r').next().expect("a first line");
    let line = std::str::from_utf8(line).expect("a line of visible ASCII");
    let words: Vec<_> = line.split(' ').collect();
    let version = request.version.map(|minor| format!("HTTP/1.{minor}")).expect("a version");
    assert_eq!(words, [request.method.expect("a method"), request.path.expect("a target"), &version]);
    assert_eq!(request.headers.len(), good[..end].windows(2).filter(|pair| pair == b"\r\n").count() - 2);
    request.path.expect("a target").parse::<http::uri::PathAndQuery>().expect("a path that the gateway can read");
}
