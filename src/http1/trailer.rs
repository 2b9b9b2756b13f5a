//! Trailer sections (RFC 9110, 6.5; RFC 9112, 7.1.2): which of their fields go on. It must not know
//! how they came.

use super::error::BodyError;
use super::fields::{Class, classify, is_same_name, trim};
use crate::limits::TRAILER_FIELDS_MAX;

/// End-to-end fields that no trailer section may have.
///
/// RFC 9110, 6.5.1: "A sender MUST NOT generate a trailer field unless the sender knows the
/// corresponding header field name's definition permits sending fields in trailers. [...] many
/// fields cannot be processed outside the header section because their evaluation is necessary
/// prior to receiving the content, such as those that describe message framing, routing,
/// authentication, request modifiers, response controls, or content format."
const NOT_IN_TRAILERS: &[&[u8]] = &[
    // Authentication.
    b"authentication-info",
    b"authorization",
    b"cookie",
    b"set-cookie",
    b"www-authenticate",
    // Modifiers of the request.
    b"cache-control",
    b"expect",
    b"if-match",
    b"if-modified-since",
    b"if-none-match",
    b"if-range",
    b"if-unmodified-since",
    b"max-forwards",
    b"pragma",
    b"range",
    // Controls of the response.
    b"age",
    b"date",
    b"expires",
    b"location",
    b"retry-after",
    b"vary",
    b"warning",
    // The format of the content.
    b"content-encoding",
    b"content-range",
    b"content-type",
    b"trailer",
];

/// Whether a field of this name, in whatever case, is forwarded in a trailer section: it is
/// end-to-end, and none that RFC 9110, 6.5.1 keeps to the header section.
pub fn is_forwarded(name: &[u8]) -> bool {
    classify(name) == Class::EndToEnd && !NOT_IN_TRAILERS.iter().any(|not| is_same_name(name, not))
}

/// Of a trailer section that goes on (whole field lines) those of which `removes` does not have the
/// name. `None` where none is left.
pub fn without(lines: Box<[u8]>, removes: impl Fn(&[u8]) -> bool) -> Option<Box<[u8]>> {
    let is_removed = |line: &[u8]| {
        let name = line.split(|&byte| byte == b':').next().unwrap_or_default();
        removes(name)
    };
    if !lines.split_inclusive(|&byte| byte == b'\n').any(is_removed) {
        return Some(lines);
    }
    let kept = lines.split_inclusive(|&byte| byte == b'\n').filter(|line| !is_removed(line));
    let kept: Vec<u8> = kept.flatten().copied().collect();
    (!kept.is_empty()).then(|| kept.into())
}

/// Of the lines of a trailer section, without its empty line, those that go on. `options` are the
/// connection-options of the head, between commas.
///
/// The others are dropped, which RFC 9110, 6.5.1 allows of any of them, and so the body is not lost
/// over a field that nobody should read.
pub(super) fn forwarded(lines: &[u8], options: &[u8]) -> Result<Vec<u8>, BodyError> {
    if lines.is_empty() {
        return Ok(Vec::new());
    }
    let section = [lines, b"\r\n"].concat();
    let mut headers = [httparse::EMPTY_HEADER; TRAILER_FIELDS_MAX];
    let parsed = match httparse::parse_headers(&section, &mut headers) {
        Ok(httparse::Status::Complete((bytes, parsed))) if bytes == section.len() => parsed,
        Err(httparse::Error::TooManyHeaders) => return Err(BodyError::TrailerTooLarge),
        _ => return Err(BodyError::Trailer),
    };
    // As many lines as fields: httparse takes a bare LF for the end of one, and the state machine
    // has refused these.
    let mut kept = Vec::with_capacity(lines.len());
    let is_named = |name: &[u8]| {
        options.split(|&byte| byte == b',').any(|option| trim(option).eq_ignore_ascii_case(name))
    };
    for header in parsed {
        let name = header.name.as_bytes();
        if !is_forwarded(name) || is_named(name) {
            continue;
        }
        kept.extend_from_slice(header.name.as_bytes());
        kept.extend_from_slice(b": ");
        kept.extend_from_slice(header.value);
        kept.extend_from_slice(b"\r\n");
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_not_be_in_a_trailer_section_may_not_be_there_in_another_spelling() {
        for name in ["content-type", "Content_Type", "IF.MATCH", "max~forwards", "X_SSL_Client"] {
            assert!(!is_forwarded(name.as_bytes()), "{name}");
        }
        assert!(is_forwarded(b"grpc-status") && is_forwarded(b"x_sum"));
    }

    #[test]
    fn lines_are_taken_out_by_their_name() {
        let lines = |text: &str| Box::<[u8]>::from(text.as_bytes());
        let left = |text: &str| {
            let left = without(lines(text), |name| is_same_name(name, b"x-team"));
            left.map(|left| String::from_utf8(left.into()).expect("text"))
        };
        assert_eq!(left("a: x-team\r\n").as_deref(), Some("a: x-team\r\n"));
        assert_eq!(left("X_Team: 1\r\nb:2\r\nx.team:3\r\n").as_deref(), Some("b:2\r\n"));
        assert_eq!(left("x-team: 1\r\n"), None);
    }
}
