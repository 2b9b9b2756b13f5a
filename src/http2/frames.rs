//! Frames (RFC 9113, 4.1), looked at as they pass: how many of which kind, never what they carry.
//!
//! PURE. It knows no streams and no HPACK. Invariant: how the bytes are cut makes no difference,
//! and it keeps a fixed number of bytes whatever passes. The `h2` crate answers or ignores many
//! frames without telling; what a flood of them costs is bounded here.

use std::time::Duration;

use super::opened::{Opened, Reset};
use crate::limits::{
    HTTP2_CONTINUATIONS_MIN, HTTP2_COUNT_PERIOD_S, HTTP2_ECHOES_MAX, HTTP2_ECHOES_PER_FRAME,
    HTTP2_FRAME_BYTES_MAX, HTTP2_HEADERS_MAX, HTTP2_HEADERS_PER_STREAM_MAX,
};
use crate::time::Instant;

/// Bytes of a frame's header.
pub const FRAME_HEADER_BYTES: usize = 9;
/// Bytes of what a client sends first (RFC 9113, 3.4).
pub const PREFACE_BYTES: usize = 24;
/// Bytes of a payload that are looked at, at most.
const PEEK_BYTES: usize = 4;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
pub(super) const SETTINGS: u8 = 4;
const PRIORITY: u8 = 2;

const ACK: u8 = 0x1;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;

/// The header of a frame of the connection, without flags.
pub(super) const fn header(payload_bytes: u8, kind: u8) -> [u8; FRAME_HEADER_BYTES] {
    [0, 0, payload_bytes, kind, 0, 0, 0, 0, 0]
}

/// What a peer sent too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flood {
    /// Streams that it reset (CVE-2023-44487).
    Resets,
    /// CONTINUATION frames of one list of fields (CVE-2024-27316).
    Continuations,
    /// PING (CVE-2019-9512).
    Pings,
    /// SETTINGS (CVE-2019-9515).
    Settings,
    /// PRIORITY (CVE-2019-9513).
    Priorities,
    /// WINDOW_UPDATE (CVE-2019-9511).
    WindowUpdates,
    /// DATA without data (CVE-2019-9518).
    EmptyData,
    /// HEADERS, of more interim responses than streams can have (RFC 9110, 15.2).
    Headers,
    /// Frames of a type that means nothing here.
    Others,
}

impl Flood {
    /// What there were too many of, in words.
    pub const fn frames(self) -> &'static str {
        match self {
            Self::Resets => "RST_STREAM frames",
            Self::Continuations => "CONTINUATION frames",
            Self::Pings => "PING frames",
            Self::Settings => "SETTINGS frames",
            Self::Priorities => "PRIORITY frames",
            Self::WindowUpdates => "WINDOW_UPDATE frames",
            Self::Headers => "HEADERS frames",
            Self::EmptyData => "DATA frames without data",
            Self::Others => "frames of types that mean nothing here",
        }
    }
}

/// A frame that begins: its header, and the first bytes of its payload where they matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Bytes of its payload.
    pub payload_bytes: u32,
    /// Its type.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream, 0 for the connection.
    pub stream: u32,
    peek: [u8; PEEK_BYTES],
}

impl Frame {
    /// The first four bytes of the payload of a GOAWAY: the last stream that is dealt with
    /// (RFC 9113, 6.8).
    pub fn last_stream(&self) -> Option<u32> {
        (self.kind == GOAWAY).then(|| u32::from_be_bytes(self.peek) & (u32::MAX >> 1))
    }

    fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// How many bytes of the payload are looked at.
    fn peek_bytes(&self) -> usize {
        let bytes = match self.kind {
            DATA if self.has(PADDED) => 1,
            GOAWAY => PEEK_BYTES,
            _ => 0,
        };
        bytes.min(self.payload_bytes as usize)
    }

    /// Whether it is DATA that changes nothing: no data, nor the end of its stream.
    fn is_empty_data(&self) -> bool {
        let padding = if self.has(PADDED) { 1 + u32::from(self.peek[0]) } else { 0 };
        self.kind == DATA && !self.has(END_STREAM) && self.payload_bytes <= padding
    }
}

/// Finds the frames in a stream of bytes.
#[derive(Clone, Debug)]
pub struct Scanner {
    /// Bytes until the next header.
    skip: u32,
    /// The header and what is looked at of the payload, as far as it came.
    head: [u8; FRAME_HEADER_BYTES + PEEK_BYTES],
    filled: usize,
}

