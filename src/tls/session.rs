//! The TLS endpoint of one connection: bytes in, bytes and events out.
//!
//! Sans-IO: no socket, no clock, no await. It wraps rustls' unbuffered connection, so that an
//! idle connection holds no buffer: what has arrived but is no whole record yet stays in
//! `partial`, which is empty most of the time. All use of rustls' record layer is behind this
//! file, so that another one can take its place.
//!
//! Invariant: `partial` holds less than [`HANDSHAKE_BYTES_MAX`]; no plaintext is handed out before
//! the handshake is complete.

use std::sync::Arc;

use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus, WriteTraffic,
};
use rustls::{AlertDescription, ServerConfig};

use crate::limits::{HANDSHAKE_BYTES_MAX, TLS_RECORD_BYTES_MAX};

/// Bytes by which encryption may grow one record: header, explicit nonce or content type, tag.
const RECORD_OVERHEAD_BYTES: usize = 64;
const RECORD_PLAINTEXT_BYTES_MAX: usize = 16 * 1024;
const HEADER_BYTES: usize = 5;

/// Why a session cannot go on. An alert for the peer, where one is due, is in the output already.
#[derive(Clone, Debug, PartialEq)]
pub enum SessionError {
    /// rustls refused what came, or was told so by the peer's alert.
    Tls(rustls::Error),
    /// Handshake fragments beyond [`HANDSHAKE_BYTES_MAX`].
    TooLarge,
}

impl std::fmt::Display for SessionError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tls(error) => error.fmt(f),
            Self::TooLarge => write!(f, "a message of more than {HANDSHAKE_BYTES_MAX} bytes"),
        }
    }
}

impl SessionError {
    /// rustls' own error.
    pub fn tls(&self) -> Option<&rustls::Error> {
        match self {
            Self::Tls(error) => Some(error),
            Self::TooLarge => None,
        }
    }

    /// The alert that the peer sent, where that is the reason.
    pub fn alert_received(&self) -> Option<AlertDescription> {
        match self {
            Self::Tls(rustls::Error::AlertReceived(alert)) => Some(*alert),
            _ => None,
        }
    }
}

/// What a step found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// The handshake is complete.
    pub established: bool,
    /// The peer has sent close_notify: nothing more will come.
    pub peer_closed: bool,
}

/// See the module's description.
pub struct Session {
    connection: Box<UnbufferedServerConnection>,
    partial: Vec<u8>,
    /// Plaintext that came in one flight with the end of the handshake.
    early: Vec<u8>,
    peer_closed: bool,
    /// It ended with an error: rustls may hold places in bytes that are gone.
    failed: bool,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // No secrets: rustls' connection is left out.
        f.debug_struct("Session").field("peer_closed", &self.peer_closed).finish_non_exhaustive()
    }
}

impl Session {
    /// A server's session that has seen nothing yet.
    ///
    /// # Errors
    /// A configuration that rustls refuses.
    pub fn new(config: Arc<ServerConfig>) -> Result<Self, SessionError> {
        let connection = UnbufferedServerConnection::new(config).map_err(SessionError::Tls)?;
        Ok(Self {
            connection: Box::new(connection),
            partial: Vec::new(),
            early: Vec::new(),
            peer_closed: false,
            failed: false,
        })
    }

    /// What the handshake negotiated, and the peer's certificates.
    pub fn negotiated(&self) -> &UnbufferedServerConnection {
        &self.connection
    }

    /// Takes bytes of the handshake; appends the answer, alerts included, to `out`.
    ///
    /// # Errors
    /// [`SessionError`]; `out` has the alert.
    pub fn handshake(&mut self, tls: &mut [u8], out: &mut Vec<u8>) -> Result<Step, SessionError> {
        let mut early = std::mem::take(&mut self.early);
        let read = self.read(tls, &mut early, out);
        self.early = early;
        read
    }

