//! A byte stream to a peer, with or without TLS, in the runtime's own buffers.
//!
//! Invariant: what was written goes out behind what was written before, and nothing is sent before
//! `flush`.

use std::ops::{Deref, DerefMut};
use std::task::{Context, Poll};

use super::session::SessionError;
use super::stream::TlsStream;
use crate::error::CloseKind;
use crate::rt::buffer::RecvBuf;
use crate::rt::core::Core;
use crate::rt::stream::{Errno, Stream};
use crate::sys::ops::SendBuf;

/// See the module's description.
#[derive(Debug)]
pub enum Transport {
    /// As it is.
    Plain(Stream),
    /// In TLS.
    Tls(Box<TlsStream>),
}

/// Plaintext that was received.
#[derive(Debug)]
pub enum Chunk {
    /// As it came: the bytes from this offset on.
    Received(RecvBuf, usize),
    /// Decrypted, in storage of the core's pool.
    Decrypted(SendBuf),
}

/// Why a transport failed.
#[derive(Debug)]
pub enum TransportError {
    /// The socket.
    Io(Errno),
    /// TLS; the alert is appended.
    Tls(SessionError),
    /// FIN without close_notify.
    Truncated,
}

impl From<Errno> for TransportError {
    fn from(errno: Errno) -> Self {
        Self::Io(errno)
    }
}

impl Chunk {
    /// No bytes at all.
    pub fn none() -> Self {
        Self::Received(RecvBuf::Heap(Vec::new()), 0)
    }

    /// Lets go of the first `count` bytes.
    pub fn advance(&mut self, count: usize) {
        assert!(count <= self.len(), "more is let go of than there is");
        match self {
            Self::Received(_, start) => *start += count,
            Self::Decrypted(buf) => buf.advance(count),
        }
    }
}

impl Deref for Chunk {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Received(buf, start) => &buf[*start..],
            Self::Decrypted(buf) => buf.remaining(),
        }
    }
}

impl DerefMut for Chunk {
    fn deref_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Received(buf, start) => &mut buf[*start..],
            Self::Decrypted(buf) => buf.remaining_mut(),
        }
    }
}

impl Transport {
    /// The socket, for flushing and back-pressure.
    pub fn socket(&self) -> &Stream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.socket(),
        }
    }

    /// The next bytes, never none; `None` once the peer has ended in order.
    ///
    /// A buffer that came decrypted is best given back by [`Transport::recycle`].
    pub fn poll_read(
        &mut self,
        core: &Core,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Chunk>, TransportError>> {
        let stream = match self {
            Self::Plain(stream) => {
                let received = std::task::ready!(stream.poll_recv(cx))?;
                return Poll::Ready(Ok(received.map(|buf| Chunk::Received(buf, 0))));
            }
            Self::Tls(stream) => stream,
        };
        if stream.has_early() {
            let early = stream.take_early();
            return Poll::Ready(Ok(Some(Chunk::Received(RecvBuf::Heap(early), 0))));
        }
        while !stream.peer_closed() {
            let Some(received) = std::task::ready!(stream.socket().poll_recv(cx))? else {
                return Poll::Ready(Err(TransportError::Truncated));
            };
            let mut plain = core.storage(received.len() + stream.partial_bytes());
            let decrypted = stream.decrypt(&received, &mut plain);
            drop(received);
            if let Err(error) = decrypted {
                core.reuse(plain);
                return Poll::Ready(Err(TransportError::Tls(error)));
            }
            if plain.is_empty() {
                core.reuse(plain);
                continue;
            }
            return Poll::Ready(Ok(Some(Chunk::Decrypted(plain))));
        }
        Poll::Ready(Ok(None))
    }

    /// Ready while there is room for more to be written.
    pub fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        self.socket().poll_writable(cx).map(|ready| ready.map_err(TransportError::Io))
    }

    /// Appends a copy of `bytes` to what is pending, in TLS as records.
    ///
    /// # Errors
    /// [`TransportError::Tls`] where the keys are used up.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), TransportError> {
        match self {
            Self::Plain(stream) => {
                stream.append(bytes);
                Ok(())
            }
            Self::Tls(stream) => stream.encrypt(bytes).map_err(TransportError::Tls),
        }
    }

    /// Appends what `writing` appends, at most `room` bytes.
    ///
    /// # Errors
    /// As [`Transport::write`].
    pub fn write_with(
        &mut self,
        core: &Core,
        room: usize,
        writing: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), TransportError> {
        match self {
            Self::Plain(stream) => {
                let mut pending = stream.lend_pending(room);
                writing(pending.tail());
                stream.restore_pending(pending);
                Ok(())
            }
            Self::Tls(stream) => {
                let mut plain = core.storage(room);
                writing(plain.tail());
                let written = stream.encrypt(plain.remaining()).map_err(TransportError::Tls);
                core.reuse(plain);
                written
            }
        }
    }

    /// Appends the bytes of a chunk, without a copy where that is possible.
    ///
    /// # Errors
    /// As [`Transport::write`].
    pub fn write_chunk(&mut self, core: &Core, chunk: Chunk) -> Result<(), TransportError> {
        match (self, chunk) {
            (Self::Plain(stream), Chunk::Decrypted(buf)) => {
                stream.append_buf(buf);
                Ok(())
            }
            (this, chunk) => {
                let written = this.write(&chunk);
                recycle(core, chunk);
                written
            }
        }
    }

    /// Sends what is pending.
    pub fn flush(&self) {
        self.socket().flush();
    }

    /// Whether the peer has ended or bytes of it wait: a connection of which nothing is expected is
    /// of no use then.
    pub fn is_stale(&self) -> bool {
        self.socket().has_input()
    }

    /// Sends the end of what is written: close_notify in TLS, and FIN. Receiving goes on.
    pub fn shut_write(&mut self) {
        match self {
            Self::Plain(stream) => stream.shut_write(),
            Self::Tls(stream) => stream.shut_write(),
        }
    }

    /// Ends the connection in order. Dropping it resets it.
    pub fn close(self) {
        match self {
            Self::Plain(stream) => stream.close(),
            Self::Tls(stream) => stream.close(true),
        }
    }

    /// Ends the connection for a reason that was not an orderly end; see
    /// [`TlsStream::close_for`].
    pub fn close_for(self, reason: CloseKind) {
        match self {
            Self::Plain(stream) => stream.close(),
            Self::Tls(stream) => stream.close_for(reason),
        }
    }
}

/// Gives the storage of a chunk back.
pub fn recycle(core: &Core, chunk: Chunk) {
    if let Chunk::Decrypted(buf) = chunk {
        core.reuse(buf);
    }
}
