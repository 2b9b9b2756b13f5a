//! The type and size of a certificate's public key, as a policy sees them.

use std::fmt;
use std::str::FromStr;

use x509_parser::oid_registry::{
    OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_NIST_EC_P521,
    OID_PKCS1_RSAENCRYPTION, OID_SIG_ED25519,
};
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey as ParsedKey;
use x509_parser::x509::SubjectPublicKeyInfo;

/// A type of public key that the TLS backend can verify signatures with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyType {
    /// ECDSA over NIST P-256 (secp256r1).
    EcdsaP256,
    /// ECDSA over NIST P-384 (secp384r1).
    EcdsaP384,
    /// ECDSA over NIST P-521 (secp521r1).
    EcdsaP521,
    /// EdDSA over Curve25519 (RFC 8410).
    Ed25519,
    /// RSA of any size (RFC 8017).
    Rsa,
}

impl KeyType {
    /// Every key type.
    pub const ALL: [Self; 5] =
        [Self::EcdsaP256, Self::EcdsaP384, Self::EcdsaP521, Self::Ed25519, Self::Rsa];

    /// The name of this type in the configuration and in log lines.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EcdsaP256 => "ecdsa_p256",
            Self::EcdsaP384 => "ecdsa_p384",
            Self::EcdsaP521 => "ecdsa_p521",
            Self::Ed25519 => "ed25519",
            Self::Rsa => "rsa",
        }
    }
}

impl fmt::Display for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no key type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownKeyType(Box<str>);

impl fmt::Display for UnknownKeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not a key type; expected one of", self.0)?;
        KeyType::ALL.iter().try_for_each(|known| write!(f, " {known}"))
    }
}

impl std::error::Error for UnknownKeyType {}

impl FromStr for KeyType {
    type Err = UnknownKeyType;

    fn from_str(text: &str) -> Result<Self, UnknownKeyType> {
        Self::ALL
            .into_iter()
            .find(|known| known.as_str() == text)
            .ok_or_else(|| UnknownKeyType(text.into()))
    }
}

/// The type of a public key and its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PublicKey {
    /// The type of the key.
    pub key_type: KeyType,
    /// The size of the key in bits: that of the modulus for RSA, of the field for the others.
    pub bits: u32,
}

impl PublicKey {
    /// Reads a DER-encoded SubjectPublicKeyInfo (RFC 5280, 4.1.2.7). `None` where the key is of no
    /// [`KeyType`], or is encoded in a way that its type does not allow.
    pub fn from_spki_der(spki: &[u8]) -> Option<Self> {
        let (rest, spki) = SubjectPublicKeyInfo::from_der(spki).ok()?;
        rest.is_empty().then(|| Self::from_spki(&spki)).flatten()
    }

    pub(super) fn from_spki(spki: &SubjectPublicKeyInfo<'_>) -> Option<Self> {
        let algorithm = &spki.algorithm.algorithm;
        let (key_type, bits) = if *algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY {
            let curve = spki.algorithm.parameters.as_ref()?.as_oid().ok()?;
            if curve == OID_EC_P256 {
                (KeyType::EcdsaP256, 256)
            } else if curve == OID_NIST_EC_P384 {
                (KeyType::EcdsaP384, 384)
            } else if curve == OID_NIST_EC_P521 {
                (KeyType::EcdsaP521, 521)
            } else {
                return None;
            }
        } else if *algorithm == OID_SIG_ED25519 {
            (KeyType::Ed25519, 256)
        } else if *algorithm == OID_PKCS1_RSAENCRYPTION {
            let ParsedKey::RSA(key) = spki.parsed().ok()? else {
                return None;
            };
            (KeyType::Rsa, bits_of(key.modulus)?)
        } else {
            return None;
        };
        Some(Self { key_type, bits })
    }
}

/// The number of bits of a big-endian integer without its leading zeros.
fn bits_of(integer: &[u8]) -> Option<u32> {
    let first = integer.iter().position(|byte| *byte != 0)?;
    let bytes = u32::try_from(integer.len() - first).ok()?;
    Some(bytes.checked_mul(8)? - integer[first].leading_zeros())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{KeyPair, PublicKeyData};

    #[test]
    fn each_key_type_is_told_from_its_spki() {
        for (algorithm, key_type, bits) in [
            (&rcgen::PKCS_ECDSA_P256_SHA256, KeyType::EcdsaP256, 256),
            (&rcgen::PKCS_ECDSA_P384_SHA384, KeyType::EcdsaP384, 384),
            (&rcgen::PKCS_ECDSA_P521_SHA512, KeyType::EcdsaP521, 521),
            (&rcgen::PKCS_ED25519, KeyType::Ed25519, 256),
            (&rcgen::PKCS_RSA_SHA256, KeyType::Rsa, 2048),
        ] {
            let key = KeyPair::generate_for(algorithm).expect("a key");
            let spki = key.subject_public_key_info();
            let expected = Some(PublicKey { key_type, bits });
            assert_eq!(PublicKey::from_spki_der(&spki), expected);
            let longer = [&spki[..], b"\0"].concat();
            assert_eq!(PublicKey::from_spki_der(&longer), None, "trailing bytes");
        }
    }

    #[test]
    fn the_size_of_a_modulus_does_not_count_leading_zeros() {
        assert_eq!(bits_of(&[0, 0x80, 0]), Some(16));
        assert_eq!(bits_of(&[0x7f, 0]), Some(15));
        assert_eq!(bits_of(&[0, 0, 1]), Some(1));
        assert_eq!(bits_of(&[0, 0]), None);
    }

    #[test]
    fn the_name_of_a_key_type_reads_back() {
        for key_type in KeyType::ALL {
            assert_eq!(key_type.as_str().parse(), Ok(key_type));
        }
        let error = "dsa".parse::<KeyType>().expect_err("DSA is not offered");
        assert!(error.to_string().contains("ecdsa_p256"), "{error}");
    }
}
