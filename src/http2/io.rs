//! A [`Transport`] as the `h2` crate reads and writes it.
//!
//! The connection's owner keeps a [`Wire`] to what h2 owns: it flushes once h2 was polled, sees why
//! it failed, and ends it. Invariants: many small frames become few records and one send, for
//! nothing is encrypted before a record is full or the owner flushes; what a flood brought is never
//! given to h2; between polls with nothing under way no buffer is held.

use std::cell::RefCell;
use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use h2::Reason;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frames::{self, Flood, FrameBounds, FrameWatch};
use crate::error::CloseKind;
use crate::rt::core::Core;
use crate::sys::ops::SendBuf;
use crate::time::Instant;
use crate::tls::record::PLAINTEXT_BYTES_MAX;
use crate::tls::transport::{Chunk, Transport, TransportError, recycle};

/// Why a connection has to end, or has ended, other than by h2's own judgement.
#[derive(Debug)]
pub enum Fault {
    /// The peer sent too much of something.
    Flood(Flood),
    /// The transport failed.
    Transport(TransportError),
}

/// The owner's handle of a connection that h2 reads and writes.
#[derive(Clone, Debug)]
pub struct Wire {
    inner: Rc<RefCell<Inner>>,
}

/// What h2 reads and writes.
#[derive(Debug)]
pub struct Http2Io {
    wire: Wire,
}

#[derive(Debug)]
struct Inner {
    core: Core,
    /// `None` once it was ended.
    transport: Option<Transport>,
    /// What was received and not yet taken.
    chunk: Option<Chunk>,
    /// What was written and not yet encrypted.
    gathered: SendBuf,
    watch: FrameWatch,
    fault: Option<Fault>,
    /// Whether nothing is received any more: a flood was seen.
    is_deaf: bool,
    /// Whether more was to be written than there was room for.
    is_blocked: bool,
    /// Whether h2's own end is not that of the transport: its owner ends it otherwise.
    is_held: bool,
    received_at: Instant,
    received_bytes: u64,
    sent_bytes: u64,
}

impl Wire {
    /// Over `transport`, whose peer is the client or, where `of_client` is false, the server.
    pub fn new(core: &Core, transport: Transport, bounds: FrameBounds, of_client: bool) -> Self {
        let now = core.now();
        let inner = Inner {
            core: core.clone(),
            transport: Some(transport),
            chunk: None,
            gathered: SendBuf::default(),
            watch: FrameWatch::new(bounds, of_client, now),
            fault: None,
            is_deaf: false,
            is_blocked: false,
            is_held: false,
            received_at: now,
            received_bytes: 0,
            sent_bytes: 0,
        };
        Self { inner: Rc::new(RefCell::new(inner)) }
    }

    /// What h2 is to own.
    pub fn io(&self) -> Http2Io {
        Http2Io { wire: self.clone() }
    }

    /// Ready once bytes of the peer are there, or none will come: nothing else is needed until
    /// then.
    pub fn poll_begun(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut inner = self.inner.borrow_mut();
        let received = ready!(inner.poll_receive(cx));
        // h2 meets the failure itself when it reads.
        let _ = received;
        Poll::Ready(())
    }

    /// Sends what h2 has written: to be called after h2 was polled, and before its owner waits.
    pub fn flush(&self) {
        self.inner.borrow_mut().flush();
    }

    /// Says GOAWAY of no stream in place of h2, which has not begun; `with_settings`, which have to
    /// be the first that a server says (RFC 9113, 3.4).
    pub fn say_goaway(&self, code: Reason, with_settings: bool) {
        let mut inner = self.inner.borrow_mut();
        let mut said = Vec::new();
        if with_settings {
            said.extend_from_slice(&frames::header(0, frames::SETTINGS));
        }
        said.extend_from_slice(&frames::header(8, frames::GOAWAY));
        said.extend_from_slice(&[0; 4]);
        said.extend_from_slice(&u32::from(code).to_be_bytes());
        // Where it fails the peer finds that the connection is over.
        let _ = inner.gather(&said);
    }

    /// Why the connection must end, once: h2 gets no more bytes from then on.
    pub fn take_fault(&self) -> Option<Fault> {
        self.inner.borrow_mut().fault.take()
    }

    /// Whether a flood was seen and not yet taken.
    pub fn has_flood(&self) -> bool {
        matches!(self.inner.borrow().fault, Some(Fault::Flood(_)))
    }

    /// Whether the peer does not take what it is sent.
    pub fn is_blocked(&self) -> bool {
        self.inner.borrow().is_blocked
    }

    /// When bytes of the peer were last received; at first when the connection began.
    pub fn received_at(&self) -> Instant {
        self.inner.borrow().received_at
    }

    /// Bytes received and sent so far, of frames.
    pub fn bytes(&self) -> (u64, u64) {
        let inner = self.inner.borrow();
        (inner.received_bytes, inner.sent_bytes)
    }

    /// The last stream that the peer deals with, once it has sent GOAWAY.
    pub fn goaway(&self) -> Option<u32> {
        self.inner.borrow().watch.goaway()
    }

    /// A stream of the client was handed out as a request.
    pub(super) fn accepted(&self, stream: u32) {
        self.inner.borrow_mut().watch.accepted(stream);
    }

    /// Streams of the client that h2 answered or reset by itself.
    pub(super) fn refused(&self) -> u64 {
        self.inner.borrow().watch.refused()
    }

    /// From now on h2 does not end the transport: an alert is to go out, and there is none after
    /// close_notify.
    pub fn hold(&self) {
        self.inner.borrow_mut().is_held = true;
    }

