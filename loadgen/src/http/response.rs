//! One response of HTTP/1.1, taken apart as it comes.

use super::body::{Body, content_length, lists};
use super::verdict::{Expected, Verdict};
use crate::limits::{FIELDS_MAX, HEAD_BYTES_MAX};
use crate::tally::Failure;

/// What is awaited next of a response.
#[derive(Debug)]
enum State {
    Head(Vec<u8>),
    Body(Body),
}

/// See the module's description.
#[derive(Debug)]
pub struct Response {
    state: State,
    verdict: Verdict,
    /// Whether the connection may carry another request.
    pub keeps_alive: bool,
}

impl Response {
    /// The response to a request that wants this.
    pub fn new(expected: Expected) -> Self {
        let verdict = Verdict::new(expected);
        Self { state: State::Head(Vec::new()), verdict, keeps_alive: true }
    }

    /// Whether it is complete.
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Body(Body::Done))
    }

    /// Whether the rest of its request is of no use: it is an error, and complete.
    pub fn refuses(&self) -> bool {
        self.is_done() && !self.verdict.is_success()
    }

    /// Whether it is what was asked for, once it is complete.
    ///
    /// # Errors
    /// Its status, or what about its body is wrong.
    pub fn verdict(&self) -> Result<(), Failure> {
        self.verdict.end()
    }

    /// The connection has ended in order; whether the response ends with it.
    pub fn ends_with_connection(&mut self) -> bool {
        if matches!(self.state, State::Body(Body::UntilClose)) {
            self.state = State::Body(Body::Done);
        }
        self.is_done()
    }

    /// Takes bytes as they come.
    ///
    /// # Errors
    /// What about them is no HTTP/1.1, or not what was asked for.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Result<(), Failure> {
        while !bytes.is_empty() {
            match &mut self.state {
                State::Head(head) => {
                    let head = std::mem::take(head);
                    (self.state, bytes) = self.feed_head(head, bytes)?;
                }
                State::Body(Body::Done) => return Err("bytes behind the response".into()),
                State::Body(body) => {
                    let verdict = &mut self.verdict;
                    bytes = body.feed(bytes, |piece| verdict.feed(piece))?;
                }
            }
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
        self.verdict.status = status;
        self.keeps_alive = if is_http11 {
            !lists(fields, "connection", "close")
        } else {
            lists(fields, "connection", "keep-alive")
        };
        if self.verdict.expected().is_head || matches!(status, 101 | 204 | 304) {
            return Ok(State::Body(Body::Done));
        }
        let named = |name: &'static str| {
            fields.iter().filter(move |field| field.name.eq_ignore_ascii_case(name))
        };
        let mut lengths = named("content-length").map(|field| content_length(field.value));
        let length = (lengths.next(), lengths.next());
        if named("transfer-encoding").next().is_some() {
            // "such a message might indicate an attempt to perform request smuggling or response
            // splitting [...] and ought to be handled as an error" (6.3).
            if length.0.is_some() {
                return Err("with a Content-Length and a Transfer-Encoding");
            }
            if !lists(fields, "transfer-encoding", "chunked") {
                return Err("with a Transfer-Encoding other than chunked");
            }
            return Ok(State::Body(Body::chunked()));
        }
        match length {
            (None, _) => {
                self.keeps_alive = false;
                Ok(State::Body(Body::UntilClose))
            }
            (Some(Some(length)), None) => Ok(State::Body(Body::sized(length))),
            (Some(Some(_)), Some(_)) => Err("with several Content-Lengths"),
            _ => Err("a Content-Length that is no number"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fed(text: &str, piece_bytes: usize) -> Result<Response, Failure> {
        let mut response = Response::new(Expected::default());
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
            (&format!("{OK}Content-Length: +1\r\n\r\n"), "a Content-Length that is no number"),
            (
                &format!("{OK}Content-Length: 1\r\nContent-Length: 1\r\n\r\n"),
                "with several Content-Lengths",
            ),
            (
                &format!("{OK}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"),
                "with a Content-Length and a Transfer-Encoding",
            ),
            (
                &format!("{OK}Transfer-Encoding: xchunked\r\n\r\n"),
                "with a Transfer-Encoding other than chunked",
            ),
            (&format!("{OK}Content-Length: x\r\n\r\n"), "a Content-Length that is no number"),
            (&format!("{OK}Content-Length: 1\r\n\r\nab"), "bytes behind the response"),
            (&format!("{OK}Transfer-Encoding: chunked\r\n\r\nz\r\n"), "a chunk without a size"),
            (&format!("{OK}Transfer-Encoding: chunked\r\n\r\n1\r\nabc"), "a chunk without its end"),
        ] {
            assert_eq!(fed(text, 7).err(), Some(Failure::Answer(expected)), "{text}");
        }
        let endless = format!("{OK}X: {}", "x".repeat(HEAD_BYTES_MAX));
        assert_eq!(fed(&endless, 1000).err(), Some(Failure::Answer("a head that is too long")));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            cut in 1_usize..50,
        ) {
            let mut response = Response::new(Expected::default());
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
