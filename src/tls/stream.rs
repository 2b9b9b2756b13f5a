//! A socket and its TLS session together.
//!
//! Invariant: what TLS has to say, alerts above all, is appended to the socket before an error is
//! returned, so whoever closes the socket in order sends it.

use std::time::Duration;

use rustls::{AlertDescription, ProtocolVersion};

use super::hello::{self, ClientHello, HelloError, Progress};
use super::session::{Agreed, Session, SessionError, encrypted_bytes_max};
use crate::error::CloseKind;
use crate::limits::RECV_BUFFER_BYTES;
use crate::rt::buffer::RecvBuf;
use crate::rt::stream::{Errno, Stream};
use crate::sys::ops::SendBuf;
use crate::time::Instant;

/// Room for one flight of a server's handshake; more is made where a chain is longer.
const FLIGHT_BYTES: usize = 4 * 1024;

/// Why a handshake failed.
#[derive(Debug)]
pub enum HandshakeError {
    /// What came is no ClientHello that can be answered.
    Hello(HelloError),
    /// TLS failed; a certificate that was refused is among this.
    Session(SessionError),
    /// FIN before the end of the handshake.
    Eof,
    /// Receiving failed.
    Io(Errno),
}

/// How long the parts of a server's handshake took, as far as it came: the clock is read once where
/// one part ends and the next begins.
#[derive(Clone, Copy, Debug, Default)]
pub struct HandshakeTimes {
    /// Answering the ClientHello.
    pub flight: Duration,
    /// Waiting for the client.
    pub wait: Duration,
    /// Checking what completed, or ended, the handshake.
    pub check: Duration,
    at: Instant,
}

impl HandshakeTimes {
    /// The time from the last look until `now`.
    fn look(&mut self, now: Instant) -> Duration {
        let passed = now - self.at;
        self.at = now;
        passed
    }
}

/// Reads until the ClientHello is complete. Returns it with all bytes received so far.
///
/// # Errors
/// [`HandshakeError`]; an alert is appended where one is due.
pub async fn read_hello(stream: &Stream) -> Result<(ClientHello, RecvBuf), HandshakeError> {
    let mut received = next_bytes(stream).await?;
    loop {
        match hello::parse(&received) {
            Ok(Progress::Complete(hello)) => return Ok((hello, received)),
            Ok(Progress::NeedMore) => {
                // On the heap while it waits, or slow clients could hold every buffer of the ring.
                let mut joined = received.to_vec();
                drop(received);
                // The parser bounds what it asks more of, so this cannot grow.
                joined.extend_from_slice(&next_bytes(stream).await?);
                received = RecvBuf::Heap(joined);
            }
            Err(error) => {
                if let Some(alert) = error.alert() {
                    append_alert(stream, alert);
                }
                return Err(HandshakeError::Hello(error));
            }
        }
    }
}

/// Runs a server's handshake to its end, beginning with the bytes that [`read_hello`] returned.
/// `after_step` sees the session after each flight of the client but the last.
/// What the parts took is in `times`, however it ends.
///
/// # Errors
/// [`HandshakeError`]; an alert is appended where one is due.
pub async fn handshake(
    stream: &Stream,
    session: &mut Session,
    mut received: RecvBuf,
    after_step: impl Fn(&Session),
    times: &mut HandshakeTimes,
) -> Result<Agreed, HandshakeError> {
    times.at = stream.clock();
    loop {
        let stepped = step(stream, session, &mut received);
        times.check = times.look(stream.clock());
        if let Some(agreed) = stepped? {
            // Without a ticket nothing answers the client's Finished in TLS 1.3. A client with
            // Nagle's algorithm on sends its first data when Finished is acknowledged, which
            // would take the 40 ms of a delayed acknowledgement.
            if agreed.version == ProtocolVersion::TLSv1_3 && !session.has_early() {
                stream.acknowledge_now();
            }
            return Ok(agreed);
        }
        after_step(session);
        if session.peer_closed() {
            return Err(HandshakeError::Eof);
        }
        drop(received);
        received = next_bytes(stream).await?;
        // So it was not the last step, but one of those before the client's flight.
        times.flight += std::mem::take(&mut times.check);
        let waited = times.look(stream.clock());
        times.wait += waited;
    }
}

/// Runs a client's handshake from its ClientHello to its end.
///
/// # Errors
/// [`HandshakeError`]; an alert is appended where one is due.
pub async fn client_handshake(
    stream: &Stream,
    session: &mut Session,
) -> Result<Agreed, HandshakeError> {
    let mut agreed = step(stream, session, &mut [])?;
    loop {
        if let Some(agreed) = agreed {
            return Ok(agreed);
        }
        if session.peer_closed() {
            return Err(HandshakeError::Eof);
        }
        let mut received = next_bytes(stream).await?;
        agreed = step(stream, session, &mut received)?;
    }
}

