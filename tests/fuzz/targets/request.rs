//! Whatever is asked, by whomever, and whatever Monime says to it: there is an answer, with a status that callers know and
//! an `X-Request-Id`; an error of the gateway's own has Monime's shape; at most one request leaves, for a path that cannot
//! be read in two ways, with the token and nothing of the caller's but what its operation has; and no answer holds a piece
//! of the token. What is kept is told again as it was told first.
//!
//! The first line of the input says who asks, by which protocol, and what Monime says (a letter each); a request follows as
//! HTTP/1.1 writes it.

#![no_main]

use bytes::Bytes;
use http::header::{AUTHORIZATION, CACHE_CONTROL, HeaderValue, PRAGMA};
use http::{Method, Request, Response, StatusCode, Version};
use http_body_util::Full;
use libfuzzer_sys::{Corpus, fuzz_target};
use monigate::monime::operation::{GET_CHECKOUT_SESSION, OPERATIONS};
use monigate_fuzz::{
    Answer, FORBIDDEN, Gateway, KEY, Manner, TOKEN, error, fields, holds_a_piece, json, on_a_paused_clock, session,
};

/// Every status of an error of the gateway's own. 500 is there for bugs, and so is missing here.
const OWN: [u16; 14] = [400, 401, 403, 404, 405, 408, 413, 414, 415, 429, 431, 502, 503, 504];
/// Every field that may go to Monime, beside the credential.
const LEAVING: [&str; 7] =
    ["monime-space-id", "monime-version", "accept", "accept-encoding", "user-agent", "content-type", "idempotency-key"];

struct Input {
    named: bool,
    says: u8,
    request: Request<Bytes>,
    /// Whether the caller itself wrote a piece of its key somewhere.
    tells_its_key: bool,
}

fuzz_target!(|data: &[u8]| -> Corpus {
    // What the caller brings along itself is not leaked to it.
    if holds_a_piece(data, TOKEN) {
        return Corpus::Reject;
    }
    let Some(input) = Input::read(data) else { return Corpus::Reject };
    on_a_paused_clock(async {
        let says = input.says;
        let manner = Manner { named: input.named, ..Manner::default() };
        let gateway = Gateway::new(manner, move |nth, request| monime(says, nth, request));
        let first = gateway.ask(input.whole()).await;
        let asked = sent(&gateway, &input);
        answered(&first, &input, asked);
        let again = gateway.ask(input.whole()).await;
        let asked_again = sent(&gateway, &input) - asked;
        answered(&again, &input, asked_again);
        told_again(&first, &again, asked_again, &input);
    });
    Corpus::Keep
});