    /// Ends the connection in order. Dropping the last handle resets it.
    pub fn close(&self) {
        self.flush();
        if let Some(transport) = self.inner.borrow_mut().transport.take() {
            transport.close();
        }
    }

    /// Ends the connection for a reason that was not an orderly end; see
    /// [`Transport::close_for`].
    pub fn close_for(&self, reason: CloseKind) {
        self.flush();
        if let Some(transport) = self.inner.borrow_mut().transport.take() {
            transport.close_for(reason);
        }
    }

    /// Resets the connection.
    pub fn reset(&self) {
        self.inner.borrow_mut().transport = None;
    }
}

impl Inner {
    /// Ready with whether there are bytes to take; without, the peer has ended in order.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if self.chunk.is_some() {
            return Poll::Ready(Ok(true));
        }
        if self.is_deaf {
            // The owner sees it as soon as h2 returns.
            return Poll::Pending;
        }
        let Some(transport) = &mut self.transport else {
            return Poll::Ready(Err(ErrorKind::NotConnected.into()));
        };
        match ready!(transport.poll_read(&self.core, cx)) {
            Ok(Some(chunk)) => self.take_in(chunk),
            Ok(None) => Poll::Ready(Ok(false)),
            Err(error) => Poll::Ready(Err(self.fail(error))),
        }
    }

    fn take_in(&mut self, chunk: Chunk) -> Poll<io::Result<bool>> {
        self.received_at = self.core.now();
        self.received_bytes += chunk.len() as u64;
        if let Err(flood) = self.watch.received(&chunk, self.received_at) {
            recycle(&self.core, chunk);
            self.fault = Some(Fault::Flood(flood));
            self.is_deaf = true;
            return Poll::Pending;
        }
        self.chunk = Some(chunk);
        Poll::Ready(Ok(true))
    }

    fn fail(&mut self, error: TransportError) -> io::Error {
        let kind = match &error {
            TransportError::Io(errno) => io::Error::from_raw_os_error(errno.0).kind(),
            TransportError::Tls(_) => ErrorKind::InvalidData,
            TransportError::Truncated => ErrorKind::UnexpectedEof,
        };
        self.fault.get_or_insert(Fault::Transport(error));
        kind.into()
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !ready!(self.poll_receive(cx))? {
            return Poll::Ready(Ok(()));
        }
        // invariant: `poll_receive` has just said that there is one.
        let mut chunk = self.chunk.take().expect("a chunk that was received");
        let taken = chunk.len().min(buf.remaining());
        buf.put_slice(&chunk[..taken]);
        chunk.advance(taken);
        if chunk.is_empty() {
            recycle(&self.core, chunk);
        } else {
            self.chunk = Some(chunk);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write<'a>(
        &mut self,
        cx: &mut Context<'_>,
        slices: impl Iterator<Item = &'a [u8]>,
    ) -> Poll<io::Result<usize>> {
        let Some(transport) = &self.transport else {
            return Poll::Ready(Err(ErrorKind::NotConnected.into()));
        };
        let writable = transport.poll_writable(cx);
        self.is_blocked = writable.is_pending();
        if let Err(error) = ready!(writable) {
            return Poll::Ready(Err(self.fail(error)));
        }
        let mut written = 0;
        for slice in slices {
            self.watch.sent(slice);
            if let Err(error) = self.gather(slice) {
                return Poll::Ready(Err(self.fail(error)));
            }
            written += slice.len();
        }
        self.sent_bytes += written as u64;
        Poll::Ready(Ok(written))
    }

    /// Appends to what is gathered, and encrypts what fills a record.
    fn gather(&mut self, mut bytes: &[u8]) -> Result<(), TransportError> {
        let Some(transport) = &mut self.transport else { return Ok(()) };
        if matches!(transport, Transport::Plain(_)) {
            return transport.write(bytes);
        }
        while !bytes.is_empty() {
            let fits = bytes.len().min(PLAINTEXT_BYTES_MAX - self.gathered.len());
            let storage = self.gathered.tail();
            if storage.capacity() - storage.len() < fits {
                let mut larger = self.core.storage(storage.len() + fits);
                larger.tail().extend_from_slice(storage);
                self.core.reuse(std::mem::replace(&mut self.gathered, larger));
            }
            self.gathered.tail().extend_from_slice(&bytes[..fits]);
            bytes = &bytes[fits..];
            if self.gathered.len() == PLAINTEXT_BYTES_MAX {
                transport.write(self.gathered.remaining())?;
                self.gathered.tail().clear();
            }
        }
        Ok(())
    }

    fn flush(&mut self) {
        let gathered = std::mem::take(&mut self.gathered);
        // Without a record where nothing is gathered; plaintext was appended when it was written.
        if let Some(transport) = &mut self.transport {
            if let Err(error) = transport.write(gathered.remaining()) {
                self.fault.get_or_insert(Fault::Transport(error));
            } else {
                transport.flush();
            }
        }
        self.core.reuse(gathered);
    }
}

impl AsyncRead for Http2Io {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.wire.inner.borrow_mut().poll_read(cx, buf)
    }
}

impl AsyncWrite for Http2Io {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.wire.inner.borrow_mut().poll_write(cx, std::iter::once(buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.wire.inner.borrow_mut().poll_write(cx, bufs.iter().map(|buf| &**buf))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Ready at once: h2 flushes after every large frame, and its owner when h2 has done all that
    /// it could.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.wire.inner.borrow_mut();
        inner.flush();
        if !inner.is_held
            && let Some(transport) = &mut inner.transport
        {
            transport.shut_write();
        }
        Poll::Ready(Ok(()))
    }
}
