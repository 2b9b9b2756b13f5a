//! Upstreams that refuse, hang, reset, read slowly or die; several endpoints; every kind of
//! address.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv6Addr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use crate::harness::origin::{Hanging, Origin, Refusing, unix_echo};
use crate::harness::{
    Client, ClientOptions, PATIENCE, Setup, free_address, free_local, wait_until,
};

const MIB: usize = 1024 * 1024;

/// The client is told by an end without close_notify.
#[track_caller]
fn assert_cut(client: &mut Client) {
    let error = client.read_to_end().expect_err("no close_notify is due");
    let kind = error.kind();
    assert!(matches!(kind, ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset), "{error:?}");
}

#[test]
fn a_refusing_upstream_ends_the_connection_and_says_so() {
    let refusing = Refusing::new();
    let mut gateway = Setup::to(refusing.address).start();
    let mut client = Client::connect(gateway.address());
    assert_cut(&mut client);
    let record = gateway.record_of(client.local_address());
    assert_eq!(record["close_reason"], "connect_refused", "{record}");
    assert_eq!(record["close_source"], "upstream", "{record}");
    let stopped = gateway.terminate();
    stopped.assert_clean();
    assert_eq!(stopped.counter("upstream_connect_failures"), 1);
}

#[test]
fn a_hanging_upstream_is_given_up_in_time() {
    let hanging = Hanging::new();
    let setup = Setup::to(hanging.address).upstream("connect_timeout_ms = 300");
    let mut gateway = setup.start();
    let began = Instant::now();
    let mut client = Client::connect(gateway.address());
    assert_cut(&mut client);
    let took = began.elapsed();
    assert!((Duration::from_millis(290)..Duration::from_secs(4)).contains(&took), "{took:?}");
    let record = gateway.record_of(client.local_address());
    assert_eq!(record["close_reason"], "connect_timeout", "{record}");
    gateway.terminate().assert_clean();
}

#[test]
fn one_dead_endpoint_of_two_costs_no_connection() {
    let origin = Origin::echo();
    let refusing = Refusing::new();
    for balance in ["round_robin", "least_connections"] {
        let setup = Setup::to_all([refusing.address, origin.address()])
            .upstream(&format!("balance = {balance:?}"));
        let gateway = setup.start();
        for _ in 0..20 {
            let mut client = Client::connect(gateway.address());
            client.echo(b"hello");
            client.end();
        }
        let stopped = gateway.terminate();
        stopped.assert_clean();
        assert_eq!(stopped.counter("upstream_connects"), 20);
        assert!(stopped.counter("upstream_connect_failures") > 0, "it was never tried");
        let reached = stopped.connections().map(|record| record["upstream"].to_string());
        let alive = format!("\"{}\"", origin.address());
        assert!(reached.into_iter().all(|upstream| upstream == alive));
    }
}

fn spread(balance: &str, keep: impl Fn(&str) -> bool) -> HashMap<String, usize> {
    let origins = [Origin::named("a"), Origin::named("b"), Origin::named("c")];
    let setup = Setup::to_all(origins.iter().map(Origin::address))
        .top("workers = 1")
        .upstream(&format!("balance = {balance:?}"));
    let gateway = setup.start();
    let mut kept = Vec::new();
    let mut counts = HashMap::new();
    for _ in 0..12 {
        let mut client = Client::connect(gateway.address());
        let name = client.line();
        *counts.entry(name.clone()).or_default() += 1;
        if keep(&name) {
            kept.push(client);
        } else {
            client.end();
        }
    }
    kept.into_iter().for_each(Client::end);
    gateway.terminate().assert_clean();
    counts
}

#[test]
fn round_robin_takes_turns_whatever_is_live() {
    let counts = spread("round_robin", |name| name == "a");
    assert_eq!(counts, HashMap::from([("a".into(), 4), ("b".into(), 4), ("c".into(), 4)]));
}

#[test]
fn least_connections_avoids_who_has_most() {
    let counts = spread("least_connections", |name| name == "a");
    // Once it has a connection that stays, the others have fewer.
    assert_eq!(counts["a"], 1, "{counts:?}");
    assert!(counts["b"] >= 4 && counts["c"] >= 4, "{counts:?}");
}

