//! Bodies: how they are delimited (RFC 9112, 6.3), taken apart and put together. It must not know
//! whose they are.
//!
//! Invariant: the data that comes out is the same however the input is cut, and what follows a
//! complete body is never taken.

use super::chunk::Chunks;
use super::error::BodyError;
use super::fields::{Field, values};

/// How a body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    None,
    /// It has so many bytes.
    Length(u64),
    /// In chunks (RFC 9112, 7.1).
    Chunked,
    /// It ends with the connection: of responses only.
    UntilClose,
}

/// Takes a body apart as it comes.
#[derive(Debug)]
pub struct BodyDecoder {
    state: State,
}

#[derive(Debug)]
enum State {
    Length(u64),
    Chunked(Chunks),
    UntilClose {
        has_ended: bool,
    },
    /// An error is final.
    Failed(BodyError),
}

/// One step of a [`BodyDecoder`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decoded<'a> {
    /// Bytes of the input that are done with, not 0 where there was input and the body is not
    /// complete.
    pub consumed: usize,
    /// The data among them, which may be empty.
    pub data: &'a [u8],
}

impl BodyDecoder {
    /// For a body behind a head with these `fields`, spans of `head`.
    ///
    /// RFC 9110, 7.6.1: "Intermediaries MUST parse a received Connection header field before a
    /// message is forwarded and, for each connection-option in this field, remove any header or
    /// trailer field(s) from the message with the same name as the connection-option".
    pub fn behind(framing: Framing, fields: &[Field], head: &[u8]) -> Self {
        let mut body = Self::new(framing);
        if let State::Chunked(chunks) = &mut body.state {
            for options in values(fields, head, b"connection") {
                chunks.drop_trailers(options);
            }
        }
        body
    }

    /// For a body that begins, of which no connection-option is known.
    pub fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::None => State::Length(0),
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Chunked(Chunks::new()),
            Framing::UntilClose => State::UntilClose { has_ended: false },
        };
        Self { state }
    }

    /// Takes as much of `input` as is one run of data with what delimits it, before and behind it.
    /// Of a complete body it takes nothing.
    ///
    /// # Errors
    /// [`BodyError`], from then on always the same. The data before what is wrong may be lost.
    pub fn decode<'a>(&mut self, input: &'a [u8]) -> Result<Decoded<'a>, BodyError> {
        match &mut self.state {
            State::Length(left) => {
                let taken =
                    usize::try_from(*left).map_or(input.len(), |left| left.min(input.len()));
                *left -= taken as u64;
                Ok(Decoded { consumed: taken, data: &input[..taken] })
            }
            State::Chunked(chunks) => decode_chunks(chunks, input).inspect_err(|&error| {
                self.state = State::Failed(error);
            }),
            State::UntilClose { has_ended: true } => Ok(Decoded { consumed: 0, data: &[] }),
            State::UntilClose { has_ended: false } => {
                Ok(Decoded { consumed: input.len(), data: input })
            }
            State::Failed(error) => Err(*error),
        }
    }

    /// Whether the whole body was seen. What follows belongs to the next message.
    pub fn is_complete(&self) -> bool {
        match &self.state {
            State::Length(left) => *left == 0,
            State::Chunked(chunks) => chunks.is_complete(),
            State::UntilClose { has_ended } => *has_ended,
            State::Failed(_) => false,
        }
    }

    /// The connection has ended.
    ///
    /// RFC 9112, 8: "A message body that uses the chunked transfer coding is incomplete if the
    /// zero-sized chunk that terminates the encoding has not been received. A message that uses a
    /// valid Content-Length is incomplete if the size of the message body received (in octets) is
    /// less than the value given by Content-Length."
    ///
    /// # Errors
    /// [`BodyError::Incomplete`] where the body had not.
    pub fn end(&mut self) -> Result<(), BodyError> {
        match &mut self.state {
            State::UntilClose { has_ended } => *has_ended = true,
            State::Failed(error) => return Err(*error),
            State::Length(_) | State::Chunked(_) => {}
        }
        if self.is_complete() { Ok(()) } else { Err(BodyError::Incomplete) }
    }

    /// The trailer section of a body in chunks that is complete: whole field lines, of those that
    /// may be forwarded. `None` where there are none.
    pub fn take_trailers(&mut self) -> Option<Box<[u8]>> {
        match &mut self.state {
            State::Chunked(chunks) => chunks.take_trailers(),
            _ => None,
        }
    }

    /// Bytes of data that are still to come, where that is known: of a body with a length.
    pub fn remaining(&self) -> Option<u64> {
        match self.state {
            State::Length(left) => Some(left),
            _ => None,
        }
    }
}

