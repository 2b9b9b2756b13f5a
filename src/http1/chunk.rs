//! Chunks as a state machine over their bytes (RFC 9112, 7.1), but for the data. It must not know
//! what is done with the data.
//!
//! Invariant: each byte is looked at once, whatever the pieces are in which it comes, and what is
//! kept is bounded: a size, a count, and the trailer section.

use super::error::BodyError;
use super::fields::is_token_byte;
use super::trailer;
use crate::limits::{
    CHUNK_EXTENSION_BYTES_MAX, CHUNK_EXTENSIONS_BYTES_MAX, CHUNK_SIZE_DIGITS_MAX,
    TRAILER_BYTES_MAX, TRAILER_FIELDS_MAX,
};

/// What the next byte may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A digit of the size; the end of the size where one was there.
    Size,
    /// White space or `;` behind the size or an extension. Only `;` ends it (BWS).
    BeforeSemicolon,
    /// White space, or the first byte of the name of an extension.
    BeforeName,
    /// The name of an extension, or what follows it.
    Name,
    /// White space behind a name: `=` or `;` follows.
    AfterName,
    /// White space, or the first byte of a value.
    BeforeValue,
    /// A value that is a token, or what follows it.
    Value,
    /// A value in quotes.
    Quoted,
    /// The byte behind a backslash, in quotes.
    Escaped,
    /// What follows a value in quotes.
    AfterQuoted,
    /// The LF behind the size and its extensions.
    SizeLf,
    /// Data.
    Data,
    /// The CR behind the data.
    DataCr,
    /// The LF behind the data.
    DataLf,
    /// The first byte of a line of the trailer section.
    TrailerStart,
    /// Any byte of a line of the trailer section.
    Trailer,
    /// The LF of a line of the trailer section.
    TrailerLf,
    /// The LF of the empty line.
    EndLf,
    /// Nothing: the body is complete.
    Complete,
}

/// Where in a body in chunks its bytes have got to.
#[derive(Debug)]
pub(super) struct Chunks {
    state: State,
    /// Digits of the size that have come.
    digits: usize,
    /// The size, and then the data that is still to come.
    left: u64,
    extension_bytes: usize,
    extensions_bytes: usize,
    trailer_fields: usize,
    /// The lines of the trailer section; when it is complete, those of them that may go on.
    trailers: Vec<u8>,
    /// The connection-options of the head, with a comma behind each list of them.
    options: Vec<u8>,
}

impl Chunks {
    pub(super) fn new() -> Self {
        Self {
            state: State::Size,
            digits: 0,
            left: 0,
            extension_bytes: 0,
            extensions_bytes: 0,
            trailer_fields: 0,
            trailers: Vec::new(),
            options: Vec::new(),
        }
    }

    /// Fields of the trailer section that a list of connection-options names do not go on.
    pub(super) fn drop_trailers(&mut self, options: &[u8]) {
        self.options.extend_from_slice(options);
        self.options.push(b',');
    }

    pub(super) fn is_complete(&self) -> bool {
        self.state == State::Complete
    }

    /// Takes what delimits data, up to the next data or the end of the body. Returns how many bytes
    /// that is.
    pub(super) fn delimiters(&mut self, input: &[u8]) -> Result<usize, BodyError> {
        for (at, &byte) in input.iter().enumerate() {
            if matches!(self.state, State::Data | State::Complete) {
                return Ok(at);
            }
            self.state = self.next(byte)?;
        }
        Ok(input.len())
    }

    /// Takes the data that `input` begins with. Returns how many bytes that is.
    pub(super) fn data(&mut self, input: &[u8]) -> usize {
        if self.state != State::Data {
            return 0;
        }
        let taken = usize::try_from(self.left).map_or(input.len(), |left| left.min(input.len()));
        self.left -= taken as u64;
        if self.left == 0 {
            self.state = State::DataCr;
        }
        taken
    }

    /// What of the trailer section may go on.
    pub(super) fn take_trailers(&mut self) -> Option<Box<[u8]>> {
        if !self.is_complete() || self.trailers.is_empty() {
            return None;
        }
        Some(std::mem::take(&mut self.trailers).into_boxed_slice())
    }

    fn next(&mut self, byte: u8) -> Result<State, BodyError> {
        match self.state {
            State::Size => self.size(byte),
            State::SizeLf if byte == b'\n' => Ok(self.after_size()),
            State::DataCr if byte == b'\r' => Ok(State::DataLf),
            State::DataLf if byte == b'\n' => Ok(State::Size),
            State::TrailerStart | State::Trailer | State::TrailerLf | State::EndLf => {
                self.trailer(byte)
            }
            State::BeforeSemicolon
            | State::BeforeName
            | State::Name
            | State::AfterName
            | State::BeforeValue
            | State::Value
            | State::Quoted
            | State::Escaped
            | State::AfterQuoted => self.extension(byte),
            State::SizeLf | State::DataCr | State::DataLf => Err(BodyError::Chunk),
            // `delimiters` stops before these.
            State::Data | State::Complete => Ok(self.state),
        }
    }

