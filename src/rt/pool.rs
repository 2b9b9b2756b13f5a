//! Storage for bytes to send, reused while it is warm.
//!
//! Two sizes, so that a stuck small message does not hold a large block. Last in, first out: the
//! storage that comes next is the one that the cache still holds. Bounded: what does not fit goes
//! back to the allocator, so a burst leaves nothing behind.

use crate::limits::{RECV_BUFFER_BYTES, SEND_PENDING_BYTES_MAX};
use crate::sys::ops::SendBuf;

/// Capacity of small storage: most handshake flights and most requests.
const SMALL_BYTES: usize = 4 * 1024;
/// Capacity of large storage: what may wait, plus one receive buffer, encrypted.
pub const LARGE_BYTES: usize = SEND_PENDING_BYTES_MAX + RECV_BUFFER_BYTES + 4 * 1024;
const SMALL_KEPT: usize = 256;
const LARGE_KEPT: usize = 32;

/// Free storage of one core.
#[derive(Debug, Default)]
pub struct SendPool {
    small: Vec<Vec<u8>>,
    large: Vec<Vec<u8>>,
}

impl SendPool {
    /// Makes room for `additional` more bytes in `buf`, moving its content to larger storage
    /// where needed.
    pub fn reserve(&mut self, buf: &mut SendBuf, additional: usize) {
        let storage = buf.tail();
        if storage.capacity() - storage.len() >= additional {
            return;
        }
        let needed = buf.len() + additional;
        let mut larger = SendBuf::on(self.take(needed));
        larger.tail().extend_from_slice(buf.remaining());
        self.put(std::mem::replace(buf, larger));
    }

    fn take(&mut self, bytes: usize) -> Vec<u8> {
        if bytes <= SMALL_BYTES {
            self.small.pop().unwrap_or_else(|| Vec::with_capacity(SMALL_BYTES))
        } else if bytes <= LARGE_BYTES {
            self.large.pop().unwrap_or_else(|| Vec::with_capacity(LARGE_BYTES))
        } else {
            Vec::with_capacity(bytes)
        }
    }

    /// Takes back the storage of `buf`; its content is gone.
    pub fn put(&mut self, buf: SendBuf) {
        let storage = buf.into_storage();
        match storage.capacity() {
            SMALL_BYTES if self.small.len() < SMALL_KEPT => self.small.push(storage),
            LARGE_BYTES if self.large.len() < LARGE_KEPT => self.large.push(storage),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_survives_growth_and_storage_is_reused() {
        let mut pool = SendPool::default();
        let mut buf = SendBuf::default();
        pool.reserve(&mut buf, 10);
        buf.tail().extend_from_slice(b"0123456789");
        buf.advance(4);
        pool.reserve(&mut buf, SMALL_BYTES);
        assert_eq!(buf.remaining(), b"456789");
        assert!(buf.tail().capacity() - buf.tail().len() >= SMALL_BYTES);
        assert_eq!(pool.small.len(), 1, "the outgrown storage came back");
        let address = buf.remaining().as_ptr().addr() - buf.tail().as_ptr().addr();
        assert_eq!(address, 0);
        pool.put(buf);
        assert_eq!(pool.take(LARGE_BYTES).capacity(), LARGE_BYTES);
        assert!(pool.large.is_empty());
    }
}
