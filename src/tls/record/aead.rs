//! Whose AEAD protects the records: that of the backend which agreed on the suite, and no other.
//!
//! aws-lc-rs and ring take the traffic key itself, so that a record is sealed from the receive
//! buffer into the send buffer. What the other backends show of themselves is the functions in
//! their suites' tables, which rustls calls for each record; they allocate and copy once more.

use std::fmt;

use rustls::crypto::cipher::{
    AeadKey, InboundOpaqueMessage, Iv, MessageDecrypter, MessageEncrypter, NONCE_LEN,
    OutboundPlainMessage,
};
use rustls::{ConnectionTrafficSecrets, ProtocolVersion, SupportedCipherSuite};

use super::{ContentType, HEADER_BYTES, RecordError, TAG_BYTES};

/// Bytes of the part of a TLS 1.2 GCM nonce that is not in the record (RFC 5288, 3).
const SALT_BYTES: usize = 4;

/// The kinds of AEAD: they differ in how TLS 1.2 makes nonces of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Gcm,
    ChaCha,
}

/// A key that rustls handed over, and its nonces' fixed part.
pub(super) struct Secret {
    pub(super) kind: Kind,
    pub(super) iv: [u8; NONCE_LEN],
    key: AeadKey,
}

impl Secret {
    /// `None` for an algorithm that is unknown here.
    pub(super) fn new(secrets: ConnectionTrafficSecrets) -> Option<Self> {
        let (kind, key, iv) = match secrets {
            // One arm: a backend may call one the other (rustls-rustcrypto does), and the length
            // of the key tells them apart.
            ConnectionTrafficSecrets::Aes128Gcm { key, iv }
            | ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (Kind::Gcm, key, iv),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (Kind::ChaCha, key, iv),
            _ => return None,
        };
        Some(Self { kind, iv: iv.as_ref().try_into().ok()?, key })
    }
}

/// Seals records.
pub enum Sealer {
    /// With the key itself.
    Direct(Direct),
    /// By the function of the suite's table.
    Table(Box<dyn MessageEncrypter>),
}

/// Opens records.
pub enum Opener {
    /// With the key itself.
    Direct(Direct),
    /// By the function of the suite's table.
    Table(Box<dyn MessageDecrypter>),
}

impl Sealer {
    pub(super) fn new(suite: SupportedCipherSuite, secret: Secret) -> Self {
        if let Some(direct) = Direct::new(suite, &secret) {
            return Self::Direct(direct);
        }
        let Secret { kind, iv, key } = secret;
        Self::Table(match suite {
            SupportedCipherSuite::Tls13(suite) => suite.aead_alg.encrypter(key, Iv::new(iv)),
            SupportedCipherSuite::Tls12(suite) => {
                let (fixed, explicit) = iv.split_at(fixed_bytes(kind));
                suite.aead_alg.encrypter(key, fixed, explicit)
            }
        })
    }
}

impl Opener {
    pub(super) fn new(suite: SupportedCipherSuite, secret: Secret) -> Self {
        if let Some(direct) = Direct::new(suite, &secret) {
            return Self::Direct(direct);
        }
        let Secret { kind, iv, key } = secret;
        Self::Table(match suite {
            SupportedCipherSuite::Tls13(suite) => suite.aead_alg.decrypter(key, Iv::new(iv)),
            SupportedCipherSuite::Tls12(suite) => {
                suite.aead_alg.decrypter(key, &iv[..fixed_bytes(kind)])
            }
        })
    }
}

const fn fixed_bytes(kind: Kind) -> usize {
    match kind {
        Kind::Gcm => SALT_BYTES,
        Kind::ChaCha => NONCE_LEN,
    }
}