impl Scanner {
    /// For a stream that begins, with a client's preface or with a frame.
    pub fn new(with_preface: bool) -> Self {
        let skip = if with_preface { PREFACE_BYTES as u32 } else { 0 };
        Self { skip, head: [0; FRAME_HEADER_BYTES + PEEK_BYTES], filled: 0 }
    }

    /// Takes bytes off the front of `bytes` until a frame begins; `None` once all are taken.
    pub fn next(&mut self, bytes: &mut &[u8]) -> Option<Frame> {
        let skipped = bytes.len().min(self.skip as usize);
        *bytes = &bytes[skipped..];
        self.skip -= skipped as u32;
        self.fill(bytes, FRAME_HEADER_BYTES)?;
        let [high, middle, low, kind, flags, stream @ ..] = self.head;
        let stream = [stream[0], stream[1], stream[2], stream[3]];
        let mut frame = Frame {
            payload_bytes: u32::from_be_bytes([0, high, middle, low]),
            kind,
            flags,
            stream: u32::from_be_bytes(stream) & (u32::MAX >> 1),
            peek: [0; PEEK_BYTES],
        };
        let peek_bytes = frame.peek_bytes();
        self.fill(bytes, FRAME_HEADER_BYTES + peek_bytes)?;
        frame.peek[..peek_bytes].copy_from_slice(&self.head[FRAME_HEADER_BYTES..][..peek_bytes]);
        self.skip = frame.payload_bytes - peek_bytes as u32;
        self.filled = 0;
        Some(frame)
    }

    fn fill(&mut self, bytes: &mut &[u8], needed: usize) -> Option<()> {
        let taken = bytes.len().min(needed.saturating_sub(self.filled));
        self.head[self.filled..self.filled + taken].copy_from_slice(&bytes[..taken]);
        *bytes = &bytes[taken..];
        self.filled += taken;
        (self.filled >= needed).then_some(())
    }
}

/// The bounds of a [`FrameWatch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameBounds {
    /// RST_STREAM within a period ([`HTTP2_COUNT_PERIOD_S`]), those of a client for streams
    /// without a response.
    pub resets_max: u32,
    /// Frames without effect within a period.
    pub idle_frames_max: u32,
    /// CONTINUATION frames of one list of fields.
    pub continuations_max: u32,
}

impl FrameBounds {
    /// As many CONTINUATION frames as a list of this size needs, and a quarter more.
    pub fn continuations_for(header_list_bytes_max: u32) -> u32 {
        let needed = header_list_bytes_max / HTTP2_FRAME_BYTES_MAX;
        (needed + needed / 4).max(HTTP2_CONTINUATIONS_MIN)
    }
}

/// Counts the frames of a peer and says when they are too many.
#[derive(Clone, Debug)]
pub struct FrameWatch {
    received: Scanner,
    sent: Scanner,
    bounds: FrameBounds,
    /// When the period began that is counted in.
    began: Instant,
    resets: u32,
    idle_frames: u32,
    /// Of the list of fields that is being received.
    continuations: u32,
    /// PING and WINDOW_UPDATE that are owed to what was sent.
    echoes: u32,
    /// HEADERS that an upstream may send for the streams that were opened there; `None` of a
    /// client, who opens its own.
    headers: Option<u32>,
    goaway: Option<u32>,
    /// The streams of the peer, where it is a client.
    opened: Option<Opened>,
}

impl FrameWatch {
    /// Of a connection that begins at `now`: `of_client` where the peer is the client.
    pub fn new(bounds: FrameBounds, of_client: bool, now: Instant) -> Self {
        Self {
            received: Scanner::new(of_client),
            sent: Scanner::new(!of_client),
            bounds,
            began: now,
            resets: 0,
            idle_frames: 0,
            continuations: 0,
            echoes: HTTP2_ECHOES_PER_FRAME,
            headers: (!of_client).then_some(0),
            goaway: None,
            opened: of_client.then(Opened::default),
        }
    }

    /// The last stream that the peer deals with, once it has sent GOAWAY (RFC 9113, 6.8); the
    /// lowest that it said.
    pub fn goaway(&self) -> Option<u32> {
        self.goaway
    }