    /// Plaintext that came in one flight with the end of the handshake.
    pub fn take_early(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.early)
    }

    /// Takes received bytes, which are overwritten; appends plaintext to `plain`, and what TLS
    /// itself has to say to `out`.
    ///
    /// # Errors
    /// [`SessionError`]; `out` has the alert, `plain` what came before the fault.
    pub fn read(
        &mut self,
        tls: &mut [u8],
        plain: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<Step, SessionError> {
        let mut rest = tls;
        while !self.partial.is_empty() && !rest.is_empty() {
            let (bridge, after) = rest.split_at_mut(self.bridge_bytes(rest));
            rest = after;
            let mut joined = std::mem::take(&mut self.partial);
            joined.extend_from_slice(bridge);
            let processed = self.process(&mut joined, plain, out);
            if let Ok(consumed) = processed {
                joined.drain(..consumed);
            }
            self.partial = joined;
            processed?;
            self.check_partial()?;
        }
        let consumed = self.process(rest, plain, out)?;
        self.partial.extend_from_slice(&rest[consumed..]);
        self.check_partial()?;
        if self.partial.is_empty() {
            self.partial = Vec::new();
        }
        Ok(Step { established: !self.connection.is_handshaking(), peer_closed: self.peer_closed })
    }

    fn check_partial(&self) -> Result<(), SessionError> {
        if self.partial.len() > HANDSHAKE_BYTES_MAX {
            return Err(SessionError::TooLarge);
        }
        Ok(())
    }

    /// How many bytes of `rest` complete the record that `partial` begins with. Where that record
    /// is whole and still there, it is a fragment of a handshake message that rustls keeps its
    /// place in, and all goes behind it.
    fn bridge_bytes(&self, rest: &[u8]) -> usize {
        let have = self.partial.len();
        let header = |index: usize| match self.partial.get(index) {
            Some(&byte) => Some(byte),
            None => rest.get(index - have).copied(),
        };
        let (Some(high), Some(low)) = (header(3), header(4)) else { return rest.len() };
        let record = HEADER_BYTES + usize::from(u16::from_be_bytes([high, low]));
        if record <= have || record > TLS_RECORD_BYTES_MAX {
            return rest.len();
        }
        (record - have).min(rest.len())
    }

    /// Runs rustls over `tls` until it needs more; returns how many bytes it is done with.
    fn process(
        &mut self,
        tls: &mut [u8],
        plain: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<usize, SessionError> {
        let mut consumed = 0;
        loop {
            let UnbufferedStatus { discard, state } =
                self.connection.process_tls_records(&mut tls[consumed..]);
            consumed += discard;
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = match record {
                            Ok(record) => record,
                            Err(error) => {
                                self.failed = true;
                                return Err(SessionError::Tls(error));
                            }
                        };
                        consumed += record.discard;
                        plain.extend_from_slice(record.payload);
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => encode(&mut data, out),
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => {
                    self.peer_closed = true;
                    return Ok(tls.len());
                }
                // Early data is never accepted (max_early_data_size is 0).
                Ok(_) => return Ok(consumed),
                Err(error) => {
                    self.collect_alert(&mut tls[consumed..], out);
                    self.failed = true;
                    return Err(SessionError::Tls(error));
                }
            }
        }
    }

    /// After an error rustls has the alert ready; it comes out of the next call. rustls may hold
    /// places in `rest`, of messages behind the refused one, and panics where it is not there.
    fn collect_alert(&mut self, mut rest: &mut [u8], out: &mut Vec<u8>) {
        while let UnbufferedStatus {
            discard,
            state: Ok(ConnectionState::EncodeTlsData(mut data)),
        } = self.connection.process_tls_records(rest)
        {
            encode(&mut data, out);
            drop(data);
            rest = &mut rest[discard..];
        }
    }

    /// Encrypts `plain` and appends the records to `out`.
    ///
    /// # Errors
    /// [`SessionError`] before the handshake is complete, and where the keys are used up.
    pub fn write(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), SessionError> {
        self.with_write_traffic(out, |traffic, out| {
            let mut exhausted = false;
            append(out, encrypted_bytes_max(plain.len()), |space| {
                match traffic.encrypt(plain, space) {
                    Err(EncryptError::InsufficientSize(more)) => Err(more.required_size),
                    Err(EncryptError::EncryptExhausted) => {
                        exhausted = true;
                        Ok(0)
                    }
                    Ok(written) => Ok(written),
                }
            });
            if exhausted { Err(SessionError::Tls(rustls::Error::EncryptError)) } else { Ok(()) }
        })
    }

    /// Appends close_notify to `out`; nothing can be written afterwards.
    pub fn close(&mut self, out: &mut Vec<u8>) {
        let closed = self.with_write_traffic(out, |traffic, out| {
            append(out, RECORD_OVERHEAD_BYTES, |space| match traffic.queue_close_notify(space) {
                Err(EncryptError::InsufficientSize(more)) => Err(more.required_size),
                written => Ok(written.unwrap_or(0)),
            });
            Ok(())
        });
        // Before the handshake is complete there is nothing to close in order.
        drop(closed);
    }

    fn with_write_traffic(
        &mut self,
        out: &mut Vec<u8>,
        mut act: impl FnMut(
            &mut WriteTraffic<'_, ServerConnectionData>,
            &mut Vec<u8>,
        ) -> Result<(), SessionError>,
    ) -> Result<(), SessionError> {
        if self.failed {
            return Err(SessionError::Tls(rustls::Error::HandshakeNotComplete));
        }
        loop {
            // Not an empty buffer: rustls keeps its place in a message that came in part.
            let UnbufferedStatus { discard, state } =
                self.connection.process_tls_records(&mut self.partial);
            let done = match state {
                Ok(ConnectionState::WriteTraffic(mut traffic)) => Some(act(&mut traffic, out)),
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    encode(&mut data, out);
                    None
                }
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    None
                }
                // Told once; the write side stays open (RFC 8446, 6.1).
                Ok(ConnectionState::PeerClosed) => {
                    self.peer_closed = true;
                    None
                }
                Ok(_) => Some(Err(SessionError::Tls(rustls::Error::HandshakeNotComplete))),
                Err(error) => {
                    self.failed = true;
                    Some(Err(SessionError::Tls(error)))
                }
            };
            self.partial.drain(..discard);
            if let Some(done) = done {
                return done;
            }
        }
    }
}

/// The most bytes that `plain_bytes` take as records.
pub fn encrypted_bytes_max(plain_bytes: usize) -> usize {
    // One more for a KeyUpdate that goes first.
    let records = plain_bytes.div_ceil(RECORD_PLAINTEXT_BYTES_MAX) + 1;
    plain_bytes + records * RECORD_OVERHEAD_BYTES
}

/// Appends what rustls has ready.
fn encode(data: &mut EncodeTlsData<'_, ServerConnectionData>, out: &mut Vec<u8>) {
    append(out, 0, |space| match data.encode(space) {
        Err(EncodeError::InsufficientSize(more)) => Err(more.required_size),
        written => Ok(written.unwrap_or(0)),
    });
}

/// Appends to `out` what `write` puts into the space it is given, which is `guess` bytes at first
/// and as many as `write` asks for (`Err`) then.
fn append(
    out: &mut Vec<u8>,
    guess: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, usize>,
) {
    let start = out.len();
    let mut space = guess;
    loop {
        out.resize(start + space, 0);
        match write(&mut out[start..]) {
            Ok(written) => return out.truncate(start + written),
            Err(required) => space = required,
        }
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
