//! A connection to an upstream, which requests share.
//!
//! It must not know what a request is for. Invariants: no more streams are opened than the upstream
//! allows; of a stream that failed it is said whether the upstream can have dealt with it.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use h2::client::{Builder, Connection, ResponseFuture, SendRequest};
use h2::{Ping, PingPong, Reason};
use http::Request;

use super::end::End;
use super::frames::FrameBounds;
use super::io::{Http2Io, Wire};
use super::options::Http2Options;
use super::payload::Payload;
use crate::limits::{
    HTTP2_FRAME_BYTES_MAX, HTTP2_HEADER_TABLE_BYTES, HTTP2_PING_INTERVAL_MS, HTTP2_PING_TIMEOUT_MS,
    HTTP2_SEND_BUFFER_BYTES_MAX, HTTP2_STREAM_ID_MAX, STREAMS_MAX_DEFAULT,
};
use crate::rt::core::{Core, Timer};
use crate::time::Instant;
use crate::tls::client::UpstreamFault;
use crate::tls::transport::{Transport, TransportError};

const PING_INTERVAL: Duration = Duration::from_millis(HTTP2_PING_INTERVAL_MS);
const PING_TIMEOUT: Duration = Duration::from_millis(HTTP2_PING_TIMEOUT_MS);

/// A handle of the connection. It ends once no handle and no stream is left.
#[derive(Clone, Debug)]
pub struct Client {
    send: SendRequest<Payload>,
    shared: Rc<Shared>,
}

#[derive(Debug)]
struct Shared {
    core: Core,
    wire: Wire,
    /// Streams that may be open, whatever the upstream allows: what they may bring fits into the
    /// connection's window.
    streams_max: usize,
    opened_at: Instant,
    /// Streams that are open.
    streams: Cell<u32>,
    /// Those ever opened.
    requests: Cell<u64>,
    /// Since when none is open.
    idle_since: Cell<Instant>,
    ended: Cell<bool>,
    /// See [`Place::tls_refusal`].
    tls_refusal: RefCell<Option<UpstreamFault>>,
}

/// A stream that was opened.
#[derive(Debug)]
pub struct Stream {
    /// The response; informational ones first, by its `poll_informational`.
    pub response: ResponseFuture,
    /// The body of the request, and its end.
    pub body: h2::SendStream<Payload>,
    /// The stream's place on the connection: to be kept until the response was read to its end.
    pub place: Place,
}

/// The place of a stream; free again when it is dropped.
#[derive(Debug)]
pub struct Place {
    shared: Rc<Shared>,
    stream: u32,
}

/// Why a stream was not opened. Another connection may be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotOpened;

/// What moves the connection on: a task polls it until it is over.
pub struct Driver {
    connection: Connection<Http2Io, Payload>,
    shared: Rc<Shared>,
    timer: Timer,
    ping: Option<PingPong>,
    ping_sent: Option<Instant>,
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver").field("shared", &self.shared).finish_non_exhaustive()
    }
}

/// Begins a connection over `transport`. What comes of it needs its [`Driver`] to be polled.
///
/// # Errors
/// [`End`] where the transport has failed already.
pub async fn connect(
    core: &Core,
    transport: Transport,
    options: &Http2Options,
) -> Result<(Client, Driver), End> {
    let bounds = FrameBounds {
        resets_max: options.resets_max,
        idle_frames_max: options.idle_frames_max,
        continuations_max: FrameBounds::continuations_for(options.header_list_bytes_max),
    };
    let wire = Wire::new(core, transport, bounds, false);
    let handshake = Builder::new()
        .enable_push(false)
        .initial_max_send_streams(STREAMS_MAX_DEFAULT as usize)
        .max_header_list_size(options.header_list_bytes_max)
        .initial_window_size(options.stream_window_bytes)
        .initial_connection_window_size(options.connection_window_bytes)
        .max_frame_size(HTTP2_FRAME_BYTES_MAX)
        .header_table_size(HTTP2_HEADER_TABLE_BYTES)
        .max_send_buffer_size(HTTP2_SEND_BUFFER_BYTES_MAX)
        // Over the life of a connection, and clients can make an upstream break rules.
        .max_local_error_reset_streams(None)
        .handshake(wire.io());
    let (send, connection) = handshake.await.map_err(|error| End::of(&error, &wire))?;
    wire.flush();
    let now = core.now();
    let shared = Rc::new(Shared {
        core: core.clone(),
        wire,
        streams_max: (options.connection_window_bytes / options.stream_window_bytes) as usize,
        opened_at: now,
        streams: Cell::new(0),
        requests: Cell::new(0),
        idle_since: Cell::new(now),
        ended: Cell::new(false),
        tls_refusal: RefCell::new(None),
    });
    let timer = core.sleep_until(now + PING_INTERVAL);
    let client = Client { send, shared: Rc::clone(&shared) };
    Ok((client, Driver { connection, shared, timer, ping: None, ping_sent: None }))
}

impl Client {
    /// Whether streams may still be opened here, once there is room for them: the upstream has not
    /// said GOAWAY, and the connection has not ended.
    ///
    /// RFC 9113, 6.8: "Receivers of a GOAWAY frame MUST NOT open additional streams on the
    /// connection".
    pub fn is_open(&self) -> bool {
        // RFC 9113, 5.1.1: identifiers are odd and not used twice.
        let used_up = self.shared.requests.get() >= u64::from(HTTP2_STREAM_ID_MAX / 2);
        !self.shared.ended.get() && self.shared.wire.goaway().is_none() && !used_up
    }

