//! The head of an HTTP/1.x request, as far as the demo's origin needs it (RFC 9112).
//!
//! Text in, what to do or the status to refuse with out; it knows no sockets. Where a request
//! could be read in two ways it is refused, so that no byte of a body is taken for a request.

use crate::limits::DEMO_BODY_BYTES_MAX;

/// A request that the origin answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    /// `GET`, `HEAD` or `POST`.
    pub(super) method: &'static str,
    /// The request target, as it came.
    pub(super) target: String,
    /// Bytes of the body that follows.
    pub(super) body_bytes: usize,
    /// Whether another request may follow.
    pub(super) keep_alive: bool,
    /// Whether the client waits for a go-ahead before it sends the body (RFC 9110, 10.1.1).
    pub(super) expects_continue: bool,
}

/// A status code and its reason.
pub(super) type Status = (u16, &'static str);

pub(super) const HEAD_TOO_LARGE: Status = (431, "Request Header Fields Too Large");
pub(super) const TIMEOUT: Status = (408, "Request Timeout");
pub(super) const UNAVAILABLE: Status = (503, "Service Unavailable");
const BAD_REQUEST: Status = (400, "Bad Request");
const METHOD_NOT_ALLOWED: Status = (405, "Method Not Allowed");
const LENGTH_REQUIRED: Status = (411, "Length Required");
const BODY_TOO_LARGE: Status = (413, "Content Too Large");
const EXPECTATION_FAILED: Status = (417, "Expectation Failed");
const VERSION_NOT_SUPPORTED: Status = (505, "HTTP Version Not Supported");

/// Where the head ends in `bytes`: behind its empty line.
pub(super) fn head_end(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4)
}

/// Reads a head, its empty line included.
///
/// # Errors
///
/// The status to answer with before the connection is closed.
pub(super) fn parse(head: &[u8]) -> Result<Request, Status> {
    let head = std::str::from_utf8(head).map_err(|_| BAD_REQUEST)?;
    let mut lines = head.strip_suffix("\r\n\r\n").ok_or(BAD_REQUEST)?.split("\r\n");
    let mut words = lines.next().unwrap_or("").split(' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(BAD_REQUEST);
    };
    let is_11 = match version {
        "HTTP/1.1" => true,
        "HTTP/1.0" => false,
        other if other.starts_with("HTTP/") => return Err(VERSION_NOT_SUPPORTED),
        _ => return Err(BAD_REQUEST),
    };
    if target.is_empty() || !target.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(BAD_REQUEST);
    }
    let fields = Fields::read(lines, is_11)?;
    let methods = ["GET", "HEAD", "POST"];
    let known = methods.into_iter().find(|known| *known == method);
    let method = known.ok_or(METHOD_NOT_ALLOWED)?;
    let expects_continue = match fields.expect.as_deref() {
        None => false,
        Some(expect) if expect.eq_ignore_ascii_case("100-continue") => is_11,
        Some(_) => return Err(EXPECTATION_FAILED),
    };
    Ok(Request {
        method,
        target: target.to_owned(),
        body_bytes: fields.body_bytes.unwrap_or(0),
        keep_alive: is_11 && !fields.closes,
        expects_continue: expects_continue && fields.body_bytes.is_some_and(|bytes| bytes > 0),
    })
}

#[derive(Default)]
struct Fields {
    body_bytes: Option<usize>,
    closes: bool,
    expect: Option<String>,
}

impl Fields {
    fn read<'a>(lines: impl Iterator<Item = &'a str>, is_11: bool) -> Result<Self, Status> {
        let mut fields = Self::default();
        let (mut hosts, mut is_chunked) = (0, false);
        for line in lines {
            let (name, value) = line.split_once(':').ok_or(BAD_REQUEST)?;
            let is_token =
                |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
            let is_text = |c: char| c == '\t' || !c.is_control();
            if name.is_empty() || !name.bytes().all(is_token) || !value.chars().all(is_text) {
                return Err(BAD_REQUEST);
            }
            let value = value.trim_matches([' ', '\t']);
            match name.to_ascii_lowercase().as_str() {
                "host" => hosts += 1,
                "content-length" => {
                    let digits = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
                    if !digits || fields.body_bytes.is_some() {
                        return Err(BAD_REQUEST);
                    }
                    let bytes = value.parse().ok().filter(|bytes| *bytes <= DEMO_BODY_BYTES_MAX);
                    fields.body_bytes = Some(bytes.ok_or(BODY_TOO_LARGE)?);
                }
                "transfer-encoding" => is_chunked = true,
                "connection" => {
                    let mut options = value.split(',').map(str::trim);
                    fields.closes |= options.any(|option| option.eq_ignore_ascii_case("close"));
                }
                "expect" => fields.expect = Some(value.to_owned()),
                _ => {}
            }
        }
        // RFC 9112, 3.2 and 6.3.
        if (is_11 && hosts != 1) || hosts > 1 || (is_chunked && fields.body_bytes.is_some()) {
            return Err(BAD_REQUEST);
        }
        if is_chunked { Err(LENGTH_REQUIRED) } else { Ok(fields) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> Result<Request, Status> {
        parse(text.replace('\n', "\r\n").as_bytes())
    }

    #[test]
    fn a_request_says_what_follows_it() {
        let request =
            parsed("POST /a?b HTTP/1.1\nHost: h\nContent-Length: 7\nExpect: 100-Continue\n\n");
        let expected = Request {
            method: "POST",
            target: String::from("/a?b"),
            body_bytes: 7,
            keep_alive: true,
            expects_continue: true,
        };
        assert_eq!(request, Ok(expected));
        let closes = |text| parsed(text).map(|request| !request.keep_alive);
        assert_eq!(closes("GET / HTTP/1.1\nHost: h\n\n"), Ok(false));
        assert_eq!(closes("GET / HTTP/1.1\nhost: h\nconnection: x, Close\n\n"), Ok(true));
        assert_eq!(closes("HEAD / HTTP/1.0\n\n"), Ok(true));
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        for (text, status) in [
            ("GET / HTTP/1.1\n\n", 400),
            ("GET / HTTP/1.1\nHost: a\nHost: b\n\n", 400),
            ("GET  / HTTP/1.1\nHost: a\n\n", 400),
            ("GET /\x01 HTTP/1.1\nHost: a\n\n", 400),
            ("GET / HTTP/1.1\nHost : a\n\n", 400),
            ("GET / HTTP/1.1\nHost: a\n folded: b\n\n", 400),
            ("POST / HTTP/1.1\nHost: a\nContent-Length: 1\nContent-Length: 2\n\n", 400),
            ("POST / HTTP/1.1\nHost: a\nContent-Length: +1\n\n", 400),
            ("POST / HTTP/1.1\nHost: a\nContent-Length: 1\nTransfer-Encoding: chunked\n\n", 400),
            ("POST / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\n", 411),
            ("POST / HTTP/1.1\nHost: a\nContent-Length: 99999999999999999999999\n\n", 413),
            ("DELETE / HTTP/1.1\nHost: a\n\n", 405),
            ("GET / HTTP/1.1\nHost: a\nExpect: miracles\n\n", 417),
            ("GET / HTTP/2.0\nHost: a\n\n", 505),
            ("GET / http\n\n", 400),
        ] {
            assert_eq!(parsed(text).map_err(|(code, _)| code), Err(status), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
            let mut head = b"GET / HTTP/1.1\r\n".to_vec();
            head.extend(bytes);
            head.extend(b"\r\n\r\n");
            let _ = parse(&head);
        }
    }
}
