//! HTTP/1.1 of the origin: requests taken apart as they come, answers that are made ready once.
//!
//! It knows no sockets but in [`serve`]. Invariant: one answer for each request, in their order,
//! and none behind a message whose end is in doubt.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::poll_fn;
use std::rc::Rc;

use ringfort::rt::stream::{Errno, Stream};

use super::target::{Target, target};
use crate::client::FILLER;
use crate::http::body::{Body, content_length, lists};
use crate::limits::{FIELDS_MAX, HEAD_BYTES_MAX, ORIGIN_READY_BYTES_MAX, ORIGIN_READY_MAX};

/// A request's head, as far as it matters.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    target: Target,
    body: Body,
    is_head: bool,
    keeps_alive: bool,
    expects_continue: bool,
}

/// Why a request is not answered with what it asks for: the status line's rest.
type Refusal = &'static str;

const BAD_REQUEST: Refusal = "400 Bad Request";
const NOT_FOUND: Refusal = "404 Not Found";
const LENGTH_REQUIRED: Refusal = "411 Length Required";
const TOO_LARGE: Refusal = "431 Request Header Fields Too Large";

/// Parses a head. `Ok(None)` where it is not complete; else how long it is.
fn parse(bytes: &[u8], body_bytes: u64) -> Result<Option<(Head, usize)>, Refusal> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut parsed = httparse::Request::new(&mut fields);
    let length = match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if bytes.len() <= HEAD_BYTES_MAX => return Ok(None),
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            return Err(TOO_LARGE);
        }
        Err(_) => return Err(BAD_REQUEST),
    };
    let fields = &*parsed.headers;
    let body = framing(fields)?;
    let is_http11 = parsed.version == Some(1);
    let target = target(parsed.path.unwrap_or_default(), body_bytes).ok_or(NOT_FOUND)?;
    if target == Target::Echo && !matches!(body, Body::Sized(_) | Body::Done) {
        return Err(LENGTH_REQUIRED);
    }
    let head = Head {
        target,
        body,
        is_head: parsed.method == Some("HEAD"),
        keeps_alive: is_http11 && !lists(fields, "connection", "close"),
        expects_continue: lists(fields, "expect", "100-continue"),
    };
    Ok(Some((head, length)))
}

/// RFC 9112, 6.3. A request that names both lengths is refused: what sent it may see another end.
fn framing(fields: &[httparse::Header<'_>]) -> Result<Body, Refusal> {
    let named = |name: &'static str| {
        fields.iter().filter(move |field| field.name.eq_ignore_ascii_case(name))
    };
    let mut lengths = named("content-length").map(|field| content_length(field.value));
    let chunked = named("transfer-encoding").count();
    match (lengths.next(), lengths.next(), chunked) {
        (None, _, 0) => Ok(Body::Done),
        (Some(Some(length)), None, 0) => Ok(Body::sized(length)),
        (None, _, 1) if lists(fields, "transfer-encoding", "chunked") => Ok(Body::chunked()),
        _ => Err(BAD_REQUEST),
    }
}

/// Answers that are ready as a whole, head and body, by the length of the body.
#[derive(Debug, Default)]
pub struct Ready {
    answers: RefCell<HashMap<u64, Rc<[u8]>>>,
}

impl Ready {
    /// The answer of that length; `None` of one that is too long to be kept.
    fn answer(&self, bytes: u64) -> Option<Rc<[u8]>> {
        let length = usize::try_from(bytes).ok().filter(|_| bytes <= ORIGIN_READY_BYTES_MAX)?;
        let mut answers = self.answers.borrow_mut();
        if let Some(answer) = answers.get(&bytes) {
            return Some(Rc::clone(answer));
        }
        let mut answer = head(bytes);
        answer.resize(answer.len() + length, FILLER[0]);
        let answer: Rc<[u8]> = answer.into();
        if answers.len() < ORIGIN_READY_MAX {
            answers.insert(bytes, Rc::clone(&answer));
        }
        Some(answer)
    }
}

fn head(bytes: u64) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {bytes}\r\n\r\n").into_bytes()
}

/// Serves a connection of which these bytes have come.
///
/// # Errors
/// The errno of the socket.
pub async fn serve(
    stream: &Stream,
    mut bytes: Vec<u8>,
    ready: &Ready,
    body_bytes: u64,
) -> Result<(), Errno> {
    loop {
        let (head, length) = match parse(&bytes, body_bytes) {
            Ok(Some(found)) => found,
            Ok(None) => match stream.recv().await? {
                Some(more) => {
                    bytes.extend_from_slice(&more);
                    continue;
                }
                None => return Ok(()),
            },
            Err(refusal) => return refuse(stream, refusal),
        };
        bytes.drain(..length);
        let keeps_alive = head.keeps_alive;
        if !exchange(stream, head, &mut bytes, ready).await? {
            return refuse(stream, BAD_REQUEST);
        }
        if !keeps_alive {
            return Ok(());
        }
    }
}

/// Says so and closes: what follows may be anything.
fn refuse(stream: &Stream, refusal: Refusal) -> Result<(), Errno> {
    stream.append(format!("HTTP/1.1 {refusal}\r\nConnection: close\r\n").as_bytes());
    stream.append(b"Content-Length: 0\r\n\r\n");
    stream.flush();
    Ok(())
}

