//! Limits of connections, of descriptors and of receive buffers: what waits is served later, and
//! what is refused is told why.

use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::raw;
use crate::harness::{Client, ClientOptions, Origin, Setup, wait_until};

/// Whether nothing comes from the gateway for a while.
fn is_silent(stream: &TcpStream) -> bool {
    stream.set_read_timeout(Some(Duration::from_millis(300))).expect("a socket");
    let peeked = stream.peek(&mut [0; 1]);
    stream.set_read_timeout(Some(crate::harness::PATIENCE)).expect("a socket");
    matches!(peeked, Err(error) if error.kind() == ErrorKind::WouldBlock)
}

fn assert_waits_for_a_place(limit: &str, top: &str) {
    let origin = Origin::echo();
    let setup = Setup::to(origin.address()).top(top).table(&format!("[limits]\n{limit} = 2"));
    let gateway = setup.start();
    let mut first = Client::connect(gateway.address());
    let mut second = Client::connect(gateway.address());
    first.echo(b"first");
    second.echo(b"second");
    // Established by the kernel, and not answered: in the backlog.
    let mut third = ClientOptions::default().open(gateway.address()).expect("in the backlog");
    third.flush();
    assert!(is_silent(&third.socket), "{limit}: the third was served beside two others");
    assert_eq!(origin.accepted(), 2);
    first.end();
    third.shake_hands().expect("there is a place now");
    third.echo(b"third");
    second.echo(b"second");
    second.end();
    third.end();
    let stopped = gateway.terminate();
    stopped.assert_clean();
    assert_eq!(stopped.counter("accepted"), 3);
    assert_eq!(stopped.counter("refused_limit"), 0);
}

#[test]
fn beyond_connections_max_clients_wait_in_the_backlog() {
    assert_waits_for_a_place("connections_max", "workers = 1");
}

#[test]
fn connections_max_counts_all_workers() {
    let origin = Origin::echo();
    let setup = Setup::to(origin.address()).top("workers = 2\ncpus = \"0,1\"");
    let gateway = setup.table("[limits]\nconnections_max = 8").start();
    let clients: Vec<_> = (0..60)
        .map(|index: usize| {
            let mut client =
                ClientOptions::default().open(gateway.address()).expect("at least waiting");
            std::thread::spawn(move || {
                client.shake_hands().expect("its turn comes");
                client.echo(&index.to_le_bytes());
                client.end();
            })
        })
        .collect();
    clients.into_iter().for_each(|client| client.join().expect("served"));
    let stopped = gateway.terminate();
    stopped.assert_clean();
    assert_eq!(stopped.counter("handshakes_done"), 60);
}

#[test]
fn beyond_connections_per_worker_max_clients_wait_in_the_backlog() {
    assert_waits_for_a_place("connections_per_worker_max", "workers = 1");
}

#[test]
fn a_source_beyond_its_limit_is_closed_at_once() {
    let origin = Origin::echo();
    let setup = Setup::to(origin.address()).table("[limits]\nconnections_per_source_max = 2");
    let mut gateway = setup.start();
    let mut first = Client::connect(gateway.address());
    let second = Client::connect(gateway.address());
    let mut third = raw::connect(gateway.address());
    let peer = third.local_addr().expect("connected");
    assert_eq!(raw::read_until_end(&mut third), b"");
    let record = gateway.record_of(peer);
    assert_eq!(record["close_reason"], "source_limit", "{record}");
    // It is no one else's limit: another source address has its own.
    let other = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let other = other.expect("a socket");
    let from: std::net::SocketAddr = "127.0.0.77:0".parse().expect("an address");
    other.bind(&from.into()).expect("all of 127.0.0.0/8 is ours");
    other.connect(&gateway.address().into()).expect("the port is open");
    let mut other = ClientOptions::default().over(other.into());
    other.shake_hands().expect("its source has a place");
    other.echo(b"hello");
    other.end();
    first.echo(b"hello");
    second.end();
    // The place of a connection that has ended is free again.
    wait_until("a place", || {
        let client = ClientOptions::default().connect(gateway.address());
        client.and_then(|mut client| client.try_send(b"x")).is_ok()
    });
    first.end();
    let stopped = gateway.terminate();
    stopped.assert_nothing_left();
    assert!(stopped.counter("refused_limit") >= 1);
}

