//! The record protection of TLS 1.3 and 1.2 by the letter of the standards, over aws-lc's AEADs.
//!
//! A second implementation on purpose: it must not use `tls::record`, which it is the other end
//! of, and it seals what that one would not: any content type, any padding, any length.

use aws_lc_rs::aead::{
    AES_128_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey,
};
use rustls::ConnectionTrafficSecrets;

const HEADER_BYTES: usize = 5;
const EXPLICIT_NONCE_BYTES: usize = 8;
const TAG_BYTES: usize = 16;
/// The outer type of every TLS 1.3 record (RFC 8446, 5.2).
const APPLICATION_DATA: u8 = 23;

/// The keys of one direction.
pub(crate) struct Keys {
    key: LessSafeKey,
    iv: [u8; 12],
    sequence: u64,
    is_tls13: bool,
    is_gcm: bool,
}

impl Keys {
    pub(crate) fn new(secrets: (u64, ConnectionTrafficSecrets), is_tls13: bool) -> Self {
        let (sequence, secrets) = secrets;
        let (algorithm, key, iv) = match secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (&AES_128_GCM, key, iv),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&AES_256_GCM, key, iv),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (&CHACHA20_POLY1305, key, iv),
            _ => panic!("an algorithm that is no suite's"),
        };
        let is_gcm = algorithm != &CHACHA20_POLY1305;
        let key = UnboundKey::new(algorithm, key.as_ref()).expect("a key of its length");
        let iv = iv.as_ref().try_into().expect("12 bytes");
        Self { key: LessSafeKey::new(key), iv, sequence, is_tls13, is_gcm }
    }

    /// One record of `content`, whatever its length. The type may be any; in TLS 1.3 it is inside,
    /// with `padding` zeros behind it.
    pub(crate) fn seal(&mut self, kind: u8, content: &[u8], padding: usize) -> Vec<u8> {
        let mut sealed = content.to_vec();
        let outer = if self.is_tls13 { APPLICATION_DATA } else { kind };
        if self.is_tls13 {
            sealed.push(kind);
            sealed.resize(sealed.len() + padding, 0);
        }
        // RFC 5288, 3: the sender chooses it; any value that is used once will do.
        let explicit = (self.sequence ^ 0x5a5a).to_be_bytes();
        let explicit = if self.has_explicit_nonce() { &explicit[..] } else { &[] };
        let header = header(outer, explicit.len() + sealed.len() + TAG_BYTES);
        let aad = self.additional_data(&header, sealed.len());
        let nonce = Nonce::assume_unique_for_key(self.nonce(explicit));
        self.key.seal_in_place_append_tag(nonce, Aad::from(aad), &mut sealed).expect("room");
        self.sequence += 1;
        [&header[..], explicit, &sealed].concat()
    }

    /// Opens the first record of `wire` and takes it off: its type and content.
    pub(crate) fn open(&mut self, wire: &mut Vec<u8>) -> (u8, Vec<u8>) {
        let header: [u8; HEADER_BYTES] = wire[..HEADER_BYTES].try_into().expect("5 bytes");
        let end = HEADER_BYTES + usize::from(u16::from_be_bytes([header[3], header[4]]));
        let record: Vec<u8> = wire.drain(..end).collect();
        let start = HEADER_BYTES + if self.has_explicit_nonce() { EXPLICIT_NONCE_BYTES } else { 0 };
        let mut sealed = record[start..].to_vec();
        let aad = self.additional_data(&header, sealed.len() - TAG_BYTES);
        let nonce = Nonce::assume_unique_for_key(self.nonce(&record[HEADER_BYTES..start]));
        let opened = self.key.open_in_place(nonce, Aad::from(aad), &mut sealed);
        let mut content = opened.expect("what the session seals decrypts").to_vec();
        self.sequence += 1;
        if !self.is_tls13 {
            return (header[0], content);
        }
        assert_eq!(header[0], APPLICATION_DATA, "RFC 8446, 5.2");
        let last = content.iter().rposition(|&byte| byte != 0).expect("a content type");
        let kind = content[last];
        content.truncate(last);
        (kind, content)
    }

    fn has_explicit_nonce(&self) -> bool {
        self.is_gcm && !self.is_tls13
    }

    /// RFC 8446, 5.3 and RFC 7905, 2; RFC 5288, 3 where the record has a part of it.
    fn nonce(&self, explicit: &[u8]) -> [u8; 12] {
        let mut nonce = self.iv;
        if explicit.is_empty() {
            let sequence = self.sequence.to_be_bytes();
            nonce[4..].iter_mut().zip(sequence).for_each(|(byte, number)| *byte ^= number);
        } else {
            nonce[4..].copy_from_slice(explicit);
        }
        nonce
    }

    /// RFC 8446, 5.2; RFC 5246, 6.2.3.3.
    fn additional_data(&self, header: &[u8; HEADER_BYTES], plain_bytes: usize) -> Vec<u8> {
        if self.is_tls13 {
            return header.to_vec();
        }
        let length = (plain_bytes as u16).to_be_bytes();
        [&self.sequence.to_be_bytes()[..], &header[..3], &length].concat()
    }
}

fn header(kind: u8, length: usize) -> [u8; HEADER_BYTES] {
    let [high, low] = u16::try_from(length).expect("a record's length").to_be_bytes();
    [kind, 3, 3, high, low]
}
