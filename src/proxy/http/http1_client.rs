//! The client's side of exchanges on an HTTP/1.1 connection.

use std::fmt::Write;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use super::answer::{Answer, reason_phrase};
use super::fault::SideFault;
use super::reader::Reader;
use crate::error::CloseKind;
use crate::http1::body::{self, Framing, Promise, write_chunk_size, write_last_chunk};
use crate::http1::request::{self, HeadLimits, RequestHead, Version};
use crate::http1::response::ResponseHead;
use crate::http1::write::{self, ResponseChange};
use crate::limits::CONNECTION_GRACE_MS;
use crate::planted::{Bug, planted};
use crate::rt::buffer::SendBuf;
use crate::rt::core::Core;
use crate::time::Instant;
use crate::tls::record::PLAINTEXT_BYTES_MAX;
use crate::tls::transport::{Chunk, Transport};

/// See the module's description.
#[derive(Debug)]
pub(super) struct Http1Client {
    core: Core,
    transport: Transport,
    reader: Reader,
    /// Plaintext that goes into the next record, with what follows it: head and body in one.
    out: SendBuf,
    /// How the body of the response goes out, and how much of it may.
    promise: Promise,
    version: Version,
    /// Whether the client waits for 100 before it sends its body, or none at all (RFC 9110,
    /// 10.1.1).
    waits: bool,
    /// Whether the connection ends with this exchange.
    closes: bool,
    /// When the connection has its age.
    until: Option<Instant>,
}

impl Http1Client {
    pub(super) fn new(core: &Core, transport: Transport, until: Option<Instant>) -> Self {
        Self {
            core: core.clone(),
            transport,
            reader: Reader::new(),
            out: SendBuf::default(),
            promise: Promise::new(Framing::None),
            version: Version::Http11,
            waits: false,
            closes: false,
            until,
        }
    }

    /// When the connection has its age, and no other exchange begins.
    pub(super) fn until(&self) -> Option<Instant> {
        self.until
    }

    /// Whether the connection has its age.
    pub(super) fn is_aged(&self) -> bool {
        self.until.is_some_and(|until| self.core.now() >= until)
    }

    /// When an exchange is cut because the connection is too old: as late as with HTTP/2.
    pub(super) fn cut_at(&self) -> Option<Instant> {
        self.until.map(|until| until + Duration::from_millis(CONNECTION_GRACE_MS))
    }

