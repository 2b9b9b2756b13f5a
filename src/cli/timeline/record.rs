//! A blocking TLS client that makes one request and keeps every byte of the connection, in both
//! directions, with the time it was written or read.
//!
//! It verifies the server as any careful client does, and knows nothing of what the bytes mean:
//! `decode` reads them. Whatever the server sends, memory stays below the bounds of `limits` and
//! the call ends by its timeouts. A written piece is stamped before its system call and a read
//! piece after, so that no cause ever appears later than its effect at the other side.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConnection, HandshakeKind, RootCertStore, SupportedProtocolVersion};

use super::error::{Cause, Phase, RecordError};
use super::observe::{Observer, Stamps};
use super::recorder::Recorder;
use crate::limits::{
    TIMELINE_PIECES_MAX, TIMELINE_RESPONSE_BYTES_MAX, TIMELINE_WIRE_BYTES_MAX, TLS_RECORD_BYTES_MAX,
};

/// How long a refused client waits for the alert that says why, once its own write failed.
const ALERT_WAIT: Duration = Duration::from_millis(500);

/// One request to be made and recorded.
#[derive(Debug)]
pub struct RecordOptions<'a> {
    /// Where to connect to.
    pub address: SocketAddr,
    /// The name sent as SNI (unless it is an address) and looked for in the server's certificate.
    pub server_name: ServerName<'static>,
    /// What the server's chain must end in, and what happens where it does not.
    pub trust: Trust,
    /// What the timeline calls the server: a word of at most 7 letters.
    pub peer: &'static str,
    /// What to present when the server asks for a certificate.
    pub client_cert: Option<ClientCertificate>,
    /// Application protocols to offer (RFC 7301), the preferred one first; may be empty.
    pub alpn: Vec<Vec<u8>>,
    /// Protocol versions to offer, such as `rustls::DEFAULT_VERSIONS`.
    pub versions: &'static [&'static SupportedProtocolVersion],
    /// The suites, groups (a key share is sent for the first) and signature schemes to offer.
    pub provider: Arc<CryptoProvider>,
    /// Most time for the TCP connection to be established.
    pub connect_timeout: Duration,
    /// Most time from then until the client's own part of the handshake is done.
    pub handshake_timeout: Duration,
    /// Most time from then until the response is there.
    pub response_timeout: Duration,
    /// Most time for all of that together.
    pub total_timeout: Duration,
    /// What to send once the handshake is done; may be empty.
    pub request: &'a [u8],
    /// When the response counts as complete.
    pub response_end: ResponseEnd,
    /// Bytes of the response that are read at most, up to `limits::TIMELINE_RESPONSE_BYTES_MAX`.
    pub response_bytes_max: usize,
}

/// Whose certificates a server may have.
#[derive(Clone, Debug)]
pub enum Trust {
    /// Those under these roots, not empty; any other ends the handshake.
    Required(Arc<RootCertStore>),
    /// Any: a chain that does not end in these roots, not empty, is told of.
    Judged(Arc<RootCertStore>),
    /// Any: no chain is verified.
    Unverified,
}

/// A client's certificate and its key.
#[derive(Debug)]
pub struct ClientCertificate {
    /// The client's certificate, then its intermediates.
    pub chain: Vec<CertificateDer<'static>>,
    /// The private key of the first.
    pub key: PrivateKeyDer<'static>,
}

/// When a response counts as complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseEnd {
    /// As soon as this many bytes came; with 1, at the first of them.
    Bytes(usize),
    /// When the server closes, by close_notify or by the end of its stream.
    Close,
    /// When nothing came for this long, or for three times what connecting took where that is
    /// longer. The only end that accepts a response of no bytes: a TLS 1.3 server that refuses the
    /// client says so after the handshake, and this waits for it.
    Quiet(Duration),
}

/// Makes one connection and one request, and returns everything that went over the wire.
///
/// # Errors
///
/// Any end but a complete response, with what was recorded until then. A TLS 1.3 server refuses a
/// client after the client's own handshake is done: that is [`Cause::Refused`] with
/// [`Phase::Response`].
pub fn record(options: &RecordOptions<'_>) -> Result<Recording, RecordError> {
    let recorder = Recorder::new(options).map_err(|cause| failed(options, cause))?;
    recorder.record(options)
}

/// An error before anything was recorded.
pub(super) fn failed(options: &RecordOptions<'_>, cause: Cause) -> RecordError {
    RecordError { address: options.address, cause, recording: None }
}

