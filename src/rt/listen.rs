//! Accepting: one listener of the worker's own, with its backlog as the only queue under load.
//!
//! Accepted descriptors wait in a queue that belongs to the runtime, so dropping the future that
//! waits for one loses nothing. Where descriptors run out, accepting pauses and the kernel keeps
//! the backlog; it resumes when a descriptor is freed, or after a short while.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::core::{Core, State, TimerEvent};
use super::op::{Kind, OpId};
use super::stream::Stream;
use super::timer::TimerKey;
use crate::limits::ACCEPT_RETRY_MS;
use crate::planted::{Bug, planted};
use crate::sys::descriptor::Descriptor;
use crate::sys::ops::{Completion, Op, Payload};

#[derive(Debug)]
enum Accept {
    Off,
    Armed {
        id: OpId,
        multishot: bool,
    },
    /// Cancelled; its terminal completion is awaited.
    Stopping,
    /// Out of descriptors or memory.
    Paused(TimerKey),
}

/// A listening socket of the core.
#[derive(Debug)]
pub(super) struct Listening {
    /// `None` once close(2) is submitted.
    fd: Option<Descriptor>,
    accept: Accept,
    accepted: VecDeque<Descriptor>,
    closing: bool,
    waker: Option<Waker>,
}

#[cfg(feature = "sim")]
impl Listening {
    pub(super) fn is_open(&self) -> bool {
        self.fd.is_some()
    }

    pub(super) fn is_owned(&self) -> bool {
        !self.closing
    }
}

impl State {
    pub(super) fn add_listener(&mut self, fd: Descriptor) -> u32 {
        let listening = Listening {
            fd: Some(fd),
            accept: Accept::Off,
            accepted: VecDeque::new(),
            closing: false,
            waker: None,
        };
        // invariant: the configuration bounds the listeners.
        u32::try_from(self.listeners.insert(listening)).expect("fewer than 2^32 listeners")
    }

    fn arm_accept(&mut self, key: u32, multishot: bool) {
        if let (Accept::Armed { multishot: true, .. }, false) =
            (&self.listeners[key as usize].accept, multishot)
        {
            // There is no room for all that it would take. The next look arms it for one.
            return self.stop_accept(key);
        }
        let listening = &self.listeners[key as usize];
        let (Accept::Off, Some(fd), false) = (&listening.accept, &listening.fd, listening.closing)
        else {
            return;
        };
        let listener = fd.number();
        let op = if multishot { Op::AcceptMultishot { listener } } else { Op::Accept { listener } };
        let id = self.ops.start(Kind::Accept, key);
        self.driver.submit(id.user_data(), op);
        self.listeners[key as usize].accept = Accept::Armed { id, multishot };
    }

    fn stop_accept(&mut self, key: u32) {
        if let Accept::Armed { id: target, .. } = self.listeners[key as usize].accept {
            self.listeners[key as usize].accept = Accept::Stopping;
            let id = self.ops.start(Kind::Cancel, key);
            self.driver.submit(id.user_data(), Op::Cancel { target: target.user_data() });
        }
    }

    pub(super) fn on_accept(&mut self, key: u32, completion: Completion) {
        let retry_at = self.driver.now() + Duration::from_millis(ACCEPT_RETRY_MS);
        let listening = &mut self.listeners[key as usize];
        if !completion.more {
            listening.accept = Accept::Off;
        }
        match (completion.result, completion.payload) {
            (Ok(_), Payload::Accepted(fd)) if !listening.closing => {
                listening.accepted.push_back(fd);
            }
            // accept(2): errors of the connection that was to be accepted; the next may do.
            (Err(libc::ECONNABORTED | libc::EPROTO | libc::EPERM | libc::EINTR), _) => {}
            (Err(libc::ECANCELED), _) => {}
            // Out of descriptors or memory, or something that only time can mend.
            (Err(_), _) if planted(Bug::PauseForever) => listening.accept = Accept::Stopping,
            (Err(_), _) => {
                let timer = self.timers.insert(retry_at, TimerEvent::AcceptRetry(key));
                listening.accept = Accept::Paused(timer);
                self.counters.accept_paused.increment();
            }
            (Ok(_), _) => {}
        }
        self.listeners[key as usize].waker.take().into_iter().for_each(Waker::wake);
        self.close_listener_if_done(key);
    }

