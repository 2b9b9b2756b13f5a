//! What was received and is not used yet: heads and bodies of one direction of a connection.
//!
//! Invariant: an idle connection holds nothing; a head that comes in pieces waits on the heap, so
//! that slow peers hold no buffer of the ring.

use std::ops::Range;
use std::task::{Context, Poll, ready};

use super::fault::SideFault;
use crate::http1::body::{BodyDecoder, Framing};
use crate::http1::error::HeadError;
use crate::http1::fields::Field;
use crate::http1::scan::HeadScan;
use crate::rt::buffer::RecvBuf;
use crate::rt::core::Core;
use crate::tls::transport::{Chunk, Transport, recycle};

/// See the module's description.
#[derive(Debug)]
pub(super) struct Reader {
    input: Option<Chunk>,
    /// Whether it is worth while to parse the head that the input is the beginning of.
    scan: HeadScan,
    /// Of the input: what [`Reader::poll_body`] found, and the bytes that are done with then.
    data: Range<usize>,
    consumed: usize,
    body: BodyDecoder,
}

impl Reader {
    pub(super) fn new() -> Self {
        Self {
            input: None,
            scan: HeadScan::new(),
            data: 0..0,
            consumed: 0,
            body: BodyDecoder::new(Framing::None),
        }
    }

    /// Whether bytes of a message are there.
    pub(super) fn is_empty(&self) -> bool {
        self.input.is_none()
    }

    /// The next head, of at most `bytes_max` bytes: what `parse` makes of the bytes, and how long
    /// it is. `None` where the peer ended before its first byte. The bytes of the head come with
    /// it.
    pub(super) fn poll_head<T>(
        &mut self,
        core: &Core,
        transport: &mut Transport,
        cx: &mut Context<'_>,
        bytes_max: usize,
        parse: impl Fn(&[u8]) -> Result<Option<(T, usize)>, HeadError>,
    ) -> Poll<Result<Option<(T, Chunk)>, SideFault>> {
        loop {
            if let Some(input) = &self.input
                && self.scan.is_due(input, bytes_max)
                && let Some((head, bytes)) = parse(input)?
            {
                self.scan = HeadScan::new();
                return Poll::Ready(Ok(Some((head, self.take(core, bytes)))));
            }
            let more = match transport.poll_read(core, cx) {
                Poll::Ready(more) => more?,
                Poll::Pending => {
                    self.input = self.input.take().map(|input| on_heap(core, input));
                    return Poll::Pending;
                }
            };
            match (more, self.input.take()) {
                (Some(more), None) => self.input = Some(more),
                (Some(more), Some(had)) => self.input = Some(joined(core, had, more)),
                (None, None) => return Poll::Ready(Ok(None)),
                (None, Some(had)) => {
                    // Kept: something of a message was seen.
                    self.input = Some(had);
                    return Poll::Ready(Err(SideFault::Ended));
                }
            }
        }
    }

    /// The first `bytes` of the input, without a copy where nothing follows.
    fn take(&mut self, core: &Core, bytes: usize) -> Chunk {
        // invariant: the caller has parsed them in there.
        let mut input = self.input.take().expect("a head was found");
        if input.len() == bytes {
            return input;
        }
        let mut head = core.storage(bytes);
        head.tail().extend_from_slice(&input[..bytes]);
        input.advance(bytes);
        self.input = Some(input);
        Chunk::Decrypted(head)
    }

    /// What is there, and was not used.
    pub(super) fn input(&self) -> &[u8] {
        self.input.as_deref().unwrap_or_default()
    }

    /// A body follows the head with these `fields` of `head`.
    pub(super) fn begin_body(&mut self, framing: Framing, fields: &[Field], head: &[u8]) {
        self.body = BodyDecoder::behind(framing, fields, head);
    }

    /// Whatever follows, until the connection ends, is bytes of no message.
    pub(super) fn begin_tunnel(&mut self) {
        self.body = BodyDecoder::new(Framing::UntilClose);
    }

