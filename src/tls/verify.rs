//! Verification of client certificates: rustls' web PKI verifier with ringfort's own bounds.
//!
//! PURE: it must not know sockets, files, threads, the clock (rustls passes the time in), or
//! which clients a policy allows. The invariant: what is cheap to refuse (chain length, key type,
//! key size) is refused before the first signature is checked, and each refusal has one cause.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore,
    SignatureScheme,
};
use x509_parser::certificate::X509CertificateParser;
use x509_parser::nom::Parser;

use crate::error::Refusal;
pub use crate::identity::KeyType;
use crate::identity::PublicKey;
use crate::limits::CHAIN_CERTIFICATES_MAX;

/// Whether a listener asks its clients for a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClientAuth {
    /// A client without a certificate is refused.
    Require,
    /// A client may have no certificate; one that it presents must be in order.
    Optional,
    /// Clients are not asked for a certificate.
    Off,
}

/// Which public keys a chain may have: those of the leaf and of all certificates presented with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRules {
    /// The accepted types.
    pub types: Vec<KeyType>,
    /// The smallest accepted RSA modulus, in bits. Where `types` lacks RSA it has no effect.
    pub rsa_bits_min: u32,
}

/// Sees when verification starts and ends; it may read a clock, which this module may not.
///
/// The calls of one connection come in order on the thread that drives the connection.
pub trait VerifyObserver: Send + Sync + fmt::Debug {
    /// The chain of a client is about to be verified.
    fn verification_started(&self);
    /// The chain was verified, or refused for the cause given.
    fn verification_finished(&self, outcome: Result<(), Refusal>);
    /// The CertificateVerify signature of a client (RFC 8446, 4.4.3) is about to be checked.
    fn signature_started(&self);
    /// The CertificateVerify signature was checked, or refused for the cause given.
    fn signature_finished(&self, outcome: Result<(), Refusal>);
}

/// Why a [`ClientVerifier`] cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VerifierError {
    /// There are no trust anchors, so no client could ever be verified.
    NoAnchors,
    /// No key type is accepted, so no client could ever be verified.
    NoKeyTypes,
    /// The bound of the chain is not between 1 and `CHAIN_CERTIFICATES_MAX`.
    ChainBound(usize),
    /// The mode is [`ClientAuth::Off`]: use `WebPkiClientVerifier::no_client_auth`.
    Off,
    /// rustls could not use the anchors.
    Anchors,
}

/// The verifier of client certificates of one listener.
#[derive(Debug)]
pub struct ClientVerifier {
    inner: Arc<dyn ClientCertVerifier>,
    anchors: Arc<RootCertStore>,
    chain_certificates_max: usize,
    keys: KeyRules,
    observer: Option<Arc<dyn VerifyObserver>>,
}

