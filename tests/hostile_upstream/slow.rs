//! Answers that never end: a deadline or a bound ends them for the caller, and the connection they came on is closed.

use futures_util::future::join_all;

use super::support::upstream::Step;
use super::{Ask, SHORT, Stage, is_ended};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";

fn send(text: &str) -> Step {
    Step::Send(text.as_bytes().to_vec())
}

/// Its caller is told 504; a body that streams has begun and breaks off instead.
async fn times_out(what: &str, steps: Vec<Step>) {
    for (ask, reason) in [
        (Ask::Lookup, "gateway_upstream_timeout"),
        (Ask::Read, "gateway_upstream_timeout"),
        (Ask::Write, "gateway_outcome_unknown"),
    ] {
        let stage = Stage::with(steps.clone(), &SHORT).await;
        let told = stage.shop.ask(ask).await;
        let streams = ask == Ask::Read && told.status == 200 && !told.whole;
        assert!(streams || (told.status == 504 && told.body.contains(reason)), "{what}: {ask:?}: {told:?}");
        stage.upstream.is_left_by(1).await;
        stage.comes_to_its_senses(&format!("{what}: {ask:?}"), 2).await;
    }
}

#[tokio::test]
async fn a_drip_of_a_head_or_a_body_ends_at_the_deadline_and_so_does_its_connection() {
    let fields = format!("{OK}{}", "X-More: and more\r\n".repeat(90));
    join_all([
        times_out("a status line", vec![Step::Drip(b"HTTP/1.1 200 O".to_vec())]),
        times_out("a head", vec![Step::Drip(fields.into_bytes())]),
        times_out(
            "a body of a length",
            vec![send(&format!("{OK}Content-Length: 9999\r\n\r\n")), Step::Drip(b" ".into())],
        ),
        times_out(
            "a body in chunks",
            vec![send(&format!("{OK}Transfer-Encoding: chunked\r\n\r\n")), Step::Drip(b"1\r\n \r\n".into())],
        ),
        times_out(
            "a size of a chunk",
            vec![send(&format!("{OK}Transfer-Encoding: chunked\r\n\r\n")), Step::Drip(b"0".into())],
        ),
        times_out("a body to the end", vec![send(&format!("{OK}\r\n")), Step::Drip(b" ".into())]),
        times_out(
            "trailers",
            vec![
                send(&format!("{OK}Transfer-Encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\n")),
                Step::Drip(b"X: y\r\n".into()),
            ],
        ),
        times_out("interim answers", vec![Step::Drip(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n".into())]),
    ])
    .await;
}

#[tokio::test]
async fn a_flood_without_end_is_cut_off_and_its_connection_closed() {
    let ok = || send(OK);
    let chunked = || send(&format!("{OK}Transfer-Encoding: chunked\r\n\r\n"));
    let filler = || vec![b'x'; 1000];
    join_all([
        is_ended("a status line", vec![send("HTTP/1.1 200 "), Step::Flood(filler())]),
        is_ended("header fields", vec![ok(), Step::Flood(b"X-More: and more\r\n".into())]),
        is_ended("a field's name", vec![ok(), Step::Flood(filler())]),
        is_ended("a field's value", vec![ok(), send("X: "), Step::Flood(filler())]),
        is_ended("100s", vec![Step::Flood(b"HTTP/1.1 100 Continue\r\n\r\n".into())]),
        is_ended("103s", vec![Step::Flood(b"HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\n\r\n".into())]),
        is_ended("a body to the end", vec![send(&format!("{OK}\r\n")), Step::Flood(vec![b' '; 1000])]),
        is_ended("chunks", vec![chunked(), Step::Flood(b"4\r\n    \r\n".into())]),
        is_ended("a chunk's size", vec![chunked(), Step::Flood(b"0".repeat(1000))]),
        is_ended("a chunk's extension", vec![chunked(), send("1;"), Step::Flood(filler())]),
        is_ended("extensions", vec![chunked(), Step::Flood([b"1;", &filler()[..], b"\r\n \r\n"].concat())]),
        is_ended("trailers", vec![chunked(), send("2\r\n{}\r\n0\r\n"), Step::Flood(b"X-More: and more\r\n".into())]),
    ])
    .await;
}
