//! Lengths that are wrong or said twice, and bytes that belong to no answer: none is ever taken for the answer to
//! somebody else's question.

use super::bodies::gzip;
use super::support::upstream::{Step, answer, session};
use super::{ALL, DEFAULT_TOKEN, ID, Stage, is_refused};

fn head(fields: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{fields}\r\n")
}

/// A session's answer in one chunk, up to its last one.
fn chunked() -> String {
    let body = session(ID, "completed");
    format!("{}{:x}\r\n{body}\r\n", head("Transfer-Encoding: chunked\r\n"), body.len())
}

#[tokio::test]
async fn lengths_that_contradict_each_other_or_are_none_are_refused() {
    let body = session(ID, "completed");
    let length = body.len();
    for (what, fields) in [
        ("two lengths", format!("Content-Length: {length}\r\nContent-Length: {}\r\n", length - 1)),
        ("two lengths in a line", format!("Content-Length: {length}, {}\r\n", length - 1)),
        ("a signed length", format!("Content-Length: +{length}\r\n")),
        ("a negative length", "Content-Length: -1\r\n".to_owned()),
        ("a length in hex", format!("Content-Length: {length:#x}\r\n")),
        ("a length beyond numbers", "Content-Length: 99999999999999999999999999\r\n".to_owned()),
        ("an empty length", "Content-Length:\r\n".to_owned()),
        ("white space before a colon", format!("Content-Length : {length}\r\n")),
        ("a folded line", format!("X: y\r\n z\r\nContent-Length: {length}\r\n")),
        ("a NUL", format!("X: a\0b\r\nContent-Length: {length}\r\n")),
        ("a bare CR", format!("X: a\rSet-Cookie: b\r\nContent-Length: {length}\r\n")),
        ("a field without a name", format!(": x\r\nContent-Length: {length}\r\n")),
        ("a field without a colon", format!("nonsense\r\nContent-Length: {length}\r\n")),
    ] {
        is_refused(what, head(&fields) + &body).await;
    }
}

#[tokio::test]
async fn chunks_that_are_none_are_refused() {
    let begun = head("Transfer-Encoding: chunked\r\n");
    for (what, rest) in [
        ("no size", "\r\n{}\r\n0\r\n\r\n"),
        ("a size that is none", "zz\r\n{}\r\n0\r\n\r\n"),
        ("a negative size", "-2\r\n{}\r\n0\r\n\r\n"),
        ("a prefixed size", "0x2\r\n{}\r\n0\r\n\r\n"),
        ("a size beyond numbers", "fffffffffffffffff\r\n{}\r\n0\r\n\r\n"),
        ("a chunk beyond its size", "2\r\n{}}\r\n0\r\n\r\n"),
        ("a chunk ended by LF alone", "2\r\n{}\n0\r\n\r\n"),
        ("a size with a bare CR", "2\r{}\r\n0\r\n\r\n"),
    ] {
        is_refused(what, format!("{begun}{rest}")).await;
    }
}

/// Cut short while the rest of it was promised, by an orderly end.
#[tokio::test]
async fn an_answer_that_ends_early_is_refused_however_its_end_was_announced() {
    let body = session(ID, "completed");
    for begun in [head(&format!("Content-Length: {}\r\n", body.len() + 1)) + &body, chunked()] {
        for end in [Step::Close, Step::Reset] {
            for ask in ALL {
                let stage = Stage::with(vec![Step::Send(begun.clone().into_bytes()), end.clone()], &[]).await;
                let told = stage.shop.ask(ask).await;
                assert!(told.is_refusal(), "{ask:?}: {told:?}");
                stage.comes_to_its_senses("cut short", 2).await;
            }
        }
    }
}

