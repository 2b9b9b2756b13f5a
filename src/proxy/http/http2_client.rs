//! The client's side of an exchange on a stream of HTTP/2.
//!
//! Nothing is flushed here: whoever polls the connection sends what its streams have written.

use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h2::{Reason, RecvStream};
use http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};

use super::answer::Answer;
use super::fault::{Fault, SideFault};
use crate::http1::body::Framing;
use crate::http1::response::ResponseHead;
use crate::http1::write::ResponseChange;
use crate::http2::body::{BodySender, Stopped};
use crate::http2::head::{self, Unsayable};
use crate::http2::server::SendResponse;
use crate::rt::core::Core;
use crate::tls::transport::Chunk;

/// See the module's description.
#[derive(Debug)]
pub(super) struct Http2Client {
    core: Core,
    body: BodyReader,
    respond: SendResponse,
    /// Once the head of the response was sent.
    sender: Option<BodySender>,
    /// Of an answer of ringfort's own: what was not sent of it.
    rest: Bytes,
    /// What the stream is reset with where the response does not come to its end.
    code: Reason,
}

/// A body that comes by HTTP/2.
#[derive(Debug)]
pub(super) struct BodyReader {
    stream: RecvStream,
    /// Data that was not taken.
    data: Bytes,
    trailers: Option<Box<[u8]>>,
    is_complete: bool,
}

impl BodyReader {
    pub(super) fn new(stream: RecvStream) -> Self {
        let is_complete = stream.is_end_stream();
        Self { stream, data: Bytes::new(), trailers: None, is_complete }
    }

    /// Makes a run of data ready: true, or false where the body is complete.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Stopped>> {
        while self.data.is_empty() && !self.is_complete {
            match ready!(self.stream.poll_data(cx)) {
                Some(data) => self.data = data?,
                None => {
                    let trailers = ready!(self.stream.poll_trailers(cx))?;
                    self.trailers = trailers.as_ref().and_then(head::trailer_lines);
                    self.is_complete = true;
                }
            }
        }
        Poll::Ready(Ok(!self.data.is_empty()))
    }

    pub(super) fn data(&self) -> &[u8] {
        &self.data
    }

    /// Takes the data that is ready. The peer may send as much again.
    pub(super) fn take(&mut self) -> Bytes {
        let data = self.data.clone();
        self.advance(data.len());
        data
    }

    /// Lets go of the first so many bytes of the data.
    pub(super) fn advance(&mut self, bytes: usize) {
        self.data.advance(bytes);
        // Fails only where the stream is over.
        let _ = self.stream.flow_control().release_capacity(bytes);
    }

    pub(super) fn take_trailers(&mut self) -> Option<Box<[u8]>> {
        self.trailers.take()
    }
}

impl From<Unsayable> for SideFault {
    fn from(_: Unsayable) -> Self {
        Self::Stopped(Stopped(Reason::INTERNAL_ERROR))
    }
}

impl From<Stopped> for SideFault {
    fn from(stopped: Stopped) -> Self {
        Self::Stopped(stopped)
    }
}

impl From<h2::Error> for SideFault {
    fn from(error: h2::Error) -> Self {
        Self::Stopped(error.into())
    }
}

impl Http2Client {
    pub(super) fn new(core: &Core, body: RecvStream, respond: SendResponse) -> Self {
        Self {
            core: core.clone(),
            body: BodyReader::new(body),
            respond,
            sender: None,
            rest: Bytes::new(),
            code: Reason::INTERNAL_ERROR,
        }
    }

    pub(super) fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, SideFault>> {
        self.body.poll(cx).map_err(SideFault::from)
    }

    pub(super) fn take_data(&mut self) -> Chunk {
        let data = self.body.take();
        let mut storage = self.core.storage(data.len());
        storage.tail().extend_from_slice(&data);
        Chunk::Decrypted(storage)
    }

    pub(super) fn take_trailers(&mut self) -> Option<Box<[u8]>> {
        self.body.take_trailers()
    }

