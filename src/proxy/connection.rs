//! The life of one connection, top to bottom.
//!
//! Accepted; ClientHello; its turn; handshake; who is it; may it; upstream; relay; close; log.
//! Invariant: no byte of a client reaches an upstream, and no upstream is even connected to, before
//! the client was authenticated and authorised.

use std::cell::Cell;
use std::fmt::Display;
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use rustls::SignatureScheme;

use super::gate::{Asking, Pass};
use super::http;
use super::leases::{Holder, Lease};
use super::relay::{Deadlines, Relay};
use super::worker::Worker;
use crate::attest::Certificates;
use crate::config::snapshot::{Cluster, Snapshot};
use crate::error::{CloseKind, CloseReason, Source};
use crate::identity::Presented;
use crate::log::{ConnectionRecord, Negotiated};
use crate::metrics::phases::{Phase, Phases};
use crate::planted::{Bug, planted};
use crate::policy::{Decision, decide};
use crate::rt::buffer::RecvBuf;
use crate::rt::stream::{Errno, Stream};
use crate::tls::hello::{ClientHello, HelloError};
use crate::tls::session::{Session, SessionError};
use crate::tls::stream::{HandshakeError, HandshakeTimes, TlsStream, handshake, read_hello};
use crate::trust::scope::Scope;
use crate::trust::session::Declined;
use crate::trust::verify::refusal_of;
use crate::trust::visit::Admitted;

/// A client whose handshake is complete.
struct Client {
    stream: TlsStream,
    admitted: Admitted,
    /// What was in force when its handshake began.
    snapshot: Arc<Snapshot>,
    scope: Arc<Scope>,
    presented: Certificates,
}

/// Serves one accepted connection of the listener at `index` to its end.
pub(super) async fn serve(
    worker: Rc<Worker>,
    index: usize,
    stream: Stream,
    mut record: Box<ConnectionRecord>,
    phases: Arc<Phases>,
) {
    let reason = match authenticate(&worker, index, stream, &mut record, &phases).await {
        Ok(client) => {
            // Not in a release build, whose tasks would have room for it.
            #[cfg(feature = "sim")]
            if planted(Bug::AuthoriseAfterConnect) {
                let cluster = Arc::clone(cluster_of(&client.snapshot, index));
                drop(worker.upstreams().connect(worker.core(), &cluster, u32::MAX).await);
            }
            let began = worker.core().clock();
            let decision = authorise(&worker, index, &client, &mut record);
            phases.record(Phase::Policy, worker.core().clock() - began);
            drop(phases);
            worker.settle(&record, decision.is_ok());
            match decision {
                Ok(lease) => {
                    worker.core().make_urgent();
                    forward(&worker, index, client, &lease, &mut record).await
                }
                Err(reason) => {
                    worker.core().counters().denied.increment();
                    client.stream.close_for(reason.kind);
                    reason
                }
            }
        }
        Err(reason) => reason,
    };
    if let (None, Some(errno)) = (&record.detail, reason.kind.errno()) {
        record.set_detail(Errno(errno));
    }
    record.reason = reason;
    record.closed = worker.core().clock();
    worker.closed(record);
}

