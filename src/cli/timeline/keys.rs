//! The keys of a recorded TLS 1.3 connection: the secrets that the key log gave, and the record
//! protection derived from them (RFC 8446, 7.1, 7.3 and 5.3).
//!
//! It knows nothing of messages, and never prints a secret.

use std::fmt;

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce};
use aws_lc_rs::aead::{Algorithm, NONCE_LEN, UnboundKey};
use aws_lc_rs::hkdf::{self, HKDF_SHA256, HKDF_SHA384, KeyType, Prk};

use super::record::Direction;
use crate::limits::TIMELINE_SECRETS_MAX;

/// Bytes of the longest traffic secret: SHA-384's output.
const SECRET_BYTES_MAX: usize = 48;

/// Which of a direction's secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Epoch {
    /// Protects the handshake from EncryptedExtensions to Finished.
    Handshake,
    /// Protects everything after Finished.
    Application,
}

/// The traffic secrets of one connection, by direction and epoch.
#[derive(Clone, Default)]
pub(super) struct Secrets(Vec<(Direction, Epoch, Vec<u8>)>);

impl Secrets {
    /// Keeps the secret that a key log line of this label holds; other labels are of no use here.
    pub(super) fn keep(&mut self, label: &str, secret: &[u8]) {
        let (direction, epoch) = match label {
            "CLIENT_HANDSHAKE_TRAFFIC_SECRET" => (Direction::ToServer, Epoch::Handshake),
            "SERVER_HANDSHAKE_TRAFFIC_SECRET" => (Direction::ToClient, Epoch::Handshake),
            "CLIENT_TRAFFIC_SECRET_0" => (Direction::ToServer, Epoch::Application),
            "SERVER_TRAFFIC_SECRET_0" => (Direction::ToClient, Epoch::Application),
            _ => return,
        };
        if self.0.len() < TIMELINE_SECRETS_MAX && secret.len() <= SECRET_BYTES_MAX {
            self.0.push((direction, epoch, secret.to_vec()));
        }
    }

    /// The secret of this direction and epoch, where the connection came that far.
    pub(super) fn find(&self, direction: Direction, epoch: Epoch) -> Option<&[u8]> {
        let mut all = self.0.iter();
        let found = all.find(|(of, at, _)| *of == direction && *at == epoch)?;
        Some(&found.2)
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({} kept)", self.0.len())
    }
}

/// The record protection of one direction in one epoch, reading.
pub(super) struct Opener {
    key: LessSafeKey,
    iv: [u8; NONCE_LEN],
    sequence: u64,
}

impl Opener {
    /// The opener for records of `suite` under `secret`; `None` where the suite is not one of
    /// TLS 1.3's three that rustls speaks, or the secret has not its hash's length.
    pub(super) fn new(suite: u16, secret: &[u8]) -> Option<Self> {
        let (aead, hash): (&'static Algorithm, _) = match suite {
            0x1301 => (&AES_128_GCM, HKDF_SHA256),
            0x1302 => (&AES_256_GCM, HKDF_SHA384),
            0x1303 => (&CHACHA20_POLY1305, HKDF_SHA256),
            _ => return None,
        };
        if secret.len() != hash.hmac_algorithm().digest_algorithm().output_len() {
            return None;
        }
        let prk = Prk::new_less_safe(hash, secret);
        let mut key = [0_u8; 32];
        let key = key.get_mut(..aead.key_len())?;
        expand_label(&prk, b"key", key)?;
        let mut iv = [0_u8; NONCE_LEN];
        expand_label(&prk, b"iv", &mut iv)?;
        Some(Self { key: LessSafeKey::new(UnboundKey::new(aead, key).ok()?), iv, sequence: 0 })
    }

