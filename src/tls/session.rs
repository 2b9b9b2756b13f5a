//! The TLS endpoint of one connection: bytes in, bytes and events out.
//!
//! Sans-IO: no socket, no clock, no await. rustls does the handshake; then its keys are taken over
//! by [`super::record`] (decision 0002), and what is left of the protocol is here: data, alerts
//! and KeyUpdate. All use of rustls' connections is behind this file.
//!
//! Invariants: no plaintext is handed out before the handshake is complete; what has arrived and
//! is no whole record yet stays in `partial`, which is bounded and empty on an idle connection.

use std::sync::Arc;

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::UnbufferedServerConnection;
use rustls::{
    AlertDescription, ClientConfig, NamedGroup, ProtocolVersion, ServerConfig, SupportedCipherSuite,
};

use super::record::{
    ContentType, HEADER_BYTES, OVERHEAD_BYTES_MAX, PLAINTEXT_BYTES_MAX, RecordError,
};
use crate::limits::HANDSHAKE_BYTES_MAX;

mod established;
mod handshake;

use established::{ALERT_WARNING, Established};
use handshake::Handshake;

/// A KeyUpdate that asks for none in return (RFC 8446, 4.6.3).
const KEY_UPDATE: [u8; 5] = [24, 0, 0, 1, 0];

/// Why a session cannot go on. An alert for the peer, where one is due, is in the output already.
#[derive(Clone, Debug, PartialEq)]
pub enum SessionError {
    /// The handshake failed: rustls says why.
    Tls(rustls::Error),
    /// Handshake fragments beyond [`HANDSHAKE_BYTES_MAX`].
    TooLarge,
    /// A record that cannot be opened, or none more that can be sealed.
    Record(RecordError),
    /// The peer sent this fatal alert.
    AlertReceived(AlertDescription),
    /// The peer breaks the protocol: how.
    Protocol(&'static str),
}

impl std::fmt::Display for SessionError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tls(error) => error.fmt(f),
            Self::TooLarge => write!(f, "a message of more than {HANDSHAKE_BYTES_MAX} bytes"),
            Self::Record(RecordError::Unexpected) => f.write_str("a record out of place"),
            Self::Record(RecordError::Overflow) => f.write_str("a record that is too long"),
            Self::Record(RecordError::BadMac) => f.write_str("a record that does not decrypt"),
            Self::Record(RecordError::KeyExhausted) => f.write_str("the keys are used up"),
            Self::AlertReceived(alert) => write!(f, "the peer sent the alert {alert:?}"),
            Self::Protocol(what) => f.write_str(what),
        }
    }
}

impl SessionError {
    /// rustls' own error.
    pub fn tls(&self) -> Option<&rustls::Error> {
        match self {
            Self::Tls(error) => Some(error),
            _ => None,
        }
    }

    /// The alert that the peer sent, where that is the reason.
    pub fn alert_received(&self) -> Option<AlertDescription> {
        match self {
            Self::Tls(rustls::Error::AlertReceived(alert)) | Self::AlertReceived(alert) => {
                Some(*alert)
            }
            _ => None,
        }
    }
}

/// What a handshake came to.
#[derive(Clone, Debug)]
pub struct Agreed {
    /// Protocol version.
    pub version: ProtocolVersion,
    /// Cipher suite.
    pub suite: SupportedCipherSuite,
    /// Key exchange group; `None` where there was no exchange.
    pub group: Option<NamedGroup>,
    /// Whether the session was resumed.
    pub resumed: bool,
    /// Application protocol (RFC 7301).
    pub alpn: Option<Box<[u8]>>,
    /// The client's own certificate, verified.
    pub peer_certificate: Option<CertificateDer<'static>>,
    /// All that the client presented, its own certificate first, of a resumed session too; empty
    /// unless [`Session::keep_chain`] asked for it.
    pub peer_chain: Vec<CertificateDer<'static>>,
}

enum State {
    Handshaking(Handshake),
    Established(Box<Established>),
    /// An error ended it.
    Failed,
}

