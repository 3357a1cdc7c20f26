//! HTTP/2 by hand: frames as bytes, and as much of HPACK as sending anything and reading a status takes.

use std::collections::BTreeMap;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::ground::Io;
use crate::support::gateway::PATIENCE;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

pub(crate) const NO_ERROR: u32 = 0;
pub(crate) const PROTOCOL_ERROR: u32 = 1;
pub(crate) const REFUSED_STREAM: u32 = 7;
pub(crate) const ENHANCE_YOUR_CALM: u32 = 11;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The setting without which a dynamic table would have to be kept here to read a status.
const NO_TABLE: [u8; 6] = [0, 1, 0, 0, 0, 0];

/// Names and values, as they are sent.
pub(crate) type Fields<'a> = Vec<(&'a str, &'a str)>;

/// A frame as it came.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// One HTTP/2 connection, from the caller's end.
pub(crate) struct Peer {
    pub(crate) io: Io,
    ahead: Vec<u8>,
    /// What belongs to streams that nobody asked about yet.
    streams: BTreeMap<u32, Vec<Frame>>,
    /// What the other side said about the connection, acknowledgements left out.
    pub(crate) said: Vec<Frame>,
    /// What the connection was ended with.
    pub(crate) gone: Option<u32>,
}

/// What became of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Answer {
        status: u16,
        reason: String,
    },
    Reset(u32),
    /// The connection ended first, with this code if it said one.
    Gone(Option<u32>),
}

/// A frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Fields as literals without indexing, plainly (RFC 7541, 6.2.2).
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            integer(&mut block, text.len());
            block.extend(text.bytes());
        }
    }
    block
}

/// With a prefix of seven bits (RFC 7541, 5.1).
fn integer(block: &mut Vec<u8>, mut value: usize) {
    if value < 127 {
        return block.push(u8::try_from(value).unwrap());
    }
    block.push(127);
    value -= 127;
    while value >= 128 {
        block.push(u8::try_from(value % 128).unwrap() | 128);
        value /= 128;
    }
    block.push(u8::try_from(value).unwrap());
}

/// The fields of a lookup.
pub(crate) fn lookup(path: &str) -> Fields<'_> {
    vec![(":method", "GET"), (":scheme", "http"), (":path", path), (":authority", "gateway")]
}

/// A request's head in one frame.
pub(crate) fn headers(stream: u32, fields: &[(&str, &str)], flags: u8) -> Vec<u8> {
    frame(HEADERS, flags | END_HEADERS, stream, &block(fields))
}

/// A whole lookup.
pub(crate) fn request(stream: u32, path: &str) -> Vec<u8> {
    headers(stream, &lookup(path), END_STREAM)
}

pub(crate) fn reset(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())
}

// === impl Peer ===

impl Peer {
    /// Sends the preface and settings.
    pub(crate) async fn greet(io: Io) -> Self {
        Self::greet_with(io, &[]).await
    }

    /// The same with further settings.
    pub(crate) async fn greet_with(io: Io, settings: &[u8]) -> Self {
        let mut peer = Self { io, ahead: Vec::new(), streams: BTreeMap::new(), said: Vec::new(), gone: None };
        peer.send(&[PREFACE, &frame(SETTINGS, 0, 0, &[&NO_TABLE, settings].concat())].concat()).await;
        peer
    }

