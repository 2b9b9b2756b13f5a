//! The state of one connected socket: receive queue, one send in flight, the close protocol.
//!
//! ```text
//! Open -> HalfClosed -> Draining -> Cancelling -> Closing -> (slot free)
//! ```
//! `docs/architecture.md` has the table. Invariants: close(2) is submitted only when no operation
//! of the socket is in flight (it would not stop an armed receive), but for a zero-copy send that
//! is done and whose notification is to come; at most one send and one receive are in flight; a
//! paused or idle socket pins no buffer of the ring under pressure.

use std::any::Any;
use std::collections::VecDeque;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

use super::buffer::RecvBuf;
use super::core::{State, TimerEvent};
use super::op::{Kind, OpId};
use super::timer::TimerKey;
use crate::limits::{
    CLOSE_DRAIN_BYTES_MAX, CLOSE_FLUSH_TIMEOUT_MS, CLOSE_HURRIED_TIMEOUT_MS, CLOSE_TIMEOUT_MS,
    RECV_QUEUE_BUFFERS_MAX, ZERO_COPY_BYTES_MIN,
};
use crate::planted::{Bug, planted};
use crate::sys::descriptor::Descriptor;
use crate::sys::ops::{Completion, Op, Payload, SendBuf};

/// Where a socket is on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Both directions in use.
    Open,
    /// FIN sent; the other direction in use.
    HalfClosed,
    /// No task owns it: what is pending is sent, then FIN; what arrives is thrown away, so that
    /// close(2) makes no RST that would destroy what the peer has not read.
    Draining,
    /// Operations in flight are being cancelled.
    Cancelling,
    /// close(2) is submitted; it, or the notification of a zero-copy send, is awaited.
    Closing,
}

/// The receive operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Receive {
    /// None in flight.
    Off,
    /// Multishot in flight.
    Armed(OpId),
    /// Cancelled, its terminal completion is awaited.
    Stopping,
    /// Ended for want of a buffer; in the core's starved list.
    Starved,
}

/// How the receive direction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecvEnd {
    /// FIN.
    Eof,
    /// An errno.
    Failed(i32),
}

/// See the module's description.
#[derive(Debug)]
pub(super) struct Socket {
    fd: Option<Descriptor>,
    pub(super) phase: Phase,
    receive: Receive,
    pub(super) queue: VecDeque<RecvBuf>,
    pub(super) ended: Option<RecvEnd>,
    pub(super) recv_waker: Option<Waker>,
    send: Option<OpId>,
    /// Large sends go out without a copy.
    zero_copy: bool,
    /// Result of a zero-copy send whose notification is still to come.
    zero_copy_result: Option<Result<u32, i32>>,
    /// Bytes of the send in flight.
    send_bytes: usize,
    /// The last send took less than all of its bytes.
    sent_short: bool,
    /// FIN, or what looks like it, that waits until it is known why a send was short.
    fin_held: bool,
    pub(super) pending: SendBuf,
    pub(super) send_error: Option<i32>,
    pub(super) send_waker: Option<Waker>,
    connect: Option<OpId>,
    pub(super) connected: Option<Result<(), i32>>,
    shut_when_flushed: bool,
    fin_sent: bool,
    cancelled: bool,
    in_flight: u8,
    drained_bytes: usize,
    close_timer: Option<TimerKey>,
    /// Dropped when the descriptor is closed.
    pub(super) kept: Option<Rc<dyn Any>>,
}

impl Socket {
    fn new(fd: Descriptor, zero_copy: bool) -> Self {
        Self {
            fd: Some(fd),
            phase: Phase::Open,
            receive: Receive::Off,
            queue: VecDeque::new(),
            ended: None,
            recv_waker: None,
            send: None,
            zero_copy,
            zero_copy_result: None,
            send_bytes: 0,
            sent_short: false,
            fin_held: false,
            pending: SendBuf::default(),
            send_error: None,
            send_waker: None,
            connect: None,
            connected: None,
            shut_when_flushed: false,
            fin_sent: false,
            cancelled: false,
            in_flight: 0,
            drained_bytes: 0,
            close_timer: None,
            kept: None,
        }
    }

