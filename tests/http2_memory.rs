//! Heap of a client's idle connection of HTTP/2, counted: before it has said anything, after its
//! settings, and after requests as browsers and libraries send them.

use std::alloc::System;
use std::net::TcpStream;
use std::time::Duration;

use ringfort::http2::options::Http2Options;
use ringfort::http2::server::{Lifetime, Next, Server};
use ringfort::rt::core::Core;
use ringfort::rt::stream::Stream;
use ringfort::tls::transport::Transport;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[allow(dead_code)] // Shared with the tests of the runtime, which use all of it.
#[path = "runtime/kit.rs"]
mod kit;

#[allow(dead_code)] // Shared with the tests of HTTP/2, which use all of it.
#[path = "http2/frames.rs"]
mod frames;

use frames::{ACK, END_HEADERS, END_STREAM, HEADERS, Peer, SETTINGS, frame, hpack};
use kit::World;

#[global_allocator]
static HEAP: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const HELD: usize = 200;
/// The budgets of decision 0008.
const SILENT_BYTES_MAX: usize = 2 * 1024;
const SETTLED_BYTES_MAX: usize = 33 * 1024;
const SERVED_BYTES_MAX: usize = 40 * 1024;

fn live() -> usize {
    let stats = HEAP.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}

async fn serve(core: Core, stream: Stream) {
    let lifetime = Lifetime { idle_timeout: Duration::from_secs(300), age_at: None };
    let options = Http2Options::default();
    let mut server = Server::new(&core, Transport::Plain(stream), &options, lifetime);
    loop {
        match server.next().await {
            Next::Stream(_, mut respond) => {
                respond.send_response(http::Response::new(()), true).expect("the client waits");
            }
            Next::End(_) => return,
        }
    }
}

fn request() -> Vec<u8> {
    hpack(&[
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", "api.example.com"),
        (":path", "/v1/accounts/1234/transactions?limit=50"),
        ("user-agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/130.0.0.0"),
        ("accept", "application/json, text/plain, */*"),
        ("accept-encoding", "gzip, deflate, br, zstd"),
        ("accept-language", "en-GB,en;q=0.9"),
    ])
}

/// As [`hpack`] makes it, but with every field put into the table (RFC 7541, 6.2.1).
fn indexed(block: Vec<u8>) -> Vec<u8> {
    let mut out = block;
    let mut at = 0;
    while at < out.len() {
        out[at] = 0x40;
        at += 1;
        for _ in 0..2 {
            // All are shorter than 127 bytes.
            at += 1 + usize::from(out[at]);
        }
    }
    out
}

#[test]
fn an_idle_connection_of_http2_stays_within_its_budget() {
    let world = World::alone();
    let mut pairs: Vec<(Option<Stream>, TcpStream)> = Vec::new();
    for _ in 0..HELD {
        let (stream, socket) = world.connected();
        pairs.push((Some(stream), socket));
    }
    let start = live();
    for (stream, _) in &mut pairs {
        world.core.spawn(serve(world.core.clone(), stream.take().expect("once")));
    }
    world.pass(Duration::from_millis(200));
    let silent = (live() - start) / HELD;

    let mut peers: Vec<Peer> =
        pairs.into_iter().map(|(_, socket)| Peer::client(socket, &[])).collect();
    for peer in &mut peers {
        peer.send(&frame(SETTINGS, ACK, 0, &[]));
    }
    world.pass(Duration::from_millis(500));
    let settled = (live() - start) / HELD;

    let block = indexed(request());
    for round in 0..3 {
        for peer in &mut peers {
            peer.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1 + 2 * round, &block));
        }
        world.pass(Duration::from_millis(500));
    }
    // What h2 remembers of streams that were reset is gone, too.
    world.pass(Duration::from_millis(1_500));
    let served = (live() - start) / HELD;
    println!("silent {silent}, after settings {settled}, after three requests {served} bytes each");
    drop(peers);
    world.settle();
    assert!(silent > 500 && settled > silent, "{silent} and {settled} bytes cannot be all");
    assert!(silent <= SILENT_BYTES_MAX, "{silent} bytes before anything was said");
    assert!(settled <= SETTLED_BYTES_MAX, "{settled} bytes after settings");
    assert!(served <= SERVED_BYTES_MAX, "{served} bytes after requests");
}
