//! HTTP/2 by hand: frames (RFC 9113, 4.1), for peers that say what no library would.

use std::io::{self, Read, Write};

use super::origin::Origin;
use super::{Client, ClientOptions, Gateway, pki};

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;

pub(crate) const END_STREAM: u8 = 1;
const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// What a client says first (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame as it came.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// One end of a connection. SETTINGS and PING are answered meanwhile.
pub(crate) struct Frames<S> {
    stream: S,
}

impl<S: Read + Write> Frames<S> {
    pub(crate) fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = (payload.len() as u32).to_be_bytes();
        let mut bytes = vec![length[1], length[2], length[3], kind, flags];
        bytes.extend_from_slice(&stream.to_be_bytes());
        bytes.extend_from_slice(payload);
        // What cannot be sent any more is none of a peer's worry: it reads why.
        let _ = self.stream.write_all(&bytes).and_then(|()| self.stream.flush());
    }

    /// The next frame; `None` at the end.
    pub(crate) fn receive(&mut self) -> Option<Frame> {
        loop {
            let mut head = [0; 9];
            self.stream.read_exact(&mut head).ok()?;
            let bytes = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let mut payload = vec![0; bytes];
            self.stream.read_exact(&mut payload).ok()?;
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            let frame = Frame { kind: head[3], flags: head[4], stream, payload };
            match frame.kind {
                SETTINGS if frame.flags & ACK == 0 => self.send(SETTINGS, ACK, 0, &[]),
                PING if frame.flags & ACK == 0 => self.send(PING, ACK, 0, &frame.payload),
                _ => return Some(frame),
            }
        }
    }

    /// The next frame of this kind.
    #[track_caller]
    pub(crate) fn receive_kind(&mut self, kind: u8) -> Frame {
        std::iter::from_fn(|| self.receive())
            .find(|frame| frame.kind == kind)
            .expect("a frame before the end")
    }
}

impl Frames<Client> {
    /// A client of the gateway, with these settings.
    pub(crate) fn client(gateway: &Gateway, settings: &[u8]) -> Self {
        let options = ClientOptions::with(&pki().client).alpn(&["h2"]);
        let mut stream = options.connect(gateway.address()).expect("it is let in");
        stream.send(PREFACE);
        let mut frames = Self { stream };
        frames.send(SETTINGS, 0, 0, settings);
        frames
    }

    /// Begins a request; `is_end` where it has no body.
    pub(crate) fn ask(&mut self, stream: u32, method: &str, path: &str, is_end: bool) {
        let mut fields = Vec::new();
        let authority = "localhost";
        for (name, value) in
            [(":method", method), (":scheme", "https"), (":authority", authority), (":path", path)]
        {
            // A literal without index (RFC 7541, 6.2.2); none is as long as 127 bytes.
            fields.extend_from_slice(&[0, name.len() as u8]);
            fields.extend_from_slice(name.as_bytes());
            fields.push(value.len() as u8);
            fields.extend_from_slice(value.as_bytes());
        }
        let end = if is_end { END_STREAM } else { 0 };
        self.send(HEADERS, END_HEADERS | end, stream, &fields);
    }
}

/// An origin that speaks HTTP/2: `serve` has each connection behind the client's preface.
pub(crate) fn origin(
    serve: impl Fn(&mut Frames<std::net::TcpStream>) -> io::Result<()> + Send + Sync + 'static,
) -> Origin {
    Origin::new(move |mut stream, _| {
        let mut preface = [0; PREFACE.len()];
        stream.read_exact(&mut preface)?;
        let mut frames = Frames { stream };
        frames.send(SETTINGS, 0, 0, &[]);
        serve(&mut frames)
    })
}
