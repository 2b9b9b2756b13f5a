//! What a client asks: requests as bytes, with all that a client may do rightly.

use super::book::{Asked, Book, FORGED, NUMBER, request_body};
use super::hostile;
use super::message::Framing;
use super::plan::{FIELDS_MAX, HEAD_BYTES_MAX, HttpPlan};
use crate::sim::plan::MS;
use crate::sim::random::Random;

/// Requests of one client, at most.
const REQUESTS_MAX: u64 = 6;

/// Milliseconds that a client waits before a request, at most.
const PAUSE_MS_MAX: u64 = 3_000;

/// Fields that claim who the client is, or are for one hop only: none may reach an upstream.
const FORGERIES: &[&str] = &[
    "X-Forwarded-Client-Cert: By=forged;Hash=00",
    "client-cert: :forged:",
    "Client-Cert-Chain: :forged:",
    "X-SSL-Client-Verify: forged",
    "x_ssl_client_s_dn: forged",
    "SSL-Client-Cert: forged",
    "X-Client-Cert-Subject: forged",
    "X-Amzn-Mtls-Clientcert-Subject: forged",
    "X-Forwarded-Tls-Client-Cert-Info: forged",
    "Connection: X-Forged-Hop\r\nX-Forged-Hop: 1",
    "Proxy-Connection: forged",
    "Keep-Alive: timeout=1",
    "TE: gzip",
];

/// What a client does in the middle of a request, instead of its rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It ends its connection without a close_notify.
    Cut,
    /// It ends in order.
    End,
    /// It sends nothing more.
    Silence,
}

/// One request on its way out.
#[derive(Clone, Debug)]
pub struct Sending {
    /// Its number.
    pub number: u64,
    /// All of it, and what comes in one go with it.
    pub bytes: Vec<u8>,
    /// Where its head ends.
    pub head_end: usize,
    /// Whether its body waits for the upstream to ask for it.
    pub expects: bool,
    /// Where the client stops, and how.
    pub stops: Option<(usize, Stop)>,
    /// Nanoseconds that the client waits before it.
    pub pause_ns: u64,
    /// Whether the method is HEAD.
    pub is_head: bool,
    /// Whether it is of HTTP/1.1.
    pub is_http11: bool,
}

/// A client's requests.
#[derive(Clone, Debug)]
pub struct Script {
    /// In their order.
    pub requests: Vec<Sending>,
    /// Whether it sends the next without waiting for the response.
    pub pipelines: bool,
    /// Whether it ends its side as soon as all is sent.
    pub half_closes: bool,
    /// Whether nothing is wrong with it.
    pub is_sound: bool,
}

/// For whom a script is made.
#[derive(Clone, Copy, Debug)]
pub struct Who<'a> {
    /// The client.
    pub client: u64,
    /// The host that it has asked for in its handshake.
    pub host: &'a str,
    /// Another one that the gateway serves.
    pub other_host: &'a str,
    /// How HTTP is configured.
    pub plan: &'a HttpPlan,
    /// Bytes of all its bodies, at most.
    pub bytes_max: u64,
    /// Whether it may take longer than the shortest deadline of a connection.
    pub dawdles: bool,
}

impl Script {
    /// One that comes when nothing is wrong any more: whatever it asks may be asked twice, so it is
    /// answered even where a connection that waits turns out to be over.
    pub fn probe(who: Who<'_>, book: &mut Book, random: &mut Random) -> Self {
        let count = random.range(1..=3);
        let mut make = || {
            let method = *random.pick(&["GET", "GET", "HEAD"]);
            Maker::new(who, method, book, random).finish(book)
        };
        let requests = (0..count).map(|_| make()).collect();
        Self { requests, pipelines: false, half_closes: false, is_sound: true }
    }

