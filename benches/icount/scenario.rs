//! What is counted: each scenario plays the client and the upstream, and has the gateway's part
//! counted.
//!
//! It runs once without being counted, so that tables, pools and statics are as they are in a
//! gateway that has served before, and then once more.

use std::time::Duration;

use ringfort::error::{CloseKind, CloseReason};
use ringfort::limits::RECV_BUFFER_BYTES;
use ringfort::rt::buffer::RecvBuf;
use ringfort::tls::provider::{Backend, provider};
use ringfort::trust::verdict::VerdictCache;
use rustls::crypto::{CryptoProvider, GetRandomFailed, SecureRandom};
use rustls::{CipherSuite, ClientConnection, NamedGroup};

use super::gateway::{Gateway, InFlight};
use super::http::{self, BODY_BYTES, GET, POST, RESPONSE};
use super::memory::{Ends, Sessions, VERDICTS_MAX, deliver, sent, shake};

/// A scenario: its name, how clients come back, and what plays it.
pub type Scenario = (&'static str, Sessions, fn(&Ends, Meter));

/// All of them, in the order of the table.
pub const SCENARIOS: [Scenario; 10] = [
    ("full-new-chain", Sessions::Off, new_chain),
    ("full-seen-chain", Sessions::Off, handshake),
    ("resumed-by-cache", Sessions::Cache, handshake),
    ("resumed-by-ticket", Sessions::Tickets, handshake),
    ("round-trip-128-bytes", Sessions::Off, round_trip),
    ("http1-get", Sessions::Off, get),
    ("http1-post-1-kib", Sessions::Off, post),
    ("relay-1-mib-up", Sessions::Off, relay_up),
    ("relay-1-mib-down", Sessions::Off, relay_down),
    ("100-idle-connections", Sessions::Off, idle),
];

const MIB: usize = 1024 * 1024;
const IDLE_CONNECTIONS: u64 = 100;

/// Plays a scenario twice, the second time counted.
pub fn play((_, sessions, run): &Scenario) {
    let ends = Ends::new(fixed_provider(), *sessions);
    run(&ends, Meter { is_counting: false });
    run(&ends, Meter { is_counting: true });
}

/// Whether what the gateway does is counted now.
#[derive(Clone, Copy)]
pub struct Meter {
    is_counting: bool,
}

impl Meter {
    fn count<R>(self, part: impl FnOnce() -> R) -> R {
        if self.is_counting { counted_part(part) } else { part() }
    }
}

/// What `main` tells callgrind to collect in, by this name.
#[inline(never)]
fn counted_part<R>(part: impl FnOnce() -> R) -> R {
    part()
}

/// The chain was never seen, though caches and tables have their size.
fn new_chain(ends: &Ends, meter: Meter) {
    *ends.desk.verdicts() = VerdictCache::new(VERDICTS_MAX);
    handshake(ends, meter);
    assert_eq!(ends.desk.verdicts().len(), (1, 0), "it is known now");
}

/// Accept, handshake, authorisation, upstream, close and log line.
fn handshake(ends: &Ends, meter: Meter) {
    let mut gateway = Gateway::new(ends);
    let (_client, key, was_resumed) = connect(&mut gateway, ends, meter);
    // The first has no ticket yet.
    assert_eq!(was_resumed, ends.resumes() && meter.is_counting);
    let reason = CloseReason::downstream(CloseKind::Finished);
    let line = meter.count(|| gateway.close(key, reason));
    assert!(line.contains("spiffe://bench.example/client"), "{line}");
}

fn connect(
    gateway: &mut Gateway<'_>,
    ends: &Ends,
    meter: Meter,
) -> (ClientConnection, usize, bool) {
    let mut client = ends.client();
    let (mut key, mut was_resumed) = (None, false);
    shake(&mut client, |flight, out| {
        let answer = match key {
            None => {
                let (accepted, answer) = meter.count(|| gateway.accept(flight));
                key = Some(accepted);
                Some(answer)
            }
            Some(key) => {
                let (resumed, answer) = meter.count(|| gateway.finish_handshake(key, flight));
                was_resumed = resumed;
                answer
            }
        };
        out.extend(arrived(gateway, answer, meter));
    });
    (client, key.expect("accepted"), was_resumed)
}

/// A request of the client, and the upstream's reply.
fn round_trip(ends: &Ends, meter: Meter) {
    const REQUEST: [u8; 128] = [b'q'; 128];
    const REPLY: [u8; 128] = [b'a'; 128];
    let mut gateway = Gateway::new(ends);
    let (mut client, key, _) = connect(&mut gateway, ends, Meter { is_counting: false });
    let request = RecvBuf::Heap(sent(&mut client, &REQUEST));
    let up = meter.count(|| gateway.relay_up(key, &request));
    assert_eq!(arrived(&mut gateway, up, meter), REQUEST);
    let reply = RecvBuf::Heap(REPLY.to_vec());
    let down = meter.count(|| gateway.relay_down(key, &reply));
    assert_eq!(deliver(&mut client, &arrived(&mut gateway, down, meter)), REPLY);
}

/// A GET of HTTP/1.1, and the response with 1 KiB.
fn get(ends: &Ends, meter: Meter) {
    exchange(ends, meter, GET, 0);
}

/// A POST of HTTP/1.1 with 1 KiB, and the response with as much.
fn post(ends: &Ends, meter: Meter) {
    exchange(ends, meter, POST, BODY_BYTES);
}

fn exchange(ends: &Ends, meter: Meter, head: &[u8], body_bytes: usize) {
    let not = Meter { is_counting: false };
    let mut gateway = Gateway::new(ends);
    let routes = http::routes();
    let (mut client, key, _) = connect(&mut gateway, ends, not);
    // The first of a connection has storage to make that later ones find in the pool.
    for meter in [not, meter] {
        let request = [head, &vec![b'q'; body_bytes]].concat();
        let received = RecvBuf::Heap(sent(&mut client, &request));
        let up = meter.count(|| gateway.request_up(key, &received, &routes));
        let up = arrived(&mut gateway, Some(up), meter);
        assert!(up.ends_with(&[&b"\r\n\r\n"[..], &vec![b'q'; body_bytes]].concat()));
        assert!(up.windows(24).any(|it| it == b"X-Forwarded-Proto: https"), "{up:?}");
        let response = RecvBuf::Heap([RESPONSE, &[b'a'; BODY_BYTES]].concat());
        let down = meter.count(|| gateway.response_down(key, &response, &routes));
        let down = deliver(&mut client, &arrived(&mut gateway, Some(down), meter));
        assert!(down.starts_with(b"HTTP/1.1 200 OK\r\n") && down.ends_with(&[b'a'; BODY_BYTES]));
    }
}

/// As much as fits a receive buffer comes at a time, so records are cut at its end.
fn relay_up(ends: &Ends, meter: Meter) {
    let mut gateway = Gateway::new(ends);
    let (mut client, key, _) = connect(&mut gateway, ends, Meter { is_counting: false });
    let wire = sent(&mut client, &vec![7; MIB]);
    let mut bytes = 0;
    for part in wire.chunks(RECV_BUFFER_BYTES) {
        let received = RecvBuf::Heap(part.to_vec());
        let up = meter.count(|| gateway.relay_up(key, &received));
        bytes += arrived(&mut gateway, up, meter).len();
    }
    assert_eq!(bytes, MIB);
}

fn relay_down(ends: &Ends, meter: Meter) {
    let mut gateway = Gateway::new(ends);
    let (mut client, key, _) = connect(&mut gateway, ends, Meter { is_counting: false });
    let mut bytes = 0;
    for part in vec![7; MIB].chunks(RECV_BUFFER_BYTES) {
        let received = RecvBuf::Heap(part.to_vec());
        let down = meter.count(|| gateway.relay_down(key, &received));
        bytes += deliver(&mut client, &arrived(&mut gateway, down, meter)).len();
    }
    assert_eq!(bytes, MIB);
}

/// A hundred connections that came at different times and said something once, until their idle
/// timeouts end them.
fn idle(ends: &Ends, meter: Meter) {
    let mut gateway = Gateway::new(ends);
    let not = Meter { is_counting: false };
    let mut clients: Vec<_> = (0..IDLE_CONNECTIONS)
        .map(|number| {
            gateway.now = gateway.now + Duration::from_millis(number * 7 % 1000);
            connect(&mut gateway, ends, not)
        })
        .collect();
    for (client, key, _) in &mut clients {
        gateway.now = gateway.now + Duration::from_millis(13);
        let said = RecvBuf::Heap(sent(client, b"something"));
        let up = gateway.relay_up(*key, &said);
        assert_eq!(arrived(&mut gateway, up, not), b"something");
    }
    meter.count(|| gateway.idle_out());
}

/// What the peer gets of what is being sent; then the gateway hears that it was sent.
fn arrived(gateway: &mut Gateway<'_>, sending: Option<InFlight>, meter: Meter) -> Vec<u8> {
    let Some(sending) = sending else { return Vec::new() };
    let bytes = sending.bytes().to_vec();
    meter.count(|| gateway.sent(sending));
    bytes
}

/// One suite, one group, and no chance in what rustls itself draws. Keys and signatures are still
/// aws-lc's own, whose instructions do not count.
fn fixed_provider() -> CryptoProvider {
    let suites = [CipherSuite::TLS13_AES_128_GCM_SHA256];
    let provider = provider(Backend::ALL[0], &suites, &[NamedGroup::X25519]);
    CryptoProvider { secure_random: &FixedRandom, ..provider.expect("the default has both") }
}

#[derive(Debug)]
struct FixedRandom;

impl SecureRandom for FixedRandom {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), GetRandomFailed> {
        // Numbers that look random and are the same every time (splitmix64's increment).
        let mut state = bytes.len() as u64;
        for byte in bytes {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15).rotate_left(7);
            *byte = state as u8;
        }
        Ok(())
    }
}
