//! What callers weigh: the resident memory of the real program under many idle connections and under floods.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, PREFACE, PRIORITY, SETTINGS, block, frame, headers,
    lookup, request, reset,
};
use crate::ground::{ALL, Io, Way};
use crate::running::Running;
use crate::support::client::get;
use crate::support::gateway::PATIENCE;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
/// What an idle connection may cost.
const IDLE: u64 = 48 * KIB;
/// What a flood may cost at its height.
const FLOOD: u64 = 32 * MIB;
/// How many connections are idle at a time, unless this variable says otherwise.
const MANY: usize = 2000;
const HOW_MANY: &str = "MONIGATE_IDLE_CONNECTIONS";
/// How many flood at a time, and how much each would send.
const FLOODERS: usize = 4;
const MOST: usize = 100 << 20;

#[expect(clippy::disallowed_methods, reason = "how much to do is said to a test by its environment")]
fn how_many() -> usize {
    std::env::var(HOW_MANY).map_or(MANY, |count| count.parse().unwrap())
}

#[tokio::test]
async fn an_idle_connection_costs_at_most_48_kib() {
    let count = how_many();
    for way in ALL {
        let running = Running::start(way, &["limits.timeouts.idle=10m"], 20_000).await;
        for _ in 0..20 {
            running.look_up().await;
        }
        let before = running.resident().0;
        let mut idle = Vec::new();
        for _ in 0..count {
            idle.push(running.connect().await);
        }
        let open = running.descriptors();
        let each = running.resident().0.saturating_sub(before) / count as u64;
        assert!(open > count, "{way:?}: they are all there: {open}");
        tell(&format!("{way:?}: {count} idle connections cost {each} bytes each"));
        assert!(each <= IDLE, "{way:?}: {each} bytes each");
    }
}

/// Sends a beginning, and then this over and over, for as long as it is taken.
async fn flood(io: Io, start: Vec<u8>, piece: Vec<u8>, most: usize) -> usize {
    let (mut reader, mut writer) = tokio::io::split(io);
    let mut taken = 0;
    let saying = async {
        if writer.write_all(&start).await.is_err() {
            return;
        }
        while taken < most && writer.write_all(&piece).await.is_ok() {
            taken += piece.len();
        }
    };
    let mut said = vec![0; 64 * 1024];
    let hearing = async { while reader.read(&mut said).await.is_ok_and(|read| read > 0) {} };
    let either = async {
        tokio::select! { () = saying => {} () = hearing => {} }
    };
    timeout(PATIENCE, either).await.expect("it is taken or refused");
    taken
}

/// Lets some flood at once until each has sent so much, and holds the program to its bound. What each could send.
async fn bounded(running: &Running, name: &str, start: &[u8], piece: &[u8], most: usize) -> Vec<usize> {
    let before = running.resident().0;
    let mut flooders = JoinSet::new();
    for _ in 0..FLOODERS {
        flooders.spawn(flood(running.place.connect().await, start.to_vec(), piece.to_vec(), most));
    }
    let taken = flooders.join_all().await;
    let grown = running.resident().1.saturating_sub(before);
    tell(&format!("{name}: {taken:?} bytes were taken, memory grew by {grown}"));
    assert!(grown < FLOOD, "{name}: memory grew by {grown}");
    running.look_up().await;
    taken
}

/// The same for what is to be refused: none of them comes to its end.
async fn refused(running: &Running, name: &str, start: &[u8], piece: &[u8]) {
    let taken = bounded(running, name, start, piece, MOST).await;
    assert!(taken.iter().all(|taken| *taken < MOST), "{name}: {taken:?} bytes were taken");
}

#[expect(clippy::print_stdout, reason = "figures, for who asks for them")]
fn tell(figure: &str) {
    println!("{figure}");
}

