//! The operations: how each starts, makes progress, fails and is cancelled.

use std::collections::BTreeSet;

use super::{Bring, Connecting, Pending, Posted, Sim, Stage, Work, name_of, slot_of};
use crate::sim::faults::Fault;
use crate::sim::net::{Errno, Read};
use crate::sim::trace::digest;
use crate::sys::ops::Op;

/// Buffers that one multishot receive fills in one go (`MULTISHOT_MAX_RETRY` in io_uring/net.c).
const RECEIVES_MAX: usize = 32;

impl Sim {
    /// The kernel takes an operation over.
    pub(super) fn start(&mut self, user_data: u64, op: Op) {
        let (socket, work) = match op {
            Op::AcceptMultishot { listener } => (listener, Work::Accept { multishot: true }),
            Op::Accept { listener } => (listener, Work::Accept { multishot: false }),
            Op::RecvMultishot { socket } => (socket, Work::Receive),
            Op::Send { socket, data, zero_copy } => {
                (socket, Work::Send { data, done: 0, zero_copy, stage: Stage::Sending })
            }
            Op::Connect { socket, address } => {
                (socket, Work::Connect { address: name_of(&address), stage: Connecting::New })
            }
            Op::Cancel { target } => return self.cancel(user_data, target),
            Op::Close { fd } => return self.close(user_data, fd.into_number()),
        };
        self.check_start(socket, &work);
        self.hold(user_data, socket, work);
        self.attempt(slot_of(user_data));
    }

    fn hold(&mut self, user_data: u64, socket: i32, work: Work) {
        let pending = Pending {
            user_data,
            socket,
            work,
            ready_at: 0,
            last_visible_at: 0,
            is_over: false,
            was_tried: false,
            cancelled_at: None,
        };
        if let Some(former) = self.pending.insert(slot_of(user_data), pending) {
            let slot = slot_of(user_data);
            self.net.borrow().violation(format_args!("slot {slot} is used twice: {former:?}"));
        }
    }

    /// What no kernel forgives, and what the runtime promises of itself.
    fn check_start(&self, socket: i32, work: &Work) {
        let mut net = self.net.borrow();
        if !net.is_open(socket, self.worker) {
            net.violation(format_args!("{work:?} on the closed descriptor #{socket}"));
        }
        let same = |other: &&Pending| {
            other.socket == socket
                && std::mem::discriminant(&other.work) == std::mem::discriminant(work)
        };
        if let Some(other) = self.pending.values().find(same) {
            net.violation(format_args!("two of a kind on #{socket}: {work:?} and {other:?}"));
        }
    }

    /// close(2) must not be submitted while an operation of the descriptor is in flight.
    pub(super) fn check_close(&self, number: i32) {
        let in_flight = self.pending.values().find(|pending| {
            let awaits_notification =
                matches!(pending.work, Work::Send { stage: Stage::AwaitsNotification, .. });
            pending.socket == number && !awaits_notification
        });
        if let Some(pending) = in_flight {
            self.net.borrow().violation(format_args!("#{number} is closed under {pending:?}"));
        }
    }

    fn close(&mut self, user_data: u64, number: i32) {
        self.check_close(number);
        self.hold(user_data, -1, Work::Plain);
        let mut net = self.net.borrow();
        net.close(number);
        let result = if net.fault(Fault::CloseFailed) { Err(libc::EIO) } else { Ok(0) };
        drop(net);
        self.post(slot_of(user_data), result, false, Bring::Nothing);
        self.notify_of(number);
    }

    /// Notifications of zero-copy sends whose bytes close(2) has thrown away.
    fn notify_of(&mut self, number: i32) {
        let slots: Vec<u32> = self.slots_of(|pending| pending.socket == number);
        slots.into_iter().for_each(|slot| self.attempt(slot));
    }

    fn slots_of(&self, which: impl Fn(&Pending) -> bool) -> Vec<u32> {
        self.pending
            .iter()
            .filter(|(_, pending)| !pending.is_over && which(pending))
            .map(|(slot, _)| *slot)
            .collect()
    }