    pub(super) fn fd(&self) -> &Descriptor {
        // invariant: the descriptor is given up with the CLOSE op, after which no task and no
        // operation refers to the socket.
        self.fd.as_ref().expect("the socket is not closed")
    }

    fn raw(&self) -> RawFd {
        self.fd().number()
    }

    /// Why sending failed, if it did.
    fn send_failure(&self) -> Option<i32> {
        self.send_error.or_else(|| self.zero_copy_result.and_then(Result::err))
    }

    /// Whether a task owns it.
    #[cfg(feature = "sim")]
    pub(super) fn is_owned(&self) -> bool {
        matches!(self.phase, Phase::Open | Phase::HalfClosed)
    }

    fn flushed(&self) -> bool {
        self.send.is_none() && self.pending.is_empty()
    }

    /// Both directions are woken: they are usually the same task, and an end concerns both.
    fn wake(&mut self) {
        for waker in [self.recv_waker.take(), self.send_waker.take()].into_iter().flatten() {
            waker.wake();
        }
    }
}

impl State {
    /// Takes over a connected (or connecting) descriptor. `zero_copy` says that it can send without
    /// a copy.
    pub(super) fn add_socket(&mut self, fd: Descriptor, zero_copy: bool) -> u32 {
        self.counters.sockets_live.increment();
        // invariant: descriptors bound the sockets far below 2^32.
        u32::try_from(self.sockets.insert(Socket::new(fd, zero_copy && self.zero_copy_send)))
            .expect("fewer than 2^32 sockets")
    }

    pub(super) fn socket(&mut self, key: u32) -> &mut Socket {
        &mut self.sockets[key as usize]
    }

    fn start(&mut self, kind: Kind, key: u32, op: Op) -> OpId {
        let id = self.ops.start(kind, key);
        self.driver.submit(id.user_data(), op);
        self.socket(key).in_flight += 1;
        id
    }

    fn cancel(&mut self, target: OpId, key: u32) {
        let id = self.ops.start(Kind::Cancel, key);
        self.driver.submit(id.user_data(), Op::Cancel { target: target.user_data() });
        if planted(Bug::FreeSlotOnCancel) {
            self.ops.complete(target.user_data(), false);
        }
    }

    /// Starts connecting.
    pub(super) fn start_connect(&mut self, key: u32, address: socket2::SockAddr) {
        let socket = self.socket(key).raw();
        let op = Op::Connect { socket, address: Box::new(address) };
        let id = self.start(Kind::Connect, key, op);
        self.socket(key).connect = Some(id);
    }

    pub(super) fn on_connect(&mut self, key: u32, completion: &Completion) {
        let socket = self.socket(key);
        socket.in_flight -= 1;
        socket.connect = None;
        socket.connected = Some(completion.result.map(|_| ()));
        socket.wake();
        self.advance_close(key);
    }

    /// Arms the receive where none is in flight and the peer has not ended.
    pub(super) fn arm_receive(&mut self, key: u32) {
        let socket = self.socket(key);
        if socket.receive != Receive::Off || socket.ended.is_some() || socket.fin_held {
            return;
        }
        let op = Op::RecvMultishot { socket: socket.raw() };
        let id = self.start(Kind::Receive, key, op);
        self.socket(key).receive = Receive::Armed(id);
    }

    fn stop_receive(&mut self, key: u32) {
        if let Receive::Armed(id) = self.socket(key).receive {
            self.socket(key).receive = Receive::Stopping;
            self.cancel(id, key);
        }
    }

