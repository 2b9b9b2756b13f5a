//! A receive ring that is too small for what comes: nothing is lost, nothing spins, and nobody
//! who does not take what came for him stops the others.

use std::cell::Cell;
use std::future::poll_fn;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::rc::Rc;
use std::task::Poll;
use std::thread;
use std::time::Duration;

use ringfort::rt::stream::Stream;
use ringfort::sys::ring::RingOptions;
use ringfort::tls::stream::read_hello;

use crate::kit::{OPTIONS, World, content, receive_all};

const SMALL: RingOptions = RingOptions { recv_buffers: 8, ..OPTIONS };

fn sends(mut peer: TcpStream, bytes: usize) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        peer.write_all(&content(bytes)).expect("it is read");
        peer.shutdown(Shutdown::Write).expect("it is open");
        let _ = peer.read(&mut [0]);
    })
}

#[test]
fn a_receive_that_nobody_empties_pauses_and_goes_on_without_loss() {
    let world = World::new();
    let (stream, peer) = world.connected();
    let peer = sends(peer, 20_000_000);
    let core = world.core.clone();
    world.complete(async move {
        let mut all = Vec::new();
        for round in 0.. {
            let Some(received) = stream.recv().await.expect("no reset") else { break };
            all.extend_from_slice(&received);
            drop(received);
            if round % 50 == 0 {
                core.sleep_until(core.now() + Duration::from_millis(10)).await;
            }
        }
        assert!(all == content(20_000_000));
        stream.close();
    });
    world.settle();
    peer.join().expect("all was read");
}

#[test]
fn eight_buffers_serve_a_hundred_sockets() {
    let world = World::with(&SMALL);
    let mut peers = Vec::new();
    for _ in 0..100 {
        let (stream, peer) = world.connected();
        peers.push(sends(peer, 400_000));
        world.core.spawn(async move {
            assert!(receive_all(&stream).await == content(400_000));
            stream.close();
        });
    }
    let before = world.counters.turns.get();
    world.settle();
    let turns = world.counters.turns.get() - before;
    peers.into_iter().for_each(|peer| peer.join().expect("all was read"));
    assert!(world.counters.recv_starved.get() > 0, "the ring ran empty");
    // 40 MB are 640 buffers at the least; loopback hands out smaller pieces.
    assert!(turns < 40_000, "{turns} turns");
}

/// Makes the receive armed, and then takes nothing until `go`.
async fn sits_on(stream: Stream, go: Rc<Cell<bool>>) -> Vec<u8> {
    poll_fn(|cx| {
        let _ = stream.poll_recv(cx);
        Poll::Ready(())
    })
    .await;
    poll_fn(|_| if go.get() { Poll::Ready(()) } else { Poll::Pending }).await;
    receive_all(&stream).await
}

/// An exchange of one message on a new connection.
fn echo(world: &World) {
    let (stream, mut peer) = world.connected();
    let talk = thread::spawn(move || {
        peer.write_all(b"ping").expect("it is open");
        peer.shutdown(Shutdown::Write).expect("it is open");
        let mut answer = Vec::new();
        peer.read_to_end(&mut answer).expect("an end");
        assert_eq!(answer, b"pong");
    });
    world.complete(async move {
        assert_eq!(receive_all(&stream).await, b"ping");
        stream.append(b"pong");
        stream.close();
    });
    while !talk.is_finished() {
        world.pass(Duration::from_millis(1));
    }
    talk.join().expect("an answer");
}

#[test]
fn bytes_that_nobody_takes_leave_the_ring_for_those_who_do() {
    let world = World::with(&SMALL);
    let go = Rc::new(Cell::new(false));
    let done = Rc::new(Cell::new(0));
    let mut peers = Vec::new();
    for _ in 0..40 {
        let (stream, peer) = world.connected();
        peers.push(sends(peer, 100_000));
        let (go, done) = (Rc::clone(&go), Rc::clone(&done));
        world.core.spawn(async move {
            assert!(sits_on(stream, go).await == content(100_000));
            done.set(done.get() + 1);
        });
    }
    world.pass(Duration::from_millis(50));
    for _ in 0..20 {
        echo(&world);
    }
    let before = world.counters.turns.get();
    world.pass(Duration::from_millis(200));
    let turns = world.counters.turns.get() - before;
    assert!(turns < 20, "{turns} turns while nothing happens");
    go.set(true);
    world.core.wake_all();
    world.run(|_| {}, || done.get() == 40);
    world.settle();
    peers.into_iter().for_each(|peer| peer.join().expect("all was read"));
}

#[test]
fn buffers_in_the_hands_of_tasks_make_others_wait_without_spinning() {
    let world = World::with(&SMALL);
    let mut held = Vec::new();
    let mut open = Vec::new();
    for _ in 0..8 {
        let (stream, mut peer) = world.connected();
        peer.write_all(b"x").expect("it is open");
        let (stream, received) = world.complete(async move {
            let received = stream.recv().await;
            (stream, received)
        });
        held.push(received.expect("no reset").expect("a byte"));
        open.push((stream, peer));
    }
    let (stream, mut peer) = world.connected();
    peer.write_all(b"late").expect("it is open");
    let got = Rc::new(Cell::new(false));
    let is_got = Rc::clone(&got);
    world.core.spawn(async move {
        assert_eq!(&*stream.recv().await.expect("no reset").expect("bytes"), b"late");
        is_got.set(true);
    });
    let before = world.counters.turns.get();
    world.pass(Duration::from_millis(200));
    let turns = world.counters.turns.get() - before;
    assert!(turns < 20, "{turns} turns of a starved core");
    assert!(!got.get());
    drop(held.pop());
    world.run(|_| {}, || got.get());
    drop((held, open));
    world.settle();
}

#[test]
fn clients_that_are_slow_with_their_hello_hold_no_buffer() {
    let world = World::with(&SMALL);
    let mut slow = Vec::new();
    for _ in 0..20 {
        let (stream, mut peer) = world.connected();
        // The beginning of a record with a ClientHello.
        peer.write_all(&[22, 3, 1, 0, 200, 1]).expect("it is open");
        slow.push(peer);
        world.core.spawn(async move { drop(read_hello(&stream).await) });
    }
    world.pass(Duration::from_millis(50));
    for _ in 0..10 {
        echo(&world);
    }
    drop(slow);
    world.settle();
}