/// The handshake, within its deadline. On failure the client has its alert.
async fn authenticate(
    worker: &Worker,
    index: usize,
    stream: Stream,
    record: &mut ConnectionRecord,
    phases: &Phases,
) -> Result<Client, CloseReason> {
    let core = worker.core();
    let counters = core.counters();
    let deadline = record.opened + worker.snapshot().listeners[index].handshake_timeout;
    let computed = Cell::new(false);
    // Boxed: its state is large, and is gone when the connection idles.
    let shaken = {
        let shaking = Box::pin(shake_hands(worker, index, &stream, record, phases, &computed));
        worker.unless_cut_off(core.timeout_at(deadline, shaking)).await
    };
    let failed = match shaken {
        Ok(Ok(Ok(shaken))) => {
            record.handshake = Some(core.clock() - record.opened);
            counters.handshakes_done.increment();
            let Shaken { session, admitted, snapshot, scope, presented } = shaken;
            let stream = TlsStream::new(stream, session);
            return Ok(Client { stream, admitted, snapshot, scope, presented });
        }
        Ok(Ok(Err(Unshaken::Failed(error)))) => reason_of(&error, record),
        Ok(Ok(Err(Unshaken::Overload))) => CloseReason::downstream(CloseKind::HandshakeOverload),
        Ok(Err(_)) => CloseReason::downstream(CloseKind::HandshakeTimeout),
        Err(cut_off) => cut_off,
    };
    counters.handshakes_failed.increment();
    // What cost nothing, as a health check or plain HTTP, is no flood and convicts nobody.
    if computed.get() && failed.source == Source::Downstream {
        worker.settle(record, false);
    }
    // Beyond what can be done it is dropped, not closed: RST is one packet and frees the descriptor
    // and the place now. TLS has no alert that says "later", and one would have to be sent,
    // acknowledged and waited for, while the reason to refuse is that there is too much to do.
    if failed.kind != CloseKind::HandshakeOverload {
        stream.close();
    }
    Err(failed)
}

/// What a handshake came to.
struct Shaken {
    session: Session,
    admitted: Admitted,
    snapshot: Arc<Snapshot>,
    scope: Arc<Scope>,
    presented: Certificates,
}

/// Why there was no handshake.
enum Unshaken {
    /// It failed.
    Failed(HandshakeError),
    /// Too many others were in progress: it got no place, or lost it to another.
    Overload,
}

impl From<HandshakeError> for Unshaken {
    fn from(error: HandshakeError) -> Self {
        Self::Failed(error)
    }
}

/// Sets `computed` once something is computed for it.
async fn shake_hands(
    worker: &Worker,
    index: usize,
    stream: &Stream,
    record: &mut ConnectionRecord,
    phases: &Phases,
    computed: &Cell<bool>,
) -> Result<Shaken, Unshaken> {
    let (hello, mut received) = read_hello(stream).await?;
    let pass = await_turn(worker, stream, &hello, &mut received, record, phases).await?;
    // As late as can be: a client may wait long before it says hello, and for its turn.
    let snapshot = worker.snapshot();
    let listener = &snapshot.listeners[index];
    let schemes: Vec<_> =
        hello.signature_schemes.iter().copied().map(SignatureScheme::from).collect();
    let server_name = hello.server_name.as_deref();
    let certificate = listener.tls.select(server_name, &schemes);
    let scope = Arc::clone(listener.scopes.select(server_name));
    let visit = listener.visit(&scope, worker.desk());
    let config = listener.tls.config(certificate, visit.hooks());
    record.server_name = hello.server_name.map(String::into_boxed_str);
    let session = config.map_err(SessionError::Tls).and_then(|it| Session::new(Arc::new(it)));
    let mut session = session.map_err(HandshakeError::Session)?;
    if listener.http.as_ref().is_some_and(|http| http.telling.needs_chain()) {
        session.keep_chain();
    }
    let settle = |session: &Session| {
        if let Some(resumed) = session.resumed() {
            visit.settle(resumed);
        }
    };
    let mut times = HandshakeTimes::default();
    computed.set(true);
    let shaking = handshake(stream, &mut session, received, settle, &mut times);
    let shaken = pass.hold(worker.core(), shaking).await;
    record_times(phases, &times);
    record.session_declined = visit.declined().map(Declined::as_str);
    if let Some(refused) = visit.take_refused() {
        record.presented = Some(Box::new(Presented::of(&refused.chain)));
        record.set_detail(&refused.refused);
    }
    let agreed = shaken.ok_or(Unshaken::Overload)??;
    record.negotiated = Some(Negotiated {
        version: agreed.version.into(),
        suite: agreed.suite.suite().into(),
        group: agreed.group.map(u16::from),
        resumed: agreed.resumed,
    });
    record.alpn = agreed.alpn;
    let admitted = visit.finish(agreed.resumed, agreed.peer_certificate.as_ref());
    record.authenticated_unix_s = agreed.resumed.then_some(admitted.authenticated_unix_s);
    let presented =
        Certificates { chain: agreed.peer_chain, by: listener.tls.uri(certificate).cloned() };
    Ok(Shaken { session, admitted, snapshot, scope, presented })
}

