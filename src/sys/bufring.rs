//! The ring of receive buffers that the kernel picks from (io_uring_register_buf_ring(3)).
//!
//! Invariant: a buffer id is in exactly one place: free (in the ring, owned by the kernel) or
//! lent (in one [`RingBuffer`]). Dropping a `RingBuffer` puts its id back into the ring, so a
//! buffer can neither leak nor be lent twice.

use std::cell::Cell;
use std::io;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;

use super::pages::Pages;

/// Bytes between the ends of two neighbours. Without it all buffers would start in the same two
/// sets of a cache, and a burst of small messages would evict itself.
const STAGGER_BYTES: usize = 3 * 64;

/// The buffers of one ring.
#[derive(Debug)]
pub struct BufferPool {
    entries: Pages,
    data: Pages,
    buffers: u16,
    buffer_bytes: usize,
    tail: Cell<u16>,
    lent: Cell<u16>,
    /// How far the simulated kernel has come.
    #[cfg(feature = "sim")]
    head: Cell<u16>,
}

impl BufferPool {
    /// Makes `buffers` (a power of two, at most 32,768) of `buffer_bytes` each, all free.
    ///
    /// # Errors
    /// What mmap(2) reports.
    pub fn new(buffers: u16, buffer_bytes: usize) -> io::Result<Rc<Self>> {
        assert!(buffers.is_power_of_two(), "the kernel takes powers of two only");
        assert!(u32::try_from(buffer_bytes).is_ok_and(|bytes| bytes > 0));
        let count = usize::from(buffers);
        let pool = Self {
            entries: Pages::map(count * size_of::<BufRingEntry>())?,
            data: Pages::map(count * (buffer_bytes + STAGGER_BYTES))?,
            buffers,
            buffer_bytes,
            tail: Cell::new(0),
            lent: Cell::new(0),
            #[cfg(feature = "sim")]
            head: Cell::new(0),
        };
        for id in 0..buffers {
            pool.provide(id);
        }
        Ok(Rc::new(pool))
    }

    /// The address that the kernel is told, and the number of entries.
    pub(super) fn registration(&self) -> (u64, u16) {
        (self.entries.base().as_ptr() as u64, self.buffers)
    }

    /// Takes buffer `id`, of which the kernel filled the first `filled` bytes.
    ///
    /// Only the ring calls this, once for each completion that names the buffer.
    pub(super) fn lend(self: &Rc<Self>, id: u16, filled: usize) -> RingBuffer {
        assert!(id < self.buffers, "the kernel names a buffer that it was never given");
        assert!(filled <= self.buffer_bytes);
        assert!(self.lent.get() < self.buffers);
        self.lent.set(self.lent.get() + 1);
        RingBuffer { pool: Rc::clone(self), id, start: 0, end: filled }
    }

    /// Buffers that are not lent. Completions not yet looked at may have taken some of them.
    pub fn free(&self) -> u16 {
        self.buffers - self.lent.get()
    }

    /// Buffers in all.
    pub fn total(&self) -> u16 {
        self.buffers
    }

    fn give_back(&self, id: u16) {
        self.lent.set(self.lent.get() - 1);
        self.provide(id);
    }

    fn buffer(&self, id: u16) -> NonNull<u8> {
        let offset = usize::from(id) * (self.buffer_bytes + STAGGER_BYTES);
        // SAFETY: id < buffers, so the offset lies within the mapping `data`.
        unsafe { self.data.base().add(offset) }
    }

    fn provide(&self, id: u16) {
        let tail = self.tail.get();
        let index = usize::from(tail & (self.buffers - 1));
        let first = self.entries.base().cast::<BufRingEntry>();
        // SAFETY: index < buffers, and `entries` holds that many entries.
        let entry = unsafe { first.add(index) };
        // SAFETY: the entry at the tail is not owned by the kernel: at most `buffers` ids exist,
        // each provided once, so the slot's former content was consumed. All fields are plain
        // integers, valid in zeroed memory.
        let entry = unsafe { &mut *entry.as_ptr() };
        entry.set_addr(self.buffer(id).as_ptr() as u64);
        // invariant: checked in `new` to fit.
        entry.set_len(self.buffer_bytes as u32);
        entry.set_bid(id);
        // SAFETY: `first` is the base of an initialised ring of entries.
        let shared_tail = unsafe { BufRingEntry::tail(first.as_ptr()) };
        // SAFETY: the tail is an aligned u16 inside the mapping, and it is accessed by us and the
        // kernel as an atomic only.
        let shared_tail = unsafe { AtomicU16::from_ptr(shared_tail.cast_mut()) };
        let tail = tail.wrapping_add(1);
        self.tail.set(tail);
        // Release: the kernel must see the entry before the tail that covers it.
        shared_tail.store(tail, Ordering::Release);
    }
}

#[cfg(feature = "sim")]
pub use kernel::Filled;

/// The kernel's side of the ring, for a driver that has no kernel.
#[cfg(feature = "sim")]
mod kernel {
    use super::*;

    /// A buffer that the simulated kernel has taken and filled, not yet lent to the program.
    #[derive(Debug)]
    #[must_use = "the buffer is lost unless it is lent"]
    pub struct Filled {
        id: u16,
        bytes: usize,
    }

