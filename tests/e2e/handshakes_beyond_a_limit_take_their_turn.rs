//! Handshakes beyond a limit wait for their turn, in order of what they are worth, and those that
//! waited too long are refused, with a reason.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::harness::raw::read_until_end;
use crate::harness::{Client, ClientOptions, Gateway, Origin, PATIENCE, Setup, wait_until};

/// A connection from another address of the loopback.
fn connect_from(source: &str, to: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let socket = socket.expect("a socket");
    let from: SocketAddr = format!("{source}:0").parse().expect("an address");
    socket.bind(&from.into()).expect("all of 127.0.0.0/8 is ours");
    socket.connect(&to.into()).expect("the port is open");
    let stream: TcpStream = socket.into();
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    stream
}

/// A client from there that has sent its ClientHello.
fn hello_from(source: &str, to: SocketAddr) -> Client {
    let mut client = ClientOptions::default().over(connect_from(source, to));
    client.flush();
    client
}

/// A client from there whose handshake is in progress: the server waits for its flight.
fn held_from(source: &str, to: SocketAddr) -> Client {
    let client = hello_from(source, to);
    assert_ne!(client.socket.peek(&mut [0; 1]).expect("the server's flight"), 0);
    client
}

/// Whether nothing comes for a while.
fn is_silent(stream: &TcpStream) -> bool {
    stream.set_read_timeout(Some(Duration::from_millis(200))).expect("a socket");
    let peeked = stream.peek(&mut [0; 1]);
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    matches!(peeked, Err(error) if error.kind() == ErrorKind::WouldBlock)
}

/// A ClientHello that offers a ticket of TLS 1.2.
fn hello_with_ticket() -> Vec<u8> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let mut client = ClientOptions::default().tls13().open(address).expect("our own listener");
    let mut hello = Vec::new();
    client.tls.write_tls(&mut hello).expect("into memory");
    let ticket = [0, 35, 0, 4, 1, 2, 3, 4];
    // Behind header, version and random: session, suites, compression, and then the extensions.
    let session = 5 + 4 + 2 + 32;
    let suites = session + 1 + usize::from(hello[session]);
    let length_at = |hello: &[u8], at: usize| u16::from_be_bytes([hello[at], hello[at + 1]]);
    let compression = suites + 2 + usize::from(length_at(&hello, suites));
    let extensions = compression + 1 + usize::from(hello[compression]);
    for at in [3, 7, extensions] {
        let longer = length_at(&hello, at) + ticket.len() as u16;
        hello[at..at + 2].copy_from_slice(&longer.to_be_bytes());
    }
    // In front of the others: pre_shared_key would have to be the last.
    hello.splice(extensions + 2..extensions + 2, ticket);
    hello
}

fn gateway(origin: &Origin, limits: &str) -> Gateway {
    let setup = Setup::to(origin.address()).top("workers = 1");
    setup.table(&format!("[limits]\n{limits}")).start()
}

#[test]
fn beyond_the_limit_of_a_worker_a_handshake_waits_and_is_served() {
    let origin = Origin::echo();
    let gateway = gateway(&origin, "handshakes_per_worker_max = 1\nhandshake_queue_ms = 10000");
    let mut first = held_from("127.0.0.2", gateway.address());
    let mut second = hello_from("127.0.0.3", gateway.address());
    assert!(is_silent(&second.socket), "two handshakes are in progress");
    first.shake_hands().expect("it has its place");
    second.shake_hands().expect("its turn has come");
    first.echo(b"first");
    second.echo(b"second");
    first.end();
    second.end();
    let stopped = gateway.terminate();
    stopped.assert_clean();
    assert_eq!(stopped.counter("handshakes_refused"), 0);
    assert_eq!(stopped.event["handshake_phases"]["main"]["queue"]["count"], 1);
}