    /// The next request; `None` where the client has ended instead.
    pub(super) fn poll_head(
        &mut self,
        limits: HeadLimits,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<(RequestHead, Chunk)>, SideFault>> {
        let parse = |bytes: &[u8]| {
            let head = request::parse(bytes, limits)?;
            Ok(head.map(|head| {
                let bytes = head.bytes;
                (head, bytes)
            }))
        };
        let found = ready!(self.reader.poll_head(
            &self.core,
            &mut self.transport,
            cx,
            limits.bytes_max,
            parse,
        ))?;
        if let Some((head, bytes)) = &found {
            self.reader.begin_body(head.framing, &head.fields, bytes);
            self.version = head.version;
            self.waits = head.expects_continue && head.framing != Framing::None;
            self.closes = !head.keep_alive;
        }
        Poll::Ready(Ok(found))
    }

    /// Whether bytes of a request are there.
    pub(super) fn has_begun(&self) -> bool {
        !self.reader.is_empty()
    }

    /// Makes a run of data of the request's body ready: see [`Reader::poll_body`].
    pub(super) fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, SideFault>> {
        let polled = self.reader.poll_body(&self.core, &mut self.transport, cx);
        self.waits &= !matches!(polled, Poll::Ready(Ok(_)));
        polled
    }

    /// What comes next is the final response.
    ///
    /// RFC 9110, 10.1.1: a client that waited for 100 may leave its body out then, and may send it
    /// all the same: what follows on the connection would be taken for the other.
    fn end_waiting(&mut self) {
        self.closes |= std::mem::take(&mut self.waits) && self.reader.is_empty();
    }

    /// Ready when the connection was reset. A client that has only ended its side waits for its
    /// response (RFC 9112, 9.6).
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<SideFault> {
        self.transport.socket().poll_reset(cx).map(|errno| SideFault::Transport(errno.into()))
    }

    pub(super) fn reader(&mut self) -> &mut Reader {
        &mut self.reader
    }

    /// Whether the connection ends with this exchange.
    pub(super) fn closes(&self) -> bool {
        self.closes
    }

    /// The connection ends with this exchange.
    pub(super) fn close_after(&mut self) {
        self.closes = true;
    }

    /// Whether the client may be sent interim responses: HTTP/1.0 knows none (RFC 9110, 15.2).
    pub(super) fn takes_interim(&self) -> bool {
        self.version == Version::Http11
    }

    /// How a body goes out that came so. What HTTP/1.0 cannot have ends with the connection.
    pub(super) fn framing_of(&mut self, head: &ResponseHead) -> Framing {
        match head.framing {
            Framing::Chunked | Framing::UntilClose if self.version == Version::Http10 => {
                self.closes = true;
                Framing::UntilClose
            }
            Framing::UntilClose => Framing::Chunked,
            framing => framing,
        }
    }

    /// Writes the head of a response; of an interim one no body follows.
    pub(super) fn send_head(
        &mut self,
        bytes: &[u8],
        head: &ResponseHead,
        mut change: ResponseChange<'_>,
    ) {
        let is_interim = head.status < 200 && head.status != 101;
        self.waits &= head.status != 100;
        if !is_interim {
            self.end_waiting();
            change.upgrade &= head.status == 101 || !self.closes;
            change.close = self.closes && !change.upgrade;
            change.keep_alive = !self.closes && self.version == Version::Http10;
            self.promise = Promise::new(change.framing);
        }
        let lines: usize = change.lines.iter().map(|line| line.len()).sum();
        self.reserve(bytes.len() + lines);
        write::response(self.out.tail(), bytes, head, &change);
    }

    /// An answer of ringfort's own, in one piece.
    pub(super) fn send_answer(&mut self, answer: &Answer, is_head: bool, has_details: bool) {
        self.end_waiting();
        self.closes |= answer.closes;
        let (media_type, content) = answer.content(has_details);
        let mut head = format!(
            "HTTP/1.1 {} {}\r\nContent-Type: {media_type}\r\nContent-Length: {}\r\n",
            answer.status,
            reason_phrase(answer.status),
            content.len(),
        );
        // Writing to a String cannot fail.
        let _ = answer.retry_after_s().map(|wait| write!(head, "Retry-After: {wait}\r\n"));
        let _ = answer.allow.map(|methods| write!(head, "Allow: {methods}\r\n"));
        if self.closes {
            head.push_str("Connection: close\r\n");
        } else if self.version == Version::Http10 {
            head.push_str("Connection: keep-alive\r\n");
        }
        head.push_str("\r\n");
        if !is_head {
            head.push_str(&content);
        }
        self.reserve(head.len());
        self.out.tail().extend_from_slice(head.as_bytes());
        self.promise = Promise::new(Framing::None);
    }

    /// Both directions are bytes from now on.
    pub(super) fn tunnel(&mut self) {
        self.promise = Promise::new(Framing::UntilClose);
        self.closes = true;
        self.reader.begin_tunnel();
    }

    /// Writes a piece of the body.
    pub(super) fn send_data(&mut self, data: &[u8]) -> Result<(), SideFault> {
        self.promise.keep(data.len())?;
        if self.promise.framing() != Framing::Chunked {
            return self.put(data);
        }
        // invariant: a piece is at most what one buffer of the ring, or of a pool, holds.
        let size = write_chunk_size(u32::try_from(data.len()).expect("a piece is small"));
        self.put(&size)?;
        self.put(data)?;
        self.put(body::CHUNK_END)
    }

    /// The response is complete.
    pub(super) fn finish(&mut self, trailers: Option<&[u8]>) -> Result<(), SideFault> {
        match self.promise.framing() {
            Framing::Chunked => {
                self.reserve(trailers.map_or(0, <[u8]>::len) + 16);
                write_last_chunk(self.out.tail(), trailers.unwrap_or_default());
            }
            Framing::UntilClose => {
                self.seal()?;
                self.transport.shut_write();
            }
            Framing::None | Framing::Length(_) if planted(Bug::CompleteCutResponse) => {}
            Framing::None | Framing::Length(_) => self.promise.end()?,
        }
        Ok(())
    }

    pub(super) fn poll_writable(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SideFault>> {
        self.transport.poll_writable(cx).map(|ready| ready.map_err(SideFault::Transport))
    }

    /// Sends what was written.
    pub(super) fn flush(&mut self) -> Result<(), SideFault> {
        self.seal()?;
        self.transport.flush();
        Ok(())
    }

    /// Ends the connection in order.
    pub(super) fn close(mut self) {
        // Where it fails the client finds that the connection is over.
        let _ = self.flush();
        self.core.reuse(std::mem::take(&mut self.out));
        self.transport.close();
    }

    /// Ends the connection in the middle, so that the client can tell.
    pub(super) fn abort(self, reason: CloseKind) {
        self.core.reuse(self.out);
        self.transport.close_for(reason);
    }

    fn reserve(&mut self, bytes: usize) {
        if self.out.tail().capacity() - self.out.tail().len() < bytes {
            let mut larger = self.core.storage(self.out.len() + bytes);
            larger.tail().extend_from_slice(self.out.remaining());
            self.core.reuse(std::mem::replace(&mut self.out, larger));
        }
    }

    /// Appends to the record that is being gathered; what is larger goes out from where it is.
    fn put(&mut self, data: &[u8]) -> Result<(), SideFault> {
        let gathered = self.out.len();
        if gathered == 0 && data.len() >= PLAINTEXT_BYTES_MAX {
            return Ok(self.transport.write(data)?);
        }
        let room = PLAINTEXT_BYTES_MAX.saturating_sub(gathered);
        let (first, rest) = data.split_at(room.min(data.len()));
        self.reserve(first.len());
        self.out.tail().extend_from_slice(first);
        if self.out.len() >= PLAINTEXT_BYTES_MAX {
            self.seal()?;
            if !rest.is_empty() {
                self.transport.write(rest)?;
            }
        }
        Ok(())
    }

    fn seal(&mut self) -> Result<(), SideFault> {
        if self.out.is_empty() {
            return Ok(());
        }
        let sealed = self.transport.write(self.out.remaining());
        self.core.reuse(std::mem::take(&mut self.out));
        Ok(sealed?)
    }
}