    /// A stream of the client was handed out as a request.
    pub fn accepted(&mut self, stream: u32) {
        if let Some(opened) = &mut self.opened {
            opened.accepted(stream);
        }
    }

    /// Streams of the client that were answered or reset without having been handed out.
    pub fn refused(&self) -> u64 {
        self.opened.as_ref().map_or(0, Opened::refused)
    }

    /// Looks at bytes that were received at `now`.
    ///
    /// # Errors
    /// [`Flood`]: what was received with these bytes must not be acted on.
    pub fn received(&mut self, mut bytes: &[u8], now: Instant) -> Result<(), Flood> {
        if now - self.began >= Duration::from_secs(HTTP2_COUNT_PERIOD_S) {
            (self.began, self.resets, self.idle_frames) = (now, 0, 0);
        }
        while let Some(frame) = self.received.next(&mut bytes) {
            self.count(&frame)?;
        }
        Ok(())
    }

    /// Looks at bytes that are sent.
    pub fn sent(&mut self, mut bytes: &[u8]) {
        while let Some(frame) = self.sent.next(&mut bytes) {
            if matches!(frame.kind, DATA | HEADERS) {
                self.earn();
            }
            if let (HEADERS, Some(headers)) = (frame.kind, &mut self.headers) {
                *headers = (*headers + HTTP2_HEADERS_PER_STREAM_MAX).min(HTTP2_HEADERS_MAX);
            }
            if let Some(opened) = &mut self.opened {
                if frame.kind == HEADERS {
                    opened.answered(frame.stream);
                }
                let ends = matches!(frame.kind, DATA | HEADERS) && frame.has(END_STREAM);
                if ends || frame.kind == RST_STREAM {
                    opened.ended(frame.stream);
                }
            }
        }
    }

    /// Clients open windows and measure the way (by PING) as they are sent data.
    fn earn(&mut self) {
        self.echoes = (self.echoes + HTTP2_ECHOES_PER_FRAME).min(HTTP2_ECHOES_MAX);
    }

    fn count(&mut self, frame: &Frame) -> Result<(), Flood> {
        match frame.kind {
            HEADERS => {
                self.continuations = 0;
                self.earn();
                if let Some(headers) = &mut self.headers {
                    *headers = headers.checked_sub(1).ok_or(Flood::Headers)?;
                }
                if let Some(opened) = &mut self.opened {
                    opened.came(frame.stream);
                }
                Ok(())
            }
            DATA if frame.is_empty_data() => self.count_idle(Flood::EmptyData),
            DATA => Ok(()),
            RST_STREAM => match self.opened.as_mut().map(|opened| opened.reset(frame.stream)) {
                Some(Reset::AmidResponse) => Ok(()),
                Some(Reset::OfNone) => self.count_idle(Flood::Resets),
                Some(Reset::BeforeResponse) | None => {
                    self.resets += 1;
                    let is_flood = self.resets > self.bounds.resets_max;
                    if is_flood { Err(Flood::Resets) } else { Ok(()) }
                }
            },
            CONTINUATION => {
                self.continuations += 1;
                let is_flood = self.continuations > self.bounds.continuations_max;
                if frame.has(END_HEADERS) {
                    self.continuations = 0;
                }
                if is_flood { Err(Flood::Continuations) } else { Ok(()) }
            }
            PING if !frame.has(ACK) => self.count_echo(Flood::Pings),
            PING => self.count_idle(Flood::Pings),
            WINDOW_UPDATE => self.count_echo(Flood::WindowUpdates),
            SETTINGS => self.count_idle(Flood::Settings),
            PRIORITY => self.count_idle(Flood::Priorities),
            GOAWAY => {
                let last = frame.last_stream();
                self.goaway = self.goaway.into_iter().chain(last).min();
                self.count_idle(Flood::Others)
            }
            _ => self.count_idle(Flood::Others),
        }
    }

    fn count_echo(&mut self, flood: Flood) -> Result<(), Flood> {
        match self.echoes.checked_sub(1) {
            Some(left) => {
                self.echoes = left;
                Ok(())
            }
            None => self.count_idle(flood),
        }
    }

