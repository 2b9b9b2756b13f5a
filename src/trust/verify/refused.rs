//! The causes for which a chain is refused: ours, webpki's, and how they travel through rustls.

use std::fmt;
use std::sync::Arc;

use rustls::{CertificateError, Error, ExtendedKeyPurpose, OtherError};

use crate::error::Refusal;
use crate::identity::KeyType;
use crate::limits::DETAIL_BYTES_MAX;

/// Purposes of a certificate that a refusal keeps.
const PURPOSES_MAX: usize = 8;
/// Arcs of the OID of a purpose that a refusal keeps.
const PURPOSE_ARCS_MAX: usize = 32;
/// Bytes of an AlgorithmIdentifier that a refusal keeps.
const ALGORITHM_ID_BYTES_MAX: usize = 64;

/// Why a chain is refused.
#[derive(Clone, Debug, PartialEq)]
pub struct Refused {
    /// The stable code.
    pub refusal: Refusal,
    /// What there is to say beyond the code, for the log.
    pub text: String,
    pub(in crate::trust) error: Error,
}

impl Refused {
    /// A refusal with what there is to say about it.
    pub fn new(refusal: Refusal, text: String) -> Self {
        let cause = match refusal {
            // These have alerts of their own (RFC 8446, 6.2).
            Refusal::Revoked => CertificateError::Revoked,
            Refusal::Malformed => CertificateError::BadEncoding,
            _ => CertificateError::Other(OtherError(Arc::new(ByCode(refusal)))),
        };
        Self { refusal, text, error: cause.into() }
    }

    /// What rustls is told, which sends the alert that belongs to it.
    pub fn error(&self) -> &Error {
        &self.error
    }
}

/// A refusal on its way through rustls.
#[derive(Clone, Copy, Debug)]
struct ByCode(Refusal);

impl fmt::Display for ByCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for ByCode {}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Refused {}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        let refusal = refusal_of(&error).unwrap_or(Refusal::Other);
        let mut text = match &error {
            // Of the chain's end the reader knows already that it is a certificate.
            Error::InvalidCertificate(CertificateError::Other(OtherError(source))) => {
                source.to_string()
            }
            Error::InvalidCertificate(cause) => cause.to_string(),
            other => other.to_string(),
        };
        text.truncate(text.floor_char_boundary(DETAIL_BYTES_MAX));
        text.shrink_to_fit();
        Self { refusal, text, error }
    }
}

/// What this verifier refuses itself. It travels in `CertificateError::Other`, for which rustls
/// sends the alert certificate_unknown: "some other issue arose in processing the certificate,
/// rendering it unacceptable" (RFC 8446, 6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChainRefused {
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

/// The refusal that the error of a connection stands for; `None` where the handshake did not fail
/// over the client's certificate.
pub fn refusal_of(error: &Error) -> Option<Refusal> {
    match error {
        Error::NoCertificatesPresented => Some(Refusal::CertificateMissing),
        Error::InvalidCertificate(cause) => Some(refusal_of_certificate(cause)),
        _ => None,
    }
}

pub(super) fn outcome<T>(result: &Result<T, Error>) -> Result<(), Refusal> {
    match result {
        Ok(_) => Ok(()),
        Err(error) => Err(refusal_of(error).unwrap_or(Refusal::Other)),
    }
}

pub(super) fn refusal_of_certificate(cause: &CertificateError) -> Refusal {
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
            if let Some(refused) = source.downcast_ref::<ChainRefused>() {
                refused.refusal()
            } else if let Some(refused) = source.downcast_ref::<ByCode>() {
                refused.0
            } else {
                source.downcast_ref().map_or(Refusal::Other, refusal_of_webpki)
            }
        }
        _ => Refusal::Other,
    }
}

