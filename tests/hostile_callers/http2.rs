//! One meaning for every message over HTTP/2: what is malformed or could mean something else behind the gateway is
//! refused on its stream, the connection's other streams go on, and nothing of it is sent to Monime.

use crate::frames::{
    DATA, END_STREAM, Fields, GOAWAY, NO_ERROR, Outcome, PROTOCOL_ERROR, Peer, REFUSED_STREAM, SETTINGS, WINDOW_UPDATE,
    frame, headers, lookup, number,
};
use crate::ground::{Ground, HTTP2};

use crate::support::upstream::{Step, Upstream, answer, session};
use monigate::Ended;

/// A request that is to be refused: its fields, and its body if it has one.
struct Defect<'a> {
    name: &'static str,
    fields: Fields<'a>,
    body: Option<&'static [u8]>,
}

fn defect<'a>(name: &'static str, fields: Fields<'a>) -> Defect<'a> {
    Defect { name, fields, body: None }
}

/// A lookup with one more field.
fn with<'a>(path: &'a str, name: &'static str, value: &'static str) -> Defect<'a> {
    defect(name, [lookup(path), vec![(name, value)]].concat())
}

/// A lookup with another value of one of its fields, or without it.
fn but<'a>(path: &'a str, name: &'static str, value: Option<&'static str>) -> Defect<'a> {
    let fields = lookup(path).into_iter().filter_map(|(field, was)| match value {
        Some(value) if field == name => Some((field, value)),
        None if field == name => None,
        _ => Some((field, was)),
    });
    defect(name, fields.collect())
}

fn methods(path: &str) -> Vec<Defect<'_>> {
    vec![
        defect("CONNECT", vec![(":method", "CONNECT"), (":authority", "gateway:443")]),
        but(path, ":method", Some("CONNECT")),
        but(path, ":method", Some("TRACE")),
        with(path, ":protocol", "websocket"),
    ]
}

fn pseudo_fields(path: &str) -> Vec<Defect<'_>> {
    let twice = |name: &'static str, value: &'static str| {
        defect(name, [lookup(path)[..1].to_vec(), vec![(name, value)], lookup(path)[1..].to_vec()].concat())
    };
    let late = |name: &'static str| {
        let (theirs, others): (Vec<_>, Vec<_>) = lookup(path).into_iter().partition(|(field, _)| *field == name);
        defect(name, [others, vec![("x-a", "b")], theirs].concat())
    };
    vec![
        twice(":method", "POST"),
        twice(":path", "/v1/checkout-sessions/scs-other"),
        twice(":scheme", "https"),
        twice(":authority", "elsewhere"),
        twice(":status", "200"),
        twice(":foo", "bar"),
        late(":path"),
        late(":authority"),
        late(":method"),
        but(path, ":method", None),
        but(path, ":path", None),
        but(path, ":scheme", None),
        but(path, ":path", Some("")),
        but(path, ":path", Some("*")),
        but(path, ":path", Some("v1/checkout-sessions/scs-1")),
        but(path, ":path", Some("http://gateway/v1/checkout-sessions/scs-1")),
    ]
}

fn authorities(path: &str) -> Vec<Defect<'_>> {
    let hosts = |hosts: Fields<'static>| {
        let mut defect = but(path, ":authority", None);
        defect.fields.extend(hosts);
        Defect { name: "host", ..defect }
    };
    vec![
        but(path, ":authority", None),
        but(path, ":authority", Some("")),
        but(path, ":authority", Some("somebody@gateway")),
        but(path, ":authority", Some("gate way")),
        but(path, ":authority", Some("gateway/path")),
        but(path, ":authority", Some("gateway:80a")),
        with(path, "host", "elsewhere"),
        with(path, "host", ""),
        hosts(vec![("host", "")]),
        hosts(vec![("host", "gate way")]),
        hosts(vec![("host", "gateway"), ("host", "gateway")]),
        hosts(vec![("host", "gateway"), ("host", "elsewhere")]),
    ]
}

fn connection_fields(path: &str) -> Vec<Defect<'_>> {
    vec![
        with(path, "connection", "close"),
        with(path, "connection", "monime-space-id"),
        with(path, "transfer-encoding", "chunked"),
        with(path, "transfer-encoding", "identity"),
        with(path, "upgrade", "websocket"),
        with(path, "keep-alive", "timeout=5"),
        with(path, "proxy-connection", "keep-alive"),
        with(path, "te", "gzip"),
        with(path, "te", "trailers, gzip"),
        with(path, "expect", "100-continue"),
        with(path, "expect", "tea"),
    ]
}