    fn count_idle(&mut self, flood: Flood) -> Result<(), Flood> {
        self.idle_frames += 1;
        if self.idle_frames > self.bounds.idle_frames_max { Err(flood) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: FrameBounds =
        FrameBounds { resets_max: 5, idle_frames_max: 10, continuations_max: 4 };

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = (payload.len() as u32).to_be_bytes();
        let mut bytes = vec![length[1], length[2], length[3], kind, flags];
        bytes.extend_from_slice(&stream.to_be_bytes());
        bytes.extend_from_slice(payload);
        bytes
    }

    fn watch() -> FrameWatch {
        FrameWatch::new(BOUNDS, false, Instant::ORIGIN)
    }

    /// How many of `one` pass before a flood is seen.
    fn passes(one: &[u8]) -> (usize, Flood) {
        let mut watch = watch();
        for passed in 0..100_000 {
            if let Err(flood) = watch.received(one, Instant::ORIGIN) {
                return (passed, flood);
            }
        }
        panic!("a hundred thousand pass");
    }

    #[test]
    fn each_flood_is_seen_at_its_bound_and_named() {
        let echoes = HTTP2_ECHOES_PER_FRAME as usize;
        assert_eq!(passes(&frame(RST_STREAM, 0, 1, &[0; 4])), (5, Flood::Resets));
        assert_eq!(passes(&frame(PING, 0, 0, &[0; 8])), (10 + echoes, Flood::Pings));
        assert_eq!(passes(&frame(PING, ACK, 0, &[0; 8])), (10, Flood::Pings));
        assert_eq!(passes(&frame(SETTINGS, 0, 0, &[])), (10, Flood::Settings));
        assert_eq!(passes(&frame(PRIORITY, 0, 1, &[0; 5])), (10, Flood::Priorities));
        let update = frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]);
        assert_eq!(passes(&update), (10 + echoes, Flood::WindowUpdates));
        assert_eq!(passes(&frame(DATA, 0, 1, &[])), (10, Flood::EmptyData));
        assert_eq!(passes(&frame(DATA, PADDED, 1, &[3, 0, 0, 0])), (10, Flood::EmptyData));
        assert_eq!(passes(&frame(200, 0, 1, b"greased")), (10, Flood::Others));
        assert_eq!(passes(&frame(CONTINUATION, 0, 1, b"x")), (4, Flood::Continuations));
    }

    #[test]
    fn what_has_an_effect_is_no_flood() {
        let mut watch = FrameWatch::new(BOUNDS, true, Instant::ORIGIN);
        watch.received(&[0; PREFACE_BYTES], Instant::ORIGIN).expect("it begins");
        for _ in 0..10_000 {
            for frame in [
                frame(HEADERS, 0, 1, b"fields"),
                frame(CONTINUATION, END_HEADERS, 1, b"fields"),
                frame(WINDOW_UPDATE, 0, 1, &[0, 0, 1, 0]),
                frame(DATA, 0, 1, b"data"),
                frame(DATA, PADDED, 1, &[2, b'd', 0, 0]),
                frame(DATA, END_STREAM, 1, &[]),
            ] {
                watch.received(&frame, Instant::ORIGIN).expect("it is a request");
            }
        }
    }

    #[test]
    fn who_is_sent_data_may_open_windows_and_send_pings_for_it() {
        let mut watch = watch();
        watch.sent(&[0; PREFACE_BYTES]);
        for _ in 0..10_000 {
            watch.sent(&frame(DATA, 0, 1, b"data"));
            for stream in [0, 1] {
                let update = frame(WINDOW_UPDATE, 0, stream, &[0, 0, 0, 4]);
                watch.received(&update, Instant::ORIGIN).expect("it was sent data");
            }
            watch.received(&frame(PING, 0, 0, &[0; 8]), Instant::ORIGIN).expect("as well");
        }
        assert!(watch.echoes <= HTTP2_ECHOES_MAX);
    }

    #[test]
    fn an_upstream_sends_no_more_heads_than_its_streams_can_have() {
        let head = frame(HEADERS, END_HEADERS, 1, b"fields");
        assert_eq!(passes(&head), (0, Flood::Headers));
        let mut watch = watch();
        watch.sent(&[0; PREFACE_BYTES]);
        for _ in 0..3 {
            watch.sent(&head);
        }
        for _ in 0..3 * HTTP2_HEADERS_PER_STREAM_MAX {
            watch.received(&head, Instant::ORIGIN).expect("three streams were opened");
        }
        // What comes behind a flood is not looked at.
        assert_eq!(watch.clone().received(&head, Instant::ORIGIN), Err(Flood::Headers));
        for _ in 0..10_000 {
            watch.sent(&head);
        }
        let count = (0..).take_while(|_| watch.received(&head, Instant::ORIGIN).is_ok()).count();
        assert_eq!(count, HTTP2_HEADERS_MAX as usize, "what was not used is not saved up for ever");
    }

    #[test]
    fn resets_of_a_client_count_before_a_response_and_not_amid_one() {
        let fresh = || {
            let mut watch = FrameWatch::new(BOUNDS, true, Instant::ORIGIN);
            watch.received(&[0; PREFACE_BYTES], Instant::ORIGIN).expect("it begins");
            watch
        };
        let reset = |watch: &mut FrameWatch, stream| {
            watch.received(&frame(RST_STREAM, 0, stream, &[0; 4]), Instant::ORIGIN)
        };
        let mut watch = fresh();
        for stream in (1..2000).step_by(2) {
            let fields = frame(HEADERS, END_HEADERS, stream, b"fields");
            watch.received(&fields, Instant::ORIGIN).expect("a request");
            watch.accepted(stream);
            watch.sent(&frame(HEADERS, END_HEADERS, stream, b"fields"));
            reset(&mut watch, stream).expect("its response has begun");
        }
        assert_eq!(watch.refused(), 0);
        let mut watch = fresh();
        for stream in [1, 3, 5, 7, 9, 11] {
            let fields = frame(HEADERS, END_HEADERS, stream, b"fields");
            watch.received(&fields, Instant::ORIGIN).expect("a request");
            watch.accepted(stream);
            let expected = if stream < 11 { Ok(()) } else { Err(Flood::Resets) };
            assert_eq!(reset(&mut watch, stream), expected, "{stream}");
        }
        let mut watch = fresh();
        let passed = (0..1000).take_while(|_| reset(&mut watch, 1).is_ok()).count();
        assert_eq!(passed, 10, "of no stream they are frames without effect");
    }

    #[test]
    fn a_period_later_all_is_counted_anew() {
        let mut watch = watch();
        let reset = frame(RST_STREAM, 0, 1, &[0; 4]);
        for period in 0..20 {
            let now = Instant::ORIGIN + Duration::from_secs(period * HTTP2_COUNT_PERIOD_S);
            for _ in 0..5 {
                watch.received(&reset, now).expect("five are allowed in each period");
            }
        }
        let last = Instant::ORIGIN + Duration::from_secs(20 * HTTP2_COUNT_PERIOD_S - 1);
        assert_eq!(watch.received(&reset, last), Err(Flood::Resets));
    }

    #[test]
    fn goaway_says_the_last_stream_and_is_lowered_only() {
        let mut watch = watch();
        assert_eq!(watch.goaway(), None);
        for (said, known) in [(0x7fff_ffff, 0x7fff_ffff), (5, 5), (9, 5)] {
            let payload = [u32::to_be_bytes(said), [0; 4]].concat();
            watch.received(&frame(GOAWAY, 0, 0, &payload), Instant::ORIGIN).expect("no flood");
            assert_eq!(watch.goaway(), Some(known));
        }
    }

    #[test]
    fn the_cut_makes_no_difference() {
        let mut bytes = vec![0xff; PREFACE_BYTES];
        bytes.extend(frame(SETTINGS, 0, 0, &[0; 12]));
        bytes.extend(frame(DATA, PADDED, 3, &[1, 2, 3]));
        bytes.extend(frame(GOAWAY, 0, 0, &[0, 0, 0, 9, 0, 0, 0, 0, b'x']));
        bytes.extend(frame(PING, ACK, 0, &[7; 8]));
        let scan = |step: usize| {
            let mut scanner = Scanner::new(true);
            let mut frames = Vec::new();
            for mut piece in bytes.chunks(step) {
                while let Some(frame) = scanner.next(&mut piece) {
                    frames.push(frame);
                }
            }
            frames
        };
        let whole = scan(bytes.len());
        let kinds: Vec<u8> = whole.iter().map(|frame| frame.kind).collect();
        assert_eq!(kinds, [SETTINGS, DATA, GOAWAY, PING]);
        for step in 1..bytes.len() {
            assert_eq!(scan(step), whole, "in pieces of {step}");
        }
    }
}
