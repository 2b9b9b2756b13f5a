//! The handshake, which is rustls' own: records in, flights out, until its keys can be taken over.
//!
//! The only file that knows rustls' connections of both ends. Invariant: rustls sees one record at
//! a time and none behind the one that completes the handshake.

use std::ops::Deref;

use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::pki_types::CertificateDer;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, UnbufferedConnectionCommon, UnbufferedStatus,
};
use rustls::{CommonState, HandshakeKind};

use super::established::{Established, Updates};
use super::{Agreed, SessionError};
use crate::tls::record::HEADER_BYTES;

/// A connection of rustls', of either end.
enum Connection {
    Server(Box<UnbufferedServerConnection>),
    Client(Box<UnbufferedClientConnection>),
}

impl Deref for Connection {
    type Target = CommonState;

    fn deref(&self) -> &CommonState {
        match self {
            Self::Server(connection) => connection,
            Self::Client(connection) => connection,
        }
    }
}

/// A handshake under way.
pub(super) struct Handshake {
    connection: Connection,
    /// Bytes at the front of what was not used that rustls has seen, and rewritten.
    shown: usize,
    /// Whether the peer has sent close_notify.
    pub(super) peer_closed: bool,
}

impl Handshake {
    pub(super) fn server(connection: UnbufferedServerConnection) -> Self {
        let connection = Connection::Server(Box::new(connection));
        Self { connection, shown: 0, peer_closed: false }
    }

    pub(super) fn client(connection: UnbufferedClientConnection) -> Self {
        let connection = Connection::Client(Box::new(connection));
        Self { connection, shown: 0, peer_closed: false }
    }

    /// Whether there is more to come, of either end.
    pub(super) fn is_under_way(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// Whether a session is resumed, once that is settled.
    pub(super) fn resumed(&self) -> Option<bool> {
        self.connection.handshake_kind().map(|kind| kind == HandshakeKind::Resumed)
    }

    /// Runs rustls over `tls`, which begins with what it did not use before, until it needs more;
    /// returns how many bytes it is done with.
    ///
    /// What follows the record with Finished is not for it: it would answer a KeyUpdate with its
    /// next data, which never comes, and change its keys at once.
    pub(super) fn run(&mut self, tls: &mut [u8], out: &mut Vec<u8>) -> Result<usize, SessionError> {
        let mut used = 0;
        let mut end = record_end(tls, self.shown);
        loop {
            let visible = end.unwrap_or(tls.len());
            let (discard, step) = match &mut self.connection {
                Connection::Server(connection) => {
                    step(&mut **connection, &mut tls[used..visible], out)
                }
                Connection::Client(connection) => {
                    step(&mut **connection, &mut tls[used..visible], out)
                }
            };
            used += discard;
            match step? {
                Step::Again => {}
                Step::Closed => {
                    self.peer_closed = true;
                    self.shown = 0;
                    return Ok(tls.len());
                }
                Step::Blocked => {
                    let Some(shown) = end else { break };
                    self.shown = shown;
                    if shown == tls.len() || !self.is_under_way() {
                        break;
                    }
                    end = record_end(tls, shown);
                }
            }
        }
        if self.is_under_way() {
            self.shown -= used;
        }
        Ok(used)
    }

    /// Takes the keys over once the handshake is complete. Returns what was agreed on, the
    /// established session, and where the bytes begin that rustls has not seen. All certificates of
    /// the peer are copied only where `keeps_chain` says so.
    pub(super) fn finish(
        self,
        keeps_chain: bool,
    ) -> Result<(Agreed, Established, usize), SessionError> {
        let unknown = || SessionError::Protocol("rustls agreed on a suite that is unknown here");
        let connection = self.connection;
        let presented = connection.peer_certificates().unwrap_or_default();
        let owned = |it: &CertificateDer<'_>| it.clone().into_owned();
        let kept = if keeps_chain { presented } else { &[] };
        let agreed = Agreed {
            version: connection.protocol_version().ok_or_else(unknown)?,
            suite: connection.negotiated_cipher_suite().ok_or_else(unknown)?,
            group: connection.negotiated_key_exchange_group().map(|group| group.name()),
            resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
            alpn: connection.alpn_protocol().map(Box::from),
            peer_certificate: presented.first().map(owned),
            peer_chain: kept.iter().map(owned).collect(),
        };
        let (secrets, updates) = match connection {
            Connection::Server(connection) => connection
                .dangerous_into_kernel_connection()
                .map(|(secrets, kernel)| (secrets, Updates::Server(Box::new(kernel)))),
            Connection::Client(connection) => connection
                .dangerous_into_kernel_connection()
                .map(|(secrets, kernel)| (secrets, Updates::Client(Box::new(kernel)))),
        }
        .map_err(SessionError::Tls)?;
        let established = Established::new(&agreed, secrets, updates).ok_or_else(unknown)?;
        Ok((agreed, established, self.shown))
    }
}

/// What became of one call of rustls.
enum Step {
    /// It may have more to do.
    Again,
    /// It needs more, or is done.
    Blocked,
    /// The peer has closed the connection.
    Closed,
}

/// One call of rustls; how many bytes it is done with, whatever comes of it.
fn step<C: Unbuffered>(
    connection: &mut C,
    tls: &mut [u8],
    out: &mut Vec<u8>,
) -> (usize, Result<Step, SessionError>) {
    let UnbufferedStatus { discard, state } = connection.process(tls);
    let step = match state {
        Ok(ConnectionState::EncodeTlsData(mut data)) => {
            encode(&mut data, out);
            Ok(Step::Again)
        }
        Ok(ConnectionState::TransmitTlsData(data)) => {
            data.done();
            Ok(Step::Again)
        }
        Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => Ok(Step::Closed),
        // Early data is never accepted (max_early_data_size is 0), and none is sent.
        Ok(_) => Ok(Step::Blocked),
        Err(error) => {
            collect_alert(connection, out);
            Err(SessionError::Tls(error))
        }
    };
    (discard, step)
}

/// What the two connections of rustls have in common, which has no trait of its own there.
trait Unbuffered: Deref<Target = UnbufferedConnectionCommon<Self::Data>> {
    type Data;

    fn process<'c, 'i>(&'c mut self, tls: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;
}

impl Unbuffered for UnbufferedServerConnection {
    type Data = ServerConnectionData;

    fn process<'c, 'i>(&'c mut self, tls: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(tls)
    }
}

impl Unbuffered for UnbufferedClientConnection {
    type Data = ClientConnectionData;

    fn process<'c, 'i>(&'c mut self, tls: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(tls)
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
fn collect_alert<C: Unbuffered>(connection: &mut C, out: &mut Vec<u8>) {
    while connection.wants_write() {
        let UnbufferedStatus { state, .. } = connection.process(&mut []);
        let Ok(ConnectionState::EncodeTlsData(mut data)) = state else { return };
        encode(&mut data, out);
    }
}

/// Appends what rustls has ready.
fn encode<Data>(data: &mut EncodeTlsData<'_, Data>, out: &mut Vec<u8>) {
    let start = out.len();
    while let Err(EncodeError::InsufficientSize(more)) = data.encode(&mut out[start..]) {
        out.resize(start + more.required_size, 0);
    }
}
