//! What exactly is wrong with a head that httparse refuses. It must not decide whether a head is
//! refused: it runs only where that is settled, once for a connection, and so need not be fast.

use httparse::Error;

use super::error::HeadError;
use super::fields::is_token;

/// Of a request, `bytes` beginning with its request line.
pub(super) fn request(bytes: &[u8], error: Error) -> HeadError {
    match error {
        Error::Token => request_line(first_line(bytes)),
        Error::Version => version(first_line(bytes), 2),
        Error::NewLine if has_more(first_line(bytes)) => HeadError::StartLine,
        _ => common(bytes, error),
    }
}

/// Of a response, `bytes` beginning with its status line.
pub(super) fn response(bytes: &[u8], error: Error) -> HeadError {
    match error {
        Error::Version => version(first_line(bytes), 0),
        _ => common(bytes, error),
    }
}

/// Of field lines alone.
pub(super) fn fields(mut bytes: &[u8], fallback: HeadError) -> HeadError {
    while let Some(end) = bytes.iter().position(|&byte| byte == b'\n') {
        match line(&bytes[..end]) {
            Ok(false) => {}
            Ok(true) => return fallback,
            Err(error) => return error,
        }
        bytes = &bytes[end + 1..];
    }
    // What came of the last line, as if it ended here; a CR at the end may yet be followed by LF.
    let last = bytes.strip_suffix(b"\r").unwrap_or(bytes);
    match line(&[last, b"\r"].concat()) {
        Err(HeadError::FieldName) if is_token(last) => fallback,
        Err(error) => error,
        Ok(_) => fallback,
    }
}

fn common(bytes: &[u8], error: Error) -> HeadError {
    let rest = bytes.iter().position(|&byte| byte == b'\n').map_or(&[][..], |at| &bytes[at + 1..]);
    match error {
        Error::TooManyHeaders => HeadError::TooManyFields,
        Error::NewLine => HeadError::LineEnd,
        Error::HeaderName => fields(rest, HeadError::FieldName),
        Error::HeaderValue => fields(rest, HeadError::FieldValue),
        Error::Status | Error::Token | Error::Version => HeadError::StartLine,
    }
}

/// Without its LF, and without the CR before that.
fn first_line(bytes: &[u8]) -> &[u8] {
    let line = bytes.split(|&byte| byte == b'\n').next().unwrap_or_default();
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// The target is at fault where the line has its three parts.
fn request_line(line: &[u8]) -> HeadError {
    let mut parts = line.split(|&byte| byte == b' ');
    let has_method = parts.next().is_some_and(is_token);
    let has_target = parts.next().is_some_and(|target| !target.is_empty());
    let has_version = parts.next().is_some_and(|version| version.starts_with(b"HTTP/"));
    if has_method && has_target && has_version { HeadError::Target } else { HeadError::StartLine }
}

/// Whether a request line goes on behind its version.
fn has_more(line: &[u8]) -> bool {
    let version = line.splitn(3, |&byte| byte == b' ').nth(2).unwrap_or_default();
    version.get("HTTP/1.1".len()).is_some_and(|&byte| byte != b'\r')
}

/// RFC 9112, 2.3: `HTTP-version = HTTP-name "/" DIGIT "." DIGIT`, case-sensitive: what is written
/// so is another version, and everything else is no version. It is the part of `line` that `place`
/// parts are before.
fn version(line: &[u8], place: usize) -> HeadError {
    match line.split(|&byte| byte == b' ').nth(place) {
        Some([b'H', b'T', b'T', b'P', b'/', major, b'.', minor])
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            HeadError::Version
        }
        _ => HeadError::StartLine,
    }
}

/// Whether a line, without its LF, is the empty one; or what is wrong with it.
fn line(bytes: &[u8]) -> Result<bool, HeadError> {
    let Some(text) = bytes.strip_suffix(b"\r") else {
        return Err(HeadError::LineEnd);
    };
    if text.is_empty() {
        return Ok(true);
    }
    if text.starts_with(b" ") || text.starts_with(b"\t") {
        return Err(HeadError::ObsFold);
    }
    if text.contains(&b'\r') {
        return Err(HeadError::LineEnd);
    }
    let colon = text.iter().position(|&byte| byte == b':').ok_or(HeadError::FieldName)?;
    let (name, value) = (&text[..colon], &text[colon + 1..]);
    if name.ends_with(b" ") || name.ends_with(b"\t") {
        return Err(HeadError::SpaceBeforeColon);
    }
    if !is_token(name) {
        return Err(HeadError::FieldName);
    }
    let is_control = |&byte: &u8| (byte < b' ' && byte != b'\t') || byte == 0x7f;
    if value.iter().any(is_control) { Err(HeadError::FieldValue) } else { Ok(false) }
}
