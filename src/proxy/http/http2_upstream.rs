//! The upstream's side of an exchange on a stream of HTTP/2.
//!
//! Nothing is flushed here: the task of the connection sends what its streams have written.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use h2::Reason;
use h2::client::ResponseFuture;
use http::uri::Scheme;

use super::fault::SideFault;
use super::http2_client::BodyReader;
use crate::http1::body::Framing;
use crate::http1::request::{HeadLimits, RequestHead};
use crate::http1::response::{AnswerTo, ResponseHead};
use crate::http1::write::RequestChange;
use crate::http2::body::{BodySender, Stopped};
use crate::http2::client::{Place, Stream};
use crate::http2::head;
use crate::http2::payload::Payload;
use crate::proxy::shared::Shared;
use crate::rt::buffer::RecvBuf;
use crate::rt::core::Core;
use crate::tls::transport::Chunk;

/// See the module's description.
#[derive(Debug)]
pub(super) struct Http2Upstream {
    core: Core,
    shared: Shared,
    scheme: Scheme,
    answer_to: AnswerTo,
    /// Once the head of the request was sent.
    stream: Option<Opened>,
    sender: Option<BodySender>,
    has_interim: bool,
    /// Once the head of the response was there.
    body: Option<BodyReader>,
    /// Whether that head is all of the response, whatever DATA comes behind it.
    has_no_body: bool,
}

impl Http2Upstream {
    /// On a connection that is `in_tls` or not.
    pub(super) fn new(core: &Core, shared: Shared, in_tls: bool) -> Self {
        Self {
            core: core.clone(),
            shared,
            scheme: if in_tls { Scheme::HTTPS } else { Scheme::HTTP },
            answer_to: AnswerTo::Other,
            stream: None,
            sender: None,
            has_interim: false,
            body: None,
            has_no_body: false,
        }
    }

    pub(super) fn endpoint(&self) -> &Arc<str> {
        self.shared.lease.endpoint()
    }

    pub(super) fn endpoint_index(&self) -> usize {
        self.shared.endpoint
    }

    /// Whether the connection has carried requests before.
    pub(super) fn is_reused(&self) -> bool {
        self.shared.client.requests() > 1
    }

    pub(super) fn send_head(
        &mut self,
        bytes: &[u8],
        head: &RequestHead,
        change: &RequestChange<'_>,
        ends: bool,
    ) -> Result<(), SideFault> {
        if head.method.of(bytes) == b"HEAD" {
            self.answer_to = AnswerTo::Head;
        }
        let request = head::upstream_request(bytes, head, change, self.scheme.clone())?;
        // GOAWAY, or the last room was taken, since the connection was chosen.
        let refused = |_| SideFault::Unprocessed(Stopped(Reason::REFUSED_STREAM));
        let Stream { response, body, place } =
            self.shared.client.open(request, ends).map_err(refused)?;
        self.sender = Some(BodySender::new(body, ends));
        self.stream = Some(Opened { response, place });
        Ok(())
    }

    pub(super) fn poll_writable(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SideFault>> {
        match &mut self.sender {
            Some(sender) if !sender.is_done() => sender.poll_ready(cx).map_err(SideFault::from),
            _ => Poll::Ready(Ok(())),
        }
    }

    pub(super) fn send_chunk(&mut self, chunk: Chunk) -> Result<(), SideFault> {
        let Some(sender) = &mut self.sender else { return Err(SideFault::Ended) };
        let is_blocked = self.shared.client.wire().is_blocked();
        let waits = is_blocked || sender.room_for(chunk.len()) < chunk.len();
        let payload = Payload::new(&self.core, chunk, waits);
        Ok(sender.send(payload, false)?)
    }

    pub(super) fn finish(&mut self, trailers: Option<&[u8]>) -> Result<(), SideFault> {
        let trailers = trailers.map(head::trailer_map).transpose()?;
        match &mut self.sender {
            Some(sender) => Ok(sender.finish(trailers)?),
            None => Err(SideFault::Ended),
        }
    }

    /// The next head, interim ones too.
    pub(super) fn poll_head(
        &mut self,
        limits: HeadLimits,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(ResponseHead, Chunk), SideFault>> {
        let Some(stream) = &mut self.stream else { return Poll::Ready(Err(SideFault::Ended)) };
        let parts = match ready!(stream.response.poll_informational(cx)) {
            Some(interim) => {
                self.has_interim = true;
                let interim = interim.map_err(|error| stream.fault(error))?;
                (interim.into_parts().0, false)
            }
            None => {
                let response = ready!(Pin::new(&mut stream.response).poll(cx));
                let response = response.map_err(|error| stream.fault(error))?;
                let (parts, body) = response.into_parts();
                let is_end = body.is_end_stream();
                self.body = Some(BodyReader::new(body));
                (parts, is_end)
            }
        };
        let (parts, is_end) = parts;
        let rendered = head::response(&parts, is_end, limits, self.answer_to);
        let rendered = rendered.map_err(SideFault::Refused)?;
        // RFC 9110, 6.4.1: "All 1xx (Informational), 204 (No Content), and 304 (Not Modified)
        // responses do not include content", nor does what answers HEAD.
        self.has_no_body = rendered.head.status >= 200 && rendered.head.framing == Framing::None;
        Poll::Ready(Ok((rendered.head, Chunk::Received(RecvBuf::Heap(rendered.bytes), 0))))
    }

    /// Whether the upstream has sent anything of a response.
    pub(super) fn has_begun(&self) -> bool {
        self.has_interim || self.body.is_some()
    }

    pub(super) fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, SideFault>> {
        match &mut self.body {
            // The stream is reset where its end has not come.
            Some(_) if self.has_no_body => Poll::Ready(Ok(false)),
            Some(body) => body.poll(cx).map_err(SideFault::from),
            None => Poll::Ready(Err(SideFault::Ended)),
        }
    }

    pub(super) fn data(&self) -> &[u8] {
        self.body.as_ref().map_or(&[], BodyReader::data)
    }

    pub(super) fn use_data(&mut self, bytes: usize) {
        if let Some(body) = &mut self.body {
            body.advance(bytes);
        }
    }

    pub(super) fn take_trailers(&mut self) -> Option<Box<[u8]>> {
        self.body.as_mut().and_then(BodyReader::take_trailers)
    }
}

/// A stream whose head was sent.
#[derive(Debug)]
struct Opened {
    response: ResponseFuture,
    place: Place,
}

impl Opened {
    /// What it is that the stream failed, before its response.
    fn fault(&self, error: h2::Error) -> SideFault {
        let is_unprocessed = self.place.is_unprocessed(&error);
        match error.reason() {
            _ if is_unprocessed => SideFault::Unprocessed(error.into()),
            Some(code) if error.is_reset() => SideFault::Stopped(Stopped(code)),
            // The connection.
            _ => self.place.tls_refusal().map_or(SideFault::Ended, SideFault::TlsRefused),
        }
    }
}
