//! Relaying bytes between a TLS client and a plaintext upstream, both ways at once.
//!
//! Back-pressure: nothing is taken from one side while the other is not writable, and a side whose
//! bytes are not taken stops receiving. So a connection holds at most the receive queue and what
//! is pending and in flight, each way. An end is forwarded when all before it was.

use std::task::{Context, Poll};
use std::time::Duration;

use crate::error::{CloseKind, CloseReason};
use crate::planted::{Bug, planted};
use crate::rt::core::{Core, Timer};
use crate::rt::stream::{Errno, Stream};
use crate::time::Instant;
use crate::tls::session::SessionError;
use crate::tls::stream::TlsStream;

/// Plaintext bytes relayed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Relayed {
    /// From the client to the upstream.
    pub bytes_up: u64,
    /// From the upstream to the client.
    pub bytes_down: u64,
}

/// When a relay must end by itself.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// Without a byte in either direction.
    pub idle: Duration,
    /// In any case.
    pub at: Option<Instant>,
}

/// A relay in progress.
#[derive(Debug)]
pub struct Relay {
    client: TlsStream,
    upstream: Stream,
    relayed: Relayed,
    client_ended: bool,
    upstream_ended: bool,
    deadlines: Deadlines,
    last_byte: Instant,
    timer: Timer,
    core: Core,
    /// What TLS says about the reason, where it is the reason.
    fault: Option<SessionError>,
}

impl Relay {
    /// Joins the two.
    pub fn new(core: &Core, client: TlsStream, upstream: Stream, deadlines: Deadlines) -> Self {
        let now = core.now();
        let timer = core.sleep_until(first_deadline(now, &deadlines));
        let core = core.clone();
        Self {
            client,
            upstream,
            relayed: Relayed::default(),
            client_ended: false,
            upstream_ended: false,
            deadlines,
            last_byte: now,
            timer,
            core,
            fault: None,
        }
    }

    /// What was relayed so far.
    pub fn relayed(&self) -> Relayed {
        self.relayed
    }

    /// What TLS says about the reason, where it is the reason.
    pub fn fault(&self) -> Option<&SessionError> {
        self.fault.as_ref()
    }

    /// Forwards what came in one flight with the end of the handshake, the client's end included.
    pub fn forward_early(&mut self) {
        let early = self.client.take_early();
        self.relayed.bytes_up += early.len() as u64;
        self.core.counters().bytes_up.add(early.len() as u64);
        self.upstream.append(&early);
        self.upstream.flush();
        if self.client.peer_closed() {
            // close_notify came along: no other read will tell.
            self.client_ended = true;
            self.upstream.shut_write();
        }
    }