impl ClientVerifier {
    /// A verifier that accepts chains to `anchors`, whose subjects it sends to clients as hints.
    ///
    /// `chain_certificates_max` counts the certificates that a client presents, its own included.
    ///
    /// # Errors
    ///
    /// A [`VerifierError`] where no client could be verified with these settings.
    pub fn new(
        anchors: Arc<RootCertStore>,
        mode: ClientAuth,
        chain_certificates_max: usize,
        keys: KeyRules,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, VerifierError> {
        if anchors.is_empty() {
            return Err(VerifierError::NoAnchors);
        }
        if keys.types.is_empty() {
            return Err(VerifierError::NoKeyTypes);
        }
        if !(1..=CHAIN_CERTIFICATES_MAX).contains(&chain_certificates_max) {
            return Err(VerifierError::ChainBound(chain_certificates_max));
        }
        let builder = WebPkiClientVerifier::builder_with_provider(anchors.clone(), provider);
        let builder = match mode {
            ClientAuth::Require => builder,
            ClientAuth::Optional => builder.allow_unauthenticated(),
            ClientAuth::Off => return Err(VerifierError::Off),
        };
        Ok(Self {
            inner: builder.build().map_err(|_| VerifierError::Anchors)?,
            anchors,
            chain_certificates_max,
            keys,
            observer: None,
        })
    }

    /// The same verifier, which tells `observer` when it works.
    #[must_use]
    pub fn observed(self, observer: Arc<dyn VerifyObserver>) -> Self {
        Self { observer: Some(observer), ..self }
    }

    fn verify_chain(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let certificates = intermediates.len() + 1;
        if certificates > self.chain_certificates_max {
            return Err(ChainRefused::TooLong {
                certificates,
                certificates_max: self.chain_certificates_max,
            }
            .into());
        }
        for (position, certificate) in [leaf].into_iter().chain(intermediates).enumerate() {
            self.check_key(certificate, position)?;
        }
        self.inner
            .verify_client_cert(leaf, intermediates, now)
            .map_err(|error| self.explain(error, leaf))
    }

    fn check_key(&self, certificate: &CertificateDer<'_>, position: usize) -> Result<(), Error> {
        let spki = ParsedCertificate::try_from(certificate)?.subject_public_key_info();
        let key = PublicKey::from_spki_der(&spki);
        let refused = match key {
            Some(key) if !self.keys.types.contains(&key.key_type) => {
                ChainRefused::KeyType { position, found: Some(key.key_type) }
            }
            None => ChainRefused::KeyType { position, found: None },
            Some(key) if key.key_type == KeyType::Rsa && key.bits < self.keys.rsa_bits_min => {
                ChainRefused::KeyTooSmall {
                    position,
                    bits: key.bits,
                    bits_min: self.keys.rsa_bits_min,
                }
            }
            Some(_) => return Ok(()),
        };
        // Many clients send their root along. The operator chose it as an anchor, key and all.
        if position > 0 && self.is_anchor_key(&spki) {
            return Ok(());
        }
        Err(refused.into())
    }

    fn is_anchor_key(&self, spki: &[u8]) -> bool {
        // The store keeps the content of the SEQUENCE, `spki` has its header too.
        self.anchors.roots.iter().any(|anchor| {
            let content: &[u8] = anchor.subject_public_key_info.as_ref();
            let header_bytes = spki.len().checked_sub(content.len());
            header_bytes.is_some_and(|bytes| (2..=4).contains(&bytes)) && spki.ends_with(content)
        })
    }

    /// Tells apart what rustls reports alike.
    fn explain(&self, error: Error, leaf: &CertificateDer<'_>) -> Error {
        let Error::InvalidCertificate(cause) = &error else {
            return error;
        };
        match refusal_of_certificate(cause) {
            // As the chain's, so that rustls' own BadSignature is left for the CertificateVerify.
            Refusal::KeyNotProven => ChainRefused::Signature.into(),
            // What `openssl req -x509` makes is self-signed and an authority.
            Refusal::UnknownAnchor | Refusal::CaAsLeaf if self.is_self_signed(leaf) => {
                ChainRefused::SelfSigned.into()
            }
            _ => error,
        }
    }

    /// Whether `leaf` names itself as its issuer and has the key of no anchor.
    fn is_self_signed(&self, leaf: &CertificateDer<'_>) -> bool {
        let parsed = X509CertificateParser::new().with_deep_parse_extensions(false).parse(leaf);
        parsed.is_ok_and(|(_, leaf)| {
            leaf.subject.as_raw() == leaf.issuer.as_raw()
                && !self.is_anchor_key(leaf.subject_pki.raw)
        })
    }

    fn observe_signature(
        &self,
        check: impl FnOnce() -> Result<HandshakeSignatureValid, Error>,
    ) -> Result<HandshakeSignatureValid, Error> {
        let Some(observer) = &self.observer else {
            return check();
        };
        observer.signature_started();
        let result = check();
        observer.signature_finished(outcome(&result));
        result
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn offer_client_auth(&self) -> bool {
        self.inner.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.inner.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let Some(observer) = &self.observer else {
            return self.verify_chain(end_entity, intermediates, now);
        };
        observer.verification_started();
        let result = self.verify_chain(end_entity, intermediates, now);
        observer.verification_finished(outcome(&result));
        result
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.observe_signature(|| self.inner.verify_tls12_signature(message, cert, dss))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.observe_signature(|| self.inner.verify_tls13_signature(message, cert, dss))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// What this verifier refuses itself. It travels in `CertificateError::Other`, for which rustls
/// sends the alert certificate_unknown: "some other issue arose in processing the certificate,
/// rendering it unacceptable" (RFC 8446, 6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ChainRefused {
    TooLong {
        certificates: usize,
        certificates_max: usize,
    },
    /// `position` is 0 for the leaf; `found` is `None` for a type that is unknown here.
    KeyType {
        position: usize,
        found: Option<KeyType>,
    },
    KeyTooSmall {
        position: usize,
        bits: u32,
        bits_min: u32,
    },
    SelfSigned,
    Signature,
}

impl ChainRefused {
    fn refusal(self) -> Refusal {
        match self {
            Self::TooLong { .. } => Refusal::ChainTooLong,
            Self::KeyType { .. } => Refusal::KeyTypeRefused,
            Self::KeyTooSmall { .. } => Refusal::KeyTooSmall,
            Self::SelfSigned => Refusal::SelfSigned,
            Self::Signature => Refusal::BadSignature,
        }
    }
}

impl From<ChainRefused> for Error {
    fn from(refused: ChainRefused) -> Self {
        CertificateError::Other(OtherError(Arc::new(refused))).into()
    }
}

impl fmt::Display for ChainRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { certificates, certificates_max } => write!(
                f,
                "the client presented {certificates} certificates; {certificates_max} are accepted"
            ),
            Self::KeyType { position, found } => {
                let found = found.map_or("an unknown type", KeyType::as_str);
                write!(
                    f,
                    "certificate {position} of the chain has a key of {found}, which is not \
                     accepted"
                )
            }
            Self::KeyTooSmall { position, bits, bits_min } => write!(
                f,
                "certificate {position} of the chain has an RSA key of {bits} bits; {bits_min} is \
                 the least accepted"
            ),
            Self::SelfSigned => f.write_str("the client's certificate was issued by itself"),
            Self::Signature => {
                f.write_str("a certificate of the chain is not signed by the key of its issuer")
            }
        }
    }
}

