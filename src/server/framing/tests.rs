//! What reading along with a peer promises: one meaning or none, however the bytes are cut up, and nothing kept of them.

use httparse::{EMPTY_HEADER, Request, Status};
use proptest::prelude::*;

use super::*;

const LIMITS: HeadLimits = HeadLimits { size: 1024, fields: 8, target: 64 };

/// What became of bytes that were read in pieces.
#[derive(Debug, PartialEq, Eq)]
struct Fate {
    heads: u64,
    is_within_head: bool,
    is_between_messages: bool,
    /// Why it broke, and how many bytes may be handed on. That is fewer where a bad line began in an earlier piece.
    broken: Option<(Rejection, usize)>,
}

fn read<'a>(limits: HeadLimits, pieces: impl IntoIterator<Item = &'a [u8]>) -> Fate {
    let mut framing = Framing::new(limits);
    let (mut before, mut broken) = (0, None);
    for piece in pieces {
        if let Err(Broken { why, sound }) = framing.read(piece) {
            broken = Some((why, before + sound));
            assert_eq!(framing.read(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"), Err(Broken { why, sound: 0 }), "it went on");
            break;
        }
        before += piece.len();
    }
    assert!(framing.pieces.capacity() <= 2 * limits.size, "it kept {}", framing.pieces.capacity());
    assert!(framing.is_within_head() || framing.pieces.capacity() == 0, "it kept something for nothing");
    Fate {
        heads: framing.heads(),
        is_within_head: framing.is_within_head(),
        is_between_messages: matches!(framing.at, At::Start),
        broken,
    }
}

/// Reads it whole, byte by byte, and cut in two at every place; the fate must be the same.
fn read_cut_up(limits: HeadLimits, bytes: &[u8]) -> Fate {
    let whole = read(limits, [bytes]);
    let cuts = (1..bytes.len()).map(|at| bytes.split_at(at)).map(|(one, other)| vec![one, other]);
    for pieces in cuts.chain([bytes.chunks(1).collect()]) {
        let cut = read(limits, pieces.iter().copied());
        let shown = String::from_utf8_lossy(bytes);
        assert_eq!(cut.broken.map(|(why, _)| why), whole.broken.map(|(why, _)| why), "{shown:?} as {pieces:?}");
        match (cut.broken, whole.broken) {
            // What is handed on early may be more, as it was not known yet that it is bad, but never of what came last.
            (Some((_, cut)), Some((_, whole))) => assert!(cut >= whole, "{shown:?} as {pieces:?}"),
            _ => assert_eq!(cut, whole, "{shown:?} as {pieces:?}"),
        }
    }
    whole
}

/// Asserts that it is one message, no more and no less, with as many bytes of a body.
fn assert_is_one(message: &[u8]) {
    let fate = read_cut_up(LIMITS, message);
    let one = Fate { heads: 1, is_within_head: false, is_between_messages: true, broken: None };
    assert_eq!(fate, one, "{:?}", String::from_utf8_lossy(message));
    // It ends where it ends: one byte less is none, and one more begins the next.
    let less = read(LIMITS, [&message[..message.len() - 1]]);
    assert!(less.broken.is_none() && !less.is_between_messages, "{:?}", String::from_utf8_lossy(message));
    let more = read(LIMITS, [message, b"G"]);
    assert!(more.broken.is_none() && more.is_within_head, "{:?}", String::from_utf8_lossy(message));
    assert_parser_agrees(message);
}

/// Asserts that the parser behind takes the head for the same.
fn assert_parser_agrees(message: &[u8]) {
    let mut fields = [EMPTY_HEADER; 128];
    let mut parsed = Request::new(&mut fields);
    let Ok(Status::Complete(size)) = parsed.parse(message) else {
        panic!("the parser has it otherwise: {:?}", String::from_utf8_lossy(message))
    };
    let mut framing = Framing::new(LIMITS);
    framing.read(&message[..size - 1]).unwrap();
    assert!(framing.is_within_head() && framing.heads() == 0);
    framing.read(&message[size - 1..size]).unwrap();
    assert!(!framing.is_within_head() && framing.heads() == 1);

    let end = memchr(b'\r', message).unwrap();
    let line: Vec<&str> = std::str::from_utf8(&message[..end]).unwrap().split(' ').collect();
    assert_eq!(line[..2], [parsed.method.unwrap(), parsed.path.unwrap()]);
    assert_eq!(line[2], format!("HTTP/1.{}", parsed.version.unwrap()));
    let lines = message[..size].windows(2).filter(|pair| pair == b"\r\n").count();
    assert_eq!(parsed.headers.len() + 2, lines);
    let path = http::uri::PathAndQuery::try_from(line[1]).unwrap();
    assert_eq!(path.as_str(), line[1]);
    assert!(http::Method::from_bytes(line[0].as_bytes()).is_ok());
}

/// Asserts that it is refused, however it is cut up, and that all that may be handed on is what came before it.
fn assert_refused(why: Rejection, message: &[u8]) {
    let shown = String::from_utf8_lossy(message);
    let fate = read_cut_up(LIMITS, message);
    assert_eq!(fate.broken.map(|(why, _)| why), Some(why), "{shown:?}");
    assert!(!fate.is_between_messages);
    let before = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let after = read(LIMITS, [[&before[..], message].concat().as_slice()]);
    let (sound, heads) = fate.broken.map(|(_, sound)| (sound, fate.heads)).unwrap();
    assert_eq!(after.broken, Some((why, before.len() + sound)), "after another: {shown:?}");
    assert_eq!(after.heads, 1 + heads, "after another: {shown:?}");
}

fn assert_head_refused(why: Rejection, head: &[u8]) {
    assert_refused(why, head);
    assert_eq!(read(LIMITS, [head]).broken, Some((why, 0)));
}

/// A request with a good start, and these lines and ends of lines.
fn with(fields: &[u8]) -> Vec<u8> {
    [b"GET / HTTP/1.1\r\nHost: a\r\n", fields, b"\r\n"].concat()
}

#[test]
fn what_has_one_meaning_is_read() {
    let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(63));
    let messages: &[&[u8]] = &[
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /v1/checkout-sessions/scs-1?a=b&c[]=%20'(){}|^~/?:@;= HTTP/1.1\r\nhOST:a\r\n\r\n",
        b"GET //a//../b HTTP/1.1\r\nHost: a\r\n\r\n",
        b"get / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"M-SEARCH!#$%&'*+.^_`|~09 / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEF / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"CONNECTED / HTTP/1.1\r\nHost: a\r\n\r\n",
        long.as_bytes(),
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
        b"POST / HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc",
        b"GET / HTTP/1.1\r\nEmpty:\r\nHost: \t a\t \r\nTabs: \t a\tb \r\nColons: a:b:\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nAny!#$%&'*+-.^_`|~09: \"(),/:;<=>?@[\\]{}\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nOpaque: \x80\xc3\xbf\xff\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\ncontent-length:\t11 \r\n\r\n\r\n\0GET / \r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\ntransfer-encoding:  CHUNKED\t\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n00B\r\n\r\n0\r\n\r\n\r\n\r\n\r\nf\r\nGET / HTTP/1.1\r\r\n0000\r\n\r\n",
    ];
    for message in messages {
        assert_is_one(message);
    }
}

/// What might be taken for a request line.
const NO_REQUEST_LINES: &[&str] = &[
    "",
    " ",
    "\t",
    "GET",
    "GET ",
    "GET /",
    "GET / ",
    "GET /  ",
    "GET  / HTTP/1.1",
    "GET /  HTTP/1.1",
    " GET / HTTP/1.1",
    "GET / HTTP/1.1 ",
    "GET / HTTP/1.1 x",
    "GET\t/ HTTP/1.1",
    "GET /\tHTTP/1.1",
    "GET / a HTTP/1.1",
    " / HTTP/1.1",
    "GET / http/1.1",
    "GET / HTTP/1",
    "GET / HTTP/1.",
    "GET / HTTP/11",
    "GET / HTTP/1.1.",
    "GET / HTTP/1.10",
    "GET / HTTP/01.1",
    "GET / HTTP/a.b",
    "GET / HTTP 1.1",
    "GET / HTTPS/1.1",
    "GET / XHTTP/1.1",
    "GET / ICY/1.1",
    "G@T / HTTP/1.1",
    "G\u{e9}T / HTTP/1.1",
    "G\x7fT / HTTP/1.1",
    "\x16\x03\x01\x02",
    "ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFG / HTTP/1.1",
    "GET a HTTP/1.1",
    "GET ?a HTTP/1.1",
    "GET * HTTP/1.1",
    "OPTIONS * HTTP/1.1",
    "GET http://a/ HTTP/1.1",
    "GET a:80 HTTP/1.1",
    "GET /# HTTP/1.1",
    "GET /a?b#c HTTP/1.1",
    "GET /\u{e9} HTTP/1.1",
    "GET /\\a HTTP/1.1",
    "GET /\x01 HTTP/1.1",
    "GET /\x7f HTTP/1.1",
    "GET /< HTTP/1.1",
    "GET /> HTTP/1.1",
    "GET /\" HTTP/1.1",
    "GET /` HTTP/1.1",
];

#[test]
fn a_request_line_that_is_none_is_refused() {
    for line in NO_REQUEST_LINES {
        let whole = format!("{line}\r\nHost: a\r\n\r\n");
        assert_head_refused(Rejection::RequestLine, whole.as_bytes());
    }
}

#[test]
fn what_is_no_method_is_told_before_the_line_ends() {
    for beginning in [&b"\x16\x03\x01"[..], b"{", b"GET\t", b"ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFG"] {
        assert_head_refused(Rejection::RequestLine, beginning);
    }
}

#[test]
fn only_two_versions_are_spoken() {
    for version in ["0.9", "1.2", "1.9", "2.0", "3.0", "0.0"] {
        let head = format!("GET / HTTP/{version}\r\nHost: a\r\n\r\n");
        assert_head_refused(Rejection::Version, head.as_bytes());
    }
    assert_head_refused(Rejection::Version, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
}

#[test]
fn methods_that_are_for_proxies_are_refused() {
    assert_head_refused(Rejection::Method, b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_head_refused(Rejection::Method, b"CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_head_refused(Rejection::Method, b"TRACE / HTTP/1.0\r\n\r\n");
}

#[test]
fn a_line_ends_in_cr_lf_and_in_nothing_else() {
    let heads: &[&[u8]] = &[
        b"GET / HTTP/1.1\nHost: a\n\n",
        b"GET / HTTP/1.1\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n\n",
        b"GET / HTTP/1.1\r\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\rHost: a\r\n\r\n",
        b"GET /\r HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GE\rT / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GE\0T / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\0\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: a\rContent-Length: 5\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX\0: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\r\n",
        b"\n",
        b"\rGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\n\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    ];
    for head in heads {
        assert_head_refused(Rejection::LineEnd, head);
    }
}

#[test]
fn an_empty_line_before_a_request_is_refused() {
    assert_head_refused(Rejection::RequestLine, b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let sound = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx";
    let fate = read(LIMITS, [[&sound[..], b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"].concat().as_slice()]);
    assert_eq!(fate.broken, Some((Rejection::RequestLine, sound.len())));
}

#[test]
fn a_field_line_that_is_none_is_refused() {
    let lines: &[&[u8]] = &[
        b"X",
        b": a",
        b"X : a",
        b"X\t: a",
        b" X: a",
        b"\tX: a",
        b" folded",
        b"X y: a",
        b"X\xe9: a",
        b"X(: a",
        b"X\x01: a",
        b"X: a\x01",
        b"X: a\x0b",
        b"X: a\x1b[2J",
        b"X: a\x7f",
        b"Content-Length : 5",
        b"Transfer-Encoding\t: chunked",
    ];
    for line in lines {
        assert_head_refused(Rejection::FieldLine, &with(&[line, &b"\r\n"[..]].concat()));
        assert_head_refused(Rejection::FieldLine, &with(&[&b"X: a\r\n"[..], line, &b"\r\n"[..]].concat()));
    }
}

#[test]
fn a_length_that_could_be_read_in_two_ways_is_refused() {
    for field in [
        "Content-Length:",
        "Content-Length: ",
        "Content-Length: +5",
        "Content-Length: -5",
        "Content-Length: -0",
        "Content-Length: 5 5",
        "Content-Length: 5, 5",
        "Content-Length: 5,",
        "Content-Length: 0x5",
        "Content-Length: 5.0",
        "Content-Length: 5e0",
        "Content-Length: \"5\"",
        "Content-Length: \u{665}",
        "Content-Length: five",
        "Content-Length: 18446744073709551616",
        "Content-Length: 00000000000000000005",
        "content-length: 5\r\nCONTENT-LENGTH: 5",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 0\r\nContent-Length: 0",
        "Content-Length: 5\r\nX: a\r\nContent-Length:",
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Transfer-Encoding: chunked\r\nX: a\r\nContent-Length: 0",
        "Transfer-Encoding:",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: gzip",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked, gzip",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: chunked,",
        "Transfer-Encoding: ,chunked",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunkedx",
        "Transfer-Encoding: chunked;q=1",
        "Transfer-Encoding: chun\u{212a}ed",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
    ] {
        assert_head_refused(Rejection::Length, &with(format!("{field}\r\n").as_bytes()));
    }
    assert_head_refused(Rejection::Length, b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_head_refused(Rejection::Length, b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n");
}

/// What names a host.
const HOSTS: &[&str] = &[
    "a",
    "a.b",
    "a.b.",
    "a-b_c~",
    "127.0.0.1",
    "127.0.0.1:80",
    "localhost:0",
    "a:65535",
    "[::1]",
    "[::1]:80",
    "[::ffff:1.2.3.4]",
    "%2Frun%2fx",
    "!$&'()*+;=",
];

/// What might be taken for a host.
const NO_HOSTS: &[&str] = &[
    "",
    " ",
    ":80",
    "a:",
    "a:x",
    "a:+1",
    "a:65536",
    "a:80:80",
    "a b",
    "a,b",
    "a, a",
    "a/",
    "/a",
    "a/b",
    "a?",
    "a#",
    "a\\b",
    "u@a",
    "u:p@a",
    "http://a",
    "::1",
    "[::1",
    "::1]",
    "[]",
    "[::1]x",
    "[::1]:",
    "[a]",
    "[1.2.3.4]",
    "[::1%25eth0]",
    "[v1.a]",
    "[[::1]]",
    "%2",
    "%",
    "%zz",
    "%z2",
    "%2z",
    "a%2",
    "\u{e9}",
    "\"a\"",
    "<a>",
    "a\tb",
];

#[test]
fn a_host_is_a_host_with_or_without_a_port() {
    for host in HOSTS {
        assert_is_one(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes());
        assert_is_one(format!("GET / HTTP/1.0\r\nHost: {host}\r\n\r\n").as_bytes());
    }
    for host in NO_HOSTS {
        for version in ["1.1", "1.0"] {
            let head = format!("GET / HTTP/{version}\r\nHost: {host}\r\n\r\n");
            assert_head_refused(Rejection::Host, head.as_bytes());
        }
    }
}

#[test]
fn there_is_one_host() {
    assert_head_refused(Rejection::Host, b"GET / HTTP/1.1\r\n\r\n");
    assert_head_refused(Rejection::Host, b"GET / HTTP/1.1\r\nX-Host: a\r\nHosts: a\r\n\r\n");
    assert_head_refused(Rejection::Host, b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n");
    assert_head_refused(Rejection::Host, b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\nhost: b\r\n\r\n");
    assert_head_refused(Rejection::Host, b"GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n");
}

#[test]
fn no_other_protocol_is_spoken_and_nothing_is_expected() {
    for field in [
        "Upgrade: h2c",
        "upgrade: websocket",
        "Upgrade:",
        "HTTP2-Settings: AAMAAABk",
        "Connection: Upgrade\r\nUpgrade: h2c",
    ] {
        assert_head_refused(Rejection::Upgrade, &with(format!("{field}\r\n").as_bytes()));
    }
    for field in ["Expect: 100-continue", "EXPECT: 100-Continue", "Expect:", "Expect: x"] {
        assert_head_refused(Rejection::Expectation, &with(format!("{field}\r\n").as_bytes()));
    }
}

#[test]
fn a_chunk_that_is_none_is_refused_and_what_came_before_is_not() {
    let good = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
    let chunks: &[&[u8]] = &[
        b"\r\n",
        b"\n",
        b" 5\r\n",
        b"5 \r\n",
        b"+5\r\n",
        b"-5\r\n",
        b"0x5\r\n",
        b"g\r\n",
        b"5;a=b\r\n",
        b"5;\r\n",
        b"5\t\r\n",
        b"5\n",
        b"5\r\r\n",
        b"5\rX",
        b"\0",
        b"0000000000000005\r\n",
        b"ffffffffffffffff\r\n",
        b"10000000000000000\r\n",
        b"0\n",
        b"0;a\r\n",
        b"0\rX",
    ];
    for chunk in chunks {
        let message = [good, *chunk].concat();
        assert_refused(Rejection::Chunk, &message);
        assert_eq!(read(LIMITS, [message.as_slice()]).broken, Some((Rejection::Chunk, good.len())), "{chunk:?}");
    }
    let tails: &[(&[u8], &[u8])] = &[
        // After the data.
        (b"1\r\nx", b"x\r\n"),
        (b"1\r\nx", b"\n0\r\n\r\n"),
        (b"1\r\nx", b"\r0"),
        // After the last chunk.
        (b"0\r\n", b"Trailer: a\r\n\r\n"),
        (b"0\r\n", b"\n"),
        (b"0\r\n", b"\rX"),
        (b"0\r\n", b"0\r\n\r\n"),
    ];
    for (sound, tail) in tails {
        let message = [good, *sound, *tail].concat();
        assert_refused(Rejection::Chunk, &message);
        let broken = read(LIMITS, [message.as_slice()]).broken;
        assert_eq!(broken, Some((Rejection::Chunk, good.len() + sound.len())), "{sound:?} {tail:?}");
    }
}

#[test]
fn nothing_of_a_bad_head_is_handed_on_once_it_is_known_to_be_bad() {
    let mut framing = Framing::new(LIMITS);
    framing.read(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nab").unwrap();
    framing.read(b"cGET / HTTP/1.1\r\nHo").unwrap();
    assert_eq!(framing.read(b"st: a\r\nExpect: x\r\n\r\n"), Err(Broken { why: Rejection::Expectation, sound: 0 }));
}

#[test]
fn a_target_that_is_too_long_is_told_as_soon_as_it_is() {
    let most = format!("GET /{}", "x".repeat(LIMITS.target - 1));
    assert_eq!(read_cut_up(LIMITS, most.as_bytes()).broken, None);
    for next in ["x", "#", "\0", "\u{1}", "\rX"] {
        assert_head_refused(Rejection::TargetTooLong, format!("{most}{next}").as_bytes());
        assert_head_refused(Rejection::TargetTooLong, format!("{most}{next} HTTP/1.1\r\n").as_bytes());
    }
    assert_eq!(read_cut_up(LIMITS, format!("{most} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).broken, None);
    assert_head_refused(
        Rejection::TargetTooLong,
        format!("GET {} HTTP/1.1\r\n", "x".repeat(2 * LIMITS.size)).as_bytes(),
    );
}

#[test]
fn a_head_has_no_more_bytes_than_it_may() {
    let start = "GET / HTTP/1.1\r\nHost: a\r\nX: ";
    for (over, broken) in [(0, None), (1, Some((Rejection::HeadTooLarge, 0)))] {
        let filler = "x".repeat(LIMITS.size - start.len() - 4 + over);
        assert_eq!(read_cut_up(LIMITS, format!("{start}{filler}\r\n\r\n").as_bytes()).broken, broken);
    }
    // It is told without the end of a line, and each head counts for itself.
    let filler = "x".repeat(LIMITS.size - start.len());
    assert_eq!(read_cut_up(LIMITS, format!("{start}{filler}").as_bytes()).broken, None);
    assert_head_refused(Rejection::HeadTooLarge, format!("{start}{filler}x").as_bytes());
    let many = [with(b"X: a\r\n"), with(b"X: b\r\n")].concat().repeat(100);
    assert_eq!(read(LIMITS, [many.as_slice()]).heads, 200);
}

#[test]
fn a_head_has_no_more_fields_than_it_may() {
    assert_is_one(&with("X: a\r\n".repeat(LIMITS.fields - 1).as_bytes()));
    assert_head_refused(Rejection::HeadTooLarge, &with("X: a\r\n".repeat(LIMITS.fields).as_bytes()));
}

#[test]
fn an_endless_head_grows_no_memory() {
    let endless: [(&[u8], &[u8]); 4] = [
        (b"GET / HTTP/1.1\r\n", b"X: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n"),
        (b"GET / HTTP/1.1\r\nX: ", b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
        (b"GET /", b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
        (b"", b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
    ];
    let limits = HeadLimits::default();
    for (start, again) in endless {
        let mut framing = Framing::new(limits);
        framing.read(start).unwrap();
        let mut sent = 0;
        let broken = loop {
            assert!(sent < 100_000_000, "it reads on and on");
            sent += again.len();
            if let Err(broken) = framing.read(again) {
                break broken;
            }
            assert!(framing.pieces.capacity() <= 2 * limits.size);
        };
        assert!(sent <= limits.size + again.len());
        assert_eq!(broken.sound, 0);
        assert_eq!(framing.pieces.capacity(), 0);
    }
}

#[test]
fn a_head_that_comes_whole_is_not_copied_and_a_body_is_never() {
    let mut framing = Framing::new(LIMITS);
    framing.read(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000000\r\n\r\n").unwrap();
    for _ in 0..1000 {
        framing.read(&[b'\n'; 4096]).unwrap();
    }
    assert_eq!(framing.pieces.capacity(), 0);
    assert!(!matches!(framing.at, At::Start) && !framing.is_within_head() && framing.heads() == 1);
}

/// A message with one meaning, of any kind.
fn message() -> impl Strategy<Value = Vec<u8>> {
    let body = prop::collection::vec(any::<u8>(), 0..40);
    let sized =
        body.clone().prop_map(|body| [format!("Content-Length: {}\r\n\r\n", body.len()).into_bytes(), body].concat());
    let chunked = prop::collection::vec(prop::collection::vec(any::<u8>(), 1..20), 0..4).prop_map(|chunks| {
        let mut message = b"Transfer-Encoding: chunked\r\n\r\n".to_vec();
        for chunk in chunks {
            message.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            message.extend_from_slice(&chunk);
            message.extend_from_slice(b"\r\n");
        }
        message.extend_from_slice(b"0\r\n\r\n");
        message
    });
    let rest = prop_oneof![Just(b"\r\n".to_vec()), sized, chunked];
    ("[A-Z]{1,5}X", "/[a-z0-9%/?=&.-]{0,30}", "([A-Z][a-z]{1,3}: {0,2}[!-~]{0,10}\r\n){0,4}", rest).prop_map(
        |(method, target, fields, rest)| {
            let head = format!("{method} {target} HTTP/1.1\r\nHost: a\r\n{fields}");
            [head.into_bytes(), rest].concat()
        },
    )
}

/// What is nearly a head: made of what heads are made of, in any order.
fn nearly_a_head() -> impl Strategy<Value = Vec<u8>> {
    let part = prop::sample::select(vec![
        &b"Host: a\r\n"[..],
        b"Content-Length: 1\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"X: a\r\n",
        b"X : a\r\n",
        b"X:\xff\r\n",
        b"\r\n",
        b"\n",
        b"\r",
        b" ",
        b"\t",
        b":",
        b"\0",
        b"a",
        b"/",
        b"HTTP/1.1",
        b"HTTP/1.0",
    ]);
    let start = prop::sample::select(vec![
        &b"GET / HTTP/1.1\r\n"[..],
        b"GET /",
        b"GET / HTTP/1.0\r\n",
        b"",
        b"G / HTTP/1.1\r\nHost: a\r\n",
    ]);
    (start, prop::collection::vec(part, 0..8), any::<bool>())
        .prop_map(|(start, parts, ends)| [start, &parts.concat(), if ends { b"\r\n\r\n" } else { b"" }].concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2048, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn messages_are_told_apart_however_they_are_cut_up(
        messages in prop::collection::vec(message(), 1..6),
        cuts in prop::collection::vec(1_usize..60, 1..20),
    ) {
        let bytes = messages.concat();
        let mut rest = bytes.as_slice();
        let mut pieces = Vec::new();
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, after) = split(rest, *cut);
            pieces.push(piece);
            rest = after;
        }
        let all = Fate { heads: messages.len() as u64, is_within_head: false, is_between_messages: true, broken: None };
        prop_assert_eq!(&read(LIMITS, pieces), &all);
        prop_assert_eq!(&read(LIMITS, [bytes.as_slice()]), &all);
        let mut framing = Framing::new(LIMITS);
        for (at, message) in messages.iter().enumerate() {
            framing.read(message).unwrap();
            prop_assert!(matches!(framing.at, At::Start) && framing.heads() == at as u64 + 1);
            assert_parser_agrees(message);
        }
    }

    #[test]
    fn what_is_read_at_all_is_read_alike_by_the_parser_behind(head in nearly_a_head()) {
        let fate = read_cut_up(LIMITS, &head);
        if fate.heads > 0 {
            assert_parser_agrees(&head);
        }
    }
}
