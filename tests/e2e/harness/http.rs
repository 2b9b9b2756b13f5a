//! HTTP/1.1 as it is on the wire, for clients and origins that a test controls.
//!
//! Invariant: it reads strictly and by itself, with nothing of the gateway, so that both ends of a
//! test agree on what a message is only where the bytes are right.

use std::io::{self, Read, Write};
use std::net::SocketAddr;

use super::LOOK_AGAIN;
use super::client::{Client, ClientOptions};

/// A head that is longer than any test's.
const HEAD_BYTES_MAX: usize = 256 * 1024;
/// Bytes of one read.
const PIECE_BYTES: usize = 64 * 1024;

/// A request or a response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Message {
    /// The request line or status line.
    pub(crate) start: String,
    /// Field lines: name and value, in their order.
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
}

impl Message {
    fn parse(head: &[u8]) -> io::Result<Self> {
        let text = std::str::from_utf8(head).map_err(|_| bad("a head that is not UTF-8"))?;
        let (start, fields) = text.split_once("\r\n").unwrap_or((text, ""));
        Ok(Self { start: start.into(), fields: parse_fields(fields)?, ..Self::default() })
    }

    /// The method of a request.
    pub(crate) fn method(&self) -> &str {
        self.start.split(' ').next().unwrap_or_default()
    }

    /// The target of a request.
    pub(crate) fn target(&self) -> &str {
        self.start.split(' ').nth(1).unwrap_or_default()
    }

    /// The status of a response.
    #[track_caller]
    pub(crate) fn status(&self) -> u16 {
        let status = self.start.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
        let status = status.and_then(|status| status.parse().ok());
        status.unwrap_or_else(|| panic!("no status line: {:?}", self.start))
    }

    /// The values of a field, in whatever case.
    pub(crate) fn values(&self, name: &str) -> Vec<&str> {
        let named = self.fields.iter().filter(|(found, _)| found.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str()).collect()
    }

    /// The only value of a field.
    #[track_caller]
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        let values = self.values(name);
        assert!(values.len() < 2, "several {name}: {values:?}");
        values.first().copied()
    }

    /// The body as text.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a body of text")
    }
}

fn parse_fields(text: &str) -> io::Result<Vec<(String, String)>> {
    let lines = text.split("\r\n").filter(|line| !line.is_empty());
    lines
        .map(|line| {
            let (name, value) = line.split_once(':').ok_or_else(|| bad("a line without colon"))?;
            if name.is_empty() || name.contains([' ', '\t']) || line.contains(['\r', '\n', '\0']) {
                return Err(bad(&format!("a malformed field line: {line:?}")));
            }
            Ok((name.to_string(), value.trim_matches([' ', '\t']).to_string()))
        })
        .collect()
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_string())
}

/// How a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    None,
    Length(u64),
    Chunked,
    UntilClose,
}

/// A connection, and what was read of it beyond the last message.
pub(crate) struct Wire<S> {
    pub(crate) stream: S,
    buffer: Vec<u8>,
    /// Bytes of the buffer that are used.
    used: usize,
}

