//! Why a message is refused. It must not know what was refused: neither a code nor a text has
//! bytes of the peer in it, so that both can be logged, and the status be answered, as they are.

use std::fmt;

/// Why a head is refused. Its code is a log field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadError {
    /// The head has more bytes than it may have.
    TooLarge,
    /// There are more fields than there may be.
    TooManyFields,
    /// The request line is so long that the head could not be complete within its bytes.
    TargetTooLong,
    /// Something other than one CRLF is before the start line.
    EmptyLine,
    /// The request or status line breaks its grammar.
    StartLine,
    /// The start line names a version other than HTTP/1.0 and HTTP/1.1.
    Version,
    /// The method is CONNECT.
    Connect,
    /// The target has a form or a character that it may not have.
    Target,
    /// A line ends with a bare LF, or a CR is not followed by LF.
    LineEnd,
    /// A field has no name, or one that is not a token.
    FieldName,
    /// White space is between the name of a field and its colon.
    SpaceBeforeColon,
    /// A field goes on in a line that begins with white space (obs-fold).
    ObsFold,
    /// The value of a field has a control character.
    FieldValue,
    /// An HTTP/1.1 request has no Host.
    HostMissing,
    /// There are several Host fields.
    HostRepeated,
    /// Host, or the authority of the target, is not a host with or without a port.
    Host,
    /// The target in absolute form has another authority than Host.
    HostMismatch,
    /// Content-Length is not one decimal number below 2^63.
    ContentLength,
    /// There are several Content-Length fields.
    ContentLengthRepeated,
    /// Both Content-Length and Transfer-Encoding are there.
    LengthAndEncoding,
    /// Transfer-Encoding is malformed, repeated, or does not end with one `chunked`.
    TransferEncoding,
    /// Transfer-Encoding names a coding other than `chunked`.
    TransferCoding,
    /// Transfer-Encoding is in a message of HTTP/1.0.
    TransferEncodingHttp10,
    /// The name of a field is Content-Length or Transfer-Encoding with an underscore.
    FramingLookalike,
    /// Connection is not a list of options, or has too many.
    Connection,
    /// The status code is not within 100 to 599.
    Status,
    /// 101 answers a request that asked for no other protocol.
    SwitchingProtocols,
    /// An interim response says that it has a body.
    InterimBody,
}

impl HeadError {
    /// The status of the answer to a request: 400, 414, 431, 501 or 505.
    ///
    /// CONNECT is 400, not 405: that would have to list in Allow what is allowed instead (RFC 9110,
    /// 15.5.6), which only the upstream knows.
    pub const fn status(self) -> u16 {
        match self {
            Self::TargetTooLong => 414,
            Self::TooLarge | Self::TooManyFields => 431,
            Self::TransferCoding => 501,
            Self::Version => 505,
            _ => 400,
        }
    }

