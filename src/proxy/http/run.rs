//! The two directions of an exchange at once: the request's body up, the response down.
//!
//! Back-pressure: nothing is taken from one side while the other is not writable. A response may
//! begin, and end, before the request has ended.

use std::task::{Context, Poll};

use super::client_side::ClientSide;
use super::deadlines::{Deadlines, Standing, Waits};
use super::exchange::Request;
use super::fault::{Fault, SideFault};
use super::logged::Logged;
use super::request::Plan;
use super::upstream_side::UpstreamSide;
use super::visitor::Visitor;
use super::watch::Watch;
use crate::http1::body::Framing;
use crate::http1::response::ResponseHead;
use crate::http1::trailer;
use crate::http1::write::ResponseChange;
use crate::limits::INTERIMS_MAX;
use crate::metrics::counter::Counter;
use crate::planted::{Bug, planted};
use crate::rt::core::Core;
use crate::time::Instant;
use crate::tls::transport::recycle;

/// How far the response has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Head,
    Body,
    Done,
}

/// What was seen of an exchange.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    /// Of the response; 0 = none was sent.
    pub(super) status: u16,
    /// When the head of the response was there.
    pub(super) head_at: Option<Instant>,
    /// Whether the client was sent the head of a final response.
    pub(super) has_answered: bool,
    /// Whether an interim response came.
    pub(super) has_interim: bool,
    /// Whether any of the request's body was taken from the client.
    pub(super) took_body: bool,
    /// Whether trailers of the request were.
    pub(super) has_trailers: bool,
    /// Whether all of the request was given to the upstream.
    pub(super) sent_all: bool,
    pub(super) bytes_up: u64,
    pub(super) bytes_down: u64,
}

/// See the module's description.
#[derive(Debug)]
pub(super) struct Run<'a, 'c, 'l> {
    core: &'a Core,
    visitor: &'a Visitor,
    client: &'a mut ClientSide<'c>,
    upstream: &'a mut UpstreamSide,
    plan: &'a Plan,
    watch: &'a mut Watch,
    logged: &'a mut Logged<'l>,
    stage: Stage,
    /// The upstream takes no more of the request; what it says about that comes down.
    refuses: bool,
    is_tunnel: bool,
    /// Interim responses that have come.
    interims: u32,
    seen: Seen,
    /// When the request's head was written.
    sent_at: Instant,
    deadlines: Deadlines,
    /// Whom the request's body waits for; means nothing once all of it was sent.
    up: Waits,
    /// Whom the response waits for.
    down: Waits,
}

impl<'a, 'c, 'l> Run<'a, 'c, 'l> {
    pub(super) fn new(
        visitor: &'a Visitor,
        client: &'a mut ClientSide<'c>,
        upstream: &'a mut UpstreamSide,
        request: &Request,
        plan: &'a Plan,
        watch: &'a mut Watch,
        logged: &'a mut Logged<'l>,
    ) -> Self {
        let core = visitor.worker.core();
        let sent_all = request.head.framing == Framing::None;
        let has_length = matches!(request.head.framing, Framing::Length(_));
        let (timeouts, cut_at) = (&plan.route().timeouts, client.cut_at());
        let now = core.now();
        let deadlines = Deadlines::new(timeouts, request.began, now, has_length, cut_at);
        Self {
            core,
            visitor,
            client,
            upstream,
            plan,
            watch,
            logged,
            stage: Stage::Head,
            refuses: false,
            is_tunnel: false,
            interims: 0,
            seen: Seen { sent_all, ..Seen::default() },
            sent_at: core.clock(),
            deadlines,
            up: Waits::Client,
            down: Waits::Upstream,
        }
    }

    pub(super) fn seen(&self) -> Seen {
        self.seen
    }

