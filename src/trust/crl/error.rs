//! Why a list is not taken.

use std::fmt;

use crate::identity::name_from_der;

/// Why the bytes are no list that may be used. Where it names an issuer, it is as an RFC 4514
/// string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CrlError {
    /// It has more than `CRL_BYTES_MAX` bytes.
    TooLarge {
        /// Its bytes.
        bytes: usize,
    },
    /// It is not correctly encoded (RFC 5280, 5.1): the part that is not.
    Malformed(&'static str),
    /// Its version is neither 1 nor 2.
    Version,
    /// A serial number is negative or of more than 20 bytes (RFC 5280, 4.1.2.2).
    Serial,
    /// It says nothing of when the next list comes, so it would hold for ever (RFC 5280, 5.1.2.5).
    NoNextUpdate,
    /// Its nextUpdate is not after its thisUpdate.
    Period,
    /// No known authority has the name of its issuer.
    UnknownIssuer {
        /// The name of the issuer.
        name: Box<str>,
    },
    /// The keyUsage of its issuer lacks cRLSign (RFC 5280, 4.2.1.3).
    IssuerMayNotSign {
        /// The name of the issuer.
        name: Box<str>,
    },
    /// The algorithm of its signature is not accepted, or is not one for the key of its issuer.
    SignatureAlgorithm {
        /// The name of the issuer.
        name: Box<str>,
    },
    /// The key of no authority with the name of its issuer made the signature.
    BadSignature {
        /// The name of the issuer.
        name: Box<str>,
    },
    /// It, or an entry of it, has a critical extension that is not understood.
    CriticalExtension {
        /// The object identifier of the extension.
        oid: Box<str>,
    },
    /// It holds only what changed since another list (RFC 5280, 5.2.4).
    Delta,
    /// It holds certificates of other issuers than its own (RFC 5280, 5.2.5 and 5.3.3).
    Indirect,
    /// It holds certificates that were revoked for certain reasons only.
    SomeReasons,
    /// It holds attribute certificates only.
    AttributeCertificates,
    /// It is for one distribution point, so it may be a part of the whole.
    DistributionPoint,
    /// An entry has the reason removeFromCRL, which is for deltas only (RFC 5280, 5.3.1).
    RemoveFromCrl,
}

impl fmt::Display for CrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::TooLarge { bytes } => return write!(f, "it has {bytes} bytes, too many"),
            Self::Malformed(part) => return write!(f, "its {part} is not correctly encoded"),
            Self::UnknownIssuer { name } => {
                return write!(f, "its issuer {name:?} is none of the known authorities");
            }
            Self::IssuerMayNotSign { name } => {
                return write!(f, "its issuer {name:?} may not sign lists: keyUsage lacks cRLSign");
            }
            Self::SignatureAlgorithm { name } => {
                return write!(
                    f,
                    "its signature is of an algorithm that is not accepted, or not one for the \
                     key of its issuer {name:?}"
                );
            }
            Self::BadSignature { name } => {
                return write!(f, "no key of its issuer {name:?} made its signature");
            }
            Self::CriticalExtension { oid } => {
                return write!(f, "its critical extension {oid} is not understood");
            }
            Self::Version => "it is of neither version 1 nor 2",
            Self::Serial => "a serial number of it is negative or of more than 20 bytes",
            Self::NoNextUpdate => "it has no nextUpdate, so it would never be out of date",
            Self::Period => "its nextUpdate is not after its thisUpdate",
            Self::Delta => "it is a delta: only what changed; use the complete list",
            Self::Indirect => "it is indirect: it has certificates of other issuers",
            Self::SomeReasons => "it has certificates revoked for certain reasons only",
            Self::AttributeCertificates => "it has attribute certificates only",
            Self::DistributionPoint => {
                "it is for one distribution point, so it may be a part only; use the complete \
                 list, without that name"
            }
            Self::RemoveFromCrl => "it has an entry removeFromCRL, which is for deltas only",
        };
        f.write_str(text)
    }
}

impl std::error::Error for CrlError {}

/// A DER-encoded Name for people. What has no readable form says so: it is for messages only.
pub(super) fn show_name(name: &[u8]) -> Box<str> {
    match name_from_der(name) {
        Ok(name) => name.into_boxed_str(),
        Err(error) => format!("(a name of which {error})").into_boxed_str(),
    }
}
