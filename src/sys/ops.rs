//! The operations that the ring carries out, and the memory that each lends to the kernel.
//!
//! An [`Op`] owns what the kernel will read; submitting it moves that into the ring, which hands
//! it back with the terminal completion. So no future and no caller ever lends memory.

use std::os::fd::RawFd;

use socket2::SockAddr;

use super::bufring::RingBuffer;
use super::descriptor::Descriptor;

/// Bytes to send. They stay where they are on the heap while the value moves.
#[derive(Debug, Default)]
pub struct SendBuf {
    bytes: Vec<u8>,
    sent: usize,
}

impl SendBuf {
    /// An empty buffer on `storage`, whose content is discarded and whose capacity is kept.
    pub fn on(mut storage: Vec<u8>) -> Self {
        storage.clear();
        Self { bytes: storage, sent: 0 }
    }

    /// The bytes still to be sent.
    pub fn remaining(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    /// The same, to be overwritten.
    pub fn remaining_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.sent..]
    }

    /// Bytes still to be sent.
    pub fn len(&self) -> usize {
        self.bytes.len() - self.sent
    }

    /// Whether nothing is left to be sent.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Marks the first `count` remaining bytes as sent.
    pub fn advance(&mut self, count: usize) {
        assert!(count <= self.len(), "more was sent than there is");
        self.sent += count;
    }

    /// The vector that grows at its end. What was sent already stays in front of it.
    pub fn tail(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// The storage, for reuse.
    pub fn into_storage(self) -> Vec<u8> {
        self.bytes
    }
}

/// One operation.
#[derive(Debug)]
pub enum Op {
    /// accept(2) again and again until an error; plain descriptors, close-on-exec.
    AcceptMultishot {
        /// The listening socket.
        listener: RawFd,
    },
    /// accept(2) once.
    Accept {
        /// The listening socket.
        listener: RawFd,
    },
    /// recv(2) again and again into buffers of the ring until an error or the end.
    RecvMultishot {
        /// The connected socket.
        socket: RawFd,
    },
    /// send(2) of the whole buffer (`MSG_WAITALL | MSG_NOSIGNAL`).
    Send {
        /// The connected socket.
        socket: RawFd,
        /// What to send.
        data: SendBuf,
        /// By `SEND_ZC`: no copy into the socket buffer, a second completion when done.
        zero_copy: bool,
    },
    /// connect(2).
    Connect {
        /// The socket.
        socket: RawFd,
        /// Where to; boxed, for the kernel reads it in place.
        address: Box<SockAddr>,
    },
    /// Cancels the operation submitted with `target` as its user data.
    Cancel {
        /// The user data of the operation to cancel.
        target: u64,
    },
    /// close(2).
    Close {
        /// The descriptor, given up for good.
        fd: Descriptor,
    },
}

/// What a completion brings besides its result.
#[derive(Debug)]
pub enum Payload {
    /// Nothing.
    None,
    /// Bytes received.
    Received(RingBuffer),
    /// A connection accepted.
    Accepted(Descriptor),
    /// The bytes of a send, back from the kernel; `advance` has not been called for what was sent.
    Sent(SendBuf),
}

/// One completion.
#[derive(Debug)]
pub struct Completion {
    /// The user data that the operation was submitted with.
    pub user_data: u64,
    /// The operation's result: a count where that makes sense, or an errno.
    pub result: Result<u32, i32>,
    /// Whether more completions of the same operation will follow. `false` is terminal.
    pub more: bool,
    /// Whether this is the notification that ends a zero-copy send; it carries no result.
    pub notification: bool,
    /// What comes with it.
    pub payload: Payload,
}
