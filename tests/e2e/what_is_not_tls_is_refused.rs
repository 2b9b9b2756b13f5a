//! Bytes that are no TLS, come too slowly, too many, broken or not at all end the connection with
//! a reason of their own, and never reach the upstream.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use rustls::AlertDescription;

use crate::harness::client::alert_of;
use crate::harness::origin::reset;
use crate::harness::raw::{client_hello, connect, read_until_end, relay_records};
use crate::harness::{Client, ClientOptions, Gateway, Origin, Setup};

/// Level and description of the one alert that was sent in the clear.
fn alert(answer: &[u8]) -> Option<u8> {
    match answer {
        [21, 3, _, 0, 2, 2, description] => Some(*description),
        _ => None,
    }
}

#[track_caller]
fn assert_untouched(gateway: Gateway, origin: &Origin) {
    let stopped = gateway.terminate();
    stopped.assert_clean();
    assert_eq!(stopped.counter("upstream_connects"), 0);
    assert_eq!(origin.accepted(), 0);
}

#[test]
fn other_protocols_are_named() {
    let origin = Origin::echo();
    let mut gateway = Setup::to(origin.address()).start();
    let random: Vec<u8> = (0..4096_u32).map(|index| ((index * 7919) >> 3) as u8 | 0x80).collect();
    // A record header that announces 64 KiB, and a ClientHello of 64 KiB in legal records.
    let mut endless = Vec::new();
    let mut message = vec![1, 1, 0, 0];
    message.resize(4 + 0x1_0000, 0);
    for fragment in message.chunks(0x4000) {
        endless.extend([22, 3, 1]);
        endless.extend(u16::try_from(fragment.len()).expect("2^14").to_be_bytes());
        endless.extend(fragment);
    }
    let cases: [(&[u8], &str); 7] = [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "plain_http"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "not_tls"),
        (&random, "not_tls"),
        (&[0; 64], "not_tls"),
        (&[22, 3, 1, 0xff, 0xff, 1, 0, 0, 0, 0], "hello_malformed"),
        (&endless, "hello_too_large"),
        (&[22, 3, 1, 0, 8, 1, 0, 0, 4, 3, 3, 0, 0], "hello_malformed"),
    ];
    for (bytes, reason) in cases {
        let mut stream = connect(gateway.address());
        let peer = stream.local_addr().expect("connected");
        // It may end before all was sent.
        let _ = stream.write_all(bytes);
        let answer = read_until_end(&mut stream);
        let record = gateway.record_of(peer);
        assert_eq!(record["close_reason"], reason, "{record}");
        assert_eq!(record["close_source"], "downstream", "{record}");
        if reason.starts_with("hello") {
            assert!(alert(&answer).is_some(), "{reason}: {answer:?}");
        }
    }
    assert_untouched(gateway, &origin);
}

#[test]
fn a_handshake_that_takes_too_long_is_ended() {
    let origin = Origin::echo();
    let setup = Setup::to(origin.address()).listener("handshake_timeout_ms = 700");
    let mut gateway = setup.start();
    let hello = client_hello();
    // Nothing; a byte now and then, which is no reason to wait longer; all but what follows.
    let began = Instant::now();
    let mut silent = connect(gateway.address());
    let mut halfway = connect(gateway.address());
    halfway.write_all(&hello).expect("the connection is up");
    let mut slow = connect(gateway.address());
    let slow_peer = slow.local_addr().expect("connected");
    let dripping = std::thread::spawn(move || {
        slow.set_read_timeout(Some(Duration::from_millis(100))).expect("a socket");
        for byte in hello {
            let waited = match slow.write_all(&[byte]) {
                Ok(()) => slow.read(&mut [0; 1]),
                Err(_) => break,
            };
            match waited {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                _ => break,
            }
        }
    });
    for stream in [&mut silent, &mut halfway] {
        read_until_end(stream);
        let peer = stream.local_addr().expect("connected");
        let record = gateway.record_of(peer);
        assert_eq!(record["close_reason"], "handshake_timeout", "{record}");
        let total_us = record["total_us"].as_u64().expect("a number");
        assert!((690_000..5_000_000).contains(&total_us), "{record}");
    }
    assert_eq!(gateway.record_of(slow_peer)["close_reason"], "handshake_timeout");
    assert!(began.elapsed() >= Duration::from_millis(700));
    dripping.join().expect("no panic");
    drop((silent, halfway));
    assert_untouched(gateway, &origin);
}

#[test]
fn slow_clients_in_the_clienthello_hold_no_receive_buffer() {
    let origin = Origin::echo();
    let setup = Setup::to(origin.address()).top("workers = 1").table("[ring]\nrecv_buffers = 8");
    let gateway = setup.start();
    let slow: Vec<_> = (0..64)
        .map(|_| {
            let mut stream = connect(gateway.address());
            stream.write_all(&client_hello()[..50]).expect("the connection is up");
            stream
        })
        .collect();
    let began = Instant::now();
    let mut client = Client::connect(gateway.address());
    client.echo(&[7; 300_000]);
    client.end();
    assert!(began.elapsed() < Duration::from_secs(8), "served after the slow ones had timed out");
    drop(slow);
    assert_untouched_but(gateway, 1);
}

#[track_caller]
fn assert_untouched_but(gateway: Gateway, served: u64) {
    let stopped = gateway.terminate();
    stopped.assert_clean();
    assert_eq!(stopped.counter("upstream_connects"), served);
}

