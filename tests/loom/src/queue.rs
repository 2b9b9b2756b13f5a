//! The queue between senders and a core, with the orderings of `crossbeam_queue::SegQueue` 0.3.
//!
//! Modelled are its `push`, `pop` and `is_empty` within the first block, which has room for 31
//! messages: the two indices, and each slot's value and WRITE bit. Not modelled: how blocks are
//! installed and destroyed, of which the announcement of sleep knows nothing. The value is an
//! atomic without ordering in place of a plain cell, so that this needs no unsafe code: one that
//! was not published is read as 0. Loom takes a SeqCst access for an AcqRel one: it
//! explores more than `SeqCst` allows.

use loom::sync::atomic::{AtomicUsize, Ordering, fence};
use loom::thread;

/// Messages that the model has room for.
const SLOTS: usize = 4;

#[derive(Debug, Default)]
struct Slot {
    is_written: AtomicUsize,
    value: AtomicUsize,
}

/// A queue of up to [`SLOTS`] messages in all, each of them not 0.
#[derive(Debug, Default)]
pub struct Queue {
    head: AtomicUsize,
    tail: AtomicUsize,
    slots: [Slot; SLOTS],
}

impl Queue {
    /// Appends a message.
    pub fn push(&self, value: usize) {
        let mut tail = self.tail.load(Ordering::Acquire);
        loop {
            let next = tail + 1;
            let order = (Ordering::SeqCst, Ordering::Acquire);
            match self.tail.compare_exchange_weak(tail, next, order.0, order.1) {
                Ok(_) => break,
                Err(now) => tail = now,
            }
        }
        let slot = &self.slots[tail];
        slot.value.store(value, Ordering::Relaxed);
        slot.is_written.fetch_or(1, Ordering::Release);
    }

    /// Takes the first message. Waits for a sender that has its place and has not written yet.
    pub fn pop(&self) -> Option<usize> {
        let mut head = self.head.load(Ordering::Acquire);
        loop {
            fence(Ordering::SeqCst);
            if head == self.tail.load(Ordering::Relaxed) {
                return None;
            }
            let next = head + 1;
            let order = (Ordering::SeqCst, Ordering::Acquire);
            match self.head.compare_exchange_weak(head, next, order.0, order.1) {
                Ok(_) => break,
                Err(now) => head = now,
            }
        }
        let slot = &self.slots[head];
        while slot.is_written.load(Ordering::Acquire) == 0 {
            thread::yield_now();
        }
        Some(slot.value.load(Ordering::Relaxed))
    }

    /// Whether no sender has a place.
    pub fn is_empty(&self) -> bool {
        let head = self.head.load(Ordering::SeqCst);
        let tail = self.tail.load(Ordering::SeqCst);
        head == tail
    }
}