    /// Whether the body was taken to its end.
    pub(super) fn is_complete(&self) -> bool {
        self.consumed == 0 && self.body.is_complete()
    }

    /// Makes a run of data of the body ready: true, or false where the body is complete.
    ///
    /// It is then looked at by [`Reader::data`] or taken by [`Reader::take_data`], and has to be
    /// [`used`](Reader::use_data) before the next.
    pub(super) fn poll_body(
        &mut self,
        core: &Core,
        transport: &mut Transport,
        cx: &mut Context<'_>,
    ) -> Poll<Result<bool, SideFault>> {
        if !self.data.is_empty() {
            return Poll::Ready(Ok(true));
        }
        debug_assert_eq!(self.consumed, 0, "the last run of data was not used");
        loop {
            if self.body.is_complete() {
                return Poll::Ready(Ok(false));
            }
            let Some(input) = &mut self.input else {
                match ready!(transport.poll_read(core, cx))? {
                    Some(input) => self.input = Some(input),
                    None => self.body.end()?,
                }
                continue;
            };
            let decoded = self.body.decode(input)?;
            let (consumed, bytes) = (decoded.consumed, decoded.data.len());
            if bytes > 0 {
                let start = decoded.data.as_ptr().addr() - input.as_ptr().addr();
                self.data = start..start + bytes;
                self.consumed = consumed;
                return Poll::Ready(Ok(true));
            }
            self.advance(core, consumed);
        }
    }

    /// The data that is ready.
    pub(super) fn data(&self) -> &[u8] {
        self.input.as_ref().map_or(&[], |input| &input[self.data.clone()])
    }

    /// Lets go of the first `bytes` of the data that was looked at.
    pub(super) fn use_data(&mut self, core: &Core, bytes: usize) {
        self.data.start += bytes;
        if !self.data.is_empty() {
            return;
        }
        let consumed = std::mem::take(&mut self.consumed);
        self.data = 0..0;
        self.advance(core, consumed);
    }

    /// The data that is ready, without a copy where nothing follows it.
    pub(super) fn take_data(&mut self, core: &Core) -> Chunk {
        if let Some(mut input) = self.input.take_if(|input| self.data.end == input.len()) {
            input.advance(self.data.start);
            (self.data, self.consumed) = (0..0, 0);
            return input;
        }
        let mut data = core.storage(self.data.len());
        data.tail().extend_from_slice(self.data());
        self.use_data(core, self.data.len());
        Chunk::Decrypted(data)
    }

    /// What is there has to wait for another peer: not in a buffer of the ring, into which all
    /// connections receive.
    pub(super) fn spill(&mut self) {
        if let Some(Chunk::Received(received, _)) = &mut self.input {
            received.spill();
        }
    }

    /// See [`BodyDecoder::take_trailers`].
    pub(super) fn take_trailers(&mut self) -> Option<Box<[u8]>> {
        self.body.take_trailers()
    }

    /// See [`BodyDecoder::remaining`].
    pub(super) fn remaining(&self) -> Option<u64> {
        self.body.remaining()
    }

    fn advance(&mut self, core: &Core, bytes: usize) {
        let Some(input) = &mut self.input else { return };
        input.advance(bytes);
        if let Some(used) = self.input.take_if(|input| input.is_empty()) {
            recycle(core, used);
        }
    }
}

/// Both, in one piece on the heap.
fn joined(core: &Core, had: Chunk, more: Chunk) -> Chunk {
    let mut bytes = into_vec(core, had);
    bytes.extend_from_slice(&more);
    recycle(core, more);
    Chunk::Received(RecvBuf::Heap(bytes), 0)
}

/// The same bytes in storage of their size.
fn on_heap(core: &Core, chunk: Chunk) -> Chunk {
    Chunk::Received(RecvBuf::Heap(into_vec(core, chunk)), 0)
}

fn into_vec(core: &Core, chunk: Chunk) -> Vec<u8> {
    if let Chunk::Received(RecvBuf::Heap(bytes), 0) = chunk {
        return bytes;
    }
    let bytes = chunk.to_vec();
    recycle(core, chunk);
    bytes
}
