//! A client's connection: its streams as they come, and its end.
//!
//! It must not know what becomes of a stream. Invariants: h2 is built only once the client has said
//! something; whatever the client does, the connection ends within a bound of time after it was
//! decided to end; every end is an [`End`] that the log can show.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use h2::server::{Builder, Connection, Handshake};
use h2::{Ping, PingPong, Reason, RecvStream};
use http::Request;

use super::end::End;
use super::frames::FrameBounds;
use super::io::{Fault, Http2Io, Wire};
use super::options::Http2Options;
use super::payload::Payload;
use crate::error::CloseKind;
use crate::limits::{
    CONNECTION_GRACE_MS, HTTP2_CLOSE_TIMEOUT_MS, HTTP2_ERROR_RESETS_MAX, HTTP2_FRAME_BYTES_MAX,
    HTTP2_HEADER_TABLE_BYTES, HTTP2_PING_INTERVAL_MS, HTTP2_PING_TIMEOUT_MS,
    HTTP2_SEND_BUFFER_BYTES_MAX,
};
use crate::rt::core::{Core, Timer};
use crate::time::Instant;
use crate::tls::transport::{Transport, TransportError};

/// What answers a stream.
pub type SendResponse = h2::server::SendResponse<Payload>;
/// What the body of an answer is sent by.
pub type SendStream = h2::SendStream<Payload>;

const PING_INTERVAL: Duration = Duration::from_millis(HTTP2_PING_INTERVAL_MS);
const PING_TIMEOUT: Duration = Duration::from_millis(HTTP2_PING_TIMEOUT_MS);
const CLOSE_TIMEOUT: Duration = Duration::from_millis(HTTP2_CLOSE_TIMEOUT_MS);
const GRACE: Duration = Duration::from_millis(CONNECTION_GRACE_MS);

/// How long a connection may live.
#[derive(Clone, Copy, Debug)]
pub struct Lifetime {
    /// For how long no stream may be open; not zero.
    pub idle_timeout: Duration,
    /// When it is too old for new streams; `None` = never.
    pub age_at: Option<Instant>,
}

/// What comes next of a connection.
#[derive(Debug)]
pub enum Next {
    /// A stream that the client has opened.
    Stream(Request<RecvStream>, SendResponse),
    /// The end; nothing comes after it.
    End(End),
}

/// See the module's description.
pub struct Server {
    core: Core,
    wire: Wire,
    state: State,
    options: Http2Options,
    lifetime: Lifetime,
    timer: Timer,
    keep_alive: KeepAlive,
    /// Since when no stream is open.
    idle_since: Option<Instant>,
    ending: Option<Ending>,
    /// Streams that h2 refused by itself, and that are counted.
    refused: u64,
}

enum State {
    /// Nothing has come.
    Waiting,
    Shaking(Pin<Box<Handshake<Http2Io, Payload>>>),
    Open(Box<Connection<Http2Io, Payload>>),
    Ended,
}

/// It was decided to end.
struct Ending {
    why: End,
    since: Instant,
    /// At the latest.
    at: Instant,
}

/// Whether the peer is still there.
#[derive(Default)]
struct KeepAlive {
    ping: Option<PingPong>,
    /// When the PING was sent whose answer is awaited.
    sent: Option<Instant>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("wire", &self.wire).finish_non_exhaustive()
    }
}

impl Server {
    /// Over `transport`, of which nothing was read.
    pub fn new(
        core: &Core,
        transport: Transport,
        options: &Http2Options,
        lifetime: Lifetime,
    ) -> Self {
        let bounds = FrameBounds {
            resets_max: options.resets_max,
            idle_frames_max: options.idle_frames_max,
            continuations_max: FrameBounds::continuations_for(options.header_list_bytes_max),
        };
        let now = core.now();
        Self {
            core: core.clone(),
            wire: Wire::new(core, transport, bounds, true),
            state: State::Waiting,
            options: *options,
            timer: core.sleep_until(now + lifetime.idle_timeout),
            lifetime,
            keep_alive: KeepAlive::default(),
            idle_since: Some(now),
            ending: None,
            refused: 0,
        }
    }

    /// The connection below, for payloads and for what was counted.
    pub fn wire(&self) -> &Wire {
        &self.wire
    }

