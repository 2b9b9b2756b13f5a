//! HTTP/1.1 of a client: requests that are made once, and responses taken apart as they come.
//!
//! Sans-IO and strict: what is no good response is a failure with a name, never a guess.

use crate::limits::{FIELDS_MAX, HEAD_BYTES_MAX};

/// A request, ready to be sent again and again.
#[derive(Clone, Debug)]
pub struct Request {
    /// Request line, fields, empty line.
    pub head: Vec<u8>,
    /// Bytes of the body, which is all zeros.
    pub body_bytes: u64,
    /// Whether the response has no body whatever its fields say (RFC 9112, 6.3).
    pub is_head: bool,
}

impl Request {
    /// A request to `host`.
    ///
    /// # Errors
    /// The option, and what is wrong with it.
    pub fn new(
        method: &str,
        path: &str,
        host: &str,
        fields: &[String],
        body_bytes: u64,
    ) -> Result<Self, (&'static str, String)> {
        let is_token = |text: &str| {
            !text.is_empty()
                && text
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
        };
        if !is_token(method) {
            return Err(("--method", format!("found {method:?}, expected a token such as GET")));
        }
        if !path.starts_with('/') || !path.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(("--path", format!("found {path:?}, expected /PATH without blanks")));
        }
        let mut head = format!("{method} {path} HTTP/1.1\r\n");
        let has_host = fields.iter().any(|field| field.to_ascii_lowercase().starts_with("host:"));
        if !has_host {
            head += &format!("Host: {host}\r\n");
        }
        for field in fields {
            let good = field.split_once(':').is_some_and(|(name, value)| {
                is_token(name) && !value.bytes().any(|byte| byte.is_ascii_control())
            });
            if !good {
                return Err(("--header", format!("found {field:?}, expected \"Name: value\"")));
            }
            head += &format!("{field}\r\n");
        }
        if body_bytes > 0 {
            head += &format!("Content-Length: {body_bytes}\r\n");
        }
        head += "\r\n";
        Ok(Self { head: head.into_bytes(), body_bytes, is_head: method == "HEAD" })
    }
}

/// What is awaited next of a response.
#[derive(Debug)]
enum State {
    Head(Vec<u8>),
    Body(u64),
    /// The line with a chunk's size; what it has so far.
    ChunkLine(Vec<u8>),
    Chunk(u64),
    /// CRLF behind a chunk; how many bytes of it came.
    ChunkEnd(u8),
    /// Trailer fields; the line so far.
    Trailer(Vec<u8>),
    UntilClose,
    Done,
}

/// One response.
#[derive(Debug)]
pub struct Response {
    state: State,
    is_head: bool,
    /// The status; 0 while the head is not complete.
    pub status: u16,
    /// Whether the connection may carry another request.
    pub keeps_alive: bool,
}

impl Response {
    /// The response to a request; `is_head` where that is a HEAD.
    pub fn new(is_head: bool) -> Self {
        Self { state: State::Head(Vec::new()), is_head, status: 0, keeps_alive: true }
    }

    /// Whether it is complete.
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// The connection has ended in order; whether the response ends with it.
    pub fn ends_with_connection(&mut self) -> bool {
        if matches!(self.state, State::UntilClose) {
            self.state = State::Done;
        }
        self.is_done()
    }