    /// A descriptor was freed: listeners that ran out of them try again.
    pub(super) fn descriptor_freed(&mut self) {
        for (_, listening) in &mut self.listeners {
            if let Accept::Paused(timer) = listening.accept {
                self.timers.cancel(timer);
                listening.accept = Accept::Off;
                listening.waker.take().into_iter().for_each(Waker::wake);
            }
        }
    }

    pub(super) fn on_accept_retry(&mut self, key: u32) {
        let listening = &mut self.listeners[key as usize];
        listening.accept = Accept::Off;
        listening.waker.take().into_iter().for_each(Waker::wake);
    }

    fn close_listener_if_done(&mut self, key: u32) {
        let listening = &mut self.listeners[key as usize];
        if !listening.closing || matches!(listening.accept, Accept::Stopping | Accept::Armed { .. })
        {
            return;
        }
        if let Accept::Paused(timer) = listening.accept {
            self.timers.cancel(timer);
        }
        listening.accept = Accept::Off;
        // What came between the owner's end and the cancellation's.
        listening.accepted.clear();
        // Dropping closes: a listener closes once in its life, and no operation is in flight.
        listening.fd = None;
    }
}

/// A listener, as the task that accepts uses it. Dropping it closes the socket.
#[derive(Debug)]
pub struct Listener {
    core: Core,
    key: u32,
}

impl Listener {
    pub(super) fn new(core: Core, key: u32) -> Self {
        Self { core, key }
    }

    /// The next connection. `multishot` arms an accept that keeps accepting; without it exactly
    /// one connection leaves the backlog.
    pub fn poll_accept(&self, cx: &mut Context<'_>, multishot: bool) -> Poll<Stream> {
        let mut state = self.core.state();
        let listening = &mut state.listeners[self.key as usize];
        if let Some(fd) = listening.accepted.pop_front() {
            let key = state.add_socket(fd, true);
            drop(state);
            return Poll::Ready(Stream::new(self.core.clone(), key));
        }
        listening.waker = Some(cx.waker().clone());
        state.arm_accept(self.key, multishot);
        Poll::Pending
    }

    /// What is left after accepting was stopped: connections already accepted and, where `more` is
    /// set, the backlog. `None` when that is all.
    pub fn poll_backlog(&self, cx: &mut Context<'_>, more: bool) -> Poll<Option<Stream>> {
        let mut state = self.core.state();
        state.stop_accept(self.key);
        let State { listeners, driver, .. } = &mut *state;
        let listening = &mut listeners[self.key as usize];
        let accepted = match listening.accepted.pop_front() {
            Some(fd) => Some(fd),
            None if matches!(listening.accept, Accept::Armed { .. } | Accept::Stopping) => {
                listening.waker = Some(cx.waker().clone());
                return Poll::Pending;
            }
            None if more => listening.fd.as_ref().and_then(|fd| driver.accept_ready(fd)),
            None => None,
        };
        let Some(fd) = accepted else { return Poll::Ready(None) };
        let key = state.add_socket(fd, true);
        drop(state);
        Poll::Ready(Some(Stream::new(self.core.clone(), key)))
    }

    /// Stops taking connections from the backlog. Those already taken still come out of
    /// [`Listener::poll_accept`], which starts accepting again.
    pub fn pause(&self) {
        self.core.state().stop_accept(self.key);
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut state = self.core.state();
        let listening = &mut state.listeners[self.key as usize];
        listening.closing = true;
        listening.waker = None;
        listening.accepted.clear();
        state.stop_accept(self.key);
        state.close_listener_if_done(self.key);
    }
}
