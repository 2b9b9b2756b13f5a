//! Authorities, and lists that say whatever a test wants, signed all the same.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, KeyUsagePurpose, SigningKey,
};
use rustls::crypto::{WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::pki_types::CertificateDer;

use crate::trust::crl::{CrlError, Issuer, Link, RevocationList, Serial};

/// 2026-01-01 00:00 UTC, when lists are issued.
pub(super) const THIS_UPDATE: i64 = 1_767_225_600;
/// 2026-02-01 00:00 UTC, when the next ones come.
pub(super) const NEXT_UPDATE: i64 = 1_769_904_000;
/// 2025-06-01 00:00 UTC, when certificates are revoked.
pub(super) const REVOKED: i64 = 1_748_736_000;
/// sha256WithECDSA.
const ALGORITHM: &[u8] = &[0x30, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];

pub(super) fn algorithms() -> WebPkiSupportedAlgorithms {
    aws_lc_rs::default_provider().signature_verification_algorithms
}

pub(super) struct Ca {
    params: CertificateParams,
    pub(super) key: KeyPair,
    pub(super) certificate: CertificateDer<'static>,
    pub(super) issuer: Issuer,
}

impl Ca {
    pub(super) fn new(name: &str) -> Self {
        Self::with_usages(name, &[KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign])
    }

    pub(super) fn with_usages(name: &str, usages: &[KeyUsagePurpose]) -> Self {
        Self::with_key(name, usages, KeyPair::generate().expect("a key"))
    }

    pub(super) fn with_key(name: &str, usages: &[KeyUsagePurpose], key: KeyPair) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = usages.to_vec();
        let certificate = params.self_signed(&key).expect("a certificate").der().clone();
        let issuer = Issuer::from_der(&certificate).expect("an authority");
        Self { params, key, certificate, issuer }
    }

    pub(super) fn leaf(&self, serial: u64) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(vec!["leaf.test".into()]).expect("a name");
        params.is_ca = IsCa::ExplicitNoCa;
        params.serial_number = Some(serial.into());
        let issuer = rcgen::Issuer::from_params(&self.params, &self.key);
        let key = KeyPair::generate().expect("a key");
        params.signed_by(&key, &issuer).expect("a certificate").der().clone()
    }

    pub(super) fn link(&self, number: u64) -> Link {
        Link { issuer: self.issuer.id(), serial: serial(number) }
    }

    /// A good list that revokes these, changed by `change`, and signed.
    pub(super) fn list(&self, serials: &[u64], change: impl FnOnce(&mut Raw)) -> Vec<u8> {
        let mut raw = Raw {
            version: Some(1),
            inner_algorithm: ALGORITHM.to_vec(),
            outer_algorithm: ALGORITHM.to_vec(),
            issuer: self.issuer.subject.to_vec(),
            this_update: time("260101000000Z"),
            next_update: time("260201000000Z"),
            entries: serials.iter().map(|serial| entry(*serial, &[])).collect(),
            extensions: vec![extension(20, false, &tlv(2, &[1]))],
            behind: Vec::new(),
        };
        change(&mut raw);
        raw.sign(&self.key)
    }

    pub(super) fn parsed(&self, serials: &[u64], change: impl FnOnce(&mut Raw)) -> RevocationList {
        parse(&self.list(serials, change), &[&self.issuer]).expect("a good list")
    }

    pub(super) fn shared(
        &self,
        serials: &[u64],
        change: impl FnOnce(&mut Raw),
    ) -> Arc<RevocationList> {
        Arc::new(self.parsed(serials, change))
    }
}

/// A list before it is signed.
pub(super) struct Raw {
    pub(super) version: Option<u8>,
    pub(super) inner_algorithm: Vec<u8>,
    pub(super) outer_algorithm: Vec<u8>,
    pub(super) issuer: Vec<u8>,
    pub(super) this_update: Vec<u8>,
    pub(super) next_update: Vec<u8>,
    pub(super) entries: Vec<Vec<u8>>,
    pub(super) extensions: Vec<Vec<u8>>,
    /// Behind all that a list may have.
    pub(super) behind: Vec<u8>,
}

impl Raw {
    fn sign(&self, key: &KeyPair) -> Vec<u8> {
        let revoked = self.entries.concat();
        let revoked = if revoked.is_empty() { revoked } else { tlv(0x30, &revoked) };
        let extensions = match self.extensions.is_empty() {
            true => Vec::new(),
            false => tlv(0xa0, &tlv(0x30, &self.extensions.concat())),
        };
        let tbs = [
            &self.version.map(|version| tlv(2, &[version])).unwrap_or_default(),
            &self.inner_algorithm,
            &self.issuer,
            &self.this_update,
            &self.next_update,
            &revoked,
            &extensions,
            &self.behind,
        ];
        let tbs = tlv(0x30, &tbs.map(|part| &part[..]).concat());
        let signature = key.sign(&tbs).expect("a signature");
        let signature = tlv(3, &[&[0][..], &signature].concat());
        tlv(0x30, &[&tbs[..], &self.outer_algorithm, &signature].concat())
    }
}

pub(super) fn parse(der: &[u8], issuers: &[&Issuer]) -> Result<RevocationList, CrlError> {
    let issuers: Vec<_> = issuers.iter().copied().cloned().collect();
    RevocationList::parse(der, &issuers, &algorithms())
}

pub(super) fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let header = match length {
        0..0x80 => vec![tag, length as u8],
        0x80..0x100 => vec![tag, 0x81, length as u8],
        _ => vec![tag, 0x82, (length >> 8) as u8, length as u8],
    };
    [&header[..], content].concat()
}

pub(super) fn time(text: &str) -> Vec<u8> {
    tlv(if text.len() == 13 { 0x17 } else { 0x18 }, text.as_bytes())
}

/// The content of the INTEGER.
fn integer(number: u64) -> Vec<u8> {
    let bytes = number.to_be_bytes();
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count().min(7);
    let magnitude = &bytes[zeros..];
    if magnitude[0] < 0x80 { magnitude.to_vec() } else { [&[0][..], magnitude].concat() }
}

pub(super) fn serial(number: u64) -> Serial {
    Serial::from_der_integer_content(&integer(number)).expect("a serial number")
}

pub(super) fn entry(serial: u64, extensions: &[Vec<u8>]) -> Vec<u8> {
    raw_entry(&integer(serial), extensions)
}

pub(super) fn raw_entry(serial: &[u8], extensions: &[Vec<u8>]) -> Vec<u8> {
    let mut content = [tlv(2, serial), time("250601000000Z")].concat();
    if !extensions.is_empty() {
        content.extend(tlv(0x30, &extensions.concat()));
    }
    tlv(0x30, &content)
}

/// An extension below id-ce.
pub(super) fn extension(id_ce: u8, critical: bool, value: &[u8]) -> Vec<u8> {
    let oid = tlv(6, &[0x55, 0x1d, id_ce]);
    let critical = if critical { tlv(1, &[0xff]) } else { Vec::new() };
    tlv(0x30, &[oid, critical, tlv(4, value)].concat())
}

/// An issuingDistributionPoint with this content.
pub(super) fn distribution_point(content: &[u8]) -> Vec<u8> {
    extension(28, true, &tlv(0x30, content))
}
