//! The announcement by which a core that will sleep and those who send to it agree on who is to
//! wake it.
//!
//! Must not know what the queue is, nor how a core is woken. The core announces, then looks at
//! the queue once more; a sender pushes, then looks for the announcement. Both looks are swaps of
//! one flag, so one comes first: either the sender finds the announcement, or the core's swap
//! acquires what the sender's released, and the core finds the message, whatever the orderings
//! within the queue. Invariant: a core never sleeps on a message without somebody having been
//! told to wake it, and one that has announced nothing is not woken.
//!
//! Everything that writes is a swap: a store in between would cut the core off from what the
//! senders before it released. `tests/loom` compiles this file with loom's atomics and explores
//! every execution.

#[cfg(loom)]
use loom::sync::atomic::{AtomicBool, Ordering};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether one core sleeps, or is about to.
#[derive(Debug)]
pub struct Asleep(AtomicBool);

impl Default for Asleep {
    fn default() -> Self {
        Self(AtomicBool::new(false))
    }
}

impl Asleep {
    /// Of the core: announces sleep, and takes it back where the queue, looked at once more, is
    /// not empty. Returns whether the core may sleep.
    pub fn announce(&self, is_empty: impl FnOnce() -> bool) -> bool {
        self.0.swap(true, Ordering::Acquire);
        let may_sleep = is_empty();
        if !may_sleep {
            self.take_back();
        }
        may_sleep
    }

    /// Of the core: it is awake.
    pub fn take_back(&self) {
        // Each turn ends here, and a busy one has announced nothing. Who claims in between wakes
        // a core that is awake, which costs one completion.
        if self.0.load(Ordering::Relaxed) {
            self.0.swap(false, Ordering::Relaxed);
        }
    }

    /// Of a sender that has pushed: whether it must wake the core. Of many senders one is told.
    #[must_use = "a core that sleeps must be woken"]
    pub fn claim(&self) -> bool {
        self.0.swap(false, Ordering::Release)
    }

    /// Of a sender that was told to wake the core, and could not: the next one is told.
    pub fn give_back(&self) {
        self.0.swap(true, Ordering::Relaxed);
    }
}
