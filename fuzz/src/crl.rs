//! `RevocationList::parse` on any bytes, and on lists that are put together of parts and signed.
//!
//! What is taken is verified again here, by aws-lc itself over what x509-parser takes for the signed
//! part; and a list that lost its signature is taken by nobody.

use std::sync::LazyLock;

use arbitrary::{Arbitrary, Unstructured};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use ringfort::limits::SERIAL_BYTES_MAX;
use ringfort::trust::crl::{Issuer, RevocationList, Serial};
use rustls::crypto::WebPkiSupportedAlgorithms;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;

use crate::der::{self, tlv};

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 2;
const BIT_STRING: u8 = 3;
const GENERALIZED_TIME: u8 = 0x18;
/// id-Ed25519 as an AlgorithmIdentifier (RFC 8410, 3).
const ALGORITHM: [u8; 7] = [SEQUENCE, 5, 6, 3, 0x2b, 0x65, 0x70];
/// A common name, the subject of the authority.
const NAME: (&[u8], u8, &[u8]) = (&[0x55, 4, 3], 0x0c, b"fuzz");

#[derive(Arbitrary, Debug)]
struct Entry {
    serial: Vec<u8>,
    year: u8,
    extensions: Option<Vec<u8>>,
}

#[derive(Arbitrary, Debug)]
struct Input {
    version: Option<u8>,
    this_year: u8,
    next_year: Option<u8>,
    entries: Option<Vec<Entry>>,
    extensions: Option<Vec<u8>>,
    change: Option<(u16, u8)>,
    is_resigned: bool,
}

struct Signer {
    key: Ed25519KeyPair,
    issuer: Issuer,
}

static SIGNER: LazyLock<Signer> = LazyLock::new(|| {
    let key = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("any 32 bytes are a key");
    let parts = der::Parts {
        serial: &[1],
        issuer: &der::name([[NAME]]),
        subject: &der::name([[NAME]]),
        names: None,
    };
    let certificate = der::certificate_with_key(&parts, key.public_key().as_ref());
    Signer { key, issuer: Issuer::from_der(&certificate).expect("an authority") }
});

fn algorithms() -> WebPkiSupportedAlgorithms {
    rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms
}

fn parse(bytes: &[u8]) -> Option<RevocationList> {
    let issuers = std::slice::from_ref(&SIGNER.issuer);
    let parsed = RevocationList::parse(bytes, issuers, &algorithms());
    match parsed {
        Ok(list) => Some(list),
        Err(error) => {
            assert!(!error.to_string().is_empty());
            None
        }
    }
}

/// A list as it is, where the bytes begin like one; otherwise one that is made of them and signed.
pub fn crl(data: &[u8]) {
    if data.first() == Some(&SEQUENCE) {
        check(data);
    } else if let Ok(input) = Unstructured::new(data).arbitrary::<Input>() {
        let mut body = input.body();
        let is_changed = input.change.is_some_and(|(at, flip)| {
            let at = usize::from(at) % body.len();
            body[at] ^= flip;
            flip != 0
        });
        let signed = if input.is_resigned { body.clone() } else { input.body() };
        let list = sign(&body, &signed);
        if is_changed && !input.is_resigned {
            assert!(parse(&list).is_none(), "a list is taken that was changed after it was signed");
        }
        check(&list);
    }
}

/// A list with this body and the signature of that one.
fn sign(body: &[u8], signed: &[u8]) -> Vec<u8> {
    let signature = SIGNER.key.sign(signed);
    let bits = tlv(BIT_STRING, &[&[0], signature.as_ref()].concat());
    tlv(SEQUENCE, &[body, &ALGORITHM, &bits].concat())
}

fn time(year: u8) -> Vec<u8> {
    // 2000 to 2255: to 2049 a list has UTCTime (RFC 5280, 5.1.2.4), which is allowed as well.
    tlv(GENERALIZED_TIME, format!("{}0101000000Z", 2000 + u16::from(year)).as_bytes())
}

impl Input {
    fn body(&self) -> Vec<u8> {
        let entries = self.entries.as_ref().map(|entries| {
            let entries = entries.iter().map(|entry| {
                let extensions = entry.extensions.as_ref().map(|bytes| tlv(SEQUENCE, bytes));
                let fields =
                    [tlv(INTEGER, &entry.serial), time(entry.year), extensions.unwrap_or_default()];
                tlv(SEQUENCE, &fields.concat())
            });
            tlv(SEQUENCE, &entries.collect::<Vec<_>>().concat())
        });
        let extensions = self.extensions.as_ref().map(|bytes| tlv(0xa0, &tlv(SEQUENCE, bytes)));
        let fields = [
            self.version.map(|version| tlv(INTEGER, &[version])).unwrap_or_default(),
            ALGORITHM.to_vec(),
            der::name([[NAME]]),
            time(self.this_year),
            self.next_year.map(time).unwrap_or_default(),
            entries.unwrap_or_default(),
            extensions.unwrap_or_default(),
        ];
        tlv(SEQUENCE, &fields.concat())
    }
}

fn check(bytes: &[u8]) {
    let Some(list) = parse(bytes) else { return };
    let (rest, theirs) = CertificateRevocationList::from_der(bytes).expect("a list is taken");
    assert!(rest.is_empty(), "bytes behind a list");
    let key = UnparsedPublicKey::new(&ED25519, SIGNER.key.public_key().as_ref());
    let body = theirs.tbs_cert_list.as_ref();
    assert!(key.verify(body, &theirs.signature_value.data).is_ok(), "a list nobody signed");
    assert_eq!(list.issuer(), SIGNER.issuer.id());
    assert_eq!(list.this_update(), theirs.last_update().timestamp());
    let next_update = theirs.next_update().expect("a list without an end is taken");
    assert_eq!(list.next_update(), next_update.timestamp());
    assert!(list.next_update() > list.this_update());
    let mut revoked = 0;
    for entry in theirs.iter_revoked_certificates() {
        let serial = entry.raw_serial();
        assert!(serial.len() <= SERIAL_BYTES_MAX + 1, "a serial number that is too long");
        let serial = Serial::from_der_integer_content(serial).expect("a serial number");
        assert!(list.revoked_at(&serial).is_some(), "{serial} is forgotten");
        revoked += 1;
    }
    assert!(list.len() <= revoked, "{} entries of {revoked}", list.len());
    let changed = [&bytes[..bytes.len() - 1], &[bytes[bytes.len() - 1] ^ 1]].concat();
    assert!(parse(&changed).is_none(), "a changed signature is taken");
}