    /// Any.
    pub fn any(who: Who<'_>, is_bad: bool, book: &mut Book, random: &mut Random) -> Self {
        let count = random.range(1..=REQUESTS_MAX);
        let share = Who { bytes_max: who.bytes_max / count, ..who };
        let mut requests: Vec<Sending> =
            (0..count).map(|_| any_request(share, book, random)).collect();
        if is_bad {
            // What follows a request that is none would not be answered.
            requests.truncate(random.below(count) as usize);
            requests.push(hostile::any(share, book, random));
        }
        Self {
            requests,
            pipelines: random.chance(300),
            half_closes: random.chance(200),
            is_sound: !is_bad,
        }
    }
}

fn any_request(who: Who<'_>, book: &mut Book, random: &mut Random) -> Sending {
    let methods = ["GET", "GET", "GET", "HEAD", "POST", "POST", "PUT", "PATCH", "DELETE"];
    let method = *random.pick(&methods);
    let mut maker = Maker::new(who, method, book, random);
    if matches!(maker.asked.method, "POST" | "PUT" | "PATCH") {
        maker.add_body(who.plan.body_bytes_max, random);
    }
    match random.below(40) {
        0 => maker.refuse("/none/", &[404]),
        1 => maker.add_line(&format!("x-filler: {}", "f".repeat(HEAD_BYTES_MAX)), &[431]),
        2 => (0..=FIELDS_MAX).for_each(|at| maker.add_line(&format!("x-{at}: 1"), &[431])),
        3..=5 => maker.go_elsewhere(who.other_host),
        6..=8 => maker.is_absolute = true,
        9..=11 => maker.become_http10(random),
        _ => {}
    }
    if random.chance(400) {
        (0..random.range(1..=4)).for_each(|_| maker.lines.push((*random.pick(FORGERIES)).into()));
    }
    if random.chance(100) {
        let filler = "f".repeat(random.below(1_000) as usize);
        maker.lines.push(format!("x-filler: {filler}"));
    }
    if who.dawdles && random.chance(300) {
        maker.pause_ns = random.below(PAUSE_MS_MAX) * MS;
    }
    maker.finish(book)
}

/// A request in the making.
pub(super) struct Maker {
    pub(super) number: u64,
    pub(super) asked: Asked,
    path: &'static str,
    version: &'static str,
    pub(super) lines: Vec<String>,
    pub(super) body: Vec<u8>,
    pub(super) stops: Option<(usize, Stop)>,
    is_absolute: bool,
    expects: bool,
    pause_ns: u64,
}

impl Maker {
    pub(super) fn new(
        who: Who<'_>,
        method: &'static str,
        book: &mut Book,
        random: &mut Random,
    ) -> Self {
        let number = book.number();
        let names = ["Host", "host", "HOST"];
        Self {
            number,
            asked: Asked {
                client: who.client,
                method,
                host: who.host.into(),
                is_elsewhere: false,
                framing: Framing::None,
                body_bytes: random.below(who.bytes_max.max(1)),
                refused_as: &[],
                is_cut: false,
                is_http11: true,
            }
            .bounded(who.plan.body_bytes_max),
            path: "/r/",
            version: "HTTP/1.1",
            lines: vec![
                format!("{}: {}", random.pick(&names), who.host),
                format!("{NUMBER}: {number}"),
            ],
            body: Vec::new(),
            stops: None,
            is_absolute: false,
            expects: false,
            pause_ns: 0,
        }
    }

    /// A body of any kind.
    fn add_body(&mut self, max: Option<u64>, random: &mut Random) {
        if let Some(max) = max
            && random.chance(200)
        {
            self.asked.body_bytes = max + 1;
            self.asked.refused_as = &[413];
            self.body = request_body(self.number, 0, max + 1);
            return self.set_length();
        }
        let bytes = self.asked.body_bytes;
        if random.chance(100) {
            // Nothing at all, and that is said.
            self.asked.body_bytes = 0;
            self.set_length();
        } else if random.chance(500) {
            self.body = request_body(self.number, 0, bytes);
            self.set_length();
        } else {
            self.add_chunks(random);
        }
        if bytes > 0 && random.chance(150) {
            self.lines.push("Expect: 100-continue".into());
            self.expects = true;
        }
    }

