//! Heads on their way out: what is kept of the head that came, and what is added. It must not know
//! why.
//!
//! Invariant: what is written is one head with one framing: Host, Content-Length, Transfer-Encoding
//! and Connection are never those that came. Spans have no CR and no LF; what the caller gives must
//! have none either, but for the ends of whole lines.

use std::io::Write as _;

use super::body::Framing;
use super::fields::{Class, Field, values};
use super::request::RequestHead;
use super::response::ResponseHead;

/// What of a request's head goes out in another way than it came.
#[derive(Clone, Copy)]
pub struct RequestChange<'a> {
    /// Path and query.
    pub target: &'a [u8],
    /// The host.
    pub host: &'a [u8],
    /// How the body goes out.
    pub framing: Framing,
    /// Which end-to-end and forwarding fields go on, by class and name.
    pub keep: &'a dyn Fn(Class, &[u8]) -> bool,
    /// Whether `Connection: upgrade` and Upgrade go on.
    pub upgrade: bool,
    /// Whole lines that are added, in groups.
    pub lines: &'a [&'a [u8]],
}

/// Appends the head to `out`, as HTTP/1.1. `bytes` is what it was parsed from.
///
/// Fields of another class than end-to-end or forwarding are not among what goes out, but for
/// those that are written anew; runs of lines that stay are copied in one go.
pub fn request(out: &mut Vec<u8>, bytes: &[u8], head: &RequestHead, change: &RequestChange<'_>) {
    debug_assert!(is_one_line(change.target) && is_one_line(change.host));
    out.extend_from_slice(head.method.of(bytes));
    out.push(b' ');
    out.extend_from_slice(change.target);
    // RFC 9112, 3.2: "A client MUST send a Host header field [...] in all HTTP/1.1 request
    // messages"; first, as RFC 9110, 7.2 recommends.
    out.extend_from_slice(b" HTTP/1.1\r\nHost: ");
    out.extend_from_slice(change.host);
    out.extend_from_slice(b"\r\n");
    kept(out, bytes, &head.fields, |field| {
        matches!(field.class, Class::EndToEnd | Class::Forwarding)
            && (change.keep)(field.class, field.name.of(bytes))
    });
    // A request has no body that ends with the connection (RFC 9112, 6.3).
    debug_assert!(change.framing != Framing::UntilClose);
    framing(out, change.framing);
    if let Some(protocol) = head.upgrade.filter(|_| change.upgrade) {
        upgrade(out, protocol.of(bytes));
    }
    end(out, change.lines);
}

/// What of a response's head goes out in another way than it came.
#[derive(Clone, Copy)]
pub struct ResponseChange<'a> {
    /// How the body goes out; a Content-Length of a response without a body stays (HEAD, 304).
    pub framing: Framing,
    /// Whether `Connection: close` is said.
    pub close: bool,
    /// Whether `Connection: keep-alive` is said: to HTTP/1.0.
    pub keep_alive: bool,
    /// Whether `Connection: upgrade` and Upgrade go on (101, 426).
    pub upgrade: bool,
    /// Which end-to-end, identity and forwarding fields go on, by class and name.
    pub keep: &'a dyn Fn(Class, &[u8]) -> bool,
    /// Whole lines that are added, in groups.
    pub lines: &'a [&'a [u8]],
}

/// Appends the head to `out`, as HTTP/1.1. `bytes` is what it was parsed from.
pub fn response(out: &mut Vec<u8>, bytes: &[u8], head: &ResponseHead, change: &ResponseChange<'_>) {
    // RFC 9112, 4: "A server MUST send the space that separates the status-code from the
    // reason-phrase even when the reason-phrase is absent".
    out.extend_from_slice(b"HTTP/1.1 ");
    let digits = [head.status / 100 % 10, head.status / 10 % 10, head.status % 10];
    out.extend(digits.map(|digit| b'0' + digit as u8));
    out.push(b' ');
    out.extend_from_slice(head.reason.of(bytes));
    out.extend_from_slice(b"\r\n");
    kept(out, bytes, &head.fields, |field| {
        matches!(field.class, Class::EndToEnd | Class::Forwarding | Class::Identity)
            && (change.keep)(field.class, field.name.of(bytes))
    });
    match (change.framing, head.content_length) {
        // RFC 9110, 9.3.2: what a GET would have been answered with, of HEAD; 15.4.5 of 304.
        (Framing::None, Some(length)) => framing(out, Framing::Length(length)),
        (other, _) => framing(out, other),
    }
    let protocol = values(&head.fields, bytes, b"upgrade").next().filter(|_| change.upgrade);
    if let Some(protocol) = protocol {
        upgrade(out, protocol);
    } else if change.close {
        out.extend_from_slice(b"Connection: close\r\n");
    } else if change.keep_alive {
        out.extend_from_slice(b"Connection: keep-alive\r\n");
    }
    end(out, change.lines);
}

/// Copies the lines that stay, neighbours together.
fn kept(out: &mut Vec<u8>, bytes: &[u8], fields: &[Field], stays: impl Fn(&Field) -> bool) {
    let (mut start, mut end) = (0, 0);
    for field in fields.iter().filter(|field| stays(field)) {
        if field.line.start != end {
            out.extend_from_slice(&bytes[start as usize..end as usize]);
            start = field.line.start;
        }
        end = field.line.end;
    }
    out.extend_from_slice(&bytes[start as usize..end as usize]);
}

fn framing(out: &mut Vec<u8>, framing: Framing) {
    match framing {
        Framing::None | Framing::UntilClose => {}
        Framing::Length(length) => {
            // invariant: a Vec takes whatever is written to it.
            write!(out, "Content-Length: {length}\r\n").expect("a Vec does not fail");
        }
        Framing::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
    }
}

/// RFC 9110, 7.8: "A sender of Upgrade MUST also send an "Upgrade" connection option".
fn upgrade(out: &mut Vec<u8>, protocol: &[u8]) {
    out.extend_from_slice(b"Connection: upgrade\r\nUpgrade: ");
    out.extend_from_slice(protocol);
    out.extend_from_slice(b"\r\n");
}

fn end(out: &mut Vec<u8>, lines: &[&[u8]]) {
    for group in lines {
        debug_assert!(group.is_empty() || group.ends_with(b"\r\n"));
        out.extend_from_slice(group);
    }
    out.extend_from_slice(b"\r\n");
}

fn is_one_line(bytes: &[u8]) -> bool {
    !bytes.iter().any(|byte| matches!(byte, b'\r' | b'\n'))
}

#[cfg(test)]
#[path = "write_tests.rs"]
mod tests;
