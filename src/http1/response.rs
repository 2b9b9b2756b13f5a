//! The head of a response.

use super::body::Framing;
use super::error::HeadError;
use super::fields::{Field, Span};
use super::request::{HeadLimits, Version};

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
    /// The reason phrase.
    pub reason: Span,
    /// The version.
    pub version: Version,
    /// How its body is delimited.
    pub framing: Framing,
    /// What Content-Length says, of a response without a body too (HEAD, 304).
    pub content_length: Option<u64>,
    /// Whether the connection may be kept (RFC 9112, 9.3).
    pub keep_alive: bool,
    /// The field lines.
    pub fields: Vec<Field>,
}

/// Parses the head that `bytes` begins with; `None` while its end is not there.
///
/// # Errors
/// [`HeadError`].
pub fn parse(
    bytes: &[u8],
    limits: HeadLimits,
    to: AnswerTo,
) -> Result<Option<ResponseHead>, HeadError> {
    let _ = (bytes, limits, to);
    unimplemented!()
}