/// Appends the record with `content` to `out`. Cold, so that the direct way stays in line.
#[cold]
pub(super) fn seal_by_table(
    encrypter: &mut dyn MessageEncrypter,
    kind: ContentType,
    content: &[u8],
    sequence: u64,
    out: &mut Vec<u8>,
) -> Result<(), RecordError> {
    let message = OutboundPlainMessage {
        typ: kind.code().into(),
        version: ProtocolVersion::TLSv1_2,
        payload: content.into(),
    };
    let record = encrypter.encrypt(message, sequence).map_err(|_| RecordError::KeyExhausted)?;
    out.extend_from_slice(&record.encode());
    Ok(())
}

/// Appends the content of a record to `out`, which on error holds rubbish behind what it held.
pub(super) fn open_by_table(
    decrypter: &mut dyn MessageDecrypter,
    header: [u8; HEADER_BYTES],
    payload: &[u8],
    sequence: u64,
    out: &mut Vec<u8>,
) -> Result<ContentType, RecordError> {
    let start = out.len();
    out.extend_from_slice(payload);
    let [outer, major, minor, ..] = header;
    let version = u16::from_be_bytes([major, minor]).into();
    let place = out[start..].as_ptr().addr();
    let message = InboundOpaqueMessage::new(outer.into(), version, &mut out[start..]);
    let (code, content) = match decrypter.decrypt(message, sequence) {
        Ok(plain) => {
            // It lies somewhere in what was given: behind the explicit nonce, perhaps.
            let skipped = plain.payload.as_ptr().addr().saturating_sub(place);
            (u8::from(plain.typ), start + skipped..start + skipped + plain.payload.len())
        }
        Err(rustls::Error::PeerSentOversizedRecord) => return Err(RecordError::Overflow),
        Err(rustls::Error::PeerMisbehaved(_)) => return Err(RecordError::Unexpected),
        Err(_) => return Err(RecordError::BadMac),
    };
    let bytes = content.len();
    out.copy_within(content, start);
    out.truncate(start + bytes);
    ContentType::from_code(code).ok_or(RecordError::Unexpected)
}

/// A key of a backend that seals and opens from one buffer into another.
#[derive(Debug)]
pub enum Direct {
    /// aws-lc-rs, or its validated form.
    #[cfg(any(feature = "aws-lc-rs", feature = "fips"))]
    AwsLc(aws_lc_rs::aead::LessSafeKey),
    /// ring. Boxed: half a kilobyte, twice for each connection, also where ring is not used.
    #[cfg(feature = "ring")]
    Ring(Box<ring::aead::LessSafeKey>),
}

/// Whether a suite is of the backend with these suites.
///
/// By where its hash function is, of which each backend has one static of its own. A suite that is
/// not recognised is still right, for its own table is used then.
#[cfg(any(feature = "aws-lc-rs", feature = "fips", feature = "ring"))]
fn is_of(suite: SupportedCipherSuite, theirs: &[SupportedCipherSuite]) -> bool {
    let hash = |suite: &SupportedCipherSuite| match suite {
        SupportedCipherSuite::Tls12(suite) => suite.common.hash_provider,
        SupportedCipherSuite::Tls13(suite) => suite.common.hash_provider,
    };
    let ours = hash(&suite);
    theirs.iter().any(|suite| std::ptr::addr_eq(hash(suite), ours))
}

/// The key of `$library`, which has the same API in both.
#[cfg(any(feature = "aws-lc-rs", feature = "fips", feature = "ring"))]
macro_rules! less_safe_key {
    ($library:ident, $secret:expr) => {{
        use $library::aead::{self, LessSafeKey, UnboundKey};
        let key = $secret.key.as_ref();
        let algorithm = match ($secret.kind, key.len()) {
            (Kind::Gcm, 16) => &aead::AES_128_GCM,
            (Kind::Gcm, _) => &aead::AES_256_GCM,
            (Kind::ChaCha, _) => &aead::CHACHA20_POLY1305,
        };
        UnboundKey::new(algorithm, key).ok().map(LessSafeKey::new)
    }};
}