    /// Takes bytes as they come.
    ///
    /// # Errors
    /// What about them is no HTTP/1.1.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Result<(), &'static str> {
        while !bytes.is_empty() {
            let state = std::mem::replace(&mut self.state, State::Done);
            (self.state, bytes) = match state {
                State::Head(head) => self.feed_head(head, bytes)?,
                State::Body(left) => after(left, bytes, State::Body, State::Done),
                State::Chunk(left) => after(left, bytes, State::Chunk, State::ChunkEnd(0)),
                State::ChunkEnd(seen) => {
                    if bytes[0] != b"\r\n"[usize::from(seen)] {
                        return Err("a chunk without its end");
                    }
                    let next =
                        if seen == 0 { State::ChunkEnd(1) } else { State::ChunkLine(Vec::new()) };
                    (next, &bytes[1..])
                }
                State::ChunkLine(line) => match take_line(line, bytes)? {
                    Line::More(line) => (State::ChunkLine(line), &[][..]),
                    Line::Whole(line, rest) => match chunk_size(&line)? {
                        0 => (State::Trailer(Vec::new()), rest),
                        size => (State::Chunk(size), rest),
                    },
                },
                State::Trailer(line) => match take_line(line, bytes)? {
                    Line::More(line) => (State::Trailer(line), &[][..]),
                    Line::Whole(line, rest) if line.is_empty() => (State::Done, rest),
                    Line::Whole(_, rest) => (State::Trailer(Vec::new()), rest),
                },
                State::UntilClose => (State::UntilClose, &[][..]),
                State::Done => return Err("bytes behind the response"),
            };
        }
        Ok(())
    }

    fn feed_head<'b>(
        &mut self,
        mut head: Vec<u8>,
        bytes: &'b [u8],
    ) -> Result<(State, &'b [u8]), &'static str> {
        let before = head.len();
        // The usual case is a head in one piece, which is parsed where it lies.
        let input = if before == 0 {
            bytes
        } else {
            head.extend_from_slice(bytes);
            &head
        };
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let mut parsed = httparse::Response::new(&mut fields);
        match parsed.parse(input) {
            Ok(httparse::Status::Complete(length)) => {
                let status = parsed.code.unwrap_or(0);
                let body = self.body(status, parsed.version == Some(1), parsed.headers)?;
                Ok((body, &bytes[length - before..]))
            }
            Ok(httparse::Status::Partial) => {
                if before == 0 {
                    head.extend_from_slice(bytes);
                }
                if head.len() > HEAD_BYTES_MAX {
                    return Err("a head that is too long");
                }
                Ok((State::Head(head), &[]))
            }
            Err(_) => Err("not HTTP/1.1"),
        }
    }

    /// RFC 9112, 6.3: the length of a response's body.
    fn body(
        &mut self,
        status: u16,
        is_http11: bool,
        fields: &[httparse::Header<'_>],
    ) -> Result<State, &'static str> {
        if (100..200).contains(&status) && status != 101 {
            // An interim response: the final one follows.
            return Ok(State::Head(Vec::new()));
        }
        self.status = status;
        let named = |name: &'static str| {
            fields.iter().filter(move |field| field.name.eq_ignore_ascii_case(name))
        };
        let has = |name, word: &str| {
            named(name).any(|field| {
                String::from_utf8_lossy(field.value).to_ascii_lowercase().contains(word)
            })
        };
        self.keeps_alive =
            if is_http11 { !has("connection", "close") } else { has("connection", "keep-alive") };
        if self.is_head || matches!(status, 204 | 304) {
            return Ok(State::Done);
        }
        if named("transfer-encoding").next().is_some() {
            let chunked = has("transfer-encoding", "chunked");
            self.keeps_alive &= chunked;
            return Ok(if chunked { State::ChunkLine(Vec::new()) } else { State::UntilClose });
        }
        let mut lengths = named("content-length").map(|field| {
            std::str::from_utf8(field.value).ok().and_then(|text| text.trim().parse::<u64>().ok())
        });
        match (lengths.next(), lengths.next()) {
            (None, _) => {
                self.keeps_alive = false;
                Ok(State::UntilClose)
            }
            (Some(Some(0)), None) => Ok(State::Done),
            (Some(Some(length)), None) => Ok(State::Body(length)),
            _ => Err("a Content-Length that is no number"),
        }
    }
}

/// What comes after `left` bytes of a body.
fn after(left: u64, bytes: &[u8], same: fn(u64) -> State, next: State) -> (State, &[u8]) {
    let taken = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
    let left = left - taken as u64;
    (if left == 0 { next } else { same(left) }, &bytes[taken..])
}

enum Line<'b> {
    More(Vec<u8>),
    /// Without its end, and what follows.
    Whole(Vec<u8>, &'b [u8]),
}

