//! The life of one connection, top to bottom.
//!
//! Accepted; ClientHello; handshake; who is it; may it; upstream; relay; close; log. Invariant: no
//! byte of a client reaches an upstream, and no upstream is even connected to, before the client
//! was authenticated and authorised.

use std::fmt::Display;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use rustls::pki_types::CertificateDer;
use rustls::{AlertDescription, SignatureScheme};

use super::relay::{Deadlines, Relay};
use super::worker::Worker;
use crate::config::snapshot::{Cluster, Listener};
use crate::error::{CloseKind, CloseReason, Source};
use crate::identity::Identity;
use crate::log::{ConnectionRecord, Negotiated};
use crate::planted::{Bug, planted};
use crate::policy::{Decision, decide};
use crate::rt::stream::{Errno, Stream};
use crate::tls::hello::HelloError;
use crate::tls::session::Session;
use crate::tls::stream::{HandshakeError, TlsStream, handshake, read_hello};
use crate::trust::verify::refusal_of;

/// Serves one accepted connection to its end.
pub(super) async fn serve(
    worker: Rc<Worker>,
    listener: Arc<Listener>,
    cluster: Arc<Cluster>,
    stream: Stream,
    mut record: Box<ConnectionRecord>,
) {
    let reason = match authenticate(&worker, &listener, stream, &mut record).await {
        Ok((client, certificate)) => {
            // Not in a release build, whose tasks would have room for it.
            #[cfg(feature = "sim")]
            if planted(Bug::AuthoriseAfterConnect) {
                drop(worker.upstreams().connect(worker.core(), &cluster).await);
            }
            match authorise(&listener, certificate, &mut record) {
                Ok(()) => forward(&worker, &listener, &cluster, client, &mut record).await,
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
) -> Result<(TlsStream, Option<CertificateDer<'static>>), CloseReason> {
    let core = worker.core();
    let counters = core.counters();
    let deadline = record.opened + listener.handshake_timeout;
    // Boxed: its state is large, and is gone when the connection idles.
    let shaken = {
        let shaking = Box::pin(shake_hands(listener, &stream, record));
        worker.unless_cut_off(core.timeout_at(deadline, shaking)).await
    };
    let failed = match shaken {
        Ok(Ok(Ok((session, certificate)))) => {
            record.handshake = Some(core.clock() - record.opened);
            counters.handshakes_done.increment();
            return Ok((TlsStream::new(stream, session), certificate));
        }
        Ok(Ok(Err(error))) => reason_of(&error, record),
        Ok(Err(_)) => CloseReason::downstream(CloseKind::HandshakeTimeout),
        Err(cut_off) => cut_off,
    };
    counters.handshakes_failed.increment();
    stream.close();
    Err(failed)
}

async fn shake_hands(
    listener: &Listener,
    stream: &Stream,
    record: &mut ConnectionRecord,
) -> Result<(Session, Option<CertificateDer<'static>>), HandshakeError> {
    let (hello, received) = read_hello(stream).await?;
    let schemes: Vec<_> =
        hello.signature_schemes.iter().copied().map(SignatureScheme::from).collect();
    let server_name = hello.server_name.as_deref();
    let certificate = listener.tls.select(server_name, &schemes);
    let scope = listener.scopes.select(server_name);
    let visit = worker.visit(listener, scope);
    let config = listener.tls.config(certificate, visit.hooks());
    record.server_name = hello.server_name.map(String::into_boxed_str);
    let session = config.map_err(SessionError::Tls).and_then(|it| Session::new(Arc::new(it)));
    let mut session = session.map_err(HandshakeError::Session)?;
    let settle = |session: &Session| {
        if let Some(resumed) = session.resumed() {
            visit.settle(resumed);
        }
    };
    let agreed = handshake(stream, &mut session, received, settle).await?;
    record.negotiated = Some(Negotiated {
        version: agreed.version.into(),
        suite: agreed.suite.suite().into(),
        group: agreed.group.map(u16::from),
        resumed: agreed.resumed,
    });
    record.alpn = agreed.alpn;
    Ok((session, agreed.peer_certificate))
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
