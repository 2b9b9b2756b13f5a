//! Why a message is refused.

use std::fmt;

/// Why a head is refused. Its code is a log field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadError {
    /// The head has more bytes than it may have.
    TooLarge,
    /// There are more fields than there may be.
    TooManyFields,
    /// The request or status line breaks its grammar.
    StartLine,
}

impl HeadError {
    /// The status of the answer to a request: 400, 431, 414, 501 or 505.
    pub const fn status(self) -> u16 {
        match self {
            Self::TooLarge | Self::TooManyFields => 431,
            Self::StartLine => 400,
        }
    }

    /// The stable code.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TooLarge => "head_too_large",
            Self::TooManyFields => "too_many_fields",
            Self::StartLine => "start_line",
        }
    }
}

impl fmt::Display for HeadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a body is refused. Its code is a log field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// A chunk's size or extension breaks its grammar.
    Chunk,
    /// The trailer section is too large or breaks its grammar.
    Trailer,
    /// The connection ended before the body did.
    Incomplete,
}

impl BodyError {
    /// The stable code.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Chunk => "chunk",
            Self::Trailer => "trailer",
            Self::Incomplete => "incomplete_body",
        }
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
