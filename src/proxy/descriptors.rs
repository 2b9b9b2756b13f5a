//! The descriptors of connections to upstreams: how many there are, and who may have one more.
//!
//! It must not know what a connection is for, nor which of them wait. Invariant: with one
//! descriptor for each client and at most `connections_max` for upstreams, those that the process
//! was checked to have are enough; however many requests one client has at a time, it cannot take
//! what others need for their first.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::limits::UPSTREAMS_FOR_FIRST_REQUESTS_DIVISOR;

/// The count of one worker's handles; all of a process share it. It is touched once when a
/// connection is made and once when its descriptor is closed.
#[derive(Clone, Debug, Default)]
pub struct Descriptors(Arc<AtomicU32>);

/// What a new connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// A client whose bytes are relayed: it has no other.
    Relay,
    /// The only request that a client's connection has in progress.
    First,
    /// A request of a client's connection that has others in progress.
    Further,
}

/// One descriptor, counted until it is dropped.
#[derive(Debug)]
pub struct Held(Descriptors);

impl Descriptors {
    /// Those that are open now, of all workers.
    pub fn open(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    /// Whether there is room for one more of `claim`, where `max` may be open. Several workers that
    /// ask at the same moment may exceed it by one each.
    pub fn has_room(&self, claim: Claim, max: u32) -> bool {
        let kept = match claim {
            Claim::Relay | Claim::First => 0,
            Claim::Further => max / UPSTREAMS_FOR_FIRST_REQUESTS_DIVISOR,
        };
        self.open() < max - kept
    }

    /// One more is open.
    pub fn hold(&self) -> Rc<Held> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Rc::new(Held(self.clone()))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn further_requests_leave_a_part_for_those_who_have_none() {
        let descriptors = Descriptors::default();
        let mut held = Vec::new();
        while descriptors.has_room(Claim::Further, 60) {
            held.push(descriptors.hold());
        }
        assert_eq!(held.len(), 45);
        while descriptors.has_room(Claim::First, 60) {
            held.push(descriptors.clone().hold());
        }
        assert_eq!((held.len(), descriptors.open()), (60, 60));
        assert!(!descriptors.has_room(Claim::Relay, 60));
        held.truncate(45);
        assert!(
            descriptors.has_room(Claim::First, 60) && !descriptors.has_room(Claim::Further, 60)
        );
        drop(held);
        assert_eq!(descriptors.open(), 0);
        assert!(descriptors.has_room(Claim::Further, 1), "where there is but one anybody has it");
    }
}
