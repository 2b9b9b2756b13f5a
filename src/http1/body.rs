//! Bodies: how they are delimited (RFC 9112, 6.3), taken apart and put together.

use super::error::BodyError;

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
    framing: Framing,
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
    /// For a body that begins.
    pub fn new(framing: Framing) -> Self {
        Self { framing }
    }

    /// Takes as much of `input` as is one run of data with what delimits it.
    ///
    /// # Errors
    /// [`BodyError`].
    pub fn decode<'a>(&mut self, input: &'a [u8]) -> Result<Decoded<'a>, BodyError> {
        let _ = (input, self.framing);
        unimplemented!()
    }

    /// Whether the whole body was seen. What follows belongs to the next message.
    pub fn is_complete(&self) -> bool {
        unimplemented!()
    }

    /// The connection has ended.
    ///
    /// # Errors
    /// [`BodyError::Incomplete`] where the body had not.
    pub fn end(&mut self) -> Result<(), BodyError> {
        unimplemented!()
    }

    /// The trailer section of a body in chunks that is complete: whole field lines, of those that
    /// may be forwarded. `None` where there are none.
    pub fn take_trailers(&mut self) -> Option<Box<[u8]>> {
        unimplemented!()
    }

    /// Bytes of data that are still to come, where that is known.
    pub fn remaining(&self) -> Option<u64> {
        unimplemented!()
    }
}

/// Bytes of what [`write_chunk_size`] writes.
pub const CHUNK_SIZE_BYTES: usize = 10;

/// What ends the data of a chunk.
pub const CHUNK_END: &[u8] = b"\r\n";

/// The size line of a chunk of `bytes`, always as long: it can be written before the size is known,
/// and be overwritten.
pub fn write_chunk_size(bytes: u32) -> [u8; CHUNK_SIZE_BYTES] {
    let _ = bytes;
    unimplemented!()
}

/// The last chunk and the trailer section: whole field lines, or nothing.
pub fn write_last_chunk(out: &mut Vec<u8>, trailers: &[u8]) {
    let _ = (out, trailers);
    unimplemented!()
}
