//! Floods over HTTP/2, each cheap to send: the connection ends before it costs much, little of it reaches Monime, and
//! other connections are served meanwhile. What floods weigh is in `weight`.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, GOAWAY, HEADERS, PING, PREFACE, RST_STREAM,
    SETTINGS, WINDOW_UPDATE, block, frame, headers, lookup, number, request, reset,
};
use crate::ground::{Ground, HTTP2, Io};
use crate::support::gateway::PATIENCE;
use crate::support::upstream::{Step, Upstream};

/// How often a flood is repeated if nobody ends it.
const MANY: u32 = 10_000;
/// What the streams of a flood may cost until it is ended.
const FEW: usize = 300;

/// What makes the gateway reset a stream, by name.
type Trick<'a> = (&'a str, &'a dyn Fn(u32) -> Vec<u8>);

/// How a flood ended.
struct Ended {
    /// The server ended the connection while it lasted.
    early: bool,
    /// What it ended it with.
    code: Option<u32>,
    /// How many streams it reset.
    resets: usize,
    /// How many bytes it took.
    taken: usize,
}

/// Begins a connection, sends `pieces` for as long as they are taken, and counts what comes back.
async fn flood(io: Io, pieces: impl Iterator<Item = Vec<u8>>) -> Ended {
    let (mut reader, mut writer) = tokio::io::split(io);
    let (mut text, mut taken) = (Vec::new(), 0);
    let saying = async {
        let start = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
        for piece in std::iter::once(start).chain(pieces) {
            if writer.write_all(&piece).await.is_err() {
                return;
            }
            taken += piece.len();
        }
        let _ = writer.flush().await;
    };
    let hearing = async { while reader.read_buf(&mut text).await.is_ok_and(|read| read > 0) {} };
    let early = tokio::select! {
        () = hearing => true,
        // Whoever is not ended by then has been served to the end.
        () = async { saying.await; timeout(PATIENCE / 40, std::future::pending::<()>()).await.ok(); } => false,
    };
    let (mut resets, mut code, mut rest) = (0, None, &text[..]);
    while let Some((head, after)) = rest.split_first_chunk::<9>() {
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let Some((payload, after)) = after.split_at_checked(length) else { break };
        resets += usize::from(head[3] == RST_STREAM);
        code = if head[3] == GOAWAY { Some(number(&payload[4..])) } else { code };
        rest = after;
    }
    Ended { early: early || code.is_some(), code, resets, taken }
}

/// Streams by their number, from the first on.
fn streams() -> impl Iterator<Item = u32> {
    (0..MANY).map(|number| 2 * number + 1)
}

#[tokio::test]
async fn asking_and_taking_it_back_over_and_over_ends_the_connection() {
    for way in HTTP2 {
        let ground = Ground::on(way).await;
        let calls = ground.gateway.calls();
        let pieces = streams().map(|stream| [request(stream, &ground.fresh()), reset(stream)].concat());
        let ended = flood(ground.place.connect().await, pieces).await;
        assert_eq!(ended.code, Some(ENHANCE_YOUR_CALM), "{way:?}");
        let reached = ground.gateway.calls() - calls;
        assert!(reached < FEW as u64, "{way:?}: {reached} reached Monime");
        ground.kept().await;
    }
}

/// Each is taken back only once it is under way, so that there are never many for the library to count.
#[tokio::test]
async fn leaving_what_is_under_way_over_and_over_ends_the_connection() {
    const AT_A_TIME: usize = 10;
    for way in HTTP2 {
        let monime = Upstream::playing(vec![Step::Gate]).await;
        let ground = Ground::before(way, &monime.base_url).await;
        let mut peer = ground.place.peer().await;
        let streams: Vec<u32> = streams().take(FEW).collect();
        let mut ended = false;
        for (round, streams) in streams.chunks(AT_A_TIME).enumerate() {
            for stream in streams {
                peer.ask(*stream, &ground.fresh()).await;
            }
            tokio::select! {
                () = monime.hears((round + 1) * AT_A_TIME) => {}
                _ = peer.end() => { ended = true; break; }
            }
            let resets: Vec<u8> = streams.iter().flat_map(|stream| reset(*stream)).collect();
            peer.send(&resets).await;
        }
        assert!(ended, "{way:?}: it went on and on");
    }
}