    pub(super) fn on_receive(&mut self, key: u32, completion: Completion) {
        let socket = &mut self.sockets[key as usize];
        if !completion.more {
            socket.in_flight -= 1;
            socket.receive = Receive::Off;
        }
        match (completion.result, completion.payload) {
            (Ok(1..), Payload::Received(buffer)) => match socket.phase {
                Phase::Open | Phase::HalfClosed => {
                    socket.queue.push_back(RecvBuf::Ring(buffer));
                    socket.recv_waker.take().into_iter().for_each(Waker::wake);
                }
                _ => {
                    socket.drained_bytes += buffer.len();
                    if planted(Bug::LeakBuffer) {
                        std::mem::forget(buffer);
                    }
                }
            },
            (Ok(_), _) => {
                socket.fin_held = true;
                self.settle_fin(key);
            }
            (Err(libc::ENOBUFS), _) if planted(Bug::RearmWithoutBuffer) => self.arm_receive(key),
            (Err(libc::ENOBUFS), _) => {
                socket.receive = Receive::Starved;
                self.starved.push_back(key);
                self.counters.recv_starved.increment();
            }
            (Err(libc::ECANCELED), _) => {}
            (Err(errno), _) => self.end_receive(key, RecvEnd::Failed(errno)),
        }
        self.settle_receive(key);
        self.advance_close(key);
    }

    /// Decides what a FIN is. The kernel tells of an error once: a send that was told leaves a
    /// connection that looks as if the peer had ended it. So does one that was told after it had
    /// taken some of its bytes, which returns their number (`MSG_WAITALL`, io_uring/net.c); the
    /// send of the rest tells then.
    fn settle_fin(&mut self, key: u32) {
        let socket = self.socket(key);
        let believed = planted(Bug::BelieveFin);
        let failure = socket.send_failure().filter(|_| !believed);
        if socket.fin_held && (believed || failure.is_some() || !socket.sent_short) {
            socket.fin_held = false;
            self.end_receive(key, failure.map_or(RecvEnd::Eof, RecvEnd::Failed));
        }
    }

    fn end_receive(&mut self, key: u32, end: RecvEnd) {
        let socket = self.socket(key);
        socket.ended = Some(end);
        socket.wake();
    }

    /// After a completion: stops a receive whose queue is full, arms one that somebody awaits.
    fn settle_receive(&mut self, key: u32) {
        let socket = self.socket(key);
        match socket.phase {
            Phase::Open | Phase::HalfClosed => {
                if socket.queue.len() >= RECV_QUEUE_BUFFERS_MAX && !planted(Bug::UnboundedQueue) {
                    self.stop_receive(key);
                } else if socket.recv_waker.is_some() && socket.queue.is_empty() {
                    self.arm_receive(key);
                }
            }
            Phase::Draining => self.arm_receive(key),
            Phase::Cancelling | Phase::Closing => {}
        }
    }

    /// Arms starved sockets again as far as buffers have come back. Where all are still lent,
    /// sockets whose tasks do not take their bytes hold them: those bytes move to the heap.
    ///
    /// Returns whether there is more to feed in the next turn, which must not be slept away: those
    /// that were armed may be idle, and then no completion would end the sleep.
    pub(super) fn feed_starved(&mut self) -> bool {
        if self.starved.is_empty() {
            return false;
        }
        let (free, _) = self.driver.recv_buffers();
        if free == 0 {
            self.sockets.iter_mut().for_each(|(_, socket)| {
                socket.queue.iter_mut().for_each(RecvBuf::spill);
            });
        }
        let (free, _) = self.driver.recv_buffers();
        for _ in 0..free {
            let Some(key) = self.starved.pop_front() else { break };
            // The socket may be gone since, or its slot have a new tenant.
            let Some(socket) = self.sockets.get_mut(key as usize) else { continue };
            if socket.receive == Receive::Starved {
                socket.receive = Receive::Off;
                self.settle_receive(key);
                self.advance_close(key);
            }
        }
        free > 0 && !self.starved.is_empty()
    }

    /// Sends what is pending, unless a send is in flight: its completion will.
    pub(super) fn flush(&mut self, key: u32) {
        let socket = self.socket(key);
        if socket.send.is_some() || socket.pending.is_empty() || socket.send_error.is_some() {
            return;
        }
        let data = std::mem::take(&mut socket.pending);
        socket.send_bytes = data.len();
        let zero_copy = socket.zero_copy && data.len() >= ZERO_COPY_BYTES_MIN;
        let op = Op::Send { socket: socket.raw(), data, zero_copy };
        let id = self.start(Kind::Send, key, op);
        self.socket(key).send = Some(id);
    }