    /// [`Server::poll_next`] as a future. Nothing else moves the connection on, so it is to be
    /// polled until the end.
    pub async fn next(&mut self) -> Next {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// Moves the connection on; the next stream, or the end. It is polled by one task only.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        loop {
            let polled = self.poll_state(cx);
            if matches!(polled, Poll::Pending) && self.wire.has_flood() {
                self.end_for_flood();
                continue;
            }
            self.wire.flush();
            self.count_refused();
            let next = match polled {
                Poll::Ready(next) => Some(next),
                Poll::Pending => self.poll_times(cx).map(Next::End),
            };
            return match next {
                Some(Next::End(end)) => Poll::Ready(Next::End(self.ended(end))),
                Some(next) => Poll::Ready(next),
                None => Poll::Pending,
            };
        }
    }

    /// Tells the client to open no more streams here (GOAWAY); the end comes once those that are
    /// open have ended, as [`End::Finished`]. To be polled again after it.
    pub fn drain(&mut self) {
        self.end_gracefully(End::Finished, None);
    }

    /// Ends the connection at once, for a reason that is not the client's doing: GOAWAY, and then
    /// what [`Wire::close_for`] does.
    pub fn cut_off(&mut self, reason: CloseKind) {
        self.wire.hold();
        if let State::Open(connection) = &mut self.state {
            connection.abrupt_shutdown(Reason::NO_ERROR);
            // Nobody waits for it: what it can write at once is all.
            let _ = connection.poll_closed(&mut Context::from_waker(Waker::noop()));
        }
        self.state = State::Ended;
        self.wire.close_for(reason);
    }

    fn poll_state(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        loop {
            let ended = match &mut self.state {
                State::Waiting => {
                    std::task::ready!(self.wire.poll_begun(cx));
                    self.state = State::Shaking(Box::pin(self.shake()));
                    continue;
                }
                State::Shaking(handshake) => match std::task::ready!(handshake.as_mut().poll(cx)) {
                    Ok(connection) => {
                        self.state = State::Open(Box::new(connection));
                        continue;
                    }
                    Err(error) => Err(error),
                },
                State::Open(connection) => match std::task::ready!(connection.poll_accept(cx)) {
                    Some(Ok((request, respond))) => {
                        self.idle_since = None;
                        self.wire.accepted(respond.stream_id().as_u32());
                        return Poll::Ready(Next::Stream(request, respond));
                    }
                    Some(Err(error)) => Err(error),
                    None => Ok(()),
                },
                State::Ended => Ok(()),
            };
            let end = match (self.ending.take(), ended) {
                (Some(ending), _) => ending.why,
                (None, Err(error)) => End::of(&error, &self.wire),
                // h2 takes an end in the middle for one in order where it has nothing to say.
                (None, Ok(())) => self.wire.take_fault().map_or(End::Finished, End::from),
            };
            let is_idle = self.idle_since.is_some();
            let end = match end {
                // Without a stream nothing can be cut short, be it without close_notify.
                End::Transport(TransportError::Truncated) if is_idle => End::Finished,
                end => end,
            };
            return Poll::Ready(Next::End(end));
        }
    }

    /// What h2 answers or resets by itself nobody else hears of.
    fn count_refused(&mut self) {
        let refused = self.wire.refused();
        let counter = &self.core.counters().http2_requests_refused;
        counter.add(refused - std::mem::replace(&mut self.refused, refused));
    }

    fn shake(&self) -> Handshake<Http2Io, Payload> {
        Builder::new()
            .max_concurrent_streams(self.options.streams_max)
            .max_header_list_size(self.options.header_list_bytes_max)
            .initial_window_size(self.options.stream_window_bytes)
            .initial_connection_window_size(self.options.connection_window_bytes)
            .max_frame_size(HTTP2_FRAME_BYTES_MAX)
            .header_table_size(HTTP2_HEADER_TABLE_BYTES)
            .max_send_buffer_size(HTTP2_SEND_BUFFER_BYTES_MAX)
            .max_pending_accept_reset_streams(self.options.resets_max as usize)
            .max_local_error_reset_streams(Some(HTTP2_ERROR_RESETS_MAX))
            .handshake(self.wire.io())
    }

    fn end_for_flood(&mut self) {
        if let Some(Fault::Flood(flood)) = self.wire.take_fault() {
            // RFC 9113, 10.5: "An endpoint MAY treat activity that is suspicious as a connection
            // error of type ENHANCE_YOUR_CALM."
            self.end_at_once(End::Flood(flood), Reason::ENHANCE_YOUR_CALM);
        }
    }

    /// Says the code and ends what is under way; h2 ends the connection once that was written.
    fn end_at_once(&mut self, why: End, code: Reason) {
        match &mut self.state {
            State::Open(connection) => connection.abrupt_shutdown(code),
            state => {
                // h2 has read nothing, and says its settings before it reads.
                let has_settings = matches!(state, State::Shaking(_));
                *state = State::Ended;
                self.wire.say_goaway(code, !has_settings);
            }
        }
        let since = self.core.now();
        self.ending = Some(Ending { why, since, at: since + CLOSE_TIMEOUT });
    }

    fn end_gracefully(&mut self, why: End, at: Option<Instant>) {
        if self.ending.is_some() {
            return;
        }
        match &mut self.state {
            State::Open(connection) => connection.graceful_shutdown(),
            // Nothing is under way.
            _ => self.state = State::Ended,
        }
        let at = at.unwrap_or(Instant::from_nanos(u64::MAX));
        self.ending = Some(Ending { why, since: self.core.now(), at });
    }

    /// What is due, or `None` with the timer armed.
    fn poll_times(&mut self, cx: &mut Context<'_>) -> Option<End> {
        let now = self.core.now();
        match &self.state {
            State::Open(connection) if connection.has_streams() => self.idle_since = None,
            _ => {
                self.idle_since.get_or_insert(now);
            }
        }
        let next = self.next_deadline();
        if self.timer.deadline() > next {
            self.timer.reset(next);
        }
        if self.timer.poll_expired(cx).is_pending() {
            return None;
        }
        if let Some(end) = self.act(now) {
            return Some(end);
        }
        self.timer.reset(self.next_deadline());
        // What was begun is moved on, and the timer armed, by another poll.
        cx.waker().wake_by_ref();
        None
    }

    /// When [`Server::act`] has something to do.
    fn next_deadline(&self) -> Instant {
        let asked = match self.keep_alive.sent {
            Some(sent) => sent + PING_TIMEOUT,
            None => self.wire.received_at() + PING_INTERVAL,
        };
        if let Some(ending) = &self.ending {
            return match self.idle_since {
                // A client that is gone must not be waited for either.
                None => asked.min(ending.at),
                Some(_) => end_of(ending, self.idle_since),
            };
        }
        let due = self.idle_since.map_or(asked, |since| since + self.lifetime.idle_timeout);
        self.lifetime.age_at.map_or(due, |age_at| age_at.min(due))
    }

    /// Does what is due at `now`; `Some` where that is to end at once.
    fn act(&mut self, now: Instant) -> Option<End> {
        if now < self.next_deadline() {
            return None;
        }
        if let Some(ending) = self.ending.take_if(|ending| now >= end_of(ending, self.idle_since)) {
            return Some(ending.why);
        }
        if self.ending.is_some() {
            return self.ask(now);
        }
        if self.lifetime.age_at.is_some_and(|at| now >= at) {
            self.end_gracefully(End::AgeMax, Some(now + GRACE));
            return None;
        }
        if self.idle_since.is_some() {
            self.end_gracefully(End::IdleTimeout, None);
            return None;
        }
        self.ask(now)
    }

    /// Asks by PING whether the client is there, and ends where it did not answer.
    fn ask(&mut self, now: Instant) -> Option<End> {
        let State::Open(connection) = &mut self.state else { return None };
        let keep_alive = &mut self.keep_alive;
        if let Some(sent) = keep_alive.sent.take() {
            // Whatever came is proof enough.
            return (self.wire.received_at() < sent).then_some(End::PingTimeout);
        }
        if keep_alive.ping.is_none() {
            keep_alive.ping = connection.ping_pong();
        }
        if let Some(ping) = &mut keep_alive.ping {
            // What answered the last one is taken, or h2 would not send another.
            let _ = ping.poll_pong(&mut Context::from_waker(Waker::noop()));
            let _ = ping.send_ping(Ping::opaque());
            keep_alive.sent = Some(now);
        }
        None
    }

    fn ended(&mut self, end: End) -> End {
        self.state = State::Ended;
        match &end {
            End::Transport(_) => self.wire.close_for(end.close_kind()),
            End::PingTimeout => self.wire.reset(),
            _ => self.wire.close(),
        }
        end
    }
}

/// When a connection that is to end does so at the latest.
fn end_of(ending: &Ending, idle_since: Option<Instant>) -> Instant {
    let quiet = idle_since.map(|since| since.max(ending.since) + CLOSE_TIMEOUT);
    quiet.map_or(ending.at, |quiet| quiet.min(ending.at))
}
