//! The simulated driver: what an io_uring does, over the simulated network and clock.
//!
//! It keeps the kernel's promises (completions of one operation come in order; the terminal one is
//! the last; a buffer is in one place) and breaks what the kernel does not promise: order among
//! operations, promptness, the outcome of a cancellation. What no kernel would forgive is a
//! violation: an operation on a closed descriptor, a slot used twice, close(2) with operations in
//! flight. It must not know TLS or the gateway.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use socket2::SockAddr;

use super::faults::Fault;
use super::net::{Net, Owner};
use crate::sys::bufring::{BufferPool, Filled};
use crate::sys::descriptor::{self, Descriptor};
use crate::sys::ops::{Completion, Op, Payload, SendBuf};
use crate::sys::ring::Wait;
use crate::time::Instant;

mod ops;

/// Nanoseconds that pass each time that the program looks at the clock.
const LOOK_NS: u64 = 300;
/// Nanoseconds that a call into the kernel takes.
const ENTER_NS: u64 = 1_000;

/// What an operation does, and what it holds.
#[derive(Debug)]
enum Work {
    Accept { multishot: bool },
    Receive,
    Send { data: SendBuf, done: usize, zero_copy: bool, stage: Stage },
    Connect { address: String, stage: Connecting },
    Plain,
}

/// How far a connect is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Connecting {
    New,
    UnderWay,
    /// Failed or given up, and counted as such.
    Failed,
}

/// How far a send is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Sending,
    /// The result is posted; the notification follows when the bytes have left.
    AwaitsNotification,
}

/// An operation in flight, until its terminal completion is taken.
#[derive(Debug)]
struct Pending {
    user_data: u64,
    socket: i32,
    work: Work,
    /// It makes no progress before.
    ready_at: u64,
    /// Its completions come in order.
    last_visible_at: u64,
    /// Its terminal completion is posted.
    is_over: bool,
    /// It was attempted: from then on it waits until its socket has something to tell.
    was_tried: bool,
    /// It will be cancelled then.
    cancelled_at: Option<u64>,
}

/// What a completion brings, before it is taken.
#[derive(Debug)]
enum Bring {
    Nothing,
    Filled(Filled),
    Accepted(i32),
}

/// A completion that is posted.
#[derive(Debug)]
struct Posted {
    user_data: u64,
    result: Result<u32, i32>,
    more: bool,
    notification: bool,
    bring: Bring,
}

/// See the module's description.
#[derive(Debug)]
pub struct Sim {
    net: Net,
    worker: usize,
    buffers: Rc<BufferPool>,
    submitted: VecDeque<(u64, Op)>,
    pending: BTreeMap<u32, Pending>,
    posted: BTreeMap<(u64, u64), Posted>,
    sequence: u64,
    /// By socket: when its last completion is delivered.
    visible: BTreeMap<i32, u64>,
    /// The completion queue is full, which ends multishots.
    overflows: bool,
    /// Completions that this turn may still take.
    takes_left: u64,
    /// Sockets whose receive found no buffer, until they are armed again, and the turn in which
    /// the program was told.
    starved: BTreeMap<i32, u64>,
    enters: u64,
}

impl Sim {
    /// The driver of worker number `worker` with `buffers` receive buffers of `buffer_bytes`.
    ///
    /// # Errors
    /// As [`BufferPool::new`].
    pub fn new(net: Net, worker: usize, buffers: u16, buffer_bytes: usize) -> io::Result<Self> {
        Ok(Self {
            net,
            worker,
            buffers: BufferPool::new(buffers, buffer_bytes)?,
            submitted: VecDeque::new(),
            pending: BTreeMap::new(),
            posted: BTreeMap::new(),
            sequence: 0,
            visible: BTreeMap::new(),
            overflows: false,
            takes_left: 0,
            starved: BTreeMap::new(),
            enters: 0,
        })
    }

    /// See [`Driver::now`](crate::rt::driver::Driver::now). Looking at the clock takes time.
    pub fn now(&self) -> Instant {
        let mut net = self.net.borrow();
        net.now += LOOK_NS;
        if net.fault(Fault::TaskSlow) {
            net.now += net.choose(100_000..=5_000_000);
        }
        Instant::from_nanos(net.now)
    }

    /// See [`Driver::submit`](crate::rt::driver::Driver::submit).
    pub fn submit(&mut self, user_data: u64, op: Op) {
        if let Op::RecvMultishot { socket } = &op
            && self.starved.remove(socket) == Some(self.enters)
            && self.buffers.free() == 0
        {
            let mut net = self.net.borrow();
            net.violation(format_args!(
                "#{socket} is armed again while all buffers are lent: a busy loop"
            ));
        }
        self.submitted.push_back((user_data, op));
    }

    /// See [`Driver::turn`](crate::rt::driver::Driver::turn). It never sleeps: the world gives the
    /// worker its next turn when the wait would have ended.
    ///
    /// # Errors
    /// None.
    pub fn turn(&mut self, wait: Wait) -> io::Result<()> {
        self.enters += 1;
        self.net.borrow().now += ENTER_NS;
        self.close_dropped();
        for (user_data, op) in std::mem::take(&mut self.submitted) {
            self.start(user_data, op);
        }
        let mut net = self.net.borrow();
        let mut wait_until = match wait {
            Wait::No => Some(net.now),
            Wait::AtMost(time) => Some(net.now.saturating_add(nanos(time))),
            Wait::Forever => None,
        };
        if net.fault(Fault::SpuriousWake) {
            wait_until = Some(net.now);
        }
        net.set_wait_until(self.worker, wait_until);
        drop(net);
        // What comes while it sleeps is there when it wakes: see `wake`.
        self.takes_left = 0;
        if wait == Wait::No {
            self.wake();
        }
        Ok(())
    }

