//! What goes out for a request that is passed on, and what may come back.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream;
use http::StatusCode;
use http_body::Frame;
use http_body_util::StreamBody;
use tower::{ServiceExt, service_fn};

use super::*;
use crate::monime::operation::named;
use crate::secret::{Keyring, Secret, Source};
use crate::telemetry::Metrics;
use crate::upstream::{Gate, Interest, Quota, RetryBudget, Settings, Shared};

const TOKEN: &str = "mon_test_0123456789abcdef";

fn forward(operation: &str, target: &str, body: &'static str) -> Forward {
    Forward {
        operation: named(operation).unwrap(),
        target: target.parse().unwrap(),
        space: SpaceId::parse("spc-1").unwrap(),
        version: Version::parse("v1").unwrap(),
        content_type: (!body.is_empty()).then_some(HeaderValue::from_static("application/json")),
        idempotency_key: (!body.is_empty()).then_some(HeaderValue::from_static("key-1")),
        body: body.into(),
        waiting: Waiting::on_behalf_of(Interest::default()),
    }
}

fn timeouts() -> Timeouts {
    let seconds = Duration::from_secs;
    Timeouts { connect: seconds(2), attempt: seconds(5), total: seconds(10), write: seconds(60) }
}

fn sent_with() -> SentWith {
    SentWith(Secret::parse(TOKEN.as_bytes().to_vec()).unwrap().into())
}

/// What comes back of `response`, with whatever its body ends in.
async fn pass<B>(response: Response<B>) -> Result<(http::response::Parts, Result<Bytes, Failure>), Failure>
where
    B: Body<Data = Bytes, Error = Infallible> + Send + Unpin + 'static,
{
    let mut response = Some(response);
    let wire = service_fn(move |_: Request<Full<Bytes>>| {
        let mut response = response.take().unwrap();
        response.extensions_mut().insert(sent_with());
        async { Ok(response) }
    });
    let list = forward("ListCheckoutSessions", "/v1/checkout-sessions?limit=2", "");
    let pass = Pass::new(wire, "https://api.monime.io".parse().unwrap(), timeouts());
    let (head, body) = pass.oneshot(list).await?.into_parts();
    Ok((head, body.collect().await.map(|whole| whole.to_bytes())))
}

