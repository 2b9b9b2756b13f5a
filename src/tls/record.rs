//! The record layer after the handshake: rustls' keys, our buffers.
//!
//! rustls copies and allocates for every record; here a record is encrypted from the receive
//! buffer straight into the send buffer, and the other way round, where the backend allows it
//! (`aead`). It protects and unprotects records and nothing else: what their content means is
//! `session`'s business. Sans-IO.
//!
//! Invariant: a sequence number is used once per key (it is the nonce, RFC 8446, 5.3), and no key
//! outlives its limit of records (RFC 8446, 5.5).

mod aead;

use rustls::crypto::cipher::NONCE_LEN;
use rustls::{AlertDescription, ConnectionTrafficSecrets, SupportedCipherSuite};

use self::aead::{Kind, Opener, Sealer, Secret, open_by_table, seal_by_table};

/// Bytes of a record's header (RFC 8446, 5.1).
pub const HEADER_BYTES: usize = 5;
/// Bytes of plaintext that a record may hold (RFC 8446, 5.1).
pub const PLAINTEXT_BYTES_MAX: usize = 1 << 14;
/// Bytes by which a TLS 1.3 record may exceed its plaintext (RFC 8446, 5.2).
const EXPANSION_BYTES_MAX: usize = 256;
/// Bytes by which our own records exceed their plaintext at most: header, explicit nonce (TLS 1.2)
/// or content type (TLS 1.3), tag.
pub const OVERHEAD_BYTES_MAX: usize = HEADER_BYTES + EXPLICIT_NONCE_BYTES + TAG_BYTES;

const EXPLICIT_NONCE_BYTES: usize = 8;
const TAG_BYTES: usize = 16;
/// Records that one AES-GCM key may protect: 2^24.5 (RFC 8446, 5.5), rounded down as rustls does.
/// Not every backend's table has a bound.
const GCM_RECORDS_MAX: u64 = 1 << 24;

/// What a record holds (RFC 8446, 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentType {
    /// An alert.
    Alert,
    /// A part of a handshake message, or several of them.
    Handshake,
    /// Application data.
    Data,
}

impl ContentType {
    const fn code(self) -> u8 {
        match self {
            Self::Alert => 21,
            Self::Handshake => 22,
            Self::Data => 23,
        }
    }

    /// `None` for ChangeCipherSpec too: after the handshake it is out of place (RFC 8446, 5).
    const fn from_code(code: u8) -> Option<Self> {
        match code {
            21 => Some(Self::Alert),
            22 => Some(Self::Handshake),
            23 => Some(Self::Data),
            _ => None,
        }
    }
}

/// Why a record is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// A content type or version that does not belong here.
    Unexpected,
    /// Longer than the standard allows.
    Overflow,
    /// The tag does not fit: the record was changed on its way, or is out of order.
    BadMac,
    /// The key has protected as many records as it may.
    KeyExhausted,
}

impl RecordError {
    /// The alert that the peer is sent (RFC 8446, 6.2).
    pub const fn alert(self) -> AlertDescription {
        match self {
            Self::Unexpected => AlertDescription::UnexpectedMessage,
            Self::Overflow => AlertDescription::RecordOverflow,
            Self::BadMac => AlertDescription::BadRecordMac,
            Self::KeyExhausted => AlertDescription::InternalError,
        }
    }
}

/// How nonces, additional data and content types are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// RFC 8446, 5.2.
    Tls13,
    /// RFC 5288: the nonce's last 8 bytes are in the record.
    Tls12Gcm,
    /// RFC 7905.
    Tls12ChaCha,
}

/// The keys of one direction.
#[derive(Debug)]
pub struct Keys<A> {
    aead: A,
    iv: [u8; NONCE_LEN],
    sequence: u64,
    sequence_max: u64,
    layout: Layout,
}

/// Keys that seal.
pub type WriteKeys = Keys<Sealer>;
/// Keys that open.
pub type ReadKeys = Keys<Opener>;

impl WriteKeys {
    /// The keys that rustls handed over, and the number of the next record.
    ///
    /// `records_max` is the suite's confidentiality limit. `None` for an algorithm that is
    /// unknown here.
    pub fn new(
        suite: SupportedCipherSuite,
        secrets: (u64, ConnectionTrafficSecrets),
        records_max: u64,
    ) -> Option<Self> {
        Self::with(Sealer::new, suite, secrets, records_max)
    }

    /// Whether so few records are left that it is time for new keys.
    pub fn is_worn(&self) -> bool {
        self.sequence >= self.sequence_max
    }

