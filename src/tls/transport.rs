//! A byte stream to a peer, with or without TLS, in the runtime's own buffers.
//!
//! Invariant: what was written goes out behind what was written before, and nothing is sent before
//! `flush`.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::task::{Context, Poll};

use super::client::{UpstreamFault, UpstreamTls};
use super::session::{Agreed, Session, SessionError};
use super::stream::{HandshakeError, TlsStream, client_handshake};
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

/// Why no TLS session with an upstream came to be. Nothing of a request was sent.
#[derive(Clone, Debug, PartialEq)]
pub enum UpstreamTlsError {
    /// TLS: the certificate, an alert, the protocol.
    Tls(UpstreamFault),
    /// FIN before the end of the handshake.
    Eof,
    /// The socket.
    Io(Errno),
}

impl UpstreamTlsError {
    /// The reason for the log and the metrics.
    pub fn kind(&self) -> CloseKind {
        match self {
            Self::Tls(UpstreamFault::CertificateRefused(..)) => {
                CloseKind::UpstreamCertificateRefused
            }
            Self::Tls(_) | Self::Eof => CloseKind::UpstreamTlsFailed,
            Self::Io(Errno(libc::ECONNRESET | libc::EPIPE)) => CloseKind::Reset,
            Self::Io(Errno(errno)) => CloseKind::Io(*errno),
        }
    }
}

impl fmt::Display for UpstreamTlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tls(fault) => fault.fmt(f),
            Self::Eof => f.write_str("the upstream ended the connection in its handshake"),
            Self::Io(errno) => errno.fmt(f),
        }
    }
}

impl std::error::Error for UpstreamTlsError {}

/// Shakes hands with an upstream on a connected socket. What was agreed on comes with the
/// transport; its `alpn` is `None` where an upstream that may answer with HTTP/1.1 did not say so.
///
/// A TLS 1.3 upstream that refuses our certificate, or the lack of one, says so after its
/// handshake: as the first thing that is read ([`TransportError::Tls`], whose meaning
/// [`UpstreamFault::of`] tells).
///
/// There is no deadline here. Dropping the future resets the connection.
///
/// # Errors
/// [`UpstreamTlsError`]; the connection was ended, with the alert that is due.
pub async fn connect(
    stream: Stream,
    tls: &UpstreamTls,
) -> Result<(Transport, Agreed), UpstreamTlsError> {
    let session = Session::client(Arc::clone(&tls.config), tls.server_name.clone());
    let mut session = session.map_err(|error| UpstreamTlsError::Tls(UpstreamFault::of(&error)))?;
    let agreed = match client_handshake(&stream, &mut session).await {
        Ok(agreed) => agreed,
        Err(error) => {
            // In order: the alert goes out.
            stream.close();
            return Err(match error {
                HandshakeError::Session(error) => UpstreamTlsError::Tls(UpstreamFault::of(&error)),
                HandshakeError::Hello(error) => {
                    UpstreamTlsError::Tls(UpstreamFault::Tls(error.to_string()))
                }
                HandshakeError::Eof => UpstreamTlsError::Eof,
                HandshakeError::Io(errno) => UpstreamTlsError::Io(errno),
            });
        }
    };
    let transport = Transport::Tls(Box::new(TlsStream::new(stream, session)));
    // RFC 9113, 3.2: a client of HTTP/2 over TLS "uses TLS with the ALPN extension"; without an
    // answer to it, the upstream would take the preface for a request of HTTP/1.1. What is not
    // among what was offered was refused in the handshake.
    if tls.alpn_required && agreed.alpn.is_none() {
        transport.close();
        return Err(UpstreamTlsError::Tls(UpstreamFault::Protocol));
    }
    Ok((transport, agreed))
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
    /// What came before a fault of TLS is handed out first, and the fault by the next call. Once
    /// the end or an error was returned, nothing more may be asked.
    ///
    /// A buffer that came decrypted is best given back by [`recycle`].
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
        if let Some(fault) = stream.fault.take() {
            return Poll::Ready(Err(TransportError::Tls(*fault)));
        }
        while !stream.peer_closed() {
            let Some(received) = std::task::ready!(stream.socket().poll_recv(cx))? else {
                return Poll::Ready(Err(TransportError::Truncated));
            };
            let mut plain = core.storage(received.len() + stream.partial_bytes());
            let decrypted = stream.decrypt(&received, &mut plain);
            drop(received);
            match decrypted {
                // What came before it was said by the peer all the same, and may be a whole
                // response: it is handed out first.
                Err(error) if !plain.is_empty() => stream.fault = Some(Box::new(error)),
                Err(error) => {
                    core.reuse(plain);
                    return Poll::Ready(Err(TransportError::Tls(error)));
                }
                Ok(_) if plain.is_empty() => {
                    core.reuse(plain);
                    continue;
                }
                Ok(_) => {}
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
    ///
    /// What the socket knows it knows only while receiving is armed, which [`Transport::poll_idle`]
    /// does. In TLS the bytes may be a ticket alone: then a good connection counts as stale, and
    /// never the other way.
    pub fn is_stale(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.has_input(),
            Self::Tls(stream) => {
                stream.peer_closed()
                    || stream.fault.is_some()
                    || stream.has_early()
                    || stream.partial_bytes() > 0
                    || stream.socket().has_input()
            }
        }
    }

    /// Ready when a connection of which nothing is expected is of no use any more: the peer has
    /// ended it, or has said something. Arms receiving, so that this is known. What TLS says by
    /// itself, tickets above all, is taken meanwhile and is nothing.
    pub fn poll_idle(&mut self, core: &Core, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_read(core, cx).map(|read| {
            if let Ok(Some(chunk)) = read {
                recycle(core, chunk);
            }
        })
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
    /// [`TlsStream::close_for`]. Without TLS it is reset, for FIN alone would tell the peer that
    /// what it got is whole.
    pub fn close_for(self, reason: CloseKind) {
        match self {
            Self::Plain(stream) => drop(stream),
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