    pub(super) fn on_send(&mut self, key: u32, completion: Completion) {
        let socket = &mut self.sockets[key as usize];
        if let Ok(count) = completion.result
            && !completion.notification
        {
            socket.sent_short = (count as usize) < socket.send_bytes;
        }
        if completion.more {
            socket.zero_copy_result = Some(completion.result);
            self.settle_fin(key);
            self.advance_close(key);
            return;
        }
        socket.in_flight -= 1;
        socket.send = None;
        let result = match socket.zero_copy_result.take() {
            Some(result) if completion.notification => result,
            _ => completion.result,
        };
        // invariant: the ring returns the bytes of every send with its terminal completion.
        let Payload::Sent(mut data) = completion.payload else { unreachable!("a send's bytes") };
        match result {
            Ok(count) if count > 0 => {
                data.advance(count as usize);
                self.counters.bytes_sent.add(u64::from(count));
                if matches!(self.socket(key).phase, Phase::Cancelling | Phase::Closing) {
                    // A cancelled send tells how far it came; the rest is not sent.
                    self.pool.put(data);
                } else {
                    self.sent(key, data);
                }
            }
            failed => {
                socket.send_error = Some(failed.err().unwrap_or(libc::EPIPE));
                self.pool.put(data);
                let unsent = std::mem::take(&mut self.socket(key).pending);
                self.pool.put(unsent);
                self.socket(key).wake();
            }
        }
        self.settle_fin(key);
        self.advance_close(key);
    }

    fn sent(&mut self, key: u32, rest: SendBuf) {
        if rest.is_empty() || planted(Bug::ForgetShortSend) {
            self.pool.put(rest);
        } else {
            // A short send in spite of MSG_WAITALL: the rest goes before what came later.
            let mut rest = rest;
            let later = std::mem::take(&mut self.socket(key).pending);
            self.pool.reserve(&mut rest, later.len());
            rest.tail().extend_from_slice(later.remaining());
            self.pool.put(later);
            self.socket(key).pending = rest;
        }
        self.flush(key);
        self.shut_if_flushed(key);
        self.socket(key).send_waker.take().into_iter().for_each(Waker::wake);
    }

    /// FIN as soon as all is sent.
    pub(super) fn shut_write(&mut self, key: u32) {
        self.socket(key).shut_when_flushed = true;
        self.flush(key);
        self.shut_if_flushed(key);
    }

    fn shut_if_flushed(&mut self, key: u32) {
        let Self { sockets, driver, .. } = self;
        let socket = &mut sockets[key as usize];
        if socket.shut_when_flushed && !socket.fin_sent && socket.flushed() {
            driver.shut_write(socket.fd());
            socket.fin_sent = true;
            match socket.phase {
                Phase::Open => socket.phase = Phase::HalfClosed,
                Phase::Draining => self.set_close_timer(key, CLOSE_TIMEOUT_MS),
                _ => {}
            }
        }
    }

    /// The owner is done: what is pending will be sent, then FIN, then close.
    pub(super) fn close(&mut self, key: u32) {
        let socket = self.socket(key);
        socket.phase = Phase::Draining;
        let timeout_ms = if socket.fin_sent { CLOSE_TIMEOUT_MS } else { CLOSE_FLUSH_TIMEOUT_MS };
        self.set_close_timer(key, timeout_ms);
        let socket = self.socket(key);
        socket.queue = VecDeque::new();
        (socket.recv_waker, socket.send_waker) = (None, None);
        self.shut_write(key);
        self.settle_receive(key);
        self.advance_close(key);
    }

    fn set_close_timer(&mut self, key: u32, timeout_ms: u64) {
        if planted(Bug::CloseWithoutDeadline) {
            return;
        }
        let timeout_ms = timeout_ms.min(self.close_timeout_ms_max);
        let deadline = self.driver.now() + Duration::from_millis(timeout_ms);
        let timer = self.timers.insert(deadline, TimerEvent::CloseDeadline(key));
        if let Some(former) = self.socket(key).close_timer.replace(timer) {
            self.timers.cancel(former);
        }
    }

