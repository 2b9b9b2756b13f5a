//! A session after its handshake: records, alerts, KeyUpdate and, of a client, tickets.
//!
//! Invariant: of the handshake messages that may still come, none is kept beyond its bound.

use std::ops::RangeInclusive;

use rustls::client::ClientConnectionData;
use rustls::kernel::KernelConnection;
use rustls::server::ServerConnectionData;
use rustls::{
    AlertDescription, ConnectionTrafficSecrets, ExtractedSecrets, ProtocolVersion,
    SupportedCipherSuite,
};

use super::{Agreed, KEY_UPDATE, SessionError};
use crate::limits::{QUIET_RECORDS_MAX, TICKET_BYTES_MAX};
use crate::tls::record::{ContentType, Keys, RecordError};

/// Type and length of a handshake message (RFC 8446, 4).
const MESSAGE_HEADER_BYTES: usize = 4;
const NEW_SESSION_TICKET: u8 = 4;
pub(super) const ALERT_WARNING: u8 = 1;
const ALERT_FATAL: u8 = 2;

/// What remains of rustls: it derives the next keys and, of a client, keeps tickets. Boxed, for it
/// is large, and holds the peer's chain.
pub(super) enum Updates {
    Server(Box<KernelConnection<ServerConnectionData>>),
    Client(Box<KernelConnection<ClientConnectionData>>),
}

type NextSecrets = Result<(u64, ConnectionTrafficSecrets), rustls::Error>;

impl Updates {
    fn next_rx(&mut self) -> NextSecrets {
        match self {
            Self::Server(kernel) => kernel.update_rx_secret(),
            Self::Client(kernel) => kernel.update_rx_secret(),
        }
    }

    fn next_tx(&mut self) -> NextSecrets {
        match self {
            Self::Server(kernel) => kernel.update_tx_secret(),
            Self::Client(kernel) => kernel.update_tx_secret(),
        }
    }
}

pub(super) struct Established {
    /// `None` in TLS 1.2, which has no KeyUpdate.
    updates: Option<Updates>,
    /// Records that a key may protect.
    records_max: u64,
    pub(super) read: Keys,
    pub(super) write: Keys,
    /// The beginning of a message that was cut in two.
    pub(super) fragment: Vec<u8>,
    /// Records in a row without data.
    quiet: u32,
    pub(super) close_sent: bool,
    /// The peer asked for new keys: the next data goes behind a KeyUpdate. Owed once however
    /// often it asks, or a peer that does not read could make the output grow.
    pub(super) update_owed: bool,
}

impl Established {
    /// Takes the keys over; `None` for a suite whose algorithm is unknown here.
    pub(super) fn new(
        agreed: &Agreed,
        secrets: ExtractedSecrets,
        updates: Updates,
    ) -> Option<Self> {
        let records_max = records_max(agreed.suite);
        let is_tls13 = agreed.version == ProtocolVersion::TLSv1_3;
        Some(Self {
            updates: is_tls13.then_some(updates),
            records_max,
            read: Keys::new(agreed.version, secrets.rx, records_max)?,
            write: Keys::new(agreed.version, secrets.tx, records_max)?,
            fragment: Vec::new(),
            quiet: 0,
            close_sent: false,
            update_owed: false,
        })
    }

