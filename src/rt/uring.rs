//! The real driver: an io_uring and the monotonic clock.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

use socket2::SockAddr;

use crate::sys::descriptor::Descriptor;
use crate::sys::ops::{Completion, Op};
use crate::sys::ring::{Ring, RingOptions, SetupError, Wait};
use crate::sys::sockopt;
use crate::time::Instant;

/// See the module's description.
#[derive(Debug)]
pub struct Uring {
    ring: Ring,
}

impl Uring {
    /// Sets up the ring for the calling thread.
    ///
    /// # Errors
    /// [`SetupError`], a sentence for the operator.
    pub fn new(options: &RingOptions) -> Result<Self, SetupError> {
        Ok(Self { ring: Ring::new(options)? })
    }

    /// A descriptor by which other threads can wake this ring.
    ///
    /// # Errors
    /// What dup(2) reports.
    pub fn descriptor(&self) -> io::Result<OwnedFd> {
        self.ring.descriptor()
    }

    /// See [`super::driver::Driver::now`].
    pub fn now(&self) -> Instant {
        Self::clock()
    }

    /// CLOCK_MONOTONIC: instants of all workers, and of the log's writer, compare.
    pub fn clock() -> Instant {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let nanos = now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned();
        Instant::from_nanos(nanos)
    }

    /// See [`super::driver::Driver::submit`].
    pub fn submit(&mut self, user_data: u64, op: Op) {
        self.ring.push(user_data, op);
    }

    /// See [`super::driver::Driver::turn`].
    ///
    /// # Errors
    /// As [`Ring::enter`].
    pub fn turn(&mut self, wait: Wait) -> io::Result<()> {
        self.ring.enter(wait)
    }

    /// The next completion.
    pub fn next_completion(&mut self) -> Option<Completion> {
        self.ring.next_completion()
    }

    /// Free and all receive buffers.
    pub fn recv_buffers(&self) -> (u16, u16) {
        (self.ring.buffers().free(), self.ring.buffers().total())
    }

    /// Calls of io_uring_enter(2), and completions lost.
    pub fn enters_and_overflows(&self) -> (u64, u32) {
        (self.ring.enters(), self.ring.overflows())
    }

    /// See [`super::driver::Driver::connecting`].
    ///
    /// # Errors
    /// As there.
    pub fn connecting(&self, address: &SockAddr, source: Option<IpAddr>) -> io::Result<Descriptor> {
        sockopt::connecting(address, source).map(Descriptor::from)
    }

    /// See [`super::driver::Driver::accept_ready`].
    pub fn accept_ready(&self, listener: &Descriptor) -> Option<Descriptor> {
        sockopt::accept_ready(listener.kernel()).map(Descriptor::from)
    }

    /// See [`super::driver::Driver::peer_address`].
    pub fn peer_address(&self, socket: &Descriptor) -> Option<SocketAddr> {
        sockopt::peer_address(socket.kernel())
    }

    /// See [`super::driver::Driver::acknowledge_now`].
    pub fn acknowledge_now(&self, socket: &Descriptor) {
        sockopt::acknowledge_now(socket.kernel());
    }

    /// See [`super::driver::Driver::has_news`].
    pub fn has_news(&self, socket: &Descriptor) -> bool {
        sockopt::has_news(socket.kernel())
    }

    /// See [`super::driver::Driver::shut_write`].
    pub fn shut_write(&self, socket: &Descriptor) {
        sockopt::shut_write(socket.kernel());
    }

    /// See [`super::driver::Driver::reset_on_close`].
    pub fn reset_on_close(&self, socket: &Descriptor) {
        sockopt::reset_on_close(socket.kernel());
    }
}
