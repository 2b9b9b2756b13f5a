//! The ends of a connection: in order, by reset, and by the deadline.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::thread;
use std::time::{Duration, Instant};

use ringfort::limits::{CLOSE_HURRIED_TIMEOUT_MS, CLOSE_TIMEOUT_MS};
use ringfort::sys::ring::RingOptions;

use crate::kit::{OPTIONS, World, content};

const ZERO_COPY: RingOptions = RingOptions { zero_copy_send: true, ..OPTIONS };
const SQPOLL: RingOptions = RingOptions { sqpoll_idle_ms: 20, ..OPTIONS };
/// More than the socket buffers of both sides take.
const MUCH: usize = 24_000_000;

/// Bounds of the time that a close may take where a deadline ends it.
fn assert_at_the_deadline(began: Instant, timeout_ms: u64) {
    let (took, deadline) = (began.elapsed(), Duration::from_millis(timeout_ms));
    assert!(took >= deadline - Duration::from_millis(50), "cut off after {took:?}");
    assert!(took < deadline + Duration::from_millis(1000), "cut off only after {took:?}");
}

#[test]
fn closing_delivers_what_is_pending_then_fin_then_waits_for_the_peer() {
    for options in [OPTIONS, ZERO_COPY, SQPOLL] {
        let world = World::with(&options);
        let (stream, mut peer) = world.connected();
        let reader = thread::spawn(move || {
            // The peer still talks: that must not destroy what it has not read (RST).
            peer.write_all(&content(300_000)).expect("it is thrown away");
            thread::sleep(Duration::from_millis(50));
            let mut all = Vec::new();
            peer.read_to_end(&mut all).expect("an orderly end");
            assert!(all == content(MUCH / 4));
            let ended = Instant::now();
            thread::sleep(Duration::from_millis(100));
            peer.shutdown(Shutdown::Both).expect("our side is open");
            ended
        });
        stream.append(&content(MUCH / 4));
        stream.close();
        world.settle();
        let waited = reader.join().expect("all arrived").elapsed();
        assert!(waited >= Duration::from_millis(100), "closed before the peer ended");
    }
}

#[test]
fn a_peer_that_never_closes_is_cut_off_at_the_deadline() {
    let world = World::new();
    let (stream, peer) = world.connected();
    let began = Instant::now();
    stream.append(b"bye");
    stream.close();
    world.settle();
    assert_at_the_deadline(began, CLOSE_TIMEOUT_MS);
    drop(peer);
}

#[test]
fn a_peer_that_talks_without_end_is_cut_off() {
    let world = World::new();
    let (stream, mut peer) = world.connected();
    let talks = thread::spawn(move || {
        let chunk = content(100_000);
        while peer.write_all(&chunk).is_ok() {}
    });
    let began = Instant::now();
    stream.close();
    world.settle();
    assert!(began.elapsed() < Duration::from_millis(CLOSE_TIMEOUT_MS), "by its bytes");
    talks.join().expect("its writes fail");
}

#[test]
fn dropping_resets_the_connection() {
    for options in [OPTIONS, SQPOLL] {
        let world = World::with(&options);
        let (stream, mut peer) = world.connected();
        drop(stream);
        world.settle();
        let error = peer.read(&mut [0]).expect_err("a reset");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
}

#[test]
fn dropping_with_a_send_in_flight_to_a_peer_that_does_not_read_ends_at_once() {
    for options in [OPTIONS, ZERO_COPY, SQPOLL] {
        let world = World::with(&options);
        let (stream, peer) = world.connected();
        stream.append(&content(MUCH));
        stream.flush();
        world.pass(Duration::from_millis(100));
        let began = Instant::now();
        drop(stream);
        world.settle();
        let took = began.elapsed();
        assert!(took < Duration::from_millis(1000), "{took:?} with {options:?}");
        drop(peer);
    }
}

#[test]
fn closing_with_a_peer_that_does_not_read_ends_at_the_deadline_by_reset() {
    for options in [OPTIONS, ZERO_COPY, SQPOLL] {
        let world = World::with(&options);
        let (stream, mut peer) = world.connected();
        stream.append(&content(MUCH / 2));
        stream.flush();
        stream.append(&content(MUCH / 2));
        let began = Instant::now();
        stream.close();
        // What is pending has a minute, which is long for a test, unless the worker is to end.
        world.core.hurry_closing();
        world.settle();
        assert_at_the_deadline(began, CLOSE_HURRIED_TIMEOUT_MS);
        let error = peer.read_to_end(&mut Vec::new()).expect_err("not an orderly end");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
}

/// Less than a socket buffer, so the send is done; but the peer's window is shut, so a zero-copy
/// send still holds its bytes.
#[test]
fn a_notification_that_does_not_come_does_not_hold_a_socket() {
    let world = World::with(&ZERO_COPY);
    let (stream, peer) = world.connected();
    socket2::SockRef::from(&peer).set_recv_buffer_size(4096).expect("an option");
    for _ in 0..40 {
        stream.append(&content(64 * 1024));
        stream.flush();
        world.pass(Duration::from_millis(2));
    }
    let began = Instant::now();
    drop(stream);
    world.settle();
    assert!(began.elapsed() < Duration::from_millis(1000));
    drop(peer);
}