    /// Opens one record: its 5 bytes of header and its encrypted fragment. Returns the plaintext
    /// with its content type (TLSInnerPlaintext without its padding, RFC 8446, 5.4).
    ///
    /// A record that does not open leaves the sequence number where it was.
    pub(super) fn open(&mut self, header: &[u8], fragment: &[u8]) -> Option<(u8, Vec<u8>)> {
        let mut nonce = self.iv;
        for (byte, counter) in nonce[4..].iter_mut().zip(self.sequence.to_be_bytes()) {
            *byte ^= counter;
        }
        let nonce = Nonce::assume_unique_for_key(nonce);
        let mut plain = fragment.to_vec();
        let opened = self.key.open_in_place(nonce, Aad::from(header), &mut plain).ok()?.len();
        self.sequence = self.sequence.checked_add(1)?;
        plain.truncate(opened);
        let end = plain.iter().rposition(|byte| *byte != 0)?;
        let content_type = plain[end];
        plain.truncate(end);
        Some((content_type, plain))
    }
}

/// HKDF-Expand-Label with an empty context (RFC 8446, 7.1).
fn expand_label(secret: &Prk, label: &[u8], out: &mut [u8]) -> Option<()> {
    let out_bytes = u16::try_from(out.len()).ok()?.to_be_bytes();
    let label_bytes = [u8::try_from(6 + label.len()).ok()?];
    let info: [&[u8]; 5] = [&out_bytes, &label_bytes, b"tls13 ", label, &[0]];
    let okm: hkdf::Okm<'_, Bytes> = secret.expand(&info, Bytes(out.len())).ok()?;
    okm.fill(out).ok()
}

/// A length in bytes, as aws-lc-rs' HKDF wants it.
struct Bytes(usize);

impl KeyType for Bytes {
    fn len(&self) -> usize {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8448, 3: the server's handshake traffic secret of the simple 1-RTT handshake.
    const SECRET: [u8; 32] = [
        0xb6, 0x7b, 0x7d, 0x69, 0x0c, 0xc1, 0x6c, 0x4e, 0x75, 0xe5, 0x42, 0x13, 0xcb, 0x2d, 0x37,
        0xb4, 0xe9, 0xc9, 0x12, 0xbc, 0xde, 0xd9, 0x10, 0x5d, 0x42, 0xbe, 0xfd, 0x59, 0xd3, 0x91,
        0xad, 0x38,
    ];

    #[test]
    fn the_key_and_iv_are_those_of_the_example_in_rfc_8448() {
        let prk = Prk::new_less_safe(HKDF_SHA256, &SECRET);
        let mut key = [0; 16];
        expand_label(&prk, b"key", &mut key).expect("16 bytes of output are allowed");
        let mut iv = [0; 12];
        expand_label(&prk, b"iv", &mut iv).expect("12 bytes of output are allowed");
        assert_eq!(
            key,
            [
                0x3f, 0xce, 0x51, 0x60, 0x09, 0xc2, 0x17, 0x27, 0xd0, 0xf2, 0xe4, 0xe8, 0x6e, 0xe4,
                0x03, 0xbc
            ]
        );
        assert_eq!(iv, [0x5d, 0x31, 0x3e, 0xb2, 0x67, 0x12, 0x76, 0xee, 0x13, 0x00, 0x0b, 0x30]);
    }

    #[test]
    fn a_secret_of_the_wrong_length_or_an_unknown_suite_gives_no_opener() {
        assert!(Opener::new(0x1301, &SECRET).is_some());
        assert!(Opener::new(0x1302, &SECRET).is_none());
        assert!(Opener::new(0x1304, &SECRET).is_none());
    }

    #[test]
    fn a_record_that_was_changed_does_not_open() {
        let mut opener = Opener::new(0x1303, &SECRET).expect("the secret fits the suite");
        assert!(opener.open(&[23, 3, 3, 0, 40], &[0; 40]).is_none());
        assert!(opener.open(&[23, 3, 3, 0, 0], &[]).is_none());
    }

    #[test]
    fn secrets_are_found_by_direction_and_epoch_and_never_printed() {
        let mut secrets = Secrets::default();
        secrets.keep("SERVER_HANDSHAKE_TRAFFIC_SECRET", &SECRET);
        secrets.keep("EXPORTER_SECRET", &SECRET);
        let found = secrets.find(Direction::ToClient, Epoch::Handshake);
        assert_eq!(found, Some(&SECRET[..]));
        assert_eq!(secrets.find(Direction::ToServer, Epoch::Handshake), None);
        assert_eq!(format!("{secrets:?}"), "Secrets(1 kept)");
    }
}
