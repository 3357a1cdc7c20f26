//! Bodies that are longer than anything of Monime's, as sent or as decoded, and codings that nobody asked for.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::support::upstream::{Step, answer, session};
use super::{ALL, Ask, ID, Stage, is_refused};

pub(super) fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut coder = GzEncoder::new(Vec::new(), Compression::default());
    coder.write_all(plain).unwrap();
    coder.finish().unwrap()
}

/// A whole answer with this body, and a line that says how it is coded.
pub(super) fn coded(codings: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head =
        format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n{codings}\r\n");
    [head.as_bytes(), body].concat()
}

#[tokio::test]
async fn bombs_of_gzip_are_refused_whatever_they_are_made_of() {
    let body = session(ID, "completed");
    let spaces = gzip(&vec![b' '; 2 << 20]);
    for (what, bytes) in [
        ("one member", spaces.clone()),
        ("many members", spaces.repeat(100)),
        ("a session behind them", [spaces, gzip(body.as_bytes())].concat()),
        ("many small members and a session", [gzip(&[b' '; 1024]).repeat(1100), gzip(body.as_bytes())].concat()),
        ("one in another", gzip(&gzip(body.as_bytes()))),
        ("a broken end", gzip(body.as_bytes())[..40].to_vec()),
        ("a broken sum", [&gzip(body.as_bytes())[..gzip(body.as_bytes()).len() - 8], &[0; 8]].concat()),
        ("something behind it", [&gzip(body.as_bytes())[..], b"{}"].concat()),
    ] {
        for ask in ALL {
            let stage = Stage::with(vec![Step::Send(coded("Content-Encoding: gzip\r\n", &bytes))], &[]).await;
            let told = stage.shop.ask(ask).await;
            assert!(told.is_refusal() && told.status == 502, "{what}: {ask:?}: {told:?}");
        }
    }
}

#[tokio::test]
async fn codings_that_were_not_asked_for_are_refused() {
    let body = session(ID, "completed");
    let twice = gzip(&gzip(body.as_bytes()));
    for (codings, bytes) in [
        ("Content-Encoding: deflate\r\n", body.as_bytes()),
        ("Content-Encoding: br\r\n", body.as_bytes()),
        ("Content-Encoding: zstd\r\n", body.as_bytes()),
        ("Content-Encoding: compress\r\n", body.as_bytes()),
        ("Content-Encoding: gzip, gzip\r\n", &twice),
        ("Content-Encoding: gzip\r\nContent-Encoding: gzip\r\n", &twice),
        ("Content-Encoding: identity\r\nContent-Encoding: gzip\r\n", &twice),
        ("Content-Encoding: identity, br\r\n", body.as_bytes()),
        ("Content-Encoding: \r\n", body.as_bytes()),
    ] {
        for ask in ALL {
            let stage = Stage::with(vec![Step::Send(coded(codings, bytes))], &[]).await;
            let told = stage.shop.ask(ask).await;
            assert!(told.is_refusal() && told.status == 502, "{codings}: {ask:?}: {told:?}");
        }
    }
}

#[tokio::test]
async fn a_coded_answer_is_told_and_kept_in_plain_bytes() {
    let body = session(ID, "completed");
    let stage = Stage::with(vec![Step::Send(coded("Content-Encoding: gzip\r\n", &gzip(body.as_bytes())))], &[]).await;
    for cached in ["cache-status: monigate; fwd=miss; stored", "cache-status: monigate; hit; "] {
        let told = stage.shop.ask(Ask::Lookup).await;
        assert!(told.status == 200 && told.whole && told.body == body && told.has(cached), "{told:?}");
        assert!(!told.has("content-encoding"), "{told:?}");
    }
}

#[tokio::test]
async fn a_body_of_fifty_megabytes_is_refused_at_its_announcement_or_cut_off_at_its_bound() {
    let long = 50_000_000;
    let begun = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {long}\r\n\r\n{{");
    is_refused("announced", begun).await;
    let head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunk = [b"10000\r\n", &[b' '; 0x10000][..], b"\r\n"].concat();
    for (ask, most) in [(Ask::Lookup, 0), (Ask::Read, 8 << 20), (Ask::Write, 0)] {
        let stage = Stage::with(vec![Step::Send(head.to_vec()), Step::Flood(chunk.clone())], &[]).await;
        let told = stage.shop.ask(ask).await;
        let spaces = told.body.bytes().filter(|byte| *byte == b' ').count();
        assert!(told.is_refusal() && spaces <= most.max(1000), "{ask:?}: {spaces}: {told:?}");
        stage.upstream.is_left_by(1).await;
        stage.comes_to_its_senses("in chunks", 2).await;
    }
}

#[tokio::test]
async fn the_token_does_not_come_back_in_pieces_coded_or_behind_the_last_chunk() {
    let token = super::DEFAULT_TOKEN;
    let body = session(ID, "completed").replace("[]", &format!("[\"{token}\"]"));
    let chunks: String = body.chars().map(|one| format!("1\r\n{one}\r\n")).collect();
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (what, bytes) in [
        ("in a body", answer("200 OK", "", &body)),
        ("in a head", answer("200 OK", &format!("Monime-Request-Id: x{token}x\r\n"), "{}")),
        ("in pieces", format!("{head}{chunks}0\r\n\r\n").into_bytes()),
        ("coded", coded("Content-Encoding: gzip\r\n", &gzip(body.as_bytes()))),
    ] {
        for ask in ALL {
            // That it is in nothing that is told is seen to wherever anything is asked.
            let told = Stage::with(vec![Step::Send(bytes.clone())], &[]).await.shop.ask(ask).await;
            assert!(told.is_refusal(), "{what}: {ask:?}: {told:?}");
        }
    }
    let behind = format!("{head}2\r\n{{}}\r\n0\r\nMonime-Request-Id: {token}\r\n\r\n");
    for ask in ALL {
        Stage::with(vec![Step::Send(behind.clone().into_bytes())], &[]).await.shop.ask(ask).await;
    }
}