#[test]
fn who_waits_too_long_is_refused_and_the_log_says_why() {
    let origin = Origin::echo();
    let mut gateway = gateway(&origin, "handshakes_per_worker_max = 1\nhandshake_queue_ms = 100");
    let mut first = held_from("127.0.0.2", gateway.address());
    let mut second = hello_from("127.0.0.3", gateway.address());
    let end = second.socket.read(&mut [0; 1]).expect_err("no FIN, and no byte");
    assert_eq!(end.kind(), ErrorKind::ConnectionReset);
    let record = gateway.record_of(second.local_address());
    assert_eq!(record["close_reason"], "handshake_overload", "{record}");
    assert_eq!(record["close_source"], "downstream", "{record}");
    first.shake_hands().expect("it has its place still");
    first.echo(b"first");
    // The place is free again.
    let mut third = hello_from("127.0.0.3", gateway.address());
    third.shake_hands().expect("there is a place");
    first.end();
    third.end();
    let stopped = gateway.terminate();
    stopped.assert_nothing_left();
    assert_eq!((stopped.counter("handshakes_refused"), stopped.counter("handshakes_done")), (1, 2));
    assert_eq!((stopped.counter("handshakes_live"), stopped.counter("handshakes_waiting")), (0, 0));
}

#[test]
fn a_source_at_its_limit_holds_up_no_other() {
    let origin = Origin::echo();
    let limits = "handshakes_per_source_max = 1\nhandshake_queue_ms = 0";
    let mut gateway = gateway(&origin, limits);
    let mut first = held_from("127.0.0.2", gateway.address());
    let mut second = hello_from("127.0.0.2", gateway.address());
    assert_eq!(read_until_end(&mut second.socket), b"");
    let record = gateway.record_of(second.local_address());
    assert_eq!(record["close_reason"], "handshake_overload", "{record}");
    let mut other = hello_from("127.0.0.3", gateway.address());
    other.shake_hands().expect("its source has a place");
    other.echo(b"other");
    first.shake_hands().expect("it has its place");
    first.echo(b"first");
    other.end();
    first.end();
    gateway.terminate().assert_nothing_left();
}

#[test]
fn who_offers_a_session_overtakes_who_does_not() {
    let origin = Origin::echo();
    let gateway = gateway(&origin, "handshakes_per_worker_max = 1\nhandshake_queue_ms = 10000");
    let mut first = held_from("127.0.0.2", gateway.address());
    let mut second = hello_from("127.0.0.3", gateway.address());
    assert!(is_silent(&second.socket));
    let mut third = connect_from("127.0.0.4", gateway.address());
    third.write_all(&hello_with_ticket()).expect("the connection is up");
    assert!(is_silent(&third));
    first.shake_hands().expect("it has its place");
    assert_ne!(third.peek(&mut [0; 1]).expect("the server's flight"), 0);
    assert!(is_silent(&second.socket), "it was overtaken, and the third has the place");
    drop(third);
    second.shake_hands().expect("its turn has come");
    second.echo(b"second");
    first.end();
    second.end();
    gateway.terminate().assert_nothing_left();
}

#[test]
fn who_keeps_the_server_waiting_loses_its_place_to_another() {
    let origin = Origin::echo();
    let mut gateway = gateway(&origin, "handshakes_per_worker_max = 1\nhandshake_queue_ms = 10000");
    let first = held_from("127.0.0.2", gateway.address());
    let address = gateway.address();
    // The first to come after a second has passed takes it, for whoever waits.
    wait_until("a handshake beside the one that says nothing", || {
        let mut client = hello_from("127.0.0.3", address);
        let timeout = Some(Duration::from_millis(200));
        client.socket.set_read_timeout(timeout).expect("a socket");
        client.shake_hands().is_ok()
    });
    let record = gateway.record_of(first.local_address());
    assert_eq!(record["close_reason"], "handshake_overload", "{record}");
    gateway.terminate().assert_nothing_left();
}

#[test]
fn a_client_that_leaves_while_it_waits_leaves_nothing_behind() {
    let origin = Origin::echo();
    let gateway = gateway(&origin, "handshakes_per_worker_max = 1\nhandshake_queue_ms = 300");
    let mut first = held_from("127.0.0.2", gateway.address());
    let waiting: Vec<_> =
        (0..20).map(|each| hello_from(&format!("127.0.1.{each}"), gateway.address())).collect();
    assert!(is_silent(&waiting[0].socket));
    drop(waiting);
    first.shake_hands().expect("it has its place");
    first.end();
    let stopped = gateway.terminate();
    stopped.assert_nothing_left();
    // Nothing was computed for who was gone when its turn came, or was put out before.
    let flights = &stopped.event["handshake_phases"]["main"]["server_flight"]["count"];
    assert_eq!(*flights, 1, "{}", stopped.event);
    assert_eq!((stopped.counter("handshakes_live"), stopped.counter("handshakes_waiting")), (0, 0));
}
