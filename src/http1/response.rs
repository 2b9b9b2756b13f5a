//! The head of a response (RFC 9112, 4). It must not know what was asked beyond [`AnswerTo`].
//!
//! Invariant: as that of a request's head. What an upstream sends in two ways is an error as well:
//! the next response on its connection would be taken from the wrong place.

use std::mem::MaybeUninit;

use httparse::{ParserConfig, Status};

use super::body::Framing;
use super::diagnose;
use super::error::HeadError;
use super::fields::{Field, Span};
use super::head::{Fields, ends_with_crlf};
use super::request::{HeadLimits, Version};
use crate::limits::HEAD_FIELDS_MAX;

/// What decides about the body of a response besides its own head (RFC 9112, 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerTo {
    /// HEAD: no body follows, whatever the fields say.
    Head,
    /// A request that asked for another protocol: 101 may follow.
    Upgrade,
    /// Any other method.
    Other,
}

/// The head of a response: spans of the bytes that it was parsed from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseHead {
    /// How many bytes the head is long.
    pub bytes: usize,
    /// 100 to 599.
    pub status: u16,
    /// The reason phrase, which may be empty.
    pub reason: Span,
    /// The version.
    pub version: Version,
    /// How its body is delimited.
    pub framing: Framing,
    /// What Content-Length says, of a response without a body too (HEAD, 304). `None` for 1xx and
    /// 204, which must not have one.
    pub content_length: Option<u64>,
    /// Whether the connection may be kept (RFC 9112, 9.3).
    pub keep_alive: bool,
    /// The field lines.
    pub fields: Vec<Field>,
}

/// Bytes of a status line before its reason phrase, but for the space: `HTTP/1.1 200`.
const STATUS_BYTES: usize = 12;

/// Parses the head that `bytes` begins with; `None` while its end is not there.
///
/// # Errors
/// [`HeadError`].
pub fn parse(
    bytes: &[u8],
    limits: HeadLimits,
    to: AnswerTo,
) -> Result<Option<ResponseHead>, HeadError> {
    match bytes.first() {
        None => return Ok(None),
        // Not even one empty line: RFC 9112, 2.2 has that for requests only.
        Some(b'\r' | b'\n') => return Err(HeadError::EmptyLine),
        Some(_) => {}
    }
    let bytes_max = limits.bytes_max.min(u32::MAX as usize);
    let text = &bytes[..bytes.len().min(bytes_max)];
    let mut headers = [const { MaybeUninit::uninit() }; HEAD_FIELDS_MAX];
    let headers = &mut headers[..limits.fields_max.min(HEAD_FIELDS_MAX)];
    let mut response = httparse::Response::new(&mut []);
    let config = ParserConfig::default();
    let end = match config.parse_response_with_uninit_headers(&mut response, text, headers) {
        Ok(Status::Complete(end)) => end,
        Ok(Status::Partial) if text.len() >= bytes_max => return Err(HeadError::TooLarge),
        Ok(Status::Partial) => return Ok(None),
        Err(error) => return Err(diagnose::response(text, error)),
    };
    let (Some(status), Some(minor)) = (response.code, response.version) else {
        return Err(HeadError::StartLine);
    };
    let fields_start = response.headers.first().map_or(end.saturating_sub(2), |first| {
        Span::within(bytes, first.name.as_bytes()).start as usize
    });
    ends_with_crlf(bytes, fields_start)?;
    if !(100..=599).contains(&status) {
        return Err(HeadError::Status);
    }
    let line_end = fields_start - 2;
    let reason = Span::new((STATUS_BYTES + 1).min(line_end), line_end);
    let fields = Fields::new(bytes, response.headers, end)?;
    made(bytes, end, status, reason, minor == 0, fields, to).map(Some)
}

/// The head of what was found.
fn made(
    bytes: &[u8],
    end: usize,
    status: u16,
    reason: Span,
    is_http10: bool,
    fields: Fields,
    to: AnswerTo,
) -> Result<ResponseHead, HeadError> {
    // RFC 9110, 15.2.2: "The server MUST generate an Upgrade header field in the response that
    // indicates which protocol(s) will be in effect".
    if status == 101 && (to != AnswerTo::Upgrade || fields.upgrade(bytes).is_none()) {
        return Err(HeadError::SwitchingProtocols);
    }
    let is_chunked = fields.is_chunked(bytes, is_http10)?;
    let has_body_said = is_chunked || fields.content_length.is_some_and(|length| length > 0);
    let is_interim = status < 200;
    // RFC 9110, 8.6: "A server MUST NOT send a Content-Length header field in any response with a
    // status code of 1xx (Informational) or 204 (No Content)"; the same of Transfer-Encoding in
    // RFC 9112, 6.1. A length of 0 is true, if idle.
    if is_interim && has_body_said {
        return Err(HeadError::InterimBody);
    }
    // RFC 9112, 6.3: "Any response to a HEAD request and any response with a 1xx (Informational),
    // 204 (No Content), or 304 (Not Modified) status code is always terminated by the first empty
    // line after the header fields".
    let framing = if is_interim || matches!(status, 204 | 304) || to == AnswerTo::Head {
        Framing::None
    } else if is_chunked {
        Framing::Chunked
    } else {
        fields.content_length.map_or(Framing::UntilClose, Framing::Length)
    };
    // What a 204 says of a body may follow all the same, and would be read as the next response.
    let is_clean = !(status == 204 && has_body_said) && framing != Framing::UntilClose;
    Ok(ResponseHead {
        bytes: end,
        status,
        reason,
        version: if is_http10 { Version::Http10 } else { Version::Http11 },
        framing,
        content_length: fields.content_length.filter(|_| !is_interim && status != 204),
        keep_alive: is_clean && fields.keeps_alive(is_http10),
        fields: fields.fields,
    })
}

#[cfg(test)]
#[path = "response_tests.rs"]
mod tests;