/// Takes the request's body, then answers; an echo answers meanwhile. Returns whether the body was
/// well-formed; `bytes` keeps what follows it.
async fn exchange(
    stream: &Stream,
    mut request: Head,
    bytes: &mut Vec<u8>,
    ready: &Ready,
) -> Result<bool, Errno> {
    if request.expects_continue && request.body != Body::Done {
        send(stream, b"HTTP/1.1 100 Continue\r\n\r\n").await?;
    }
    let is_echo = request.target == Target::Echo;
    if let (true, Body::Sized(length)) = (is_echo, &request.body) {
        send(stream, &head(*length)).await?;
    }
    let mut taken = feed(&mut request.body, bytes, is_echo, stream);
    while taken.is_some() && request.body != Body::Done {
        poll_fn(|cx| stream.poll_writable(cx)).await?;
        let Some(more) = stream.recv().await? else { return Ok(false) };
        taken = feed(&mut request.body, &more, is_echo, stream);
    }
    let Some(rest) = taken else { return Ok(false) };
    *bytes = rest;
    match request.target {
        Target::Echo => {}
        Target::Bytes(length) if request.is_head => send(stream, &head(length)).await?,
        Target::Bytes(length) => send_body(stream, length, ready).await?,
    }
    Ok(true)
}

/// Takes a piece; `None` where it is malformed, else what follows the body.
fn feed(body: &mut Body, bytes: &[u8], is_echo: bool, stream: &Stream) -> Option<Vec<u8>> {
    let rest = body.feed(bytes, |piece| {
        if is_echo {
            stream.append(piece);
        }
        Ok::<(), &str>(())
    });
    if is_echo {
        stream.flush();
    }
    rest.ok().map(<[u8]>::to_vec)
}

async fn send(stream: &Stream, bytes: &[u8]) -> Result<(), Errno> {
    poll_fn(|cx| stream.poll_writable(cx)).await?;
    stream.append(bytes);
    stream.flush();
    Ok(())
}

async fn send_body(stream: &Stream, length: u64, ready: &Ready) -> Result<(), Errno> {
    if let Some(answer) = ready.answer(length) {
        return send(stream, &answer).await;
    }
    // With the head in the first send there is one segment less.
    stream.append(&head(length));
    let mut left = length;
    while left > 0 {
        let piece = usize::try_from(left).unwrap_or(usize::MAX).min(FILLER.len());
        left -= piece as u64;
        send(stream, &FILLER[..piece]).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> Result<Head, Refusal> {
        parse(text.as_bytes(), 7).map(|found| found.expect("a whole head").0)
    }

    #[test]
    fn what_a_request_asks_for_is_read_from_its_head() {
        let head = parsed("GET /bytes/12 HTTP/1.1\r\nHost: a\r\n\r\n").expect("a good request");
        assert_eq!(
            (&head.target, &head.body, head.keeps_alive),
            (&Target::Bytes(12), &Body::Done, true)
        );
        let old = parsed("HEAD / HTTP/1.0\r\n\r\n").expect("a good request");
        assert_eq!((&old.target, old.keeps_alive, old.is_head), (&Target::Bytes(7), false, true));
        let upload =
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n";
        let upload = parsed(upload).expect("a good request");
        assert_eq!((upload.body, upload.expects_continue), (Body::chunked(), true));
        let part = parse(b"GET / HTTP/1.1\r\nHost", 7);
        assert_eq!(part, Ok(None));
    }

    #[test]
    fn what_is_no_good_request_is_refused() {
        for (text, refusal) in [
            ("GET\r\n\r\n", BAD_REQUEST),
            ("GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n", BAD_REQUEST),
            ("GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", BAD_REQUEST),
            (
                "POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
                BAD_REQUEST,
            ),
            ("POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", BAD_REQUEST),
            ("POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", LENGTH_REQUIRED),
            ("GET /bytes/x HTTP/1.1\r\n\r\n", NOT_FOUND),
        ] {
            assert_eq!(parsed(text).expect_err(text), refusal, "{text}");
        }
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(FIELDS_MAX + 1));
        assert_eq!(parsed(&many).expect_err("too many"), TOO_LARGE);
        let endless = format!("GET / HTTP/1.1\r\nA: {}", "b".repeat(HEAD_BYTES_MAX));
        assert_eq!(parse(endless.as_bytes(), 7), Err(TOO_LARGE));
    }

    #[test]
    fn short_answers_are_kept_and_their_number_is_bounded() {
        let ready = Ready::default();
        let answer = ready.answer(3).expect("a short one");
        assert_eq!(&*answer, b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n\0\0\0");
        for length in 0..2 * ORIGIN_READY_MAX as u64 {
            assert!(ready.answer(length).is_some());
        }
        assert_eq!(ready.answers.borrow().len(), ORIGIN_READY_MAX);
        assert!(ready.answer(ORIGIN_READY_BYTES_MAX + 1).is_none());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes, 0);
            let _ = parse(&[b"GET / HTTP/1.1\r\n", bytes.as_slice(), b"\r\n\r\n"].concat(), 0);
        }
    }
}