    /// Appends one record with `content`, at most [`PLAINTEXT_BYTES_MAX`], to `out`.
    ///
    /// # Errors
    /// [`RecordError::KeyExhausted`]; nothing is appended then.
    pub fn seal(
        &mut self,
        kind: ContentType,
        content: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), RecordError> {
        assert!(content.len() <= PLAINTEXT_BYTES_MAX, "a record holds 2^14 bytes at most");
        // The last number is kept for the alert or KeyUpdate that says so.
        if self.sequence > self.sequence_max {
            return Err(RecordError::KeyExhausted);
        }
        let before = out.len();
        let sealed = self.append_sealed(kind, content, out);
        match sealed {
            Ok(()) => self.sequence += 1,
            // The content in the clear, perhaps: it must not be sent.
            Err(_) => out.truncate(before),
        }
        sealed
    }

    #[inline(always)]
    fn append_sealed(
        &mut self,
        kind: ContentType,
        content: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), RecordError> {
        let nonce = self.nonce();
        let key = match &mut self.aead {
            Sealer::Direct(key) => &*key,
            Sealer::Table(encrypter) => {
                return seal_by_table(encrypter.as_mut(), kind, content, self.sequence, out);
            }
        };
        let inner = [kind.code()];
        let (outer, extra, explicit): (u8, &[u8], &[u8]) = match self.layout {
            Layout::Tls13 => (ContentType::Data.code(), &inner, &[]),
            Layout::Tls12Gcm => (kind.code(), &[], &nonce[NONCE_LEN - EXPLICIT_NONCE_BYTES..]),
            Layout::Tls12ChaCha => (kind.code(), &[], &[]),
        };
        let payload = explicit.len() + content.len() + extra.len() + TAG_BYTES;
        // invariant: 2^14 and the overhead fit.
        let length = u16::try_from(payload).expect("a record's length fits").to_be_bytes();
        let header = [outer, 3, 3, length[0], length[1]];
        out.extend_from_slice(&header);
        out.extend_from_slice(explicit);
        let start = out.len();
        out.resize(start + content.len() + extra.len() + TAG_BYTES, 0);
        let aad = additional_data(self.layout, self.sequence, header, content.len());
        key.seal(nonce, aad.bytes(), (content, extra), &mut out[start..])
    }
}

impl ReadKeys {
    /// The keys that rustls handed over, and the number of the next record.
    ///
    /// `records_max` is the suite's confidentiality limit. `None` for an algorithm that is
    /// unknown here.
    pub fn new(
        suite: SupportedCipherSuite,
        secrets: (u64, ConnectionTrafficSecrets),
        records_max: u64,
    ) -> Option<Self> {
        Self::with(Opener::new, suite, secrets, records_max)
    }

    /// Decrypts one whole record and appends its content to `out`; `out` is as it was on error.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn open(&mut self, record: &[u8], out: &mut Vec<u8>) -> Result<ContentType, RecordError> {
        // invariant: the caller passes whole records, which have a header.
        let (header, payload) = record.split_first_chunk::<HEADER_BYTES>().expect("a header");
        let mut nonce = self.nonce();
        let (explicit, sealed) = match self.layout {
            Layout::Tls12Gcm => {
                payload.split_at_checked(EXPLICIT_NONCE_BYTES).ok_or(RecordError::BadMac)?
            }
            Layout::Tls13 | Layout::Tls12ChaCha => (&[][..], payload),
        };
        if !explicit.is_empty() {
            nonce[..4].copy_from_slice(&self.iv[..4]);
            nonce[4..].copy_from_slice(explicit);
        }
        let content_bytes = sealed.len().checked_sub(TAG_BYTES).ok_or(RecordError::BadMac)?;
        // RFC 8446, 5.4: padding does not lift the limit, which has one byte for the type.
        if content_bytes > PLAINTEXT_BYTES_MAX + usize::from(self.layout == Layout::Tls13) {
            return Err(RecordError::Overflow);
        }
        let start = out.len();
        let opened = match &mut self.aead {
            Opener::Direct(key) => {
                let aad = additional_data(self.layout, self.sequence, *header, content_bytes);
                key.open(nonce, aad.bytes(), sealed, out)
                    .and_then(|()| content_type(self.layout, header[0], start, out))
            }
            Opener::Table(decrypter) => {
                open_by_table(decrypter.as_mut(), *header, payload, self.sequence, out)
            }
        };
        match opened {
            Ok(_) => self.sequence += 1,
            Err(_) => out.truncate(start),
        }
        opened
    }

    /// The length of the whole record that `bytes` begins with, header included; `None` while the
    /// header is not there. Looks at the header only.
    ///
    /// # Errors
    /// A header that no record to be opened with these keys can have.
    pub fn record_bytes(&self, bytes: &[u8]) -> Result<Option<usize>, RecordError> {
        let Some(&[outer, major, _, high, low]) = bytes.first_chunk() else { return Ok(None) };
        let protected = match self.layout {
            // RFC 8446, 5.2: "The outer opaque_type field ... is always set to the value 23".
            Layout::Tls13 => outer == ContentType::Data.code(),
            Layout::Tls12Gcm | Layout::Tls12ChaCha => ContentType::from_code(outer).is_some(),
        };
        if !protected || major != 3 {
            return Err(RecordError::Unexpected);
        }
        let length = usize::from(u16::from_be_bytes([high, low]));
        // RFC 8446, 5.2: "The length MUST NOT exceed 2^14 + 256 bytes." TLS 1.2 allows 2^14 + 2048,
        // which no AEAD suite needs.
        if length > PLAINTEXT_BYTES_MAX + EXPANSION_BYTES_MAX {
            return Err(RecordError::Overflow);
        }
        Ok(Some(HEADER_BYTES + length))
    }
}

