//! Receiving, sending, back-pressure, timers.

use std::future::poll_fn;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::task::Poll;
use std::thread;
use std::time::Duration;

use ringfort::limits::SEND_PENDING_BYTES_MAX;
use ringfort::rt::core::Elapsed;
use ringfort::rt::stream::{Errno, Stream};
use ringfort::sys::ring::RingOptions;

use crate::kit::{OPTIONS, World, content, receive_all};

const ZERO_COPY: RingOptions = RingOptions { zero_copy_send: true, ..OPTIONS };
const SQPOLL: RingOptions = RingOptions { sqpoll_idle_ms: 20, ..OPTIONS };

async fn send_all(stream: &Stream, bytes: &[u8]) {
    for chunk in bytes.chunks(50_000) {
        poll_fn(|cx| stream.poll_writable(cx)).await.expect("the peer reads");
        stream.append(chunk);
        stream.flush();
    }
}

#[test]
fn much_goes_both_ways_at_once_and_ends_in_order() {
    for options in [OPTIONS, ZERO_COPY, SQPOLL] {
        let world = World::with(&options);
        let (stream, mut peer) = world.connected();
        let reads = peer.try_clone().expect("a descriptor");
        let writer = thread::spawn(move || {
            peer.write_all(&content(5_000_000)).expect("it is read");
            peer.shutdown(Shutdown::Write).expect("it is open");
        });
        let reader = thread::spawn(move || {
            let mut all = Vec::new();
            (&reads).read_to_end(&mut all).expect("an orderly end");
            assert!(all == content(6_000_000));
        });
        world.complete(async move {
            let sending = async {
                send_all(&stream, &content(6_000_000)).await;
                stream.shut_write();
            };
            let mut sending = Box::pin(sending);
            let mut receiving = Box::pin(receive_all(&stream));
            let (mut sent, mut received) = (false, None);
            poll_fn(|cx| {
                sent = sent || sending.as_mut().poll(cx).is_ready();
                if received.is_none()
                    && let Poll::Ready(all) = receiving.as_mut().poll(cx)
                {
                    received = Some(all);
                }
                if sent && received.is_some() { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            assert!(received.expect("all") == content(5_000_000));
            drop((sending, receiving));
            stream.close();
        });
        world.settle();
        writer.join().expect("all was read");
        reader.join().expect("all was there");
    }
}

#[test]
fn a_reset_that_a_send_was_told_of_is_not_an_end_for_the_receive() {
    let world = World::new();
    let (stream, peer) = world.connected();
    socket2::SockRef::from(&peer).set_linger(Some(Duration::ZERO)).expect("an option");
    drop(peer);
    world.complete(async move {
        // The kernel tells of the reset once: the send gets it, and recv(2) returns 0.
        stream.append(b"into the void");
        stream.flush();
        let received = stream.recv().await.map(|received| received.is_some());
        assert_eq!(received, Err(Errno(libc::ECONNRESET)));
    });
    world.settle();
}

#[test]
fn much_is_sent_to_a_unix_socket_where_large_sends_are_without_a_copy() {
    let world = World::with(&ZERO_COPY);
    let path = std::env::temp_dir().join(format!("ringfort-zero-copy-{}", std::process::id()));
    let listener = std::os::unix::net::UnixListener::bind(&path).expect("a free path");
    let reader = thread::spawn(move || {
        let (mut peer, _) = listener.accept().expect("a client");
        let mut all = Vec::new();
        peer.read_to_end(&mut all).expect("an orderly end");
        assert!(all == content(300_000));
    });
    let core = world.core.clone();
    let address = socket2::SockAddr::unix(&path).expect("a short path");
    world.complete(async move {
        let stream = core.connect(address, None).await.expect("a listener");
        // AF_UNIX has no zero-copy sends: EOPNOTSUPP.
        send_all(&stream, &content(300_000)).await;
        stream.close();
    });
    world.settle();
    reader.join().expect("all was there");
    std::fs::remove_file(&path).expect("it was made above");
}

#[test]
fn a_reset_is_an_error_and_not_an_end() {
    let world = World::new();
    let (stream, peer) = world.connected();
    socket2::SockRef::from(&peer).set_linger(Some(Duration::ZERO)).expect("an option");
    drop(peer);
    let error = world.complete(async move {
        let received = stream.recv().await.map(|received| received.is_some());
        assert_eq!(received, Err(Errno(libc::ECONNRESET)));
        stream.append(b"into the void");
        stream.flush();
        while !matches!(stream.poll_writable(&mut noop()), Poll::Ready(Err(_))) {
            let _ = stream.recv().await;
            turn().await;
        }
        received
    });
    assert!(error.is_err());
    world.settle();
}

fn noop() -> std::task::Context<'static> {
    std::task::Context::from_waker(std::task::Waker::noop())
}

/// Lets the loop turn once.
async fn turn() {
    let mut yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[test]
fn what_is_appended_while_a_send_is_in_flight_goes_in_one() {
    let world = World::new();
    let (stream, mut peer) = world.connected();
    let before = world.counters.completions.get();
    let reader = thread::spawn(move || {
        let mut all = Vec::new();
        peer.read_to_end(&mut all).expect("an orderly end");
        all
    });
    world.complete(async move {
        for number in 0..1000_u32 {
            stream.append(&number.to_be_bytes());
            stream.flush();
        }
        stream.shut_write();
        assert!(receive_all(&stream).await.is_empty());
        stream.close();
    });
    world.settle();
    let all = reader.join().expect("it read");
    let numbers: Vec<u8> = (0..1000_u32).flat_map(u32::to_be_bytes).collect();
    assert!(all == numbers);
    let completions = world.counters.completions.get() - before;
    assert!(completions < 12, "{completions} completions for what two sends can do");
}

#[test]
fn a_stream_is_not_writable_while_its_peer_does_not_read() {
    for options in [OPTIONS, ZERO_COPY] {
        let world = World::with(&options);
        let (stream, mut peer) = world.connected();
        let stream = std::rc::Rc::new(stream);
        let writes = std::rc::Rc::clone(&stream);
        let core = world.core.clone();
        let mut appended = world.complete(async move {
            let mut appended = 0;
            loop {
                let deadline = core.now() + Duration::from_millis(300);
                let writable = poll_fn(|cx| writes.poll_writable(cx));
                match core.timeout_at(deadline, writable).await {
                    Ok(writable) => writable.expect("it is open"),
                    Err(Elapsed) => return appended,
                }
                writes.append(&content(10_000));
                writes.flush();
                appended += 10_000;
                assert!(appended < 64 << 20, "no back-pressure in sight");
            }
        });
        assert!(appended > SEND_PENDING_BYTES_MAX);
        let reader = thread::spawn(move || {
            let mut all = Vec::new();
            peer.read_to_end(&mut all).expect("an orderly end");
            all
        });
        world.complete(async move {
            poll_fn(|cx| stream.poll_writable(cx)).await.expect("the peer reads");
            stream.append(&content(10_000));
            appended += 10_000;
            std::rc::Rc::into_inner(stream).expect("the last").close();
            appended
        });
        world.settle();
        let all = reader.join().expect("it read");
        assert!(all.chunks(10_000).all(|chunk| chunk == content(10_000)));
    }
}

#[test]
fn timers_expire_in_order_and_never_early() {
    let world = World::new();
    let core = world.core.clone();
    let order = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
    let start = core.clock();
    for ms in [70_u64, 10, 40, 0, 41, 3] {
        let (core, order) = (core.clone(), std::rc::Rc::clone(&order));
        world.core.spawn(async move {
            let deadline = start + Duration::from_millis(ms);
            core.sleep_until(deadline).await;
            assert!(core.clock() >= deadline);
            order.borrow_mut().push(ms);
        });
    }
    world.settle();
    assert_eq!(*order.borrow(), [0, 3, 10, 40, 41, 70]);
    let turns = world.counters.turns.get();
    assert!(turns < 40, "{turns} turns for six timers");
}

#[test]
fn a_deadline_ends_a_future_and_a_future_ends_its_deadline() {
    let world = World::new();
    let core = world.core.clone();
    world.complete(async move {
        let soon = core.now() + Duration::from_millis(20);
        let never = std::future::pending::<()>();
        assert_eq!(core.timeout_at(soon, never).await, Err(Elapsed));
        assert!(core.now() >= soon);
        let late = core.now() + Duration::from_secs(3600);
        assert_eq!(core.timeout_at(late, async { 7 }).await, Ok(7));
    });
    let before = world.counters.turns.get();
    world.pass(Duration::from_millis(50));
    assert!(world.counters.turns.get() - before < 10, "nothing is due any more");
    world.settle();
}
