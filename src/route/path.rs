//! The path of a request as routes see it.

use std::borrow::Cow;

/// Why a target has no path that a route could be chosen by. Its code is a log field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathError {
    /// A segment is `.` or `..`, written plainly or encoded.
    DotSegment,
    /// A percent sign without two digits, or an encoded control character.
    Encoding,
}

impl PathError {
    /// The stable code.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DotSegment => "dot_segment",
            Self::Encoding => "path_encoding",
        }
    }
}

/// The path of `target` (path and query) for matching: without the query, each percent-encoded
/// unreserved character decoded, runs of slashes as one.
///
/// # Errors
/// [`PathError`].
pub fn normal(target: &[u8]) -> Result<Cow<'_, [u8]>, PathError> {
    let _ = target;
    unimplemented!()
}
