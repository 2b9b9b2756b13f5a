//! TLS towards upstreams: who they must be, and who ringfort is to them.
//!
//! It must not know files, sockets or what is spoken inside TLS: DER, keys and names come in. The
//! connection itself is made by [`super::transport::connect`].
//!
//! Invariant: no session is resumed that began with a certificate which was verified more than
//! `UPSTREAM_SESSION_AGE_MAX_S` ago, or which has expired since: resuming verifies nothing anew.

use std::fmt;
use std::sync::Arc;

use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::VerifierBuilderError;
use rustls::sign::SingleCertAndKey;
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, RootCertStore, SupportedProtocolVersion,
};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::server::Certificate;
use super::session::SessionError;
use crate::limits::DETAIL_BYTES_MAX;

mod sessions;

use sessions::Sessions;

/// The protocol of HTTP/1.1 (RFC 7301, 6).
pub const ALPN_HTTP1: &[u8] = b"http/1.1";
/// The protocol of HTTP/2 over TLS (RFC 9113, 3.1).
pub const ALPN_HTTP2: &[u8] = b"h2";

/// How an upstream is spoken to in TLS.
#[derive(Clone, Debug)]
pub struct UpstreamTls {
    /// What is offered, and whom it trusts; it keeps the sessions.
    pub config: Arc<ClientConfig>,
    /// The name that the upstream's certificate must have.
    pub server_name: ServerName<'static>,
    /// Whether the upstream must agree on the protocol that is offered.
    pub alpn_required: bool,
    made_of: Arc<MadeOf>,
}

/// What an [`UpstreamTls`] is made of.
#[derive(Clone, Debug)]
pub struct UpstreamTlsOptions {
    /// Suites and groups, in the order of preference.
    pub provider: Arc<CryptoProvider>,
    /// Protocol versions.
    pub versions: Vec<&'static SupportedProtocolVersion>,
    /// The roots, one of which the upstream's certificate must come from.
    pub roots: Arc<RootCertStore>,
    /// Who ringfort is to the upstream, where it asks; `None`: it presents no certificate.
    pub certificate: Option<Certificate>,
    /// The name that the upstream's certificate must have.
    pub server_name: ServerName<'static>,
    /// Whether it is HTTP/2 that is offered, and not HTTP/1.1.
    pub http2: bool,
    /// The wall clock that validity is judged by; `None` is the system's. Another one is for tests.
    pub time: Option<Arc<dyn TimeProvider>>,
}

/// What tells two configurations apart: a reload that finds the same files makes the same.
#[derive(Debug, PartialEq, Eq)]
struct MadeOf {
    roots: Vec<rustls::pki_types::TrustAnchor<'static>>,
    /// The certificate that is presented. Its key is the only one that fits.
    chain: Vec<CertificateDer<'static>>,
    alpn: &'static [u8],
    versions: Vec<&'static SupportedProtocolVersion>,
    suites: Vec<rustls::CipherSuite>,
    groups: Vec<rustls::NamedGroup>,
}

/// Whether connections that were made by one may be used for the other.
impl PartialEq for UpstreamTls {
    fn eq(&self, other: &Self) -> bool {
        let same = Arc::ptr_eq(&self.made_of, &other.made_of) || self.made_of == other.made_of;
        same && self.server_name == other.server_name && self.alpn_required == other.alpn_required
    }
}

impl Eq for UpstreamTls {}

/// Why no [`UpstreamTls`] can be made.
#[derive(Clone, Debug, PartialEq)]
pub enum UpstreamTlsConfigError {
    /// There is no root.
    NoRoots,
    /// Versions, suites and groups have nothing in common.
    Unusable(rustls::Error),
}

impl fmt::Display for UpstreamTlsConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRoots => f.write_str("there is no root that an upstream could come from"),
            Self::Unusable(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for UpstreamTlsConfigError {}

impl UpstreamTls {
    /// Makes the configuration, with an empty store of sessions.
    ///
    /// # Errors
    /// [`UpstreamTlsConfigError`].
    pub fn new(options: UpstreamTlsOptions) -> Result<Self, UpstreamTlsConfigError> {
        let UpstreamTlsOptions { provider, versions, roots, certificate, .. } = options;
        let UpstreamTlsOptions { server_name, http2, time, .. } = options;
        let alpn = if http2 { ALPN_HTTP2 } else { ALPN_HTTP1 };
        let chain = certificate.as_ref().map(|it| it.key().cert.clone()).unwrap_or_default();
        let made_of = Arc::new(MadeOf {
            roots: roots.roots.clone(),
            chain,
            alpn,
            versions: versions.clone(),
            suites: provider.cipher_suites.iter().map(|suite| suite.suite()).collect(),
            groups: provider.kx_groups.iter().map(|group| group.name()).collect(),
        });
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider));
        let verifier = verifier.build().map_err(|error| match error {
            VerifierBuilderError::NoRootAnchors => UpstreamTlsConfigError::NoRoots,
            other => UpstreamTlsConfigError::Unusable(rustls::Error::General(other.to_string())),
        })?;
        let time = time.unwrap_or_else(|| Arc::new(DefaultTimeProvider));
        let sessions = Arc::new(Sessions::new(verifier, Arc::clone(&time)));
        let builder = ClientConfig::builder_with_details(provider, time)
            .with_protocol_versions(&versions)
            .map_err(UpstreamTlsConfigError::Unusable)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&sessions) as Arc<_>);
        let mut config = match certificate {
            Some(certificate) => builder.with_client_cert_resolver(Arc::new(
                SingleCertAndKey::from(Arc::clone(certificate.key())),
            )),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![alpn.to_vec()];
        config.resumption = Resumption::store(sessions);
        // It can be replayed (RFC 8446, 8), and a request must reach the upstream once.
        config.enable_early_data = false;
        // The record layer takes the keys over after the handshake.
        config.enable_secret_extraction = true;
        Ok(Self { config: Arc::new(config), server_name, alpn_required: http2, made_of })
    }
}

