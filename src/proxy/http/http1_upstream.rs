//! The upstream's side of an exchange over HTTP/1.1.

use std::rc::Rc;
use std::task::{Context, Poll, ready};

use super::fault::SideFault;
use super::reader::Reader;
use crate::http1::body::{self, Framing, Promise, write_chunk_size, write_last_chunk};
use crate::http1::request::{HeadLimits, RequestHead};
use crate::http1::response::{self, AnswerTo, ResponseHead};
use crate::http1::write::{self, RequestChange};
use crate::proxy::pool::{Connection, Pool};
use crate::rt::core::Core;
use crate::tls::client::UpstreamFault;
use crate::tls::transport::{Chunk, Transport, TransportError};

/// See the module's description.
#[derive(Debug)]
pub(super) struct Http1Upstream {
    core: Core,
    connection: Connection,
    reader: Reader,
    /// How the body of the request goes out, and how much of it may.
    promise: Promise,
    answer_to: AnswerTo,
    /// Whether the upstream was asked for 100 and has not said so: where it answers without, it may
    /// take the body for the next request.
    owes_continue: bool,
    /// Whether the upstream keeps the connection.
    is_kept: bool,
}

impl Http1Upstream {
    pub(super) fn new(core: &Core, connection: Connection) -> Self {
        Self {
            core: core.clone(),
            connection,
            reader: Reader::new(),
            promise: Promise::new(Framing::None),
            answer_to: AnswerTo::Other,
            owes_continue: false,
            is_kept: false,
        }
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    fn transport(&mut self) -> &mut Transport {
        &mut self.connection.transport
    }

    pub(super) fn send_head(
        &mut self,
        bytes: &[u8],
        head: &RequestHead,
        change: &RequestChange<'_>,
    ) -> Result<(), SideFault> {
        self.promise = Promise::new(change.framing);
        self.owes_continue = head.expects_continue && head.framing != Framing::None;
        self.answer_to = match head.method.of(bytes) {
            b"HEAD" => AnswerTo::Head,
            _ if change.upgrade => AnswerTo::Upgrade,
            _ => AnswerTo::Other,
        };
        let lines: usize = change.lines.iter().map(|line| line.len()).sum();
        let room = bytes.len() + change.target.len() + change.host.len() + lines + 128;
        let core = self.core.clone();
        let writing = |out: &mut Vec<u8>| write::request(out, bytes, head, change);
        Ok(self.transport().write_with(&core, room, writing)?)
    }

    pub(super) fn poll_writable(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SideFault>> {
        self.transport().poll_writable(cx).map(|ready| ready.map_err(SideFault::Transport))
    }

    pub(super) fn send_chunk(&mut self, chunk: Chunk) -> Result<(), SideFault> {
        self.promise.keep(chunk.len())?;
        let core = self.core.clone();
        let is_chunked = self.promise.framing() == Framing::Chunked;
        let transport = self.transport();
        if is_chunked {
            // invariant: a piece is at most what one buffer of the ring, or of a pool, holds.
            let size = write_chunk_size(u32::try_from(chunk.len()).expect("a piece is small"));
            transport.write(&size)?;
        }
        transport.write_chunk(&core, chunk)?;
        if is_chunked {
            transport.write(body::CHUNK_END)?;
        }
        Ok(())
    }

    pub(super) fn finish(&mut self, trailers: Option<&[u8]>) -> Result<(), SideFault> {
        let core = self.core.clone();
        match self.promise.framing() {
            Framing::Chunked => {
                let trailers = trailers.unwrap_or_default();
                let writing = |out: &mut Vec<u8>| write_last_chunk(out, trailers);
                self.transport().write_with(&core, trailers.len() + 16, writing)?;
            }
            Framing::UntilClose => self.transport().shut_write(),
            Framing::None | Framing::Length(_) => self.promise.end()?,
        }
        Ok(())
    }

    pub(super) fn flush(&mut self) {
        self.transport().flush();
    }

    /// The next head, interim ones too.
    pub(super) fn poll_head(
        &mut self,
        limits: HeadLimits,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(ResponseHead, Chunk), SideFault>> {
        let answer_to = self.answer_to;
        let parse = |bytes: &[u8]| {
            let head = response::parse(bytes, limits, answer_to)?;
            Ok(head.map(|head| {
                let bytes = head.bytes;
                (head, bytes)
            }))
        };
        let transport = &mut self.connection.transport;
        let bytes_max = limits.bytes_max;
        let polled = ready!(self.reader.poll_head(&self.core, transport, cx, bytes_max, parse));
        let found = polled.map_err(|fault| self.explained(fault))?;
        let (head, bytes) = found.ok_or(SideFault::Ended)?;
        self.owes_continue &= head.status != 100;
        if head.status >= 200 {
            self.is_kept = head.keep_alive && !self.owes_continue;
            self.reader.begin_body(head.framing, &head.fields, &bytes);
        }
        Poll::Ready(Ok((head, bytes)))
    }

    /// A TLS 1.3 upstream that takes no client of our kind says so behind its handshake, in place
    /// of the first response (RFC 8446, 4.4.2.4): no response was lost then.
    fn explained(&self, fault: SideFault) -> SideFault {
        match fault {
            SideFault::Transport(TransportError::Tls(error))
                if error.alert_received().is_some()
                    && self.connection.requests == 1
                    && self.reader.is_empty() =>
            {
                SideFault::TlsRefused(UpstreamFault::of(&error))
            }
            other => other,
        }
    }

    /// Whether the upstream has sent anything of a response.
    pub(super) fn has_begun(&self) -> bool {
        !self.reader.is_empty()
    }

    pub(super) fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, SideFault>> {
        self.reader.poll_body(&self.core, &mut self.connection.transport, cx)
    }

    pub(super) fn reader(&mut self) -> &mut Reader {
        &mut self.reader
    }

    /// Both directions are bytes from now on.
    pub(super) fn tunnel(&mut self) {
        self.promise = Promise::new(Framing::UntilClose);
        self.is_kept = false;
        self.reader.begin_tunnel();
    }

    /// The exchange is over. Where request and response are complete the connection may be used
    /// again.
    pub(super) fn release(self, pool: &Rc<Pool>, sent_all: bool) {
        let is_whole = self.promise.is_kept();
        let reusable = self.is_kept && sent_all && is_whole && self.reader.is_empty();
        if reusable && self.reader.is_complete() {
            pool.put(&self.core, self.connection);
        } else if self.reader.is_complete() && sent_all {
            self.connection.transport.close();
        }
        // Otherwise it is dropped, which resets it: the upstream can stop what it is doing.
    }
}