/// Records the connection of `tls`, whose ears tell `observer`.
pub(super) fn run(
    options: &RecordOptions<'_>,
    tls: ClientConnection,
    observer: &Observer,
) -> Result<Recording, RecordError> {
    let began_unix = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    let began = Instant::now();
    let socket = TcpStream::connect_timeout(&options.address, options.connect_timeout)
        .and_then(|socket| socket.set_nodelay(true).map(|()| socket))
        .map_err(|source| failed(options, connect_cause(source, options.connect_timeout)))?;
    let mut recording = Recording {
        address: options.address,
        peer: options.peer,
        began,
        began_unix_s: i64::try_from(began_unix.as_secs()).unwrap_or(i64::MAX),
        connected: Instant::now(),
        to_server: Wire::default(),
        to_client: Wire::default(),
        stamps: Stamps::default(),
        response: Vec::new(),
        response_truncated: false,
        handshake_done: false,
        resumed: false,
        closed_in_order: false,
    };
    let last = began + options.total_timeout;
    let mut run = Run {
        socket,
        tls,
        recording: &mut recording,
        phase: Phase::Handshake,
        timeout: options.handshake_timeout,
        deadline: last.min(Instant::now() + options.handshake_timeout),
        last,
        write_error: None,
        peer_closed: false,
        response_bytes_max: options.response_bytes_max.min(TIMELINE_RESPONSE_BYTES_MAX),
    };
    let ended = run.all(options);
    let handshake_done = run.phase == Phase::Response;
    let resumed = run.tls.handshake_kind() == Some(HandshakeKind::Resumed);
    let closed_in_order = run.peer_closed;
    recording.stamps = observer.take();
    recording = Recording { handshake_done, resumed, closed_in_order, ..recording };
    match ended {
        Ok(()) => Ok(recording),
        Err(cause) => Err(RecordError {
            address: options.address,
            cause,
            recording: Some(Box::new(recording)),
        }),
    }
}

fn connect_cause(source: io::Error, timeout: Duration) -> Cause {
    match source.kind() {
        ErrorKind::TimedOut | ErrorKind::WouldBlock => {
            Cause::Timeout { phase: Phase::Connect, timeout }
        }
        _ => Cause::Io { phase: Phase::Connect, source },
    }
}

/// A connection under way.
struct Run<'a> {
    socket: TcpStream,
    tls: ClientConnection,
    recording: &'a mut Recording,
    phase: Phase,
    timeout: Duration,
    deadline: Instant,
    /// When all of it has to be over.
    last: Instant,
    /// A write that failed: most often the server has refused and gone, and its alert, still to be
    /// read, is the better news.
    write_error: Option<io::Error>,
    peer_closed: bool,
    response_bytes_max: usize,
}

