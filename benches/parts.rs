//! What single parts of the data plane cost in time: records, ClientHello, policy, timers, op
//! slots, receive buffers, send storage, log line.
//!
//! `cargo bench --bench parts` runs all, `cargo bench --bench parts -- record` some. Times drift
//! with the machine: compare within one hour, and let `scripts/icount` judge a change. All is in
//! memory but for the ring of receive buffers: only an io_uring can lend from it, so that row has
//! the kernel's part in it.

#[path = "memory/mod.rs"]
mod memory;

use std::hint::black_box;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput};
use memory::{Ends, Sessions, client_leaf};
use ringfort::error::{CloseKind, CloseReason};
use ringfort::identity::Identity;
use ringfort::log::{ClockPair, ConnectionRecord, Negotiated};
use ringfort::metrics::phases::{Phase, Phases};
use ringfort::policy::{Decision, Rules, decide};
use ringfort::rt::op::{Kind, OpSlots};
use ringfort::rt::pool::SendPool;
use ringfort::rt::timer::Wheel;
use ringfort::rt::uring::Uring;
use ringfort::sys::ops::{Completion, Op, Payload, SendBuf};
use ringfort::sys::ring::{Ring, RingOptions, Wait};
use ringfort::time::Instant;
use ringfort::tls::hello::{self, Progress};
use ringfort::tls::provider::{Backend, provider};
use ringfort::tls::record::{ContentType, ReadKeys, WriteKeys};
use ringfort::tls::session::Session;
use rustls::CipherSuite::TLS13_AES_256_GCM_SHA384;
use rustls::crypto::cipher::{AeadKey, Iv};
use rustls::{ConnectionTrafficSecrets, SupportedCipherSuite};
use time::OffsetDateTime;

/// What is alive besides in a table that is measured: a busy worker's.
const CROWD: u64 = 10_000;
const RECORD_BYTES: [usize; 3] = [64, 1_400, 16 * 1024];

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    records(&mut criterion);
    pump(&mut criterion);
    client_hello(&mut criterion);
    policy(&mut criterion);
    timers(&mut criterion);
    op_slots(&mut criterion);
    receive_buffers(&mut criterion);
    send_storage(&mut criterion);
    phases(&mut criterion);
    log_line(&mut criterion);
    criterion.final_summary();
}

/// Of the preferred backend.
fn keys() -> (WriteKeys, ReadKeys) {
    let suites = Backend::ALL[0].suites();
    let is_it = |suite: &&SupportedCipherSuite| suite.suite() == TLS13_AES_256_GCM_SHA384;
    let suite = *suites.iter().find(is_it).expect("every backend has it");
    let secrets = || {
        let (key, iv) = (AeadKey::from([7; 32]), Iv::new([9; 12]));
        (0, ConnectionTrafficSecrets::Aes256Gcm { key, iv })
    };
    let write = WriteKeys::new(suite, secrets(), u64::MAX).expect("a known algorithm");
    (write, ReadKeys::new(suite, secrets(), u64::MAX).expect("a known algorithm"))
}

fn records(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("record, AES-256-GCM");
    for bytes in RECORD_BYTES {
        let content = vec![3; bytes];
        group.throughput(Throughput::Bytes(bytes as u64));
        let ((mut write, _), mut out) = (keys(), Vec::new());
        group.bench_function(format!("seal {bytes} B"), |bencher| {
            bencher.iter(|| {
                out.clear();
                write.seal(ContentType::Data, black_box(&content), &mut out).expect("a fresh key");
            });
        });
        // In step: a record opens under its own number only.
        let ((mut write, mut read), mut plain) = (keys(), Vec::new());
        let sealed = || {
            let mut wire = Vec::new();
            write.seal(ContentType::Data, &content, &mut wire).expect("a fresh key");
            wire
        };
        let open = |wire: &mut Vec<u8>| {
            plain.clear();
            read.open(wire, &mut plain).expect("the next record");
        };
        let mut functions = (sealed, open);
        group.bench_function(format!("open {bytes} B"), |bencher| {
            let (sealed, open) = &mut functions;
            bencher.iter_batched_ref(sealed, open, BatchSize::SmallInput);
        });
    }
}

/// What a session does with a record that is echoed: decrypted, and encrypted again.
fn pump(criterion: &mut Criterion) {
    let ends = Ends::new(provider(Backend::ALL[0], &[], &[]).expect("all"), Sessions::Off);
    let mut group = criterion.benchmark_group("pump, the preferred suite");
    for bytes in RECORD_BYTES {
        let content = vec![3; bytes];
        group.throughput(Throughput::Bytes(bytes as u64));
        let mut client = ends.client();
        let mut session = Session::new(ends.serve(None, &[]).1).expect("a session");
        memory::shake(&mut client, |flight, out| {
            session.handshake(flight, out).expect("a good client");
        });
        let (mut plain, mut out) = (Vec::new(), Vec::new());
        let echo = |wire: &mut Vec<u8>| {
            plain.clear();
            out.clear();
            session.read(wire, &mut plain, &mut out).expect("the next record");
            session.write(&plain, &mut out).expect("keys");
        };
        let mut functions = (|| memory::sent(&mut client, &content), echo);
        group.bench_function(format!("{bytes} B"), |bencher| {
            let (sent, echo) = &mut functions;
            bencher.iter_batched_ref(sent, echo, BatchSize::SmallInput);
        });
        assert!(plain.is_empty() || plain == content);
    }
}

fn client_hello(criterion: &mut Criterion) {
    let ends = Ends::new(provider(Backend::ALL[0], &[], &[]).expect("all"), Sessions::Off);
    let hello = memory::flight(&mut ends.client());
    assert!(matches!(hello::parse(&hello), Ok(Progress::Complete(_))));
    criterion.bench_function("ClientHello", |bencher| {
        bencher.iter(|| hello::parse(black_box(&hello)));
    });
}