    /// The stable code.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TooLarge => "head_too_large",
            Self::TooManyFields => "too_many_fields",
            Self::TargetTooLong => "target_too_long",
            Self::EmptyLine => "empty_line",
            Self::StartLine => "start_line",
            Self::Version => "version",
            Self::Connect => "connect",
            Self::Target => "target",
            Self::LineEnd => "line_end",
            Self::FieldName => "field_name",
            Self::SpaceBeforeColon => "space_before_colon",
            Self::ObsFold => "obs_fold",
            Self::FieldValue => "field_value",
            Self::HostMissing => "host_missing",
            Self::HostRepeated => "host_repeated",
            Self::Host => "host",
            Self::HostMismatch => "host_mismatch",
            Self::ContentLength => "content_length",
            Self::ContentLengthRepeated => "content_length_repeated",
            Self::LengthAndEncoding => "length_and_encoding",
            Self::TransferEncoding => "transfer_encoding",
            Self::TransferCoding => "transfer_coding",
            Self::TransferEncodingHttp10 => "transfer_encoding_http10",
            Self::FramingLookalike => "framing_lookalike",
            Self::Connection => "connection",
            Self::Status => "status",
            Self::SwitchingProtocols => "switching_protocols",
            Self::InterimBody => "interim_body",
        }
    }

    /// What was found, what was expected, and what to do.
    const fn explanation(self) -> &'static str {
        match self {
            Self::TooLarge => "the head is longer than it may be: send less, or raise the bound",
            Self::TooManyFields => "more fields than there may be: send fewer, or raise the bound",
            Self::TargetTooLong => "the target fills half of what a head may have: shorten it",
            Self::EmptyLine => "empty lines before the start line, at most one CRLF may be there",
            Self::StartLine => "the start line is not that of HTTP/1.1: does the peer speak it?",
            Self::Version => "another version than HTTP/1.0 and HTTP/1.1: HTTP/2 needs ALPN h2",
            Self::Connect => "CONNECT: this is a gateway, not a forward proxy",
            Self::Target => {
                "the target is neither path and query, nor a URI of http or https, nor * of \
                 OPTIONS, or has a character that must be percent-encoded"
            }
            Self::LineEnd => "a bare CR or bare LF: lines must end with CRLF",
            Self::FieldName => "a field without a name and a colon, or whose name is not a token",
            Self::SpaceBeforeColon => "white space between the name of a field and its colon",
            Self::ObsFold => "a field that is continued on the next line: write it in one line",
            Self::FieldValue => "a control character in the value of a field",
            Self::HostMissing => "no Host field, which HTTP/1.1 demands",
            Self::HostRepeated => "several Host fields: send one",
            Self::Host => "a Host that is not a name or an address with or without a port",
            Self::HostMismatch => "the target is at another host than the Host field says",
            Self::ContentLength => "a Content-Length that is not one decimal number below 2^63",
            Self::ContentLengthRepeated => "several Content-Length fields: send one",
            Self::LengthAndEncoding => "both Content-Length and Transfer-Encoding: send one",
            Self::TransferEncoding => "a Transfer-Encoding that does not end with one chunked",
            Self::TransferCoding => "a transfer coding other than chunked: only that is known",
            Self::TransferEncodingHttp10 => "Transfer-Encoding, which HTTP/1.0 does not have",
            Self::FramingLookalike => {
                "Content_Length or Transfer_Encoding: a server that takes _ for - would count \
                 otherwise"
            }
            Self::Connection => "a Connection field that is not a short list of names",
            Self::Status => "a status code outside 100 to 599",
            Self::SwitchingProtocols => "101, but no other protocol was asked for",
            Self::InterimBody => "a response of the 1xx kind that says that it has a body",
        }
    }
}

impl fmt::Display for HeadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.explanation())
    }
}

impl std::error::Error for HeadError {}

/// Why a body is refused. Its code is a log field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// A chunk's size or extension breaks its grammar.
    Chunk,
    /// The extensions of a chunk, or of all, have more bytes than they may have.
    ChunkExtension,
    /// The trailer section breaks its grammar.
    Trailer,
    /// The trailer section has more bytes or fields than it may have.
    TrailerTooLarge,
    /// The connection ended before the body did.
    Incomplete,
}

impl BodyError {
    /// The stable code.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Chunk => "chunk",
            Self::ChunkExtension => "chunk_extension",
            Self::Trailer => "trailer",
            Self::TrailerTooLarge => "trailer_too_large",
            Self::Incomplete => "incomplete_body",
        }
    }

    /// What was found, what was expected, and what to do.
    const fn explanation(self) -> &'static str {
        match self {
            Self::Chunk => "a chunk that is not a size in hexadecimal, CRLF, the data and CRLF",
            Self::ChunkExtension => "chunk extensions that are longer than they may be",
            Self::Trailer => "a trailer section that is not field lines, each ended by CRLF",
            Self::TrailerTooLarge => "a trailer section that is larger than it may be",
            Self::Incomplete => "the connection ended before the body did",
        }
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.explanation())
    }
}

impl std::error::Error for BodyError {}