impl Input {
    fn read(data: &[u8]) -> Option<Self> {
        let (head, body) = match data.windows(2).position(|pair| pair == b"\n\n") {
            Some(end) => (&data[..end], &data[end + 2..]),
            None => (data, &b""[..]),
        };
        let mut lines = head.split(|byte| *byte == b'\n');
        let &[who, protocol, says] = lines.next()? else { return None };
        let mut start = lines.next()?.splitn(2, |byte| *byte == b' ');
        let mut request = Request::new(Bytes::copy_from_slice(body));
        *request.method_mut() = Method::from_bytes(start.next()?).ok()?;
        *request.uri_mut() = start.next()?.try_into().ok()?;
        *request.version_mut() = if protocol == b'2' { Version::HTTP_2 } else { Version::HTTP_11 };
        *request.headers_mut() = fields(lines)?;
        if who == b'k' {
            request.headers_mut().insert(AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {KEY}")).ok()?);
        }
        Some(Self { named: who != b'o', says, request, tells_its_key: holds_a_piece(data, KEY) })
    }

    fn whole(&self) -> Request<Full<Bytes>> {
        self.request.clone().map(Full::new)
    }

    fn proved(&self) -> bool {
        let mut credentials = self.request.headers().get_all(AUTHORIZATION).iter();
        let right = credentials.next().is_some_and(|value| value.as_bytes().ends_with(KEY.as_bytes()));
        right && credentials.next().is_none()
    }
}

/// What Monime says to its `nth` request.
fn monime(says: u8, nth: usize, request: &Request<Bytes>) -> Response<Bytes> {
    match says {
        b'p' => session(request, "pending"),
        b'x' => session(request, "expired"),
        b'n' => error(404),
        b'e' => error(422),
        b'u' => error(401),
        b't' if nth == 0 => error(429),
        b'f' => error(500),
        b'v' => error(503),
        b'm' => json(200, r#"{"success":true,"messages":[],"result":{"id":"scs-others","status":"completed"}}"#),
        b'w' => json(200, "<html>"),
        b'l' => {
            Response::builder().status(302).header("location", "https://evil.example").body(Bytes::new()).expect("one")
        }
        // What it was sent, the token in it: in the body, and in a field.
        b'r' => {
            let id = request.uri().path().rsplit('/').next();
            let echo = format!("{:?} {:?}", request.headers()[AUTHORIZATION].to_str(), request.body());
            let result = serde_json::json!({"id": id, "status": "completed", "echo": echo});
            json(200, serde_json::json!({"success": true, "messages": [], "result": result}).to_string())
        }
        b'h' => {
            let mut response = session(request, "completed");
            response.headers_mut().insert("monime-request-id", request.headers()[AUTHORIZATION].clone());
            response.headers_mut().insert("set-cookie", HeaderValue::from_static("a=b"));
            response
        }
        _ => session(request, "completed"),
    }
}

/// Looks at everything that left, and says how much that was.
fn sent(gateway: &Gateway, input: &Input) -> usize {
    let sent = gateway.sent.lock().expect("no panic goes on");
    sent.iter().for_each(|request| left(request, input));
    sent.len()
}

fn left(request: &Request<Bytes>, input: &Input) {
    let (uri, asked) = (request.uri(), input.request.uri());
    assert!(!input.named || input.proved(), "an unproved caller had {uri} asked for");
    assert_eq!(uri.scheme_str(), Some("https"));
    assert_eq!(uri.authority().map(|authority| authority.as_str()), Some("api.monime.io"));
    assert_eq!(uri.path(), asked.path());
    let plain = |segment: &str| {
        let fits = (1..=128).contains(&segment.len());
        fits && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
    };
    assert!(uri.path().strip_prefix("/v1/").is_some_and(|path| path.split('/').all(plain)), "{uri}");
    let method = if input.request.method() == Method::HEAD { Method::GET } else { input.request.method().clone() };
    assert_eq!(request.method(), method);
    let fits = |template: &str| template.split('/').count() == uri.path().split('/').count();
    let matches = |template: &str| {
        fits(template)
            && template.split('/').zip(uri.path().split('/')).all(|(wanted, is)| wanted == "{}" || wanted == is)
    };
    let mut known = OPERATIONS.iter().filter(|it| it.method == method.as_str() && matches(it.path));
    let operation = known.next().expect("an operation of Monime's");
    assert!(if input.named { operation.id != FORBIDDEN } else { operation.id == GET_CHECKOUT_SESSION });
    assert_eq!(uri.query(), asked.query().filter(|_| operation.query));
    for (name, value) in request.headers() {
        match name.as_str() {
            "authorization" => assert_eq!(value.as_bytes(), format!("Bearer {TOKEN}").as_bytes()),
            "idempotency-key" => assert!(operation.is_keyed()),
            "content-type" => assert!(operation.has_body()),
            name => assert!(LEAVING.contains(&name), "{name} left"),
        }
        assert_eq!(request.headers().get_all(name).iter().count(), 1, "{name} left twice");
    }
    assert!(request.headers().contains_key(AUTHORIZATION));
    assert_eq!(request.body(), if operation.has_body() { input.request.body() } else { &b""[..] });
}

fn answered(answer: &Answer, input: &Input, sent: usize) {
    let status = answer.head.status;
    let id = answer.field("x-request-id").expect("every answer has an id");
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    assert!((1..=64).contains(&id.len()) && id.bytes().all(plain), "{id:?}");
    match answer.reason(input.request.method()) {
        Some(reason) => assert!(OWN.contains(&status.as_u16()), "{status} {reason}"),
        None => {
            assert!(matches!(status.as_u16(), 200 | 304 | 404 | 422 | 429 | 500 | 503), "{status}");
            assert!(!input.named || input.proved());
        }
    }
    if matches!(*input.request.method(), Method::HEAD) || status == StatusCode::NOT_MODIFIED {
        assert!(answer.body.is_empty());
    }
    for absent in ["set-cookie", "location"] {
        assert_eq!(answer.field(absent), None);
    }
    assert!(!holds_a_piece(&answer.told(), TOKEN), "the token leaves with {status}");
    assert!(input.tells_its_key || !holds_a_piece(&answer.told(), KEY), "the caller's key comes back with {status}");
    // Only a lookup is ever repeated, and only where Monime failed or had enough.
    let most = if matches!(input.says, b't' | b'v' | b'f') && *input.request.method() == Method::GET { 3 } else { 1 };
    let head = *input.request.method() == Method::HEAD;
    assert!(sent <= if head { 3 } else { most }, "{sent} requests left");
}

fn told_again(first: &Answer, again: &Answer, asked: usize, input: &Input) {
    let headers = input.request.headers();
    let kept = first.field("cache-status").is_some_and(|status| status.ends_with("; stored"));
    if kept && !headers.contains_key(CACHE_CONTROL) && !headers.contains_key(PRAGMA) {
        assert_eq!(asked, 0, "what is kept was asked for again");
        assert_eq!((first.head.status, &first.body), (again.head.status, &again.body));
        assert_eq!(first.field("etag"), again.field("etag"));
    }
}