    impl Filled {
        /// Bytes that it holds.
        pub fn bytes(&self) -> usize {
            self.bytes
        }
    }

    impl BufferPool {
        /// The size of each buffer.
        pub fn buffer_bytes(&self) -> usize {
            self.buffer_bytes
        }

        /// Buffers that the kernel could still take: those provided and not yet filled.
        pub fn provided(&self) -> u16 {
            self.tail.get().wrapping_sub(self.head.get())
        }

        /// Takes the buffer at the head of the ring and fills it with the first of `bytes`.
        /// `None` where none is provided (`ENOBUFS`).
        pub fn fill(&self, bytes: &[u8]) -> Option<Filled> {
            if self.provided() == 0 {
                return None;
            }
            let head = self.head.get();
            self.head.set(head.wrapping_add(1));
            let index = usize::from(head & (self.buffers - 1));
            let first = self.entries.base().cast::<BufRingEntry>();
            // SAFETY: index < buffers, and `entries` holds that many entries.
            let entry = unsafe { first.add(index) };
            // SAFETY: between head and tail the entry is initialised, and only `provide`, which
            // writes beyond the tail, holds a reference to an entry, and not across calls.
            let entry = unsafe { entry.as_ref() };
            let id = entry.bid();
            assert!(id < self.buffers, "the ring names a buffer that does not exist");
            let start = self.buffer(id);
            assert_eq!(entry.addr(), start.as_ptr() as u64, "an entry has its buffer's address");
            let count = bytes.len().min(entry.len() as usize);
            // SAFETY: `count` is at most the buffer's size, the buffer is not lent (its id is in
            // the ring), so nothing refers to it; `bytes` is memory of the caller's.
            unsafe { start.as_ptr().copy_from_nonoverlapping(bytes.as_ptr(), count) };
            Some(Filled { id, bytes: count })
        }

        /// Lends a filled buffer to the program, as its completion does.
        pub fn hand_over(self: &Rc<Self>, filled: Filled) -> RingBuffer {
            self.lend(filled.id, filled.bytes)
        }
    }
}

/// Received bytes in a buffer of the ring. Goes home when dropped.
#[derive(Debug)]
pub struct RingBuffer {
    pool: Rc<BufferPool>,
    id: u16,
    start: usize,
    end: usize,
}

impl RingBuffer {
    /// Forgets the first `count` bytes.
    pub fn advance(&mut self, count: usize) {
        assert!(count <= self.end - self.start);
        self.start += count;
    }
}

impl Deref for RingBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let base = self.pool.buffer(self.id);
        // SAFETY: start <= end <= buffer_bytes, so the first byte lies in this id's buffer.
        let first = unsafe { base.add(self.start) };
        // SAFETY: while the id is lent, neither the kernel nor another RingBuffer touches its
        // bytes, the mapping lives as long as the pool that we hold, and start..end is within it.
        unsafe { std::slice::from_raw_parts(first.as_ptr(), self.end - self.start) }
    }
}

impl DerefMut for RingBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        let base = self.pool.buffer(self.id);
        // SAFETY: start <= end <= buffer_bytes, so the first byte lies in this id's buffer.
        let first = unsafe { base.add(self.start) };
        // SAFETY: as in `deref`, and `&mut self` makes this the only reference to these bytes.
        unsafe { std::slice::from_raw_parts_mut(first.as_ptr(), self.end - self.start) }
    }
}

impl Drop for RingBuffer {
    fn drop(&mut self) {
        self.pool.give_back(self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lent_buffer_is_written_in_place_and_goes_home_when_dropped() {
        let pool = BufferPool::new(4, 100).expect("memory");
        assert_eq!(pool.free(), 4);
        let mut buffer = pool.lend(3, 10);
        let other = pool.lend(0, 100);
        buffer.fill(7);
        assert!(other.iter().all(|&byte| byte == 0), "neighbours do not overlap");
        buffer.advance(4);
        assert_eq!(*buffer, [7; 6]);
        assert_eq!(pool.free(), 2);
        drop(buffer);
        drop(other);
        assert_eq!(pool.free(), 4);
        assert_eq!(pool.tail.get(), 6, "four provided at first, two came back");
    }

    #[test]
    #[should_panic(expected = "never given")]
    fn a_buffer_that_does_not_exist_is_not_lent() {
        BufferPool::new(4, 100).expect("memory").lend(4, 1);
    }

    #[cfg(feature = "sim")]
    #[test]
    fn the_simulated_kernel_takes_what_is_provided_and_no_more() {
        let pool = BufferPool::new(2, 4).expect("memory");
        let first = pool.fill(b"abcdef").expect("two are provided");
        let second = pool.fill(b"xy").expect("one is provided");
        assert!(pool.fill(b"z").is_none());
        assert_eq!((pool.provided(), pool.free()), (0, 2), "filled is not yet lent");
        assert_eq!(first.bytes(), 4);
        let (second, first) = (pool.hand_over(second), pool.hand_over(first));
        assert_eq!((&first[..], &second[..]), (&b"abcd"[..], &b"xy"[..]));
        drop(first);
        assert_eq!((pool.provided(), pool.free()), (1, 1));
        assert_eq!(pool.fill(b"z").map(|filled| filled.bytes()), Some(1));
    }
}