fn names_and_values(path: &str) -> Vec<Defect<'_>> {
    vec![
        with(path, "X-A", "b"),
        with(path, "Host", "gateway"),
        with(path, "x a", "b"),
        with(path, "x:a", "b"),
        with(path, "", "b"),
        with(path, "x-a\r\n", "b"),
        with(path, "x-a", "b\r\nc: d"),
        with(path, "x-a", "b\nc"),
        with(path, "x-a", "b\rc"),
        with(path, "x-a", "b\0c"),
        with(path, "x-a", "b\x01c"),
    ]
}

fn bodies(path: &str) -> Vec<Defect<'_>> {
    let long = |length, body| Defect { body, ..with(path, "content-length", length) };
    vec![
        long("5", None),
        long("5", Some(b"abc")),
        long("5", Some(b"abcdefg")),
        long("0", Some(b"abc")),
        long("3", Some(b"abc")),
        long("+3", Some(b"abc")),
        long("3, 3", Some(b"abc")),
        long("-1", None),
        long("99999999999999999999", None),
        Defect { body: Some(b"abc"), ..defect("a body", lookup(path)) },
        Defect { body: Some(b"abc"), ..but(path, ":method", Some("HEAD")) },
        defect("two lengths", [lookup(path), vec![("content-length", "0"), ("content-length", "5")]].concat()),
    ]
}

/// Whether this is a refusal as HTTP/2 has them: a status with an envelope, or a reset of the stream.
fn refused(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Answer { status, reason } => {
            // What answers a HEAD has no envelope.
            (matches!(status, 400 | 413 | 417 | 431 | 501) && reason.starts_with("gateway_"))
                || (*status == 400 && reason.is_empty())
        }
        Outcome::Reset(code) => *code == PROTOCOL_ERROR,
        // Names and values that HTTP/2 does not have are taken for a broken connection.
        Outcome::Gone(code) => *code == Some(PROTOCOL_ERROR),
    }
}

