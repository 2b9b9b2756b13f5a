//! A worker without sockets: what `proxy::connection` and `proxy::relay` do with a connection, on
//! bytes in memory.
//!
//! The real ones await an io_uring. This one makes the same calls of the same code in the same
//! order (sessions, identity, policy, op slots, timer wheel, send storage, counters, log line), and
//! each completion comes at once. It has no executor, no socket states, no admission and no kernel.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ringfort::error::{CloseKind, CloseReason};
use ringfort::log::{ClockPair, ConnectionRecord, Negotiated};
use ringfort::metrics::counter::WorkerCounters;
use ringfort::policy::{Decision, decide};
use ringfort::rt::buffer::RecvBuf;
use ringfort::rt::op::{Kind, OpId, OpSlots};
use ringfort::rt::pool::SendPool;
use ringfort::rt::timer::{TimerKey, Wheel};
use ringfort::sys::ops::SendBuf;
use ringfort::time::Instant;
use ringfort::tls::hello::{self, Progress};
use ringfort::tls::session::{Agreed, Session, encrypted_bytes_max};
use ringfort::trust::lease;
use ringfort::trust::verdict::Verdict;
use ringfort::trust::visit::Visit;
use rustls::SignatureScheme;
use slab::Slab;
use time::OffsetDateTime;

use super::memory::{Ends, NOW_UNIX_S};

/// Room for one flight, as `tls::stream` makes it.
const FLIGHT_BYTES: usize = 4 * 1024;
/// Of a gateway's worker.
const TIMER_TICK: Duration = Duration::from_millis(1);
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const IDLE_TIMEOUT: Duration = Duration::from_secs(300);

/// Bytes that the kernel is sending.
pub struct InFlight {
    id: OpId,
    data: SendBuf,
}

impl InFlight {
    /// What goes to the peer.
    pub fn bytes(&self) -> &[u8] {
        self.data.remaining()
    }
}

pub(super) struct Connection {
    pub(super) session: Session,
    /// While it shakes hands.
    pub(super) visit: Option<Arc<Visit>>,
    /// What its lease is about.
    pub(super) client: Option<Arc<Verdict>>,
    pub(super) receive: OpId,
    pub(super) upstream_receive: Option<OpId>,
    pub(super) timer: TimerKey,
    pub(super) to_client: SendBuf,
    pub(super) to_upstream: SendBuf,
    pub(super) last_byte: Instant,
    pub(super) record: Box<ConnectionRecord>,
}

/// See the module's description.
pub struct Gateway<'e> {
    ends: &'e Ends,
    accept: OpId,
    pub(super) ops: OpSlots,
    timers: Wheel<usize>,
    pub(super) pool: SendPool,
    pub(super) connections: Slab<Connection>,
    pub(super) counters: Arc<WorkerCounters>,
    listener: Arc<str>,
    upstream: Arc<str>,
    /// The worker's clock, which the scenario moves.
    pub now: Instant,
    clocks: ClockPair,
}

impl<'e> Gateway<'e> {
    /// One listener of `ends`.
    pub fn new(ends: &'e Ends) -> Self {
        let now = Instant::from_nanos(1_000_000_000);
        let mut ops = OpSlots::default();
        Self {
            ends,
            accept: ops.start(Kind::Accept, 0),
            ops,
            timers: Wheel::new(now, TIMER_TICK),
            pool: SendPool::default(),
            connections: Slab::new(),
            counters: WorkerCounters::new(),
            listener: "bench".into(),
            upstream: "127.0.0.1:9".into(),
            now,
            clocks: ClockPair {
                monotonic: now,
                wall: OffsetDateTime::from_unix_timestamp(NOW_UNIX_S as i64).expect("a date"),
            },
        }
    }