    /// Relays as much as can be; ready with the reason when the relay is over.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<CloseReason> {
        let before = self.relayed;
        // What failed on the way up can make the way down look as if it had ended.
        let polled = self.poll_up(cx).and_then(|()| self.poll_down(cx));
        self.upstream.flush();
        self.client.socket().flush();
        if self.relayed != before {
            self.last_byte = self.core.now();
            let counters = self.core.counters();
            counters.bytes_up.add(self.relayed.bytes_up - before.bytes_up);
            counters.bytes_down.add(self.relayed.bytes_down - before.bytes_down);
        }
        if let Err(reason) = polled {
            return Poll::Ready(reason);
        }
        let one_ended = self.client_ended || self.upstream_ended;
        if self.client_ended && self.upstream_ended || planted(Bug::ForgetHalfClose) && one_ended {
            return Poll::Ready(CloseReason::downstream(CloseKind::Finished));
        }
        self.poll_deadlines(cx)
    }

    /// Ends both connections: in order where the relay ended in order, so that neither side can
    /// take a cut for an end otherwise.
    pub fn close(self, reason: CloseReason) {
        if reason.kind == CloseKind::Finished {
            self.upstream.close();
            self.client.close(true);
        } else {
            // The upstream sees a reset, the client FIN without close_notify (behind an alert,
            // where one is due): both can tell that what they got may be cut short.
            drop(self.upstream);
            self.client.close_for(reason.kind);
        }
    }

    fn poll_up(&mut self, cx: &mut Context<'_>) -> Result<(), CloseReason> {
        while !self.client_ended {
            match self.upstream.poll_writable(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(errno)) => return Err(upstream_failed(errno)),
                Poll::Pending => break,
            }
            match self.client.socket().poll_recv(cx) {
                Poll::Ready(Ok(Some(received))) => {
                    // With the record that these bytes complete.
                    let room = received.len() + self.client.partial_bytes();
                    let mut plain = self.upstream.lend_pending(room);
                    let before = plain.len();
                    let decrypted = self.client.decrypt(&received, &mut plain);
                    self.relayed.bytes_up += (plain.len() - before) as u64;
                    self.upstream.restore_pending(plain);
                    if decrypted.map_err(|error| self.session_failed(error))? {
                        self.client_ended = true;
                        self.upstream.shut_write();
                    }
                }
                Poll::Ready(Ok(None)) if planted(Bug::ForwardTruncation) => {
                    self.client_ended = true;
                    self.upstream.shut_write();
                }
                Poll::Ready(Ok(None)) => {
                    return Err(CloseReason::downstream(CloseKind::Truncated));
                }
                Poll::Ready(Err(errno)) => return Err(client_failed(errno)),
                Poll::Pending => break,
            }
        }
        if self.client_ended
            && let Poll::Ready(errno) = self.client.socket().poll_failed(cx)
        {
            // It went away after its end, while the upstream may say nothing for long.
            return Err(client_failed(errno));
        }
        Ok(())
    }

    fn poll_down(&mut self, cx: &mut Context<'_>) -> Result<(), CloseReason> {
        while !self.upstream_ended {
            match self.client.socket().poll_writable(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(errno)) => return Err(client_failed(errno)),
                Poll::Pending if planted(Bug::IgnoreBackPressure) => {}
                Poll::Pending => break,
            }
            match self.upstream.poll_recv(cx) {
                Poll::Ready(Ok(Some(received))) => {
                    self.relayed.bytes_down += received.len() as u64;
                    let encrypted = self.client.encrypt(&received);
                    encrypted.map_err(|error| self.session_failed(error))?;
                }
                Poll::Ready(Ok(None)) => {
                    self.upstream_ended = true;
                    self.client.shut_write();
                }
                Poll::Ready(Err(errno)) => return Err(upstream_failed(errno)),
                Poll::Pending => break,
            }
        }
        Ok(())
    }

    fn session_failed(&mut self, error: SessionError) -> CloseReason {
        let kind = match error.alert_received() {
            Some(_) => CloseKind::AlertReceived,
            None => CloseKind::TlsFailed,
        };
        self.fault = Some(error);
        CloseReason::downstream(kind)
    }

    /// One timer for both deadlines, moved when it expires rather than with every byte.
    fn poll_deadlines(&mut self, cx: &mut Context<'_>) -> Poll<CloseReason> {
        while self.timer.poll_expired(cx).is_ready() {
            let now = self.core.now();
            if self.deadlines.at.is_some_and(|at| now >= at) {
                return Poll::Ready(CloseReason::internal(CloseKind::AgeMax));
            }
            if now >= self.last_byte + self.deadlines.idle {
                return Poll::Ready(CloseReason::internal(CloseKind::IdleTimeout));
            }
            self.timer.reset(first_deadline(self.last_byte, &self.deadlines));
        }
        Poll::Pending
    }
}

fn first_deadline(last_byte: Instant, deadlines: &Deadlines) -> Instant {
    let idle = last_byte + deadlines.idle;
    deadlines.at.map_or(idle, |at| idle.min(at))
}

fn client_failed(errno: Errno) -> CloseReason {
    CloseReason::downstream(kind_of(errno))
}

fn upstream_failed(errno: Errno) -> CloseReason {
    CloseReason::upstream(kind_of(errno))
}

fn kind_of(errno: Errno) -> CloseKind {
    match errno.0 {
        libc::ECONNRESET | libc::EPIPE => CloseKind::Reset,
        other => CloseKind::Io(other),
    }
}
