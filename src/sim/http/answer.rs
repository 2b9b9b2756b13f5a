//! What a simulated upstream answers: rightly, in every way that HTTP/1.1 has, or wrongly.

use super::book::{ATTEMPT, Answer, Heard, NUMBER, SPOILT, response_body};
use super::message::Framing;
use crate::sim::faults::Fault;
use crate::sim::net::Inner;
use crate::sim::plan::MS;
use crate::sim::random::Random;

/// Milliseconds that a slow upstream takes, at most.
const SLOW_MS_MAX: u64 = 12_000;

/// What is no response: each is refused, or ends in the middle of a body.
const GARBAGE: &[&str] = &[
    "HTTP/1.1 200 OK\r\nspoilt: 1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "HTTP/1.1 200 OK\r\nspoilt: 1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n\
     0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nspoilt: 1\r\nTransfer-Encoding: xchunked\r\n\r\n",
    "HTTP/1.1 200 OK\r\nspoilt : 1\r\n\r\n",
    "HTTP/1.1 200 OK\r\nspoilt: 1\r\n folded\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 2000 spoilt\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 20\r\nspoilt: 1\r\n\r\n",
    "HTTP/3.0 200 OK\r\nspoilt: 1\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 101 spoilt\r\nConnection: upgrade\r\nUpgrade: spoilt\r\n\r\n",
    "spoilt\0\r\n\r\n",
];

/// A response on its way out.
#[derive(Debug)]
pub struct Answering {
    promised: Answer,
    bytes: Vec<u8>,
    at: usize,
    /// Where the response ends: what is behind that is too much.
    end: usize,
    /// What goes out before the request is whole.
    early: usize,
    /// Where it waits, and until when.
    pause: Option<(usize, u64)>,
    /// Where it is cut, and whether by a reset.
    cut: Option<(usize, bool)>,
    /// Whether the connection ends behind it.
    pub closes: bool,
    /// Whether it is a response at all.
    pub is_sound: bool,
    framing: Framing,
}

impl Answering {
    /// What the client will see of it, once it is sent.
    pub fn promised(&self) -> Answer {
        self.promised
    }

    /// When it goes on, where it waits now.
    pub fn waits_until(&self, now: u64) -> Option<u64> {
        self.pause.filter(|(at, until)| *at == self.at && *until > now).map(|(_, until)| until)
    }

    /// What can be sent now.
    pub fn next(&self, is_whole: bool) -> &[u8] {
        let end = if is_whole { self.bytes.len() } else { self.early.max(self.at) };
        let stops = [self.pause.map(|(at, _)| at), self.cut.map(|(at, _)| at)];
        // A pause that is over is behind what was sent.
        let stops = stops.into_iter().flatten().filter(|at| *at > self.at || self.cuts_at(*at));
        let end = stops.fold(end, usize::min);
        &self.bytes[self.at..end.max(self.at)]
    }

    fn cuts_at(&self, at: usize) -> bool {
        self.cut.is_some_and(|(cut, _)| cut == at)
    }

    /// So much of it was sent.
    pub fn sent(&mut self, count: usize) {
        self.at += count;
    }

    /// Whether its last byte was sent, where that is its end.
    pub fn is_whole(&self) -> bool {
        self.is_sound && self.at >= self.end && self.framing != Framing::UntilClose
    }

    /// Whether it is cut here, and by a reset.
    pub fn is_cut(&self) -> Option<bool> {
        self.cut.filter(|(at, _)| *at == self.at).map(|(_, resets)| resets)
    }

    /// Whether all of it was sent.
    pub fn is_done(&self) -> bool {
        self.at == self.bytes.len()
    }
}

/// Makes the answer to a request. `limits` has the bytes that its body may have, and whether the
/// connection is a Unix socket, where a cut looks like an end.
pub fn answer(
    net: &mut Inner,
    random: &mut Random,
    heard: Heard,
    method: &str,
    expects: bool,
    limits: (u64, bool),
) -> Answering {
    let (bytes_max, is_unix) = limits;
    let mut answering = whole(random, heard, method, bytes_max);
    answering.promised.is_vague = is_unix && answering.framing == Framing::UntilClose;
    let mut before = String::new();
    let interim = |code: &str| format!("HTTP/1.1 {code}\r\n{NUMBER}: {}\r\n\r\n", heard.number);
    if expects {
        before += &interim("100 Continue");
    }
    answering.early = before.len();
    if random.chance(100) {
        before += &interim("103 Early Hints");
    }
    answering.bytes = [before.as_bytes(), &answering.bytes].concat();
    spoil(net, random, &mut answering, is_unix);
    answering
}

