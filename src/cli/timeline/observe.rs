//! Ears inside the recording client: what rustls logs, asks and verifies, with the time of it.
//!
//! They observe and never decide: the chain is verified by rustls' own verifier against the roots
//! and the name that the caller gave, and its verdict is passed on untouched, unless the caller
//! only wants to know it. The signature of the handshake always has to be good.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustls::client::ResolvesClientCert;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, Error, KeyLog, SignatureScheme};

use super::keys::Secrets;

/// A check that was made: when it began and ended, and why it failed if it did.
#[derive(Clone, Debug)]
pub(super) struct Check {
    pub(super) began: Instant,
    pub(super) ended: Instant,
    pub(super) failure: Option<String>,
}

impl Check {
    pub(super) fn duration(&self) -> Duration {
        self.ended.saturating_duration_since(self.began)
    }
}

/// What was observed in one connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Stamps {
    pub(super) secrets: Secrets,
    /// When the first secret of the handshake existed: the key agreement was done.
    pub(super) keys_agreed: Option<Instant>,
    pub(super) chain: Option<Check>,
    /// Certificates that the server presented, however many of them a timeline lists.
    pub(super) chain_certificates: usize,
    pub(super) signature: Option<Check>,
    /// When the server's request made rustls ask for a certificate, and whether there was one.
    pub(super) certificate_asked: Option<(Instant, bool)>,
}

/// Where the observations of one connection are gathered.
#[derive(Debug, Default)]
pub(super) struct Observer(Mutex<Stamps>);

impl Observer {
    /// What was observed since this was asked last.
    pub(super) fn take(&self) -> Stamps {
        self.with(std::mem::take)
    }

    fn with<T>(&self, note: impl FnOnce(&mut Stamps) -> T) -> T {
        note(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn check<T>(&self, run: impl FnOnce() -> Result<T, Error>) -> (Check, Result<T, Error>) {
        let began = Instant::now();
        let verdict = run();
        let check = Check {
            began,
            ended: Instant::now(),
            failure: verdict.as_ref().err().map(Error::to_string),
        };
        (check, verdict)
    }
}

/// Keeps the traffic secrets in memory and stamps the first.
#[derive(Debug)]
pub(super) struct KeyEar(pub(super) Arc<Observer>);

impl KeyLog for KeyEar {
    fn log(&self, label: &str, _client_random: &[u8], secret: &[u8]) {
        let now = Instant::now();
        self.0.with(|stamps| {
            stamps.keys_agreed.get_or_insert(now);
            stamps.secrets.keep(label, secret);
        });
    }
}

/// rustls' own verifier, stamped.
#[derive(Debug)]
pub(super) struct VerifierEar {
    pub(super) observer: Arc<Observer>,
    /// Who verifies chains; none are verified without it.
    pub(super) verifier: Option<Arc<WebPkiServerVerifier>>,
    /// Whether a chain that does not verify ends the handshake.
    pub(super) is_binding: bool,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
}

impl VerifierEar {
    fn signature(
        &self,
        run: impl FnOnce() -> Result<HandshakeSignatureValid, Error>,
    ) -> Result<HandshakeSignatureValid, Error> {
        let (check, verdict) = self.observer.check(run);
        self.observer.with(|stamps| stamps.signature = Some(check));
        verdict
    }
}

impl ServerCertVerifier for VerifierEar {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let certificates = 1 + intermediates.len();
        self.observer.with(|stamps| stamps.chain_certificates = certificates);
        let Some(verifier) = &self.verifier else {
            return Ok(ServerCertVerified::assertion());
        };
        let (check, verdict) = self.observer.check(|| {
            verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
        });
        self.observer.with(|stamps| stamps.chain = Some(check));
        if self.is_binding { verdict } else { Ok(ServerCertVerified::assertion()) }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signature(|| verify_tls12_signature(message, cert, dss, &self.algorithms))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signature(|| verify_tls13_signature(message, cert, dss, &self.algorithms))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Gives the client's certificate when asked, if there is one, and stamps the question.
pub(super) struct CertificateEar {
    pub(super) observer: Arc<Observer>,
    pub(super) certificate: Option<Arc<CertifiedKey>>,
}

impl ResolvesClientCert for CertificateEar {
    fn resolve(
        &self,
        _root_hint_subjects: &[&[u8]],
        schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        let now = Instant::now();
        let usable = |held: &&Arc<CertifiedKey>| held.key.choose_scheme(schemes).is_some();
        let given = self.certificate.as_ref().filter(usable).cloned();
        self.observer.with(|stamps| stamps.certificate_asked = Some((now, given.is_some())));
        given
    }

    fn has_certs(&self) -> bool {
        self.certificate.is_some()
    }
}

impl fmt::Debug for CertificateEar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CertificateEar(certificate: {})", self.has_certs())
    }
}
