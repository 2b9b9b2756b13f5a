//! The client's side of an exchange, whichever version of HTTP it speaks.

use std::task::{Context, Poll};

use super::answer::Answer;
use super::fault::{Fault, SideFault};
use super::http1_client::Http1Client;
use super::http2_client::Http2Client;
use crate::http1::body::Framing;
use crate::http1::request::{RequestHead, Version};
use crate::http1::response::ResponseHead;
use crate::http1::write::ResponseChange;
use crate::rt::core::Core;
use crate::time::Instant;
use crate::tls::transport::Chunk;

/// See the module's description.
#[derive(Debug)]
pub(super) enum ClientSide<'a> {
    /// A connection, which has one exchange at a time.
    Http1(&'a mut Http1Client),
    /// A stream of a connection.
    Http2(&'a mut Http2Client),
}

impl ClientSide<'_> {
    /// Makes a run of data of the request's body ready: true, or false where it is complete.
    pub(super) fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, SideFault>> {
        match self {
            Self::Http1(client) => client.poll_body(cx),
            Self::Http2(client) => client.poll_body(cx),
        }
    }

    /// The data that is ready.
    pub(super) fn take_data(&mut self, core: &Core) -> Chunk {
        match self {
            Self::Http1(client) => client.reader().take_data(core),
            Self::Http2(client) => client.take_data(),
        }
    }

    /// The trailer section of the request: whole field lines.
    pub(super) fn take_trailers(&mut self) -> Option<Box<[u8]>> {
        match self {
            Self::Http1(client) => client.reader().take_trailers(),
            Self::Http2(client) => client.take_trailers(),
        }
    }

    /// Ready while there is room for more of the response.
    pub(super) fn poll_writable(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SideFault>> {
        match self {
            Self::Http1(client) => client.poll_writable(cx),
            Self::Http2(client) => client.poll_writable(cx),
        }
    }

    /// Whether what there is no room for waits all the same: then data is best given at once.
    pub(super) fn takes_all(&self) -> bool {
        matches!(self, Self::Http1(_))
    }

    /// Whether bytes of the request were received and not yet taken.
    pub(super) fn has_input(&self) -> bool {
        match self {
            Self::Http1(client) => client.has_begun(),
            Self::Http2(_) => false,
        }
    }

    /// What was received has to wait: not in what all connections receive into.
    pub(super) fn spill(&mut self) {
        match self {
            Self::Http1(client) => client.reader().spill(),
            Self::Http2(_) => {}
        }
    }

    /// Ready when the client is gone: nobody waits for the response any more.
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<SideFault> {
        match self {
            Self::Http1(client) => client.poll_gone(cx),
            Self::Http2(client) => client.poll_gone(cx),
        }
    }

    /// When the connection, and with it whatever it carries, is cut for its age; of HTTP/2 whoever
    /// serves the connection does so.
    pub(super) fn cut_at(&self) -> Option<Instant> {
        match self {
            Self::Http1(client) => client.cut_at(),
            Self::Http2(_) => None,
        }
    }

    /// Whether the connection is too old for another exchange.
    pub(super) fn is_aged(&self) -> bool {
        match self {
            Self::Http1(client) => client.is_aged(),
            Self::Http2(_) => false,
        }
    }

    /// What is spoken, as ALPN calls it.
    pub(super) fn protocol(&self, head: &RequestHead) -> &'static str {
        match (self, head.version) {
            (Self::Http1(_), Version::Http10) => "http/1.0",
            (Self::Http1(_), _) => "http/1.1",
            (Self::Http2(_), _) => "h2",
        }
    }

    /// Whether the client may be sent interim responses (RFC 9110, 15.2).
    pub(super) fn takes_interim(&self) -> bool {
        match self {
            Self::Http1(client) => client.takes_interim(),
            Self::Http2(_) => true,
        }
    }

    /// How a body goes out that came so.
    pub(super) fn framing_of(&mut self, head: &ResponseHead) -> Framing {
        match self {
            Self::Http1(client) => client.framing_of(head),
            Self::Http2(_) => Http2Client::framing_of(head),
        }
    }

    /// Writes the head of a response. `ends` says that nothing follows.
    pub(super) fn send_head(
        &mut self,
        bytes: &[u8],
        head: &ResponseHead,
        change: ResponseChange<'_>,
        ends: bool,
    ) -> Result<(), SideFault> {
        match self {
            Self::Http1(client) => {
                client.send_head(bytes, head, change);
                Ok(())
            }
            Self::Http2(client) => client.send_head(bytes, head, &change, ends),
        }
    }

    /// Writes an answer of ringfort's own, which is the whole response. `is_head` says that its
    /// content is left out.
    pub(super) fn send_answer(
        &mut self,
        answer: &Answer,
        is_head: bool,
        has_details: bool,
    ) -> Result<(), SideFault> {
        match self {
            Self::Http1(client) => {
                client.send_answer(answer, is_head, has_details);
                Ok(())
            }
            Self::Http2(client) => client.send_answer(answer, is_head, has_details),
        }
    }

    /// Ready when an answer of ringfort's own needs nothing more: what is left of it was sent.
    pub(super) fn poll_answered(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SideFault>> {
        match self {
            Self::Http1(_) => Poll::Ready(Ok(())),
            Self::Http2(client) => client.poll_answered(cx),
        }
    }

    /// The response does not come to its end because of this.
    pub(super) fn fail(&mut self, fault: &Fault) {
        match self {
            // Its connection ends with it.
            Self::Http1(_) => {}
            Self::Http2(client) => client.fail(fault),
        }
    }

    /// The connection ends with this exchange.
    pub(super) fn close_after(&mut self) {
        match self {
            Self::Http1(client) => client.close_after(),
            // The connection goes on, or is drained by who serves it.
            Self::Http2(_) => {}
        }
    }

    /// Writes as much of a piece of the body as there is room for; how much.
    pub(super) fn send_data(&mut self, data: &[u8]) -> Result<usize, SideFault> {
        match self {
            Self::Http1(client) => client.send_data(data).map(|()| data.len()),
            Self::Http2(client) => client.send_data(data),
        }
    }

    /// The response is complete.
    pub(super) fn finish(&mut self, trailers: Option<&[u8]>) -> Result<(), SideFault> {
        match self {
            Self::Http1(client) => client.finish(trailers),
            Self::Http2(client) => client.finish(trailers),
        }
    }

    /// Both directions are bytes from now on (101).
    pub(super) fn tunnel(&mut self) {
        match self {
            Self::Http1(client) => client.tunnel(),
            // Nobody asks for another protocol here (RFC 9113, 8.6).
            Self::Http2(_) => {}
        }
    }

    /// Sends what was written.
    pub(super) fn flush(&mut self) -> Result<(), SideFault> {
        match self {
            Self::Http1(client) => client.flush(),
            Self::Http2(_) => Ok(()),
        }
    }
}
