//! Handshakes beyond a limit wait for their turn, in order of what they are worth, and those that
//! waited too long are refused, with a reason.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

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

/// What `attempt` found. `None` is that it was so slow that somebody may have lost a place for it.
fn in_time<T>(attempt: impl Fn() -> Option<T>) -> T {
    let mut found = None;
    wait_until("an attempt that is fast enough", || {
        found = attempt();
        found.is_some()
    });
    found.expect("it was waited for")
}

/// Who gets the place that `holder` has: whether it is a client from 127.0.0.3 that offers a
/// session, or one from 127.0.0.4 that does not. `None` where the holder, there since `since`, may
/// have lost it before.
fn does_offer_come_first(holder: &mut Client, since: Instant, to: SocketAddr) -> Option<bool> {
    let plain = hello_from("127.0.0.4", to);
    let mut offering = connect_from("127.0.0.3", to);
    offering.write_all(&hello_with_ticket()).expect("the connection is up");
    let is_held = is_silent(&offering) && is_silent(&plain.socket);
    let is_done = is_held && holder.shake_hands().is_ok();
    if !is_done || since.elapsed() >= Duration::from_millis(900) {
        return None;
    }
    let has_flight = |stream: &TcpStream| {
        stream.set_read_timeout(Some(Duration::from_millis(5))).expect("a socket");
        stream.peek(&mut [0; 1]).is_ok_and(|bytes| bytes > 0)
    };
    wait_until("a flight to one of them", || has_flight(&offering) || has_flight(&plain.socket));
    // Nobody comes any more, so who has the place keeps it.
    let is_first = has_flight(&offering);
    assert!(is_silent(if is_first { &plain.socket } else { &offering }), "there is one place");
    Some(is_first)
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
    let is_first = in_time(|| {
        let limits = "handshakes_per_worker_max = 1\nhandshake_queue_ms = 10000";
        let gateway = gateway(&origin, limits);
        let began = Instant::now();
        let mut holder = held_from("127.0.0.2", gateway.address());
        let is_first = does_offer_come_first(&mut holder, began, gateway.address())?;
        holder.echo(b"holder");
        holder.end();
        gateway.terminate().assert_nothing_left();
        Some(is_first)
    });
    assert!(is_first, "it was behind who came before it");
}

/// More than convict a source, even where half of them is forgotten before the last.
const FAILURES: usize = 20;

#[test]
fn who_costs_nothing_is_not_taken_for_failing() {
    let origin = Origin::echo();
    let is_first = in_time(|| {
        let limits = "handshakes_per_worker_max = 1\nhandshake_queue_ms = 10000";
        let mut gateway = gateway(&origin, limits);
        // As a load balancer looks whether the port is open, and as who has the wrong port.
        for request in ["", "GET / HTTP/1.1\r\n\r\n"] {
            for _ in 0..FAILURES {
                let mut stream = connect_from("127.0.0.3", gateway.address());
                let address = stream.local_addr().expect("bound");
                stream.write_all(request.as_bytes()).expect("the connection is up");
                drop(stream);
                let record = gateway.record_of(address);
                assert_eq!(record["close_source"], "downstream", "{record}");
            }
        }
        let began = Instant::now();
        let mut holder = held_from("127.0.0.2", gateway.address());
        does_offer_come_first(&mut holder, began, gateway.address())
    });
    assert!(is_first, "an innocent source was put behind the others");
}

#[test]
fn who_was_put_out_of_its_places_is_taken_for_failing() {
    let origin = Origin::echo();
    let is_first = in_time(|| {
        let limits = format!(
            "handshakes_per_worker_max = {FAILURES}\nhandshakes_per_source_max = {FAILURES}\n\
             handshake_queue_ms = 10000"
        );
        let mut gateway = gateway(&origin, &limits);
        let address = gateway.address();
        let silent: Vec<_> = (0..FAILURES).map(|_| held_from("127.0.0.3", address)).collect();
        // It is the time itself that is tested.
        std::thread::sleep(Duration::from_millis(1_100));
        let began = Instant::now();
        let source = |each| format!("127.0.1.{each}");
        let mut others: Vec<_> =
            (0..FAILURES).map(|each| held_from(&source(each), address)).collect();
        for client in &silent {
            let record = gateway.record_of(client.local_address());
            assert_eq!(record["close_reason"], "handshake_overload", "{record}");
        }
        does_offer_come_first(&mut others[0], began, address)
    });
    assert!(!is_first, "it takes places and does nothing with them, and comes first again");
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