// Without such a backend the enum has no value.
#[cfg_attr(
    not(any(feature = "aws-lc-rs", feature = "fips", feature = "ring")),
    allow(unused_variables, clippy::ptr_arg)
)]
impl Direct {
    /// `None` where the suite is of another backend.
    fn new(suite: SupportedCipherSuite, secret: &Secret) -> Option<Self> {
        #[cfg(any(feature = "aws-lc-rs", feature = "fips"))]
        if is_of(suite, rustls::crypto::aws_lc_rs::ALL_CIPHER_SUITES) {
            return less_safe_key!(aws_lc_rs, secret).map(Self::AwsLc);
        }
        #[cfg(feature = "ring")]
        if is_of(suite, rustls::crypto::ring::ALL_CIPHER_SUITES) {
            return less_safe_key!(ring, secret).map(Box::new).map(Self::Ring);
        }
        None
    }

    /// Writes `content` and `extra`, encrypted, and the tag to `out`, which they fill.
    ///
    /// On error `out` may hold the content in the clear: it must not be sent.
    #[inline(always)]
    pub(super) fn seal(
        &self,
        nonce: [u8; NONCE_LEN],
        aad: &[u8],
        (content, extra): (&[u8], &[u8]),
        out: &mut [u8],
    ) -> Result<(), RecordError> {
        match *self {
            #[cfg(any(feature = "aws-lc-rs", feature = "fips"))]
            Self::AwsLc(ref key) => {
                use aws_lc_rs::aead::{Aad, Nonce};
                let nonce = Nonce::assume_unique_for_key(nonce);
                let (ciphertext, tail) = out.split_at_mut(content.len());
                key.seal_out_of_place_scatter(
                    nonce,
                    Aad::from(aad),
                    content,
                    ciphertext,
                    extra,
                    tail,
                )
                .map_err(|_| RecordError::KeyExhausted)
            }
            #[cfg(feature = "ring")]
            Self::Ring(ref key) => {
                use ring::aead::{Aad, Nonce};
                let nonce = Nonce::assume_unique_for_key(nonce);
                let (inner, tag) = out.split_at_mut(content.len() + extra.len());
                inner[..content.len()].copy_from_slice(content);
                inner[content.len()..].copy_from_slice(extra);
                let sealed = key
                    .seal_in_place_separate_tag(nonce, Aad::from(aad), inner)
                    .map_err(|_| RecordError::KeyExhausted)?;
                tag.copy_from_slice(sealed.as_ref());
                Ok(())
            }
        }
    }

    /// Appends what was sealed, which ends with the tag, to `out`.
    ///
    /// On error `out` holds rubbish behind what it held.
    #[inline]
    pub(super) fn open(
        &self,
        nonce: [u8; NONCE_LEN],
        aad: &[u8],
        sealed: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), RecordError> {
        let content_bytes = sealed.len().checked_sub(TAG_BYTES).ok_or(RecordError::BadMac)?;
        let start = out.len();
        match *self {
            #[cfg(any(feature = "aws-lc-rs", feature = "fips"))]
            Self::AwsLc(ref key) => {
                use aws_lc_rs::aead::{Aad, Nonce};
                let nonce = Nonce::assume_unique_for_key(nonce);
                let (ciphertext, tag) = sealed.split_at(content_bytes);
                out.resize(start + content_bytes, 0);
                key.open_separate_gather(nonce, Aad::from(aad), ciphertext, tag, &mut out[start..])
                    .map_err(|_| RecordError::BadMac)
            }
            #[cfg(feature = "ring")]
            Self::Ring(ref key) => {
                use ring::aead::{Aad, Nonce};
                let nonce = Nonce::assume_unique_for_key(nonce);
                out.extend_from_slice(sealed);
                key.open_in_place(nonce, Aad::from(aad), &mut out[start..])
                    .map_err(|_| RecordError::BadMac)?;
                out.truncate(start + content_bytes);
                Ok(())
            }
        }
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // No secrets.
        f.write_str("Sealer")
    }
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Opener")
    }
}
