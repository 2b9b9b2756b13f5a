//! Received bytes, in a buffer of the ring or, under pressure, on the heap.

use std::ops::{Deref, DerefMut};

use crate::sys::bufring::RingBuffer;
pub use crate::sys::ops::SendBuf;

/// Received bytes, to be read and overwritten in place. A buffer of the ring goes home on drop.
#[derive(Debug)]
pub enum RecvBuf {
    /// In the core's buffer ring.
    Ring(RingBuffer),
    /// Moved out of the ring, so that its buffer could go home.
    Heap(Vec<u8>),
}

impl RecvBuf {
    /// Copies the bytes to the heap where they are in the ring.
    pub fn spill(&mut self) {
        if let Self::Ring(buffer) = self {
            *self = Self::Heap(buffer.to_vec());
        }
    }
}

impl Deref for RecvBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Ring(buffer) => buffer,
            Self::Heap(bytes) => bytes,
        }
    }
}

impl DerefMut for RecvBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Ring(buffer) => buffer,
            Self::Heap(bytes) => bytes,
        }
    }
}
