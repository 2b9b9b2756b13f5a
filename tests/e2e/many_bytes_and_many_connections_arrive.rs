//! Bulk transfers compared by hash, thousands of connections at once and one after the other, and
//! what they cost.

use std::io::{Read, Write};
use std::time::Instant;

use aws_lc_rs::digest::{Context, SHA256, digest};

use crate::harness::{Client, ClientOptions, Origin, Setup, wait_until};

const MIB: usize = 1024 * 1024;
/// Each way and version.
const BULK_MIB: usize = 512;

/// Bytes without a period that could hide a swap.
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut noise = Vec::with_capacity(bytes + 8);
    while noise.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        noise.extend(state.to_le_bytes());
    }
    noise.truncate(bytes);
    noise
}

#[test]
fn a_gibibyte_arrives_upstream() {
    let origin = Origin::sink();
    let gateway = Setup::to(origin.address()).start();
    let piece = noise(MIB);
    for options in [ClientOptions::default().tls13(), ClientOptions::default().tls12()] {
        let mut client = options.connect(gateway.address()).expect("let in");
        let mut hash = Context::new(&SHA256);
        for index in 0..BULK_MIB {
            // Another piece each time, so that none can be lost, doubled or swapped.
            client.send(&(index as u64).to_le_bytes());
            client.send(&piece);
            hash.update(&(index as u64).to_le_bytes());
            hash.update(&piece);
        }
        client.end();
        let served = origin.next_served();
        assert_eq!(served.bytes, (BULK_MIB * (MIB + 8)) as u64);
        assert_eq!(served.sha256, hash.finish().as_ref());
        assert!(served.orderly);
    }
    let stopped = gateway.terminate();
    stopped.assert_clean();
    assert_eq!(stopped.counter("bytes_up"), 2 * (BULK_MIB * (MIB + 8)) as u64);
}

#[test]
fn a_gibibyte_arrives_downstream() {
    let piece = noise(MIB);
    let mut whole = Context::new(&SHA256);
    for _ in 0..BULK_MIB {
        whole.update(&piece);
    }
    let whole = whole.finish();
    let origin = Origin::source(piece, BULK_MIB);
    let gateway = Setup::to(origin.address()).start();
    for options in [ClientOptions::default().tls13(), ClientOptions::default().tls12()] {
        let mut client = options.connect(gateway.address()).expect("let in");
        let mut hash = Context::new(&SHA256);
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match client.read(&mut buffer).expect("close_notify ends it") {
                0 => break,
                count => hash.update(&buffer[..count]),
            }
        }
        assert_eq!(hash.finish().as_ref(), whole.as_ref());
        client.finish();
    }
    let stopped = gateway.terminate();
    stopped.assert_clean();
    assert_eq!(stopped.counter("bytes_down"), 2 * (BULK_MIB * MIB) as u64);
}

#[test]
fn bytes_cross_both_ways_at_once() {
    const BYTES: usize = 32 * MIB;
    let origin = Origin::echo();
    let gateway = Setup::to(origin.address()).start();
    let mut client = Client::connect(gateway.address());
    let sent = noise(BYTES);
    let expected = digest(&SHA256, &sent);
    // One thread, so neither side may wait for the other: never more than a window on its way.
    let mut hash = Context::new(&SHA256);
    let mut received = 0;
    let mut buffer = vec![0; 64 * 1024];
    for window in sent.chunks(256 * 1024) {
        client.send(window);
        let until = received + window.len();
        while received < until {
            let count = client.read(&mut buffer).expect("the gateway sends bytes");
            assert_ne!(count, 0, "it ended early");
            hash.update(&buffer[..count]);
            received += count;
        }
    }
    assert_eq!(hash.finish().as_ref(), expected.as_ref());
    client.end();
    gateway.terminate().assert_clean();
}

#[test]
fn keys_may_be_updated_at_any_time() {
    let origin = Origin::echo();
    let gateway = Setup::to(origin.address()).start();
    let mut client = ClientOptions::default().tls13().connect(gateway.address()).expect("let in");
    for round in 0..50_u8 {
        // The first may share a flight with the end of the handshake.
        client.tls.refresh_traffic_keys().expect("TLS 1.3 has KeyUpdate");
        client.echo(&[round; 5_000]);
    }
    client.end();
    gateway.terminate().assert_clean();
}