/// Gives received bytes to the handshake and sends its answer.
fn step(
    stream: &Stream,
    session: &mut Session,
    received: &mut [u8],
) -> Result<Option<Agreed>, HandshakeError> {
    let mut pending = stream.lend_pending(FLIGHT_BYTES);
    let agreed = session.handshake(received, pending.tail());
    stream.restore_pending(pending);
    let agreed = agreed.map_err(HandshakeError::Session)?;
    stream.flush();
    Ok(agreed)
}

async fn next_bytes(stream: &Stream) -> Result<RecvBuf, HandshakeError> {
    match stream.recv().await {
        Ok(Some(bytes)) => Ok(bytes),
        Ok(None) => Err(HandshakeError::Eof),
        Err(errno) => Err(HandshakeError::Io(errno)),
    }
}

/// A fatal alert in the clear, for the time before there are keys (RFC 8446, 6).
fn append_alert(stream: &Stream, alert: u8) {
    stream.append(&[21, 3, 3, 0, 2, 2, alert]);
}

/// An established TLS connection.
#[derive(Debug)]
pub struct TlsStream {
    stream: Stream,
    session: Session,
    /// What ended the session behind plaintext that was handed out, to be told next.
    pub(super) fault: Option<Box<SessionError>>,
}

impl TlsStream {
    /// Joins a socket and the session whose handshake it completed.
    pub fn new(stream: Stream, session: Session) -> Self {
        Self { stream, session, fault: None }
    }

    /// The socket, for receiving, flushing and back-pressure.
    pub fn socket(&self) -> &Stream {
        &self.stream
    }

    /// Whether plaintext came in one flight with the end of the handshake, and was not taken.
    pub fn has_early(&self) -> bool {
        self.session.has_early()
    }

    /// Plaintext that came in one flight with the end of the handshake.
    pub fn take_early(&mut self) -> Vec<u8> {
        self.session.take_early()
    }

    /// Bytes that wait for the rest of their record.
    pub fn partial_bytes(&self) -> usize {
        self.session.partial_bytes()
    }

    /// Whether the peer has sent close_notify, be it in one flight with the end of the handshake.
    pub fn peer_closed(&self) -> bool {
        self.session.peer_closed()
    }

    /// Decrypts `received` and appends the plaintext to `plain`. Returns whether the peer has sent
    /// close_notify.
    ///
    /// # Errors
    /// [`SessionError`]; the alert is appended to the socket, `plain` has what came before.
    pub fn decrypt(
        &mut self,
        received: &RecvBuf,
        plain: &mut SendBuf,
    ) -> Result<bool, SessionError> {
        let mut pending = self.stream.lend_pending(0);
        let read = self.session.read(received, plain.tail(), pending.tail());
        self.stream.restore_pending(pending);
        read.map(|()| self.session.peer_closed())
    }

    /// Encrypts `plain` behind what is pending on the socket.
    ///
    /// # Errors
    /// [`SessionError`] where the keys are used up.
    pub fn encrypt(&mut self, plain: &[u8]) -> Result<(), SessionError> {
        let mut pending = self.stream.lend_pending(encrypted_bytes_max(plain.len()));
        let written = self.session.write(plain, pending.tail());
        self.stream.restore_pending(pending);
        written
    }

    /// Sends close_notify and then FIN; receiving goes on.
    pub fn shut_write(&mut self) {
        let mut pending = self.stream.lend_pending(encrypted_bytes_max(0));
        self.session.close(pending.tail());
        self.stream.restore_pending(pending);
        self.stream.shut_write();
    }

    /// Ends the connection for this reason, which was not an orderly end: with the alert that the
    /// reason calls for, and without close_notify.
    pub fn close_for(self, reason: CloseKind) {
        match reason.alert() {
            Some(alert) => self.refuse(AlertDescription::from(alert)),
            None => self.close(false),
        }
    }

    /// Ends the connection with a fatal alert.
    fn refuse(mut self, alert: AlertDescription) {
        let mut pending = self.stream.lend_pending(encrypted_bytes_max(0));
        self.session.alert(alert, pending.tail());
        self.stream.restore_pending(pending);
        self.stream.close();
    }

    /// Ends the connection in order. `notify` sends close_notify, unless it was sent before; an
    /// end that must not be taken for an orderly one goes without.
    pub fn close(mut self, notify: bool) {
        if notify {
            self.shut_write();
        }
        self.stream.close();
    }
}

const _: () = assert!(FLIGHT_BYTES < RECV_BUFFER_BYTES);
