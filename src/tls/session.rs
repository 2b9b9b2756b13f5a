//! The TLS endpoint of one connection: bytes in, bytes and events out.
//!
//! Sans-IO: no socket, no clock, no await. rustls does the handshake; then its keys are taken over
//! by [`super::record`] (decision 0002), and what is left of the protocol is here: data, alerts
//! and KeyUpdate. All use of rustls' connections is behind this file.
//!
//! Invariants: no plaintext is handed out before the handshake is complete; what has arrived and
//! is no whole record yet stays in `partial`, which is bounded and empty on an idle connection.

use std::sync::Arc;

use rustls::kernel::KernelConnection;
use rustls::pki_types::CertificateDer;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, UnbufferedStatus};
use rustls::{
    AlertDescription, HandshakeKind, NamedGroup, ProtocolVersion, ServerConfig,
    SupportedCipherSuite,
};

use super::record::{
    ContentType, HEADER_BYTES, OVERHEAD_BYTES_MAX, PLAINTEXT_BYTES_MAX, ReadKeys, RecordError,
    WriteKeys,
};
use crate::limits::{HANDSHAKE_BYTES_MAX, QUIET_RECORDS_MAX};

/// A KeyUpdate that asks for none in return (RFC 8446, 4.6.3).
const KEY_UPDATE: [u8; 5] = [24, 0, 0, 1, 0];
const ALERT_WARNING: u8 = 1;
const ALERT_FATAL: u8 = 2;
const UNKNOWN_UPDATE: SessionError = SessionError::Protocol("a key update to an unknown algorithm");

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
}

enum State {
    Handshaking(Box<UnbufferedServerConnection>),
    Established(Box<Established>),
    /// An error ended it.
    Failed,
}

struct Established {
    /// Derives the next keys; `None` in TLS 1.2, which has no KeyUpdate. Boxed, for it is large,
    /// and holds the peer's chain.
    updates: Option<Box<KernelConnection<ServerConnectionData>>>,
    /// Records that a key may protect.
    records_max: u64,
    read: ReadKeys,
    write: WriteKeys,
    /// The beginning of a KeyUpdate that was cut in two.
    fragment: Vec<u8>,
    /// Records in a row without data.
    quiet: u32,
    close_sent: bool,
    /// The peer asked for new keys: the next data goes behind a KeyUpdate. Owed once however
    /// often it asks, or a peer that does not read could make the output grow.
    update_owed: bool,
}