fn in_pieces(pieces: Vec<&'static [u8]>) -> impl Body<Data = Bytes, Error = Infallible> + Send + Unpin + 'static {
    let frames = pieces.into_iter().map(|piece| Ok(Frame::data(Bytes::from_static(piece))));
    StreamBody::new(stream::iter(frames))
}

#[tokio::test(start_paused = true)]
async fn a_request_goes_out_with_what_its_operation_has_and_nothing_else() {
    let wire = service_fn(|request: Request<Full<Bytes>>| async move {
        let (head, body) = request.into_parts();
        assert_eq!((head.method, head.uri.to_string()), (Method::POST, "https://api.monime.io/v1/payouts".to_owned()));
        assert_eq!(head.extensions.get(), Some(&SpaceId::parse("spc-1").unwrap()), "whose token it needs");
        let mut fields: Vec<_> = head.headers.iter().map(|(name, value)| format!("{name}: {value:?}")).collect();
        fields.sort();
        let ours = format!("user-agent: {NAME:?}");
        let expected = [
            r#"accept-encoding: "identity""#,
            r#"accept: "application/json""#,
            r#"content-type: "application/json""#,
            r#"idempotency-key: "key-1""#,
            r#"monime-space-id: "spc-1""#,
            r#"monime-version: "v1""#,
            &ours,
        ];
        assert_eq!(fields, expected);
        assert_eq!(body.collect().await.unwrap().to_bytes(), "{\"amount\":1}");
        Ok(Response::builder().extension(sent_with()).body(Full::<Bytes>::default()).unwrap())
    });
    let pass = Pass::new(wire, "https://api.monime.io".parse().unwrap(), timeouts());
    pass.oneshot(forward("CreatePayout", "/v1/payouts", "{\"amount\":1}")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn status_body_and_monimes_headers_come_back_as_they_are() {
    let response = Response::builder()
        .status(StatusCode::CONFLICT)
        .header("content-type", "application/json")
        .header("retry-after", "3")
        .header("monime-cache", "irc")
        .header("monime-request-id", "req-1")
        .header("monime-future", "a")
        .header("monime-future", "b")
        .header("set-cookie", "a=b")
        .header("server", "edge")
        .header("authorization", "Bearer other")
        .body(in_pieces(vec![b"{\"a\":", b"", b"1}"]))
        .unwrap();
    let (head, body) = pass(response).await.unwrap();
    assert_eq!((head.status, body.unwrap()), (StatusCode::CONFLICT, Bytes::from_static(b"{\"a\":1}")));
    let names: Vec<_> = head.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    let expected = [
        ("content-type", "application/json"),
        ("retry-after", "3"),
        ("monime-cache", "irc"),
        ("monime-request-id", "req-1"),
        ("monime-future", "a"),
        ("monime-future", "b"),
    ];
    assert_eq!(names, expected);
}

#[tokio::test(start_paused = true)]
async fn no_twelve_bytes_of_the_token_leave_however_they_are_cut_up() {
    let (token, long) = (TOKEN.as_bytes(), [b'x'; 500]);
    let escaped: String = TOKEN.bytes().map(|byte| format!("\\u00{byte:02x}")).collect();
    for text in [token.to_vec(), escaped.into_bytes()] {
        for size in [1, 7, 71, 72, 73, 4096] {
            let whole: &'static [u8] = [&long[..], &text, &long[..]].concat().leak();
            let body = in_pieces(whole.chunks(size).collect());
            let passing =
                Passing::new(body, sent_with().0, 1 << 20, (Instant::now() + timeouts().attempt, Bound::Attempt));
            let mut passing = Box::pin(passing);
            let mut left = Vec::new();
            let failure = loop {
                match passing.frame().await.expect("it does not end well") {
                    Ok(frame) => left.extend(frame.into_data().unwrap()),
                    Err(failure) => break failure,
                }
            };
            assert!(matches!(failure, Failure::Unreadable(Unreadable::Reflects)), "{failure:?}");
            assert!(!left.is_empty() || size == 4096, "what is harmless goes on in pieces of {size}");
            assert!(!sent_with().0.is_reflected_in(&left), "in pieces of {size}");
            assert!(passing.frame().await.is_none(), "and that was its end");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_searched_or_is_too_long_is_not_passed_on() {
    let coded = Response::builder().header("content-encoding", "gzip").body(in_pieces(vec![b"x"])).unwrap();
    assert!(matches!(pass(coded).await, Err(Failure::Unreadable(Unreadable::Coding))));
    let told = Response::builder().header("monime-note", TOKEN).body(in_pieces(vec![])).unwrap();
    assert!(matches!(pass(told).await, Err(Failure::Unreadable(Unreadable::Reflects))));
    let whole = Response::new(Full::new(Bytes::from(vec![b'x'; MAX_BODY as usize + 1])));
    assert!(matches!(pass(whole).await, Err(Failure::Unreadable(Unreadable::TooLarge))));
    let at_bound = Response::new(Full::new(Bytes::from(vec![b'x'; MAX_BODY as usize])));
    assert_eq!(pass(at_bound).await.unwrap().1.unwrap().len() as u64, MAX_BODY);
    let piece: &'static [u8] = vec![b'x'; 1 << 20].leak();
    let (_, body) = pass(Response::new(in_pieces(vec![piece; 9]))).await.unwrap();
    assert!(matches!(body, Err(Failure::Unreadable(Unreadable::TooLarge))), "found out on the way");
}

#[tokio::test(start_paused = true)]
async fn a_read_has_the_attempts_time_to_its_last_byte_and_a_write_its_own() {
    for (operation, target, bound, limit) in [
        ("ListPayouts", "/v1/payouts", Bound::Attempt, timeouts().attempt),
        ("CreatePayout", "/v1/payouts", Bound::Write, timeouts().write),
    ] {
        let started = Instant::now();
        let silent = service_fn(|_: Request<Full<Bytes>>| std::future::pending::<Result<Response<Full<Bytes>>, _>>());
        let pass = Pass::new(silent, "https://api.monime.io".parse().unwrap(), timeouts());
        let failure = pass.oneshot(forward(operation, target, "")).await.unwrap_err();
        assert!(matches!(failure, Failure::TimedOut(by) if by == bound), "{failure:?}");
        assert_eq!(started.elapsed(), limit);

        let started = Instant::now();
        let stalls = service_fn(|_: Request<Full<Bytes>>| async {
            let body = StreamBody::new(stream::pending::<Result<Frame<Bytes>, Infallible>>());
            Ok(Response::builder().extension(sent_with()).body(body).unwrap())
        });
        let pass = Pass::new(stalls, "https://api.monime.io".parse().unwrap(), timeouts());
        let answer = pass.oneshot(forward(operation, target, "")).await.unwrap();
        let failure = answer.into_body().collect().await.unwrap_err();
        assert!(matches!(failure, Failure::TimedOut(by) if by == bound), "{failure:?}");
        assert_eq!(started.elapsed(), limit);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_passed_on_says_nothing_of_monimes_health_and_heeds_what_lookups_say() {
    let metrics = Arc::new(Metrics::new().unwrap());
    let gate = Gate::new(1.0, Arc::clone(&metrics));
    let shared = Shared { gate: gate.clone(), retries: RetryBudget::default(), metrics };
    let secret = Secret::parse(TOKEN.as_bytes().to_vec()).unwrap();
    let space = SpaceId::parse("spc-1").unwrap();
    let keyring = Arc::new(Keyring::new([(space.clone(), Source::environment(secret))], false));
    let quota = Quota { endpoint: Some(1000), token: Some(1000), space: Some(1000) };
    let settings = Settings { origin: "https://api.monime.io".parse().unwrap(), timeouts: timeouts(), quota };
    // Of 500s Monime has many for who asks oddly; to posts it says nothing.
    let wire = service_fn(|request: Request<Full<Bytes>>| async move {
        if request.method() == Method::POST {
            std::future::pending::<()>().await;
        }
        Ok(Response::builder().status(500).extension(sent_with()).body(Full::<Bytes>::default()).unwrap())
    });
    let forwards = crate::upstream::forwards(wire, &keyring, &settings, &shared);
    let lookups = crate::upstream::upstream(wire, &keyring, &settings, &shared);
    let list = || forwards.clone().oneshot(forward("ListPayouts", "/v1/payouts", ""));
    let create = || forwards.clone().oneshot(forward("CreatePayout", "/v1/payouts", "{}"));
    let lookup = || {
        let key = crate::lookup::tests::scripted::key("scs-1");
        lookups.clone().oneshot(crate::upstream::Fetch::new(crate::monime::Key { space: space.clone(), ..key }))
    };

    for _ in 0..100 {
        assert_eq!(list().await.unwrap().status(), 500);
        assert!(tokio::time::timeout(Duration::from_millis(5), create()).await.is_err(), "its caller left");
    }
    assert_eq!(gate.breaker(), "closed");
    futures_util::future::join_all((0..25).map(|_| lookup())).await;
    assert_eq!(gate.breaker(), "open", "it learns from lookups");
    assert!(matches!(list().await, Err(Failure::Open { .. })));

    tokio::time::advance(Duration::from_millis(2100)).await;
    let write = tokio::spawn(create());
    tokio::task::yield_now().await;
    assert_eq!(list().await.unwrap().status(), 500, "its time is over");
    assert_eq!(gate.breaker(), "open", "a write that takes a minute is not what everyone waits for");
    assert_eq!(lookup().await.unwrap().status, 500, "the probe");
    assert_eq!(gate.breaker(), "open");
    write.abort();
}