/// What the head of a message that goes out says of its body. Whatever comes in for it, no more
/// goes out than that, for the rest would be read as the next message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Promise {
    framing: Framing,
    left: u64,
}

/// A body is not as long as its head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unequal;

impl Promise {
    /// Of a head that is delimited so.
    pub fn new(framing: Framing) -> Self {
        let left = match framing {
            Framing::None => 0,
            Framing::Length(length) => length,
            Framing::Chunked | Framing::UntilClose => u64::MAX,
        };
        Self { framing, left }
    }

    /// How the body is delimited.
    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// So many bytes are about to go out.
    ///
    /// RFC 9110, 8.6: "a sender MUST NOT forward a message with a Content-Length header field value
    /// that is known to be incorrect", which more bytes make it.
    ///
    /// # Errors
    /// [`Unequal`]: they are more than is promised. None of them may go out.
    pub fn keep(&mut self, bytes: usize) -> Result<(), Unequal> {
        if !matches!(self.framing, Framing::None | Framing::Length(_)) {
            return Ok(());
        }
        self.left = self.left.checked_sub(bytes as u64).ok_or(Unequal)?;
        Ok(())
    }

    /// The body has come to its end.
    ///
    /// # Errors
    /// [`Unequal`]: it is shorter than is promised.
    pub fn end(&self) -> Result<(), Unequal> {
        if self.is_kept() { Ok(()) } else { Err(Unequal) }
    }

    /// Whether nothing is owed: known only of bodies of a length.
    pub fn is_kept(&self) -> bool {
        self.left == 0 || matches!(self.framing, Framing::Chunked | Framing::UntilClose)
    }
}

fn decode_chunks<'a>(chunks: &mut Chunks, input: &'a [u8]) -> Result<Decoded<'a>, BodyError> {
    let start = chunks.delimiters(input)?;
    let end = start + chunks.data(&input[start..]);
    let consumed = end + chunks.delimiters(&input[end..])?;
    Ok(Decoded { consumed, data: &input[start..end] })
}

/// Bytes of what [`write_chunk_size`] writes.
pub const CHUNK_SIZE_BYTES: usize = 10;

/// What ends the data of a chunk.
pub const CHUNK_END: &[u8] = b"\r\n";

/// The size line of a chunk of `bytes`, always as long: it can be written before the size is known,
/// and be overwritten. A size of 0 would end the body: that is [`write_last_chunk`].
pub fn write_chunk_size(bytes: u32) -> [u8; CHUNK_SIZE_BYTES] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut line = *b"00000000\r\n";
    for (at, digit) in line[..8].iter_mut().enumerate() {
        *digit = DIGITS[(bytes >> (28 - 4 * at) & 0xf) as usize];
    }
    line
}

/// The last chunk and the trailer section: whole field lines, or nothing.
pub fn write_last_chunk(out: &mut Vec<u8>, trailers: &[u8]) {
    debug_assert!(trailers.is_empty() || trailers.ends_with(b"\r\n"));
    out.extend_from_slice(b"0\r\n");
    out.extend_from_slice(trailers);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
#[path = "body_tests.rs"]
mod tests;
