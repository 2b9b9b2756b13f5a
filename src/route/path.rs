//! The path of a request as routes see it, and what is forwarded in its place.
//!
//! PURE. It must not know routes. What a route is chosen by must be what the upstream serves, so a
//! path that programs read in different ways is none: one with a dot segment, however it is
//! written. What is guaranteed of a path that [`normal`] gives:
//!
//! - No segment of it is `.` or `..`, read as it is, with its percent-encodings decoded once, and
//!   decoded twice; where `/` and `\` both separate segments, and where what follows a `;` in a
//!   segment is a parameter and not part of its name, as servlet containers have it.
//! - It has no control character, plain or encoded once, and no `//`.
//! - It is its own normal path.
//!
//! What is not: an encoded slash (`%2F`) stays encoded and separates no segments here. An upstream
//! that decodes it before it chooses sees other segments than the routes did; so does one that
//! decodes three times, or takes overlong UTF-8 for ASCII (RFC 3629, 3 forbids that).

use std::borrow::Cow;

use super::table::Rewrite;

/// Why a target has no path that a route could be chosen by. Its code is a log field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathError {
    /// A segment is `.` or `..`, written plainly or encoded.
    DotSegment,
    /// A percent sign without two digits; a control character, encoded or not; what may not stand
    /// in a path as it is: space, `#`, `\`, and nothing where there should be a `/`.
    Encoding,
}

impl PathError {
    /// Its name in the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DotSegment => "dot_segment",
            Self::Encoding => "path_encoding",
        }
    }
}

/// The path of `target` (path and query) for matching: without the query, each percent-encoded
/// unreserved character decoded, the digits of the others in upper case (RFC 3986, 6.2.2), runs of
/// slashes as one. The target `*` (RFC 9112, 3.2.4) is its own path.
///
/// Borrowed where nothing changes.
///
/// # Errors
/// [`PathError`]: the request is answered with 400.
pub fn normal(target: &[u8]) -> Result<Cow<'_, [u8]>, PathError> {
    let path = &target[..path_bytes(target)];
    match path {
        b"*" => return Ok(Cow::Borrowed(path)),
        [b'/', ..] => {}
        _ => return Err(PathError::Encoding),
    }
    if is_plain(path) {
        return Ok(Cow::Borrowed(path));
    }
    // First, so that a path with several faults is told the one that matters.
    refuse_dot_segments(path)?;
    rewrite_encodings(path)
}

/// What is forwarded for `target`, whose normal path is `path` and begins with the rewrite's
/// prefix: the path with the prefix replaced, and the query as it came.
pub fn rewritten(rewrite: &Rewrite, path: &[u8], target: &[u8]) -> Vec<u8> {
    let (from, to) = (rewrite.from.as_bytes(), rewrite.to.as_bytes());
    let rest = path.strip_prefix(from).unwrap_or(path);
    let query = &target[path_bytes(target)..];
    let mut forwarded = Vec::with_capacity(to.len() + 1 + rest.len() + query.len());
    forwarded.extend_from_slice(to);
    if !rest.is_empty() {
        // One slash between them, whichever of them brings it.
        let rest = rest.strip_prefix(b"/").unwrap_or(rest);
        if forwarded.last() != Some(&b'/') {
            forwarded.push(b'/');
        }
        forwarded.extend_from_slice(rest);
    }
    forwarded.extend_from_slice(query);
    forwarded
}

/// Bytes of `target` in front of its query.
fn path_bytes(target: &[u8]) -> usize {
    target.iter().position(|byte| *byte == b'?').unwrap_or(target.len())
}

/// Whether a path is its own normal path without a closer look: no encoding, no `//`, no segment
/// that begins with a dot, nothing that may not stand in a path.
fn is_plain(path: &[u8]) -> bool {
    let mut after_slash = false;
    for byte in path {
        match byte {
            b'/' | b'.' if after_slash => return false,
            b'%' => return false,
            byte if is_misplaced(*byte) => return false,
            _ => {}
        }
        after_slash = *byte == b'/';
    }
    true
}

/// What never stands in a path as it is (RFC 3986, 3.3) and what programs disagree on. Bytes beyond
/// ASCII are let through: clients send them, and nobody takes them for something else.
const fn is_misplaced(byte: u8) -> bool {
    matches!(byte, 0..=b' ' | 0x7f | b'#' | b'\\')
}

/// RFC 3986, 2.3.
const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// The byte that `%` and two digits at the beginning of `bytes` stand for.
fn encoded(bytes: &[u8]) -> Option<u8> {
    let [b'%', high, low, ..] = bytes else {
        return None;
    };
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|it| u8::try_from(it).ok());
    Some(digit(*high)? << 4 | digit(*low)?)
}

/// The bytes that percent-encodings stand for; what only looks like one stays.
fn decoded(bytes: &[u8]) -> Vec<u8> {
    let (mut all, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(byte) = bytes.get(at) {
        match encoded(&bytes[at..]) {
            Some(meant) => {
                all.push(meant);
                at += 3;
            }
            None => {
                all.push(*byte);
                at += 1;
            }
        }
    }
    all
}

fn refuse_dot_segments(path: &[u8]) -> Result<(), PathError> {
    if has_dot_segment(path) {
        return Err(PathError::DotSegment);
    }
    if !path.contains(&b'%') {
        return Ok(());
    }
    let once = decoded(path);
    if has_dot_segment(&once) {
        return Err(PathError::DotSegment);
    }
    if once.contains(&b'%') && has_dot_segment(&decoded(&once)) {
        return Err(PathError::DotSegment);
    }
    Ok(())
}

/// Whether a segment is `.` or `..`, as it is or in front of a `;`.
fn has_dot_segment(path: &[u8]) -> bool {
    path.split(|byte| matches!(byte, b'/' | b'\\')).any(|segment| {
        let name = segment.split(|byte| *byte == b';').next().unwrap_or(segment);
        matches!(name, b"." | b"..")
    })
}

/// The normal path of one that has no dot segment.
fn rewrite_encodings(path: &[u8]) -> Result<Cow<'_, [u8]>, PathError> {
    let (mut all, mut at) = (Vec::with_capacity(path.len()), 0);
    while let Some(byte) = path.get(at) {
        let here = &path[at..];
        match *byte {
            b'%' => {
                let meant = encoded(here).ok_or(PathError::Encoding)?;
                if meant.is_ascii_control() {
                    return Err(PathError::Encoding);
                }
                if is_unreserved(meant) {
                    all.push(meant);
                } else {
                    all.push(b'%');
                    all.extend(here[1..3].iter().map(u8::to_ascii_uppercase));
                }
                at += 2;
            }
            b'/' if all.last() == Some(&b'/') => {}
            byte if is_misplaced(byte) => return Err(PathError::Encoding),
            byte => all.push(byte),
        }
        at += 1;
    }
    Ok(if all == path { Cow::Borrowed(path) } else { Cow::Owned(all) })
}

#[cfg(test)]
mod tests;