/// Why an upstream's certificate was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateFault {
    /// It is past its notAfter.
    Expired,
    /// It is before its notBefore.
    NotYetValid,
    /// No path leads from it to one of the configured roots.
    UnknownIssuer,
    /// It does not have the name that was asked for.
    NameMismatch,
    /// It may not be used for servers (RFC 5280, 4.2.1.12).
    Purpose,
    /// The upstream did not prove that it holds the key, or an issuer did not sign.
    BadSignature,
    /// It, or what it signed, is not correctly encoded.
    Malformed,
    /// A cause that the verifier does not tell apart.
    Other,
}

impl CertificateFault {
    /// Every fault.
    pub const ALL: [Self; 8] = [
        Self::Expired,
        Self::NotYetValid,
        Self::UnknownIssuer,
        Self::NameMismatch,
        Self::Purpose,
        Self::BadSignature,
        Self::Malformed,
        Self::Other,
    ];

    /// The stable code.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::UnknownIssuer => "unknown_issuer",
            Self::NameMismatch => "name_mismatch",
            Self::Purpose => "purpose",
            Self::BadSignature => "bad_signature",
            Self::Malformed => "malformed",
            Self::Other => "other",
        }
    }

    fn of(error: &CertificateError) -> Self {
        match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                Self::NotYetValid
            }
            CertificateError::UnknownIssuer => Self::UnknownIssuer,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Self::NameMismatch
            }
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                Self::Purpose
            }
            CertificateError::BadSignature => Self::BadSignature,
            CertificateError::BadEncoding => Self::Malformed,
            _ => Self::Other,
        }
    }
}

/// Why a session with an upstream failed, as far as TLS knows.
#[derive(Clone, Debug, PartialEq)]
pub enum UpstreamFault {
    /// Its certificate was refused: what for, and what there is to say about it.
    CertificateRefused(CertificateFault, String),
    /// It ended the session by this alert: of the handshake, or because it refuses the certificate
    /// that it was presented, or that it was presented none.
    AlertReceived(AlertDescription),
    /// It did not agree on the protocol that it must speak.
    Protocol,
    /// TLS could not be agreed on, or its rules were broken; why.
    Tls(String),
}

impl UpstreamFault {
    /// What an error of a session means where the peer is an upstream.
    pub fn of(error: &SessionError) -> Self {
        if let Some(alert) = error.alert_received() {
            return Self::AlertReceived(alert);
        }
        match error.tls() {
            Some(rustls::Error::InvalidCertificate(cause)) => {
                Self::CertificateRefused(CertificateFault::of(cause), bounded(cause.to_string()))
            }
            Some(rustls::Error::NoCertificatesPresented) => Self::CertificateRefused(
                CertificateFault::Malformed,
                "the upstream presented no certificate".into(),
            ),
            _ => Self::Tls(bounded(error.to_string())),
        }
    }
}

impl fmt::Display for UpstreamFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CertificateRefused(fault, text) => {
                write!(f, "certificate refused ({}): {text}", fault.as_str())
            }
            Self::AlertReceived(alert) => {
                let code = u8::from(*alert);
                match super::names::alert_name(code) {
                    Some(name) => write!(f, "the upstream sent the alert {name} ({code})"),
                    None => write!(f, "the upstream sent the alert {code}"),
                }
            }
            Self::Protocol => f.write_str("the upstream did not agree on h2 (ALPN)"),
            Self::Tls(text) => f.write_str(text),
        }
    }
}

/// What a peer chose is in such a text: names of its certificate.
fn bounded(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(DETAIL_BYTES_MAX));
    text
}

/// The last second of a certificate's validity, in seconds since 1970.
fn not_after_unix_s(der: &CertificateDer<'_>) -> Option<u64> {
    let (_, x509) = X509Certificate::from_der(der).ok()?;
    u64::try_from(x509.validity().not_after.timestamp()).ok()
}

/// The time now.
fn now_unix_s(time: &dyn TimeProvider) -> Option<u64> {
    time.current_time().map(|now: UnixTime| now.as_secs())
}
