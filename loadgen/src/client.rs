//! One connection to the server: opening it, exchanges on it, its end. Every step has a deadline.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use ringfort::rt::buffer::RecvBuf;
use ringfort::rt::stream::{Errno, Stream};
use ringfort::sys::ops::SendBuf;
use ringfort::time::Instant;
use ringfort::tls::session::{Session, SessionError};
use ringfort::tls::stream::{HandshakeError, TlsStream, client_handshake};
use ringfort::tls::transport::Transport;
use rustls::CertificateError;

use crate::http::response::Response;
use crate::tally::{Failure, Phase};
use crate::worker::Worker;

/// What bodies and echoes are made of.
pub static FILLER: [u8; 64 * 1024] = [0; 64 * 1024];

/// What is awaited of the server.
#[derive(Debug)]
pub enum Answer {
    /// Nothing: it is done when all is sent.
    Nothing,
    /// So many bytes more, whatever they are.
    Bytes(u64),
    /// So many bytes more, which come back as they were sent, and none behind them.
    Echo(u64),
    /// A response.
    Http(Response),
}

impl Answer {
    fn is_done(&self) -> bool {
        match self {
            Self::Nothing => true,
            Self::Bytes(left) | Self::Echo(left) => *left == 0,
            Self::Http(response) => response.is_done(),
        }
    }

    /// Takes what came; returns how many bytes were more than it awaited.
    fn feed(&mut self, data: &[u8]) -> Result<u64, Failure> {
        match self {
            Self::Nothing => Ok(0),
            Self::Bytes(left) => {
                let more = (data.len() as u64).saturating_sub(*left);
                *left = left.saturating_sub(data.len() as u64);
                Ok(more)
            }
            Self::Echo(left) => {
                let rest = left.checked_sub(data.len() as u64);
                *left = rest.ok_or(Failure::Answer("longer than what was sent"))?;
                if data.iter().any(|&byte| byte != FILLER[0]) {
                    return Err(Failure::Answer("not what was sent"));
                }
                Ok(0)
            }
            Self::Http(response) => response.feed(data).map(|()| 0),
        }
    }

    /// Whether what is still to be sent is of no use.
    fn refuses(&self) -> bool {
        matches!(self, Self::Http(response) if response.refuses())
    }

    /// Whether it ends with the connection.
    fn ends_with_connection(&mut self) -> bool {
        match self {
            Self::Http(response) => response.ends_with_connection(),
            other => other.is_done(),
        }
    }
}

/// See the module's description.
#[derive(Debug)]
pub struct Client {
    worker: Rc<Worker>,
    tls: TlsStream,
    /// Bytes that came before they were awaited.
    surplus: u64,
}

impl Client {
    /// Connects and shakes hands; both phases are recorded, and whether the session was resumed.
    ///
    /// # Errors
    /// Why there is no connection.
    pub async fn open(worker: &Rc<Worker>, resume: bool) -> Result<Self, Failure> {
        let (core, plan) = (worker.core(), worker.plan());
        let begun = core.clock();
        let deadline = begun + plan.timeout;
        let connecting = core.connect(plan.address.into(), worker.next_source());
        let stream = core
            .timeout_at(deadline, connecting)
            .await
            .map_err(|_| Failure::Timeout(Phase::Connect))?
            .map_err(failure_of_errno)?;
        let connected = core.clock();
        let config = Arc::clone(worker.next_config(resume));
        let session = Session::client(config, plan.server_name.clone());
        let mut session = session.map_err(|error| failure_of_session(&error))?;
        let shaking = client_handshake(&stream, &mut session);
        let agreed = match core.timeout_at(deadline, shaking).await {
            Ok(Ok(agreed)) => agreed,
            Ok(Err(error)) => {
                let failed = failed_to_send(&stream).await;
                // The server is owed the alert that says why.
                stream.close();
                return Err(failed.unwrap_or_else(|| failure_of_handshake(&error)));
            }
            Err(_) => return Err(Failure::Timeout(Phase::Handshake)),
        };
        let done = core.clock();
        worker.agreed(&agreed);
        plan.application.accepts(agreed.alpn.as_deref())?;
        worker.tally(|tally| {
            tally.record(Phase::Connect, connected - begun);
            tally.record(Phase::Handshake, done - connected);
            *if agreed.resumed { &mut tally.resumed } else { &mut tally.full } += 1;
        });
        Ok(Self { worker: Rc::clone(worker), tls: TlsStream::new(stream, session), surplus: 0 })
    }