    /// Operations whose sockets changed, or whose time has come, go on.
    pub(super) fn progress(&mut self, changed: &BTreeSet<i32>) {
        let (now, active) = {
            let net = self.net.borrow();
            (net.now, net.faults.is_active())
        };
        let mut slots = self.slots_of(|pending| {
            let is_due = pending.ready_at > 0 && (pending.ready_at <= now || !active)
                || pending.cancelled_at.is_some_and(|at| at <= now);
            is_due || changed.contains(&pending.socket)
        });
        self.net.borrow().faults.random().shuffle(&mut slots);
        slots.into_iter().for_each(|slot| self.attempt(slot));
    }

    fn attempt(&mut self, slot: u32) {
        let now = self.net.borrow().now;
        let Some(pending) = self.pending.get_mut(&slot) else { return };
        let is_cancelled = pending.cancelled_at.is_some_and(|at| at <= now);
        let is_stalled = pending.ready_at > now && self.net.borrow().faults.is_active();
        if pending.is_over || is_stalled && !is_cancelled {
            return;
        }
        pending.ready_at = 0;
        match pending.work {
            Work::Accept { multishot } => self.attempt_accept(slot, multishot),
            Work::Receive => self.attempt_receive(slot),
            Work::Send { .. } => self.attempt_send(slot),
            Work::Connect { .. } => self.attempt_connect(slot),
            Work::Plain => {}
        }
        let Some(pending) = self.pending.get(&slot) else { return };
        if !pending.is_over && pending.cancelled_at.is_some_and(|at| at <= now) {
            self.end_cancelled(slot);
        }
    }

    /// Posts a completion. Those of one operation come in order.
    fn post(&mut self, slot: u32, result: Result<u32, i32>, more: bool, bring: Bring) {
        let Some(pending) = self.pending.get_mut(&slot) else { return };
        let mut net = self.net.borrow();
        let late = net.fault(Fault::CompletionLate);
        let delay = if late { net.choose(1_000..=30_000_000) } else { 0 };
        // Those of one operation come in order, and those of one socket too: which of two has an
        // error, that the kernel tells once, is known by which comes first.
        let floor = self.visible.entry(pending.socket).or_default();
        let visible_at = (net.now + delay).max(*floor).max(pending.last_visible_at);
        pending.last_visible_at = visible_at;
        if pending.socket >= 0 {
            *floor = visible_at;
        }
        pending.is_over = !more;
        let notification =
            !more && matches!(pending.work, Work::Send { stage: Stage::AwaitsNotification, .. });
        let user_data = pending.user_data;
        self.sequence += 1;
        // Late ones come after others that were posted later.
        let order = self.sequence;
        net.wake_worker_at(visible_at, self.worker);
        net.note(format_args!(
            "w{} {user_data:#018x} -> {result:?}{}",
            self.worker,
            if more { " +" } else { "" }
        ));
        let posted = Posted { user_data, result, more, notification, bring };
        self.posted.insert((visible_at, order), posted);
    }

    /// The operation gets no further before `delay` nanoseconds are over.
    fn stall(&mut self, slot: u32, delay: u64) {
        let Some(pending) = self.pending.get_mut(&slot) else { return };
        let mut net = self.net.borrow();
        pending.ready_at = net.now + delay;
        net.wake_worker_at(pending.ready_at, self.worker);
    }

    fn attempt_accept(&mut self, slot: u32, multishot: bool) {
        loop {
            let Some(listener) = self.pending.get(&slot).map(|pending| pending.socket) else {
                return;
            };
            let mut net = self.net.borrow();
            if net.finds_no_file(self.worker, Fault::AcceptNoFiles) {
                drop(net);
                return self.post(slot, Err(libc::EMFILE), false, Bring::Nothing);
            }
            let Some(number) = net.accept(listener) else { return };
            if net.fault(Fault::AcceptAborted) {
                net.reset_on_close(number);
                net.close(number);
                drop(net);
                return self.post(slot, Err(libc::ECONNABORTED), false, Bring::Nothing);
            }
            let more = multishot && !self.overflows && !net.fault(Fault::AcceptEnded);
            drop(net);
            self.post(slot, Ok(number.cast_unsigned()), more, Bring::Accepted(number));
            if !more {
                return;
            }
        }
    }