impl std::error::Error for ChainRefused {}

impl fmt::Display for VerifierError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAnchors => f.write_str("no trust anchor to verify clients with; expected one"),
            Self::NoKeyTypes => f.write_str("no key type is accepted; expected at least one"),
            Self::ChainBound(found) => write!(
                f,
                "a chain of {found} certificates at most; expected 1 to {CHAIN_CERTIFICATES_MAX}"
            ),
            Self::Off => f.write_str("client authentication is off, so there is nothing to verify"),
            Self::Anchors => f.write_str("the trust anchors cannot be used to verify clients"),
        }
    }
}

impl std::error::Error for VerifierError {}

/// The refusal that the error of a connection stands for; `None` where the handshake did not fail
/// over the client's certificate.
pub fn refusal_of(error: &Error) -> Option<Refusal> {
    match error {
        Error::NoCertificatesPresented => Some(Refusal::CertificateMissing),
        Error::InvalidCertificate(cause) => Some(refusal_of_certificate(cause)),
        Error::InvalidCertRevocationList(_) => Some(Refusal::RevocationUnknown),
        _ => None,
    }
}

fn outcome<T>(result: &Result<T, Error>) -> Result<(), Refusal> {
    match result {
        Ok(_) => Ok(()),
        Err(error) => Err(refusal_of(error).unwrap_or(Refusal::Other)),
    }
}

fn refusal_of_certificate(cause: &CertificateError) -> Refusal {
    #[allow(deprecated, reason = "rustls may still report the variant without context")]
    match cause {
        CertificateError::BadEncoding => Refusal::Malformed,
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => Refusal::Expired,
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            Refusal::NotYetValid
        }
        CertificateError::Revoked => Refusal::Revoked,
        CertificateError::UnhandledCriticalExtension => Refusal::UnknownCriticalExtension,
        CertificateError::UnknownIssuer => Refusal::UnknownAnchor,
        CertificateError::UnknownRevocationStatus
        | CertificateError::ExpiredRevocationList
        | CertificateError::ExpiredRevocationListContext { .. } => Refusal::RevocationUnknown,
        // Of the chain's signatures `ClientVerifier` reports `ChainRefused::Signature`.
        CertificateError::BadSignature => Refusal::KeyNotProven,
        CertificateError::UnsupportedSignatureAlgorithm
        | CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            Refusal::SignatureAlgorithmRefused
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            Refusal::EkuLacksClientAuth
        }
        CertificateError::Other(OtherError(source)) => {
            match source.downcast_ref::<ChainRefused>() {
                Some(refused) => refused.refusal(),
                None => refusal_of_webpki(&source.to_string()),
            }
        }
        _ => Refusal::Other,
    }
}

/// The refusal for an error of webpki that rustls passes on as it is. rustls does not export the
/// type, but its text is the name of the variant, and a name outlives a major version of webpki,
/// which a downcast would not. `tests.rs` issues a certificate for each name that is common.
fn refusal_of_webpki(text: &str) -> Refusal {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric());
    match &text[..end.unwrap_or(text.len())] {
        "UnsupportedCriticalExtension" => Refusal::UnknownCriticalExtension,
        "UnsupportedCertVersion" => Refusal::UnsupportedVersion,
        "NameConstraintViolation" => Refusal::NameConstraint,
        "PathLenConstraintViolated" => Refusal::PathLength,
        "CaUsedAsEndEntity" => Refusal::CaAsLeaf,
        "EndEntityUsedAsCa" => Refusal::LeafAsCa,
        "EmptyEkuExtension" => Refusal::EkuLacksClientAuth,
        "CertDistrusted" => Refusal::Distrusted,
        "MaximumNameConstraintComparisonsExceeded"
        | "MaximumPathBuildCallsExceeded"
        | "MaximumPathDepthExceeded"
        | "MaximumSignatureChecksExceeded" => Refusal::PathTooComplex,
        "ExtensionValueInvalid"
        | "InvalidNetworkMaskConstraint"
        | "InvalidSerialNumber"
        | "MalformedDnsIdentifier"
        | "MalformedExtensions"
        | "MalformedNameConstraint"
        | "SignatureAlgorithmMismatch"
        | "UnsupportedNameType" => Refusal::Malformed,
        _ => Refusal::Other,
    }
}

#[cfg(test)]
mod tests;