#[test]
fn two_thousand_connections_are_served_at_once() {
    const CONNECTIONS: usize = 2_000;
    let origin = Origin::echo();
    let gateway = Setup::to(origin.address()).start();
    let mut clients: Vec<_> =
        (0..CONNECTIONS).map(|_| Client::connect(gateway.address())).collect();
    for round in 0..3_usize {
        for (index, client) in clients.iter_mut().enumerate() {
            client.send(format!("{index:08}{round:08}").as_bytes());
        }
        for (index, client) in clients.iter_mut().enumerate() {
            assert_eq!(client.receive(16), format!("{index:08}{round:08}").as_bytes());
        }
    }
    assert_eq!(origin.accepted(), CONNECTIONS as u64);
    clients.iter_mut().for_each(Client::finish);
    clients.iter_mut().for_each(|client| {
        assert_eq!(client.read_to_end().expect("close_notify ends it"), b"");
    });
    let stopped = gateway.terminate();
    stopped.assert_clean();
    assert_eq!(stopped.counter("handshakes_done"), CONNECTIONS as u64);
    assert_eq!(stopped.counter("upstream_connects"), CONNECTIONS as u64);
}

#[test]
fn ten_thousand_connections_leave_nothing_behind() {
    const THREADS: usize = 4;
    const EACH: usize = 2_500;
    let origin = Origin::echo();
    // Sessions stay, up to session_cache_bytes; this is about connections.
    let gateway = Setup::to(origin.address()).listener("resumption = \"off\"").start();
    let address = gateway.address();
    let descriptors = gateway.process().descriptors();
    let serve = |connections: usize| {
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                std::thread::spawn(move || {
                    for index in 0..connections {
                        let mut client = Client::connect(address);
                        client.echo(b"hello");
                        match index % 4 {
                            // As many clients do: an end without waiting, or none at all.
                            0 => client.finish(),
                            1 => drop(client),
                            _ => client.end(),
                        }
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().expect("all are served"));
    };
    // The first thousand fill pools and heaps, which may stay.
    serve(EACH / 10);
    let settled = |what| {
        wait_until(what, || gateway.process().descriptors() <= descriptors);
        gateway.process().resident_kib()
    };
    let before = settled("descriptors after the first thousand");
    serve(EACH);
    let after = settled("descriptors after all");
    assert!(after < before + 8 * 1024, "{before} KiB have become {after} KiB");
    let stopped = gateway.terminate();
    stopped.assert_clean();
    assert_eq!(stopped.counter("accepted"), (THREADS * (EACH + EACH / 10)) as u64);
}

/// The budget of docs/architecture.md: 0.2 calls of io_uring_enter per request.
#[test]
fn busy_connections_share_system_calls() {
    // How many are busy at once is up to a scheduler that has other tests to run, too.
    let best = (0..20).map(|_| calls_per_request()).find(|calls| *calls < 0.2);
    assert!(best.is_some(), "twenty times 0.2 calls per request or more");
}

fn calls_per_request() -> f64 {
    const CONNECTIONS: usize = 64;
    const ROUNDS: u64 = 500;
    let origin = Origin::echo();
    // One worker, or half of the connections would be each one's.
    let gateway = Setup::to(origin.address()).top("workers = 1").start();
    let mut clients: Vec<_> =
        (0..CONNECTIONS).map(|_| Client::connect(gateway.address())).collect();
    for client in &mut clients {
        client.echo(&[0; 100]);
    }
    let began = Instant::now();
    for round in 0..ROUNDS {
        // All in one go, so that there is something to share.
        let records: Vec<Vec<u8>> = clients
            .iter_mut()
            .map(|client| {
                client.tls.writer().write_all(&[round as u8; 100]).expect("into memory");
                let mut record = Vec::new();
                client.tls.write_tls(&mut record).expect("into memory");
                record
            })
            .collect();
        for (client, record) in clients.iter_mut().zip(records) {
            client.socket.write_all(&record).expect("the connection is up");
        }
        for client in &mut clients {
            assert_eq!(client.receive(100), [round as u8; 100]);
        }
    }
    let took = began.elapsed();
    clients.into_iter().for_each(Client::end);
    let stopped = gateway.terminate();
    stopped.assert_clean();
    let requests = (ROUNDS * CONNECTIONS as u64) as f64;
    let enters = stopped.counter("enters") as f64 / requests;
    eprintln!("{enters:.3} calls per request, {requests} requests in {took:?}");
    enters
}