impl Run<'_> {
    fn all(&mut self, options: &RecordOptions<'_>) -> Result<(), Cause> {
        while self.tls.is_handshaking() {
            self.flush()?;
            let wait = self.deadline;
            let arrived = self.read(wait)?;
            if arrived != Arrived::Bytes {
                return Err(self.ended(arrived));
            }
        }
        self.flush()?;
        self.phase = Phase::Response;
        self.timeout = options.response_timeout;
        if self.write_error.is_none() {
            self.deadline = self.last.min(Instant::now() + self.timeout);
        }
        let queued = self.tls.writer().write_all(options.request);
        queued.map_err(|source| self.io(source))?;
        self.flush()?;
        self.response(options.response_end)?;
        self.tls.send_close_notify();
        // All that was wanted is there: a goodbye for which no time is left is no failure.
        let _ = self.flush();
        let _ = self.socket.shutdown(Shutdown::Write);
        Ok(())
    }

    fn response(&mut self, end: ResponseEnd) -> Result<(), Cause> {
        let connecting = self.recording.connecting();
        loop {
            let have = self.recording.response.len();
            let enough = match end {
                ResponseEnd::Bytes(bytes) => have >= bytes,
                ResponseEnd::Close | ResponseEnd::Quiet(_) => false,
            };
            if enough || self.recording.response_truncated {
                return Ok(());
            }
            let wait = match end {
                ResponseEnd::Quiet(quiet) => {
                    self.deadline.min(Instant::now() + quiet.max(3 * connecting))
                }
                ResponseEnd::Bytes(_) | ResponseEnd::Close => self.deadline,
            };
            match self.read(wait)? {
                Arrived::Bytes => self.flush()?,
                Arrived::Nothing if matches!(end, ResponseEnd::Quiet(_)) => return Ok(()),
                Arrived::End if end == ResponseEnd::Close && have > 0 => return Ok(()),
                arrived => return Err(self.ended(arrived)),
            }
        }
    }

    /// Why a connection that brought nothing more is over.
    fn ended(&mut self, arrived: Arrived) -> Cause {
        let (phase, timeout) = (self.phase, self.timeout);
        match self.write_error.take() {
            Some(source) => self.io(source),
            None if arrived == Arrived::Nothing => Cause::Timeout { phase, timeout },
            None => Cause::Closed { phase },
        }
    }

    fn io(&self, source: io::Error) -> Cause {
        Cause::Io { phase: self.phase, source }
    }

    /// Writes what TLS has to say.
    fn flush(&mut self) -> Result<(), Cause> {
        let mut waiting = Vec::new();
        while self.tls.wants_write() {
            let written = self.tls.write_tls(&mut waiting);
            written.map_err(|source| self.io(source))?;
        }
        let mut rest = &waiting[..];
        while !rest.is_empty() && self.write_error.is_none() {
            let patience =
                self.patience(self.deadline).ok_or_else(|| self.ended(Arrived::Nothing))?;
            let at = Instant::now();
            let written = self
                .socket
                .set_write_timeout(Some(patience))
                .and_then(|()| self.socket.write(rest));
            match written {
                Ok(bytes) => {
                    let (piece, left) = rest.split_at(bytes);
                    self.recording.to_server.add(piece, at)?;
                    rest = left;
                }
                Err(error) if again(&error) => {}
                Err(error) => {
                    self.write_error = Some(error);
                    self.deadline = self.deadline.min(Instant::now() + ALERT_WAIT);
                }
            }
        }
        Ok(())
    }

    /// Reads once, until `wait` at the latest, and gives TLS what came.
    fn read(&mut self, wait: Instant) -> Result<Arrived, Cause> {
        if self.peer_closed {
            return Ok(Arrived::End);
        }
        let mut buffer = [0_u8; TLS_RECORD_BYTES_MAX];
        let bytes = loop {
            let Some(patience) = self.patience(wait) else {
                return Ok(Arrived::Nothing);
            };
            let read = self
                .socket
                .set_read_timeout(Some(patience))
                .and_then(|()| self.socket.read(&mut buffer));
            match read {
                Ok(bytes) => break bytes,
                Err(error) if again(&error) => {}
                Err(error) => {
                    let first = self.write_error.take().unwrap_or(error);
                    return Err(self.io(first));
                }
            }
        };
        let at = Instant::now();
        let mut rest = &buffer[..bytes];
        self.recording.to_client.add(rest, at)?;
        if bytes == 0 {
            return Ok(Arrived::End);
        }
        while !rest.is_empty() && !self.peer_closed {
            let taken = self.tls.read_tls(&mut rest);
            // It takes whatever comes, unless more has come than it holds.
            let bytes = self.recording.to_client.bytes.len();
            taken.map_err(|_| Cause::TooMuch { bytes })?;
            self.process()?;
        }
        Ok(Arrived::Bytes)
    }

    /// Lets TLS process what it was given, and takes the response out of it.
    fn process(&mut self) -> Result<(), Cause> {
        match self.tls.process_new_packets() {
            Ok(state) => self.peer_closed = state.peer_has_closed(),
            Err(error) => {
                if !self.tls.is_handshaking() {
                    // The last of the handshake came with it.
                    self.phase = Phase::Response;
                }
                // Our own alert is part of the story; that it may not go out is not.
                let _ = self.flush();
                let phase = self.phase;
                return Err(match error {
                    rustls::Error::AlertReceived(alert) => {
                        Cause::Refused { phase, alert: u8::from(alert) }
                    }
                    error => Cause::Tls { phase, error },
                });
            }
        }
        let mut buffer = [0_u8; 4096];
        loop {
            match self.tls.reader().read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(bytes) => {
                    let room = self.response_bytes_max - self.recording.response.len();
                    let kept = bytes.min(room);
                    self.recording.response.extend_from_slice(&buffer[..kept]);
                    self.recording.response_truncated |= bytes >= room;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(self.io(error)),
            }
        }
    }

    /// The time left until `wait`, never the zero that a socket takes for "for ever".
    fn patience(&self, wait: Instant) -> Option<Duration> {
        let left = wait.saturating_duration_since(Instant::now());
        (left > Duration::ZERO).then(|| left.max(Duration::from_millis(1)))
    }
}