    /// The wait is over: completions can be taken.
    pub fn wake(&mut self) {
        self.overflows = self.net.borrow().fault(Fault::CompletionOverflow);
        let changed = self.net.borrow().take_changed(self.worker);
        self.progress(&changed);
        self.takes_left = u64::MAX;
        if self.overflows {
            let mut net = self.net.borrow();
            self.takes_left = net.choose(1..=3);
            let now = net.now;
            net.wake_worker_at(now, self.worker);
        }
        self.overflows = false;
    }

    /// See [`Driver::next_completion`](crate::rt::driver::Driver::next_completion).
    pub fn next_completion(&mut self) -> Option<Completion> {
        let now = self.net.borrow().now;
        if self.takes_left == 0 {
            return None;
        }
        let entry = self.posted.first_entry().filter(|entry| entry.key().0 <= now)?;
        let posted = entry.remove();
        self.takes_left -= 1;
        Some(self.translate(posted))
    }

    fn translate(&mut self, posted: Posted) -> Completion {
        let Posted { user_data, result, more, notification, bring } = posted;
        let payload = match bring {
            Bring::Nothing => Payload::None,
            Bring::Filled(filled) => Payload::Received(self.buffers.hand_over(filled)),
            Bring::Accepted(number) => Payload::Accepted(Descriptor::simulated(number)),
        };
        if result == Err(libc::ENOBUFS)
            && let Some(pending) = self.pending.get(&slot_of(user_data))
        {
            self.starved.insert(pending.socket, self.enters);
        }
        let over = if more { None } else { self.pending.remove(&slot_of(user_data)) };
        let payload = match over.map(|over| over.work) {
            Some(Work::Send { data, .. }) => Payload::Sent(data),
            _ => payload,
        };
        Completion { user_data, result, more, notification, payload }
    }

    /// See [`Driver::recv_buffers`](crate::rt::driver::Driver::recv_buffers).
    pub fn recv_buffers(&self) -> (u16, u16) {
        (self.buffers.free(), self.buffers.total())
    }

    /// See [`Driver::enters_and_overflows`](crate::rt::driver::Driver::enters_and_overflows).
    pub fn enters_and_overflows(&self) -> (u64, u32) {
        (self.enters, 0)
    }

    /// Sockets that were closed by dropping their descriptors.
    pub fn close_dropped(&mut self) {
        for number in descriptor::dropped(|number| self.net.borrow().is_open(number, self.worker)) {
            self.check_close(number);
            self.net.borrow().close(number);
        }
    }

    /// See [`Driver::connecting`](crate::rt::driver::Driver::connecting).
    ///
    /// # Errors
    /// `EMFILE`.
    pub fn connecting(
        &mut self,
        address: &SockAddr,
        _source: Option<IpAddr>,
    ) -> io::Result<Descriptor> {
        let mut net = self.net.borrow();
        let remote = name_of(address);
        if net.finds_no_file(self.worker, Fault::SocketNoFiles) {
            net.note(format_args!("w{} finds no descriptor for {remote}", self.worker));
            return Err(io::Error::from_raw_os_error(libc::EMFILE));
        }
        let local = format!("10.0.0.{}:0", self.worker);
        let number = net.new_socket(Owner::Worker(self.worker), &local, &remote);
        Ok(Descriptor::simulated(number))
    }

    /// See [`Driver::accept_ready`](crate::rt::driver::Driver::accept_ready).
    pub fn accept_ready(&mut self, listener: &Descriptor) -> Option<Descriptor> {
        let mut net = self.net.borrow();
        if net.finds_no_file(self.worker, Fault::AcceptNoFiles) {
            return None;
        }
        net.accept(listener.number()).map(Descriptor::simulated)
    }

    /// See [`Driver::peer_address`](crate::rt::driver::Driver::peer_address).
    pub fn peer_address(&self, socket: &Descriptor) -> Option<SocketAddr> {
        let mut net = self.net.borrow();
        if net.fault(Fault::PeerUnknown) {
            return None;
        }
        net.remote(socket.number())?.parse().ok()
    }

    /// See [`Driver::has_news`](crate::rt::driver::Driver::has_news).
    pub fn has_news(&mut self, socket: &Descriptor) -> bool {
        self.net.borrow().has_news(socket.number())
    }

    /// See [`Driver::shut_write`](crate::rt::driver::Driver::shut_write).
    pub fn shut_write(&mut self, socket: &Descriptor) {
        let mut net = self.net.borrow();
        net.note(format_args!("w{} ends #{}", self.worker, socket.number()));
        net.shut_write(socket.number());
    }

    /// See [`Driver::reset_on_close`](crate::rt::driver::Driver::reset_on_close).
    pub fn reset_on_close(&mut self, socket: &Descriptor) {
        self.net.borrow().reset_on_close(socket.number());
    }
}

/// A socket address as the simulated network names it.
fn name_of(address: &SockAddr) -> String {
    match (address.as_socket(), address.as_pathname()) {
        (Some(address), _) => address.to_string(),
        (None, Some(path)) => format!("unix:{}", path.display()),
        (None, None) => String::from("unknown"),
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX / 4)
}

fn slot_of(user_data: u64) -> u32 {
    (user_data & u64::from(u32::MAX)) as u32
}

#[cfg(test)]
#[path = "driver_tests.rs"]
mod tests;