    fn attempt_receive(&mut self, slot: u32) {
        let mut is_first = self.pending.get(&slot).is_some_and(|pending| !pending.was_tried);
        if let Some(pending) = self.pending.get_mut(&slot) {
            pending.was_tried = true;
        }
        for _ in 0..RECEIVES_MAX {
            let Some(socket) = self.pending.get(&slot).map(|pending| pending.socket) else {
                return;
            };
            let mut net = self.net.borrow();
            if net.fault(Fault::RecvFailed) {
                let errno = if net.choose(0..=1) == 0 { Errno::RESET } else { Errno::TIMED_OUT };
                net.fail(socket, errno);
            }
            if !is_first && !net.has_news(socket) {
                return;
            }
            is_first = false;
            // io_uring/net.c, io_recv: the buffer is chosen before anything is read, so that an end
            // needs one as well, and an idle socket when it is armed.
            if self.buffers.provided() == 0 || net.fault(Fault::RecvNoBuffers) {
                drop(net);
                return self.post(slot, Err(libc::ENOBUFS), false, Bring::Nothing);
            }
            let waiting = net.readable(socket);
            let partial = waiting > 1 && net.fault(Fault::RecvPartial);
            let max =
                if partial { net.choose(1..=waiting.max(1) as u64) as usize } else { waiting };
            let mut bytes = Vec::new();
            let read = net.read(socket, &mut bytes, max.min(self.buffers.buffer_bytes()));
            let has_read = matches!(read, Read::Bytes(_));
            let ended = has_read && (self.overflows || net.fault(Fault::RecvEnded));
            drop(net);
            match read {
                Read::Bytes(count) => {
                    // invariant: a buffer is provided, for it was looked at above.
                    let filled = self.buffers.fill(&bytes).expect("a buffer is provided");
                    let note = format_args!("#{socket} got {count} {:08x}", digest(&bytes));
                    self.net.borrow().note(note);
                    self.post(slot, Ok(count as u32), !ended, Bring::Filled(filled));
                    if ended {
                        return;
                    }
                }
                Read::Nothing => return,
                Read::End => return self.post(slot, Ok(0), false, Bring::Nothing),
                Read::Failed(Errno(errno)) => {
                    return self.post(slot, Err(errno), false, Bring::Nothing);
                }
            }
        }
        // More is there: the kernel lets others go first.
        self.stall(slot, 1);
    }

    fn attempt_send(&mut self, slot: u32) {
        let Some(pending) = self.pending.get_mut(&slot) else { return };
        let socket = pending.socket;
        let Work::Send { data, done, zero_copy, stage } = &mut pending.work else { return };
        let mut net = self.net.borrow();
        if *stage == Stage::AwaitsNotification {
            if !net.is_open(socket, self.worker) || net.is_flushed(socket) {
                // Few sends are large enough to get here: each has several chances.
                let late = (0..8).any(|_| net.fault(Fault::NotificationLate));
                drop(net);
                if late {
                    return self.stall(slot, 40_000_000);
                }
                self.post(slot, Ok(0), false, Bring::Nothing);
            }
            return;
        }
        let is_cancelled = pending.cancelled_at.is_some();
        if *done == 0 && !is_cancelled && net.fault(Fault::SendStalled) {
            let delay = net.choose(1_000_000..=200_000_000_000);
            drop(net);
            return self.stall(slot, delay);
        }
        if net.fault(Fault::SendFailed) {
            net.fail(socket, Errno::RESET);
        }
        if *zero_copy && net.is_unix(socket) {
            // io_uring/net.c, io_send_zc: the socket must have SOCK_SUPPORT_ZC.
            *stage = Stage::AwaitsNotification;
            drop(net);
            self.post(slot, Err(libc::EOPNOTSUPP), true, Bring::Nothing);
            return self.attempt_send(slot);
        }
        let rest = &data.remaining()[*done..];
        let wanted = rest.len();
        let short = wanted > 1 && net.fault(Fault::SendPartial);
        let tries = if short { net.choose(1..=wanted as u64 - 1) as usize } else { wanted };
        let written = net.write(socket, &rest[..tries]);
        if let Ok(count) = written {
            net.note(format_args!("#{socket} sends {count} {:08x}", digest(&rest[..count])));
            *done += count;
        }
        let zero_copy = *zero_copy;
        let result = match written {
            Err(_) if *done > 0 => Ok(*done as u32),
            Err(Errno(errno)) => Err(errno),
            Ok(count) if count == wanted || (short && *done > 0) => Ok(*done as u32),
            Ok(_) => return,
        };
        if zero_copy {
            // A failed one has its notification too (io_sendrecv_fail sets F_MORE).
            *stage = Stage::AwaitsNotification;
        }
        drop(net);
        self.post(slot, result, zero_copy, Bring::Nothing);
        if zero_copy {
            self.attempt_send(slot);
        }
    }

