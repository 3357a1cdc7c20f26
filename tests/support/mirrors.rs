//! A Monime that puts the token it was sent wherever an answer has room for it.

use std::io::Write;

use super::leaks::base64;
use super::upstream::{Step, answer, error, session};

/// How many mirrors there are: session `scs-0` meets the first.
pub(crate) const COUNT: usize = 30;

/// The steps for the mirror that the request's session names.
pub(crate) fn mirror(request: &str) -> Vec<Step> {
    let number = request.split(['/', ' ']).nth(4).and_then(|id| id.strip_prefix("scs-")?.parse::<usize>().ok());
    let token = request.lines().find_map(|line| line.split_once("Bearer ")).map_or("none", |(_, token)| token.trim());
    let (number, id) = (number.unwrap_or_default(), format!("scs-{}", number.unwrap_or_default()));
    let good = session(&id, "completed");
    let whole = |status: &str, fields: &str, body: &str| answer(status, fields, body);
    let bytes = match number {
        0..15 => in_a_sound_answer(number, token, &good, &whole),
        _ => in_a_broken_answer(number, token, &good),
    };
    vec![Step::Send(bytes), Step::Close]
}

fn in_a_sound_answer(number: usize, token: &str, good: &str, whole: &dyn Fn(&str, &str, &str) -> Vec<u8>) -> Vec<u8> {
    let echo = good.replace("[]", &format!("[\"{token}\"]"));
    let failed = |code: u16| error(code).replace("\"m\"", &format!("\"you sent {token}\""));
    match number {
        0 => whole("200 OK", "", &echo),
        1 => {
            whole("200 OK", "", &good.replace("[]", &format!("[\"{}\"]", base64(format!("Bearer {token}").as_bytes()))))
        }
        2 => whole("200 OK", &format!("Monime-Request-Id: {token}\r\n"), good),
        3 => whole(
            "429 Too Many Requests",
            &format!("Retry-After: {token}\r\nMonime-Rate-Limit: {token}\r\n"),
            &error(429),
        ),
        4 => whole("200 OK", &format!("Set-Cookie: {token}\r\nMonime-Cache: {token}\r\nETag: \"{token}\"\r\n"), good),
        5 => whole(&format!("200 {token}"), "", good),
        6 => whole("302 Found", &format!("Location: https://h.invalid/{token}\r\n"), &echo),
        7 => whole("403 Forbidden", "", &format!("<html>{token}</html>")),
        8 => whole("401 Unauthorized", &format!("WWW-Authenticate: Bearer realm=\"{token}\"\r\n"), &failed(401)),
        9 => whole("404 Not Found", "", &failed(404)),
        10 => whole("500 Internal Server Error", "", &failed(500)),
        11 => whole("503 Service Unavailable", &format!("Retry-After: {token}\r\n"), &failed(503)),
        12 => {
            let mut coder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            coder.write_all(echo.as_bytes()).unwrap();
            let coded = coder.finish().unwrap();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n", coded.len());
            [head.into_bytes(), coded].concat()
        }
        13 => whole("200 OK", "", &session(token, "completed")),
        _ => whole("200 OK", &format!("Monime-Request-Duration: {}\r\n", base64(token.as_bytes())), good),
    }
}

fn in_a_broken_answer(number: usize, token: &str, good: &str) -> Vec<u8> {
    let ok = "HTTP/1.1 200 OK\r\n";
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let (length, half) = (good.len(), token.len() / 2);
    let text = match number {
        15 => format!("HTTP/1.1 {token}\r\n\r\n"),
        16 => format!("{token} 200 OK\r\n\r\n"),
        17 => format!("{ok}Content-Length: {token}\r\n\r\n{good}"),
        18 => format!("{ok}Transfer-Encoding: {token}\r\n\r\n{good}"),
        19 => format!("{chunked}{token}\r\n{good}"),
        20 => format!("{chunked}{length:x};{token}={token}\r\n{good}\r\n0\r\n{token}: {token}\r\n\r\n"),
        21 => format!("{ok}{token}: {token}\r\nContent-Length: {length}\r\n\r\n{good}"),
        22 => format!("{ok}X: {token}\0\r\nContent-Length: {length}\r\n\r\n{good}"),
        23 => format!("HTTP/1.1 101 {token}\r\nConnection: upgrade\r\nUpgrade: {token}\r\n\r\n{token}"),
        24 => format!("{ok}Content-Length: {length}\r\n\r\n{good}{token}\r\nHTTP/1.1 200 {token}\r\n\r\n"),
        25 => format!("{ok}Content-Encoding: {token}\r\nContent-Length: {length}\r\n\r\n{good}"),
        26 => format!("{ok}Content-Length: 999\r\n\r\n{{\"messages\":[\"{token}"),
        27 => {
            let (one, other) = token.split_at(half);
            let start = format!("{{\"echo\":\"{one}");
            let rest = format!("{other}\"}}");
            format!("{chunked}{:x}\r\n{start}\r\n{:x}\r\n{rest}\r\n0\r\n\r\n", start.len(), rest.len())
        }
        28 => format!("{ok}Content-Type: {token}\r\nContent-Length: {length}\r\n\r\n{good}"),
        _ => format!("HTTP/1.1 103 {token}\r\nLink: <{token}>\r\n\r\n{ok}Content-Length: {length}\r\n\r\n{good}"),
    };
    text.into_bytes()
}