/// The classic of response smuggling: what follows an answer waits on a connection for whoever asks next.
#[tokio::test]
async fn bytes_behind_an_answer_are_never_the_next_one_and_end_the_connection() {
    let forged = String::from_utf8(answer("200 OK", "", &session(ID, "cancelled"))).unwrap();
    let body = "{}";
    for (what, first) in [
        ("a second answer", format!("{}{body}{forged}", head("Content-Length: 2\r\n"))),
        ("behind no body", format!("HTTP/1.1 204 No Content\r\n\r\n{forged}")),
        ("a 204 with a length", format!("HTTP/1.1 204 No Content\r\nContent-Length: {}\r\n\r\n{forged}", forged.len())),
        ("a 304 with a length", format!("HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n{forged}")),
        ("a 205 with a body", format!("HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n{forged}")),
        (
            "behind the last chunk",
            format!("{}2\r\n{body}\r\n0\r\n\r\n{forged}", head("Transfer-Encoding: chunked\r\n")),
        ),
        (
            "behind chunks and a length",
            format!("{}2\r\n{body}\r\n0\r\n\r\n{forged}", head("Content-Length: 2\r\nTransfer-Encoding: chunked\r\n")),
        ),
        ("half an answer", format!("{}{body}HTTP/1.1 200 O", head("Content-Length: 2\r\n"))),
    ] {
        for ask in ALL {
            let stage = Stage::with(vec![Step::Send(first.clone().into_bytes())], &[]).await;
            stage.shop.ask(ask).await;
            stage.upstream.is_left_by(1).await;
            stage.comes_to_its_senses(&format!("{what}: {ask:?}"), 2).await;
        }
    }
}

#[tokio::test]
async fn a_length_beside_chunks_or_where_there_is_no_body_is_refused() {
    let body = session(ID, "completed");
    let chunks = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let both = format!("Content-Length: {}\r\nTransfer-Encoding: chunked\r\n", chunks.len());
    is_refused("chunks that are measured", head(&both) + &chunks).await;
    for (what, fields) in [("a length", "Content-Length: 2\r\n"), ("chunks", "Transfer-Encoding: chunked\r\n")] {
        for ask in ALL {
            let bytes = format!("HTTP/1.1 204 No Content\r\n{fields}\r\n");
            let stage = Stage::with(vec![Step::Send(bytes.into_bytes())], &[]).await;
            let told = stage.shop.ask(ask).await;
            assert!(told.is_refusal(), "{what}: {ask:?}: {told:?}");
            // Whatever comes on the first connection now, it comes to nobody.
            stage.comes_to_its_senses(&format!("nothing, and {what}: {ask:?}"), 2).await;
        }
    }
}

#[tokio::test]
async fn a_coding_of_the_transfer_that_is_not_chunks_alone_is_refused() {
    let body = session(ID, "completed");
    let coded = gzip(body.replace("[]", &format!("[\"{DEFAULT_TOKEN}\"]")).as_bytes());
    let chunks = [format!("{:x}\r\n", coded.len()).as_bytes(), &coded, b"\r\n0\r\n\r\n"].concat();
    for fields in [
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: gzip\r\n",
        "Transfer-Encoding: chunked, gzip\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: \x0bchunked\r\n",
        "Transfer-Encoding: x\r\nContent-Length: 2\r\n",
    ] {
        is_refused(fields, [head(fields).as_bytes(), &chunks].concat()).await;
    }
}

#[tokio::test]
async fn extensions_and_trailers_of_chunks_are_nobodys() {
    let body = session(ID, "completed");
    let bytes = format!(
        "{}{:x};ext=\"v\"\r\n{body}\r\n0;last\r\nMonime-Request-Id: forged\r\nSet-Cookie: a=b\r\n\r\n",
        head("Transfer-Encoding: chunked\r\nTrailer: Monime-Request-Id\r\n"),
        body.len()
    );
    for ask in ALL {
        let stage = Stage::with(vec![Step::Send(bytes.clone().into_bytes())], &[]).await;
        let told = stage.shop.ask(ask).await;
        assert!(told.status == 200 && told.whole && told.body.contains(&body), "{ask:?}: {told:?}");
        let said = format!("{}{}", told.head, told.body);
        for piece in ["forged", "ext=", "set-cookie", "Set-Cookie", "trailer", "last"] {
            assert!(!said.contains(piece), "{piece}: {ask:?}: {told:?}");
        }
    }
}

#[tokio::test]
async fn a_connection_that_answered_about_another_session_is_not_used_again() {
    let other = answer("200 OK", "", &session("scs-another", "completed"));
    let stage = Stage::with(vec![Step::Send(other)], &[]).await;
    let told = stage.shop.ask(super::Ask::Lookup).await;
    assert!(told.is_refusal(), "{told:?}");
    stage.comes_to_its_senses("an answer behind another", 2).await;
}
