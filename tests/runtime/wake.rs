//! Messages from other threads: none is lost, whether the core sleeps, is about to, or is busy.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use ringfort::sys::ring::{Bell, RingOptions};

use crate::kit::{Message, OPTIONS, World};

const SENDERS: u64 = 4;
const MESSAGES: u64 = 20_000;

#[test]
fn a_message_wakes_a_core_that_sleeps_each_time() {
    for options in [OPTIONS, RingOptions { sqpoll_idle_ms: 20, ..OPTIONS }] {
        let world = World::with(&options);
        let outbox = Arc::clone(&world.outbox);
        let (answer, answered) = channel();
        // The next message goes only when the last was handled: the core is just about to sleep.
        let sender = thread::spawn(move || {
            let mut bell = Bell::new().expect("a ring");
            for number in 0..MESSAGES {
                outbox.send(Message::Number(number), &mut bell).expect("the core lives");
                assert_eq!(answered.recv(), Ok(number));
                // Now and then later, so that all points of falling asleep are met.
                for _ in 0..number % 200 {
                    std::hint::spin_loop();
                }
            }
        });
        let handled = Cell::new(0);
        let count = |number| {
            handled.set(handled.get() + 1);
            answer.send(number).expect("it waits");
        };
        world.run(count, || handled.get() == MESSAGES);
        sender.join().expect("every message was answered");
    }
}

#[test]
fn messages_of_many_threads_arrive_each_once_and_in_their_senders_order() {
    let world = World::new();
    let senders: Vec<_> = (0..SENDERS)
        .map(|sender| {
            let outbox = Arc::clone(&world.outbox);
            thread::spawn(move || {
                let mut bell = Bell::new().expect("a ring");
                for number in 0..MESSAGES {
                    let message = Message::Number(sender << 32 | number);
                    outbox.send(message, &mut bell).expect("the core lives");
                    if number % 1000 == sender * 7 {
                        thread::sleep(Duration::from_millis(1));
                    }
                }
            })
        })
        .collect();
    let next = std::cell::RefCell::new([0_u64; SENDERS as usize]);
    let check = |message: u64| {
        let expected = &mut next.borrow_mut()[(message >> 32) as usize];
        assert_eq!(message & 0xffff_ffff, *expected);
        *expected += 1;
    };
    world.run(check, || next.borrow().iter().all(|&count| count == MESSAGES));
    senders.into_iter().for_each(|sender| sender.join().expect("all sent"));
}

#[test]
fn a_busy_core_reads_its_messages_and_is_not_rung() {
    let world = World::new();
    let outbox = Arc::clone(&world.outbox);
    let stop = Rc::new(Cell::new(false));
    let stopped = Rc::clone(&stop);
    world.core.spawn(poll_fn(move |cx| {
        if stopped.get() {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }));
    let sender = thread::spawn(move || {
        let mut bell = Bell::new().expect("a ring");
        for number in 0..100 {
            outbox.send(Message::Number(number), &mut bell).expect("the core lives");
            thread::sleep(Duration::from_micros(200));
        }
    });
    let handled = Cell::new(0);
    let began = Instant::now();
    world.run(|_| handled.set(handled.get() + 1), || handled.get() == 100);
    assert!(began.elapsed() < Duration::from_secs(5));
    sender.join().expect("all sent");
    assert_eq!(world.counters.completions.get(), 0, "no wake-up was needed");
    stop.set(true);
    world.settle();
}
