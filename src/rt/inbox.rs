//! The mailbox by which other threads speak to a core: a queue, and `MSG_RING` to wake it.
//!
//! Sleep and wake: the core announces that it will sleep, then looks at the queue once more; a
//! sender pushes, then looks for the announcement. Both in sequentially consistent order, so one
//! of them sees the other, and a busy core is never rung.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_queue::SegQueue;

use crate::sys::ring::Bell;

#[derive(Debug)]
struct Shared<M> {
    queue: SegQueue<M>,
    asleep: AtomicBool,
}

/// The core's side.
#[derive(Debug)]
pub struct Inbox<M> {
    shared: Arc<Shared<M>>,
}

/// A sender's side, for a sender that has its own way to wake the core.
#[derive(Debug)]
pub struct Sender<M> {
    shared: Arc<Shared<M>>,
}

/// A sender's side, and the ring that wakes the core.
#[derive(Debug)]
pub struct Outbox<M> {
    sender: Sender<M>,
    ring: Arc<OwnedFd>,
}

/// Makes a mailbox without a bell: who posts must wake the core himself.
pub fn queue<M>() -> (Inbox<M>, Sender<M>) {
    let shared = Arc::new(Shared { queue: SegQueue::new(), asleep: AtomicBool::new(false) });
    (Inbox { shared: Arc::clone(&shared) }, Sender { shared })
}

/// Makes a mailbox for the core whose ring `ring` is a descriptor of.
pub fn mailbox<M>(ring: OwnedFd) -> (Inbox<M>, Outbox<M>) {
    let (inbox, sender) = queue();
    (inbox, Outbox { sender, ring: Arc::new(ring) })
}

impl<M> Inbox<M> {
    /// The next message.
    pub fn next(&self) -> Option<M> {
        self.shared.queue.pop()
    }

    /// Announces sleep. `false` means that a message is there, and the core must not sleep.
    pub fn prepare_sleep(&self) -> bool {
        self.shared.asleep.store(true, Ordering::SeqCst);
        let empty = self.shared.queue.is_empty();
        if !empty {
            self.awake();
        }
        empty
    }

    /// Takes the announcement back.
    pub fn awake(&self) {
        self.shared.asleep.store(false, Ordering::SeqCst);
    }
}

impl<M> Sender<M> {
    /// Leaves `message` for the core. `true` means that the core sleeps, or is about to, and that
    /// it is this caller's to wake it: no other is told.
    #[must_use = "a core that sleeps must be woken"]
    pub fn post(&self, message: M) -> bool {
        self.shared.queue.push(message);
        self.shared.asleep.swap(false, Ordering::SeqCst)
    }

    /// Gives the duty of [`post`](Self::post) back where the core could not be woken: it may
    /// still sleep, and the next message must wake it.
    pub fn not_woken(&self) {
        self.shared.asleep.store(true, Ordering::SeqCst);
    }
}

impl<M> Outbox<M> {
    /// Sends `message`, and wakes the core where it sleeps.
    ///
    /// # Errors
    /// What `MSG_RING` reports where the ring is gone; the message is then never read.
    pub fn send(&self, message: M, bell: &mut Bell) -> io::Result<()> {
        if self.sender.post(message) {
            bell.ring(&self.ring).inspect_err(|_| self.sender.not_woken())?;
        }
        Ok(())
    }
}