    /// Sends `head` and `body_bytes` of filler, and takes the answer, which may come meanwhile.
    ///
    /// # Errors
    /// Why there is no answer, or no good one.
    pub async fn exchange(
        &mut self,
        head: &[u8],
        body_bytes: u64,
        answer: &mut Answer,
    ) -> Result<(), Failure> {
        let worker = Rc::clone(&self.worker);
        let begun = worker.core().clock();
        if let Answer::Bytes(left) = answer {
            let already = self.surplus.min(*left);
            (*left, self.surplus) = (*left - already, self.surplus - already);
        }
        let mut unsent = Unsent { head, body: body_bytes };
        let mut first_byte = None;
        let exchanging = poll_fn(|cx| self.poll_exchange(cx, &mut unsent, answer, &mut first_byte));
        let result = worker.core().timeout_at(begun + worker.plan().timeout, exchanging).await;
        if let Some(first) = first_byte {
            worker.tally(|tally| tally.record(Phase::FirstByte, first - begun));
        }
        if let Ok(Err(Failure::Closed(_))) = result
            && let Some(failure) = failed_to_send(self.tls.socket()).await
        {
            return Err(failure);
        }
        let phase = if first_byte.is_some() { Phase::Total } else { Phase::FirstByte };
        result.unwrap_or(Err(Failure::Timeout(phase)))
    }

    fn poll_exchange(
        &mut self,
        cx: &mut Context<'_>,
        unsent: &mut Unsent<'_>,
        answer: &mut Answer,
        first_byte: &mut Option<Instant>,
    ) -> Poll<Result<(), Failure>> {
        loop {
            let blocked = unsent.is_empty() || self.poll_send(cx, unsent)?.is_pending();
            if answer.is_done() && (unsent.is_empty() || answer.refuses()) {
                return Poll::Ready(Ok(()));
            }
            match self.tls.socket().poll_recv(cx) {
                Poll::Ready(received) => {
                    let received = received.map_err(failure_of_errno)?;
                    let more = match received {
                        Some(bytes) => self.take(&bytes, answer, first_byte)?,
                        None => false,
                    };
                    if !more {
                        return Poll::Ready(ended(unsent, answer, first_byte.is_some()));
                    }
                }
                Poll::Pending if blocked => return Poll::Pending,
                Poll::Pending => {}
            }
        }
    }

    /// Sends one piece, where the socket has room; with a head the first piece of its body.
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        unsent: &mut Unsent<'_>,
    ) -> Result<Poll<()>, Failure> {
        if self.tls.socket().poll_writable(cx).map_err(failure_of_errno)?.is_pending() {
            return Ok(Poll::Pending);
        }
        let pieces = 1 + usize::from(!unsent.head.is_empty() && unsent.body > 0);
        for _ in 0..pieces {
            let piece = unsent.next();
            self.tls.encrypt(piece).map_err(|error| failure_of_session(&error))?;
            self.worker.tally(|tally| tally.bytes_sent += piece.len() as u64);
        }
        self.tls.socket().flush();
        Ok(Poll::Ready(()))
    }

    /// Takes received bytes. Returns whether more may come.
    fn take(
        &mut self,
        received: &RecvBuf,
        answer: &mut Answer,
        first_byte: &mut Option<Instant>,
    ) -> Result<bool, Failure> {
        let mut plain = SendBuf::on(self.worker.lend_plain());
        let result = self.tls.decrypt(received, &mut plain);
        if result.is_err() {
            // The alert, where one is due.
            self.tls.socket().flush();
        }
        let data = plain.remaining();
        if !data.is_empty() {
            first_byte.get_or_insert_with(|| self.worker.core().clock());
            self.worker.tally(|tally| tally.bytes_received += data.len() as u64);
            self.surplus += answer.feed(data)?;
        }
        self.worker.restore_plain(plain.into_storage());
        result.map(|closed| !closed).map_err(|error| failure_of_session(&error))
    }

    /// Waits until the server ends the connection, and ignores what it says.
    ///
    /// # Errors
    /// An end that is not in order.
    pub async fn ended(&mut self) -> Result<(), Failure> {
        while !self.tls.peer_closed() {
            let received = self.tls.socket().recv().await.map_err(failure_of_errno)?;
            let Some(bytes) = received else { return Ok(()) };
            self.take(&bytes, &mut Answer::Nothing, &mut None)?;
        }
        Ok(())
    }

    /// Sends close_notify and FIN, and waits for the server to do the same: in TLS 1.3 a client
    /// learns only now, or with an answer, that it was let in.
    ///
    /// # Errors
    /// An alert, a reset, or no end within the time-out.
    pub async fn finish(mut self) -> Result<(), Failure> {
        self.tls.shut_write();
        let worker = Rc::clone(&self.worker);
        let deadline = worker.core().clock() + worker.plan().timeout;
        let ended = worker.core().timeout_at(deadline, self.ended()).await;
        self.tls.close(false);
        ended.unwrap_or(Err(Failure::Timeout(Phase::Total)))
    }

    /// A request was answered to the end.
    pub fn count_request(&self) {
        self.worker.tally(|tally| tally.requests += 1);
    }

    /// The connection as bytes both ways, for a protocol that is not taken apart here.
    pub fn into_transport(self) -> Transport {
        Transport::Tls(Box::new(self.tls))
    }

    /// Ends the connection in order, without waiting for the server.
    pub fn close(self) {
        self.tls.close(true);
    }
}

