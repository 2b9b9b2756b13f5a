//! The upstream's side of an exchange, whichever version of HTTP it speaks.

use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::fault::SideFault;
use super::http1_upstream::Http1Upstream;
use super::http2_upstream::Http2Upstream;
use crate::http1::request::{HeadLimits, RequestHead};
use crate::http1::response::ResponseHead;
use crate::http1::write::RequestChange;
use crate::proxy::pool::Pool;
use crate::rt::core::Core;
use crate::tls::transport::Chunk;

/// See the module's description.
#[derive(Debug)]
pub(super) enum UpstreamSide {
    /// A connection that it has to itself.
    Http1(Box<Http1Upstream>),
    /// A stream of a connection that it shares.
    Http2(Box<Http2Upstream>),
}

impl UpstreamSide {
    /// The endpoint's label.
    pub(super) fn endpoint(&self) -> &Arc<str> {
        match self {
            Self::Http1(upstream) => upstream.connection().lease.endpoint(),
            Self::Http2(upstream) => upstream.endpoint(),
        }
    }

    /// Its index in the cluster.
    pub(super) fn endpoint_index(&self) -> Option<usize> {
        match self {
            Self::Http1(upstream) => Some(upstream.connection().endpoint()),
            Self::Http2(upstream) => Some(upstream.endpoint_index()),
        }
    }

    /// Whether the connection has carried requests before: then it may be that the upstream has
    /// closed it meanwhile.
    pub(super) fn is_reused(&self) -> bool {
        match self {
            Self::Http1(upstream) => upstream.connection().requests > 1,
            Self::Http2(upstream) => upstream.is_reused(),
        }
    }

    /// Writes the head of the request. `ends` says that no body follows.
    pub(super) fn send_head(
        &mut self,
        bytes: &[u8],
        head: &RequestHead,
        change: &RequestChange<'_>,
        ends: bool,
    ) -> Result<(), SideFault> {
        match self {
            Self::Http1(upstream) => upstream.send_head(bytes, head, change),
            Self::Http2(upstream) => upstream.send_head(bytes, head, change, ends),
        }
    }

    /// Ready while there is room for more of the request.
    pub(super) fn poll_writable(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SideFault>> {
        match self {
            Self::Http1(upstream) => upstream.poll_writable(cx),
            Self::Http2(upstream) => upstream.poll_writable(cx),
        }
    }

    /// Writes a piece of the body.
    pub(super) fn send_chunk(&mut self, chunk: Chunk) -> Result<(), SideFault> {
        match self {
            Self::Http1(upstream) => upstream.send_chunk(chunk),
            Self::Http2(upstream) => upstream.send_chunk(chunk),
        }
    }

    /// The request is complete.
    pub(super) fn finish(&mut self, trailers: Option<&[u8]>) -> Result<(), SideFault> {
        match self {
            Self::Http1(upstream) => upstream.finish(trailers),
            Self::Http2(upstream) => upstream.finish(trailers),
        }
    }

    /// Sends what was written.
    pub(super) fn flush(&mut self) {
        match self {
            Self::Http1(upstream) => upstream.flush(),
            Self::Http2(_) => {}
        }
    }

    /// The next head, interim ones too, and its bytes.
    pub(super) fn poll_head(
        &mut self,
        limits: HeadLimits,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(ResponseHead, Chunk), SideFault>> {
        match self {
            Self::Http1(upstream) => upstream.poll_head(limits, cx),
            Self::Http2(upstream) => upstream.poll_head(limits, cx),
        }
    }

    /// Whether anything of a response has come.
    pub(super) fn has_begun(&self) -> bool {
        match self {
            Self::Http1(upstream) => upstream.has_begun(),
            Self::Http2(upstream) => upstream.has_begun(),
        }
    }

    /// Makes a run of data of the response's body ready: true, or false where it is complete.
    pub(super) fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, SideFault>> {
        match self {
            Self::Http1(upstream) => upstream.poll_body(cx),
            Self::Http2(upstream) => upstream.poll_body(cx),
        }
    }

    /// The data that is ready.
    pub(super) fn data(&mut self) -> &[u8] {
        match self {
            Self::Http1(upstream) => upstream.reader().data(),
            Self::Http2(upstream) => upstream.data(),
        }
    }

    /// Lets go of so many bytes of the data that was looked at.
    pub(super) fn use_data(&mut self, core: &Core, bytes: usize) {
        match self {
            Self::Http1(upstream) => upstream.reader().use_data(core, bytes),
            Self::Http2(upstream) => upstream.use_data(bytes),
        }
    }

    /// Whether what there is no room for waits all the same: then data is best given at once.
    pub(super) fn takes_all(&self) -> bool {
        matches!(self, Self::Http1(_))
    }

    /// Whether bytes of the response were received and not yet taken.
    pub(super) fn has_input(&self) -> bool {
        match self {
            Self::Http1(upstream) => upstream.has_begun(),
            Self::Http2(_) => false,
        }
    }

    /// What was received has to wait: not in what all connections receive into.
    pub(super) fn spill(&mut self) {
        match self {
            Self::Http1(upstream) => upstream.reader().spill(),
            Self::Http2(_) => {}
        }
    }

    /// The trailer section of the response: whole field lines.
    pub(super) fn take_trailers(&mut self) -> Option<Box<[u8]>> {
        match self {
            Self::Http1(upstream) => upstream.reader().take_trailers(),
            Self::Http2(upstream) => upstream.take_trailers(),
        }
    }

    /// Both directions are bytes from now on (101).
    pub(super) fn tunnel(&mut self) {
        match self {
            Self::Http1(upstream) => upstream.tunnel(),
            // HTTP/2 has no 101 (RFC 9113, 8.6).
            Self::Http2(_) => {}
        }
    }

    /// The exchange is over; the connection may be used again where both messages are complete.
    pub(super) fn release(self, pool: &Rc<Pool>, sent_all: bool) {
        match self {
            Self::Http1(upstream) => upstream.release(pool, sent_all),
            // The connection goes on; a stream that is not complete is reset.
            Self::Http2(_) => {}
        }
    }
}