impl State {
    fn established(&mut self) -> Result<&mut Established, SessionError> {
        match self {
            Self::Established(established) => Ok(established),
            Self::Handshaking(_) => Err(SessionError::Protocol("the handshake is not complete")),
            Self::Failed => Err(SessionError::Protocol("an error has ended the session")),
        }
    }
}

/// See the module's description.
pub struct Session {
    state: State,
    partial: Vec<u8>,
    /// Plaintext that came in one flight with the end of the handshake.
    early: Vec<u8>,
    peer_closed: bool,
    keeps_chain: bool,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // No secrets, and so no state.
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
        Ok(Self::handshaking(Handshake::server(connection)))
    }

    /// A client's session with the server `name`. Its first [`Session::handshake`], with no bytes,
    /// makes the ClientHello. Tickets go to the store of `config`.
    ///
    /// # Errors
    /// A configuration that rustls refuses.
    pub fn client(
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> Result<Self, SessionError> {
        let connection =
            UnbufferedClientConnection::new(config, name).map_err(SessionError::Tls)?;
        Ok(Self::handshaking(Handshake::client(connection)))
    }

    fn handshaking(handshake: Handshake) -> Self {
        Self {
            state: State::Handshaking(handshake),
            partial: Vec::new(),
            early: Vec::new(),
            peer_closed: false,
            keeps_chain: false,
        }
    }

    /// Makes [`Agreed::peer_chain`] of this handshake what the peer presents.
    pub fn keep_chain(&mut self) {
        self.keeps_chain = true;
    }

    /// Takes bytes of the handshake, which are overwritten; appends the answer to `out`. What was
    /// agreed on comes out when the handshake is complete.
    ///
    /// # Errors
    /// [`SessionError`]; `out` has the alert.
    pub fn handshake(
        &mut self,
        tls: &mut [u8],
        out: &mut Vec<u8>,
    ) -> Result<Option<Agreed>, SessionError> {
        let State::Handshaking(mut handshake) = std::mem::replace(&mut self.state, State::Failed)
        else {
            return Err(SessionError::Protocol("the handshake is over"));
        };
        let mut joined = std::mem::take(&mut self.partial);
        let is_joined = !joined.is_empty();
        let bytes = if is_joined {
            joined.extend_from_slice(tls);
            joined.as_mut_slice()
        } else {
            tls
        };
        let used = handshake.run(bytes, out)?;
        self.peer_closed |= handshake.peer_closed;
        if handshake.is_under_way() {
            if is_joined {
                // In its place: a handshake in tiny pieces must not copy all of them each time.
                joined.drain(..used);
                self.partial = joined;
            } else {
                self.partial.extend_from_slice(&bytes[used..]);
            }
            if self.partial.len() > HANDSHAKE_BYTES_MAX {
                return Err(SessionError::TooLarge);
            }
            self.state = State::Handshaking(handshake);
            return Ok(None);
        }
        let (agreed, established, seen) = handshake.finish(self.keeps_chain)?;
        self.state = State::Established(Box::new(established));
        let mut early = Vec::new();
        self.read(&bytes[seen..], &mut early, out)?;
        self.early = early;
        Ok(Some(agreed))
    }

    /// Whether a session is resumed, once that is settled.
    pub fn resumed(&self) -> Option<bool> {
        match &self.state {
            State::Handshaking(handshake) => handshake.resumed(),
            State::Established(_) | State::Failed => None,
        }
    }

    /// Whether plaintext came in one flight with the end of the handshake.
    pub fn has_early(&self) -> bool {
        !self.early.is_empty()
    }

    /// Plaintext that came in one flight with the end of the handshake.
    pub fn take_early(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.early)
    }

    /// Bytes of storage that are held for what has arrived; 0 on an idle connection.
    pub fn stored_bytes(&self) -> usize {
        let fragment = match &self.state {
            State::Established(established) => established.fragment.capacity(),
            State::Handshaking(_) | State::Failed => 0,
        };
        self.partial.capacity() + self.early.capacity() + fragment
    }

    /// Bytes that wait for the rest of their record.
    pub fn partial_bytes(&self) -> usize {
        self.partial.len()
    }

    /// Whether the peer has sent close_notify: nothing more will come.
    pub fn peer_closed(&self) -> bool {
        self.peer_closed
    }

    /// Takes received bytes; appends plaintext to `plain`, and what TLS itself has to say to
    /// `out`. What follows a close_notify is ignored (RFC 8446, 6.1).
    ///
    /// # Errors
    /// [`SessionError`]; `out` has the alert, `plain` what came before the fault. The session is
    /// over then (RFC 8446, 6.2): whatever else is asked of it is an error, and says nothing.
    pub fn read(
        &mut self,
        tls: &[u8],
        plain: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<(), SessionError> {
        let result = self.read_records(tls, plain, out);
        if result.is_err() && !matches!(self.state, State::Handshaking(_)) {
            self.state = State::Failed;
            self.partial = Vec::new();
        }
        result
    }

    fn read_records(
        &mut self,
        tls: &[u8],
        plain: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<(), SessionError> {
        let established = self.state.established()?;
        let mut rest = tls;
        while !self.partial.is_empty() && !self.peer_closed {
            let wanted = match established.read.record_bytes(&self.partial) {
                Ok(record) => record.unwrap_or(HEADER_BYTES),
                Err(error) => return Err(established.refuse(error, out)),
            };
            if self.partial.len() < wanted {
                if rest.is_empty() {
                    return Ok(());
                }
                let more = (wanted - self.partial.len()).min(rest.len());
                self.partial.extend_from_slice(&rest[..more]);
                rest = &rest[more..];
                continue;
            }
            self.peer_closed = established.read_record(&self.partial[..wanted], plain, out)?;
            self.partial.drain(..wanted);
        }
        // An idle connection keeps nothing.
        self.partial = Vec::new();
        while !self.peer_closed {
            match established.read.record_bytes(rest) {
                Ok(Some(record)) if record <= rest.len() => {
                    self.peer_closed = established.read_record(&rest[..record], plain, out)?;
                    rest = &rest[record..];
                }
                Ok(record) if !rest.is_empty() => {
                    self.partial.reserve_exact(record.unwrap_or(HEADER_BYTES));
                    self.partial.extend_from_slice(rest);
                    break;
                }
                Ok(_) => break,
                Err(error) => return Err(established.refuse(error, out)),
            }
        }
        Ok(())
    }

    /// Encrypts `plain` and appends the records to `out`.
    ///
    /// # Errors
    /// [`SessionError`] before the handshake is complete, after an error of [`Session::read`], and
    /// where the keys are used up.
    pub fn write(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), SessionError> {
        let established = self.state.established()?;
        for content in plain.chunks(PLAINTEXT_BYTES_MAX) {
            if established.update_owed || established.write.is_worn() {
                established.renew_write_keys(out)?;
            }
            established
                .write
                .seal(ContentType::Data, content, out)
                .map_err(SessionError::Record)?;
        }
        Ok(())
    }

    /// Appends close_notify to `out`, once; nothing may be written afterwards.
    pub fn close(&mut self, out: &mut Vec<u8>) {
        if let State::Established(established) = &mut self.state
            && !std::mem::replace(&mut established.close_sent, true)
        {
            let close_notify = [ALERT_WARNING, u8::from(AlertDescription::CloseNotify)];
            // Fails where the keys are used up: then the end is not an orderly one.
            let _ = established.write.seal(ContentType::Alert, &close_notify, out);
        }
    }

    /// Appends a fatal alert to `out`, of an established session; none after close_notify.
    pub fn alert(&mut self, alert: AlertDescription, out: &mut Vec<u8>) {
        if let State::Established(established) = &mut self.state {
            established.alert(alert, out);
        }
    }
}

/// The most bytes that `plain_bytes` take as records.
pub fn encrypted_bytes_max(plain_bytes: usize) -> usize {
    // One more for a KeyUpdate that goes first.
    let records = plain_bytes.div_ceil(PLAINTEXT_BYTES_MAX) + 1;
    plain_bytes + records * (OVERHEAD_BYTES_MAX + KEY_UPDATE.len())
}