async fn refused_and_sent_nowhere(kind: fn(&str) -> Vec<Defect<'_>>) {
    let mut wrong = Vec::new();
    for way in HTTP2 {
        let ground = Ground::on(way).await;
        let kept = ground.kept().await;
        let (fresh, calls) = (ground.fresh(), ground.gateway.calls());
        let (mut peer, mut stream) = (ground.place.peer().await, 1);
        for path in [&kept, &fresh] {
            for defect in kind(path) {
                let end = if defect.body.is_none() { END_STREAM } else { 0 };
                peer.send(&headers(stream, &defect.fields, end)).await;
                if let Some(body) = defect.body {
                    peer.send(&frame(DATA, END_STREAM, stream, body)).await;
                }
                let outcome = peer.outcome(stream).await;
                peer.ask(stream + 2, &kept).await;
                let beside = peer.outcome(stream + 2).await;
                let goes_on = beside.status() == Some(200) || matches!(outcome, Outcome::Gone(_));
                if !refused(&outcome) || !goes_on {
                    let shown = defect.fields.iter().skip(1);
                    wrong.push(format!(
                        "{way:?} {} {:?}: {outcome:?}, {beside:?}",
                        defect.name,
                        shown.collect::<Vec<_>>()
                    ));
                }
                stream += 4;
                if matches!(beside, Outcome::Gone(_)) {
                    (peer, stream) = (ground.place.peer().await, 1);
                }
            }
        }
        assert_eq!(ground.gateway.calls(), calls, "nothing is sent to Monime: {wrong:#?}");
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[tokio::test]
async fn tunnels_over_http2_are_refused_and_sent_nowhere() {
    refused_and_sent_nowhere(methods).await;
}

#[tokio::test]
async fn pseudo_fields_that_are_missing_doubled_or_late_are_refused_and_sent_nowhere() {
    refused_and_sent_nowhere(pseudo_fields).await;
}

#[tokio::test]
async fn a_request_over_http2_without_exactly_one_good_authority_is_refused_and_sent_nowhere() {
    refused_and_sent_nowhere(authorities).await;
}

#[tokio::test]
async fn fields_about_the_connection_are_refused_over_http2_and_sent_nowhere() {
    refused_and_sent_nowhere(connection_fields).await;
}

#[tokio::test]
async fn names_and_values_that_http1_would_split_are_refused_over_http2_and_sent_nowhere() {
    refused_and_sent_nowhere(names_and_values).await;
}

#[tokio::test]
async fn a_lookup_over_http2_with_a_body_or_a_wrong_length_is_refused_and_sent_nowhere() {
    refused_and_sent_nowhere(bodies).await;
}

#[tokio::test]
async fn what_is_unusual_and_right_over_http2_is_answered() {
    for way in HTTP2 {
        let ground = Ground::on(way).await;
        let kept = ground.kept().await;
        let mut peer = ground.place.peer().await;
        let plain = lookup(&kept);
        let by_host: Fields<'_> = but(&kept, ":authority", None).fields;
        let cases = [
            [plain.clone(), vec![("te", "trailers")]].concat(),
            [plain.clone(), vec![("host", "gateway")]].concat(),
            [plain.clone(), vec![("content-length", "0")]].concat(),
            [by_host, vec![("host", "gateway")]].concat(),
        ];
        for (number, fields) in (0..).zip(cases) {
            peer.send(&headers(2 * number + 1, &fields, END_STREAM)).await;
            assert_eq!(peer.outcome(2 * number + 1).await.status(), Some(200), "{way:?} {fields:?}");
        }
    }
}

#[tokio::test]
async fn the_limits_of_http2_are_announced() {
    for way in HTTP2 {
        let ground = Ground::on(way).await;
        let mut peer = ground.place.peer().await;
        let settings = peer.until(|frame| frame.kind == SETTINGS).await;
        let said = |id: u8| {
            let mut found = settings.payload.chunks(6).filter(|setting| setting[..2] == [0, id]);
            found.next_back().map(|setting| number(&setting[2..]))
        };
        assert_eq!((said(3), said(6)), (Some(100), Some(16 * 1024)), "{way:?}: streams, header list");
        assert!(matches!(said(4), None | Some(65_535 | 65_536)), "{way:?}: {:?}", said(4));
        assert_eq!(said(8).unwrap_or_default(), 0, "no other protocol inside");
        let window = peer.until(|frame| frame.kind == WINDOW_UPDATE).await;
        assert_eq!(65_535 + number(&window.payload), 1 << 20, "{way:?}: the connection's window");
    }
}

/// A Monime that answers once its gate is open.
async fn held() -> Upstream {
    let told = answer("200 OK", "", &session("scs-1", "completed"));
    Upstream::playing(vec![Step::Gate, Step::Send(told)]).await
}

#[tokio::test]
async fn a_hundred_streams_are_served_at_a_time_and_one_more_is_refused() {
    for way in HTTP2 {
        let monime = held().await;
        let ground = Ground::before(way, &monime.base_url).await;
        let mut peer: Peer = ground.place.peer().await;
        peer.until(|frame| frame.kind == SETTINGS).await;
        let streams: Vec<u32> = (0..101).map(|number| 2 * number + 1).collect();
        for stream in &streams[..100] {
            peer.ask(*stream, &ground.fresh()).await;
        }
        monime.hears(100).await;
        peer.ask(streams[100], &ground.fresh()).await;
        assert_eq!(peer.outcome(streams[100]).await, Outcome::Reset(REFUSED_STREAM), "{way:?}");
        monime.open_the_gate();
        for stream in &streams[..100] {
            assert!(peer.outcome(*stream).await.status().is_some(), "{way:?}");
        }
        assert_eq!(monime.heard().len(), 100);
    }
}

#[tokio::test]
async fn streams_under_way_are_answered_while_it_drains() {
    for way in HTTP2 {
        let monime = held().await;
        let mut ground = Ground::before(way, &monime.base_url).await;
        let mut peer = ground.place.peer().await;
        let streams = [1, 3, 5];
        for stream in streams {
            peer.ask(stream, &ground.fresh()).await;
        }
        monime.hears(3).await;
        let drained = async {
            let told = peer.until(|frame| frame.kind == GOAWAY).await;
            assert_eq!(number(&told.payload[4..]), NO_ERROR, "{way:?}");
            monime.open_the_gate();
            for stream in streams {
                assert!(peer.outcome(stream).await.status().is_some(), "{way:?}");
            }
            assert_eq!(peer.end().await, Some(NO_ERROR), "{way:?}");
        };
        let (ended, ()) = tokio::join!(ground.gateway.stop(), drained);
        assert!(matches!(ended, Ended::Drained), "{way:?}: {ended:?}");
    }
}