    /// The owner gives up: RST where the connection is up.
    pub(super) fn abort(&mut self, key: u32) {
        let Self { sockets, driver, .. } = self;
        let socket = &mut sockets[key as usize];
        driver.reset_on_close(socket.fd());
        socket.phase = Phase::Cancelling;
        socket.queue = VecDeque::new();
        (socket.recv_waker, socket.send_waker) = (None, None);
        let unsent = std::mem::take(&mut socket.pending);
        self.pool.put(unsent);
        self.advance_close(key);
    }

    /// From now on sockets that are being closed get [`CLOSE_HURRIED_TIMEOUT_MS`] at the most.
    pub(super) fn hurry_closing(&mut self) {
        self.close_timeout_ms_max = CLOSE_HURRIED_TIMEOUT_MS;
        let draining: Vec<u32> = self
            .sockets
            .iter()
            .filter(|(_, socket)| socket.phase == Phase::Draining)
            // invariant: `add_socket` made sure that keys fit.
            .map(|(key, _)| key as u32)
            .collect();
        for key in draining {
            self.set_close_timer(key, CLOSE_HURRIED_TIMEOUT_MS);
        }
    }

    /// The peer did not end its side in time.
    pub(super) fn on_close_deadline(&mut self, key: u32) {
        let Self { sockets, driver, .. } = self;
        let socket = &mut sockets[key as usize];
        socket.close_timer = None;
        if !socket.flushed() {
            driver.reset_on_close(socket.fd());
        }
        socket.phase = Phase::Cancelling;
        self.advance_close(key);
    }

    /// Takes a socket that nobody owns one step further, where it can go.
    fn advance_close(&mut self, key: u32) {
        let socket = self.socket(key);
        if socket.phase == Phase::Draining {
            let ended = socket.ended.is_some() && socket.fin_sent;
            let hopeless = socket.send_error.is_some()
                || matches!(socket.ended, Some(RecvEnd::Failed(_)))
                || socket.drained_bytes > CLOSE_DRAIN_BYTES_MAX;
            if ended || hopeless {
                socket.phase = Phase::Cancelling;
            }
        }
        if self.socket(key).phase == Phase::Cancelling {
            self.cancel_all(key);
            let socket = self.socket(key);
            // The notification of a zero-copy send comes when the peer has read, or when close(2)
            // has thrown the bytes away: waiting for it would be waiting for the peer.
            let is_quiet = socket.in_flight == u8::from(socket.zero_copy_result.is_some());
            if is_quiet || planted(Bug::CloseUnderReceive) {
                self.start_close(key);
            }
        }
        self.free_if_done(key);
    }

    fn free_if_done(&mut self, key: u32) {
        let socket = self.socket(key);
        if socket.phase == Phase::Closing && socket.in_flight == 0 {
            self.sockets.remove(key as usize);
        }
    }

    fn cancel_all(&mut self, key: u32) {
        self.stop_receive(key);
        let socket = self.socket(key);
        if socket.receive == Receive::Starved {
            socket.receive = Receive::Off;
        }
        if std::mem::replace(&mut socket.cancelled, true) {
            return;
        }
        let (send, connect) = (socket.send, socket.connect);
        for id in [send, connect].into_iter().flatten() {
            self.cancel(id, key);
        }
    }

    fn start_close(&mut self, key: u32) {
        let socket = self.socket(key);
        socket.phase = Phase::Closing;
        let timer = socket.close_timer.take();
        // invariant: this is the only place that takes it, and Closing is entered once.
        let fd = socket.fd.take().expect("closed once");
        let unsent = std::mem::take(&mut socket.pending);
        self.pool.put(unsent);
        if let Some(timer) = timer {
            self.timers.cancel(timer);
        }
        self.start(Kind::Close, key, Op::Close { fd });
    }

    pub(super) fn on_close(&mut self, key: u32) {
        // The descriptor is gone whatever close(2) returned (close(2), NOTES).
        self.counters.sockets_live.decrement();
        let socket = self.socket(key);
        socket.in_flight -= 1;
        socket.kept = None;
        self.free_if_done(key);
        self.descriptor_freed();
    }
}
