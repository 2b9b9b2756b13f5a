//! Authorities whose lists are taken: what a list is matched with, out of a certificate.

use std::fmt;

use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::IssuerId;
use super::error::show_name;

/// An authority that may have signed a list, from its certificate.
#[derive(Clone, Debug)]
pub struct Issuer {
    id: IssuerId,
    /// The subject, a whole DER element.
    pub(super) subject: Box<[u8]>,
    /// The SubjectPublicKeyInfo, a whole DER element.
    pub(super) spki: Box<[u8]>,
    label: Box<str>,
    pub(super) may_sign_lists: bool,
}

/// Why a certificate is not that of an authority that could sign a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IssuerError {
    /// It is not correctly encoded X.509.
    Malformed,
    /// Its basicConstraints say that it is no authority (RFC 5280, 4.2.1.9).
    NotAnAuthority,
}

impl Issuer {
    /// Reads the certificate of an authority. One without keyUsage may sign lists (RFC 5280,
    /// 4.2.1.3), and one without basicConstraints counts as an authority, as old roots do.
    ///
    /// # Errors
    ///
    /// An [`IssuerError`]. That a keyUsage lacks cRLSign is none, but such an issuer's lists are
    /// refused.
    pub fn from_der(certificate: &[u8]) -> Result<Self, IssuerError> {
        let parsed = match X509Certificate::from_der(certificate) {
            Ok(([], parsed)) => parsed,
            _ => return Err(IssuerError::Malformed),
        };
        let constraints = parsed.basic_constraints().map_err(|_| IssuerError::Malformed)?;
        if constraints.is_some_and(|constraints| !constraints.value.ca) {
            return Err(IssuerError::NotAnAuthority);
        }
        let usage = parsed.key_usage().map_err(|_| IssuerError::Malformed)?;
        let (subject, spki) = (parsed.subject.as_raw(), parsed.subject_pki.raw);
        Ok(Self {
            id: IssuerId::new(subject, spki),
            label: show_name(subject),
            subject: subject.into(),
            spki: spki.into(),
            may_sign_lists: usage.is_none_or(|usage| usage.value.crl_sign()),
        })
    }

    /// What a [`Link`](super::Link) names it by.
    pub fn id(&self) -> IssuerId {
        self.id
    }

    /// Its subject as an RFC 4514 string.
    pub fn label(&self) -> &str {
        &self.label
    }
}

impl fmt::Display for IssuerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "it is not a correctly encoded certificate",
            Self::NotAnAuthority => "it is not the certificate of an authority",
        })
    }
}

impl std::error::Error for IssuerError {}
