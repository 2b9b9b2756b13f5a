//! The record layer after the handshake: rustls' keys, our buffers.
//!
//! rustls copies and allocates for every record; here a record is encrypted from the receive
//! buffer straight into the send buffer, and the other way round. It protects and unprotects
//! records and nothing else: what their content means is `session`'s business. Sans-IO.
//!
//! Invariant: a sequence number is used once per key (it is the nonce, RFC 8446, 5.3), and no key
//! outlives its limit of records (RFC 8446, 5.5).

use aws_lc_rs::aead::{
    AES_128_GCM, AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce,
    UnboundKey,
};
use rustls::{AlertDescription, ConnectionTrafficSecrets, ProtocolVersion};

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
pub struct Keys {
    key: LessSafeKey,
    iv: [u8; NONCE_LEN],
    sequence: u64,
    sequence_max: u64,
    layout: Layout,
}

impl Keys {
    /// The keys that rustls handed over, and the number of the next record.
    ///
    /// `records_max` is the suite's confidentiality limit. `None` for an algorithm that is
    /// unknown here.
    pub fn new(
        version: ProtocolVersion,
        (sequence, secrets): (u64, ConnectionTrafficSecrets),
        records_max: u64,
    ) -> Option<Self> {
        let tls13 = version == ProtocolVersion::TLSv1_3;
        let gcm = if tls13 { Layout::Tls13 } else { Layout::Tls12Gcm };
        let chacha = if tls13 { Layout::Tls13 } else { Layout::Tls12ChaCha };
        let (algorithm, key, iv, layout) = match &secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (&AES_128_GCM, key, iv, gcm),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&AES_256_GCM, key, iv, gcm),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => {
                (&CHACHA20_POLY1305, key, iv, chacha)
            }
            _ => return None,
        };
        let algorithm: &'static Algorithm = algorithm;
        let key = LessSafeKey::new(UnboundKey::new(algorithm, key.as_ref()).ok()?);
        let iv = iv.as_ref().try_into().ok()?;
        Some(Self { key, iv, sequence, sequence_max: records_max, layout })
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
        let nonce = self.nonce();
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
        let before = out.len();
        out.extend_from_slice(&header);
        out.extend_from_slice(explicit);
        let start = out.len();
        out.resize(start + content.len() + extra.len() + TAG_BYTES, 0);
        let (ciphertext, tail) = out[start..].split_at_mut(content.len());
        let aad = self.additional_data(header, content.len());
        let sealed = self.key.seal_out_of_place_scatter(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(aad.bytes()),
            content,
            ciphertext,
            extra,
            tail,
        );
        if sealed.is_err() {
            // The content in the clear, perhaps: it must not be sent.
            out.truncate(before);
            return Err(RecordError::KeyExhausted);
        }
        self.sequence += 1;
        Ok(())
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
        let (ciphertext, tag) = sealed.split_at(content_bytes);
        let aad = self.additional_data(*header, content_bytes);
        let start = out.len();
        out.resize(start + content_bytes, 0);
        let opened = self.key.open_separate_gather(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(aad.bytes()),
            ciphertext,
            tag,
            &mut out[start..],
        );
        let kind = match opened {
            Ok(()) => self.content_type(header[0], start, out),
            Err(_) => Err(RecordError::BadMac),
        };
        match kind {
            Ok(_) => self.sequence += 1,
            Err(_) => out.truncate(start),
        }
        kind
    }

    /// The type of the content at `start`; takes off what TLS 1.3 hides it behind: "the receiver
    /// scans the field from the end toward the beginning" (RFC 8446, 5.4).
    fn content_type(
        &self,
        outer: u8,
        start: usize,
        out: &mut Vec<u8>,
    ) -> Result<ContentType, RecordError> {
        let code = match self.layout {
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

    /// RFC 8446, 5.3; TLS 1.2 in the same way, where it may choose.
    fn nonce(&self) -> [u8; NONCE_LEN] {
        let mut nonce = self.iv;
        for (byte, number) in nonce[4..].iter_mut().zip(self.sequence.to_be_bytes()) {
            *byte ^= number;
        }
        nonce
    }

    fn additional_data(&self, header: [u8; HEADER_BYTES], content_bytes: usize) -> AdditionalData {
        let mut bytes = [0; 13];
        if self.layout == Layout::Tls13 {
            // RFC 8446, 5.2: the record header.
            bytes[..HEADER_BYTES].copy_from_slice(&header);
            return AdditionalData { bytes, used: HEADER_BYTES };
        }
        // RFC 5246, 6.2.3.3: number, type, version, length of the plaintext.
        bytes[..8].copy_from_slice(&self.sequence.to_be_bytes());
        bytes[8..11].copy_from_slice(&header[..3]);
        let length = u16::try_from(content_bytes).unwrap_or(u16::MAX);
        bytes[11..].copy_from_slice(&length.to_be_bytes());
        AdditionalData { bytes, used: 13 }
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
mod tests {
    use rustls::crypto::cipher::{AeadKey, Iv};

    use super::*;

    fn keys(version: ProtocolVersion, chacha: bool, records_max: u64) -> Keys {
        let (key, iv) = (AeadKey::from([7; 32]), Iv::new([9; 12]));
        let secrets = if chacha {
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv }
        } else {
            ConnectionTrafficSecrets::Aes256Gcm { key, iv }
        };
        Keys::new(version, (3, secrets), records_max).expect("a known algorithm")
    }

    fn pairs() -> Vec<(Keys, Keys)> {
        let mut pairs = Vec::new();
        for version in [ProtocolVersion::TLSv1_2, ProtocolVersion::TLSv1_3] {
            for chacha in [false, true] {
                pairs.push((keys(version, chacha, 100), keys(version, chacha, 100)));
            }
        }
        pairs
    }

    #[test]
    fn what_is_sealed_opens_with_its_type_in_order_only() {
        for (mut write, mut read) in pairs() {
            let (mut wire, mut plain) = (Vec::new(), b"before".to_vec());
            for (kind, content) in [
                (ContentType::Data, &b"hello"[..]),
                (ContentType::Alert, &[1, 0]),
                (ContentType::Data, &[]),
                (ContentType::Data, &[0, 0, 0]),
                (ContentType::Data, &[5; PLAINTEXT_BYTES_MAX]),
            ] {
                wire.clear();
                write.seal(kind, content, &mut wire).expect("a fresh key");
                assert_eq!(read.record_bytes(&wire), Ok(Some(wire.len())));
                assert!(wire.len() <= content.len() + OVERHEAD_BYTES_MAX);
                assert_eq!(read.open(&wire, &mut plain), Ok(kind));
                assert_eq!(plain.split_off(6), content);
                let again = read.open(&wire, &mut plain);
                assert_eq!((again, plain.len()), (Err(RecordError::BadMac), 6), "a replay");
            }
        }
    }

    #[test]
    fn a_changed_bit_anywhere_is_found() {
        for (mut write, mut read) in pairs() {
            let mut wire = Vec::new();
            write.seal(ContentType::Data, b"some content", &mut wire).expect("a fresh key");
            for bit in 0..wire.len() * 8 {
                let mut bad = wire.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                let Ok(Some(bytes)) = read.record_bytes(&bad) else { continue };
                // The minor version is not authenticated in TLS 1.3 by its value here.
                if bytes != bad.len() {
                    continue;
                }
                assert!(read.open(&bad, &mut Vec::new()).is_err(), "bit {bit}");
            }
            assert_eq!(read.open(&wire, &mut Vec::new()), Ok(ContentType::Data));
        }
    }

    #[test]
    fn a_record_beyond_its_bounds_is_refused_by_its_header() {
        let (_, read) = &pairs()[2];
        let most = u16::try_from(PLAINTEXT_BYTES_MAX + EXPANSION_BYTES_MAX).expect("fits");
        let header = |kind: u8, length: u16| {
            let [high, low] = length.to_be_bytes();
            [kind, 3, 3, high, low]
        };
        assert_eq!(read.record_bytes(&header(23, most)), Ok(Some(usize::from(most) + 5)));
        assert_eq!(read.record_bytes(&header(23, most + 1)), Err(RecordError::Overflow));
        assert_eq!(read.record_bytes(&header(22, 10)), Err(RecordError::Unexpected));
        assert_eq!(read.record_bytes(b"GET /"), Err(RecordError::Unexpected));
        assert_eq!(read.record_bytes(&[23, 3, 3, 0]), Ok(None));
    }

    #[test]
    fn short_and_empty_payloads_are_bad_and_all_padding_is_unexpected() {
        for (mut write, mut read) in pairs() {
            for payload in 0..24_u8 {
                let mut record = vec![23, 3, 3, 0, payload];
                record.resize(5 + usize::from(payload), 0);
                assert_eq!(read.open(&record, &mut Vec::new()), Err(RecordError::BadMac));
            }
            if write.layout == Layout::Tls13 {
                // A TLS 1.3 record of zeros only has no content type.
                write.layout = Layout::Tls12ChaCha;
                let mut wire = Vec::new();
                let aad = [23, 3, 3, 0, 20];
                let nonce = Nonce::assume_unique_for_key(write.nonce());
                let mut zeros = vec![0; 4];
                write
                    .key
                    .seal_in_place_append_tag(nonce, Aad::from(aad), &mut zeros)
                    .expect("sealed");
                wire.extend_from_slice(&aad);
                wire.extend_from_slice(&zeros);
                assert_eq!(read.open(&wire, &mut Vec::new()), Err(RecordError::Unexpected));
            }
        }
    }

    #[test]
    fn a_key_ends_at_its_limit() {
        let mut write = keys(ProtocolVersion::TLSv1_3, false, 5);
        let mut wire = Vec::new();
        for worn in [false, false, true] {
            assert_eq!(write.is_worn(), worn);
            write.seal(ContentType::Data, b"x", &mut wire).expect("within the limit");
        }
        let before = wire.len();
        let sealed = write.seal(ContentType::Data, b"x", &mut wire);
        assert_eq!((sealed, wire.len()), (Err(RecordError::KeyExhausted), before));
    }
}