    /// Whether another stream may be opened now: `SETTINGS_MAX_CONCURRENT_STREAMS` of the upstream
    /// allows it, and so does the connection's window, which none may use up for others.
    pub fn has_room(&self) -> bool {
        let streams_max = self.shared.streams_max.min(self.send.current_max_send_streams());
        (self.shared.streams.get() as usize) < streams_max
    }

    /// Streams that are open.
    pub fn streams(&self) -> u32 {
        self.shared.streams.get()
    }

    /// Streams that were ever opened.
    pub fn requests(&self) -> u64 {
        self.shared.requests.get()
    }

    /// When the connection was made.
    pub fn opened_at(&self) -> Instant {
        self.shared.opened_at
    }

    /// Since when no stream is open; means nothing while one is.
    pub fn idle_since(&self) -> Instant {
        self.shared.idle_since.get()
    }

    /// The connection below, for payloads.
    pub fn wire(&self) -> &Wire {
        &self.shared.wire
    }

    /// Opens a stream; `is_end` where the request has no body and no trailers.
    ///
    /// # Errors
    /// [`NotOpened`]; nothing of the request was sent.
    pub fn open(&mut self, request: Request<()>, is_end: bool) -> Result<Stream, NotOpened> {
        if !self.is_open() || !self.has_room() {
            return Err(NotOpened);
        }
        let ready = self.send.poll_ready(&mut Context::from_waker(Waker::noop()));
        if !matches!(ready, Poll::Ready(Ok(()))) {
            return Err(NotOpened);
        }
        let (response, body) = self.send.send_request(request, is_end).map_err(|_| NotOpened)?;
        let shared = &self.shared;
        shared.streams.set(shared.streams.get() + 1);
        shared.requests.set(shared.requests.get() + 1);
        let stream = response.stream_id().as_u32();
        let place = Place { shared: Rc::clone(shared), stream };
        Ok(Stream { response, body, place })
    }
}

impl Place {
    /// Why the upstream's TLS took no client of our kind, where that ended the connection before it
    /// said anything else.
    pub fn tls_refusal(&self) -> Option<UpstreamFault> {
        self.shared.tls_refusal.borrow().clone()
    }

    /// Whether the upstream has said that it did not deal with this stream, which failed by
    /// `error`, so that the request may be sent again whatever its method.
    ///
    /// RFC 9113, 8.7: "The GOAWAY frame indicates the highest stream number that might have been
    /// processed. Requests on streams with higher numbers are therefore guaranteed to be safe to
    /// retry." And: "The REFUSED_STREAM error code can be included in a RST_STREAM frame to
    /// indicate that the stream is being closed prior to any processing having occurred."
    pub fn is_unprocessed(&self, error: &h2::Error) -> bool {
        let is_refused =
            error.is_reset() && error.is_remote() && error.reason() == Some(Reason::REFUSED_STREAM);
        is_refused || self.shared.wire.goaway().is_some_and(|last| self.stream > last)
    }
}

impl Shared {
    /// A TLS 1.3 upstream that takes no client of our kind says so behind its handshake, in place
    /// of the first frame (RFC 8446, 4.4.2.4).
    fn note_refusal(&self, end: &End) {
        if let End::Transport(TransportError::Tls(error)) = end
            && error.alert_received().is_some()
            && self.wire.bytes().0 == 0
        {
            *self.tls_refusal.borrow_mut() = Some(UpstreamFault::of(error));
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let streams = self.shared.streams.get() - 1;
        self.shared.streams.set(streams);
        if streams == 0 {
            self.shared.idle_since.set(self.shared.core.now());
        }
    }
}

impl Driver {
    /// Runs the connection to its end.
    pub async fn run(mut self) -> End {
        poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let polled = std::pin::Pin::new(&mut self.connection).poll(cx);
        let wire = &self.shared.wire;
        wire.flush();
        let end = match polled {
            Poll::Ready(Ok(())) => Some(wire.take_fault().map_or(End::Finished, End::from)),
            Poll::Ready(Err(error)) => Some(End::of(&error, wire)),
            Poll::Pending if wire.has_flood() => wire.take_fault().map(End::from),
            Poll::Pending => self.poll_times(cx),
        };
        let Some(end) = end else { return Poll::Pending };
        self.shared.ended.set(true);
        self.shared.note_refusal(&end);
        match &end {
            End::Transport(_) => self.shared.wire.close_for(end.close_kind()),
            End::PingTimeout | End::Flood(_) => self.shared.wire.reset(),
            _ => self.shared.wire.close(),
        }
        Poll::Ready(end)
    }

    /// With streams open and nothing coming, the upstream is asked by PING whether it is there.
    fn poll_times(&mut self, cx: &mut Context<'_>) -> Option<End> {
        if self.timer.poll_expired(cx).is_pending() {
            return None;
        }
        let now = self.shared.core.now();
        let received_at = self.shared.wire.received_at();
        let mut next = received_at.max(self.shared.idle_since.get()) + PING_INTERVAL;
        if let Some(sent) = self.ping_sent.take() {
            // Whatever came is proof enough.
            if received_at < sent {
                return Some(End::PingTimeout);
            }
        } else if now >= next && self.shared.streams.get() > 0 {
            self.send_ping();
            self.ping_sent = Some(now);
            next = now + PING_TIMEOUT;
        }
        self.timer.reset(next.max(now + Duration::from_secs(1)));
        cx.waker().wake_by_ref();
        None
    }

    fn send_ping(&mut self) {
        if self.ping.is_none() {
            self.ping = self.connection.ping_pong();
        }
        if let Some(ping) = &mut self.ping {
            // What answered the last one is taken, or h2 would not send another.
            let _ = ping.poll_pong(&mut Context::from_waker(Waker::noop()));
            let _ = ping.send_ping(Ping::opaque());
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.shared.ended.set(true);
    }
}