#[tokio::test]
async fn heads_without_end_are_refused_at_little_cost() {
    let running = Running::start(Way::Http1, &[], 4096).await;
    running.look_up().await;
    let start = format!("GET {} HTTP/1.1\r\nHost: gateway\r\n", running.path).into_bytes();
    let field = b"X-A: b\r\n".repeat(2000);
    let endless = [&start, &b"X-A: "[..]].concat();
    refused(&running, "a field without end", &endless, &[b'b'; 16_000]).await;
    refused(&running, "fields without end", &start, &field).await;
    refused(&running, "a name without end", &start, &[b'b'; 16_000]).await;
    refused(&running, "a target without end", b"GET /", &[b'b'; 16_000]).await;
    refused(&running, "a method without end", b"G", &[b'G'; 16_000]).await;
    refused(&running, "empty lines without end", b"", &b"\r\n".repeat(8000)).await;
    let sized = get(&running.path, "Content-Length: 999999999\r\n").into_bytes();
    refused(&running, "a body without end", &sized, &[b'b'; 16_000]).await;
    let chunked = get(&running.path, "Transfer-Encoding: chunked\r\n");
    for (name, chunk) in [("a chunk's size", "0"), ("an extension", "1;a=")] {
        let start = format!("{chunked}{chunk}").into_bytes();
        refused(&running, name, &start, &[b'0'; 16_000]).await;
    }
    let trailers = format!("{chunked}0\r\n").into_bytes();
    refused(&running, "trailers without end", &trailers, &field).await;
}

#[tokio::test]
async fn lists_of_fields_without_end_are_refused_over_http2_at_little_cost() {
    let running = Running::start(Way::Http2, &[], 4096).await;
    running.look_up().await;
    let greeting = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    let fields = lookup(&running.path);
    let begun = [&greeting[..], &frame(HEADERS, END_STREAM, 1, &block(&fields))].concat();
    let field = block(&[("x-a", &"b".repeat(4000))]).repeat(4);
    let continued = [frame(CONTINUATION, 0, 1, &field), frame(CONTINUATION, 0, 1, &[])].concat();
    refused(&running, "CONTINUATION", &begun, &continued).await;
    refused(&running, "empty CONTINUATION", &begun, &frame(CONTINUATION, 0, 1, &[]).repeat(1000)).await;

    // One large entry for the dynamic table, and then thousands of times its number.
    let entry = [&[0x40, 1, b'x', 0x7f, 0xa1, 0x1e][..], &[b'v'; 4000]].concat();
    let many = [block(&fields), entry, vec![0xbe; 12_000]].concat();
    let bombs: Vec<u8> =
        (0..500_u32).flat_map(|number| frame(HEADERS, END_STREAM | END_HEADERS, 2 * number + 1, &many)).collect();
    refused(&running, "one entry many times", &[greeting, bombs].concat(), &frame(PING, 0, 0, &[0; 8])).await;
}

#[tokio::test]
async fn floods_of_frames_weigh_little() {
    // These may be taken: a few megabytes of them, while the answers are read.
    const ENOUGH: usize = 4 << 20;
    let running = Running::start(Way::Http2, &[], 4096).await;
    running.look_up().await;
    let greeting = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    let open = [&greeting[..], &headers(1, &lookup(&running.path), 0)].concat();
    let setting = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0].repeat(100));
    for (name, start, piece) in [
        ("PING", &greeting, frame(PING, 0, 0, &[0; 8])),
        ("SETTINGS", &greeting, frame(SETTINGS, 0, 0, &[])),
        ("SETTINGS of many", &greeting, setting),
        ("PRIORITY", &greeting, frame(PRIORITY, 0, 3, &[0, 0, 0, 0, 16])),
        ("unknown", &greeting, frame(0xbe, 0, 0, &[0; 1000])),
        ("empty DATA", &open, frame(DATA, 0, 1, &[])),
        ("RST_STREAM", &greeting, reset(1)),
        ("one request over and over", &greeting, request(1, "/")),
    ] {
        let piece = piece.repeat(1 + 8000 / piece.len());
        bounded(&running, name, start, &piece, ENOUGH).await;
    }
}