    fn attempt_connect(&mut self, slot: u32) {
        let Some(pending) = self.pending.get_mut(&slot) else { return };
        let socket = pending.socket;
        let Work::Connect { address, stage } = &mut pending.work else { return };
        let mut net = self.net.borrow();
        if *stage == Connecting::New {
            *stage = Connecting::UnderWay;
            net.note(format_args!("w{} connects #{socket} to {address}", self.worker));
            net.upstream_attempts[self.worker] += 1;
            if net.fault(Fault::ConnectUnreachable) {
                net.fail(socket, Errno(libc::EHOSTUNREACH));
            } else {
                net.connect(socket);
            }
        }
        let Some(result) = net.connected(socket) else { return };
        if result.is_err() && std::mem::replace(stage, Connecting::Failed) != Connecting::Failed {
            net.upstream_failures[self.worker] += 1;
        }
        drop(net);
        self.post(slot, result.map(|()| 0).map_err(|errno| errno.0), false, Bring::Nothing);
    }

    fn cancel(&mut self, user_data: u64, target: u64) {
        self.hold(user_data, -1, Work::Plain);
        let slot = slot_of(user_data);
        let victim = slot_of(target);
        let is_there = self
            .pending
            .get(&victim)
            .is_some_and(|pending| pending.user_data == target && !pending.is_over);
        if let Some(pending) = self.pending.get_mut(&victim).filter(|it| it.user_data == target)
            && let Work::Connect { stage, .. } = &mut pending.work
            && std::mem::replace(stage, Connecting::Failed) != Connecting::Failed
        {
            // Given up, however far it is.
            self.net.borrow().upstream_failures[self.worker] += 1;
        }
        if !is_there {
            return self.post(slot, Err(libc::ENOENT), false, Bring::Nothing);
        }
        let mut net = self.net.borrow();
        let already = net.fault(Fault::CancelAlready);
        let late = already || net.fault(Fault::CancelLate);
        let first = net.fault(Fault::CancelFirst);
        let delay = if late { net.choose(1_000..=50_000_000) } else { 0 };
        let at = net.now + delay;
        net.wake_worker_at(at, self.worker);
        drop(net);
        if let Some(pending) = self.pending.get_mut(&victim) {
            pending.cancelled_at = Some(at);
            pending.ready_at = pending.ready_at.min(at);
        }
        if already {
            return self.post(slot, Err(libc::EALREADY), false, Bring::Nothing);
        }
        if first {
            self.post(slot, Ok(0), false, Bring::Nothing);
        }
        self.attempt(victim);
        if !first {
            self.post(slot, Ok(0), false, Bring::Nothing);
        }
    }

    fn end_cancelled(&mut self, slot: u32) {
        let Some(pending) = self.pending.get_mut(&slot) else { return };
        let result = match &pending.work {
            // The bytes are with the network; their notification will come.
            Work::Send { stage: Stage::AwaitsNotification, .. } => return,
            Work::Send { done, .. } if *done > 0 => Ok(*done as u32),
            _ => Err(libc::ECANCELED),
        };
        let awaits = match &mut pending.work {
            Work::Send { zero_copy: true, stage, .. } => {
                *stage = Stage::AwaitsNotification;
                true
            }
            _ => false,
        };
        self.post(slot, result, awaits, Bring::Nothing);
    }
}