    pub(super) fn poll_writable(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SideFault>> {
        match &mut self.sender {
            Some(sender) if !sender.is_done() => sender.poll_ready(cx).map_err(SideFault::from),
            _ => Poll::Ready(Ok(())),
        }
    }

    /// Ready when the client has reset the stream.
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<SideFault> {
        let stopped = match &mut self.sender {
            Some(sender) => ready!(sender.poll_stopped(cx)),
            None => ready!(self.respond.poll_reset(cx)).map_or_else(Stopped::from, Stopped),
        };
        Poll::Ready(stopped.into())
    }

    /// How a body goes out that came so: its end is that of the stream.
    pub(super) fn framing_of(head: &ResponseHead) -> Framing {
        match head.framing {
            Framing::UntilClose => Framing::Chunked,
            framing => framing,
        }
    }

    pub(super) fn send_head(
        &mut self,
        bytes: &[u8],
        head: &ResponseHead,
        change: &ResponseChange<'_>,
        ends: bool,
    ) -> Result<(), SideFault> {
        let response = head::client_response(bytes, head, change)?;
        if response.status().is_informational() {
            return Ok(self.respond.send_informational(response)?);
        }
        // gRPC needs the end to be there: a response of trailers only.
        let ends = ends || change.framing == Framing::Length(0);
        let stream = self.respond.send_response(response, ends)?;
        self.sender = Some(BodySender::new(stream, ends));
        Ok(())
    }

    pub(super) fn send_answer(
        &mut self,
        answer: &Answer,
        is_head: bool,
        has_details: bool,
    ) -> Result<(), SideFault> {
        let (media_type, content) = answer.content(has_details);
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::from_u16(answer.status).map_err(|_| Unsayable)?;
        let fields = response.headers_mut();
        fields.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        fields.insert(CONTENT_LENGTH, content.len().into());
        if let Some(wait) = answer.retry_after_s() {
            fields.insert(RETRY_AFTER, wait.into());
        }
        if let Some(methods) = answer.allow {
            fields.insert(ALLOW, HeaderValue::from_static(methods));
        }
        let ends = is_head || content.is_empty();
        let stream = self.respond.send_response(response, ends)?;
        self.sender = Some(BodySender::new(stream, ends));
        if !ends {
            self.rest = Bytes::from(content);
        }
        Ok(())
    }

    /// Ready when all of ringfort's own answer has found room.
    pub(super) fn poll_answered(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SideFault>> {
        while !self.rest.is_empty() {
            ready!(self.poll_writable(cx))?;
            let Some(sender) = &mut self.sender else { break };
            let bytes = sender.room_for(self.rest.len());
            if bytes == 0 {
                continue;
            }
            let piece = self.rest.split_to(bytes);
            sender.send(piece.into(), self.rest.is_empty())?;
        }
        Poll::Ready(Ok(()))
    }

    /// Sends as much as the windows take: what waits for them waits with the upstream, and has the
    /// deadlines of an exchange.
    pub(super) fn send_data(&mut self, data: &[u8]) -> Result<usize, SideFault> {
        let Some(sender) = &mut self.sender else { return Err(Unsayable.into()) };
        let bytes = sender.room_for(data.len());
        if bytes == 0 {
            return Ok(0);
        }
        // Of its own size: what waits for a slow client must not hold a large block.
        let data = Bytes::copy_from_slice(&data[..bytes]);
        sender.send(data.into(), false)?;
        Ok(bytes)
    }

    pub(super) fn finish(&mut self, trailers: Option<&[u8]>) -> Result<(), SideFault> {
        let trailers = trailers.map(head::trailer_map).transpose()?;
        match &mut self.sender {
            Some(sender) => Ok(sender.finish(trailers)?),
            None => Err(Unsayable.into()),
        }
    }

    /// The response does not come to its end because of this. What an upstream says by RST_STREAM
    /// is passed on.
    pub(super) fn fail(&mut self, fault: &Fault) {
        self.code = match fault {
            Fault::Upstream(SideFault::Stopped(Stopped(code))) => *code,
            Fault::Late(_) => Reason::CANCEL,
            _ => Reason::INTERNAL_ERROR,
        };
    }

    /// Resets the stream where the response is not complete.
    pub(super) fn abort(mut self) {
        match &mut self.sender {
            Some(sender) if sender.is_done() => {}
            Some(sender) => sender.reset(self.code),
            None => self.respond.send_reset(self.code),
        }
    }
}
