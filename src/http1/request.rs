//! The head of a request.

use super::error::HeadError;
use super::fields::{Field, Span};
use crate::http1::body::Framing;

/// The bounds of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes, from the first of the start line to the empty line.
    pub bytes_max: usize,
    /// Field lines.
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

impl Version {
    /// As `Via` writes it (RFC 9110, 7.6.3).
    pub const fn as_via(self) -> &'static str {
        match self {
            Self::Http10 => "1.0",
            Self::Http11 => "1.1",
            Self::Http2 => "2",
        }
    }
}

/// The head of a request: spans of the bytes that it was parsed from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHead {
    /// How many bytes the head is long.
    pub bytes: usize,
    /// The method.
    pub method: Span,
    /// The host and port that are asked for: of the target in absolute form, else of Host. Empty
    /// where an HTTP/1.0 request has none.
    pub authority: Span,
    /// Path and query, beginning with `/`; or `*` (RFC 9112, 3.2.4).
    pub path: Span,
    /// The version.
    pub version: Version,
    /// How its body is delimited.
    pub framing: Framing,
    /// Whether the connection may be kept (RFC 9112, 9.3).
    pub keep_alive: bool,
    /// `Expect: 100-continue` (RFC 9110, 10.1.1).
    pub expects_continue: bool,
    /// Whether it asks for another protocol: Upgrade, named by Connection (RFC 9110, 7.8).
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
/// # Errors
/// [`HeadError`]: what could be read in two ways is refused.
pub fn parse(bytes: &[u8], limits: HeadLimits) -> Result<Option<RequestHead>, HeadError> {
    let _ = (bytes, limits);
    unimplemented!()
}