    /// RFC 9112, 7.1: `chunk-size = 1*HEXDIG`; "A recipient MUST be able to parse and decode the
    /// chunked transfer coding [...]. Recipients MUST anticipate potentially large hexadecimal
    /// numerals and prevent parsing errors due to integer conversion overflows or precision loss".
    fn size(&mut self, byte: u8) -> Result<State, BodyError> {
        if let Some(digit) = char::from(byte).to_digit(16) {
            self.digits += 1;
            self.left = (self.left << 4) | u64::from(digit);
            // 16 digits cannot overflow 64 bits; sizes from 2^63 are refused as lengths are.
            let fits = self.digits <= CHUNK_SIZE_DIGITS_MAX && i64::try_from(self.left).is_ok();
            return if fits { Ok(State::Size) } else { Err(BodyError::Chunk) };
        }
        match byte {
            _ if self.digits == 0 => Err(BodyError::Chunk),
            b'\r' => Ok(State::SizeLf),
            b';' | b' ' | b'\t' => {
                self.count_extension_byte()?;
                Ok(if byte == b';' { State::BeforeName } else { State::BeforeSemicolon })
            }
            _ => Err(BodyError::Chunk),
        }
    }

    fn after_size(&mut self) -> State {
        self.digits = 0;
        self.extension_bytes = 0;
        if self.left == 0 { State::TrailerStart } else { State::Data }
    }

    /// RFC 9112, 7.1.1:
    /// `chunk-ext = *( BWS ";" BWS chunk-ext-name [ BWS "=" BWS chunk-ext-val ] )`; "A recipient
    /// MUST ignore unrecognized chunk extensions. A server ought to limit the total length of chunk
    /// extensions received in a request to an amount reasonable for the services provided".
    fn extension(&mut self, byte: u8) -> Result<State, BodyError> {
        let next = match (self.state, byte) {
            (State::Name | State::Value | State::AfterQuoted, b'\r') => return Ok(State::SizeLf),
            (State::BeforeSemicolon, b' ' | b'\t') => State::BeforeSemicolon,
            (
                State::BeforeSemicolon
                | State::Name
                | State::AfterName
                | State::Value
                | State::AfterQuoted,
                b';',
            ) => State::BeforeName,
            (State::BeforeName | State::BeforeValue, b' ' | b'\t') => self.state,
            (State::BeforeName | State::Name, _) if is_token_byte(byte) => State::Name,
            (State::Name | State::AfterName, b' ' | b'\t') => State::AfterName,
            (State::Name | State::AfterName, b'=') => State::BeforeValue,
            (State::BeforeValue, b'"') => State::Quoted,
            (State::BeforeValue | State::Value, _) if is_token_byte(byte) => State::Value,
            (State::Value | State::AfterQuoted, b' ' | b'\t') => State::BeforeSemicolon,
            (State::Quoted, b'"') => State::AfterQuoted,
            (State::Quoted, b'\\') => State::Escaped,
            (State::Quoted | State::Escaped, b'\t' | b' '..=b'~' | 0x80..) => State::Quoted,
            _ => return Err(BodyError::Chunk),
        };
        self.count_extension_byte()?;
        Ok(next)
    }

    fn count_extension_byte(&mut self) -> Result<(), BodyError> {
        self.extension_bytes += 1;
        self.extensions_bytes += 1;
        let fits = self.extension_bytes <= CHUNK_EXTENSION_BYTES_MAX
            && self.extensions_bytes <= CHUNK_EXTENSIONS_BYTES_MAX;
        if fits { Ok(()) } else { Err(BodyError::ChunkExtension) }
    }

    /// RFC 9112, 7.1.2: `trailer-section = *( field-line CRLF )`.
    fn trailer(&mut self, byte: u8) -> Result<State, BodyError> {
        let next = match (self.state, byte) {
            (State::TrailerStart, b'\r') => return Ok(State::EndLf),
            (State::EndLf, b'\n') => {
                self.trailers = trailer::forwarded(&self.trailers, &self.options)?;
                return Ok(State::Complete);
            }
            (State::TrailerLf, b'\n') => {
                self.trailer_fields += 1;
                State::TrailerStart
            }
            (State::Trailer, b'\r') => State::TrailerLf,
            (State::EndLf | State::TrailerLf, _) | (_, b'\n') => return Err(BodyError::Trailer),
            _ => State::Trailer,
        };
        if self.trailers.len() >= TRAILER_BYTES_MAX || self.trailer_fields > TRAILER_FIELDS_MAX {
            return Err(BodyError::TrailerTooLarge);
        }
        self.trailers.push(byte);
        Ok(next)
    }
}