/// Waits until it is the client's turn. The bytes that came are kept elsewhere meanwhile.
async fn await_turn(
    worker: &Worker,
    stream: &Stream,
    hello: &ClientHello,
    received: &mut RecvBuf,
    record: &ConnectionRecord,
    phases: &Phases,
) -> Result<Pass, Unshaken> {
    let arrived = stream.clock();
    phases.record(Phase::HelloWait, arrived - record.opened);
    let source = record.peer.map(|peer| peer.ip());
    let who = Asking { source, resumes: hello.offers_session() };
    let pass = worker.arrive(who).ok_or(Unshaken::Overload)?;
    if !pass.is_in() {
        // It would hold a buffer of the ring while it waits.
        received.spill();
        let is_in = pass.granted(worker.core(), worker.handshake_queue()).await;
        phases.record(Phase::Queue, stream.clock() - arrived);
        if !is_in {
            return Err(Unshaken::Overload);
        }
    }
    // It cannot complete a handshake any more, so none is computed for it.
    if stream.has_ended() { Err(HandshakeError::Eof.into()) } else { Ok(pass) }
}

/// The phases that the handshake came to.
fn record_times(phases: &Phases, times: &HandshakeTimes) {
    if times.wait.is_zero() {
        phases.record(Phase::ServerFlight, times.check);
        return;
    }
    phases.record(Phase::ServerFlight, times.flight);
    phases.record(Phase::ClientFlightWait, times.wait);
    phases.record(Phase::ChainVerification, times.check);
}

/// Who is it, and may it? No byte has gone anywhere yet.
fn authorise(
    worker: &Rc<Worker>,
    index: usize,
    client: &Client,
    record: &mut ConnectionRecord,
) -> Result<Lease, CloseReason> {
    let denied = |detail: &dyn Display, record: &mut ConnectionRecord| {
        record.set_detail(detail);
        CloseReason::downstream(CloseKind::Denied)
    };
    let verdict = client.admitted.verdict.as_ref();
    let identity = verdict.map(|verdict| verdict.identity.as_ref()).transpose();
    // A name that cannot be read without doubt is no name that a rule may be applied to.
    record.identity = match identity {
        Ok(identity) => identity.map(Arc::clone),
        Err(error) => return Err(denied(error, record)),
    };
    if let Decision::Denied(denial) = decide(client.scope.rules(), record.identity.as_deref()) {
        return Err(denied(&denial, record));
    }
    let holder = Holder {
        listener: index,
        server_name: record.server_name.clone(),
        client: verdict.map(Arc::clone),
    };
    worker.leases().grant(worker, holder).map_err(|(reason, why)| {
        if let Some(why) = why {
            record.set_detail(why);
        }
        reason
    })
}