#[tokio::test]
async fn making_the_gateway_reset_streams_over_and_over_ends_the_connection() {
    let overflow = |stream| frame(WINDOW_UPDATE, 0, stream, &0x7fff_ffff_u32.to_be_bytes());
    let zero = |stream| frame(WINDOW_UPDATE, 0, stream, &[0; 4]);
    let late = |stream| frame(DATA, END_STREAM, stream, b"late");
    let again = |stream| headers(stream, &lookup("/again"), END_STREAM);
    let tricks: [Trick<'_>; 4] =
        [("overflow", &overflow), ("zero", &zero), ("late data", &late), ("late headers", &again)];
    for way in HTTP2 {
        // Nothing is answered while it lasts, so that every stream is still there to be reset.
        let monime = Upstream::playing(vec![Step::Gate]).await;
        for (name, trick) in tricks {
            let ground = Ground::before(way, &monime.base_url).await;
            let before = monime.heard().len();
            let pieces = streams().map(|stream| [request(stream, &ground.fresh()), trick(stream)].concat());
            let ended = flood(ground.place.connect().await, pieces).await;
            assert!(ended.early, "{way:?} {name}: it went on and on, {} resets", ended.resets);
            assert!(ended.resets < FEW, "{way:?} {name}: {} resets", ended.resets);
            let reached = monime.heard().len() - before;
            assert!(reached < FEW, "{way:?} {name}: {reached} reached Monime");
        }
    }
}

#[tokio::test]
async fn malformed_requests_over_and_over_end_the_connection() {
    for way in HTTP2 {
        let ground = Ground::on(way).await;
        let path = ground.kept().await;
        let malformed = [lookup(&path), vec![("X-A", "b")]].concat();
        let ended = flood(ground.place.connect().await, streams().map(|stream| headers(stream, &malformed, 1))).await;
        assert!(ended.early && ended.resets < FEW, "{way:?}: {} resets", ended.resets);
    }
}

#[tokio::test]
async fn a_head_that_never_ends_ends_the_connection() {
    let field = block(&[("x-a", &"b".repeat(4000))]);
    for way in HTTP2 {
        let ground = Ground::on(way).await;
        let calls = ground.gateway.calls();
        let path = ground.fresh();
        for (name, piece, most) in [
            ("large", frame(CONTINUATION, 0, 1, &field.repeat(4)), 4 << 20),
            ("small", frame(CONTINUATION, 0, 1, &block(&[("a", "b")])), 4 << 20),
            ("empty", frame(CONTINUATION, 0, 1, &[]), 1 << 20),
        ] {
            let start = frame(HEADERS, END_STREAM, 1, &block(&lookup(&path)));
            let pieces = std::iter::once(start).chain(std::iter::repeat_n(piece.repeat(10), 100_000));
            let ended = flood(ground.place.connect().await, pieces).await;
            assert!(ended.early, "{way:?} {name}: it went on and on");
            assert!(ended.taken < most, "{way:?} {name}: {} bytes were taken", ended.taken);
        }
        assert_eq!(ground.gateway.calls(), calls, "nothing is sent to Monime");
    }
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused_and_other_streams_go_on() {
    for way in HTTP2 {
        let ground = Ground::on(way).await;
        let (path, fresh) = (ground.kept().await, ground.fresh());
        let calls = ground.gateway.calls();
        let mut peer = ground.place.peer().await;
        let large = block(&[lookup(&fresh), vec![("x-a", &"b".repeat(15_000)), ("x-b", &"b".repeat(3000))]].concat());
        let (first, second) = large.split_at(16_000);
        peer.send(&frame(HEADERS, END_STREAM, 1, first)).await;
        peer.send(&frame(CONTINUATION, END_HEADERS, 1, second)).await;
        let outcome = peer.outcome(1).await;
        assert!(outcome.status().is_none_or(|status| status == 431), "{way:?}: {outcome:?}");
        peer.ask(3, &path).await;
        assert_eq!(peer.outcome(3).await.status(), Some(200), "{way:?}");
        assert_eq!(ground.gateway.calls(), calls);
    }
}

/// Sends this for as long as it is taken, and reads nothing; how many bytes were taken.
async fn taken_unread(mut io: Io, piece: &[u8], most: usize) -> usize {
    let start = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    io.write_all(&start).await.unwrap();
    let mut taken = 0;
    // What is not taken for that long is not taken any more.
    while taken < most && timeout(PATIENCE / 20, io.write_all(piece)).await.is_ok_and(|sent| sent.is_ok()) {
        taken += piece.len();
    }
    taken
}

#[tokio::test]
async fn answers_that_nobody_reads_are_not_piled_up() {
    // What the kernel keeps on both sides of a connection on loopback is below this.
    const KERNEL: usize = 16 << 20;
    for way in HTTP2 {
        let ground = Ground::on(way).await;
        for (name, piece) in [("PING", frame(PING, 0, 0, &[0; 8])), ("SETTINGS", frame(SETTINGS, 0, 0, &[]))] {
            let io = ground.place.connect().await;
            let taken = taken_unread(io, &piece.repeat(4000), 2 * KERNEL).await;
            assert!(taken < KERNEL, "{way:?} {name}: {taken} bytes were taken");
        }
    }
}
