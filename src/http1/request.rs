//! The head of a request (RFC 9112, 3). It must not know what is answered.
//!
//! Invariant: a [`RequestHead`] has one meaning. Its host is known and is the only one it names,
//! its body has one length, its lines end with CRLF, and none of its spans has a CR, LF or NUL.

use std::mem::MaybeUninit;

use httparse::Status;

use super::authority::Authority;
use super::body::Framing;
use super::diagnose;
use super::error::HeadError;
use super::fields::{Field, Span};
use super::head::{Fields, ends_with_crlf};
use super::target::{self, Target};
use crate::limits::HEAD_FIELDS_MAX;

/// The bounds of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes, from the first of the start line to the empty line.
    pub bytes_max: usize,
    /// Field lines; [`HEAD_FIELDS_MAX`] at most, and where it is more, that.
    pub fields_max: usize,
}

/// The version in the start line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
    /// HTTP/2, of a head that was made from its fields.
    Http2,
}

/// The head of a request: spans of the bytes that it was parsed from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHead {
    /// How many bytes the head is long, with the CRLF that may be before it.
    pub bytes: usize,
    /// The method.
    pub method: Span,
    /// The host and port that are asked for: of the target in absolute form, else of Host. Empty
    /// where an HTTP/1.0 request has none.
    pub authority: Span,
    /// Path and query, beginning with `/`; or `*` (RFC 9112, 3.2.4); or a query alone, beginning
    /// with `?`, which who forwards it puts a `/` before (RFC 9110, 4.2.3). Made of what
    /// [`is_path_and_query`](target::is_path_and_query) takes.
    pub path: Span,
    /// The version.
    pub version: Version,
    /// How its body is delimited.
    pub framing: Framing,
    /// Whether the connection may be kept (RFC 9112, 9.3).
    pub keep_alive: bool,
    /// `Expect: 100-continue` (RFC 9110, 10.1.1).
    pub expects_continue: bool,
    /// Whether it asks for another protocol: Upgrade, named by Connection (RFC 9110, 7.8). One
    /// protocol, which is not HTTP, of a request without a body; else it is as if it were not
    /// there.
    pub upgrade: Option<Span>,
    /// The field lines.
    pub fields: Vec<Field>,
}

impl RequestHead {
    /// The head of a request that is none: all its spans are empty.
    pub fn none() -> Self {
        Self {
            bytes: 0,
            method: Span::default(),
            authority: Span::default(),
            path: Span::default(),
            version: Version::Http11,
            framing: Framing::None,
            keep_alive: false,
            expects_continue: false,
            upgrade: None,
            fields: Vec::new(),
        }
    }
}

/// Parses the head that `bytes` begins with; `None` while its end is not there.
///
/// Parsing the same head again and again as it grows costs time: see
/// [`HeadScan`](super::scan::HeadScan).
///
/// # Errors
/// [`HeadError`]: what could be read in two ways is refused.
pub fn parse(bytes: &[u8], limits: HeadLimits) -> Result<Option<RequestHead>, HeadError> {
    let Some(skipped) = empty_line(bytes)? else {
        return Ok(None);
    };
    let bytes_max = limits.bytes_max.min(u32::MAX as usize - 2);
    let text = &bytes[skipped..bytes.len().min(skipped + bytes_max)];
    let mut headers = [const { MaybeUninit::uninit() }; HEAD_FIELDS_MAX];
    let headers = &mut headers[..limits.fields_max.min(HEAD_FIELDS_MAX)];
    let mut request = httparse::Request::new(&mut []);
    let end = match request.parse_with_uninit_headers(text, headers) {
        Ok(Status::Complete(end)) => skipped + end,
        Ok(Status::Partial) if text.len() >= bytes_max => return Err(too_large(text)),
        Ok(Status::Partial) => return Ok(None),
        Err(error) => return Err(diagnose::request(text, error)),
    };
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version)
    else {
        return Err(HeadError::StartLine);
    };
    let fields_start = request.headers.first().map_or(end.saturating_sub(2), |first| {
        Span::within(bytes, first.name.as_bytes()).start as usize
    });
    ends_with_crlf(bytes, fields_start)?;
    let fields = Fields::new(bytes, request.headers, end)?;
    let method = Span::within(bytes, method.as_bytes());
    let target = target::parse(bytes, Span::within(bytes, target.as_bytes()), method.of(bytes))?;
    made(bytes, end, method, target, minor == 0, fields).map(Some)
}

