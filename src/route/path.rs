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
//! - It has no `\`, and no `/` that is encoded ([`EncodedSlashes`] aside): an upstream that decodes
//!   before it splits would see other segments. It has no overlong UTF-8 either, in which some
//!   programs see a `/` or a `.` (RFC 3629, 3: "Implementations of the decoding algorithm above
//!   MUST protect against decoding invalid sequences").
//! - It is its own normal path.
//!
//! Routes are chosen by less than that: [`without_parameters`].
//!
//! What is not: case counts, and a dot, a blank or a file's alternative name at the end of a
//! segment is a part of it, which some file systems have otherwise; an upstream that decodes three
//! times, or twice with an encoded slash in it, sees another path.

use std::borrow::Cow;

use super::table::Rewrite;

/// Why a target has no path that a route could be chosen by. Its code is a log field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathError {
    /// A segment is `.` or `..`, written plainly or encoded.
    DotSegment,
    /// A percent sign without two digits; a control character, encoded or not; an encoded `/` or
    /// `\`; overlong UTF-8; what may not stand in a path as it is: space, `#`, `\`, and nothing
    /// where there should be a `/`.
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

/// What becomes of an encoded slash (`%2F`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EncodedSlashes {
    /// It is refused: upstreams differ in whether it separates segments.
    #[default]
    Refused,
    /// It stays, and separates none. For upstreams that have it so too.
    Kept,
}

/// The path of `target` (path and query) for matching: without the query, each percent-encoded
/// unreserved character decoded, the digits of the others in upper case (RFC 3986, 6.2.2), runs of
/// slashes as one. The target `*` (RFC 9112, 3.2.4) is its own path.
///
/// Borrowed where nothing changes.
///
/// # Errors
/// [`PathError`]: the request is answered with 400.
pub fn normal(target: &[u8], slashes: EncodedSlashes) -> Result<Cow<'_, [u8]>, PathError> {
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
    refuse_readings(path)?;
    rewrite_encodings(path, slashes)
}

/// What a route is chosen by: a normal path without the parameters of its segments, `;` and what
/// follows it in a segment (RFC 3986, 3.3). Servlet containers serve `/admin;a=1/x` and
/// `/;a/admin/x` as `/admin/x`, so no route may take these for another. An encoded `;` counts too:
/// there may be a proxy between that decodes it.
///
/// Borrowed where there are none.
pub fn without_parameters(path: &[u8]) -> Cow<'_, [u8]> {
    if !path.iter().any(|byte| matches!(byte, b';' | b'%')) {
        return Cow::Borrowed(path);
    }
    let (mut all, mut at) = (Vec::with_capacity(path.len()), 0);
    while let Some(byte) = path.get(at) {
        if is_parameter(&path[at..]) {
            at = segment_end(path, at);
            continue;
        }
        // A segment that was nothing but parameters is none.
        if *byte != b'/' || all.last() != Some(&b'/') {
            all.push(*byte);
        }
        at += 1;
    }
    if all == path { Cow::Borrowed(path) } else { Cow::Owned(all) }
}

/// Whether the parameters of a segment of a normal path begin here.
fn is_parameter(path: &[u8]) -> bool {
    matches!(path, [b';', ..] | [b'%', b'3', b'B', ..])
}

/// Where the segment ends that `at` is in.
fn segment_end(path: &[u8], at: usize) -> usize {
    path[at..].iter().position(|byte| *byte == b'/').map_or(path.len(), |bytes| at + bytes)
}

/// What follows `prefix` in a normal path, whose form [`without_parameters`] begins with it. The
/// parameters of the prefix's own segments belong to it.
fn behind<'a>(path: &'a [u8], prefix: &[u8]) -> &'a [u8] {
    let (mut at, mut matched, mut before) = (0, 0, 0);
    while let Some(byte) = path.get(at) {
        if is_parameter(&path[at..]) {
            at = segment_end(path, at);
            continue;
        }
        // The slash behind a segment that was nothing but parameters.
        if *byte != b'/' || before != b'/' {
            if matched == prefix.len() {
                break;
            }
            matched += 1;
        }
        before = *byte;
        at += 1;
    }
    &path[at..]
}

/// What is forwarded for `target`, whose normal path is `path` and begins with the rewrite's
/// prefix, parameters aside: the path with the prefix replaced, and the query as it came.
pub fn rewritten(rewrite: &Rewrite, path: &[u8], target: &[u8]) -> Vec<u8> {
    let (from, to) = (rewrite.from.as_bytes(), rewrite.to.as_bytes());
    let rest = behind(path, from);
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
            b'%' | 0x80.. => return false,
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

/// Refuses what is read in two ways as it is, decoded once, or decoded twice.
fn refuse_readings(path: &[u8]) -> Result<(), PathError> {
    let once = decoded(path);
    let twice = decoded(&once);
    let readings = [path, &once, &twice];
    if readings.iter().any(|reading| has_dot_segment(reading)) {
        return Err(PathError::DotSegment);
    }
    if readings.iter().any(|reading| has_overlong(reading)) {
        return Err(PathError::Encoding);
    }
    Ok(())
}

/// Whether there is UTF-8 that is longer than it need be. RFC 3629, 3: "The octet values C0, C1, F5
/// to FF never appear"; of these only the first two begin what could stand for ASCII whatever
/// follows, and the others are letters of other encodings.
fn has_overlong(path: &[u8]) -> bool {
    path.iter().any(|byte| matches!(byte, 0xc0 | 0xc1))
        || path.windows(2).any(|pair| {
            matches!(
                pair,
                [0xe0, 0x80..=0x9f]
                    | [0xf0, 0x80..=0x8f]
                    | [0xf8, 0x80..=0x87]
                    | [0xfc, 0x80..=0x83]
            )
        })
}

/// Whether a segment is `.` or `..`, as it is or in front of a `;`.
fn has_dot_segment(path: &[u8]) -> bool {
    path.split(|byte| matches!(byte, b'/' | b'\\')).any(|segment| {
        let name = segment.split(|byte| *byte == b';').next().unwrap_or(segment);
        matches!(name, b"." | b"..")
    })
}

/// The normal path of one that has no dot segment.
fn rewrite_encodings(path: &[u8], slashes: EncodedSlashes) -> Result<Cow<'_, [u8]>, PathError> {
    let (mut all, mut at) = (Vec::with_capacity(path.len()), 0);
    while let Some(byte) = path.get(at) {
        let here = &path[at..];
        match *byte {
            b'%' => {
                let meant = encoded(here).ok_or(PathError::Encoding)?;
                let is_slash = meant == b'/' && slashes == EncodedSlashes::Refused;
                if meant.is_ascii_control() || meant == b'\\' || is_slash {
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