    /// Sends bytes, if they are still taken.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> bool {
        let sent = async { self.io.write_all(bytes).await.is_ok() && self.io.flush().await.is_ok() };
        timeout(PATIENCE, sent).await.expect("it is taken or refused")
    }

    /// Sends a lookup.
    pub(crate) async fn ask(&mut self, stream: u32, path: &str) {
        self.send(&request(stream, path)).await;
    }

    /// The next frame, acknowledged if it has to be; none at the end.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        timeout(PATIENCE, self.read()).await.expect("a frame, or the end")
    }

    async fn read(&mut self) -> Option<Frame> {
        let length = loop {
            if let Some(head) = self.ahead.first_chunk::<9>() {
                let length = 9 + (usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]));
                if self.ahead.len() >= length {
                    break length;
                }
            }
            if !self.io.read_buf(&mut self.ahead).await.is_ok_and(|read| read > 0) {
                return None;
            }
        };
        let bytes: Vec<u8> = self.ahead.drain(..length).collect();
        let stream = u32::from_be_bytes(bytes[5..9].try_into().unwrap());
        let frame_read = Frame { kind: bytes[3], flags: bytes[4], stream, payload: bytes[9..].to_vec() };
        match (frame_read.kind, frame_read.flags) {
            (SETTINGS, 0) => drop(self.io.write_all(&frame(SETTINGS, ACK, 0, &[])).await),
            (PING, 0) => drop(self.io.write_all(&frame(PING, ACK, 0, &frame_read.payload)).await),
            (GOAWAY, _) => self.gone = Some(number(&frame_read.payload[4..8])),
            _ => {}
        }
        let _ = self.io.flush().await;
        Some(frame_read)
    }

    /// Reads on, and puts away what came. False at the end.
    async fn more(&mut self) -> bool {
        let Some(frame) = self.next().await else { return false };
        match frame.stream {
            0 if frame.flags & ACK == 0 => self.said.push(frame),
            0 => {}
            stream => self.streams.entry(stream).or_default().push(frame),
        }
        true
    }

    /// What becomes of a stream: an answer counts once it is whole.
    pub(crate) async fn outcome(&mut self, stream: u32) -> Outcome {
        loop {
            let frames = self.streams.entry(stream).or_default();
            if frames.iter().any(|frame| frame.kind <= HEADERS && frame.flags & END_STREAM != 0) {
                let status = frames.iter().find(|frame| frame.kind == HEADERS).map(|frame| status(&frame.payload));
                let body = frames.iter().filter(|frame| frame.kind == DATA).flat_map(|frame| frame.payload.clone());
                let json: Value = serde_json::from_slice(&body.collect::<Vec<_>>()).unwrap_or_default();
                let reason = json["error"]["reason"].as_str().unwrap_or_default().to_owned();
                return Outcome::Answer { status: status.unwrap(), reason };
            }
            if let Some(reset) = frames.iter().find(|frame| frame.kind == RST_STREAM) {
                return Outcome::Reset(number(&reset.payload));
            }
            if !self.more().await {
                return Outcome::Gone(self.gone);
            }
        }
    }

    /// The frames of a stream so far.
    pub(crate) fn of(&self, stream: u32) -> &[Frame] {
        self.streams.get(&stream).map_or(&[], Vec::as_slice)
    }

    /// Reads until the connection ends; what it was ended with.
    pub(crate) async fn end(&mut self) -> Option<u32> {
        while self.more().await {}
        self.gone
    }

    /// Reads until something was said about the connection that is so.
    pub(crate) async fn until(&mut self, is: impl Fn(&Frame) -> bool) -> Frame {
        loop {
            if let Some(found) = self.said.iter().find(|frame| is(frame)) {
                return found.clone();
            }
            assert!(self.more().await, "the connection ended before: {:?}", self.said);
        }
    }
}

// === impl Outcome ===

impl Outcome {
    pub(crate) fn status(&self) -> Option<u16> {
        match self {
            Self::Answer { status, .. } => Some(*status),
            Self::Reset(_) | Self::Gone(_) => None,
        }
    }
}

pub(crate) fn number(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes[..4].try_into().unwrap())
}

/// The status, which stands first in an answer's block: from the static table, or three digits, Huffman-coded or not.
fn status(block: &[u8]) -> u16 {
    // The table's size may be confirmed before.
    let start = block.iter().position(|byte| byte & 0xe0 != 0x20).unwrap();
    match block[start] {
        indexed @ 0x88..=0x8e => [200, 204, 206, 304, 400, 404, 500][usize::from(indexed - 0x88)],
        0x08 | 0x18 | 0x48 => {
            let length = usize::from(block[start + 1] & 0x7f);
            let value = &block[start + 2..start + 2 + length];
            let digits = if block[start + 1] & 0x80 == 0 { value.to_vec() } else { huffman_digits(value) };
            String::from_utf8(digits).unwrap().parse().unwrap()
        }
        other => panic!("no status: {other:#x}"),
    }
}

/// Three digits (RFC 7541, Appendix B): five bits for 0 to 2, six for the others.
fn huffman_digits(bytes: &[u8]) -> Vec<u8> {
    let bits: Vec<u8> = bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)).collect();
    let value = |bits: &[u8]| bits.iter().fold(0, |value, bit| value << 1 | bit);
    let (mut digits, mut at) = (Vec::new(), 0);
    while digits.len() < 3 {
        let short = value(&bits[at..at + 5]);
        if short <= 2 {
            digits.push(b'0' + short);
            at += 5;
        } else {
            digits.push(b'3' + value(&bits[at..at + 6]) - 0b01_1001);
            at += 6;
        }
    }
    digits
}