#[test]
fn without_descriptors_accepting_pauses_and_goes_on() {
    let origin = Origin::echo();
    let setup = Setup::to(origin.address()).top("workers = 1");
    let mut gateway = setup.table("[limits]\nconnections_max = 100").start();
    let process = gateway.process();
    let mut held: Vec<_> = (0..4).map(|_| Client::connect(gateway.address())).collect();
    held.iter_mut().for_each(|client| client.echo(b"hello"));
    // Below every number that is not taken, holes among them included.
    let used = process.descriptors();
    process.limit_descriptors(3, 20_000);
    // The accept that is armed already has the old limit; the socket to the upstream has not.
    let mut unlucky = Client::connect(gateway.address());
    unlucky.read_to_end().expect_err("no upstream can be connected to");
    let record = gateway.record_of(unlucky.local_address());
    assert_eq!(record["close_reason"], "connect_failed", "{record}");
    assert_eq!(record["close_source"], "internal", "{record}");
    drop(unlucky);
    let mut waiting: Vec<_> = (0..8)
        .map(|_| {
            let mut client = ClientOptions::default().open(gateway.address()).expect("backlog");
            client.flush();
            client
        })
        .collect();
    assert!(is_silent(&waiting[0].socket), "there was no descriptor for it");
    // Those that are in do not notice.
    held.iter_mut().for_each(|client| client.echo(b"still here"));
    let busy = process.cpu_time();
    std::thread::sleep(Duration::from_secs(1));
    let spent = process.cpu_time() - busy;
    assert!(spent < Duration::from_millis(300), "{spent:?} of CPU while nothing can be done");
    process.limit_descriptors(used + 100, 20_000);
    for client in &mut waiting {
        client.shake_hands().expect("there are descriptors again");
        client.echo(b"hello");
    }
    held.into_iter().chain(waiting).for_each(Client::end);
    let stopped = gateway.terminate();
    stopped.assert_clean();
    assert!(stopped.counter("accept_paused") > 0);
    assert_eq!(stopped.counter("handshakes_done"), 13);
}

#[test]
fn without_receive_buffers_nobody_spins_and_nothing_is_lost() {
    const STALLED: usize = 40;
    const BYTES: usize = 8 * 1024 * 1024;
    let (release, released) = channel::<()>();
    let released = Mutex::new(released);
    let stalling = Origin::new(move |stream, tally| {
        // Blocks until the test drops its end.
        let _ = released.lock().expect("no panic").recv();
        tally.drain(&stream)
    });
    let echo = Origin::echo();
    let address = crate::harness::free_local();
    let server = &crate::harness::pki().server;
    let more = format!(
        "[[upstream]]\nname = \"echo\"\nendpoints = [\"{}\"]\n[[listener]]\nname = \"echo\"\n\
         address = \"{address}\"\nupstream = \"echo\"\nclient_ca = {:?}\n\
         [[listener.certificate]]\nchain = {:?}\nkey = {:?}\n",
        echo.address(),
        crate::harness::pki().root_file,
        server.chain_file,
        server.key_file,
    );
    // These clients never read: with a ticket unread, their own kernel would reset.
    let setup = Setup::to(stalling.address())
        .listener("resumption = \"off\"")
        .top("workers = 1")
        .more(&more);
    let gateway = setup.table("[ring]\nrecv_buffers = 8").start();
    let senders: Vec<_> = (0..STALLED)
        .map(|_| {
            let mut client = Client::connect(gateway.address());
            std::thread::spawn(move || {
                client.send(&vec![9; BYTES]);
                client.finish();
            })
        })
        .collect();
    let mut last = gateway.process().cpu_time();
    wait_until("the transfers to stall", || {
        std::thread::sleep(Duration::from_millis(500));
        let now = gateway.process().cpu_time();
        let stalled = now - last < Duration::from_millis(20);
        last = now;
        stalled
    });
    let before = gateway.process().cpu_time();
    std::thread::sleep(Duration::from_secs(2));
    let spent = gateway.process().cpu_time() - before;
    assert!(spent < Duration::from_millis(200), "{spent:?} of CPU in 2 s in which nothing moves");
    // Others make progress meanwhile.
    let began = Instant::now();
    let mut other = Client::connect(address);
    for _ in 0..20 {
        other.echo(&[1; 100_000]);
    }
    other.end();
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    drop(release);
    senders.into_iter().for_each(|sender| sender.join().expect("all is taken"));
    for _ in 0..STALLED {
        let served = stalling.next_served();
        assert_eq!((served.bytes as usize, served.orderly), (BYTES, true));
    }
    let stopped = gateway.terminate();
    stopped.assert_nothing_left();
    assert!(stopped.counter("recv_starved") > 0, "the buffers never ran out");
}

