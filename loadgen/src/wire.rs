//! A transport as the `h2` crate reads and writes it, and what is to be told of it: bytes that were
//! carried, and why it failed.
//!
//! It is not the gateway's own: what measures shares as little as it can with what is measured, and
//! takes whatever a server sends. It knows nothing of HTTP. Invariant: what was written goes out at
//! the next flush, in few records: small pieces are gathered before they are encrypted.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use ringfort::rt::core::Core;
use ringfort::tls::transport::{Chunk, Transport, TransportError, recycle};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::client::{failure_of_errno, failure_of_session};
use crate::limits::GATHER_BYTES;
use crate::tally::{Failure, Phase};

/// What is counted of a wire; whoever made it keeps this.
#[derive(Debug, Default)]
pub struct Told {
    /// Bytes written since they were last taken.
    pub sent: Cell<u64>,
    /// Bytes read since they were last taken.
    pub received: Cell<u64>,
    /// Why it failed. The `h2` crate keeps no more of an error than its kind.
    pub failure: Cell<Option<Failure>>,
}

/// See the module's description.
#[derive(Debug)]
pub struct Wire {
    core: Core,
    /// `None` once it is closed.
    transport: Option<Transport>,
    /// What was received before there was this wire, and not read.
    first: Vec<u8>,
    /// What was received and not read.
    chunk: Option<Chunk>,
    /// What was written and not encrypted.
    gathered: Vec<u8>,
    told: Rc<Told>,
    is_shut: bool,
}

impl Wire {
    /// The wire, and what it tells.
    pub fn new(core: Core, transport: Transport) -> (Self, Rc<Told>) {
        let told = Rc::new(Told::default());
        let wire = Self {
            core,
            transport: Some(transport),
            first: Vec::new(),
            chunk: None,
            gathered: Vec::new(),
            told: Rc::clone(&told),
            is_shut: false,
        };
        (wire, told)
    }

    /// These bytes are read before all others.
    pub fn put_back(&mut self, first: Vec<u8>) {
        self.first = first;
    }

    fn transport(&mut self) -> io::Result<&mut Transport> {
        self.transport.as_mut().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    fn failed(&self, error: &TransportError) -> io::Error {
        let failure = match error {
            TransportError::Io(errno) => failure_of_errno(*errno),
            TransportError::Tls(error) => failure_of_session(error),
            TransportError::Truncated => Failure::Closed(Phase::Total),
        };
        let first = self.told.failure.take().unwrap_or(failure);
        self.told.failure.set(Some(first));
        io::Error::other(failure.to_string())
    }

    /// Encrypts what was gathered.
    fn settle(&mut self) -> io::Result<()> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let mut gathered = std::mem::take(&mut self.gathered);
        let written = self.transport()?.write(&gathered);
        gathered.clear();
        self.gathered = gathered;
        written.map_err(|error| self.failed(&error))
    }

    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let room = ready!(self.transport()?.poll_writable(cx));
        Poll::Ready(room.map_err(|error| self.failed(&error)))
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.first.is_empty() {
            let bytes = self.first.len().min(into.remaining());
            into.put_slice(&self.first[..bytes]);
            self.first.drain(..bytes);
            return Poll::Ready(Ok(()));
        }
        if self.chunk.is_none() {
            let core = self.core.clone();
            match ready!(self.transport()?.poll_read(&core, cx)) {
                Ok(chunk) => self.chunk = chunk,
                // An end without close_notify is an end here too; whether it was due shows.
                Err(TransportError::Truncated) => {}
                Err(error) => {
                    let failed = self.failed(&error);
                    // The alert, where one is due.
                    self.transport()?.flush();
                    return Poll::Ready(Err(failed));
                }
            }
        }
        let Some(mut chunk) = self.chunk.take() else { return Poll::Ready(Ok(())) };
        let bytes = chunk.len().min(into.remaining());
        into.put_slice(&chunk[..bytes]);
        chunk.advance(bytes);
        self.told.received.set(self.told.received.get() + bytes as u64);
        if chunk.is_empty() {
            recycle(&self.core, chunk);
        } else {
            self.chunk = Some(chunk);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_room(cx))?;
        for slice in slices {
            self.gathered.extend_from_slice(slice);
        }
        let bytes = slices.iter().map(|slice| slice.len()).sum();
        if self.gathered.len() >= GATHER_BYTES {
            self.settle()?;
            self.transport()?.flush();
        }
        self.told.sent.set(self.told.sent.get() + bytes as u64);
        Poll::Ready(Ok(bytes))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.settle()?;
        self.transport()?.flush();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.settle()?;
        if !std::mem::replace(&mut self.is_shut, true) {
            self.transport()?.shut_write();
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for Wire {
    /// In order where both sides said so; a connection that is given up is reset.
    fn drop(&mut self) {
        if self.is_shut
            && let Some(transport) = self.transport.take()
        {
            transport.close();
        }
    }
}
