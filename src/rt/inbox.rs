//! The mailbox by which other threads speak to a core: a queue, and `MSG_RING` to wake it.
//!
//! Must not know what a message means. Invariant: that of `Asleep`, so that no message waits for
//! a core that sleeps, and a busy core is not rung.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use crossbeam_queue::SegQueue;

use super::asleep::Asleep;
use crate::sys::ring::Bell;

#[derive(Debug)]
struct Shared<M> {
    queue: SegQueue<M>,
    asleep: Asleep,
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
    let shared = Arc::new(Shared { queue: SegQueue::new(), asleep: Asleep::default() });
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
        self.shared.asleep.announce(|| self.shared.queue.is_empty())
    }

    /// Takes the announcement back.
    pub fn awake(&self) {
        self.shared.asleep.take_back();
    }
}

impl<M> Sender<M> {
    /// Leaves `message` for the core. `true` means that the core sleeps, or is about to, and that
    /// it is this caller's to wake it: no other is told.
    #[must_use = "a core that sleeps must be woken"]
    pub fn post(&self, message: M) -> bool {
        self.shared.queue.push(message);
        self.shared.asleep.claim()
    }

    /// Gives the duty of [`post`](Self::post) back where the core could not be woken: it may
    /// still sleep, and the next message must wake it. Until then it reads none.
    pub fn not_woken(&self) {
        self.shared.asleep.give_back();
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