/// Whether a socket call that failed so is to be tried again, deadline permitting.
fn again(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// What a read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arrived {
    Bytes,
    Nothing,
    End,
}

/// The direction of a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the recording client.
    ToServer,
    /// From the server.
    ToClient,
}

/// The bytes of one direction in order, and when each went by.
#[derive(Clone, Default)]
pub(super) struct Wire {
    pub(super) bytes: Vec<u8>,
    /// For each write or read: how many bytes there were after it, and its time.
    pieces: Vec<(usize, Instant)>,
}

impl Wire {
    pub(super) fn add(&mut self, bytes: &[u8], at: Instant) -> Result<(), Cause> {
        let total = self.bytes.len() + bytes.len();
        if total > TIMELINE_WIRE_BYTES_MAX || self.pieces.len() == TIMELINE_PIECES_MAX {
            return Err(Cause::TooMuch { bytes: total });
        }
        if !bytes.is_empty() {
            self.bytes.extend_from_slice(bytes);
            self.pieces.push((total, at));
        }
        Ok(())
    }

    /// When the byte before `end` went by; `None` where there is none.
    pub(super) fn at(&self, end: usize) -> Option<Instant> {
        let piece = self.pieces.partition_point(|(total, _)| *total < end);
        self.pieces.get(piece).map(|(_, at)| *at)
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bytes, pieces) = (self.bytes.len(), self.pieces.len());
        write!(f, "Wire({bytes} bytes in {pieces} pieces)")
    }
}

/// One connection as it went over the wire, with what is needed to read it.
#[derive(Clone, Debug)]
pub struct Recording {
    pub(super) address: SocketAddr,
    pub(super) peer: &'static str,
    pub(super) began: Instant,
    pub(super) began_unix_s: i64,
    pub(super) connected: Instant,
    pub(super) to_server: Wire,
    pub(super) to_client: Wire,
    pub(super) stamps: Stamps,
    response: Vec<u8>,
    response_truncated: bool,
    handshake_done: bool,
    resumed: bool,
    closed_in_order: bool,
}

impl Recording {
    /// Where it went to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// When it was begun, in seconds since 1970 (UTC).
    pub fn began_unix_s(&self) -> i64 {
        self.began_unix_s
    }

    /// How long the TCP connection took to be established.
    pub fn connecting(&self) -> Duration {
        self.connected.saturating_duration_since(self.began)
    }

    /// Whether the client's own part of the handshake was done.
    pub fn is_handshake_done(&self) -> bool {
        self.handshake_done
    }

    /// Whether it resumed a session of an earlier connection.
    pub fn is_resumed(&self) -> bool {
        self.resumed
    }

    /// Whether the server ended it by close_notify.
    pub fn is_closed_in_order(&self) -> bool {
        self.closed_in_order
    }

    /// Certificates that the server presented, where they were looked at: more than are decoded,
    /// perhaps.
    pub fn chain_certificates(&self) -> usize {
        self.stamps.chain_certificates
    }

    /// What the verification of the server's chain found, where there was one; an error says why
    /// it failed.
    pub fn chain_verdict(&self) -> Option<Result<(), &str>> {
        let check = self.stamps.chain.as_ref()?;
        Some(check.failure.as_deref().map_or(Ok(()), Err))
    }

    /// Whether the client presented its certificate; `None` where it was not asked for one.
    pub fn certificate_presented(&self) -> Option<bool> {
        self.stamps.certificate_asked.map(|(_, given)| given)
    }

    /// The first bytes that the server sent, as on the wire.
    pub fn first_bytes(&self, bytes_max: usize) -> &[u8] {
        let bytes = &self.to_client.bytes;
        &bytes[..bytes.len().min(bytes_max)]
    }

    /// When the TCP connection was begun: the timeline's zero.
    pub fn began(&self) -> Instant {
        self.began
    }

    /// What the server answered, decrypted.
    pub fn response(&self) -> &[u8] {
        &self.response
    }

    /// Whether the response reached the bound of what was to be read of it.
    pub fn response_truncated(&self) -> bool {
        self.response_truncated
    }

    /// Bytes on the wire in this direction, record headers and encryption included.
    pub fn wire_bytes(&self, direction: Direction) -> usize {
        self.wire(direction).bytes.len()
    }

    pub(super) fn wire(&self, direction: Direction) -> &Wire {
        match direction {
            Direction::ToServer => &self.to_server,
            Direction::ToClient => &self.to_client,
        }
    }
}
