//! The seam between the runtime and whatever carries its operations out.
//!
//! All above this line is the same code on a real ring and on a simulated one. A driver carries
//! out operations, hands out completions, lends receive buffers and tells the time; it makes
//! sockets and sets their options; it holds no state of sockets or tasks.

use std::io;
use std::net::{IpAddr, SocketAddr};

use socket2::SockAddr;

use super::uring::Uring;
#[cfg(feature = "sim")]
use crate::sim::driver::Sim;
use crate::sys::descriptor::Descriptor;
use crate::sys::ops::{Completion, Op};
use crate::sys::ring::Wait;
use crate::time::Instant;

/// What carries operations out.
#[derive(Debug)]
pub enum Driver {
    /// An io_uring on the real clock.
    Uring(Uring),
    /// A simulated kernel on a virtual clock.
    #[cfg(feature = "sim")]
    Sim(Box<Sim>),
}

impl Driver {
    /// The driver's clock.
    pub fn now(&self) -> Instant {
        match self {
            Self::Uring(uring) => uring.now(),
            #[cfg(feature = "sim")]
            Self::Sim(sim) => sim.now(),
        }
    }

    /// Queues an operation; it starts with the next [`Driver::turn`].
    pub fn submit(&mut self, user_data: u64, op: Op) {
        match self {
            Self::Uring(uring) => uring.submit(user_data, op),
            #[cfg(feature = "sim")]
            Self::Sim(sim) => sim.submit(user_data, op),
        }
    }

    /// Starts what was submitted, and sleeps as `wait` says.
    ///
    /// # Errors
    /// Only such as make the driver unusable.
    pub fn turn(&mut self, wait: Wait) -> io::Result<()> {
        match self {
            Self::Uring(uring) => uring.turn(wait),
            #[cfg(feature = "sim")]
            Self::Sim(sim) => sim.turn(wait),
        }
    }

    /// The next completion.
    pub fn next_completion(&mut self) -> Option<Completion> {
        match self {
            Self::Uring(uring) => uring.next_completion(),
            #[cfg(feature = "sim")]
            Self::Sim(sim) => sim.next_completion(),
        }
    }

    /// Receive buffers that are not in use, and how many there are in all.
    pub fn recv_buffers(&self) -> (u16, u16) {
        match self {
            Self::Uring(uring) => uring.recv_buffers(),
            #[cfg(feature = "sim")]
            Self::Sim(sim) => sim.recv_buffers(),
        }
    }

    /// Calls into the kernel so far, and completions lost for want of room (which must be 0).
    pub fn enters_and_overflows(&self) -> (u64, u32) {
        match self {
            Self::Uring(uring) => uring.enters_and_overflows(),
            #[cfg(feature = "sim")]
            Self::Sim(sim) => sim.enters_and_overflows(),
        }
    }

    /// See [`sockopt::connecting`](crate::sys::sockopt::connecting).
    ///
    /// # Errors
    /// As there.
    pub fn connecting(
        &mut self,
        address: &SockAddr,
        source: Option<IpAddr>,
    ) -> io::Result<Descriptor> {
        match self {
            Self::Uring(uring) => uring.connecting(address, source),
            #[cfg(feature = "sim")]
            Self::Sim(sim) => sim.connecting(address, source),
        }
    }

    /// See [`sockopt::accept_ready`](crate::sys::sockopt::accept_ready).
    pub fn accept_ready(&mut self, listener: &Descriptor) -> Option<Descriptor> {
        match self {
            Self::Uring(uring) => uring.accept_ready(listener),
            #[cfg(feature = "sim")]
            Self::Sim(sim) => sim.accept_ready(listener),
        }
    }

    /// See [`sockopt::peer_address`](crate::sys::sockopt::peer_address).
    pub fn peer_address(&self, socket: &Descriptor) -> Option<SocketAddr> {
        match self {
            Self::Uring(uring) => uring.peer_address(socket),
            #[cfg(feature = "sim")]
            Self::Sim(sim) => sim.peer_address(socket),
        }
    }

    /// See [`sockopt::acknowledge_now`](crate::sys::sockopt::acknowledge_now).
    pub fn acknowledge_now(&mut self, socket: &Descriptor) {
        match self {
            Self::Uring(uring) => uring.acknowledge_now(socket),
            #[cfg(feature = "sim")]
            // Acknowledgements are not simulated: bytes do not wait for them.
            Self::Sim(_) => {}
        }
    }

    /// See [`sockopt::has_news`](crate::sys::sockopt::has_news).
    pub fn has_news(&mut self, socket: &Descriptor) -> bool {
        match self {
            Self::Uring(uring) => uring.has_news(socket),
            #[cfg(feature = "sim")]
            Self::Sim(sim) => sim.has_news(socket),
        }
    }

    /// See [`sockopt::shut_write`](crate::sys::sockopt::shut_write).
    pub fn shut_write(&mut self, socket: &Descriptor) {
        match self {
            Self::Uring(uring) => uring.shut_write(socket),
            #[cfg(feature = "sim")]
            Self::Sim(sim) => sim.shut_write(socket),
        }
    }

    /// See [`sockopt::reset_on_close`](crate::sys::sockopt::reset_on_close).
    pub fn reset_on_close(&mut self, socket: &Descriptor) {
        match self {
            Self::Uring(uring) => uring.reset_on_close(socket),
            #[cfg(feature = "sim")]
            Self::Sim(sim) => sim.reset_on_close(socket),
        }
    }

    /// Ends the wait of a simulated driver.
    #[cfg(feature = "sim")]
    pub fn wake(&mut self) {
        if let Self::Sim(sim) = self {
            sim.wake();
        }
    }
}
