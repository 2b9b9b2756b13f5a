//! Frames by hand: a peer as a blocking thread that says anything.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::kit::World;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;

pub const ENHANCE_YOUR_CALM: u32 = 11;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    /// The code of a GOAWAY.
    pub fn goaway_code(&self) -> Option<u32> {
        let code = self.payload.get(4..8)?.try_into().expect("four bytes");
        (self.kind == GOAWAY).then(|| u32::from_be_bytes(code))
    }
}

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// Fields by HPACK, as literals without index (RFC 7541, 6.2.2).
pub fn hpack(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        out.push(0);
        for text in [name, value] {
            length(&mut out, text.len());
            out.extend_from_slice(text.as_bytes());
        }
    }
    out
}

/// A length with a prefix of 7 bits (RFC 7541, 5.1).
fn length(out: &mut Vec<u8>, mut length: usize) {
    if length < 127 {
        return out.push(length as u8);
    }
    out.push(127);
    length -= 127;
    while length >= 128 {
        out.push((length % 128) as u8 | 128);
        length /= 128;
    }
    out.push(length as u8);
}

pub fn request(path: &str) -> Vec<u8> {
    hpack(&[
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", "api.example"),
        (":path", path),
    ])
}

/// The other end of a connection.
pub struct Peer {
    pub stream: TcpStream,
}

impl Peer {
    /// A client that has said its preface, with these settings.
    pub fn client(mut stream: TcpStream, settings: &[u8]) -> Self {
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket");
        stream.write_all(PREFACE).expect("it reads");
        let mut peer = Self { stream };
        peer.send(&frame(SETTINGS, 0, 0, settings));
        peer
    }

    /// A server that has read the preface of its client, and has said its settings.
    pub fn server(mut stream: TcpStream, settings: &[u8]) -> Self {
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket");
        let mut preface = [0; PREFACE.len()];
        stream.read_exact(&mut preface).expect("the client begins");
        assert_eq!(preface, PREFACE);
        let mut peer = Self { stream };
        peer.send(&frame(SETTINGS, 0, 0, settings));
        peer
    }

    /// What cannot be sent any more is none of a peer's worry: it reads why.
    pub fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// The next frame; `None` at the end.
    pub fn receive(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).ok()?;
        let bytes = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; bytes];
        self.stream.read_exact(&mut payload).ok()?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        Some(Frame { kind: head[3], flags: head[4], stream, payload })
    }

    /// All frames until the end.
    pub fn receive_all(&mut self) -> Vec<Frame> {
        std::iter::from_fn(|| self.receive()).collect()
    }

    /// The next frame of this kind.
    pub fn receive_kind(&mut self, kind: u8) -> Option<Frame> {
        std::iter::from_fn(|| self.receive()).find(|frame| frame.kind == kind)
    }
}

/// Turns the core until the peer is done, which may be after the last of its own events.
pub fn join<T>(world: &World, peer: JoinHandle<T>) -> T {
    while !peer.is_finished() {
        world.pass(Duration::from_millis(5));
    }
    peer.join().expect("the peer's own expectations hold")
}
