//! close_notify ends a direction in order; FIN without it is a truncation, and the upstream can
//! tell (RFC 8446, 6.1).

use std::io::{ErrorKind, Write};
use std::net::Shutdown;
use std::sync::Mutex;
use std::sync::mpsc::channel;

use crate::harness::origin::{Origin, reset};
use crate::harness::{Client, ClientOptions, PATIENCE, Setup};

#[test]
fn close_notify_both_ways_is_an_orderly_end() {
    let origin = Origin::echo();
    let mut gateway = Setup::to(origin.address()).start();
    for options in [ClientOptions::default().tls13(), ClientOptions::default().tls12()] {
        let mut client = options.connect(gateway.address()).expect("let in");
        client.echo(b"hello");
        let address = client.local_address();
        client.end();
        let served = origin.next_served();
        assert_eq!((served.bytes, served.orderly), (5, true));
        let record = gateway.record_of(address);
        assert_eq!(record["close_reason"], "finished", "{record}");
        assert_eq!(record["close_source"], "downstream", "{record}");
    }
    gateway.terminate().assert_clean();
}

#[test]
fn a_client_that_says_all_in_the_flight_of_its_finished_is_served() {
    let origin = Origin::echo();
    let mut gateway = Setup::to(origin.address()).start();
    for request in [&b"hello"[..], b"", &[7; 9000]] {
        let mut client =
            ClientOptions::default().tls13().open(gateway.address()).expect("the port is open");
        // Until the client has its Finished ready, which waits in its buffer.
        while client.tls.is_handshaking() {
            if client.tls.wants_write() {
                client.tls.write_tls(&mut client.socket).expect("the connection is up");
            } else {
                client.tls.read_tls(&mut client.socket).expect("the connection is up");
                client.tls.process_new_packets().expect("the gateway speaks TLS");
            }
        }
        client.tls.writer().write_all(request).expect("into memory");
        client.tls.send_close_notify();
        let mut flight = Vec::new();
        while client.tls.wants_write() {
            client.tls.write_tls(&mut flight).expect("into memory");
        }
        client.socket.write_all(&flight).expect("the connection is up");
        assert!(client.read_to_end().expect("close_notify ends it") == request);
        let record = gateway.record_of(client.local_address());
        assert_eq!(record["close_reason"], "finished", "{record}");
        assert_eq!(record["bytes_up"], request.len(), "{record}");
        assert!(origin.next_served().orderly);
    }
    let stopped = gateway.terminate();
    stopped.assert_clean();
    assert_eq!(stopped.counter("bytes_up"), 9005);
}

#[test]
fn fin_without_close_notify_is_a_truncation_that_the_upstream_sees_as_a_reset() {
    let origin = Origin::sink();
    let mut gateway = Setup::to(origin.address()).start();
    for options in [ClientOptions::default().tls13(), ClientOptions::default().tls12()] {
        let mut client = options.connect(gateway.address()).expect("let in");
        client.send(b"half a mess");
        client.socket.shutdown(Shutdown::Write).expect("the connection is up");
        let served = origin.next_served();
        assert!(!served.orderly, "the upstream takes it for the whole");
        let error = client.read_to_end().expect_err("no close_notify is due");
        assert!(
            matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset),
            "{error:?}"
        );
        let record = gateway.record_of(client.local_address());
        assert_eq!(record["close_reason"], "truncated", "{record}");
        assert_eq!(record["close_source"], "downstream", "{record}");
        assert_eq!(record["bytes_up"], 11, "{record}");
    }
    gateway.terminate().assert_clean();
}

#[test]
fn a_reset_by_the_client_resets_the_upstream() {
    let origin = Origin::echo();
    let mut gateway = Setup::to(origin.address()).start();
    let mut client = Client::connect(gateway.address());
    client.echo(b"hello");
    let address = client.local_address();
    reset(client.socket);
    assert!(!origin.next_served().orderly);
    let record = gateway.record_of(address);
    assert_eq!(record["close_reason"], "reset", "{record}");
    assert_eq!(record["close_source"], "downstream", "{record}");
    gateway.terminate().assert_clean();
}