    /// A connection is accepted and brings its ClientHello; returns its key and the answer.
    pub fn accept(&mut self, flight: &mut [u8]) -> (usize, InFlight) {
        self.ops.complete(self.accept.user_data(), true);
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 40_000));
        let mut record = Box::new(ConnectionRecord::new(self.now, &self.listener, Some(peer)));
        let entry = self.connections.vacant_entry();
        let key = entry.key();
        let receive = self.ops.start(Kind::Receive, key as u32);
        let timer = self.timers.insert(self.now + HANDSHAKE_TIMEOUT, key);
        self.ops.complete(receive.user_data(), true);
        let Ok(Progress::Complete(hello)) = hello::parse(flight) else { panic!("a ClientHello") };
        let schemes: Vec<_> =
            hello.signature_schemes.iter().copied().map(SignatureScheme::from).collect();
        let (visit, config) = self.ends.serve(hello.server_name.as_deref(), &schemes);
        record.server_name = hello.server_name.map(String::into_boxed_str);
        let session = Session::new(config).expect("a session");
        entry.insert(Connection {
            session,
            visit: Some(visit),
            client: None,
            receive,
            upstream_receive: None,
            timer,
            to_client: SendBuf::default(),
            to_upstream: SendBuf::default(),
            last_byte: self.now,
            record,
        });
        assert!(self.shake(key, flight).is_none(), "more is to come of a handshake");
        (key, self.send_to_client(key).expect("the server's flight"))
    }

    /// The client's last flight: it is authenticated, allowed, and joined with an upstream.
    /// Returns whether the session was resumed, and what there is to send.
    pub fn finish_handshake(&mut self, key: usize, flight: &mut [u8]) -> (bool, Option<InFlight>) {
        self.ops.complete(self.connections[key].receive.user_data(), true);
        let agreed = self.shake(key, flight).expect("a complete handshake");
        let answer = self.send_to_client(key);
        let connection = &mut self.connections[key];
        self.timers.cancel(connection.timer);
        let record = &mut connection.record;
        record.handshake = Some(self.now - record.opened);
        record.negotiated = Some(Negotiated {
            version: agreed.version.into(),
            suite: agreed.suite.suite().into(),
            group: agreed.group.map(u16::from),
            resumed: agreed.resumed,
        });
        record.alpn = agreed.alpn;
        self.counters.handshakes_done.increment();
        let visit = connection.visit.take().expect("it shakes hands");
        let admitted = visit.finish(agreed.resumed, agreed.peer_certificate.as_ref());
        let client = admitted.verdict.expect("a certificate was required");
        record.identity = Some(Arc::clone(client.identity.as_ref().expect("an identity")));
        let scope = &self.ends.scope;
        assert_eq!(decide(scope.rules(), record.identity.as_deref()), Decision::Allowed);
        let wall = self.ends.listener.time().current_time().expect("a clock");
        let until = lease::check(scope, Some(&client), wall).expect("it may stay");
        assert!(until.is_some(), "certificates end");
        connection.client = Some(client);
        let connect = self.ops.start(Kind::Connect, key as u32);
        self.ops.complete(connect.user_data(), false);
        record.upstream = Some(Arc::clone(&self.upstream));
        connection.upstream_receive = Some(self.ops.start(Kind::Receive, key as u32));
        connection.timer = self.timers.insert(self.now + IDLE_TIMEOUT, key);
        connection.last_byte = self.now;
        (agreed.resumed, answer)
    }

    fn shake(&mut self, key: usize, flight: &mut [u8]) -> Option<Agreed> {
        let connection = &mut self.connections[key];
        self.pool.reserve(&mut connection.to_client, FLIGHT_BYTES);
        let out = connection.to_client.tail();
        let agreed = connection.session.handshake(flight, out).expect("a good client");
        if let (Some(resumed), Some(visit)) = (connection.session.resumed(), &connection.visit) {
            visit.settle(resumed);
        }
        agreed
    }

    /// Bytes of the client, for the upstream; `None` where they complete no record.
    pub fn relay_up(&mut self, key: usize, received: &RecvBuf) -> Option<InFlight> {
        let connection = &mut self.connections[key];
        self.ops.complete(connection.receive.user_data(), true);
        let room = received.len() + connection.session.partial_bytes();
        let plain = &mut connection.to_upstream;
        self.pool.reserve(plain, room);
        let before = plain.len();
        let read = connection.session.read(received, plain.tail(), connection.to_client.tail());
        read.expect("good records");
        let count = (plain.len() - before) as u64;
        connection.record.bytes_up += count;
        self.counters.bytes_up.add(count);
        connection.last_byte = self.now;
        assert!(connection.to_client.is_empty(), "TLS has nothing to say by itself");
        let data = std::mem::take(&mut connection.to_upstream);
        self.send(key, data)
    }

    /// Bytes of the upstream, for the client.
    pub fn relay_down(&mut self, key: usize, received: &RecvBuf) -> Option<InFlight> {
        let connection = &mut self.connections[key];
        let receive = connection.upstream_receive.expect("joined with an upstream");
        self.ops.complete(receive.user_data(), true);
        self.pool.reserve(&mut connection.to_client, encrypted_bytes_max(received.len()));
        let written = connection.session.write(received, connection.to_client.tail());
        written.expect("keys");
        connection.record.bytes_down += received.len() as u64;
        self.counters.bytes_down.add(received.len() as u64);
        connection.last_byte = self.now;
        self.send_to_client(key)
    }

    /// The kernel has sent all of it.
    pub fn sent(&mut self, mut sent: InFlight) {
        self.ops.complete(sent.id.user_data(), false);
        self.counters.bytes_sent.add(sent.data.len() as u64);
        sent.data.advance(sent.data.len());
        self.pool.put(sent.data);
    }

    /// Lets time pass until no connection is left: each is closed when its idle timeout has
    /// passed, and moves its timer where bytes came since that was set. Returns the log's bytes.
    pub fn idle_out(&mut self) -> usize {
        let mut log_bytes = 0;
        while let Some(deadline) = self.timers.next_deadline() {
            self.now = deadline;
            while let Some(key) = self.timers.expire(self.now) {
                let connection = &mut self.connections[key];
                let idle_at = connection.last_byte + IDLE_TIMEOUT;
                if self.now < idle_at {
                    connection.timer = self.timers.insert(idle_at, key);
                } else {
                    let reason = CloseReason::internal(CloseKind::IdleTimeout);
                    log_bytes += self.close(key, reason).len();
                }
            }
        }
        assert!(self.connections.is_empty() && log_bytes > 0);
        log_bytes
    }

    /// Ends a connection, and returns its line of the log.
    pub fn close(&mut self, key: usize, reason: CloseReason) -> String {
        if reason.kind == CloseKind::Finished {
            let connection = &mut self.connections[key];
            self.pool.reserve(&mut connection.to_client, encrypted_bytes_max(0));
            connection.session.close(connection.to_client.tail());
            let notify = self.send_to_client(key).expect("close_notify");
            self.sent(notify);
        }
        let mut connection = self.connections.remove(key);
        self.timers.cancel(connection.timer);
        for receive in [Some(connection.receive), connection.upstream_receive].into_iter().flatten()
        {
            self.ops.complete(receive.user_data(), false);
            let close = self.ops.start(Kind::Close, key as u32);
            self.ops.complete(close.user_data(), false);
        }
        connection.record.reason = reason;
        connection.record.closed = self.now;
        connection.record.line(&self.clocks)
    }

    pub(super) fn send_to_client(&mut self, key: usize) -> Option<InFlight> {
        let data = std::mem::take(&mut self.connections[key].to_client);
        self.send(key, data)
    }

    pub(super) fn send(&mut self, key: usize, data: SendBuf) -> Option<InFlight> {
        if data.is_empty() {
            self.pool.put(data);
            return None;
        }
        Some(InFlight { id: self.ops.start(Kind::Send, key as u32), data })
    }
}
