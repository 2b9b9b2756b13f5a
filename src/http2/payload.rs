//! What DATA frames carry on their way out, in the storage that it came in.

use bytes::{Buf, Bytes};

use crate::limits::PAYLOAD_COPY_BYTES_MAX;
use crate::rt::core::Core;
use crate::tls::transport::{Chunk, recycle};

/// Bytes of a body that h2 sends.
#[derive(Debug)]
pub struct Payload {
    bytes: Storage,
}

#[derive(Debug)]
enum Storage {
    Shared(Bytes),
    /// `None` once it was given back.
    Chunk(Option<Chunk>, Core),
}

impl Payload {
    /// What another transport received; it goes back to `core` once it was written. `waits` says
    /// that this may take long, for want of a window or because the peer does not read.
    ///
    /// A buffer of the ring stays one only where it will be written at once: what waits for a slow
    /// peer must not hold what all connections receive into. What is small is copied, or peers that
    /// send it byte by byte would have each in a block of the pool.
    pub fn new(core: &Core, chunk: Chunk, waits: bool) -> Self {
        if chunk.len() <= PAYLOAD_COPY_BYTES_MAX {
            let bytes = Bytes::copy_from_slice(&chunk);
            recycle(core, chunk);
            return bytes.into();
        }
        let chunk = match chunk {
            Chunk::Received(mut received, start) if waits => {
                received.spill();
                Chunk::Received(received, start)
            }
            chunk => chunk,
        };
        Self { bytes: Storage::Chunk(Some(chunk), core.clone()) }
    }
}

impl From<Bytes> for Payload {
    fn from(bytes: Bytes) -> Self {
        Self { bytes: Storage::Shared(bytes) }
    }
}

impl Buf for Payload {
    fn remaining(&self) -> usize {
        self.chunk().len()
    }

    fn chunk(&self) -> &[u8] {
        match &self.bytes {
            Storage::Shared(bytes) => bytes,
            Storage::Chunk(chunk, _) => chunk.as_deref().unwrap_or_default(),
        }
    }

    fn advance(&mut self, count: usize) {
        match &mut self.bytes {
            Storage::Shared(bytes) => bytes.advance(count),
            Storage::Chunk(Some(chunk), _) => chunk.advance(count),
            Storage::Chunk(None, _) => assert!(count == 0, "there is nothing to advance over"),
        }
    }
}

impl Drop for Payload {
    fn drop(&mut self) {
        if let Storage::Chunk(chunk, core) = &mut self.bytes
            && let Some(chunk) = chunk.take()
        {
            recycle(core, chunk);
        }
    }
}
