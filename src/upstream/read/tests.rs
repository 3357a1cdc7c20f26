//! What of Monime's answer is let in, and what of a lookup is let out: the layer alone, in front of a scripted wire.

use std::pin::Pin;
use std::sync::Arc;

use http::header::{AUTHORIZATION, HeaderName};
use http_body_util::Full;
use tower::{ServiceExt, service_fn};

use super::*;
use crate::monime::{SessionId, SpaceId, Version};
use crate::secret::Secret;

/// The reply that is read off this response, or why there is none.
async fn read_off(response: http::response::Builder, body: &'static str) -> Result<Reply, Failure> {
    let token = Arc::new(Secret::parse(b"mon_the-token".to_vec()).unwrap());
    ask(response.extension(SentWith(token)).body(Full::new(Bytes::from_static(body.as_bytes()))).unwrap()).await
}

async fn ask(response: Response<Full<Bytes>>) -> Result<Reply, Failure> {
    let wire = service_fn(move |request: Request<Full<Bytes>>| {
        assert_eq!((request.method(), request.uri().path()), (&Method::GET, "/v1/checkout-sessions/scs-1"));
        assert_eq!(request.uri().query(), None);
        assert!(!request.headers().contains_key(AUTHORIZATION), "the credential is the business of the layer below");
        assert_eq!(request.extensions().get::<SpaceId>().map(SpaceId::as_str), Some("spc-test"));
        std::future::ready(Ok(response.clone()))
    });
    let origin = Origin { scheme: http::uri::Scheme::HTTPS, authority: "api.monime.test".parse().unwrap() };
    let key = Key {
        space: SpaceId::parse("spc-test").unwrap(),
        id: SessionId::parse("scs-1").unwrap(),
        version: Version::parse("v1").unwrap(),
    };
    Read::new(wire, origin).oneshot(Fetch::new(key)).await
}

#[tokio::test]
async fn callers_see_the_headers_that_are_listed_and_no_others() {
    let sent = [
        ("content-type", "application/json"),
        ("monime-request-id", "req-1"),
        ("monime-request-duration", "12ms"),
        ("retry-after", "3"),
        ("monime-cache", "HIT"),
        ("set-cookie", "a=b"),
        ("location", "https://elsewhere.test"),
        ("server", "edge"),
        ("cache-control", "public"),
        ("etag", "\"theirs\""),
        ("age", "7"),
        ("x-request-id", "theirs"),
    ];
    let response = sent.iter().fold(Response::builder(), |response, (name, value)| response.header(*name, *value));
    let reply = read_off(response, "{}").await.unwrap();
    let mut names: Vec<&str> = reply.headers.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["content-type", "monime-request-duration", "monime-request-id", "retry-after"]);
}

#[tokio::test]
async fn a_reply_that_carries_the_credential_is_not_let_in() {
    for (header, body) in [("x", r#"{"you sent":"mon_the-token"}"#), ("mon_the-token", "{}")] {
        let reply = read_off(Response::builder().header("monime-request-id", header), body).await;
        assert!(matches!(reply, Err(Failure::Unreadable(Unreadable::Reflects))), "{body}");
    }
}

#[tokio::test]
async fn a_reply_of_which_nobody_says_what_it_was_asked_with_is_not_let_in() {
    let reply = ask(Response::new(Full::new(Bytes::from_static(b"{}")))).await;
    assert!(matches!(reply, Err(Failure::Internal(_))), "{reply:?}");
}

#[tokio::test]
async fn the_body_of_a_status_that_says_it_all_is_not_let_in() {
    for status in [201, 302, 500, 503] {
        let reply = read_off(Response::builder().status(status).header("location", "/x"), "<html>").await.unwrap();
        assert_eq!((reply.status.as_u16(), reply.body.len(), reply.headers.len()), (status, 0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_status_that_says_it_all_is_heard_however_its_body_is_framed_or_coded() {
    for status in [401, 429, 302, 500, 503, 504] {
        let coded = Response::builder().status(status).header("content-encoding", "br").header("retry-after", "3");
        let reply = read_off(coded, "not brotli").await.unwrap();
        assert_eq!((reply.status.as_u16(), reply.headers.get(RETRY_AFTER).is_some()), (status, true));

        let hanging = Response::builder().status(status).body(Hanging).unwrap();
        let started = tokio::time::Instant::now();
        assert_eq!(read(hanging).await.unwrap().status.as_u16(), status);
        assert!(started.elapsed() <= COURTESY, "{status} must not cost the attempt's deadline");
    }
}

#[tokio::test]
async fn a_body_is_let_in_up_to_the_bound_and_not_a_byte_beyond() {
    for (length, fits) in [(MAX_BODY, true), (MAX_BODY + 1, false)] {
        let plain = vec![b' '; length];
        let mut gzip = flate2::read::GzEncoder::new(&*plain, flate2::Compression::fast());
        let mut coded = Vec::new();
        gzip.read_to_end(&mut coded).unwrap();
        for (coding, body) in [("identity", plain.clone()), ("gzip", coded)] {
            let response = Response::builder().header("content-encoding", coding).body(Full::new(Bytes::from(body)));
            let reply = read(response.unwrap()).await;
            assert_eq!(reply.as_ref().is_ok_and(|reply| reply.body == plain), fits, "{coding} {length}");
            assert!(fits || matches!(reply, Err(Failure::Unreadable(Unreadable::TooLarge))), "{coding} {length}");
        }
    }
}

#[tokio::test]
async fn a_coding_that_is_broken_or_unknown_is_not_let_in() {
    for (coding, body) in [("gzip", "not gzip"), ("gzip", ""), ("br", "{}"), ("gzip, gzip", "{}"), ("deflate", "{}")] {
        let reply = read_off(Response::builder().header("content-encoding", coding), body).await;
        assert!(matches!(reply, Err(Failure::Unreadable(_))), "{coding} {body:?}");
    }
}

/// A body that never comes.
struct Hanging;

impl Body for Hanging {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, std::io::Error>>> {
        Poll::Pending
    }
}