#[test]
fn a_unix_socket_is_an_upstream() {
    let path = unix_echo();
    let gateway = Setup::to(format!("unix:{}", path.display())).start();
    let mut client = Client::connect(gateway.address());
    client.echo(&[7; 100_000]);
    client.end();
    let stopped = gateway.terminate();
    stopped.assert_clean();
    let upstream = stopped.connections().next().expect("one")["upstream"].clone();
    assert_eq!(upstream, format!("unix:{}", path.display()));
}

#[test]
fn ipv6_works_on_both_sides() {
    let origin = Origin::echo_at(Ipv6Addr::LOCALHOST.into());
    let address = free_address(Ipv6Addr::LOCALHOST.into());
    let gateway = Setup::to(origin.address()).at(address).start();
    assert_eq!(gateway.address(), address);
    let mut client = ClientOptions::default().server_name("::1").connect(address).expect("let in");
    client.echo(b"hello");
    client.end();
    gateway.terminate().assert_clean();
}

#[test]
fn a_name_is_an_upstream() {
    let origin = Origin::echo();
    let endpoint = format!("localhost:{}", origin.address().port());
    let setup = Setup::to(endpoint).upstream("resolve_interval_ms = 1000");
    let gateway = setup.start();
    for _ in 0..4 {
        // Where the name has an IPv6 address too, nobody listens there, and the other is tried.
        let mut client = Client::connect(gateway.address());
        client.echo(b"hello");
        client.end();
    }
    gateway.terminate().assert_clean();
}

#[test]
fn a_name_that_does_not_resolve_ends_the_connection_and_says_so() {
    let mut gateway = Setup::to("nowhere.invalid:1").start();
    let mut client = Client::connect(gateway.address());
    assert_cut(&mut client);
    let record = gateway.record_of(client.local_address());
    assert_eq!(record["close_reason"], "no_endpoint", "{record}");
    gateway.terminate().assert_clean();
}

#[test]
fn a_slow_reader_of_an_upstream_stops_the_client_and_costs_bounded_memory() {
    const CLIENTS: usize = 16;
    const EACH_MIB: usize = 16;
    let (release, released) = channel::<()>();
    let released = Mutex::new(released);
    let origin = Origin::new(move |stream, tally| {
        // Blocks until the test drops its end.
        let _ = released.lock().expect("no panic").recv();
        tally.drain(&stream)
    });
    // These clients never read: with a ticket unread, their own kernel would reset.
    let gateway = Setup::to(origin.address())
        .listener("resumption = \"off\"")
        .table("[ring]\nrecv_buffers = 16")
        .start();
    let mut warm = Client::connect(gateway.address());
    let before = gateway.process().resident_kib();
    let senders: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let mut client = Client::connect(gateway.address());
            std::thread::spawn(move || {
                client.send(&vec![3; EACH_MIB * MIB]);
                client.finish();
            })
        })
        .collect();
    // Until nothing moves any more: the kernel's buffers are full all the way.
    let mut last = gateway.process().cpu_time();
    wait_until("the transfer to stall", || {
        std::thread::sleep(Duration::from_millis(400));
        let stalled = gateway.process().cpu_time() == last;
        last = gateway.process().cpu_time();
        stalled
    });
    let grown = gateway.process().resident_kib().saturating_sub(before) / 1024;
    // At most the receive queue and what is pending and in flight: some 10 buffers of 64 KiB.
    assert!(grown < 24, "{grown} MiB for {CLIENTS} stalled connections");
    drop(release);
    senders.into_iter().for_each(|sender| sender.join().expect("all is taken"));
    for _ in 0..CLIENTS {
        let served = origin.next_served();
        assert_eq!((served.bytes as usize, served.orderly), (EACH_MIB * MIB, true));
    }
    warm.finish();
    drop(warm);
    gateway.terminate().assert_nothing_left();
}