/// To the upstream, and relay until one of the two, or a deadline, ends it.
async fn forward(
    worker: &Rc<Worker>,
    index: usize,
    client: Client,
    lease: &Lease,
    record: &mut ConnectionRecord,
) -> CloseReason {
    let Client { stream, snapshot, admitted, scope, presented } = client;
    // An idle connection keeps no configuration that was replaced; the lease has what it needs.
    drop((admitted, scope));
    let listener = &snapshot.listeners[index];
    let deadlines = Deadlines {
        idle: listener.idle_timeout,
        at: listener.connection_age_max.map(|age| record.opened + age),
    };
    if let Some(http) = &listener.http {
        let told = http.telling.tell(record.identity.as_deref(), &presented);
        worker.core().counters().identity_left_out.add(u64::from(told.left_out));
        drop(presented);
        let until = deadlines.at;
        drop(snapshot);
        let reason = http::serve(worker, index, stream, told, until, lease, record).await;
        tell_lapse(worker, lease, reason, record);
        return reason;
    }
    let cluster = Arc::clone(cluster_of(&snapshot, index));
    let connections_max = snapshot.limits.connections_max;
    drop(snapshot);
    let connecting = worker.upstreams().connect(worker.core(), &cluster, connections_max);
    let mut connecting = Box::pin(worker.unless_cut_off(connecting));
    let connected = poll_fn(|cx| match lease.ended(cx) {
        Some(reason) => Poll::Ready(Err(reason)),
        None => connecting.as_mut().poll(cx),
    });
    let upstream = match connected.await {
        Ok(Ok(upstream)) => upstream,
        Ok(Err(reason)) | Err(reason) => {
            tell_lapse(worker, lease, reason, record);
            stream.close_for(reason.kind);
            return reason;
        }
    };
    record.upstream = Some(Arc::clone(upstream.lease.endpoint()));
    drop(connecting);
    drop(cluster);
    let relay = Relay::new(worker.core(), stream, upstream.stream, deadlines);
    run_relay(worker, relay, lease, record).await
}

fn cluster_of(snapshot: &Snapshot, index: usize) -> &Arc<Cluster> {
    &snapshot.clusters[snapshot.listeners[index].cluster]
}

async fn run_relay(
    worker: &Worker,
    mut relay: Relay,
    lease: &Lease,
    record: &mut ConnectionRecord,
) -> CloseReason {
    if !planted(Bug::ForgetEarlyData) {
        relay.forward_early();
    }
    let reason = poll_fn(|cx| match worker.cut_off().or_else(|| lease.ended(cx)) {
        Some(reason) => Poll::Ready(reason),
        None => relay.poll(cx),
    })
    .await;
    let relayed = relay.relayed();
    (record.bytes_up, record.bytes_down) = (relayed.bytes_up, relayed.bytes_down);
    if let Some(fault) = relay.fault() {
        record.set_detail(fault);
    }
    tell_lapse(worker, lease, reason, record);
    relay.close(reason);
    reason
}

/// Why the client may not stay, where that is the reason.
fn tell_lapse(worker: &Worker, lease: &Lease, reason: CloseReason, record: &mut ConnectionRecord) {
    if CloseKind::LAPSED.contains(&reason.kind)
        && let Some(why) = lease.say(worker)
    {
        record.set_detail(why);
    }
}

/// The reason, with what there is to say about it in `record.detail`.
fn reason_of(error: &HandshakeError, record: &mut ConnectionRecord) -> CloseReason {
    let kind = match error {
        HandshakeError::Hello(HelloError::PlainHttp) => CloseKind::PlainHttp,
        HandshakeError::Hello(HelloError::NotTls(_)) => CloseKind::NotTls,
        HandshakeError::Hello(HelloError::TooLarge) => CloseKind::HelloTooLarge,
        HandshakeError::Hello(_) => CloseKind::HelloMalformed,
        HandshakeError::Eof => CloseKind::HandshakeAborted,
        HandshakeError::Io(errno) => match errno.0 {
            libc::ECONNRESET | libc::EPIPE => CloseKind::HandshakeAborted,
            other => CloseKind::Io(other),
        },
        HandshakeError::Session(error) if error.alert_received().is_some() => {
            CloseKind::AlertReceived
        }
        HandshakeError::Session(error) => match error.tls().and_then(refusal_of) {
            Some(refusal) => CloseKind::CertificateRefused(refusal),
            None => CloseKind::TlsFailed,
        },
    };
    match error {
        HandshakeError::Hello(error) => record.set_detail(error),
        // Of a chain that was refused more is known.
        HandshakeError::Session(error) if record.detail.is_none() => record.set_detail(error),
        HandshakeError::Session(_) => {}
        HandshakeError::Io(errno) => record.set_detail(errno),
        HandshakeError::Eof => {}
    }
    CloseReason { source: Source::Downstream, kind }
}
