//! Accepting and connecting.

use std::future::poll_fn;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use ringfort::rt::listen::Listener;
use ringfort::rt::stream::Errno;
use ringfort::sys::ring::RingOptions;

use crate::kit::{OPTIONS, World, descriptors, listener, receive_all};

/// Clients that say their number and want it back.
fn clients(address: SocketAddr, count: u8) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let mut sockets: Vec<_> =
            (0..count).map(|_| TcpStream::connect(address).expect("a listener")).collect();
        for (number, socket) in (0..).zip(&mut sockets) {
            socket.write_all(&[number]).expect("it is read");
        }
        for (number, socket) in (0..).zip(&mut sockets) {
            let mut answer = [0xff];
            socket.read_exact(&mut answer).expect("an answer");
            assert_eq!(answer, [number]);
        }
    })
}

async fn serve(core: ringfort::rt::core::Core, listener: &Listener, multishot: bool) {
    let stream = poll_fn(|cx| listener.poll_accept(cx, multishot)).await;
    core.spawn(async move {
        let received = stream.recv().await.expect("no reset").expect("a number");
        stream.append(&received);
        stream.close();
    });
}

#[test]
fn connections_are_accepted_one_by_one_and_in_one_go() {
    for options in [OPTIONS, RingOptions { sqpoll_idle_ms: 20, ..OPTIONS }] {
        for multishot in [false, true] {
            let world = World::with(&options);
            let (socket, address) = listener(128);
            let listener = world.core.listen(socket);
            let peers = clients(address, 50);
            let core = world.core.clone();
            world.complete(async move {
                for _ in 0..50 {
                    serve(core.clone(), &listener, multishot).await;
                }
            });
            world.settle();
            peers.join().expect("every client has its answer");
        }
    }
}

#[test]
fn after_a_single_accept_the_backlog_keeps_the_rest_until_it_is_asked_for() {
    let world = World::new();
    let (socket, address) = listener(16);
    let listener = world.core.listen(socket);
    let peers: Vec<_> = (0..5).map(|_| TcpStream::connect(address).expect("room")).collect();
    world.complete(async move {
        drop(poll_fn(|cx| listener.poll_accept(cx, false)).await);
        for _ in 0..4 {
            assert!(poll_fn(|cx| listener.poll_backlog(cx, true)).await.is_some());
        }
        assert!(poll_fn(|cx| listener.poll_backlog(cx, true)).await.is_none());
    });
    world.settle();
    drop(peers);
}

#[test]
fn a_listener_that_is_dropped_leaves_no_accepted_connection_open() {
    for options in [OPTIONS, RingOptions { sqpoll_idle_ms: 20, ..OPTIONS }] {
        let world = World::with(&options);
        let (socket, address) = listener(128);
        let listener = world.core.listen(socket);
        let first = TcpStream::connect(address).expect("room");
        world
            .complete(async move {
                drop(poll_fn(|cx| listener.poll_accept(cx, true)).await);
                // These are accepted by the kernel meanwhile, or not.
                let peers: Vec<_> =
                    (0..20).map(|_| TcpStream::connect(address).expect("room")).collect();
                drop(listener);
                peers
            })
            .into_iter()
            .chain([first])
            .for_each(|mut peer| {
                world.settle();
                peer.set_read_timeout(Some(Duration::from_secs(2))).expect("an option");
                match peer.read(&mut [0]) {
                    Ok(0) => {}
                    Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
                    other => panic!("the connection is still open: {other:?}"),
                }
            });
        assert!(TcpStream::connect(address).is_err(), "nobody listens");
    }
}

#[test]
fn a_connect_that_is_refused_says_so() {
    let world = World::new();
    let address = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.local_addr().expect("an address")
    };
    let core = world.core.clone();
    let refused = world.complete(async move { core.connect(address.into(), None).await.err() });
    assert_eq!(refused, Some(Errno(libc::ECONNREFUSED)));
    world.settle();
}

#[test]
fn a_connect_can_be_given_up() {
    let world = World::new();
    let (_full, address) = listener(1);
    // A backlog that is full answers no more.
    let fillers: Vec<_> = (0..4)
        .map(|_| {
            let timeout = Duration::from_millis(200);
            TcpStream::connect_timeout(&address, timeout)
        })
        .collect();
    assert!(fillers.iter().any(Result::is_err), "the backlog is full");
    let core = world.core.clone();
    let elapsed = world.complete(async move {
        let deadline = core.now() + Duration::from_millis(50);
        core.timeout_at(deadline, core.connect(address.into(), None)).await.is_err()
    });
    assert!(elapsed);
    world.settle();
}

#[test]
fn ten_thousand_connections_leave_nothing_behind() {
    let world = World::alone();
    let (socket, address) = listener(1024);
    let listener = world.core.listen(socket);
    let before = descriptors();
    let core = world.core.clone();
    world.complete(async move {
        for round in 0..200 {
            let (server, client) = (core.clone(), core.clone());
            for number in 0..50 {
                let client = client.clone();
                core.spawn(async move {
                    let stream = client.connect(address.into(), None).await.expect("a listener");
                    stream.append(b"ping");
                    stream.flush();
                    match (round + number) % 4 {
                        // Given up with everything in flight.
                        0 => drop(stream),
                        1 => stream.close(),
                        _ => {
                            stream.shut_write();
                            assert_eq!(receive_all(&stream).await, b"pong");
                        }
                    }
                });
            }
            for _ in 0..50 {
                let stream = poll_fn(|cx| listener.poll_accept(cx, round % 2 == 0)).await;
                server.spawn(async move {
                    let _ = stream.recv().await;
                    stream.append(b"pong");
                    stream.close();
                });
            }
        }
        drop(listener);
    });
    world.settle();
    // The listener is closed, too.
    assert_eq!(descriptors() + 1, before);
}