impl<S: Read + Write> Wire<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, buffer: Vec::new(), used: 0 }
    }

    /// Sends bytes.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())?;
        self.stream.flush()
    }

    /// Sends bytes.
    #[track_caller]
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).expect("the peer takes bytes");
    }

    /// The next head, without a body; `None` where the peer has ended before its first byte.
    pub(crate) fn head(&mut self) -> io::Result<Option<Message>> {
        let mut looked_at = 0;
        loop {
            let from = usize::saturating_sub(looked_at, 3);
            let end = self.there()[from..].windows(4).position(|four| four == b"\r\n\r\n");
            if let Some(end) = end {
                let head = self.exactly(from + end + 4)?;
                return Message::parse(&head[..head.len() - 4]).map(Some);
            }
            looked_at = self.there().len();
            if looked_at > HEAD_BYTES_MAX {
                return Err(bad("a head without end"));
            }
            if self.fill()? == 0 {
                return if self.there().is_empty() {
                    Ok(None)
                } else {
                    Err(io::ErrorKind::UnexpectedEof.into())
                };
            }
        }
    }

    /// The next request with its body.
    pub(crate) fn request(&mut self) -> io::Result<Option<Message>> {
        let Some(mut request) = self.head()? else { return Ok(None) };
        self.request_body(&mut request)?;
        Ok(Some(request))
    }

    /// The body of a request whose head was read.
    pub(crate) fn request_body(&mut self, request: &mut Message) -> io::Result<()> {
        let framing = framing(request)?.unwrap_or(Framing::None);
        self.body(request, framing)
    }

    /// The next response to a request of this method, interim ones too.
    pub(crate) fn response(&mut self, method: &str) -> io::Result<Message> {
        let mut response = self.head()?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let framing = match response.status() {
            100..200 | 204 | 304 => Framing::None,
            _ if method == "HEAD" => Framing::None,
            _ => framing(&response)?.unwrap_or(Framing::UntilClose),
        };
        self.body(&mut response, framing)?;
        Ok(response)
    }

    fn body(&mut self, message: &mut Message, framing: Framing) -> io::Result<()> {
        match framing {
            Framing::None => {}
            Framing::Length(length) => {
                let length = usize::try_from(length).map_err(|_| bad("a length beyond memory"))?;
                message.body = self.exactly(length)?;
            }
            Framing::Chunked => {
                while let Some(size) = self.chunk_size()? {
                    message.body.extend(self.chunk_data(size)?);
                }
                self.trailers(message)?;
            }
            Framing::UntilClose => {
                while self.fill()? > 0 {}
                message.body = self.take(self.there().len());
            }
        }
        Ok(())
    }

    /// The next chunk of a body that is not to be held whole; `None` at its end, without trailers.
    pub(crate) fn chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        match self.chunk_size()? {
            Some(size) => self.chunk_data(size).map(Some),
            None => self.trailers(&mut Message::default()).map(|()| None),
        }
    }

    fn chunk_size(&mut self) -> io::Result<Option<usize>> {
        let line = self.line()?;
        let size = line.split(';').next().unwrap_or_default();
        let size = usize::from_str_radix(size, 16).map_err(|_| bad("no chunk size"))?;
        Ok((size > 0).then_some(size))
    }

    fn chunk_data(&mut self, size: usize) -> io::Result<Vec<u8>> {
        let data = self.exactly(size)?;
        if self.exactly(2)? != b"\r\n" {
            return Err(bad("no end of a chunk"));
        }
        Ok(data)
    }

    fn trailers(&mut self, message: &mut Message) -> io::Result<()> {
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(());
            }
            message.trailers.extend(parse_fields(&line)?);
        }
    }

    fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.there().windows(2).position(|two| two == b"\r\n") {
                let mut line = self.take(end + 2);
                line.truncate(end);
                return String::from_utf8(line).map_err(|_| bad("a line that is not UTF-8"));
            }
            if self.fill()? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// So many bytes.
    pub(crate) fn exactly(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.there().len() < count {
            if self.fill()? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(self.take(count))
    }

    /// What is there or comes next, of a body that is not to be held whole; 0 bytes at the end.
    pub(crate) fn piece(&mut self, bytes_max: u64) -> io::Result<Vec<u8>> {
        if self.there().is_empty() {
            self.fill()?;
        }
        let there = self.there().len();
        Ok(self.take(usize::try_from(bytes_max).map_or(there, |max| there.min(max))))
    }

    /// Everything up to the end of the connection, whichever way it ends.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        while matches!(self.fill(), Ok(1..)) {}
        self.take(self.there().len())
    }

    fn there(&self) -> &[u8] {
        &self.buffer[self.used..]
    }

    fn take(&mut self, count: usize) -> Vec<u8> {
        let taken = self.there()[..count].to_vec();
        self.used += count;
        taken
    }

    fn fill(&mut self) -> io::Result<usize> {
        self.buffer.drain(..std::mem::take(&mut self.used));
        let before = self.buffer.len();
        self.buffer.resize(before + PIECE_BYTES, 0);
        let read = loop {
            match self.stream.read(&mut self.buffer[before..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        self.buffer.truncate(before + *read.as_ref().unwrap_or(&0));
        read
    }
}

/// What the fields say of the body; `None` where they say nothing.
fn framing(message: &Message) -> io::Result<Option<Framing>> {
    match (&message.values("transfer-encoding")[..], &message.values("content-length")[..]) {
        ([], []) => Ok(None),
        (["chunked"], []) => Ok(Some(Framing::Chunked)),
        ([], [length]) if length.bytes().all(|byte| byte.is_ascii_digit()) => {
            let length = length.parse().map_err(|_| bad("a length of more than 64 bits"))?;
            Ok(Some(Framing::Length(length)))
        }
        (codings, lengths) => Err(bad(&format!("ambiguous: {codings:?} and {lengths:?}"))),
    }
}

/// A client of HTTP/1.1.
pub(crate) type HttpClient = Wire<Client>;

impl HttpClient {
    /// The usual client.
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::connect_with(&ClientOptions::default(), address)
    }

    /// This client.
    pub(crate) fn connect_with(options: &ClientOptions, address: SocketAddr) -> Self {
        let options = options.clone().alpn(&["http/1.1"]);
        Self::new(options.connect(address).expect("the client is let in"))
    }

    /// Sends a GET and returns what answers it.
    #[track_caller]
    pub(crate) fn get(&mut self, target: &str) -> Message {
        self.ask("GET", target, "")
    }

    /// Sends a request without a body, with these field lines, and returns what answers it.
    #[track_caller]
    pub(crate) fn ask(&mut self, method: &str, target: &str, lines: &str) -> Message {
        self.send(request(method, target, lines));
        self.answer(method)
    }

    /// The final response to a request of this method.
    #[track_caller]
    pub(crate) fn answer(&mut self, method: &str) -> Message {
        loop {
            let response = self.response(method).expect("a response");
            if response.status() >= 200 || response.status() == 101 {
                return response;
            }
        }
    }

    /// Sends bytes, and takes what comes meanwhile: for more than sockets hold.
    pub(crate) fn pipeline(&mut self, mut bytes: &[u8]) {
        let Client { tls, socket } = &mut self.stream;
        socket.set_nonblocking(true).expect("a socket");
        let is_later = |error: &io::Error| error.kind() == io::ErrorKind::WouldBlock;
        while !bytes.is_empty() || tls.wants_write() {
            let written = tls.writer().write(bytes).expect("into memory");
            bytes = &bytes[written..];
            let wrote = tls.write_tls(socket);
            let read = tls.read_tls(socket);
            match (&wrote, &read) {
                (Err(one), Err(other)) if is_later(one) && is_later(other) => {
                    std::thread::sleep(LOOK_AGAIN);
                }
                (Err(error), _) | (_, Err(error)) if !is_later(error) => panic!("{error}"),
                (_, Ok(0)) => panic!("the gateway has ended the connection"),
                _ => {}
            }
            tls.process_new_packets().expect("TLS");
            // Up to what is there: the rest is for later.
            let _ = tls.reader().read_to_end(&mut self.buffer);
        }
        socket.set_nonblocking(false).expect("a socket");
    }

    /// Asserts that the gateway has ended the connection, in order, and sent nothing more.
    #[track_caller]
    pub(crate) fn assert_ended(mut self) {
        assert_eq!(self.there(), b"", "something follows");
        assert_eq!(self.stream.read_to_end().expect("close_notify ends it"), b"");
    }
}

/// The text of a request for [`SERVER_NAME`](super::pki::SERVER_NAME); each of `lines` ends with
/// CRLF.
pub(crate) fn request(method: &str, target: &str, lines: &str) -> String {
    format!("{method} {target} HTTP/1.1\r\nHost: {}\r\n{lines}\r\n", super::pki::SERVER_NAME)
}

/// The text of a request with a body of known length.
pub(crate) fn request_with(method: &str, target: &str, lines: &str, body: &str) -> String {
    let lines = format!("{lines}Content-Length: {}\r\n", body.len());
    request(method, target, &lines) + body
}