#[test]
fn clients_that_vanish_at_any_byte_of_the_handshake_leave_nothing() {
    let origin = Origin::echo();
    let mut gateway = Setup::to(origin.address()).start();
    let hello = client_hello();
    let offsets = [0, 1, 4, 5, 6, 9, 43, hello.len() / 2, hello.len() - 1];
    for at in offsets {
        for with_reset in [false, true] {
            let mut stream = connect(gateway.address());
            let peer = stream.local_addr().expect("connected");
            stream.write_all(&hello[..at]).expect("the connection is up");
            end(stream, with_reset);
            // Where the reset comes before accept(2), the kernel knows no peer any more.
            let peer = peer.to_string();
            let record = gateway.wait_for_record(|record| {
                record["peer"] == peer || (with_reset && record["peer"].is_null())
            });
            assert_eq!(record["close_reason"], "handshake_aborted", "{at}: {record}");
        }
    }
    assert_untouched(gateway, &origin);
}

#[test]
fn clients_that_vanish_after_a_flight_leave_nothing() {
    let origin = Origin::echo();
    let mut gateway = Setup::to(origin.address()).start();
    for options in [ClientOptions::default().tls13(), ClientOptions::default().tls12()] {
        for with_reset in [false, true] {
            let mut client = options.open(gateway.address()).expect("the port is open");
            let peer = client.local_address();
            client.flush();
            // The server's flight is there and not answered.
            while client.tls.is_handshaking() && !client.tls.wants_write() {
                client.tls.read_tls(&mut client.socket).expect("the connection is up");
                client.tls.process_new_packets().expect("the gateway speaks TLS");
            }
            // Part of the client's second flight.
            let mut flight = Vec::new();
            client.tls.write_tls(&mut flight).expect("into memory");
            client.socket.write_all(&flight[..flight.len() / 2]).expect("the connection is up");
            end(client.socket, with_reset);
            let record = gateway.record_of(peer);
            assert_eq!(record["close_reason"], "handshake_aborted", "{record}");
        }
    }
    assert_untouched(gateway, &origin);
}

fn end(stream: std::net::TcpStream, with_reset: bool) {
    if with_reset {
        reset(stream);
    } else {
        stream.shutdown(Shutdown::Write).expect("the connection is up");
    }
}

#[test]
fn a_record_that_was_tampered_with_ends_the_connection() {
    const SECRET: &[u8] = b"and this is changed";
    let origin = Origin::echo();
    let mut gateway = Setup::to(origin.address()).start();
    for options in [ClientOptions::default().tls13(), ClientOptions::default().tls12()] {
        let tampering = relay_records(gateway.address(), |_, mut record| {
            // The tag, the version and the content type of TLS 1.3 add 17 to 24 bytes.
            let body = record.len() - 5;
            if record[0] == 23 && (SECRET.len() + 16..SECRET.len() + 26).contains(&body) {
                let last = record.len() - 1;
                record[last] ^= 1;
            }
            Some(record)
        });
        let mut client = options.connect(tampering).expect("the handshake is left alone");
        client.echo(b"ok");
        client.send(SECRET);
        let error = client.read_to_end().expect_err("the gateway must notice");
        assert_eq!(alert_of(&error), Some(AlertDescription::BadRecordMac), "{error:?}");
        let record = gateway.wait_for_record(|_| true);
        assert_eq!(record["close_reason"], "tls_failed", "{record}");
        let served = origin.next_served();
        assert_eq!((served.bytes, served.orderly), (2, false));
    }
    gateway.terminate().assert_clean();
}

#[test]
fn a_bad_certificate_followed_by_garbage_is_refused_once() {
    // Refused at the Certificate, while the rest of the flight and a broken record wait.
    let origin = Origin::echo();
    let mut gateway = Setup::to(origin.address()).start();
    for options in [ClientOptions::anonymous().tls13(), ClientOptions::anonymous().tls12()] {
        let tampering = relay_records(gateway.address(), |number, mut record| {
            if number == 1 {
                let garbage = [&[23, 3, 3, 0, 40][..], &[0x55; 40]].concat();
                record.extend(garbage.repeat(3));
            }
            Some(record)
        });
        let mut client = options.open(tampering).expect("the relay is there");
        client
            .shake_hands()
            .and_then(|()| client.read(&mut [0; 1]))
            .expect_err("the gateway must refuse");
        let record = gateway.wait_for_record(|_| true);
        assert_ne!(record["close_reason"], "finished", "{record}");
    }
    assert_untouched(gateway, &origin);
}

#[test]
fn a_handshake_message_that_was_tampered_with_ends_the_handshake() {
    let origin = Origin::echo();
    let mut gateway = Setup::to(origin.address()).start();
    // The ClientHello's random: both sides derive other keys.
    let tampering = relay_records(gateway.address(), |number, mut record| {
        if number == 0 {
            record[5 + 4 + 2 + 7] ^= 1;
        }
        Some(record)
    });
    let mut client = ClientOptions::default().tls13().open(tampering).expect("the relay is there");
    client.shake_hands().expect_err("the transcript differs");
    let record = gateway.wait_for_record(|_| true);
    assert_ne!(record["close_reason"], "finished", "{record}");
    assert_untouched(gateway, &origin);
}