impl<A> Keys<A> {
    fn with(
        aead: impl FnOnce(SupportedCipherSuite, Secret) -> A,
        suite: SupportedCipherSuite,
        (sequence, secrets): (u64, ConnectionTrafficSecrets),
        records_max: u64,
    ) -> Option<Self> {
        let secret = Secret::new(secrets)?;
        let layout = match (suite, secret.kind) {
            (SupportedCipherSuite::Tls13(_), _) => Layout::Tls13,
            (SupportedCipherSuite::Tls12(_), Kind::Gcm) => Layout::Tls12Gcm,
            (SupportedCipherSuite::Tls12(_), Kind::ChaCha) => Layout::Tls12ChaCha,
        };
        let sequence_max = match secret.kind {
            Kind::Gcm => records_max.min(GCM_RECORDS_MAX),
            Kind::ChaCha => records_max,
        };
        let iv = secret.iv;
        Some(Self { aead: aead(suite, secret), iv, sequence, sequence_max, layout })
    }

    /// RFC 8446, 5.3; TLS 1.2 in the same way, where it may choose.
    #[inline(always)]
    fn nonce(&self) -> [u8; NONCE_LEN] {
        let mut nonce = self.iv;
        for (byte, number) in nonce[4..].iter_mut().zip(self.sequence.to_be_bytes()) {
            *byte ^= number;
        }
        nonce
    }
}

/// The type of the content at `start`; takes off what TLS 1.3 hides it behind: "the receiver
/// scans the field from the end toward the beginning" (RFC 8446, 5.4).
fn content_type(
    layout: Layout,
    outer: u8,
    start: usize,
    out: &mut Vec<u8>,
) -> Result<ContentType, RecordError> {
    let code = match layout {
        Layout::Tls13 => {
            let content = &out[start..];
            let last = content.iter().rposition(|&byte| byte != 0);
            let last = start + last.ok_or(RecordError::Unexpected)?;
            let code = out[last];
            out.truncate(last);
            code
        }
        Layout::Tls12Gcm | Layout::Tls12ChaCha => outer,
    };
    ContentType::from_code(code).ok_or(RecordError::Unexpected)
}

#[inline(always)]
fn additional_data(
    layout: Layout,
    sequence: u64,
    header: [u8; HEADER_BYTES],
    content_bytes: usize,
) -> AdditionalData {
    let mut bytes = [0; 13];
    if layout == Layout::Tls13 {
        // RFC 8446, 5.2: the record header.
        bytes[..HEADER_BYTES].copy_from_slice(&header);
        return AdditionalData { bytes, used: HEADER_BYTES };
    }
    // RFC 5246, 6.2.3.3: number, type, version, length of the plaintext.
    bytes[..8].copy_from_slice(&sequence.to_be_bytes());
    bytes[8..11].copy_from_slice(&header[..3]);
    let length = u16::try_from(content_bytes).unwrap_or(u16::MAX);
    bytes[11..].copy_from_slice(&length.to_be_bytes());
    AdditionalData { bytes, used: 13 }
}

struct AdditionalData {
    bytes: [u8; 13],
    used: usize,
}

impl AdditionalData {
    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.used]
    }
}

#[cfg(test)]
mod tests;
