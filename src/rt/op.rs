//! Op slots: which operations are in flight, and whose they are.
//!
//! Invariant: a slot is freed by its operation's own terminal completion and by nothing else, not
//! by a cancellation's (which may come first). Each use of a slot has its own generation; a
//! completion that names another is a bug in the runtime or the kernel, and ends the process.

use crate::sys::ring::WAKE_USER_DATA;

/// What an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Accepting on a listener.
    Accept,
    /// Receiving on a socket.
    Receive,
    /// Sending on a socket.
    Send,
    /// Connecting a socket.
    Connect,
    /// Cancelling another operation; its own completion means nothing.
    Cancel,
    /// Closing a socket.
    Close,
}

const KINDS: [Kind; 6] =
    [Kind::Accept, Kind::Receive, Kind::Send, Kind::Connect, Kind::Cancel, Kind::Close];

const GENERATION_BITS: u32 = 24;
const GENERATION_MASK: u32 = (1 << GENERATION_BITS) - 1;
const VACANT: u32 = u32::MAX;

/// An operation in flight: kind (8 bits), generation (24), slot (32); the user data on the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpId(u64);

impl OpId {
    fn new(kind: Kind, generation: u32, slot: u32) -> Self {
        let id = u64::from(kind as u8) << 56
            | u64::from(generation & GENERATION_MASK) << 32
            | u64::from(slot);
        debug_assert_ne!(id, WAKE_USER_DATA);
        Self(id)
    }

    /// The user data under which the operation is submitted.
    pub fn user_data(self) -> u64 {
        self.0
    }

    fn parts(user_data: u64) -> (Kind, u32, usize) {
        let kind = KINDS[(user_data >> 56) as usize];
        let generation = (user_data >> 32) as u32 & GENERATION_MASK;
        (kind, generation, (user_data & u64::from(u32::MAX)) as usize)
    }
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    kind: Kind,
    /// The owner while in use; the next vacant slot otherwise.
    link: u32,
    in_use: bool,
}

/// The table of operations in flight.
#[derive(Debug)]
pub struct OpSlots {
    slots: Vec<Slot>,
    vacant: u32,
    in_flight: usize,
}

impl Default for OpSlots {
    fn default() -> Self {
        Self { slots: Vec::new(), vacant: VACANT, in_flight: 0 }
    }
}

impl OpSlots {
    /// Takes a slot for an operation of `owner`.
    pub fn start(&mut self, kind: Kind, owner: u32) -> OpId {
        self.in_flight += 1;
        if self.vacant == VACANT {
            // invariant: descriptors bound the operations in flight far below 2^32.
            let index = u32::try_from(self.slots.len()).expect("fewer than 2^32 operations");
            self.slots.push(Slot { generation: 0, kind, link: owner, in_use: true });
            return OpId::new(kind, 0, index);
        }
        let index = self.vacant;
        let slot = &mut self.slots[index as usize];
        assert!(!slot.in_use, "the list of vacant slots holds vacant slots");
        self.vacant = slot.link;
        *slot = Slot { generation: slot.generation, kind, link: owner, in_use: true };
        OpId::new(kind, slot.generation, index)
    }

    /// Takes note of a completion; frees the slot where it is terminal. Returns kind and owner.
    pub fn complete(&mut self, user_data: u64, more: bool) -> (Kind, u32) {
        let (kind, generation, index) = OpId::parts(user_data);
        let slot = &mut self.slots[index];
        assert!(
            slot.in_use && slot.generation == generation && slot.kind == kind,
            "completion {user_data:#018x} does not belong to the operation in its slot: {slot:?}"
        );
        let owner = slot.link;
        if !more {
            slot.in_use = false;
            slot.generation = slot.generation.wrapping_add(1) & GENERATION_MASK;
            slot.link = self.vacant;
            // invariant: `start` made sure that indices fit.
            self.vacant = index as u32;
            self.in_flight -= 1;
        }
        (kind, owner)
    }

    /// Operations in flight.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_reused_only_after_its_terminal_completion_and_under_a_new_generation() {
        let mut slots = OpSlots::default();
        let first = slots.start(Kind::Receive, 7);
        assert_eq!(slots.complete(first.user_data(), true), (Kind::Receive, 7));
        let second = slots.start(Kind::Cancel, 7);
        assert_ne!(first.user_data() as u32, second.user_data() as u32);
        assert_eq!(slots.complete(second.user_data(), false), (Kind::Cancel, 7));
        assert_eq!(slots.complete(first.user_data(), false), (Kind::Receive, 7));
        assert_eq!(slots.in_flight(), 0);
        let third = slots.start(Kind::Receive, 8);
        assert_eq!(third.user_data() as u32, first.user_data() as u32);
        assert_ne!(third, first);
    }

    #[test]
    #[should_panic(expected = "does not belong")]
    fn a_completion_of_an_older_generation_is_caught() {
        let mut slots = OpSlots::default();
        let first = slots.start(Kind::Send, 1);
        slots.complete(first.user_data(), false);
        slots.start(Kind::Send, 2);
        slots.complete(first.user_data(), false);
    }
}