#[test]
fn a_reset_behind_close_notify_ends_a_connection_whose_upstream_is_silent() {
    let (tell_ended, ended) = channel();
    let (release, released) = channel::<()>();
    let channels = Mutex::new((tell_ended, released));
    let origin = Origin::new(move |stream, tally| {
        tally.drain(&stream)?;
        let channels = channels.lock().expect("one connection at a time");
        channels.0.send(()).expect("the test waits");
        // Says nothing, and keeps its end open until the test lets it go.
        let _ = channels.1.recv();
        Ok(())
    });
    let setup = Setup::to(origin.address()).listener("idle_timeout_ms = 600000");
    let mut gateway = setup.start();
    for options in [ClientOptions::default().tls13(), ClientOptions::default().tls12()] {
        let mut client = options.connect(gateway.address()).expect("let in");
        client.send(b"question");
        client.tls.send_close_notify();
        client.flush();
        ended.recv_timeout(PATIENCE).expect("the client's end reaches the upstream");
        let address = client.local_address();
        reset(client.socket);
        let record = gateway.record_of(address);
        assert_eq!(record["close_reason"], "reset", "{record}");
        assert_eq!(record["close_source"], "downstream", "{record}");
        assert_eq!(record["bytes_up"], 8, "{record}");
        release.send(()).expect("the origin waits");
        origin.next_served();
    }
    gateway.terminate().assert_clean();
}

#[test]
fn a_reset_by_the_upstream_is_not_taken_for_an_end_by_the_client() {
    let origin = Origin::resetting(true);
    let mut gateway = Setup::to(origin.address()).start();
    let mut client = Client::connect(gateway.address());
    client.send(b"x");
    let error = client.read_to_end().expect_err("no close_notify is due");
    let kind = error.kind();
    assert!(matches!(kind, ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset), "{error:?}");
    let record = gateway.record_of(client.local_address());
    assert_eq!(record["close_reason"], "reset", "{record}");
    assert_eq!(record["close_source"], "upstream", "{record}");
    gateway.terminate().assert_clean();
}

#[test]
fn an_upstream_may_answer_after_the_client_has_ended() {
    const ANSWER_BYTES: usize = 3_000_000;
    let origin = Origin::new(|mut stream, tally| {
        // Not a byte before the client's FIN.
        tally.drain(&stream)?;
        stream.write_all(&vec![42; ANSWER_BYTES])?;
        stream.shutdown(Shutdown::Write)
    });
    let mut gateway = Setup::to(origin.address()).start();
    for shut_tcp in [true, false] {
        let mut client = Client::connect(gateway.address());
        client.send(b"question");
        client.tls.send_close_notify();
        client.flush();
        if shut_tcp {
            client.socket.shutdown(Shutdown::Write).expect("the connection is up");
        }
        let answer = client.read_to_end().expect("close_notify ends it");
        assert_eq!(answer.len(), ANSWER_BYTES);
        assert!(answer.iter().all(|byte| *byte == 42));
        let served = origin.next_served();
        assert_eq!((served.bytes, served.orderly), (8, true));
        let record = gateway.record_of(client.local_address());
        assert_eq!(record["close_reason"], "finished", "{record}");
        assert_eq!(record["bytes_down"], ANSWER_BYTES, "{record}");
    }
    gateway.terminate().assert_clean();
}

#[test]
fn a_client_may_go_on_after_the_upstream_has_ended() {
    let (tell_ended, ended) = channel();
    let tell_ended = Mutex::new(tell_ended);
    let origin = Origin::new(move |mut stream, tally| {
        stream.write_all(b"bye")?;
        stream.shutdown(Shutdown::Write)?;
        tell_ended.lock().expect("one connection").send(()).expect("the test waits");
        tally.drain(&stream)
    });
    let mut gateway = Setup::to(origin.address()).start();
    let mut client = Client::connect(gateway.address());
    ended.recv().expect("the origin tells");
    assert_eq!(client.read_to_end().expect("close_notify ends it"), b"bye");
    for _ in 0..100 {
        // rustls::Stream would look for more to read.
        client.tls.writer().write_all(&[1; 10_000]).expect("into memory");
        client.flush();
    }
    client.finish();
    let served = origin.next_served();
    assert_eq!((served.bytes, served.orderly), (1_000_000, true));
    let record = gateway.record_of(client.local_address());
    assert_eq!(record["close_reason"], "finished", "{record}");
    assert_eq!(record["bytes_up"], 1_000_000, "{record}");
    gateway.terminate().assert_clean();
}

#[test]
fn an_upstream_that_speaks_first_is_heard() {
    let origin = Origin::named("welcome");
    let gateway = Setup::to(origin.address()).start();
    let mut client = Client::connect(gateway.address());
    assert_eq!(client.line(), "welcome");
    client.echo(b"hello");
    client.end();
    gateway.terminate().assert_clean();
}