fn policy(criterion: &mut Criterion) {
    let leaf = client_leaf();
    let identity = Identity::from_der(&leaf).expect("an identity");
    criterion.bench_function("identity of a certificate", |bencher| {
        bencher.iter(|| Identity::from_der(black_box(&leaf)));
    });
    for others in [0, 99] {
        let others = (0..others).map(|number| format!("spiffe://bench.example/other/{number}"));
        let patterns = others.chain(["spiffe://bench.example/*".to_owned()]);
        let rules = Rules::allow(patterns.map(|text| text.parse().expect("a pattern")).collect());
        assert_eq!(decide(&rules, Some(&identity)), Decision::Allowed);
        let count = rules.allowed().map_or(0, <[_]>::len);
        criterion.bench_function(&format!("policy, the last of {count} patterns"), |bencher| {
            bencher.iter(|| decide(black_box(&rules), Some(black_box(&identity))));
        });
    }
}

fn timers(criterion: &mut Criterion) {
    let at = |ms: u64| Instant::from_nanos(ms * 1_000_000);
    let crowded = || {
        let mut wheel = Wheel::new(at(0), Duration::from_millis(1));
        for number in 0..CROWD {
            wheel.insert(at(60_000 + number), number);
        }
        wheel
    };
    let mut wheel = crowded();
    criterion.bench_function("timer, start and cancel", |bencher| {
        bencher.iter(|| {
            let key = wheel.insert(black_box(at(10_000)), 0);
            wheel.cancel(key)
        });
    });
    let mut wheel = crowded();
    criterion.bench_function("timer, start and expire", |bencher| {
        let mut now = at(1);
        bencher.iter(|| {
            // Slower than the crowd's deadlines come near.
            now = now + Duration::from_nanos(100);
            wheel.insert(now, 0);
            wheel.expire(now + Duration::from_millis(1))
        });
    });
}

fn op_slots(criterion: &mut Criterion) {
    let mut slots = OpSlots::default();
    for owner in 0..CROWD {
        slots.start(Kind::Receive, owner as u32);
    }
    criterion.bench_function("op slot, start and complete", |bencher| {
        bencher.iter(|| {
            let id = slots.start(Kind::Send, black_box(7));
            slots.complete(id.user_data(), false)
        });
    });
}

/// A message comes into a buffer of the ring, and the buffer goes home; the write(2) of the sender
/// is in it too.
fn receive_buffers(criterion: &mut Criterion) {
    const MESSAGE: [u8; 64] = [7; 64];
    let options = RingOptions {
        entries: 64,
        recv_buffers: 64,
        sqpoll_idle_ms: 0,
        napi_busy_poll_us: 0,
        zero_copy_send: false,
    };
    let mut ring = Ring::new(&options).unwrap_or_else(|error| panic!("{error}"));
    let (mut sender, receiver) = UnixStream::pair().expect("two sockets");
    ring.push(0, Op::RecvMultishot { socket: receiver.as_raw_fd() });
    criterion.bench_function("receive buffer, 64 B by io_uring", |bencher| {
        bencher.iter(|| {
            sender.write_all(&MESSAGE).expect("room");
            ring.enter(Wait::Forever).expect("a ring");
            let Some(Completion { payload: Payload::Received(buffer), more: true, .. }) =
                ring.next_completion()
            else {
                panic!("expected a buffer, and more to come")
            };
            assert_eq!(buffer.len(), MESSAGE.len());
        });
    });
    assert_eq!(ring.buffers().free(), ring.buffers().total(), "each buffer went home");
}

fn send_storage(criterion: &mut Criterion) {
    for bytes in RECORD_BYTES {
        let mut pool = SendPool::default();
        criterion.bench_function(&format!("send storage for {bytes} B"), |bencher| {
            bencher.iter(|| {
                let mut buf = SendBuf::default();
                pool.reserve(&mut buf, black_box(bytes));
                pool.put(buf);
            });
        });
    }
}

/// What timing the phases of one handshake takes: looks at the clock, and recordings.
fn phases(criterion: &mut Criterion) {
    let phases = Phases::new();
    let all = [
        Phase::HelloWait,
        Phase::ServerFlight,
        Phase::ClientFlightWait,
        Phase::ChainVerification,
        Phase::Policy,
    ];
    criterion.bench_function("phases of a handshake", |bencher| {
        bencher.iter(|| {
            // Two more looks than phases: where the handshake and the policy begin.
            let mut last = (Uring::clock(), Uring::clock()).1;
            for phase in all {
                let now = Uring::clock();
                phases.record(phase, now - last);
                last = now;
            }
        });
    });
}

fn log_line(criterion: &mut Criterion) {
    let opened = Instant::from_nanos(1_000_000_000);
    let listener: Arc<str> = "public".into();
    let peer = "192.0.2.7:40000".parse().expect("an address");
    let mut record = ConnectionRecord::new(opened, &listener, Some(peer));
    record.closed = opened + Duration::from_millis(1500);
    record.server_name = Some("localhost".into());
    record.negotiated =
        Some(Negotiated { version: 0x0304, suite: 0x1301, group: Some(0x001d), resumed: false });
    record.identity = Some(Arc::new(Identity::from_der(&client_leaf()).expect("an identity")));
    record.upstream = Some("127.0.0.1:8080".into());
    record.handshake = Some(Duration::from_micros(700));
    record.reason = CloseReason::downstream(CloseKind::Finished);
    let clocks = ClockPair { monotonic: record.closed, wall: OffsetDateTime::UNIX_EPOCH };
    criterion.bench_function("log line", |bencher| {
        bencher.iter(|| black_box(&record).line(&clocks));
    });
}