/// See the module's description.
pub struct Session {
    state: State,
    partial: Vec<u8>,
    /// Bytes at the front of `partial` that rustls has seen, and rewritten, in the handshake.
    shown: usize,
    /// Plaintext that came in one flight with the end of the handshake.
    early: Vec<u8>,
    peer_closed: bool,
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
        Ok(Self {
            state: State::Handshaking(Box::new(connection)),
            partial: Vec::new(),
            shown: 0,
            early: Vec::new(),
            peer_closed: false,
        })
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
        let State::Handshaking(mut connection) = std::mem::replace(&mut self.state, State::Failed)
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
        let used = self.run_handshake(&mut connection, bytes, out)?;
        if connection.is_handshaking() {
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
            self.state = State::Handshaking(connection);
            return Ok(None);
        }
        let (agreed, established) = Established::take_over(*connection)?;
        self.state = State::Established(Box::new(established));
        let rest = &bytes[std::mem::take(&mut self.shown)..];
        let mut early = Vec::new();
        self.read(rest, &mut early, out)?;
        self.early = early;
        Ok(Some(agreed))
    }

    /// Runs rustls over `tls` until it needs more; returns how many bytes it is done with.
    ///
    /// It sees one record at a time. What follows the one with Finished is not for it: it would
    /// answer a KeyUpdate with its next data, which never comes, and change its keys at once.
    fn run_handshake(
        &mut self,
        connection: &mut UnbufferedServerConnection,
        tls: &mut [u8],
        out: &mut Vec<u8>,
    ) -> Result<usize, SessionError> {
        let mut used = 0;
        let mut end = record_end(tls, self.shown);
        loop {
            let visible = end.unwrap_or(tls.len());
            let UnbufferedStatus { discard, state } =
                connection.process_tls_records(&mut tls[used..visible]);
            used += discard;
            match state {
                Ok(ConnectionState::EncodeTlsData(mut data)) => encode(&mut data, out),
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => {
                    self.peer_closed = true;
                    self.shown = 0;
                    return Ok(tls.len());
                }
                // Early data is never accepted (max_early_data_size is 0).
                Ok(_) => {
                    let Some(shown) = end else { break };
                    self.shown = shown;
                    if shown == tls.len() || !connection.is_handshaking() {
                        break;
                    }
                    end = record_end(tls, shown);
                }
                Err(error) => {
                    collect_alert(connection, out);
                    return Err(SessionError::Tls(error));
                }
            }
        }
        if connection.is_handshaking() {
            self.shown -= used;
        }
        Ok(used)
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
    /// [`SessionError`]; `out` has the alert, `plain` what came before the fault.
    pub fn read(
        &mut self,
        tls: &[u8],
        plain: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<(), SessionError> {
        let State::Established(established) = &mut self.state else {
            return Err(SessionError::Protocol("the handshake is not complete"));
        };
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
    /// [`SessionError`] before the handshake is complete, and where the keys are used up.
    pub fn write(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), SessionError> {
        let State::Established(established) = &mut self.state else {
            return Err(SessionError::Protocol("the handshake is not complete"));
        };
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

impl Established {
    fn take_over(connection: UnbufferedServerConnection) -> Result<(Agreed, Self), SessionError> {
        let unknown = || SessionError::Protocol("rustls agreed on a suite that is unknown here");
        let version = connection.protocol_version().ok_or_else(unknown)?;
        let suite = connection.negotiated_cipher_suite().ok_or_else(unknown)?;
        let agreed = Agreed {
            version,
            suite,
            group: connection.negotiated_key_exchange_group().map(|group| group.name()),
            resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
            alpn: connection.alpn_protocol().map(Box::from),
            peer_certificate: connection
                .peer_certificates()
                .and_then(|chain| chain.first().cloned().map(CertificateDer::into_owned)),
        };
        let (secrets, kernel) =
            connection.dangerous_into_kernel_connection().map_err(SessionError::Tls)?;
        let records_max = records_max(suite);
        let read = ReadKeys::new(suite, secrets.rx, records_max).ok_or_else(unknown)?;
        let write = WriteKeys::new(suite, secrets.tx, records_max).ok_or_else(unknown)?;
        let tls13 = version == ProtocolVersion::TLSv1_3;
        let updates = tls13.then(|| Box::new(kernel));
        let fragment = Vec::new();
        let established = Self {
            updates,
            records_max,
            read,
            write,
            fragment,
            quiet: 0,
            close_sent: false,
            update_owed: false,
        };
        Ok((agreed, established))
    }

    /// One whole record. Returns whether it is close_notify.
    fn read_record(
        &mut self,
        record: &[u8],
        plain: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<bool, SessionError> {
        let start = plain.len();
        let kind = match self.read.open(record, plain) {
            Ok(kind) => kind,
            Err(error) => return Err(self.refuse(error, out)),
        };
        if kind == ContentType::Data && plain.len() > start && self.fragment.is_empty() {
            self.quiet = 0;
            return Ok(false);
        }
        let content = plain.split_off(start);
        // RFC 8446, 5.4: no empty record of this type. 5.1: nothing else between its fragments.
        let is_handshake = kind == ContentType::Handshake;
        if is_handshake && content.is_empty() || !is_handshake && !self.fragment.is_empty() {
            return Err(self.violation("a handshake message in parts that do not fit", out));
        }
        self.quiet += 1;
        if self.quiet > QUIET_RECORDS_MAX {
            return Err(self.violation("too many records in a row without data", out));
        }
        match kind {
            ContentType::Data => Ok(false),
            ContentType::Alert => self.read_alert(&content, out),
            ContentType::Handshake => self.read_handshake(&content, out).map(|()| false),
        }
    }

    fn read_alert(&mut self, content: &[u8], out: &mut Vec<u8>) -> Result<bool, SessionError> {
        let &[level, code] = content else {
            return Err(self.violation("an alert that is not two bytes long", out));
        };
        let alert = AlertDescription::from(code);
        let tls13 = self.updates.is_some();
        match alert {
            AlertDescription::CloseNotify => Ok(true),
            // RFC 8446, 6.1: it is followed by close_notify, and means nothing by itself.
            AlertDescription::UserCanceled => Ok(false),
            // RFC 8446, 6: in TLS 1.3 the level is ignored.
            _ if tls13 || level != ALERT_WARNING => Err(SessionError::AlertReceived(alert)),
            _ => Ok(false),
        }
    }

    /// RFC 8446, 4.6.3. Nothing else may come after the handshake: no renegotiation in TLS 1.2,
    /// and in TLS 1.3 no certificate was asked for later.
    fn read_handshake(&mut self, content: &[u8], out: &mut Vec<u8>) -> Result<(), SessionError> {
        self.fragment.extend_from_slice(content);
        let begins = self.fragment.iter().zip(&KEY_UPDATE[..4]).all(|(have, must)| have == must);
        // RFC 8446, 5.1: "Handshake messages MUST NOT span key changes": the record ends with it.
        if self.updates.is_none() || !begins || self.fragment.len() > KEY_UPDATE.len() {
            return Err(self.violation("a handshake message that is no KeyUpdate", out));
        }
        if self.fragment.len() < KEY_UPDATE.len() {
            return Ok(());
        }
        let requested = match std::mem::take(&mut self.fragment)[4] {
            0 => false,
            1 => true,
            // RFC 8446, 4.6.3: "MUST terminate the connection with an illegal_parameter alert".
            _ => {
                self.alert(AlertDescription::IllegalParameter, out);
                return Err(SessionError::Protocol("a KeyUpdate that is neither 0 nor 1"));
            }
        };
        if let Some(updates) = &mut self.updates {
            let secrets = updates.update_rx_secret().map_err(SessionError::Tls)?;
            let suite = updates.negotiated_cipher_suite();
            self.read = ReadKeys::new(suite, secrets, self.records_max).ok_or(UNKNOWN_UPDATE)?;
        }
        // RFC 8446, 4.6.3: "prior to sending its next Application Data record".
        self.update_owed |= requested;
        Ok(())
    }

    /// Says that the next record has new keys, and makes them. TLS 1.2 has no such thing.
    fn renew_write_keys(&mut self, out: &mut Vec<u8>) -> Result<(), SessionError> {
        let Some(updates) = &mut self.updates else {
            return Err(SessionError::Record(RecordError::KeyExhausted));
        };
        self.write.seal(ContentType::Handshake, &KEY_UPDATE, out).map_err(SessionError::Record)?;
        self.update_owed = false;
        let secrets = updates.update_tx_secret().map_err(SessionError::Tls)?;
        let suite = updates.negotiated_cipher_suite();
        self.write = WriteKeys::new(suite, secrets, self.records_max).ok_or(UNKNOWN_UPDATE)?;
        Ok(())
    }

    fn refuse(&mut self, error: RecordError, out: &mut Vec<u8>) -> SessionError {
        self.alert(error.alert(), out);
        SessionError::Record(error)
    }

    fn violation(&mut self, what: &'static str, out: &mut Vec<u8>) -> SessionError {
        self.alert(AlertDescription::UnexpectedMessage, out);
        SessionError::Protocol(what)
    }

    fn alert(&mut self, alert: AlertDescription, out: &mut Vec<u8>) {
        if self.close_sent {
            return;
        }
        // Fails where the keys are used up: then FIN has to say it.
        let _ = self.write.seal(ContentType::Alert, &[ALERT_FATAL, u8::from(alert)], out);
    }
}

/// The most bytes that `plain_bytes` take as records.
pub fn encrypted_bytes_max(plain_bytes: usize) -> usize {
    // One more for a KeyUpdate that goes first.
    let records = plain_bytes.div_ceil(PLAINTEXT_BYTES_MAX) + 1;
    plain_bytes + records * (OVERHEAD_BYTES_MAX + KEY_UPDATE.len())
}

fn records_max(suite: SupportedCipherSuite) -> u64 {
    match suite {
        SupportedCipherSuite::Tls12(suite) => suite.common.confidentiality_limit,
        SupportedCipherSuite::Tls13(suite) => suite.common.confidentiality_limit,
    }
}

/// Where the record that begins at `start` ends; `None` while it is not whole.
fn record_end(tls: &[u8], start: usize) -> Option<usize> {
    let &[_, _, _, high, low] = tls[start..].first_chunk::<HEADER_BYTES>()?;
    let end = start + HEADER_BYTES + usize::from(u16::from_be_bytes([high, low]));
    (end <= tls.len()).then_some(end)
}

/// After an error rustls has the alert ready; it comes out of the next calls.
///
/// Only while it has some: a call beyond that would look for more records, where rustls remembers
/// to have seen bytes, and panics when they are not there.
fn collect_alert(connection: &mut UnbufferedServerConnection, out: &mut Vec<u8>) {
    while connection.wants_write() {
        let UnbufferedStatus { state, .. } = connection.process_tls_records(&mut []);
        let Ok(ConnectionState::EncodeTlsData(mut data)) = state else { return };
        encode(&mut data, out);
    }
}

/// Appends what rustls has ready.
fn encode(data: &mut EncodeTlsData<'_, ServerConnectionData>, out: &mut Vec<u8>) {
    let start = out.len();
    while let Err(EncodeError::InsufficientSize(more)) = data.encode(&mut out[start..]) {
        out.resize(start + more.required_size, 0);
    }
}