#[test]
fn a_backlog_is_as_long_as_configured() {
    let origin = Origin::echo();
    let setup = Setup::to(origin.address()).top("workers = 1").listener("backlog = 3");
    let gateway = setup.table("[limits]\nconnections_max = 1").start();
    let mut first = Client::connect(gateway.address());
    first.echo(b"hello");
    let mut waiting = Vec::new();
    // listen(2): one more than the backlog; the kernel drops the SYNs of those beyond.
    while let Ok(mut stream) =
        TcpStream::connect_timeout(&gateway.address(), Duration::from_millis(400))
    {
        let _ = stream.write_all(b"?");
        waiting.push(stream);
        assert!(waiting.len() < 10, "the backlog is longer than 3");
    }
    assert!(waiting.len() >= 3, "{} waited", waiting.len());
    drop(waiting);
    first.end();
    gateway.terminate().assert_nothing_left();
}

#[test]
fn no_more_than_the_limit_leave_a_backlog_that_is_longer_than_the_room() {
    const LIMIT: usize = 100;
    const HELD: usize = 95;
    const MORE: usize = 30;
    let origin = Origin::echo();
    let setup = Setup::to(origin.address()).top("workers = 1").listener("backlog = 50");
    let setup = setup.listener("handshake_timeout_ms = 60000");
    let gateway = setup.table(&format!("[limits]\nconnections_max = {LIMIT}")).start();
    let process = gateway.process();
    let mut held: Vec<_> = (0..HELD).map(|_| Client::connect(gateway.address())).collect();
    held.iter_mut().for_each(|client| client.echo(b"hello"));
    let before = process.sockets();
    // They say nothing, so that no upstream is connected to: each is one socket.
    let open = || ClientOptions::default().open(gateway.address()).expect("room in the backlog");
    // All at once, as far as the gateway can see.
    gateway.signal(Signal::STOP);
    wait_until("the gateway to stand still", || process.is_stopped());
    let mut more: Vec<_> = (0..MORE).map(|_| open()).collect();
    gateway.signal(Signal::CONT);
    wait_until("the rest of the room", || process.sockets() >= before + LIMIT - HELD);
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(500) {
        let beyond = process.sockets().saturating_sub(before + LIMIT - HELD);
        assert_eq!(beyond, 0, "{beyond} clients beyond the limit hold a descriptor");
    }
    held.drain(..MORE).for_each(Client::end);
    for client in &mut more {
        client.shake_hands().expect("there is room again");
        client.echo(b"hello");
    }
    held.into_iter().chain(more).for_each(Client::end);
    let stopped = gateway.terminate();
    stopped.assert_clean();
    assert_eq!(stopped.counter("handshakes_done") as usize, HELD + MORE);
}
