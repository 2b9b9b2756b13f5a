//! The body of a message on its way out, with back-pressure.
//!
//! Invariant: what waits of one stream is one payload beyond what its windows allow, and at most
//! [`HTTP2_SEND_BUFFER_BYTES_MAX`](crate::limits::HTTP2_SEND_BUFFER_BYTES_MAX) within them.

use std::task::{Context, Poll, ready};

use h2::Reason;
use http::HeaderMap;

use super::payload::Payload;

/// See the module's description. Dropped before its end it resets the stream with `CANCEL`.
#[derive(Debug)]
pub struct BodySender {
    stream: h2::SendStream<Payload>,
    is_done: bool,
}

/// The stream takes no more: the peer has reset it with this code, or its connection has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped(pub Reason);

impl From<h2::Error> for Stopped {
    /// `INTERNAL_ERROR` where the connection has failed.
    fn from(error: h2::Error) -> Self {
        Self(error.reason().unwrap_or(Reason::INTERNAL_ERROR))
    }
}

impl BodySender {
    /// Of a stream whose head was sent; `is_done` where that was its end.
    pub fn new(stream: h2::SendStream<Payload>, is_done: bool) -> Self {
        Self { stream, is_done }
    }

    /// Ready when another payload may be sent: nothing is sent before.
    ///
    /// # Errors
    /// [`Stopped`].
    pub fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Stopped>> {
        if self.stream.capacity() > 0 {
            return Poll::Ready(Ok(()));
        }
        // A byte of a window is enough: what is more than the windows allow waits for them.
        self.stream.reserve_capacity(1);
        loop {
            match ready!(self.stream.poll_capacity(cx)) {
                Some(Ok(0)) => {}
                Some(Ok(_)) => return Poll::Ready(Ok(())),
                Some(Err(error)) => return Poll::Ready(Err(error.into())),
                None => return Poll::Ready(Err(self.stopped(cx))),
            }
        }
    }

    /// How many bytes of the next `bytes` the windows and the buffer take at once.
    pub fn room_for(&mut self, bytes: usize) -> usize {
        self.stream.reserve_capacity(bytes);
        self.stream.capacity().min(bytes)
    }

    /// Ready when the stream takes no more: the peer has reset it.
    pub fn poll_stopped(&mut self, cx: &mut Context<'_>) -> Poll<Stopped> {
        let reset = ready!(self.stream.poll_reset(cx));
        Poll::Ready(reset.map_or_else(Stopped::from, Stopped))
    }

    /// Sends a payload; `is_end` where nothing follows it.
    ///
    /// # Errors
    /// [`Stopped`].
    pub fn send(&mut self, payload: Payload, is_end: bool) -> Result<(), Stopped> {
        self.is_done = self.is_done || is_end;
        Ok(self.stream.send_data(payload, is_end)?)
    }

    /// Ends the stream, with trailers where there are any.
    ///
    /// # Errors
    /// [`Stopped`].
    pub fn finish(&mut self, trailers: Option<HeaderMap>) -> Result<(), Stopped> {
        if std::mem::replace(&mut self.is_done, true) {
            return Ok(());
        }
        match trailers {
            Some(trailers) => Ok(self.stream.send_trailers(trailers)?),
            None => Ok(self.stream.send_data(bytes::Bytes::new().into(), true)?),
        }
    }

    /// Ends the stream in disorder: RST_STREAM with this code.
    pub fn reset(&mut self, code: Reason) {
        self.is_done = true;
        self.stream.send_reset(code);
    }

    /// Whether the end was sent.
    pub fn is_done(&self) -> bool {
        self.is_done
    }

    fn stopped(&mut self, cx: &mut Context<'_>) -> Stopped {
        match self.stream.poll_reset(cx) {
            Poll::Ready(reset) => reset.map_or_else(Stopped::from, Stopped),
            Poll::Pending => Stopped(Reason::CANCEL),
        }
    }
}

impl Drop for BodySender {
    fn drop(&mut self) {
        if !self.is_done {
            self.stream.send_reset(Reason::CANCEL);
        }
    }
}
