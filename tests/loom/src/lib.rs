//! Every execution of the sleep and wake protocol between a core and those who send to it.
//!
//! `src/rt/asleep.rs` is compiled here with loom's atomics. The core turns as `rt::core` does:
//! it reads the queue until that is empty, announces sleep, sleeps where it may, and takes the
//! announcement back. It ends when it has every message. A core that sleeps on a message that
//! nobody was told of sleeps for ever, which loom reports as a deadlock. That loom would see it
//! is shown by four protocols that are wrong.
#![cfg(test)]

mod queue;

#[path = "../../../src/rt/asleep.rs"]
mod asleep;

use std::sync::Arc;

use loom::sync::atomic::{AtomicBool, Ordering};
use loom::sync::{Condvar, Mutex};
use loom::thread;

use asleep::Asleep;
use queue::Queue;

/// What the protocol under test does; [`Asleep`] or a wrong one.
trait Protocol: Default + Send + Sync + 'static {
    fn announce(&self, is_empty: impl FnOnce() -> bool) -> bool;
    fn take_back(&self);
    fn claim(&self) -> bool;
    fn give_back(&self);
}

impl Protocol for Asleep {
    fn announce(&self, is_empty: impl FnOnce() -> bool) -> bool {
        self.announce(is_empty)
    }

    fn take_back(&self) {
        self.take_back();
    }

    fn claim(&self) -> bool {
        self.claim()
    }

    fn give_back(&self) {
        self.give_back();
    }
}

/// `MSG_RING`: a completion that stays until the core takes it, and wakes the core where it sleeps.
#[derive(Default)]
struct Bell {
    completions: Mutex<usize>,
    wake: Condvar,
}

impl Bell {
    fn ring(&self) {
        *self.completions.lock().expect("nobody panicked") += 1;
        self.wake.notify_one();
    }

    fn sleep(&self) {
        let mut completions = self.completions.lock().expect("nobody panicked");
        while *completions == 0 {
            completions = self.wake.wait(completions).expect("nobody panicked");
        }
        *completions = 0;
    }
}

/// The message whose bell fails, as it may where the kernel has no memory.
const UNHEARD: usize = 100;

#[derive(Default)]
struct World<P> {
    protocol: P,
    queue: Queue,
    bell: Bell,
}

impl<P: Protocol> World<P> {
    /// Sends as `Outbox::send` does.
    fn send(&self, message: usize) {
        self.queue.push(message);
        if !self.protocol.claim() {
            return;
        }
        if message == UNHEARD {
            self.protocol.give_back();
        } else {
            self.bell.ring();
        }
    }

    /// Turns as `Core::run` does, until it has read `count` messages; returns their sum.
    fn run(&self, count: usize) -> usize {
        let mut read = 0;
        let mut sum = 0;
        loop {
            while let Some(message) = self.queue.pop() {
                read += 1;
                sum += message;
            }
            if read == count {
                return sum;
            }
            if self.protocol.announce(|| self.queue.is_empty()) {
                self.bell.sleep();
            }
            self.protocol.take_back();
        }
    }
}

/// Runs a core against `senders`, each with the messages that it sends.
fn explore<P: Protocol>(senders: &'static [&'static [usize]]) {
    let mut model = loom::model::Builder::new();
    model.max_branches = 10_000;
    // Of one message every order; of two those in which threads that could go on are stopped up to
    // four times, which a deadlock needs one or two of.
    let count = senders.iter().copied().flatten().count();
    model.preemption_bound = (count > 1).then_some(4);
    model.check(move || {
        let world = Arc::new(World::<P>::default());
        let threads: Vec<_> = senders
            .iter()
            .map(|&messages| {
                let world = Arc::clone(&world);
                thread::spawn(move || messages.iter().for_each(|&message| world.send(message)))
            })
            .collect();
        let all = || senders.iter().copied().flatten();
        assert_eq!(world.run(all().count()), all().sum::<usize>(), "each message once");
        for thread in threads {
            thread.join().expect("it has sent");
        }
    });
}

#[test]
fn a_core_is_woken_by_the_message_of_one_sender() {
    explore::<Asleep>(&[&[1]]);
}

#[test]
fn a_core_is_woken_by_each_of_two_messages() {
    explore::<Asleep>(&[&[1, 2]]);
}

#[test]
fn a_core_is_woken_by_the_messages_of_two_senders() {
    explore::<Asleep>(&[&[1], &[2]]);
}

#[test]
fn the_message_after_one_that_could_not_wake_the_core_does() {
    explore::<Asleep>(&[&[UNHEARD, 1]]);
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_bell_that_fails_and_is_not_given_back_is_a_deadlock() {
    explore::<Forgetful>(&[&[UNHEARD, 1]]);
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_store_that_announces_is_a_deadlock() {
    explore::<Stores>(&[&[1]]);
}

#[test]
#[should_panic(expected = "deadlock")]
fn swaps_that_publish_nothing_are_a_deadlock() {
    explore::<Unordered>(&[&[1]]);
}

#[test]
#[should_panic(expected = "deadlock")]
fn to_look_before_the_announcement_is_a_deadlock() {
    explore::<LooksFirst>(&[&[1]]);
}

/// Wrong: a sender that could not wake the core keeps that to itself.
#[derive(Default)]
struct Forgetful(Asleep);

impl Protocol for Forgetful {
    fn announce(&self, is_empty: impl FnOnce() -> bool) -> bool {
        self.0.announce(is_empty)
    }

    fn take_back(&self) {
        self.0.take_back();
    }

    fn claim(&self) -> bool {
        self.0.claim()
    }

    fn give_back(&self) {}
}

/// Wrong: without sequential consistency the look may come before the announcement is seen.
#[derive(Default)]
struct Stores(AtomicBool);

impl Protocol for Stores {
    fn announce(&self, is_empty: impl FnOnce() -> bool) -> bool {
        self.0.store(true, Ordering::Release);
        is_empty()
    }

    fn take_back(&self) {
        self.0.store(false, Ordering::Release);
    }

    fn claim(&self) -> bool {
        self.0.swap(false, Ordering::AcqRel)
    }

    fn give_back(&self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Wrong: the swaps are in one order, and the core need not see what was pushed before one.
#[derive(Default)]
struct Unordered(AtomicBool);

impl Protocol for Unordered {
    fn announce(&self, is_empty: impl FnOnce() -> bool) -> bool {
        self.0.swap(true, Ordering::Relaxed);
        is_empty()
    }

    fn take_back(&self) {
        self.0.swap(false, Ordering::Relaxed);
    }

    fn claim(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }

    fn give_back(&self) {
        self.0.swap(true, Ordering::Relaxed);
    }
}

/// Wrong: what is pushed between the look and the announcement is seen by nobody.
#[derive(Default)]
struct LooksFirst(Asleep);

impl Protocol for LooksFirst {
    fn announce(&self, is_empty: impl FnOnce() -> bool) -> bool {
        is_empty() && self.0.announce(|| true)
    }

    fn take_back(&self) {
        self.0.take_back();
    }

    fn claim(&self) -> bool {
        self.0.claim()
    }

    fn give_back(&self) {
        self.0.give_back();
    }
}
