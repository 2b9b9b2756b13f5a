//! Why a verifier cannot be made of its options.

use std::fmt;

use crate::limits::CHAIN_CERTIFICATES_MAX;

/// Why a [`ClientVerifier`](super::ClientVerifier) cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VerifierError {
    /// There are no trust anchors, so no client could ever be verified.
    NoAnchors,
    /// No key type is accepted, so no client could ever be verified.
    NoKeyTypes,
    /// No signature scheme is left, so no client could ever be verified.
    NoSchemes,
    /// The bound of the chain is not between 1 and `CHAIN_CERTIFICATES_MAX`.
    ChainBound(usize),
    /// The mode is [`ClientAuth::Off`](super::ClientAuth::Off): there is nothing to verify.
    Off,
}

impl fmt::Display for VerifierError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAnchors => f.write_str("no trust anchor to verify clients with; expected one"),
            Self::NoKeyTypes => f.write_str("no key type is accepted; expected at least one"),
            Self::NoSchemes => f.write_str(
                "no signature scheme that the crypto backend verifies is accepted; expected one",
            ),
            Self::ChainBound(found) => write!(
                f,
                "a chain of {found} certificates at most; expected 1 to {CHAIN_CERTIFICATES_MAX}"
            ),
            Self::Off => f.write_str("client authentication is off, so there is nothing to verify"),
        }
    }
}

impl std::error::Error for VerifierError {}
