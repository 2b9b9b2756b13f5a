//! What the floor keeps of the clients that it has seen: nothing, their chains, or their sessions.
//!
//! Each is the least that rustls itself does for it. Whether a chain was revoked or has expired
//! since, and whose session it is, the floor does not ask.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::ServerSessionMemoryCache;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme};

/// Sessions that are kept; more than a run has in flight.
const SESSIONS_MAX: usize = 16_384;

/// See the module's description.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Every chain is verified.
    New,
    /// A chain that was verified once is good.
    Seen,
    /// Sessions are kept, and resumed.
    Cache,
    /// Sessions are in tickets.
    Tickets,
}

impl Mode {
    /// What it is called on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Seen => "seen",
            Self::Cache => "cache",
            Self::Tickets => "tickets",
        }
    }

    /// The mode of this name.
    pub fn of(name: &str) -> Option<Self> {
        [Self::New, Self::Seen, Self::Cache, Self::Tickets]
            .into_iter()
            .find(|mode| mode.name() == name)
    }

    /// The verifier that remembers, where that is asked for.
    pub fn verifier(self, inner: Arc<dyn ClientCertVerifier>) -> Arc<dyn ClientCertVerifier> {
        match self {
            Self::Seen => Arc::new(Remembering { inner, verified: Mutex::default() }),
            Self::New | Self::Cache | Self::Tickets => inner,
        }
    }

    /// One ticket for each handshake, where sessions are resumed.
    pub fn set_up(self, config: &mut ServerConfig) {
        config.send_tls13_tickets = 1;
        match self {
            Self::New | Self::Seen => config.send_tls13_tickets = 0,
            Self::Cache => config.session_storage = ServerSessionMemoryCache::new(SESSIONS_MAX),
            Self::Tickets => {
                let ticketer = rustls::crypto::aws_lc_rs::Ticketer::new();
                config.ticketer = ticketer.expect("random numbers");
            }
        }
    }
}

#[derive(Debug)]
struct Remembering {
    inner: Arc<dyn ClientCertVerifier>,
    /// Whole chains, one certificate after the other.
    verified: Mutex<HashSet<Vec<u8>>>,
}

impl ClientCertVerifier for Remembering {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let parts = [leaf].into_iter().chain(intermediates).map(AsRef::as_ref);
        let chain = parts.collect::<Vec<&[u8]>>().concat();
        let mut verified = self.verified.lock().expect("no holder panics");
        if !verified.contains(&chain) {
            self.inner.verify_client_cert(leaf, intermediates, now)?;
            verified.insert(chain);
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
