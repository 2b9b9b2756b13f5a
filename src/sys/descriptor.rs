//! An open socket, by the name that operations use for it.
//!
//! Invariant: owned by one holder, and closed when that is dropped, unless an [`Op::Close`] took
//! it. With the feature `sim` it may also name a socket of the simulated network, which learns by
//! [`dropped`] what was closed in that way.
//!
//! [`Op::Close`]: super::ops::Op::Close

use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd, RawFd};

/// See the module's description.
#[derive(Debug)]
pub struct Descriptor(Kind);

#[derive(Debug)]
enum Kind {
    Kernel(OwnedFd),
    #[cfg(feature = "sim")]
    Simulated(simulated::Number),
}

impl From<OwnedFd> for Descriptor {
    fn from(fd: OwnedFd) -> Self {
        Self(Kind::Kernel(fd))
    }
}

impl Descriptor {
    /// The number by which operations name it, as long as it is open.
    pub fn number(&self) -> RawFd {
        match &self.0 {
            Kind::Kernel(fd) => fd.as_raw_fd(),
            #[cfg(feature = "sim")]
            Kind::Simulated(number) => number.get(),
        }
    }

    /// Its number, to be closed by who takes it.
    pub fn into_number(self) -> RawFd {
        match self.0 {
            Kind::Kernel(fd) => fd.into_raw_fd(),
            #[cfg(feature = "sim")]
            Kind::Simulated(number) => number.into_inner(),
        }
    }

    /// The kernel's descriptor.
    ///
    /// # Panics
    /// Where it names a socket of the simulated network: simulated and real drivers do not mix.
    pub fn kernel(&self) -> &OwnedFd {
        match &self.0 {
            Kind::Kernel(fd) => fd,
            #[cfg(feature = "sim")]
            Kind::Simulated(number) => panic!("{number:?} is not the kernel's"),
        }
    }
}

#[cfg(feature = "sim")]
pub use simulated::dropped;

#[cfg(feature = "sim")]
mod simulated {
    use std::cell::RefCell;
    use std::mem;
    use std::os::fd::RawFd;

    use super::{Descriptor, Kind};

    thread_local! {
        static DROPPED: RefCell<Vec<RawFd>> = const { RefCell::new(Vec::new()) };
    }

    /// Closes by telling [`dropped`].
    #[derive(Debug)]
    pub(super) struct Number(RawFd);

    impl Number {
        pub(super) fn get(&self) -> RawFd {
            self.0
        }

        pub(super) fn into_inner(self) -> RawFd {
            let number = self.0;
            mem::forget(self);
            number
        }
    }

    impl Drop for Number {
        fn drop(&mut self) {
            DROPPED.with_borrow_mut(|dropped| dropped.push(self.0));
        }
    }

    impl Descriptor {
        /// Names a socket of the simulated network of the calling thread.
        pub fn simulated(number: RawFd) -> Self {
            Self(Kind::Simulated(Number(number)))
        }
    }

    /// Simulated descriptors that `is_mine` says are the caller's and that were dropped on this
    /// thread since the last call, in order.
    pub fn dropped(is_mine: impl Fn(RawFd) -> bool) -> Vec<RawFd> {
        DROPPED.with_borrow_mut(|dropped| dropped.extract_if(.., |it| is_mine(*it)).collect())
    }
}