    /// Relays as much as can be; ready when the client has the response, or something went wrong.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        let before = (self.seen.bytes_up, self.seen.bytes_down, self.stage, self.seen.sent_all);
        // What the client did wrong can make its side look as if it had ended in order.
        let was_tunnel = self.is_tunnel;
        let mut polled = self.poll_up(cx).and_then(|()| self.poll_down(cx));
        if self.is_tunnel && !was_tunnel {
            // Of the client's bytes nobody has asked for any yet; some may be there.
            polled = polled.and_then(|()| self.poll_up(cx));
        }
        self.upstream.flush();
        let flushed = self.client.flush().map_err(Fault::Client);
        let after = (self.seen.bytes_up, self.seen.bytes_down, self.stage, self.seen.sent_all);
        let standing = self.standing();
        self.deadlines.note(self.core.now(), &standing, after != before);
        if after != before {
            let counters = self.core.counters();
            counters.bytes_up.add(self.seen.bytes_up - before.0);
            counters.bytes_down.add(self.seen.bytes_down - before.1);
        }
        if let Err(fault) = polled.and(flushed) {
            return Poll::Ready(Err(fault));
        }
        if self.stage == Stage::Done && (self.seen.sent_all || !self.is_tunnel) {
            return Poll::Ready(Ok(()));
        }
        let Some((due, late)) = self.deadlines.next(&standing) else { return Poll::Pending };
        self.watch.set(due);
        self.watch.poll(cx).map(|()| Err(Fault::Late(late)))
    }

    /// How far it is, and whom it waits for.
    fn standing(&self) -> Standing {
        Standing {
            has_answered: self.stage != Stage::Head,
            tunnel: self.is_tunnel.then(|| self.visitor.idle_timeout()),
            up: (!self.seen.sent_all && !self.refuses).then_some(self.up),
            down: self.down,
            bytes_up: self.seen.bytes_up,
        }
    }

    fn poll_up(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        while !self.seen.sent_all && !self.refuses {
            // What was received is passed on whole: it would wait in a buffer of the ring.
            let room = match self.client.has_input() && self.upstream.takes_all() {
                true => Poll::Ready(Ok(())),
                false => self.upstream.poll_writable(cx),
            };
            match room {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(fault)) => {
                    self.refused(fault)?;
                    break;
                }
                Poll::Pending => {
                    self.client.spill();
                    self.up = Waits::Upstream;
                    break;
                }
            }
            match self.client.poll_body(cx) {
                Poll::Ready(Ok(true)) => self.pass_up()?,
                Poll::Ready(Ok(false)) => {
                    let changes = &self.plan.route().request_fields;
                    let trailers = self.client.take_trailers();
                    let trailers =
                        trailers.and_then(|it| trailer::without(it, |name| changes.removes(name)));
                    self.seen.has_trailers = trailers.is_some();
                    match self.upstream.finish(trailers.as_deref()) {
                        Ok(()) => self.seen.sent_all = true,
                        Err(fault) => self.refused(fault)?,
                    }
                }
                Poll::Ready(Err(fault)) => return Err(Fault::Client(fault)),
                Poll::Pending => {
                    self.up = Waits::Client;
                    break;
                }
            }
        }
        Ok(())
    }

    /// The upstream takes no more. It may have said why, which comes down; not in a tunnel, whose
    /// other direction may have ended long since.
    fn refused(&mut self, fault: SideFault) -> Result<(), Fault> {
        self.refuses = true;
        if self.is_tunnel { Err(Fault::Upstream(fault)) } else { Ok(()) }
    }

    fn pass_up(&mut self) -> Result<(), Fault> {
        let chunk = self.client.take_data(self.core);
        self.seen.took_body = true;
        self.seen.bytes_up += chunk.len() as u64;
        let max = self.plan.route().request_body_bytes_max.filter(|_| !self.is_tunnel);
        if max.is_some_and(|max| self.seen.bytes_up > max) {
            recycle(self.core, chunk);
            return Err(Fault::BodyTooLarge);
        }
        self.upstream.send_chunk(chunk).or_else(|fault| self.refused(fault))
    }

    fn poll_down(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        while self.stage != Stage::Done {
            // As on the way up.
            let room = match self.upstream.has_input() && self.client.takes_all() {
                true => Poll::Ready(Ok(())),
                false => self.client.poll_writable(cx),
            };
            match room {
                Poll::Ready(Ok(())) => self.down = Waits::Upstream,
                Poll::Ready(Err(fault)) => return Err(Fault::Client(fault)),
                Poll::Pending => {
                    self.upstream.spill();
                    self.down = Waits::Client;
                    break;
                }
            }
            if self.stage == Stage::Head {
                match self.upstream.poll_head(self.plan.options().head, cx) {
                    Poll::Ready(Ok((head, bytes))) => {
                        let begun = self.begin(&head, &bytes);
                        recycle(self.core, bytes);
                        begun?;
                    }
                    Poll::Ready(Err(fault)) => return Err(Fault::Upstream(fault)),
                    Poll::Pending => return self.poll_gone(cx),
                }
                continue;
            }
            let polled = match self.upstream.poll_body(cx) {
                Poll::Ready(Err(SideFault::Transport(_) | SideFault::Ended))
                    if planted(Bug::CompleteCutResponse) =>
                {
                    Poll::Ready(Ok(false))
                }
                polled => polled,
            };
            match polled {
                Poll::Ready(Ok(true)) => {
                    let sent = self.client.send_data(self.upstream.data());
                    let bytes = sent.map_err(Fault::of_response)?;
                    self.seen.bytes_down += bytes as u64;
                    self.upstream.use_data(self.core, bytes);
                }
                Poll::Ready(Ok(false)) => {
                    let changes = &self.plan.route().response_fields;
                    let trailers = self.upstream.take_trailers();
                    let trailers =
                        trailers.and_then(|it| trailer::without(it, |name| changes.removes(name)));
                    self.client.finish(trailers.as_deref()).map_err(Fault::of_response)?;
                    self.stage = Stage::Done;
                }
                Poll::Ready(Err(fault)) => return Err(Fault::Upstream(fault)),
                Poll::Pending => return self.poll_gone(cx),
            }
        }
        Ok(())
    }

    /// Whether somebody still waits for the response, which, or the rest of which, may be long in
    /// coming.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        // While there is a body to be read, reading tells; in a tunnel it has ended.
        if self.is_tunnel || !self.seen.sent_all && !self.refuses {
            return Ok(());
        }
        match self.client.poll_gone(cx) {
            Poll::Ready(fault) => Err(Fault::Client(fault)),
            Poll::Pending => Ok(()),
        }
    }

    /// Passes the head of a response on.
    fn begin(&mut self, head: &ResponseHead, bytes: &[u8]) -> Result<(), Fault> {
        let is_interim = head.status < 200 && head.status != 101;
        if is_interim {
            self.seen.has_interim = true;
            self.interims += 1;
            if self.interims > INTERIMS_MAX {
                return Err(Fault::Upstream(SideFault::Interims));
            }
            if !self.client.takes_interim() {
                return Ok(());
            }
        } else {
            self.seen.status = head.status;
            let counter = self.core.counters().responses(head.status);
            counter.into_iter().for_each(Counter::increment);
            self.seen.head_at = Some(self.core.clock());
            self.seen.has_answered = true;
            self.stage = Stage::Body;
            if self.visitor.worker.is_draining() || self.client.is_aged() {
                self.client.close_after();
            }
        }
        let framing = if is_interim { Framing::None } else { self.client.framing_of(head) };
        let ends = framing == Framing::None && head.status != 101;
        let via: &[u8] =
            if self.plan.options().via_of_responses { b"Via: 1.1 ringfort\r\n" } else { b"" };
        let changes = &self.plan.route().response_fields;
        let change = ResponseChange {
            framing,
            close: false,
            keep_alive: false,
            // RFC 9110, 15.5.22: "The server MUST send an Upgrade header field in a 426 response".
            upgrade: matches!(head.status, 101 | 426),
            keep: &|_, name| is_interim || !changes.removes(name),
            lines: if is_interim { &[] } else { &[via, &changes.lines] },
        };
        self.client.send_head(bytes, head, change, ends).map_err(Fault::Client)?;
        if head.status == 101 {
            self.is_tunnel = true;
            self.client.tunnel();
            self.upstream.tunnel();
            self.seen.sent_all = false;
        }
        Ok(())
    }
}

impl Drop for Run<'_, '_, '_> {
    /// Also where the exchange is dropped under way.
    fn drop(&mut self) {
        self.logged.attempted(&self.seen, self.sent_at);
    }
}