/// The head of what was found.
fn made(
    bytes: &[u8],
    end: usize,
    method: Span,
    target: Target,
    is_http10: bool,
    fields: Fields,
) -> Result<RequestHead, HeadError> {
    let authority = authority(bytes, &target, is_http10, fields.host)?;
    // RFC 9112, 6.3: "If this is a request message and none of the above are true, then the message
    // body length is zero (no message body is present)."
    let framing = match (fields.is_chunked(bytes, is_http10)?, fields.content_length) {
        (true, _) => Framing::Chunked,
        (false, Some(length)) => Framing::Length(length),
        (false, None) => Framing::None,
    };
    // RFC 9110, 7.8: "A server MUST ignore an Upgrade header field that is received in an HTTP/1.0
    // request."
    let may_upgrade = !is_http10 && matches!(framing, Framing::None | Framing::Length(0));
    Ok(RequestHead {
        bytes: end,
        method,
        authority,
        path: target.path,
        version: if is_http10 { Version::Http10 } else { Version::Http11 },
        framing,
        keep_alive: fields.keeps_alive(is_http10),
        // RFC 9110, 10.1.1: "A server that receives a 100-continue expectation in an HTTP/1.0
        // request MUST ignore that expectation."
        expects_continue: fields.expects_continue && !is_http10,
        upgrade: if may_upgrade { fields.upgrade(bytes) } else { None },
        fields: fields.fields,
    })
}

/// How many bytes are before the request line; `None` while that is not known.
///
/// RFC 9112, 2.2: "a server that is expecting to receive and parse a request-line SHOULD ignore at
/// least one empty line (CRLF) received prior to the request-line." One it is.
fn empty_line(bytes: &[u8]) -> Result<Option<usize>, HeadError> {
    match bytes {
        [] | [b'\r'] | [b'\r', b'\n'] => Ok(None),
        [b'\r', b'\n', b'\r' | b'\n', ..] => Err(HeadError::EmptyLine),
        [b'\r', b'\n', ..] => Ok(Some(2)),
        [b'\r' | b'\n', ..] => Err(HeadError::LineEnd),
        _ => Ok(Some(0)),
    }
}

/// `text` is as long as a head may be, and its end is not in it.
///
/// RFC 9112, 3: "A server that receives a request-target longer than any URI it wishes to parse
/// MUST respond with a 414 (URI Too Long) status code".
fn too_large(text: &[u8]) -> HeadError {
    if text[..text.len() / 2].contains(&b'\n') {
        HeadError::TooLarge
    } else {
        HeadError::TargetTooLong
    }
}

fn authority(
    bytes: &[u8],
    target: &Target,
    is_http10: bool,
    host: Option<Span>,
) -> Result<Span, HeadError> {
    let parsed = |span: Span| Authority::parse(span.of(bytes)).ok_or(HeadError::Host);
    match (target.authority, host) {
        // RFC 9112, 3.2: "A server MUST respond with a 400 (Bad Request) status code to any
        // HTTP/1.1 request message that lacks a Host header field".
        (_, None) if !is_http10 => Err(HeadError::HostMissing),
        (None, None) => Ok(Span::default()),
        (None, Some(host)) => parsed(host).map(|_| host),
        (Some((span, _)), None) => parsed(span).map(|_| span),
        // RFC 9112, 3.2.2 has a proxy ignore Host then, but whoever reads Host all the same would
        // see another host.
        (Some((span, port_default)), Some(host)) => {
            if parsed(span)?.is_same(&parsed(host)?, port_default) {
                Ok(span)
            } else {
                Err(HeadError::HostMismatch)
            }
        }
    }
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
