//! The life of one connection, top to bottom.
//!
//! Accepted; ClientHello; its turn; handshake; who is it; may it; upstream; relay; close; log.
//! Invariant: no byte of a client reaches an upstream, and no upstream is even connected to, before
//! the client was authenticated and authorised.

use std::fmt::Display;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use rustls::pki_types::CertificateDer;
use rustls::{AlertDescription, SignatureScheme};

use super::gate::Asking;
use super::relay::{Deadlines, Relay};
use super::worker::Worker;
use crate::config::snapshot::{Cluster, Listener};
use crate::error::{CloseKind, CloseReason, Source};
use crate::identity::Identity;
use crate::log::{ConnectionRecord, Negotiated};
use crate::metrics::phases::{Phase, Phases};
use crate::planted::{Bug, planted};
use crate::policy::{Decision, decide};
use crate::rt::stream::{Errno, Stream};
use crate::tls::hello::HelloError;
use crate::tls::session::Session;
use crate::tls::stream::{HandshakeError, HandshakeTimes, TlsStream, handshake, read_hello};
use crate::tls::verify::refusal_of;

/// Serves one accepted connection to its end.
pub(super) async fn serve(
    worker: Rc<Worker>,
    listener: Arc<Listener>,
    cluster: Arc<Cluster>,
    stream: Stream,
    mut record: Box<ConnectionRecord>,
    phases: Arc<Phases>,
) {
    let reason = match authenticate(&worker, &listener, stream, &mut record, &phases).await {
        Ok((client, certificate)) => {
            // Not in a release build, whose tasks would have room for it.
            #[cfg(feature = "sim")]
            if planted(Bug::AuthoriseAfterConnect) {
                drop(worker.upstreams().connect(worker.core(), &cluster).await);
            }
            let began = worker.core().clock();
            let decision = authorise(&listener, certificate, &mut record);
            phases.record(Phase::Policy, worker.core().clock() - began);
            drop(phases);
            worker.settle(&record, decision.is_ok());
            match decision {
                Ok(()) => {
                    worker.core().make_urgent();
                    forward(&worker, &listener, &cluster, client, &mut record).await
                }
                Err(reason) => {
                    worker.core().counters().denied.increment();
                    client.refuse(AlertDescription::AccessDenied);
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
    listener: &Listener,
    stream: Stream,
    record: &mut ConnectionRecord,
    phases: &Phases,
) -> Result<(TlsStream, Option<CertificateDer<'static>>), CloseReason> {
    let core = worker.core();
    let counters = core.counters();
    let deadline = record.opened + listener.handshake_timeout;
    // Boxed: its state is large, and is gone when the connection idles.
    let shaken = {
        let shaking = Box::pin(shake_hands(worker, listener, &stream, record, phases));
        worker.unless_cut_off(core.timeout_at(deadline, shaking)).await
    };
    let failed = match shaken {
        Ok(Ok(Ok((session, certificate)))) => {
            record.handshake = Some(core.clock() - record.opened);
            counters.handshakes_done.increment();
            return Ok((TlsStream::new(stream, session), certificate));
        }
        Ok(Ok(Err(Unshaken::Failed(error)))) => reason_of(&error, record),
        Ok(Ok(Err(Unshaken::Overload))) => {
            counters.handshakes_failed.increment();
            // Dropped, not closed: RST is one packet and frees the descriptor and the place now.
            // TLS has no alert that says "later", and one would have to be sent, acknowledged and
            // waited for, while the reason to refuse is that there is too much to do.
            return Err(CloseReason::downstream(CloseKind::HandshakeOverload));
        }
        Ok(Err(_)) => CloseReason::downstream(CloseKind::HandshakeTimeout),
        Err(cut_off) => cut_off,
    };
    counters.handshakes_failed.increment();
    if failed.source == Source::Downstream {
        worker.settle(record, false);
    }
    stream.close();
    Err(failed)
}

/// Why there was no handshake.
enum Unshaken {
    /// It failed.
    Failed(HandshakeError),
    /// Too many others were in progress.
    Overload,
}

impl From<HandshakeError> for Unshaken {
    fn from(error: HandshakeError) -> Self {
        Self::Failed(error)
    }
}

async fn shake_hands(
    worker: &Worker,
    listener: &Listener,
    stream: &Stream,
    record: &mut ConnectionRecord,
    phases: &Phases,
) -> Result<(Session, Option<CertificateDer<'static>>), Unshaken> {
    let (hello, mut received) = read_hello(stream).await?;
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
    if stream.has_ended() {
        return Err(HandshakeError::Eof.into());
    }
    let schemes: Vec<_> =
        hello.signature_schemes.iter().copied().map(SignatureScheme::from).collect();
    let config = listener.tls.select(hello.server_name.as_deref(), &schemes);
    record.server_name = hello.server_name.map(String::into_boxed_str);
    let mut session = Session::new(Arc::clone(config)).map_err(HandshakeError::Session)?;
    let mut times = HandshakeTimes::default();
    let shaken = pass.hold(handshake(stream, &mut session, received, &mut times)).await;
    record_times(phases, &times);
    let agreed = shaken.ok_or(Unshaken::Overload)??;
    record.negotiated = Some(Negotiated {
        version: agreed.version.into(),
        suite: agreed.suite.suite().into(),
        group: agreed.group.map(u16::from),
        resumed: agreed.resumed,
    });
    record.alpn = agreed.alpn;
    Ok((session, agreed.peer_certificate))
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
    listener: &Listener,
    certificate: Option<CertificateDer<'_>>,
    record: &mut ConnectionRecord,
) -> Result<(), CloseReason> {
    let denied = |detail: &dyn Display, record: &mut ConnectionRecord| {
        record.set_detail(detail);
        CloseReason::downstream(CloseKind::Denied)
    };
    let identity = certificate.map(|leaf| Identity::from_der(&leaf)).transpose();
    // A name that cannot be read without doubt is no name that a rule may be applied to.
    record.identity = match identity {
        Ok(identity) => identity.map(Box::new),
        Err(error) => return Err(denied(&error, record)),
    };
    match decide(&listener.rules, record.identity.as_deref()) {
        Decision::Allowed => Ok(()),
        Decision::Denied(denial) => Err(denied(&denial, record)),
    }
}

/// To the upstream, and relay until one of the two, or a deadline, ends it.
async fn forward(
    worker: &Worker,
    listener: &Listener,
    cluster: &Cluster,
    client: TlsStream,
    record: &mut ConnectionRecord,
) -> CloseReason {
    let connecting = Box::pin(worker.upstreams().connect(worker.core(), cluster));
    let upstream = match worker.unless_cut_off(connecting).await {
        Ok(Ok(upstream)) => upstream,
        Ok(Err(reason)) | Err(reason) => {
            client.close(false);
            return reason;
        }
    };
    record.upstream = Some(Arc::clone(&upstream.lease.endpoint));
    let deadlines = Deadlines {
        idle: listener.idle_timeout,
        at: listener.connection_age_max.map(|age| record.opened + age),
    };
    let relay = Relay::new(worker.core(), client, upstream.stream, deadlines);
    run_relay(worker, relay, record).await
}

async fn run_relay(
    worker: &Worker,
    mut relay: Relay,
    record: &mut ConnectionRecord,
) -> CloseReason {
    if !planted(Bug::ForgetEarlyData) {
        relay.forward_early();
    }
    let reason = poll_fn(|cx| match worker.cut_off() {
        Some(reason) => Poll::Ready(reason),
        None => relay.poll(cx),
    })
    .await;
    let relayed = relay.relayed();
    (record.bytes_up, record.bytes_down) = (relayed.bytes_up, relayed.bytes_down);
    if let Some(fault) = relay.fault() {
        record.set_detail(fault);
    }
    relay.close(reason);
    reason
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
        HandshakeError::Session(error) => record.set_detail(error),
        HandshakeError::Io(errno) => record.set_detail(errno),
        HandshakeError::Eof => {}
    }
    CloseReason { source: Source::Downstream, kind }
}