/// The server has ended the connection; what that means for the exchange.
fn ended(unsent: &Unsent<'_>, answer: &mut Answer, has_begun: bool) -> Result<(), Failure> {
    match (answer.ends_with_connection(), unsent.is_empty() || answer.refuses()) {
        (true, true) => Ok(()),
        (true, false) => Err(Failure::Answer("before the whole request was sent")),
        _ => Err(Failure::Closed(if has_begun { Phase::Total } else { Phase::FirstByte })),
    }
}

/// Why sending has failed, if it has. The kernel tells of a reset once: where a send is told, a
/// receive finds an end that looks orderly.
async fn failed_to_send(stream: &Stream) -> Option<Failure> {
    let sent = poll_fn(|cx| Poll::Ready(stream.poll_writable(cx))).await;
    match sent {
        Poll::Ready(Err(errno)) => Some(failure_of_errno(errno)),
        _ => None,
    }
}

/// What is still to be sent.
struct Unsent<'h> {
    head: &'h [u8],
    body: u64,
}

impl<'h> Unsent<'h> {
    fn is_empty(&self) -> bool {
        self.head.is_empty() && self.body == 0
    }

    /// The next piece: the head by itself, then the body.
    fn next(&mut self) -> &'h [u8] {
        if !self.head.is_empty() {
            return std::mem::take(&mut self.head);
        }
        let bytes = usize::try_from(self.body).unwrap_or(usize::MAX).min(FILLER.len());
        self.body -= bytes as u64;
        &FILLER[..bytes]
    }
}

/// An errno of connect(2), send(2) or recv(2) as a failure.
pub fn failure_of_errno(errno: Errno) -> Failure {
    // The errnos of connect(2) and recv(2) that mean something to the reader of a report.
    match std::io::Error::from_raw_os_error(errno.0).kind() {
        std::io::ErrorKind::ConnectionRefused => Failure::Refused,
        std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe => Failure::Reset,
        std::io::ErrorKind::HostUnreachable | std::io::ErrorKind::NetworkUnreachable => {
            Failure::Unreachable
        }
        std::io::ErrorKind::TimedOut => Failure::Timeout(Phase::Connect),
        std::io::ErrorKind::AddrNotAvailable => Failure::NoPort,
        _ if errno.0 == EMFILE => Failure::NoDescriptor,
        _ => Failure::Errno(errno.0),
    }
}

/// errno(3).
const EMFILE: i32 = 24;

fn failure_of_handshake(error: &HandshakeError) -> Failure {
    match error {
        HandshakeError::Session(error) => failure_of_session(error),
        HandshakeError::Hello(_) => Failure::Tls("a ClientHello from a server"),
        HandshakeError::Eof => Failure::Closed(Phase::Handshake),
        HandshakeError::Io(errno) => failure_of_errno(*errno),
    }
}

/// What went wrong in TLS as a failure.
pub fn failure_of_session(error: &SessionError) -> Failure {
    if let Some(alert) = error.alert_received() {
        return Failure::Alert(u8::from(alert));
    }
    match error {
        SessionError::Tls(rustls::Error::InvalidCertificate(error)) => {
            Failure::Certificate(certificate_problem(error))
        }
        SessionError::Tls(rustls::Error::NoCertificatesPresented) => {
            Failure::Certificate("missing")
        }
        SessionError::Tls(rustls::Error::PeerIncompatible(_)) => {
            Failure::Tls("no version, suite or group in common")
        }
        SessionError::Tls(rustls::Error::PeerMisbehaved(_)) => Failure::Tls("protocol broken"),
        SessionError::Tls(
            rustls::Error::InvalidMessage(_)
            | rustls::Error::InappropriateMessage { .. }
            | rustls::Error::InappropriateHandshakeMessage { .. },
        ) => Failure::Tls("not what TLS allows here"),
        SessionError::Tls(rustls::Error::NoApplicationProtocol) => {
            Failure::Tls("no application protocol in common")
        }
        SessionError::Tls(_) => Failure::Tls("handshake failed"),
        SessionError::TooLarge => Failure::Tls("a message that is too long"),
        SessionError::Record(_) => Failure::Tls("a record that cannot be opened"),
        SessionError::Protocol(_) | SessionError::AlertReceived(_) => {
            Failure::Tls("protocol broken")
        }
    }
}

fn certificate_problem(error: &CertificateError) -> &'static str {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "not yet valid"
        }
        CertificateError::UnknownIssuer => "of an unknown issuer",
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "for another name"
        }
        CertificateError::BadSignature => "with a bad signature",
        CertificateError::Revoked => "revoked",
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "for another purpose"
        }
        CertificateError::BadEncoding => "malformed",
        _ => "refused",
    }
}