    /// One whole record. Returns whether it is close_notify.
    pub(super) fn read_record(
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

    /// Nothing but KeyUpdate (RFC 8446, 4.6.3) and, from a server, tickets (4.6.1) may come after
    /// the handshake: no renegotiation in TLS 1.2, and in TLS 1.3 no certificate was asked for
    /// later.
    fn read_handshake(&mut self, content: &[u8], out: &mut Vec<u8>) -> Result<(), SessionError> {
        self.fragment.extend_from_slice(content);
        while let Some(&kind) = self.fragment.first() {
            let header = self.fragment.first_chunk::<MESSAGE_HEADER_BYTES>();
            let length = header
                .map(|&[_, high, middle, low]| u32::from_be_bytes([0, high, middle, low]) as usize);
            let lengths = self.lengths(kind);
            if !lengths.is_some_and(|range| length.is_none_or(|length| range.contains(&length))) {
                return Err(self.violation("a handshake message that may not come now", out));
            }
            let end = MESSAGE_HEADER_BYTES + length.unwrap_or(0);
            if length.is_none() || self.fragment.len() < end {
                return Ok(());
            }
            let message: Vec<u8> = self.fragment.drain(..end).collect();
            let body = &message[MESSAGE_HEADER_BYTES..];
            if kind == NEW_SESSION_TICKET {
                self.read_ticket(body, out)?;
            } else if self.fragment.is_empty() {
                self.read_key_update(body[0], out)?;
            } else {
                // RFC 8446, 5.1: "Handshake messages MUST NOT span key changes".
                return Err(self.violation("a KeyUpdate with something behind it", out));
            }
        }
        // An idle connection keeps nothing.
        self.fragment = Vec::new();
        Ok(())
    }

    /// How long a handshake message of this kind may be after the handshake; `None` where none may
    /// come.
    fn lengths(&self, kind: u8) -> Option<RangeInclusive<usize>> {
        match self.updates.as_ref()? {
            _ if kind == KEY_UPDATE[0] => Some(1..=1),
            Updates::Client(_) if kind == NEW_SESSION_TICKET => Some(1..=TICKET_BYTES_MAX),
            _ => None,
        }
    }

    /// A ticket, for the configuration's store.
    fn read_ticket(&mut self, body: &[u8], out: &mut Vec<u8>) -> Result<(), SessionError> {
        let Some(Updates::Client(kernel)) = &mut self.updates else {
            return Err(self.violation("a ticket from a client", out));
        };
        kernel.handle_new_session_ticket(body).map_err(|error| {
            self.alert(AlertDescription::DecodeError, out);
            SessionError::Tls(error)
        })
    }

    fn read_key_update(&mut self, request: u8, out: &mut Vec<u8>) -> Result<(), SessionError> {
        let requested = match request {
            0 => false,
            1 => true,
            // RFC 8446, 4.6.3: "MUST terminate the connection with an illegal_parameter alert".
            _ => {
                self.alert(AlertDescription::IllegalParameter, out);
                return Err(SessionError::Protocol("a KeyUpdate that is neither 0 nor 1"));
            }
        };
        if let Some(updates) = &mut self.updates {
            let secrets = updates.next_rx().map_err(SessionError::Tls)?;
            self.read = self.next_keys(secrets)?;
        }
        // RFC 8446, 4.6.3: "prior to sending its next Application Data record".
        self.update_owed |= requested;
        Ok(())
    }

    /// Says that the next record has new keys, and makes them. TLS 1.2 has no such thing.
    pub(super) fn renew_write_keys(&mut self, out: &mut Vec<u8>) -> Result<(), SessionError> {
        let Some(updates) = &mut self.updates else {
            return Err(SessionError::Record(RecordError::KeyExhausted));
        };
        self.write.seal(ContentType::Handshake, &KEY_UPDATE, out).map_err(SessionError::Record)?;
        self.update_owed = false;
        let secrets = updates.next_tx().map_err(SessionError::Tls)?;
        self.write = self.next_keys(secrets)?;
        Ok(())
    }

    fn next_keys(&self, secrets: (u64, ConnectionTrafficSecrets)) -> Result<Keys, SessionError> {
        Keys::new(ProtocolVersion::TLSv1_3, secrets, self.records_max)
            .ok_or(SessionError::Protocol("a key update to an unknown algorithm"))
    }

    pub(super) fn refuse(&mut self, error: RecordError, out: &mut Vec<u8>) -> SessionError {
        self.alert(error.alert(), out);
        SessionError::Record(error)
    }

    fn violation(&mut self, what: &'static str, out: &mut Vec<u8>) -> SessionError {
        self.alert(AlertDescription::UnexpectedMessage, out);
        SessionError::Protocol(what)
    }

    pub(super) fn alert(&mut self, alert: AlertDescription, out: &mut Vec<u8>) {
        if self.close_sent {
            return;
        }
        // Fails where the keys are used up: then FIN has to say it.
        let _ = self.write.seal(ContentType::Alert, &[ALERT_FATAL, u8::from(alert)], out);
    }
}

fn records_max(suite: SupportedCipherSuite) -> u64 {
    match suite {
        SupportedCipherSuite::Tls12(suite) => suite.common.confidentiality_limit,
        SupportedCipherSuite::Tls13(suite) => suite.common.confidentiality_limit,
    }
}