fn take_line(mut line: Vec<u8>, bytes: &[u8]) -> Result<Line<'_>, &'static str> {
    let end = bytes.iter().position(|&byte| byte == b'\n');
    line.extend_from_slice(&bytes[..end.unwrap_or(bytes.len())]);
    if line.len() > HEAD_BYTES_MAX {
        return Err("a line that is too long");
    }
    let Some(end) = end else { return Ok(Line::More(line)) };
    if line.pop() != Some(b'\r') {
        return Err("a line that does not end with CRLF");
    }
    Ok(Line::Whole(line, &bytes[end + 1..]))
}

/// RFC 9112, 7.1: hexadecimal, extensions behind a semicolon are ignored.
fn chunk_size(line: &[u8]) -> Result<u64, &'static str> {
    let digits = line.split(|&byte| byte == b';' || byte == b' ').next().unwrap_or_default();
    let is_hex = !digits.is_empty() && digits.iter().all(u8::is_ascii_hexdigit);
    let text = std::str::from_utf8(digits).unwrap_or_default();
    match u64::from_str_radix(text, 16) {
        Ok(size) if is_hex => Ok(size),
        _ => Err("a chunk without a size"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fed(text: &str, piece_bytes: usize) -> Result<Response, &'static str> {
        let mut response = Response::new(false);
        text.as_bytes().chunks(piece_bytes).try_for_each(|piece| response.feed(piece))?;
        Ok(response)
    }

    const OK: &str = "HTTP/1.1 200 OK\r\n";

    #[test]
    fn every_framing_is_understood_at_every_cut() {
        let whole = [
            format!("{OK}Content-Length: 5\r\n\r\nhello"),
            format!("{OK}Content-Length: 0\r\n\r\n"),
            format!(
                "{OK}Transfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n\
                 A\r\n0123456789\r\n0\r\nT: x\r\n\r\n"
            ),
            "HTTP/1.1 204 No Content\r\n\r\n".to_owned(),
            format!("HTTP/1.1 100 Continue\r\n\r\n{OK}Content-Length: 1\r\n\r\nx"),
        ];
        for text in &whole {
            for piece_bytes in 1..=text.len() {
                let response = fed(text, piece_bytes).expect(text);
                assert!(response.is_done() && response.keeps_alive, "{text} by {piece_bytes}");
            }
        }
        let mut until_close = fed(&format!("{OK}\r\nhel"), 4).expect("a head");
        assert!(!until_close.is_done() && until_close.ends_with_connection());
        assert!(!until_close.keeps_alive);
        let mut cut = fed(&format!("{OK}Content-Length: 5\r\n\r\nhel"), 9).expect("a head");
        assert!(!cut.ends_with_connection(), "two bytes are missing");
    }

    #[test]
    fn what_is_no_response_has_a_name() {
        for (text, expected) in [
            ("SSH-2.0-OpenSSH\r\n\r\n", "not HTTP/1.1"),
            (&format!("{OK}Content-Length: x\r\n\r\n"), "a Content-Length that is no number"),
            (&format!("{OK}Content-Length: 1\r\n\r\nab"), "bytes behind the response"),
            (&format!("{OK}Transfer-Encoding: chunked\r\n\r\nz\r\n"), "a chunk without a size"),
            (&format!("{OK}Transfer-Encoding: chunked\r\n\r\n1\r\nabc"), "a chunk without its end"),
        ] {
            assert_eq!(fed(text, 7).err(), Some(expected), "{text}");
        }
        let endless = format!("{OK}X: {}", "x".repeat(HEAD_BYTES_MAX));
        assert_eq!(fed(&endless, 1000).err(), Some("a head that is too long"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            cut in 1_usize..50,
        ) {
            let mut response = Response::new(false);
            let head = format!("{OK}Transfer-Encoding: chunked\r\n\r\n");
            response.feed(head.as_bytes()).expect("a good head");
            for piece in bytes.chunks(cut) {
                if response.feed(piece).is_err() {
                    break;
                }
            }
        }
    }
}