    pub(super) fn set_length(&mut self) {
        self.asked.framing = Framing::Length(self.asked.body_bytes);
        self.lines.push(format!("Content-Length: {}", self.asked.body_bytes));
    }

    /// The body, in chunks of any size.
    pub(super) fn add_chunks(&mut self, random: &mut Random) {
        self.asked.framing = Framing::Chunked;
        self.lines.push("Transfer-Encoding: chunked".into());
        let mut offset = 0;
        while offset < self.asked.body_bytes {
            let left = self.asked.body_bytes - offset;
            let count = random.range(1.max(left / 8)..=left);
            let size = match random.below(3) {
                0 => format!("{count:x}"),
                1 => format!("{count:X}"),
                _ => format!("{count:08x}"),
            };
            self.body.extend_from_slice(format!("{size}\r\n").as_bytes());
            self.body.extend(request_body(self.number, offset, count));
            self.body.extend_from_slice(b"\r\n");
            offset += count;
        }
        let trailers = match random.below(4) {
            0 => format!("x-trailer: 1\r\nX-Forwarded-Client-Cert: {FORGED}\r\n"),
            _ => String::new(),
        };
        self.body.extend_from_slice(format!("0\r\n{trailers}\r\n").as_bytes());
    }

    fn refuse(&mut self, path: &'static str, refused_as: &'static [u16]) {
        self.path = path;
        self.asked.refused_as = refused_as;
    }

    fn add_line(&mut self, line: &str, refused_as: &'static [u16]) {
        self.lines.push(line.into());
        self.asked.refused_as = refused_as;
    }

    fn go_elsewhere(&mut self, host: &str) {
        self.asked.host = host.into();
        self.asked.is_elsewhere = true;
        self.lines[0] = format!("Host: {host}");
    }

    /// HTTP/1.0 knows neither chunks nor `Expect`; its connection ends unless it is asked to stay.
    fn become_http10(&mut self, random: &mut Random) {
        if self.asked.framing == Framing::Chunked || self.expects {
            return;
        }
        self.version = "HTTP/1.0";
        self.asked.is_http11 = false;
        if random.chance(500) {
            self.lines.push("Connection: keep-alive".into());
        }
    }

    /// The head as bytes, with another start line where one is given.
    pub(super) fn head(&self, start: Option<String>) -> Vec<u8> {
        let host = &self.asked.host;
        let origin = if self.is_absolute { format!("http://{host}") } else { String::new() };
        let (method, path, number) = (self.asked.method, self.path, self.number);
        let start =
            start.unwrap_or_else(|| format!("{method} {origin}{path}{number} {}", self.version));
        let mut head = format!("{start}\r\n");
        for line in &self.lines {
            head += line;
            head += "\r\n";
        }
        head += "\r\n";
        head.into_bytes()
    }

    pub(super) fn finish(self, book: &mut Book) -> Sending {
        let head = self.head(None);
        self.finish_with(head, book)
    }

    /// With a head that may be none.
    pub(super) fn finish_with(mut self, head: Vec<u8>, book: &mut Book) -> Sending {
        if matches!(self.asked.framing, Framing::None) {
            self.asked.body_bytes = 0;
        }
        let sending = Sending {
            number: self.number,
            head_end: head.len(),
            bytes: [head, self.body].concat(),
            expects: self.expects,
            stops: self.stops,
            pause_ns: self.pause_ns,
            is_head: self.asked.method == "HEAD",
            is_http11: self.asked.is_http11,
        };
        book.add(self.number, self.asked);
        sending
    }
}

impl Asked {
    /// A body that is larger than it may be is refused by its length, or once it is.
    fn bounded(mut self, max: Option<u64>) -> Self {
        self.body_bytes = self.body_bytes.min(max.unwrap_or(u64::MAX));
        self
    }
}
