//! Requests over HTTP/1.1 that could be read in two ways, or that nobody should send: each as the bytes of its head,
//! with what it is told.

/// A request that is to be refused.
pub(crate) struct Defect {
    pub(crate) bytes: Vec<u8>,
    pub(crate) status: u16,
    /// Without the name of who says it.
    pub(crate) reason: &'static str,
}

const MALFORMED: (u16, &str) = (400, "request_malformed");

/// Defects of one kind. `heads` are whole requests, in which `PATH` stands for a path that would be answered.
fn all<B: AsRef<[u8]>>(path: &str, (status, reason): (u16, &'static str), heads: &[B]) -> Vec<Defect> {
    let one = |head: &B| Defect { bytes: replaced(head.as_ref(), path), status, reason };
    heads.iter().map(one).collect()
}

fn replaced(head: &[u8], path: &str) -> Vec<u8> {
    match head.windows(4).position(|window| window == b"PATH") {
        Some(at) => [&head[..at], path.as_bytes(), &head[at + 4..]].concat(),
        None => head.to_vec(),
    }
}

/// Whole requests with these lines behind a good `Host`.
fn with_lines(lines: &[&str]) -> Vec<Vec<u8>> {
    let whole = |line: &&str| format!("GET PATH HTTP/1.1\r\nHost: gateway\r\n{line}\r\n\r\n").into_bytes();
    lines.iter().map(whole).collect()
}

pub(crate) fn lengths(path: &str) -> Vec<Defect> {
    let lines = [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Content-Length: 0\r\nTransfer-Encoding: chunked",
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 0\r\ncontent-length: 0",
        "Content-Length: 5\r\nX-A: b\r\nContent-Length: 6",
        "Content-Length: 0\r\nContent-Length: 44",
        "Content-Length: +5",
        "Content-Length: -1",
        "Content-Length: -0",
        "Content-Length: 5, 5",
        "Content-Length: 5,",
        "Content-Length: 0 5",
        "Content-Length: 0x5",
        "Content-Length: 5.0",
        "Content-Length: 5;",
        "Content-Length:  ",
        "Content-Length:",
        "Content-Length: \"5\"",
        "Content-Length: 18446744073709551616",
        "Content-Length: 99999999999999999999",
        "Content-Length: five",
    ];
    all(path, MALFORMED, &with_lines(&lines))
}

pub(crate) fn codings(path: &str) -> Vec<Defect> {
    let lines = [
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunkedx",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: gzip",
        "Transfer-Encoding:",
        "Transfer-Encoding: chunked,",
        "Transfer-Encoding: , chunked",
        "Transfer-Encoding: chunked;q=1",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding: identity\r\nX-A: b\r\nTransfer-Encoding: chunked",
    ];
    let old = b"GET PATH HTTP/1.0\r\nHost: gateway\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_vec();
    all(path, MALFORMED, &[with_lines(&lines), vec![old]].concat())
}

pub(crate) fn line_ends(path: &str) -> Vec<Defect> {
    let heads: [&[u8]; 21] = [
        b"GET PATH HTTP/1.1\nHost: gateway\n\n",
        b"GET PATH HTTP/1.1\nHost: gateway\r\n\r\n",
        b"GET PATH HTTP/1.1\r\nHost: gateway\n\r\n",
        b"GET PATH HTTP/1.1\r\nHost: gateway\r\n\n",
        b"GET PATH HTTP/1.1\r\nHost: gateway\r\nX-A: b\nX-C: d\r\n\r\n",
        b"GET PATH HTTP/1.1\rHost: gateway\r\n\r\n",
        b"GET PATH HTTP/1.1\r\nHost: gateway\rX-A: b\r\n\r\n",
        b"GET PATH HTTP/1.1\r\nHost: gateway\r\nX-A: b\rc\r\n\r\n",
        b"GET PATH HTTP/1.1\r\nHost: gateway\r\nX-A: b\r\r\n\r\n",
        b"GET PATH HTTP/1.1\r\r\nHost: gateway\r\n\r\n",
        b"GET PATH HTTP/1.1\r\nHost: gateway\r\nX\0A: b\r\n\r\n",
        b"GET PATH HTTP/1.1\r\nHost: gateway\r\nX-A: b\0c\r\n\r\n",
        b"GET PATH HTTP/1.1\r\nHost: gateway\0\r\n\r\n",
        b"GET PATH\0 HTTP/1.1\r\nHost: gateway\r\n\r\n",
        b"GET\0 PATH HTTP/1.1\r\nHost: gateway\r\n\r\n",
        b"\0GET PATH HTTP/1.1\r\nHost: gateway\r\n\r\n",
        b"GET PATH HTTP/1.1\r\nHost: gateway\r\nX-A: b\x01c\r\n\r\n",
        b"GET PATH HTTP/1.1\r\nHost: gateway\r\nX-A: b\x0bc\r\n\r\n",
        b"GET PATH HTTP/1.1\r\nHost: gateway\r\nX-A: b\x7fc\r\n\r\n",
        b"GET PATH HTTP/1.1\r\nHost: gateway\r\nX-A: b\x1b[2J\r\n\r\n",
        b"GET PATH\x0b HTTP/1.1\r\nHost: gateway\r\n\r\n",
    ];
    all(path, MALFORMED, &heads)
}

pub(crate) fn field_lines(path: &str) -> Vec<Defect> {
    let heads: [&[u8]; 15] = [
        b"GET PATH HTTP/1.1\r\nHost: gateway\r\nX-A: b\r\n c\r\n\r\n",
        b"GET PATH HTTP/1.1\r\nHost: gateway\r\nX-A: b\r\n\tc\r\n\r\n",
        b"GET PATH HTTP/1.1\r\nHost: gateway\r\nX-A: b\r\n \r\n\r\n",
        b"GET PATH HTTP/1.1\r\nHost: gateway\r\n Content-Length: 5\r\n\r\n",
        b"GET PATH HTTP/1.1\r\n Host: gateway\r\n\r\n",
        b"GET PATH HTTP/1.1\r\nHost : gateway\r\n\r\n",
        b"GET PATH HTTP/1.1\r\nHost: gateway\r\nX-A : b\r\n\r\n",
        b"GET PATH HTTP/1.1\r\nHost: gateway\r\nX-A\t: b\r\n\r\n",
        b"GET PATH HTTP/1.1\r\nHost: gateway\r\nContent-Length : 5\r\n\r\n",
        b"GET PATH HTTP/1.1\r\nHost: gateway\r\n: b\r\n\r\n",
        b"GET PATH HTTP/1.1\r\nHost: gateway\r\nNonsense\r\n\r\n",
        b"GET PATH HTTP/1.1\r\nHost: gateway\r\nX A: b\r\n\r\n",
        b"GET PATH HTTP/1.1\r\nHost: gateway\r\nX(A): b\r\n\r\n",
        b"GET PATH HTTP/1.1\r\nHost: gateway\r\nX\x80: b\r\n\r\n",
        b"GET PATH HTTP/1.1\r\nHost: gateway\r\n\"X\": b\r\n\r\n",
    ];
    all(path, MALFORMED, &heads)
}

pub(crate) fn hosts(path: &str) -> Vec<Defect> {
    let lines = [
        "X-A: b",
        "Host: gateway\r\nHost: gateway",
        "Host: gateway\r\nX-A: b\r\nhost: elsewhere",
        "Host:",
        "Host:  ",
        "Host: gate way",
        "Host: gateway, elsewhere",
        "Host: gateway/path",
        "Host: http://gateway",
        "Host: somebody@gateway",
        "Host: gateway:80:80",
        "Host: gateway:80a",
        "Host: gateway:-1",
        "Host: [::1",
        "Host: ::1",
        "Host: gateway?x",
        "Host: gateway#x",
        "Host: gateway\\x",
    ];
    let heads = lines.map(|lines| format!("GET PATH HTTP/1.1\r\n{lines}\r\n\r\n"));
    all(path, MALFORMED, &heads)
}

pub(crate) fn request_lines(path: &str) -> Vec<Defect> {
    let lines: [&[u8]; 17] = [
        b"GET http://gatewayPATH HTTP/1.1",
        b"GET https://elsewherePATH HTTP/1.1",
        b"GET gateway:80 HTTP/1.1",
        b"GET * HTTP/1.1",
        b"OPTIONS * HTTP/1.1",
        b"GET v1/checkout-sessions/scs-1 HTTP/1.1",
        b"GET  PATH HTTP/1.1",
        b"GET PATH  HTTP/1.1",
        b"GET PATH HTTP/1.1 ",
        b" GET PATH HTTP/1.1",
        b"GET\tPATH HTTP/1.1",
        b"GET  HTTP/1.1",
        b"GET PATH http/1.1",
        b"GET PATH HTTP/1",
        b"GET PATH",
        b"G(T PATH HTTP/1.1",
        b"GET PATH HTTP/1.1x",
    ];
    let heads = lines.map(|line| [line, b"\r\nHost: gateway\r\n\r\n"].concat());
    all(path, MALFORMED, &heads)
}

/// What is well formed and still not served.
pub(crate) fn not_served(path: &str) -> Vec<Defect> {
    let lines = |line: &str, lines: &str| format!("{line} HTTP/1.1\r\nHost: gateway\r\n{lines}\r\n");
    let asking = |fields: &str| lines("GET PATH", fields);
    let version = |version: &str| format!("GET PATH {version}\r\nHost: gateway\r\n\r\n");
    let upgrade = asking("Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n");
    let h2c = asking("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAA\r\n");
    let versions = ["HTTP/2.0", "HTTP/3.0", "HTTP/9.9"].map(version);
    let methods = [lines("CONNECT gateway:443", ""), lines("CONNECT PATH", ""), lines("TRACE PATH", "")];
    let expectations = [asking("Expect: 100-continue\r\n"), asking("Expect: tea\r\n")];
    let upgrades = [upgrade, h2c, asking("Upgrade: tea\r\n")];
    [
        all(path, (505, "http_version_not_supported"), &versions),
        all(path, (501, "method_not_supported"), &methods),
        all(path, (400, "upgrade_not_allowed"), &upgrades),
        all(path, (417, "expectation_failed"), &expectations),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// What is larger than it may be by one, and by much.
pub(crate) fn too_large(path: &str) -> Vec<Defect> {
    const START: &str = "GET PATH HTTP/1.1\r\nHost: gateway\r\n";
    let long = |length: usize| format!("GET /{} HTTP/1.1\r\nHost: gateway\r\n\r\n", "x".repeat(length - 1));
    let sized = |size: usize| {
        let (start, end) = (replaced(START.as_bytes(), path), "\r\n\r\n");
        let name = "X-A: ";
        [&start, name.as_bytes(), &vec![b'b'; size - start.len() - name.len() - end.len()], end.as_bytes()].concat()
    };
    let many = |fields: usize| format!("{START}{}\r\n", "X-A: b\r\n".repeat(fields - 1));
    let heads = [sized(64 * 1024 + 1), sized(200 * 1024), many(101).into(), many(2000).into()];
    [
        all(path, (414, "target_too_long"), &[long(8 * 1024 + 1), long(100 * 1024)]),
        all(path, (431, "head_too_large"), &heads),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Bodies in chunks that are none; an eager reader would find an order in each, to purge everything.
pub(crate) fn chunks() -> Vec<&'static [u8]> {
    vec![
        b"0xc\r\n{\"all\":true}\r\n0\r\n\r\n",
        b"+c\r\n{\"all\":true}\r\n0\r\n\r\n",
        b"-c\r\n{\"all\":true}\r\n0\r\n\r\n",
        b"g\r\n{\"all\":true}\r\n0\r\n\r\n",
        b"\r\n{\"all\":true}\r\n0\r\n\r\n",
        b" c\r\n{\"all\":true}\r\n0\r\n\r\n",
        b"c \r\n{\"all\":true}\r\n0\r\n\r\n",
        b"c\n{\"all\":true}\r\n0\r\n\r\n",
        b"c\r{\"all\":true}\r\n0\r\n\r\n",
        b"c\r\n{\"all\":true}\n0\r\n\r\n",
        b"c\r\n{\"all\":true}0\r\n\r\n",
        b"c\r\n{\"all\":true}xx0\r\n\r\n",
        b"1000000000000000c\r\n{\"all\":true}\r\n0\r\n\r\n",
        b"fffffffffffffffff\r\n{\"all\":true}\r\n0\r\n\r\n",
        b"c;a=b\r\n{\"all\":true}\r\n0\r\n\r\n",
        b"c\r\n{\"all\":true}\r\n0\r\nX: y\r\n\r\n",
        b"c;a\n=b\r\n{\"all\":true}\r\n0\r\n\r\n",
        b"c;a=\0\r\n{\"all\":true}\r\n0\r\n\r\n",
        b"c;a=\x01\r\n{\"all\":true}\r\n0\r\n\r\n",
        b"c\r\n{\"all\":true}\r\n0\n\n",
        b"c\r\n{\"all\":true}\r\n0\r\n\n",
        b"c\r\n{\"all\":true}\r\n0\r\nX : y\r\n\r\n",
        b"c\r\n{\"all\":true}\r\n0\r\nX: y\r\n z\r\n\r\n",
        b"c\r\n{\"all\":true}\r\n0\r\nNonsense\r\n\r\n",
        b"c\r\n{\"all\":true}\r\n0\r\nX: y\0\r\n\r\n",
        b"c\r\n{\"all\":true}\r\n0\r\nX: y\n\r\n",
    ]
}
