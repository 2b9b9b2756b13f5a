//! The sessions with one upstream that may be resumed, and the verifier that says how long.
//!
//! rustls verifies nothing where a session is resumed. So sessions are kept for a term: it begins
//! with a certificate that was verified while no term ran, and with its end all sessions go.
//! Whether another one may be resumed into is no question: the configuration, and with it the
//! store, belongs to one name and one set of roots.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{DigitallySignedStruct, Error, NamedGroup, SignatureScheme};

use super::{not_after_unix_s, now_unix_s};
use crate::limits::{UPSTREAM_SESSION_AGE_MAX_S, UPSTREAM_SESSIONS_MAX};

/// See the module's description.
#[derive(Debug)]
pub(super) struct Sessions {
    inner: Arc<dyn ServerCertVerifier>,
    time: Arc<dyn TimeProvider>,
    /// Locked for one look-up or one ticket, in handshakes only.
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    group: Option<NamedGroup>,
    /// The newest is the last.
    tickets: VecDeque<Tls13ClientSessionValue>,
    session: Option<Tls12ClientSessionValue>,
    /// From when until when what is kept may be used, in seconds since 1970.
    term: Option<(u64, u64)>,
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // No secrets.
        f.debug_struct("Kept").field("tickets", &self.tickets.len()).finish_non_exhaustive()
    }
}

impl Kept {
    /// Lets go of what may no longer be used; whether a term runs. The clock may be set: what was
    /// verified in the future is not used either.
    fn is_current(&mut self, now: Option<u64>) -> bool {
        let current = match (self.term, now) {
            (Some((from, until)), Some(now)) => (from..=until).contains(&now),
            _ => false,
        };
        if !current {
            self.tickets = VecDeque::new();
            self.session = None;
            self.term = None;
        }
        current
    }
}

impl Sessions {
    pub(super) fn new(inner: Arc<dyn ServerCertVerifier>, time: Arc<dyn TimeProvider>) -> Self {
        Self { inner, time, kept: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is kept, where it may be used now.
    fn current(&self) -> Option<MutexGuard<'_, Kept>> {
        let now = now_unix_s(&*self.time);
        let mut kept = self.lock();
        kept.is_current(now).then_some(kept)
    }
}

impl ServerCertVerifier for Sessions {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verdict = self.inner.verify_server_cert(leaf, intermediates, name, ocsp, now)?;
        let from = now.as_secs();
        // Of a leaf that does not parse here no session is kept. An intermediate that has expired
        // already was not on the path.
        let issuers = intermediates.iter().filter_map(not_after_unix_s).filter(|it| *it >= from);
        let expires = not_after_unix_s(leaf).map_or(0, |leaf| issuers.fold(leaf, u64::min));
        let until = expires.min(from.saturating_add(UPSTREAM_SESSION_AGE_MAX_S));
        let mut kept = self.lock();
        match kept.is_current(Some(from)) {
            // Another endpoint of the same name: the term of the sessions that are kept stays, or
            // ends earlier.
            true => kept.term = kept.term.map(|(from, ends)| (from, ends.min(until))),
            false => kept.term = Some((from, until)),
        }
        Ok(verdict)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// The name is that of the configuration, always the same.
impl ClientSessionStore for Sessions {
    fn set_kx_hint(&self, _: ServerName<'static>, group: NamedGroup) {
        self.lock().group = Some(group);
    }

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        self.lock().group
    }

    fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
        if let Some(mut kept) = self.current() {
            kept.session = Some(value);
        }
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.current()?.session.clone()
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        self.lock().session = None;
    }

    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        if let Some(mut kept) = self.current() {
            if kept.tickets.len() >= UPSTREAM_SESSIONS_MAX {
                kept.tickets.pop_front();
            }
            kept.tickets.push_back(value);
        }
    }

    /// The newest. RFC 8446, C.4: "Clients SHOULD NOT reuse a ticket for multiple connections."
    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.current()?.tickets.pop_back()
    }
}