/// webpki's error as rustls has it, so that the peer gets the same alert from both.
pub(super) fn from_webpki(error: webpki::Error) -> Error {
    use webpki::Error as Webpki;
    let cause = match error {
        Webpki::BadDer | Webpki::BadDerTime | Webpki::TrailingData(_) => {
            CertificateError::BadEncoding
        }
        Webpki::CertNotValidYet { time, not_before } => {
            CertificateError::NotValidYetContext { time, not_before }
        }
        Webpki::CertExpired { time, not_after } => {
            CertificateError::ExpiredContext { time, not_after }
        }
        Webpki::InvalidCertValidity => CertificateError::Expired,
        Webpki::UnknownIssuer => CertificateError::UnknownIssuer,
        Webpki::InvalidSignatureForPublicKey => CertificateError::BadSignature,
        Webpki::UnsupportedSignatureAlgorithmContext(context) => {
            CertificateError::UnsupportedSignatureAlgorithmContext {
                signature_algorithm_id: short(context.signature_algorithm_id),
                supported_algorithms: context.supported_algorithms,
            }
        }
        Webpki::UnsupportedSignatureAlgorithmForPublicKeyContext(context) => {
            CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext {
                signature_algorithm_id: short(context.signature_algorithm_id),
                public_key_algorithm_id: short(context.public_key_algorithm_id),
            }
        }
        Webpki::RequiredEkuNotFoundContext(context) => CertificateError::InvalidPurposeContext {
            required: ExtendedKeyPurpose::ClientAuth,
            // A refusal is kept, and the peer says how long the list is.
            presented: context
                .present
                .iter()
                .take(PURPOSES_MAX)
                .map(|values| purpose(values))
                .collect(),
        },
        // For the alert: one code has one.
        other if refusal_of_webpki(&other) == Refusal::Malformed => CertificateError::BadEncoding,
        other => CertificateError::Other(OtherError(Arc::new(other))),
    };
    cause.into()
}

/// An AlgorithmIdentifier, whose parameters may be as long as the peer likes.
fn short(mut id: Vec<u8>) -> Vec<u8> {
    id.truncate(ALGORITHM_ID_BYTES_MAX);
    id.shrink_to_fit();
    id
}

/// The purposes of RFC 5280, 4.2.1.12 that rustls names.
fn purpose(values: &[usize]) -> ExtendedKeyPurpose {
    match values {
        [1, 3, 6, 1, 5, 5, 7, 3, 1] => ExtendedKeyPurpose::ServerAuth,
        [1, 3, 6, 1, 5, 5, 7, 3, 2] => ExtendedKeyPurpose::ClientAuth,
        other => ExtendedKeyPurpose::Other(other.iter().copied().take(PURPOSE_ARCS_MAX).collect()),
    }
}

/// The refusal for an error of webpki for which rustls has no variant of its own.
fn refusal_of_webpki(error: &webpki::Error) -> Refusal {
    use webpki::Error as Webpki;
    match error {
        Webpki::UnsupportedCriticalExtension => Refusal::UnknownCriticalExtension,
        Webpki::UnsupportedCertVersion => Refusal::UnsupportedVersion,
        Webpki::NameConstraintViolation => Refusal::NameConstraint,
        Webpki::PathLenConstraintViolated => Refusal::PathLength,
        Webpki::CaUsedAsEndEntity => Refusal::CaAsLeaf,
        Webpki::EndEntityUsedAsCa => Refusal::LeafAsCa,
        Webpki::EmptyEkuExtension => Refusal::EkuLacksClientAuth,
        Webpki::CertDistrusted => Refusal::Distrusted,
        Webpki::MaximumNameConstraintComparisonsExceeded
        | Webpki::MaximumPathBuildCallsExceeded
        | Webpki::MaximumPathDepthExceeded
        | Webpki::MaximumSignatureChecksExceeded => Refusal::PathTooComplex,
        Webpki::ExtensionValueInvalid
        | Webpki::InvalidNetworkMaskConstraint
        | Webpki::InvalidSerialNumber
        | Webpki::MalformedDnsIdentifier
        | Webpki::MalformedExtensions
        | Webpki::MalformedNameConstraint
        | Webpki::SignatureAlgorithmMismatch
        | Webpki::UnsupportedNameType => Refusal::Malformed,
        _ => Refusal::Other,
    }
}