#[test]
fn a_slow_client_stops_the_upstream_and_costs_bounded_memory() {
    const CLIENTS: usize = 16;
    const EACH_MIB: usize = 16;
    let origin = Origin::source(vec![5; MIB], EACH_MIB);
    let gateway = Setup::to(origin.address()).table("[ring]\nrecv_buffers = 16").start();
    let before = gateway.process().resident_kib();
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| Client::connect(gateway.address())).collect();
    let mut last = gateway.process().cpu_time();
    wait_until("the transfer to stall", || {
        std::thread::sleep(Duration::from_millis(400));
        let stalled = gateway.process().cpu_time() == last;
        last = gateway.process().cpu_time();
        stalled
    });
    let grown = gateway.process().resident_kib().saturating_sub(before) / 1024;
    assert!(grown < 24, "{grown} MiB for {CLIENTS} stalled connections");
    for client in &mut clients {
        assert_eq!(client.read_to_end().expect("close_notify ends it").len(), EACH_MIB * MIB);
        client.finish();
    }
    gateway.terminate().assert_clean();
}

#[test]
fn an_upstream_that_is_killed_is_a_reset_or_an_end_and_nothing_hangs() {
    let address = free_local();
    let script = "import socket,sys\n\
        s=socket.create_server((sys.argv[1],int(sys.argv[2])))\n\
        c,_=s.accept()\n\
        while True: c.sendall(b'x'*65536); c.setblocking(True)\n";
    let mut child = Command::new("python3")
        .args(["-c", script, &address.ip().to_string(), &address.port().to_string()])
        .stdin(Stdio::null())
        .spawn()
        .expect("python3 is installed");
    let mut gateway = Setup::to(address).start();
    // Its only connection is the gateway's: ask the kernel, not the port.
    wait_until("the upstream listens", || {
        let listening = Command::new("ss").args(["-ltn"]).output().expect("ss is installed");
        String::from_utf8_lossy(&listening.stdout).contains(&address.to_string())
    });
    let mut client = Client::connect(gateway.address());
    client.receive(MIB);
    child.kill().expect("our child");
    child.wait().expect("our child");
    let end = loop {
        match client.read(&mut [0; 65536]) {
            Ok(0) => break Ok(()),
            Ok(_) => {}
            Err(error) => break Err(error),
        }
    };
    // The kernel sends FIN for a process that had read everything, RST otherwise.
    if let Err(error) = end {
        assert_ne!(error.kind(), ErrorKind::WouldBlock, "it hangs");
    }
    let peer = client.local_address();
    drop(client);
    let record = gateway.record_of(peer);
    assert_eq!(record["upstream"], address.to_string());
    gateway.terminate().assert_nothing_left();
}

#[test]
fn a_listener_reaches_the_upstream_it_names() {
    let (one, two) = (Origin::named("one"), Origin::named("two"));
    let second = free_local();
    let server = &crate::harness::pki().server;
    let more = format!(
        "[[upstream]]\nname = \"other\"\nendpoints = [\"{}\"]\n[[listener]]\nname = \"second\"\n\
         address = \"{second}\"\nupstream = \"other\"\nclient_auth = \"off\"\n\
         [[listener.certificate]]\nchain = {:?}\nkey = {:?}\n",
        two.address(),
        server.chain_file,
        server.key_file,
    );
    let mut gateway = Setup::to(one.address()).more(&more).start();
    let mut client = Client::connect(gateway.address());
    assert_eq!(client.line(), "one");
    client.end();
    assert_eq!(gateway.address_of(1), second);
    let mut client = ClientOptions::anonymous().connect(second).expect("let in");
    assert_eq!(client.line(), "two");
    let peer = client.local_address();
    client.end();
    assert_eq!(gateway.record_of(peer)["listener"], "second");
    gateway.terminate().assert_clean();
}

#[test]
fn a_reset_at_once_is_told() {
    let origin = Origin::resetting(false);
    let mut gateway = Setup::to(origin.address()).start();
    let mut client = Client::connect(gateway.address());
    assert_cut(&mut client);
    let record = gateway.record_of(client.local_address());
    assert_eq!(record["close_source"], "upstream", "{record}");
    // It may come before the kernel has told that the connection was made.
    let reason = &record["close_reason"];
    assert!(reason == "reset" || reason == "connect_failed", "{record}");
    // The next client finds a gateway that serves.
    let mut raw = TcpStream::connect(gateway.address()).expect("the port is open");
    raw.set_read_timeout(Some(PATIENCE)).expect("a socket");
    raw.write_all(b"GET / HTTP/1.0\r\n\r\n").expect("the connection is up");
    let _ = raw.read_to_end(&mut Vec::new());
    gateway.terminate().assert_clean();
}
