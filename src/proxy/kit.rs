//! What tests of the waiting parts of `proxy` share: a core on a real ring, a waker that counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

use crate::metrics::counter::WorkerCounters;
use crate::rt::core::{Core, CoreOptions};
use crate::rt::driver::Driver;
use crate::rt::timer::TICK;
use crate::rt::uring::Uring;
use crate::sys::ring::RingOptions;

/// How often a task was woken.
#[derive(Default)]
pub(super) struct Woken(pub(super) AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A core with a small ring.
pub(super) fn core() -> Core {
    let options = RingOptions {
        entries: 16,
        recv_buffers: 8,
        sqpoll_idle_ms: 0,
        napi_busy_poll_us: 0,
        zero_copy_send: false,
    };
    // invariant: tests run where io_uring is
    let uring = Uring::new(&options).expect("io_uring");
    let options = CoreOptions { number: 0, zero_copy_send: false, tick: TICK };
    Core::new(Driver::Uring(uring), &options, WorkerCounters::new())
}