/// A response that nothing is wrong with.
fn whole(random: &mut Random, heard: Heard, method: &str, bytes_max: u64) -> Answering {
    let Heard { number, attempt, .. } = heard;
    let statuses = [200, 200, 200, 200, 201, 204, 304, 404, 500];
    let status = match *random.pick(&statuses) {
        304 if method != "GET" && method != "HEAD" => 200,
        status => status,
    };
    let has_body = method != "HEAD" && status != 204 && status != 304;
    let size = *random.pick(&[0, 1, 100.min(bytes_max), bytes_max, bytes_max]);
    let bytes = random.range(0..=size);
    let body = response_body(number, 0, bytes);
    let mut closes = random.chance(150);
    let framing = match random.below(5) {
        _ if status == 204 => Framing::None,
        0 | 1 => Framing::Chunked,
        2 => Framing::UntilClose,
        _ => Framing::Length(bytes),
    };
    let (lines, body) = match framing {
        Framing::Chunked => chunked(random, &body),
        Framing::Length(bytes) => (format!("Content-Length: {bytes}\r\n"), body),
        Framing::None | Framing::UntilClose => (String::new(), body),
    };
    // RFC 9112, 6.3: without a length it is the end of the connection that ends it.
    closes |= framing == Framing::UntilClose && has_body;
    let connection = match (closes, random.below(4)) {
        (true, 0) => format!("Connection: close, X-Hop\r\nX-Hop: {SPOILT}\r\n"),
        (true, _) => "Connection: close\r\n".into(),
        (false, 0) => format!("Connection: X-Hop\r\nX-Hop: {SPOILT}\r\nKeep-Alive: {SPOILT}\r\n"),
        (false, _) => String::new(),
    };
    let head = format!(
        "HTTP/1.1 {status} Some Reason\r\n{NUMBER}: {number}\r\n{ATTEMPT}: {attempt}\r\n\
         {connection}{lines}\r\n"
    );
    let body = if has_body { body } else { Vec::new() };
    Answering {
        promised: Answer {
            status,
            body_bytes: if has_body { bytes } else { 0 },
            is_complete: false,
            is_vague: false,
        },
        bytes: [head.as_bytes(), &body].concat(),
        at: 0,
        end: 0,
        early: 0,
        pause: None,
        cut: None,
        closes,
        is_sound: true,
        framing: if has_body { framing } else { Framing::None },
    }
}

/// The field line, and the body in chunks of any size.
fn chunked(random: &mut Random, body: &[u8]) -> (String, Vec<u8>) {
    let mut bytes = Vec::new();
    let mut rest = body;
    while !rest.is_empty() {
        let least = 1.max(rest.len() as u64 / 8);
        let (chunk, left) = rest.split_at(random.range(least..=rest.len() as u64) as usize);
        let end = *random.pick(&["", "", ";name=value"]);
        bytes.extend_from_slice(format!("{:X}{end}\r\n", chunk.len()).as_bytes());
        bytes.extend_from_slice(chunk);
        bytes.extend_from_slice(b"\r\n");
        rest = left;
    }
    let trailers = *random.pick(&["", "", "x-trailer: 1\r\n"]);
    bytes.extend_from_slice(format!("0\r\n{trailers}\r\n").as_bytes());
    ("Transfer-Encoding: chunked\r\n".into(), bytes)
}

/// What faults make of it: first of its bytes, and then of when they are sent.
fn spoil(net: &mut Inner, random: &mut Random, answering: &mut Answering, is_unix: bool) {
    let is_until_close = answering.framing == Framing::UntilClose;
    if net.fault(Fault::ResponseGarbage) {
        if random.chance(500) {
            answering.bytes = random.pick(GARBAGE).as_bytes().to_vec();
        } else {
            // What is no chunk, behind one that is.
            let end = answering.bytes.len();
            let at = if answering.framing == Framing::Chunked { end - 5 } else { 0 };
            answering.bytes.splice(at.., b"\0spoilt\r\n".iter().copied());
        }
        answering.early = answering.early.min(answering.bytes.len());
        (answering.is_sound, answering.closes) = (false, true);
    }
    answering.end = answering.bytes.len();
    // Behind a body that ends with the connection it would belong to that.
    if !is_until_close && net.fault(Fault::ResponseSurplus) {
        answering.bytes.extend_from_slice(b"\0spoilt\r\n\r\n");
    }
    if net.fault(Fault::ResponseEarly) {
        answering.early = answering.bytes.len();
    }
    if net.fault(Fault::ResponseSlow) {
        let (any, last) = (random.below(answering.bytes.len() as u64), answering.bytes.len() - 1);
        let at = *random.pick(&[0, any as usize, last]);
        answering.pause = Some((at, net.now + random.below(SLOW_MS_MAX) * MS));
    }
    if net.fault(Fault::ResponseCut) {
        let any = random.below(answering.bytes.len() as u64) as usize;
        let at = *random.pick(&[0, 0, any]);
        // The end of a body until the end is told from a cut by a reset only.
        let resets = is_until_close && !is_unix || random.chance(500);
        answering.cut = Some((at, resets));
    }
}
